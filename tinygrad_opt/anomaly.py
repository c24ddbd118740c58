"""Finding where things go wrong: errors retold with the op and the cure, and the anomaly mode's
notes.

Nothing here is on the path of a healthy step: `autograd.py` comes here when an op has failed, or
inside `detect_anomaly()`, where each op leaves a note of the line that called it and of what it
saved.
"""

import copy
import functools
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.backend import array_module, host, is_array, name_of
from tinygrad_opt.tensor import Tensor

# ---- errors, retold ------------------------------------------------------------------------------

_OPERANDS = (bool, int, float, str, tuple, slice, type(Ellipsis), np.dtype)  # beside arrays


def retold(error: Exception, op: str, values: list) -> Exception:
    """The error of an array library in our words: the op, the shapes, the cure."""
    text, arrays = str(error), [v for v in values if is_array(v)]
    if text.startswith(f"{op}: "):
        return copy.copy(error)  # a new one, for no error can be its own cause
    if len({name_of(v) for v in arrays}) > 1:
        return TypeError(f"{op}: a NumPy array meets a CuPy array. Move one of them, with "
                         '.to("cupy") or .to("numpy")')  # fmt: skip
    for n, v in enumerate(values):
        foreign = not isinstance(v, _OPERANDS) and not is_array(v)
        foreign |= isinstance(v, str) and "ufunc" in text
        if foreign and (v is not None or isinstance(error, (TypeError, AttributeError))):
            return TypeError(f"{op}: cannot take a {type(v).__name__} as argument {n}")
    if isinstance(error, AttributeError) and any(error.obj is v for v in values if not is_array(v)):
        return TypeError(f"{op}: wants an array or Tensor, not a {type(error.obj).__name__}")
    if "broadcast" in text and len(arrays) > 1:
        shapes = " and ".join(str(v.shape) for v in arrays)
        return ValueError(f"{op}: shapes {shapes} do not broadcast")
    try:
        return type(error)(f"{op}: {text}")
    except TypeError:  # its constructor takes more than a text, as those of NumPy's ufuncs do
        kinds = (ValueError, TypeError, IndexError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), None)
        return kind(f"{op}: {text}") if kind else copy.copy(error)


def edited(t: Tensor, what: str) -> RuntimeError:
    line = f" (called at {t.origin[0]})" if t.origin else ""
    return RuntimeError(
        f"the data of {what} of {t.op.__name__}{line} was edited between forward and backward: the "
        "gradient would be that of other numbers. Edit before the forward pass or after backward()"
    )


def released(t: Tensor) -> RuntimeError:
    return RuntimeError(
        f"the graph through {t.op.__name__} was already walked and released by backward(): run the "
        "forward pass again, or call backward(retain_graph=True) the first time"
    )


def place(t: Tensor, vjp: Any) -> int:
    """Which argument of t's op this VJP is for, counted from 0."""
    if isinstance(vjp, functools.partial):  # one of an op with any number of arguments
        return vjp.args[0]
    return next(n for n, other in enumerate(t.op.vjps) if other is vjp)


def no_derivative(op: Any, n: int) -> TypeError:
    if not op.vjps:
        return TypeError(f"{op.__name__} has no derivatives yet: give them with defvjp(...)")
    return TypeError(f"{op.__name__} has no derivative with respect to argument {n}: detach() it")


# ---- the notes of the anomaly mode ---------------------------------------------------------------

_PACKAGE = str(Path(__file__).parent) + os.sep


def note(t: Tensor, op: Any, values: list) -> None:
    """Keep with the result t the user's line and a fingerprint of each array; FloatingPointError if
    the op made the first NaN or inf."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    if not _finite(t._data) and all(_finite(v) for v in values):
        raise FloatingPointError(f"{op.__name__} made a NaN or inf of finite inputs, at {line}")
    if t.op is not None:
        t.origin = line, [_fingerprint(v) for v in (t._data, *values)]


def check_saved(t: Tensor) -> None:
    """RuntimeError if an array that t's op saved has other bytes now, whoever changed them."""
    now = (_fingerprint(a._data if type(a) is Tensor else a) for a in (t, *t.inputs))
    for n, (before, after) in enumerate(zip(t.origin[1], now)):
        if before != after:
            raise edited(t, f"input {n - 1}" if n else "the result")


def check_cotangent(t: Tensor, vjp: Any, gx: Any) -> None:
    """FloatingPointError if this VJP of t's op gave a NaN or inf."""
    if not _finite(gx._data if type(gx) is Tensor else gx):
        raise bad_cotangent(t, vjp)


def failed(t: Tensor, vjp: Any, x: Tensor, gx: Any, error: Exception) -> Exception:
    """The error of a VJP of t's op, retold: whose it was, and what it gave where that is wrong."""
    who = f"the VJP of {t.op.__name__} for argument {place(t, vjp)}"
    if isinstance(error, FloatingPointError):  # an op of a recorded VJP found an anomaly
        return bad_cotangent(t, vjp) if t.origin else copy.copy(error)
    if gx is not None and hasattr(gx, "shape"):
        return ValueError(f"{who} gave shape {gx.shape} for an argument of shape {x.shape}")
    if isinstance(error, AttributeError) and error.obj is gx:
        return TypeError(f"{who} gave a {type(gx).__name__}, not an array ({error})")
    return retold(error, who, [])


def bad_cotangent(t: Tensor, vjp: Any) -> FloatingPointError:
    return FloatingPointError(
        f"the VJP of {t.op.__name__} for argument {place(t, vjp)} made a NaN or inf; the op was "
        f"called at {t.origin[0]}"
    )


def _finite(x: Any) -> bool:
    if isinstance(x, float):
        return x - x == 0
    is_float = hasattr(x, "dtype") and x.dtype.kind == "f"
    return not is_float or bool(array_module(x).isfinite(x).all())


def _fingerprint(x: Any) -> int | None:
    if isinstance(x, tuple):  # a key with index arrays in it
        return hash(tuple(_fingerprint(part) for part in x))
    return zlib.crc32(host(x).tobytes()) if is_array(x) else None
