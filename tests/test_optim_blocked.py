"""The rule as calls into memory that is there gives the bits of the rule as it is written."""

import inspect

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.optim import blocked, compiled
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import coupled

SCALARS = {"lr": 0.03, "mu": 0.9, "t": 7, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "rho": 0.95,
           "up": 1.2, "down": 0.5, "smallest": 1e-6, "largest": 50.0, "weight_decay": 0.01,
           "l2": 0.02, "lr_decay": 0.1, "psi": 0.004, "P": 0.8, "lambd": 1e-4, "alpha": 0.75,
           "t0": 3.0, "beta": 0.9, "lr_max": 0.1, "weight_sum": 0.3, "beta_old": 0.8}  # fmt: skip


def tricky_masks(w, g, v, *, lr):
    small = (g * 2 < lr) & ~(v > 0) | (w == g)
    v = np.where(small, v - g, np.where(g >= w, g, v))
    w = w - lr * np.where(~small, v, 2 * v)
    return w, v


def tricky_order(w, g, v, *, lr):
    before = v
    v = (g - v) / (v * v + 1) - v
    w = w - lr * (v - before) + before * (g - w) * w
    return w, v


def tricky_reuse(w, g, v, *, lr):
    g = g - lr * g
    a = g * g
    b = a - g
    g = b / (np.abs(a) + 1) - g * (a - b)
    v = -v + (-a - b) * g
    w = v
    return w, v


def tricky_choice(w, g, v, *, lr):
    v = np.where(lr > 1, v, g)
    w = w - lr * np.where(lr < 1, v * w, g)
    v = np.where(g > 0, g - v, v)
    return w, v


def elementwise_rules():
    rules = [Rule(f) for f in (tricky_masks, tricky_order, tricky_reuse, tricky_choice)]
    for name in optim.__all__:
        cls = getattr(optim, name)
        if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and hasattr(cls, "rule"):
            own = [cls.rule, *cls.rules.values()]
            rules += [rule for rule in own if rule.elementwise and rule not in rules]
    return rules + [rule.after(coupled) for rule in rules]


RULES = elementwise_rules()


def arrays_for(rule, size, dtype):
    rng = np.random.default_rng(size)
    arrays = [rng.standard_normal(size).astype(dtype) for _ in rule.arrays]
    for slot in arrays[2:]:  # squares, rates and the like are not negative
        np.abs(slot, out=slot)
    arrays[1][::5] = 0
    return arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}, {len(rule.scalars)}")
def test_the_calls_give_the_bits_of_the_rule_and_leave_the_gradient_alone(rule, dtype, monkeypatch):
    monkeypatch.setattr(blocked, "BLOCK", 100)
    scalars = {name: SCALARS[name] for name in rule.scalars}
    hoisted, _ = rule.lowered.host(**scalars)
    arrays = arrays_for(rule, 257, dtype)
    with np.errstate(all="ignore"):
        new = dict(zip(rule.results, rule(*arrays, **scalars)))
    wanted = [np.array(new.get(name, x)) for name, x in zip(rule.arrays, arrays)]
    blocked.blockwise(rule, np.dtype(dtype))(arrays, hoisted)
    for name, got, right in zip(rule.arrays, arrays, wanted):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, right, err_msg=name)


def test_the_calls_read_like_the_rule():
    text, buffers = blocked.source(optim.Momentum.rule)
    assert text.splitlines() == [
        "def update(w, g, v, s0, s1, _t0):",
        "    np.multiply(s0, v, out=v)",
        "    np.multiply(s1, g, out=_t0)",
        "    np.subtract(v, _t0, out=v)",
        "    np.add(w, v, out=w)",
    ]
    assert buffers == ["_t0"]


def test_no_rule_of_the_library_takes_more_than_six_buffers():
    assert max(len(blocked.source(rule)[1]) for rule in RULES) <= 6


def test_large_vectors_go_through_the_calls_and_small_ones_through_the_author(monkeypatch):
    seen = []
    monkeypatch.setattr(compiled, "PATIENCE", float("inf"))
    loop = compiled.Loop(optim.SGD.rule, np.dtype("float32"))
    monkeypatch.setattr(loop, "_blocks", lambda arrays, hoisted: seen.append("blocks"))
    monkeypatch.setattr(loop, "_plain", lambda arrays, scalars: seen.append("plain"))
    for size in (10, compiled.SMALL, compiled.SMALL + 1):
        loop([np.zeros(size, "float32")] * 2, {"lr": 0.1}, [0.1])
    assert seen == ["plain", "plain", "blocks"]
