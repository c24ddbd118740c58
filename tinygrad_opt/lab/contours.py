"""Three landscapes of two weights on which one can watch: a valley, a flat corner and a saddle, and
who comes down them how fast.

Each optimizer runs at a rate of its own, found for all by one search of the same small budget:
every rate of the digits' race, from a few starts near the one of the race. All rates and starts of
an optimizer run side by side, a group of parameters a rate; where one diverges, the others do not
notice.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.autograd import grad, hvp
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.descent import closure_of
from tinygrad_opt.lab.race import RATES, Contestant, chosen
from tinygrad_opt.ops.shape import stack
from tinygrad_opt.optim import SGD, Momentum, Nesterov, Optimizer
from tinygrad_opt.tensor import Tensor

RUNNERS = ("sgd", "momentum-0.9", "nesterov", "adagrad", "rmsprop", "adam")
STEPS = 400
FINISH = 0.1  # how near to a minimum is there
NEARBY = 8  # starts of the search
AROUND = 0.1  # by what share of each coordinate they differ from the start of the race


# ---- where they run ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Landscape:
    """A function of two weights and what is known of it.

    Attributes:
        key, name, formula: what programs call it, what people do, and what it is.
        f: of x and y, tensors or arrays alike.
        start: (x, y) of the race.
        minima: where it is lowest, each (x, y).
        lowest: its value there.
        frame: (left, right, bottom, top) of what is worth seeing.
        jacobian: of the residuals at the minimum, where f is a sum of their squares and they are 0;
            empty for the saddle.
    """

    key: str
    name: str
    formula: str
    f: Callable[[Any, Any], Any]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    lowest: float
    frame: tuple[float, float, float, float]
    jacobian: tuple[tuple[float, float], ...] = ()

    def away(self, weights: np.ndarray) -> np.ndarray:
        """The distance of weights (..., 2) from the nearest minimum, float64 (...)."""
        distances = [np.hypot(weights[..., 0] - x, weights[..., 1] - y) for x, y in self.minima]
        return np.minimum.reduce(distances)


def rosenbrock(x: Any, y: Any) -> Any:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def saddle(x: Any, y: Any) -> Any:
    return x**2 / 2 - y**2 / 2 + y**4 / 4


LANDSCAPES = {
    landscape.key: landscape
    for landscape in (
        Landscape("rosenbrock", "Rosenbrock's valley", "(1 - x)² + 100 (y - x²)²", rosenbrock,
                  (-1.2, 1.0), ((1.0, 1.0),), 0.0, (-2.0, 2.0, -1.3, 3.2),
                  ((-1.0, 0.0), (-20.0, 10.0))),
        Landscape("beale", "Beale's corner",
                  "(3/2 - x + xy)² + (9/4 - x + xy²)² + (21/8 - x + xy³)²", beale,
                  (1.0, 1.5), ((3.0, 0.5),), 0.0, (-1.0, 4.2, -1.6, 1.9),
                  ((-1 / 2, 3.0), (-3 / 4, 3.0), (-7 / 8, 9 / 4))),
        Landscape("saddle", "A saddle", "x²/2 - y²/2 + y⁴/4", saddle, (-1.5, 0.001),
                  ((0.0, 1.0), (0.0, -1.0)), -0.25, (-1.8, 0.8, -0.6, 1.7)),
    )
}  # fmt: skip


# ---- the race ------------------------------------------------------------------------------------


@dataclass
class Path:
    """How one optimizer went over one landscape.

    Attributes:
        name: of the optimizer, as in the race on the digits.
        lr: its rate, found from the starts nearby.
        weights: float64 (steps + 1, 2), the start first.
        away: float64 (steps + 1,), the distance from the nearest minimum.
        arrived: the step since which it is at the finish, to stay; None if it never came.
        searched: float64 (rates,): at each rate of the search the mean number of steps to the
            finish, steps + 1 for a start from which it never came.
    """

    name: str
    lr: float
    weights: np.ndarray = field(repr=False)
    away: np.ndarray = field(repr=False)
    arrived: int | None
    searched: np.ndarray = field(repr=False)


@dataclass
class Contours(Finding):
    """Who went where: `paths` by the landscape's key, a Path an optimizer; `steps` of each;
    `rates` that were tried and `starts`, how many for each of them."""

    paths: dict[str, list[Path]]
    steps: int
    rates: tuple[float, ...]
    starts: int


def contours(optimizers: Iterable[str] = RUNNERS, steps: int = STEPS, seed: int = 0) -> Contours:
    """Race on Rosenbrock's valley, in Beale's corner and off a saddle.

    The rate of each optimizer on each landscape is the one of `RATES` with which it is soonest at
    the finish (a distance of 0.1 from a minimum, to stay), in the mean over eight starts whose
    coordinates differ by up to 10 % from those of the race, which has no say in it. Of rates that
    are equally fast, as where none arrives, the one that ends nearest wins.

    Args:
        optimizers: keys of the race's `CONTESTANTS`, of those whose rule moves each weight by
            itself.
        steps: of each run, 1 or more.
        seed: of the starts nearby.

    Raises:
        ValueError: a number out of its range, an unknown optimizer, or one that sees more than one
            weight at once.
    """
    steps = whole("contours: steps", steps, least=1)
    seed = whole("contours: seed", seed)
    runners = chosen(optimizers)
    for runner in runners:
        _check_runner(runner)
    paths = {key: [_race(runner, landscape, steps, seed) for runner in runners]
             for key, landscape in LANDSCAPES.items()}  # fmt: skip
    claims = [*_claims_on_minima(), *_claims_on_the_saddle(), *_claims_on_steps(paths),
              *_claims_on_ends(paths)]  # fmt: skip
    return Contours(claims, paths, steps, RATES, NEARBY)


def _check_runner(runner: Contestant) -> None:
    kind = runner.make.func if isinstance(runner.make, partial) else runner.make
    alone = inspect.isclass(kind) and getattr(getattr(kind, "rule", None), "elementwise", False)
    if not alone:
        raise ValueError(
            f"contours: optimizers: {runner.key!r} sees more than one weight at once, so that its "
            f"rates cannot run side by side; {', '.join(RUNNERS)} can"
        )


def _race(runner: Contestant, landscape: Landscape, steps: int, seed: int) -> Path:
    draws = np.random.default_rng([seed, 0x636F6E74])
    nearby = 1 + draws.uniform(-AROUND, AROUND, (NEARBY, 2))
    starts = np.concatenate([[[1.0, 1.0]], nearby]) * landscape.start
    weights = side_by_side(runner, landscape.f, starts, RATES, steps)
    with np.errstate(all="ignore"):
        away = np.nan_to_num(landscape.away(weights), nan=np.inf)
    arrived = np.apply_along_axis(_arrival, 0, away)  # (rates, starts)
    searched = arrived[:, 1:].mean(axis=1)
    best = min(range(len(RATES)), key=lambda i: (searched[i], away[-1, i, 1:].mean()))
    came = int(arrived[best, 0])
    return Path(runner.name, RATES[best], weights[:, best, 0], away[:, best, 0],
                came if came <= steps else None, searched)  # fmt: skip


def _arrival(away: np.ndarray) -> int:
    """The step since which the distance is that of the finish: their number, if it is not."""
    outside = np.flatnonzero(away > FINISH)
    return int(outside[-1]) + 1 if len(outside) else 0


def side_by_side(
    runner: Contestant, f: Callable[[Any, Any], Any], starts: np.ndarray, rates: Sequence[float],
    steps: int,
) -> np.ndarray:  # fmt: skip
    """The weights of all runs from starts (S, 2) at all rates (R): float64 (steps + 1, R, S, 2).
    A run that diverges ends in inf or NaN."""
    tensors = [Tensor(np.array(starts, "float64"), requires_grad=True) for _ in rates]
    groups = [{"params": [(f"at {rate:g}", t)], "lr": rate} for rate, t in zip(rates, tensors)]
    optimizer = runner.make(groups, lr=1.0, check_finite=False)

    def loss() -> Tensor:
        w = stack(tensors)
        return f(w[..., 0], w[..., 1]).sum()

    closure = closure_of(optimizer, loss)
    weights = [np.stack([t.data for t in tensors])]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            optimizer.step(closure)
            weights.append(np.stack([t.data for t in tensors]))
    return np.stack(weights)


# ---- predicted and measured ----------------------------------------------------------------------


def curvatures(landscape: Landscape, place: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of the Hessian there, the smallest first, and its eigenvectors in columns,
    from two Hessian-vector products of the engine."""
    at = [Tensor(np.array(value), requires_grad=True) for value in place]
    columns = [hvp(landscape.f, at, [np.array(float(i == j)) for i in range(2)]) for j in range(2)]
    return np.linalg.eigh(np.array(columns, "float64"))


def _claims_on_minima() -> list[Claim]:
    claims = []
    for landscape in LANDSCAPES.values():
        if not landscape.jacobian:
            continue
        (place,) = landscape.minima
        x, y = (Tensor(np.array(value), requires_grad=True) for value in place)
        slope = math.hypot(*map(float, grad(landscape.f(x, y), [x, y])))
        at = f"{landscape.name}, at ({place[0]:g}, {place[1]:g})"
        claims.append(Claim(f"{at}: norm of the gradient", 0.0, slope, 1e-12, relative=False))
        predicted = theory.curvatures_of_squares(landscape.jacobian)
        measured, directions = curvatures(landscape, place)
        for word, mine, seen in zip(("smallest", "largest"), predicted, measured):
            claims.append(Claim(f"{at}: {word} curvature", mine, float(seen), 1e-9))
        flat, steep = directions.T
        limit = theory.stability_limit("gradient descent") / predicted[1]
        for share, word in ((0.99, "comes back"), (1.01, "leaves")):
            away = _beside(landscape, steep, share * limit)
            claims.append(Claim(
                f"{at}: SGD beside it, where it is steep, at {share:g} of α = {limit:.4g}",
                word, "comes back" if away[-1] < away[0] else "leaves",
            ))  # fmt: skip
        pace = theory.convergence_rate("gradient descent", limit / 2, 0.0, predicted)
        away = _beside(landscape, flat, limit / 2)
        shrunk = (away[-1] / away[0]) ** (1 / (len(away) - 1))
        claims.append(Claim(
            f"{at}: steps in which SGD beside it, where it is flat, halves the distance at half "
            "that α", theory.half_life(pace), theory.half_life(shrunk), 0.01,
        ))  # fmt: skip
    return claims


def _beside(landscape: Landscape, direction: np.ndarray, lr: float) -> np.ndarray:
    """The distances from the minimum, step by step, of SGD that starts very near to it."""
    start = np.array(landscape.minima[0]) + 1e-6 * direction
    runner = Contestant("sgd", "SGD", lr, SGD)
    return landscape.away(side_by_side(runner, landscape.f, start[None], [lr], 200)[:, 0, 0])


def _claims_on_the_saddle() -> list[Claim]:
    landscape = LANDSCAPES["saddle"]
    measured, _ = curvatures(landscape, (0.0, 0.0))
    claims = [
        Claim(f"The saddle, at (0, 0): {word} curvature", predicted, float(seen), 1e-12)
        for word, predicted, seen in zip(("smallest", "largest"), (-1.0, 1.0), measured)
    ]
    lr = 0.05
    for kind, mu in ((SGD, 0.0), (Momentum, 0.9), (Nesterov, 0.9)):
        make = partial(kind, mu=mu) if mu else kind
        runner = Contestant("", kind.__name__, lr, make)
        y = side_by_side(runner, landscape.f, np.array([[0.0, 1e-9]]), [lr], 60)[:, 0, 0, 1]
        method = theory.method_of(_of_one_weight(make, lr))
        name = f"{kind.__name__}{f' μ={mu:g}' if mu else ''}, α = {lr:g}"
        claims.append(Claim(f"The saddle: a step multiplies y by, {name}",
                            theory.convergence_rate(method, lr, mu, [-1.0]),
                            float(y[-1] / y[-2]), 1e-6))  # fmt: skip
    return claims


def _of_one_weight(make: Callable[..., Optimizer], lr: float) -> Optimizer:
    return make([("w", Tensor(np.zeros(1), requires_grad=True))], lr=lr)


def _claims_on_steps(paths: dict[str, list[Path]]) -> list[Claim]:
    """How long the first step in the valley is in x and y, where the gradients differ."""
    landscape = LANDSCAPES["rosenbrock"]
    x, y = (Tensor(np.array(value), requires_grad=True) for value in landscape.start)
    slopes = [abs(float(g)) for g in grad(landscape.f(x, y), [x, y])]
    lengths: dict[str, Callable[[float, float], float]] = {
        "SGD": lambda lr, g: lr * g,
        "Adagrad": lambda lr, g: g * theory.adagrad_rate(lr, g, 1),
        "RMSProp ρ=0.95": lambda lr, g: g * theory.rmsprop_rate(lr, g, 0.95, 1),
        "Adam": lambda lr, g: theory.adam_step(lr, g, 1e-8),
    }
    claims = []
    for path in paths["rosenbrock"]:
        if path.name in lengths:
            for letter, slope, moved in zip("xy", slopes, np.diff(path.weights[:2], axis=0)[0]):
                claims.append(Claim(
                    f"{landscape.name}, α = {path.lr:g}: first step of {path.name} in {letter}, "
                    f"where |g| = {slope:.4g}", lengths[path.name](path.lr, slope),
                    float(abs(moved)), 1e-6,
                ))  # fmt: skip
    return claims


def _claims_on_ends(paths: dict[str, list[Path]]) -> list[Claim]:
    claims = []
    for key, landscape in LANDSCAPES.items():
        nearest = min(paths[key], key=lambda path: path.away[-1])
        end = nearest.weights[-1]
        place = min(landscape.minima, key=lambda place: math.dist(place, end))
        for letter, known, seen in zip("xy", place, end):
            what = f"{landscape.name}: {letter} at the end of the nearest of all, {nearest.name}"
            claims.append(Claim(what, known, float(seen), FINISH, relative=False))
    return claims


EXPERIMENT = Experiment(
    key="contours",
    title="A race down a valley, a corner and a saddle",
    note="RMSProps: We look into the methods where we calculate the alpha(Learning Rate) "
    "differently for every parameters.",
    formula="H = 2 JᵀJ where all residuals are 0; SGD is stable below α = 2 / λmax, and leaves a "
    "saddle by 1 + α|λ| a step",
    run=contours,
)
