"""Reverse-mode differentiation: an op is a function on arrays plus one VJP per argument, and the
walk goes from the result back to the leaves, newest tensor first.

    y = op(x₁, x₂),   ȳ given   →   x̄₁ += vjp₁(ȳ, y, x₁, x₂),   x̄₂ += vjp₂(ȳ, y, x₁, x₂)

A VJP (vector-Jacobian product) is written once and used twice: on raw arrays by `backward()`, where
nothing is recorded, and on Tensors with `create_graph=True`, where the gradient is itself a graph
and can be differentiated again.
"""

import contextlib
import functools
import inspect
import itertools
import operator
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.tensor import Tensor, _node, check_differentiable


class _Mode(threading.local):
    recording = True  # False inside no_grad()
    anomaly = False  # True inside detect_anomaly()


_mode = _Mode()

# ---- defining ops --------------------------------------------------------------------------------


def primitive(forward: Callable) -> Any:
    """Lift `forward`, a function on arrays, to an op: arrays in, arrays out; Tensors in, Tensors
    out.

    `op.defvjp(vjp₁, vjp₂, ...)` gives the derivatives, one VJP an argument (None where there is
    none), called as `vjp(g, y, *args, **kwargs)` with the cotangent g of the result y. A VJP
    returns the cotangent of its argument in any shape that broadcasting made of it: the walk sums
    it back. A Python number keeps the dtype of the array it meets, and so do NumPy scalars and 0-d
    arrays (`x * np.sqrt(2)` stays float32); a list among the arguments becomes a float32 array.
    """

    def lifted(*args, **kwargs):
        traced = needs_grad = False
        values = []
        try:
            for a in args:
                kind = type(a)
                if kind is Tensor:
                    traced = True
                    if a.requires_grad:
                        needs_grad = True
                    a = a._data
                elif kind in _WEAK or (kind is np.ndarray and not a.ndim):
                    a = _constant(a)
                values.append(a)
            for a in kwargs.values():
                if type(a) is Tensor:
                    return op(*_positional(forward, args, kwargs))
            if not traced:
                return forward(*args, **kwargs)
            y = forward(*values, **kwargs)
            if y.dtype.kind == "c":
                raise TypeError("complex numbers are not supported")
        except Exception as error:
            raise _named(error, op.__name__, values) from error
        if isinstance(y, np.generic):  # NumPy turns 0-d results into scalars
            y = np.asarray(y)
        if needs_grad and _mode.recording:
            if len(args) > len(op.vjps):
                _check_differentiable_arguments(op, args)
            t = _node(y, True, op, args, kwargs)
        else:
            t = _node(y, False, None, (), {})
        if _mode.anomaly:
            _remember(t, op, values)
        return t

    op: Any = functools.update_wrapper(lifted, forward)
    op.__name__ = forward.__name__.lstrip("_")
    op.vjps = ()
    op.defvjp = lambda *vjps: setattr(op, "vjps", vjps)
    op.defvjp_each = lambda vjp: setattr(op, "vjps", _EachArgument(vjp))
    return op


def nondifferentiable(forward: Callable) -> Any:
    """Lift `forward` like `primitive`, for ops whose results (bools, indices) have no
    derivative."""

    def op(*args, **kwargs):
        values = [a._data if type(a) is Tensor else a for a in args]
        kwargs = {k: a._data if type(a) is Tensor else a for k, a in kwargs.items()}
        traced = any(type(a) is Tensor for a in args)
        try:
            y = forward(*values, **kwargs)
        except Exception as error:
            raise _named(error, op.__name__, values) from error
        if not traced:
            return y
        return _node(np.asarray(y) if isinstance(y, np.generic) else y, False, None, (), {})

    functools.update_wrapper(op, forward)
    return op


class _EachArgument:
    """The VJPs of an op with any number of arguments: `vjp(n, g, y, *args)` for the n-th."""

    def __init__(self, vjp: Callable):
        self.vjp = vjp

    def __iter__(self) -> Iterator[Callable]:
        return (functools.partial(self.vjp, n) for n in itertools.count())

    def __len__(self) -> int:
        return sys.maxsize


_WEAK = frozenset({list, *(np.dtype(c).type for c in "?bBhHiIlLqQefd")})


def _constant(a: Any) -> Any:
    """A list as a float32 array; a NumPy scalar or 0-d array as the Python number, which does not
    promote the dtype of what it meets."""
    return backend.asarray(a) if type(a) is list else a.item()


def _check_differentiable_arguments(op: Any, args: tuple) -> None:
    for n, a in enumerate(args[len(op.vjps) :], start=len(op.vjps)):
        if type(a) is Tensor and a.requires_grad:
            raise _no_vjp(op, n)


_PLAIN = (bool, int, float, str, tuple, slice, type(Ellipsis), np.dtype)  # beside arrays


def _positional(forward: Callable, args: tuple, kwargs: dict) -> tuple:
    """All arguments in order, so that a Tensor given by keyword is an input like any other."""
    bound = inspect.signature(forward).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args


def _named(error: Exception, name: str, values: list) -> Exception:
    """The error of an array library, retold with the op, its shapes and the cure."""
    arrays = [v for v in values if backend.is_array(v)]
    if len({backend.name_of(v) for v in arrays}) > 1:
        return TypeError(
            f"{name}: a NumPy array meets a CuPy array. Move one of them, with "
            '.to("cupy") or .to("numpy")'
        )
    text = str(error)
    if text.startswith(f"{name}: "):
        return error
    for n, v in enumerate(values):
        foreign = not isinstance(v, _PLAIN) and not backend.is_array(v)
        if foreign and (v is not None or isinstance(error, TypeError)):
            return TypeError(f"{name}: cannot take a {type(v).__name__} as argument {n} ({text})")
    if isinstance(error, AttributeError):
        return TypeError(f"{name}: wants an array or Tensor ({text})")
    if "broadcast" in text and len(arrays) > 1:
        shapes = " and ".join(str(v.shape) for v in arrays)
        return ValueError(f"{name}: shapes {shapes} do not broadcast")
    for kind in (ValueError, TypeError, IndexError, NotImplementedError):
        if isinstance(error, kind):
            return kind(f"{name}: {text}")
    return error


# ---- the walk ------------------------------------------------------------------------------------


def unbroadcast(g: Any, shape: tuple) -> Any:
    """The adjoint of broadcasting: sum `g` over every axis that broadcasting added or stretched."""
    g = g.sum(axis=_broadcast_axes(g.shape, shape))
    return g if g.shape == shape else g.reshape(shape)


@functools.lru_cache(maxsize=4096)
def _broadcast_axes(wide: tuple, narrow: tuple) -> tuple:
    lead = len(wide) - len(narrow)
    stretched = (lead + i for i, n in enumerate(narrow) if n == 1 and wide[lead + i] != 1)
    return (*range(lead), *stretched)


def graph_of(root: Tensor) -> list[Tensor]:
    """Every tensor below `root` that needs a gradient, newest first; checked to be walkable.

    Raises RuntimeError where the graph was released by an earlier `backward()`, or where the data
    of an input or result was edited after the op that used it.
    """
    seen, stack = {root}, [root]
    while stack:
        t = stack.pop()
        if t.op is None:
            continue
        if t.inputs is None:
            raise RuntimeError(
                f"the graph through {t.op.__name__} was already walked and released by backward(): "
                "run the forward pass again, or call backward(retain_graph=True) the first time"
            )
        if t.written > t.index:
            raise _edited(t, "result")
        if t.origin is not None:
            _check_fingerprints(t)
        for x in t.inputs:
            if type(x) is Tensor:
                if x.written > t.index:
                    raise _edited(t, "input")
                if x.requires_grad and x not in seen:
                    seen.add(x)
                    stack.append(x)
    return sorted(seen, key=operator.attrgetter("index"), reverse=True)


def walk(order: list[Tensor], cotangent: Any, keep: Any = (), create_graph: bool = False) -> dict:
    """Carry `cotangent` of order[0] down the graph; the cotangents of leaves and of `keep` come
    back.

    Newest first, because a tensor's cotangent is complete only when all its consumers were visited:

        b = a + a;  c = b + b          a ──2──▶ b ──2──▶ c

    Going a-first through c's two edges, b would pass on c̄ once when half of its own cotangent is
    still to come. Every consumer is newer than what it consumes, so in the order of creation,
    reversed, c̄ = 1 is finished before b, and b̄ = 2 before a, and ā = 4.

    Cotangents live in a dict that the walk pops, not on the tensors: it can be repeated, and
    nothing is left on inner nodes. Sums are formed out of place, so that no two cotangents share
    memory.
    """
    cotangents = {order[0]: cotangent}
    for t in order:
        if t.op is None:
            continue
        g = cotangents[t] if t in keep else cotangents.pop(t)
        if create_graph:
            y, args = t, t.inputs
        else:
            y, args = t._data, [a._data if type(a) is Tensor else a for a in t.inputs]
        for x, vjp in zip(t.inputs, t.op.vjps):
            if type(x) is Tensor and x.requires_grad:
                if vjp is None:
                    raise _no_vjp(t.op, next(n for n, a in enumerate(t.inputs) if a is x))
                gx = vjp(g, y, *args, **t.kwargs)
                data = x._data
                if gx.shape != data.shape:
                    gx = unbroadcast(gx, data.shape)
                if gx.dtype is not data.dtype and gx.dtype != data.dtype:  # promoted by the op
                    gx = gx.astype(data.dtype)
                if t.origin is not None:
                    _check_cotangent(t, gx)
                cotangents[x] = cotangents[x] + gx if x in cotangents else gx
    return cotangents


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
    order, g = _prepare(self, cotangent)
    cotangents = walk(order, g)
    for leaf in order:
        if leaf.op is None and leaf in cotangents:
            if leaf._grad is None:
                leaf._grad = array_module(leaf._data).array(cotangents[leaf])
            else:
                leaf._grad += cotangents[leaf]
    if not retain_graph:
        for t in order:
            if t.op is not None:
                t.inputs, t.kwargs, t.origin = None, {}, None


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
        raise TypeError(f"grad: xs is a Tensor or a list of Tensors, not {xs!r}")
    for x in targets:
        if not x.requires_grad:
            raise RuntimeError(
                f"grad: {x!r} does not require a gradient; make it Tensor(..., requires_grad=True)"
            )
    order, g = _prepare(y, cotangent, create_graph)
    cotangents = walk(order, g, set(targets), create_graph)
    grads = []
    for x in targets:
        xp = array_module(x._data)
        gx = cotangents.get(x)
        if not create_graph:
            grads.append(xp.zeros_like(x._data) if gx is None else xp.array(gx))
        else:  # a copy of its own for each: two targets may share one cotangent
            grads.append(Tensor(xp.zeros_like(x._data)) if gx is None else gx * 1)
    return grads[0] if isinstance(xs, Tensor) else grads


def hvp(f: Callable, xs: Sequence, vs: Sequence) -> list[Array]:
    """The Hessian of the scalar f(*xs) times `vs`, without ever forming the Hessian.

    Reverse over reverse: the gradient of ⟨∇f(x), v⟩ is H v (Pearlmutter 1994). One array for each
    of `xs` (Tensors or arrays), of its shape and dtype.
    """
    if isinstance(xs, Tensor) or isinstance(vs, Tensor) or len(xs) != len(vs):
        raise ValueError("hvp: xs and vs are two lists of the same length")
    inputs = [x if type(x) is Tensor and x.requires_grad else _lifted(x) for x in xs]
    first = grad(f(*inputs), inputs, create_graph=True)
    zeros = [array_module(x._data).zeros_like(x._data) for x in inputs]
    pairs = [(gx, _cotangent_of(gx, v)) for gx, v in zip(first, vs, strict=True)]
    slope = functools.reduce(operator.add, [(gx * v).sum() for gx, v in pairs])
    return grad(slope, inputs) if slope.requires_grad else zeros


def _lifted(x: Any) -> Tensor:
    return Tensor(x.data if type(x) is Tensor else x, requires_grad=True)


def _prepare(y: Tensor, cotangent: Any, create_graph: bool = False) -> tuple[list[Tensor], Any]:
    """The checked order of the walk from `y`, and the cotangent to start it with."""
    if not isinstance(y, Tensor):
        raise TypeError(f"only a Tensor has a graph to walk, not a {type(y).__name__}")
    if not y.requires_grad:
        raise RuntimeError(
            f"nothing below this tensor requires a gradient ({y!r}): give a leaf requires_grad=True"
            ", and compute the result outside no_grad() and without detach()"
        )
    if cotangent is None:
        if y.size != 1:
            raise RuntimeError(
                f"backward from shape {y.shape} needs a cotangent of that shape: reduce to a "
                "scalar first, with .mean() or .sum(), or pass cotangent="
            )
        cotangent = array_module(y._data).ones(y.shape, y.dtype)
    g = _cotangent_of(y, cotangent)
    if not create_graph:
        return graph_of(y), g
    return graph_of(y), cotangent if isinstance(cotangent, Tensor) else Tensor(g)


def _cotangent_of(y: Tensor, cotangent: Any) -> Array:
    """`cotangent` (numbers, an array or a Tensor) as an array of the shape and dtype of `y`."""
    g = cotangent._data if isinstance(cotangent, Tensor) else cotangent
    if not backend.is_array(g):
        g = backend.to(np.asarray(g), backend.name_of(y._data))
    if g.shape != y.shape:
        raise ValueError(f"a cotangent of shape {g.shape} for a result of shape {y.shape}")
    if g.dtype.kind in "fiu" and g.dtype != y.dtype:
        g = g.astype(y.dtype)
    return y._like(g, "cotangent")


def _edited(t: Tensor, what: str) -> RuntimeError:
    return RuntimeError(
        f"the data of an {what} of {t.op.__name__} was edited between forward and backward"
        if what == "input"
        else f"the result of {t.op.__name__} was edited between forward and backward: its gradient "
        "would be that of other numbers. Edit before the forward pass or after backward()"
    )


def _no_vjp(op: Any, n: int) -> TypeError:
    if not op.vjps:
        return TypeError(f"{op.__name__} has no derivatives yet: give them with defvjp(...)")
    return TypeError(f"{op.__name__} has no derivative with respect to argument {n}: detach() it")


# ---- modes ---------------------------------------------------------------------------------------


class _mode_set(contextlib.ContextDecorator):
    """Set one flag of this thread's mode for the length of a block or of a decorated function."""

    flag: str
    value: bool

    def __enter__(self):
        self.previous = [*getattr(self, "previous", []), getattr(_mode, self.flag)]
        setattr(_mode, self.flag, self.value)
        return self

    def __exit__(self, *exc_info):
        setattr(_mode, self.flag, self.previous.pop())


class no_grad(_mode_set):
    """Record nothing in this block (or decorated function): results do not require a gradient."""

    flag, value = "recording", False


class detect_anomaly(_mode_set):
    """Find where a NaN or inf is born, and what edited saved data. Slow: for hunting bugs only.

    Inside the block, the first op whose finite inputs give a non-finite result raises
    FloatingPointError with the op and the line of your code that called it; in the walk, so does
    the first VJP that gives a non-finite cotangent. What each op saved is fingerprinted, so that an
    edit through an alias (a NumPy view of `.data`), which no setter sees, is refused by
    `backward()`.
    """

    flag, value = "anomaly", True


def is_recording() -> bool:
    """Whether ops are recorded in this thread: False inside `no_grad()`."""
    return _mode.recording


_PACKAGE = str(Path(__file__).parent)


def _users_line() -> str:
    """file:line of the innermost frame that is not of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _finite(x: Any) -> bool:
    x = x._data if type(x) is Tensor else x
    if isinstance(x, float):
        return x - x == 0
    if not hasattr(x, "dtype") or x.dtype.kind != "f":
        return True
    return bool(array_module(x).isfinite(x).all())


def _fingerprint(x: Any) -> int | None:
    return zlib.crc32(backend.host(x).tobytes()) if backend.is_array(x) else None


def _remember(t: Tensor, op: Any, values: list) -> None:
    line = _users_line()
    if not _finite(t._data) and all(_finite(v) for v in values):
        raise FloatingPointError(f"{op.__name__} made a NaN or inf of finite inputs, at {line}")
    if t.op is not None:
        t.origin = line, [_fingerprint(v) for v in (t._data, *values)]


def _check_fingerprints(t: Tensor) -> None:
    line, before = t.origin
    values = [a._data if type(a) is Tensor else a for a in (t, *t.inputs)]
    for what, old, value in zip(itertools.chain(["result"], itertools.repeat("input")),
                                before, values):  # fmt: skip
        new = _fingerprint(value)
        if old is not None and new is not None and new != old:
            error = _edited(t, what)
            raise RuntimeError(f"{error} (the op was called at {line})")


def _check_cotangent(t: Tensor, gx: Any) -> None:
    if not _finite(gx):
        raise FloatingPointError(
            f"the VJP of {t.op.__name__}, called at {t.origin[0]}, made a NaN or inf"
        )


__all__ = [
    "check_differentiable", "detect_anomaly", "grad", "hvp", "is_recording", "no_grad",
    "nondifferentiable", "primitive", "unbroadcast",
]  # fmt: skip
