"""Nesterov's gradient is taken where the velocity is about to lead: that calms the weights, and it
lowers the learning rate at which they run away.

The heavy ball asks for the slope where it stands, moves on by its velocity, and so acts on old
news. Nesterov moves first and asks then. On a bowl of curvature λ the step μv changes the gradient
by λμv, a brake that grows with the speed. Too large an α turns the brake into a push.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.data.checks import number, whole
from tinygrad_opt.lab import descent, theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.descent import closure_of, fate, largest_stable, moves_of
from tinygrad_opt.ops.loss import mse_loss
from tinygrad_opt.optim import Momentum, Nesterov, Optimizer
from tinygrad_opt.tensor import Tensor

MUS = (0.5, 0.75, 0.9, 0.99)  # whose limits are looked for
DAMPED = (0.1, 0.5)  # the αλ whose rates are compared, both with complex roots
START = (-4.0, 1.2)
SMALLEST = 1.0  # the curvature along the valley; across it, κ

# By method: who runs, as figures name it, and the name of its limit in `theory.LIMITS`.
METHODS: dict[str, tuple[Callable[..., Optimizer], str]] = {
    "SGD": (descent.METHODS["gradient descent"], "gradient descent"),
    "Momentum": (Momentum, "heavy ball"),
    "Nesterov": (Nesterov, "Nesterov"),
    "Nesterov, shifted": (partial(Nesterov, form="shifted"), "Nesterov"),
}


@dataclass
class Path:
    """A way down the valley, step by step; float64 arrays of points (x along it, y across it).

    Attributes:
        name: who went: a key of `METHODS`.
        weights: (steps + 1, 2), where it stood, the start first.
        taken: (steps, 2), where the weights stood while the gradient was taken.
        kept: (steps, 2), the part μv of each step, which momentum adds.
        pushed: (steps, 2), the part -αg, which the gradient adds.
    """

    name: str
    weights: np.ndarray
    taken: np.ndarray
    kept: np.ndarray
    pushed: np.ndarray


@dataclass
class LookAhead(Finding):
    """What the look-ahead does.

    Attributes:
        lr, mu, condition: α, μ and κ of the valley ½ (x² + κ y²).
        paths: by key of `METHODS`.
        limits: by key of `METHODS`, float64: the largest stable αλ found at each of `MUS`.
        sizes: by (key, αλ), float64 (steps,): the size of the state (w, next w) on a bowl.
    """

    lr: float
    mu: float
    condition: float
    paths: dict[str, Path]
    limits: dict[str, np.ndarray]
    sizes: dict[tuple[str, float], np.ndarray]

    @property
    def curvatures(self) -> np.ndarray:
        """Along the valley and across it, float64 (2,)."""
        return valley(self.condition)


def bowl(w: Any, curvatures: np.ndarray) -> Any:
    """½ Σ λᵢ wᵢ² over the last axis: of a tensor, and of the points of a map."""
    return (0.5 * curvatures * w * w).sum(axis=-1)


def valley(condition: float) -> np.ndarray:
    """The curvatures of the valley ½ (x² + κ y²), float64 (2,)."""
    return np.array([SMALLEST, SMALLEST * condition])


def look_ahead(
    lr: float = 0.016, mu: float = 0.9, condition: float = 25.0, steps: int = 60, seed: int = 0,
) -> LookAhead:  # fmt: skip
    """Descend a valley with and without the look-ahead, and look for the limits of both.

    Args:
        lr: α of the valley, above 0 and stable for Nesterov.
        mu: μ in (0, 1).
        condition: κ, 1 or more: the valley is ½ (x² + κ y²).
        steps: of each path, 2 or more.
        seed: of the data of the linear model on which the limit is tried, too.

    Raises:
        ValueError: a number out of its range.
    """
    steps = whole("look_ahead: steps", steps, least=2)
    seed = whole("look_ahead: seed", seed)
    mu = number("look_ahead: mu", mu, 0, 1)
    condition = number("look_ahead: condition", condition, low=1, ends="[)")
    limit = theory.stability_limit("Nesterov", mu) / (SMALLEST * condition)  # it diverges there
    lr = number("look_ahead: lr", lr, 0, limit)
    curvatures = valley(condition)
    paths = {name: descend(name, lr, mu, curvatures, START, steps)
             for name in ("Momentum", "Nesterov", "Nesterov, shifted")}  # fmt: skip
    limits = {name: np.array([found_limit(name, mu) for mu in MUS]) for name in METHODS}
    sizes: dict[tuple[str, float], np.ndarray] = {}
    for name in ("Momentum", "Nesterov"):
        both = _sizes(name, np.array(DAMPED), mu)
        sizes |= {(name, step): both[:, n] for n, step in enumerate(DAMPED)}
    claims = [
        *_of_places(paths, curvatures, lr, mu), *_of_forms(paths, lr, mu, curvatures),
        *_of_rates(sizes, mu), *_of_limits(limits, mu, curvatures, seed),
    ]  # fmt: skip
    return LookAhead(claims, lr, mu, condition, paths, limits, sizes)


# ---- a path --------------------------------------------------------------------------------------


def descend(
    name: str, lr: Any, mu: float, curvatures: np.ndarray, start: Sequence[float], steps: int
) -> Path:
    """Run one of `METHODS` with momentum on ½ Σ λᵢ wᵢ² and note the parts of each step.

    `lr` may be a schedule; `pushed` is with the α of its step, also for the form "shifted", where α
    stands outside of v.
    """
    w = Tensor(np.array(start, "float64"), requires_grad=True)
    optimizer = METHODS[name][0]([("w", w)], lr, mu)
    found = Path(name, *(np.empty((steps + more, len(w.data))) for more in (1, 0, 0, 0)))
    found.weights[0] = w.data
    for t in range(steps):
        rate = optimizer.values()[0]["lr"]
        optimizer.zero_grad()
        with optimizer.look_ahead():
            found.taken[t] = w.data
            bowl(w, curvatures).backward()
        assert w.grad is not None
        found.pushed[t] = -rate * w.grad
        optimizer.step()
        found.weights[t + 1] = w.data
        found.kept[t] = found.weights[t + 1] - found.weights[t] - found.pushed[t]
    return found


def inferred(path: Path, curvatures: np.ndarray, lr: float, mu: float) -> np.ndarray:
    """Where each gradient but the first was taken, from the movement of the weights alone: what of
    a step is not μ times the step before is -αg, and g is λ times the place; (steps - 1, 2)."""
    moved = np.diff(path.weights, axis=0)
    return (mu * moved[:-1] - moved[1:]) / (lr * curvatures)


def _of_places(
    paths: dict[str, Path], curvatures: np.ndarray, lr: float, mu: float
) -> list[Claim]:
    claims = []
    for name, words, share in (("Momentum", "w, where it stands", 0.0),
                               ("Nesterov", "w + μv, where it is about to be", mu)):  # fmt: skip
        path = paths[name]
        expected = path.weights[1:-1] + share * np.diff(path.weights, axis=0)[:-1]
        off = np.abs(inferred(path, curvatures, lr, mu) - expected).max()
        claims.append(Claim(
            f"{name}: distance of the gradient's place, told by how the weights move, from {words}",
            0.0, float(off), 1e-10, relative=False,
        ))  # fmt: skip
    return claims


def _of_forms(
    paths: dict[str, Path], lr: float, mu: float, curvatures: np.ndarray
) -> list[Claim]:
    """The weights of the form "shifted" are the look-ahead points of the other."""
    apart = np.abs(paths["Nesterov, shifted"].weights[:-1] - paths["Nesterov"].taken).max()

    def halved(t: int) -> float:
        return lr if t < 10 else lr / 2

    two = [descend(name, halved, mu, curvatures, START, 20)
           for name in ("Nesterov, shifted", "Nesterov")]  # fmt: skip
    after = np.abs(two[0].weights[:-1] - two[1].taken).max()
    return [
        Claim('weights of "shifted" minus look-ahead points of "look_ahead", constant α',
              0.0, float(apart), 1e-12, relative=False),
        Claim("the same, once α is halved", "they part",
              "they part" if after > 1e-3 else "they are one"),
    ]  # fmt: skip


# ---- how fast it calms down ----------------------------------------------------------------------


def _run(name: str, curvatures: np.ndarray, mu: float, steps: int) -> np.ndarray:
    """The weights over the steps, float64 (steps + 1, curvatures), each on a bowl of its own with
    α = 1, from 1. What runs away ends in inf or NaN."""
    w = Tensor(np.ones(len(curvatures)), requires_grad=True)
    optimizer = METHODS[name][0]([("w", w)], 1.0, mu, check_finite=False)
    path = np.empty((steps + 1, len(curvatures)))
    path[0] = w.data
    closure = closure_of(optimizer, lambda: bowl(w, curvatures))
    with np.errstate(all="ignore"):
        for t in range(steps):
            optimizer.step(closure)
            path[t + 1] = w.data
    return path


def _sizes(name: str, steps: np.ndarray, mu: float, count: int = 300) -> np.ndarray:
    path = _run(name, steps, mu, count)
    return np.hypot(path[:-1], path[1:])  # of both, for a weight that swings passes through 0


def fitted_rate(sizes: np.ndarray) -> float:
    """By what a step multiplies the size in the long run: the slope of its logarithm, by least
    squares, without the first tenth."""
    late = np.log(sizes[len(sizes) // 10 :])
    return float(np.exp(np.polyfit(np.arange(len(late)), late, 1)[0]))


def _of_rates(sizes: dict[tuple[str, float], np.ndarray], mu: float) -> list[Claim]:
    return [
        Claim(f"{name}, μ = {mu:g}, αλ = {step:g}: a step multiplies a swing by",
              theory.convergence_rate(METHODS[name][1], step, mu, [1.0]),
              fitted_rate(sizes[name, step]), within=0.01)
        for step in DAMPED for name in ("Momentum", "Nesterov")
    ]  # fmt: skip


# ---- the limit -----------------------------------------------------------------------------------


def found_limit(name: str, mu: float, steps: int = 400) -> float:
    """The largest αλ that does not run away under one of `METHODS`: each run of so many steps moves
    128 weights side by side, every one on a bowl of its own curvature."""

    def grows(tried: np.ndarray) -> np.ndarray:
        path = np.abs(_run(name, tried, mu, steps))
        third = len(path) // 3
        calm = path[-third:].max(axis=0) < path[third:-third].max(axis=0)  # False for NaN
        return ~calm

    return largest_stable(grows, low=0.1, high=8.0, within=1e-3, at_once=128)


def _of_limits(
    limits: dict[str, np.ndarray], mu: float, curvatures: np.ndarray, seed: int
) -> list[Claim]:
    claims = []
    for n, each in enumerate(MUS):
        for name, found in limits.items():
            if each == 0.9 or name.startswith("Nesterov"):
                told = name if name == "SGD" else f"{name}, μ = {each:g}"
                limit = theory.stability_limit(METHODS[name][1], each)
                claims.append(Claim(f"largest stable αλ, {told}", limit, float(found[n]), 0.01))
    draws = np.random.default_rng([seed, 0x6C6F6F6B])
    x = draws.standard_normal((64, 6)) * np.geomspace(0.3, 1.5, 6)
    y = x @ draws.standard_normal(6)
    linear = float(np.linalg.eigvalsh(2 * x.T @ x / len(x))[-1])
    on = {
        f"a valley of κ = {curvatures[1] / curvatures[0]:g}":
            (curvatures[1], np.array(START), lambda w: bowl(w, curvatures)),
        "a linear model of 6 weights": (linear, np.zeros(6), lambda w: mse_loss(x @ w, y)),
    }  # fmt: skip
    for where, (curvature, start, loss) in on.items():
        for name in ("Nesterov", "Nesterov, shifted"):
            for share, expected in ((0.99, "converges"), (1.01, "diverges")):
                lr = share * theory.stability_limit("Nesterov", mu) / curvature
                w = Tensor(start.copy(), requires_grad=True)
                moves = moves_of(METHODS[name][0]([("w", w)], lr, mu), partial(loss, w))
                claims.append(Claim(f"{name} at {share} of its limit on {where}", expected,
                                    fate(moves)))  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="look-ahead",
    title="Nesterov looks ahead",
    note='Uses the "LOOK AHEAD" gradient update mechanism.',
    formula="g at w + μv; v = μv - αg; w = w + v; stable for αλ < 2 (1 + μ) / (1 + 2μ)",
    run=look_ahead,
)
