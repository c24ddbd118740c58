"""Wrong VJPs, one to five an op: the mistakes that hand-written derivatives are known to have.

Each is the right one but for a single slip: a sign, a factor, an operand, an axis, a tie, a dtype,
a write in place, or a term that has lost its graph, which only a second derivative notices.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.ops import elementwise, linalg, loss, reduce, shape

PRIMITIVES = {
    value.__name__: value
    for module in (elementwise, reduce, shape, linalg, loss)
    for value in vars(module).values()
    if getattr(value, "vjps", None) is not None
}


RIGHT = {
    name: [vjp for vjp, _ in zip(op.vjps, range(8), strict=False)]  # there may be any number
    for name, op in PRIMITIVES.items()
}


class Planted(NamedTuple):
    """`vjps` are wrong for one argument of `primitive`; the samples of `op` are to show it."""

    op: str
    primitive: str
    argument: int
    slip: str
    vjps: Any

    def __str__(self) -> str:
        place = self.op if self.op == self.primitive else f"{self.primitive} in {self.op}"
        return f"{place}, argument {self.argument}: {self.slip}"


PLANTED: list[Planted] = []


def plant(place: str, argument: int, slip: str, wrong: Callable) -> None:
    """`wrong` in place of the VJP for `argument`; place: "op", or "primitive in op"."""
    primitive, _, op = place.rpartition(" in ")
    primitive = primitive or op
    vjps = [wrong if n == argument else vjp for n, vjp in enumerate(RIGHT[primitive])]
    PLANTED.append(Planted(op, primitive, argument, slip, vjps))


def plant_each(op: str, slip: str, wrong: Callable) -> None:
    """For an op of any number of arguments: wrong(n, right, g, y, *args) for the n-th."""
    vjps = [functools.partial(wrong, n, vjp) for n, vjp in enumerate(RIGHT[op])]
    PLANTED.append(Planted(op, op, -1, slip, vjps))


def right(primitive: str, argument: int = 0) -> Callable:
    """The right VJP, also while a wrong one stands in its place."""
    return RIGHT[primitive][argument]


def raw(x: Any) -> Any:
    """Without its graph: what detach() too many does."""
    return x.data if isinstance(x, tg.Tensor) else x


def wide(x: Any) -> Any:
    return x.astype("float64")


def spread(g: Any, x: Any, axis: Any) -> Any:
    """The cotangent of a reduction with its reduced axes back as length 1."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {a % x.ndim for a in axes}
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def length(x: Any, axis: Any) -> int:
    """How many elements each result is made of."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return math.prod(x.shape[a] for a in axes)


def into(target: Any, value: Any) -> Any:
    """The value, written over the memory of `target`."""
    if isinstance(target, np.ndarray) and target.ndim and target.flags.writeable:
        target[...] = value
        return target
    return value


# fmt: off
# ---- elementwise ---------------------------------------------------------------------------------

plant("add", 0, "sign", lambda g, y, a, b: -g)
plant("add", 1, "factor of the other", lambda g, y, a, b: g * b)
plant("add", 1, "cotangent squared", lambda g, y, a, b: g * g)
plant("subtract", 0, "sign", lambda g, y, a, b: -g)
plant("subtract", 1, "sign", lambda g, y, a, b: g)
plant("multiply", 0, "its own operand", lambda g, y, a, b: g * a)
plant("multiply", 1, "its own operand", lambda g, y, a, b: g * b)
plant("multiply", 1, "detached", lambda g, y, a, b: g * raw(a))
plant("multiply", 0, "widened", lambda g, y, a, b: wide(g) * b)
plant("multiply", 0, "written over g",
      lambda g, y, a, b: into(g, g * b) if g.shape == y.shape else g * b)
plant("divide", 0, "multiplied", lambda g, y, a, b: g * b)
plant("divide", 1, "sign", lambda g, y, a, b: g * y / b)
plant("divide", 1, "square forgotten", lambda g, y, a, b: -g * a / b)
plant("divide", 1, "result detached", lambda g, y, a, b: -g * raw(y) / b)
plant("negative", 0, "sign", lambda g, y, x: g)
plant("negative", 0, "written over g", lambda g, y, x: into(g, -g))
plant("power", 0, "exponent dropped", lambda g, y, a, p: g * a ** (p - 1))
plant("power", 0, "exponent not lowered", lambda g, y, a, p: g * p * a**p)
plant("power", 1, "logarithm dropped", lambda g, y, a, p: g * y)
plant("power", 1, "result detached", lambda g, y, a, p: right("power", 1)(g, raw(y), a, p))
plant("power", 1, "base detached", lambda g, y, a, p: right("power", 1)(g, y, raw(a), p))
plant("exp", 0, "of the input", lambda g, y, x: g * x)
plant("exp", 0, "detached", lambda g, y, x: g * raw(y))
plant("exp", 0, "written over y", lambda g, y, x: into(y, g * y))
plant("expm1", 0, "one forgotten", lambda g, y, x: g * y)
plant("expm1", 0, "detached", lambda g, y, x: g * (raw(y) + 1))
plant("log", 0, "multiplied", lambda g, y, x: g * x)
plant("log", 0, "detached", lambda g, y, x: g / raw(x))
plant("log1p", 0, "one forgotten", lambda g, y, x: g / x)
plant("log1p", 0, "detached", lambda g, y, x: g / (1 + raw(x)))
plant("sqrt", 0, "two forgotten", lambda g, y, x: g / y)
plant("sqrt", 0, "of the input", lambda g, y, x: g / (2 * x))
plant("sqrt", 0, "detached", lambda g, y, x: g / (2 * raw(y)))
plant("square", 0, "two forgotten", lambda g, y, x: g * x)
plant("square", 0, "cotangent squared", lambda g, y, x: g * g * (2 * x))
plant("square", 0, "detached", lambda g, y, x: g * (2 * raw(x)))
plant("square", 0, "written over x", lambda g, y, x: into(x, g * (2 * x)))
plant("abs", 0, "sign dropped", lambda g, y, x: g)
plant("abs", 0, "sign of the cotangent", lambda g, y, x: abs(g) * tg.sign(x))
plant("sign", 0, "straight through", lambda g, y, x: g)
plant("sin", 0, "sign", lambda g, y, x: -g * tg.cos(x))
plant("sin", 0, "detached", lambda g, y, x: g * tg.cos(raw(x)))
plant("cos", 0, "sign", lambda g, y, x: g * tg.sin(x))
plant("tanh", 0, "square forgotten", lambda g, y, x: g * (1 - y))
plant("tanh", 0, "sign inside", lambda g, y, x: g * (1 + y * y))
plant("tanh", 0, "detached", lambda g, y, x: g * (1 - raw(y) * raw(y)))
plant("erf", 0, "constant dropped", lambda g, y, x: g * tg.exp(-x * x))
plant("erf", 0, "widened",
      lambda g, y, x: g * (np.float64(1.1283791670955126) * wide(tg.exp(-x * x))))
plant("sigmoid", 0, "1 - y dropped", lambda g, y, x: g * y)
plant("sigmoid", 0, "half detached", lambda g, y, x: g * (y * (1 - raw(y))))
plant("softplus", 0, "of -x", lambda g, y, x: g * tg.sigmoid(-x))
plant("softplus", 0, "detached", lambda g, y, x: g * tg.sigmoid(raw(x)))
plant("logsigmoid", 0, "of x", lambda g, y, x: g * tg.sigmoid(x))
plant("logsigmoid", 0, "sign", lambda g, y, x: -g * tg.sigmoid(-x))
plant("relu", 0, "no mask", lambda g, y, x: g)
plant("relu", 0, "mask of the cotangent", lambda g, y, x: tg.where(g > 0, g, g * 0))
plant("leaky_relu", 0, "slope ignored",
      lambda g, y, x, negative_slope=0.01: tg.where(x > 0, g, 0.01 * g))
plant("elu", 0, "alpha ignored",
      lambda g, y, x, alpha=1.0: g * tg.where(x > 0, 1, tg.exp(tg.minimum(x, 0))))
plant("elu", 0, "result detached",
      lambda g, y, x, alpha=1.0: g * tg.where(x > 0, 1, raw(y) + alpha))
plant("silu", 0, "second term dropped", lambda g, y, x: g * tg.sigmoid(x))
plant("silu", 0, "half detached",
      lambda g, y, x: g * (tg.sigmoid(x) + y * (1 - tg.sigmoid(raw(x)))))
plant("erf in gelu", 0, "constant dropped", lambda g, y, x: g * tg.exp(-x * x))
plant("tanh in gelu", 0, "detached", lambda g, y, x: g * (1 - raw(y) * raw(y)))
plant("maximum", 0, "whole tie", lambda g, y, a, b: tg.where(a >= b, g, 0))
plant("maximum", 1, "no tie", lambda g, y, a, b: tg.where(a >= b, 0, g))
plant("maximum", 1, "mask of the other",
      lambda g, y, a, b: tg.where(a == b, g / 2, tg.where(a < b, 0, g)))
plant("minimum", 0, "whole tie", lambda g, y, a, b: tg.where(a <= b, g, 0))
plant("minimum", 1, "that of maximum",
      lambda g, y, a, b: tg.where(a == b, g / 2, tg.where(b < a, 0, g)))
plant("where", 1, "the other branch", lambda g, y, c, a, b: tg.where(c, 0, g))
plant("where", 2, "no mask", lambda g, y, c, a, b: g)
plant("clip", 0, "straight through", lambda g, y, x, low, high: g)
plant("clip", 0, "0 at the bounds", lambda g, y, x, low, high:
      tg.where((y == x) & (y != low) & (y != high), g, 0) if low is not None
      and high is not None else right("clip")(g, y, x, low, high))
plant("clip", 0, "the low bound alone",
      lambda g, y, x, low, high: right("clip")(g, y, x, low, None) if low is not None else g)

# ---- reductions ----------------------------------------------------------------------------------

plant("sum", 0, "divided as a mean", lambda g, y, x, axis=None, keepdims=False:
      tg.broadcast_to(spread(g, x, axis) / length(x, axis), x.shape))
plant("sum", 0, "in another order", lambda g, y, x, axis=None, keepdims=False:
      tg.broadcast_to(spread(tg.flip(g), x, axis), x.shape))
plant("mean", 0, "divided by them all", lambda g, y, x, axis=None, keepdims=False:
      tg.broadcast_to(spread(g, x, axis) / x.size, x.shape))
plant("mean", 0, "first axis of a tuple", lambda g, y, x, axis=None, keepdims=False:
      tg.broadcast_to(spread(g, x, axis) / length(x, axis[:1] if isinstance(axis, tuple)
      else axis), x.shape))
plant("mean", 0, "widened", lambda g, y, x, axis=None, keepdims=False:
      tg.broadcast_to(wide(spread(g, x, axis)) / length(x, axis), x.shape))
plant("var", 0, "two dropped", lambda g, y, x, axis=None, ddof=0, keepdims=False:
      0.5 * right("var")(g, y, x, axis, ddof, keepdims))
plant("var", 0, "ddof ignored",
      lambda g, y, x, axis=None, ddof=0, keepdims=False: right("var")(g, y, x, axis, 0, keepdims))
plant("var", 0, "mean detached", lambda g, y, x, axis=None, ddof=0, keepdims=False:
      spread(g, x, axis) * (x - raw(x).mean(axis=axis, keepdims=True)) * (2 / (length(x, axis)
      - ddof)))
plant("std", 0, "not divided by y", lambda g, y, x, axis=None, ddof=0, keepdims=False:
      spread(g, x, axis) * (x - x.mean(axis=axis, keepdims=True)) / (length(x, axis) - ddof))
plant("std", 0, "ddof ignored",
      lambda g, y, x, axis=None, ddof=0, keepdims=False: right("std")(g, y, x, axis, 0, keepdims))
plant("std", 0, "result detached", lambda g, y, x, axis=None, ddof=0, keepdims=False:
      right("std")(g, raw(y), x, axis, ddof, keepdims))
plant("norm", 0, "2 for every ord",
      lambda g, y, x, ord=2, axis=None, keepdims=False: spread(g / y, x, axis) * x)
plant("norm", 0, "sign dropped", lambda g, y, x, ord=2, axis=None, keepdims=False:
      right("norm")(g, y, abs(x), ord, axis, keepdims))
plant("norm", 0, "result detached", lambda g, y, x, ord=2, axis=None, keepdims=False:
      right("norm")(g, raw(y), x, ord, axis, keepdims))
for _op in ("max", "min"):
    plant(_op, 0, "whole ties", lambda g, y, x, axis=None, keepdims=False:
          spread(g, x, axis) * (x == spread(y, x, axis)))
    plant(_op, 0, "ties counted over all axes", lambda g, y, x, axis=None, keepdims=False:
          spread(g, x, axis) * evenly(raw(x) == spread(raw(y), x, axis), y))
plant("max", 0, "the first of a tie", lambda g, y, x, axis=None, keepdims=False:
      spread(g, x, axis) * first_hit(raw(x) == spread(raw(y), x, axis), axis))
plant("prod", 0, "y / x", lambda g, y, x, axis=None, keepdims=False:
      spread(g * y, x, axis) * tg.where(x == 0, 0, 1 / tg.where(x == 0, 1, x)))
plant("prod", 0, "not divided",
      lambda g, y, x, axis=None, keepdims=False: spread(g * y, x, axis) + x * 0)
plant("prod", 0, "the others detached", lambda g, y, x, axis=None, keepdims=False:
      spread(g, x, axis) * raw(right("prod")(np.ones(y.shape), raw(y), raw(x), axis, keepdims)))
plant("product_of_others in prod", 0, "pairs by division",
      lambda g, y, x: (g * y).sum(axis=-1, keepdims=True) / x)
plant("cumsum", 0, "not reversed", lambda g, y, x, axis=None: g.cumsum(axis=axis).reshape(x.shape))
plant("cumsum", 0, "straight through", lambda g, y, x, axis=None: g.reshape(x.shape))
plant("logsumexp", 0, "not normalised",
      lambda g, y, x, axis=None, keepdims=False: spread(g, x, axis) * tg.exp(x - raw(x).max()))
plant("logsumexp", 0, "detached", lambda g, y, x, axis=None, keepdims=False:
      right("logsumexp")(g, raw(y), raw(x), axis, keepdims))
plant("softmax", 0, "zero", lambda g, y, x, axis=-1: g * 0)
plant("softmax", 0, "sum dropped", lambda g, y, x, axis=-1: y * g)
plant("softmax", 0, "the last axis always",
      lambda g, y, x, axis=-1: y * (g - (g * y).sum(axis=-1, keepdims=True)))
plant("softmax", 0, "half detached",
      lambda g, y, x, axis=-1: raw(y) * (g - (g * y).sum(axis=axis, keepdims=True)))
plant("log_softmax", 0, "a count for the sum",
      lambda g, y, x, axis=-1: g - tg.exp(y) * length(x, axis))
plant("log_softmax", 0, "the last axis always",
      lambda g, y, x, axis=-1: g - tg.exp(y) * g.sum(axis=-1, keepdims=True))
plant("log_softmax", 0, "detached",
      lambda g, y, x, axis=-1: g - tg.exp(raw(y)) * g.sum(axis=axis, keepdims=True))
plant("normalize in layer_norm", 0, "zero", lambda g, y, x, axis=-1, eps=1e-5: g * 0)
plant("normalize in layer_norm", 0, "mean of g kept", lambda g, y, x, axis=-1, eps=1e-5:
      (g - y * (g * y).mean(axis=axis, keepdims=True)) / (x.var(axis=axis, keepdims=True)
      + eps) ** 0.5)
plant("normalize in layer_norm", 0, "share of y dropped", lambda g, y, x, axis=-1, eps=1e-5:
      (g - g.mean(axis=axis, keepdims=True)) / (x.var(axis=axis, keepdims=True) + eps) ** 0.5)
plant("normalize in layer_norm", 0, "eps ignored",
      lambda g, y, x, axis=-1, eps=1e-5: right("normalize")(g, y, x, axis, 1e-5))
plant("normalize in layer_norm", 0, "variance detached",
      lambda g, y, x, axis=-1, eps=1e-5: right("normalize")(g, y, raw(x), axis, eps))
plant("multiply in layer_norm", 1, "its own operand", lambda g, y, a, b: g * b)


def evenly(hit: np.ndarray, y: Any) -> np.ndarray:
    """The mean share of a tie, where each result has its own."""
    return hit * (max(y.size, 1) / max(hit.sum(), 1))


def first_hit(hit: np.ndarray, axis: Any) -> np.ndarray:
    """The first True along the axes alone."""
    if not isinstance(axis, int):
        return hit & (hit.reshape(-1).cumsum().reshape(hit.shape) == 1) if axis is None else hit
    return hit & (hit.cumsum(axis=axis) == 1)


# ---- elements moved ------------------------------------------------------------------------------

plant("reshape", 0, "column order", lambda g, y, x, shape: g.T.reshape(x.shape[::-1]).T)
plant("reshape in flatten", 0, "backwards", lambda g, y, x, shape: tg.flip(g).reshape(x.shape))
plant("transpose", 0, "reshaped", lambda g, y, x, axes: g.reshape(x.shape))
plant("transpose", 0, "not inverted",
      lambda g, y, x, axes: g.transpose(axes) if axes else g.transpose())
plant("swapaxes", 0, "reshaped", lambda g, y, x, axis1, axis2: g.reshape(x.shape))
plant("expand_dims", 0, "mean for sum", lambda g, y, x, axis: g.reshape(x.shape) / max(g.size, 1))
plant("expand_dims", 0, "backwards", lambda g, y, x, axis: tg.flip(g).reshape(x.shape))
plant("squeeze", 0, "backwards", lambda g, y, x, axis=None: tg.flip(g).reshape(x.shape))
plant("squeeze", 0, "doubled", lambda g, y, x, axis=None: 2 * g.reshape(x.shape))
plant("broadcast_to", 0, "mean for sum", lambda g, y, x, shape: g * (x.size / max(g.size, 1)))
plant("flip", 0, "not flipped", lambda g, y, x, axis=None: g)
plant("flip", 0, "every axis", lambda g, y, x, axis=None: tg.flip(g))
plant("roll", 0, "not rolled", lambda g, y, x, shift, axis=None: g)
plant("roll", 0, "onward", lambda g, y, x, shift, axis=None: tg.roll(g, shift, axis))
plant("pad", 0, "from the corner", lambda g, y, x, pad_width, constant_values=0:
      tg.getitem(g, tuple(slice(0, n) for n in x.shape)))
plant("pad", 0, "scaled by the constant", lambda g, y, x, pad_width, constant_values=0:
      right("pad")(g, y, x, pad_width) * (1 + constant_values))
plant_each("concatenate", "the first part always", lambda n, right, g, y, *xs, axis=0:
           tg.getitem(g, (*[slice(None)] * (axis % g.ndim), slice(0, xs[n].shape[axis]))))
plant_each("concatenate", "backwards",
           lambda n, right, g, y, *xs, axis=0: tg.flip(right(g, y, *xs, axis=axis)))
plant_each("stack", "the first part always",
           lambda n, right, g, y, *xs, axis=0: tg.getitem(g, (*[slice(None)] * (axis % g.ndim), 0)))
plant_each("stack", "backwards",
           lambda n, right, g, y, *xs, axis=0: right(tg.flip(g, axis), y, *xs, axis=axis))
for _op in ("getitem", "take", "take_along_axis", "embedding"):
    plant(f"getitem in {_op}", 0, "the last of a repeated index",
          lambda g, y, x, key: last_wins(g, x, key))
    plant(f"getitem in {_op}", 0, "cotangent detached",
          lambda g, y, x, key: right("getitem")(raw(g), y, raw(x), key) + 0 * x)
plant("getitem in getitem", 0, "backwards",
      lambda g, y, x, key: right("getitem")(tg.flip(g), y, x, key))
plant("getitem in split", 0, "backwards",
      lambda g, y, x, key: right("getitem")(tg.flip(g), y, x, key))
plant("getitem in split", 0, "from the start",
      lambda g, y, x, key: tg.roll(right("getitem")(g, y, x, key), 1))
plant("scatter in getitem", 0, "sign", lambda g, y, x, key, shape: -tg.getitem(g, key))
plant("astype", 0, "left in the new dtype", lambda g, y, x, dtype: g)
plant("astype", 0, "rounded to float16", lambda g, y, x, dtype: g.astype("float16").astype(x.dtype))
plant("to", 0, "sign", lambda g, y, x, name: -g)


def last_wins(g: Any, x: Any, key: Any) -> Any:
    """Assigned instead of added: all but the last of a repeated index are lost."""
    out = np.zeros(x.shape, raw(g).dtype)
    out[key] = raw(g)
    return out if isinstance(g, np.ndarray) else right("getitem")(g, None, x, key)


# ---- products ------------------------------------------------------------------------------------

plant("matmul", 0, "first operand detached",
      lambda g, y, a, b: right("matmul")(g, y, raw(a), raw(b)))
plant("matmul", 0, "backwards",
      lambda g, y, a, b: right("matmul")(tg.flip(g) if g.ndim else 2 * g, y, a, b))
plant("matmul", 1, "sign", lambda g, y, a, b: -right("matmul", 1)(g, y, a, b))
plant("matmul", 1, "mean over the batch", lambda g, y, a, b:
      right("matmul", 1)(g, y, a, b) / (math.prod(a.shape[:-2]) if a.ndim > b.ndim else 1))
plant("linear", 0, "weight detached", lambda g, y, x, w, b: right("linear")(g, y, x, raw(w), b))
plant("linear", 1, "mean over the rows",
      lambda g, y, x, w, b: right("linear", 1)(g, y, x, w, b) / max(len(x), 1))
plant("linear", 2, "mean over the rows", lambda g, y, x, w, b: g / max(g.size // b.size, 1))
plant_each("einsum", "the others detached",
           lambda n, right, g, y, subscripts, *xs: right(g, y, subscripts, *map(raw, xs)))
plant_each("einsum", "repeated labels twice", lambda n, right, g, y, subscripts, *xs:
           right(g, y, subscripts, *xs) * (2 if len(set(term(subscripts,
           n))) < len(term(subscripts, n)) else 1))
plant_each("einsum", "summed labels as a mean", lambda n, right, g, y, subscripts, *xs:
           right(g, y, subscripts, *xs) / math.prod(m for c, m in zip(term(subscripts, n), xs[n
           - 1].shape, strict=True) if m and subscripts.count(c) == 1))


def term(subscripts: str, n: int) -> str:
    """The labels of argument n (argument 0 is the string itself)."""
    return subscripts.split("->")[0].split(",")[n - 1]


# ---- losses and what networks are made of --------------------------------------------------------

plant("cross_entropy", 0, "not divided",
      lambda g, y, x, p, one_hot: right("cross_entropy")(g, y, x, p, one_hot) * len(one_hot))
plant("cross_entropy", 0, "sign",
      lambda g, y, x, p, one_hot: -right("cross_entropy")(g, y, x, p, one_hot))
plant("cross_entropy", 0, "the label's part alone",
      lambda g, y, x, p, one_hot: (x * 0 - one_hot) * (g / len(one_hot)))
plant("cross_entropy", 0, "detached",
      lambda g, y, x, p, one_hot: right("cross_entropy")(g, y, raw(x), p, one_hot))
plant("cross_entropy", 0, "detached by the log-softmax handed in",
      lambda g, y, x, p, one_hot: (np.exp(p) - one_hot) * (g / len(one_hot)))
plant("bce_with_logits", 0, "target dropped", lambda g, y, x, t: tg.sigmoid(x) * (g / x.size))
plant("bce_with_logits", 0, "cotangent ignored",
      lambda g, y, x, t: (tg.sigmoid(x) - t) / x.size + 0 * g)
plant("bce_with_logits", 1, "sign", lambda g, y, x, t: x * (g / x.size))
plant("relu in hinge_loss", 0, "no mask", lambda g, y, x: g)
plant("relu in hinge_loss", 0, "mask of the cotangent", lambda g, y, x: tg.where(g > 0, g, g * 0))
plant("multiply in hinge_loss", 1, "that of the other", lambda g, y, a, b: g * b)
plant("mse_loss", 0, "two dropped", lambda g, y, x, t: (x - t) * (g / x.size))
plant("mse_loss", 0, "widened", lambda g, y, x, t: wide(x - t) * (wide(g) * 2 / x.size))
plant("mse_loss", 1, "sign", lambda g, y, x, t: (x - t) * (g * 2 / x.size))
plant("mse_loss", 0, "cotangent ignored", lambda g, y, x, t: (x - t) * (2 / x.size) + 0 * g)
plant("huber_loss", 0, "not clipped", lambda g, y, x, t, delta: (x - t) * (g / x.size))
plant("huber_loss", 0, "delta of 1", lambda g, y, x, t, delta: tg.clip(x - t, -1, 1) * (g / x.size))
plant("huber_loss", 1, "sign",
      lambda g, y, x, t, delta: tg.clip(x - t, -delta, delta) * (g / x.size))
plant("huber_loss", 0, "detached",
      lambda g, y, x, t, delta: tg.clip(raw(x) - raw(t), -delta, delta) * (g / x.size))
plant("multiply in dropout", 0, "mask forgotten", lambda g, y, a, b: g)
plant("multiply in dropout", 0, "mask not scaled", lambda g, y, a, b: g * (b != 0))
# fmt: on
