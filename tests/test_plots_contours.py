"""The picture and the film of the contour race show the ways that were recorded."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tinygrad_opt.lab.contours import LANDSCAPES, contours
from tinygrad_opt.plots.contours import (
    PAUSE,
    SIZE,
    TIME,
    _moments,
    _standing,
    contours_animation,
    contours_caption,
    contours_figure,
)
from tinygrad_opt.plots.style import ACCENT, colour


@pytest.fixture(scope="module")
def found():
    return contours(steps=60, seed=3)


@pytest.fixture(scope="module")
def axes(found):
    return contours_figure(found)


def test_each_way_is_a_line_of_its_optimizers_colour_with_a_dot_at_its_end(found, axes):
    assert len(axes) == 3
    for ax, ways in zip(axes, found.paths.values()):
        lines = {line.get_label(): line for line in ax.get_lines()}
        ends = [tuple(np.ravel(line.get_data())) for line in ax.get_lines()]
        for way in ways:
            np.testing.assert_array_equal(np.column_stack(lines[way.name].get_data()), way.weights)
            assert lines[way.name].get_color() == colour(way.name)
            assert tuple(way.weights[-1]) in ends


def test_start_and_minima_are_marked_on_the_landscape(axes):
    for ax, landscape in zip(axes, LANDSCAPES.values()):
        marks = [tuple(np.ravel(line.get_data())) for line in ax.get_lines()
                 if line.get_label() in ("start", "minimum")]  # fmt: skip
        assert sorted(marks) == sorted([landscape.start, *landscape.minima])
        assert (*ax.get_xlim(), *ax.get_ylim()) == landscape.frame
        assert landscape.formula in [text.get_text() for text in ax.texts]


def test_below_stand_name_rate_and_place_in_the_order_of_arrival(found, axes):
    for ax, ways in zip(axes, found.paths.values()):
        words = [text.get_text() for text in ax.texts]
        places = [word for word in words if word.endswith(("steps", "away"))]
        assert len(places) == len(ways)
        arrivals = sorted(way.arrived for way in ways if way.arrived is not None)
        assert places[: len(arrivals)] == [f"in {arrived} steps" for arrived in arrivals]
        for way in ways:
            assert f"α = {way.lr:g}" in words


def test_a_way_inside_the_frame_bears_its_name_and_no_word_leaves_the_picture(found, axes):
    canvas = FigureCanvasAgg(axes[0].figure)
    canvas.draw()
    for ax, ways in zip(axes, found.paths.values()):
        bold = {text.get_text(): text for text in ax.texts if text.get_weight() == "bold"}
        assert set(bold) == {way.name for way in ways}
        for name, text in bold.items():
            assert text.get_color() == colour(name)
            box = Text.get_window_extent(text, canvas.get_renderer())
            frame = ax.get_window_extent()
            assert frame.x0 - 8 <= box.x0 < box.x1 <= frame.x1 + 8
            assert frame.y0 - 8 <= box.y0 < box.y1 <= frame.y1 + 8


def test_it_draws_into_axes_that_are_given(found):
    given = Figure().subplots(1, 3)
    assert contours_figure(found, tuple(given)) == tuple(given)
    assert all(ax.get_lines() for ax in given)


def test_the_caption_names_who_arrives_and_who_is_first_off_the_saddle(found):
    there = [way.name for way in found.paths["rosenbrock"] if way.arrived is not None]
    caption = contours_caption(found)
    assert (" and ".join(there) or "nobody") in caption
    off = [way for way in found.paths["saddle"] if way.arrived is not None]
    assert f"the saddle {min(off, key=lambda way: way.arrived).name} is down first" in caption
    assert "in 60 steps" in caption


def test_the_film_shows_every_early_step_and_the_last_one():
    for steps in (1, 5, 60, 400, 3000):
        shown = _moments(steps)
        assert shown[: min(steps, 12) + 1] == list(range(min(steps, 12) + 1))
        assert shown[-1] == steps
        assert shown == sorted(set(shown))
        assert len(shown) < 100


@pytest.fixture(scope="module")
def film(found, tmp_path_factory):
    """The file, its pictures (height, width, 3) and how long each is shown."""
    path = tmp_path_factory.mktemp("film") / "race.gif"
    contours_animation(found, path)
    times, pictures = [], []
    with Image.open(path) as frames:
        for n in range(frames.n_frames):
            frames.seek(n)
            times.append(frames.info["duration"])
            pictures.append(np.asarray(frames.convert("RGB")).astype(int))
    return path, pictures, times


def test_a_film_of_before_stays_whole_where_the_new_one_is_broken_off(found, tmp_path, monkeypatch):
    def broken(picture, file, *arguments, **settings):
        with open(file, "wb") if isinstance(file, os.PathLike) else nullcontext(file) as stream:
            stream.write(b"GIF8")
            raise KeyboardInterrupt

    path = tmp_path / "race.gif"
    path.write_bytes(b"of before")
    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        contours_animation(found, path)
    assert path.read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [path]


def painted(picture, what):
    """Which pixels have that colour."""
    return (abs(picture - [int(what[i : i + 2], 16) for i in (1, 3, 5)]) < 12).all(axis=2)


def test_the_film_is_written_moves_and_ends_with_a_rest(found, film):
    path, pictures, times = film
    assert path.stat().st_size < 3_000_000
    assert times[-1] == PAUSE
    assert sum(times) == TIME * (len(_moments(found.steps)) - 1) + PAUSE
    assert len(pictures) > 30
    assert all((a != b).any() for a, b in zip(pictures, pictures[1:]))
    share = [painted(picture, colour("Adam")).mean() for picture in pictures]
    assert share[-1] > 1.2 * share[0] > 0  # its line grew


def test_the_stars_of_the_film_are_those_of_the_picture_from_the_first_frame_to_the_last(
    axes, film
):
    axes[0].figure.set_dpi(SIZE)
    canvas = FigureCanvasAgg(axes[0].figure)
    canvas.draw()
    stars = painted(np.asarray(canvas.buffer_rgba())[..., :3].astype(int), ACCENT)
    assert stars.sum() > 60  # three of them can be seen
    for picture in film[1]:
        assert (painted(picture, ACCENT) & stars).sum() > 0.9 * stars.sum()


def test_the_rows_of_the_film_stand_in_the_order_of_the_contestants_all_the_time(found, film):
    names = [way.name for way in found.paths["rosenbrock"]]
    for picture in film[1]:
        below = picture[picture.shape[0] * 2 // 3 :, : picture.shape[1] // 3]
        heights = [np.mean(np.nonzero(painted(below, colour(name)))[0]) for name in names]
        assert heights == sorted(heights)


def test_a_way_is_there_only_from_the_step_on_in_which_it_arrives(found):
    arrived = [way for ways in found.paths.values() for way in ways if way.arrived]
    assert arrived
    for way in arrived:
        assert _standing(way, way.arrived) == f"in {way.arrived} steps"
        for step in range(way.arrived):
            assert _standing(way, step).endswith("away")
