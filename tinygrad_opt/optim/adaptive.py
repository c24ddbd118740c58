"""A learning rate for every weight: the steps are divided by the size of past gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_opt.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """Adaptive gradient (Duchi, Hazan, Singer 2011): α divided by the root of all squared gradients
    so far. Weights whose features are rare keep a large rate; every rate only ever shrinks.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the learning rate of a weight that has seen squared gradients of sum 1.
        eps: ε, in the units of a gradient, against division by zero. Turned up, weights with small
            gradients lose their advantage.
        initial: what the sum G starts with, squared gradients. Turned up, the first steps shrink.
        lr_decay: γ of α / (1 + γ (t - 1)), a decay on top of Adagrad's own.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, G, *, t, lr, eps, lr_decay):
        G = G + g**2
        w = w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(G) + eps)
        return w, G

    initial = {"G": "initial"}
    ranges = {"initial": (0.0, np.inf), "lr_decay": (0.0, np.inf)}

    def __init__(self, params: Any, lr: Any = 0.01, eps: Any = 1e-10, initial: Any = 0.0,
                 lr_decay: Any = 0.0, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "eps": eps, "initial": initial, "lr_decay": lr_decay}
        super().__init__(params, hyper, **common)


class RMSProp(Optimizer):
    """Root mean square propagation (Tieleman, Hinton 2012): Adagrad that forgets. s is a running
    mean of squared gradients, so the rates recover when gradients become small.

    Variants, each a rule of its own in `rules`: centered (Graves 2013) divides by the running
    standard deviation, mean m and mean square s; with a momentum μ, b is a velocity of the divided
    gradients; and ε stands outside or inside the root.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the learning rate: about the length of a step in each weight.
        rho: ρ in [0, 1), how much of s stays each step; 1 / (1 - ρ) gradients count. Turned up, the
            rates are smoother and slower to adapt.
        eps: ε, in units of a gradient (inside the root: of a squared one), against division by 0.
        mu: μ in [0, 1), the momentum; 0 keeps no velocity.
        centered: divide by the standard deviation instead of the root mean square.
        eps_inside: √(s + ε) instead of √s + ε. A fixed choice, as are `centered` and μ = 0.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def plain(w, g, s, *, lr, rho, eps):
        s = rho * s + (1 - rho) * g**2
        w = w - lr * g / (np.sqrt(s) + eps)
        return w, s

    def plain_inside(w, g, s, *, lr, rho, eps):
        s = rho * s + (1 - rho) * g**2
        w = w - lr * g / np.sqrt(s + eps)
        return w, s

    def centered(w, g, s, m, *, lr, rho, eps):
        s = rho * s + (1 - rho) * g**2
        m = m + (1 - rho) * (g - m)
        w = w - lr * g / (np.sqrt(s - m**2) + eps)
        return w, s, m

    def centered_inside(w, g, s, m, *, lr, rho, eps):
        s = rho * s + (1 - rho) * g**2
        m = m + (1 - rho) * (g - m)
        w = w - lr * g / np.sqrt(s - m**2 + eps)
        return w, s, m

    def momentum(w, g, s, b, *, lr, rho, eps, mu):
        s = rho * s + (1 - rho) * g**2
        b = mu * b + g / (np.sqrt(s) + eps)
        w = w - lr * b
        return w, s, b

    def momentum_inside(w, g, s, b, *, lr, rho, eps, mu):
        s = rho * s + (1 - rho) * g**2
        b = mu * b + g / np.sqrt(s + eps)
        w = w - lr * b
        return w, s, b

    def centered_momentum(w, g, s, m, b, *, lr, rho, eps, mu):
        s = rho * s + (1 - rho) * g**2
        m = m + (1 - rho) * (g - m)
        b = mu * b + g / (np.sqrt(s - m**2) + eps)
        w = w - lr * b
        return w, s, m, b

    def centered_momentum_inside(w, g, s, m, b, *, lr, rho, eps, mu):
        s = rho * s + (1 - rho) * g**2
        m = m + (1 - rho) * (g - m)
        b = mu * b + g / np.sqrt(s - m**2 + eps)
        w = w - lr * b
        return w, s, m, b

    rule = plain
    rules = {
        "plain": plain, "centered": centered, "momentum": momentum,
        "centered momentum": centered_momentum,
        "plain, eps inside": plain_inside, "centered, eps inside": centered_inside,
        "momentum, eps inside": momentum_inside,
        "centered momentum, eps inside": centered_momentum_inside,
    }  # fmt: skip

    def __init__(self, params: Any, lr: Any = 0.01, rho: Any = 0.99, eps: Any = 1e-8, mu: Any = 0.0,
                 centered: bool = False, eps_inside: bool = False, **common: Any):  # fmt: skip
        if "form" in common:
            raise TypeError("RMSProp: which rule it is follows from centered=, mu= and eps_inside=")
        for name, flag in (("centered", centered), ("eps_inside", eps_inside)):
            if not isinstance(flag, bool):
                raise TypeError(f"RMSProp: {name} is True or False, not {flag!r}")
        words = ["centered"] * bool(centered) + ["momentum"] * (callable(mu) or bool(mu != 0))
        form = (" ".join(words) or "plain") + ", eps inside" * bool(eps_inside)
        hyper = {"lr": lr, "rho": rho, "eps": eps, "mu": mu}
        super().__init__(params, hyper, form=form, **common)

    def _scalars(self, group: Mapping[str, Any]) -> dict[str, float]:
        values = super()._scalars(group)
        if values["mu"] and "momentum" not in str(self.form):
            raise ValueError(
                f"RMSProp: mu is {values['mu']} in a group, and the optimizer was made with mu=0, "
                "which keeps no velocity: give a mu when making it (and mu=0 to the other groups)"
            )
        return values


class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012): the step is the gradient, scaled from its own root mean square to
    that of past steps, so that it has the units of a weight and needs no learning rate.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, a factor on the step; the paper has none (1).
        rho: ρ in [0, 1), how much of both running means stays each step.
        eps: ε, added to both mean squares. The first steps have size √ε: turned up, training
            starts faster.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, v, u, *, lr, rho, eps):
        v = rho * v + (1 - rho) * g**2
        delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = rho * u + (1 - rho) * delta**2
        w = w - lr * delta
        return w, v, u

    def __init__(self, params: Any, lr: Any = 1.0, rho: Any = 0.9, eps: Any = 1e-6, **common: Any):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps}, **common)


class Rprop(Optimizer):
    """Resilient propagation (Riedmiller, Braun 1993) in the form iRprop⁻ (Igel, Hüsken 2000): only
    the signs of gradients count. A step size of its own for each weight grows while the sign stays,
    and shrinks when it flips, in which case the weight waits one step. For full batches: the noise
    of small ones flips signs at random.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the step size δ that each weight starts with. Later changes of it do nothing.
        up: the factor by which a step size grows. Turned up, plateaus are crossed faster.
        down: the factor in (0, 1) by which it shrinks.
        smallest, largest: the bounds of δ, in the units of a weight.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, delta, before, *, up, down, smallest, largest):
        s = np.sign(g) * before
        delta = np.where(s > 0, up * delta, np.where(s < 0, down * delta, delta))
        delta = np.minimum(np.maximum(delta, smallest), largest)
        g = np.where(s < 0, 0.0, g)
        w = w - np.sign(g) * delta
        before = g
        return w, delta, before

    initial = {"delta": "lr"}
    ranges = {"up": (1.0, np.inf), "down": (0.0, 1.0), "smallest": (0.0, np.inf),
              "largest": (0.0, np.inf)}  # fmt: skip

    def __init__(self, params: Any, lr: Any = 0.01, up: Any = 1.2, down: Any = 0.5,
                 smallest: Any = 1e-6, largest: Any = 50.0, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "up": up, "down": down, "smallest": smallest, "largest": largest}
        super().__init__(params, hyper, **common)

    def _scalars(self, group: Mapping[str, Any]) -> dict[str, float]:
        values = super()._scalars(group)
        if values["smallest"] > values["largest"]:
            raise ValueError(f"Rprop: smallest, {values['smallest']}, is above largest, "
                             f"{values['largest']}")  # fmt: skip
        return values
