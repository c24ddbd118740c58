"""The anomaly mode: inside `detect_anomaly()` each op leaves a note, of the line that called it and
of what it saved, and the walk compares.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import Any

from tinygrad_opt import refusals
from tinygrad_opt.backend import array_module, host, is_array
from tinygrad_opt.tensor import Tensor, raw_array

_PACKAGE = str(Path(__file__).parent) + os.sep


def note(t: Tensor, op: Any, values: list) -> None:
    """Keep with the result t the user's line and a fingerprint of each array; FloatingPointError if
    the op made the first NaN or inf."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    if not _finite(t._data) and all(_finite(v) for v in values):
        raise refusals.bad_result(op, line)
    if t.op is not None:
        t.origin = line, [_fingerprint(v) for v in (t._data, *values)]


def check_saved(t: Tensor) -> None:
    """RuntimeError if an array that t's op saved has other bytes now, whoever changed them. Where
    an optimizer has moved an input since, its array of today is looked at too: with `create_graph`
    the walk takes that one."""
    saved = zip((t, *t.inputs), (t._data, *t.values), t.origin[1])
    for n, (x, then, before) in enumerate(saved):
        now = raw_array(x)
        moved = type(x) is Tensor and now is not then and _fingerprint(now) != before
        if moved or _fingerprint(then) != before:
            raise refusals.edited(t, f"input {n - 1}" if n else "the result")


def check_cotangent(t: Tensor, n: int, gx: Any) -> None:
    """FloatingPointError if the n-th VJP of t's op gave a NaN or inf."""
    if not _finite(raw_array(gx)):
        raise refusals.bad_cotangent(t, n)


def _finite(x: Any) -> bool:
    if isinstance(x, float):
        return x - x == 0
    is_float = hasattr(x, "dtype") and x.dtype.kind == "f"
    return not is_float or bool(array_module(x).isfinite(x).all())


def _fingerprint(x: Any) -> int | None:
    if isinstance(x, tuple):  # a key with index arrays in it
        return hash(tuple(_fingerprint(part) for part in x))
    return zlib.crc32(host(x).tobytes()) if is_array(x) else None
