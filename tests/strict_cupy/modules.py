"""The modules `cupy` and `cupyx`: every name that real CuPy has, and no other.

A name is, in this order: modelled by hand, a ufunc, an imitation of NumPy's function, or a dtype or
constant that CuPy took from NumPy. A name that real CuPy has and that none of these covers raises
NotImplementedError, so that a test fails for the right reason.
"""

import importlib.machinery
import types
from typing import Any

import numpy as np

from strict_cupy import api, cuda, extras, functions, generator
from strict_cupy.arrays import ndarray
from strict_cupy.imitation import METADATA, NOT_MODELLED, ask, imitate
from strict_cupy.kernels import ElementwiseKernel
from strict_cupy.ufuncs import ufunc


class Module(types.ModuleType):
    """One module of CuPy; names are made when they are first asked for."""

    def __init__(self, name: str, by_hand: dict[str, Any], host: Any):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.__path__ = []
        self._host = host
        listed = api.SPACES.get(name, {})
        vars(self).update({k: v for k, v in by_hand.items() if k in listed})

    def __dir__(self):
        return sorted(api.SPACES[self.__name__])

    def __getattr__(self, name: str) -> Any:
        listed = api.SPACES.get(self.__name__, {})
        if name not in listed:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        made = self._make(name, listed[name])
        setattr(self, name, made)
        return made

    def _make(self, name: str, kind: str) -> Any:
        host = getattr(self._host() if callable(self._host) else self._host, name, None)
        if kind == "ufunc" and isinstance(host, np.ufunc):
            return ufunc(name, host, self.__name__.replace(".", "_"))
        if kind.startswith("(") and callable(host) and name not in NOT_MODELLED:
            return ask(host) if name in METADATA else imitate(self.__name__, name, host)
        if _is_borrowed(host) or (kind == "value" and name == "newaxis"):
            return host
        raise NotImplementedError(f"the stand-in does not model {self.__name__}.{name}")


def _is_borrowed(thing: Any) -> bool:
    """Whether CuPy took `thing` from NumPy as it is."""
    if isinstance(thing, type):
        borrowed = (np.generic, np.dtype, np.finfo, np.iinfo, Exception)
        return issubclass(thing, borrowed)
    return isinstance(thing, float)


def _scipy_special():
    import scipy.special

    return scipy.special


_BY_HAND = vars(functions) | {
    "ElementwiseKernel": ElementwiseKernel,
    "ndarray": ndarray,
    "ufunc": ufunc,
}

cupy = Module("cupy", _BY_HAND, np)
cupy.__version__ = api.VERSION
cupy.linalg = Module("cupy.linalg", {"matmul": functions.matmul}, np.linalg)
cupy.random = Module("cupy.random", vars(generator), None)
cupy.cuda = Module("cupy.cuda", vars(cuda), None)
cupy.cuda.runtime = Module("cupy.cuda.runtime", vars(cuda.runtime), None)
cupyx = Module("cupyx", vars(extras), None)
cupyx.scipy = Module("cupyx.scipy", {}, None)
cupyx.scipy.special = Module("cupyx.scipy.special", {}, _scipy_special)

ALL = (
    cupy, cupy.linalg, cupy.random, cupy.cuda, cupy.cuda.runtime,
    cupyx, cupyx.scipy, cupyx.scipy.special,
)  # fmt: skip
