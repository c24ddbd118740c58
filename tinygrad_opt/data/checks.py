"""What is wrong with a data set is said when it is handed over, not after an hour of training."""

import math
from typing import Any

import numpy as np

from tinygrad_opt import backend, suspicions
from tinygrad_opt.backend import Array
from tinygrad_opt.tensor import Tensor

Range = tuple[int, int] | None


def whole(name: str, value: Any, least: int = 0) -> int:
    """`value` as an int. ValueError, naming `name`, unless it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is an integer of {least} or more, not {value!r}")
    return int(value)


def number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, ends: str = "()"
) -> float:
    """`value` as a float. ValueError, naming `name`, unless it is a number between `low` and
    `high`; an end with a square bracket in `ends` is allowed too: "[)" is low ≤ value < high."""
    inside = isinstance(value, (int, float, np.integer, np.floating))
    inside = inside and not isinstance(value, bool)
    inside = inside and (low <= value if ends[0] == "[" else low < value)
    inside = inside and (value <= high if ends[1] == "]" else value < high)
    if not inside:
        span = f"{ends[0]}{low:g}, {high:g}{ends[1]}"
        raise ValueError(f"{name} is a number in {span}, not {value!r}")
    return float(value)


def numbers(
    name: str, values: Any, low: float = -math.inf, high: float = math.inf, ends: str = "()"
) -> list[float]:
    """The values as floats. ValueError, naming `name` and which of them, unless each is a number
    as for `number`; and for what is no list."""
    items = listed(name, values, "numbers")
    return [number(f"{name}[{n}]", value, low, high, ends) for n, value in enumerate(items)]


def words(name: str, values: Any) -> list[str]:
    """The values as a list. ValueError, naming `name`, unless they are words: a list of them."""
    items = listed(name, values, "words")
    for n, value in enumerate(items):
        if not isinstance(value, str):
            raise ValueError(f"{name}[{n}] is a word, not {value!r}")
    return items


def listed(name: str, values: Any, what: str) -> list[Any]:
    """The values as a list. ValueError, naming `name`, for anything else, as for one alone."""
    try:
        items = [*values]
    except TypeError:
        items = None
    if items is None or isinstance(values, str):
        such = f", such as [{values!r}]" if isinstance(values, (str, int, float)) else ""
        raise ValueError(f"{name} is a list of {what}{such}, not {values!r}")
    return items


def samples(name: str, data: Any) -> Array:
    """`data` as a C-contiguous host array, one sample a row (axis 0).

    Lists of floats become float32, lists of integers int64; everything else keeps its dtype. A
    C-contiguous NumPy array is not copied: what comes back is a read-only view of it.

    Raises ValueError for ragged or empty data, a scalar, NaN or infinity (naming the first bad
    row), and TypeError for a dtype that is not bool, integer or real floating point.
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array would lose its mask: pass .filled(value) or .data")
    try:
        rows = np.asarray(backend.to(data, "numpy") if backend.is_array(data) else data)
    except ValueError as error:
        raise ValueError(f"{name}: the nested list is ragged: {error}") from error
    try:
        dtype = backend.check_dtype(rows.dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    if rows.ndim == 0 or len(rows) == 0:
        raise ValueError(f"{name} of shape {rows.shape} holds no samples: one a row, (n, ...)")
    if isinstance(data, (list, tuple)) and dtype == np.float64:
        dtype = backend.DEFAULT_FLOAT
    with np.errstate(over="ignore"):  # told below, with its row: an infinity in float32
        rows = np.asarray(rows, dtype, order="C").view()
    _check_finite(name, rows)
    rows.flags.writeable = False
    return rows


def integer_range(rows: np.ndarray) -> Range:
    """The least and the greatest of integers on the host; None for numbers of another kind, and
    where there are none."""
    if rows.dtype.kind not in "iu" or not rows.size:
        return None
    return int(rows.min()), int(rows.max())


def look_for_sorted_classes(labels: np.ndarray, batch_size: int) -> None:
    """Warn (TGO-W03) where the first batches, in the order of the samples, hold one class each, and
    samples in no order would do so once in a million data sets at most."""
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        return
    counts = np.unique(labels, return_counts=True)[1]
    firsts = labels[: len(labels) // batch_size * batch_size].reshape(-1, batch_size)
    mixed = (firsts != firsts[:, :1]).any(axis=1)
    alone = int(mixed.argmax()) if mixed.any() else len(mixed)  # batches before the first mixed one
    by_chance = float(((counts / len(labels)) ** batch_size).sum()) ** alone
    if alone and by_chance < 1e-6:
        suspicions.sorted_data(alone, len(counts))


def _check_finite(name: str, rows: Array) -> None:
    if rows.dtype.kind != "f":
        return
    finite = np.isfinite(rows)
    if not finite.all():
        row = int(finite.all(axis=tuple(range(1, rows.ndim))).argmin())
        value = rows[row][~finite[row]].flat[0]
        bad = int((~finite).sum())
        raise ValueError(
            f"{name} holds {value} in row {row}, the first of {bad} values that are not finite: "
            "drop or repair such rows before training"
        )
