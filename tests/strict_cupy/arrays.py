"""`cupy.ndarray` with a NumPy array inside that nothing outside can reach except by `.get()`.

Whatever CuPy does without a word (wrap an index, wait for the GPU) happens here too; whatever it
refuses is refused with the same error. What real CuPy has and this class does not model raises
NotImplementedError.
"""

import functools
import pickle
from typing import Any

import numpy as np

import strict_cupy
from strict_cupy import device
from strict_cupy.indexing import host_key

SCALARS = frozenset({bool, int, float, complex, *(np.dtype(c).type for c in "?bBhHiIlLqQefdFD")})
_DTYPES = frozenset("?bBhHiIlLqQefdFD")

_NOT_SAID = object()
_IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


def wrap(host: Any) -> Any:
    """A NumPy array or scalar as the array that CuPy would give, 0-d rather than a scalar; tuples
    and lists entry by entry, everything else as it is."""
    if type(host) is not np.ndarray:
        if isinstance(host, tuple | list):
            kind = type(host)
            return kind(*map(wrap, host)) if hasattr(host, "_fields") else kind(map(wrap, host))
        if not isinstance(host, np.generic | np.ndarray):
            return host
        host = np.asarray(host)
    x = _new(ndarray)
    x._host = host
    return x


def supported(host: np.ndarray) -> np.ndarray:
    """`host` itself. ValueError for object, string and extended-precision arrays."""
    if host.dtype.char not in _DTYPES:
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return host


def operand(x: Any) -> Any:
    """What `x`, an operand of arithmetic, is on the host: arrays of this GPU and scalars pass."""
    if type(x) is ndarray:
        return x._host
    if type(x) in SCALARS:
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def elementwise(ufunc: Any, *operands: Any, **keywords: Any) -> Any:
    """One kernel: no warnings of division by zero or overflow, and a result in C order."""
    device.launch()
    with np.errstate(all="ignore"):
        return wrap(ufunc(*operands, order="C", **keywords))


# ---- operators -----------------------------------------------------------------------------------


def _binary(ufunc):
    def operator(self, other):
        kind = type(other)
        if kind is ndarray:
            other = other._host
        elif kind not in SCALARS:
            return _leave_to(other, ufunc, self)
        return elementwise(ufunc, self._host, other)

    return operator


def _leave_to(other, ufunc, x):
    """What an operator does with a foreign `other`: make room for its reflected operator if it opts
    out of ufuncs or claims priority, else ask NumPy, which asks `__array_ufunc__` of both (NEP 13).
    """
    override = getattr(other, "__array_ufunc__", NotImplemented)
    if override is None:
        return NotImplemented
    priority = getattr(other, "__array_priority__", 0)
    if override is NotImplemented and priority > x.__array_priority__:
        return NotImplemented
    return ufunc(x, other)


def _reflected(ufunc):
    return lambda self, other: elementwise(ufunc, operand(other), self._host)


def _in_place(ufunc):
    def operator(self, other):
        elementwise(ufunc, self._host, operand(other), out=self._host)
        return self

    return operator


def _comparison(ufunc, with_none=None):
    compare = _binary(ufunc)

    def operator(self, other):
        if other is None and with_none is not None:
            return wrap(np.full(self.shape, with_none))
        return compare(self, other)

    return operator


def _unary(ufunc):
    return lambda self: elementwise(ufunc, self._host)


def _waits(convert):
    """A conversion to a Python value: it copies from the GPU and waits for the copy."""

    @functools.wraps(convert, assigned=("__doc__",))
    def conversion(self, *args):
        device.synchronise()
        return convert(self._host, *args)

    return conversion


class ndarray:
    """An array on the pretended GPU; its numbers are in the NumPy array `_host`."""

    __slots__ = ("__weakref__", "_host")
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        device.allocate()
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes no arrays over given memory")
        self._host = supported(np.empty(shape, dtype, order))

    __add__, __radd__, __iadd__ = _binary(np.add), _reflected(np.add), _in_place(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply), _reflected(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide), _reflected(np.divide)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _reflected(np.floor_divide)
    __mod__, __rmod__ = _binary(np.remainder), _reflected(np.remainder)
    __divmod__, __rdivmod__ = _binary(np.divmod), _reflected(np.divmod)
    __pow__, __rpow__ = _binary(np.power), _reflected(np.power)
    __and__, __rand__ = _binary(np.bitwise_and), _reflected(np.bitwise_and)
    __or__, __ror__ = _binary(np.bitwise_or), _reflected(np.bitwise_or)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _reflected(np.bitwise_xor)
    __lshift__, __rlshift__ = _binary(np.left_shift), _reflected(np.left_shift)
    __rshift__, __rrshift__ = _binary(np.right_shift), _reflected(np.right_shift)
    __isub__, __imul__ = _in_place(np.subtract), _in_place(np.multiply)
    __itruediv__, __ifloordiv__ = _in_place(np.divide), _in_place(np.floor_divide)
    __imod__, __ipow__ = _in_place(np.remainder), _in_place(np.power)
    __iand__, __ior__, __ixor__ = map(_in_place, (np.bitwise_and, np.bitwise_or, np.bitwise_xor))
    __ilshift__, __irshift__ = _in_place(np.left_shift), _in_place(np.right_shift)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __eq__, __ne__ = _comparison(np.equal, False), _comparison(np.not_equal, True)
    __neg__, __pos__, __abs__, __invert__ = map(
        _unary, (np.negative, np.positive, np.absolute, np.invert)
    )

    def __matmul__(self, other):
        if type(other) is not ndarray:
            return _leave_to(other, np.matmul, self)
        return elementwise(np.matmul, self._host, other._host)

    def __rmatmul__(self, other):
        return strict_cupy.cupy.matmul(other, self)

    # ---- NumPy's protocols -----------------------------------------------------------------------

    def __array__(self, dtype=None, copy=None):
        raise TypeError(_IMPLICIT)

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        """np.exp(x) is cupy.exp(x), and so for every ufunc that CuPy has."""
        operands = inputs
        if "out" in keywords:
            if len(keywords["out"]) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            operands += keywords["out"]
            (keywords["out"],) = keywords["out"]
        if not all(type(x) in SCALARS or isinstance(x, ndarray | np.ndarray) for x in operands):
            return NotImplemented
        function = _counterpart_of(ufunc)
        if method != "__call__":
            function = getattr(function, method, None)
        if function is None:
            return NotImplemented
        if ufunc.__name__ in _COMPARISONS:  # CuPy takes NumPy's 0-d arrays here, and only here
            inputs = [x.item() if isinstance(x, np.ndarray) and not x.ndim else x for x in inputs]
        return function(*inputs, **keywords)

    def __array_function__(self, function, types, args, kwargs):
        """np.sum(x) is cupy.sum(x), and so for every function that CuPy has."""
        space = strict_cupy.cupy
        try:
            for name in (*function.__module__.split(".")[1:], function.__name__):
                space = getattr(space, name)
        except AttributeError:
            return NotImplemented
        if space is function or not all(issubclass(t, ndarray | np.ndarray) for t in types):
            return NotImplemented
        return space(*args, **kwargs)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=_NOT_SAID, copy=None):
        if dl_device is not _NOT_SAID:  # as NumPy does, which takes nothing over from a GPU
            raise RuntimeError("Unsupported device in DLTensor.")
        asked = {"max_version": max_version, "copy": copy}
        return self._host.__dlpack__(**{k: v for k, v in asked.items() if v is not None})

    def __dlpack_device__(self):
        """The CPU, unlike real CuPy: what takes the array over can only find it there."""
        return self._host.__dlpack_device__()

    # ---- copies to and from the host -------------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        device.synchronise()
        if out is None:
            return np.array(self._host, order=order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(
                f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}"
            )
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._host.flags.c_contiguous or self._host.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        device.upload()
        self._host[...] = arr

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    __bool__, __int__, __float__ = _waits(bool), _waits(int), _waits(float)
    __complex__, __bytes__ = _waits(complex), _waits(bytes)
    __repr__, __str__, __format__ = _waits(repr), _waits(str), _waits(format)
    tolist, tobytes = _waits(np.ndarray.tolist), _waits(np.ndarray.tobytes)

    def __reduce__(self):
        return _from_pickle, (self.get(order="A"),)

    def dump(self, file):
        pickle.dump(self, file, -1)

    def dumps(self):
        return pickle.dumps(self, -1)

    # ---- items -----------------------------------------------------------------------------------

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        if not self._host.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._host)))

    def __getitem__(self, key):
        key, gathers = host_key(key, self._host.shape)
        if gathers:
            device.launch()
            return wrap(np.asarray(self._host[key], order="C"))
        return wrap(self._host[key])

    def __setitem__(self, key, value):
        key, gathers = host_key(key, self._host.shape)
        device.launch()
        if type(value) is ndarray:
            value = value._host
        elif np.ndim(value):
            if not gathers:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            device.upload()
        with np.errstate(all="ignore"):
            self._host[key] = value

    def __delitem__(self, key):
        raise NotImplementedError("Subscript deletion not supported by ndarray")

    def fill(self, value):
        if np.ndim(value):
            kind = "cupy" if type(value) is ndarray else "numpy"
            raise ValueError(f"non-scalar {kind}.ndarray cannot be used for fill")
        if type(value) is ndarray:
            value = value.item()
        device.launch()
        self._host.fill(value)

    # ---- copies on the GPU -----------------------------------------------------------------------

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError(f"{'casting' if casting is not None else 'subok'} is not supported yet")
        supported(np.empty(0, dtype))
        with np.errstate(all="ignore"):
            host = self._host.astype(dtype, order, copy=copy)
        if host is self._host:
            return self
        device.launch()
        return wrap(host)

    def copy(self, order="C"):
        device.launch()
        return wrap(self._host.copy(order))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy("K")

    # ---- what is known without asking the GPU ----------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: wrap(self._host.T))
    mT = property(lambda self: wrap(self._host.mT))
    real = property(lambda self: wrap(self._host.real))
    imag = property(lambda self: wrap(self._host.imag))
    base = property(lambda self: wrap(self._host.base) if _is_view(self._host) else None)
    flags = property(lambda self: Flags(self._host.flags))
    device = property(lambda self: strict_cupy.cupy.cuda.Device(0))
    data = property(lambda self: MemoryPointer(self._host))

    @shape.setter
    def shape(self, shape):
        reshaped = self._host.reshape(shape)
        if self.size and not np.may_share_memory(reshaped, self._host):
            raise AttributeError("incompatible shape for a non-contiguous array")
        self._host = reshaped


_new = ndarray.__new__
_COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def _counterpart_of(ufunc):
    name = ufunc.__name__
    special = strict_cupy.cupyx.scipy.special
    return getattr(strict_cupy.cupy, name, None) or getattr(special, name, None)


def _is_view(host):
    return isinstance(host.base, np.ndarray)


def _from_pickle(host):
    return strict_cupy.cupy.array(host)


class Flags:
    """How an array lies in memory. CuPy knows no `writeable`."""

    def __init__(self, host_flags):
        self.c_contiguous = host_flags.c_contiguous
        self.f_contiguous = host_flags.f_contiguous
        self.owndata = host_flags.owndata
        self.fnc = host_flags.fnc
        self.forc = host_flags.forc

    def __getitem__(self, name):
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return getattr(self, name.lower())


class MemoryPointer:
    """Where an array lies: `ptr` tells whether two arrays start at the same place."""

    def __init__(self, host):
        self.ptr = host.ctypes.data
        self.device = strict_cupy.cupy.cuda.Device(0)
