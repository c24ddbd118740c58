"""What ops take beside the tensor: axes, indices, labels, targets, looked at before any arithmetic.

CuPy wraps an index that is out of range, and NumPy broadcasts a target of another shape, without a
word: what must not pass in silence is refused here. `checked_...` gives the argument in the form
that the op computes with, `check_...` only looks. What a primitive can say of the arrays that it
gets stands in the primitive.
"""

import math
import string
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_opt import backend, refusals
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.tensor import Tensor, beside, home, raw_array

# ---- tensors or arrays ---------------------------------------------------------------------------


def operand(x: Any, op: str) -> Any:
    """x if it is a Tensor or an array, numbers and lists as an array, else a TypeError."""
    if type(x) is Tensor or backend.is_array(x):
        return x
    if isinstance(x, (int, float, list, tuple, np.generic)):
        return backend.asarray(x)
    raise TypeError(f"{op}: wants a Tensor or an array, not a {type(x).__name__}")


def checked_list(arrays: Any, op: str) -> list:
    """A list of tensors, one at least, all on one backend."""
    if isinstance(arrays, Tensor) or not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{op}: give a list of tensors, not one {type(arrays).__name__}")
    if not arrays:
        raise ValueError(f"{op}: the list of tensors is empty")
    arrays = [operand(a, op) for a in arrays]
    if len({home(a) for a in arrays}) > 1:
        raise refusals.mixed_backends(op)
    return arrays


_BOOL = np.dtype(bool)


def check_bools(condition: Any) -> None:
    """TypeError unless the condition of `where` is made of bools."""
    kind = getattr(condition, "dtype", type(condition))
    if kind is not _BOOL and kind is not bool and kind != _BOOL:
        kind = kind.__name__ if isinstance(kind, type) else kind
        raise TypeError(f"where: the condition is made of bools, not of {kind}; write x > 0")


def check_bounds(low: Any, high: Any) -> None:
    """ValueError unless `clip` has a bound, and the low one is not above the high one. Bounds on a
    GPU are trusted."""
    if low is None and high is None:
        raise ValueError("clip: give a low bound, a high bound or both")
    on_host = all(isinstance(v, (int, float, list, np.ndarray, np.generic)) for v in (low, high))
    if on_host and not np.all(np.less_equal(low, high)):
        raise ValueError(f"clip: the low bound {low} is not below the high bound {high}")


# ---- axes and shapes -----------------------------------------------------------------------------


def checked_axis(axis: Any, ndim: int, op: str = "") -> int:
    """`axis` counted from the front; ValueError for one that is not there."""
    if not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        op = f"{op}: " if op else ""
        raise ValueError(f"{op}axis {axis} is out of range for a tensor with {ndim} axes")
    return int(axis) % ndim


def axes_of(shape: tuple, axis: Any) -> tuple[int, ...]:
    """The axes that a reduction of `axis` takes, counted from the front. NumPy lets a 0-d array
    have axis 0 or -1."""
    if axis is None or (not shape and axis in (0, -1)):
        return tuple(range(len(shape)))
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if not isinstance(a, (int, np.integer)):
            raise TypeError(f"axis is an integer or a tuple of them, not a {type(a).__name__}")
    return tuple(checked_axis(a, len(shape)) for a in axes)


def reduced(shape: tuple, axis: Any) -> int:
    """How many elements of an array of `shape` go into each result."""
    return math.prod(shape[a] for a in axes_of(shape, axis))


def check_extreme_axis(axis: Any, several: bool = True) -> None:
    """TypeError for an axis of max, min or argmax in a form that CuPy alone takes: a list, or two
    axes for argmax."""
    if isinstance(axis, list) or (isinstance(axis, tuple) and not several):
        form = "an integer or a tuple of them" if several else "one integer"
        raise TypeError(f"axis is {form}, not a {type(axis).__name__}")


def lengths(args: tuple) -> tuple:
    """Both spellings of NumPy's methods: x.reshape(2, 3) and x.reshape((2, 3))."""
    args = tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    return tuple(int(n) if isinstance(n, np.integer) else n for n in args)


def checked_widths(pad_width: Any, ndim: int) -> np.ndarray:
    """The widths before and after each axis, from NumPy's spellings: n, (before, after), or one
    pair an axis."""
    try:
        return np.broadcast_to(np.asarray(pad_width), (ndim, 2))
    except ValueError as error:
        shape = np.shape(pad_width)
        raise ValueError(f"a pad_width of shape {shape} does not fit {ndim} axes") from error


def checked_cuts(indices_or_sections: Any, n: int) -> list[int]:
    """Where an axis of length n is cut: into so many equal parts, or before the given indices."""
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ValueError(f"split: {n} does not divide into {indices_or_sections} equal parts")
        return list(range(0, n + 1, n // indices_or_sections)) if n else [0, 0]
    if isinstance(indices_or_sections, (list, tuple, np.ndarray)) and all(
        isinstance(i, (int, np.integer)) for i in indices_or_sections
    ):
        return [0, *map(int, indices_or_sections), n]
    raise TypeError(
        "split: give a number of sections or a list of integer indices, not "
        f"{indices_or_sections!r}"
    )


def check_alike_beside(arrays: list, axis: int) -> None:
    """ValueError unless the shapes of `arrays` agree in every axis but this one."""
    if len({(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays}) > 1:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"concatenate: shapes {shapes} differ beside axis {axis}")


def check_alike(arrays: list) -> None:
    """ValueError unless all `arrays` have one shape."""
    if len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"stack: the shapes differ: {shapes}")


def checked_for_einsum(subscripts: Any, operands: tuple) -> tuple:
    """What einsum takes: the subscripts with the ellipsis spelt out in capital letters and with an
    output, then the operands."""
    if not isinstance(subscripts, str):
        raise TypeError("einsum: the first argument is the string of subscripts")
    subscripts = subscripts.replace(" ", "")
    operands = tuple(operand(x, "einsum") for x in operands)
    ndims = [x.ndim for x in operands]
    inputs, arrow, output = subscripts.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {len(terms)} terms in {subscripts!r}, {len(ndims)} operands")
    free = [c for c in reversed(string.ascii_uppercase) if c not in subscripts]
    spelt, longest = [], 0
    for term, ndim in zip(terms, ndims, strict=True):
        if term.count("...") > 1:
            raise ValueError(f"einsum: the term {term!r} has more than one ellipsis")
        extra = ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ValueError(f"einsum: the term {term!r} does not fit an operand with {ndim} axes")
        spelt.append(term.replace("...", "".join(free[:extra][::-1])))
        longest = max(longest, extra)
    ellipsis = "".join(free[:longest][::-1])
    if not arrow:  # NumPy's rule: the labels that occur once, in alphabetical order
        labels = inputs.replace(",", "").replace("...", "")
        output = "..." + "".join(sorted(c for c in set(labels) if labels.count(c) == 1))
    return ",".join(spelt) + "->" + output.replace("...", ellipsis), *operands


# ---- indices -------------------------------------------------------------------------------------


def checked_key(key: Any, x: Any) -> tuple:
    """The key of x[key] as a tuple that holds arrays where it held Tensors or lists.

    CuPy takes 0.5 for 0 and wraps an index that is out of range: what is on the host is looked at
    here.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if not all(type(k) in _BASIC for k in keys):
        keys = tuple(_index(k) for k in keys)
    return keys if home(x) == "numpy" else tuple(_within(keys, x))


_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})


def _index(k: Any) -> Any:
    k = raw_array(k)
    if isinstance(k, (list, tuple)):
        k = _integers(k, "getitem")
    if backend.is_array(k):
        if k.dtype.kind not in "biu":
            raise IndexError(f"getitem: indices are integers or bools, not {k.dtype}")
    elif type(k) not in _BASIC and not hasattr(k, "__index__"):
        raise IndexError("getitem: indices are integers, slices (:), ellipsis (...), None, or "
                         f"arrays of integers or bools, not {k!r}")  # fmt: skip
    return k


def _within(keys: tuple, x: Any) -> Iterator[Any]:
    """The keys, host arrays of integers checked to lie within the axis that each is for, and slices
    to be made of integers."""
    axis, left = 0, x.ndim - sum(map(_axes_taken, keys))  # what an ellipsis stands for
    for k in keys:
        if isinstance(k, np.ndarray) and k.dtype.kind in "iu" and axis < x.ndim:
            n = x.shape[axis]
            bad = k[(k < -n) | (k >= n)]
            if bad.size:
                raise IndexError(f"getitem: index {bad.flat[0]} is out of bounds for axis {axis} "
                                 f"with size {n}")  # fmt: skip
        elif isinstance(k, slice):
            for part in (k.start, k.stop, k.step):
                if part is not None and not hasattr(part, "__index__"):
                    raise TypeError(f"getitem: slice indices are integers or None, not {part!r}")
        yield k
        axis += left if k is Ellipsis else _axes_taken(k)


def _axes_taken(k: Any) -> int:
    if backend.is_array(k) and k.dtype.kind == "b":
        return k.ndim
    return 0 if k is None or k is Ellipsis or isinstance(k, bool) else 1


def _integers(indices: Any, op: str) -> np.ndarray:
    try:
        x = np.asarray(indices)
    except ValueError as error:
        raise IndexError(f"{op}: the list of indices is not rectangular: {indices}") from error
    return x if x.size else x.astype(np.intp)


def checked_indices(indices: Any, n: int, x: Any, op: str, low: int | None = None) -> Array:
    """`indices` as an array on the backend of `x`; IndexError naming the first outside [low, n),
    low being -n unless given.

    CuPy wraps such an index silently. Indices that live on the host are checked there; those that
    live on the GPU are waited for, unless their range is known (`Batches` has looked).
    """
    indices = raw_array(indices)
    if not backend.is_array(indices):
        indices = _integers(indices, op)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: indices are integers, not {indices.dtype}")
    low = -n if low is None else low
    if backend.is_within(indices, low, n):
        return beside(x, indices)
    bad = (indices < low) | (indices >= n)
    if bad.any():
        first = backend.host(indices)[backend.host(bad)].flat[0]
        raise IndexError(f"{op}: index {first} is outside [{low}, {n})")
    return beside(x, indices)


def indices_along(indices: Any, x: Any, axis: int) -> Array:
    """Indices for `take_along_axis`: one position of `axis` for each place beside it."""
    indices = checked_indices(indices, x.shape[axis], x, "take_along_axis")
    if indices.ndim != x.ndim or any(
        n not in (1, m) for i, (n, m) in enumerate(zip(indices.shape, x.shape)) if i != axis
    ):
        raise ValueError(
            f"take_along_axis: indices of shape {indices.shape} do not fit {x.shape} "
            f"beside axis {axis}"
        )
    return indices


# ---- losses and layers ---------------------------------------------------------------------------


def checked_one_hot(labels: Any, logits: Any) -> Array:
    """Labels (N,) for logits (N, C), integers in [0, C), as bools (N, C) beside the logits: True
    at the label, and only there."""
    labels = raw_array(labels)
    if not backend.is_array(labels):
        labels = _integers(labels, "cross_entropy")
    kind, shape = labels.dtype.kind, labels.shape
    if logits.ndim != 2 or shape != logits.shape[:1] or kind not in "iu" or shape == (0,):
        raise _misfit_labels(labels, logits)
    classes, xp = logits.shape[1], array_module(labels)
    one_hot = labels[:, None] == xp.arange(classes)
    known = backend.is_within(labels, 0, classes)  # then a GPU is not waited for
    if not known and xp.count_nonzero(one_hot) != len(labels):
        row = int(((labels < 0) | (labels >= classes)).argmax())
        raise IndexError(
            f"cross_entropy: label {int(labels[row])} in row {row} is outside [0, {classes}), the "
            f"{classes} classes of the logits"
        )
    return beside(logits, one_hot)


def _misfit_labels(labels: Array, logits: Any) -> Exception:
    if logits.ndim != 2:
        return ValueError(f"cross_entropy: logits are (N, C) scores, not of shape {logits.shape}")
    if labels.shape == logits.shape:
        return TypeError("cross_entropy: labels are integers (N,), these look one-hot: use "
                         "labels.argmax(axis=1)")  # fmt: skip
    if labels.shape != logits.shape[:1]:
        return ValueError(
            f"cross_entropy: {len(logits)} rows of logits, but labels of shape {labels.shape}"
        )
    if not labels.size:
        return ValueError("cross_entropy: the batch is empty, and the mean of nothing is undefined")
    return TypeError(
        f"cross_entropy: labels are integers, not {labels.dtype}: use labels.astype('int64')"
    )


def checked_pair(prediction: Any, target: Any, op: str) -> tuple[Any, Any]:
    """Prediction and target as arrays or Tensors, of exactly the same shape."""
    prediction, target = operand(prediction, op), operand(target, op)
    if target.shape != prediction.shape:
        cure = ""
        if prediction.shape == (*target.shape, 1):
            cure = "; make the target target[:, None], or the prediction prediction[:, 0]"
        elif prediction.shape[:-1] == target.shape:
            cure = "; for integer labels there is cross_entropy"
        raise ValueError(
            f"{op}: the prediction has shape {prediction.shape} and the target {target.shape}; "
            f"losses never broadcast{cure}"
        )
    if not prediction.size:
        raise ValueError(f"{op}: the batch is empty, and the mean of nothing is undefined")
    return prediction, target


def check_probabilities(target: Any) -> None:
    """ValueError for a target outside [0, 1]. One on a GPU would be waited for, and is trusted."""
    values = _on_host(target, "bce_with_logits")
    if values is not None and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("bce_with_logits: targets are probabilities in [0, 1]")


def check_signs(target: Any) -> None:
    """ValueError for a target that is neither -1 nor 1. One on a GPU is trusted."""
    values = _on_host(target, "hinge_loss")
    if values is not None and not (np.abs(values) == 1).all():
        raise ValueError("hinge_loss: targets are -1 or 1; from 0 and 1, make them with 2 * t - 1")


def _on_host(target: Any, op: str) -> np.ndarray | None:
    is_list = isinstance(target, (list, tuple))
    values = backend.from_python(target) if is_list else raw_array(operand(target, op))
    return values if isinstance(values, np.ndarray) else None


def check_delta(delta: Any) -> None:
    """ValueError unless the `delta` of huber_loss is a number above 0."""
    if not isinstance(delta, (int, float)) or not delta > 0:
        raise ValueError(f"huber_loss: delta is above 0, not {delta!r}")


def check_table(weight: Any) -> None:
    """ValueError unless the weight of an embedding is (V, D)."""
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight is (V, D), not of shape {weight.shape}")


def checked_for_layer_norm(x: Any, weight: Any, bias: Any, eps: float, axis: Any) -> Any:
    """What layer_norm takes: x as an array or Tensor, with something to average over."""
    x = operand(x, "layer_norm")
    for a in axis if isinstance(axis, tuple) else (axis,):
        checked_axis(a, x.ndim, "layer_norm")
    if not eps >= 0:
        raise ValueError(f"layer_norm: eps is 0 or more, not {eps!r}")
    if not reduced(x.shape, axis):
        raise ValueError(f"layer_norm: nothing to average over axis {axis} of shape {x.shape}")
    for name, scale in (("weight", weight), ("bias", bias)):
        if scale is not None and scale.shape != x.shape[x.ndim - scale.ndim :]:
            raise ValueError(f"layer_norm: {name} {scale.shape} does not fit x {x.shape}")
    return x


def check_dropout(x: Any, p: Any) -> None:
    """What dropout takes: a floating-point x and a probability p."""
    if not isinstance(p, (int, float)) or not 0 <= p < 1:
        raise ValueError(f"dropout: p is a probability in [0, 1), not {p!r}")
    if not hasattr(x, "dtype"):
        raise TypeError(f"dropout: wants a Tensor or an array, not a {type(x).__name__}")
    if x.dtype.kind != "f":
        raise TypeError(f"dropout: x is a floating-point tensor, not {x.dtype}")
