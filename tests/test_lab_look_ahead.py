"""Where the gradient was taken shows in how the weights move; limits and rates are those of theory,
and a wrong theory would be noticed."""

import numpy as np
import pytest

from tinygrad_opt.lab import look_ahead as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.look_ahead import (
    EXPERIMENT,
    METHODS,
    descend,
    fitted_rate,
    found_limit,
    inferred,
    look_ahead,
)
from tinygrad_opt.optim import Nesterov
from tinygrad_opt.optim.rule import Rule

VALLEY = np.array([1.0, 25.0])


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MUS", (0.9,))
        return look_ahead(lr=0.02, mu=0.8, condition=30.0, steps=25, seed=1)


def test_the_claims_hold_at_other_settings_and_from_another_seed(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert set(found.paths) == {"Momentum", "Nesterov", "Nesterov, shifted"}


def test_the_two_parts_of_each_step_make_it(found):
    for path in found.paths.values():
        moved = np.diff(path.weights, axis=0)
        np.testing.assert_allclose(path.kept + path.pushed, moved, atol=1e-15)


def test_what_momentum_keeps_is_mu_of_the_step_before(found):
    for name in ("Momentum", "Nesterov"):
        path = found.paths[name]
        moved = np.diff(path.weights, axis=0)
        np.testing.assert_allclose(path.kept[1:], 0.8 * moved[:-1], atol=1e-14)
        np.testing.assert_allclose(path.kept[0], 0, atol=1e-16)


def test_the_push_is_the_gradient_at_the_place_where_it_was_taken(found):
    curvatures = np.array([1.0, 30.0])
    for path in found.paths.values():
        np.testing.assert_allclose(path.pushed, -0.02 * curvatures * path.taken, atol=1e-15)
    ball, ahead = found.paths["Momentum"], found.paths["Nesterov"]
    np.testing.assert_array_equal(ball.taken, ball.weights[:-1])
    np.testing.assert_allclose(ahead.taken, ahead.weights[:-1] + ahead.kept, atol=1e-15)
    assert np.abs(ahead.taken[1:] - ahead.weights[1:-1]).max() > 0.1


def test_the_movement_alone_tells_one_place_from_the_other(found):
    curvatures = np.array([1.0, 30.0])
    for name in ("Momentum", "Nesterov"):
        path = found.paths[name]
        place = inferred(path, curvatures, 0.02, 0.8)
        np.testing.assert_allclose(place, path.taken[1:], atol=1e-10)


@pytest.mark.parametrize("mu", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", METHODS)
def test_the_limit_found_by_runs_is_the_one_predicted_at_other_momenta(name, mu):
    limit = theory.stability_limit(METHODS[name][1], mu)
    assert found_limit(name, mu, steps=300) == pytest.approx(limit, rel=0.01)


def test_a_fitted_rate_is_that_of_a_swing_that_shrinks():
    t = np.arange(300)
    assert fitted_rate(0.93**t * (1.5 + np.cos(0.7 * t))) == pytest.approx(0.93, rel=1e-3)


@pytest.mark.parametrize(("which", "wrong", "caught"), [
    ("LIMITS", {"Nesterov": lambda mu: 2.0}, "largest stable αλ, Nesterov"),
    ("LIMITS", {"Nesterov": lambda mu: 2 * (1 + mu) / (2 + mu)}, "at 1.01 of its limit"),
    ("CHARACTERISTIC", {"Nesterov": theory.CHARACTERISTIC["heavy ball"]}, "a swing"),
])  # fmt: skip
def test_a_wrong_formula_fails(monkeypatch, which, wrong, caught):
    monkeypatch.setattr(theory, which, getattr(theory, which) | wrong)
    monkeypatch.setattr(module, "MUS", (0.9,))
    failed = [claim for claim in look_ahead(lr=0.01, steps=5).claims if not claim.holds]
    assert any(caught in claim.what for claim in failed)


def test_a_look_ahead_that_stays_where_it_is_fails(monkeypatch):
    class Stays:
        @Rule
        def ahead(w, v, *, mu):
            w = w + (1 - 1) * mu * v
            return (w,)

    monkeypatch.setattr(Nesterov, "ahead", Stays.ahead)
    path = descend("Nesterov", 0.02, 0.9, VALLEY, (1.0, 1.0), 20)
    off = module._of_places({"Momentum": path, "Nesterov": path}, VALLEY, 0.02, 0.9)
    assert [claim.holds for claim in off] == [True, False]


@pytest.mark.parametrize("bad", [
    {"lr": 0.0}, {"lr": 0.06}, {"lr": float("nan")}, {"mu": 0.0}, {"mu": 1.0},
    {"condition": 0.5}, {"condition": float("inf")}, {"steps": 1}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"look_ahead: {next(iter(bad))}"):
        look_ahead(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "look-ahead"
    assert EXPERIMENT.note == 'Uses the "LOOK AHEAD" gradient update mechanism.'
