"""PyTorch's numbers for a sample: value, gradients, second-order gradients and the rows of its
Jacobian.

The reference is always PyTorch in float64, at the very numbers that ours gets: in float32 these are
rounded first, so that PyTorch's own rounding does not blur the comparison.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from op_cases.sample import Sample

Dtypes = str | tuple[str, ...]  # one for all float inputs, or one an input


class Reference(NamedTuple):
    """A sample in PyTorch: inputs, value, cotangent, and a gradient for each float input."""

    inputs: list[np.ndarray]
    value: np.ndarray
    cotangent: np.ndarray
    gradients: list[np.ndarray]


class Second(NamedTuple):
    """The gradients of Σ ⟨∂⟨g, y⟩/∂xᵢ, vᵢ⟩ with respect to the xᵢ that are wanted, and to g."""

    directions: list[np.ndarray]
    gradients: list[np.ndarray]


def rounded(inputs: tuple, dtypes: Dtypes) -> list[np.ndarray]:
    each = (dtypes,) * len(inputs) if isinstance(dtypes, str) else dtypes
    return [x.astype(d) if x.dtype.kind == "f" else x for x, d in zip(inputs, each, strict=True)]


def result_dtype(sample: Sample, dtypes: Dtypes) -> str:
    if sample.gives or isinstance(dtypes, str):
        return sample.gives or str(dtypes)
    return max(dtypes[n] for n in sample.floats)  # "float64" > "float32"


def of_torch(x: np.ndarray) -> torch.Tensor:
    """As float64, differentiated; integers as int64."""
    if x.dtype.kind == "f":
        return torch.tensor(x, dtype=torch.float64, requires_grad=True)
    return torch.tensor(x.astype(bool if x.dtype.kind == "b" else np.int64))


def gradients_of(y: torch.Tensor, xs: list, cotangent: Any, **options: Any) -> list[torch.Tensor]:
    """Of the sum over y's elements times cotangent; zeros where y does not depend on x."""
    if not y.requires_grad:
        return [torch.zeros_like(x) for x in xs]
    found = torch.autograd.grad(y, xs, cotangent, allow_unused=True, **options)
    return [torch.zeros_like(x) if gx is None else gx for x, gx in zip(xs, found, strict=True)]


def draw_like(x: Any, rng: np.random.Generator, dtype: str) -> np.ndarray:
    return np.asarray(rng.standard_normal(tuple(x.shape)), dtype)


# ---- an op used in three ways --------------------------------------------------------------------


def arguments(sample: Sample, xs: list, form: str) -> list:
    """`xs`, or for the form "same tensor" the first float one at the place of them all."""
    if form != "same tensor":
        return xs
    return [xs[sample.floats[0]] if n in sample.floats else x for n, x in enumerate(xs)]


def result(f: Callable, xs: list, form: str) -> Any:
    """f(*xs), or for the form "used twice" a sum in which every x has two roads to the result."""
    return f(*xs) * 0.7 - f(*xs) * f(*xs) if form == "used twice" else f(*xs)


def places(sample: Sample, form: str) -> list[int]:
    return sample.floats[:1] if form == "same tensor" else sample.floats


# ---- the numbers, kept for the run ---------------------------------------------------------------


def reference(sample: Sample, dtypes: Dtypes, form: str = "once", ones: bool = False) -> Reference:
    """With copies of inputs and cotangent: an op might write over them."""
    there = _reference(sample, dtypes, form, ones)
    inputs, cotangent = [x.copy() for x in there.inputs], there.cotangent.copy()
    return there._replace(inputs=inputs, cotangent=cotangent)


@functools.cache
def _reference(sample: Sample, dtypes: Dtypes, form: str, ones: bool) -> Reference:
    inputs = rounded(sample.inputs, dtypes)
    xs = [of_torch(x) for x in inputs]
    y = result(sample.theirs, arguments(sample, xs, form), form)
    g = draw_like(y, np.random.default_rng(sample.seed), result_dtype(sample, dtypes))
    g = np.ones_like(g) if ones else g
    leaves = [xs[n] for n in places(sample, form)]
    gradients = gradients_of(y, leaves, torch.from_numpy(g).to(y.dtype))
    return Reference(inputs, y.detach().numpy(), g, [gx.numpy() for gx in gradients])


@functools.cache
def second_reference(sample: Sample, dtype: str, wanted: tuple[int, ...]) -> Second:
    first = reference(sample, dtype)
    xs = [of_torch(x) for x in first.inputs]
    leaves = [xs[n] for n in wanted]
    rng = np.random.default_rng(sample.seed + 1)
    vs = [draw_like(first.inputs[n], rng, dtype) for n in wanted]
    y = sample.theirs(*xs)
    g = torch.from_numpy(first.cotangent).to(y.dtype).requires_grad_()
    gradients = gradients_of(y, leaves, g, create_graph=True)
    terms = [(gx * torch.from_numpy(v)).sum() for gx, v in zip(gradients, vs, strict=True)]
    return Second(vs, [h.numpy(force=True) for h in gradients_of(sum(terms), [*leaves, g], None)])


@functools.cache
def jacobian_reference(sample: Sample) -> list[list[np.ndarray]]:
    """For each element of the result, in C order, its gradient with respect to each float input."""
    xs = [of_torch(x) for x in sample.inputs]
    leaves = [xs[n] for n in sample.floats]
    y = sample.theirs(*xs)
    units = torch.eye(y.numel(), dtype=y.dtype).reshape((y.numel(), *y.shape))
    rows = [gradients_of(y, leaves, unit, retain_graph=True) for unit in units]
    return [[gx.numpy() for gx in row] for row in rows]
