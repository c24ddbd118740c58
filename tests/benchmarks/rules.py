"""What one update of many weights costs: each elementwise rule beside PyTorch's version of it, in
the same run, and what an update does to the rest of a training step.

`python tests/benchmarks/rules.py` prints one JSON object for the threads that OMP_NUM_THREADS
allows; `run.py` beside it runs this for one thread and for all, and prints them. Rounds are
interleaved and the best of many is taken, for a shared machine steals time from single rounds.
"""

import json
import math
import os
import sys
import time

import numpy as np
import torch

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.optim import compiled

SIZES = (110_000, 1_900_000, 10_000_000)
SECONDS = 0.6  # for each rule, size and peer together
FUSED, FOREACH, PLAIN = 1.05, 0.5, 1.0  # largest ratios wanted

T = torch.optim
RULES = {  # name: (ours, theirs or None, whether theirs is fused)
    "SGD": (lambda p: optim.SGD(p, 1e-3), lambda p, **k: T.SGD(p, 1e-3, **k), True),
    "Momentum classical": (lambda p: optim.Momentum(p, 1e-3),
                           lambda p, **k: T.SGD(p, 1e-3, momentum=0.9, **k), True),
    "Momentum torch": (lambda p: optim.Momentum(p, 1e-3, form="torch"),
                       lambda p, **k: T.SGD(p, 1e-3, momentum=0.9, **k), True),
    "Momentum ema": (lambda p: optim.Momentum(p, 1e-3, form="ema"),
                     lambda p, **k: T.SGD(p, 1e-3, momentum=0.9, **k), True),
    "Nesterov shifted": (lambda p: optim.Nesterov(p, 1e-3, form="shifted"),
                         lambda p, **k: T.SGD(p, 1e-3, momentum=0.9, nesterov=True, **k), True),
    "Adagrad": (lambda p: optim.Adagrad(p, 1e-2), lambda p, **k: T.Adagrad(p, 1e-2, **k), True),
    "Adam": (lambda p: optim.Adam(p, 1e-3), lambda p, **k: T.Adam(p, 1e-3, **k), True),
    "Adam eps_hat": (lambda p: optim.Adam(p, 1e-3, form="eps_hat"),
                     lambda p, **k: T.Adam(p, 1e-3, **k), True),
    "AMSGrad": (lambda p: optim.AMSGrad(p, 1e-3),
                lambda p, **k: T.Adam(p, 1e-3, amsgrad=True, **k), True),
    "AdamW": (lambda p: optim.AdamW(p, 1e-3), lambda p, **k: T.AdamW(p, 1e-3, **k), True),
    "RMSProp": (lambda p: optim.RMSProp(p, 1e-3), lambda p, **k: T.RMSprop(p, 1e-3, **k), False),
    "RMSProp centered, μ": (
        lambda p: optim.RMSProp(p, 1e-3, mu=0.9, centered=True),
        lambda p, **k: T.RMSprop(p, 1e-3, momentum=0.9, centered=True, **k), False),
    "Adadelta": (lambda p: optim.Adadelta(p), lambda p, **k: T.Adadelta(p, **k), False),
    "Adamax": (lambda p: optim.Adamax(p), lambda p, **k: T.Adamax(p, **k), False),
    "NAdam": (lambda p: optim.NAdam(p), lambda p, **k: T.NAdam(p, **k), False),
    "RAdam": (lambda p: optim.RAdam(p), lambda p, **k: T.RAdam(p, **k), False),
    "Rprop": (lambda p: optim.Rprop(p), lambda p, **k: T.Rprop(p, **k), False),
    "ASGD": (lambda p: optim.ASGD(p), lambda p, **k: T.ASGD(p, **k), False),
    "Lion": (lambda p: optim.Lion(p, 1e-4), None, False),
    "ScheduleFree": (lambda p: optim.ScheduleFree(p, 1e-3), None, False),
}  # fmt: skip


def best(functions):
    """Seconds of one call of each: the best of interleaved rounds."""
    times = [math.inf] * len(functions)
    until = time.perf_counter() + SECONDS
    rounds = 0
    while rounds < 5 or time.perf_counter() < until:
        rounds += 1
        for n, f in enumerate(functions):
            start = time.perf_counter()
            f()
            times[n] = min(times[n], time.perf_counter() - start)
    return times


def prepared(make, size):
    """An optimizer over `size` float32 weights with a gradient, and its update alone."""
    rng = np.random.default_rng(0)
    w = tg.Tensor(rng.standard_normal(size).astype("float32"), requires_grad=True)
    optimizer = make([w])
    w.grad = rng.standard_normal(size).astype("float32")
    scalars = [optimizer._scalars(group) for group in optimizer.groups]
    gradients = optimizer._gradients()
    return optimizer, lambda: optimizer._update(gradients, scalars)


def measured(name, size, fast):
    make, peer, fused = RULES[name]
    optimizer, update = prepared(make, size)
    if fast:
        optimizer.compile()
    functions = [update, optimizer.step]
    if peer:
        p = torch.tensor(np.zeros(size, "float32"), requires_grad=True)
        p.grad = torch.randn(size)
        way = {"foreach": False} if not fast else {"fused": True} if fused else {"foreach": True}
        theirs = peer([p], **way)
        functions.append(theirs.step)
    for f in functions:
        f()
    seconds = best(functions)
    wanted = PLAIN if not fast else FUSED if fused else FOREACH
    beside = ("foreach=False" if not fast else "fused" if fused else "foreach") if peer else ""
    return {"rule": name, "size": size, "fast": fast, "beside": beside, "seconds": seconds,
            "wanted": wanted}  # fmt: skip


def inside_a_step(repeat=3):
    """A whole step of 784-1024-1024-10, batch 256, with Adam in each of its ways: a loop whose
    threads spin would slow the matrix products after it down, and this would show it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((256, 784)).astype("float32"), rng.integers(0, 10, 256)
    ways = {"no update": None, "NumPy calls": 0, "compiled, 1 thread": 1}
    if threads_allowed() > 1:
        ways[f"compiled, {threads_allowed()} threads"] = threads_allowed()

    def step_of(way):
        tg.manual_seed(0)
        model = tg.nn.MLP([784, 1024, 1024, 10])
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        loop = compiled.Loop(optim.Adam.rule, np.dtype("float32"))
        if ways[way]:
            loop.compile()

        def step():
            compiled._loops[optim.Adam.rule, np.dtype("float32")] = loop
            compiled.threads = lambda: ways[way]
            optimizer.zero_grad()
            tg.cross_entropy(model(x), y).backward()
            if ways[way] is not None:
                optimizer.step()

        return step

    patience, compiled.PATIENCE = compiled.PATIENCE, math.inf
    steps = {way: step_of(way) for way in ways}
    times = dict.fromkeys(ways, math.inf)
    for _ in range(25):
        for way, step in steps.items():
            step()
            start = time.perf_counter()
            for _ in range(repeat):
                step()
            times[way] = min(times[way], (time.perf_counter() - start) / repeat)
    compiled.PATIENCE = patience
    return times


def threads_allowed():
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def main():
    threads = threads_allowed()
    torch.set_num_threads(threads)
    only = sys.argv[1:] or list(RULES)
    step = inside_a_step() if len(sys.argv) == 1 else {}
    compiled.threads = lambda: threads
    rows = [measured(name, size, True) for name in only for size in SIZES]
    if threads == 1:
        compiled.PATIENCE = math.inf
        compiled._loops.clear()
        rows += [measured(name, size, False) for name in only for size in SIZES]
    versions = {"numpy": np.__version__, "torch": torch.__version__,
                "numba": __import__("numba").__version__}  # fmt: skip
    print(json.dumps({"threads": threads, "versions": versions, "rows": rows,
                      "inside a step": step}))  # fmt: skip


if __name__ == "__main__":
    main()
