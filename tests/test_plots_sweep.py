"""The map that is drawn is the map that was measured, and its curve is the predicted one."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab.sweep import Map, Sweep, sweep
from tinygrad_opt.plots.momentum import pace
from tinygrad_opt.plots.style import ACCENT
from tinygrad_opt.plots.sweep import sweep_caption, sweep_figure


@pytest.fixture(scope="module")
def found():
    return sweep(mus=(0.0, 0.5, 0.9), rates=np.geomspace(0.3, 5.0, 8), steps=200)


def digits(mus=(0.0, 0.5, 0.9), rates=(0.1, 1.0, 10.0)):
    loss = np.array([[0.5, 0.1, np.inf], [0.3, 0.2, 2.5], [0.05, 1.0, np.inf]])
    made = Map("heavy ball", "digits", np.array(mus), np.array(rates), 1.0, loss, loss > 2.3)
    return Sweep([], {"heavy ball": made})


def cells(ax):
    """The coloured mesh: the values of its cells, and its corners (rows, columns, 2)."""
    _, mesh = ax.collections
    return mesh.get_array(), mesh.get_coordinates()


def test_each_method_has_a_map_and_the_first_one_more_over_the_sum(found):
    axes = sweep_figure(found)
    assert [ax.get_title("left") for ax in axes] == [
        "Heavy ball", "Nesterov", "Heavy ball, at equal α/(1-μ)",
    ]  # fmt: skip
    for ax, made in zip(axes, (*found.maps.values(), found.maps["heavy ball"])):
        values, _ = cells(ax)
        np.testing.assert_array_equal(values.mask, made.diverged)
        assert values[0, 0] == pace(made.shrink[0, 0])


def test_a_cell_lies_around_its_rate_and_momentum(found):
    left, _, fair = sweep_figure(found)
    made = found.maps["heavy ball"]
    for ax, slope in ((left, 0), (fair, 1)):
        _, corners = cells(ax)
        x, y = corners[..., 0], corners[..., 1]
        for i, mu in enumerate(made.mus):
            assert y[i, 0] < 1 / (1 - mu) < y[i + 1, 0]
            for j, rate in enumerate(made.rates):
                left_border, right_border = (np.sqrt(x[i : i + 2, at].prod()) for at in (j, j + 1))
                centre = np.sqrt(y[i, 0] * y[i + 1, 0])
                assert left_border < rate * centre**slope < right_border


def test_the_curve_is_the_predicted_limit(found):
    axes = sweep_figure(found)
    for ax, made in zip(axes, found.maps.values()):
        (curve,) = (line for line in ax.get_lines() if line.get_label() == "predicted limit")
        np.testing.assert_allclose(curve.get_xdata(), made.limits)
        assert curve.get_color() == ACCENT
    (curve,) = (line for line in axes[2].get_lines() if line.get_label() == "predicted limit")
    made = found.maps["heavy ball"]
    np.testing.assert_allclose(curve.get_xdata(), made.limits / (1 - made.mus))


def test_the_star_stands_on_the_best_cell(found):
    for finding in (found, digits()):
        ax = sweep_figure(finding)[0]
        made = finding.maps["heavy ball"]
        (star,) = (line for line in ax.get_lines() if line.get_label() == "the best cell")
        row, column = made.best
        assert star.get_xdata()[0] == made.rates[column]
        by = made.loss if made.shrink is None else made.shrink
        assert by[row, column] == by.min()


def test_the_digits_are_coloured_by_their_loss_and_their_caption_says_how_rough_the_guide_is():
    finding = digits()
    ax = sweep_figure(finding)[0]
    values, _ = cells(ax)
    assert values[2, 0] == 0.05
    assert values.mask.sum() == 3
    caption = sweep_caption(finding)
    assert "0.05 nats, at μ = 0.90 and α = 0.1" in caption
    # at α = 10 all three are outside, at α = 1 none: the diverged ones are just those
    assert "0 of 9 cells are on its wrong side" in caption


def test_the_caption_counts_the_cells(found):
    judged = sum(made.wrong_side()[1] for made in found.maps.values())
    assert sweep_caption(found).startswith(f"Of {judged:,} cells more than 3 % from the line, 0 ")
    assert len(sweep_caption(found).splitlines()) == 2


def test_a_map_where_all_diverged_can_be_drawn_too():
    finding = sweep(["heavy ball"], (0.0, 0.5), (7.0, 9.0), steps=200)
    assert finding.maps["heavy ball"].diverged.all()
    assert len(sweep_figure(finding)) == 2


def test_it_draws_into_axes_that_are_given_and_counts_them(found):
    axes = list(Figure().subplots(1, 3))
    assert sweep_figure(found, axes) == axes
    with pytest.raises(ValueError, match="sweep_figure: ax is 3 axes, not 2"):
        sweep_figure(found, axes[:2])
