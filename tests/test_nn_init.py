"""Initial weights have the variance that the papers ask for, in float32, from the one generator."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.nn import he_normal, he_uniform, xavier_normal, xavier_uniform

FAN_IN, FAN_OUT = 300, 500

VARIANCE = {
    xavier_uniform: 2 / (FAN_IN + FAN_OUT),
    xavier_normal: 2 / (FAN_IN + FAN_OUT),
    he_uniform: 2 / FAN_IN,
    he_normal: 2 / FAN_IN,
}
EVERY = pytest.mark.parametrize("init", VARIANCE, ids=lambda f: f.__name__)


@EVERY
def test_mean_and_variance_are_those_of_the_paper(init):
    tg.manual_seed(1)
    w, variance = init((FAN_IN, FAN_OUT)).astype(np.float64), VARIANCE[init]
    assert w.shape == (FAN_IN, FAN_OUT)
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size)
    # The variance of the variance: (kurtosis - 1) / n, the kurtosis at most 3.
    assert w.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / w.size))


@EVERY
def test_a_gain_multiplies_the_weights(init):
    default = {xavier_uniform: 1.0, xavier_normal: 1.0}.get(init, np.sqrt(2))
    weights = []
    for gain in (default, 3 * default):
        tg.manual_seed(2)
        weights.append(init((4, 5), gain=gain))
    tg.manual_seed(2)
    np.testing.assert_array_equal(weights[0], init((4, 5)))
    np.testing.assert_allclose(weights[1], 3 * weights[0], rtol=1e-6)


def test_he_goes_by_the_first_length_which_is_the_fan_in_of_x_times_weight():
    tg.manual_seed(3)
    assert he_normal((10, 20_000)).std() == pytest.approx(np.sqrt(2 / 10), rel=0.02)
    assert he_uniform((20_000, 10)).std() == pytest.approx(np.sqrt(2 / 20_000), rel=0.02)


@pytest.mark.parametrize("init", [xavier_uniform, he_uniform])
def test_uniform_weights_fill_their_interval_evenly(init):
    tg.manual_seed(4)
    w = init((FAN_IN, FAN_OUT))
    bound = np.sqrt(3 * VARIANCE[init])
    assert np.abs(w).max() <= bound * (1 + 1e-6)
    shares = np.histogram(w, bins=10, range=(-bound, bound))[0] / w.size
    np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.09 / w.size))


@pytest.mark.parametrize("init", [xavier_normal, he_normal])
def test_normal_weights_have_the_shares_of_a_normal_distribution(init):
    tg.manual_seed(5)
    w = init((FAN_IN, FAN_OUT)) / np.sqrt(VARIANCE[init])
    for width, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        inside = (np.abs(w) < width).mean()
        assert inside == pytest.approx(share, abs=1e-4 + 5 * np.sqrt(share * (1 - share) / w.size))


@EVERY
def test_weights_are_float32_on_the_current_backend_and_the_same_on_all(init, backend):
    tg.manual_seed(6)
    w = init((3, 4))
    assert type(w) is backend.xp.ndarray
    assert w.dtype == np.float32
    with tg.use("numpy"):
        tg.manual_seed(6)
        np.testing.assert_array_equal(backend.host(w), init((3, 4)))
        assert not np.array_equal(backend.host(w), init((3, 4)))


@EVERY
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0), ()])
def test_a_shape_without_two_fans_is_refused_and_nothing_is_drawn(init, shape):
    tg.manual_seed(7)
    with pytest.raises(ValueError, match=r"takes the shape \(fan_in, fan_out\)"):
        init(shape)
    after = init((2, 2))
    tg.manual_seed(7)
    np.testing.assert_array_equal(after, init((2, 2)))


@EVERY
@pytest.mark.parametrize("gain", [0, -1.0, float("nan"), float("inf")])
def test_a_gain_that_is_not_above_0_is_refused(init, gain):
    with pytest.raises(ValueError, match="gain"):
        init((2, 2), gain=gain)
