"""The layers: each holds its tensors, checks the shape of what comes in, and calls one op.

Inputs are Tensors, raw arrays or lists, the last axis holding the features. Dtypes promote as
NumPy's do: a layer with float32 weights computes in float64 on float64 inputs.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array
from tinygrad_opt.nn.init import he_normal, he_uniform, xavier_normal, xavier_uniform
from tinygrad_opt.nn.module import Module, nearest
from tinygrad_opt.ops import elementwise as e
from tinygrad_opt.ops import linalg, loss
from tinygrad_opt.ops.reduce import normalize
from tinygrad_opt.tensor import Tensor, raw_array

INITIALISERS: dict[str, Callable] = {
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
}
ACTIVATIONS: dict[str, Callable] = {
    "relu": e.relu,
    "tanh": e.tanh,
    "sigmoid": e.sigmoid,
    "gelu": e.gelu,
}

# ---- products ------------------------------------------------------------------------------------


class Linear(Module):
    """x @ weight + bias: (..., n_in) → (..., n_out).

    Args:
        n_in, n_out: the widths, integers of 1 or more.
        bias: False leaves the bias out.
        init: how the weight is drawn, a name ("he_uniform", which fits a ReLU behind the layer,
            "he_normal", "xavier_uniform", "xavier_normal") or a function of the shape that gives an
            array. The bias begins at 0.

    Attributes:
        weight: (n_in, n_out) float32, the transpose of PyTorch's.
        bias: (n_out,) float32, or None.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = True, init: Any = "he_uniform"):
        n_in, n_out = _width("Linear: n_in", n_in), _width("Linear: n_out", n_out)
        if isinstance(init, str):
            init = _named("Linear: init", init, INITIALISERS)
        drawn = raw_array(init((n_in, n_out)))
        if drawn.shape != (n_in, n_out):
            raise ValueError(f"Linear: init gave {drawn.shape} instead of {(n_in, n_out)}")
        self.weight = Tensor(drawn, requires_grad=True, dtype=backend.DEFAULT_FLOAT)
        self.bias = _filled(0.0, n_out) if bias else None

    def forward(self, x: Any) -> Any:
        x = _given(x)
        try:
            if self.bias is None:
                return linalg.matmul(x, self.weight)
            return linalg.linear(x, self.weight, self.bias)
        except ValueError as error:
            raise self._misfit(x) or error from error

    def _misfit(self, x: Any) -> ValueError | None:
        n_in, n_out = self.weight.shape
        if x.shape[-1:] == (n_in,):
            return None
        flat = x.ndim > 2 and x.size == len(x) * n_in
        return ValueError(
            f"Linear({n_in}, {n_out}): the input of shape {x.shape} has "
            f"{x.shape[-1] if x.ndim else 'no'} features in its last axis instead of {n_in}"
            + (f"; flatten each sample with x.reshape(len(x), {n_in})" if flat else "")
        )


class Embedding(Module):
    """The rows of a table: integers of any shape S, each in [0, n) → S + (d,).

    `weight` is (n, d) float32, drawn from the standard normal distribution, as PyTorch does.
    IndexError for an index outside [0, n), negative ones included.
    """

    def __init__(self, n: int, d: int):
        shape = _width("Embedding: n", n), _width("Embedding: d", d)
        drawn = backend.generator().standard_normal(shape, dtype=np.float32)
        self.weight = Tensor(drawn, requires_grad=True)

    def forward(self, indices: Any) -> Any:
        return loss.embedding(indices, self.weight)


# ---- activations ---------------------------------------------------------------------------------


class ReLU(Module):
    """max(x, 0), elementwise; the gradient at 0 is 0."""

    def forward(self, x: Any) -> Any:
        return e.relu(_given(x))


class Tanh(Module):
    """Hyperbolic tangent, elementwise."""

    def forward(self, x: Any) -> Any:
        return e.tanh(_given(x))


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ), elementwise."""

    def forward(self, x: Any) -> Any:
        return e.sigmoid(_given(x))


class GELU(Module):
    """x Φ(x), elementwise; `approximate="tanh"` is faster and off by up to 5e-4 (Hendrycks, Gimpel
    2016)."""

    def __init__(self, approximate: str = "none"):
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate is "none" or "tanh", not {approximate!r}')
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return e.gelu(_given(x), self.approximate)


class Dropout(Module):
    """In training, each element becomes 0 with probability p, else x / (1 - p); otherwise x itself
    (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is a probability in [0, 1), not {p!r}")
        self.p = p

    def forward(self, x: Any) -> Any:
        return loss.dropout(_given(x), self.p, self.training)


# ---- normalisation -------------------------------------------------------------------------------


class LayerNorm(Module):
    """(x - mean) / √(var + eps) · weight + bias, over the last axes of each sample (Ba, Kiros,
    Hinton 2016).

    Args:
        shape: the lengths of those axes, an integer for one or a tuple.
        eps: added to the variance, above 0.

    weight and bias have that shape and begin at 1 and 0.
    """

    def __init__(self, shape: int | tuple[int, ...], eps: float = 1e-5):
        lengths = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        if not lengths:
            raise ValueError("LayerNorm: shape names no axis")
        self.eps = _above_0("LayerNorm: eps", eps)
        shape = tuple(_width("LayerNorm: shape", n) for n in lengths)
        self.weight, self.bias = _filled(1.0, shape), _filled(0.0, shape)

    def forward(self, x: Any) -> Any:
        x, shape = _given(x), self.weight.shape
        if x.shape[-len(shape) :] != shape:
            raise ValueError(f"LayerNorm({shape}): the input of shape {x.shape} does not end in it")
        axis = tuple(range(-len(shape), 0))
        return loss.layer_norm(x, self.weight, self.bias, self.eps, axis)


class BatchNorm1d(Module):
    """(x - mean) / √(var + eps) · weight + bias, each feature over the batch: (N, n) → (N, n)
    (Ioffe, Szegedy 2015).

    In training the mean and variance (over N) are those of the batch; the buffers running_mean and
    running_var move towards them by `momentum` of the way, running_var towards the unbiased one
    (over N - 1). After `eval()` the buffers are used. Both as in PyTorch.

    Args:
        n: the number of features.
        momentum: in [0, 1]; 0 keeps the buffers as they are. Not the μ of an optimizer.
        eps: added to the variance, above 0.

    Raises ValueError for another shape, and for a batch of one in training.
    """

    def __init__(self, n: int, momentum: float = 0.1, eps: float = 1e-5):
        n = _width("BatchNorm1d: n", n)
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm1d: momentum is a number in [0, 1], not {momentum!r}")
        self.momentum, self.eps = momentum, _above_0("BatchNorm1d: eps", eps)
        self.weight, self.bias = _filled(1.0, n), _filled(0.0, n)
        self.running_mean, self.running_var = (
            Tensor(backend.asarray(np.full(n, value, np.float32))) for value in (0.0, 1.0)
        )

    def forward(self, x: Any) -> Any:
        x, n = _given(x), self.weight.size
        if x.ndim != 2 or x.shape[1] != n:
            raise ValueError(f"BatchNorm1d({n}): the input has shape {x.shape} instead of (N, {n})")
        if not self.training:
            scale = self.weight / (self.running_var + self.eps) ** 0.5
            return (x - self.running_mean) * scale + self.bias
        if len(x) < 2:
            raise ValueError(
                f"BatchNorm1d({n}): a batch of {len(x)} has no variance: train with batches of "
                "2 or more (drop_last=True), or call model.eval() first"
            )
        y = normalize(x, axis=0, eps=self.eps) * self.weight + self.bias
        x = raw_array(x)
        self._follow(self.running_mean, x.mean(axis=0))
        self._follow(self.running_var, x.var(axis=0, ddof=1))
        return y

    def _follow(self, running: Tensor, now: Array) -> None:
        moved = (1 - self.momentum) * running.data + self.momentum * now
        running.data = moved.astype(running.dtype, copy=False)


# ---- networks ------------------------------------------------------------------------------------


class Sequential(Module):
    """One layer after the other: modules, or functions such as `tg.relu`."""

    def __init__(self, *layers: Callable):
        for n, layer in enumerate(layers):
            if isinstance(layer, type):
                raise TypeError(f"Sequential: layer {n} is the class {layer.__name__}: call it, ()")
            if not callable(layer):
                raise TypeError(
                    f"Sequential: layer {n} is a {type(layer).__name__}, not a module or function"
                    + ("; unpack a list with *" if isinstance(layer, (list, tuple)) else "")
                )
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


class MLP(Module):
    """A multi-layer perceptron: `Linear` layers with an activation between them, none at the end.

    Args:
        sizes: the widths from input to output, two or more: [64, 32, 10].
        activation: "relu", "tanh", "sigmoid" or "gelu".

    The weights `layers.0.weight`, `layers.1.weight`, ... are drawn by He's rule before "relu" and
    "gelu", by Xavier's before "tanh" and "sigmoid" (both uniform). The last layer has the gain ½:
    its scores have ¼ of the size q of its inputs, and the first cross-entropy, about ln C + q / 8,
    stays close to the ln C of C equal scores.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "relu"):
        if isinstance(sizes, str) or not isinstance(sizes, Sequence):
            raise TypeError(f"MLP takes a list of widths, MLP([64, 32, 10]), not {sizes!r}")
        if len(sizes) < 2:
            raise ValueError(f"MLP: {list(sizes)} names fewer than two widths, input and output")
        widths = [_width("MLP: a width", n) for n in sizes]
        _named("MLP: activation", activation, ACTIVATIONS)
        self.activation = activation
        hidden = he_uniform if activation in ("relu", "gelu") else xavier_uniform
        inits = [hidden] * (len(widths) - 2) + [lambda shape: he_uniform(shape, gain=0.5)]
        self.layers = [Linear(a, b, init=init) for a, b, init in zip(widths, widths[1:], inits)]

    def forward(self, x: Any) -> Any:
        activation = ACTIVATIONS[self.activation]
        *hidden, last = self.layers
        for layer in hidden:
            x = activation(layer(x))
        return last(x)


# ---- what the layers share -----------------------------------------------------------------------


def _given(x: Any) -> Any:
    return x if type(x) is Tensor or hasattr(x, "shape") else backend.asarray(x)


def _filled(value: float, shape: Any) -> Tensor:
    return Tensor(np.full(shape, value, np.float32), requires_grad=True)


def _width(name: str, n: Any) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{name} is an integer, not {n!r}")
    if operator.index(n) < 1:
        raise ValueError(f"{name} is an integer of 1 or more, not {n!r}")
    return operator.index(n)


def _above_0(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} is a number above 0, not {value!r}")
    return value


def _named(what: str, name: Any, table: dict[str, Callable]) -> Callable:
    if name not in table:
        raise ValueError(f"{what} is one of {', '.join(table)}, not {name!r}{nearest(name, table)}")
    return table[name]
