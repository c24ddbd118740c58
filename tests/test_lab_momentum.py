"""The memory of momentum and its best settings are what the formulas say, and wrong ones fail."""

import math

import numpy as np
import pytest

from tinygrad_opt.lab import momentum as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.momentum import (
    EXPERIMENT,
    METHODS,
    measured_rate,
    momentum,
    remember,
    run_band,
    run_tuned,
)

SMALL = {"mus": (0.5, 0.75), "conditions": (4, 7)}


@pytest.fixture(scope="module")
def found():
    return momentum(**SMALL, seed=3)


def test_the_claims_hold_from_another_seed_at_other_momenta_and_conditions(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert list(found.memories) == [0.5, 0.75]
    assert [run.condition for run in found.tuned] == [4, 7] * len(METHODS)
    assert list(found.bands) == [0.0, 0.5, 0.75]


# ---- the memory ----


@pytest.mark.parametrize(("mu", "seed"), [(0.3, 0), (0.9, 1)])
def test_what_is_left_of_a_gradient_shrinks_by_mu_a_step_whatever_comes_after_it(mu, seed):
    memory = remember(mu, seed)
    np.testing.assert_allclose(memory.left[:20], mu ** np.arange(20), rtol=0, atol=1e-11)
    assert memory.travel == pytest.approx(memory.left.sum(), rel=1e-9)


def test_the_half_life_is_the_age_at_which_half_is_left_between_two_steps_if_need_be():
    for mu, age in ((0.25, 0.5), (0.5, 1.0), (math.sqrt(0.5), 2.0), (0.9, 6.578813479)):
        assert remember(mu).half_life == pytest.approx(age, rel=1e-9)


# ---- the speed ----


def test_the_rate_is_that_of_the_slowest_direction_over_the_last_half():
    # At α = 0.1, curvature 1 shrinks by 0.9 a step and curvature 4 by 0.6: both can be said at once
    assert measured_rate("gradient descent", 0.1, 0.0, 4.0) == pytest.approx(0.9, rel=1e-9)
    # and at α = 0.6 the steep one grows, by 1.4
    assert measured_rate("gradient descent", 0.6, 0.0, 4.0) == pytest.approx(1.4, rel=1e-9)


@pytest.mark.parametrize(("lr", "mu"), [(0.05, 0.5), (0.3, 0.2), (0.2, 0.8), (0.9, 0.4)])
def test_the_rate_away_from_the_optimum_is_the_largest_root(lr, mu):
    expected = theory.convergence_rate("heavy ball", lr, mu, (1.0, 10.0))
    assert measured_rate("heavy ball", lr, mu, 10.0, seed=5) == pytest.approx(expected, rel=0.005)


def test_on_the_double_root_what_is_missing_is_the_logarithm_of_two_over_half_the_steps():
    run = run_tuned("Momentum", 100.0)
    late = math.log(run.measured / run.predicted)
    steps = 100 * math.log(10) / -math.log(run.predicted)  # about, until 10⁻¹⁰⁰
    assert late == pytest.approx(math.log(2) / (steps / 2), rel=0.1)


def test_the_neighbours_of_an_optimum_are_two_of_one_setting_and_eight_of_two(found):
    tried = {(run.name, run.condition): run.around for run in found.tuned if run.around}
    assert tried == {("SGD", 7): 2, ("Momentum", 7): 8, ("Nesterov", 7): 8}
    assert all(run.slower == run.around for run in found.tuned)


def test_a_setting_that_is_not_the_best_is_told_by_a_faster_neighbour(monkeypatch):
    def too_slow(condition):
        lr, mu, rate = theory.best_heavy_ball(1.0, condition)
        return lr * 0.95, mu, rate

    monkeypatch.setitem(METHODS, "Momentum", ("heavy ball", too_slow))
    run = run_tuned("Momentum", 10.0)
    module._try_neighbours(run, 0)
    assert 0 < run.slower < run.around == 8


# ---- the condition ----


def test_in_the_band_that_rings_every_direction_shrinks_by_the_root_of_mu():
    band = run_band(0.6)
    root = math.sqrt(0.6)
    inside = (band.steps > 1.02 * (1 - root) ** 2) & (band.steps < 0.98 * (1 + root) ** 2)
    np.testing.assert_allclose(band.rates[inside], root, rtol=0.01)
    above = band.steps > 1.01 * theory.stability_limit("heavy ball", 0.6)
    assert above.sum() > 10
    assert np.isinf(band.rates[above]).all()
    assert np.isfinite(band.rates[band.steps < 3.1]).all()


def test_the_rate_for_a_condition_takes_the_best_alpha_for_both_ends():
    band = run_band(0.0)  # gradient descent: (κ - 1) / (κ + 1)
    for condition in (30.0, 1000.0):
        expected = theory.best_step(1.0, condition)[1]
        assert 1 - band.rate(condition) == pytest.approx(1 - expected, rel=0.01)
    assert band.rate(1.0) == band.rates.min() == 0.0  # at αλ = 1 it is there in one step


@pytest.mark.parametrize(("name", "wrong", "caught"), [
    ("effective_memory", lambda mu: 1 / (1 - mu) - 1, "moves a weight in all"),
    ("old_gradient", lambda mu, age: mu ** (age + 1), "10 steps old"),
    ("half_life", lambda mu: 1.01 * math.log(0.5) / math.log(mu), "until half"),
    ("condition_for", lambda mu: 1 / (1 - mu) ** 2, "that rings"),
    ("condition_for", lambda mu: 1e4 / (1 - mu) ** 2, "the fastest"),
])  # fmt: skip
def test_a_wrong_formula_fails(found, monkeypatch, name, wrong, caught):
    monkeypatch.setattr(theory, name, wrong)
    claims = module._of_memory(found.memories) + module._of_conditions(found.bands)
    assert any(caught in claim.what for claim in claims if not claim.holds)


@pytest.mark.parametrize(("method", "name", "wrong"), [
    ("SGD", "best_step", lambda m, k: (1 / k, 1 - m / k - 0.1)),
    ("Momentum", "best_heavy_ball", lambda m, k: (1 / k, 0.5, 0.5)),
    ("Nesterov", "best_nesterov", theory.standard_nesterov),
])  # fmt: skip
def test_settings_that_are_not_the_best_fail(monkeypatch, method, name, wrong):
    monkeypatch.setattr(theory, name, wrong)
    run = run_tuned(method, 10.0)
    module._try_neighbours(run, 0)
    assert not all(claim.holds for claim in module._of_speed([run]))


@pytest.mark.parametrize("bad", [
    {"mus": ()}, {"mus": (0.0,)}, {"mus": (1.0,)}, {"mus": (0.5, 0.5)}, {"conditions": ()},
    {"conditions": (1.0,)}, {"conditions": (math.inf,)}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"momentum: {next(iter(bad))}"):
        momentum(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "momentum"
    assert EXPERIMENT.note.splitlines()[0] == (
        "Smaller the μ value, sooner the previous gradient value is discarded. Closer it is to 1, "
        "their effect continues for longer time."
    )
