"""What an update and a training step cost on a GPU: beside a copy of the same memory, and beside
PyTorch doing the same work in the same run. Medians of times between CUDA events.

`python tests/benchmarks/gpu.py` prints one JSON object a line as each figure is known, so that what
comes to grief later takes none of them along; `gpu_run.py` beside it runs this, and prints a table.
An update of 100 million weights is bound by memory: no rule can be faster than reading its arrays
and writing its results, which is why a device copy is the measure.
"""

import argparse
import json
import statistics
import time
import traceback
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
from twin import check_same_work, step_of, twin

import tinygrad_opt as tg
from tinygrad_opt import optim


def pytorch() -> tuple[Any, str]:
    """PyTorch, proved by a kernel that has run, or else None and what it said."""
    try:
        import torch

        torch.zeros(1, device="cuda") + 1
    except Exception as error:  # whatever it is, our own figures do without
        return None, f"{type(error).__name__}: {error}".splitlines()[0]
    return torch, ""


torch, MISSING = pytorch()
SIZES, BATCH = (784, 1024, 1024, 10), 256
UPDATES = {  # name: (ours, PyTorch's or None, in which way PyTorch's)
    "SGD": (lambda p: optim.SGD(p, 1e-3), lambda p, **k: torch.optim.SGD(p, 1e-3, **k), "fused"),
    "Momentum": (lambda p: optim.Momentum(p, 1e-3, form="torch"),
                 lambda p, **k: torch.optim.SGD(p, 1e-3, momentum=0.9, **k), "fused"),
    "RMSProp": (lambda p: optim.RMSProp(p, 1e-3),
                lambda p, **k: torch.optim.RMSprop(p, 1e-3, **k), "foreach"),
    "Adam": (lambda p: optim.Adam(p, 1e-3),
             lambda p, **k: torch.optim.Adam(p, 1e-3, **k), "fused"),
    "Lion": (lambda p: optim.Lion(p, 1e-4), None, ""),
}  # fmt: skip
STEPS = {  # name: (ours, PyTorch's) for the parameters of a whole model
    "Momentum": (lambda p: optim.Momentum(p, 1e-3, form="torch"),
                 lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9)),
    "Adam": (lambda p: optim.Adam(p, 1e-3), lambda p: torch.optim.Adam(p, 1e-3)),
    "Adam beside a fused one": (lambda p: optim.Adam(p, 1e-3),
                                lambda p: torch.optim.Adam(p, 1e-3, fused=True)),
}  # fmt: skip


def say(kind: str, **figures: object) -> None:
    print(json.dumps({"kind": kind, **figures}), flush=True)


def medians(functions: list[Callable], rounds: int, calls: int) -> list[float]:
    """Seconds of one call of each: the median over the rounds, which are interleaved.

    A round enqueues its calls one after the other with an event between any two, and waits at the
    end alone. So a short kernel is timed at the pace at which the host hands it over, which is the
    pace of a training loop, and a long one at its own.
    """
    times: list[list[float]] = [[] for _ in functions]
    for f in functions:
        f()  # compiles, allocates
    for _ in range(rounds):
        for f, seconds in zip(functions, times):
            events = [cupy.cuda.Event() for _ in range(calls + 1)]
            events[0].record()
            for event in events[1:]:
                f()
                event.record()
            events[-1].synchronize()
            seconds += [cupy.cuda.get_elapsed_time(a, b) / 1e3 for a, b in zip(events, events[1:])]
    return [statistics.median(seconds) for seconds in times]


# ---- the update alone ----------------------------------------------------------------------------


def copy(weights: int, rounds: int) -> float:
    """Bytes a second that a device copy reads and writes."""
    a, b = cupy.ones(weights, "float32"), cupy.empty(weights, "float32")
    (seconds,) = medians([lambda: cupy.copyto(b, a)], rounds, 10)
    return 2 * a.nbytes / seconds


def update(name: str, weights: int, rounds: int) -> None:
    make, peer, way = UPDATES[name]
    w = tg.Tensor(cupy.linspace(-1, 1, weights, dtype="float32"), requires_grad=True)
    optimizer = make([w])
    w.grad = cupy.full(weights, 1e-3, "float32")
    scalars, gradients = optimizer.values(), optimizer._gradients()
    functions = [lambda: optimizer._update(gradients, scalars), optimizer.step]
    if peer and torch:
        p = torch.full((weights,), 0.5, device="cuda", requires_grad=True)
        p.grad = torch.full((weights,), 1e-3, device="cuda")
        functions.append(peer([p], **{way: True}).step)
    speed = copy(weights, rounds)
    alone, step, *theirs = medians(functions, rounds, 10)
    (rule,) = optimizer._rules()
    moved = 4 * (len(rule.arrays) + len(rule.results))  # bytes a weight: read, and written
    say("update", name=name, weights=weights, moved=moved, seconds=alone, step=step, copied=speed,
        share=weights * moved / alone / speed, beside=way, theirs=theirs[0] if theirs else None,
        ratio=alone / theirs[0] if theirs else None)  # fmt: skip


# ---- a training step -----------------------------------------------------------------------------


def training_step(name: str, rounds: int, calls: int) -> None:
    make, peer = STEPS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, SIZES[0])).astype("float32")
    y = rng.integers(0, SIZES[-1], BATCH)
    ((ours_x, ours_y),) = tg.data.Batches(x, y, BATCH, shuffle=False)
    tg.manual_seed(0)
    model = tg.nn.MLP(list(SIZES))
    our_step = step_of(model, tg.cross_entropy, make(model.parameters()), ours_x, ours_y)
    functions = [our_step]
    if torch:
        theirs = twin(model).to("cuda")
        criterion, reference = torch.nn.CrossEntropyLoss(), peer(theirs.parameters())
        tx, ty = torch.tensor(x, device="cuda"), torch.tensor(y, device="cuda")
        functions.append(step_of(theirs, criterion, reference, tx, ty))
        check_same_work(*functions)
    seconds, *peers = medians(functions, rounds, calls)
    cupy.cuda.Device().synchronize()
    start = time.perf_counter()
    for _ in range(few := min(calls, 8)):  # so few that the GPU's queue does not fill up
        our_step()
    host = (time.perf_counter() - start) / few
    say("step", name=name, seconds=seconds, theirs=peers[0] if peers else None, host=host,
        ratio=seconds / peers[0] if peers else None)  # fmt: skip


# ---- all of it -----------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    driver, runtime = (
        f"{v // 1000}.{v % 1000 // 10}"
        for v in (cupy.cuda.runtime.driverGetVersion(), cupy.cuda.get_local_runtime_version())
    )
    return {
        "GPU": properties["name"].decode(), "CUDA driver": driver, "CUDA runtime": runtime,
        "CuPy": cupy.__version__, "NumPy": np.__version__,
        **({"PyTorch": torch.__version__,
            "TF32 of PyTorch": torch.get_float32_matmul_precision()} if torch else {}),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=50, help="training steps a round")
    given = parser.parse_args()
    tg.use("cupy")
    say("versions", **versions())
    if not torch:
        say("alone", why=MISSING)
    jobs = [(update, name, given.weights, given.rounds) for name in UPDATES]
    jobs += [(training_step, name, given.rounds, given.calls) for name in STEPS
             if torch or " beside " not in name]  # fmt: skip
    for job, name, *rest in jobs:
        try:
            job(name, *rest)
        except Exception as error:
            where = "".join(traceback.format_exception(error)[-2:])
            say("failed", what=f"{job.__name__} {name}", why=where)
        cupy.get_default_memory_pool().free_all_blocks()
        if torch:
            torch.cuda.empty_cache()
    say("end")


if __name__ == "__main__":
    main()
