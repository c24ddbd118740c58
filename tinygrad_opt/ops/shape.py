"""Ops that move elements without computing: their derivatives move the cotangent back.

Every kind of picking (an index, a mask, `take`, `take_along_axis`, `split`) is one op, `getitem`,
and its derivative is one other, `scatter`: an element picked twice gets the sum of both cotangents.
"""

from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import nondifferentiable, primitive
from tinygrad_opt.backend import array_module
from tinygrad_opt.tensor import Tensor


def raw_array(x):
    """The array behind x, a Tensor or an array: a VJP may get either."""
    return x._data if type(x) is Tensor else x


def home(x) -> str:
    """The backend, "numpy" or "cupy", that the Tensor or array x lives on."""
    return backend.name_of(raw_array(x))


def beside(x, array):
    """`array` on the backend of x."""
    same = array_module(raw_array(x)) is array_module(array)
    return array if same else backend.to(array, home(x))


def operand(x, op: str):
    """x if it is a Tensor or an array, numbers and lists as an array, else a TypeError."""
    if type(x) is Tensor or backend.is_array(x):
        return x
    if isinstance(x, (int, float, list, tuple, np.generic)):
        return backend.asarray(x)
    raise TypeError(f"{op}: wants a Tensor or an array, not a {type(x).__name__}")


def checked_axis(axis, ndim: int, op: str) -> int:
    """`axis` counted from the front; ValueError for one that is not there."""
    if not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        raise ValueError(f"{op}: axis {axis} is out of range for a tensor with {ndim} axes")
    return int(axis) % ndim


# ---- the same elements, another shape ------------------------------------------------------------


def _shape(args: tuple) -> tuple:
    """Both spellings of NumPy's methods: x.reshape(2, 3) and x.reshape((2, 3))."""
    args = tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    return tuple(int(n) if isinstance(n, np.integer) else n for n in args)


@primitive
def _reshape(x, shape):
    if min(shape, default=0) < -1:
        raise ValueError(f"lengths are 0 or more, or -1 once, not {shape}")
    return x.reshape(shape)


_reshape.defvjp(lambda g, y, x, shape: g.reshape(x.shape))


def reshape(x, *shape):
    """The same elements in C order under another shape; one length may be -1."""
    return _reshape(x, _shape(shape))


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
    axes = _shape(axes)
    return _transpose(x, None if axes in ((), (None,)) else axes)


@primitive
def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    return x.swapaxes(axis1, axis2)


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
    try:
        pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    except ValueError as error:
        shape = np.shape(pad_width)
        raise ValueError(f"a pad_width of shape {shape} does not fit {x.ndim} axes") from error
    # As pairs, for CuPy does not broadcast one width an axis, ((1,), (2,)).
    return array_module(x).pad(x, pairs, mode="constant", constant_values=constant_values)


def _pad_vjp(g, y, x, pad_width, constant_values=0):
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    return getitem(g, tuple(slice(int(w), int(w) + n)
                            for (w, _), n in zip(widths, x.shape, strict=True)))  # fmt: skip


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


def _several(arrays: Any, op: str) -> list:
    if isinstance(arrays, Tensor) or not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{op}: give a list of tensors, not one {type(arrays).__name__}")
    if not arrays:
        raise ValueError(f"{op}: the list of tensors is empty")
    return [operand(a, op) for a in arrays]


def concatenate(arrays, axis=0):
    """A list of tensors joined along the axis `axis`, which they have already (None: flattened)."""
    arrays = _several(arrays, "concatenate")
    if axis is None:
        arrays, axis = [flatten(a) for a in arrays], 0
    axis = checked_axis(axis, arrays[0].ndim, "concatenate")
    if len({(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays}) > 1:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"concatenate: shapes {shapes} differ beside axis {axis}")
    return _concatenate(*arrays, axis=axis)


def stack(arrays, axis=0):
    """A list of tensors of one shape joined along a new axis."""
    arrays = _several(arrays, "stack")
    if len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"stack: the shapes differ: {shapes}")
    axis = checked_axis(axis, arrays[0].ndim + 1, "stack")
    return _stack(*arrays, axis=axis)


def split(x, indices_or_sections, axis=0):
    """A list of the parts of x along `axis`: so many equal ones, or cut before the given
    indices."""
    axis = checked_axis(axis, x.ndim, "split")
    n = x.shape[axis]
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ValueError(f"split: {n} does not divide into {indices_or_sections} equal parts")
        cuts = list(range(0, n + 1, n // indices_or_sections)) if n else [0, 0]
    elif isinstance(indices_or_sections, (list, tuple, np.ndarray)) and all(
        isinstance(i, (int, np.integer)) for i in indices_or_sections
    ):
        cuts = [0, *map(int, indices_or_sections), n]
    else:
        raise TypeError(
            "split: give a number of sections or a list of integer indices, not "
            f"{indices_or_sections!r}"
        )
    lead = (slice(None),) * axis
    return [getitem(x, (*lead, slice(a, b))) for a, b in zip(cuts, cuts[1:])]


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
    keys = key if isinstance(key, tuple) else (key,)
    return _getitem(x, tuple(_index(k) for k in keys) if _needs_look(keys) else keys)


def _needs_look(keys: tuple) -> bool:
    return any(isinstance(k, (Tensor, list, tuple)) or backend.is_array(k) for k in keys)


def _index(k: Any) -> Any:
    if isinstance(k, Tensor):
        k = k._data
    elif isinstance(k, (list, tuple)):
        k = _integers(k, "getitem")
    if backend.is_array(k) and k.dtype.kind not in "biu":
        raise IndexError(f"getitem: indices are integers or bools, not {k.dtype}")
    return k


def _integers(indices: Any, op: str) -> np.ndarray:
    try:
        x = np.asarray(indices)
    except ValueError as error:
        raise IndexError(f"{op}: the list of indices is not rectangular: {indices}") from error
    return x if x.size else x.astype(np.intp)


def checked_indices(indices: Any, n: int, x: Any, op: str, low: int | None = None) -> Any:
    """`indices` as an array on the backend of `x`; IndexError naming the first outside [low, n),
    low being -n unless given.

    CuPy wraps such an index silently. Indices that live on the host are checked there; those that
    live on the GPU are waited for, unless their range is known (`Batches` has looked).
    """
    indices = raw_array(indices)
    if not backend.is_array(indices):
        indices = _integers(indices, op)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices are integers, not {indices.dtype}")
    low = -n if low is None else low
    if backend.is_within(indices, low, n):
        return beside(x, indices)
    bad = (indices < low) | (indices >= n)
    if bad.any():
        first = backend.host(indices)[backend.host(bad)].flat[0]
        raise IndexError(f"{op}: index {first} is outside [{low}, {n})")
    return beside(x, indices)


def take(x, indices, axis=None):
    """The elements (axis None: of the flattened x) or slices of x at integer `indices`."""
    if axis is None:
        x, axis = flatten(x), 0
    axis = checked_axis(axis, x.ndim, "take")
    return _getitem(x, (*(slice(None),) * axis, checked_indices(indices, x.shape[axis], x, "take")))


def take_along_axis(x, indices, axis):
    """For each position of `indices` (same number of axes as x), the element of x at that index
    along `axis`."""
    axis = checked_axis(axis, x.ndim, "take_along_axis")
    indices = checked_indices(indices, x.shape[axis], x, "take_along_axis")
    if indices.ndim != x.ndim or any(
        n not in (1, m) for i, (n, m) in enumerate(zip(indices.shape, x.shape)) if i != axis
    ):
        raise ValueError(
            f"take_along_axis: indices of shape {indices.shape} do not fit {x.shape} "
            f"beside axis {axis}"
        )
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
_as_integers = nondifferentiable(lambda x, dtype: x.astype(dtype))


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
