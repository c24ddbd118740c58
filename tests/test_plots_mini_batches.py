"""The pictures of the mini-batches show the classes that were drawn, the errors that were measured
and the runs that were recorded."""

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tinygrad_opt.lab.mini_batches import mini_batches
from tinygrad_opt.plots.mini_batches import (
    BATCHES,
    EMPTY,
    mini_batches_caption,
    mini_batches_figure,
    smoothing_caption,
    smoothing_figure,
)
from tinygrad_opt.plots.style import ACCENT, COLOURS


@pytest.fixture(scope="module")
def found():
    return mini_batches(classes=60, batch_size=20, each=5, epochs=4, seed=3)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.mark.parametrize(("draw", "count"), [(mini_batches_figure, 3), (smoothing_figure, 2)])
def test_another_number_of_axes_than_a_figure_has_is_refused_by_its_name(found, draw, count):
    ax = Figure().add_subplot()
    with pytest.raises(ValueError, match=f"{draw.__name__}: ax is {count} axes, not 1"):
        draw(found, ax)


# ---- the mosaics ----


def test_each_cell_has_the_colours_of_the_batches_that_hold_its_class(found):
    left, middle, _ = mini_batches_figure(found)
    for ax, kind in ((left, "random"), (middle, "balanced")):
        labels = found.gradients[kind].labels
        cells = ax.collections[0]
        across = round(ax.get_xlim()[1])
        seen = {c: [] for c in range(60)}
        for path, ink in zip(cells.get_paths(), cells.get_facecolors(), strict=True):
            x, y = path.vertices[:4].mean(axis=0)
            seen[int(y) * across + int(x)].append(to_hex(ink).upper())
        for c, inks in seen.items():
            held = [BATCHES[b] for b, batch in enumerate(labels) for label in batch if label == c]
            assert inks == (held or [EMPTY])


def test_the_words_above_count_what_is_missing_and_what_comes_again(found):
    left, middle, _ = mini_batches_figure(found)
    count = np.bincount(found.gradients["random"].labels.ravel(), minlength=60)
    words = [text.get_text() for text in left.texts]
    assert f"{(count == 0).sum()} missing, {(count > 1).sum()} more than once" in words
    assert "every class once" in [text.get_text() for text in middle.texts]


# ---- the errors ----


def test_the_histograms_hold_the_errors_and_the_dots_the_prediction(found):
    _, _, right = mini_batches_figure(found)
    random, even = found.gradients["random"], found.gradients["balanced"]
    lines = lines_of(right)
    for stairs, errors, std in zip(
        right.patches, (random.errors, random.of_windows, even.of_windows),
        (random.batch_std, random.window_std, even.window_std), strict=True,
    ):  # fmt: skip
        heights, edges, _ = stairs.get_data()
        expected, _ = np.histogram(errors, edges, density=True)
        np.testing.assert_array_equal(heights, expected)
        curve = lines[f"{stairs.get_label()}, predicted"]
        x, y = curve.get_data()
        assert curve.get_linestyle() == ":"
        assert y.max() == pytest.approx(0.3989 / std, rel=1e-3)
        above = x[y >= y.max() * np.exp(-0.5)]
        assert above.max() == pytest.approx(std, abs=2 * (x[1] - x[0]))
    words = " ".join(text.get_text() for text in right.texts)
    measured = np.sqrt((even.of_windows**2).mean())
    assert f"std {measured:.3g}, predicted {even.window_std:.3g}" in words


# ---- before or after the update ----


def test_the_losses_and_the_weight_are_those_of_the_runs(found):
    left, right = smoothing_figure(found)
    losses, paths = lines_of(left), lines_of(right)
    assert list(losses) == list(paths) == ["plain", "smooth=3", "accumulate=3"]
    assert left.get_yscale() == "log"
    for name, line in losses.items():
        run = found.training[name.partition("=")[0]]
        loss = np.repeat(run.history.step_loss, 3 if name == "accumulate=3" else 1)
        np.testing.assert_array_equal(line.get_ydata(), loss)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 16))
        np.testing.assert_array_equal(paths[name].get_ydata(), run.path)
    assert losses["plain"].get_color() == losses["smooth=3"].get_color() == COLOURS["SGD"]
    assert losses["accumulate=3"].get_color() == ACCENT


# ---- words, and axes that are given ----


def test_the_captions_say_what_was_measured(found):
    random, even = found.gradients["random"], found.gradients["balanced"]
    caption = mini_batches_caption(found)
    assert f"Three random batches lack {random.missing.mean():.0f} of the 60 classes" in caption
    ratio = (random.of_windows**2).mean() / (even.of_windows**2).mean()
    assert f"{ratio:.0f} times smaller" in caption
    assert "5 updates instead of 15, each that of 60 images" in smoothing_caption(found)


def test_the_caption_would_tell_that_smoothing_changed_a_weight(found):
    assert "not a bit of any weight" in smoothing_caption(found)
    smooth = found.training["smooth"]
    moved = dataclasses.replace(smooth, weights=np.nextafter(smooth.weights, 9))
    other = dataclasses.replace(found, training={**found.training, "smooth": moved})
    assert "not a bit of any weight" not in smoothing_caption(other)


@pytest.mark.parametrize(("draw", "n"), [(mini_batches_figure, 3), (smoothing_figure, 2)])
def test_it_draws_into_axes_that_are_given(found, draw, n):
    axes = tuple(Figure().subplots(1, n))
    assert draw(found, axes) == axes
    assert all(ax.get_lines() or ax.collections for ax in axes)
