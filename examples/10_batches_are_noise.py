"""A mini-batch puts noise on the gradient without being asked to, and one can say how much.

At fixed weights, the gradients of batches of handwritten digits scatter around the gradient of all.
Then Gaussian noise of that strength is put on the gradient of all images: the loss stops where it
stops with batches.

    python 10_batches_are_noise.py
"""

import numpy as np

import tinygrad_opt as tg

theory = tg.lab.theory
(x, y), _ = tg.data.load_digits()
x, n = x.astype("float64"), len(y)
tg.manual_seed(0)
model = tg.nn.Linear(64, 10).astype("float64")


def gradient(images, labels):
    """The gradient of their mean loss, all 650 weights in one vector."""
    loss = tg.cross_entropy(model(tg.Tensor(images)), labels)
    grads = tg.grad(loss, list(model.parameters()))
    return np.concatenate([tg.Tensor(g).numpy().ravel() for g in grads])


def length(rows):
    """Of vectors, the root of their mean square."""
    return np.sqrt(np.mean((rows**2).sum(axis=1)))


full = gradient(x, y)
each = np.array([gradient(x[[i]], y[[i]]) for i in range(n)])
print(f"1. The gradient of all {n:,} images: its length is {np.linalg.norm(full):.3f}.")
print(f"   A single image's is off by S = {length(each - full):.3f}.\n")

print("2. How far a batch's gradient is off: measured, and S / sqrt(B) · sqrt((N - B) / (N - 1))")
for size in (10, 40, 160, 640):
    noise = np.array([gradient(*next(iter(tg.data.Batches(x, y, size, seed=seed)))) - full
                      for seed in range(300)])  # fmt: skip
    expected = theory.batch_noise(length(each - full), size, n)
    print(f"   B = {size:<5}{length(noise):7.3f}{expected:7.3f}")

print("\n3. The same with every class equally often: only what differs inside the classes is left")
classes = [each[y == label] for label in range(10)]
center = np.mean([own.mean(axis=0) for own in classes], axis=0)
inside = [length(own - own.mean(axis=0)) for own in classes]
for size in (10, 40, 160, 640):
    noise = np.array([
        gradient(*next(iter(tg.data.ClassBalancedBatches(x, y, size, seed=seed)))) - center
        for seed in range(300)
    ])  # fmt: skip
    expected = theory.balanced_noise(inside, [len(own) for own in classes], size // 10)
    print(f"   B = {size:<5}{length(noise):7.3f}{expected:7.3f}")

print("\n4. Batches of 32 or Gaussian noise as strong: the loss ½(w - image)² above the lowest")
spread = length(x - x.mean(axis=0))
noise = tg.optim.GaussianNoise(theory.noise_twin(spread, 32, weights=64))
rng = np.random.default_rng(0)
for name, draw, transforms in (
    ("batches", lambda: x[rng.integers(n, size=32)], []),
    ("all images + noise", lambda: x.mean(axis=0, keepdims=True), [noise]),
    ("all images", lambda: x.mean(axis=0, keepdims=True), []),
):
    w = tg.Tensor(np.zeros(64), requires_grad=True)
    stepper = tg.optim.SGD([w], lr=0.1, transforms=transforms)
    above = []
    for _ in range(2000):
        images = tg.Tensor(draw())
        stepper.zero_grad()
        (0.5 * (w - images) ** 2 / len(images)).sum().backward()
        stepper.step()
        above.append(0.5 * np.sum((w.numpy() - x.mean(axis=0)) ** 2))
    print(f"   {name:<20}after 10 steps {above[9]:.4f}   from 200 on {np.mean(above[200:]):.6f}")
floor = theory.floor(0.1, 1.0, theory.batch_noise(spread, 32))
print(f"   {'predicted floor':<20}{'':>23}{floor:17.6f}")
