"""The pictures of the look-ahead show the paths, the parts of their steps and the limits found."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.look_ahead import MUS, LookAhead, descend, fitted_rate
from tinygrad_opt.plots import look_ahead as module
from tinygrad_opt.plots.look_ahead import (
    FIGURES,
    SHOWN,
    limit_caption,
    limit_figure,
    look_ahead_caption,
    look_ahead_figure,
)
from tinygrad_opt.plots.style import COLOURS


@pytest.fixture(scope="module")
def found():
    valley = np.array([1.0, 20.0])
    paths = {name: descend(name, 0.02, 0.9, valley, (-4.0, 1.2), 12)
             for name in ("Momentum", "Nesterov")}  # fmt: skip
    limits = {"SGD": np.full(4, 2.0), "Momentum": np.array([3.0, 3.5, 3.8, 3.98]),
              "Nesterov": np.array([1.51, 1.41, 1.36, 1.34])}  # fmt: skip
    t = np.arange(40)
    sizes = {("Momentum", 0.1): 0.95**t, ("Momentum", 0.5): 0.94**t, ("Nesterov", 0.1): 0.9**t,
             ("Nesterov", 0.5): 0.6**t}  # fmt: skip
    return LookAhead([], 0.02, 0.9, 20.0, paths, limits, sizes)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_each_path_is_a_line_in_its_optimizers_colour(found):
    for ax, name, label in zip(look_ahead_figure(found), ("Momentum", "Nesterov"),
                               ("Heavy ball", "Nesterov")):  # fmt: skip
        line = lines_of(ax)[label]
        np.testing.assert_array_equal(np.transpose(line.get_data()), found.paths[name].weights)
        assert line.get_color() == COLOURS[name]
        assert ax.get_aspect() == 1  # equal scales: a gradient stands upright on a contour


def test_the_rings_are_where_the_gradients_were_taken(found):
    ball, ahead = look_ahead_figure(found)
    for ax, name in ((ball, "Momentum"), (ahead, "Nesterov")):
        rings = np.transpose(lines_of(ax)["gradient taken"].get_data())
        np.testing.assert_array_equal(rings, found.paths[name].taken[list(SHOWN)])


def test_two_arrows_lead_from_a_step_to_the_next(found):
    ax, _ = look_ahead_figure(found)
    path = found.paths["Momentum"]
    arrows = [(text.xyann, text.xy) for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 2 * len(SHOWN)
    for t, (kept, pushed) in zip(SHOWN, zip(arrows[::2], arrows[1::2])):
        np.testing.assert_array_equal(kept[0], path.weights[t])
        np.testing.assert_array_equal(kept[1], pushed[0])
        np.testing.assert_allclose(pushed[1], path.weights[t + 1], atol=1e-15)


def test_the_limits_are_dots_on_lines_of_the_formula(found):
    left, _ = limit_figure(found)
    lines = lines_of(left)
    for name, label, method in (("SGD", "gradient descent", "gradient descent"),
                                ("Momentum", "heavy ball", "heavy ball"),
                                ("Nesterov", "Nesterov", "Nesterov")):  # fmt: skip
        dots, line = lines[f"{label}, found"], lines[f"{label}, predicted"]
        assert tuple(dots.get_xdata()) == MUS
        np.testing.assert_array_equal(dots.get_ydata(), found.limits[name])
        expected = [theory.stability_limit(method, mu) for mu in line.get_xdata()]
        np.testing.assert_array_equal(line.get_ydata(), expected)
        assert dots.get_color() == line.get_color() == COLOURS[name]


def test_a_swing_is_drawn_down_to_where_it_is_faint(found):
    _, right = limit_figure(found)
    assert right.get_yscale() == "log"
    lines = {label.partition(":")[0]: line.get_ydata() for label, line in lines_of(right).items()}
    np.testing.assert_array_equal(lines["Heavy ball, αλ = 0.1"], found.sizes["Momentum", 0.1])
    shown = lines["Nesterov, αλ = 0.5"]
    np.testing.assert_array_equal(shown, found.sizes["Nesterov", 0.5][: len(shown)])
    assert shown[-1] < module.FAINT <= shown[-2]


def test_they_draw_into_axes_that_are_given(found):
    for draw in FIGURES.values():
        pair = tuple(Figure().subplots(1, 2))
        assert draw(found, pair) == pair
        assert all(ax.get_lines() for ax in pair)


def test_the_captions_say_what_was_measured(found):
    caption = look_ahead_caption(found)
    times = {}
    for name in ("Momentum", "Nesterov"):
        y = found.paths[name].weights[:, 1]
        y = y[np.abs(y) > 0.01]
        times[name] = sum(a * b < 0 for a, b in zip(y, y[1:]))
    assert f"heavy ball crosses the valley floor {times['Momentum']} times" in caption
    assert f"Nesterov {times['Nesterov']} times" in caption
    caption = limit_caption(found)
    assert "above αλ = 1.360" in caption
    assert f"{fitted_rate(found.sizes['Nesterov', 0.5]):.2f} of a swing" in caption
