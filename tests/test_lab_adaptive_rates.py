"""What is said of the rates of single weights is predicted by formulas whose mistakes would be
noticed."""

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.lab import adaptive_rates as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.adaptive_rates import (
    EXPERIMENT,
    RULES,
    adaptive_rates,
    first_steps,
    learn,
    respond,
    wander,
)


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
    ("ADAGRAD_POWER", -0.52, "as a power"),
])  # fmt: skip
def test_a_wrong_formula_fails(found, monkeypatch, which, wrong, caught):
    monkeypatch.setattr(theory, which, wrong)
    responses = found.responses
    claims = [
        *module._of_learning(found.learnt, found.often, module.frequency_power(found.often, 1)),
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
