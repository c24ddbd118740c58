"""Reductions and their derivatives: what is summed going forward is spread going back.

`axis` is None (all axes), an int or a tuple of ints, negative ones counting from the end;
`keepdims` leaves the reduced axes in place with length 1, as in NumPy.
"""

import math

from tinygrad_opt import arguments
from tinygrad_opt.arguments import reduced
from tinygrad_opt.autograd import nondifferentiable, primitive
from tinygrad_opt.backend import array_module
from tinygrad_opt.ops.elementwise import abs, exp, sign, where
from tinygrad_opt.ops.shape import broadcast_to, flip
from tinygrad_opt.tensor import raw_array


def kept(shape: tuple, axis) -> tuple:
    """`shape` with the reduced axes kept as length 1."""
    axes = arguments.axes_of(shape, axis)
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def spread(g, x, axis):
    """`g` with its reduced axes put back as length 1, so that it broadcasts against `x`."""
    return g.reshape(kept(x.shape, axis))


# ---- sums ----------------------------------------------------------------------------------------


@primitive
def sum(x, axis=None, keepdims=False):
    """Sum over `axis`."""
    return x.sum(axis=axis, keepdims=keepdims)


sum.defvjp(lambda g, y, x, axis=None, keepdims=False: broadcast_to(spread(g, x, axis), x.shape))


@primitive
def mean(x, axis=None, keepdims=False):
    """Arithmetic mean over `axis`. ValueError for the mean of nothing."""
    if not x.size and not reduced(x.shape, axis):
        raise ValueError(f"the mean of nothing is undefined (shape {x.shape}, axis {axis})")
    return x.mean(axis=axis, keepdims=keepdims)


def _mean_vjp(g, y, x, axis=None, keepdims=False):
    return broadcast_to(spread(g, x, axis) / reduced(x.shape, axis), x.shape)


mean.defvjp(_mean_vjp)


def _check_ddof(x, axis, ddof):
    n = reduced(x.shape, axis)
    if n <= ddof:
        raise ValueError(f"ddof={ddof} leaves nothing to divide by: {n} elements in each result")


@primitive
def var(x, axis=None, ddof=0, keepdims=False):
    """Variance over `axis`: the squared deviations' sum over n - ddof."""
    _check_ddof(x, axis, ddof)
    return x.var(axis=axis, ddof=ddof, keepdims=keepdims)


def _deviation(x, axis, ddof):
    """(x - mean(x)) / (n - ddof): half the derivative of the variance."""
    return (x - x.mean(axis=axis, keepdims=True)) / (reduced(x.shape, axis) - ddof)


def _var_vjp(g, y, x, axis=None, ddof=0, keepdims=False):
    return spread(g, x, axis) * 2 * _deviation(x, axis, ddof)


var.defvjp(_var_vjp)


@primitive
def std(x, axis=None, ddof=0, keepdims=False):
    """Standard deviation over `axis`, √(squared deviations' sum over n - ddof). Where all values
    are equal, the gradient is 0."""
    _check_ddof(x, axis, ddof)
    return x.std(axis=axis, ddof=ddof, keepdims=keepdims)


def _over(g, y):
    """g / y, and 0 where y is 0."""
    flat = y == 0
    return where(flat, 0, g / where(flat, 1, y))


def _std_vjp(g, y, x, axis=None, ddof=0, keepdims=False):
    return spread(_over(g, y), x, axis) * _deviation(x, axis, ddof)


std.defvjp(_std_vjp)


@primitive
def norm(x, ord=2, axis=None, keepdims=False):
    """The vector norm (Σ|x|ᵖ)^(1/p) over `axis`, p = ord > 0 or inf; all elements for axis None.

    Its gradient at the zero vector is 0, where that of the formula written out is NaN.
    """
    if not isinstance(ord, (int, float)) or not ord > 0:
        raise ValueError(f"ord is a number above 0 or inf, not {ord!r}")
    xp = array_module(x)
    if ord == 2:
        return xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    if ord == 1:
        return xp.abs(x).sum(axis=axis, keepdims=keepdims)
    if ord == float("inf"):
        return xp.abs(x).max(axis=axis, keepdims=keepdims)
    return (xp.abs(x) ** ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord)


def _norm_vjp(g, y, x, ord=2, axis=None, keepdims=False):
    if ord == 2:
        return spread(_over(g, y), x, axis) * x
    if ord == 1:
        return spread(g, x, axis) * sign(x)
    y = spread(y, x, axis)
    if ord == float("inf"):
        return spread(g, x, axis) * sign(x) * _shares(abs(x) == y, x, axis)
    flat = y == 0  # the ratio |x| / y is formed first: each of the powers alone may overflow
    ratio = where(x == 0, 0, where(x == 0, 1, abs(x)) / where(flat, 1, y))
    if ord > 1:
        return spread(g, x, axis) * sign(x) * ratio ** (ord - 1)
    zero = x == 0  # below p = 1 the slope is infinite there; torch masks it too
    return spread(g, x, axis) * sign(x) * where(zero, 0, where(zero, 1, ratio) ** (ord - 1))


norm.defvjp(_norm_vjp)


# ---- extremes ------------------------------------------------------------------------------------


def _shares(hit, x, axis):
    """The part of the cotangent that each element gets: a tie is shared evenly."""
    hit = hit.astype(x.dtype)
    return hit / hit.sum(axis=axis, keepdims=True)


@primitive
def max(x, axis=None, keepdims=False):
    """The largest element over `axis`; the gradient of a tie is shared evenly."""
    arguments.check_extreme_axis(axis)
    return x.max(axis=axis, keepdims=keepdims)


@primitive
def min(x, axis=None, keepdims=False):
    """The smallest element over `axis`; the gradient of a tie is shared evenly."""
    arguments.check_extreme_axis(axis)
    return x.min(axis=axis, keepdims=keepdims)


def _extreme_vjp(g, y, x, axis=None, keepdims=False):
    return spread(g, x, axis) * _shares(x == spread(y, x, axis), x, axis)


max.defvjp(_extreme_vjp)
min.defvjp(_extreme_vjp)


@nondifferentiable
def argmax(x, axis=None, keepdims=False):
    """The index of the (first) largest element over `axis`; integers, without a gradient."""
    arguments.check_extreme_axis(axis, several=False)
    return x.argmax(axis=axis, keepdims=keepdims)


# ---- products ------------------------------------------------------------------------------------


@primitive
def prod(x, axis=None, keepdims=False):
    """Product over `axis`; the gradient is exact also where factors are 0."""
    return x.prod(axis=axis, keepdims=keepdims)


def _prod_vjp(g, y, x, axis=None, keepdims=False):
    """Each factor's derivative is the product of the others, never y / x."""
    last = sorted(arguments.axes_of(x.shape, axis))
    front = [i for i in range(x.ndim) if i not in last]
    order = front + last
    back = [order.index(i) for i in range(x.ndim)]
    rows = x.transpose(order)
    lead = rows.shape[: len(front)]
    others = product_of_others(rows.reshape((*lead, math.prod(rows.shape[len(front) :]))))
    return spread(g, x, axis) * others.reshape(rows.shape).transpose(back)


prod.defvjp(_prod_vjp)


@primitive
def product_of_others(x):
    """yᵢ = ∏ₖ≠ᵢ xₖ along the last axis: the product before i times the product after i."""
    xp = array_module(x)
    one = xp.ones_like(x[..., :1])
    before = xp.cumprod(xp.concatenate([one, x[..., :-1]], axis=-1), axis=-1)
    after = xp.cumprod(xp.concatenate([one, x[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    return before * after


def _product_of_others_vjp(g, y, x):
    """∂yᵢ/∂xⱼ is the product of all but i and j: row i has a 1 in place of xᵢ."""
    here = array_module(raw_array(x)).eye(x.shape[-1], dtype=bool)
    rows = where(here, 1, x.reshape((*x.shape[:-1], 1, x.shape[-1])))
    pairs = where(here, 0, product_of_others(rows))
    return (g.reshape((*g.shape, 1)) * pairs).sum(axis=-2)


product_of_others.defvjp(_product_of_others_vjp)


@primitive
def cumsum(x, axis=None):
    """Running sum along `axis`; of the flattened array for axis None."""
    return x.cumsum(axis=axis)


def _cumsum_vjp(g, y, x, axis=None):
    return flip(flip(g, axis).cumsum(axis=axis), axis).reshape(x.shape)


cumsum.defvjp(_cumsum_vjp)


# ---- softmax and its kin -------------------------------------------------------------------------


@primitive
def logsumexp(x, axis=None, keepdims=False):
    """log Σ eˣ over `axis`, without overflow. All -inf: the value is -inf, the gradient 0."""
    xp = array_module(x)
    top = x.max(axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    y = xp.exp(x - top).sum(axis=axis, keepdims=True)
    # log(0) is the wanted -inf, without NumPy's warning
    y = xp.where(y == 0, -xp.inf, xp.log(xp.where(y == 0, 1, y))) + top
    return y if keepdims else y.reshape(x.max(axis=axis).shape)  # that of any reduction


def _logsumexp_vjp(g, y, x, axis=None, keepdims=False):
    """The softmax, from x itself: exp(x - y) would magnify the rounding of a large y."""
    xp = array_module(raw_array(x))
    top = raw_array(x).max(axis=axis, keepdims=True)
    e = exp(x - xp.where(xp.isfinite(top), top, 0))
    return spread(g, x, axis) * _over(e, e.sum(axis=axis, keepdims=True))


logsumexp.defvjp(_logsumexp_vjp)


@primitive
def softmax(x, axis=-1):
    """eˣ / Σ eˣ along `axis`, without overflow. A row of -inf alone is NaN: nothing to choose
    from."""
    e = array_module(x).exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_vjp(g, y, x, axis=-1):
    return y * (g - (g * y).sum(axis=axis, keepdims=True))


softmax.defvjp(_softmax_vjp)


@primitive
def log_softmax(x, axis=-1):
    """x - log Σ eˣ along `axis`, without overflow: the exact logarithm of the softmax."""
    xp = array_module(x)
    x = x - x.max(axis=axis, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=axis, keepdims=True))


def _log_softmax_vjp(g, y, x, axis=-1):
    return g - exp(y) * g.sum(axis=axis, keepdims=True)


log_softmax.defvjp(_log_softmax_vjp)


@primitive
def normalize(x, axis=-1, eps=1e-5):
    """(x - mean) / √(var + eps) along `axis`: the heart of layer and batch normalisation."""
    return (x - x.mean(axis=axis, keepdims=True)) / _deviation_of(x, axis, eps)


def _deviation_of(x, axis, eps):
    return (x.var(axis=axis, keepdims=True) + eps) ** 0.5


def _normalize_vjp(g, y, x, axis=-1, eps=1e-5):
    """The part of g that shifts the mean, and the part along y that scales, have no effect."""
    centred = g - g.mean(axis=axis, keepdims=True)
    return (centred - y * (g * y).mean(axis=axis, keepdims=True)) / _deviation_of(x, axis, eps)


normalize.defvjp(_normalize_vjp)
