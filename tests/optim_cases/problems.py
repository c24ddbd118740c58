"""What the optimizers are run on: a smooth problem that never comes to rest, and gradients recorded
beforehand, which do not depend on the weights.

The weights live on the current backend, `tg.use`. Gradients are worked out on the host, where the
formulas and PyTorch are, and brought there: so they are the same to the bit on every backend, and
what differs is the optimizer's.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import strict_cupy

import tinygrad_opt as tg
from tinygrad_opt import backend, optim

Check = Callable[[type], None]
CHECKS: dict[str, dict[str, Check]] = {}  # class: name of the check: the check


def check(*classes: str) -> Callable[[Check], Check]:
    """Register a function of a class as a check of the classes of these names."""

    def register(function: Check) -> Check:
        for name in classes:
            CHECKS.setdefault(name, {})[function.__name__] = function
        return function

    return register


class Smooth:
    """log cosh and a quadratic around a target that swings: the gradient tanh(w - c) + a (w - c).

    As the target moves, no gradient dies out, where Adam and its kin would divide rounding errors
    by themselves.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str = "float64", seed: int = 0):
        rng = np.random.default_rng(seed)
        self.start = rng.standard_normal(shape).astype(dtype)
        self.curvature = np.geomspace(0.05, 2.0, self.start.size, dtype=dtype).reshape(shape)
        times = 0.2 * np.arange(1000).reshape(-1, *[1] * len(shape))
        self.target = np.sin(rng.uniform(0, 6, shape) + times).astype(dtype)

    def gradient(self, w: np.ndarray, t: int) -> np.ndarray:
        away = w - self.target[t]
        return np.tanh(away) + self.curvature * away


class Recorded:
    """Gradients drawn beforehand. Each takes back a part of the one before, so that their sums stay
    small; some are exactly zero, the first ones of the first weight among them."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "float64", seed: int = 0,
                 steps: int = 1000):  # fmt: skip
        rng = np.random.default_rng(seed + 100)
        self.start = rng.standard_normal(shape).astype(dtype)
        noise = rng.standard_normal((steps + 1, *shape))
        gradients = noise[1:] - 0.9 * noise[:-1]
        gradients[rng.random(gradients.shape) < 0.02] = 0.0
        gradients.reshape(steps, -1)[:3, :1] = 0.0
        self.gradients = gradients.astype(dtype)

    def gradient(self, w: np.ndarray, t: int) -> np.ndarray:
        return self.gradients[t]


class Given:
    """The gradient as a function of the weights (and of nothing else)."""

    def __init__(self, start: Any, gradient: Callable[[np.ndarray], np.ndarray],
                 dtype: str = "float64"):  # fmt: skip
        self.start, self._gradient = np.array(start, dtype), gradient

    def gradient(self, w: np.ndarray, t: int) -> np.ndarray:
        return self._gradient(w)


def tensors(runs: Sequence[Any]) -> list[tg.Tensor]:
    """The weights at the start of each run."""
    return [tg.Tensor(run.start.copy(), requires_grad=True) for run in runs]


def make(cls: type, weights: Sequence[tg.Tensor], **keywords: Any) -> Any:
    """An optimizer of this class; a wrapper gets `Momentum` to wrap, and "inside" is for that."""
    if cls.__name__ in ("SAM", "Lookahead"):
        inside = {"lr": 0.03, "mu": 0.8, **keywords.pop("inside", {})}
        return cls(optim.Momentum(weights, **inside), **keywords)
    if cls.__name__ in NO_DEFAULT_RATE:
        keywords = {"lr": 0.01, **keywords}
    return cls(weights, **keywords)


NO_DEFAULT_RATE = {"SGD", "Momentum", "Nesterov", "LARS", "ScheduleFree"}


def advance(optimizer: Any, weights: Sequence[tg.Tensor], runs: Sequence[Any], t: int) -> None:
    """One step, t steps after the first; the gradient is taken wherever the optimizer asks."""

    def closure() -> None:
        for w, run in zip(weights, runs):
            w.grad = backend.asarray(run.gradient(w.numpy(), t))

    optimizer.step(closure)


def trajectory(optimizer: Any, weights: Sequence[tg.Tensor], runs: Sequence[Any], steps: int,
               start: int = 0) -> list[np.ndarray]:  # fmt: skip
    """The weights after each step, for each tensor an array with steps as its first axis."""
    points: list[list[np.ndarray]] = [[] for _ in weights]
    for t in range(start, start + steps):
        advance(optimizer, weights, runs, t)
        for w, path in zip(weights, points):
            path.append(w.numpy())
    return [np.array(path) for path in points]


def run(cls: type, course: Any, steps: int, **keywords: Any) -> np.ndarray:
    """The weights of one course after each step."""
    weights = tensors([course])
    return trajectory(make(cls, weights, **keywords), weights, [course], steps)[0]


def affordable(steps: int) -> int:
    """All these steps on NumPy and on a GPU, a tenth of them on the stand-in for CuPy: it is slow,
    and what can go wrong there is how arrays travel, which a few steps show as well."""
    on_the_standin = backend.current() == "cupy" and sys.modules["cupy"] is strict_cupy.cupy
    return steps // 10 if on_the_standin else steps


def assert_near(got: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


def assert_apart(a: Any, b: Any, least: float) -> None:
    """Some element differs by more than `least`."""
    difference = np.abs(np.asarray(a, "float64") - np.asarray(b, "float64")).max()
    assert difference > least, f"they differ by {difference:g} only"
