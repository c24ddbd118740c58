"""Nesterov takes the gradient where the velocity is about to lead, and not where the weights stand.

One step of both, in numbers; then a swing that the look-ahead calms; and then a learning rate that
gradient descent bears and Nesterov does not.

    python 13_look_ahead.py
"""

import numpy as np

import tinygrad_opt as tg

CURVATURE = 20.0  # of the bowl ½ · 20 · w², whose gradient is 20 w


def run(make, steps):
    """The weights over the steps, from 1; and where each gradient was taken."""
    w = tg.Tensor(np.ones(1), requires_grad=True)
    optimizer = make([w])
    path, taken = [w.item()], []
    for _ in range(steps):
        optimizer.zero_grad()
        with optimizer.look_ahead():  # for all but Nesterov, the weights stay where they are
            taken.append(w.item())
            (0.5 * CURVATURE * w * w).sum().backward()
        optimizer.step()
        path.append(w.item())
    return path, taken


def heavy_ball(w, lr=0.015):
    return tg.optim.Momentum(w, lr, mu=0.9)


def nesterov(w, lr=0.015):
    return tg.optim.Nesterov(w, lr, mu=0.9)


print("heavy ball and Nesterov, rate 0.015, momentum 0.9: the second step")
for make in (heavy_ball, nesterov):
    path, taken = run(make, 2)
    kept = 0.9 * (path[1] - path[0])  # μ v, for the first step was the velocity
    print(f"{make.__name__:<11}  stands at {path[1]:.3f}, keeps {kept:+.3f}, takes the gradient at "
          f"{taken[1]:.3f}, goes to {path[2]:.3f}")  # fmt: skip

print(f"\n{'largest swing':<14}" + "".join(f"{f'after {n}':>12}" for n in (0, 20, 40, 60)))
for make in (heavy_ball, nesterov):
    path, _ = run(make, 80)
    swings = [max(map(abs, path[n : n + 20])) for n in (0, 20, 40, 60)]
    print(f"{make.__name__:<14}" + "".join(f"{swing:>12.2e}" for swing in swings))

print("\nand where it ends: |w| after 300 steps at the rate times the curvature of")
limit = tg.lab.theory.stability_limit("Nesterov", mu=0.9)  # 2 (1 + μ) / (1 + 2μ)
rates = (0.99 * limit, 1.01 * limit, 1.9)
print(f"{'':<18}" + "".join(f"{rate:>12.4f}" for rate in rates))
for name, make in (("nesterov", nesterov), ("gradient descent", tg.optim.SGD)):
    ends = [abs(run(lambda w, make=make, rate=rate: make(w, lr=rate / CURVATURE), 300)[0][-1])
            for rate in rates]  # fmt: skip
    print(f"{name:<18}" + "".join(f"{end:>12.1e}" for end in ends))
