"""The picture of the edge of stability shows the sharpness and the losses that were recorded."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tinygrad_opt.lab.edge_of_stability import RUNS, EdgeOfStability, Run
from tinygrad_opt.plots.edge_of_stability import (
    FIGURES,
    SHADES,
    edge_of_stability_caption,
    edge_of_stability_figure,
)
from tinygrad_opt.plots.style import ACCENT, COLOURS


@pytest.fixture(scope="module")
def found():
    steps = np.arange(0, 400, 50)
    runs = []
    for n, (name, optimizer, _) in enumerate(RUNS):
        sharpness = np.array([3.0, 5, 7, 9 + n, 8, 8, 8, 8 + 0.1 * n])
        loss = np.geomspace(1, 0.01 / (n + 1), 400)
        runs.append(Run(name, optimizer, 8.0, loss, steps, sharpness))
    return EdgeOfStability([], runs)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_each_sharpness_is_drawn_as_a_share_of_its_limit(found):
    left, _ = edge_of_stability_figure(found)
    lines = lines_of(left)
    assert list(lines) == [*(one.name for one in found.runs), "limit"]
    for one in found.runs:
        np.testing.assert_array_equal(lines[one.name].get_xdata(), one.steps)
        np.testing.assert_allclose(lines[one.name].get_ydata(), one.sharpness / 8)
    assert list(lines["limit"].get_ydata()) == [1.0, 1.0]
    assert (lines["limit"].get_color(), lines["limit"].get_linestyle()) == (ACCENT, "--")
    assert left.get_ylim()[0] == 0


def test_each_loss_is_drawn_whole_on_a_logarithmic_axis_and_named_at_its_end(found):
    _, right = edge_of_stability_figure(found)
    assert right.get_yscale() == "log"
    for one in found.runs:
        np.testing.assert_array_equal(lines_of(right)[one.name].get_ydata(), one.loss)
    named = {text.get_text(): text.xy for text in right.texts if text.get_text() in
             [one.name for one in found.runs]}  # fmt: skip
    assert named == {one.name: (399, one.loss[-1]) for one in found.runs}


def test_the_optimizers_have_their_colours_and_one_twice_has_two_shades(found):
    for ax in edge_of_stability_figure(found):
        lines = lines_of(ax)
        inks = [lines[one.name].get_color() for one in found.runs]
        assert inks == [COLOURS[word] for word in ("SGD", "SGD", "Momentum", "Nesterov")]
        shades = [lines[one.name].get_alpha() for one in found.runs]
        assert shades == [SHADES[0], SHADES[1], SHADES[0], SHADES[0]]


def test_the_caption_says_where_each_began_where_it_ended_and_who_bounced(found):
    caption = edge_of_stability_caption(found)
    assert "begins at 38 to 38 % of" in caption
    assert "ends at 100.0 to 101.9 % of it" in caption
    assert "(Nesterov μ=0.9, α = 0.15 from 150 %)" in caption
    assert caption.count("\n") == 1


def test_no_words_leave_the_page(found):
    left, right = edge_of_stability_figure(found)
    canvas = FigureCanvasAgg(left.figure)
    canvas.draw()
    page, renderer = left.figure.bbox, canvas.get_renderer()
    for holder in (left.figure, left, right):
        for text in holder.texts:
            box = text.get_window_extent(renderer)
            assert page.x0 <= box.x0
            assert box.x1 <= page.x1


def test_it_draws_into_axes_that_are_given(found):
    pair = tuple(Figure().subplots(1, 2))
    assert edge_of_stability_figure(found, pair) == pair
    assert all(ax.get_lines() for ax in pair)
    assert {"edge-of-stability": edge_of_stability_figure} == FIGURES
