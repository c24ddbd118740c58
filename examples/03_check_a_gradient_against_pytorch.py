"""A gradient is trusted when something else agrees with it: differences of the function's own
values, or PyTorch.

The op here is the reader's own, log(cosh(x)): a loss that is x²/2 near 0 and |x| - log 2 far off.
It gets a right derivative first and then a wrong one, which the usual quick check would let pass.

    python 03_check_a_gradient_against_pytorch.py
"""

import math

import numpy as np

import tinygrad_opt as tg


@tg.primitive
def log_cosh(x):
    """log(cosh(x)), elementwise, without the overflow of cosh."""
    xp = tg.backend.array_module(x)  # NumPy or CuPy, whichever x belongs to
    return xp.logaddexp(x, -x) - math.log(2)


# The VJP: the cotangent g of the result y in, that of x out. d log(cosh(x)) / dx = tanh(x).
log_cosh.defvjp(lambda g, y, x: g * tg.tanh(x))

x = np.random.default_rng(0).standard_normal((2, 3))

print("against differences of its values, first and second order:")
print("  gradcheck:", tg.testing.gradcheck(log_cosh, x))

try:
    import torch
except ImportError:
    print("against PyTorch: it is not installed (pip install torch), so this part is left out")
else:

    def log_cosh_in_torch(x):
        return torch.logaddexp(x, -x) - math.log(2)

    print("against PyTorch, in both precisions and far from 0, where cosh overflows:")
    for point in x, x.astype("float32"), np.float32([1000, -1000]):
        agrees = tg.testing.match_torch(log_cosh, log_cosh_in_torch, point)
        print(f"  match_torch {point.dtype} {point.shape}: {agrees}")

# ---- a wrong VJP: the factor g is forgotten

log_cosh.defvjp(lambda g, y, x: tg.tanh(x))

leaf = tg.Tensor(x, requires_grad=True)
log_cosh(leaf).sum().backward()
print("\nwith g forgotten, the quick check, y.sum().backward(), sees nothing:")
print("  the gradient is tanh(x):", np.allclose(leaf.grad.tolist(), np.tanh(x)))

print("gradcheck, whose cotangent is random, does:")
try:
    tg.testing.gradcheck(log_cosh, x)
except AssertionError as error:
    print(error)
