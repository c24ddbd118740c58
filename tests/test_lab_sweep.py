"""Every cell of the map is a run of a real optimizer, and a wrong curve is told by the cells."""

import functools
import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab import sweep as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.descent import METHODS
from tinygrad_opt.lab.sweep import (
    EXPERIMENT,
    Map,
    checked_grid,
    predicted_shrink,
    sweep,
    sweep_digits,
)

SMALL = {"mus": (0.0, 0.5, 0.9), "rates": tuple(np.geomspace(0.3, 5.0, 14)), "steps": 200}


@pytest.fixture(scope="module")
def found():
    return sweep(**SMALL, seed=4)


def test_the_claims_hold_for_every_method(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert list(found.maps) == ["heavy ball", "Nesterov"]
    others = sweep(["heavy ball, ema", "gradient descent"], (0.0, 0.8),
                   np.geomspace(1.0, 30.0, 9), steps=200, condition=20)  # fmt: skip
    assert others.holds, [claim.row() for claim in others.claims if not claim.holds]
    for made in others.maps.values():
        assert 0 < made.diverged.sum() < made.diverged.size


@pytest.mark.parametrize("method", ["heavy ball", "Nesterov", "heavy ball, ema"])
def test_a_cell_of_a_row_is_the_run_of_an_optimizer_with_that_rate(method):
    mus, rates = (0.2, 0.6), (0.1, 0.7, 1.1)
    made = sweep([method], mus, rates, steps=200, condition=10, seed=2).maps[method]
    draws = np.random.default_rng([2, 0x73776570])
    across, _ = np.linalg.qr(draws.standard_normal((8, 8)))
    hessian = across * np.geomspace(0.1, 1.0, 8) @ across.T
    start = across @ draws.choice([-1.0, 1.0], 8)
    for row, column in ((0, 0), (1, 1), (1, 2)):
        w = tg.Tensor(start.copy(), requires_grad=True)
        optimizer = METHODS[method]([("w", w)], rates[column], mus[row])

        def closure(w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((w @ hessian) * w).sum() * 0.5
            loss.backward()
            return loss

        for _ in range(200):
            optimizer.step(closure)
        ends = [p @ hessian @ p / 2 for p in (start, w.data)]
        assert made.loss[row, column] == pytest.approx(ends[1] / ends[0], rel=1e-6)


def test_the_rate_of_a_cell_is_that_of_the_root_and_a_lost_cell_has_none(found):
    for made in found.maps.values():
        assert np.isinf(made.loss[made.rates > 4.5 * np.ones_like(made.mus)[:, None]]).all()
        expected = predicted_shrink(made)
        stable = ~made.diverged
        np.testing.assert_allclose(made.shrink[stable], expected[stable], atol=0.01)
        assert (expected[made.diverged] > 1).all()


def test_the_shrinking_is_measured_before_the_loss_is_too_small_to_be_seen():
    assert module._shrink(0.01 ** np.arange(300.0)) == pytest.approx(0.1)
    assert module._shrink(0.01 ** np.arange(90.0)) == pytest.approx(0.1)
    assert module._shrink(np.array([1.0, 0.0, 0.0])) == 0.0
    swing = 0.9 ** np.arange(500) * np.cos(0.7 * np.arange(500)) ** 2
    assert module._shrink(swing) == pytest.approx(math.sqrt(0.9), rel=0.005)


def test_cells_near_the_curve_are_not_judged_and_all_others_are():
    made = Map("gradient descent", "bowl", np.array([0.0, 0.5]), np.array([1.9, 1.95, 2.05, 2.1]),
               1.0, np.zeros((2, 4)), np.array([[False, False, True, True],
                                                [True, True, False, False]]))  # fmt: skip
    assert made.wrong_side() == (2, 4)
    assert made.wrong_side(0.01) == (4, 8)


@pytest.mark.parametrize(("method", "wrong"), [
    ("heavy ball", lambda mu: 2.0), ("heavy ball", lambda mu: 2 * (1 + mu) / (1 - mu)),
    ("Nesterov", lambda mu: 2 * (1 + mu)), ("Nesterov", lambda mu: 2.0),
])  # fmt: skip
def test_a_wrong_curve_has_cells_on_its_wrong_side(found, monkeypatch, method, wrong):
    monkeypatch.setitem(theory.LIMITS, method, wrong)
    failed = [claim.what for claim in module._of_maps(found.maps) if not claim.holds]
    assert [what for what in failed if f"wrong side of the curve, {method}" in what]


def test_a_wrong_root_fails(found, monkeypatch):
    monkeypatch.setitem(theory.CHARACTERISTIC, "Nesterov", theory.CHARACTERISTIC["heavy ball"])
    failed = [claim.what for claim in module._of_maps(found.maps) if not claim.holds]
    assert any("farthest" in what and "Nesterov" in what for what in failed)


def test_a_wrong_rule_is_told_by_its_cells(monkeypatch):
    ema = functools.partial(tg.optim.Momentum, form="ema")
    monkeypatch.setitem(METHODS, "heavy ball", ema)
    claims = sweep(["heavy ball"], **SMALL).claims
    assert not claims[0].holds


def test_at_the_same_sum_momentum_is_no_faster_and_at_the_same_rate_it_is(found):
    assert found.fair.mus == (0.5, 0.75, 0.9)
    assert found.fair.same_rate == pytest.approx((2, 4, 10), rel=0.02)
    assert found.fair.same_sum == pytest.approx((1, 1, 1), rel=0.02)


# ---- the digits ----


def test_the_map_of_the_digits_holds_the_loss_of_each_run_and_makes_no_claim():
    pytest.importorskip("scipy")  # finds the sharpness
    mus, rates = (0.0, 0.9), (0.01, 0.2, 1e30)
    one = sweep_digits(mus=mus, rates=rates, epochs=1, seed=3)
    made = one.maps["heavy ball"]
    assert one.claims == []
    assert made.curvature > 0
    assert made.loss[1, 0] < made.loss[0, 0]  # ten times as far
    assert np.isinf(made.loss[:, 2]).all()
    assert made.diverged[:, 2].all()
    assert made.best == (1, 1)
    np.testing.assert_allclose(made.limits, [2 / made.curvature, 3.8 / made.curvature])
    cell = module.learn(lambda params: tg.optim.Momentum(params, 0.2, 0.9), 1, 3)
    assert made.loss[1, 1] == cell.loss


@pytest.mark.parametrize(("bad", "text"), [
    ({"methods": ()}, "sweep: methods"),
    ({"methods": ("Nesterov", "Nesterov")}, "sweep: methods"),
    ({"methods": ("nestrov",)}, "no stability limit of 'nestrov'"),
    ({"mus": (0.5,)}, "sweep: mus"), ({"mus": (0.5, 1.0)}, "sweep: mus"),
    ({"mus": (0.5, 0.2)}, "sweep: mus"), ({"rates": (0.0, 1.0)}, "sweep: rates"),
    ({"rates": (1.0, math.inf)}, "sweep: rates"), ({"condition": 0.5}, "sweep: condition"),
    ({"condition": math.nan}, "sweep: condition"), ({"steps": 199}, "sweep: steps"),
    ({"mus": (0.0, 0.999)}, "steps=5000, or more"), ({"seed": -1}, "sweep: seed"),
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad, text):
    with pytest.raises(ValueError, match=text):
        sweep(**bad)


def test_what_is_out_of_range_on_the_digits_is_refused_before_anything_runs():
    for bad in ({"epochs": 0}, {"jobs": 0}, {"mus": (0.1,)}, {"methods": ("Adam",)}):
        with pytest.raises(ValueError, match=r"sweep: |Adam"):
            sweep_digits(**bad)
    mus, rates = checked_grid((0, 0.5), (1, 2))
    assert mus.dtype == rates.dtype == np.float64


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "sweep"
    assert EXPERIMENT.note == (
        "μ is conidered to be a HyperParameter and should be tuned for every application."
    )


@pytest.mark.parametrize("method", list(theory.LIMITS))
def test_a_round_bowl_that_one_step_solves_holds_its_claims(method):
    found = sweep([method], mus=(0.0, 0.5), rates=(0.5, 1.0), condition=1, steps=200)
    fastest = next(claim for claim in found.claims if "fastest cell" in claim.what)
    assert fastest.predicted == pytest.approx(0.0, abs=1e-9)
    assert found.holds
