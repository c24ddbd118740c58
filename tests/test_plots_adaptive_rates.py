"""The pictures of the rates show what was recorded, in one scale and in the optimizers' colours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.adaptive_rates import AdaptiveRates, Rates
from tinygrad_opt.plots.adaptive_rates import (
    FIGURES,
    rates_caption,
    rates_figure,
    response_caption,
    response_figure,
    stuck_caption,
    stuck_figure,
)
from tinygrad_opt.plots.style import colour

NAMES = ("Adagrad", "RMSProp", "Adam")


@pytest.fixture(scope="module")
def found():
    draws = np.random.default_rng(0)
    often = np.geomspace(1, 0.005, 12)
    learnt = {}
    for name in NAMES:
        rates = draws.lognormal(-3, 1, (30, 12))
        rates[:5, -3:] = np.nan  # not there yet
        learnt[name] = Rates(name, 0.1, rates, np.ones(30), 0.0, 0.0)
    gradients = np.where(np.arange(100) < 40, 1.0, 0.01)
    responses = {name: draws.lognormal(-3, 1, 100) for name in NAMES}
    predicted = {name: draws.lognormal(-3, 1, 100) for name in NAMES}
    first = {"corrected": np.ones(50), "uncorrected": 7 - np.abs(np.arange(50) - 12.0) / 10}
    stuck = {name: draws.uniform(-1, 1, (303, 2)) for name in ("Adam", "AMSGrad")}
    return AdaptiveRates([], often, learnt, gradients, responses, predicted, first, stuck)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_each_panel_has_a_row_a_weight_and_all_share_one_logarithmic_scale(found):
    *panels, scale = rates_figure(found)
    meshes = [ax.collections[0] for ax in panels]
    for mesh, name in zip(meshes, NAMES, strict=True):
        values = np.ma.getdata(mesh.get_array()).reshape(12, 30)
        hidden = np.ma.getmaskarray(mesh.get_array()).reshape(12, 30)
        rates = found.learnt[name].rates.T
        np.testing.assert_array_equal(hidden, np.isnan(rates))
        np.testing.assert_array_equal(values[~hidden], rates[~hidden])
        assert mesh.norm is meshes[0].norm
    assert type(meshes[0].norm).__name__ == "LogNorm"
    assert "weight change per unit of gradient" in scale.get_ylabel()


def test_the_frequent_weights_are_on_top_and_the_ticks_stand_at_their_frequencies(found):
    first, *_ = rates_figure(found)
    low, high = first.get_ylim()
    assert low > high
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels == ["always", "1 in 10", "1 in 100"]
    rows = np.arange(12) + 0.5
    at = np.exp(np.interp(first.get_yticks(), rows, np.log(found.often)))
    np.testing.assert_allclose(at, [1, 0.1, 0.01], rtol=1e-6)


def test_the_responses_are_lines_with_dots_of_the_formula(found):
    left, _ = response_figure(found)
    lines = lines_of(left)
    assert left.get_yscale() == "log"
    for name in NAMES:
        np.testing.assert_array_equal(lines[name].get_ydata(), found.responses[name])
        assert lines[name].get_color() == colour(name)
        dots = lines[f"{name}, predicted"]
        places = dots.get_xdata() - 1
        np.testing.assert_array_equal(dots.get_ydata(), found.predicted[name][places])
    assert any(set(line.get_xdata()) == {40} for line in left.get_lines())  # where it falls


def test_adams_first_steps_are_drawn_with_and_without_its_correction(found):
    _, right = response_figure(found)
    lines = lines_of(right)
    for word in ("corrected", "uncorrected"):
        np.testing.assert_array_equal(lines[word].get_ydata(), found.first_steps[word])
        assert lines[word].get_xdata()[0] == 1
    dots = lines["uncorrected, predicted"]
    expected = [theory.uncorrected_adam_step(1.0, 0.9, 0.999, t) for t in dots.get_xdata()]
    np.testing.assert_array_equal(dots.get_ydata(), expected)


def test_the_example_of_adam_is_drawn_as_means_over_its_cycles(found):
    ax = stuck_figure(found)
    lines = lines_of(ax)
    for name, path in found.stuck.items():
        first = lines[name]
        np.testing.assert_allclose(first.get_ydata(), path[:, 0].reshape(3, 101).mean(axis=1))
        assert first.get_color() == colour(name)
        assert f"{name}, start 2" in lines


def test_they_draw_into_axes_that_are_given(found):
    for draw, count in zip(FIGURES.values(), (4, 2, 1), strict=True):
        axes = tuple(Figure().subplots(1, count, squeeze=False)[0])
        drawn = draw(found, axes if count > 1 else axes[0])
        assert (drawn if count > 1 else (drawn,)) == axes
        assert all(ax.get_lines() or ax.collections for ax in axes)


def test_the_captions_say_what_was_recorded(found):
    last = found.learnt["Adagrad"].rates[-1]
    rare, common = found.often < 0.03, found.often > 0.3
    times = np.median(last[rare]) / np.median(last[common])
    assert f"rare features keep {times:.1f} times" in rates_caption(found)
    grown = found.responses["RMSProp"][-1] / found.responses["RMSProp"][39]
    caption = response_caption(found)
    assert f"60 steps after the fall RMSProp's rate is {grown:.0f} times" in caption
    assert "step 13 is 7.00 α" in caption
    assert f"{found.stuck['Adam'][-101:].mean():+.2f} from every start" in stuck_caption(found)
