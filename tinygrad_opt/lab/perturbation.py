"""Where the gradient is zero no optimizer moves, and any noise sets it going: fast on the ridge of
a saddle, and on flat ground as slowly as a random walk.

The saddle is ½ λ (x² - y²), and a run starts on its ridge y = 0, from where it slides to the middle
and stays. The flat ground is that of a dead neuron: relu(w) is to become 1, but w is below 0, where
its gradient is 0. Both are left by noise alone, and how many runs have left by which step is known
beforehand. What the noise costs shows in a bowl ½ λ w²: a floor, which a decay of the noise lowers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.data.checks import number, whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.ops.elementwise import relu
from tinygrad_opt.optim import SGD, Adam, GaussianNoise, Momentum, Optimizer
from tinygrad_opt.tensor import Tensor

CURVATURE = 1.0  # λ, of the saddle and of the bowl
AWAY = 1.0  # a run has left the ridge when |y| is above this
DEPTH = 0.08  # a dead neuron starts this far below the weight from which on it fires
BOWL_STEPS = 900
BOWL_CROWD = 10_000  # at most: each gives a mean of many steps, where an escape is there once
STILL_STEPS = 300  # of the runs without noise
LOOKS = {"": (0.5, 0.75), "half": (), "decay": (0.5,)}  # shares near which a crowd is looked at

Loss = Callable[..., Tensor]
Make = Callable[..., Optimizer]


def saddle(x: Any, y: Any) -> Any:  # of tensors, and of the arrays of a map
    return CURVATURE / 2 * (x * x - y * y)


def neuron(w: Tensor) -> Tensor:
    return (relu(w) - 1) ** 2 / 2


def bowl(w: Tensor) -> Tensor:
    return CURVATURE / 2 * w * w


# ---- what is found -------------------------------------------------------------------------------


@dataclass
class Escape:
    """How many had left by which step, under SGD with noise.

    Attributes:
        std: the standard deviation of the noise, in units of the gradient.
        predicted: float64 (steps + 1,), the share that is to have left.
        crowd: float64 (steps + 1,), the share that had, of many weights in one vector.
        seeds: the same of runs each with a seed of its own; None if there are none.
    """

    std: float
    predicted: np.ndarray
    crowd: np.ndarray
    seeds: np.ndarray | None = None


@dataclass
class Settling:
    """The loss in a bowl under noise: float64 (steps + 1,) each, the mean of many weights and the
    prediction."""

    loss: np.ndarray
    predicted: np.ndarray


@dataclass
class Perturbation(Finding):
    """Who left, when, and at what price.

    Attributes:
        lr, decay: α and γ of the runs.
        paths: float64 (seeds, steps + 1, 2): x and y of the runs from the ridge, a seed each.
        still: float64 (STILL_STEPS + 1,): the largest |y| without noise, under any optimizer.
        escapes: "ridge", "ridge, half", "ridge, decay", "neuron", "neuron, half": half the noise,
            and the noise with a decay.
        bowl: "constant" and "decay".
    """

    lr: float
    decay: float
    paths: np.ndarray
    still: np.ndarray
    escapes: dict[str, Escape]
    bowl: dict[str, Settling]


# ---- the runs ------------------------------------------------------------------------------------


def record(
    loss: Loss, starts: Mapping[str, np.ndarray], make: Make, steps: int, see: Callable[..., Any]
) -> np.ndarray:
    """What `see(*weights)` says before each step and after the last, stacked: (steps + 1, ...).

    `starts` are the weights by name, many runs side by side in each, which do not touch one
    another: `loss` gives that of each. `make(params)` makes the optimizer.
    """
    weights = [Tensor(start.copy(), requires_grad=True) for start in starts.values()]
    optimizer = make(list(zip(starts, weights)))
    seen = [see(*(w.data for w in weights))]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(*weights).sum().backward()
        optimizer.step()
        seen.append(see(*(w.data for w in weights)))
    return np.array(seen)


def perturbation(
    lr: float = 0.1, std: float = 0.2, decay: float = 0.55, seeds: int = 100,
    crowd: int = 160_000, seed: int = 0,
) -> Perturbation:  # fmt: skip
    """Leave a ridge and flat ground, with noise and without.

    Args:
        lr: α, above 0 and below 1 / λ, λ being 1.
        std: the noise's standard deviation, above 0.
        decay: γ of the noise that gets less, whose variance is std² / (1 + t)^γ; 0 or more.
        seeds: how many runs with a seed of their own, 1 or more.
        crowd: how many weights run side by side in one vector, 100 or more; in the bowl, at most
            10,000 of them.
        seed: of all noise and starts.

    Raises:
        ValueError: a number out of its range.
    """
    seeds = whole("perturbation: seeds", seeds, least=1)
    crowd = whole("perturbation: crowd", crowd, least=100)
    seed = whole("perturbation: seed", seed)
    lr = number("perturbation: lr", lr, 0, 1 / CURVATURE)
    std = number("perturbation: std", std, low=0)
    decay = number("perturbation: decay", decay, low=0, ends="[)")

    def noisy(own: int, std: float = std, decay: float = 0.0) -> Make:
        noise = GaussianNoise(std, decay=decay, seed=seed * 1_000_000 + own)
        return partial(SGD, lr=lr, transforms=[noise])

    crowds = range(seeds, seeds + 7)  # their seeds, after those of the single runs
    paths, ridges = _ridges(lr, std, decay, seeds, crowd, noisy, crowds[:3])
    neurons = _neurons(lr, std, seeds, crowd, noisy, crowds[3:5])
    settlings = {
        name: _bowl(lr, std, gamma, min(crowd, BOWL_CROWD), noisy(own, decay=gamma))
        for (name, gamma), own in zip((("constant", 0.0), ("decay", decay)), crowds[5:])
    }
    still, moved = _still(lr, seeds, seed)
    escapes = ridges | neurons
    claims = [
        *(Claim(f"{what} without noise: SGD, momentum, Adam, of {3 * seeds}", 0, count)
          for what, count in moved.items()),
        *_escape_claims(lr, seeds, crowd, escapes),
        *_floor_claims(lr, std, decay, min(crowd, BOWL_CROWD), settlings),
    ]  # fmt: skip
    return Perturbation(claims, lr, decay, paths, still, escapes, settlings)


def _ridges(
    lr: float, std: float, decay: float, seeds: int, crowd: int, noisy: Callable[..., Make],
    own: range,
) -> tuple[np.ndarray, dict[str, Escape]]:  # fmt: skip
    """The paths of the single runs from the ridge, and all escapes from it."""

    def until_most(std: float) -> int:
        return math.ceil(theory.ridge_time(lr, CURVATURE, std, AWAY, share=0.9))

    def starts(count: int) -> dict[str, np.ndarray]:
        return {"x": np.resize([2.0, -2.0], count), "y": np.zeros(count)}

    def escape(std: float, decay: float, own: int) -> Escape:
        steps = until_most(std)
        predicted = [theory.beyond(AWAY, theory.noisy_variance(lr, -CURVATURE, std, t, decay))
                     for t in range(steps + 1)]  # fmt: skip
        left = record(saddle, starts(crowd), noisy(own, std, decay), steps,
                      lambda x, y: np.mean(np.abs(y) > AWAY))  # fmt: skip
        return Escape(std, np.array(predicted), left)

    points = {name: start.reshape(-1, 1) for name, start in starts(seeds).items()}
    steps = until_most(std)
    paths = np.stack([
        record(saddle, {name: start[k] for name, start in points.items()}, noisy(k), steps,
               lambda x, y: (x[0], y[0]))
        for k in range(seeds)
    ])  # fmt: skip
    escapes = {
        "ridge": escape(std, 0.0, own[0]),
        "ridge, half": escape(std / 2, 0.0, own[1]),
        "ridge, decay": escape(std, decay, own[2]),
    }
    escapes["ridge"].seeds = np.mean(np.abs(paths[:, :, 1]) > AWAY, axis=0)
    return paths, escapes


def _neurons(
    lr: float, std: float, seeds: int, crowd: int, noisy: Callable[..., Make], own: range
) -> dict[str, Escape]:
    """The escapes of dead neurons."""

    def fired(make: Make, count: int, steps: int) -> np.ndarray:
        """The share that has fired by each step."""
        ever = np.zeros(count, bool)

        def see(w: np.ndarray) -> float:
            np.logical_or(ever, w > 0, out=ever)
            return ever.mean()

        return record(neuron, {"w": np.full(count, -DEPTH)}, make, steps, see)

    def escape(std: float, own: int, until: float) -> Escape:
        steps = math.ceil(theory.crossing_time(lr, std, DEPTH, until))
        predicted = [theory.crossed(lr, std, DEPTH, t) for t in range(steps + 1)]
        return Escape(std, np.array(predicted), fired(noisy(own, std), crowd, steps))

    # until 3 in 4 fire; with half the noise, which takes four times as long, until 3 in 5
    escapes = {"neuron": escape(std, own[0], 0.75), "neuron, half": escape(std / 2, own[1], 0.6)}
    steps = len(escapes["neuron"].crowd) - 1
    escapes["neuron"].seeds = np.mean([fired(noisy(k), 1, steps) for k in range(seeds)], axis=0)
    return escapes


def _bowl(lr: float, std: float, decay: float, crowd: int, make: Make) -> Settling:
    """The way from w = 1 to the floor that noise leaves."""
    loss = record(bowl, {"w": np.ones(crowd)}, make, BOWL_STEPS,
                  lambda w: CURVATURE / 2 * np.mean(w * w))  # fmt: skip
    variance = [theory.noisy_variance(lr, CURVATURE, std, t, decay) for t in range(BOWL_STEPS + 1)]
    rate = theory.convergence_rate("gradient descent", lr, 0.0, [CURVATURE])
    mean = rate ** np.arange(BOWL_STEPS + 1)
    return Settling(loss, CURVATURE / 2 * (np.array(variance) + mean**2))


def _still(lr: float, seeds: int, seed: int) -> tuple[np.ndarray, dict[str, int]]:
    """The largest |y| over the steps, and how many moved at all, of runs without noise."""
    rng = np.random.default_rng([seed, 0x7374696C6C])
    ridge = {"x": rng.uniform(-2, 2, seeds), "y": np.zeros(seeds)}
    dead = {"w": -DEPTH * rng.uniform(0.1, 2, seeds)}
    moved = {"off the ridge": 0, "dead neurons moved": 0}
    largest = np.zeros(STILL_STEPS + 1)
    for rule in (SGD, Momentum, Adam):
        make = partial(rule, lr=lr)
        ys = np.abs(record(saddle, ridge, make, STILL_STEPS, lambda x, y: y.copy()))
        ws = record(neuron, dead, make, STILL_STEPS, lambda w: w.copy())
        largest = np.maximum(largest, ys.max(axis=1))
        moved["off the ridge"] += int((ys[-1] != 0).sum())
        moved["dead neurons moved"] += int((ws[-1] != dead["w"]).sum())
    return largest, moved


# ---- the claims ----------------------------------------------------------------------------------


def reached(shares: np.ndarray, share: float) -> float:
    """The step, interpolated, at which the shares first come to `share`; NaN if they never do."""
    there = np.flatnonzero(shares >= share)
    if not len(there) or not there[0]:
        return math.nan
    before, after = shares[there[0] - 1], shares[there[0]]
    return float(there[0] - (after - share) / (after - before))


def _escape_claims(
    lr: float, seeds: int, crowd: int, escapes: dict[str, Escape]
) -> Iterator[Claim]:
    """All within three standard errors: of a count binomial ones, and of a median the time in which
    the share goes so far to either side of a half."""
    did = {"ridge": "left the ridge", "neuron": "dead neuron woke"}
    for name, escape in escapes.items():
        if escape.seeds is not None:
            last = len(escape.seeds) - 1
            share, count = float(escape.predicted[last]), seeds * float(escape.seeds[last])
            yield Claim(
                f"{did[name]} by step {last}, σ = {escape.std:g}, of {seeds} seeds", seeds * share,
                count, within=3 * seeds * _binomial_error(share, seeds),
                relative=False,
            )  # fmt: skip
    for name, escape in escapes.items():
        place, _, how = name.partition(", ")
        noise = f"σ = {escape.std:g}" + (" and decay" if how == "decay" else "")
        for step in (int(np.argmin(np.abs(escape.predicted - part))) for part in LOOKS[how]):
            share = float(escape.predicted[step])
            yield Claim(
                f"{did[place]} by step {step}, {noise}, share of {crowd:,}", share,
                float(escape.crowd[step]), within=3 * _binomial_error(share, crowd), relative=False,
            )  # fmt: skip
        if how != "decay":
            time = partial(theory.crossing_time, lr, escape.std, DEPTH)
            if place == "ridge":
                time = partial(theory.ridge_time, lr, CURVATURE, escape.std, AWAY)
            off = 3 * _binomial_error(0.5, crowd)
            low, median, high = time(0.5 - off), time(0.5), time(0.5 + off)
            yield Claim(
                f"{did[place]}, {noise}: step by which half had", median,
                reached(escape.crowd, 0.5), within=max(median - low, high - median), relative=False,
            )  # fmt: skip


def _binomial_error(share: float, runs: int) -> float:
    """The standard error of a share of so many independent runs."""
    return math.sqrt(share * (1 - share) / runs)


def _floor_claims(
    lr: float, std: float, decay: float, crowd: int, settlings: dict[str, Settling]
) -> list[Claim]:
    """Within three standard errors, too."""
    steps = BOWL_STEPS // 3
    last, within = slice(-steps, None), 3 * _floor_error(lr, steps, crowd)
    constant, falling = settlings["constant"], settlings["decay"]
    return [
        Claim(f"floor of the bowl's loss, σ = {std:g}", theory.floor(lr, CURVATURE, std),
              float(constant.loss[last].mean()), within),
        Claim(f"its loss with decay {decay:g}, mean of the last {steps} steps",
              float(falling.predicted[last].mean()), float(falling.loss[last].mean()), within),
    ]  # fmt: skip


def _floor_error(lr: float, steps: int, crowd: int) -> float:
    """The standard error, as a share, of a loss that is the mean of so many steps and weights: that
    of one is √2 of it (w is Gaussian), and of its excess a step leaves q = (1 - αλ)², so that of
    the steps only one in (1 + q) / (1 - q) counts."""
    q = (1 - lr * CURVATURE) ** 2
    return math.sqrt(2 * (1 + q) / ((1 - q) * steps * crowd))


EXPERIMENT = Experiment(
    key="perturbation",
    title="Noise leaves where no gradient points the way",
    note='LR can cause Plateau. To avoid Plateau, we can use "Gradient PERTURBATION".\n'
    "Adds the Gaussian Noise to the Gradient update equation, to jump out of the Plateau curve.",
    formula="ridge: Var(y) = α²σ² ((1 + αλ)²ᵗ - 1) / ((1 + αλ)² - 1); flat ground: t α²σ²",
    run=perturbation,
)
