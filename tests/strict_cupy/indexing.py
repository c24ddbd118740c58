"""Indices as CuPy reads them: an index array that points outside an axis wraps around silently, a
mask waits for the GPU to count its True entries, and an index array on the host is copied over.
"""

from typing import Any

import numpy as np

import strict_cupy
from strict_cupy import device

_NO_INDEX = "arrays used as indices must be of integer or boolean type. (actual: {})"
_BASIC = frozenset({int, slice, type(...), type(None)})


def host_key(key: Any, shape: tuple[int, ...]) -> tuple[tuple, bool]:
    """`key` for the NumPy array of that shape, and whether it gathers elements into a new array
    (else the result is a view, 0-d rather than a scalar thanks to a final `...`)."""
    entries = list(key) if type(key) is tuple else [key]
    gathers = False
    if not all(type(e) in _BASIC for e in entries):
        entries = [_on_the_host(e) for e in entries]
        gathers = any(isinstance(e, np.ndarray | bool | np.bool) for e in entries)
    if not any(e is ... for e in entries):
        entries.append(...)
    if gathers:
        _wrap_around(entries, shape)
    return tuple(entries), gathers


def _on_the_host(entry: Any) -> Any:
    if isinstance(entry, strict_cupy.ndarray):
        index = entry._host
    elif isinstance(entry, list | tuple | np.ndarray):
        device.upload()
        index = np.asarray(entry)
        if not index.size and type(entry) is not np.ndarray:
            index = index.astype(int)
    else:
        return entry
    if index.dtype.kind == "b":
        device.synchronise()
    elif index.dtype.kind not in "iu":
        raise IndexError(_NO_INDEX.format(index.dtype.type))
    return index


def _wrap_around(entries: list, shape: tuple[int, ...]) -> None:
    """Replace every integer index array by one that points into its axis."""
    taken = [_axes_taken(e) for e in entries]
    ellipsis = next(n for n, e in enumerate(entries) if e is ...)
    taken[ellipsis] = max(0, len(shape) - sum(taken))
    for n, entry in enumerate(entries):
        if isinstance(entry, np.ndarray) and entry.dtype.kind in "iu":
            axis = sum(taken[:n])
            if axis < len(shape) and shape[axis]:
                entries[n] = np.remainder(entry.astype(np.intp), shape[axis])


def _axes_taken(entry: Any) -> int:
    if entry is None or entry is ... or isinstance(entry, bool | np.bool):
        return 0
    return entry.ndim if isinstance(entry, np.ndarray) and entry.dtype.kind == "b" else 1
