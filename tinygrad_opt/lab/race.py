"""A race is fair when all that differs is the optimizer: one network, one start, one sequence of
batches, and for each its own best learning rate, found by the same search.

A learning rate means something else to each optimizer (μ = 0.9 alone multiplies it by ten), so one
rate for all would decide the race. Each contestant gets the rate whose training loss after the race
was lowest on the grid `RATES`, in the mean over `TUNING_SEEDS`, which no race uses unless asked to.
The test images have no say in it. `tune` is that search: run it to check, or for another network.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.backend import manual_seed
from tinygrad_opt.data import Batches, load_digits
from tinygrad_opt.data.checks import whole
from tinygrad_opt.nn import MLP
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import SGD, Adam, Momentum, Nesterov, Optimizer, RMSProp
from tinygrad_opt.train import Bar, History, evaluate, fit

SIZES = (64, 32, 10)
EPOCHS = 30
BATCH_SIZE = 32
SEEDS = (0, 1, 2, 3, 4)

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
TUNING_SEEDS = (100, 101, 102, 103, 104)


# ---- who runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contestant:
    """An optimizer with its settings. `key` is what one types, `name` what tables and figures
    show; `make(params, lr=...)` makes the optimizer, `lr` is its tuned learning rate."""

    key: str
    name: str
    lr: float
    make: Callable[..., Optimizer]


CONTESTANTS = {
    contestant.key: contestant
    for contestant in (
        Contestant("sgd", "SGD", 1.0, SGD),
        Contestant("momentum-0.75", "Momentum μ=0.75", 0.5, partial(Momentum, mu=0.75)),
        Contestant("momentum-0.9", "Momentum μ=0.9", 0.2, partial(Momentum, mu=0.9)),
        Contestant("momentum-0.99", "Momentum μ=0.99", 0.01, partial(Momentum, mu=0.99)),
        Contestant("nesterov", "Nesterov μ=0.9", 0.2, partial(Nesterov, mu=0.9)),
        Contestant("rmsprop", "RMSProp ρ=0.95", 0.02, partial(RMSProp, rho=0.95)),
        Contestant("adam", "Adam", 0.02, Adam),
    )
}


def chosen(words: Iterable[str] | None = None) -> list[Contestant]:
    """The contestants of those keys, in the order of the table; all of them for None.

    A word without its settings means the whole family: "momentum" all three. Case does not matter.
    Raises ValueError for a word that means nobody.
    """
    if words is None:
        return list(CONTESTANTS.values())
    keys = set()
    for word in words:
        found = {key for key in CONTESTANTS if word.lower() in (key, key.partition("-")[0])}
        if not found:
            raise ValueError(f"no optimizer {word!r} here: there are {', '.join(CONTESTANTS)}")
        keys |= found
    return [contestant for key, contestant in CONTESTANTS.items() if key in keys]


# ---- the race ------------------------------------------------------------------------------------


@dataclass
class Result:
    """How one contestant did from one start.

    Attributes:
        key, name, lr, seed: who, at which learning rate, from which start.
        history: the `History` of the run, up to where it failed if it did.
        train_loss, test_loss: the mean cross-entropy, in nats, over all training and all test
            images after the last step; NaN for a run that failed.
        test_accuracy: the share of test images classified rightly; NaN for a run that failed.
        step_ms: the median time of a step in milliseconds: forward, backward and update.
        state_bytes: what the optimizer holds beside the weights, in bytes a weight.
        weights: how many weights the network has.
        failure: why the run stopped early; empty if it did not.
    """

    key: str
    name: str
    lr: float
    seed: int
    history: History = field(repr=False)
    train_loss: float
    test_loss: float
    test_accuracy: float
    step_ms: float
    state_bytes: float
    weights: int
    failure: str = ""


def race(
    optimizers: Iterable[str] | None = None,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seeds: Sequence[int] = SEEDS,
    *,
    progress: bool | None = False,
) -> list[Result]:
    """Train the same network on the same digits with each optimizer.

    For each seed, every contestant starts from the same weights (`manual_seed(seed)`, the global
    generator) and sees the same batches in the same order (`Batches(..., seed=seed)`): a ReLU
    network of 64, 32 and 10 units on the 1,437 training images, float32, on the current backend.

    Args:
        optimizers: keys of `CONTESTANTS` or families of them ("momentum"); None means all.
        epochs, batch_size: the learning rates were tuned for the defaults.
        seeds: one start each.
        progress: one bar for the whole race: True, False, or None as for `fit`.

    Returns:
        One Result for each contestant and seed, grouped by contestant. A run that diverged is
        among them, with its `failure`.

    Raises:
        ValueError: nobody by that name; a count or seed out of its range; no seeds, or one twice.
    """
    contestants = chosen(optimizers)
    epochs = whole("race: epochs", epochs, least=1)
    batch_size = whole("race: batch_size", batch_size, least=1)
    seeds = [whole("race: seeds", seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"race: seeds are different integers, at least one, not {seeds}")
    pairs = [(contestant, seed) for contestant in contestants for seed in seeds]
    results: list[Result] = []
    with Bar(progress, "racing", len(pairs)) as bar:
        for contestant, seed in pairs:
            results.append(run(contestant, seed, epochs=epochs, batch_size=batch_size))
            bar.advance(1, lambda: f"{results[-1].name}, seed {results[-1].seed}")
    return results


def run(
    contestant: Contestant,
    seed: int,
    *,
    lr: float | None = None,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    progress: bool | None = False,
) -> Result:
    """One contestant from one start; `lr` instead of its tuned learning rate."""
    train, test = load_digits()
    lr = contestant.lr if lr is None else lr
    manual_seed(seed)
    model = MLP(list(SIZES), activation="relu")
    optimizer = contestant.make(list(model.named_parameters()), lr=lr)
    history, failure = History(), ""
    train_loss = test_loss = test_accuracy = math.nan
    with np.errstate(all="ignore"):  # a divergence is told in the result, not in warnings
        try:
            fit(model, cross_entropy, optimizer, Batches(*train, batch_size, seed=seed), epochs,
                validation=test, history=history, progress=progress,
                label=f"{contestant.name}, seed {seed}")  # fmt: skip
            train_loss, _ = evaluate(model, cross_entropy, *train)
            test_loss, test_accuracy = history.val_loss[-1], history.val_accuracy[-1]
        except FloatingPointError as error:
            failure = str(error)
    weights = sum(t.size for t in model.parameters())
    return Result(
        contestant.key, contestant.name, lr, seed, history, train_loss, test_loss, test_accuracy,
        step_ms=1000 * statistics.median(history.step_seconds or [math.nan]),
        state_bytes=sum(optimizer.memory().values()) / weights, weights=weights, failure=failure,
    )  # fmt: skip


def tune(
    key: str,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = TUNING_SEEDS,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
) -> dict[float, float]:
    """The search by which the learning rates of `CONTESTANTS` were chosen.

    Returns the final training loss at each rate, in the mean over the seeds: inf where one of them
    diverged. The lowest wins.
    """
    (contestant,) = chosen([key])
    losses = {}
    for lr in rates:
        finals = [run(contestant, seed, lr=lr, epochs=epochs, batch_size=batch_size).train_loss
                  for seed in seeds]  # fmt: skip
        losses[lr] = math.inf if any(map(math.isnan, finals)) else statistics.fmean(finals)
    return losses


# ---- what came of it -----------------------------------------------------------------------------


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row a contestant, in the order in which they ran.

    Keys: key, name, lr; runs and failed, how many; train_loss and test_loss, the medians over the
    starts; test_accuracy, the mean, and test_accuracy_std, the standard deviation (None for fewer
    than two), all of the runs that did not fail (None if all did); step_ms, the median over the
    starts; state_bytes.
    """
    rows = []
    for key in dict.fromkeys(result.key for result in results):
        runs = [result for result in results if result.key == key]
        good = [result for result in runs if not result.failure]
        accuracies = [result.test_accuracy for result in good]
        rows.append({
            "key": key, "name": runs[0].name, "lr": runs[0].lr,
            "runs": len(runs), "failed": len(runs) - len(good),
            "train_loss": statistics.median(r.train_loss for r in good) if good else None,
            "test_loss": statistics.median(r.test_loss for r in good) if good else None,
            "test_accuracy": statistics.fmean(accuracies) if good else None,
            "test_accuracy_std": statistics.stdev(accuracies) if len(good) > 1 else None,
            "step_ms": statistics.median(result.step_ms for result in runs),
            "state_bytes": runs[0].state_bytes,
        })  # fmt: skip
    return rows
