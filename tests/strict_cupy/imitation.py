"""Functions and methods of CuPy made of NumPy's of the same name: CuPy's parameters only, arrays of
this GPU only, and 0-d arrays instead of scalars.

What differs more than that from its NumPy namesake is in functions.py, or in one of the sets below.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from strict_cupy import api, device
from strict_cupy.arrays import ndarray, supported, wrap

# The result shows the memory of the argument: no kernel runs.
VIEWS = frozenset(
    "array_split atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to diagonal dsplit "
    "expand_dims flip fliplr flipud hsplit imag matrix_transpose moveaxis permute_dims ravel real "
    "reshape rollaxis rot90 split squeeze swapaxes transpose view vsplit".split()
)

# One array comes first; axes and shapes follow, which must be numbers: a 0-d array is none.
ONE_ARRAY = VIEWS - {"atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays"} | frozenset(
    "all amax amin any argmax argmin argsort cumprod cumsum max mean median min nancumprod "
    "nancumsum nanmax nanmean nanmin nanprod nanstd nansum nanvar prod ptp roll sort std sum tile "
    "trace var".split()
)

# Shapes and numbers only.
NO_ARRAY = frozenset("empty eye identity indices ones tri zeros".split())

# How large the result is, or what is printed, is known only after waiting for the GPU.
WAITS = frozenset(
    "argwhere array2string array_repr array_str bincount compress extract flatnonzero histogram "
    "nonzero save savetxt savez savez_compressed unique unique_all unique_counts unique_inverse "
    "unique_values".split()
)

# CuPy calls the method of that name of whatever it is given: a NumPy array gives a NumPy array.
DUCK_TYPED = frozenset(
    "amax amin argsort copy flip fliplr flipud max mean min prod ravel repeat reshape rot90 sort "
    "squeeze std sum swapaxes take trace transpose var".split()
)

# NumPy answers with a Python bool or int, CuPy with a 0-d array.
ZERO_DIMENSIONAL = frozenset("allclose array_equal array_equiv count_nonzero".split())

# Questions about dtypes and shapes; NumPy arrays may ask them too.
METADATA = frozenset(
    "broadcast_shapes can_cast common_type get_printoptions iscomplexobj isdtype isfortran "
    "isrealobj isscalar issubdtype iterable may_share_memory min_scalar_type mintypecode ndim "
    "promote_types result_type set_printoptions shape shares_memory size typename".split()
)

# The layout of the argument is kept; everything else comes in C order.
KEEPS_ORDER = frozenset("asfortranarray empty_like full_like ones_like zeros_like".split())

# Functions that call back with arrays, or read files: the generic imitation would be wrong.
NOT_MODELLED = frozenset(
    "apply_along_axis apply_over_axes fromfile fromfunction genfromtxt load loadtxt piecewise "
    "printoptions".split()
)

_ARRAY_NAMES = frozenset({"a", "A", "ar", "ar1", "arr", "array", "ary", "b", "m", "v", "x", "x1"})


def unwrap(x: Any) -> Any:
    """`x` on the host, lists and tuples entry by entry. TypeError for a NumPy array."""
    kind = type(x)
    if kind is ndarray:
        return x._host
    if kind is list or kind is tuple:
        return kind(map(unwrap, x))
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {kind}")
    return x


def imitate(space: str, name: str, host_function: Callable) -> Callable:
    """`name` of CuPy's module or class `space`, computed by `host_function`."""
    signature = _signature(space, name)
    positional, keywords = _shared_parameters(signature, host_function)
    wants_array = next(iter(signature.parameters), "") in _ARRAY_NAMES
    launches, waits = name not in VIEWS, name in WAITS
    most_arrays = 0 if name in NO_ARRAY else 1 if name in ONE_ARRAY else math.inf

    def imitation(*args, **kwargs):
        if len(args) > positional or (keywords is not None and not kwargs.keys() <= keywords):
            signature.bind(*args, **kwargs)  # raises what CuPy raises
            raise NotImplementedError(f"the stand-in does not model these arguments of {name}")
        if args and wants_array and not isinstance(args[0], ndarray):
            if isinstance(args[0], np.ndarray) and name in DUCK_TYPED:
                return host_function(*args, **kwargs)
            if isinstance(args[0], list | tuple):
                raise TypeError(f"Unsupported type {type(args[0])}")
        if waits:
            device.synchronise()
        if launches:
            device.launch()
        out = kwargs.get("out")
        args = [unwrap(a) if n < most_arrays else a for n, a in enumerate(args)]
        kwargs = {k: unwrap(a) if most_arrays > 1 or k == "out" else a for k, a in kwargs.items()}
        with np.errstate(all="ignore"):
            result = host_function(*args, **kwargs)
        return _as_cupy_gives_it(name, result) if out is None else out

    functools.update_wrapper(imitation, host_function, assigned=("__name__", "__doc__"))
    return imitation


def _signature(space: str, name: str) -> inspect.Signature:
    signature = api.signature(space, name)
    if space != "cupy.ndarray":
        return signature
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    return signature.replace(parameters=[itself, *signature.parameters.values()])


def _shared_parameters(
    ours: inspect.Signature, host_function: Callable
) -> tuple[float, frozenset | None]:
    """How many positional arguments, and which keywords (None: all), mean the same to both."""
    try:
        theirs = inspect.signature(host_function)
    except ValueError:  # some of NumPy's compiled functions, in its older versions
        theirs = ours
    ours, theirs = ours.parameters, theirs.parameters
    positional = 0
    for mine, his in zip(ours.values(), theirs.values(), strict=False):
        if mine.kind is mine.VAR_POSITIONAL:
            positional = math.inf
        renamed = mine.name not in theirs and his.name not in ours
        if mine.kind > mine.VAR_POSITIONAL or not (mine.name == his.name or renamed):
            break
        positional += 1
    if any(p.kind is p.VAR_KEYWORD for p in ours.values()):
        return positional, None
    if any(p.kind is p.VAR_KEYWORD for p in theirs.values()):
        return positional, frozenset(ours)
    return positional, frozenset(ours.keys() & theirs.keys())


def _as_cupy_gives_it(name: str, result: Any) -> Any:
    if isinstance(result, np.ndarray):
        supported(result)
        if result.base is None and not result.flags.c_contiguous and name not in KEEPS_ORDER:
            result = np.ascontiguousarray(result)
    elif name in ZERO_DIMENSIONAL:
        result = np.asarray(result)
    return wrap(result)


def ask(host_function: Callable) -> Callable:
    """One of METADATA, answered by NumPy."""

    def question(*args, **kwargs):
        on_host = [a._host if isinstance(a, ndarray) else a for a in args]
        return host_function(*on_host, **kwargs)

    return question


# ---- the methods of ndarray that arrays.py does not define ---------------------------------------


def _not_modelled(name: str) -> property:
    def refuse(self):
        raise NotImplementedError(f"the stand-in does not model cupy.ndarray.{name}")

    return property(refuse)


for _name in api.SPACES["cupy.ndarray"]:
    if not hasattr(ndarray, _name):
        _method = getattr(np.ndarray, _name, None)
        modelled = callable(_method) and _name not in NOT_MODELLED
        setattr(
            ndarray,
            _name,
            imitate("cupy.ndarray", _name, _method) if modelled else _not_modelled(_name),
        )
