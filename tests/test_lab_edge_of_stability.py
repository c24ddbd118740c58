"""The sharpness of a network in training ends where the theory says, and a wrong theory would not
be met."""

import sys

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.data import load_digits
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.edge_of_stability import (
    EVERY,
    EXPERIMENT,
    RUNS,
    Run,
    _claims,
    edge_of_stability,
)


@pytest.fixture(scope="module")
def short():
    return edge_of_stability(images=100, steps=200, seed=1)


def run(sharpness, loss, limit=1.0):
    steps = np.arange(0, EVERY * len(sharpness), EVERY)
    return Run("SGD", "SGD", limit, np.array(loss, float), steps, np.array(sharpness, float))


def test_the_sharpness_rises_by_itself(short):
    for one in short.runs:
        assert one.sharpness[-1] > 1.5 * one.sharpness[0]
        assert one.sharpness[0] < 0.5 * one.limit


def test_what_is_recorded_is_what_happened(short):
    assert [one.name for one in short.runs] == [name for name, _, _ in RUNS]
    for one in short.runs:
        assert one.loss.shape == (200,)
        assert list(one.steps) == list(range(0, 200, EVERY))
        assert one.sharpness.shape == one.steps.shape
        assert one.loss[-1] < 0.7 * one.loss[0]
    starts = {one.loss[0] for one in short.runs} | {one.sharpness[0] for one in short.runs}
    assert len(starts) == 2  # all begin at one place


def test_the_loss_and_the_limits_are_those_of_the_network_and_the_rates(short):
    pixels, digits = load_digits()[0]
    chosen = np.random.default_rng(1).choice(len(pixels), 100, replace=False)
    x = pixels[chosen].astype("float64")
    y = np.where(digits[chosen] % 2 == 1, 1.0, -1.0)
    tg.manual_seed(1)
    model = tg.nn.MLP([64, 10, 1], activation="tanh").astype("float64")
    scores = model(x - x.mean(axis=0)).numpy()[:, 0]
    assert short.runs[0].loss[0] == pytest.approx(np.mean((scores - y) ** 2), rel=1e-12)
    limits = [one.limit for one in short.runs]
    assert limits == pytest.approx([8.0, 6.0, 2 * 1.5 / 0.4, 2 * 1.9 / 2.8 / 0.15])


def test_gradient_descent_hovers_at_its_limit_and_a_wrong_one_fails(monkeypatch):
    module = sys.modules["tinygrad_opt.lab.edge_of_stability"]
    monkeypatch.setattr(module, "RUNS", RUNS[1:2])
    finding = edge_of_stability(images=200, steps=1500, seed=2)
    assert finding.holds
    monkeypatch.setitem(theory.LIMITS, "gradient descent", lambda mu: 2.2)
    failed = [claim.what for claim in _claims(
        [Run(one.name, one.optimizer, theory.stability_limit("gradient descent") * 3, one.loss,
             one.steps, one.sharpness) for one in finding.runs]
    ) if not claim.holds]  # fmt: skip
    assert failed[0] == "late sharpness, SGD, α = 1/3"


def test_the_mean_of_the_last_quarter_is_what_counts():
    assert run([9, 9, 9, 9, 9, 9, 2, 4], [1.0]).late == 3.0


def test_the_step_at_which_the_limit_was_passed_and_the_rises_after_it():
    one = run([0.5, 1.5, 0.9, 1.1], -np.arange(4 * EVERY) % 4)  # 0 3 2 1 0 3 2 1
    assert one.passed == EVERY
    assert one.rises == pytest.approx(0.25, abs=0.01)
    never = run([0.5, 0.9], np.zeros(2 * EVERY))
    assert (never.passed, never.rises) == (None, 0.0)


@pytest.mark.parametrize(("sharpness", "loss", "words"), [
    ([0.5, 1.01, 1.0, 1.0], [3] * EVERY + [2] * EVERY + [1], []),
    ([0.5, 1.5, 0.9, 0.9], [3] * EVERY + [2] * EVERY + [1], ["late"]),
    ([0.5, 0.99, 0.99, 0.99], [3] * EVERY + [2] * EVERY + [1], ["passed"]),
    ([0.5, 1.01, 1.0, 1.0], [3] * EVERY + [2] * EVERY + [4], ["passed"]),
])  # fmt: skip
def test_a_claim_fails_for_a_sharpness_elsewhere_and_for_a_loss_that_has_risen(
    sharpness, loss, words
):
    failed = [claim.what for claim in _claims([run(sharpness, loss)]) if not claim.holds]
    assert len(failed) == len(words)
    assert all(word in what for word, what in zip(words, failed))


@pytest.mark.parametrize("bad", [{"images": 1}, {"images": 1438}, {"steps": 99}, {"seed": -1}])
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"edge_of_stability: {next(iter(bad))}"):
        edge_of_stability(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "edge-of-stability"
    assert EXPERIMENT.note == "Not using Learning Rate means dangling of Loss function."
