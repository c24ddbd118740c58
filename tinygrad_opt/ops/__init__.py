"""The table of derivatives, and where a Tensor gets its operators and methods from it.

The names are NumPy's (or PyTorch's where NumPy has none); each op works on Tensors and on raw
arrays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import arguments, backend, refusals
from tinygrad_opt.autograd import is_recording
from tinygrad_opt.ops import elementwise as e
from tinygrad_opt.ops import linalg, loss
from tinygrad_opt.ops import reduce as r
from tinygrad_opt.ops import shape as s
from tinygrad_opt.tensor import Tensor, make_node, next_index

# ---- every op by name ----------------------------------------------------------------------------

OPS: dict[str, Callable] = {
    op.__name__: op
    for op in (
        e.abs, e.add, e.clip, e.cos, e.divide, e.elu, e.equal, e.erf, e.exp, e.expm1, e.gelu,
        e.greater, e.greater_equal, e.leaky_relu, e.less, e.less_equal, e.log, e.log1p,
        e.logical_and, e.logical_not, e.logical_or, e.logsigmoid, e.maximum, e.minimum, e.multiply,
        e.negative, e.not_equal, e.power, e.relu, e.sigmoid, e.sign, e.silu, e.sin, e.softplus,
        e.sqrt, e.square, e.subtract, e.tanh, e.where,
        r.argmax, r.cumsum, r.log_softmax, r.logsumexp, r.max, r.mean, r.min, r.norm, r.prod,
        r.softmax, r.std, r.sum, r.var,
        s.astype, s.broadcast_to, s.concatenate, s.expand_dims, s.flatten, s.flip, s.getitem, s.pad,
        s.reshape, s.roll, s.split, s.squeeze, s.stack, s.swapaxes, s.take, s.take_along_axis, s.to,
        s.transpose,
        linalg.einsum, linalg.linear, linalg.matmul,
        loss.bce_with_logits, loss.cross_entropy, loss.dropout, loss.embedding, loss.hinge_loss,
        loss.huber_loss, loss.layer_norm, loss.mse_loss,
    )
}  # fmt: skip

# ---- operators, with their reflected forms -------------------------------------------------------

_BINARY = {"add": e.add, "sub": e.subtract, "mul": e.multiply, "truediv": e.divide, "pow": e.power,
           "matmul": linalg.matmul}  # fmt: skip
_IN_PLACE = {"add": "+=", "sub": "-=", "mul": "*=", "truediv": "/="}
_OTHER = {"neg": e.negative, "abs": e.abs, "getitem": s.getitem, "lt": e.less,
          "le": e.less_equal, "gt": e.greater, "ge": e.greater_equal, "eq": e.equal,
          "ne": e.not_equal}  # fmt: skip


def _reflected(op: Callable) -> Callable:
    return lambda self, other: op(other, self)


def _in_place(op: Callable, symbol: str) -> Callable:
    """`x += ...` edits the data where nothing is recorded, and is `x = x + ...` where something
    is."""

    def operator(self, other):
        if is_recording():
            if self.requires_grad and self.op is None:
                raise refusals.update_by_hand(symbol)
            if self.requires_grad or getattr(other, "requires_grad", False):
                return op(self, other)
        self.data = op(self.detach(), other)._data
        return self

    return operator


def _of_bools(op: Callable, symbol: str) -> Callable:
    """`&`, `|` and `~` combine masks; of integers they would be bitwise, which is no op here."""

    def operator(*operands):
        for a in operands:
            if getattr(a, "dtype", np.dtype(type(a))).kind != "b":
                raise refusals.only_for_bools(symbol, op)
        return op(*operands)

    return operator


_and, _or, _not = (_of_bools(op, symbol) for op, symbol in
                   ((e.logical_and, "&"), (e.logical_or, "|"), (e.logical_not, "~")))  # fmt: skip


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    """x[key] = value, where nothing is recorded."""
    if is_recording() and (self.requires_grad or getattr(value, "requires_grad", False)):
        raise refusals.unrecorded_edit()
    key, value = arguments.checked_key(key, self), self._brought(value, "item")
    if backend.name_of(value) != backend.name_of(self._data):
        raise refusals.of_another_backend(self._data, value, "item")
    try:
        self._data[key] = value
    except ValueError as error:
        raise refusals.misfit_item(value, self._data[key], error) from error
    self.written = next_index()


for _name, _op in _BINARY.items():
    setattr(Tensor, f"__{_name}__", _op)
    setattr(Tensor, f"__r{_name}__", _reflected(_op))
for _name, _symbol in _IN_PLACE.items():
    setattr(Tensor, f"__i{_name}__", _in_place(_BINARY[_name], _symbol))
for _name, _op in _OTHER.items():
    setattr(Tensor, f"__{_name}__", _op)
for _name, _op in {"and": _and, "rand": _and, "or": _or, "ror": _or, "invert": _not}.items():
    setattr(Tensor, f"__{_name}__", _op)
Tensor.__setitem__ = _setitem  # type: ignore

# ---- methods -------------------------------------------------------------------------------------

_METHODS = """
    abs argmax astype broadcast_to clip cos cumsum elu exp expand_dims expm1 flatten flip gelu
    leaky_relu log log1p log_softmax logsumexp max maximum mean min minimum norm pad prod relu
    reshape roll sigmoid sign silu sin softmax softplus sqrt square squeeze std sum swapaxes take
    take_along_axis tanh to transpose var
""".split()
for _name in _METHODS:
    setattr(Tensor, _name, OPS[_name])
Tensor.T = property(s.transpose, doc="The tensor with its axes reversed.")  # type: ignore

# ---- NumPy's own functions, called on Tensors ----------------------------------------------------

_NUMPY = {name: op for name, op in OPS.items() if hasattr(np, name)}
_NUMPY |= {"absolute": e.abs, "amax": r.max, "amin": r.min, "bitwise_and": _and,
           "bitwise_or": _or, "invert": _not}  # fmt: skip


def _array_ufunc(self, ufunc, method, *args, **kwargs):
    """np.exp(tensor), and `array * tensor`, which NumPy turns into np.multiply(array, tensor)."""
    if ufunc.__name__ not in _NUMPY or method != "__call__" or kwargs:
        name = ufunc.__name__ + (f".{method}" if method != "__call__" else "")
        raise refusals.not_an_op(f"np.{name}", sorted(kwargs))
    return _NUMPY[ufunc.__name__](*args)


def _array_function(self, function, types, args, kwargs):
    """np.sum(tensor), np.where(mask, tensor, 0): the op of the same name."""
    if function.__name__ not in _NUMPY:
        raise refusals.not_an_op(f"{function.__module__}.{function.__name__}")
    return _NUMPY[function.__name__](*args, **kwargs)


Tensor.__array_ufunc__ = _array_ufunc  # type: ignore
Tensor.__array_function__ = _array_function  # type: ignore


def from_dlpack(x: Any) -> Tensor:
    """A Tensor that shares the memory of `x`, an array of any library that speaks DLPack.

    An array in the host's memory becomes a NumPy tensor, one on a CUDA device a CuPy tensor.
    """
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: a {type(x).__name__} does not speak DLPack")
    host = 1  # DLPack's kDLCPU
    if x.__dlpack_device__()[0] == host:
        array = np.from_dlpack(x)
    else:
        array = backend.module_of("cupy").from_dlpack(x)
    backend.check_dtype(array.dtype)
    return make_node(array)  # where it is, whichever backend is current
