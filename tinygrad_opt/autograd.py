"""Reverse-mode differentiation: an op is a function on arrays plus one VJP per argument, and the
walk goes from the result back to the leaves, newest tensor first.

    y = op(x₁, x₂),   ȳ given   →   x̄₁ += vjp₁(ȳ, y, x₁, x₂),   x̄₂ += vjp₂(ȳ, y, x₁, x₂)

A VJP (vector-Jacobian product) is written once and used twice: on raw arrays by `backward()`, where
nothing is recorded, and on Tensors with `create_graph=True`, where the gradient is itself a graph
and can be differentiated again.
"""

import contextlib
import functools
import heapq
import inspect
import operator
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt import anomaly, backend, refusals
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.tensor import Tensor, make_node, next_index

# ---- modes ---------------------------------------------------------------------------------------


class _Mode(threading.local):
    recording = True
    anomaly = False


_mode = _Mode()


class _mode_set(contextlib.ContextDecorator):
    """One flag of this thread's mode, set for the length of a block or of a decorated function."""

    flag: str
    value: bool

    def __enter__(self):
        self.before = [*getattr(self, "before", []), getattr(_mode, self.flag)]
        setattr(_mode, self.flag, self.value)
        return self

    def __exit__(self, *exc_info):
        setattr(_mode, self.flag, self.before.pop())

    def __call__(self, f):
        if inspect.isgeneratorfunction(f) or inspect.iscoroutinefunction(f):
            raise refusals.mode_of_generator(self)
        return super().__call__(f)

    def _recreate_cm(self):  # each call of a decorated function, in whatever thread, has its own
        return type(self)()


class no_grad(_mode_set):
    """Record nothing in this block (or decorated function): results do not require a gradient."""

    flag, value = "recording", False


class detect_anomaly(_mode_set):
    """Find where a NaN or inf is born, and what edited saved data. Slow: for hunting bugs only.

    Inside the block, the first op that makes a non-finite result of finite inputs raises
    FloatingPointError with the op and the line of your code that called it; in the walk, so does
    the first VJP that gives a non-finite cotangent. What each op saved is fingerprinted, so that
    `backward()` refuses even an edit through a NumPy view of `.data`, which no setter sees.
    """

    flag, value = "anomaly", True


def is_recording() -> bool:
    """Whether ops are recorded in this thread: False inside `no_grad()`."""
    return _mode.recording


# ---- defining ops --------------------------------------------------------------------------------


def primitive(forward: Callable) -> Any:
    """Lift `forward`, a function on arrays, to an op: arrays in, arrays out; Tensors in, a Tensor
    out.

    `op.defvjp(vjp₁, vjp₂, ...)` gives the derivatives, one VJP an argument (None where there is
    none), called as `vjp(g, y, *args, **kwargs)` with the cotangent g of the result y. A VJP
    returns the cotangent of its argument in any shape that broadcasting made of it: the walk sums
    it back. A Python number keeps the dtype of the array it meets, and so do NumPy scalars and 0-d
    arrays (`x * np.sqrt(2)` stays float32 for a Tensor x); a list beside a Tensor becomes a float32
    array. Called on arrays alone, `forward` is called as it is, by NumPy's rules.

    `op.vjps` is () until they are given, and None for an op that never has any.
    """

    def lifted(*args, **kwargs):
        if kwargs:
            args, kwargs = _settled(forward, args, kwargs)
        for a in args:
            if type(a) is Tensor:
                break
        else:
            return forward(*args, **kwargs)
        needs_grad = False
        values = []
        try:
            for a in args:
                kind = type(a)
                if kind is Tensor:
                    if a._requires_grad:
                        needs_grad = True
                    a = a._data
                elif kind not in _PLAIN:
                    a = _constant(a, args)
                values.append(a)
            y = forward(*values, **kwargs)
        except Exception as error:
            raise refusals.retold(error, op.__name__, values) from error
        if type(y) is not np.ndarray:
            y = _result(op, y)
        if needs_grad and op.vjps is not None and y.dtype.kind == "f" and _mode.recording:
            if len(args) > len(op.vjps):
                _check_rest(op, args)
            t = make_node(y, True, op, args, values, kwargs)
        else:
            t = make_node(y)
        if _mode.anomaly:
            anomaly.note(t, op, values)
        return t

    op: Any = functools.update_wrapper(lifted, forward)
    op.__name__ = forward.__name__.lstrip("_")
    op.vjps = ()
    op.defvjp = lambda *vjps: setattr(op, "vjps", vjps)
    op.defvjp_each = lambda vjp: setattr(op, "vjps", _EachArgument(vjp))
    return op


def nondifferentiable(forward: Callable) -> Any:
    """Lift `forward` to an op whose results (bools, indices) have no derivative."""
    op = primitive(forward)
    op.vjps = None
    return op


def writes(vjp: Callable) -> Callable:
    """Mark a VJP that takes a keyword `out`, an array of the shape and dtype of its argument: there
    it may write the cotangent, and give it back. `backward()` offers the gradient of a weight that
    `zero_grad()` has cleared."""
    vjp.writes = True  # type: ignore[attr-defined]
    return vjp


class _EachArgument:
    """The VJPs of an op with any number of arguments: `vjp(n, g, y, *args)` for the n-th."""

    def __init__(self, vjp: Callable):
        self.vjp = vjp

    def __getitem__(self, n: int) -> Callable:
        return functools.partial(self.vjp, n)

    def __len__(self) -> int:
        return sys.maxsize


_PLAIN = frozenset({float, int, bool, type(None), tuple, str, slice})  # passed on as they are


def _constant(a: Any, args: tuple) -> Any:
    """A list as a float32 array, beside the tensors it meets; a NumPy scalar or 0-d array as the
    Python number, which does not promote the dtype of what it meets."""
    if type(a) is np.ndarray and a.ndim and a.dtype.kind in "fiub":
        return a
    if isinstance(a, list):
        home = next(t for t in args if type(t) is Tensor)
        return backend.to(backend.from_python(a), backend.name_of(home._data))
    # What has no dtype is passed on as well (an Ellipsis, a dtype): `forward` knows what to do.
    kind = "c" if isinstance(a, complex) else getattr(a, "dtype", np.dtype(bool)).kind
    if kind not in "fiub":
        raise refusals.complex_numbers() if kind == "c" else refusals.not_numbers(a.dtype)
    return a.item() if isinstance(a, (np.ndarray, np.generic)) and not a.ndim else a


def _result(op: Any, y: Any) -> Array:
    """The one array that an op gives; NumPy turns those without axes into scalars."""
    if isinstance(y, np.generic):
        return np.asarray(y)
    if backend.is_array(y):
        return y
    raise refusals.no_array(op, y)


def _settled(forward: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Arguments where the op and the walk look for them: a Tensor given by keyword, which is an
    input like any other, in its place among `args`; a NumPy scalar as the Python number."""
    for name, a in kwargs.items():
        if type(a) is Tensor:
            return _settled(forward, *_positional(forward, args, kwargs))
        if isinstance(a, np.generic):
            kwargs[name] = _constant(a, args)
    return args, kwargs


def _positional(forward: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    bound = inspect.signature(forward).bind(*args, **kwargs)
    bound.apply_defaults()
    if any(type(a) is Tensor for a in bound.kwargs.values()):
        raise refusals.keyword_only(forward)
    return bound.args, bound.kwargs


def _check_rest(op: Any, args: tuple) -> None:
    for n, a in enumerate(args[len(op.vjps) :], start=len(op.vjps)):
        if type(a) is Tensor and a._requires_grad:
            raise refusals.no_derivative(op, n)


# ---- the walk ------------------------------------------------------------------------------------


def unbroadcast(g: Any, shape: tuple, out: Array | None = None) -> Any:
    """The adjoint of broadcasting: sum `g` over every axis that broadcasting added or stretched;
    into `out`, if there is one and it takes the sum as it is."""
    axes = _broadcast_axes(g.shape, shape)
    if out is not None and g.dtype == out.dtype and len(g.shape) - len(axes) == len(shape):
        return g.sum(axis=axes, out=out)
    g = g.sum(axis=axes)
    return g if g.shape == shape else g.reshape(shape)


@functools.lru_cache(maxsize=4096)
def _broadcast_axes(wide: tuple, narrow: tuple) -> tuple:
    lead = len(wide) - len(narrow)
    stretched = (lead + i for i, n in enumerate(narrow) if n == 1 and wide[lead + i] != 1)
    return (*range(lead), *stretched)


def walk(
    root: Tensor, cotangent: Any, keep: Any = (), create_graph: bool = False,
    in_place: set[Tensor] | None = None,
) -> tuple[dict[Tensor, Any], list[Tensor]]:  # fmt: skip
    """Carry the `cotangent` of `root` down the graph, newest tensor first. The cotangents of the
    leaves and of `keep` come back, and the results that were visited. Given a set `in_place`, the
    cotangent of a leaf whose gradient is cleared may be written straight into that gradient: such a
    leaf is put into the set, and is not cleared any more.

    Newest first, because a tensor's cotangent is complete only when all its consumers were visited:

        b = a + a;  c = b + b          a ──2──▶ b ──2──▶ c

    Were b visited after the first of c's two edges, it would pass on half of its cotangent, and
    would have to be visited again for the other half, as would all that is below it. Every consumer
    is newer than what it consumes, so in the order of creation, reversed, c̄ = 1 is complete before
    c is visited, b̄ = 2 before b, and ā = 4.

    Cotangents live in a dict that the walk pops, not on the tensors: it can be repeated, and
    nothing is left on inner nodes. Sums are formed out of place, for two tensors may share one.

    Raises RuntimeError where the graph was released by an earlier `backward()`, or where the data
    of an input or result was edited after the op that used it.
    """
    cotangents, visited = {root: cotangent}, []
    ahead = [(-root.index, root)] if root.op is not None else []  # a heap: its first is the newest
    while ahead:
        t = heapq.heappop(ahead)[1]
        index, inputs, vjps = t.index, t.inputs, t.op.vjps
        if inputs is None:
            raise refusals.released(t)
        if t.written > index:
            raise refusals.edited(t, "the result")
        if t.origin is not None:
            anomaly.check_saved(t)
        y, args, kwargs = t._data, t.values, t.kwargs
        if create_graph:
            y, args = t, [x if type(x) is Tensor else v for x, v in zip(inputs, args)]
        g = cotangents[t] if t in keep else cotangents.pop(t)
        visited.append(t)
        for n, x in enumerate(inputs):
            if type(x) is not Tensor:
                continue
            if x.written > index:
                raise refusals.edited(t, "an input")
            if not x._requires_grad:
                continue
            vjp = vjps[n] if n < len(vjps) else None
            if vjp is None:
                raise refusals.no_derivative(t.op, n)
            data, gx = x._data, None
            room = x._grad if x.cleared and in_place is not None else None
            try:
                if room is not None and hasattr(vjp, "writes"):
                    gx = vjp(g, y, *args, out=room, **kwargs)
                else:
                    gx = vjp(g, y, *args, **kwargs)
                if gx.shape != data.shape:
                    gx = unbroadcast(gx, data.shape, room)
                if gx.dtype is not data.dtype and gx.dtype != data.dtype:  # promoted by the op
                    gx = gx.astype(data.dtype)
            except Exception as error:
                raise refusals.failed(t, n, x, gx, error) from error
            if gx is room and room is not None:
                in_place.add(x)  # type: ignore[union-attr]
                x.cleared = False  # who reads it from here on must not write zeros over it
            if t.origin is not None:
                anomaly.check_cotangent(t, n, gx)
            if x in cotangents:
                cotangents[x] = cotangents[x] + gx
            else:
                cotangents[x] = gx
                if x.op is not None:
                    heapq.heappush(ahead, (-x.index, x))
    return cotangents, visited


def backward(self: Tensor, cotangent: Any = None, retain_graph: bool = False) -> None:
    """Add d(self)/d(leaf) to the `.grad` of every leaf below that requires a gradient.

    Args:
        cotangent: weights of the elements of self, an array or Tensor of its shape; needed unless
            self has a single element (then 1).
        retain_graph: keep the graph for another walk. Otherwise it is released, and walking it
            again is an error.

    Raises:
        RuntimeError: nothing below requires a gradient; no cotangent for a non-scalar; the graph
            was released, or its data edited. No `.grad` has changed then.
    """
    in_place: set[Tensor] = set()
    try:
        cotangents, visited = walk(self, _start(self, cotangent), in_place=in_place)
        # What can run out of memory comes first: then either all gradients change or none.
        fresh = {t: array_module(g).array(g) for t, g in cotangents.items() if t._grad is None}
    except BaseException:
        for t in in_place:
            t.cleared = True  # 0 again, as before, for whoever looks
        raise
    now = next_index()
    for t, g in cotangents.items():
        if t in fresh:
            t._grad = fresh[t]
        elif t.cleared or t in in_place:
            if g is not t._grad:
                t._grad[...] = g
        else:
            if t.owned is not None and (flat := t.owned()) is not None:
                flat.note_if_spent(t)  # for the warning TGO-W01
            t._grad += g
        t.graded, t.cleared = now, False
    if not retain_graph:
        for t in visited:
            t.inputs = t.values = t.origin = None


Tensor.backward = backward  # type: ignore[method-assign]


def grad(y: Tensor, xs: Any, cotangent: Any = None, create_graph: bool = False) -> Any:
    """The gradient of `y` with respect to `xs`; no `.grad` changes and the graph stays.

    Args:
        y: the result; a scalar, unless a `cotangent` of its shape is given.
        xs: one tensor or a list of them, leaves or not. One that y does not depend on gets zeros.
        create_graph: give Tensors whose own graph can be differentiated again.

    Returns:
        A raw array for one tensor, a list of them for a list; Tensors with create_graph.
    """
    targets = [xs] if isinstance(xs, Tensor) else xs
    if not isinstance(targets, (list, tuple)) or not all(isinstance(x, Tensor) for x in targets):
        raise refusals.no_targets(xs)
    for x in targets:
        if not x.requires_grad:
            raise refusals.no_gradient_wanted(x)
    g = _start(y, cotangent, create_graph)
    before, _mode.recording = _mode.recording, create_graph or _mode.recording
    try:
        cotangents, _ = walk(y, g, set(targets), create_graph)
        grads = []
        for x in targets:  # each gets an array of its own: two may share one cotangent
            gx = cotangents[x] if x in cotangents else array_module(x._data).zeros_like(x._data)
            if create_graph:
                grads.append(gx * 1 if type(gx) is Tensor else make_node(gx))
            else:
                grads.append(array_module(gx).array(gx))
        return grads[0] if isinstance(xs, Tensor) else grads
    finally:
        _mode.recording = before


def hvp(f: Callable, xs: Sequence, vs: Sequence) -> list[Array]:
    """The Hessian of the scalar f(*xs) times `vs`, without ever forming the Hessian.

    Reverse over reverse: the gradient of ⟨∇f(x), v⟩ is H v (Pearlmutter 1994). One array for each
    of `xs` (Tensors or arrays), of its shape and dtype.
    """
    if isinstance(xs, Tensor) or isinstance(vs, Tensor) or len(xs) != len(vs):
        raise ValueError("hvp: xs and vs are two lists of the same length")
    if len({id(x) for x in xs}) < len(xs):
        raise ValueError("hvp: xs holds one tensor twice")
    inputs = [x.detach() if isinstance(x, Tensor) and not x.requires_grad else x for x in xs]
    inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    for x in inputs:
        if not x.requires_grad:
            x.requires_grad = True
    gradients = grad(f(*inputs), inputs, create_graph=True)
    slopes = [(g * _cotangent_of(g, v)).sum() for g, v in zip(gradients, vs)]
    slope = functools.reduce(operator.add, slopes)
    if not slope.requires_grad:  # f is linear
        return [array_module(x._data).zeros_like(x._data) for x in inputs]
    return grad(slope, inputs)


def _start(y: Tensor, cotangent: Any, create_graph: bool = False) -> Any:
    """The cotangent to start the walk from `y` with."""
    if type(y) is not Tensor:
        raise refusals.not_a_tensor(y)
    if not y._requires_grad:
        raise refusals.nothing_below(y)
    if cotangent is None:
        if y.size != 1:
            raise refusals.no_cotangent(y.shape)
        xp = array_module(y._data)
        g = _one(y.dtype).reshape(y.shape) if xp is np else xp.ones(y.shape, y.dtype)
    else:
        g = _cotangent_of(y, cotangent)
    if create_graph:
        return cotangent if isinstance(cotangent, Tensor) else make_node(g + 0)
    return g


@functools.cache
def _one(dtype: np.dtype) -> np.ndarray:
    """Nobody may write into a cotangent: one 1 serves all walks."""
    one = np.ones((), dtype)
    one.flags.writeable = False
    return one


def _cotangent_of(y: Tensor, cotangent: Any) -> Array:
    """`cotangent` (numbers, an array or a Tensor) as an array of the shape and dtype of `y`."""
    g = y._brought(cotangent, "cotangent")
    if g.shape != y.shape:
        raise refusals.misfit_cotangent(g.shape, y.shape)
    if g.dtype != y.dtype and g.dtype.kind in "fiu":
        g = g.astype(y.dtype)
    return y._like(g, "cotangent")
