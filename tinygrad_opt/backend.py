"""One switch, NumPy or CuPy: new arrays are made on the current backend, every other array is asked
which module it belongs to.

Operators and methods (`x @ w`, `x.sum()`) need no switch at all. For the few namespace functions
the rest of the package writes `xp = array_module(x)`, and there is no other `if gpu` anywhere.
"""

import contextlib
import functools
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = Any  # a numpy.ndarray or a cupy.ndarray

BACKENDS = ("numpy", "cupy")
DEFAULT_FLOAT = np.dtype("float32")
_REAL_DTYPES = frozenset(np.dtype(c) for c in "efd?bBhHiIlLqQ")  # floats, bool, integers

_current, _module = "numpy", np


# ---- the switch ----------------------------------------------------------------------------------


class use:
    """Make `name` the backend of every array created from here on.

    `use("cupy")` switches for good; `with use("cupy"): ...` switches back at the end of the block.
    The environment variable TINYGRAD_OPT_BACKEND does the same from outside. Existing tensors stay
    where they are; `tensor.to(name)` and `model.to(name)` move them.

    Raises ValueError for an unknown name, and RuntimeError, before anything is switched, where CuPy
    is not installed or no kernel can run on a GPU (the message carries the driver's own words).
    """

    def __init__(self, name: str):
        global _current, _module
        module = module_of(name)
        self.previous = _current, _module
        _current, _module = name, module

    def __enter__(self) -> "use":
        return self

    def __exit__(self, *exc_info) -> None:
        global _current, _module
        _current, _module = self.previous


def current() -> str:
    """The name of the current backend: "numpy" or "cupy"."""
    return _current


def module_of(name: str):
    """The array module called `name`, checked to work on this machine."""
    if name == "numpy":
        return np
    if name == "cupy":
        return _working_cupy()
    raise ValueError(f"unknown backend {name!r}: the backends are " + " and ".join(BACKENDS))


def _working_cupy():
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            'backend "cupy": CuPy is not installed. Install the extra for your CUDA version: '
            'pip install "tinygrad-opt[cuda13]" or pip install "tinygrad-opt[cuda12]" '
            f"(never the bare cupy, which builds from source). Python said: {error}"
        ) from error
    try:
        # CuPy imports without any GPU, and is_available() says yes where the CUDA headers are
        # missing: only a kernel that has run proves that kernels run.
        if not cupy.is_available() and cupy.cuda.runtime.getDeviceCount() == 0:
            raise RuntimeError("no CUDA device is visible")
        cupy.zeros(1) + 1
    except Exception as error:
        raise RuntimeError(
            f'backend "cupy": CuPy {cupy.__version__} is installed, but no kernel runs on a GPU '
            f'here. Go on with use("numpy"), or check `nvidia-smi` and the CUDA version of the '
            f"extra (cuda12 or cuda13). The driver said: {error}"
        ) from error
    return cupy


def array_module(x: Array):
    """The module, numpy or cupy, whose functions take `x`."""
    if type(x) is np.ndarray:
        return np
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(x, cupy.ndarray) else np


def name_of(x: Array) -> str:
    """The backend that `x` lives on: "numpy" or "cupy"."""
    return "numpy" if array_module(x) is np else "cupy"


def is_array(x: Any) -> bool:
    """Whether `x` is an array of one of the backends (a NumPy scalar is not)."""
    return isinstance(x, np.ndarray) or array_module(x) is not np


def to(x: Array, name: str) -> Array:
    """`x` on the backend `name`: itself if it lives there already, else a copy."""
    if name_of(x) == name:
        return x
    # The current module has proven at the switch that it works; a kernel each time would cost.
    target = _module if name == _current else module_of(name)
    return target.asarray(x) if target is not np else x.get()


def host(x: Array) -> np.ndarray:
    """A copy of `x` in the host's memory, owned by the caller. On CuPy this waits for the GPU."""
    return np.array(x) if array_module(x) is np else x.get()


# ---- what the host knows of integers on the GPU --------------------------------------------------

_ranges: dict[int, tuple[weakref.ref, int, int]] = {}


def remember_range(x: Array, low: int, high: int) -> None:
    """Note that the integers of `x`, an array on the GPU, lie in [low, high], as was seen on the
    host: who uses them as labels or indices need not wait for the GPU to see it again.

    It is forgotten with `x`, and says nothing of arrays made of it. Who writes others into `x`
    afterwards answers for them: CuPy wraps an index that is out of range, without a word.
    """
    key = id(x)
    _ranges[key] = weakref.ref(x, lambda _: _ranges.pop(key, None)), low, high


def is_within(x: Array, low: int, high: int) -> bool:
    """Whether the integers of `x` are known to lie in [low, high); False where nobody has said."""
    known = _ranges.get(id(x))
    return known is not None and known[0]() is x and low <= known[1] and known[2] < high


# ---- what becomes the data of a Tensor -----------------------------------------------------------


def check_dtype(dtype: Any) -> np.dtype:
    """`dtype` as a native NumPy dtype. TypeError unless bool, integer or float of 16 to 64 bits."""
    try:
        native = np.dtype(dtype if dtype is not None else "None")  # np.dtype(None) is float64
        if not native.isnative:
            native = native.newbyteorder("=")
    except TypeError as error:
        raise TypeError(f"{dtype!r} is not a dtype; try 'float32' or 'float64'") from error
    if native not in _REAL_DTYPES:
        raise TypeError(
            f"dtype {native} is not supported: use float16, float32, float64, an integer or bool"
        )
    return native


def asarray(data: Any, dtype: Any = None) -> Array:
    """`data` as an array on the current backend; this is the one place that decides dtypes.

    Python numbers and (nested) lists become float32, lists of bools stay bool; NumPy arrays and
    scalars keep their dtype, and are not copied on NumPy; CuPy arrays stay on CuPy. `dtype`
    overrides.
    """
    if isinstance(data, np.ndarray) and hasattr(data, "mask"):
        raise TypeError("a masked array would lose its mask: pass .filled(value) or .data")
    if is_array(data):
        wanted = check_dtype(data.dtype if dtype is None else dtype)
        if array_module(data) is not np:
            return data.astype(wanted, copy=False)
        x = np.asarray(data, wanted)
    elif isinstance(data, np.generic):
        x = np.asarray(data, check_dtype(data.dtype if dtype is None else dtype))
    elif isinstance(data, (bool, int, float, list, tuple)):
        x = from_python(data, dtype)
    elif hasattr(data, "__dlpack__"):
        raise TypeError(f"got a {type(data).__name__}: take it over with tg.from_dlpack(x)")
    else:
        raise TypeError(f"cannot make an array from a {type(data).__name__}")
    return x if _current == "numpy" else to(x, _current)


def from_python(data: Any, dtype: Any = None) -> np.ndarray:
    """Numbers and (nested) lists as a NumPy array: float32 unless they are bools or `dtype`
    says."""
    if not isinstance(data, (bool, int, float, list, tuple, np.generic)):
        raise TypeError(f"cannot make an array from a {type(data).__name__}")
    try:
        x = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the nested list has no rectangular numeric shape: {error}") from error
    if x.dtype.kind not in "fiub":
        raise TypeError(f"cannot make an array from a list of {x.dtype}: numbers are wanted")
    if dtype is None:
        dtype = x.dtype if x.dtype.kind == "b" else DEFAULT_FLOAT
    return x.astype(check_dtype(dtype), copy=False)


# ---- what NumPy lacks, or does slowly ------------------------------------------------------------

_BITS: dict[Any, np.dtype] = {np.dtype("f4"): np.dtype("i4"), np.dtype("f8"): np.dtype("i8")}


def where(condition: Array, a: Any, b: Any) -> Array:
    """`xp.where`, faster. NumPy branches once for each element, and on the mask of a relu the
    processor mispredicts half of the branches: 970 µs for 256 x 1024 elements. Here the bits of a
    and b, read as integers, are multiplied by 0 or 1: 100 µs, and exact for an inf and a NaN too.
    """
    if type(condition) is not np.ndarray:
        return array_module(condition).where(condition, a, b)
    bits = _BITS.get(a.dtype) if isinstance(a, np.ndarray) and condition.dtype == bool else None
    if bits is None or condition.size < 1024 or condition.shape != a.shape:
        return np.where(condition, a, b)
    if isinstance(b, np.ndarray) and b.dtype == a.dtype and b.shape == a.shape:
        rest = b.view(bits)
        chosen = condition.astype(bits)
        chosen *= a.view(bits) ^ rest
        chosen ^= rest
    elif type(b) is int and b == 0:
        chosen = condition.astype(bits)
        chosen *= a.view(bits)
    else:
        return np.where(condition, a, b)
    return chosen.view(a.dtype)


def gated(g: Array, y: Array) -> Array:
    """g where y, the result of a relu, is above 0, else y, which is 0 there or a NaN: on a GPU in
    one kernel, but for half precision."""
    if type(y) is np.ndarray:
        # One dot product shows that there is no NaN, and to put 0 there is quicker.
        quick = y.dtype in _BITS and y.flags.c_contiguous and np.vdot(y, y) < np.inf
        return where(y > 0, g, 0 if quick else y)
    return where(y > 0, g, y) if y.dtype.itemsize < 4 else _gate(array_module(y))(g, y)


@functools.cache
def _gate(cupy: Any) -> Any:
    return cupy.ElementwiseKernel("T g, U y", "T out", "out = y > U(0) ? g : T(y)", "gate")


def erf(x: Array) -> Array:
    """The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise: CuPy's or SciPy's where installed, else
    the C library's through `math.erf`, one element at a time."""
    if array_module(x) is not np:
        from cupyx.scipy.special import erf as cuda_erf

        return cuda_erf(x).astype(x.dtype, copy=False)  # it has no half precision
    try:
        from scipy.special import erf as scipy_erf
    except ImportError:
        from math import erf as c_erf

        return np.asarray(np.frompyfunc(c_erf, 1, 1)(x), dtype=x.dtype)
    return scipy_erf(x).astype(x.dtype, copy=False)


# ---- one seeded generator, always on the host ----------------------------------------------------

_generator: Any = None  # made when first asked for: numpy.random is slow to import


def manual_seed(seed: int) -> None:
    """Seed the generator behind initial weights and dropout masks (an integer, 0 or more).

    It always draws on the host with NumPy and copies to the backend, so that the same seed gives
    the same weights on NumPy and on CuPy.
    """
    global _generator
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"manual_seed: the seed is an integer of 0 or more, not {seed!r}")
    _generator = np.random.default_rng(seed)


def generator() -> "np.random.Generator":
    """The generator that `manual_seed` seeds; before the first call of it, a differently seeded one
    in each process."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, what `manual_seed(seed)` gives; afterwards the generator is the one of before, and
    where it was."""
    global _generator
    before = _generator
    manual_seed(seed)
    try:
        yield
    finally:
        _generator = before


def use_environment() -> None:
    """Obey TINYGRAD_OPT_BACKEND, if it is set."""
    name = os.environ.get("TINYGRAD_OPT_BACKEND")
    if name:
        try:
            use(name.strip().lower())
        except (ValueError, RuntimeError) as error:
            raise type(error)(f"TINYGRAD_OPT_BACKEND={name}: {error}") from error
