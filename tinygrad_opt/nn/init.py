"""The variance of the initial weights decides whether a signal keeps its size through many layers.

Of n_in independent inputs of mean square q, a unit with weights of mean 0 makes a sum of variance
n_in · Var(w) · q. Xavier's rule keeps that near q in both directions, He's makes up for the half of
it that a ReLU cuts off. Both fix only the variance; whether uniform or normal matters little.

All four take the shape (fan_in, fan_out) of a weight as `x @ weight` uses it, draw in float32 on
the host from the generator of `tg.manual_seed`, and give an array on the current backend.
"""

import math

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array

SQRT_2 = math.sqrt(2)


def xavier_uniform(shape: tuple[int, int], gain: float = 1.0) -> Array:
    """Uniform in ±gain · √(6 / (fan_in + fan_out)), so Var(w) = gain² · 2 / (fan_in + fan_out).

    For tanh, sigmoid, or no activation. Glorot, Bengio (2010), "Understanding the difficulty of
    training deep feedforward neural networks", equation 16.

    Raises ValueError unless the shape is two lengths of 1 or more and the gain is above 0.
    """
    return _uniform(shape, _xavier_std(shape, gain))


def xavier_normal(shape: tuple[int, int], gain: float = 1.0) -> Array:
    """Normal with Var(w) = gain² · 2 / (fan_in + fan_out): see `xavier_uniform`, and equation 12 of
    Glorot, Bengio (2010)."""
    return _normal(shape, _xavier_std(shape, gain))


def he_uniform(shape: tuple[int, int], gain: float = SQRT_2) -> Array:
    """Uniform in ±gain · √(3 / fan_in), so Var(w) = gain² / fan_in; with the gain √2, 2 / fan_in.

    The gain √2 is for ReLU, √(2 / (1 + a²)) for a leaky one of slope a, and 1 for no activation
    (LeCun et al. 1998). He, Zhang, Ren, Sun (2015), "Delving deep into rectifiers", equation 10.

    Raises ValueError unless the shape is two lengths of 1 or more and the gain is above 0.
    """
    return _uniform(shape, _he_std(shape, gain))


def he_normal(shape: tuple[int, int], gain: float = SQRT_2) -> Array:
    """Normal with Var(w) = gain² / fan_in: see `he_uniform`; this is the form of the paper."""
    return _normal(shape, _he_std(shape, gain))


def _xavier_std(shape: tuple[int, int], gain: float) -> float:
    fan_in, fan_out = _fans(shape, gain)
    return gain * math.sqrt(2 / (fan_in + fan_out))


def _he_std(shape: tuple[int, int], gain: float) -> float:
    fan_in, _ = _fans(shape, gain)
    return gain / math.sqrt(fan_in)


def _uniform(shape: tuple[int, int], std: float) -> Array:
    bound = math.sqrt(3) * float(std)  # a NumPy scalar would make the weights float64
    unit = backend.generator().random(shape, dtype=np.float32)
    return backend.asarray((2 * unit - 1) * bound)


def _normal(shape: tuple[int, int], std: float) -> Array:
    unit = backend.generator().standard_normal(shape, dtype=np.float32)
    return backend.asarray(unit * float(std))


def _fans(shape: tuple[int, int], gain: float) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"an initialiser takes the shape (fan_in, fan_out), not {shape}")
    if not 0 < gain < math.inf:
        raise ValueError(f"the gain of an initialiser is a number above 0, not {gain!r}")
    return shape
