"""The picture of a search has every trial where it was tried."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab.tuning import Trial, Tuning
from tinygrad_opt.plots.tuning import tuning_caption, tuning_figure

TRIALS = [
    Trial(1.0, 0.0, 0.5, 0.6, 0.8), Trial(3.0, 0.9, math.inf, math.inf, 0.0),
    Trial(0.2, 0.9, 0.1, 0.2, 0.95), Trial(0.5, 0.5, 0.14, 0.2, 0.9),
]  # fmt: skip


@pytest.fixture
def found():
    return Tuning(list(TRIALS), epochs=5, starts=3, seed=0)


def named(ax):
    return {artist.get_label(): artist for artist in (*ax.collections, *ax.get_lines())}


def test_a_dot_is_a_pair_coloured_by_its_loss_and_a_cross_is_one_that_diverged(found):
    left, _ = tuning_figure(found)
    artists = named(left)
    np.testing.assert_allclose(artists["tried"].get_offsets(), [(1, 1), (2, 10), (1, 2)])
    np.testing.assert_allclose(artists["tried"].get_array(), [0.5, 0.1, 0.14])
    np.testing.assert_allclose(artists["diverged"].get_offsets(), [(30, 10)])
    np.testing.assert_allclose(artists["the best"].get_xydata(), [(2, 10)])


def test_the_line_on_the_right_is_the_lowest_loss_so_far(found):
    _, right = tuning_figure(found)
    lines = named(right)
    np.testing.assert_array_equal(lines["the lowest so far"].get_ydata(), [0.5, 0.5, 0.1, 0.1])
    np.testing.assert_array_equal(lines["a trial"].get_xydata(), [(1, 0.5), (3, 0.1), (4, 0.14)])


def test_the_caption_tells_the_best_and_what_is_nearly_as_good(found):
    caption = tuning_caption(found)
    assert "The best of 4 is μ = 0.90 with α = 0.2: 0.1 nats, and 95.0 %" in caption
    assert "2 of them, with μ from 0.50 to 0.90 and α/(1-μ) from 1 to 2." in caption


@pytest.mark.parametrize("trials", [TRIALS[1:2], TRIALS[:1]])
def test_a_search_of_one_trial_can_be_drawn_whether_it_diverged_or_not(trials):
    found = Tuning(list(trials), 1, 1, 0)
    tuning_figure(found)
    assert tuning_caption(found).startswith(("Every pair that was tried diverged", "The best of 1"))


def test_it_draws_into_axes_that_are_given(found):
    pair = tuple(Figure().subplots(1, 2))
    assert tuning_figure(found, pair) == pair
