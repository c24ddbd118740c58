"""A rule as one CUDA kernel: the lines of the rule in C, over the whole vector in one launch.

Multiply and add are never fused and NaN is treated as NumPy treats it, so a kernel gives the bits
that NumPy gives. (CuPy flushes float32 numbers below 1.2e-38 to zero; there they part.)
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim.flat import ALIGN
from tinygrad_opt.optim.grammar import MASK
from tinygrad_opt.optim.rule import Rule

PREAMBLE = """\
template <class T> __device__ T np_sqrt(T x) { return sqrt(x); }
template <class T> __device__ T np_abs(T x) { return fabs(x); }
template <class T> __device__ T np_sign(T x) {
  return x > T(0) ? T(1) : (x < T(0) ? T(-1) : (x == T(0) ? T(0) : x)); }
template <class T> __device__ T np_square(T x) { return x * x; }
template <class T> __device__ T np_maximum(T a, T b) { return a > b || a != a ? a : b; }
template <class T> __device__ T np_minimum(T a, T b) { return a < b || a != a ? a : b; }
template <class T> __device__ T np_where(bool condition, T a, T b) { return condition ? a : b; }
__device__ inline bool np_not(bool condition) { return !condition; }
"""

PACK = """\
template <class T, int N> struct alignas(N * sizeof(T)) Pack { T lane[N]; };
"""

WIDTH = 16  # bytes that a thread loads and stores at once. On an H200, SGD over 100 million weights
# took 0.48 ms with 4 of them and takes 0.28 ms with 16, Adam 0.86 and 0.67: as long as a copy.


def source(rule: Rule, lanes: int) -> tuple[str, str, str]:
    """The parameters, results and body of the ElementwiseKernel in which a thread updates as many
    neighbours as there are lanes.

    Arguments are memory, and a result is the memory of an input: so everything is loaded first,
    computed in variables of the rule's own names, and stored at the end.
    """
    arrays = [rule.lowered.names[a] for a in rule.arrays]
    results = [rule.lowered.names[r] for r in rule.results]
    body = [
        f"typedef Pack<T, {lanes}> P;",
        *(f"P pack_{a} = ((const P *) &in_{a}[0])[i];" for a in arrays),
        f"#pragma unroll\nfor (int lane = 0; lane < {lanes}; ++lane) {{",
        *(f"T {a} = pack_{a}.lane[lane];" for a in arrays),
        *_lines(rule),
        *(f"pack_{r}.lane[lane] = {r};" for r in results),
        "}",
        *(f"((P *) &out_{r}[0])[i] = pack_{r};" for r in results),
    ]
    parameters = [*(f"raw T in_{a}" for a in arrays), *_scalars(rule)]
    return ", ".join(parameters), ", ".join(f"raw T out_{r}" for r in results), "\n".join(body)


def _lines(rule: Rule) -> list[str]:
    """The lines of the rule in C, after its arrays were given their names."""
    body, declared = [], {rule.lowered.names[a] for a in rule.arrays}
    for name, text, kind in rule.lowered.lines:
        ctype = "" if name in declared else "bool " if kind == MASK else "T "
        body.append(f"{ctype}{name} = {text};")
        declared.add(name)
    return body


def _scalars(rule: Rule) -> list[str]:
    return [f"T s{n}" for n in range(rule.lowered.count)]


@functools.cache
def _kernel(rule: Rule, lanes: int, cupy: Any) -> Any:
    parameters, results, body = source(rule, lanes)
    return cupy.ElementwiseKernel(
        parameters, results, body, re.sub(r"\W", "_", rule.name, flags=re.ASCII),
        preamble=PREAMBLE + PACK, options=("--fmad=false",),
    )  # fmt: skip


@functools.cache
def _watcher(lanes: int, cupy: Any) -> Any:
    # Many threads may write at once: all of them the same number.
    return cupy.ElementwiseKernel(
        "raw T g, int64 t", "raw int64 bad_step", f"""
        Pack<T, {lanes}> pack = ((const Pack<T, {lanes}> *) &g[0])[i];
        bool bad = false;
        for (int lane = 0; lane < {lanes}; ++lane) bad |= !isfinite(pack.lane[lane]);
        if (bad && bad_step[0] < 0) bad_step[0] = t;""", "watch", preamble=PACK,
    )  # fmt: skip


def watch(g: Array, t: int, bad_step: Array) -> None:
    """Note the step t in `bad_step`, an int64 () on the GPU, if g has a NaN or inf and none was
    noted before (it is -1 then): one launch, nothing waited for."""
    lanes = _lanes([g])
    _watcher(lanes, array_module(g))(g, t, bad_step, size=g.size // lanes)


@functools.cache
def _watcher_behind(rule: Rule, cupy: Any) -> Any:
    arrays = [rule.lowered.names[a] for a in rule.arrays]
    body = [*(f"T {a} = in_{a};" for a in arrays), *_lines(rule)]
    test = f"i % {ALIGN} < in_filled[i / {ALIGN}] && !isfinite({rule.lowered.names['g']})"
    body.append(f"if ({test} && out_bad_step[0] < 0) out_bad_step[0] = in_step;")
    return cupy.ElementwiseKernel(
        ", ".join([*(f"T in_{a}" for a in arrays), *_scalars(rule), "raw uint8 in_filled",
                   "int64 in_step"]),
        "raw int64 out_bad_step", "\n".join(body), "watch_behind",
        preamble=PREAMBLE, options=("--fmad=false",),
    )  # fmt: skip


def watch_behind(rule: Rule, w: Array, g: Array, hoisted: Sequence[float], filled: Array, t: int,
                 bad_step: Array) -> None:  # fmt: skip
    """As `watch`, for the g that `rule` makes of w and g, which is computed and not kept; without
    the padding, in which w may be anything: of every ALIGN elements only the first `filled` count.
    """
    with np.errstate(over="ignore"):
        _watcher_behind(rule, array_module(g))(w, g, *map(float, hoisted), filled, t, bad_step)


def launch(rule: Rule, arrays: Sequence[Any], hoisted: Sequence[float]) -> None:
    """Update the CuPy arrays, dense and of one length, in place: one launch, nothing waited for."""
    results = [arrays[rule.arrays.index(r)] for r in rule.results]
    with np.errstate(over="ignore"):  # a limit above all float32 is inf there
        kernel = _kernel(rule, lanes := _lanes(arrays), array_module(arrays[0]))
        kernel(*arrays, *map(float, hoisted), *results, size=arrays[0].size // lanes)


def _lanes(arrays: Sequence[Any]) -> int:
    """How many neighbours a thread takes: WIDTH bytes of each array where they begin and end on
    such a border, as flat vectors do; else one."""
    lanes = WIDTH // arrays[0].itemsize
    on_border = arrays[0].size % lanes == 0 and not any(a.data.ptr % WIDTH for a in arrays)
    return lanes if on_border else 1
