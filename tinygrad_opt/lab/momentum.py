"""What a velocity remembers, and for how long: μ decides both how old a gradient may get and how
uneven a valley the heavy ball is made for.

The memory is seen in two runs that are alike but for one unit of gradient in the first step: the
difference between them is what is left of that unit. What μ is good for is seen on bowls whose
curvatures go from 1 to κ: each method is fastest at settings of its own, which κ decides.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.data.checks import numbers, whole
from tinygrad_opt.lab import descent, theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding, number
from tinygrad_opt.lab.descent import closure_of
from tinygrad_opt.optim import Momentum
from tinygrad_opt.tensor import Tensor

RATE = 0.1  # α of the runs that show the memory
AGE = 10  # steps, at which the weight of an old gradient is compared
DIRECTIONS = 8  # curvatures of a bowl, evenly spaced on a logarithmic axis from 1 to κ
FINE = 0.0025  # the share by which the curvatures of `Band` differ from one to the next

Setting = Callable[[float], tuple[float, float, float]]  # of κ: α, μ and the predicted rate


def _descent(condition: float) -> tuple[float, float, float]:
    lr, rate = theory.best_step(1.0, condition)
    return lr, 0.0, rate


# Who is tuned, by the name of its colour: one of `descent.METHODS`, and its best settings.
METHODS: dict[str, tuple[str, Setting]] = {
    "SGD": ("gradient descent", _descent),
    "Momentum": ("heavy ball", lambda k: theory.best_heavy_ball(1.0, k)),
    "Nesterov α=1/L": ("Nesterov", lambda k: theory.standard_nesterov(1.0, k)),
    "Nesterov": ("Nesterov", lambda k: theory.best_nesterov(1.0, k)),
}


@dataclass
class Memory:
    """What became of one unit of gradient under one μ.

    Attributes:
        mu: μ.
        left: float64 (steps,), the share of it in the velocity, 0, 1, 2, ... steps later.
        travel: how far it moved the weight in all, in units of α.
    """

    mu: float
    left: np.ndarray
    travel: float

    @property
    def half_life(self) -> float:
        """The age, in steps, at which half of it is left: a part of a step by the line between the
        logarithms of what is left before and after."""
        after = int(np.argmax(self.left <= 0.5))
        log = np.log(self.left[after - 1 : after + 1])
        return float(after - 1 + (log[0] - math.log(0.5)) / (log[0] - log[1]))


@dataclass
class Tuned:
    """A method at its best settings for one condition number.

    Attributes:
        name: one of `METHODS`.
        condition: κ.
        lr, mu: α and μ.
        predicted, measured: by how much a step shrinks the error in the end.
        slower, around: how many of how many neighbouring settings were slower.
    """

    name: str
    condition: float
    lr: float
    mu: float
    predicted: float
    measured: float
    slower: int = 0
    around: int = 0


@dataclass
class Band:
    """What one μ does to every curvature, each a direction of its own.

    Attributes:
        mu: μ.
        steps: float64 (n,), αλ of each direction, ascending.
        rates: float64 (n,), by how much a step shrinks it in the end; inf where it diverges, 0
            where it was gone before that could be seen.
        condition: the largest over the smallest of the curvatures that ring: whose weight
            changes its sign now and then. Below them it creeps and never does, above them it
            rattles: it changes its sign in every step.
    """

    mu: float
    steps: np.ndarray
    rates: np.ndarray
    condition: float

    def rate(self, condition: float) -> float:
        """The rate for curvatures from 1 to κ = `condition`, at the α of those that were run that
        makes it the best: the slower of the two ends decides."""
        apart = round(math.log(condition) / math.log(self.steps[1] / self.steps[0]))
        if apart == 0:
            return float(self.rates.min())
        return float(np.maximum(self.rates[:-apart], self.rates[apart:]).min())


@dataclass
class MomentumFinding(Finding):
    """What momentum remembers, and what it is good for; `memories` and `bands` by μ."""

    memories: dict[float, Memory]
    tuned: list[Tuned]
    bands: dict[float, Band]


def momentum(
    mus: Sequence[float] = (0.75, 0.9, 0.99), conditions: Sequence[float] = (10, 100, 1000),
    seed: int = 0,
) -> MomentumFinding:  # fmt: skip
    """Follow one unit of gradient under each μ, run each method at its best on bowls of each
    condition number, and find the condition number that each μ is right for.

    Args:
        mus: the momenta μ, different ones in (0, 1); the memory of 1 / (1 - μ) steps costs time.
        conditions: κ, above 1. In the middle one of them the neighbouring settings are tried too.
        seed: of the gradients that are there beside the one that is followed, and of the starts.

    Raises:
        ValueError: a number out of its range.
    """
    seed = whole("momentum: seed", seed)
    mus = numbers("momentum: mus", mus, 0, 1)
    conditions = numbers("momentum: conditions", conditions, low=1)
    if not mus or len(set(mus)) < len(mus):
        raise ValueError(f"momentum: mus are different momenta, at least one, not {mus}")
    if not conditions:
        raise ValueError("momentum: conditions are at least one")
    memories = {mu: remember(mu, seed) for mu in mus}
    tuned = [run_tuned(name, k, seed) for name in METHODS for k in conditions]
    middle = sorted(conditions)[len(conditions) // 2]
    for run in tuned:
        if run.condition == middle and run.name != "Nesterov α=1/L":  # that one is no optimum
            _try_neighbours(run, seed)
    bands = {mu: run_band(mu) for mu in (0.0, *mus)}
    claims = [*_of_memory(memories), *_of_speed(tuned), *_of_conditions(bands)]
    return MomentumFinding(claims, memories, tuned, bands)


# ---- what it remembers ---------------------------------------------------------------------------


def remember(mu: float, seed: int = 0) -> Memory:
    """Two weights get the same random gradients, but the second one unit more in the first step:
    what is between them is what that unit does."""
    steps = math.ceil(40 * theory.effective_memory(mu))  # 40 memories later, e⁻⁴⁰ of it is left
    draws = np.random.default_rng([seed, 0x6D656D])
    w = Tensor(np.zeros(2), requires_grad=True)
    optimizer = Momentum([("w", w)], RATE, mu)
    apart = np.zeros(steps + 1)
    for t in range(steps):
        g = draws.standard_normal() + np.array([0.0, 1.0 if t == 0 else 0.0])
        optimizer.zero_grad()
        (w * g).sum().backward()
        optimizer.step()
        apart[t + 1] = w.data[1] - w.data[0]
    moves = np.diff(apart)
    return Memory(mu, moves / moves[0], float(-apart[-1] / RATE))


def _of_memory(memories: dict[float, Memory]) -> list[Claim]:
    claims = []
    for mu, memory in memories.items():
        claims += [
            Claim(f"how far one unit of gradient moves a weight in all, μ = {mu:g}",
                  theory.effective_memory(mu), memory.travel, within=1e-9, unit="α"),
            Claim(f"what is left of a gradient {AGE} steps old, μ = {mu:g}",
                  theory.old_gradient(mu, AGE), float(memory.left[AGE]), within=1e-9),
            Claim(f"steps until half of a gradient is left, μ = {mu:g}",
                  theory.half_life(mu), memory.half_life, within=1e-9),
        ]  # fmt: skip
    return claims


# ---- how fast it is at its best ------------------------------------------------------------------


def run_tuned(name: str, condition: float, seed: int = 0) -> Tuned:
    """One of `METHODS` at its best for curvatures from 1 to κ = `condition`."""
    method, best = METHODS[name]
    lr, mu, predicted = best(condition)
    return Tuned(name, condition, lr, mu, predicted, measured_rate(method, lr, mu, condition, seed))


def measured_rate(
    method: str, lr: float, mu: float, condition: float, seed: int = 0, most: int = 3000
) -> float:
    """By how much a step of one of `descent.METHODS` shrinks the distance from the minimum, on a
    bowl with curvatures from 1 to κ = `condition`: the mean over the last half of a run.

    The run ends when the distance has shrunk or grown by 10¹⁰⁰, or after `most` steps. At the best
    settings the distance is t · rateᵗ, which adds ln 2 to the logarithm over the last half whatever
    its length: so far down, that is 0.3 % of the rate at κ = 10, and less above.
    """
    curvature = np.geomspace(1.0, condition, DIRECTIONS)
    draws = np.random.default_rng([seed, 0x72617465])
    start = draws.uniform(0.5, 1.0, DIRECTIONS) * draws.choice([-1.0, 1.0], DIRECTIONS)
    w = Tensor(start, requires_grad=True)
    optimizer = descent.METHODS[method]([("w", w)], lr, mu)
    closure = closure_of(optimizer, lambda: (curvature * w * w).sum() * 0.5)
    sizes = [float(np.linalg.norm(w.data))]
    while len(sizes) <= most and 1e-100 < sizes[-1] / sizes[0] < 1e100:
        optimizer.step(closure)
        sizes.append(float(np.linalg.norm(w.data)))
    last = len(sizes) // 2
    return float((sizes[-1] / sizes[-1 - last]) ** (1 / last))


def _try_neighbours(run: Tuned, seed: int) -> None:
    """Whether settings around the best are slower: α 5 % up or down, 1 - μ 10 % up or down."""
    method, _ = METHODS[run.name]
    for by in (0.95, 1.0, 1.05):
        for friction in (0.9, 1.0, 1.1) if run.mu else (1.0,):
            if (by, friction) != (1.0, 1.0):
                mu = 1 - (1 - run.mu) * friction
                run.around += 1
                run.slower += run.measured < measured_rate(
                    method, run.lr * by, mu, run.condition, seed
                )


def _of_speed(tuned: Sequence[Tuned]) -> list[Claim]:
    claims = [
        Claim(f"rate a step, {run.name} at its best, κ = {run.condition:,g}",
              run.predicted, run.measured, within=0.01)
        for run in tuned
    ]  # fmt: skip
    return claims + [
        Claim(f"slower settings around the best of {run.name}, κ = {run.condition:,g}, "
              f"of {run.around}", run.around, run.slower)
        for run in tuned if run.around
    ]  # fmt: skip


# ---- which condition it is right for -------------------------------------------------------------


def run_band(mu: float) -> Band:
    """Run αλ from 10⁻⁶ to 4 side by side, each a weight of its own, and see what becomes of it."""
    # Long enough to see the ends of the band within 0.1 %, short enough for float64 to hold √μᵗ.
    memory = theory.effective_memory(mu)
    steps = round(min(max(3000, 200 * memory), 1000 * memory))
    # One rate α = 1 for all: what differs is λ.
    curvature = np.exp(np.arange(math.log(1e-6), math.log(4.0), FINE))
    w = Tensor(np.ones(len(curvature)), requires_grad=True)
    optimizer = Momentum([("w", w)], 1.0, mu)
    flips, diverged = np.zeros(len(curvature), int), np.zeros(len(curvature), bool)
    kept = curvature.copy()
    halfway = before = w.data.copy()
    for t in range(steps):
        optimizer.zero_grad()
        (kept * w * w).sum().backward(0.5)
        before = w.data.copy()
        optimizer.step()
        flips += np.signbit(w.data) != np.signbit(before)
        diverged |= np.abs(w.data) > 1e6
        kept[diverged] = 0.0  # no gradient any more: it coasts, where it would overflow
        if t + 1 == steps // 2:
            halfway = np.maximum(np.abs(w.data), np.abs(before))
    last = np.maximum(np.abs(w.data), np.abs(before))  # a weight that rings may just cross 0
    gone = last == 0  # faster than numbers get small
    rates = (np.where(gone, 0.0, last) / np.where(gone, 1.0, halfway)) ** (1 / (steps - steps // 2))
    rates[diverged] = np.inf
    ringing = curvature[(flips > 0) & (flips < steps) & ~diverged]
    condition = float(ringing[-1] / ringing[0]) if len(ringing) else 1.0
    return Band(mu, curvature, rates, condition)


def _of_conditions(bands: dict[float, Band]) -> list[Claim]:
    claims = []
    for mu, band in bands.items():
        if mu:
            claims.append(Claim(f"largest over smallest curvature that rings, μ = {mu:g}",
                                theory.condition_for(mu), band.condition, within=0.01))  # fmt: skip
    for mu in filter(None, bands):
        condition = theory.condition_for(mu)
        fastest = min(bands, key=lambda other: bands[other].rate(condition))
        words = ", ".join(f"{other:g}" for other in bands)
        claims.append(Claim(f"the fastest of μ = {words} where κ = {number(round(condition))}",
                            f"{mu:g}", f"{fastest:g}"))  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="momentum",
    title="What momentum remembers, and which valleys it is made for",
    note="Smaller the μ value, sooner the previous gradient value is discarded. Closer it is to 1, "
    "their effect continues for longer time.\n"
    "μ is conidered to be a HyperParameter and should be tuned for every application.",
    formula="1 + μ + μ² + ... = 1 / (1 - μ);   the best μ = ((√κ - 1) / (√κ + 1))²",
    run=momentum,
)
