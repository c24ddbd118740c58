"""Losses, and what networks are made of between them: a prediction and a target in, a mean out.

Losses never broadcast: (N, 1) against (N,) is an error, not an N × N table of differences.
"""

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import primitive
from tinygrad_opt.backend import array_module
from tinygrad_opt.ops.elementwise import multiply, sigmoid, where
from tinygrad_opt.ops.reduce import log_softmax, normalize, reduced
from tinygrad_opt.ops.shape import (
    beside,
    checked_axis,
    checked_indices,
    getitem,
    home,
    operand,
    raw_array,
)

# ---- classification ------------------------------------------------------------------------------


@primitive
def _cross_entropy(log_probabilities, labels):
    """The mean of -log p[label]: the negative log-likelihood."""
    rows = array_module(labels).arange(len(labels))
    return -log_probabilities[rows, labels].sum() / len(labels)


def _cross_entropy_vjp(g, y, log_probabilities, labels):
    one_hot = labels[:, None] == array_module(labels).arange(log_probabilities.shape[1])
    return one_hot * (-g / len(labels))


_cross_entropy.defvjp(_cross_entropy_vjp)


def cross_entropy(logits, labels):
    """The mean of -log softmax(logits)[label]: the surprise, in nats, at the true class.

    Args:
        logits: (N, C) raw scores, before any softmax.
        labels: (N,) integers from 0 to C - 1 (an array, a list or a Tensor). Those on the host are
            checked there. On the GPU, those of `Batches` were checked on the host, once for the
            whole data set; others are waited for.

    Raises:
        IndexError: a label outside [0, C), naming its row.
        TypeError: labels that are floats or one-hot rows.
        ValueError: other shapes, or an empty batch.
    """
    logits = operand(logits, "cross_entropy")
    if logits.ndim != 2:
        raise ValueError(f"cross_entropy: logits are (N, C) scores, not of shape {logits.shape}")
    n, classes = logits.shape
    labels = beside(logits, _labels(labels, n, classes))
    return _cross_entropy(log_softmax(logits, axis=1), labels)


def _labels(labels, n: int, classes: int):
    labels = raw_array(labels)
    if not backend.is_array(labels):
        labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape == (n, classes):
        raise TypeError(
            "cross_entropy: labels are integers (N,), these look one-hot: use labels.argmax(axis=1)"
        )
    if labels.shape != (n,):
        raise ValueError(f"cross_entropy: {n} rows of logits, but labels of shape {labels.shape}")
    if not n:
        raise ValueError("cross_entropy: the batch is empty, and the mean of nothing is undefined")
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: labels are integers, not {labels.dtype}: use labels.astype('int64')"
        )
    if not labels.dtype.isnative:  # as IDX files have them
        labels = labels.astype(labels.dtype.newbyteorder("="))
    if backend.is_within(labels, 0, classes):
        return labels
    # Read as unsigned, a negative label is a huge one: one pass finds both kinds.
    if labels.view(f"u{labels.dtype.itemsize}").max() >= classes:
        bad = (labels < 0) | (labels >= classes)
        row = int(bad.argmax())
        raise IndexError(
            f"cross_entropy: label {int(labels[row])} in row {row} is outside [0, {classes}), the "
            f"{classes} classes of the logits"
        )
    return labels


@primitive
def _bce_with_logits(prediction, target):
    xp = array_module(prediction)
    tail = xp.log1p(xp.exp(-xp.abs(prediction)))
    return (xp.maximum(prediction, 0) - prediction * target + tail).mean()


_bce_with_logits.defvjp(lambda g, y, x, target: (sigmoid(x) - target) * (g / x.size),
                        lambda g, y, x, target: -x * (g / x.size))  # fmt: skip


def bce_with_logits(prediction, target):
    """The mean binary cross-entropy of raw scores against targets in [0, 1] of the same shape.

    Exact where sigmoid and log apart would overflow: at a score of ±1000 the gradient is still
    right.
    """
    target = _target(prediction, target, "bce_with_logits")
    values = raw_array(target)
    if home(values) == "numpy" and not ((values >= 0) & (values <= 1)).all():
        raise ValueError("bce_with_logits: targets are probabilities in [0, 1]")
    return _bce_with_logits(prediction, target)


@primitive
def _hinge_loss(prediction, target):
    return array_module(prediction).maximum(1 - prediction * target, 0).mean()


def _hinge_vjp(g, y, x, target):
    return where(x * target < 1, -target, 0) * (g / x.size)


_hinge_loss.defvjp(_hinge_vjp,
                   lambda g, y, x, target: where(x * target < 1, -x, 0) * (g / x.size))  # fmt: skip


def hinge_loss(prediction, target):
    """The mean of max(0, 1 - target · prediction): targets -1 and 1, of the prediction's shape.

    At the kink (a margin of exactly 1) the gradient is 0.
    """
    target = _target(prediction, target, "hinge_loss")
    values = raw_array(target)
    if home(values) == "numpy" and not (np.abs(values) == 1).all():
        raise ValueError("hinge_loss: targets are -1 or 1; from 0 and 1, make them with 2 * t - 1")
    return _hinge_loss(prediction, target)


# ---- regression ----------------------------------------------------------------------------------


@primitive
def _mse_loss(prediction, target):
    difference = prediction - target
    return (difference * difference).mean()


_mse_loss.defvjp(lambda g, y, x, target: (x - target) * (g * 2 / x.size),
                 lambda g, y, x, target: (target - x) * (g * 2 / x.size))  # fmt: skip


def mse_loss(prediction, target):
    """The mean squared difference of two tensors of the same shape."""
    return _mse_loss(prediction, _target(prediction, target, "mse_loss"))


@primitive
def _huber_loss(prediction, target, delta):
    xp = array_module(prediction)
    distance = xp.abs(prediction - target)
    near = xp.minimum(distance, delta)  # ½ near² + delta · (what is left), whichever the side
    return (0.5 * near * near + delta * (distance - near)).mean()


def _huber_slope(x, target, delta):
    difference = x - target
    return where(difference > delta, delta, where(difference < -delta, -delta, difference))


_huber_loss.defvjp(
    lambda g, y, x, target, delta: _huber_slope(x, target, delta) * (g / x.size),
    lambda g, y, x, target, delta: _huber_slope(target, x, delta) * (g / x.size),
)


def huber_loss(prediction, target, delta=1.0):
    """The mean of ½d² for |d| ≤ delta and delta (|d| - ½ delta) beyond (Huber 1964): as smooth as
    the squared error near 0, as patient with outliers as the absolute error. d = prediction -
    target."""
    if not isinstance(delta, (int, float)) or not delta > 0:
        raise ValueError(f"huber_loss: delta is above 0, not {delta!r}")
    return _huber_loss(prediction, _target(prediction, target, "huber_loss"), delta)


def _target(prediction, target, op: str):
    """`target` as an array or Tensor of exactly the prediction's shape."""
    prediction, target = operand(prediction, op), operand(target, op)
    if target.shape != prediction.shape:
        cure = ""
        if prediction.shape == (*target.shape, 1):
            cure = "; make the target target[:, None], or the prediction prediction[:, 0]"
        raise ValueError(
            f"{op}: the prediction has shape {prediction.shape} and the target {target.shape}; "
            f"losses never broadcast{cure}"
        )
    if not prediction.size:
        raise ValueError(f"{op}: the batch is empty, and the mean of nothing is undefined")
    return target


# ---- parts of networks ---------------------------------------------------------------------------


def layer_norm(x, weight=None, bias=None, eps=1e-5, axis=-1):
    """(x - mean) / √(var + eps) · weight + bias, mean and variance over `axis`, the last one or a
    tuple of the last ones (Ba, Kiros, Hinton 2016)."""
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
    y = normalize(x, axis=axis, eps=eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(x, p=0.5, training=True):
    """Each element 0 with probability p, else divided by 1 - p, so that the mean stays (Srivastava
    et al. 2014). The mask is drawn on the host from the generator of `manual_seed`."""
    if not isinstance(p, (int, float)) or not 0 <= p < 1:
        raise ValueError(f"dropout: p is a probability in [0, 1), not {p!r}")
    if not hasattr(x, "dtype"):
        raise TypeError(f"dropout: wants a Tensor or an array, not a {type(x).__name__}")
    if x.dtype.kind != "f":
        raise TypeError(f"dropout: x is a floating-point tensor, not {x.dtype}")
    if not training or p == 0:
        return x
    kept = backend.generator().random(x.shape) >= p
    mask = (kept / (1 - p)).astype(x.dtype)
    return multiply(x, beside(x, mask))


def embedding(indices, weight):
    """The rows of `weight` (V, D) at integer `indices` of any shape S, as a tensor of shape S +
    (D,)."""
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight is (V, D), not of shape {weight.shape}")
    indices = checked_indices(indices, len(weight), weight, "embedding", low=0)
    return getitem(weight, indices)
