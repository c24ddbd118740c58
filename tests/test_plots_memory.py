"""The picture of memory shows the bytes that were traced, a piece for each vector."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tinygrad_opt.lab.memory import Held, MemoryFinding
from tinygrad_opt.lab.theory import FOR_A_WHILE
from tinygrad_opt.plots.memory import BASE, memory_caption, memory_figure
from tinygrad_opt.plots.style import colour

WEIGHTS = 1000


@pytest.fixture
def found():
    def held(name, remembers, a_weight, temporary=0):
        return Held(name, remembers, len(remembers), 8 * WEIGHTS, a_weight * WEIGHTS,
                    a_weight * WEIGHTS, temporary, False)  # fmt: skip

    rows = [held("Adam", ("mean", "mean square"), 8, 500_000), held("SGD", (), 0),
            held("Nesterov", ("velocity",), 4), held("Momentum", ("velocity",), 4),
            held("L-BFGS, 1 pairs", ("steps", "changes"), 16)]  # fmt: skip
    return MemoryFinding([], WEIGHTS, {row.name: row for row in rows},
                         dict.fromkeys(FOR_A_WHILE, 4 * WEIGHTS))  # fmt: skip


def rows_of(ax):
    """The pieces of each bar, left to right, by the name beside it."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    rows = {name: [] for name in names}
    for bar in sorted(ax.patches, key=lambda bar: bar.get_x()):
        rows[names[round(bar.get_y() + bar.get_height() / 2)]].append(bar)
    return rows


def test_the_bars_are_sorted_and_stand_on_the_base_that_all_need(found):
    rows = rows_of(memory_figure(found))
    assert list(rows) == ["SGD", "Nesterov", "Momentum", "Adam", "L-BFGS, 1 pairs"]
    for base, *_ in rows.values():
        assert (base.get_x(), base.get_width()) == (0, 8)
        assert matches(base.get_facecolor(), BASE)


def matches(rgba, name):
    from matplotlib.colors import to_rgba

    return tuple(rgba) == to_rgba(name)


def test_each_vector_is_a_piece_of_four_bytes_in_the_optimizers_colour(found):
    rows = rows_of(memory_figure(found))
    for name, count in (("SGD", 0), ("Momentum", 1), ("Adam", 2), ("L-BFGS, 1 pairs", 4)):
        _, *pieces = rows[name]
        assert [(bar.get_x(), bar.get_width()) for bar in pieces] == [
            (8 + 4 * n, 4) for n in range(count)
        ]
        family = "LBFGS" if name.startswith("L-") else name
        assert all(matches(bar.get_facecolor(), colour(family)) for bar in pieces)


def test_what_is_held_for_a_while_is_dashed(found):
    _, velocity, ahead = rows_of(memory_figure(found))["Nesterov"]
    assert velocity.get_linestyle() == "solid"
    assert ahead.get_linestyle() == "--"
    assert (ahead.get_x(), ahead.get_width()) == (12, 4)


def test_the_upper_axis_counts_all_weights_in_megabytes(found):
    ax = memory_figure(found)
    (top,) = ax.child_axes
    FigureCanvasAgg(ax.figure).draw()
    low, high = ax.get_xlim()
    assert top.get_xlim() == pytest.approx((low * WEIGHTS / 1e6, high * WEIGHTS / 1e6))


def test_it_draws_into_axes_that_are_given(found):
    ax = Figure().add_subplot()
    assert memory_figure(found, ax) is ax
    assert len(ax.patches) == 5 + 0 + 1 + 1 + 1 + 2 + 4


def test_the_caption_says_what_was_measured(found):
    found.held["Momentum"].held, found.held["Momentum"].base = 3_000_000, 5_000_000
    found.held["Adam"].held, found.held["Adam"].base = 6_000_000, 2_000_000
    caption = memory_caption(found)
    assert "adds 3 MB to the 5 MB" in caption
    assert "Adam 6 MB: 75 % of" in caption
    assert "at most 0.5 MB on top" in caption
