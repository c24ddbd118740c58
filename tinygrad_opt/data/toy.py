"""Classes that lie on curves in the plane: sets so small that every decision boundary can be drawn.

All of them draw on the host from a stream that follows from (seed, name), so that one seed gives
the same points on every backend, and the three sets of one seed have nothing in common.
"""

from collections.abc import Callable
from math import inf
from numbers import Real

import numpy as np

from tinygrad_opt.data.checks import whole

Points = tuple[np.ndarray, np.ndarray]


def moons(n: int, noise: float = 0.1, seed: int = 0) -> Points:
    """Two interleaved half circles of radius 1: no straight line parts them.

    Class 0 is the upper half of the circle around (0, 0), class 1 the lower half of the one around
    (1, 0.5); the set that scikit-learn (Pedregosa et al., 2011) made popular as `make_moons`.

    Args:
        n: points in all, 2 or more. Classes differ in size by one at most.
        noise: standard deviation of the Gaussian noise on both coordinates, 0 or more.
        seed: an integer, 0 or more.

    Returns:
        x float32 (n, 2) and the class of each point, y int64 (n,), in shuffled order.

    Raises:
        ValueError: n, seed or noise is of another kind, or n is smaller than the number of classes.
    """

    def half_circles(label: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        up = 1 - 2 * label
        return label + up * np.cos(np.pi * t), label / 2 + up * np.sin(np.pi * t)

    return _sample("moons", n, noise, seed, 2, half_circles)


def spirals(
    n: int, noise: float = 0.03, seed: int = 0, classes: int = 2, turns: float = 1.5
) -> Points:
    """Spiral arms wound around one another, from radius 0.1 to 1: the classical hard toy problem.

    After Lang and Witbrock, "Learning to tell two spirals apart" (1988): two arms of 3 turns.

    Args:
        n, noise, seed: as in `moons`.
        classes: the number of arms, 2 or more.
        turns: revolutions of each arm. Neighbouring arms are 0.9 / (turns * classes) apart.

    Returns:
        x float32 (n, 2) and the class of each point, y int64 (n,), in shuffled order.

    Raises:
        ValueError: as in `moons`, and for classes < 2, or turns not above 0 and finite.
    """
    if not (isinstance(turns, Real) and 0 < turns < inf):
        raise ValueError(f"spirals: turns is a finite number above 0, not {turns!r}")

    def arms(label: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        radius, angle = 0.1 + 0.9 * t, 2 * np.pi * (turns * t + label / classes)
        return radius * np.cos(angle), radius * np.sin(angle)

    return _sample("spirals", n, noise, seed, classes, arms)


def blobs(n: int, noise: float = 0.3, seed: int = 0, classes: int = 3) -> Points:
    """Round Gaussian clouds around evenly spaced points of the unit circle: a linear model will do.

    Args:
        n, noise, seed: as in `moons`.
        classes: the number of clouds, 2 or more. Class k is centred at the angle 2 pi k / classes.

    Returns:
        x float32 (n, 2) and the class of each point, y int64 (n,), in shuffled order.

    Raises:
        ValueError: as in `moons`, and for classes < 2.
    """

    def centres(label: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.cos(2 * np.pi * label / classes), np.sin(2 * np.pi * label / classes)

    return _sample("blobs", n, noise, seed, classes, centres)


def _sample(
    name: str,
    n: int,
    noise: float,
    seed: int,
    classes: int,
    curve: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Points:
    """n noisy points of `curve(label, t)`: in each class t runs evenly from 0 to 1."""
    classes = whole(f"{name}: classes", classes, least=2)
    n = whole(f"{name}: n", n)
    if n < classes:
        raise ValueError(f"{name}: n = {n} is too few for {classes} classes of one point or more")
    if not (isinstance(noise, Real) and 0 <= noise < inf):
        raise ValueError(
            f"{name}: noise, a standard deviation, is a finite number of 0 or more, not {noise!r}"
        )
    rng = np.random.default_rng([whole(f"{name}: seed", seed), *name.encode()])

    place, label = np.divmod(np.arange(n), classes)
    last = np.bincount(label)[label] - 1
    x = np.stack(curve(label, place / np.maximum(last, 1)), axis=1)
    x += float(noise) * rng.standard_normal(x.shape)
    order = rng.permutation(n)
    return x[order].astype(np.float32), label[order]
