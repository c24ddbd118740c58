"""Nothing stands in an optimizer for show: each hyper-parameter changes where the weights go, when
given and when edited later, and so does each slot. And whatever is float32 stays float32."""

import inspect
from typing import Any

import numpy as np

from optim_cases.invariances import forms
from optim_cases.problems import (
    Recorded,
    Smooth,
    assert_apart,
    assert_near,
    check,
    make,
    tensors,
    trajectory,
)
from tinygrad_opt import optim

ALL = [name for name in optim.__all__ if isinstance(getattr(optim, name), type)
       and (issubclass(getattr(optim, name), optim.Optimizer) or name in ("SAM", "Lookahead"))
       and name not in ("Optimizer", "LBFGS")]  # fmt: skip
WRAPPERS = ("SAM", "Lookahead")
STEPS = 44  # of which half end within a round of Lookahead

# Another value for each hyper-parameter, by name, or by class and name.
OTHER: dict[Any, Any] = {
    "lr": 0.02, "mu": 0.6, "beta1": 0.6, "beta2": 0.9, "beta": 0.7, "rho": 0.8, "eps": 0.1,
    "initial": 0.5, "lr_decay": 0.1, "up": 1.5, "down": 0.3, "smallest": 0.02, "largest": 0.03,
    "weight_decay": 0.3, "psi": 0.5, "lambd": 0.5, "alpha": 0.4, "t0": 3, "eta": 0.1, "d": 0.3,
    "beta2_decay": -0.4, "momentum": 0.5, "nesterov": False, "ns_steps": 3, "k": 3,
    "adjust_lr_fn": "match_rms_adamw", "centered": True, "eps_inside": True, "l2": 0.1,
    ("Momentum", "form"): "ema", ("Nesterov", "form"): "shifted", ("Adam", "form"): "eps_hat",
    ("ScheduleFree", "form"): "adamw", ("Muon", "eps"): 10.0,
}  # fmt: skip
SEVERAL = {  # where one hyper-parameter is several numbers: each of them changed alone
    ("Adafactor", "eps"): [(0.9, 1e-3), (None, 3.0)],
    ("Muon", "ns_coefficients"): [(3.0, -4.775, 2.0315), (3.4445, -4.5, 2.0315),
                                  (3.4445, -4.775, 2.1)],
}  # fmt: skip
BASE = {  # else little is to be seen
    "ASGD": {"lambd": 0.1, "t0": 10}, "LARS": {"eta": 0.02}, "Adam": {"eps": 0.01},
    "RMSProp": {"eps": 0.01}, "AMSGrad": {"beta2": 0.8},
}  # fmt: skip
INSIDE = {"a1": 3.0, "a2": -4.5, "a3": 2.1, "steps": 3, "matched": 1.0, "eps1": 0.9, "eps2": 3.0}


def hyper_parameters(cls: type) -> list[str]:
    names = list(inspect.signature(cls.__init__).parameters)[2:]
    wrapper = cls.__name__ in WRAPPERS
    return [name for name in names if name != "common"] + ([] if wrapper else ["l2"])


def others(cls: type, name: str) -> list:
    """Other values for a hyper-parameter; KeyError for one that nobody has thought of here."""
    if (cls.__name__, name) in SEVERAL:
        return SEVERAL[cls.__name__, name]
    found = OTHER.get((cls.__name__, name))
    return [OTHER[name] if found is None else found]


def choices(cls: type) -> list[dict]:
    return [{}] if cls.__name__ in WRAPPERS else forms(cls)


def _run(cls: type, between=lambda optimizer: None, dtype: str = "float64", **keywords: Any):
    """Half the steps, what comes between, the other half; where the weights, or of ASGD the means
    of the weights, then were in the second half."""
    runs = [Smooth((3, 4), dtype, 1), Recorded((3, 4), dtype, 2)]
    weights = tensors(runs)
    optimizer = make(cls, weights, **{**BASE.get(cls.__name__, {}), **keywords})
    trajectory(optimizer, weights, runs, STEPS // 2)
    between(optimizer)
    path = trajectory(optimizer, weights, runs, STEPS // 2, start=STEPS // 2)
    means = [slots["ax"] for slots in optimizer.state_dict().get("slots", {}).values()
             if "ax" in slots]  # fmt: skip
    return np.array(means or path)


def idle(cls: type, form: dict) -> set[str]:
    """What a form has no use for."""
    without = (cls.__name__, form.get("form")) == ("ScheduleFree", "sgd")
    return {"beta2", "eps"} if without else set()


@check(*ALL)
def every_hyper_parameter_has_an_effect(cls):
    for form in choices(cls):
        plain = _run(cls, **form)
        for name in set(hyper_parameters(cls)) - idle(cls, form):
            for value in others(cls, name):
                if form.get(name, None) != value:
                    assert_apart(_run(cls, **{**form, name: value}), plain, least=1e-5)


@check(*(name for name in ALL if name not in WRAPPERS))
def every_hyper_parameter_has_an_effect_when_it_is_edited_between_two_steps(cls):
    first_only = {"Adagrad": {"initial"}, "Rprop": {"lr"}}.get(cls.__name__, set())
    for form in choices(cls):
        plain = _run(cls, **form)
        runs = tensors([Smooth((3, 4))])
        group = make(cls, runs, **form).groups[0]
        for name in set(group) - {"params", "names"} - first_only - idle(cls, form):
            if name == "mu" and form.get("mu") == 0.0:
                continue  # refused, see the test of RMSProp
            value = INSIDE.get(name) or others(cls, name)[0]

            def edit(optimizer, name=name, value=value):
                optimizer.groups[0][name] = value

            assert_apart(_run(cls, edit, **form), plain, least=1e-6)


@check(*(name for name in ALL if name not in ("SGD", "SAM")))
def every_slot_matters(cls):
    for form in choices(cls):
        plain = _run(cls, **form)
        runs = [Smooth((3, 4)), Recorded((3, 4))]
        for slot in make(cls, tensors(runs), **form).memory():

            def forget(optimizer, slot=slot):
                vectors = optimizer._slow if slot == "slow" else [
                    x for flat in optimizer._flat for kept in (flat.slots, *flat.loose)
                    for name, x in kept.items() if name == slot
                ]  # fmt: skip
                assert vectors
                for vector in vectors:
                    vector *= 2 if slot == "s" else 0  # s - m² may not become negative

            assert_apart(_run(cls, forget, **form), plain, least=1e-4)


def rules(cls: type) -> list[tuple[Any, bool]]:
    """Every rule of a class (all are of an optimizer, but for wrappers and look-aheads)."""
    found = {"": cls.rule, **getattr(cls, "rules", {})}
    return list(dict.fromkeys(found.values()))


@check(*ALL)
def what_is_float32_stays_float32(cls):
    """In the optimizer, and in the rule by itself, where no vector would hide that it widens."""
    for form in choices(cls):
        runs = [Smooth((3, 4), "float32", 1), Recorded((3, 4), "float32", 2)]
        weights = tensors(runs)
        optimizer = make(cls, weights, **form)
        trajectory(optimizer, weights, runs, 8)
        assert {w.dtype for w in weights} == {np.dtype("float32")}
        if cls.__name__ in WRAPPERS:
            continue
        slots = optimizer.state_dict()["slots"].values()
        assert {x.dtype for kept in slots for x in kept.values()} <= {np.dtype("float32")}
        for flat in optimizer._flat:
            rule, scalars = optimizer._read_with(
                optimizer._rule_for((3, 4)), flat, optimizer._scalars(optimizer.groups[0])
            )
            kept = [flat.state_of(0)[slot] for slot in rule.arrays[2:]]
            new = rule(flat.data_views[0], flat.grad_views[0], *kept, **scalars)
            assert [x.dtype for x in new] == ["float32"] * len(rule.results)


@check(*ALL)
def in_float32_the_weights_go_the_same_way(cls):
    """As in float64, but for rounding."""
    for form in choices(cls):
        narrow, wide = (_run(cls, dtype=dtype, **form) for dtype in ("float32", "float64"))
        assert narrow.dtype == "float32"
        assert_near(narrow, wide, 3e-5)
        assert_apart(narrow, wide, least=0.0)
