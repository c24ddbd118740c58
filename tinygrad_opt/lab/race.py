"""A race is fair when all that differs is the optimizer: one network, one start, one sequence of
batches, and for each its own best learning rate, found by the same search.

A learning rate means something else to each optimizer (μ = 0.9 alone multiplies it by ten), so one
rate for all would decide the race. Each contestant gets the rate whose training loss after the race
was lowest on the grid `RATES`, in the mean over `TUNING_SEEDS`, which no race uses unless asked to.
The test images have no say in it. `tune` is that search: run it to check, or for another network.
(Near to divergence, rounding decides: elsewhere, the rates of Adadelta, AMSGrad and NAdam may come
out one step of the grid away.) All else is the optimizer's default, unless its name or its `remark`
says so: whoever tunes the rest as well will find other winners.
"""

import contextlib
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.backend import seeded
from tinygrad_opt.data import Batches, load_digits
from tinygrad_opt.data.checks import listed, numbers, whole, words
from tinygrad_opt.nn import MLP
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import (
    ASGD,
    LAMB,
    LARS,
    LBFGS,
    SAM,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Lion,
    Lookahead,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    RAdam,
    RMSProp,
    Rprop,
    ScheduleFree,
)
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train import Bar, History, evaluate, fit

SIZES = (64, 32, 10)
EPOCHS = 30
BATCH_SIZE = 32
SEEDS = (0, 1, 2, 3, 4)

RATES = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
         1.0, 2.0, 5.0, 10.0, 20.0)  # fmt: skip
TUNING_SEEDS = (100, 101, 102, 103, 104)


# ---- who runs ------------------------------------------------------------------------------------


def _of_each(name: str) -> Callable[..., None]:
    def call(self: "Together", *arguments: Any) -> None:
        for optimizer in self.optimizers:
            getattr(optimizer, name)(*arguments)

    return call


class Together:
    """Optimizers of different parameters as one, for a loop that knows one: the gradient is taken
    once, then each takes its step."""

    def __init__(self, *optimizers: Any):
        self.optimizers = optimizers

    groups = property(lambda self: [group for each in self.optimizers for group in each.groups])
    t = property(lambda self: self.optimizers[0].t)
    zero_grad, observe, raise_if_not_finite = map(
        _of_each, ("zero_grad", "observe", "raise_if_not_finite")
    )
    eval, train = _of_each("eval"), _of_each("train")

    def step(self, closure: Callable[[], Any]) -> Any:
        loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def memory(self) -> dict[str, int]:
        return {f"{type(each).__name__}.{slot}": size for each in self.optimizers
                for slot, size in each.memory().items()}  # fmt: skip


def muon_and_adamw(params: Sequence[tuple[str, Any]], lr: float) -> Together:
    """Muon for the matrices, in steps of Adam's size, so that AdamW's α for the rest is its own
    (Liu et al. 2025)."""
    matrices = [(name, t) for name, t in params if t.ndim == 2]
    others = [(name, t) for name, t in params if t.ndim != 2]
    return Together(Muon(matrices, lr, adjust_lr_fn="match_rms_adamw"), AdamW(others, lr))


@dataclass(frozen=True)
class Contestant:
    """An optimizer with its settings.

    Attributes:
        key: what one types. The part before a "-" is that of its kind.
        name: what tables and figures show.
        lr: its tuned learning rate.
        make: `make(params, lr=...)` makes the optimizer from (name, tensor) pairs.
        full_batch: it takes each gradient over all images: a step an epoch instead of one a batch.
            It sees as many images as the others.
        remark: what else sets it apart, in a sentence; empty if nothing does.
    """

    key: str
    name: str
    lr: float
    make: Callable[..., Any]
    full_batch: bool = False
    remark: str = ""


CONTESTANTS = {
    contestant.key: contestant
    for contestant in (
        Contestant("sgd", "SGD", 1.0, SGD),
        Contestant("momentum-0.75", "Momentum μ=0.75", 0.5, partial(Momentum, mu=0.75)),
        Contestant("momentum-0.9", "Momentum μ=0.9", 0.2, partial(Momentum, mu=0.9)),
        Contestant("momentum-0.99", "Momentum μ=0.99", 0.01, partial(Momentum, mu=0.99)),
        Contestant("nesterov", "Nesterov μ=0.9", 0.2, partial(Nesterov, mu=0.9)),
        Contestant("asgd", "ASGD t0=675", 1.0, partial(ASGD, t0=675),
                   remark="What is measured of ASGD is its average, here over the second half."),
        Contestant("schedulefree", "ScheduleFree", 2.0, ScheduleFree,
                   remark="What is measured of ScheduleFree is its average."),
        Contestant("lookahead", "Lookahead + Momentum", 0.5,
                   lambda params, lr: Lookahead(Momentum(params, lr, mu=0.9)),
                   remark="Lookahead runs around Momentum."),
        Contestant("sam", "SAM + Momentum", 0.2,
                   lambda params, lr: SAM(Momentum(params, lr, mu=0.9)),
                   remark="SAM runs around Momentum and takes two gradients a step, twice the work "
                   "of the others."),
        Contestant("adagrad", "Adagrad", 0.2, Adagrad),
        Contestant("rmsprop", "RMSProp ρ=0.95", 0.02, partial(RMSProp, rho=0.95)),
        Contestant("adadelta", "Adadelta", 10.0, Adadelta),
        Contestant("rprop", "Rprop full batch", 0.02, Rprop, full_batch=True,
                   remark="Rprop goes by signs of gradients, which the noise of batches flips."),
        Contestant("adam", "Adam", 0.02, Adam),
        Contestant("amsgrad", "AMSGrad", 0.02, AMSGrad),
        Contestant("adamw", "AdamW", 0.01, AdamW,
                   remark="AdamW decays the weights, as by default with λ = 0.01."),
        Contestant("adamax", "Adamax", 0.05, Adamax),
        Contestant("nadam", "NAdam", 0.05, NAdam),
        Contestant("radam", "RAdam", 0.02, RAdam),
        Contestant("lion", "Lion", 0.001, Lion),
        Contestant("lars", "LARS", 2.0, LARS),
        Contestant("lamb", "LAMB", 0.005, LAMB,
                   remark="So does LAMB, with the same λ."),
        Contestant("adafactor", "Adafactor", 0.2, Adafactor),
        Contestant("muon", "Muon + AdamW", 0.01, muon_and_adamw,
                   remark="Muon moves the matrices, in steps of Adam's size, and AdamW, at the "
                   "same learning rate, the biases; by default, its λ is 0.1."),
        Contestant("lbfgs", "LBFGS full batch", 1.0, partial(LBFGS, max_iter=1), full_batch=True,
                   remark="LBFGS learns of the curvature from differences of gradients, which must "
                   "be of one and the same loss. It has no line search here: one gradient a step."),
    )
}  # fmt: skip


def chosen(names: Iterable[str] | None = None) -> list[Contestant]:
    """The contestants of those keys, in the order of the table; all of them for None.

    A word without its settings means the whole family: "momentum" all three. Case does not matter.
    Raises ValueError for a word that means nobody, with the nearest that means somebody, and for no
    word at all.
    """
    if names is None:
        return list(CONTESTANTS.values())
    keys = set()
    families = {key: key.partition("-")[0] for key in CONTESTANTS}
    for word in words("optimizers", names):
        found = {key for key, family in families.items() if word.lower() in (key, family)}
        if not found:
            known = dict.fromkeys([*families, *families.values()])
            raise ValueError(f"no optimizer {word!r} here{nearest(word.lower(), known)}")
        keys |= found
    if not keys:
        raise ValueError("optimizers: none are named; None means all")
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
        gradients: how many were taken; most optimizers take one a step.
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
    gradients: int
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

    For each seed, every contestant starts from the same weights (those that `manual_seed(seed)`
    gives) and sees the same batches in the same order (`Batches(..., seed=seed)`; those of the
    full batch see all images at once): a ReLU network of 64, 32 and 10 units on the 1,437 training
    images, float32, on the current backend.

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
    seeds = [whole("race: seeds", seed) for seed in listed("race: seeds", seeds, "integers")]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"race: seeds are different integers, at least one, not {seeds}")
    pairs = [(contestant, seed) for contestant in contestants for seed in seeds]
    results: list[Result] = []
    with Bar(progress, "racing", len(pairs)) as bar:
        for contestant, seed in pairs:
            results.append(run(contestant, seed, epochs=epochs, batch_size=batch_size))
            bar.advance(1, lambda: f"{results[-1].name}, seed {results[-1].seed}")
    return results


def untrained(seed: int) -> MLP:
    """The network as each contestant gets it from this start."""
    with seeded(seed):
        return MLP(list(SIZES), activation="relu")


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
    batch_size = len(train[0]) if contestant.full_batch else batch_size
    model = untrained(seed)
    optimizer = contestant.make(list(model.named_parameters()), lr=lr)
    history, failure, gradients = History(), "", 0

    def loss(prediction: Tensor, target: Any) -> Tensor:
        nonlocal gradients
        gradients += prediction.requires_grad  # which it does not where it is only evaluated
        return cross_entropy(prediction, target)

    train_loss = test_loss = test_accuracy = math.nan
    with np.errstate(all="ignore"):  # a divergence is told in the result, not in warnings
        try:
            fit(model, loss, optimizer, Batches(*train, batch_size, seed=seed), epochs,
                validation=test, history=history, progress=progress,
                label=f"{contestant.name}, seed {seed}")  # fmt: skip
            with _measured(optimizer):
                train_loss, _ = evaluate(model, cross_entropy, *train)
                test_loss, test_accuracy = evaluate(model, cross_entropy, *test)  # type: ignore
        except FloatingPointError as error:
            failure = str(error)
    weights = sum(t.size for t in model.parameters())
    return Result(
        contestant.key, contestant.name, lr, seed, history, train_loss, test_loss, test_accuracy,
        step_ms=1000 * statistics.median(history.step_seconds or [math.nan]),
        state_bytes=sum(optimizer.memory().values()) / weights, weights=weights,
        gradients=gradients, failure=failure,
    )  # fmt: skip


def _measured(optimizer: Any) -> contextlib.AbstractContextManager:
    """Inside, the weights are those that the optimizer gives as its result."""
    optimizer.eval()
    return optimizer.averaged() if isinstance(optimizer, ASGD) else contextlib.nullcontext()


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
    for lr in numbers("tune: rates", rates, low=0, ends="[)"):
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
