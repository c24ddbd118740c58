"""The noise of batches is what the theory says, down to the factor for drawing without replacement;
and the experiment would notice if it were not."""

import itertools
import json

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab import batch_noise as lab
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.batch_noise import (
    BATCHES,
    EXPERIMENT,
    SHOWN,
    TWIN_BATCH,
    TWIN_IMAGES,
    Gradients,
    balanced,
    batch_noise,
    drawn_noise,
    replaced,
    shuffled,
    spread_of,
    twins,
)
from tinygrad_opt.lab.claims import as_data


@pytest.fixture(scope="module")
def found():
    return batch_noise(draws=60, seed=1)


@pytest.fixture(scope="module")
def gradients():
    return Gradients(epochs=1, seed=0)


# ---- the formulas --------------------------------------------------------------------------------


def test_the_noise_of_batches_is_that_of_all_batches_there_are():
    values = np.random.default_rng(0).standard_normal(7)
    for size in (1, 3, 6, 7):
        means = [np.mean(batch) for batch in itertools.combinations(values, size)]
        assert theory.batch_noise(values.std(), size, 7) == pytest.approx(np.std(means))
    means = [np.mean(batch) for batch in itertools.product(values, repeat=3)]
    assert theory.batch_noise(values.std(), 3) == pytest.approx(np.std(means))


def test_the_noise_of_balanced_batches_is_that_of_all_balanced_batches_there_are():
    rng = np.random.default_rng(1)
    classes = [rng.normal(10 * c, 1 + c, size) for c, size in enumerate((3, 5, 4))]
    for each in (1, 2, 3):
        picks = (itertools.combinations(own, each) for own in classes)
        means = [np.mean(batch) for batch in itertools.product(*picks)]
        predicted = theory.balanced_noise(
            [own.std() for own in classes], [len(own) for own in classes], each
        )
        assert predicted == pytest.approx(np.std(means))


def test_a_class_without_its_size_is_refused():
    with pytest.raises(ValueError, match="zip"):
        theory.balanced_noise([1.0, 2.0], [5], 1)


def test_dealt_batches_leave_the_variance_that_their_covariances_add_up_to():
    lr, curvature, noise, n = 0.15, 0.8, 0.7, 6
    covariance = noise**2 * (np.eye(n) * n - 1) / (n - 1)  # their sum is 0
    left = -lr * (1 - lr * curvature) ** np.arange(n)[::-1]
    assert np.ones(n) @ covariance @ np.ones(n) == pytest.approx(0, abs=1e-12)
    variance = 0.0
    for _ in range(300):
        variance = (1 - lr * curvature) ** (2 * n) * variance + left @ covariance @ left
    assert theory.reshuffled_variance(lr, curvature, noise, n) == pytest.approx(variance)


def test_batches_dealt_in_very_long_epochs_are_as_noisy_as_drawn_ones():
    drawn = theory.stationary_variance(0.1, 1.0, 0.5)
    assert theory.reshuffled_variance(0.1, 1.0, 0.5, 20_000) == pytest.approx(drawn, rel=2e-3)
    assert theory.reshuffled_variance(0.1, 1.0, 0.5, 40) < 0.6 * drawn


def test_the_twin_is_as_strong_in_all_weights_together():
    std = theory.noise_twin(3.0, 32, 64)
    assert 64 * std**2 == pytest.approx(theory.batch_noise(3.0, 32) ** 2)
    assert 64 * theory.floor(0.1, 1.0, std) == pytest.approx(
        theory.floor(0.1, 1.0, theory.batch_noise(3.0, 32))
    )


# ---- the gradients -------------------------------------------------------------------------------


def test_the_mean_of_all_single_gradients_is_the_gradient_of_all(gradients):
    together = gradients.of(gradients.x, gradients.y)
    np.testing.assert_allclose(gradients.full, together, atol=1e-14)
    # so nothing is left of the noise when the batch is all there is
    noise = drawn_noise(gradients, shuffled, len(gradients.y), 3, seed=0)
    assert np.abs(noise).max() < 1e-14
    assert lab.predicted(gradients, shuffled, len(gradients.y)) == 0


def test_the_generator_of_the_library_is_left_where_it_was():
    tg.manual_seed(3)
    Gradients(epochs=1, seed=0)
    assert tg.backend.generator().random() == np.random.default_rng(3).random()


def test_the_three_ways_draw_what_they_are_named_for(gradients):
    for draw in (replaced, shuffled, balanced):
        x, y = draw(gradients, 640, 5)
        assert x.shape == (640, 64)
        different = len(np.unique(x, axis=0))
        assert (different < 600) == (draw is replaced)
        assert (set(np.bincount(y)) == {64}) == (draw is balanced)
        again, other = draw(gradients, 640, 5)[0], draw(gradients, 640, 6)[0]
        np.testing.assert_array_equal(again, x)
        assert not np.array_equal(other, x)


def test_a_spread_is_told_with_its_error():
    rng = np.random.default_rng(0)
    trials = [spread_of(rng.standard_normal((200, 5))) for _ in range(400)]
    roots, errors = np.array(trials).T
    assert roots.mean() == pytest.approx(np.sqrt(5), rel=0.01)
    assert errors.mean() == pytest.approx(roots.std(), rel=0.15)


def test_the_noise_has_the_mean_zero_around_what_its_batches_are_drawn_from(gradients):
    for draw in (replaced, shuffled, balanced):
        noise = drawn_noise(gradients, draw, 40, 200, seed=3)
        root, _ = spread_of(noise)
        assert np.linalg.norm(noise.mean(axis=0)) < 2 * root / np.sqrt(len(noise))


# ---- the twin ------------------------------------------------------------------------------------


def test_the_mean_of_all_losses_has_the_gradient_of_a_loss_to_the_mean():
    x = np.random.default_rng(0).standard_normal((20, 4))
    w = np.array([1.0, -1.0, 0.5, 2.0])
    np.testing.assert_allclose((w - x).mean(axis=0), w - x.mean(axis=0))


def test_the_twins_start_alike_and_only_the_exact_one_goes_on_falling(found):
    starts = {losses[0] for losses in found.twins.values()}
    assert len(starts) == 1
    exact = found.twins["exact"]
    steps = np.arange(100)
    np.testing.assert_allclose(exact[:100], exact[0] * 0.9 ** (2 * steps), rtol=1e-6)
    for name in ("drawn", "noise", "epochs"):
        assert found.twins[name][100:].min() > 1e-4 > exact[100]


def test_the_ends_of_epochs_are_lower_than_their_middles(found):
    epochs, per = found.twins["epochs"], TWIN_IMAGES // TWIN_BATCH
    assert TWIN_IMAGES % TWIN_BATCH == 0
    ends, middles = epochs[400::per].mean(), epochs[400 + per // 2 :: per].mean()
    assert ends < 0.93 * middles


# ---- the claims ----------------------------------------------------------------------------------


def test_the_claims_hold_from_another_seed_and_fewer_draws(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]


def test_the_claims_are_plain_numbers_that_json_takes(found):
    for claim in found.claims:
        assert json.loads(json.dumps(as_data(claim)))["holds"] is True


def test_balanced_batches_are_quieter_and_less_so_at_the_end_of_training(found):
    early, late = (claim for claim in found.claims if "beside" in claim.what)
    assert early.measured < 0.55
    assert 0.8 < late.measured < 1


def test_what_is_drawn_is_what_was_measured(found):
    assert list(found.spreads) == ["replaced", "shuffled", "balanced"]
    for spread in found.spreads.values():
        assert tuple(spread.sizes) == BATCHES
        assert (np.diff(spread.measured) < 0).all()
        assert (spread.error < 0.1 * spread.measured).all()
    assert found.along.shape == (60,)
    assert abs(found.along.mean() - found.full) < found.deviation
    assert SHOWN in BATCHES


def failed(gradients, monkeypatch, **formulas):
    """The claims about the noise that fail with other formulas, from 200 batches a size."""
    for name, formula in formulas.items():
        monkeypatch.setattr(theory, name, formula)
    spreads = {}
    for draw in (replaced, shuffled, balanced):
        rows = [(*spread_of(drawn_noise(gradients, draw, size, 200, 1)),
                 lab.predicted(gradients, draw, size)) for size in (10, 80, 640)]  # fmt: skip
        spreads[draw.__name__] = lab.Spread(np.array((10, 80, 640)), *np.array(rows).T)
    claims = lab._noise_claims(spreads)
    return [claim.what for claim in claims if not claim.holds]


def test_the_right_formulas_fail_nowhere(gradients, monkeypatch):
    assert failed(gradients, monkeypatch) == []


def test_noise_without_the_factor_of_drawing_without_replacement_fails(gradients, monkeypatch):
    def wrong(spread, batch, samples=None):
        return spread / np.sqrt(batch)

    what = failed(gradients, monkeypatch, batch_noise=wrong)
    assert "noise of the gradient, B = 640, without replacement" in what
    assert "noise of the gradient, B = 640, classes balanced" in what
    assert not any("with replacement" in claim for claim in what)


def test_noise_that_does_not_fall_with_the_root_of_the_size_fails(found):
    own = found.spreads["replaced"]
    for power, holds in ((0.0, True), (0.05, False), (-0.05, False)):
        bent = lab.Spread(own.sizes, own.measured * own.sizes**power, own.error, own.predicted)
        slope = lab._noise_claims(found.spreads | {"replaced": bent})[0]
        assert slope.holds == holds


def test_balanced_noise_with_the_differences_between_classes_in_it_fails(gradients, monkeypatch):
    def wrong(spreads, sizes, each):
        return theory.batch_noise(gradients.spread(), each * len(sizes), sum(sizes))

    what = failed(gradients, monkeypatch, balanced_noise=wrong)
    assert len(what) == 3
    assert all("balanced" in claim for claim in what)


def test_a_twin_that_is_too_strong_fails(monkeypatch):
    right = theory.noise_twin
    monkeypatch.setattr(theory, "noise_twin", lambda *a: 1.05 * right(*a))
    monkeypatch.setattr(lab, "TWIN_RUNS", 16)
    losses, floors = twins(seed=0)
    claims = lab._twin_claims(losses, floors)
    assert not claims[2].holds  # the noise has its own floor, and not that of the batches
    assert claims[1].holds


@pytest.mark.parametrize("by", [0.96, 1.04])
@pytest.mark.parametrize("name", ["drawn", "noise", "epochs"])
def test_a_floor_that_is_4_percent_off_fails(found, name, by):
    claims = lab._twin_claims(found.twins, {**found.floors, name: by * found.floors[name]})
    place = ["drawn", "noise", None, "epochs"].index(name)
    assert [claim.holds for claim in claims] == [n != place for n in range(4)]


@pytest.mark.parametrize("bad", [{"draws": 1}, {"draws": 2.5}, {"seed": -1}])
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"batch_noise: {next(iter(bad))}"):
        batch_noise(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "batch-noise"
    assert EXPERIMENT.note == (
        "We indrectly are doing the Noise introduction to Gradient function. How?"
    )
