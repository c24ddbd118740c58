"""A gradient is a function too, so it has a gradient: `create_graph=True` records the walk itself.

First the derivatives of sin, which come back after four; then the curvature of Rosenbrock's valley
beside its formula, and Newton's method, which divides by it.

    python 04_gradient_of_a_gradient.py
"""

import math

import numpy as np

import tinygrad_opt as tg

# ---- one variable: each derivative is a Tensor, with a graph of its own

x = tg.Tensor(0.5, requires_grad=True, dtype="float64")
y = tg.sin(x)
for name, formula in ("cos", math.cos(0.5)), ("-sin", -math.sin(0.5)), ("-cos", -math.cos(0.5)):
    y = tg.grad(y, x, create_graph=True)
    print(f"{name:>4}(0.5) = {formula:+.12f}   by the engine {y.item():+.12f}")


# ---- two variables: the Hessian, a column at a time


def rosenbrock(p):
    """(1 - a)² + 100 (b - a²)²: a curved valley with its minimum 0 at (1, 1) (Rosenbrock 1960)."""
    a, b = p
    return (1 - a) ** 2 + 100 * (b - a**2) ** 2


def hessian(f, p):
    """The second derivatives of f at p: `hvp` gives H v, and H times a unit vector is a column."""
    units = np.eye(len(p)).tolist()
    return np.transpose([tg.hvp(f, [p], [unit])[0].tolist() for unit in units])


p = np.array([-1.2, 1.0])
a, b = p
formula = np.array([[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]])
print(f"\nHessian at {p}\n{hessian(rosenbrock, p)}\nby its formula\n{formula}")
print(f"curvatures along and across the valley: {np.linalg.eigvalsh(formula).round(1)}")

# ---- Newton's method: where the parabola that fits here has its minimum, go there

print("\nNewton's method")
for step in range(8):
    leaf = tg.Tensor(p, requires_grad=True)
    loss = rosenbrock(leaf)
    loss.backward()
    print(f"step {step}   loss {loss.item():.3e}   at ({p[0]:+.9f}, {p[1]:+.9f})")
    p = p - np.linalg.solve(hessian(rosenbrock, p), leaf.grad.tolist())
