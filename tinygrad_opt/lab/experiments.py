"""All experiments of the lab in the order of the notes, and how to run them, several at a time."""

import importlib.util
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from tinygrad_opt.data.checks import whole, words
from tinygrad_opt.lab import (
    adaptive_rates,
    batch_noise,
    contours,
    digits_race,
    edge_of_stability,
    learning_rate,
    look_ahead,
    memory,
    mini_batches,
    momentum,
    perturbation,
    plateau,
    sweep,
)
from tinygrad_opt.lab.claims import Experiment, Finding
from tinygrad_opt.lab.workers import workers
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.train import Bar

ALL = (
    learning_rate, plateau, mini_batches, adaptive_rates, perturbation, batch_noise, momentum,
    sweep, look_ahead, memory, edge_of_stability, digits_race, contours,
)  # fmt: skip


def experiments() -> dict[str, Experiment]:
    """Every experiment by its key."""
    return {module.EXPERIMENT.key: module.EXPERIMENT for module in ALL}


def chosen_experiments(keys: Iterable[str] | None = None) -> dict[str, Experiment]:
    """Those of the keys, in the order of the notes; all of them for None.

    ValueError, with the nearest key, for one that is not there.
    """
    known = experiments()
    wanted = list(known) if keys is None else words("lab: keys", keys)
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

    Raises:
        ValueError: no experiment of that key; a seed below 0, or fewer than one job.
        ImportError: a package that one of them needs is not installed. Then none is run.
    """
    wanted = chosen_experiments(keys)
    seed, jobs = whole("lab: seed", seed), whole("lab: jobs", jobs, least=1)
    for key, experiment in wanted.items():
        if experiment.needs and importlib.util.find_spec(experiment.needs) is None:
            raise ImportError(
                f"{key} needs {experiment.needs}, which is not installed: pip install "
                '"tinygrad-opt[lab]", or choose other experiments'
            )
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
    with workers(jobs) as pool:
        waiting: dict[Future, str] = {pool.submit(_timed, key, seed): key for key in keys}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


def _timed(key: str, seed: int) -> tuple[Finding, float]:
    started = time.perf_counter()
    return experiments()[key].run(seed=seed), time.perf_counter() - started
