"""All experiments of the lab in the order of the notes, and how to run them, several at a time."""

import importlib
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager

from tinygrad_opt.lab.claims import Experiment, Finding
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.train import Bar

MODULES = (
    "learning_rate", "plateau", "mini_batches", "adaptive_rates", "perturbation", "batch_noise",
    "momentum", "sweep", "look_ahead", "memory", "edge_of_stability", "contours",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def experiments() -> dict[str, Experiment]:
    """Every experiment by its key."""
    found = {}
    for name in MODULES:
        if importlib.util.find_spec(f"tinygrad_opt.lab.{name}"):
            experiment = importlib.import_module(f"tinygrad_opt.lab.{name}").EXPERIMENT
            found[experiment.key] = experiment
    return found


def chosen_experiments(keys: Iterable[str] | None = None) -> dict[str, Experiment]:
    """Those of the keys, in the order of the notes; all of them for None.

    ValueError, with the nearest key, for one that is not there.
    """
    known = experiments()
    wanted = list(known) if keys is None else list(keys)
    for key in wanted:
        if key not in known:
            raise ValueError(f"no experiment {key!r}{nearest(key, known)}")
    return {key: known[key] for key in known if key in wanted}


def run(
    keys: Iterable[str] | None = None, seed: int = 0, jobs: int = 1,
    progress: bool | None = False,
) -> dict[str, tuple[Finding, float]]:  # fmt: skip
    """Run experiments.

    Args:
        keys: which, of `experiments()`; None means all.
        seed: of everything that is drawn.
        jobs: how many at a time, each in a process of its own with one BLAS thread. From a script,
            more than one wants the lines `if __name__ == "__main__":` around the call.
        progress: one bar for all: True, False, or None as for `fit`.

    Returns:
        What each found and the seconds that it took, in the order of the notes.
    """
    wanted = chosen_experiments(keys)
    done: dict[str, tuple[Finding, float]] = {}
    with Bar(progress, "the lab", len(wanted)) as bar:
        for key, result in _results(list(wanted), seed, min(jobs, len(wanted))):
            done[key] = result
            bar.advance(1, lambda key=key: key)  # type: ignore[misc]
    return {key: done[key] for key in wanted}


def _results(keys: list[str], seed: int, jobs: int) -> Iterator[tuple[str, tuple[Finding, float]]]:
    if jobs <= 1:
        for key in keys:
            yield key, _timed(key, seed)
        return
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    with _one_thread(), ProcessPoolExecutor(jobs, context) as pool:
        waiting: dict[Future, str] = {pool.submit(_timed, key, seed): key for key in keys}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _timed(key: str, seed: int) -> tuple[Finding, float]:
    started = time.perf_counter()
    return experiments()[key].run(seed=seed), time.perf_counter() - started


@contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS thread for the processes that start in here: they are as many as there are cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
