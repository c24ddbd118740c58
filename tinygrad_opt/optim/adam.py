"""Adam and its kin: a running mean of gradients m over the root of a running mean of squares v.

Both start at 0, so both are too small at first: by 1 - β₁ᵗ and 1 - β₂ᵗ exactly, if the gradients
keep their distribution. Dividing by that is the bias correction (m̂, v̂).
"""

from typing import Any

import numpy as np

from tinygrad_opt.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adaptive moment estimation (Kingma, Ba 2015).

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the learning rate: about the length of a step in each weight, whatever the size of
            its gradient.
        beta1: β₁ in [0, 1), how much of the mean m stays each step; 1 / (1 - β₁) gradients count.
            Turned up, the direction is smoother and turns later.
        beta2: β₂ in [0, 1), the same for the mean of squares v. Turned up, the rates are steadier;
            turned down, one large gradient is forgotten sooner.
        eps: ε, in the units of a gradient. Turned up, weights with small gradients move less, and
            the step comes nearer to that of momentum.
        form: where ε stands. "paper" (Algorithm 1; PyTorch): √v̂ + ε. "eps_hat" (the paper's
            remark in section 2; Keras): √v + ε, the corrections folded into α, so that ε counts
            for more in the first steps.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def paper(w, g, m, v, *, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
        return w, m, v

    def eps_hat(w, g, m, v, *, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w = w - lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t) * m / (np.sqrt(v) + eps)
        return w, m, v

    rule = paper
    rules = {"paper": paper, "eps_hat": eps_hat}

    def __init__(self, params: Any, lr: Any = 1e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, form: str = "paper", **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, hyper, form=form, **common)


class AMSGrad(Optimizer):
    """Adam with a memory for the largest v (Reddi, Kale, Kumar 2018): a rate never grows again, so
    that rare large gradients are not forgotten before they have done their work.

    As in PyTorch, M is the maximum of the raw v, corrected afterwards; the paper corrects neither.

    Args:
        params, lr, beta1, beta2, eps, common: as for `Adam`.
    """

    def rule(w, g, m, v, M, *, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        M = np.maximum(M, v)
        m_hat = m / (1 - beta1**t)
        M_hat = M / (1 - beta2**t)
        w = w - lr * m_hat / (np.sqrt(M_hat) + eps)
        return w, m, v, M

    def __init__(self, params: Any, lr: Any = 1e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, hyper, **common)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): each weight shrinks by αλ of
    itself a step, instead of λw going through the gradient, where Adam would divide it away.

    As in PyTorch, λ is times α; in the paper it is not.

    Args:
        params, lr, beta1, beta2, eps, common: as for `Adam`.
        weight_decay: λ. Turned up, weights that the loss does not need die out sooner. Different
            from `l2`, which stays available.
    """

    def rule(w, g, m, v, *, t, lr, beta1, beta2, eps, weight_decay):
        w = (1 - lr * weight_decay) * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
        return w, m, v

    def __init__(self, params: Any, lr: Any = 1e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, weight_decay: Any = 0.01, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, {**hyper, "weight_decay": weight_decay}, **common)


class Adamax(Optimizer):
    """Adam with the largest recent gradient instead of the root mean square (Kingma, Ba 2015,
    section 7): u decays by β₂ a step, and jumps to |g| where that is larger.

    Args:
        params, lr, beta1, beta2, common: as for `Adam`; u needs no correction.
        eps: ε, added to |g| (PyTorch); the paper has none.
    """

    def rule(w, g, m, u, *, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        u = np.maximum(beta2 * u, np.abs(g) + eps)
        w = w - lr / (1 - beta1**t) * m / u
        return w, m, u

    def __init__(self, params: Any, lr: Any = 2e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, hyper, **common)


class NAdam(Optimizer):
    """Adam with Nesterov's look-ahead folded into the step (Dozat 2016): the gradient of now counts
    for more, with a momentum μ that warms up to β₁.

    P is the product of all μ so far, the bias correction for a momentum that changes; the rule
    carries it from step to step.

    Args:
        params, lr, beta1, beta2, eps, common: as for `Adam`.
        psi: ψ, the speed of the warm-up μ = β₁ (1 - ½ · 0.96^(ψt)). Turned up, μ reaches β₁ sooner.
    """

    def rule(w, g, m, v, *, t, lr, beta1, beta2, eps, psi=0.004, P=1.0):
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * psi))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * psi))
        P = P * mu
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = (1 - mu) / (1 - P) * g + mu_next / (1 - P * mu_next) * m
        v_hat = v / (1 - beta2**t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
        return w, m, v

    ranges = {"psi": (0.0, np.inf)}

    def __init__(self, params: Any, lr: Any = 2e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, psi: Any = 0.004, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "psi": psi}
        super().__init__(params, hyper, **common)


class RAdam(Optimizer):
    """Rectified Adam (Liu et al. 2020): while v rests on too few gradients to be trusted (ρ ≤ 5),
    the step is that of momentum; then Adam's, scaled by r, which grows to 1. A warm-up by theory.

    ρ is the number of gradients that v rests on, as the length of a simple mean. As in PyTorch, ε
    is added to the uncorrected √v; the paper has ρ ≤ 4 and no ε. The two maxima change r only
    where ρ ≤ 5 and it is not used; at β₂ = 0.6, ρ∞ is 4.

    Args:
        params, lr, beta1, beta2, eps, common: as for `Adam`.
    """

    def rule(w, g, m, v, *, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        square = (rho - 4) * (rho - 2) * rho_inf / max((rho_inf - 4) * (rho_inf - 2) * rho, 1)
        r = max(square, 0) ** 0.5
        l = r * (1 - beta2**t) ** 0.5 / (np.sqrt(v) + eps)
        w = w - lr * np.where(rho > 5, m_hat * l, m_hat)
        return w, m, v

    def __init__(self, params: Any, lr: Any = 1e-3, beta1: Any = 0.9, beta2: Any = 0.999,
                 eps: Any = 1e-8, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps}
        super().__init__(params, hyper, **common)


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al. 2023): every weight moves by α, up or down, as a mean of
    the momentum and the new gradient says. One slot less than Adam.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the length of each step in each weight; a third to a tenth of Adam's.
        beta1: β₁ in [0, 1), the part of the momentum in the vote; turned up, g has less say.
        beta2: β₂ in [0, 1), how much of the momentum m stays each step. m is updated after its use.
        weight_decay: λ, decoupled: w shrinks by αλ of itself a step.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, m, *, lr, beta1, beta2, weight_decay):
        u = np.sign(beta1 * m + (1 - beta1) * g)
        w = w - lr * (u + weight_decay * w)
        m = beta2 * m + (1 - beta2) * g
        return w, m

    def __init__(self, params: Any, lr: Any = 1e-4, beta1: Any = 0.9, beta2: Any = 0.99,
                 weight_decay: Any = 0.0, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
        super().__init__(params, hyper, **common)
