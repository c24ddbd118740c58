"""Products of matrices and tensors: where most of the time of a training step goes."""

import math
import string

from tinygrad_opt import refusals
from tinygrad_opt.arguments import checked_for_einsum
from tinygrad_opt.autograd import primitive, writes
from tinygrad_opt.backend import array_module
from tinygrad_opt.tensor import raw_array


@primitive
def matmul(a, b):
    """a @ b: (..., n, k) @ (..., k, m) → (..., n, m), leading axes broadcast; 1-D is a vector."""
    try:
        return a @ b
    except (TypeError, ValueError) as error:
        raise refusals.misfit_factors(a, b, error) from None


def _matmul_vjp_a(g, y, a, b, bias=None):  # of linear too, which has a bias
    if b.ndim == 1:
        return column(g) * b
    if a.ndim == 1:
        return (b @ column(g)).reshape(b.shape[:-1])
    return g @ b.swapaxes(-1, -2)


@writes
def _matmul_vjp_b(g, y, a, b, bias=None, out=None):
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a.reshape((-1, 1)) * row(g)
    if b.ndim == 1:
        return (a.swapaxes(-1, -2) @ column(g)).reshape((*a.shape[:-2], a.shape[-1]))
    if b.ndim == 2 and a.ndim > 2:  # one product of all rows, not a sum of one for each matrix
        rows = math.prod(a.shape[:-1])
        a, g = a.reshape((rows, a.shape[-1])), g.reshape((rows, g.shape[-1]))
    if out is None or b.ndim > 2:
        return a.swapaxes(-1, -2) @ g
    return array_module(g).matmul(a.swapaxes(-1, -2), g, out=out)


matmul.defvjp(_matmul_vjp_a, _matmul_vjp_b)


@primitive
def linear(x, weight, bias):
    """x @ weight + bias, (..., n_in) @ (n_in, n_out) + (n_out,): one op, for the bias is added in
    place to the fresh product."""
    try:
        y = x @ weight
    except (TypeError, ValueError) as error:
        raise refusals.misfit_factors(x, weight, error) from None
    if bias.shape != y.shape[-1:]:
        raise ValueError(f"a bias of shape {bias.shape} for a weight {weight.shape}")
    if y.dtype != bias.dtype:
        return y + bias
    y += bias
    return y


linear.defvjp(_matmul_vjp_a, _matmul_vjp_b, lambda g, y, x, weight, bias: g)


def column(v):
    """A vector (or a stack of them) as columns."""
    return v.reshape((*v.shape, 1))


def row(v):
    """A vector (or a stack of them) as rows."""
    return v.reshape((*v.shape[:-1], 1, v.shape[-1]))


# ---- einsum --------------------------------------------------------------------------------------


def einsum(subscripts: str, *operands):
    """Sums of products by Einstein's convention, as NumPy's: einsum("ij,jk->ik", a, b) is a @ b.

    Ellipsis, repeated labels (diagonals, traces) and implicit output are allowed.
    """
    return _einsum(*checked_for_einsum(subscripts, operands))


@primitive
def _einsum(subscripts, *operands):
    xp = array_module(operands[0])
    if any(array_module(x) is not xp for x in operands):
        raise TypeError("CuPy's einsum would copy the NumPy array to the GPU")
    return xp.einsum(subscripts, *operands, optimize=len(operands) > 1)


def _einsum_vjp(n, g, y, subscripts, *operands):
    """Another einsum: the cotangent takes the operand's place, and its labels are the output.

    A label that only this operand has needs a factor of ones to broadcast along; a label that it
    has twice (a diagonal) is renamed the second time, and tied to the first by an identity matrix.
    """
    terms, output = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    n -= 1  # argument 0 is the string
    x, mine = operands[n], terms[n]
    others = [(t, v) for i, (t, v) in enumerate(zip(terms, operands, strict=True)) if i != n]
    xp = array_module(raw_array(x))
    reach: dict[str, int] = {}  # how far each label goes without this operand
    for term, v in [(output, g), *others]:
        for label, length in zip(term, getattr(v, "shape", ())):
            reach[label] = max(length, reach.get(label, 0))
    unused = (c for c in string.ascii_letters if c not in subscripts)
    factors, target = [(output, g), *others], ""
    for label, length in zip(mine, x.shape, strict=True):
        if label in target:
            twin = next(unused)
            factors.append((label + twin, xp.eye(length, dtype=x.dtype)))
            label = twin
        elif reach.get(label, -1) < length:
            factors.append((label, xp.ones(length, dtype=x.dtype)))
        target += label
    return _einsum(",".join(t for t, _ in factors) + "->" + target, *(v for _, v in factors))


_einsum.defvjp_each(_einsum_vjp)
