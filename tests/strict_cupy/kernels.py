"""`cupy.ElementwiseKernel` on the CPU: the C body of a kernel is put into a loop, compiled by the
machine's C++ compiler and called on the arrays' memory.

As on the GPU, inputs and outputs are references, so a body that writes an output early changes an
input that shares its memory. Unlike there, subnormal numbers are not flushed to zero, and multiply
and add are never fused, which CuPy does unless it is told `--fmad=false`.
"""

import ctypes
import functools
import math
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strict_cupy import device
from strict_cupy.arrays import SCALARS, ndarray, wrap

_C_TYPES = {
    "bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned",
    "uint64": "unsigned long long", "float32": "float", "float64": "double",
}  # fmt: skip

# What CUDA offers by itself, for float and for double. The compiler's own are taken instead of
# <cmath>'s, whose reading would take five times as long as the rest of a kernel.
_FUNCTIONS = {
    "T x": "acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 fabs floor "
           "log log10 log1p log2 nearbyint rint round sin sinh sqrt tan tanh trunc",
    "T x, T y": "atan2 copysign fmax fmin fmod hypot pow",
    "T x, T y, T z": "fma",
}  # fmt: skip


def _functions() -> str:
    lines = []
    for ctype, suffix in (("float", "f"), ("double", "")):
        for parameters, names in _FUNCTIONS.items():
            given, called = parameters.replace("T", ctype), parameters.replace("T ", "")
            lines += [
                f"inline {ctype} {name}({given}) {{ return __builtin_{name}{suffix}({called}); }}"
                for name in names.split()
            ]
        lines += [f"inline bool {name}({ctype} x) {{ return __builtin_{name}(x); }}"
                  for name in ("isfinite", "isinf", "isnan", "signbit")]  # fmt: skip
    return "\n".join(lines)


_SOURCE = """
namespace cuda {{
{functions}
template <class T> T abs(T x) {{ return x < T(0) ? -x : x == T(0) ? T(0) : x; }}
}}
using namespace cuda;
#define __device__
#define __forceinline__ inline
template <class T> T rsqrt(T x) {{ return T(1) / sqrt(x); }}
template <class T> T max(T a, T b) {{ return a > b || b != b ? a : b; }}
template <class T> T min(T a, T b) {{ return a < b || b != b ? a : b; }}
{typedefs}
{preamble}
extern "C" void run(long long n, void **memory, const long long *step) {{
  for (long long i = 0; i < n; ++i) {{
    {bindings}
    {{ {operation}; }}
  }}
}}
"""


class NoCompiler(RuntimeError):
    """What a kernel raises on a machine that cannot compile it."""


def compiler() -> str | None:
    """The C++ compiler of this machine, or None: then no kernel can run."""
    candidates = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((found for c in candidates if c and (found := shutil.which(c))), None)


@dataclass(frozen=True)
class Parameter:
    ctype: str  # a NumPy dtype, or one capital letter that stands for any
    name: str
    raw: bool  # the whole array instead of one element of it
    is_const: bool

    @classmethod
    def parse(cls, text: str, is_const: bool) -> "Parameter":
        *words, ctype, name = text.split()
        if name == "i":
            raise ValueError("Can not use 'i' as a parameter name")
        return cls(ctype, name, "raw" in words, is_const)

    @property
    def is_letter(self) -> bool:
        return len(self.ctype) == 1

    def dtype(self, letters: dict[str, np.dtype]) -> np.dtype:
        return letters[self.ctype] if self.is_letter else np.dtype(self.ctype)

    def binding(self, place: int) -> str:
        """The C++ that gives the parameter its meaning inside the loop."""
        ctype = self.ctype if self.is_letter else _C_TYPES[np.dtype(self.ctype).name]
        ctype = f"const {ctype}" if self.is_const else ctype
        start = f"(({ctype} *)memory[{place}])"
        if self.raw:
            return f"{ctype} *{self.name} = {start};"
        return f"{ctype} &{self.name} = {start}[i * step[{place}]];"


class ElementwiseKernel:
    def __init__(
        self, in_params, out_params, operation, name="kernel", reduce_dims=True, preamble="",
        no_return=False, return_tuple=False, doc="", **options,
    ):  # fmt: skip
        if wrong := options.keys() - {"options", "loop_prep", "after_loop"}:
            raise TypeError(f"got an unexpected keyword argument {min(wrong)!r}")
        hash(tuple(options.values()))  # a list of options is refused: kernels are kept by them
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a kernel in C")
        self.name, self.operation, self.preamble = name, operation, preamble
        self.in_params = _parameters(in_params, is_const=True)
        self.out_params = _parameters(out_params, is_const=False)
        self.params = self.in_params + self.out_params
        self.nin, self.nout, self.nargs = map(len, (self.in_params, self.out_params, self.params))
        self._returns_tuple = return_tuple or self.nout > 1
        self._loops: dict[tuple, Any] = {}  # by what the letters stand for

    def __call__(self, *args, size=None, block_size=128, stream=None, **kwargs):
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        for a in args:
            if type(a) is not ndarray and type(a) not in SCALARS:
                raise TypeError(f"Unsupported type {type(a)}")
        if any(type(a) is not ndarray for a in args[self.nin :]):
            raise TypeError("Output arguments must be cupy.ndarray")
        letters = self._resolve(args)
        shape = self._shape(args, size)
        outs = args[self.nin :] or [
            wrap(np.empty(shape, p.dtype(letters))) for p in self.out_params
        ]
        device.launch()
        self._run([*args[: self.nin], *outs], shape, letters)
        return tuple(outs) if self._returns_tuple else outs[0]

    def _resolve(self, args) -> dict[str, np.dtype]:
        """The dtype that each capital letter stands for: arrays decide, scalars follow."""
        letters: dict[str, np.dtype] = {}
        given = list(zip(self.params, args, strict=False))
        for p, a in given:
            if type(a) is ndarray:
                expected = letters.setdefault(p.ctype, a.dtype) if p.is_letter else p.dtype({})
                if a.dtype != expected:
                    raise TypeError(f"Type is mismatched. {p.name} {a.dtype} {expected} {p.ctype}")
        for p, a in given:
            if p.is_letter and type(a) is not ndarray:
                letters.setdefault(p.ctype, np.result_type(a))
        return letters

    def _shape(self, args, size) -> tuple[int, ...]:
        looped = [
            a.shape for p, a in zip(self.params, args, strict=False)
            if type(a) is ndarray and not p.raw
        ]  # fmt: skip
        if size is not None:
            if looped:
                raise ValueError(
                    "Specified 'size' can be used only if all of the ndarray are 'raw'."
                )
            return (size,)
        if not looped:
            raise ValueError("Loop size is undecided.")
        return np.broadcast_shapes(*looped)

    def _run(self, args: list, shape: tuple[int, ...], letters: dict[str, np.dtype]) -> None:
        memory, steps, copied = [], [], []
        for p, a in zip(self.params, args, strict=True):
            host = a._host if type(a) is ndarray else np.asarray(a, p.dtype(letters))
            steps.append(0 if p.raw or (p.is_const and not host.ndim) else 1)
            if steps[-1] and host.shape != shape:
                if not p.is_const:
                    raise ValueError("Out shape is mismatched")
                host = np.broadcast_to(host, shape)
            memory.append(np.asarray(host, order="C"))
            if not p.is_const and memory[-1] is not host:
                copied.append((host, memory[-1]))
        addresses = (ctypes.c_void_p * len(memory))(*(h.ctypes.data for h in memory))
        steps = (ctypes.c_longlong * len(steps))(*steps)
        kinds = tuple(letters.items())
        if kinds not in self._loops:
            self._loops[kinds] = _compiled(self._source(letters))
        self._loops[kinds](ctypes.c_longlong(math.prod(shape)), addresses, steps)
        for out, result in copied:
            out[...] = result

    def _source(self, letters: dict[str, np.dtype]) -> str:
        return _SOURCE.format(
            functions=_functions(),
            typedefs=" ".join(f"typedef {_C_TYPES[d.name]} {c};" for c, d in letters.items()),
            preamble=self.preamble,
            bindings="\n    ".join(p.binding(n) for n, p in enumerate(self.params)),
            operation=self.operation,
        )


def _parameters(listed: str, is_const: bool) -> tuple[Parameter, ...]:
    return tuple(Parameter.parse(p, is_const) for p in listed.split(",") if p.strip())


_built = tempfile.TemporaryDirectory(prefix="strict_cupy-", ignore_cleanup_errors=True)


@functools.cache
def _compiled(source: str) -> Any:
    if compiler() is None:
        raise NoCompiler("no C++ compiler: the stand-in cannot run an ElementwiseKernel")
    library = Path(_built.name) / f"kernel{len(os.listdir(_built.name))}.so"
    command = [compiler(), "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-x", "c++", "-"]
    done = subprocess.run(
        [*command, "-o", str(library)], input=source, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the kernel does not compile:\n{done.stderr}\n{source}")
    return ctypes.CDLL(str(library)).run
