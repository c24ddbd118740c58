"""The picture of the perturbation shows the paths, shares and losses that were recorded, on the
curves that were predicted."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_plots import drawn, lines_of, text_box

from tinygrad_opt.lab.perturbation import perturbation, reached
from tinygrad_opt.plots.perturbation import perturbation_caption, perturbation_figure
from tinygrad_opt.plots.style import ACCENT, COLOURS


@pytest.fixture(scope="module")
def found():
    return perturbation(seeds=8, crowd=500, seed=3)


def test_every_seed_is_a_path_and_the_one_without_noise_stays_on_the_ridge(found):
    left, _, _ = perturbation_figure(found)
    paths = [line for line in left.get_lines() if line.get_color() == ACCENT]
    assert len(paths) == len(found.paths) == 8
    for line, path in zip(paths, found.paths):
        np.testing.assert_array_equal(line.get_xydata(), path)
    still = lines_of(left)["without noise"]
    assert still.get_color() == COLOURS["SGD"]
    assert set(still.get_ydata()) == {0}


def test_the_shares_stand_on_their_curves_in_percent(found):
    _, middle, _ = perturbation_figure(found)
    lines = lines_of(middle)
    assert middle.get_xscale() == "log"
    for name in ("ridge", "ridge, half", "neuron", "neuron, half"):
        escape = found.escapes[name]
        steps = np.arange(1, len(escape.predicted))
        curve = lines[f"{name}, predicted"]
        np.testing.assert_array_equal(curve.get_xdata(), steps)
        np.testing.assert_array_equal(curve.get_ydata(), 100 * escape.predicted[1:])
        for step, share in lines[name].get_xydata():
            assert share == 100 * escape.crowd[int(step)]
        if not name.endswith("half"):
            stairs = lines[f"{name}, seeds"]
            np.testing.assert_array_equal(stairs.get_ydata(), 100 * escape.seeds[1:])
    assert "ridge, half, seeds" not in lines
    assert set(lines["without noise"].get_ydata()) == {0}


def test_the_floors_are_dots_on_their_curves(found):
    *_, right = perturbation_figure(found)
    lines = lines_of(right)
    assert right.get_yscale() == "log"
    for name, run in found.bowl.items():
        np.testing.assert_array_equal(lines[f"{name}, predicted"].get_ydata(), run.predicted)
        for step, loss in lines[name].get_xydata():
            assert loss == run.loss[int(step)]


def test_it_draws_into_axes_that_are_given_and_adds_no_words_to_their_page(found):
    figure = Figure(figsize=(13, 5))
    three = tuple(figure.subplots(1, 3))
    assert perturbation_figure(found, three) == three
    assert figure.texts == []
    assert all(ax.get_lines() for ax in three)


def test_the_caption_says_when_half_had_left(found):
    caption = perturbation_caption(found)
    for name in ("ridge", "ridge, half", "neuron", "neuron, half"):
        assert f"{reached(found.escapes[name].crowd, 0.5):.0f}" in caption
    assert caption.count("\n") == 1


def test_all_words_stand_inside_the_picture_and_apart(found):
    check_words(perturbation_figure(found))


def check_words(axes):
    """No two texts of the page overlap, and none is cut off at its edge."""
    renderer, figure = drawn(axes[0]), axes[0].figure
    texts = [text for ax in axes for text in (*ax.texts, ax.title, ax._left_title, ax.xaxis.label)]
    boxes = [text_box(text, renderer) for text in (*figure.texts, *texts) if text.get_text()]
    assert len(boxes) > 10
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
