"""Ops that move elements without computing: their derivatives move the cotangent back.

Every kind of picking (an index, a mask, `take`, `take_along_axis`, `split`) is one op, `getitem`,
and its derivative is one other, `scatter`: an element picked twice gets the sum of both cotangents.
"""

import numpy as np

from tinygrad_opt import arguments, backend
from tinygrad_opt.autograd import nondifferentiable, primitive
from tinygrad_opt.backend import array_module
from tinygrad_opt.tensor import home

# ---- the same elements, another shape ------------------------------------------------------------


@primitive
def _reshape(x, shape):
    if min(shape, default=0) < -1:
        raise ValueError(f"lengths are 0 or more, or -1 once, not {shape}")
    return x.reshape(shape)


_reshape.defvjp(lambda g, y, x, shape: g.reshape(x.shape))


def reshape(x, *shape):
    """The same elements in C order under another shape; one length may be -1."""
    return _reshape(x, arguments.lengths(shape))


def flatten(x):
    """All elements in one axis, in C order."""
    return _reshape(x, (-1,))


@primitive
def _transpose(x, axes):
    return x.transpose(axes)


def _transpose_vjp(g, y, x, axes):
    if axes is None:
        return g.transpose()
    return g.transpose(tuple(int(i) for i in np.argsort([a % x.ndim for a in axes])))


_transpose.defvjp(_transpose_vjp)


def transpose(x, *axes):
    """The axes in the order `axes`; reversed if none are given."""
    axes = arguments.lengths(axes)
    return _transpose(x, None if axes in ((), (None,)) else axes)


@primitive
def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    return x.swapaxes(*(arguments.checked_axis(a, x.ndim) for a in (axis1, axis2)))


swapaxes.defvjp(lambda g, y, x, axis1, axis2: g.swapaxes(axis1, axis2))


@primitive
def expand_dims(x, axis):
    """A new axis of length 1 at `axis` (an int or a tuple of ints)."""
    return array_module(x).expand_dims(x, axis)


expand_dims.defvjp(lambda g, y, x, axis: g.reshape(x.shape))


@primitive
def squeeze(x, axis=None):
    """Axes of length 1 removed: all, or those named."""
    return x.squeeze(axis=axis)


squeeze.defvjp(lambda g, y, x, axis=None: g.reshape(x.shape))


@primitive
def broadcast_to(x, shape):
    """x stretched to `shape` by NumPy's rules, as a read-only view."""
    try:
        return array_module(x).broadcast_to(x, shape)
    except ValueError as error:
        why = " with negative lengths" if min(shape, default=0) < 0 else ""
        raise ValueError(f"shape {x.shape} does not stretch to {shape}{why}") from error


broadcast_to.defvjp(lambda g, y, x, shape: g)  # the walk's unbroadcast is the whole adjoint


# ---- the same elements, another order or place ---------------------------------------------------


@primitive
def flip(x, axis=None):
    """The order along `axis` reversed (None: along every axis)."""
    return array_module(x).flip(x, axis)


flip.defvjp(lambda g, y, x, axis=None: flip(g, axis))


@primitive
def roll(x, shift, axis=None):
    """Elements moved by `shift` along `axis`, those pushed out re-entering on the other side."""
    if not all(isinstance(s, (int, np.integer)) for s in np.atleast_1d(shift).tolist()):
        raise TypeError(f"the shift is an integer, or one for each axis, not {shift!r}")
    return array_module(x).roll(x, shift, axis)


def _roll_vjp(g, y, x, shift, axis=None):
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return roll(g, back, axis)


roll.defvjp(_roll_vjp)


@primitive
def pad(x, pad_width, constant_values=0):
    """x with a border of `constant_values`; pad_width as NumPy's: n, (before, after), or one pair
    an axis."""
    # As pairs, for CuPy does not broadcast one width an axis, ((1,), (2,)).
    widths = arguments.checked_widths(pad_width, x.ndim)
    return array_module(x).pad(x, widths, mode="constant", constant_values=constant_values)


def _pad_vjp(g, y, x, pad_width, constant_values=0):
    before = [int(w) for w, _ in arguments.checked_widths(pad_width, x.ndim)]
    return getitem(g, tuple(slice(w, w + n) for w, n in zip(before, x.shape)))


pad.defvjp(_pad_vjp)


@primitive
def _concatenate(*arrays, axis=0):
    return array_module(arrays[0]).concatenate(arrays, axis=axis)


def _concatenate_vjp(n, g, y, *arrays, axis=0):
    start = sum(a.shape[axis] for a in arrays[:n])
    key = [slice(None)] * g.ndim
    key[axis] = slice(start, start + arrays[n].shape[axis])
    return getitem(g, tuple(key))


_concatenate.defvjp_each(_concatenate_vjp)


@primitive
def _stack(*arrays, axis=0):
    return array_module(arrays[0]).stack(arrays, axis=axis)


def _stack_vjp(n, g, y, *arrays, axis=0):
    return getitem(g, (*(slice(None),) * axis, n))


_stack.defvjp_each(_stack_vjp)


def concatenate(arrays, axis=0):
    """A list of tensors joined along the axis `axis`, which they have already (None: flattened)."""
    arrays = arguments.checked_list(arrays, "concatenate")
    if axis is None:
        arrays, axis = [flatten(a) for a in arrays], 0
    axis = arguments.checked_axis(axis, arrays[0].ndim, "concatenate")
    arguments.check_alike_beside(arrays, axis)
    return _concatenate(*arrays, axis=axis)


def stack(arrays, axis=0):
    """A list of tensors of one shape joined along a new axis."""
    arrays = arguments.checked_list(arrays, "stack")
    arguments.check_alike(arrays)
    axis = arguments.checked_axis(axis, arrays[0].ndim + 1, "stack")
    return _stack(*arrays, axis=axis)


def split(x, indices_or_sections, axis=0):
    """A list of the parts of x along `axis`: so many equal ones, or cut before the given
    indices."""
    axis = arguments.checked_axis(axis, x.ndim, "split")
    lead = (slice(None),) * axis
    at = arguments.checked_cuts(indices_or_sections, x.shape[axis])
    return [getitem(x, (*lead, slice(a, b))) for a, b in zip(at, at[1:])]


# ---- picking elements ----------------------------------------------------------------------------


@primitive
def _getitem(x, key):
    return x[key]


_getitem.defvjp(lambda g, y, x, key: scatter(g, key, x.shape))


@primitive
def scatter(g, key, shape):
    """Zeros of `shape` with g added at `key`: the adjoint of x[key]."""
    xp = array_module(g)
    out = xp.zeros(shape, dtype=g.dtype)
    if any(backend.is_array(k) and k.dtype.kind != "b" for k in key):
        xp.add.at(out, key, g)  # += would keep only the last of a repeated index
    else:
        out[key] = g
    return out


scatter.defvjp(lambda g, y, x, key, shape: getitem(g, key))


def getitem(x, key):
    """x[key] with NumPy's basic and advanced indexing; an element picked twice gets both gradients.

    Indices may be Tensors, arrays or lists of integers or bools. IndexError for those out of range
    (CuPy wraps them; `take` checks there too).
    """
    return _getitem(x, arguments.checked_key(key, x))


def take(x, indices, axis=None):
    """The elements (axis None: of the flattened x) or slices of x at integer `indices`."""
    if axis is None:
        x, axis = flatten(x), 0
    axis = arguments.checked_axis(axis, x.ndim, "take")
    indices = arguments.checked_indices(indices, x.shape[axis], x, "take")
    return _getitem(x, (*(slice(None),) * axis, indices))


def take_along_axis(x, indices, axis):
    """For each position of `indices` (same number of axes as x), the element of x at that index
    along `axis`."""
    axis = arguments.checked_axis(axis, x.ndim, "take_along_axis")
    indices = arguments.indices_along(indices, x, axis)
    xp = array_module(indices)
    key = [
        indices if i == axis else xp.arange(n).reshape([-1 if j == i else 1 for j in range(x.ndim)])
        for i, n in enumerate(x.shape)
    ]
    return _getitem(x, tuple(key))


# ---- another dtype or backend --------------------------------------------------------------------


@primitive
def _astype(x, dtype):
    return x.astype(dtype)


_astype.defvjp(lambda g, y, x, dtype: g.astype(x.dtype))
_as_integers = nondifferentiable(_astype)


def astype(x, dtype):
    """A copy in another dtype; the gradient comes back in the old one. Integers carry no
    gradient."""
    dtype = backend.check_dtype(dtype)
    return _astype(x, dtype) if dtype.kind == "f" else _as_integers(x, dtype)


@primitive
def to(x, name):
    """x on the backend `name`, "numpy" or "cupy"; the gradient comes back to where x lives."""
    return backend.to(x, name)


to.defvjp(lambda g, y, x, name: to(g, home(x)))
