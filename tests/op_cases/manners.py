"""How an op and its VJPs behave beside the right numbers: dtypes, memory, repetition, recording.

What the walk mends unseen (a VJP that widens float32, that writes into what it was given) is looked
for in each VJP itself, by a walk of the tests' own.
"""

from typing import Any

import numpy as np

import tinygrad_opt as tg
from op_cases.checks import compare_each, here, tensors
from op_cases.reference import reference
from op_cases.sample import Sample

# ---- every VJP by itself -------------------------------------------------------------------------


def graph(y: tg.Tensor) -> list[tg.Tensor]:
    """Every tensor that y was made of and that needs a gradient, newest first."""
    found, waiting = {y}, [y]
    while waiting:
        for x in waiting.pop().inputs:
            if isinstance(x, tg.Tensor) and x.requires_grad and x not in found:
                found.add(x)
                waiting.append(x)
    return sorted(found, key=lambda t: -t.index)


def summed_to(shape: tuple, g: np.ndarray) -> np.ndarray:
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    for axis, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


def copied(a: Any) -> Any:
    return a.copy() if isinstance(a, np.ndarray) else a


def each_vjp(sample: Sample, dtype: str) -> None:
    """Each VJP keeps the dtype, gives a shape that broadcasting could have made of its argument's,
    and leaves cotangent, result and arguments as they were; summed up, they are the gradient."""
    there = reference(sample, dtype)
    inputs, leaves = tensors(sample, there.inputs, sample.floats)
    y = sample.ours(*inputs)
    cotangents: dict[tg.Tensor, Any] = {y: there.cotangent}
    for t in graph(y):
        if t.op is None:
            continue
        for n, (x, vjp) in enumerate(zip(t.inputs, t.op.vjps, strict=False)):
            if not isinstance(x, tg.Tensor) or not x.requires_grad:
                continue
            what = f"{sample}: the VJP of {t.op.__name__} for argument {n} in {dtype}"
            given = [copied(a) for a in (cotangents[t], t.data, *t.values)]
            before = [a.tobytes() for a in given if isinstance(a, np.ndarray)]
            gx = vjp(*given, **t.kwargs)
            after = [a.tobytes() for a in given if isinstance(a, np.ndarray)]
            assert after == before, f"{what} writes into what it was given"
            assert gx.dtype == x.dtype, f"{what} gives {gx.dtype}"
            wide = gx.shape[max(gx.ndim - x.ndim, 0) :]
            fits = all(m in (1, n) for m, n in zip(x.shape, wide, strict=True))
            assert fits, f"{what} gives the shape {gx.shape} for {x.shape}"
            cotangents[x] = cotangents.get(x, 0) + summed_to(x.shape, np.asarray(gx))
    found = [np.asarray(cotangents.get(x, np.zeros_like(x.data)), dtype) for x in leaves.values()]
    compare_each(sample, leaves, found, there.gradients, f"sum of the VJPs in {dtype}")


# ---- memory, repetition, recording ---------------------------------------------------------------


def memory(sample: Sample) -> None:
    """Inputs, result and cotangent are not written to, and no two gradients share memory with each
    other or with them."""
    there = reference(sample, "float64")
    inputs, leaves = tensors(sample, there.inputs, sample.floats)
    y, g = sample.ours(*inputs), here(there.cotangent)
    kept = [x.data if isinstance(x, tg.Tensor) else x for x in (y, g, *inputs)]
    before = [x.tobytes() for x in kept]
    grads = tg.grad(y, list(leaves.values()), g)
    recorded = [gx.data for gx in tg.grad(y, list(leaves.values()), g, create_graph=True)]
    y.backward(g)
    stored = [x.grad for x in leaves.values() if x.grad is not None]
    assert [x.tobytes() for x in kept] == before, f"{sample}: inputs, result or cotangent changed"
    for gradients in (grads, recorded, stored):
        for n, gx in enumerate(gradients):
            # CuPy knows no read-only array, and writes into the one element of a broadcast view.
            whole = getattr(gx.flags, "writeable", True) and (gx.size < 2 or 0 not in gx.strides)
            assert whole, f"{sample}: gradient {n} is read-only or a broadcast view"
            shared = any(np.may_share_memory(gx, other) for other in (*gradients[:n], *kept))
            assert not shared, f"{sample}: gradient {n} shares its memory"


def repetition(sample: Sample) -> None:
    """Twice the same run gives the same bits: by backward(), by grad(), and with create_graph."""
    runs = []
    for _ in range(2):
        there = reference(sample, "float32")
        inputs, leaves = tensors(sample, there.inputs, sample.floats)
        y = sample.ours(*inputs)
        xs = list(leaves.values())
        by_grad = tg.grad(y, xs, there.cotangent)
        y.backward(there.cotangent)
        by_backward = [np.zeros_like(x.data) if x.grad is None else x.grad for x in xs]
        runs.append([a.tobytes() for a in (y.data, *by_grad)])
        runs.append([a.tobytes() for a in (y.data, *by_backward)])
    assert all(run == runs[0] for run in runs), f"{sample}: another run gives other bits"


def recording(sample: Sample) -> None:
    """Nothing is recorded under no_grad(), nor where no input requires a gradient; the value is the
    same, and on raw arrays it is the same array."""
    there = reference(sample, "float64")
    inputs, _ = tensors(sample, there.inputs, sample.floats)
    y = sample.ours(*inputs)
    with tg.no_grad():
        silent = sample.ours(*inputs)
    plain = sample.ours(*tensors(sample, there.inputs, ())[0])
    for quiet, why in ((silent, "under no_grad()"), (plain, "without requires_grad")):
        if not any(quiet is x for x in inputs) and isinstance(quiet, tg.Tensor):
            assert quiet.op is None and not quiet.inputs, f"{sample} is recorded {why}"
            assert not quiet.requires_grad, f"{sample} requires a gradient {why}"
        array = quiet.data if isinstance(quiet, tg.Tensor) else quiet
        same = array.tobytes() == y.data.tobytes()
        assert same, f"{sample} has another value {why}"
    if sample.raw:
        array = sample.ours(*map(here, there.inputs))
        assert not isinstance(array, tg.Tensor), f"{sample}: a Tensor came of raw arrays"
        assert array.tobytes() == y.data.tobytes(), f"{sample}: other numbers of raw arrays"


def edges(sample: Sample) -> None:
    """Each VJP runs once, and only for an argument that needs it, whichever these are."""
    there = reference(sample, "float64")
    for only in sample.floats:
        inputs, leaves = tensors(sample, there.inputs, (only,))
        y = sample.ours(*inputs)
        tensors_below = [t for t in graph(y) if t.op is not None] if y.op is not None else []
        ops = {t.op for t in tensors_below}
        wanted = sum(
            isinstance(x, tg.Tensor) and x.requires_grad for t in tensors_below for x in t.inputs
        )
        calls: list = []
        original = {op: op.vjps for op in ops}
        try:
            for op, vjps in original.items():
                op.vjps = [counted(vjp, calls) for vjp, _ in zip(vjps, range(20), strict=False)]
            tg.grad(y, leaves[only], here(there.cotangent))
        finally:
            for op, vjps in original.items():
                op.vjps = vjps
        ran = f"{len(calls)} VJPs ran for {wanted} edges"
        assert len(calls) == wanted, f"{sample}, only {only} wanted: {ran}"


def counted(vjp: Any, calls: list) -> Any:
    return vjp and (lambda *args, **kwargs: calls.append(vjp) or vjp(*args, **kwargs))


MANNERS = {
    "each VJP": lambda s: [each_vjp(s, d) for d in ("float64", "float32") if d in s.checks],
    "memory": memory, "repetition": repetition, "recording": recording, "edges": edges,
}  # fmt: skip
