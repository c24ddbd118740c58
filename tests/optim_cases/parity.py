"""Every optimizer that PyTorch has as well, in many configurations, step by step with PyTorch's own
on its plainest path."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from optim_cases.problems import (
    CHECKS,
    Recorded,
    Smooth,
    advance,
    assert_near,
    make,
    tensors,
)

BOUNDS = {"float64": 1e-12, "float32": 1e-5}

# Which courses to run, where the shape matters; elsewhere each weight goes its own way.
COURSES = {
    "Adafactor": [(Smooth, (3, 4)), (Recorded, (6, 2)), (Recorded, (5,)), (Smooth, (2, 3, 2))],
    "Muon": [(Smooth, (3, 4)), (Recorded, (6, 2))],
}

# Ours, PyTorch's, what is fixed, and what is varied: every combination is a configuration.
TABLE: list[tuple[str, str, dict[str, Any], dict[str, tuple]]] = [
    ("SGD", "SGD", {}, {"lr": (0.01, 0.1), "l2": (0.0, 0.03)}),
    ("Momentum", "SGD", {"form": "torch"},
     {"lr": (0.02,), "mu": (0.5, 0.9, 0.99)}),
    ("Momentum", "SGD", {"form": "torch", "l2": 0.03}, {"lr": (0.003,), "mu": (0.7, 0.95)}),
    ("Nesterov", "SGD", {"form": "shifted"},
     {"lr": (0.02,), "mu": (0.5, 0.9, 0.99)}),
    ("Nesterov", "SGD", {"form": "shifted", "l2": 0.03}, {"lr": (0.003,), "mu": (0.7, 0.95)}),
    ("Adagrad", "Adagrad", {},
     {"lr": (0.1,), "eps": (1e-10, 1e-2), "lr_decay": (0.0, 0.01)}),
    ("Adagrad", "Adagrad", {"lr": 0.3}, {"initial": (0.0, 0.5), "l2": (0.03,)}),
    ("Adadelta", "Adadelta", {},
     {"lr": (1.0,), "rho": (0.9, 0.99), "eps": (1e-6, 1e-5)}),
    ("Adadelta", "Adadelta", {"eps": 1e-4, "lr": 0.2}, {"l2": (0.0, 0.03)}),
    ("RMSProp", "RMSprop", {},
     {"lr": (0.003,), "rho": (0.9, 0.99), "mu": (0.0, 0.8), "centered": (False, True)}),
    ("RMSProp", "RMSprop", {"eps": 1e-2}, {"mu": (0.0, 0.8), "centered": (False, True)}),
    ("RMSProp", "RMSprop", {"l2": 0.03, "mu": 0.5}, {"lr": (0.001,)}),
    ("Adam", "Adam", {},
     {"lr": (0.01,), "beta1": (0.9, 0.5), "beta2": (0.999, 0.9), "eps": (1e-8, 1e-2)}),
    ("Adam", "Adam", {"l2": 0.03}, {"lr": (1e-3, 0.03)}),
    ("AMSGrad", "Adam", {},
     {"lr": (0.01,), "beta2": (0.999, 0.9), "eps": (1e-8, 1e-2)}),
    ("AMSGrad", "Adam", {"l2": 0.03}, {"lr": (1e-3,), "beta1": (0.5,)}),
    # 1 - αλ is a number of float32 here. PyTorch multiplies by it, rounded, and ours subtracts αλw:
    # at α = λ = 0.01 the rounding adds up to 1e-5 in a thousand steps.
    ("AdamW", "AdamW", {},
     {"lr": (2**-6,), "beta1": (0.9, 0.5), "eps": (1e-8, 1e-2), "weight_decay": (2**-6, 0.5)}),
    ("AdamW", "AdamW", {"l2": 0.0}, {"lr": (1e-3,), "weight_decay": (0.0,)}),
    ("Adamax", "Adamax", {},
     {"lr": (0.01,), "beta2": (0.999, 0.9), "eps": (1e-8, 1e-1)}),
    ("Adamax", "Adamax", {"l2": 0.03}, {"lr": (1e-3,), "beta1": (0.5,)}),
    ("NAdam", "NAdam", {},
     {"lr": (0.01,), "beta1": (0.9, 0.5), "psi": (0.004, 0.1)}),
    ("NAdam", "NAdam", {"l2": 0.03}, {"lr": (1e-3,), "beta2": (0.9,), "eps": (1e-2,)}),
    ("RAdam", "RAdam", {},  # with β₂ = 0.6 and below, v is never trusted
     {"lr": (0.01,), "beta2": (0.999, 0.9, 0.6, 0.3), "eps": (1e-8, 1e-2)}),
    ("RAdam", "RAdam", {"lr": 0.01}, {"beta1": (0.5,), "l2": (0.03,)}),
    ("Rprop", "Rprop", {},
     {"lr": (0.05,), "up": (1.2, 1.5), "smallest": (1e-6, 1e-3), "largest": (0.05,)}),
    ("Rprop", "Rprop", {"lr": 0.01}, {"down": (0.5, 0.8)}),
    ("Rprop", "Rprop", {"lr": 0.1}, {"largest": (0.05,)}),  # the first step is too long already
    ("ASGD", "ASGD", {},
     {"lr": (0.03,), "lambd": (1e-4, 0.1), "alpha": (0.75, 0.5), "t0": (100.0,)}),
    ("ASGD", "ASGD", {"lambd": 0.02}, {"lr": (0.01,), "l2": (0.03,), "t0": (0.0, 1e6)}),
    ("Adafactor", "Adafactor", {},
     {"lr": (0.01, 0.1), "beta2_decay": (-0.8, -0.5)}),
    ("Adafactor", "Adafactor", {"lr": 0.05},
     {"d": (1.5,), "eps": ((None, 1e-3), (0.5, 2.0)), "weight_decay": (0.1,)}),
    ("Muon", "Muon", {"lr": 0.02},
     {"momentum": (0.95, 0.5), "adjust_lr_fn": (None, "match_rms_adamw")}),
    ("Muon", "Muon", {"lr": 0.02, "nesterov": False},
     {"ns_steps": (3,), "weight_decay": (0.0,), "eps": (1e-7, 3.0),
      "ns_coefficients": ((3.4445, -4.775, 2.0315), (1.5, -0.5, 0.0))}),
]  # fmt: skip

NAMES = {"l2": "weight_decay", "mu": "momentum", "initial": "initial_accumulator_value",
         "psi": "momentum_decay"}  # fmt: skip
PAIRS = {"betas": ("beta1", "beta2"), "etas": ("down", "up"), "step_sizes": ("smallest", "largest")}
DEFAULTS = {"beta1": 0.9, "beta2": 0.999, "down": 0.5, "up": 1.2, "smallest": 1e-6, "largest": 50.0}
SLOTS = {  # ours: PyTorch's, where they hold the same
    "Momentum": {"v": "momentum_buffer"}, "Nesterov": {"v": "momentum_buffer"},
    "Adagrad": {"G": "sum"}, "Adadelta": {"v": "square_avg", "u": "acc_delta"},
    "RMSProp": {"s": "square_avg", "m": "grad_avg", "b": "momentum_buffer"},
    "Adam": {"m": "exp_avg", "v": "exp_avg_sq"}, "AdamW": {"m": "exp_avg", "v": "exp_avg_sq"},
    "AMSGrad": {"m": "exp_avg", "v": "exp_avg_sq", "M": "max_exp_avg_sq"},
    "Adamax": {"m": "exp_avg", "u": "exp_inf"}, "NAdam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "RAdam": {"m": "exp_avg", "v": "exp_avg_sq"}, "Rprop": {"delta": "step_size", "before": "prev"},
    "ASGD": {"ax": "ax"}, "Adafactor": {"R": "row_var", "C": "col_var", "V": "variance"},
    "Muon": {"b": "momentum_buffer"}, "SGD": {},
}  # fmt: skip


class Configuration(NamedTuple):
    """One optimizer with its hyper-parameters, in our words; `theirs` is PyTorch's class."""

    ours: str
    theirs: str
    keywords: dict[str, Any]

    def __str__(self) -> str:
        return " ".join([self.ours, *(f"{k}={v}" for k, v in self.keywords.items())])

    def torch(self, weights: list[torch.Tensor]) -> torch.optim.Optimizer:
        """PyTorch's optimizer with the same numbers, on its plainest path."""
        ours = {k: v for k, v in self.keywords.items() if k != "form"}
        given: dict[str, Any] = {}
        for theirs, pair in PAIRS.items():
            if any(name in ours for name in pair):
                given[theirs] = tuple(ours.pop(name, DEFAULTS.get(name)) for name in pair)
        rename = NAMES | ({"rho": "alpha"} if self.theirs == "RMSprop" else {})
        given |= {rename.get(name, name): value for name, value in ours.items()}
        if self.ours == "AdamW" and "l2" in ours:
            given["weight_decay"] = ours["weight_decay"]
        if self.ours == "AMSGrad":
            given["amsgrad"] = True
        if self.ours == "Nesterov":
            given["nesterov"] = True
        if self.theirs != "Muon":
            given["foreach"] = False
        if self.theirs in ("SGD", "Adagrad", "Adam", "AdamW"):
            given["fused"] = False
        return getattr(torch.optim, self.theirs)(weights, **given)


CONFIGURATIONS = [
    Configuration(ours, theirs, {**fixed, **dict(zip(varied, values))})
    for ours, theirs, fixed, varied in TABLE
    for values in itertools.product(*varied.values())
]


@contextlib.contextmanager
def wide() -> Iterator[None]:
    """PyTorch in the precision of the comparison: it keeps the scalars of NAdam and ASGD in its
    default dtype, and orthogonalises Muon's step in bfloat16, whatever the weights are."""
    default, narrow = torch.get_default_dtype(), torch.Tensor.bfloat16
    torch.set_default_dtype(torch.float64)
    torch.Tensor.bfloat16 = torch.Tensor.clone  # a copy, as it would be, but of the same dtype
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        torch.Tensor.bfloat16 = narrow


def follows_torch(cls: type, configuration: Configuration, dtype: str, steps: int) -> None:
    """Ours and PyTorch's, side by side on both kinds of problem, stay together; so do the slots."""
    kinds = COURSES.get(configuration.ours, [(Smooth, (3, 4)), (Recorded, (3, 4))])
    runs = [kind(shape, dtype) for kind, shape in kinds]
    weights = tensors(runs)
    ours = make(cls, weights, **configuration.keywords)
    theirs = [torch.tensor(run.start.copy(), requires_grad=True) for run in runs]
    views = [p.detach().numpy() for p in theirs]
    optimizer = configuration.torch(theirs)
    bound = BOUNDS[dtype]
    for t in range(steps):
        advance(ours, weights, runs, t)
        for p, view, run in zip(theirs, views, runs):
            p.grad = torch.from_numpy(run.gradient(view, t))
        optimizer.step()
        if t < 10 or t % 50 == 0 or t == steps - 1:
            for w, view in zip(weights, views):
                assert_near(w.numpy(), view, bound)
    slots = ours.state_dict()["slots"]
    for w, p, kept in zip(weights, theirs, slots.values()):
        state = optimizer.state[p]
        assert w.dtype == dtype
        for name, value in kept.items():
            assert value.dtype == dtype
            there = state[SLOTS[configuration.ours][name]].detach().numpy()
            assert_near(value, there, bound * max(1.0, np.abs(there).max()))


def _check(configuration: Configuration, dtype: str):
    def follows(cls: type) -> None:
        with wide():
            follows_torch(cls, configuration, dtype, steps=120)

    return follows


for _configuration in CONFIGURATIONS:  # in float32 the same, but for what is widened by mistake
    _name = f"120 steps follow torch: {_configuration}"
    CHECKS.setdefault(_configuration.ours, {})[_name] = _check(_configuration, "float64")
