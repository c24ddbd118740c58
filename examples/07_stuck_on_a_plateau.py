"""A constant learning rate does not get to the bottom: each batch pulls elsewhere, and the weights
end up wandering around the best place, the wider the larger the rate.

A line w·x is fitted to points that scatter around it. Each step sees 16 of them. The loss above the
best possible one falls, and stops: at a floor that halves when the rate does, and that momentum at
the same rate raises.

    python 07_stuck_on_a_plateau.py
"""

import numpy as np

import tinygrad_opt as tg

rng = np.random.default_rng(0)
x = rng.standard_normal((4096, 5))
y = x @ np.array([1.0, -2.0, 3.0, 0.5, -1.0]) + rng.standard_normal(4096)  # noise that stays
best = np.linalg.lstsq(x, y, rcond=None)[0]
lowest = np.mean((x @ best - y) ** 2)


def excess(weights):
    """How far the loss of all points is above the lowest that any line reaches."""
    return np.mean((x @ weights - y) ** 2) - lowest


def train(optimizer, w, epochs=20):
    """The excess loss after each epoch."""
    batches = tg.data.Batches(x, y, batch_size=16, seed=0)
    seen = []
    for _ in range(epochs):
        over_the_epoch = []
        for x_batch, y_batch in batches:
            optimizer.zero_grad()
            loss = tg.mse_loss(x_batch @ w, y_batch)
            loss.backward()
            optimizer.step()
            over_the_epoch.append(excess(w.numpy()))
        seen.append(np.mean(over_the_epoch))
        optimizer.observe(seen[-1])  # for a schedule that waits for a plateau
    return seen


runs = {
    "SGD, rate 0.04": lambda w: tg.optim.SGD(w, lr=0.04),
    "SGD, rate 0.02": lambda w: tg.optim.SGD(w, lr=0.02),
    "momentum 0.9, rate 0.04": lambda w: tg.optim.Momentum(w, lr=0.04, mu=0.9),
    "SGD, halved on plateaus": lambda w: tg.optim.SGD(
        w, lr=tg.optim.schedules.OnPlateau(0.04, factor=0.5, patience=1, threshold=0.1)
    ),
}

print(f"{'mean excess loss of epoch':<28}" + "".join(f"{n:>10}" for n in (1, 2, 5, 10, 20)))
floors = {}
for name, make in runs.items():
    w = tg.Tensor(np.zeros(5), requires_grad=True)
    seen = train(make([w]), w)
    floors[name] = np.mean(seen[-5:])
    print(f"{name:<28}" + "".join(f"{seen[n - 1]:>10.5f}" for n in (1, 2, 5, 10, 20)))

plain = floors["SGD, rate 0.04"]
print("\nmean of the last five epochs, as a share of that of SGD at 0.04")
print(f"half the rate: {floors['SGD, rate 0.02'] / plain:5.2f}   (small rates, in theory: 0.5)")
print(f"momentum 0.9:  {floors['momentum 0.9, rate 0.04'] / plain:5.2f}   (1 / (1 - 0.9) = 10)")
print(f"the schedule:  {floors['SGD, halved on plateaus'] / plain:5.2f}   (the longer, the lower)")
