"""A network in training seeks out its own limit: the sharpness climbs until the learning rate can
just bear it, and stays there.

On a bowl the curvature is given, and α must stay below its limit. In a network trained on all its
data, it is the other way round: the curvature grows until α is the limit. Gradient descent then
dangles across the sharpest direction, which pushes it to flatter ground, while the loss falls along
all the others (Cohen, Kaur, Li, Kolter, Talwalkar 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.backend import seeded
from tinygrad_opt.data import load_digits
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.descent import closure_of
from tinygrad_opt.lab.limits import limits
from tinygrad_opt.nn import MLP
from tinygrad_opt.ops.loss import mse_loss
from tinygrad_opt.optim import SGD, Momentum, Nesterov, Optimizer
from tinygrad_opt.tensor import Tensor

SIZES = (64, 10, 1)  # 661 weights
EVERY = 50  # steps between two measurements of the sharpness
ACCURACY = 1e-3

# Who runs: the name, that of its colour, and the optimizer.
RUNS: tuple[tuple[str, str, Callable[..., Optimizer]], ...] = (
    ("SGD, α = 1/4", "SGD", lambda w: SGD(w, lr=1 / 4)),
    ("SGD, α = 1/3", "SGD", lambda w: SGD(w, lr=1 / 3)),
    ("Momentum μ=0.5, α = 0.4", "Momentum", lambda w: Momentum(w, lr=0.4, mu=0.5)),
    ("Nesterov μ=0.9, α = 0.15", "Nesterov", lambda w: Nesterov(w, lr=0.15, mu=0.9)),
)


@dataclass
class Run:
    """A training on the full batch.

    Attributes:
        name: who, with α and μ.
        optimizer: the name under which figures colour it.
        limit: the sharpness that its α can bear, by theory.
        loss: float64 (steps,), of all the data, where each step took its gradient.
        steps: int (n,), before which the sharpness was measured.
        sharpness: float64 (n,), the largest eigenvalue of the Hessian then.
    """

    name: str
    optimizer: str
    limit: float
    loss: np.ndarray
    steps: np.ndarray
    sharpness: np.ndarray

    @property
    def late(self) -> float:
        """The mean sharpness over the last quarter of the training."""
        return float(self.sharpness[-len(self.sharpness) // 4 :].mean())

    @property
    def passed(self) -> int | None:
        """The first step at which the sharpness was seen above the limit; None if it never was."""
        above = np.flatnonzero(self.sharpness > self.limit)
        return int(self.steps[above[0]]) if len(above) else None

    @property
    def rises(self) -> float:
        """The share of the steps after that which made the loss larger."""
        if self.passed is None or self.passed + 1 >= len(self.loss):
            return 0.0
        return float((np.diff(self.loss[self.passed :]) > 0).mean())


@dataclass
class EdgeOfStability(Finding):
    """The trainings, in the order of `RUNS`."""

    runs: list[Run]


def edge_of_stability(images: int = 400, steps: int = 4000, seed: int = 0) -> EdgeOfStability:
    """Train a small tanh network to tell even digits from odd ones, on all the images at once, and
    measure its sharpness on the way.

    The labels are -1 and 1, the loss is the mean squared error, the weights are float64.

    Args:
        images: how many, in [2, 1437].
        steps: of each training, 100 or more. Shorter ones than 4,000 may end before the edge.
        seed: of the first weights and of the choice of images.

    Raises:
        ValueError: a number out of its range.
        ImportError: SciPy, the extra [lab], is not installed.
    """
    (pixels, digits), _ = load_digits()
    images = whole("edge_of_stability: images", images, least=2)
    steps = whole("edge_of_stability: steps", steps, least=100)
    seed = whole("edge_of_stability: seed", seed)
    if images > len(pixels):
        raise ValueError(f"edge_of_stability: images is at most {len(pixels):,}, not {images:,}")
    chosen = np.random.default_rng(seed).choice(len(pixels), images, replace=False)
    x = pixels[chosen].astype("float64")
    x -= x.mean(axis=0)
    y = np.where(digits[chosen] % 2, 1.0, -1.0)[:, None]
    runs = [_run(name, colour, make, x, y, steps, seed) for name, colour, make in RUNS]
    return EdgeOfStability(_claims(runs), runs)


def _run(
    name: str, colour: str, make: Callable[..., Optimizer], x: np.ndarray, y: np.ndarray,
    steps: int, seed: int,
) -> Run:  # fmt: skip
    with seeded(seed):
        model = MLP(list(SIZES), activation="tanh").astype("float64")
    optimizer = make(model.named_parameters())

    def loss() -> Tensor:
        return mse_loss(model(x), y)

    closure = closure_of(optimizer, loss)
    losses, sharpness, start = np.empty(steps), [], None
    for t in range(steps):
        if t % EVERY == 0:
            found = limits(model, loss, optimizer, start=start, accuracy=ACCURACY)
            sharpness.append(found.sharpness)
            start = found.direction
        losses[t] = optimizer.step(closure).item()
    limit = theory.stability_limit(found.method, found.mu) / found.lr
    return Run(name, colour, limit, losses, np.arange(0, steps, EVERY), np.array(sharpness))


def _claims(runs: list[Run]) -> list[Claim]:
    claims = [
        Claim(f"late sharpness, {run.name}", run.limit, run.late, within=0.05) for run in runs
    ]  # fmt: skip
    for run in runs:
        end, there = run.loss[-1], run.loss[run.passed or 0]
        word = "never passes it" if run.passed is None else "lower" if end < there else "higher"
        claims.append(Claim(
            f"the loss at the end, against that when the limit was passed, {run.name}",
            "lower", word,
        ))  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="edge-of-stability",
    title="The edge of stability",
    note="Not using Learning Rate means dangling of Loss function.",
    formula="λmax of the Hessian → 2 / α, with momentum 2 (1 + μ) / α, "
    "Nesterov 2 (1 + μ) / ((1 + 2μ) α)",
    run=edge_of_stability,
    needs="scipy",
)
