"""What becomes of a descent, and the largest learning rate at which it does not run away: found by
running, so that theory can be set against it.

The loss is a function without arguments, of all the data, so that one step differs from the next
by the weights alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.optim import SGD, Momentum, Nesterov, Optimizer
from tinygrad_opt.tensor import Tensor

STEPS = 400  # of a run: what is not at its limit has died out by then, to 1e-7 of what is
APART = 100  # steps between the two moves that are compared
SAME = 1e-4  # a ratio of them this near to 1 is dangling
ARRIVED = 1e-10  # moves this small, as a share of the longest, are rounding
FATES = ("converges", "dangles", "diverges")

# How each of `theory.LIMITS` is made, of weights, α and μ.
METHODS: dict[str, Callable[..., Optimizer]] = {
    "gradient descent": lambda params, lr, mu, **more: SGD(params, lr, **more),
    "heavy ball": Momentum,
    "heavy ball, ema": partial(Momentum, form="ema"),
    "Nesterov": Nesterov,
}


def closure_of(optimizer: Any, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """What `optimizer.step` wants to be given: it clears the gradients, computes the loss, walks
    backward and gives the loss."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def moves_of(optimizer: Optimizer, loss: Callable[[], Tensor], steps: int = STEPS) -> np.ndarray:
    """How far all the weights moved in each step: float64 (steps,), inf once they overflow."""
    tensors = [t for group in optimizer.groups for t in group["params"]]
    closure = closure_of(optimizer, loss)
    moves = np.full(steps, np.inf)
    places = np.concatenate([t.data.ravel() for t in tensors])
    with np.errstate(all="ignore"):  # a divergence is a result here
        for t in range(steps):
            try:
                optimizer.step(closure)
            except FloatingPointError:
                break
            before, places = places, np.concatenate([t.data.ravel() for t in tensors])
            moves[t] = np.linalg.norm(places - before)
    return moves


def fate(moves: np.ndarray) -> str:
    """One of `FATES`, by how the last move compares with one of some steps before."""
    if not np.isfinite(moves[-1]):
        return "diverges"
    if moves[-1] <= ARRIVED * moves.max():
        return "converges"
    ratio = moves[-1] / moves[-1 - APART]
    if abs(ratio - 1) < SAME:
        return "dangles"
    return "diverges" if ratio > 1 else "converges"


def largest_stable(
    grows: Callable[[np.ndarray], Any], low: float = 0.0, high: float = 0.01,
    within: float = 1e-5, at_once: int = 1,
) -> float:  # fmt: skip
    """The α, or αλ, above which runs grow.

    Args:
        grows: of float64 (at_once,), ascending, which of them do; bool (at_once,).
        low: what does not grow.
        high: where to look first. While that does not grow, it is doubled.
        within: how far from the edge the answer may be, as a share of it.
        at_once: how many are tried at a time, between two of which the edge is looked for next;
            for 1, that is bisection.
    """
    while not np.all(grows(np.full(at_once, high))):
        low, high = high, 2 * high
    while high - low > within * high:
        tried = np.linspace(low, high, at_once + 2)
        first = int(np.argmax([*np.atleast_1d(grows(tried[1:-1])), True]))  # that grows
        low, high = float(tried[first]), float(tried[first + 1])
    return (low + high) / 2
