"""Runs fall, dangle and diverge where the formulas say, and a wrong formula would be noticed."""

import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.descent import FATES, METHODS
from tinygrad_opt.lab.learning_rate import (
    EXPERIMENT,
    Edge,
    _claims,
    _edge,
    _linear_model,
    _quadratic,
    learning_rate,
)


@pytest.fixture(scope="module")
def found():
    return learning_rate(seed=1, mu=0.75, steps=50)


def test_the_claims_hold_from_another_seed_and_at_another_momentum(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert [edge.problem for edge in found.edges] == ["quadratic"] * 4 + ["linear model"] * 4
    assert [edge.method for edge in found.edges[:4]] == list(theory.LIMITS) == list(METHODS)


def test_every_limit_is_found_to_a_ten_thousandth(found):
    for edge in found.edges:
        assert edge.measured == pytest.approx(edge.predicted, rel=1e-4)
        assert edge.fates == list(FATES)


def test_without_a_learning_rate_the_weight_jumps_between_two_places_for_ever(found):
    (path,) = (path for path in found.paths if path.lr == 1)
    np.testing.assert_array_equal(path.w, [1.0, -1.0] * 25 + [1.0])
    np.testing.assert_array_equal(path.loss, np.ones(51))


def test_the_other_paths_shrink_and_grow_by_the_same_share_each_step(found):
    assert [path.lr for path in found.paths] == [0.3, 1.0, 1.05]
    for path, factor in zip(found.paths, (0.4, -1.0, -1.1)):
        np.testing.assert_allclose(path.w, factor ** np.arange(len(path.w)), rtol=1e-12)


@pytest.mark.parametrize("wrong", [
    ("Nesterov", lambda mu: 2.0),  # as plain gradient descent
    ("heavy ball", lambda mu: 2 * (1 + mu) / (1 - mu)),  # that of the mean
    ("heavy ball", lambda mu: 2 * (1 + mu) * 1.002),
    ("gradient descent", lambda mu: 1.99),
])  # fmt: skip
def test_a_wrong_limit_fails(found, wrong, monkeypatch):
    method, formula = wrong
    monkeypatch.setitem(theory.LIMITS, method, formula)
    edge = _edge(method, "quadratic", _quadratic, 0.9 if method != "gradient descent" else 0.0, 0)
    failed = [claim.what for claim in _claims(found.paths, [edge]) if not claim.holds]
    assert failed
    assert all(f", {method}, " in what for what in failed)


def test_a_wrong_change_of_the_loss_fails(found, monkeypatch):
    monkeypatch.setattr(theory, "loss_change", lambda lr, curvature, gradient: -lr * gradient**2)
    failed = [claim.what for claim in _claims(found.paths, found.edges) if not claim.holds]
    assert len([what for what in failed if what.startswith("ΔL of the first step")]) == 3
    assert any("without a learning rate" in what for what in failed)


def test_an_optimizer_with_another_rule_is_noticed(monkeypatch):
    class Hasty(tg.optim.Optimizer):
        def rule(w, g, *, lr):
            w = w - 1.002 * lr * g
            return (w,)

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

    monkeypatch.setattr(theory, "method_of", lambda optimizer: "gradient descent")
    monkeypatch.setitem(METHODS, "gradient descent", lambda w, lr, mu: Hasty(w, lr))
    edge = _edge("gradient descent", "quadratic", _quadratic, 0.0, 0)
    assert edge.measured == pytest.approx(edge.predicted / 1.002, rel=1e-4)


def test_the_generator_of_the_library_is_left_where_it_was():
    tg.manual_seed(3)
    _linear_model(0)
    assert tg.backend.generator().random() == np.random.default_rng(3).random()


def test_the_linear_model_is_least_squares():
    weights, loss = _linear_model(3)
    full = [t.data.copy() for t in weights]
    gradient = tg.grad(loss(), weights)
    for t, x in zip(weights, full):
        t.data = x + 1.0
    moved = tg.grad(loss(), weights)
    for t, x in zip(weights, full):
        t.data = x + 2.0
    again = tg.grad(loss(), weights)
    for first, second, third in zip(gradient, moved, again):  # the gradient is linear
        np.testing.assert_allclose(third - second, second - first, rtol=1e-9)


@pytest.mark.parametrize("bad", [
    {"rates": (0.0,)}, {"rates": (-1.0,)}, {"rates": (math.nan,)}, {"rates": (101.0,)},
    {"mu": 0.0}, {"mu": 0.91}, {"mu": math.nan}, {"steps": 1}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"learning_rate: {next(iter(bad))}"):
        learning_rate(**bad)


def test_an_edge_is_named_with_its_momentum():
    values = {"optimizer": "", "problem": "", "sharpness": 1.0, "predicted": 1.0, "measured": 1.0,
              "moves": {}}  # fmt: skip
    assert Edge("gradient descent", mu=0.0, **values).name == "gradient descent"
    assert Edge("Nesterov", mu=0.9, **values).name == "Nesterov, μ=0.9"


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "learning-rate"
    assert EXPERIMENT.note == (
        "Relationship between Loss and Wieght changes. "
        "Not using Learning Rate means dangling of Loss function."
    )
