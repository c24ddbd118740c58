"""The toy sets lie on the curves that their docstrings draw, and repeat from their seed."""

import numpy as np
import pytest

from tinygrad_opt.data import blobs, moons, spirals

SETS = pytest.mark.parametrize("make", [moons, spirals, blobs])
MANY = pytest.mark.parametrize("make", [spirals, blobs])


@SETS
def test_points_are_float32_in_the_plane_and_labels_int64(make):
    x, y = make(50)
    assert x.shape == (50, 2) and x.dtype == np.float32 and x.flags.c_contiguous
    assert y.shape == (50,) and y.dtype == np.int64


@SETS
@pytest.mark.parametrize("n", [3, 10, 101])
def test_classes_are_as_even_as_n_allows(make, n):
    counts = np.bincount(make(n)[1])
    assert counts.sum() == n and counts.max() - counts.min() <= 1


@MANY
@pytest.mark.parametrize("classes", [2, 4, 7])
def test_as_many_classes_as_asked_for_occur(make, classes):
    assert np.unique(make(30, classes=classes)[1]).tolist() == list(range(classes))


@SETS
def test_a_seed_repeats_its_points_and_another_seed_draws_others(make):
    for a, b in zip(make(40, seed=3), make(40, seed=3), strict=True):
        assert np.array_equal(a, b)
    (x3, y3), (x4, y4) = make(40, seed=3), make(40, seed=4)
    assert not np.array_equal(y3, y4)
    assert not np.isin(x3, x4).any()


@SETS
def test_nothing_depends_on_numpys_global_random_state(make):
    np.random.seed(0)  # noqa: NPY002
    first = make(20)[0]
    assert np.random.random() == np.random.RandomState(0).random_sample()  # noqa: NPY002
    assert np.array_equal(first, make(20)[0])


def test_two_sets_of_one_seed_do_not_share_their_random_stream():
    orders = [make(64, noise=0.0, seed=5)[1] for make in (moons, spirals)]
    assert not np.array_equal(*orders)


@SETS
def test_labels_come_in_shuffled_order(make):
    y = make(200)[1]
    assert 0.3 < (y[1:] != y[:-1]).mean() < 0.85  # sorted: about 0; in turn: 1


def test_without_noise_moons_are_two_interleaved_half_circles_from_end_to_end():
    x, y = moons(41, noise=0.0)
    upper, lower = x[y == 0].astype(np.float64), x[y == 1].astype(np.float64)
    assert np.allclose(np.hypot(*upper.T), 1, atol=1e-6) and upper[:, 1].min() > -1e-6
    assert np.allclose(np.hypot(*(lower - [1, 0.5]).T), 1, atol=1e-6)
    assert lower[:, 1].max() < 0.5 + 1e-6
    for half in (upper, lower):  # evenly spaced: all neighbours equally far apart
        half = half[np.argsort(half[:, 0])]
        steps = np.hypot(*np.diff(half, axis=0).T)
        assert np.allclose(steps, 2 * np.sin(np.pi / (len(half) - 1) / 2), atol=1e-5)
    assert np.allclose([upper[:, 0].min(), upper[:, 0].max()], [-1, 1])
    assert np.allclose([lower[:, 0].min(), lower[:, 0].max()], [0, 2])


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.5), (3, 1.0), (2, 3)])
def test_without_noise_each_spiral_arm_turns_evenly_while_its_radius_grows(classes, turns):
    x, y = spirals(60 * classes, noise=0.0, classes=classes, turns=turns)
    for k in range(classes):
        arm = x[y == k].astype(np.float64)
        radius = np.hypot(*arm.T)
        arm, radius = arm[np.argsort(radius)], np.sort(radius)
        assert np.allclose(radius, np.linspace(0.1, 1, 60), atol=1e-6)
        angle = 2 * np.pi * (k / classes + turns * np.linspace(0, 1, 60))
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        assert np.allclose(arm / radius[:, None], direction, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_without_noise_blobs_collapse_to_evenly_spaced_points_of_the_unit_circle(classes):
    x, y = blobs(4 * classes, noise=0.0, classes=classes)
    angle = 2 * np.pi * y / classes
    assert np.allclose(x, np.stack([np.cos(angle), np.sin(angle)], axis=1), atol=1e-6)


@SETS
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_noise_is_the_standard_deviation_on_both_coordinates(make, noise):
    n = 20_000
    x, y = make(n, noise=noise, seed=1)
    if make is blobs:  # the only set whose clean points are known from the label alone
        clean = np.stack([np.cos(2 * np.pi * y / 3), np.sin(2 * np.pi * y / 3)], axis=1)
        noise_seen = x - clean
        assert np.allclose(noise_seen.std(axis=0), noise, rtol=0.03)
        assert np.abs(noise_seen.mean(axis=0)).max() < 4 * noise / np.sqrt(n)
        assert abs(np.corrcoef(noise_seen.T)[0, 1]) < 0.03
    else:  # variances add: clean + noise²
        clean = make(n, noise=0.0)[0].astype(np.float64)
        assert np.allclose(x.var(axis=0), clean.var(axis=0) + noise**2, rtol=0.05)


@SETS
def test_the_smallest_sets_have_one_point_a_class(make):
    classes = 3 if make is blobs else 2
    x, y = make(classes)
    assert sorted(y.tolist()) == list(range(classes)) and np.isfinite(x).all()


@SETS
@pytest.mark.parametrize("n", [1, 0, -5])
def test_fewer_points_than_classes_are_refused(make, n):
    with pytest.raises(ValueError, match=make.__name__ + ": n "):
        make(n)


def test_blobs_name_both_numbers_when_n_is_too_small():
    with pytest.raises(ValueError, match="blobs: n = 4 is too few for 5 classes"):
        blobs(4, classes=5)


@SETS
@pytest.mark.parametrize("n", [10.0, "10", None, True])
def test_n_that_is_no_integer_is_refused(make, n):
    with pytest.raises(ValueError, match=f"{make.__name__}: n is an integer"):
        make(n)


@SETS
@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), "0.1", None])
def test_noise_that_is_no_standard_deviation_is_refused(make, noise):
    with pytest.raises(ValueError, match=f"{make.__name__}: noise, a standard deviation"):
        make(10, noise=noise)


@SETS
@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_is_no_natural_number_is_refused(make, seed):
    with pytest.raises(ValueError, match=f"{make.__name__}: seed is an integer of 0 or more"):
        make(10, seed=seed)


@MANY
@pytest.mark.parametrize("classes", [1, 0, 2.0])
def test_fewer_than_two_classes_are_refused(make, classes):
    with pytest.raises(ValueError, match="classes is an integer of 2 or more"):
        make(10, classes=classes)


@pytest.mark.parametrize("turns", [0, -1, float("nan"), float("inf"), "2"])
def test_turns_that_are_no_positive_number_are_refused(turns):
    with pytest.raises(ValueError, match="spirals: turns is a finite number above 0"):
        spirals(10, turns=turns)


@SETS
def test_numpy_scalars_serve_as_arguments(make):
    a = make(np.int64(12), noise=np.float32(0.25), seed=np.uint8(3))
    b = make(12, noise=0.25, seed=3)
    assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
