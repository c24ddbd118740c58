"""The picture of the learning rate shows the paths that were walked and the limits that were
found."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tinygrad_opt.lab.learning_rate import FACTORS, Edge, LearningRate, Path
from tinygrad_opt.lab.theory import LIMITS, stability_limit
from tinygrad_opt.plots.learning_rate import (
    FIGURES,
    SHOWN,
    learning_rate_caption,
    learning_rate_figure,
)
from tinygrad_opt.plots.style import ACCENT, COLOURS

NAMES = {"gradient descent": "SGD", "heavy ball": "Momentum μ=0.9",
         "heavy ball, ema": "Momentum μ=0.9", "Nesterov": "Nesterov μ=0.9"}  # fmt: skip


def path(lr, steps):
    w = (1 - 2 * lr) ** np.arange(steps + 1.0)
    return Path(lr, w, w**2)


def edge(method, problem, sharpness, off):
    mu = 0.0 if method == "gradient descent" else 0.9
    limit = stability_limit(method, mu) / sharpness
    moves = {factor: 3 * factor ** np.arange(50.0) for factor in FACTORS}
    moves[1.01][40:] = np.inf
    moves[0.99][45:] = 0.0
    return Edge(method, NAMES[method], problem, mu, sharpness, limit, limit * (1 + off), moves)


@pytest.fixture(scope="module")
def found():
    problems = (("quadratic", 2.0, 0.001), ("linear model", 7.0, -0.03))
    edges = [edge(method, *problem) for problem in problems for method in LIMITS]
    return LearningRate([], [path(0.3, 10), path(1.0, 60), path(1.05, 10)], edges)


@pytest.fixture(scope="module")
def axes(found):
    return learning_rate_figure(found)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_the_paths_lie_on_the_bowl_and_the_one_without_a_rate_is_marked(axes, found):
    lines = lines_of(axes[0])
    w, loss = lines["loss"].get_data()
    np.testing.assert_allclose(loss, w**2)
    for one in found.paths:
        line = lines[f"α = {one.lr:g}"]
        np.testing.assert_array_equal(line.get_xdata(), one.w[: SHOWN + 1])
        np.testing.assert_array_equal(line.get_ydata(), one.loss[: SHOWN + 1])
        assert line.get_color() == (ACCENT if one.lr == 1 else COLOURS["SGD"])
        assert abs(w[0]) > abs(one.w[: SHOWN + 1]).max()
    words = [text.get_text() for text in axes[0].texts]
    for says in ("α = 0.3 converges", "α = 1 dangles", "α = 1.05 diverges"):
        assert says in words


def test_the_fans_are_the_moves_of_the_quadratic_alone_as_shares_of_the_first(axes, found):
    lines = lines_of(axes[1])
    assert len(lines) == 4 * len(FACTORS)
    assert axes[1].get_yscale() == "log"
    for one in found.edges[:4]:
        for factor in FACTORS:
            line = lines[f"{one.name}, {factor:g}"]
            assert line.get_color() == COLOURS.get(one.optimizer, COLOURS["Nesterov"])
            shown = np.asarray(line.get_ydata())
            there = np.isfinite(shown)
            np.testing.assert_allclose(shown[there], one.moves[factor][there] / 3)
            assert there.sum() == {0.99: 45, 1.0: 50, 1.01: 40}[factor]


def test_each_limit_has_its_bar_where_it_is_predicted_and_its_dots_where_it_was_measured(
    axes, found
):
    lines = lines_of(axes[2])
    for one in found.edges:
        (x,), (y,) = lines[f"{one.name}, {one.problem}"].get_data()
        assert x == pytest.approx(one.measured * one.sharpness)
        bar = lines[f"{one.name}, predicted"]
        assert list(bar.get_xdata()) == [stability_limit(one.method, one.mu)] * 2
        assert bar.get_ydata()[0] < y < bar.get_ydata()[1]
        assert bar.get_color() == ACCENT
    low, high = axes[2].get_xlim()
    assert low < 1.357
    assert high > 38
    words = " ".join(text.get_text() for text in axes[2].texts)
    assert "Nesterov, μ=0.9:  2 (1 + μ) / (1 + 2μ) = 1.357" in words
    assert "gradient descent:  2" in words


def test_the_caption_says_the_steps_the_loss_and_the_largest_error(found):
    caption = learning_rate_caption(found)
    assert "after 60 steps the loss is 1, as at the start" in caption
    assert "is 3 % or less from its formula" in caption
    assert caption.count("\n") == 1


def test_no_words_leave_the_page_and_none_overlap(axes):
    figure = axes[0].figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox, canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for holder in (figure, *axes)
             for text in (*holder.texts, *([holder.title, holder._left_title, holder.xaxis.label]
                                           if holder is not figure else []))
             if text.get_text()]  # fmt: skip
    assert len(boxes) > 15
    for n, box in enumerate(boxes):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert not any(box.overlaps(other) for other in boxes[:n])


def test_it_draws_into_axes_that_are_given(found):
    three = tuple(Figure().subplots(1, 3))
    assert learning_rate_figure(found, three) == three
    assert all(ax.get_lines() for ax in three)
    assert {"learning-rate": learning_rate_figure} == FIGURES
