"""Handwritten digits in the order in which a course asks for them: each step checks the one before,
so that a mistake is found where it was made.

    python 05_digits_as_an_assignment.py
"""

import math

import numpy as np

import tinygrad_opt as tg

(x_train, y_train), (x_test, y_test) = tg.data.load_digits()


def new_model():
    tg.manual_seed(0)  # the same first weights every time
    return tg.nn.MLP([64, 32, 10], activation="relu")


print("1. The loss before training: near ln 10, as with ten equal probabilities.")
first_loss, first_accuracy = tg.train.evaluate(new_model(), tg.cross_entropy, x_train, y_train)
print(f"   loss {first_loss:.3f}, ln 10 = {math.log(10):.3f}, accuracy {first_accuracy:.1%}\n")

print("2. The gradient: every weight of the model against differences of the loss, in float64.")
model = new_model().astype("float64")


def loss_of(*weights):
    """The loss on 20 images as a function of all weights and biases, as gradcheck wants it."""
    first, last = model.layers
    first.weight, first.bias, last.weight, last.bias = weights
    return tg.cross_entropy(model(tg.Tensor(x_train[:20], dtype="float64")), y_train[:20])


agrees = tg.testing.gradcheck(loss_of, *model.parameters(), order=1)
print(f"   gradcheck of {sum(p.size for p in model.parameters()):,} weights: {agrees}\n")

print("3. Overfit 50 images: a model that cannot learn these by heart has a bug.")
model = new_model()
optimizer = tg.optim.Momentum(model.named_parameters(), lr=0.1, mu=0.9)
x_few, y_few = tg.Tensor(x_train[:50]), tg.Tensor(y_train[:50])
while optimizer.t < 200:
    optimizer.zero_grad()
    loss = tg.cross_entropy(model(x_few), y_few)
    loss.backward()
    optimizer.step()
_, small_accuracy = tg.train.evaluate(model, tg.cross_entropy, x_few, y_few)
print(f"   after {optimizer.t} steps: loss {loss.item():.5f}, accuracy {small_accuracy:.1%}\n")

print("4. All 1,437 images, 15 epochs of batches of 32: SGD against momentum.")
contestants = {
    "SGD 0.1": lambda params: tg.optim.SGD(params, lr=0.1),
    "Momentum 0.1": lambda params: tg.optim.Momentum(params, lr=0.1, mu=0.9),
    "SGD 1.0": lambda params: tg.optim.SGD(params, lr=1.0),
}
histories = {}
for name, make_optimizer in contestants.items():
    model = new_model()
    histories[name] = tg.train.fit(
        model, tg.cross_entropy, make_optimizer(model.named_parameters()),
        tg.data.Batches(x_train, y_train, batch_size=32, seed=0), epochs=15,
        validation=(x_test, y_test),
    )  # fmt: skip
print("   epoch" + "".join(f"{name + ' loss':>19}{'test':>7}" for name in histories))
for epoch in (1, 2, 3, 5, 10, 15):
    rows = [history.epochs[epoch - 1] for history in histories.values()]
    print(f"   {epoch:5}" + "".join(f"{row.loss:19.4f}{row.val_accuracy:7.1%}" for row in rows))
print("   Momentum of 0.9 adds up about 10 gradients: its fair rival is SGD at 10 times the rate.")
print("\n5. Which digits are taken for which? (By the last model; rows: the truth.)")
guesses = model(tg.Tensor(x_test)).numpy().argmax(axis=1)
confusion = np.zeros((10, 10), dtype=int)
np.add.at(confusion, (y_test, guesses), 1)
print(confusion)
