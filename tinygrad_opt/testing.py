"""A gradient is trusted when something else agrees with it: differences of the function's own
values, or another library, under a random cotangent and again at the second order.

Random, because a cotangent of ones, `y.sum().backward()`, hides most mistakes: a softmax whose
gradient is zero passes, since its rows sum to one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import grad
from tinygrad_opt.ops.shape import concatenate, raw_array, reshape
from tinygrad_opt.tensor import Tensor

EPS = float(np.finfo(np.float64).eps)
ROWS = 10  # of a table of errors, the worst first


class KinkError(AssertionError):
    """The function has no derivative at this point: its slopes to the left and right differ."""


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

    Order 2 does the same with the gradient itself, made with create_graph, as a function of the
    arrays and of the cotangent: its differences are Hessian-vector products.

    Args:
        f: a function of Tensors that gives one Tensor of any shape.
        arrays: the point. Floats (arrays, lists, Tensors, numbers) are copied to float64 and become
            Tensors that require a gradient; arrays of integers and bools, and all else, are passed
            on as they are. Nothing is ever written into them.
        order: 1 or 2 (or more).
        rtol, atol: how far off a derivative may be, relative to the difference and absolutely. What
            the difference itself is unsure of, by rounding and curvature, is granted on top.
        step: h for |x| ≤ 1; it grows with |x|. The cube root of the machine epsilon balances the
            rounding error, ε/h, against the curvature's, h². Where the function leaves its domain
            or bends too sharply within ±h, h/100 and h/10,000 are tried.
        seed: of the random cotangent.

    Returns:
        True, always: what is wrong is raised.

    Raises:
        AssertionError: derivatives that differ (a table for each argument, worst first), values
            that are not finite, an `f` that gives other values on a second call (dropout).
        KinkError: the point is at a kink or jump, where there is nothing to compare with: a relu at
            0, a tie of max. It is raised also where the engine's choice there happens to be the
            difference's, for such a check would prove nothing: test that choice by itself.
        ValueError, TypeError: no argument to differentiate; an `f` that gives no float Tensor.
    """
    if order < 1:
        raise ValueError(f"gradcheck: the order is 1 or 2, not {order!r}")
    rng = np.random.default_rng(seed)
    values = _on_the_host(arrays, np.float64)
    for n in range(1, order + 1):
        y = _value(f, values)
        cotangent = _cotangent(rng, y)
        gradients = _gradients(f, values, cotangent)
        problems = []
        for place, analytic in gradients.items():
            name = _place(place, len(arrays))
            numeric, unsure = _differences(f, values, place, cotangent, step, atol, name)
            allowed = atol + rtol * np.abs(numeric) + unsure
            problems += _table(f"{name}, order {n}", analytic, numeric, allowed, ("engine", "numeric"))
        _raise("gradcheck", problems)
        f, values = _gradient_of(f), [*values, cotangent]
        if n < order:
            before = np.concatenate([g.ravel() for g in gradients.values()])
            allowed = atol + rtol * np.abs(before)
            columns = ("create_graph", "backward")
            _raise("gradcheck", _table("the gradient", _value(f, values), before, allowed, columns))
    return True


def _place(n: int, arguments: int) -> str:
    return f"argument {n}" if n < arguments else "the cotangent"


def _gradient_of(f: Callable) -> Callable:
    """The gradient of <cotangent, f(arrays)> as a function of (*arrays, cotangent), in one row."""

    def g(*xs: Any) -> Tensor:
        *xs, cotangent = xs
        wanted = [x for x in xs if isinstance(x, Tensor)]
        y = f(*xs)
        if not y.requires_grad:
            return Tensor(np.zeros(sum(x.size for x in wanted)))
        parts = grad(y, wanted, cotangent, create_graph=True)
        return concatenate([reshape(part, -1) for part in parts])

    return g


def _differences(
    f: Callable, values: list, place: int, cotangent: Any, step: float, atol: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """d<cotangent, f>/dx for each element x of values[place], and how unsure each of them is.

    The one-sided slopes at h and h/2 give two central differences, whose error shrinks as h², so
    that (4 · fine - coarse) / 3 is better than either and their distance tells how sure it is. They
    also tell a kink: the gap between the two sides halves with h where f is smooth, and stays where
    it is not.
    """
    x = values[place]
    base, weights = _value(f, values), cotangent.ravel()
    if not np.array_equal(base, _value(f, values)):
        raise AssertionError("gradcheck: f gives other values on a second call (is it random?)")
    size = np.abs(weights) @ np.abs(base.ravel())

    def slope(i: int, h: float) -> float:
        moved = x.copy()
        moved.flat[i] += h
        there = _value(f, [*values[:place], moved, *values[place + 1 :]], f"{name} moved by {h:.1e}")
        return weights @ (there - base).ravel() / (moved.flat[i] - x.flat[i])

    numeric, unsure = np.empty(x.shape), np.empty(x.shape)
    for i in range(x.size):
        h = step * max(1.0, abs(float(x.flat[i])))
        for last in (False, False, True):
            try:
                slopes = right, left, right_2, left_2 = [slope(i, s * h) for s in (1, -1, 0.5, -0.5)]
            except FloatingPointError as error:
                if last:
                    raise AssertionError(f"gradcheck: {error}") from None
            else:
                noise = 4 * EPS * size / h
                kink = abs((right - left) - 2 * (right_2 - left_2))
                if kink <= 0.01 * max(map(abs, slopes)) + 100 * (noise + atol):
                    break
                if last:
                    raise KinkError(
                        f"gradcheck: a kink within ±{h:.1e} of {name} at {_index(i, x)}, where it is "
                        f"{x.flat[i]:.6g}: the one-sided slopes are {right_2:.6g} and {left_2:.6g}"
                    )
            h /= 100
        coarse, fine = (right + left) / 2, (right_2 + left_2) / 2
        numeric.flat[i] = (4 * fine - coarse) / 3
        unsure.flat[i] = abs(fine - coarse) + noise
    return numeric, unsure


# ---- against PyTorch -----------------------------------------------------------------------------

RTOL = {np.dtype("f2"): 1e-2, np.dtype("f4"): 1e-5, np.dtype("f8"): 1e-9}


def match_torch(
    f: Callable,
    torch_f: Callable,
    *arrays: Any,
    order: int = 1,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> bool:
    """Compare `f` on Tensors with `torch_f` on torch.Tensors: values, gradients, dtypes, shapes.

    >>> import torch  # doctest: +SKIP
    >>> match_torch(lambda x: x.softmax(axis=1), lambda x: x.softmax(1), x32)  # doctest: +SKIP
    True

    Both get the same random cotangent. Where float64 hides that a result was promoted, float32
    shows it: run both. Infinities match if equal, and NaN matches NaN.

    Args:
        f, torch_f: functions of the arrays that give one tensor of any shape. A result of integers
            or bools is compared exactly, and has no gradient.
        arrays: NumPy arrays of any dtype, which both keep; floats require a gradient. All else is
            passed on as it is.
        order: 1, or 2 for the derivatives of the gradients as well.
        rtol, atol: default to 1e-9 in float64, 1e-5 in float32 and 1e-2 in float16, and to 100 ε
            of the largest value there is (plus ε).
        seed: of the random cotangent.

    Returns:
        True, always: what is wrong is raised.

    Raises:
        AssertionError: another shape, dtype or value, in a table with the worst first.
        ImportError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("match_torch compares with PyTorch: pip install torch") from error
    rng = np.random.default_rng(seed)
    values = _on_the_host(arrays)
    ours, xs = _lifted(values)
    theirs, zs = [], []
    for value in values:
        z = torch.tensor(value) if isinstance(value, np.ndarray) else value
        theirs.append(z)
        if isinstance(z, torch.Tensor) and z.is_floating_point():
            zs.append(z.requires_grad_())
    with np.errstate(all="ignore"):
        y, z = f(*ours), torch_f(*theirs)
        _raise("match_torch", _unlike("the value", y, z, rtol, atol))
        if not z.is_floating_point():
            return True
        cotangent = _cotangent(rng, z.detach().numpy())
        for n in range(1, order + 1):
            again = n < order
            gy = grad(y, xs, cotangent, again) if y.requires_grad else [0 * x.detach() for x in xs]
            gz = torch.autograd.grad(
                z, zs, torch.tensor(cotangent), create_graph=again, materialize_grads=True
            ) if z.requires_grad else [torch.zeros_like(x) for x in zs]
            places = [i for i, x in enumerate(ours) if isinstance(x, Tensor)]
            _raise("match_torch", [
                line
                for i, a, b in zip(places, gy, gz)
                for line in _unlike(f"argument {i}, order {n}", a, b, rtol, atol)
            ])
            if again:
                pass
    return True
