"""The formulas of the lab against each other and against figures that the literature gives."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_opt.lab import theory
from tinygrad_opt.optim import SGD, Adam, Momentum, Nesterov
from tinygrad_opt.tensor import Tensor

METHODS = list(theory.LIMITS)


@given(st.sampled_from(METHODS), st.floats(0, 0.99), st.floats(0.1, 10))
def test_at_its_limit_the_larger_root_of_a_method_has_the_size_1(method, mu, curvature):
    limit = theory.stability_limit(method, mu) / curvature
    assert theory.convergence_rate(method, limit, mu, [curvature]) == pytest.approx(1, rel=1e-9)
    assert theory.convergence_rate(method, 0.99 * limit, mu, [curvature]) < 1
    assert theory.convergence_rate(method, 1.01 * limit, mu, [curvature]) > 1


@pytest.mark.parametrize(("kappa", "rate"), [(10, 0.5195), (100, 0.8182), (1000, 0.9387)])
def test_the_heavy_ball_at_its_best_has_polyaks_rates(kappa, rate):
    lr, mu, best = theory.best_heavy_ball(1.0, kappa)
    assert best == pytest.approx(rate, abs=5e-5)
    assert theory.convergence_rate("heavy ball", lr, mu, [1.0, kappa]) == pytest.approx(best)
    assert theory.condition_for(mu) == pytest.approx(kappa)


@pytest.mark.parametrize("kappa", [4.0, 100.0, 1e4])
def test_the_rate_of_each_best_setting_is_that_of_its_roots(kappa):
    lr, rate = theory.best_step(1.0, kappa)
    assert theory.convergence_rate("gradient descent", lr, 0, [1.0, kappa]) == pytest.approx(rate)
    for best in (theory.standard_nesterov, theory.best_nesterov):
        lr, mu, rate = best(1.0, kappa)
        assert theory.convergence_rate("Nesterov", lr, mu, [1.0, kappa]) == pytest.approx(rate)


def test_the_floors_are_those_of_the_variance_in_balance():
    assert theory.floor(0.1, 1, 1) == pytest.approx(0.0263, abs=5e-5)
    assert theory.floor(0.1, 1, 1, 0.9) == pytest.approx(0.257, abs=5e-4)
    assert theory.floor(0.1, 1, 1, 0.99) == pytest.approx(2.56, abs=5e-3)
    # without momentum, what a step does to the variance leaves it as it is
    for lr, curvature, noise in ((0.3, 2.0, 0.5), (0.05, 0.1, 3.0)):
        variance = theory.stationary_variance(lr, curvature, noise)
        after = (1 - lr * curvature) ** 2 * variance + lr**2 * noise**2
        assert after == pytest.approx(variance)


def test_old_gradients_add_up_to_the_memory_and_a_half_life_leaves_half():
    for mu in (0.75, 0.9, 0.99):
        total = sum(theory.old_gradient(mu, age) for age in range(5000))
        assert total == pytest.approx(theory.effective_memory(mu))
        assert theory.old_gradient(mu, theory.half_life(mu)) == pytest.approx(0.5)
        assert theory.reach(0.1, mu) == pytest.approx(0.1 * theory.effective_memory(mu))
        assert theory.reach(theory.fair_rate(0.1, mu), mu) == pytest.approx(0.1)
    assert [round(theory.condition_for(mu)) for mu in (0.75, 0.9, 0.99)] == [194, 1442, 158402]


def test_a_batch_of_all_samples_has_no_noise_and_one_of_a_single_sample_all_of_it():
    assert theory.batch_noise(2.0, 100, 100) == 0
    assert theory.batch_noise(2.0, 1, 100) == theory.batch_noise(2.0, 1) == 2.0
    assert theory.batch_noise(2.0, 16) == 0.5


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_noise_of_one_sample_from_each_of_some_classes_is_that_of_all_such_batches(batch):
    classes = [(0.0, 1.0), (2.0, 5.0), (-3.0, -2.5), (1.0, 4.0)]
    means = [statistics.fmean(batch) for some in itertools.combinations(classes, batch)
             for batch in itertools.product(*some)]  # fmt: skip
    between = statistics.pstdev(map(statistics.fmean, classes))
    within = math.sqrt(statistics.fmean(map(statistics.pvariance, classes)))
    noise = theory.two_stage_noise(between, within, batch, len(classes))
    assert noise == pytest.approx(statistics.pstdev(means))


def test_the_method_of_an_optimizer_is_told_by_its_class_and_form():
    w = Tensor([1.0], requires_grad=True)
    for optimizer, method in (
        (SGD([w], lr=0.1), "gradient descent"),
        (Momentum([w], lr=0.1), "heavy ball"),
        (Momentum([w], lr=0.1, form="torch"), "heavy ball"),
        (Momentum([w], lr=0.1, form="ema"), "heavy ball, ema"),
        (Nesterov([w], lr=0.1), "Nesterov"),
        (Nesterov([w], lr=0.1, form="shifted"), "Nesterov"),
    ):
        assert theory.method_of(optimizer) == method
    with pytest.raises(ValueError, match="Adam has no limit that a curvature alone decides"):
        theory.method_of(Adam([w]))
    with pytest.raises(ValueError, match="no stability limit of 'heavy bal'"):
        theory.stability_limit("heavy bal")


def test_a_walk_is_seen_beyond_its_line_by_a_constant_of_zeta():
    n = 1000  # ζ(½) by Euler's and Maclaurin's summation
    zeta = math.fsum(k**-0.5 for k in range(1, n + 1)) - 2 * n**0.5 - n**-0.5 / 2 + n**-1.5 / 24
    assert pytest.approx(-zeta / math.sqrt(2 * math.pi), rel=1e-9) == theory.OVERSHOOT


def test_ten_classes_cost_ln_10_before_anything_is_known():
    assert theory.chance_loss(10) == math.log(10)
    assert theory.training_steps(1437, 32, 30) == 1350
