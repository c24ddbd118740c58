"""Samples of the reductions: each over every axis and tuple of axes, kept or not, of up to 3-D."""

import itertools
import math

import numpy as np
import torch

from op_cases.sample import ALWAYS, THEIRS, between, sample, spaced

# ---- PyTorch's spellings -------------------------------------------------------------------------


def _axes(x, axis) -> tuple:
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _prod(x, axis=None, keepdims=False):
    """torch.prod takes one axis."""
    for a in sorted(_axes(x, axis), reverse=True):
        x = x.prod(a, keepdim=keepdims)
    return x


def _moment(name):
    def f(x, axis=None, ddof=0, keepdims=False):
        return getattr(torch, name)(x, _axes(x, axis), correction=ddof, keepdim=keepdims)

    return f


def _over_axes(name):
    return lambda x, axis=None, keepdims=False: getattr(torch, name)(x, _axes(x, axis), keepdims)


def _cumsum(x, axis=None):
    return x.flatten().cumsum(0) if axis is None else x.cumsum(axis)


def _log_softmax(x, axis=-1):
    return x - torch.logsumexp(x, axis, keepdim=True)


THEIRS.update(
    sum=_over_axes("sum"), mean=_over_axes("mean"), max=_over_axes("amax"), min=_over_axes("amin"),
    logsumexp=_over_axes("logsumexp"), prod=_prod, var=_moment("var"), std=_moment("std"),
    cumsum=_cumsum, log_softmax=_log_softmax,
    softmax=lambda x, axis=-1: _log_softmax(x, axis).exp(),
    norm=lambda x, ord=2, axis=None, keepdims=False: torch.linalg.vector_norm(x, ord, axis,
                                                                              keepdims),
)  # fmt: skip

# ---- axes ----------------------------------------------------------------------------------------

AXES = {
    (): [None],
    (1,): [None, 0],
    (4,): [None, 0, -1, (0,)],
    (3, 4): [None, 0, 1, -1, -2, (0, 1), (-1, 0), (1,)],
    (2, 3,
     4): [None, 0, 1, 2, -1, -2, -3, (0, 1), (0, 2), (1, 2), (-1, 0), (2, 0), (-2, -3), (0, 1, 2)],
    (1, 3, 1): [None, 0, 1, -1, (0, 2)],
}  # fmt: skip
EVERY_AXIS = [
    (shape, axis, keep)
    for shape, axes in AXES.items()
    for axis, keep in itertools.product(axes, (False, True))
]
LARGE = (40, 30)

# ---- one number out of many ----------------------------------------------------------------------

REDUCTIONS = "sum mean prod max min logsumexp var std norm".split()
for _op in REDUCTIONS:
    for _shape, _axis, _keep in EVERY_AXIS:
        if _op == "std" and math.prod(_shape[a] for a in _axes(np.empty(_shape), _axis)) == 1:
            continue  # the deviation of one element: a kink
        _own = {"draw": spaced, "scale": 10.0} if _op == "std" else {}
        sample(_op, _shape, axis=_axis, keepdims=_keep, **_own)
    if _op != "prod":
        sample(_op, LARGE)
        sample(_op, LARGE, axis=0)
        sample(_op, LARGE, axis=-1, keepdims=True)
    for _c in (1e-4, 1e4):
        sample(_op, (2, 3), axis=1, factor=_c)

for _op in ("sum", "prod"):
    for _shape, _axis in [
        ((0,), None),
        ((0, 3), 0),
        ((0, 3), 1),
        ((2, 0), -1),
        ((2, 0, 3), (0, 1)),
    ]:
        sample(_op, _shape, axis=_axis)
        sample(_op, _shape, axis=_axis, keepdims=True)
for _op in ("max", "min", "logsumexp", "norm", "mean"):
    sample(_op, (2, 0, 3), axis=0)
    sample(_op, (0, 3), axis=-1, keepdims=True)

for _op in ("var", "std"):
    for _shape, _axis, _keep in EVERY_AXIS:
        if math.prod(_shape[a] for a in _axes(np.empty(_shape), _axis)) > 1:
            sample(_op, _shape, axis=_axis, ddof=1, keepdims=_keep, draw=spaced, scale=10.0)
    sample(_op, (5,), ddof=2)
    sample(_op, (2, 4), axis=1, draw=between(1000, 1001), note="far from 0", rtol=1e-7,
           without=("float16", "float32", "second order, float32"))  # fmt: skip

for _ord in (1, 1.5, 2.0, 3, math.inf):
    for _shape, _axis, _keep in EVERY_AXIS:
        if _shape != (1, 3, 1):
            sample("norm", _shape, ord=_ord, axis=_axis, keepdims=_keep)
sample("norm", (2, 3), ord=0.5, axis=0)
sample("norm", (2, 3), ord=4, draw=between(1e3, 2e3), without=("float16",))

_ties = np.array([[1.0, 3, 3, 2], [3, 3, 1, 3], [2, 2, 2, 2]])
for _op in ("max", "min"):
    for _axis, _keep in itertools.product([None, 0, 1, -1, (0, 1)], (False, True)):
        sample(_op, _ties, axis=_axis, keepdims=_keep, note="ties")
sample("norm", _ties * [1, -1, 1, -1], ord=math.inf, axis=1, note="ties")
sample("norm", _ties * [1, -1, 1, -1], ord=math.inf, note="ties")
for _ord in (1, 1.5, 2, 3, math.inf):
    sample("norm", np.array([[0.0, 0, 0], [1, 0, -2]]), ord=_ord, axis=1, note="0", checks=ALWAYS)
sample("std", np.array([[1.0, 1, 1], [1, 2, 4]]), axis=1, note="of constants", checks=ALWAYS)
sample("logsumexp", np.array([[1.0, -math.inf, 2]]), axis=1, note="of -inf", checks=ALWAYS)

for _zeros in ([[0.0, 2, 3], [4, 5, 6]], [[0.0, 2, 0], [4, 5, 6]], [[0.0, 0, 0], [4, 0, 6]]):
    for _axis in (None, 0, 1, (0, 1)):
        sample("prod", np.array(_zeros), axis=_axis, note="with zeros")

for _op in ("sum", "mean", "max", "std", "norm"):
    sample(_op, (3, 4), f=lambda m, x, op=_op: getattr(x, op)(axis=1), theirs=lambda x, op=_op:
           THEIRS[op](x, axis=1), note="method", raw=False)  # fmt: skip

# ---- as many out as in ---------------------------------------------------------------------------

_CUMSUM = {(): [None], (5,): [None, 0, -1], (3, 4): [None, 0, 1, -1, -2], (0,): [0],
           (2, 3, 4): [None, 0, 1, 2, -1, -3], (2, 0, 3): [0, 1]}  # fmt: skip
for _shape, _some in _CUMSUM.items():
    for _axis in _some:
        sample("cumsum", _shape, axis=_axis)
sample("cumsum", LARGE, axis=0)

for _op in ("softmax", "log_softmax"):
    for _shape in [(1,), (5,), (3, 4), (2, 3, 4), (1, 3, 1), LARGE, (2, 0, 3)]:
        for _axis in range(-len(_shape), len(_shape)):
            if _shape[_axis]:
                sample(_op, _shape, axis=_axis)
    sample(_op, (2, 3, 4), note="the last axis by default")
    sample(_op, (2, 3, 4), axis=(0, -1))
    for _c in (1e-3, 1e3):
        sample(_op, (3, 4), factor=_c, without=("second order, float32",))
sample("logsumexp", (3, 4), axis=-1, draw=between(900, 1000), note="large", without=("float16",))
sample("logsumexp", (3, 4), axis=-1, draw=between(-1000, -900), note="small", without=("float16",))

# ---- without a derivative ------------------------------------------------------------------------

NONDIFFERENTIABLE = {
    "argmax": [lambda m, a, b: m.argmax(a), lambda m, a, b: m.argmax(a, axis=-1),
               lambda m, a, b: m.argmax(a, axis=0, keepdims=True)],
    "less": [lambda m, a, b: a < b], "less_equal": [lambda m, a, b: a <= b],
    "greater": [lambda m, a, b: a > b], "greater_equal": [lambda m, a, b: a >= b],
    "equal": [lambda m, a, b: a == b], "not_equal": [lambda m, a, b: a != b],
    "logical_and": [lambda m, a, b: (a > 0) & (b > 0)],
    "logical_or": [lambda m, a, b: (a > 0) | (b > 0)], "logical_not": [lambda m, a, b: ~(a > b)],
}  # fmt: skip
for _op, _forms in NONDIFFERENTIABLE.items():
    for _form in _forms:
        sample(_op, (2, 3), (2, 3), f=_form, checks=())
        sample(_op, np.array([1.0, 2, 2]), np.array([2.0, 2, 1]), f=_form, checks=())
