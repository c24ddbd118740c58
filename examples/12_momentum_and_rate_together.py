"""The rate and mu are one choice: which rates are stable, and which pair is the fastest.

Every pair is run on a bowl. The same pairs are then sorted by rate / (1 - mu), how far a gradient
moves the weights in all, and what looked like the merit of momentum turns out to be its length.

    python 12_momentum_and_rate_together.py
"""

import numpy as np

import tinygrad_opt as tg

CURVATURES = tg.Tensor(np.geomspace(0.01, 1.0, 5))  # κ = 100, the largest is 1
MUS = (0.0, 0.5, 0.67, 0.9, 0.97)


def digits_gained(lr, mu, steps=300):
    """By how many powers of ten the loss falls in so many steps; None if it rises."""
    w = tg.Tensor(np.ones(5), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=lr, mu=mu)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (0.5 * CURVATURES * w * w).sum()
        loss.backward()
        losses.append(loss.item())
        if losses[-1] > 1e6:
            return None
        optimizer.step()
    return np.log10(losses[0] / losses[-1]) if losses[-1] < losses[0] else None


def table(heads, rates_of):
    """A line for each mu, a column for each head; `rates_of(head, mu)` is the rate of a cell."""
    print(f"{'':<10}" + "".join(f"{head:>9g}" for head in heads) + f"{'2 (1 + mu)':>13}")
    for mu in MUS:
        gains = [digits_gained(rates_of(head, mu), mu) for head in heads]
        told = "".join(f"{'up':>9}" if gain is None else f"{gain:>9.2f}" for gain in gains)
        print(f"mu = {mu:<5}{told}{tg.lab.theory.stability_limit('heavy ball', mu):>13.2f}")


print("powers of ten by which the loss falls in 300 steps, at the rate ('up': it diverges)")
table((0.01, 0.1, 1.0, 1.95, 2.9, 3.3, 3.9), lambda rate, mu: rate)

print("\nthe same at equal rate / (1 - mu); small ones are equally fast, with any momentum")
table((0.05, 0.1, 0.5, 1.95, 5.0, 10.0, 30.0), lambda total, mu: total * (1 - mu))

lr, mu, rate = tg.lab.theory.best_heavy_ball(0.01, 1.0)
print(f"\nthe best pair by theory (Polyak 1964): rate {lr:.3f}, mu {mu:.3f}")
print(f"it gains {digits_gained(lr, mu):.2f}; gradient descent at its best gains "
      f"{digits_gained(tg.lab.theory.best_step(0.01, 1.0)[0], 0.0):.2f}")  # fmt: skip
print("(Best in the long run, and for the slowest direction. In 300 steps others may be ahead:\n"
      "the loss hardly counts the flat directions, and t · rate^t, the best error, feels its t.)")
