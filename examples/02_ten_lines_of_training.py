"""Ten lines are a whole training: a model, and a loop that predicts, measures, walks back, steps.

A network with two hidden layers learns to tell two spiral arms apart, which no straight line does.
The update stands in the loop, by hand; `tg.optim` puts such a line behind a name.

    python 02_ten_lines_of_training.py
"""

import numpy as np

import tinygrad_opt as tg

x, y = map(tg.Tensor, tg.data.spirals(300, seed=0))  # points (300, 2) in the plane, classes (300,)
x_new, y_new = tg.data.spirals(300, seed=1)  # others, to test on


def train(sizes, lr=0.3, steps=2001):
    tg.manual_seed(0)
    model = tg.nn.MLP(sizes, activation="relu")
    for step in range(steps):
        loss = tg.cross_entropy(model(x), y)  # predict, and measure
        loss.backward()  # walk back: every parameter p gets its p.grad
        with tg.no_grad():
            for p in model.parameters():
                p -= lr * p.grad  # step against the gradient
                p.grad = None  # the next backward() would add to it
        if step % 500 == 0:
            print(f"step {step:4}   loss {loss.item():.4f}")
    return model


def accuracy(model):
    return np.mean(model(tg.Tensor(x_new)).numpy().argmax(axis=1) == y_new)


print("no hidden layer, which makes a straight line:")
line = train([2, 2])
print(f"accuracy on new points: {accuracy(line):.1%}\n")

print("two hidden layers of 32:")
model = train([2, 32, 32, 2])
print(f"accuracy on new points: {accuracy(model):.1%}\n")

# ---- what it has learnt: the class of every point of the plane, with the new points on top

side = np.linspace(-1.1, 1.1, 23)
plane = np.array([(column, -row) for row in side for column in np.repeat(side, 2)], np.float32)
classes = model(tg.Tensor(plane)).numpy().argmax(axis=1).reshape(23, 46)
picture = [[" ·"[label] for label in row] for row in classes]
for (across, up), label in zip(x_new, y_new, strict=True):
    picture[round((1.1 - up) * 10)][2 * round((across + 1.1) * 10)] = "o+"[label]
print("\n".join("".join(row).rstrip() for row in picture))
print("dotted where it says +, blank where it says o")
