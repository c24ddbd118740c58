"""In a network the curvature is not given: in training it grows until the learning rate is its
limit, and stays there.

A small network learns even digits from odd ones, on all images at once. Every 200 steps its
sharpness is measured, the largest eigenvalue of the Hessian. It climbs to 2 / rate and hovers. On a
bowl, passing that limit would be the end; the network bounces to flatter ground, and its loss goes
on falling, though not at every step. (Cohen and others 2021. SciPy has to be installed.)

    python 15_edge_of_stability.py
"""

import numpy as np

import tinygrad_opt as tg

(pixels, digits), _ = tg.data.load_digits()
x = tg.Tensor(pixels[:400].astype("float64") - pixels[:400].mean(axis=0))
y = tg.Tensor(np.where(digits[:400] % 2, 1.0, -1.0)[:, None])


def train(make, steps=2000, every=200):
    """A row every so many steps: loss, sharpness, and its share of the limit of this optimizer."""
    tg.manual_seed(0)
    model = tg.nn.MLP([64, 10, 1], activation="tanh").astype("float64")
    optimizer = make(model.parameters())

    def loss():
        return tg.mse_loss(model(x), y)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    rises, before, shares = 0, np.inf, []
    for step in range(steps + 1):
        if step % every == 0:
            found = tg.lab.limits(model, loss, optimizer, accuracy=1e-3)
            shares.append(found.share)
            print(f"{step:5}   {loss().item():8.4f}   {found.sharpness:9.3f}   {found.share:6.1%}")
        now = optimizer.step(closure).item()
        rises += now > before
        before = now
    print(f"        the loss rose in {rises} of {steps} steps")
    return shares


shares = {}
for name, make in {
    "gradient descent, rate 1/3: the limit is 2 / rate = 6": lambda w: tg.optim.SGD(w, lr=1 / 3),
    "Nesterov, mu 0.9, rate 0.2: the limit is 2 · 1.9 / 2.8 / rate = 6.786": lambda w: (
        tg.optim.Nesterov(w, lr=0.2, mu=0.9)
    ),
}.items():
    print(f"\n{name}\n step       loss   sharpness   of the limit")
    shares[name] = train(make)
