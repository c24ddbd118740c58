"""What the engine costs beside the arithmetic: the same work by PyTorch eager, in the same run.

Rounds are interleaved and the best of many is taken, for a shared machine steals time from single
rounds. `python tests/benchmarks/overhead.py` prints one JSON object for the BLAS threads that
OMP_NUM_THREADS allows; `run.py` beside it runs this for one thread and for all, and prints them.
"""

import json
import os
import time

import numpy as np
import torch
from torch import nn
from twin import check_same_work, step_of, twin

import tinygrad_opt as tg

ROUNDS = 25
STEPS = {  # name: (layer sizes, batch, steps a round, largest ratio wanted)
    "2-16-16-2, batch 32": ((2, 16, 16, 2), 32, 200, 0.45),
    "784-128-64-10, batch 64": ((784, 128, 64, 10), 64, 40, 0.7),
    "784-1024-1024-10, batch 256": ((784, 1024, 1024, 10), 256, 4, 1.0),
}
OPS = {  # on 8 floats: ours, theirs
    "tanh": (tg.tanh, torch.tanh),
    "multiply (x * x)": (lambda x: x * x, lambda x: x * x),
    "add a constant": (lambda x: x + 1.0, lambda x: x + 1.0),
    "sum": (lambda x: x.sum(), lambda x: x.sum()),
    "relu": (tg.relu, torch.relu),
    "reshape": (lambda x: x.reshape(2, 4), lambda x: x.reshape(2, 4)),
}


def best(*functions, repeat):
    """Seconds a call of each function: the best of interleaved rounds of `repeat` calls."""
    times = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for n, f in enumerate(functions):
            start = time.perf_counter()
            for _ in range(repeat):
                f()
            times[n] = min(times[n], (time.perf_counter() - start) / repeat)
    return times


def op_and_back(ours, theirs):
    """The op forward, then backward under a fixed cotangent, on 8 floats; a fresh gradient each."""
    values = np.linspace(0.1, 0.8, 8, dtype="float32")
    x, z = tg.Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    g, h = np.ones(ours(x).shape, "float32"), torch.ones(tuple(theirs(z).shape))

    def our_call():
        x.grad = None
        ours(x).backward(g)

    def their_call():
        z.grad = None
        theirs(z).backward(h)

    return best(our_call, their_call, repeat=500)


def chain(ours, theirs, length=100):
    """One op of a long chain, forward and backward: the cost without that of starting a walk."""

    def chained(f):
        def apply(x):
            for _ in range(length):
                x = f(x)
            return x

        return apply

    values = np.full(8, 0.5, "float32")
    x, z = tg.Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    our_chain, their_chain = chained(ours), chained(theirs)
    g, h = np.ones(8, "float32"), torch.ones(8)
    seconds = best(lambda: our_chain(x).backward(g), lambda: their_chain(z).backward(h), repeat=10)
    return [s / length for s in seconds]


def training_step(sizes, batch, repeat):
    """Forward, cross-entropy, backward, momentum: a whole step of one MLP from the same start."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype("float32")
    y = rng.integers(0, sizes[-1], batch)
    tg.manual_seed(0)
    model = tg.nn.MLP(list(sizes))
    optimizer = tg.optim.Momentum(model.parameters(), lr=1e-3, mu=0.9)
    if sum(t.size for t in model.parameters()) > 10_000:  # as it would be by itself in a long run
        optimizer.compile()
    theirs = twin(model)
    reference = torch.optim.SGD(theirs.parameters(), lr=1e-3, momentum=0.9)
    tx, ty = torch.tensor(x), torch.tensor(y)
    our_step = step_of(model, tg.cross_entropy, optimizer, x, y)
    their_step = step_of(theirs, nn.CrossEntropyLoss(), reference, tx, ty)
    check_same_work(our_step, their_step)
    return best(our_step, their_step, by_hand(sizes, batch), repeat=repeat)


def by_hand(sizes, batch):
    """The same step in bare NumPy, no engine at all: the floor under any engine built on NumPy.

    Gradients are written straight into one flat vector, the update is done in place, nothing is
    checked and nothing can be changed.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0])).astype("float32")
    y, rows = rng.integers(0, sizes[-1], batch), np.arange(batch)
    shapes = [shape for a, b in zip(sizes, sizes[1:]) for shape in ((a, b), (b,))]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    w = (rng.standard_normal(ends[-1]) * 0.05).astype("float32")
    g, v = np.zeros_like(w), np.zeros_like(w)
    ws, gs = ([part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes)]
              for vector in (w, g))  # fmt: skip
    depth = len(sizes) - 1

    def step():
        hidden = [x]
        for n in range(depth):
            z = hidden[-1] @ ws[2 * n]
            z += ws[2 * n + 1]
            hidden.append(np.maximum(z, 0))
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        loss = (np.log(total).sum() - z[rows, y].sum()) / batch
        p /= total
        p[rows, y] -= 1
        p /= batch
        for n in reversed(range(depth)):
            np.matmul(hidden[n].T, p, out=gs[2 * n])
            p.sum(axis=0, out=gs[2 * n + 1])
            if n:
                p = p @ ws[2 * n].T
                p *= hidden[n] > 0
        np.multiply(v, 0.9, out=v)
        np.subtract(v, 1e-3 * g, out=v)
        np.add(w, v, out=w)
        return loss

    return step


def main():
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    rows = [
        {"what": f"{name}, 8 floats, and back", "wanted": 1.0, "seconds": op_and_back(*pair)}
        for name, pair in OPS.items()
    ]
    rows += [
        {"what": f"{name}, one of a chain of 100", "wanted": 1.0, "seconds": chain(*OPS[name])}
        for name in ("tanh", "multiply (x * x)", "add a constant")
    ]
    rows += [
        {"what": f"step {name}", "wanted": wanted, "seconds": training_step(sizes, batch, repeat)}
        for name, (sizes, batch, repeat, wanted) in STEPS.items()
    ]
    versions = {"numpy": np.__version__, "torch": torch.__version__}
    print(json.dumps({"threads": threads, "versions": versions, "rows": rows}))


if __name__ == "__main__":
    main()
