"""Elementwise ops and their derivatives: the table at the back of the calculus book, one argument a
line.

In each VJP g is the cotangent of the result y. Broadcasting is never mentioned: the walk undoes it.
What happens at kinks, ties, zeros and NaN follows PyTorch unless the docstring says otherwise.
"""

from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import nondifferentiable, primitive
from tinygrad_opt.backend import array_module

# ---- arithmetic ----------------------------------------------------------------------------------


@primitive
def add(a, b):
    """a + b, elementwise with broadcasting."""
    return a + b


add.defvjp(lambda g, y, a, b: g,
           lambda g, y, a, b: g)  # fmt: skip


@primitive
def subtract(a, b):
    """a - b, elementwise with broadcasting."""
    return a - b


subtract.defvjp(lambda g, y, a, b: g,
                lambda g, y, a, b: -g)  # fmt: skip


@primitive
def multiply(a, b):
    """a * b, elementwise with broadcasting."""
    return a * b


multiply.defvjp(lambda g, y, a, b: g * b,
                lambda g, y, a, b: g * a)  # fmt: skip


@primitive
def divide(a, b):
    """a / b, elementwise with broadcasting."""
    return a / b


divide.defvjp(lambda g, y, a, b: g / b,
              lambda g, y, a, b: -g * y / b)  # fmt: skip


@primitive
def negative(x):
    """-x, elementwise."""
    return -x


negative.defvjp(lambda g, y, x: -g)


@primitive
def power(a, p):
    """a ** p, elementwise with broadcasting; both arguments are differentiable.

    0 ** 0 has the gradient (0, 0), and 0 ** p the gradient 0 with respect to p ≥ 0.
    """
    return a**p


def _power_vjp_base(g, y, a, p):
    if isinstance(p, (int, float)):
        return g * (p * a ** (p - 1)) if p else g * 0
    never = p == 0  # there a ** (p - 1) may be inf, and 0 * inf a NaN
    return where(never, 0, g * p * a ** where(never, 1, p - 1))


def _power_vjp_exponent(g, y, a, p):
    flat = (a == 0) & (p >= 0)  # there log(a) is -inf
    return where(flat, 0, g * y * log(where(flat, 1, a)))


power.defvjp(_power_vjp_base, _power_vjp_exponent)


# ---- exponentials and logarithms -----------------------------------------------------------------


@primitive
def exp(x):
    """eˣ, elementwise. Overflows to inf above 89 in float32 and 710 in float64."""
    return array_module(x).exp(x)


exp.defvjp(lambda g, y, x: g * y)


@primitive
def expm1(x):
    """eˣ - 1, elementwise, exact for small x."""
    return array_module(x).expm1(x)


expm1.defvjp(lambda g, y, x: g * (y + 1))


@primitive
def log(x):
    """Natural logarithm, elementwise: -inf at 0 with the gradient inf, NaN below."""
    return array_module(x).log(x)


log.defvjp(lambda g, y, x: g / x)


@primitive
def log1p(x):
    """log(1 + x), elementwise, exact for small x."""
    return array_module(x).log1p(x)


log1p.defvjp(lambda g, y, x: g / (1 + x))


# ---- roots, powers, signs ------------------------------------------------------------------------


@primitive
def sqrt(x):
    """Square root, elementwise; the gradient at 0 is inf (detect_anomaly() finds such a place)."""
    return array_module(x).sqrt(x)


sqrt.defvjp(lambda g, y, x: g / (2 * y))


@primitive
def square(x):
    """x * x, elementwise."""
    return array_module(x).square(x)


square.defvjp(lambda g, y, x: g * (2 * x))


@primitive
def abs(x):
    """Absolute value, elementwise; the gradient is 0 at 0 and NaN at NaN."""
    return array_module(x).abs(x)


abs.defvjp(lambda g, y, x: g * sign(x))


@primitive
def sign(x):
    """-1, 0 or 1, elementwise, and NaN at NaN; the gradient is 0 everywhere."""
    return array_module(x).sign(x)


sign.defvjp(lambda g, y, x: g * 0)


# ---- trigonometric and hyperbolic ----------------------------------------------------------------


@primitive
def sin(x):
    """Sine of x in radians, elementwise."""
    return array_module(x).sin(x)


sin.defvjp(lambda g, y, x: g * cos(x))


@primitive
def cos(x):
    """Cosine of x in radians, elementwise."""
    return array_module(x).cos(x)


cos.defvjp(lambda g, y, x: -g * sin(x))


@primitive
def tanh(x):
    """Hyperbolic tangent, elementwise."""
    return array_module(x).tanh(x)


tanh.defvjp(lambda g, y, x: g * (1 - y * y))


@primitive
def erf(x):
    """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise (SciPy's, where it is installed)."""
    return backend.erf(x)


_2_OVER_SQRT_PI = 1.1283791670955126
erf.defvjp(lambda g, y, x: g * (_2_OVER_SQRT_PI * exp(-x * x)))


# ---- activations ---------------------------------------------------------------------------------


@primitive
def sigmoid(x):
    """1 / (1 + e⁻ˣ), elementwise, without overflow and exact in both tails."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


sigmoid.defvjp(lambda g, y, x: g * (y * (1 - y)))


@primitive
def softplus(x):
    """log(1 + eˣ), elementwise, without overflow: the integral of the sigmoid."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


softplus.defvjp(lambda g, y, x: g * sigmoid(x))


@primitive
def logsigmoid(x):
    """log(sigmoid(x)), elementwise, without the -inf (and the NaN gradient) of the naive form."""
    xp = array_module(x)
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


logsigmoid.defvjp(lambda g, y, x: g * sigmoid(-x))


@primitive
def relu(x):
    """max(x, 0), elementwise; the gradient is 0 at 0 (unlike maximum(x, 0)) and NaN at NaN."""
    return array_module(x).maximum(x, 0)


# Where y > 0 fails, y is 0, or the NaN that must not be lost: either way it is the gradient.
relu.defvjp(lambda g, y, x: where(y > 0, g, y))


@primitive
def leaky_relu(x, negative_slope=0.01):
    """x above 0, negative_slope * x up to 0 (Maas, Hannun, Ng 2013)."""
    return array_module(x).where(x > 0, x, negative_slope * x)


leaky_relu.defvjp(lambda g, y, x, negative_slope=0.01: where(x > 0, g, negative_slope * g))


@primitive
def elu(x, alpha=1.0):
    """x above 0, alpha * (eˣ - 1) up to 0 (Clevert, Unterthiner, Hochreiter 2016)."""
    xp = array_module(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


elu.defvjp(lambda g, y, x, alpha=1.0: g * where(x > 0, 1, alpha * exp(minimum(x, 0))))


def gelu(x, approximate: str = "none"):
    """x Φ(x), Φ the normal distribution function (Hendrycks, Gimpel 2016).

    `approximate="tanh"` is the paper's approximation, off by up to 5e-4, and faster on NumPy.
    """
    if approximate == "none":
        return x * (0.5 * (1 + erf(x * 0.7071067811865476)))
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * (x * x * x))))
    raise ValueError(f'gelu: approximate is "none" or "tanh", not {approximate!r}')


@primitive
def silu(x):
    """x sigmoid(x), elementwise, also called swish (Hendrycks, Gimpel 2016)."""
    return x * sigmoid(x)


def _silu_vjp(g, y, x):
    s = sigmoid(x)
    return g * (s + y * (1 - s))


silu.defvjp(_silu_vjp)


# ---- choosing ------------------------------------------------------------------------------------


@primitive
def maximum(a, b):
    """The larger of a and b, elementwise with broadcasting; a tie is shared half and half."""
    return _xp(a, b).maximum(a, b)


maximum.defvjp(lambda g, y, a, b: where(a == b, g / 2, where(a < b, 0, g)),
               lambda g, y, a, b: where(a == b, g / 2, where(b < a, 0, g)))  # fmt: skip


@primitive
def minimum(a, b):
    """The smaller of a and b, elementwise with broadcasting; a tie is shared half and half."""
    return _xp(a, b).minimum(a, b)


minimum.defvjp(lambda g, y, a, b: where(a == b, g / 2, where(a > b, 0, g)),
               lambda g, y, a, b: where(a == b, g / 2, where(b > a, 0, g)))  # fmt: skip


@primitive
def _where(condition, a, b):
    return backend.where(condition, a, b)


_where.defvjp(None,
              lambda g, y, condition, a, b: where(condition, g, 0),
              lambda g, y, condition, a, b: where(condition, 0, g))  # fmt: skip


def where(condition, a, b):
    """a where `condition` (bools), else b, elementwise with broadcasting.

    Both branches are computed, so that `where(x > 0, sqrt(x), 0)` has a NaN gradient at x = 0,
    where the unused branch has an infinite slope (0 · inf). The cure is to choose the input as
    well: `where(x > 0, sqrt(where(x > 0, x, 1)), 0)`.
    """
    if isinstance(condition, (bool, list)):
        condition = np.asarray(condition)
    kind = getattr(condition, "dtype", type(condition).__name__)
    if kind != "bool":
        raise TypeError(f"where: the condition is made of bools, not of {kind}; write x > 0")
    return _where(condition, a, b)


@primitive
def _clip(x, low, high):
    if low is not None:
        x = array_module(x).maximum(x, low)
    if high is not None:
        x = array_module(x).minimum(x, high)
    return x


def _clip_vjp(g, y, x, low, high):
    inside = x == x if low is None else x >= low
    return where(inside if high is None else inside & (x <= high), g, 0)


_clip.defvjp(_clip_vjp)


def clip(x, low=None, high=None):
    """x limited to [low, high] (None: no limit), elementwise; at a bound the gradient is still 1.

    The bounds are constants: numbers or arrays.
    """
    if low is None and high is None:
        raise ValueError("clip: give a low bound, a high bound or both")
    on_host = all(isinstance(v, (int, float, list, np.ndarray, np.generic)) for v in (low, high))
    if on_host and not np.all(np.less_equal(low, high)):
        raise ValueError(f"clip: the low bound {low} is not below the high bound {high}")
    return _clip(x, low, high)


# ---- comparing (no derivative) -------------------------------------------------------------------

less = nondifferentiable(lambda a, b: a < b)
less_equal = nondifferentiable(lambda a, b: a <= b)
greater = nondifferentiable(lambda a, b: a > b)
greater_equal = nondifferentiable(lambda a, b: a >= b)
equal = nondifferentiable(lambda a, b: a == b)
not_equal = nondifferentiable(lambda a, b: a != b)
logical_and = nondifferentiable(lambda a, b: _xp(a, b).logical_and(a, b))
logical_or = nondifferentiable(lambda a, b: _xp(a, b).logical_or(a, b))
logical_not = nondifferentiable(lambda a: array_module(a).logical_not(a))


def _xp(a, b):
    """The module of the one of the two that is an array."""
    return array_module(a if backend.is_array(a) else b)


for _name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal",
              "logical_and", "logical_or", "logical_not"):  # fmt: skip
    _op: Any = globals()[_name]
    _op.__name__ = _op.__qualname__ = _name
    _op.__doc__ = f"NumPy's `{_name}`: a tensor of bools, without a gradient."
