"""What the learning rate is for: it turns a gradient into a step that the loss can bear.

A weight on the bowl w² has the curvature 2. Below the rate 2 / 2 = 1 the loss falls. At 1, which is
"no learning rate", the weight jumps from side to side and the loss dangles for ever. Above, it
grows. The same in a linear model, whose curvature is not written anywhere: `tg.lab.limits` measures
it.

    python 06_learning_rate_too_high.py
"""

import numpy as np

import tinygrad_opt as tg


def losses(optimizer, loss, steps):
    """The loss before each step."""
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        seen.append(value.item())
        optimizer.step()
    return seen


# ---- one weight: the change of the loss, -rate · g² · (1 - rate · curvature / 2)

print("loss of w² from w = 1\n rate   step 1   step 2   step 3   step 4 ... step 100")
for rate in (0.1, 0.5, 0.9, 1.0, 1.1):
    w = tg.Tensor(1.0, requires_grad=True, dtype="float64")
    seen = losses(tg.optim.SGD([w], lr=rate), lambda w=w: w * w, steps=101)
    print(f"{rate:5} " + "".join(f"{seen[n]:9.5f}" for n in (1, 2, 3, 4)) + f"   {seen[100]:11.3g}")

# ---- a linear model: measure the curvature, then try both sides of the limit

rng = np.random.default_rng(0)
x = rng.standard_normal((100, 3)) * [1.0, 2.0, 3.0]  # features in different units
y = x @ np.array([[1.0], [-2.0], [0.5]]) + 0.1 * rng.standard_normal((100, 1))


def start():
    """A model at its first weights, its loss on all the data, and its parameters."""
    tg.manual_seed(0)
    model = tg.nn.Linear(3, 1).astype("float64")
    inputs, targets = tg.Tensor(x), tg.Tensor(y)
    return model, lambda: tg.mse_loss(model(inputs), targets)


model, loss = start()
limits = tg.lab.limits(model, loss, tg.optim.SGD(model.parameters(), lr=1.0))
hessian = np.linalg.eigvalsh(2 * np.c_[x, np.ones(100)].T @ np.c_[x, np.ones(100)] / 100)
print(f"\na linear model: sharpness {limits.sharpness:.6f}, by its formula {hessian[-1]:.6f}")
print(f"the largest stable rate: {limits.max_lr:.6f}; a rate of 1 is {limits.share:.2f} times it")
for share in (0.5, 0.99, 1.0, 1.01):
    model, loss = start()
    seen = losses(tg.optim.SGD(model.parameters(), lr=share * limits.max_lr), loss, steps=501)
    print(f"{share:5} of it: loss after 400 steps {seen[400]:10.5g}, after 500 {seen[500]:10.5g}")
