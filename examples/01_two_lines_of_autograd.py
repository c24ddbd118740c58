"""A gradient is two lines, `loss = ...` and `loss.backward()`, and it is the number that the chain
rule gives on paper.

The function is the smallest one that learns: a line w·x + b and its mean squared error on four
points. The derivatives are worked out by hand first, then by the engine.

    python 01_two_lines_of_autograd.py
"""

import numpy as np

import tinygrad_opt as tg

x = np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32)
t = np.array([1.0, 3.0, 5.0, 7.0], dtype=np.float32)  # the points of t = 2x + 1

# ---- by hand: the loss is L = 1/4 Σ e², with the errors e = w·x + b - t

w, b = 0.5, 0.25
e = w * x + b - t
by_hand = {
    "dL/dw": np.mean(2 * e * x),  # dL/de = 2e / 4, and de/dw = x
    "dL/db": np.mean(2 * e),  # de/db = 1
}

# ---- by the engine: nothing to derive

x, t = tg.Tensor(x), tg.Tensor(t)
w = tg.Tensor(0.5, requires_grad=True)
b = tg.Tensor(0.25, requires_grad=True)

loss = tg.mse_loss(w * x + b, t)
loss.backward()

print(f"loss = {loss.item()}")
for name, by_engine in ("dL/dw", w.grad), ("dL/db", b.grad):
    print(f"{name}   by hand {by_hand[name]}   by the engine {by_engine}")

# ---- what a gradient is for: a step against it makes the loss smaller

for lr in 0.01, 0.1, 1.0:
    moved = tg.mse_loss((w - lr * w.grad) * x + (b - lr * b.grad), t)
    print(f"after one step with learning rate {lr}: loss = {moved.item():.3f}")
print("Smaller, smaller, larger: choosing that number is what optimizers are about.")
