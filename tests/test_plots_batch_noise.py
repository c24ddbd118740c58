"""The picture of the noise of batches shows the gradients, spreads and losses as recorded."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_plots import lines_of
from test_plots_perturbation import check_words

from tinygrad_opt.lab import batch_noise as lab
from tinygrad_opt.plots.batch_noise import batch_noise_caption, batch_noise_figure
from tinygrad_opt.plots.style import COLOURS


@pytest.fixture(scope="module")
def found():
    patch = pytest.MonkeyPatch()
    patch.setattr(lab, "TWIN_RUNS", 4)
    finding = lab.batch_noise(draws=12, seed=3)
    patch.undo()
    return finding


def test_the_histogram_holds_every_batch_and_the_bell_is_as_wide_as_predicted(found):
    left, _, _ = batch_noise_figure(found)
    lines = lines_of(left)
    bars = left.containers[0]
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    assert bars[0].get_x() == pytest.approx(found.along.min(), rel=1e-12)
    x, bell = lines["predicted"].get_data()
    step = x[1] - x[0]
    assert bell.sum() * step == pytest.approx(1, abs=1e-3)
    variance = ((x - found.full) ** 2 * bell).sum() * step
    assert np.sqrt(variance) == pytest.approx(found.deviation, rel=0.01)
    assert set(lines["full gradient"].get_xdata()) == {found.full}


def test_each_way_of_drawing_has_its_dots_with_three_errors_on_its_line(found):
    _, middle, _ = batch_noise_figure(found)
    lines = lines_of(middle)
    assert middle.get_xscale() == middle.get_yscale() == "log"
    by_label = {bars.get_label(): bars for bars in middle.containers}
    for name, spread in found.spreads.items():
        np.testing.assert_array_equal(lines[f"{name}, predicted"].get_ydata(), spread.predicted)
        dots, _, (bars,) = by_label[name]
        np.testing.assert_array_equal(dots.get_xydata().T, [spread.sizes, spread.measured])
        for (low, high), value, error in zip(
            bars.get_segments(), spread.measured, spread.error, strict=True
        ):
            assert (high[1] - low[1]) / 2 == pytest.approx(3 * error)
            assert (high[1] + low[1]) / 2 == pytest.approx(value)
    assert len({bars[0].get_color() for bars in by_label.values()}) == 3


def test_the_twins_are_drawn_as_they_ran_with_their_floor_dotted(found):
    *_, right = batch_noise_figure(found)
    lines = lines_of(right)
    assert right.get_yscale() == "log"
    for name, words in (
        ("drawn", "batches of 32"), ("noise", "Gaussian noise"),
        ("epochs", "batches in epochs"), ("exact", "no noise"),
    ):  # fmt: skip
        shown = found.twins[name][: lab.SETTLED + 1]
        np.testing.assert_array_equal(lines[words].get_ydata(), shown)
    assert lines["no noise"].get_color() == COLOURS["SGD"]
    floor = lines["predicted floor"]
    assert set(floor.get_ydata()) == {found.floors["drawn"]}
    assert floor.get_linestyle() == ":"


def test_it_draws_into_axes_that_are_given_and_adds_no_words_to_their_page(found):
    figure = Figure(figsize=(13, 5))
    three = tuple(figure.subplots(1, 3))
    assert batch_noise_figure(found, three) == three
    assert figure.texts == []


def test_the_caption_says_the_measured_numbers(found):
    caption = batch_noise_caption(found)
    shuffled, balanced = (found.spreads[name].measured[0] for name in ("shuffled", "balanced"))
    assert f"{balanced / shuffled:.2f} times as strong" in caption
    for name in ("drawn", "noise"):
        losses = found.twins[name]
        assert f"{losses[len(losses) // 2 :].mean():.2g}" in caption
    assert caption.count("\n") == 1


def test_all_words_stand_inside_the_picture_and_apart(found):
    check_words(batch_noise_figure(found))
