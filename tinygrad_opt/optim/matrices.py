"""Optimizers that know a weight is a matrix: one remembers less of it, one moves it as a whole."""

from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.fused import NOTHING, Fused
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.tensorwise import TensorOptimizer, mean, norm, rms


class Adafactor(TensorOptimizer):
    """Adam's division without Adam's memory (Shazeer, Stern 2018): of a matrix of squared gradients
    only the means R of its rows and C of its columns are kept, n + m numbers instead of n · m.

    A tensor with fewer than two axes keeps all of its squares, V. As in PyTorch, the rate is at
    most 1 / √t and relative to the size of the tensor, and ε₁ is a floor, not a summand.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the largest relative step.
        beta2_decay: the power of t by which the mean of squares lengthens: 1 - β₂ = t^-0.8.
        eps: (ε₁, ε₂): the floor of the mean square (None, or 0: the dtype's own epsilon), and the
            least size of a tensor that counts.
        d: the largest root mean square of the divided gradient; what is above is scaled down.
        weight_decay: λ, decoupled: w shrinks by αλ of itself a step.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def matrix(w, g, R, C, *, t, lr, beta2_decay, eps1, eps2, d, weight_decay):
        a = np.maximum(eps2, rms(w)) * min(lr, 1 / t**0.5)
        w = (1 - lr * weight_decay) * w
        R = R + t**beta2_decay * (mean(np.square(g), -1) - R)
        C = C + t**beta2_decay * (mean(np.square(g), -2) - C)
        V = R * C / np.maximum(mean(R, -2), eps1)
        U = g / np.sqrt(np.maximum(V, eps1**2))
        w = w - a * U / np.maximum(1, rms(U) / d)
        return w, R, C

    def vector(w, g, V, *, t, lr, beta2_decay, eps1, eps2, d, weight_decay):
        a = np.maximum(eps2, rms(w)) * min(lr, 1 / t**0.5)
        w = (1 - lr * weight_decay) * w
        V = V + t**beta2_decay * (np.square(g) - V)
        U = g / np.sqrt(np.maximum(V, eps1**2))
        w = w - a * U / np.maximum(1, rms(U) / d)
        return w, V

    rule = matrix
    rules = {"matrix": matrix, "vector": vector}
    ranges = {"beta2_decay": (-np.inf, 0.0), "eps1": (0.0, np.inf), "eps2": (0.0, np.inf),
              "d": (1e-300, np.inf)}  # fmt: skip

    def __init__(self, params: Any, lr: Any = 0.01, beta2_decay: Any = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: Any = 1.0,
                 weight_decay: Any = 0.0, **common: Any):  # fmt: skip
        if "form" in common:
            raise TypeError("Adafactor: the shape of each tensor decides which rule it is")
        if not isinstance(eps, (tuple, list)) or len(eps) != 2:
            raise TypeError(f"Adafactor: eps is a pair (ε₁, ε₂), not {eps!r}")
        hyper = {"lr": lr, "beta2_decay": beta2_decay, "eps1": 0.0 if eps[0] is None else eps[0],
                 "eps2": eps[1], "d": d, "weight_decay": weight_decay}  # fmt: skip
        super().__init__(params, hyper, **common)

    def _rule_for(self, shape: tuple[int, ...]) -> Rule:
        return self.rules["matrix" if len(shape) > 1 else "vector"]

    def _read_with(
        self, rule: Rule, flat: FlatVector, values: Any, first: Fused = NOTHING
    ) -> tuple[Rule, dict]:
        if values["eps1"] == 0:  # as None became one: the group's number alone decides
            values = {**values, "eps1": float(np.finfo(flat.dtype).eps)}
        return super()._read_with(rule, flat, values, first)

    def _make_slots(self, flat: FlatVector, values: dict[str, float]) -> None:
        zeros = array_module(flat.w).zeros
        for t, slots in zip(flat.tensors, flat.loose):
            if t.ndim > 1:
                slots["R"] = zeros((*t.shape[:-1], 1), flat.dtype)
                slots["C"] = zeros((*t.shape[:-2], 1, t.shape[-1]), flat.dtype)
            else:
                slots["V"] = zeros(t.shape, flat.dtype)


class Muon(TensorOptimizer):
    """Momentum, orthogonalised (Jordan et al. 2024; Liu et al. 2025): all directions of the step of
    a matrix get about the same length, so that those which gradients rarely show move as well.

    For matrices alone; give biases and embeddings to another optimizer, such as `AdamW`. PyTorch
    orthogonalises in bfloat16, this in the dtype of the weights, so that they agree to about 3e-3.

    Args:
        params: matrices: tensors of two axes, (name, tensor) pairs, or group dicts.
        lr: α, the learning rate.
        weight_decay: λ, decoupled.
        momentum: μ in [0, 1), of a running mean b of gradients.
        nesterov: look ahead: mix the gradient in once more.
        ns_coefficients, ns_steps: of the Newton-Schulz iteration, see `orthogonal`.
        eps: the least norm that the step is divided by.
        adjust_lr_fn: "original" (None) makes α as large as √max(1, rows / columns) asks;
            "match_rms_adamw" gives the step Adam's root mean square, 0.2 √max(rows, columns).
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def plain(w, g, b, *, lr, weight_decay, momentum, a1, a2, a3, steps, eps, matched):
        b = b + (1 - momentum) * (g - b)
        O = orthogonal(b, a1, a2, a3, steps, eps)
        w = (1 - lr * weight_decay) * w
        w = w - lr * scale(w, matched) * O
        return w, b

    def nesterov(w, g, b, *, lr, weight_decay, momentum, a1, a2, a3, steps, eps, matched):
        b = b + (1 - momentum) * (g - b)
        u = g + momentum * (b - g)
        O = orthogonal(u, a1, a2, a3, steps, eps)
        w = (1 - lr * weight_decay) * w
        w = w - lr * scale(w, matched) * O
        return w, b

    rule = nesterov
    rules = {"nesterov": nesterov, "plain": plain}
    ranges = {"momentum": (0.0, 1.0), "steps": (0.0, 100.0), "eps": (0.0, np.inf)}

    def __init__(self, params: Any, lr: Any = 1e-3, weight_decay: Any = 0.1, momentum: Any = 0.95,
                 nesterov: bool = True,
                 ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
                 eps: Any = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None,
                 **common: Any):  # fmt: skip
        if "form" in common:
            raise TypeError("Muon: which rule it is follows from nesterov=")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn is 'original', 'match_rms_adamw' or None, not "
                             f"{adjust_lr_fn!r}")  # fmt: skip
        if not isinstance(ns_coefficients, (tuple, list)) or len(ns_coefficients) != 3:
            raise TypeError(f"Muon: ns_coefficients are three numbers, not {ns_coefficients!r}")
        if not isinstance(nesterov, bool):
            raise TypeError(f"Muon: nesterov is True or False, not {nesterov!r}")
        if isinstance(ns_steps, bool) or not isinstance(ns_steps, int) or not 0 < ns_steps < 100:
            raise ValueError(f"Muon: ns_steps is an integer from 1 to 99, not {ns_steps!r}")
        a1, a2, a3 = ns_coefficients
        hyper = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "a1": a1, "a2": a2,
                 "a3": a3, "steps": ns_steps, "eps": eps,
                 "matched": float(adjust_lr_fn == "match_rms_adamw")}  # fmt: skip
        super().__init__(params, hyper, form="nesterov" if nesterov else "plain", **common)

    def _check_parameter(self, name: str, t: Any) -> None:
        super()._check_parameter(name, t)
        if t.ndim != 2:
            raise ValueError(f"Muon: parameter {name!r} has shape {t.shape}: Muon moves matrices "
                             "alone, give the others to another optimizer")  # fmt: skip


def orthogonal(X: Array, a1: float, a2: float, a3: float, steps: float, eps: float) -> Array:
    """The matrix U Vᵀ nearest to X = U S Vᵀ, nearly: a few Newton-Schulz steps, each a polynomial
    in X that draws all singular values towards 1 (between 0.7 and 1.2 they stay)."""
    tall = X.shape[0] > X.shape[1]
    X = X.T if tall else X
    X = X / array_module(X).maximum(norm(X), eps)
    for _ in range(int(steps)):
        A = X @ X.T
        X = a1 * X + (a2 * A + a3 * A @ A) @ X
    return X.T if tall else X


def scale(w: Array, matched: float) -> float:
    """What the learning rate is multiplied by for a matrix of this shape."""
    rows, columns = w.shape
    return 0.2 * max(rows, columns) ** 0.5 if matched else max(1.0, rows / columns) ** 0.5
