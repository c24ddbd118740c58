"""The functions of `cupy` that are not NumPy's with another array type: the ways onto the GPU and
back, and those with fewer arguments or other answers than their NumPy namesakes.
"""

from typing import Any

import numpy as np

import strict_cupy
from strict_cupy import device
from strict_cupy.api import EINSUM_KEYWORDS
from strict_cupy.arrays import elementwise, ndarray, supported, wrap
from strict_cupy.imitation import imitate, unwrap

# ---- onto the GPU --------------------------------------------------------------------------------


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A new array. Lists may hold numbers and NumPy arrays, or else arrays of the GPU, not both."""
    if type(obj) is ndarray:
        host = np.array(obj._host, dtype, copy=copy or None, order=order, ndmin=ndmin)
        if host is obj._host:
            return obj
        device.launch()
    elif _is_list_of_arrays(obj):
        device.launch()
        host = np.array(unwrap(obj), dtype, order=order, ndmin=ndmin)
    else:
        device.upload()
        host = np.array(obj, dtype, order=order, ndmin=ndmin)
    return wrap(supported(host.astype(host.dtype.newbyteorder("="), copy=False)))


def _is_list_of_arrays(obj: Any) -> bool:
    if not isinstance(obj, list | tuple) or not obj:
        return False
    return all(type(entry) is ndarray or _is_list_of_arrays(entry) for entry in obj)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy=bool(copy), order=order or "K")


def asanyarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy=bool(copy), order=order or "K")


def ascontiguousarray(a, dtype=None):
    return array(_gpu_array(a), dtype, copy=False, order="C", ndmin=1)


def asfortranarray(a, dtype=None):
    return array(_gpu_array(a), dtype, copy=False, order="F", ndmin=1)


def astype(x, dtype, /, *, copy=True, device=None):
    return _gpu_array(x).astype(dtype, copy=copy)


def from_dlpack(array, *, device=None, copy=None):
    """Takes over what lives on the same device: here the CPU, so a tensor of PyTorch's CPU stands
    for one on the GPU."""
    if isinstance(array, np.ndarray):
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. "
            "Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    return wrap(array._host if type(array) is ndarray else np.from_dlpack(array))


# ---- and back ------------------------------------------------------------------------------------


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if type(a) is ndarray:
        return a.get(stream, order, out, blocking)
    if out is None:
        return np.asarray(a, order=order)
    np.copyto(out, a)
    return out


def get_array_module(*args):
    return strict_cupy.cupy if any(type(a) is ndarray for a in args) else np


def is_available():
    """Whether there is a driver and a GPU. Missing CUDA headers do not show here."""
    return device.has_driver


# ---- fewer arguments, other answers --------------------------------------------------------------


def copyto(dst, src, casting="same_kind", where=None):
    if isinstance(src, np.ndarray) and src.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    device.launch()
    mask = True if where is None else unwrap(where)
    np.copyto(_gpu_array(dst)._host, unwrap(src), casting, mask)


def where(condition, x=None, y=None):
    if x is None and y is None:
        return _gpu_array(condition).nonzero()
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    chosen = unwrap(condition.astype("?", copy=False))  # a NumPy bool has that, Python's has not
    device.launch()
    chosen = np.where(chosen, unwrap(x), unwrap(y))
    return wrap(np.asarray(chosen, order="C"))


def clip(a, a_min, a_max, out=None):
    keywords = {} if out is None else {"out": unwrap(out)}
    result = elementwise(np.clip, unwrap(a), unwrap(a_min), unwrap(a_max), **keywords)
    return result if out is None else out


def dot(a, b, out=None):
    return matmul_like(np.dot, a, b, out)


def matmul(a, b, out=None, *, dtype=None, casting="same_kind"):
    return matmul_like(np.matmul, a, b, out, dtype=dtype, casting=casting)


def matmul_like(product, a, b, out, **keywords):
    """A product for which numbers do not stand in for arrays."""
    for name, factor in (("a", a), ("b", b)):
        if type(factor) is not ndarray:
            raise TypeError(
                f"Argument '{name}' has incorrect type (expected cupy._core.core._ndarray_base, "
                f"got {_written(type(factor))})"
            )
    device.launch()
    with np.errstate(all="ignore"):
        if out is None:
            return wrap(product(a._host, b._host, **keywords))
        product(a._host, b._host, out=unwrap(out), **keywords)
    return out


def _written(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def pad(array, pad_width, mode="constant", **kwargs):
    """One width an axis, ((1,), (2,)), is not broadcast to pairs."""
    widths = np.asarray(pad_width)
    if widths.size > 2 or widths.shape == (2, 1):
        widths.reshape(array.ndim, 2)
    return _pad(array, widths.tolist(), mode, **kwargs)


_pad = imitate("cupy", "pad", np.pad)


def einsum(*operands, **kwargs):
    """Without `out`, `order` and `casting`."""
    unknown = kwargs.keys() - EINSUM_KEYWORDS
    if unknown:
        raise TypeError(f"Did not understand the following kwargs: {sorted(unknown)}")
    device.launch()
    return wrap(np.asarray(np.einsum(*map(unwrap, operands), **kwargs)))


# Indices outside an axis wrap around.


def take(a, indices, axis=None, out=None):
    if isinstance(a, np.ndarray):
        return np.take(a, indices, axis, out)
    device.launch()
    if type(indices) is not ndarray:
        device.upload()
    index = indices._host if type(indices) is ndarray else np.asarray(indices)
    result = np.take(a._host, index, axis, None if out is None else unwrap(out), mode="wrap")
    return wrap(result) if out is None else out


def take_along_axis(a, indices, axis):
    device.launch()
    host, index = _gpu_array(a)._host, unwrap(indices)
    length = host.size if axis is None else host.shape[axis]
    return wrap(np.take_along_axis(host, np.remainder(index, length), axis))


def put_along_axis(arr, indices, values, axis):
    device.launch()
    host, index = _gpu_array(arr)._host, unwrap(indices)
    length = host.size if axis is None else host.shape[axis]
    np.put_along_axis(host, np.remainder(index, length), unwrap(values), axis)


def _gpu_array(x: Any) -> ndarray:
    if type(x) is not ndarray:
        raise TypeError(f"Unsupported type {type(x)}")
    return x


ndarray.dot, ndarray.take = dot, take
