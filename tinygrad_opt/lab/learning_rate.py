"""The learning rate decides whether a loss falls, dangles or grows, and the curvature decides where
one becomes the other.

The weights change by Δw = -αg. On a bowl ½ λ w² that changes the loss by -α g² (1 - αλ/2): it falls
below α = 2/λ, stays where it is for ever at 2/λ, and grows above. No learning rate at all is α = 1,
which is 2/λ for every bowl of curvature 2. With a velocity the limit is another one; here it is
found by running, and compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.backend import seeded
from tinygrad_opt.data.checks import number, numbers, whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.descent import FATES, METHODS, fate, largest_stable, moves_of
from tinygrad_opt.lab.limits import limits
from tinygrad_opt.nn import Linear
from tinygrad_opt.ops.loss import mse_loss
from tinygrad_opt.optim import SGD
from tinygrad_opt.tensor import Tensor

FACTORS = (0.99, 1.0, 1.01)


@dataclass
class Path:
    """Gradient descent down a bowl.

    Attributes:
        lr: α.
        w: float64 (steps + 1,), where the weight is, the start first.
        loss: float64 (steps + 1,), the loss there.
    """

    lr: float
    w: np.ndarray
    loss: np.ndarray


@dataclass
class Edge:
    """Where a method stops converging on a problem.

    Attributes:
        method: of `theory.LIMITS`.
        optimizer: the name under which figures colour it.
        problem: "quadratic" or "linear model".
        mu: μ, 0 for gradient descent.
        sharpness: the largest curvature of the problem.
        predicted: the limit of α from theory.
        measured: the largest α at which a run did not grow, by bisection.
        moves: by the share of `predicted` that α is (`FACTORS`), float64 (steps,): how far the
            weights moved in each step of the run at that α.
    """

    method: str
    optimizer: str
    problem: str
    mu: float
    sharpness: float
    predicted: float
    measured: float
    moves: dict[float, np.ndarray]

    @property
    def name(self) -> str:
        """The method with its μ, for a reader."""
        return f"{self.method}, μ={self.mu:g}" if self.mu else self.method

    @property
    def fates(self) -> list[str]:
        """What became of each run of `moves`."""
        return [fate(moves) for moves in self.moves.values()]


@dataclass
class LearningRate(Finding):
    """`paths`: one weight on the bowl of curvature 2, at several α, 1 among them; `edges`: a method
    on a problem each."""

    paths: list[Path]
    edges: list[Edge]


def learning_rate(
    rates: Sequence[float] = (0.3, 1.0, 1.05), mu: float = 0.9, steps: int = 1000, seed: int = 0
) -> LearningRate:
    """Walk down a bowl with and without a learning rate, and find the largest stable one of
    gradient descent, of momentum in two forms and of Nesterov's method, on a bowl and a linear
    model.

    Args:
        rates: α of the paths down the bowl of curvature 2, in (0, 100]; 1 is always among them.
        mu: the momentum μ of the three that have one, in (0, 0.9]; above that a run needs more
            steps than it gets.
        steps: of the run at α = 1, 2 or more.
        seed: of the starting points and of the data of the linear model.

    Raises:
        ValueError: a number out of its range.
    """
    steps = whole("learning_rate: steps", steps, least=2)
    seed = whole("learning_rate: seed", seed)
    rates = numbers("learning_rate: rates", rates, 0, 100, "(]")
    mu = number("learning_rate: mu", mu, 0, 0.9, "(]")
    paths = [_path(rate, steps if rate == 1 else 10) for rate in sorted({*rates, 1.0})]
    edges = [
        _edge(method, problem, make, mu if method != "gradient descent" else 0.0, seed)
        for problem, make in (("quadratic", _quadratic), ("linear model", _linear_model))
        for method in METHODS
    ]
    return LearningRate(_claims(paths, edges), paths, edges)


# ---- runs ----------------------------------------------------------------------------------------


def _path(lr: float, steps: int) -> Path:
    """Gradient descent on w², whose curvature is 2, from w = 1."""
    w = Tensor(np.ones(1), requires_grad=True)
    optimizer = SGD([("w", w)], lr)
    places, losses = np.empty(steps + 1), np.empty(steps + 1)
    for t in range(steps + 1):
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        places[t], losses[t] = w.item(), loss.item()
        optimizer.step()
    return Path(lr, places, losses)


Problem = tuple[list[Tensor], Callable[[], Tensor]]  # fresh weights, and the loss of all the data


def _quadratic(seed: int) -> Problem:
    """Curvatures ½, 1 and 2, one a weight."""
    w = Tensor(np.random.default_rng(seed).standard_normal(3), requires_grad=True)
    curvatures = np.array([0.5, 1.0, 2.0])
    return [w], lambda: 0.5 * (curvatures * w * w).sum()


def _linear_model(seed: int) -> Problem:
    """Least squares: a line through 200 noisy points of four features, in units of their own."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 4)) * [2.0, 1.0, 1.0, 0.5]
    y = x @ rng.standard_normal((4, 1)) + 0.1 * rng.standard_normal((200, 1))
    with seeded(seed):
        model = Linear(4, 1).astype("float64")
    return model.parameters(), lambda: mse_loss(model(x), y)


def _edge(method: str, problem: str, make: Callable[[int], Problem], mu: float, seed: int) -> Edge:
    def moves(lr: float) -> np.ndarray:
        weights, loss = make(seed)
        return moves_of(METHODS[method](weights, lr, mu), loss)

    weights, loss = make(seed)
    found = limits(None, loss, METHODS[method](weights, 1.0, mu))
    predicted = theory.stability_limit(method, mu) / found.sharpness
    kept = {factor: moves(factor * predicted) for factor in FACTORS}
    colours = {"gradient descent": "SGD", "Nesterov": f"Nesterov μ={mu:g}"}
    measured = largest_stable(lambda rates: fate(moves(rates.item())) == "diverges")
    return Edge(method, colours.get(method, f"Momentum μ={mu:g}"), problem, mu, found.sharpness,
                predicted, measured, kept)  # fmt: skip


# ---- claims --------------------------------------------------------------------------------------


def _claims(paths: Sequence[Path], edges: Sequence[Edge]) -> list[Claim]:
    claims = [
        Claim(f"ΔL of the first step from L = 1, curvature 2, α = {path.lr:g}",
              theory.loss_change(path.lr, 2.0, gradient=2 * path.w[0]),
              path.loss[1] - path.loss[0], within=1e-12, relative=False)
        for path in paths
    ]  # fmt: skip
    (dangling,) = (path for path in paths if path.lr == 1)
    steps = len(dangling.loss) - 1
    change = theory.loss_change(1.0, 2.0, gradient=2 * dangling.w[0])
    claims += [
        Claim(f"the loss after {steps:,} steps without a learning rate (α = 1), curvature 2",
              dangling.loss[0] + steps * change, dangling.loss[-1]),
        Claim("places that the weight has been at meanwhile, there and back",
              2, len(set(dangling.w))),
    ]  # fmt: skip
    for edge in edges:
        claims += [
            Claim(f"at 0.99, 1, 1.01 of its limit, {edge.name}, {edge.problem}", ", ".join(FATES),
                  ", ".join(edge.fates)),
            Claim(f"largest stable α, {edge.name}, {edge.problem}", edge.predicted, edge.measured,
                  within=0.001),
        ]  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="learning-rate",
    title="The learning rate: falling, dangling, diverging",
    note="Relationship between Loss and Wieght changes. "
    "Not using Learning Rate means dangling of Loss function.",
    formula="Δw = -α g, ΔL = -α g² (1 - α λ / 2); stable up to α λ = 2, with a velocity up to "
    "2 (1 + μ), as a mean 2 (1 + μ) / (1 - μ), Nesterov 2 (1 + μ) / (1 + 2μ)",
    run=learning_rate,
)
