"""Gradient descent, and gradient descent with a memory: the step's direction is a velocity."""

from typing import Any

from tinygrad_opt.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins, Monro 1951): a step against the gradient.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "lr": ...}.
        lr: α, the learning rate: weight change per unit of gradient. Turned up, the loss falls
            faster, until it dangles (swings without shrinking) at α = 2 / (largest curvature), and
            diverges above.
        l2: λ of the penalty ½λ|w|², whose gradient λw is added to g.
        check_finite: raise FloatingPointError, with nothing changed, on a NaN or inf gradient.
    """

    slots = ()

    def rule(w, g, *, lr):
        w = w - lr * g
        return (w,)

    def __init__(self, params: Any, lr: Any, l2: Any = 0.0, check_finite: bool = True):
        super().__init__(params, {"lr": lr}, l2=l2, check_finite=check_finite)


class Momentum(Optimizer):
    """The heavy ball (Polyak 1964), as Sutskever, Martens, Dahl, Hinton (2013) write it: the
    velocity v remembers past gradients, and the weight moves by it.

    An old gradient's part in v shrinks by μ a step, so that about 1 / (1 - μ) of them count: 4, 10
    and 100 for μ = 0.75, 0.9 and 0.99.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "mu": ...}.
        lr: α, the learning rate. Stable up to α · curvature = 2 (1 + μ), for "ema" 2 (1 + μ)/(1 -
        μ).
        mu: μ in [0, 1), the momentum. Turned up, old gradients last longer: valleys are crossed
            faster, and the noise of small batches is amplified by about 1 / (1 - μ).
        form: which of the three meanings of v. "classical" has α inside the velocity, so that a new
            α acts on new gradients alone; "torch" keeps α outside, so that it acts on all that v
            remembers, and equals "classical" while α is constant; "ema" averages instead of summing
            (v is a mean gradient), and equals "torch" at the learning rate α (1 - μ).
        l2: λ of the penalty ½λ|w|², whose gradient λw is added to g.
        check_finite: raise FloatingPointError, with nothing changed, on a NaN or inf gradient.
    """

    slots = ("v",)  # the vectors kept beside w, in the order in which the rules take them

    # Rules are functions of arrays, not methods: see Optimizer.__init_subclass__.
    def classical(w, g, v, *, lr, mu):
        v = mu * v - lr * g
        w = w + v
        return w, v

    def torch(w, g, v, *, lr, mu):
        v = mu * v + g
        w = w - lr * v
        return w, v

    def ema(w, g, v, *, lr, mu):
        v = mu * v + (1 - mu) * g
        w = w - lr * v
        return w, v

    rule = classical
    rules = {"classical": classical, "torch": torch, "ema": ema}

    def __init__(self, params: Any, lr: Any, mu: Any = 0.9, form: str = "classical",
                 l2: Any = 0.0, check_finite: bool = True):  # fmt: skip
        super().__init__(params, {"lr": lr, "mu": mu}, form=form, l2=l2, check_finite=check_finite)
