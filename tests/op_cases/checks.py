"""What is asked of a sample: value and gradients against PyTorch's, under a random cotangent.

A case is one sample in one kind of check and one variant of it (a dtype, a mask, a layout): each
compares one gradient array an argument. All of them run on the current backend.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_opt as tg
from op_cases.reference import (
    arguments,
    jacobian_reference,
    places,
    reference,
    result,
    result_dtype,
    second_reference,
)
from op_cases.sample import ALWAYS, EVERY, SAMPLES, Sample

# The error may be this part of |theirs| + FLOOR · max |theirs|, for sums may cancel, and, for those
# that cancel entirely, of FLOOR · sample.scale.
RTOL = {"float64": 1e-9, "float32": 1e-5, "float16": 5e-2}
FLOOR = {"float64": 1e-3, "float32": 0.1, "float16": 1.0}
TINY = {"float64": 1e-100, "float32": 1e-37, "float16": 1e-4}  # underflow
LAYOUTS = ("transposed", "strided", "reversed", "read-only")
SMALL = 24  # columns of a Jacobian

# ---- the comparison ------------------------------------------------------------------------------


def here(x: np.ndarray) -> Any:
    """`x` as an array of the current backend."""
    return tg.backend.asarray(x)


def compare(
    sample: Sample, ours: Any, theirs: np.ndarray, dtype: str, what: str, precision: str = ""
) -> None:
    """AssertionError, naming the worst element, unless shape, dtype and values agree, and `ours` is
    an array of the current backend.

    precision: the dtype whose rounding is allowed for, if not that of the array.
    """
    what = f"{sample}: {what}"
    precision = precision or dtype
    assert tg.backend.name_of(ours) == tg.backend.current(), f"{what} left the backend"
    ours = ours if tg.backend.current() == "numpy" else ours.get()
    assert ours.dtype == dtype, f"{what}: dtype {ours.dtype}, not {dtype}"
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, PyTorch's is {theirs.shape}"
    if not theirs.size or theirs.dtype.kind != "f":
        assert (ours == theirs).all(), f"{what}: {ours!r}, PyTorch's is {theirs!r}"
        return
    with np.errstate(invalid="ignore", over="ignore"):
        error, size = np.abs(ours - theirs), np.abs(theirs)
        largest = size.max()
        floor = FLOOR[precision] * max(largest if np.isfinite(largest) else 0, sample.scale)
        right = error <= max(sample.rtol, RTOL[precision]) * (size + floor) + TINY[precision]
    if right.all():
        return
    right |= (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if right.all():
        return
    error = np.where(right, -1, np.nan_to_num(error, nan=np.inf))
    worst = np.unravel_index(np.argmax(error), error.shape)
    raise AssertionError(
        f"{what}: at {tuple(map(int, worst))} ours is {ours[worst]!r}, PyTorch's {theirs[worst]!r} "
        f"({int((~right).sum())} of {theirs.size} elements are wrong)"
    )


def compare_each(
    sample: Sample, leaves: dict, found: list, expected: list, what: str, precision: str = ""
) -> None:
    """Gradients of `leaves`, a dict from an argument's place to its Tensor."""
    for (n, leaf), gx, theirs in zip(leaves.items(), found, expected, strict=True):
        compare(sample, gx, theirs, str(leaf.dtype), f"{what} of argument {n}", precision)


# ---- the kinds of check --------------------------------------------------------------------------


def tensors(sample: Sample, inputs: list, wanted: Any) -> tuple[list, dict]:
    """The inputs of which `wanted` are leaves, and these by place. Of the others every second one
    is a Tensor that wants no gradient, the rest stay raw arrays."""
    inputs = [here(x) for x in inputs]
    leaves = {n: tg.Tensor(inputs[n], requires_grad=True) for n in wanted}
    quiet = {n: tg.Tensor(inputs[n]) for n in sample.floats if n % 2 == 0}
    return [{**quiet, **leaves}.get(n, x) for n, x in enumerate(inputs)], leaves


def plain(sample: Sample, dtypes: Any, form: str = "once", ones: bool = False) -> None:
    """Value and gradients, through `backward()`."""
    there = reference(sample, dtypes, form, ones)
    what = f"in {dtypes}" if form == "once" else f"({form})"
    precision = "" if isinstance(dtypes, str) else "float32"
    inputs, leaves = tensors(sample, there.inputs, places(sample, form))
    y = result(sample.ours, arguments(sample, inputs, form), form)
    compare(sample, y.data, there.value, result_dtype(sample, dtypes), f"value {what}", precision)
    y.backward(here(there.cotangent))
    found = [here(np.zeros_like(x.numpy())) if x.grad is None else x.grad for x in leaves.values()]
    compare_each(sample, leaves, found, there.gradients, f"gradient {what}", precision)


def jacobian(sample: Sample) -> None:
    """Every row: the gradients of each element of the result, from one graph."""
    inputs, leaves = tensors(sample, reference(sample, "float64").inputs, sample.floats)
    y = sample.ours(*inputs)
    for i, expected in zip(np.ndindex(y.shape), jacobian_reference(sample), strict=True):
        unit = np.zeros(y.shape)
        unit[i] = 1
        found = tg.grad(y, list(leaves.values()), here(unit))
        compare_each(sample, leaves, found, expected, f"row {i} of the Jacobian")


def second_order(sample: Sample, dtype: str, wanted: tuple[int, ...]) -> None:
    """The gradient of a gradient, with respect to the inputs and to the first cotangent."""
    there, second = reference(sample, dtype), second_reference(sample, dtype, wanted)
    inputs, leaves = tensors(sample, there.inputs, wanted)
    g = tg.Tensor(there.cotangent, requires_grad=True)
    firsts = tg.grad(sample.ours(*inputs), list(leaves.values()), g, create_graph=True)
    expected = [there.gradients[sample.floats.index(n)] for n in wanted]
    recorded = [gx.data for gx in firsts]
    compare_each(sample, leaves, recorded, expected, f"recorded gradient in {dtype}")
    terms = [(gx * here(v)).sum() for gx, v in zip(firsts, second.directions, strict=True)]
    slope = functools.reduce(tg.add, terms)
    assert slope.requires_grad, f"{sample}: the recorded gradient has no graph of its own"
    found = tg.grad(slope, [*leaves.values(), g])
    what = f"second-order gradient in {dtype}, {wanted} wanted, with respect"
    compare_each(sample, {**leaves, "g": g}, found, second.gradients, what)


def mask(sample: Sample, wanted: tuple[int, ...]) -> None:
    """Only some of the inputs require a gradient."""
    there = reference(sample, "float64")
    inputs, leaves = tensors(sample, there.inputs, wanted)
    found = tg.grad(sample.ours(*inputs), list(leaves.values()), here(there.cotangent))
    expected = [there.gradients[sample.floats.index(n)] for n in wanted]
    compare_each(sample, leaves, found, expected, f"gradient, only {wanted} wanted,")


def layout(sample: Sample, how: str) -> None:
    """The same numbers otherwise laid out in memory, the cotangent's too."""
    there = reference(sample, "float64")
    inputs = [arranged(here(x), how) for x in there.inputs]
    inputs, leaves = tensors(sample, inputs, sample.floats)
    y = sample.ours(*inputs)
    compare(sample, y.data, there.value, str(y.dtype), f"value of {how} inputs")
    found = tg.grad(y, list(leaves.values()), arranged(here(there.cotangent), how))
    compare_each(sample, leaves, found, there.gradients, f"gradient of {how} inputs, that")


def arranged(x: Any, how: str) -> Any:
    """The numbers of x with other strides, or not to be written to (which CuPy cannot promise)."""
    backward = (slice(None, None, -1),) * x.ndim
    every_second = (slice(None, None, 2),) * x.ndim
    if how == "transposed":
        return x.T.copy().T
    if how == "reversed":
        return x[backward].copy()[backward]
    if how == "strided":
        wide = here(np.zeros([2 * n for n in x.shape], x.dtype))
        wide[every_second] = x
        return wide[every_second] if x.ndim else wide
    x = x.copy()
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


# ---- every case of a sample ----------------------------------------------------------------------


def variants(sample: Sample, kind: str) -> list[tuple[Callable, tuple]]:
    """The cases of one kind that `sample` has: functions, and their arguments after the sample."""
    floats = tuple(sample.floats)
    shapes = [sample.inputs[n].shape for n in floats]
    sizes = [sample.inputs[n].size for n in floats]
    match kind:
        case "float64" | "float32" | "float16":
            return [(plain, (kind,))]
        case "jacobian":
            return [(jacobian, ())] * (0 < sum(sizes) <= SMALL)
        case "second order":
            return [(second_order, ("float64", floats))]
        case "second order, float32":
            return [(second_order, ("float32", floats))]
        case "mask":
            return [
                (mask, (some,))
                for count in range(1, len(floats))
                for some in itertools.combinations(floats, count)
            ]
        case "second order, mask":
            return [(second_order, ("float64", (n,))) for n in floats] if len(floats) > 1 else []
        case "layout":
            useless = {"transposed"} if max(map(len, shapes)) < 2 else set()
            return [(layout, (how,)) for how in LAYOUTS if max(sizes) > 1 and how not in useless]
        case "used twice":
            return [(plain, ("float64", kind))]
        case "same tensor":
            return [(plain, ("float64", kind))] * (len(floats) > 1 and len(set(shapes)) == 1)
        case "mixed dtypes":
            return [(plain, (mixed,)) for mixed in mixtures(sample)]
    raise ValueError(f"no kind of check is called {kind!r}")


def mixtures(sample: Sample) -> set[tuple[str, ...]]:
    """One float input in another dtype than all the others."""
    both = "float32", "float64"
    return {
        tuple(odd if n == place else rest for n in range(len(sample.inputs)))
        for odd, rest in (both, both[::-1])
        for place in sample.floats
        if len(sample.floats) > 1
    }


def cases(op: str, kind: str, briefly: bool = False) -> Iterator[tuple[Sample, Callable, tuple]]:
    """Every case of `op` in this kind of check; `briefly`, those of very many samples are left out
    of all kinds but the first two."""
    for sample in SAMPLES[op]:
        if kind in sample.checks and not (briefly and sample.many and kind not in ALWAYS):
            for check, variant in variants(sample, kind):
                yield sample, check, variant


def failures(op: str, kinds: tuple[str, ...] = EVERY, briefly: bool = False) -> Iterator[str]:
    """What is wrong with `op`, a line for each case that fails."""
    for kind in kinds:
        for sample, check, variant in cases(op, kind, briefly):
            try:
                check(sample, *variant)
            except AssertionError as error:
                yield str(error)
            except Exception as error:
                error.add_note(f"in the check {kind!r} {variant} of {sample}")
                raise
