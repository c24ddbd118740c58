"""Where the gradient is zero no optimizer moves, and Gaussian noise on the gradient sets it going.

Two such places. On the ridge of a saddle ½(x² - y²) the gradient points along the ridge, to its
middle, and not down from it. A dead neuron relu(w) with w below 0 has no gradient at all. Each is
tried with 100 seeds of the notes' noise, gradient + randn · std + mean.

    python 09_jump_off_the_ridge.py
"""

import numpy as np

import tinygrad_opt as tg

theory = tg.lab.theory
rate, steps = 0.1, 60


def saddle(x, y):
    return (0.5 * (x * x - y * y)).sum()


def neuron(w):
    return (0.5 * (tg.relu(w) - 1) ** 2).sum()  # it is to say 1


def path(loss, start, transforms=(), rule=tg.optim.SGD):
    """The last of the weights before the first step and after each."""
    weights = [tg.Tensor([value], requires_grad=True, dtype="float64") for value in start]
    optimizer = rule(weights, lr=rate, transforms=list(transforms))
    seen = [weights[-1].item()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(*weights).backward()
        optimizer.step()
        seen.append(weights[-1].item())
    return np.array(seen)


print("1. Without noise: how far it ever gets from the ridge, and the weight of the neuron")
for rule in (tg.optim.SGD, tg.optim.Momentum, tg.optim.Adam):
    far = np.abs(path(saddle, [2.0, 0.0], rule=rule)).max()
    print(f"   {rule.__name__:<9}{far:4.1f}{path(neuron, [-0.08], rule=rule)[-1]:8.2f}")

print("\n2. With noise: of 100 seeds, and as predicted")
print("   std  steps    off the ridge      neuron alive")
for std in (0.2, 0.1):
    noise = [[tg.optim.GaussianNoise(std, mean=0.0, seed=seed)] for seed in range(100)]
    ys = np.array([path(saddle, [2.0, 0.0], n) for n in noise])
    ws = np.array([path(neuron, [-0.08], n) for n in noise])
    for t in (20, 40, 60):
        off, alive = np.sum(np.abs(ys[:, t]) > 1), np.sum(ws[:, : t + 1].max(axis=1) > 0)
        expected = theory.beyond(1.0, theory.noisy_variance(rate, -1.0, std, t))
        print(f"   {std}{t:7}{off:8}{100 * expected:8.1f}"
              f"{alive:12}{100 * theory.crossed(rate, std, 0.08, t):8.1f}")  # fmt: skip

print("\n3. The price: where the loss ½w² of a bowl ends, the mean of 2,000 runs side by side")
for decay in (0.0, 0.55):
    w = tg.Tensor(np.ones(2000), requires_grad=True)
    stepper = tg.optim.SGD([w], lr=rate, transforms=[tg.optim.GaussianNoise(0.2, decay=decay)])
    for _ in range(1000):
        stepper.zero_grad()
        (0.5 * w * w).sum().backward()
        stepper.step()
    std = 0.2 * 1000 ** (-decay / 2)
    print(f"   decay {decay:<5} {np.mean(0.5 * w.data**2):.6f}"
          f"   predicted {theory.floor(rate, 1.0, std):.6f}")  # fmt: skip
