"""Elementwise ops and their derivatives: the table at the back of the calculus book, one argument a
line.

In each VJP g is the cotangent of the result y. Broadcasting is never mentioned: the walk undoes it.
What happens at kinks, ties, zeros and NaN follows PyTorch unless the docstring says otherwise.
"""

import math
from collections.abc import Callable
from typing import Any

from tinygrad_opt import arguments, backend
from tinygrad_opt.autograd import nondifferentiable, primitive
from tinygrad_opt.backend import array_module

_FLOAT = backend.DEFAULT_FLOAT

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
    if type(p) is int and p < 0 and getattr(a, "dtype", _FLOAT).kind in "iu":
        raise ValueError("integers to negative integer powers are not allowed: take x.astype(...)")
    return a**p


def _power_vjp_base(g, y, a, p):
    if isinstance(p, (int, float)):
        return g * (p * a ** (p - 1)) if p else y * 0  # never g * 0: g may be inf
    never = p == 0  # there a ** (p - 1) may be inf, and 0 * inf a NaN
    return where(never, 0, g * p * a ** where(never, 1, p - 1))


def _power_vjp_exponent(g, y, a, p):
    if isinstance(a, (int, float)):  # NumPy's log of a Python number would be a float64
        return g * y * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    flat = (a == 0) & (p >= 0)  # there log(a) is -inf
    return where(flat, 0, g * y * log(where(flat, 1, a)))


power.defvjp(_power_vjp_base, _power_vjp_exponent)


# ---- NumPy's functions of one variable -----------------------------------------------------------


def _function(name: str, vjp: Callable, doc: str) -> Any:
    def forward(x):
        return getattr(array_module(x), name)(x)

    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = f"{doc}, elementwise."
    op = primitive(forward)
    op.defvjp(vjp)
    return op


exp = _function("exp", lambda g, y, x: g * y, "eˣ; inf above 89 in float32, 710 in float64")
expm1 = _function("expm1", lambda g, y, x: g * (y + 1), "eˣ - 1, exact for small x")
log = _function("log", lambda g, y, x: g / x, "Natural logarithm; -inf at 0, its gradient inf")
log1p = _function("log1p", lambda g, y, x: g / (1 + x), "log(1 + x), exact for small x")
sqrt = _function("sqrt", lambda g, y, x: g / (2 * y), "Square root; at 0 the gradient is inf")
square = _function("square", lambda g, y, x: g * (2 * x), "x²")
sin = _function("sin", lambda g, y, x: g * cos(x), "Sine of x in radians")
cos: Any = _function("cos", lambda g, y, x: -g * sin(x), "Cosine of x in radians")
tanh = _function("tanh", lambda g, y, x: g * (1 - y * y), "Hyperbolic tangent")
abs = _function("abs", lambda g, y, x: g * sign(x), "|x|; the gradient is 0 at 0, NaN at NaN")
sign: Any = _function("sign", lambda g, y, x: where(y == y, y * 0, 0),  # in y's dtype, no NaN
                      "-1, 0 or 1, NaN at NaN; the gradient is 0")  # fmt: skip


erf = primitive(backend.erf)
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


# The gradient of a relu is g where its result y is above 0, and elsewhere y itself: there it is 0,
# or a NaN that must not be lost. It is an op, for it has derivatives too: c is the cotangent of its
# result, out.
_gated = primitive(backend.gated)
_gated.defvjp(lambda c, out, g, y: where(y > 0, c, 0),
              lambda c, out, g, y: where(y > 0, 0, c))  # fmt: skip
relu.defvjp(lambda g, y, x: _gated(g, y))


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


def _xp(a, b):
    """The module of the one of the two that is an array."""
    return array_module(a if backend.is_array(a) else b)


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


_NUMBERS = (bool, int, float)


@primitive
def where(condition, a, b):
    """a where `condition` (bools), else b, elementwise with broadcasting.

    Both branches are computed, so that `where(x > 0, sqrt(x), 0)` has a NaN gradient at x = 0,
    where the unused branch has an infinite slope (0 · inf). The cure is to choose the input as
    well: `where(x > 0, sqrt(where(x > 0, x, 1)), 0)`.
    """
    arguments.check_bools(condition)
    if type(a) in _NUMBERS and type(b) in _NUMBERS:
        a = array_module(condition).asarray(a, dtype=backend.DEFAULT_FLOAT)
    return backend.where(condition, a, b)


where.defvjp(None,
             lambda g, y, condition, a, b: where(condition, g, 0),
             lambda g, y, condition, a, b: where(condition, 0, g))  # fmt: skip


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
    arguments.check_bounds(low, high)
    return _clip(x, low, high)


# ---- comparing (no derivative) -------------------------------------------------------------------


def _comparison(name):
    def forward(a, b):
        return getattr(_xp(a, b), name)(a, b)

    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = f"NumPy's `{name}`, elementwise: a tensor of bools, without a gradient."
    return nondifferentiable(forward)


less, less_equal, equal, not_equal, greater_equal, greater, logical_and, logical_or = map(
    _comparison,
    ["less", "less_equal", "equal", "not_equal", "greater_equal", "greater", "logical_and",
     "logical_or"],
)  # fmt: skip


@nondifferentiable
def logical_not(x):
    """NumPy's `logical_not`, elementwise: a tensor of bools, without a gradient."""
    return array_module(x).logical_not(x)
