"""Noise leaves a ridge and a dead neuron when the theory says, and at the price that it says; and
the experiment would notice if it were not so."""

import json

import numpy as np
import pytest

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import as_data
from tinygrad_opt.lab.perturbation import (
    AWAY,
    CURVATURE,
    DEPTH,
    EXPERIMENT,
    STILL_STEPS,
    bowl,
    neuron,
    perturbation,
    reached,
    record,
    saddle,
)
from tinygrad_opt.optim import SGD, GaussianNoise, Momentum
from tinygrad_opt.tensor import Tensor


@pytest.fixture(scope="module")
def found():
    return perturbation(seeds=30, crowd=4000, seed=1)


# ---- the formulas --------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", [-1.0, -0.3, 0.5, 3.0])
def test_without_decay_the_variance_is_a_geometric_series(curvature):
    q = (1 - 0.1 * curvature) ** 2
    for steps in (1, 2, 17):
        series = (0.1 * 0.2) ** 2 * (q**steps - 1) / (q - 1)
        assert theory.noisy_variance(0.1, curvature, 0.2, steps) == pytest.approx(series, rel=1e-12)


def test_it_walks_on_flat_ground_and_settles_in_a_bowl():
    assert theory.noisy_variance(0.1, 0.0, 0.2, 50) == pytest.approx(50 * 0.02**2)
    assert theory.noisy_variance(0.1, 2.0, 0.2, 500) == pytest.approx(
        theory.stationary_variance(0.1, 2.0, 0.2)
    )
    assert theory.noisy_variance(0.1, 2.0, 0.2, 0) == theory.beyond(1.0, 0.0) == 0


@pytest.mark.parametrize("curvature", [-0.7, 0.0, 0.9])
def test_the_variance_with_decay_is_that_of_its_recursion(curvature):
    variance = 0.0
    for t in range(30):
        variance = (1 - 0.1 * curvature) ** 2 * variance + (0.1 * 0.5) ** 2 * (1 + t) ** -0.55
    assert theory.noisy_variance(0.1, curvature, 0.5, 30, decay=0.55) == pytest.approx(variance)


def test_the_times_are_those_at_which_the_shares_are_reached():
    for share in (0.1, 0.5, 0.75):
        t = theory.ridge_time(0.1, 1.0, 0.2, AWAY, share)
        q = 1.1**2
        variance = 0.02**2 * (q**t - 1) / (q - 1)  # also between two steps
        assert theory.beyond(AWAY, variance) == pytest.approx(share)
        t = theory.crossing_time(0.1, 0.2, DEPTH, share)
        assert theory.crossed(0.1, 0.2, DEPTH, t) == pytest.approx(share)


def test_a_tenth_of_the_noise_costs_few_steps_on_a_ridge_and_a_hundredfold_on_flat_ground():
    ridge = [theory.ridge_time(0.1, 1.0, std, AWAY) for std in (0.02, 0.002)]
    assert ridge[1] - ridge[0] == pytest.approx(np.log(10) / np.log(1.1), rel=1e-3)
    flat = [theory.crossing_time(0.1, std, DEPTH) for std in (0.002, 0.0002)]
    assert flat[1] / flat[0] == pytest.approx(100, rel=0.03)


def test_so_many_walks_have_crossed_as_are_counted():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.standard_normal((40_000, 60)), axis=1)
    for distance, steps in ((3.0, 20), (5.0, 60)):
        share = np.mean(walks[:, :steps].max(axis=1) > distance)
        expected = theory.crossed(1.0, 1.0, distance, steps)
        error = np.sqrt(expected * (1 - expected) / len(walks))
        assert abs(share - expected) < 3 * error
        without = theory.beyond(distance, steps)  # as if a walk were seen between its steps
        assert abs(share - without) > 10 * error


# ---- the runs ------------------------------------------------------------------------------------


def test_the_losses_are_flat_where_they_are_said_to_be():
    w = Tensor(np.array([-3.0, -DEPTH, 0.5, 1.0, 2.0]), requires_grad=True)
    neuron(w).sum().backward()
    assert list(w.grad) == [0.0, 0.0, -0.5, 0.0, 1.0]
    x, y = (Tensor(np.array([2.0, -1.0]), requires_grad=True) for _ in range(2))
    saddle(x, y).sum().backward()
    assert list(x.grad) == [2.0, -1.0]
    assert list(y.grad) == [-2.0, 1.0]
    assert bowl(Tensor([3.0])).item() == 4.5


def test_what_is_recorded_is_every_step_of_the_optimizer():
    start = np.array([1.0, -2.0])
    seen = record(bowl, {"w": start}, lambda w: SGD(w, lr=0.5), 3, lambda w: w.copy())
    np.testing.assert_array_equal(seen, [[1, -2], [0.5, -1], [0.25, -0.5], [0.125, -0.25]])
    assert list(start) == [1.0, -2.0]


def test_without_noise_nothing_moves_off_the_ridge_not_by_a_bit(found):
    assert found.still.shape == (STILL_STEPS + 1,)
    assert not found.still.any()
    for claim in found.claims[:2]:
        assert "without noise" in claim.what
        assert claim.measured == 0
        assert claim.within == 0
    # nor with an optimizer that is not asked there
    starts = {"x": np.ones(5), "y": np.zeros(5)}
    ys = record(saddle, starts, lambda w: Momentum(w, 0.1, mu=0.99), 50, lambda x, y: y.copy())
    assert not ys.any()


def test_an_optimizer_that_leaves_by_itself_fails_the_claim(monkeypatch):
    def leaky(params, lr):
        return SGD(params, lr, transforms=[GaussianNoise(1e-6)])

    monkeypatch.setattr("tinygrad_opt.lab.perturbation.Adam", leaky)
    claims = perturbation(seeds=1, crowd=100).claims[:2]
    assert [(claim.measured, claim.holds) for claim in claims] == [(1, False)] * 2


def test_seeds_of_their_own_and_weights_of_one_vector_follow_one_law(found):
    stats = pytest.importorskip("scipy.stats")
    step = 25
    ys = found.paths[:, step, 1]
    crowd = record(
        saddle, {"x": np.ones(2000), "y": np.zeros(2000)},
        lambda w: SGD(w, 0.1, transforms=[GaussianNoise(0.2, seed=77)]), step,
        lambda x, y: y.copy(),
    )[-1]  # fmt: skip
    assert stats.ks_2samp(ys, crowd).pvalue > 0.01
    std = np.sqrt(theory.noisy_variance(0.1, -CURVATURE, 0.2, step))
    for sample in (ys, crowd):
        assert stats.kstest(sample / std, "norm").pvalue > 0.01
        assert stats.kstest(sample / (2.5 * std), "norm").pvalue < 0.01


def test_no_two_seeds_take_the_same_path_and_one_seed_takes_it_again(found):
    ends = found.paths[:, -1, 1]
    assert len(np.unique(ends)) == len(ends)
    again = perturbation(seeds=2, crowd=100, seed=1).paths
    np.testing.assert_array_equal(again, found.paths[:2])
    assert not np.array_equal(perturbation(seeds=2, crowd=100, seed=2).paths, again)


def test_the_paths_start_on_the_ridge(found):
    assert set(found.paths[:, 0, 0]) == {2.0, -2.0}
    assert not found.paths[:, 0, 1].any()


def test_a_median_is_read_between_two_steps():
    assert reached(np.array([0.0, 0.2, 0.4, 0.8]), 0.5) == pytest.approx(2.25)
    assert reached(np.array([0.0, 0.5]), 0.5) == 1
    assert np.isnan(reached(np.array([0.0, 0.4]), 0.5))


# ---- the claims ----------------------------------------------------------------------------------


def test_the_claims_hold_from_another_seed(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]


def test_the_claims_are_plain_numbers_that_json_takes(found):
    for claim in found.claims:
        assert json.loads(json.dumps(as_data(claim)))["holds"] is True


def test_they_hold_with_other_noise_and_another_rate():
    finding = perturbation(lr=0.2, std=0.1, decay=1.0, seeds=10, crowd=2000, seed=5)
    assert finding.holds, [claim.row() for claim in finding.claims if not claim.holds]


def failures(**settings):
    finding = perturbation(seeds=2, crowd=4000, **settings)
    return [claim.what for claim in finding.claims if not claim.holds]


def test_a_wrong_growth_on_the_ridge_fails(monkeypatch):
    right = theory.noisy_variance

    def wrong(lr, curvature, noise, steps, decay=0.0):  # a step too many
        return right(lr, curvature, noise, steps + 1, decay)

    monkeypatch.setattr(theory, "noisy_variance", wrong)
    failed = failures()
    assert any("ridge by step" in what for what in failed)
    assert not any("neuron" in what for what in failed)


def test_a_walk_that_is_taken_for_a_brownian_motion_fails(monkeypatch):
    monkeypatch.setattr(theory, "OVERSHOOT", 0.0)
    failed = failures()
    assert any("neuron woke by step" in what for what in failed)
    assert any("neuron woke" in what and "half had" in what for what in failed)
    assert not any("ridge" in what for what in failed)


def test_noise_that_decays_twice_as_fast_as_it_says_fails(monkeypatch):
    call = GaussianNoise.__call__

    def fast(self, parts, t):
        if not self.decay:
            return call(self, parts, t)
        return call(GaussianNoise(self.std, decay=2 * self.decay, seed=self.seed), parts, t)

    monkeypatch.setattr(GaussianNoise, "__call__", fast)
    failed = failures()
    assert len(failed) == 2
    assert all("decay" in what for what in failed)


@pytest.mark.parametrize("bad", [
    {"lr": 0.0}, {"lr": 1.0}, {"lr": float("nan")}, {"std": 0.0}, {"std": float("inf")},
    {"decay": -0.1}, {"decay": float("nan")}, {"seeds": 0}, {"crowd": 99}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"perturbation: {next(iter(bad))}"):
        perturbation(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "perturbation"
    assert EXPERIMENT.note == (
        'LR can cause Plateau. To avoid Plateau, we can use "Gradient PERTURBATION".\n'
        "Adds the Gaussian Noise to the Gradient update equation, to jump out of the Plateau curve."
    )
