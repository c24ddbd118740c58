"""The picture of momentum shows the shares that were measured, and the settings that were run."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.momentum import METHODS, MomentumFinding, remember, run_band, run_tuned
from tinygrad_opt.plots.momentum import VALLEYS, momentum_caption, momentum_figure, pace, steps
from tinygrad_opt.plots.style import COLOURS


@pytest.fixture(scope="module")
def found():
    memories = {mu: remember(mu) for mu in (0.5, 0.75)}
    tuned = [run_tuned(name, 10.0) for name in METHODS]
    return MomentumFinding([], memories, tuned, {mu: run_band(mu) for mu in memories})


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_the_dots_on_the_left_are_measured_and_their_lines_predicted(found):
    left, _ = momentum_figure(found)
    lines = lines_of(left)
    for mu, memory in found.memories.items():
        ages, shares = lines[f"μ = {mu:g}"].get_data()
        np.testing.assert_array_equal(shares, memory.left[ages])
        assert lines[f"μ = {mu:g}"].get_linestyle() == "None"
        ages, shares = lines[f"μ = {mu:g}, predicted"].get_data()
        np.testing.assert_allclose(shares, mu**ages)
        assert f"μ = {mu:g}: {steps(memory.half_life)}" in [text.get_text() for text in left.texts]
    assert lines["μ = 0.75"].get_color() == COLOURS["Momentum μ=0.75"]


def test_the_right_side_has_each_method_at_its_best_and_each_fixed_momentum(found):
    _, right = momentum_figure(found)
    assert (right.get_xscale(), right.get_yscale()) == ("log", "log")
    lines = lines_of(right)
    for name in METHODS:
        (run,) = (run for run in found.tuned if run.name == name)
        x, y = lines[f"{name} at its best"].get_data()
        assert (list(x), list(y)) == ([10], [pace(run.measured)])
        assert lines[name + ", predicted"].get_color() == COLOURS[name.partition(" ")[0]]
    for mu in found.memories:
        x, y = lines[f"Momentum μ={mu:g}"].get_data()
        np.testing.assert_array_equal(x, VALLEYS)
        assert list(y) == [pace(found.bands[mu].rate(k)) for k in VALLEYS]
        # it touches the best line at its own κ, and is above it elsewhere
        best = np.array([pace(theory.best_heavy_ball(1, k)[2]) for k in VALLEYS])
        touches = VALLEYS[np.argmin(y / best)]
        assert abs(math.log(touches / theory.condition_for(mu))) < math.log(VALLEYS[1] / VALLEYS[0])


def test_a_pace_is_the_number_of_steps_for_a_digit():
    assert [pace(0.1), pace(0.01), pace(math.sqrt(0.1))] == pytest.approx([1, 0.5, 2])
    assert (pace(1.0), pace(1.5), pace(0.0)) == (math.inf, math.inf, 0)


def test_the_caption_says_what_was_measured(found):
    caption = momentum_caption(found)
    assert "Under μ = 0.5 half of a gradient is gone after 1 step," in caption
    assert "μ = 0.75 after 2.41. Each" in caption
    assert f"κ is about {found.bands[0.75].condition:,.0f}" in caption
    assert len(caption.splitlines()) == 2


def test_it_draws_into_axes_that_are_given(found):
    pair = tuple(Figure().subplots(1, 2))
    assert momentum_figure(found, pair) == pair
