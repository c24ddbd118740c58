"""Adagrad, RMSProp and Adam give each weight a learning rate of its own, by its own past gradients.

Three weights under each: one has a gradient at every step, one at every tenth, one at every
hundredth. Then the gradients of all stop for a while, and one sees who forgets. Adagrad and RMSProp
step by rate · gradient; Adam by its rate times a mean of gradients, of which the last is a part.

    python 08_a_rate_for_each_weight.py
"""

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.lab.adaptive_rates import effective_rate

EVERY = np.array([1, 10, 100])  # steps


def show(label, numbers):
    print(f"{label:<28}" + "".join(f"{number:>10.4f}" for number in numbers))


for make in (tg.optim.Adagrad, tg.optim.RMSProp, tg.optim.Adam):
    w = tg.Tensor(np.zeros(3), requires_grad=True)
    optimizer = make([("w", w)], lr=0.01)
    print(f"{make.__name__}: a gradient of 1 every  " + "".join(f"{n:>10}" for n in EVERY))
    for step in range(1, 601):
        g = np.where(step % EVERY == 0, 1.0, 0.0) * (step <= 400)  # later there are none
        w.grad = tg.Tensor(g)
        before = w.numpy().copy()
        optimizer.step()
        if step in (100, 400, 600):
            show(f"rate after step {step}", effective_rate(optimizer, "w"))
        if step == 400:
            moved = before - w.numpy()
            show("this step, rate · gradient", effective_rate(optimizer, "w") * g)
            show("and how far it went", moved)
    print()

# ---- a step as long as the rate, whatever the size of the gradient

print("the first step of Adam, rate 0.01, for gradients of")
gradients = np.array([1e-8, 1e-4, 1.0, 1e4])
w = tg.Tensor(np.zeros(4), requires_grad=True)
w.grad = tg.Tensor(gradients)
tg.optim.Adam([w], lr=0.01, eps=1e-8).step()
print("".join(f"{g:>10.0e}" for g in gradients))
print("".join(f"{-x:>10.4f}" for x in w.numpy()) + "   (0.01 |g| / (|g| + 1e-8))")
