"""The rate of each weight is what moved it, for every rule that has one; and what is said of rates
is predicted by formulas whose mistakes would be noticed."""

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.lab import adaptive_rates as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.adaptive_rates import (
    EXPERIMENT,
    RULES,
    adaptive_rates,
    effective_rate,
    first_steps,
    learn,
    respond,
    wander,
)
from tinygrad_opt.optim import schedules
from tinygrad_opt.tensor import Tensor

# ---- the rate of a weight ----

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
        before = w.numpy().copy()
        w.grad = g
        optimizer.step()
        l2 = optimizer.groups[0]["l2"]
        seen.append(g + l2 * before)
        yield optimizer, seen[-1], before - w.numpy(), module._mean_so_far(
            np.reshape(seen, (len(seen), -1)), 0.9).reshape(2, 3)  # fmt: skip


@pytest.mark.parametrize("make", FOLLOW_G.values(), ids=FOLLOW_G)
def test_the_rate_times_the_gradient_is_how_far_each_weight_went_down(make):
    for optimizer, g, moved, _ in steps_of(make):
        rate = effective_rate(optimizer, "w")
        assert rate.shape == (2, 3)
        np.testing.assert_allclose(rate * g, moved, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(effective_rate(optimizer, "w", of="g"), rate)


@pytest.mark.parametrize("make", FOLLOW_MEAN.values(), ids=FOLLOW_MEAN)
def test_for_adam_and_its_kin_it_is_the_rate_times_the_mean_gradient(make):
    for optimizer, _, moved, mean in steps_of(make, count=12):
        np.testing.assert_allclose(effective_rate(optimizer, "w") * mean, moved, atol=1e-13)


@pytest.mark.parametrize("make", [
    lambda w: optim.Adam(w, lr=0.1, form="eps_hat"), lambda w: optim.Adamax(w, lr=0.1),
])  # fmt: skip
def test_where_the_correction_is_folded_into_the_rate_it_is_that_of_m(make):
    for optimizer, _, moved, _ in steps_of(make):
        m = optimizer.state_dict()["slots"]["w"]["m"]
        np.testing.assert_allclose(effective_rate(optimizer, "w") * m, moved, atol=1e-13)


def test_nadam_follows_its_own_mixture_of_mean_and_gradient():
    for optimizer, _, moved, _ in steps_of(lambda w: optim.NAdam(w, lr=0.1)):
        v_hat = optimizer.state_dict()["slots"]["w"]["v"] / (1 - 0.999**optimizer.t)
        np.testing.assert_allclose(effective_rate(optimizer, "w"), 0.1 / (v_hat**0.5 + 1e-8))
        assert np.isfinite(moved).all()


def test_the_rate_has_the_dtype_of_the_weights():
    for optimizer, g, moved, _ in steps_of(FOLLOW_G["RMSProp"], dtype="float32"):
        rate = effective_rate(optimizer, "w")
        assert rate.dtype == np.float32
        np.testing.assert_allclose(rate * g, moved, rtol=1e-4, atol=1e-6)


def test_a_weight_that_never_had_a_gradient_has_an_infinite_rate_without_epsilon():
    w = Tensor(np.zeros(2), requires_grad=True)
    optimizer = optim.Adagrad([("w", w)], lr=0.1, eps=0.0)
    w.grad = np.array([2.0, 0.0])
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


# ---- the experiment ----


@pytest.fixture(scope="module")
def found():
    return adaptive_rates(weights=24, steps=300, replicas=2000, seed=1)


def test_the_claims_hold_at_another_size_and_from_another_seed(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]


def test_all_learn_and_a_rate_is_there_once_the_feature_was(found):
    for name, run in found.learnt.items():
        there = np.isfinite(run.rates)
        assert (there[1:] >= there[:-1]).all()  # it stays
        assert there[0, 0]
        assert run.loss[-100:].mean() < run.loss[:100].mean(), name


def test_adagrads_rates_only_shrink_and_those_of_the_others_come_back(found):
    with np.errstate(invalid="ignore"):
        rises = {name: (np.diff(run.rates, axis=0) > 0).any(axis=0)
                 for name, run in found.learnt.items()}  # fmt: skip
    assert not rises["Adagrad"].any()
    assert rises["RMSProp"][-8:].any()
    assert rises["Adam"][-8:].any()


def test_the_runs_see_the_same_samples_and_seeds_differ():
    often = np.geomspace(1, 0.01, 10)
    first, second = learn("RMSProp", often, 20, 3), learn("Adam", often, 20, 3)
    np.testing.assert_array_equal(np.isfinite(first.rates), np.isfinite(second.rates))
    assert first.loss[0] == second.loss[0] != learn("Adam", often, 20, 4).loss[0]


def test_a_mean_so_far_counts_old_gradients_less():
    gradients = np.array([[1.0], [2.0], [4.0]])
    expected = (4 + 2 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4)
    assert module._mean_so_far(gradients, 0.5) == pytest.approx([expected])


def test_the_uncorrected_steps_are_those_of_a_rule_that_does_not_correct():
    m = v = 0.0
    for length in first_steps(corrected=False, steps=20):
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        assert length == pytest.approx(m / v**0.5)
    np.testing.assert_allclose(first_steps(corrected=True, steps=20), 1.0)


def test_the_weight_of_the_example_stays_in_its_interval_and_drifts_as_the_paper_says():
    for make, sign in ((optim.Adam, 1), (optim.AMSGrad, -1)):
        path = wander(make, cycles=60)
        assert path.shape == (60 * 101, 3)
        assert np.abs(path).max() <= 1
        means = path.reshape(60, 101, 3).mean(axis=1)
        assert (sign * (means[-1] - means[10]) > -1e-3).all()
        assert (sign * (means[-1] - means[4]))[1] > 0.1  # from the middle


@pytest.mark.parametrize(("which", "wrong", "caught"), [
    ("adagrad_rate", lambda lr, g, t: lr / (abs(g) * t), "Adagrad: rate after 1,000 steps"),
    ("rmsprop_rate", lambda lr, g, rho, t=0: lr / abs(g), "RMSProp: rate after 1 / (1 - ρ)"),
    ("adam_step", lambda lr, g, eps: lr, "|g| = 1e-08"),
    ("uncorrected_adam_step", lambda lr, b1, b2, t=1: lr * (1 - b1) / (1 - b2), "without bias"),
    ("running_mean", lambda before, now, beta, k: now, "mean of m"),
    ("recovery", lambda rho: 1 / rho, "absent feature grows"),
    ("ADAGRAD_POWER", -1.0, "as a power"),
])  # fmt: skip
def test_a_wrong_formula_fails(found, monkeypatch, which, wrong, caught):
    monkeypatch.setattr(theory, which, wrong)
    responses = found.responses
    claims = [
        *module._of_learning(found.learnt, found.often),
        *module._of_responses(responses, {n: module._predicted(n, found.gradients) for n in RULES}),
        *module._of_first_steps(found.first_steps), *module._of_the_mean(2000, 1),
    ]  # fmt: skip
    failed = [claim.what for claim in claims if not claim.holds]
    assert any(caught in what for what in failed)
    assert len(failed) < len(claims) / 2


def test_a_rule_that_forgets_its_epsilon_or_its_root_would_be_seen(monkeypatch):
    class Rootless(optim.Adagrad):
        def rule(w, g, G, *, t, lr, eps, lr_decay):
            G = G + g**2
            w = w - lr / (1 + (t - 1) * lr_decay) * g / (G + eps)
            return w, G

    monkeypatch.setitem(RULES, "Adagrad", Rootless)
    assert respond("Adagrad", np.full(100, 2.0))[-1] != pytest.approx(
        theory.adagrad_rate(0.01, 2.0, 100), rel=0.1
    )
    assert any(not claim.holds and "1,000 times as large" in claim.what
               for claim in module._of_scale(0))  # fmt: skip


@pytest.mark.parametrize("bad", [
    {"weights": 7}, {"steps": 99}, {"replicas": 99}, {"seed": -1}, {"steps": 100.5},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises((ValueError, TypeError), match=rf"adaptive_rates: {next(iter(bad))}"):
        adaptive_rates(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "adaptive-rates"
    assert EXPERIMENT.note == (
        "We use Adaptive LR, used by Adam, Adagrad(which also uses diff. alpha for diff. weights)"
    )
