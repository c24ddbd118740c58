"""What is known of the landscapes is true of them, every optimizer is tuned alike, and a wrong
formula is noticed."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.contours import (
    AROUND,
    EXPERIMENT,
    FINISH,
    LANDSCAPES,
    NEARBY,
    RUNNERS,
    _arrival,
    contours,
    curvatures,
    side_by_side,
)
from tinygrad_opt.lab.race import CONTESTANTS, RATES, Contestant
from tinygrad_opt.optim import SGD, Momentum


@pytest.fixture(scope="module")
def found():
    return contours(seed=1)


def test_the_claims_hold_from_other_starts_nearby_too(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert len(found.claims) > 20


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_the_minima_are_where_another_method_finds_them(landscape):
    for x, y in landscape.minima:
        done = minimize(lambda w: landscape.f(*w), (x + 0.1, y + 0.05), method="Nelder-Mead",
                        options={"xatol": 1e-9, "fatol": 1e-18})  # fmt: skip
        assert done.x == pytest.approx((x, y), abs=1e-5)
        assert done.fun == pytest.approx(landscape.lowest, abs=1e-12)


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_the_curvatures_are_those_of_numeric_differences(landscape):
    rng = np.random.default_rng(5)
    place, h = rng.uniform(-1, 1, 2), 1e-4
    steps = h * np.eye(2)

    def f(w):
        return landscape.f(*w)

    hessian = np.array([[f(place + a + b) - f(place + a - b) - f(place - a + b) + f(place - a - b)
                         for a in steps] for b in steps]) / (4 * h * h)  # fmt: skip
    measured, directions = curvatures(landscape, place)
    assert measured == pytest.approx(np.linalg.eigvalsh(hessian), rel=1e-4, abs=1e-4)
    assert hessian @ directions == pytest.approx(directions * measured, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("name", "wrong", "caught"), [
    ("curvatures_of_squares", lambda rows: (0.2, 500.0), "largest curvature"),
    ("stability_limit", lambda method, mu=0.0: 2.2, "at 0.99 of"),
    ("convergence_rate", lambda method, lr, mu, curvatures: 1 + lr * (1 - mu), "Momentum"),
    ("adagrad_rate", lambda lr, gradient, t: lr, "Adagrad"),
    ("rmsprop_rate", lambda lr, gradient, rho, t: lr / abs(gradient), "RMSProp"),
    ("adam_step", lambda lr, gradient, eps: lr * gradient, "Adam"),
])  # fmt: skip
def test_a_wrong_formula_fails(monkeypatch, name, wrong, caught):
    monkeypatch.setattr(theory, name, wrong)
    failed = [claim.what for claim in contours(steps=2, seed=0).claims if not claim.holds]
    assert any(caught in what for what in failed)


def test_a_race_too_short_to_arrive_says_that_nobody_is_there():
    failed = [claim.what for claim in contours(steps=2).claims if not claim.holds]
    assert any("at the end of the nearest of all" in what for what in failed)


def test_rates_and_starts_that_run_side_by_side_go_as_they_would_alone():
    f = LANDSCAPES["rosenbrock"].f
    starts = np.array([[-1.2, 1.0], [0.3, 0.2]])
    rates = (0.0005, 1.0, 0.001)  # the second diverges, and the others do not notice
    together = side_by_side(CONTESTANTS["momentum-0.9"], f, starts, rates, 40)
    assert together.shape == (41, 3, 2, 2)
    assert not np.isfinite(together[-1, 1]).all()
    for i in (0, 2):
        for j, (x, y) in enumerate(starts):
            v = np.zeros(2)
            for t in range(40):
                slope = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
                v = 0.9 * v - rates[i] * slope
                x, y = x + v[0], y + v[1]
                assert together[t + 1, i, j] == pytest.approx((x, y), rel=1e-9)


def test_a_runner_is_there_from_when_it_does_not_leave_any_more():
    assert _arrival(np.array([1.0, 0.5, 0.05, 0.2, 0.05, 0.01])) == 4
    assert _arrival(np.array([1.0, 0.05, 0.5])) == 3  # of 2 steps: never
    assert _arrival(np.array([0.05, 0.01])) == 0
    assert _arrival(np.array([1.0, np.inf])) == 2


def test_the_start_of_the_race_has_no_say_in_its_rate(found):
    draws = np.random.default_rng([1, 0x636F6E74])
    shares = 1 + draws.uniform(-AROUND, AROUND, (NEARBY, 2))
    landscape = LANDSCAPES["beale"]
    path = next(path for path in found.paths["beale"] if path.name == "Adam")
    weights = side_by_side(CONTESTANTS["adam"], landscape.f, shares * landscape.start, RATES,
                           found.steps)  # fmt: skip
    away = np.nan_to_num(landscape.away(weights), nan=np.inf)
    means = [np.mean([_arrival(away[:, i, j]) for j in range(NEARBY)]) for i in range(len(RATES))]
    assert path.searched == pytest.approx(means)
    assert path.lr == RATES[int(np.argmin(means))]


def test_a_path_begins_at_the_start_and_knows_when_it_arrived(found):
    for key, landscape in LANDSCAPES.items():
        assert [path.name for path in found.paths[key]] == [CONTESTANTS[k].name for k in RUNNERS]
        for path in found.paths[key]:
            assert tuple(path.weights[0]) == landscape.start
            assert path.weights.shape == (found.steps + 1, 2)
            assert path.away == pytest.approx(landscape.away(path.weights))
            if path.arrived is None:
                assert path.away[-1] > FINISH
            else:
                assert (path.away[path.arrived :] <= FINISH).all()
                assert path.away[path.arrived - 1] > FINISH


def test_two_runs_are_the_same_and_another_seed_has_other_starts(found):
    again, other = contours(steps=20, seed=1), contours(steps=20, seed=2)
    assert again.claims == contours(steps=20, seed=1).claims
    searched = [[path.searched for path in finding.paths["saddle"]] for finding in (again, other)]
    assert not all(map(np.array_equal, *searched))


@pytest.mark.parametrize(("bad", "text"), [
    ({"steps": 0}, "contours: steps"), ({"seed": -1}, "contours: seed"),
    ({"optimizers": ["adan"]}, "no optimizer 'adan'"),
    ({"optimizers": ["sgd", "lbfgs"]}, "'lbfgs' sees more than one weight"),
    ({"optimizers": ["sam"]}, "'sam' sees more than one weight"),
    ({"optimizers": ["muon"]}, "'muon' sees more than one weight"),
    ({"optimizers": ["lamb"]}, "'lamb' sees more than one weight"),
])  # fmt: skip
def test_what_cannot_run_is_refused_by_its_name(bad, text):
    with pytest.raises(ValueError, match=text):
        contours(**bad)


def test_the_curvatures_of_squares_are_the_eigenvalues_of_twice_the_product():
    rows = np.random.default_rng(3).standard_normal((4, 2))
    expected = np.linalg.eigvalsh(2 * rows.T @ rows)
    assert theory.curvatures_of_squares([tuple(row) for row in rows]) == pytest.approx(expected)


@pytest.mark.parametrize(("make", "mu"), [(SGD, 0.0), (partial(Momentum, mu=0.5), 0.5)])
def test_a_saddle_is_left_at_the_predicted_pace_at_other_rates_too(make, mu):
    path = side_by_side(Contestant("", "", 0.2, make), LANDSCAPES["saddle"].f,
                        np.array([[0.0, 1e-9]]), [0.2], 40)[:, 0, 0, 1]  # fmt: skip
    method = "heavy ball" if mu else "gradient descent"
    expected = theory.convergence_rate(method, 0.2, mu, [-1.0])
    assert path[-1] / path[-2] == pytest.approx(expected, rel=1e-6)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "contours"
    assert EXPERIMENT.note.startswith("RMSProps: We look into the methods")
