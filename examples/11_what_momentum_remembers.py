"""A velocity remembers old gradients, and mu says for how long; which memory is right, the valley
decides.

One push, and then the weight coasts. Then gradients at random, in which one of them is followed.
And then valleys of four shapes under three memories.

    python 11_what_momentum_remembers.py
"""

import numpy as np

import tinygrad_opt as tg

MUS = (0.75, 0.9, 0.99)

print("one gradient of 1 in the first step, none afterwards; rate 0.1")
print(f"{'':<9}{'at step 1':>12}{'10':>9}{'100':>9}{'1000':>9}{'0.1 / (1 - mu)':>19}")
for mu in MUS:
    w = tg.Tensor(np.zeros(1), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=0.1, mu=mu)
    w.sum().backward()  # its gradient is 1, whatever w is
    moved = {}
    for step in range(1, 1001):
        optimizer.step()
        optimizer.zero_grad()  # no gradient any more: the weight coasts on
        moved[step] = -w.item()
    told = "".join(f"{moved[step]:>9.4f}" for step in (1, 10, 100, 1000))
    print(f"mu = {mu:<5}   {told}{0.1 / (1 - mu):>19.4f}")

print("\nrandom gradients, the first of them larger by 1 for a twin: what is left of that 1")
print(f"{'':<9}{'1':>12}{'3':>9}{'7':>9}{'69 steps later':>18}")
for mu in MUS:
    w = tg.Tensor(np.zeros(2), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=0.1, mu=mu)
    draws, last, moves = np.random.default_rng(0), w.numpy().copy(), []
    for step in range(70):
        g = draws.standard_normal() + np.array([0.0, 1.0 if step == 0 else 0.0])
        optimizer.zero_grad()
        (tg.Tensor(g) * w).sum().backward()
        optimizer.step()
        moves.append(np.diff(w.numpy() - last)[0])
        last = w.numpy().copy()
    told = "".join(f"{moves[age] / moves[0]:>9.4f}" for age in (1, 3, 7, 69))
    print(f"mu = {mu:<5}   {told}")


def steps_needed(mu, condition, most=10_000):
    """Steps until a valley with curvatures 1 and `condition` is a millionth as far away."""
    curvature = tg.Tensor(np.array([1.0, condition]))
    w = tg.Tensor(np.ones(2), requires_grad=True)
    lr = 0.98 * (1 + mu**0.5) ** 2 / condition  # as large as the steep side bears
    optimizer = tg.optim.Momentum([w], lr=lr, mu=mu)
    for step in range(most):
        if np.abs(w.numpy()).max() < 1e-6:
            return step
        optimizer.zero_grad()
        (0.5 * curvature * w * w).sum().backward()
        optimizer.step()
    return None


print("\nsteps to a millionth, where the steep side is so many times as curved as the floor")
print(f"{'':<9}" + "".join(f"{condition:>13,}" for condition in (20, 200, 2000, 20000)))
for mu in MUS:
    counts = [steps_needed(mu, condition) for condition in (20, 200, 2000, 20000)]
    told = "".join(f"{'over 10,000':>13}" if n is None else f"{n:>13,}" for n in counts)
    right = tg.lab.theory.condition_for(mu)
    print(f"mu = {mu:<4}{told}   made for {right:,.0f}")
