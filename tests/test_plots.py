"""What a figure shows is what was recorded: its lines, dots, colours and words."""

import io
import itertools
import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tinygrad_opt import plots, report
from tinygrad_opt.lab import CONTESTANTS
from tinygrad_opt.lab.digits_race import DigitsRace
from tinygrad_opt.lab.experiments import experiments
from tinygrad_opt.lab.race import Result
from tinygrad_opt.plots.digits_race import digits_race_figure
from tinygrad_opt.plots.mini_batches import mini_batches_figure, smoothing_figure
from tinygrad_opt.plots.sweep import sweep_figure
from tinygrad_opt.plots.tuning import tuning_figure
from tinygrad_opt.train import Epoch, History

RUNS = {
    "SGD": [[1.0, 0.5, 0.2], [1.2, 0.4, 0.3], [1.1, 0.6, 0.1]],
    "Momentum μ=0.75": [[1.0, 0.3, 0.02], [1.2, 0.2, 0.03], [1.1, 0.4, 0.04]],
    "Momentum μ=0.9": [[1.0, 0.2, 0.021], [1.3, 0.3, 0.031], [0.9, 0.1, 0.041]],
}
ACCURACY = {"SGD": [0.95, 0.97, 0.95], "Momentum μ=0.75": [0.98, 0.97, 0.96],
            "Momentum μ=0.9": [0.99, 0.91, 0.98]}  # fmt: skip


def result(name, losses, accuracy=0.9, seed=0, failure=""):
    history = History()
    history.epochs = [Epoch(loss, 0.5, loss, 0.5) for loss in losses]
    nan = float("nan")
    return Result(
        name.lower(), name, 0.25, seed, history, train_loss=nan if failure else losses[-1] / 2,
        test_loss=0.1, test_accuracy=nan if failure else accuracy, step_ms=1.0, state_bytes=4.0,
        weights=10, gradients=3, failure=failure,
    )  # fmt: skip


def results(runs=RUNS):
    return [result(name, losses, ACCURACY[name][seed], seed)
            for name, starts in runs.items() for seed, losses in enumerate(starts)]  # fmt: skip


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def drawn(ax):
    """The figure's renderer, after the figure was drawn once."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return canvas.get_renderer()


# ---- the loss ----


def test_a_loss_curve_is_the_median_of_the_starts_on_a_logarithmic_axis():
    ax = plots.loss_curves(results())
    assert ax.get_yscale() == "log"
    lines = lines_of(ax)
    assert set(lines) == set(RUNS)
    for name, starts in RUNS.items():
        assert list(lines[name].get_xdata()) == [0.5, 1.5, 2.5, 3]  # a mean stands in mid-epoch
        medians = [statistics.median(epoch) for epoch in zip(*starts)]
        after = statistics.median(start[-1] / 2 for start in starts)
        assert list(lines[name].get_ydata()) == [*medians, after]
        assert lines[name].get_marker() == "o"
        assert lines[name].get_markevery() == [-1]
        assert lines[name].get_color() == plots.COLOURS[name]


def test_the_band_goes_from_the_lowest_start_to_the_highest():
    ax = plots.loss_curves(results())
    bands = ax.collections
    assert len(bands) == len(RUNS)
    for band, name in zip(bands, lines_of(ax)):
        corners = {(x, round(y, 9)) for x, y in band.get_paths()[0].vertices}
        for epoch, losses in enumerate(zip(*RUNS[name])):
            assert (epoch + 0.5, min(losses)) in corners
            assert (epoch + 0.5, max(losses)) in corners
    single = plots.loss_curves([result("SGD", [1.0, 0.5])])
    assert len(single.collections) == 0
    assert list(single.get_lines()[0].get_ydata()) == [1.0, 0.5, 0.25]
    crowd = [result(f"Runner {n}", [1.0, 0.5], seed=seed) for n in range(9) for seed in (0, 1)]
    assert len(plots.loss_curves(crowd).collections) == 0


def test_each_line_is_named_at_its_end_and_no_two_names_overlap():
    ax = plots.race_figure(results())[0]  # two lines end at nearly the same loss
    renderer = drawn(ax)
    named = {text.get_text(): text for text in ax.texts if text.get_text() in RUNS}
    assert set(named) == set(RUNS)
    for name, text in named.items():
        assert text.xy == (3, statistics.median(losses[-1] / 2 for losses in RUNS[name]))
        assert text.arrow_patch.get_edgecolor()[:3] == pytest.approx(rgb(plots.COLOURS[name]))
    extents = [text_box(text, renderer) for text in named.values()]
    for a, b in itertools.combinations(extents, 2):
        assert a.y1 <= b.y0 or b.y1 <= a.y0


def text_box(text, renderer):
    """The box of the words alone, without the line that leads to them."""
    from matplotlib.text import Text

    return Text.get_window_extent(text, renderer)


def rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def test_a_run_that_failed_is_drawn_to_its_last_epoch_with_a_cross():
    ax = plots.loss_curves([result("SGD", [1.0, 0.5, 0.1]),
                            result("SGD", [1.0, 9.0], seed=1, failure="why")])  # fmt: skip
    lines = lines_of(ax)
    assert list(lines["SGD"].get_ydata()) == [1.0, 0.5, 0.1, 0.05]
    assert list(lines["SGD diverged"].get_ydata()) == [1.0, 9.0]
    assert lines["SGD diverged"].get_marker() == "X"
    assert lines["SGD diverged"].get_markevery() == [-1]
    left, right = plots.race_figure([result("SGD", [1.0], failure="why")])
    assert "SGD" in [text.get_text() for text in left.texts]
    assert "diverged" in [text.get_text() for text in right.texts]
    left, right = plots.race_figure([result("SGD", [], failure="at once")])
    assert not left.get_lines()
    drawn(left)


# ---- the accuracy ----


def test_the_accuracy_has_a_dot_a_start_in_percent_and_its_mean_in_words():
    ax = plots.accuracy_dots(results())
    lines = ax.get_lines()
    order = ["SGD", "Momentum μ=0.9", "Momentum μ=0.75"]  # the lowest loss at the bottom
    assert [label.get_text() for label in ax.get_yticklabels()] == order
    for row, (name, dots) in enumerate(zip(order, ax.collections)):
        values = [100 * value for value in ACCURACY[name]]
        assert list(dots.get_offsets()[:, 0]) == pytest.approx(values)
        assert all(abs(y - row) < 0.3 for y in dots.get_offsets()[:, 1])
        assert rgb(plots.COLOURS[name]) == pytest.approx(list(dots.get_facecolor()[0][:3]))
        mean = statistics.fmean(values)
        assert lines[row].get_xdata() == pytest.approx([mean, mean])
        words = [text.get_text() for text in ax.texts]
        assert f"{mean:.1f}" in words
    assert words.count("0.25") == len(RUNS)
    assert ax.yaxis_inverted()


def test_equal_accuracies_are_stacked_and_not_hidden_behind_one_another():
    offsets = plots.accuracy_dots(results()).collections[0].get_offsets()
    assert offsets[0][0] == offsets[2][0]
    assert abs(offsets[0][1] - offsets[2][1]) > 0.1


# ---- the whole ----


def test_the_race_is_drawn_into_given_axes_and_nothing_is_added_to_their_figure():
    figure = Figure()
    pair = figure.subplots(1, 2)
    given = plots.race_figure(results(), ax=pair)
    assert given[0] is pair[0]
    assert given[1] is pair[1]
    assert figure.texts == []
    for draw in (plots.loss_curves, plots.accuracy_dots):
        ax = Figure().add_subplot()
        assert draw(results(), ax=ax) is ax
        assert ax.get_lines()


def test_a_curve_its_name_and_its_dots_stand_in_one_row_sorted_by_loss():
    left, right = plots.race_figure(results())
    renderer = drawn(left)
    for name in RUNS:
        (word,) = (text for text in left.texts if text.get_text() == name)
        (dots,) = (dots for dots in right.collections if dots.get_label() == name)
        place = right.transData.transform((0, round(dots.get_offsets()[:, 1].mean())))[1]
        box = text_box(word, renderer)
        assert (box.y0 + box.y1) / 2 == pytest.approx(place, abs=3)
    assert not any(label.get_text() for label in right.get_yticklabels())


def test_all_words_of_the_race_stand_inside_the_picture_and_apart():
    left, right = plots.race_figure(results())
    renderer, figure = drawn(left), left.figure
    assert plots.race_caption(results()) in [text.get_text() for text in figure.texts]
    texts = [text for text in (*figure.texts, *left.texts, *right.texts, left.title, right.title)
             if text.get_text()]  # fmt: skip
    boxes = [text_box(text, renderer) for text in texts]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)


def test_the_figure_saves_as_a_picture_without_pyplot():
    code = """
import io, sys
import matplotlib
from tinygrad_opt.lab import race
from tinygrad_opt.plots import race_figure
def settings():  # reading "backend" would choose one, and import pyplot for it
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
stream = io.BytesIO()
race_figure(race(["sgd"], 1, 720, seeds=(0,)))[0].figure.savefig(stream)
assert stream.getvalue().startswith(b"\\x89PNG"), stream.getvalue()[:8]
assert "matplotlib.pyplot" not in sys.modules
assert settings() == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_every_contestant_has_a_colour_of_its_own():
    colours = [plots.colour(contestant.name) for contestant in CONTESTANTS.values()]
    assert len(set(colours)) == len(colours)
    assert plots.colour("Momentum μ=0.5") == plots.COLOURS["Momentum"]
    assert plots.colour("Unheard of") not in plots.COLOURS.values()


def test_the_caption_says_what_the_numbers_say():
    text = plots.race_caption(results())
    assert text == (
        "After 3 epochs Momentum μ=0.75 has the lowest training loss, 0.015 nats; SGD has the "
        "highest, 6.7 times that (medians of 3 starts).\n"
        "On the test images the optimizers are 1.3 percentage points apart; starts of one and the "
        "same optimizer differ by up to 8.0."
    )
    assert plots.race_caption([result("SGD", [1.0], 0.875)]) == (
        "After 1 epoch SGD has the lowest training loss, 0.5 nats.\n"
        "On images it never saw, SGD is right in 87.5 %."
    )
    assert "Every run diverged" in plots.race_caption([result("SGD", [1.0], failure="why")])


@pytest.mark.parametrize("draw", [plots.race_figure, plots.loss_curves, plots.accuracy_dots])
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="no results"):
        draw([])


DRAWN = [  # all but those that ask their finding first
    draw for experiment in experiments().values() for draw in report.figures(experiment).values()
    if draw not in (sweep_figure, digits_race_figure, mini_batches_figure, smoothing_figure)
]  # fmt: skip


@pytest.mark.parametrize("draw", [*DRAWN, tuning_figure], ids=lambda draw: draw.__name__)
def test_another_number_of_axes_than_a_figure_has_is_refused_by_its_name(draw):
    many = Figure().subplots(5)
    for ax, told in ((many, 5), (list(many), 5), ("here", "'here'"), ([many[0], 3], "3")):
        with pytest.raises(ValueError, match=rf"^{draw.__name__}: ax is [1-4] axes, not {told}"):
            draw(None, ax)


@pytest.mark.parametrize(("draw", "count"), [
    (plots.race_figure, 2), (plots.loss_curves, 1), (plots.accuracy_dots, 1),
])  # fmt: skip
def test_another_number_of_axes_for_the_race_is_refused(draw, count):
    page = Figure()
    many = [page.add_subplot() for _ in range(3 - count)]
    with pytest.raises(ValueError, match=f"{draw.__name__}: ax is {count} axes, not {3 - count}"):
        draw(results(), ax=many[0] if len(many) == 1 else many)
    with pytest.raises(ValueError, match="race_figure: ax is 2 axes, not 1"):
        digits_race_figure(DigitsRace([], results(), []), page.add_subplot())


def test_axes_may_come_in_a_list_a_tuple_or_an_array_of_any_shape():
    page = Figure()
    array = page.subplots(2, 1, squeeze=False)
    for ax in (array, array.ravel(), list(array.ravel()), tuple(array.ravel())):
        left, right = plots.race_figure(results(), ax=ax)
        assert [left, right] == page.axes


# ---- labels apart ----

PLACES = st.lists(st.floats(-10, 10), min_size=1, max_size=12)


@given(PLACES, st.floats(0.01, 3))
def test_labels_keep_their_order_stand_apart_and_move_as_little_as_they_can(places, gap):
    moved = plots.spread(places, gap)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for i, j in zip(order, order[1:]):
        assert moved[j] - moved[i] >= gap - 1e-9
    # The optimum of a least-squares problem over a convex set: no step towards another allowed
    # placing makes it better. Shifting everything alike is one such step, so the mean stays.
    assert sum(moved) == pytest.approx(sum(places), abs=1e-6)
    other = [places[order[0]] + gap * order.index(i) * 1.5 for i in range(len(places))]
    slope = sum((m - p) * (o - m) for m, p, o in zip(moved, places, other))
    assert slope >= -1e-6


def test_labels_that_are_apart_already_stay_where_they_are():
    assert plots.spread([3.0, 1.0, 2.0], 1.0) == [3.0, 1.0, 2.0]
    assert plots.spread([1.0, 1.0], 1.0) == pytest.approx([0.5, 1.5])


def test_a_picture_is_written_in_the_size_it_was_designed_for():
    stream = io.BytesIO()
    plots.race_figure(results())[0].figure.savefig(stream)
    width, height = (int.from_bytes(stream.getvalue()[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (1840, 896)
