"""Four batches are one update, or one curve, and the experiment would notice if they were not."""

import numpy as np
import pytest

from tinygrad_opt import train
from tinygrad_opt.data import ClassBalancedBatches
from tinygrad_opt.lab import mini_batches as experiment
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.mini_batches import EXPERIMENT, class_images, mini_batches

SMALL = {"classes": 60, "batch_size": 20, "each": 8, "epochs": 50}


@pytest.fixture(scope="module")
def found():
    return mini_batches(**SMALL, seed=1)


def failed(**settings):
    return [claim.what for claim in mini_batches(**{**SMALL, **settings}).claims
            if not claim.holds]  # fmt: skip


def test_the_claims_hold_at_other_sizes_and_seeds(found):
    assert found.holds, [claim.row() for claim in found.claims if not claim.holds]
    assert failed(seed=2) == []
    assert failed(classes=24, batch_size=4, each=5, lr=1.0, seed=3) == []


# ---- the images ----


def test_the_images_have_the_spread_asked_for_between_the_classes_and_within_them():
    x, y = class_images(400, 50, between=3.0, within=0.25, seed=4)
    assert x.dtype == np.float64
    assert x.shape == (20_000, 16)
    np.testing.assert_array_equal(np.bincount(y), 50)
    by_class = x.reshape(400, 50, 16)
    assert np.sqrt(by_class.var(axis=1, ddof=1).mean()) == pytest.approx(0.25, rel=0.01)
    assert np.sqrt(by_class.mean(axis=1).var(ddof=1)) == pytest.approx(3.0, rel=0.03)
    again, _ = class_images(400, 50, between=3.0, within=0.25, seed=4)
    np.testing.assert_array_equal(x, again)


# ---- what was recorded ----


def test_the_errors_are_those_of_the_batches_gradients(found):
    x, y = class_images(60, 8, seed=1)
    rows = ClassBalancedBatches(x, y, 20, window=3, seed=1).order(0).reshape(8, 3, 20)
    # of the mean of ½ |w - x|² at w = 0 the gradient is the mean of -x
    errors = x.mean(axis=0) - x[rows].mean(axis=2)
    np.testing.assert_allclose(found.gradients["balanced"].errors[0], errors, atol=1e-14)
    np.testing.assert_array_equal(found.gradients["balanced"].labels, y[rows[0]])


def test_missing_and_doubled_classes_are_counted_window_by_window(found):
    random, even = found.gradients["random"], found.gradients["balanced"]
    first = np.bincount(random.labels.ravel(), minlength=60)
    assert random.missing[0, 0] == (first == 0).sum() > 0
    assert random.twice[0, 0] == (first > 1).sum() > 0
    assert random.missing.shape == random.twice.shape == (50, 8)
    assert not even.missing.any()
    assert not even.twice.any()
    assert even.most == 20


def test_smooth_is_the_plain_run_and_accumulate_is_another(found):
    plain, smooth, accumulate = (found.training[k] for k in ("plain", "smooth", "accumulate"))
    np.testing.assert_array_equal(smooth.path, plain.path)
    assert len(set(plain.path)) == len(plain.path) == 24
    # three batches in turn see the same weight, which moves between
    held = accumulate.path.reshape(8, 3)
    assert (held == held[:, :1]).all()
    assert len(set(held[:, 0])) == 8
    assert not np.array_equal(accumulate.weights, plain.weights)


# ---- the theory ----


def test_the_missing_classes_are_those_of_a_simulation():
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(20), 3)
    lacking = [20 - len(np.unique(rng.permutation(labels)[:25])) for _ in range(4000)]
    error = np.std(lacking) / np.sqrt(4000)
    assert abs(np.mean(lacking) - theory.missing_classes(20, 3, 25)) < 4 * error
    assert theory.missing_classes(20, 3, 58) == 0  # two of 60 are left out, and a class has three
    assert theory.missing_classes(20, 3, 0) == 20
    many = theory.missing_classes(10**4, 10**3, 10**4)
    assert many == pytest.approx(10**4 / np.e, rel=1e-3)


def test_the_excess_of_a_ragged_batch_is_what_equal_shares_add():
    values = np.random.default_rng(6).normal(size=850)
    means = [part.mean() for part in np.split(values, (250, 500, 750))]
    off = np.mean(means) - values.mean()
    pull = means[-1] - values[:750].mean()
    assert off / pull == pytest.approx(theory.ragged_excess(3, 250, 100), rel=1e-9)
    assert theory.ragged_excess(3, 250, 250) == 0


# ---- what is wrong is noticed ----


@pytest.mark.parametrize(("name", "wrong", "caught"), [
    ("batch_noise", lambda spread, batch, samples=None: spread / batch**0.5, "random ones"),
    ("balanced_noise", lambda spreads, sizes, each: 2.06 / len(sizes) ** 0.5, "class-balanced"),
    ("missing_classes", lambda classes, each, drawn: classes / np.e, "lack"),
    ("ragged_excess", lambda full, batch, last: 1 / (full + 1), "beyond its share"),
])  # fmt: skip
def test_a_wrong_formula_fails(monkeypatch, name, wrong, caught):
    monkeypatch.setattr(theory, name, wrong)
    # few images a class, so that drawing without replacement matters
    assert any(caught in what for what in failed(each=4, epochs=200, seed=0))


def test_batches_that_only_look_balanced_fail(monkeypatch):
    def random_rows(self, epoch):
        return np.random.default_rng(epoch).permutation(len(self.x))[: len(self) * self.batch_size]

    monkeypatch.setattr(ClassBalancedBatches, "order", random_rows)
    what = failed(seed=0)
    assert any("without each class once" in claim for claim in what)
    assert any("class-balanced ones" in claim for claim in what)


def test_a_fit_that_takes_the_mean_of_means_fails_on_the_ragged_batch_alone(monkeypatch):
    # The same loop, told that all batches are equally large.
    source = train._step

    class Even(list):
        def __len__(self):
            return 1

    def equal_shares(model, loss, optimizer, group):
        return source(lambda x: model(np.array(x)), loss, optimizer,
                      [(Even(x), y) for x, y in group])  # fmt: skip

    monkeypatch.setattr(train, "_step", equal_shares)
    assert [what for what in failed(seed=0) if "update" in what] == [
        "update of accumulate=3 with that last batch, less that of all 48 samples at once, as a "
        "share"
    ]


def test_a_smoothing_that_reaches_the_weights_fails(monkeypatch):
    def fit(model, loss, *others, smooth=1, **more):
        def shared(prediction, y):
            return loss(prediction, y) / smooth

        return train.fit(model, shared, *others, smooth=smooth, **more)

    monkeypatch.setattr(experiment, "fit", fit)
    assert [what.split(",")[0] for what in failed(seed=0)] == [
        "weights that smooth=3 changes in any bit", "loss reported by smooth=3"
    ]  # fmt: skip


# ---- bad input ----


@pytest.mark.parametrize("bad", [
    {"classes": 3}, {"batch_size": 1}, {"batch_size": 7}, {"batch_size": 60}, {"each": 1},
    {"epochs": 1}, {"lr": 0.0}, {"lr": float("nan")}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"mini_batches: {next(iter(bad))}"):
        mini_batches(**{**SMALL, **bad})


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "mini-batches"
    assert EXPERIMENT.note.startswith(
        "Hence it make sense to have a uniform random distribution of classes in a batch."
    )
    assert "FOUR consecutive batches of size 250" in EXPERIMENT.note
