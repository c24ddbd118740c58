"""α and μ are tuned together: over both there is one map, with a coast where learning diverges and
a summit that lies just before it.

On a bowl the coast is known, and so is the speed in each place; the map is measured all the same.
On a network the coast is only a guide: its curvatures change as it learns.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.data.checks import number, numbers, whole, words
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.descent import METHODS, closure_of
from tinygrad_opt.lab.limits import limits
from tinygrad_opt.lab.race import untrained
from tinygrad_opt.lab.tuning import EPOCHS, learn, split
from tinygrad_opt.lab.workers import mapping
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import SGD, Momentum
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train import Bar, evaluate

MUS = tuple(1 - np.geomspace(1.0, 0.01, 25))  # 0 to 0.99, in equal steps of log(1 - μ)
RATES = tuple(np.geomspace(0.05, 6.0, 72))
DIGIT_MUS = tuple(1 - np.geomspace(1.0, 0.01, 11))
DIGIT_RATES = tuple(np.geomspace(0.01, 10.0, 19))
CONDITION = 100.0
DIRECTIONS = 8  # curvatures of the bowl, evenly spaced on a logarithmic axis from 1/κ to 1
MARGIN = 0.03  # cells nearer than this to the curve are not judged
LOST, TINY = 1e12, 1e-250  # times the loss of the start: it will not come back; it is there
ROUND = 1e-6  # a rate below it is 0, up to rounding, and has no share to be off by
MEMORIES = 5  # of 1 / (1 - μ) steps, that a run takes at least
FAIR_MUS, FAIR_RATE = (0.5, 0.75, 0.9), 1e-4


@dataclass
class Map:
    """What became of every pair of μ (rows) and α (columns) under one method.

    Attributes:
        method: one of `theory.LIMITS`.
        problem: "bowl" or "digits".
        mus, rates: float64 (m,) and (a,), μ and α, ascending.
        curvature: the largest, L; of a network that at its start.
        loss: float64 (m, a), at the end: on a bowl as a share of that at the start, on the digits
            the mean cross-entropy in nats over the images it learnt from; inf where it was lost.
        diverged: bool (m, a), where it was higher at the end than at the start.
        shrink: float64 (m, a), by how much each step shrank the distance from the minimum in the
            last half, above 1 where it grew and inf where it was lost; None for a network.
        condition: κ of the bowl; None for a network.
    """

    method: str
    problem: str
    mus: np.ndarray
    rates: np.ndarray
    curvature: float
    loss: np.ndarray
    diverged: np.ndarray
    shrink: np.ndarray | None = None
    condition: float | None = None

    @property
    def limits(self) -> np.ndarray:
        """The predicted largest stable α of each row, float64 (m,)."""
        return np.array([theory.stability_limit(self.method, mu) for mu in self.mus]) / (
            self.curvature
        )

    def wrong_side(self, margin: float = MARGIN) -> tuple[int, int]:
        """How many cells diverged inside the predicted limit or did not outside of it, and of how
        many: those that are further than `margin`, a share of the limit, from it."""
        place = self.rates[None, :] / self.limits[:, None]
        judged = np.abs(place - 1) > margin
        wrong = judged & (self.diverged != (place > 1))
        return int(wrong.sum()), int(judged.sum())

    @property
    def best(self) -> tuple[int, int]:
        """Row and column of the fastest cell; of a network, of the lowest loss."""
        by = self.loss if self.shrink is None else self.shrink
        row, column = np.unravel_index(int(np.argmin(by)), by.shape)
        return int(row), int(column)


@dataclass
class Fair:
    """How much faster momentum is than gradient descent where α is small.

    Attributes:
        mus: the momenta.
        same_rate, same_sum: at the same α, and at the same α / (1 - μ): the decay of the error in a
            step, as a multiple of that of gradient descent.
    """

    mus: tuple[float, ...]
    same_rate: tuple[float, ...]
    same_sum: tuple[float, ...]


@dataclass
class Sweep(Finding):
    """The maps by their methods, and what α / (1 - μ) makes fair; None where that was not run."""

    maps: dict[str, Map]
    fair: Fair | None = None


def sweep(
    methods: Iterable[str] = ("heavy ball", "Nesterov"), mus: Sequence[float] = MUS,
    rates: Sequence[float] = RATES, condition: float = CONDITION, steps: int = 500, seed: int = 0,
    *, progress: bool | None = False,
) -> Sweep:  # fmt: skip
    """Run every pair of α and μ on a bowl whose largest curvature is 1.

    Args:
        methods: of `theory.LIMITS`.
        mus, rates: μ in [0, 1) and α above 0, each ascending, two or more of each.
        condition: κ, 1 or more: the smallest curvature is 1/κ.
        steps: of each run, 200 or more, and 5 / (1 - μ) or more for every μ: before that a run says
            more of its start than of its end.
        seed: of the start, and of the directions of the curvatures.
        progress: a bar: True, False, or None as for `fit`.

    Raises:
        ValueError: an unknown method; numbers out of their range, or not ascending.
    """
    methods, seed = _checked_methods(methods), whole("sweep: seed", seed)
    steps = whole("sweep: steps", steps, least=200)
    condition = number("sweep: condition", condition, low=1, ends="[)")
    grid = checked_grid(mus, rates)
    longest = math.ceil(MEMORIES * theory.effective_memory(grid[0][-1]) - 1e-9)
    if steps < longest:
        raise ValueError(
            f"sweep: {steps} steps are too few for μ = {grid[0][-1]:g}: {MEMORIES} / (1 - μ), "
            f"steps={longest}, or more"
        )
    maps = {}
    with Bar(progress, "sweeping", len(methods) * len(grid[0])) as bar:
        for method in methods:
            rows = []
            for mu in grid[0]:
                rows.append(_row(method, mu, grid[1], condition, steps, seed))
                bar.advance(1, functools.partial(str, f"{method}, μ = {mu:.3g}"))
            loss, shrink = (np.stack(part) for part in zip(*rows))
            maps[method] = Map(method, "bowl", *grid, 1.0, loss, loss > 1, shrink, condition)
    fair = _fair()
    return Sweep([*_of_maps(maps), *_of_fairness(fair)], maps, fair)


def _checked_methods(methods: Iterable[str]) -> list[str]:
    given = words("sweep: methods", methods)
    for method in given:
        theory.stability_limit(method)  # knows the names
    if not given or len(set(given)) < len(given):
        raise ValueError(f"sweep: methods are different ones, at least one, not {given}")
    return given


def checked_grid(mus: Sequence[float], rates: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """μ and α as arrays. ValueError unless they are in their ranges, two or more, and ascend."""
    mus = numbers("sweep: mus", mus, 0, 1, "[)")
    rates = numbers("sweep: rates", rates, 0)
    for name, values in (("mus", mus), ("rates", rates)):
        if len(values) < 2 or not (np.diff(values) > 0).all():
            raise ValueError(f"sweep: {name} are two or more numbers, each larger than the one "
                             f"before, not {values}")  # fmt: skip
    return np.array(mus), np.array(rates)


# ---- the bowl ------------------------------------------------------------------------------------


def _row(
    method: str, mu: float, rates: np.ndarray, condition: float, steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every α of one μ: the loss at the end and the shrinking, float64 (a,) each.

    A rate α on the loss f is the rate 1 on the loss α f: the rule sees α g, and nothing else of
    both. So one optimizer moves the whole row, where each α has weights and a factor of its own.
    """
    draws = np.random.default_rng([seed, 0x73776570])
    across, _ = np.linalg.qr(draws.standard_normal((DIRECTIONS, DIRECTIONS)))
    curvatures = np.geomspace(1 / condition, 1.0, DIRECTIONS)
    hessian = across * curvatures @ across.T
    start = across @ draws.choice([-1.0, 1.0], DIRECTIONS)  # as far in each direction
    w = Tensor(np.tile(start, (len(rates), 1)), requires_grad=True)
    optimizer = METHODS[method]([("w", w)], 1.0, mu)
    factor = rates.copy()

    def loss() -> Tensor:
        return (((w @ hessian) * w).sum(axis=1) * factor).sum() * 0.5

    closure = closure_of(optimizer, loss)
    losses = np.empty((steps + 1, len(rates)))
    for t in range(steps + 1):
        losses[t] = ((w.data @ hessian) * w.data).sum(axis=1) / 2
        lost = losses[t] > LOST * losses[0]
        factor[lost] = 0.0  # no gradient any more: it coasts, where it would overflow
        if t < steps:
            optimizer.step(closure)
    shrink = np.array([np.inf if gone else _shrink(column)
                       for gone, column in zip(factor == 0, losses.T)])  # fmt: skip
    return np.where(factor == 0, np.inf, losses[-1] / losses[0]), shrink


def _shrink(losses: np.ndarray) -> float:
    """By how much a step shrank the distance, the root of the loss, in the last half of the run, or
    of what came before the loss was too small for float64."""
    last = int(np.flatnonzero(losses > TINY * losses[0])[-1])
    if last < 2:
        return 0.0
    window = max(1, last // 10)  # a loss may swing: its mean over a tenth of the run
    middle, end = (losses[at - window + 1 : at + 1].mean() for at in (last - last // 2, last))
    return float((end / middle) ** (0.5 / (last // 2)))


def _of_maps(maps: dict[str, Map]) -> list[Claim]:
    claims = []
    for method, made in maps.items():
        wrong, judged = made.wrong_side()
        claims.append(Claim(f"cells on the wrong side of the curve, {method}, of {judged:,}",
                            0, wrong))  # fmt: skip
    for method, made in maps.items():
        predicted = predicted_shrink(made)
        stable = ~made.diverged & (predicted < 1)
        assert made.shrink is not None
        if not stable.any():
            continue
        apart = np.abs(made.shrink - predicted)[stable]
        claims += [
            Claim(f"rate in the fastest cell, {method}", float(predicted.min()),
                  float(made.shrink.min()), within=0.01, relative=predicted.min() > ROUND),
            Claim(f"farthest that the rate of a stable cell is from its prediction, {method}, of "
                  f"{stable.sum():,}", 0.0, float(apart.max()), within=0.01, relative=False),
        ]  # fmt: skip
    return claims


def predicted_shrink(made: Map) -> np.ndarray:
    """What `Map.shrink` is to be, float64 (m, a), by the roots of theory."""
    assert made.condition is not None
    curvatures = np.geomspace(1 / made.condition, 1.0, DIRECTIONS)
    return np.array([[theory.convergence_rate(made.method, lr, mu, curvatures)
                      for lr in made.rates] for mu in made.mus])  # fmt: skip


# ---- a network -----------------------------------------------------------------------------------


def sweep_digits(
    methods: Iterable[str] = ("heavy ball",), mus: Sequence[float] = DIGIT_MUS,
    rates: Sequence[float] = DIGIT_RATES, epochs: int = EPOCHS, seed: int = 0, jobs: int = 1,
    *, progress: bool | None = False,
) -> Sweep:  # fmt: skip
    """Train the network of the race with every pair of α and μ, and make no claim: the limit of a
    bowl with the curvature that the loss has at the start is a guide and no more.

    Args:
        methods, mus, rates: as for `sweep`.
        epochs: of each run, 1 or more.
        seed: of the first weights and of the batches, the same for all.
        jobs: how many pairs at a time, each in a process of its own.
        progress: a bar: True, False, or None as for `fit`.

    Raises:
        ImportError: SciPy, the extra [lab], is not installed.
        ValueError: as for `sweep`.
    """
    methods = _checked_methods(methods)
    epochs = whole("sweep: epochs", epochs, least=1)
    seed, jobs = whole("sweep: seed", seed), whole("sweep: jobs", jobs, least=1)
    grid = checked_grid(mus, rates)
    sharpness, first = _start(seed)
    tasks = [(method, mu, lr, epochs, seed) for method in methods for mu in grid[0]
             for lr in grid[1]]  # fmt: skip
    losses = []
    with Bar(progress, "sweeping", len(tasks)) as bar, mapping(jobs) as run:
        for task, loss in zip(tasks, run(_cell, tasks)):
            losses.append(loss)
            told = f"{task[0]}, μ = {task[1]:.3g}, α = {task[2]:.3g}"
            bar.advance(1, functools.partial(str, told))
    every = np.reshape(losses, (len(methods), len(grid[0]), len(grid[1])))
    return Sweep([], {
        method: Map(method, "digits", *grid, sharpness, loss, ~(loss <= first))
        for method, loss in zip(methods, every)
    })  # fmt: skip


def _start(seed: int) -> tuple[float, float]:
    """The sharpness of the loss before the first step, and that loss."""
    (x, y), _ = split()
    model = untrained(seed)
    found = limits(model, lambda: cross_entropy(model(x), y), SGD(model.parameters(), lr=0.0))
    return found.sharpness, evaluate(model, cross_entropy, x, y)[0]


def _cell(task: tuple[str, float, float, int, int]) -> float:
    method, mu, lr, epochs, seed = task
    return learn(lambda params: METHODS[method](params, lr, mu), epochs, seed).loss


# ---- what is fair --------------------------------------------------------------------------------


def _fair(steps: int = 2000) -> Fair:
    """Weights side by side on ½w², each with its own α and μ: gradient descent, then each μ at the
    same α, then each at the same α / (1 - μ)."""
    settings = [
        (FAIR_RATE, 0.0),
        *((FAIR_RATE, mu) for mu in FAIR_MUS),
        *((theory.fair_rate(FAIR_RATE, mu), mu) for mu in FAIR_MUS),
    ]
    weights = [Tensor(np.ones(1), requires_grad=True) for _ in settings]
    optimizer = Momentum(
        [{"params": [w], "lr": lr, "mu": mu} for w, (lr, mu) in zip(weights, settings)], FAIR_RATE
    )
    places = []
    for _ in range(steps):
        optimizer.zero_grad()
        for w in weights:
            (w * w).sum().backward(0.5)
        optimizer.step()
        places.append([w.item() for w in weights])
    decay = np.log(np.array(places[steps // 2]) / places[-1])
    times = tuple(map(float, decay / decay[0]))
    count = len(FAIR_MUS)
    return Fair(FAIR_MUS, times[1 : 1 + count], times[1 + count :])


def _of_fairness(fair: Fair) -> list[Claim]:
    claims = []
    for mu, same_rate, same_sum in zip(fair.mus, fair.same_rate, fair.same_sum):
        claims += [
            Claim(f"how much faster μ = {mu:g} is than μ = 0, at the same small α",
                  theory.effective_memory(mu), same_rate, within=0.02),
            Claim(f"how much faster μ = {mu:g} is than μ = 0, at the same small α/(1-μ)",
                  1.0, same_sum, within=0.02),
        ]  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="sweep",
    title="μ and α together",
    note="μ is conidered to be a HyperParameter and should be tuned for every application.",
    formula="stable below α = 2 (1 + μ) / L; to compare, keep α / (1 - μ)",
    run=sweep,
)
