"""The rate of each weight is what moved it, for every rule that has one."""

import numpy as np
import pytest

from tinygrad_opt import backend, optim
from tinygrad_opt.lab.adaptive_rates import _mean_so_far
from tinygrad_opt.lab.effective_rate import effective_rate
from tinygrad_opt.optim import schedules
from tinygrad_opt.tensor import Tensor

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

FOLLOW_G = {
    "SGD": lambda w: optim.SGD(w, lr=0.1),
    "Adagrad": lambda w: optim.Adagrad(w, lr=0.1, lr_decay=0.3, initial=0.2),
    "RMSProp": lambda w: optim.RMSProp(w, lr=0.1),
    "RMSProp centred": lambda w: optim.RMSProp(w, lr=0.1, centered=True),
    "RMSProp inside": lambda w: optim.RMSProp(w, lr=0.1, eps=0.1, eps_inside=True),
    "ASGD": lambda w: optim.ASGD(w, lr=0.1, lambd=0.0),
    "l2": lambda w: optim.RMSProp(w, lr=0.1, l2=0.3),
    "schedule": lambda w: optim.Adagrad(w, lr=schedules.exponential(0.1, 0.7)),
}
FOLLOW_MEAN = {
    "Adam": lambda w: optim.Adam(w, lr=0.1),
    "Adam, schedule": lambda w: optim.Adam(w, lr=schedules.exponential(0.1, 0.7)),
    "AMSGrad": lambda w: optim.AMSGrad(w, lr=0.1),
    "AdamW": lambda w: optim.AdamW(w, lr=0.1, weight_decay=0.0),
    "RAdam": lambda w: optim.RAdam(w, lr=0.1, beta2=0.8),
}


def steps_of(make, count=7, seed=0, dtype="float64"):
    """After each step the optimizer, the gradient, how far down it went, and the mean so far."""
    draws = np.random.default_rng(seed)
    w = Tensor(draws.standard_normal((2, 3)).astype(dtype), requires_grad=True)
    optimizer = make([("w", w)])
    seen = []
    for _ in range(count):
        g = draws.standard_normal((2, 3)).astype(dtype)
        g = g * np.array([1.0, 100.0, 0.01], dtype)
        before = w.numpy()
        w.grad = backend.asarray(g)
        optimizer.step()
        l2 = optimizer.groups[0]["l2"]
        seen.append(g + l2 * before)
        yield optimizer, seen[-1], before - w.numpy(), _mean_so_far(
            np.reshape(seen, (len(seen), -1)), 0.9).reshape(2, 3)  # fmt: skip


@everywhere
@pytest.mark.parametrize("make", FOLLOW_G.values(), ids=FOLLOW_G)
def test_the_rate_times_the_gradient_is_how_far_each_weight_went_down(make):
    for optimizer, g, moved, _ in steps_of(make):
        rate = effective_rate(optimizer, "w")
        assert rate.shape == (2, 3)
        np.testing.assert_allclose(rate * g, moved, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(effective_rate(optimizer, "w", of="g"), rate)


@everywhere
@pytest.mark.parametrize("make", FOLLOW_MEAN.values(), ids=FOLLOW_MEAN)
def test_for_adam_and_its_kin_it_is_the_rate_times_the_mean_gradient(make):
    for optimizer, _, moved, mean in steps_of(make, count=12):
        np.testing.assert_allclose(effective_rate(optimizer, "w") * mean, moved, atol=1e-13)


@everywhere
@pytest.mark.parametrize("make", [
    lambda w: optim.Adam(w, lr=0.1, form="eps_hat"), lambda w: optim.Adamax(w, lr=0.1),
])  # fmt: skip
def test_where_the_correction_is_folded_into_the_rate_it_is_that_of_m(make):
    for optimizer, _, moved, _ in steps_of(make):
        m = optimizer.state_dict()["slots"]["w"]["m"]
        np.testing.assert_allclose(effective_rate(optimizer, "w") * m, moved, atol=1e-13)


@everywhere
def test_nadam_follows_its_own_mixture_of_mean_and_gradient():
    for optimizer, _, moved, _ in steps_of(lambda w: optim.NAdam(w, lr=0.1)):
        v_hat = optimizer.state_dict()["slots"]["w"]["v"] / (1 - 0.999**optimizer.t)
        np.testing.assert_allclose(effective_rate(optimizer, "w"), 0.1 / (v_hat**0.5 + 1e-8))
        assert np.isfinite(moved).all()


@everywhere
def test_the_rate_has_the_dtype_of_the_weights():
    for optimizer, g, moved, _ in steps_of(FOLLOW_G["RMSProp"], dtype="float32"):
        rate = effective_rate(optimizer, "w")
        assert rate.dtype == np.float32
        np.testing.assert_allclose(rate * g, moved, rtol=1e-4, atol=1e-6)


@everywhere
def test_a_weight_that_never_had_a_gradient_has_an_infinite_rate_without_epsilon():
    w = Tensor(np.zeros(2), requires_grad=True)
    optimizer = optim.Adagrad([("w", w)], lr=0.1, eps=0.0)
    w.grad = [2.0, 0.0]
    optimizer.step()
    np.testing.assert_array_equal(effective_rate(optimizer, "w"), [0.05, np.inf])


class Own(optim.Optimizer):
    def rule(w, g, s, *, t, lr):
        s = s + np.abs(g)
        rate = lr * t / s
        w = w - rate * g
        return w, s

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})


@everywhere
def test_a_rule_of_ones_own_has_a_rate_too():
    for optimizer, g, moved, _ in steps_of(lambda w: Own(w, lr=0.1)):
        np.testing.assert_allclose(effective_rate(optimizer, "w") * g, moved, atol=1e-13)


@pytest.mark.parametrize("make", [
    lambda w: optim.Momentum(w, lr=0.1), lambda w: optim.Momentum(w, lr=0.1, form="torch"),
    lambda w: optim.Nesterov(w, lr=0.1, form="shifted"), lambda w: optim.RMSProp(w, mu=0.9),
    lambda w: optim.Lion(w), lambda w: optim.Rprop(w), lambda w: optim.Adadelta(w),
    lambda w: optim.ScheduleFree(w, lr=0.1), lambda w: optim.LAMB(w), lambda w: optim.Muon(w),
    lambda w: optim.Adafactor(w),
])  # fmt: skip
def test_a_rule_without_a_rate_for_each_weight_says_so(make):
    *_, (optimizer, *_) = steps_of(make, count=3)
    with pytest.raises(ValueError, match="no multiple of a gradient or of their mean"):
        effective_rate(optimizer, "w")


def test_what_cannot_be_asked_is_refused_with_the_reason():
    w = Tensor(np.ones(2), requires_grad=True)
    optimizer = optim.Adam([("weight", w)], lr=0.1)
    with pytest.raises(ValueError, match="no step is taken yet"):
        effective_rate(optimizer, "weight")
    optimizer.step()
    with pytest.raises(ValueError, match=r"no parameter is called 'weigth'.*weight"):
        effective_rate(optimizer, "weigth")
    with pytest.raises(ValueError, match="no multiple of g"):
        effective_rate(optimizer, "weight", of="g")
    with pytest.raises(TypeError, match=r"not a SAM; of a wrapper, the one inside"):
        effective_rate(optim.SAM(optimizer), "weight")
    lbfgs = optim.LBFGS([("w", w)])
    lbfgs.t = 1
    with pytest.raises(ValueError, match="no multiple"):
        effective_rate(lbfgs, "w")
