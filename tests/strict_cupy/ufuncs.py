"""`cupy.ufunc`: NumPy's, without `where=` and `order=`, and mostly without the ufunc methods."""

from typing import Any

import numpy as np

from strict_cupy import device
from strict_cupy.api import UFUNC_METHODS
from strict_cupy.arrays import elementwise, ndarray, operand, wrap
from strict_cupy.indexing import host_key

# The atomic operations of a GPU that `at` needs exist for these dtypes alone.
_ATOMIC = dict.fromkeys(("maximum", "minimum"), "ilqILQfd") | {
    "add": "ilqILQefd",
    "subtract": "iI",
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), "ilqILQ"),
}


class ufunc:
    """An elementwise function of arrays of this GPU and scalars."""

    __module__ = "cupy"

    def __init__(self, name: str, host_ufunc: Any, prefix: str = "cupy"):
        self.name = self.__name__ = f"{prefix}_{name}"
        self._short_name = name
        self._host_ufunc = host_ufunc
        self.nin, self.nout = host_ufunc.nin, host_ufunc.nout
        self.nargs = self.nin + self.nout

    def __repr__(self):
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args, **kwargs):
        if not kwargs and len(args) == self.nin:
            return elementwise(self._host_ufunc, *map(operand, args))
        out = kwargs.pop("out", None)
        options = {k: kwargs.pop(k) for k in ("dtype", "casting") if k in kwargs}
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        args, outs = args[: self.nin], args[self.nin :]
        if out is not None:
            if outs:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            outs = out if isinstance(out, tuple) else (out,)
        operands = map(operand, args)
        if not outs:
            return elementwise(self._host_ufunc, *operands, **options)
        elementwise(self._host_ufunc, *operands, out=tuple(map(operand, outs)), **options)
        return outs[0] if self.nout == 1 else outs

    def at(self, a, indices, b=None):
        self._must_have("at")
        if type(a) is not ndarray:
            raise AttributeError(f"{type(a).__name__!r} object has no attribute '_scatter_op'")
        if a.dtype.char not in _ATOMIC[self._short_name]:
            supported = ", ".join(np.dtype(c).name for c in _ATOMIC[self._short_name])
            raise TypeError(f"cupy.{self._short_name}.at only supports {supported} as data type")
        key, gathers = host_key(indices, a.shape)
        if isinstance(b, np.ndarray) and gathers:
            device.upload()
            b = wrap(b)
        device.launch()
        self._host_ufunc.at(a._host, key, operand(b))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        self._must_have("reduce")
        total = array.sum if self._short_name == "add" else array.prod
        return total(axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        self._must_have("accumulate")
        running = array.cumsum if self._short_name == "add" else array.cumprod
        return running(axis=axis, dtype=dtype, out=out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        self._must_have("reduceat")
        device.launch()
        ends = indices._host if type(indices) is ndarray else np.asarray(indices)
        return wrap(self._host_ufunc.reduceat(operand(array), ends, axis, dtype))

    def outer(self, a, b, **kwargs):
        device.launch()
        return wrap(self._host_ufunc.outer(operand(a), operand(b), **kwargs))

    def _must_have(self, method: str) -> None:
        if self._short_name not in UFUNC_METHODS[method]:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")
