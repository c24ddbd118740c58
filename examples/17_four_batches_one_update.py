"""Four batches of 250 hold each of 1,000 classes once, and there are two means to take of them: of
their gradients, before one update, or of their losses, after four.

The images are as plain as can be: a mean a class, and noise around it. The first mean makes the
update of 1,000 images at once. The second makes a calmer curve and changes no weight.

    python 17_four_batches_one_update.py
"""

import numpy as np

import tinygrad_opt as tg

rng = np.random.default_rng(0)
y = np.repeat(np.arange(1000), 8)
x = rng.normal(0, 2, (1000, 16))[y] + rng.normal(0, 0.5, (8000, 16))  # in float64
random = tg.data.Batches(x, y, batch_size=250, seed=0)
balanced = tg.data.ClassBalancedBatches(x, y, batch_size=250, window=4, seed=0)

print("1. The classes in four batches of 250, and how far their mean image is off (std)")
for name, batches in (("random", random), ("class-balanced", balanced)):
    off = []
    for epoch in range(50):
        rows = batches.order(epoch).reshape(-1, 1000)  # each, of four batches
        off.append(x[rows].mean(axis=1) - x.mean(axis=0))
    times = np.bincount(y[rows[0]], minlength=1000)
    print(f"   {name:<15}{np.sum(times == 0):4} missing,{np.sum(times > 1):4} more than once"
          f"   off by {np.std(off):.4f}")  # fmt: skip
inside = np.std(x.reshape(1000, 8, 16), axis=1)
noise = tg.lab.theory.batch_noise(np.sqrt(np.mean(x.var(axis=0))), 1000, samples=8000)
calm = np.sqrt(np.mean(inside**2) / 1000)
print(f"   predicted: {noise:.4f}; and with every class in, only what differs inside: {calm:.4f}\n")


def train(batches, **how):
    """The weights after an epoch of a softmax model, and the loss of each step."""
    tg.manual_seed(0)  # the same start
    model = tg.nn.Linear(16, 1000).astype("float64")
    optimizer = tg.optim.SGD(model.parameters(), lr=10.0)
    history = tg.train.fit(model, tg.cross_entropy, optimizer, batches, epochs=1, **how)
    return model.weight.numpy(), history.step_loss


four = list(balanced)
plain, losses = train(four)
smooth, smoothed = train(four, smooth=4)
accumulated, means = train(four, accumulate=4)
at_once, _ = train(tg.data.ClassBalancedBatches(x, y, batch_size=1000, seed=0))  # the same images

print("2. A mean after the updates (smooth=4), or before one (accumulate=4)")
print("   batch         " + "".join(f"{n:>8}" for n in range(4, 33, 4)))
print("   plain loss    " + "".join(f"{value:8.3f}" for value in losses[3::4]))
print("   smooth=4      " + "".join(f"{value:8.3f}" for value in smoothed[3::4]))
print("   accumulate=4  " + "".join(f"{value:8.3f}" for value in means))
print(f"   weights that smooth=4 changed: {np.sum(smooth != plain)} of {plain.size:,}")
print(f"   weights that accumulate=4 changed: {np.sum(accumulated != plain):,}")
apart = np.abs(accumulated - at_once).max()
print(f"   accumulate=4 against batches of 1,000: weights at most {apart:.0e} apart")
