"""Losses, and what networks are made of between them: a prediction and a target in, a mean out.

Losses never broadcast: (N, 1) against (N,) is an error, not an N × N table of differences.
"""

from tinygrad_opt import arguments, backend, suspicions
from tinygrad_opt.arguments import operand
from tinygrad_opt.autograd import primitive
from tinygrad_opt.backend import array_module
from tinygrad_opt.ops.elementwise import exp, multiply, relu, sigmoid, where
from tinygrad_opt.ops.reduce import log_softmax, normalize, softmax
from tinygrad_opt.ops.shape import getitem
from tinygrad_opt.tensor import Tensor, beside

# ---- classification ------------------------------------------------------------------------------


@primitive
def _cross_entropy(logits, log_p, one_hot):
    """The mean of -log p[label]. `log_p` is log_softmax(logits), worked out once for here and for
    the VJP; the logits themselves are an argument for the walk, which sends their cotangent on."""
    return array_module(log_p).where(one_hot, log_p, 0).sum() / -len(one_hot)


def _cross_entropy_vjp(g, y, logits, log_p, one_hot):
    """softmax - one-hot: what was predicted, less what is true."""
    # With create_graph the logits are a Tensor, and p must come from them: log_p has no graph.
    p = softmax(logits, axis=1) if type(logits) is Tensor else exp(log_p)
    return (p - one_hot) * (g / len(one_hot))


_cross_entropy.defvjp(_cross_entropy_vjp, None, None)  # the others are constants


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
    one_hot = arguments.checked_one_hot(labels, logits)
    if type(logits) is Tensor and logits.op is softmax:
        suspicions.softmax_twice(logits.shape[1])
    constant = logits.detach() if type(logits) is Tensor else logits
    return _cross_entropy(logits, log_softmax(constant, 1), one_hot)


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
    arguments.check_probabilities(target)
    return _bce_with_logits(*arguments.checked_pair(prediction, target, "bce_with_logits"))


def hinge_loss(prediction, target):
    """The mean of max(0, 1 - target · prediction): targets -1 and 1, of the prediction's shape.

    At the kink (a margin of exactly 1) the gradient is 0.
    """
    arguments.check_signs(target)
    prediction, target = arguments.checked_pair(prediction, target, "hinge_loss")
    return relu(1 - prediction * target).mean()


# ---- regression ----------------------------------------------------------------------------------


@primitive
def _mse_loss(prediction, target):
    difference = prediction - target
    return (difference * difference).mean()


_mse_loss.defvjp(lambda g, y, x, target: (x - target) * (g * 2 / x.size),
                 lambda g, y, x, target: (target - x) * (g * 2 / x.size))  # fmt: skip


def mse_loss(prediction, target):
    """The mean squared difference of two tensors of the same shape."""
    return _mse_loss(*arguments.checked_pair(prediction, target, "mse_loss"))


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
    arguments.check_delta(delta)
    return _huber_loss(*arguments.checked_pair(prediction, target, "huber_loss"), delta)


# ---- parts of networks ---------------------------------------------------------------------------


def layer_norm(x, weight=None, bias=None, eps=1e-5, axis=-1):
    """(x - mean) / √(var + eps) · weight + bias, mean and variance over `axis`, the last one or a
    tuple of the last ones (Ba, Kiros, Hinton 2016)."""
    x = arguments.checked_for_layer_norm(x, weight, bias, eps, axis)
    y = normalize(x, axis=axis, eps=eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def dropout(x, p=0.5, training=True):
    """Each element 0 with probability p, else divided by 1 - p, so that the mean stays (Srivastava
    et al. 2014). The mask is drawn on the host from the generator of `manual_seed`."""
    arguments.check_dropout(x, p)
    if not training or p == 0:
        return x
    kept = backend.generator().random(x.shape) >= p
    mask = (kept / (1 - p)).astype(x.dtype)
    return multiply(x, beside(x, mask))


def embedding(indices, weight):
    """The rows of `weight` (V, D) at integer `indices` of any shape S, as a tensor of shape S +
    (D,)."""
    arguments.check_table(weight)
    indices = arguments.checked_indices(indices, len(weight), weight, "embedding", low=0)
    return getitem(weight, indices)
