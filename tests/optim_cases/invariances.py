"""What must not matter: the unit of the gradient to Adam, the order of the weights to an
elementwise rule, the choice of axes to gradient descent, the size of a gradient to rules of
signs."""

import itertools

import numpy as np

from optim_cases.problems import (
    Given,
    Recorded,
    assert_apart,
    assert_near,
    check,
    make,
    run,
    tensors,
)
from tinygrad_opt import optim
from tinygrad_opt.backend import asarray

STEPS = 60
ADAMS = ["Adam", "AMSGrad", "AdamW", "Adamax", "NAdam", "LAMB"]
ELEMENTWISE = [
    name for name in optim.__all__
    if isinstance(getattr(optim, name), type) and issubclass(getattr(optim, name), optim.Optimizer)
    and getattr(optim, name).rules | {"": getattr(optim, name).__dict__.get("rule")}
    and getattr(optim, name).elementwise and name not in ("Optimizer", "LBFGS")
]  # fmt: skip


class Changed(Recorded):
    """Recorded gradients, changed: none of them is zero."""

    def __init__(self, change=lambda g: g, dtype="float64"):
        super().__init__((3, 4), dtype, seed=3, steps=STEPS)
        self.gradients = np.where(self.gradients == 0, 0.25, self.gradients).astype(dtype)
        self.gradients = change(self.gradients).astype(dtype)


def forms(cls: type) -> list[dict]:
    """The keywords that choose each rule of the class."""
    name = cls.__name__
    if name == "RMSProp":
        every = itertools.product((False, True), (False, True), (0.0, 0.8))
        return [{"centered": c, "eps_inside": inside, "mu": mu} for c, inside, mu in every]
    if name == "Muon":
        return [{"nesterov": True}, {"nesterov": False}]
    if name == "Adafactor" or not cls.rules:
        return [{}]
    return [{"form": form} for form in cls.rules]


@check(*ADAMS, "Adagrad", "RMSProp")
def without_epsilon_the_unit_of_the_gradient_does_not_matter(cls):
    """To the bit if it changes by a power of two, which rounds nothing."""
    for form in forms(cls):
        for dtype in ("float64", "float32"):
            numbers = {"lr": 0.01, "eps": 0.0, **form}
            plain = run(cls, Changed(dtype=dtype), STEPS, **numbers)
            for factor in (2.0**-20, 2.0**13):
                scaled = run(cls, Changed(lambda g: factor * g, dtype), STEPS, **numbers)  # noqa: B023
                np.testing.assert_array_equal(scaled, plain)
            scaled = run(cls, Changed(lambda g: 3.7 * g, dtype), STEPS, **numbers)
            if not form.get("centered"):  # where rounding is magnified: g² and its mean cancel
                assert_near(scaled, plain, 1e-12 if dtype == "float64" else 1e-5)


@check(*ELEMENTWISE)
def the_order_and_the_shape_of_the_weights_do_not_matter_to_the_bit(cls):
    for form in forms(cls):
        for dtype in ("float64", "float32"):
            course = Recorded((4, 6), dtype, seed=3, steps=STEPS)
            plain = run(cls, course, STEPS, **form)
            order = np.random.default_rng(0).permutation(24)

            def moved(x, order=order):
                return x.reshape(*x.shape[:-2], 24)[..., order].reshape(*x.shape[:-2], 2, 3, 4)

            other = Recorded((2, 3, 4), dtype, steps=STEPS)
            other.start, other.gradients = moved(course.start), moved(course.gradients)
            np.testing.assert_array_equal(run(cls, other, STEPS, **form), moved(plain))


@check("SGD", "Momentum", "Nesterov", "ASGD", "SAM", "Lookahead")
def the_choice_of_axes_does_not_matter(cls):
    """Gradients turned, weights turned: as they are not with a rate for every weight."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    turned = Changed(lambda g: g @ turn)
    turned.start = Changed().start @ turn
    for form in [{}] if cls.__name__ in ("SAM", "Lookahead") else forms(cls):
        assert_near(run(cls, turned, STEPS, **form), run(cls, Changed(), STEPS, **form) @ turn)


@check("Adam", "Adagrad", "RMSProp", "Rprop", "Lion", "Adamax")
def with_a_rate_for_every_weight_the_choice_of_axes_matters(cls):
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    turned = Changed(lambda g: g @ turn)
    turned.start = Changed().start @ turn
    plain = run(cls, Changed(), STEPS, lr=0.01) @ turn
    assert_apart(run(cls, turned, STEPS, lr=0.01), plain, least=1e-3)


def distorted(g: np.ndarray) -> np.ndarray:
    """Of the same signs, and other sizes everywhere, some so small that products of them are 0."""
    rng = np.random.default_rng(2)
    return g * rng.uniform(0.1, 9.0, g.shape) * 10.0 ** rng.choice([0, 0, -200], g.shape)


@check("Rprop")
def rprop_sees_signs_alone(cls):
    np.testing.assert_array_equal(run(cls, Changed(distorted), STEPS), run(cls, Changed(), STEPS))


@check("Lion")
def the_first_step_of_lion_sees_signs_alone_and_every_step_has_the_length_of_the_rate(cls):
    plain, other = (run(cls, Changed(change), STEPS, lr=0.25) for change in (np.copy, distorted))
    np.testing.assert_array_equal(plain[0], other[0])
    assert_near(np.abs(np.diff(plain, axis=0)), np.full_like(plain[1:], 0.25), 1e-15)
    assert_apart(plain, other, least=0.1)  # later, what is remembered counts by its size


@check("SGD", "Adam")
def a_penalty_is_decay_to_sgd_and_not_to_adam(cls):
    """Coupled λw through the gradient, against w(1 - αλ) before the step."""
    (w,) = weights = tensors([Changed()])
    optimizer, decayed = make(cls, weights, lr=0.01), []
    for g in Changed().gradients:
        w.data *= 1 - 0.01 * 0.3
        w.grad = asarray(g)
        optimizer.step()
        decayed.append(w.numpy())
    coupled = run(cls, Changed(), STEPS, lr=0.01, l2=0.3)
    if cls.__name__ == "SGD":
        assert_near(coupled, decayed)
    else:
        assert_apart(coupled, decayed, least=1e-3)


@check("SGD", "Momentum")
def forgetting_to_zero_gradients_is_momentum_without_friction(cls):
    """PyTorch's form at μ = 1, bit for bit; the class refuses μ = 1, the rule does not."""
    if cls.__name__ == "SGD":
        sgd, rule = cls, optim.Momentum.rules["torch"]
    else:
        sgd, rule = optim.SGD, cls.rules["torch"]
    course = Given([0.5, -2.0], lambda w: np.array([0.3, 2.0]) * w)
    (w,) = weights = tensors([course])
    optimizer, place, v = sgd(weights, lr=0.1), course.start, np.zeros(2)
    for t in range(STEPS):
        g = asarray(course.gradient(w.numpy(), t))
        w.grad = w.grad + g if t else g
        optimizer.step()
        place, v = rule(place, course.gradient(place, t), v, lr=0.1, mu=1.0)
        np.testing.assert_array_equal(w.numpy(), place)
    assert np.abs(w.numpy()).max() > 0.1  # and it never settles
