"""A learning rate for every tensor: the step is measured against the size of the weights it moves,
by a trust ratio of two norms, so that large batches can take large steps."""

from typing import Any

import numpy as np

from tinygrad_opt.optim.tensorwise import TensorOptimizer, norm, trust


class LARS(TensorOptimizer):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg 2017): momentum, of which each tensor
    takes steps of a fixed share of its own size.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, a factor on all steps.
        mu: μ in [0, 1), the momentum.
        weight_decay: λ, inside the ratio: the denominator is ‖g‖ + λ‖w‖, as in the paper.
        eta: η, the trust coefficient: the share of ‖w‖ that a step of α = 1 without momentum moves.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, v, *, lr, mu, weight_decay, eta):
        local = eta * trust(w, norm(g) + weight_decay * norm(w))
        v = mu * v + lr * local * (g + weight_decay * w)
        w = w - v
        return w, v

    ranges = {"eta": (0.0, np.inf)}

    def __init__(self, params: Any, lr: Any, mu: Any = 0.9, weight_decay: Any = 0.0,
                 eta: Any = 0.001, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "mu": mu, "weight_decay": weight_decay, "eta": eta}
        super().__init__(params, hyper, **common)


class LAMB(TensorOptimizer):
    """Layer-wise Adam for large batches (You et al. 2020): Adam's step u with the decay inside,
    lengthened to the size of the tensor that it moves. The ratio is 1 where either norm is 0.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the length of a step relative to the tensor's own.
        beta1, beta2, eps: as for `Adam`.
        weight_decay: λ, inside the ratio.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, m, v, *, t, lr, beta1, beta2, eps, weight_decay):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * np.square(g)
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        u = m_hat / (np.sqrt(v_hat) + eps) + weight_decay * w
        w = w - lr * trust(w, norm(u)) * u
        return w, m, v

    def __init__(self, params: Any, lr: Any = 1e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-6, weight_decay: Any = 0.01, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, {**hyper, "weight_decay": weight_decay}, **common)
