"""A race down Rosenbrock's curved valley: each optimizer at a rate of its own, found by one search.

At its minimum the valley curves 2,508 times as much across as along. The large curvature decides
how large a rate may be, and the small one how long it then takes. Where x is near 0 it curves less
across, and there a rate may be larger than at the minimum: the search finds one for SGD.

    python 16_race_down_a_valley.py
"""

import numpy as np

import tinygrad_opt as tg

STEPS = 400
RATES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def valley(x, y):
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def run(kind, lr, start=(-1.2, 1.0)):
    """The weights before each step and after the last, (steps + 1, 2)."""
    x, y = (tg.Tensor(np.array(value), requires_grad=True) for value in start)
    optimizer = kind([x, y], lr=lr)
    path = [(x.item(), y.item())]
    for _ in range(STEPS):
        optimizer.zero_grad()
        with optimizer.look_ahead():
            valley(x, y).backward()
        optimizer.step()
        path.append((x.item(), y.item()))
        if abs(x.item()) + abs(y.item()) > 1e3:  # it will not come back
            break
    return np.array(path)


def distance(path):
    return np.hypot(*(path[-1] - 1))


minimum = [tg.Tensor(np.array(1.0), requires_grad=True) for _ in range(2)]
columns = [[float(h) for h in tg.hvp(valley, minimum, unit)] for unit in ([1.0, 0.0], [0.0, 1.0])]
flat, steep = np.linalg.eigvalsh(columns)
print(f"curvatures at the minimum: {flat:.4f} and {steep:.2f}, {steep / flat:,.0f} times as much")
print(f"stable for gradient descent: below a rate of 2 / {steep:.2f} = {2 / steep:.6f}")

names = ("SGD", "Momentum", "Nesterov", "Adagrad", "RMSProp", "Adam")
paths = {}
for name in names:
    tried = {lr: run(getattr(tg.optim, name), lr) for lr in RATES}
    lr = min(tried, key=lambda lr: distance(tried[lr]))
    paths[name] = lr, tried[lr]

print(f"\nafter {STEPS} steps from (-1.2, 1), the minimum being at (1, 1):")
print(f"{'':<10}{'rate':>8}{'x':>9}{'y':>9}{'away':>9}   first step in x and y")
for name, (lr, path) in paths.items():
    x, y = path[-1]
    dx, dy = abs(path[1] - path[0])
    print(f"{name:<10}{lr:>8g}{x:>9.3f}{y:>9.3f}{distance(path):>9.3f}   {dx:.4f} {dy:.4f}")

lr, _ = paths["SGD"]
if lr > 2 / steep:
    edge = np.sqrt((1 / (100 * lr) - 1) / 4)  # on the floor y = x² it is 200 (1 + 4 x²) across
    print(f"\nSGD's rate {lr:g} is above the limit at the minimum, and stable up to x = {edge:.2f}:"
          "\nwith more steps it would swing about there, and never arrive.")  # fmt: skip
