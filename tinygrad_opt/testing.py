"""A gradient is trusted when something else agrees with it: differences of the function's own
values, or another library, under a random cotangent, and again at the second order.

Random, because a cotangent of ones, `y.sum().backward()`, hides most mistakes: a softmax whose
gradient is zero passes, since its rows sum to one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import grad
from tinygrad_opt.backend import array_module
from tinygrad_opt.ops.shape import concatenate, reshape
from tinygrad_opt.tensor import Tensor, raw_array

EPS = float(np.finfo(np.float64).eps)
RTOL = {np.dtype("f2"): 1e-2, np.dtype("f4"): 1e-5, np.dtype("f8"): 1e-9}
ROWS = 10  # of a table of errors, the worst first


class KinkError(AssertionError):
    """The function has no derivative at this point, or none that differences can find: its slopes
    to the left and right differ, however small the step."""


# ---- against differences -------------------------------------------------------------------------


def gradcheck(
    f: Callable,
    *arrays: Any,
    order: int = 2,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    step: float = EPS ** (1 / 3),
    seed: int = 0,
) -> bool:
    """Compare the gradient of `f` with central differences of its values, in float64.

    >>> gradcheck(lambda x, w: (x @ w).tanh(), np.ones((2, 3)), np.ones((3, 4)))
    True

    Order 2 then does the same with the gradient itself, recorded by create_graph, as a function of
    the arrays and of the cotangent: its derivatives are Hessian-vector products.

    Args:
        f: a function of Tensors that gives one Tensor, of any shape.
        arrays: the point. Floats (arrays, lists, Tensors, numbers) are copied to float64 and become
            Tensors that require a gradient, on the current backend. Arrays of integers and bools
            are copied and passed on as constants; all else is passed on as it is. Floats that shall
            stay constant belong inside `f`.
        order: 1 or 2.
        rtol, atol: how far off a derivative may be, relative to the difference and absolutely. What
            the difference itself is unsure of, by rounding and curvature, is granted on top.
        step: the h of x ± h for |x| ≤ 1; it grows with |x|. The cube root of the machine epsilon
            balances the error of rounding, ε / h, against that of curvature, h². Where f leaves its
            domain or bends sharply within ±h, h / 100 and h / 10,000 are tried.
        seed: of the random cotangents.

    Returns:
        True, always: what is wrong is raised.

    Raises:
        AssertionError: derivatives that differ (a table for each argument, worst first), values
            that are not finite, an `f` that gives other values on a second call (dropout).
        KinkError: the point is at a kink or jump, where there is nothing to compare with: a relu at
            0, a tie of max. It is raised also where the engine's choice happens to be the mean of
            the two slopes, because agreement proves nothing there: test that choice by itself.
        ValueError, TypeError: no floats among the arguments; an `f` that gives no float Tensor.
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: the order is 1 or 2, not {order!r}")
    values, rng = _on_the_host(arrays, np.float64), np.random.default_rng(seed)
    names = [*(f"argument {n}" for n in range(len(values))), "the cotangent"]
    walked = np.empty(0)
    for title in ("order 1", "order 2")[:order]:
        y = _value(f, values)
        if title == "order 2":
            allowed = atol + rtol * np.abs(walked)
            table = _differing("the gradient", y, walked, allowed, "create_graph", "backward")
            _raise("gradcheck", table)
        cotangent, report = _cotangent(rng, y), []
        args, xs = _lifted(values)
        with np.errstate(all="ignore"):
            gradients = [backend.host(g) for g in _gradients(f(*args), xs, cotangent)]
        for n, gradient in zip(_places(values), gradients):
            name = f"{title}, {names[n]}"
            numeric, unsure = _differences(f, values, n, cotangent, step, atol, name)
            allowed = atol + rtol * np.abs(numeric) + unsure
            report += _differing(name, gradient, numeric, allowed, "engine", "numeric")
        _raise("gradcheck", report)
        walked = np.concatenate([g.ravel() for g in gradients])
        f, values = _gradient_of(f), [*values, cotangent]
    return True


def _gradient_of(f: Callable) -> Callable:
    """The gradient of <cotangent, f(*xs)>, strung in one row, as a function of (*xs, cotangent)."""

    def gradient(*args: Any) -> Tensor:
        *args, cotangent = args  # type: ignore[assignment]
        xs = [x for x in args if isinstance(x, Tensor)]
        parts = _gradients(f(*args), xs, cotangent, create_graph=True)
        return concatenate([reshape(g, -1) for g in parts])

    return gradient


def _differences(
    f: Callable, values: list, n: int, cotangent: np.ndarray, step: float, atol: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """d<cotangent, f> / dx for each element x of values[n], and how unsure each of them is."""
    x, base = values[n], _value(f, values)
    if not np.isfinite(base).all():
        worst = [int(k) for k in np.argwhere(~np.isfinite(base))[0]]
        raise AssertionError(f"gradcheck: the result is {base[*worst]} at {worst}, before any step")
    if not np.array_equal(base, _value(f, values)):
        raise AssertionError("gradcheck: f gives other values on a second call: is it random?")

    def slope(i: tuple, h: float) -> tuple[float, float]:
        """The slope from x to x + h eᵢ, and the part of it that rounding of the values makes."""
        moved = x.copy()
        moved[i] += h
        rise = _value(f, [*values[:n], moved, *values[n + 1 :]]) - base
        noise = 2 * EPS * (1 + np.abs(cotangent * base)[rise != 0].sum()) / abs(h)
        return float((cotangent * rise).sum() / (moved[i] - x[i])), float(noise)

    results = np.empty((3, *x.shape))
    for i in np.ndindex(x.shape):
        h = step * max(1.0, abs(float(x[i])))
        where = f"{name}{[*i]} = {x[i]:.6g}"
        results[:, *i] = _difference(lambda h, i=i: slope(i, h), h, atol, where)
    numeric, spread, noise = results
    if x.size:  # rounding inside f (a large offset) is as many times that of its values for all x
        noise *= 1 + 4 * np.median(spread / noise)
    return numeric, spread + noise


def _difference(
    slope: Callable, widest: float, atol: float, where: str
) -> tuple[float, float, float]:
    """The derivative from the one-sided slopes at ±h and ±h / 2, its spread and its noise.

    They give a coarse and a fine central difference with errors growing as h², so that
    (4 · fine - coarse) / 3 is better than both, and their distance tells how sure it is. And they
    betray a kink or a jump: where f is smooth, the gap between the two sides halves with h, and
    the two differences are near each other.
    """
    for h in (widest, widest / 100, widest / 10_000):
        with np.errstate(all="ignore"):
            slopes, noises = zip(*(slope(part * h) for part in (1, -1, 0.5, -0.5)))
            right, left, right_2, left_2 = slopes
            coarse, fine = (right + left) / 2, (right_2 + left_2) / 2
            spread, noise = abs(fine - coarse), max(noises)
            bend = max(abs((right - left) - 2 * (right_2 - left_2)), spread)
            if np.isfinite(bend) and bend <= np.abs(slopes).max() / 100 + 100 * (noise + atol):
                return (4 * fine - coarse) / 3, spread, noise
    if np.isfinite(bend):
        raise KinkError(
            f"gradcheck: a kink or jump within ±{h:.0e} of {where}: the one-sided slopes are "
            f"{right_2 + 0:.6g} and {left_2 + 0:.6g} (under the random cotangent)"
        )
    raise AssertionError(
        f"gradcheck: not finite within ±{h:.0e} of {where}: an edge of the domain?"
    )


# ---- against PyTorch -----------------------------------------------------------------------------


def match_torch(
    f: Callable,
    torch_f: Callable,
    *arrays: Any,
    order: int = 1,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> bool:
    """Compare `f` on Tensors with `torch_f` on torch.Tensors: values, gradients, shapes, dtypes.

    >>> x = np.array([[0.5, 1.5], [0.0, 1000.0]], np.float32)
    >>> match_torch(lambda x: x.softmax(axis=1), lambda x: x.softmax(dim=1), x)
    True

    Both get the same random cotangent. Run float32 besides float64, for only float32 shows that a
    result was promoted. NaN matches NaN, an infinity only itself.

    Args:
        f, torch_f: functions of the arrays that give one tensor each, of any shape. If it is one of
            integers or bools, there is no gradient to compare.
        arrays: as for `gradcheck`, but floats keep their dtype, here and there.
        order: 1, or 2 for the derivatives of the gradients too, along random directions.
        rtol, atol: by default 1e-9 in float64, 1e-5 in float32 and 1e-2 in float16, and ε + 100 ε
            times the largest value of the array.
        seed: of the random cotangents.

    Returns:
        True, always: what is wrong is raised.

    Raises:
        AssertionError: another shape, dtype or value; values in a table, the worst first.
        ImportError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("match_torch compares with PyTorch: pip install torch") from error
    if order not in (1, 2):
        raise ValueError(f"match_torch: the order is 1 or 2, not {order!r}")

    def check(title: str, ours: Any, theirs: Any) -> None:
        a, b = backend.host(raw_array(ours)), theirs.numpy(force=True)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise AssertionError(
                f"match_torch: {title} is {a.dtype} {a.shape}, PyTorch's {b.dtype} {b.shape}"
            )
        allowed: Any = 0
        if _is_float(b):
            finite = np.abs(b[np.isfinite(b)]).astype(np.float64)
            eps = float(np.finfo(b.dtype).eps)
            floor = eps * (1 + 100 * np.max(finite, initial=0)) if atol is None else atol
            allowed = floor + (RTOL[b.dtype] if rtol is None else rtol) * np.abs(b)
        _raise("match_torch", _differing(title, a, b, allowed, "ours", "PyTorch"))

    values, rng = _on_the_host(arrays), np.random.default_rng(seed)
    args, xs = _lifted(values)
    theirs = [torch.tensor(v) if isinstance(v, np.ndarray) else v for v in values]
    zs = [z.requires_grad_() for v, z in zip(values, theirs) if _is_float(v)]
    with np.errstate(all="ignore"):
        y, z = f(*args), torch_f(*theirs)
        if not isinstance(y, Tensor):
            raise TypeError(f"match_torch: f gives a {type(y).__name__} where a Tensor is wanted")
        check("the value", y, z)
        if not z.is_floating_point():
            return True
        g = _cotangent(rng, z.numpy(force=True))
        for n in range(1, order + 1):
            record = n < order
            gy, gz = _gradients(y, xs, g, record), _torch_gradients(torch, z, zs, g, record)
            for i, a, b in zip(_places(values), gy, gz):
                check(f"the gradient of order {n} for argument {i}", a, b)
            if record:  # go on with the slope of the gradient along random directions
                vs = [_cotangent(rng, backend.host(raw_array(a))) for a in gy]
                y = sum((a * backend.asarray(v)).sum() for a, v in zip(gy, vs))
                z = sum((b * torch.tensor(v)).sum() for b, v in zip(gz, vs))
                g = np.ones((), y.dtype)
    return True


def _torch_gradients(
    torch: Any, z: Any, zs: list, cotangent: np.ndarray, create_graph: bool
) -> list:
    if not z.requires_grad:
        return [torch.zeros_like(x) for x in zs]
    g = torch.tensor(cotangent)
    return torch.autograd.grad(z, zs, g, create_graph=create_graph, materialize_grads=True)


# ---- what both share -----------------------------------------------------------------------------


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _places(values: list) -> list[int]:
    return [n for n, x in enumerate(values) if _is_float(x)]


def _on_the_host(arrays: tuple, dtype: Any = None) -> list:
    """Copies of the arrays, the floats among them in `dtype`, and what is no array as it is."""
    values = []
    for x in arrays:
        x = raw_array(x)
        if backend.is_array(x):
            x = backend.host(x)
        elif isinstance(x, (float, np.floating, list)):
            x = np.array(x)
        values.append(x.astype(dtype) if dtype and _is_float(x) else x)
    if not _places(values):
        raise ValueError("there is nothing to differentiate: no argument is an array of floats")
    return values


def _lifted(values: list) -> tuple[list, list[Tensor]]:
    """The arguments of one call of f, made anew, and the Tensors among them."""
    args: list[Any] = []
    for x in values:
        if _is_float(x):
            args.append(Tensor(x.copy(), requires_grad=True))
        else:
            args.append(backend.asarray(x.copy()) if isinstance(x, np.ndarray) else x)
    return args, [x for x in args if isinstance(x, Tensor)]


def _value(f: Callable, values: list) -> np.ndarray:
    with np.errstate(all="ignore"):
        y = f(*_lifted(values)[0])
    if not isinstance(y, Tensor) or y.dtype.kind != "f":
        raise TypeError(f"gradcheck: f gives {y!r} where one Tensor of floats is wanted")
    return y.numpy()


def _cotangent(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Random, and away from 0, so that every element of the result counts."""
    return np.asarray(rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape), y.dtype)


def _gradients(y: Tensor, xs: list[Tensor], cotangent: Any, create_graph: bool = False) -> list:
    if not y.requires_grad:
        zeros = [array_module(x.data).zeros_like(x.data) for x in xs]
        return [Tensor(z) for z in zeros] if create_graph else zeros
    if not isinstance(cotangent, Tensor):
        cotangent = backend.asarray(cotangent)
    return grad(y, xs, cotangent, create_graph)


def _differing(
    title: str, ours: np.ndarray, theirs: np.ndarray, allowed: Any, left: str, right: str
) -> list[str]:
    """A table of the elements that differ by more than `allowed`, the worst first; or nothing."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(a - b)
        near = (error <= allowed) & np.isfinite(error)
        wrong = ~(near | (a == b) | (np.isnan(a) & np.isnan(b)))
        relative = error / np.maximum(np.abs(a), np.abs(b))
    if not wrong.any():
        return []
    key = np.where(wrong, np.nan_to_num(relative, nan=np.inf, posinf=np.inf), -1.0)
    worst = np.argsort(-key, axis=None, kind="stable")[: min(ROWS, int(wrong.sum()))]
    lines = [
        f"{title}, shape {a.shape}: {wrong.sum()} of {wrong.size} elements differ",
        f"  {'index':<16}{left:>16}{right:>16}{'relative error':>16}",
    ]
    for n in worst:
        index = str([int(k) for k in np.unravel_index(n, a.shape)])
        lines.append(f"  {index:<16}{a.flat[n]:>16.8g}{b.flat[n]:>16.8g}{relative.flat[n]:>16.2g}")
    if wrong.sum() > len(worst):
        lines.append(f"  ... and {wrong.sum() - len(worst)} more")
    return lines


def _raise(who: str, report: list[str]) -> None:
    if report:
        raise AssertionError("\n".join([f"{who}:", *report]))
