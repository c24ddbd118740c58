"""What is wrong with a data set is said when it is handed over, not after an hour of training."""

from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array
from tinygrad_opt.tensor import Tensor

Range = tuple[int, int] | None


def whole(name: str, value: Any, least: int = 0) -> int:
    """`value` as an int. ValueError, naming `name`, unless it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is an integer of {least} or more, not {value!r}")
    return int(value)


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
