"""The picture of the plateau shows the losses that were recorded and the floors predicted."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab.plateau import plateau
from tinygrad_opt.plots.plateau import plateau_caption, plateau_figure
from tinygrad_opt.plots.style import COLOURS


@pytest.fixture(scope="module")
def found():
    return plateau(steps=200, replicas=64, seed=3)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_each_run_is_a_line_with_its_floor_dotted_beside_it(found):
    left, right = plateau_figure(found)
    for ax, keys in (
        (left, ("rate", "half", "quarter", "schedule")),
        (right, ("rate", "mu=0.75", "mu=0.9", "fair")),
    ):
        lines = lines_of(ax)
        assert len(lines) == 2 * len(keys)
        assert ax.get_yscale() == "log"
        for run in (found.runs[key] for key in keys):
            np.testing.assert_array_equal(lines[run.name].get_ydata(), run.loss)
            dotted = lines[f"{run.name}, predicted"]
            assert set(dotted.get_ydata()) == {run.floor}
            assert dotted.get_linestyle() == ":"


def test_the_optimizers_have_their_colours(found):
    _, right = plateau_figure(found)
    lines = lines_of(right)
    assert lines[found.runs["rate"].name].get_color() == COLOURS["SGD"]
    assert lines[found.runs["mu=0.75"].name].get_color() == COLOURS["Momentum μ=0.75"]
    assert lines[found.runs["mu=0.9"].name].get_color() == COLOURS["Momentum μ=0.9"]


def test_it_draws_into_axes_that_are_given(found):
    pair = Figure().subplots(1, 2)
    assert plateau_figure(found, tuple(pair)) == tuple(pair)
    assert all(ax.get_lines() for ax in pair)


def test_the_caption_says_the_measured_ratios(found):
    last = 200 // 3
    rate, half, raised = (found.runs[key].measured(last) for key in ("rate", "half", "mu=0.9"))
    caption = plateau_caption(found)
    assert f"({half / rate:.2f} of it)" in caption
    assert f"{raised / rate:.1f} times as high" in caption
