"""The example of the rate and momentum: what goes up, and what equal α / (1 - μ) makes equal."""

import re

import pytest
from test_examples import numbers, once


def table(printed, title):
    """The columns' heads, and the cells of each μ: digits gained, or None where it went up."""
    head, *lines = printed.partition(title)[2].partition("\n\n")[0].splitlines()[1:]
    heads = [float(word) for word in head.split()[:7]]
    cells = {}
    for line in lines:
        mu, told = re.match(r"mu = ([\d.]+)(.*)", line).groups()
        *gains, limit = told.split()
        cells[float(mu)] = [None if gain == "up" else float(gain) for gain in gains]
        assert float(limit) == pytest.approx(2 * (1 + float(mu)), abs=0.006)
    assert list(cells) == [0, 0.5, 0.67, 0.9, 0.97]
    return heads, cells


def test_12_a_pair_goes_up_just_beyond_its_limit():
    _, printed = once("12_momentum_and_rate_together.py")
    rates, cells = table(printed, "powers of ten")
    for mu, gains in cells.items():
        for rate, gain in zip(rates, gains, strict=True):
            assert (gain is None) == (rate > 2 * (1 + mu))


def test_12_at_equal_sums_small_rates_are_equally_fast_and_at_equal_rates_they_are_not():
    _, printed = once("12_momentum_and_rate_together.py")
    _, by_rate = table(printed, "powers of ten")
    _, by_sum = table(printed, "the same at equal")
    for column in (0, 1, 2):
        at_once = [gains[column] for gains in by_sum.values()]
        assert max(at_once) == pytest.approx(min(at_once), rel=0.02)
    assert by_rate[0.97][0] > 2 * by_rate[0.0][0]


def test_12_the_best_pair_is_far_ahead_of_gradient_descent():
    _, printed = once("12_momentum_and_rate_together.py")
    assert numbers(r"rate ([\d.]+), mu", printed) == [3.306]
    assert numbers(r"mu ([\d.]+)\n", printed) == [0.669]
    ((gained, plain),) = re.findall(r"gains ([\d.]+); .*? gains ([\d.]+)", printed)
    assert float(plain) == pytest.approx(5.35, abs=0.1)
    assert float(gained) > 8 * float(plain)
