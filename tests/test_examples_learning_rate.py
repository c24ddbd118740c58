"""The example of the learning rate: each loss is what the formulas say, below the limit and
above."""

import re

import pytest
from test_examples import numbers, once

NAME = "06_learning_rate_too_high.py"


def test_06_each_step_multiplies_the_loss_of_the_bowl_by_the_square_of_1_minus_twice_the_rate():
    _, printed = once(NAME)
    rows = re.findall(r"^ +(\d\.\d)((?: +\d\.\d{5}){4}) +(\S+)$", printed, re.M)
    assert [float(rate) for rate, _, _ in rows] == [0.1, 0.5, 0.9, 1.0, 1.1]
    for rate, steps, last in rows:
        factor = (1 - 2 * float(rate)) ** 2
        expected = [factor**n for n in (1, 2, 3, 4)]
        assert [float(step) for step in steps.split()] == pytest.approx(expected, abs=6e-6)
        assert float(last) == pytest.approx(factor**100, rel=6e-3)


def test_06_the_sharpness_is_that_of_least_squares_and_decides_what_becomes_of_the_loss():
    _, printed = once(NAME)
    (measured,), (formula,) = (numbers(rf"{words} ([\d.]+)", printed)
                               for words in ("sharpness", "by its formula"))  # fmt: skip
    assert measured == formula
    assert numbers(r"stable rate: ([\d.]+);", printed) == [pytest.approx(2 / measured, abs=1e-6)]
    assert numbers(r"is ([\d.]+) times it", printed) == [pytest.approx(measured / 2, abs=5e-3)]
    before, after = (numbers(rf"{words} +([\d.e+]+)", printed)
                     for words in ("after 400 steps", "after 500"))  # fmt: skip
    assert after[0] == after[1] < 0.02
    assert after[2] == before[2] > 0.02
    assert after[3] / before[3] == pytest.approx((1 - 2 * 1.01) ** 200, rel=0.01)
