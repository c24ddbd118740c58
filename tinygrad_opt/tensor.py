"""A Tensor is an array that remembers how it was made: data, gradient, and the op with its inputs.

The Tensor *is* the node of the graph: there is no context object beside it, and since it points
only at older tensors, there is no reference cycle either. What it can do (operators, methods,
backward) is attached by the floors above: `autograd.py` and `ops/`.
"""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt import backend, refusals
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.display import shown

next_index = itertools.count(1).__next__  # one clock for the creation and the editing of tensors


class Tensor:
    """An array with a gradient.

    Args:
        data: numbers, nested lists (these become float32) or an array (keeps its dtype; a NumPy
            array is not copied, so editing it edits the tensor).
        requires_grad: whether `backward()` fills `.grad` (floating-point data only).
        dtype: overrides the dtype.

    Attributes:
        data: the raw array. Assigning writes into a tensor that an optimizer owns, so shape and
            dtype must stay. An assignment between a forward and its backward, to it or to x[...],
            is refused by the latter; what is written into the raw array, `x.data[0] = 1`, is
            noticed by `detect_anomaly()` alone.
        grad: None, or an array of the same shape and dtype: the sum of all that `backward()`
            brought. Assigned None, it is zeros where an optimizer holds the tensor.
        requires_grad: whether gradients are wanted here (of a leaf) or flow through (of a result).
        op, inputs, kwargs: how it was made; op is None for a leaf.
        values: the arrays behind `inputs`, and its constants as the op took them.
        index: when it was made. Inputs are older than results, so that newest first is an order in
            which the walk can go backward.
        written: when `.data` was last assigned, on the same clock (0: never).
        graded: when `.grad` last changed, by a `backward()` or an assignment (0: never).
        cleared: whether an optimizer's `zero_grad()` has cleared `.grad`. The zeros are not written
            until somebody looks: most often nobody does before `backward()` writes over them.
        origin: what the anomaly mode noted of its making, else None.
        owned: None, or a weak reference to the flat vector of an optimizer that the arrays are
            views into.

    Raises:
        TypeError: data that is no array of real numbers, or an integer tensor with requires_grad.
    """

    op: Any
    inputs: Any
    values: Any
    kwargs: dict
    origin: Any
    owned: Any

    __slots__ = ("_data", "_grad", "_requires_grad", "op", "inputs", "values", "kwargs", "index",
                 "written", "graded", "cleared", "origin", "owned")  # fmt: skip

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        if isinstance(data, Tensor):
            raise refusals.tensor_of_tensor()
        if not isinstance(requires_grad, (bool, np.bool_)):
            raise refusals.not_a_flag(requires_grad)
        self._data = backend.asarray(data, dtype)
        if requires_grad:
            check_differentiable(self._data)
        self._grad: Array = None
        self._requires_grad = bool(requires_grad)
        self.op, self.inputs, self.values, self.kwargs = None, (), (), {}
        self.index, self.written, self.graded = next_index(), 0, 0
        self.cleared, self.origin, self.owned = False, None, None

    def __init_subclass__(cls):
        raise refusals.subclass()

    # ---- the array and its gradient --------------------------------------------------------------

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._data:  # `x.data += 1` has written in place before it assigns
            value = self._like(value, "data")
            if self.in_use:  # the array is a view into an optimizer's flat vector
                self._data[...] = value
            else:
                self._data = value
        self.written = next_index()

    @property
    def grad(self) -> Array | None:
        if self.cleared:
            self._grad[...] = 0
            self.cleared = False
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is self._grad:  # `x.grad *= 2` has written in place before it assigns
            self.graded, self.cleared = next_index(), False
            return
        if value is None:
            if not self.in_use:
                self._grad, self.cleared = None, False
                return
            value = array_module(self._data).zeros_like(self._data)
        value = self._like(value, "grad")
        if self.in_use:
            self.owned().mixed.discard(self)  # a gradient of the user's own: nothing to warn of
        if self.in_use and self._grad is not None:
            self._grad[...] = value
        else:
            self._grad = array_module(value).array(value)
        self.graded, self.cleared = next_index(), False

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.op is not None:
            raise refusals.flag_of_result(self.op)
        if value:
            check_differentiable(self._data)
        elif self.in_use:
            raise refusals.frozen_too_late()
        self._requires_grad = bool(value)

    @property
    def in_use(self) -> bool:
        """Whether an optimizer that is still there holds this tensor in its flat vector."""
        return self.owned is not None and self.owned() is not None

    def _brought(self, value: Any, what: str) -> Array:
        """`value` as an array: a list or number becomes one of this tensor's dtype, where it
        lives."""
        if isinstance(value, Tensor):
            return value._data
        if backend.is_array(value):
            return value
        try:
            value = backend.from_python(value, self.dtype)
        except (TypeError, ValueError) as error:
            raise type(error)(f".{what} = {value!r}: {error}") from error
        return backend.to(value, backend.name_of(self._data))

    def _like(self, value: Any, what: str) -> Array:
        """`value` as an array with the shape, dtype and backend of this tensor, or an error."""
        mine, value = self._data, self._brought(value, what)
        if array_module(value) is not array_module(mine):
            raise refusals.of_another_backend(mine, value, what)
        if value.dtype != mine.dtype:
            raise refusals.of_another_dtype(mine, value, what)
        if value.shape != mine.shape:
            raise refusals.of_another_shape(mine, value, what)
        return value

    # ---- as NumPy has them -----------------------------------------------------------------------

    shape = property(lambda self: self._data.shape, doc="The lengths of the axes, a tuple of ints.")
    ndim = property(lambda self: self._data.ndim, doc="The number of axes.")
    size = property(lambda self: self._data.size, doc="The number of elements.")
    dtype = property(lambda self: self._data.dtype, doc="The NumPy dtype of the elements.")
    is_leaf = property(lambda self: self.op is None, doc="Whether no recorded op made it.")

    def numpy(self) -> np.ndarray:
        """A copy of the data in the host's memory, as a NumPy array. Waits for the GPU on CuPy."""
        return backend.host(self._data)

    def item(self) -> float | int | bool:
        """The single element as a Python number. ValueError if there is not exactly one."""
        if self._data.size != 1:
            raise refusals.not_single(self.shape)
        return self._data.item()

    def tolist(self) -> Any:
        """The elements as (nested) Python lists."""
        return self._data.tolist()

    def detach(self) -> "Tensor":
        """A leaf that shares the data and knows nothing of the graph."""
        return make_node(self._data)

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._data.shape[0]

    def __iter__(self):
        if not self._data.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise refusals.ambiguous(self.shape)
        return bool(self._data)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    __hash__ = object.__hash__  # by identity: the walk keeps tensors in sets and dicts

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise refusals.cut_graph()
        if array_module(self._data) is not np:
            raise refusals.hidden_copy()
        return np.array(self._data, dtype=dtype) if copy else np.asarray(self._data, dtype=dtype)

    def __dlpack__(self, **options: Any):
        if self.requires_grad:
            raise refusals.cut_by_dlpack()
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._data.__dlpack_device__()

    def __reduce__(self):
        if self.op is not None:
            raise refusals.not_a_leaf(self.op)
        xp = array_module(self._data)
        grad = None if self._grad is None else xp.array(self.grad)
        return _leaf, (xp.array(self._data), self.requires_grad, grad)

    def __repr__(self) -> str:
        return shown(self)

    if TYPE_CHECKING:  # what autograd.py and ops/ attach: here for readers and type checkers alone
        T: "Tensor"

        def backward(self, cotangent: Any = None, retain_graph: bool = False) -> None: ...
        def _op(self, *args: Any, **kwargs: Any) -> "Tensor": ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _op
        __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = _op
        __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _op
        exp = log = log1p = expm1 = sqrt = square = abs = sign = sin = cos = tanh = sigmoid = _op
        relu = leaky_relu = elu = gelu = silu = softplus = maximum = minimum = clip = _op
        sum = mean = prod = var = std = max = min = argmax = logsumexp = norm = cumsum = _op
        softmax = log_softmax = reshape = transpose = swapaxes = expand_dims = squeeze = _op
        broadcast_to = flip = roll = pad = take = take_along_axis = astype = to = flatten = _op


def make_node(data: Array, requires_grad: bool = False, op: Any = None, inputs: tuple = (),
              values: Any = (), kwargs: Any = None) -> Tensor:  # fmt: skip
    """The bare constructor behind every op: no checks, no conversion."""
    t = Tensor.__new__(Tensor)
    t._data, t._grad, t._requires_grad = data, None, requires_grad
    t.op, t.inputs, t.values, t.kwargs = op, inputs, values, kwargs
    t.index, t.written, t.graded, t.cleared = next_index(), 0, 0, False
    t.origin = t.owned = None
    return t


def _leaf(data: Array, requires_grad: bool, grad: Array | None) -> Tensor:
    t = make_node(data, requires_grad)
    t._grad = grad
    return t


def raw_array(x: Any) -> Any:
    """The array behind x, a Tensor or an array: a VJP may get either."""
    return x._data if type(x) is Tensor else x


def home(x: Any) -> str:
    """The backend, "numpy" or "cupy", that the Tensor or array x lives on."""
    return backend.name_of(raw_array(x))


def beside(x: Any, array: Array) -> Array:
    """`array` on the backend of x."""
    same = array_module(raw_array(x)) is array_module(array)
    return array if same else backend.to(array, home(x))


def check_differentiable(x: Array) -> None:
    """TypeError unless `x` has a floating-point dtype: there is no gradient on the integers."""
    if x.dtype.kind != "f":
        raise refusals.not_differentiable(x.dtype)
