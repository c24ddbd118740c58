"""The example of the rates: they are those of the formulas, and times the gradient the steps."""

import re

import pytest
from test_examples import once

NAME = "08_a_rate_for_each_weight.py"


def rows_of(optimizer):
    """The three numbers of each line of an optimizer, by what the line says."""
    _, printed = once(NAME)
    part = printed.split(f"{optimizer}: ", 1)[1].split("\n\n")[0]
    found = re.findall(r"^(\D+[\d]*) +([\d.]+) +([\d.]+) +([\d.]+)$", part, re.M)
    return {words.strip(): [float(x) for x in numbers] for words, *numbers in found}


def test_08_adagrads_rates_are_the_roots_of_how_often_and_stay():
    rows = rows_of("Adagrad")
    for step, counts in ((100, (100, 10, 1)), (400, (400, 40, 4)), (600, (400, 40, 4))):
        expected = [0.01 / n**0.5 for n in counts]
        assert rows[f"rate after step {step}"] == pytest.approx(expected, abs=5.1e-5)


def test_08_rmsprops_rates_come_back_while_there_is_no_gradient():
    rows = rows_of("RMSProp")
    settled = 0.01 / (1 - 0.99**400) ** 0.5
    assert rows["rate after step 400"][0] == pytest.approx(settled, abs=5.1e-5)
    for before, after in zip(rows["rate after step 400"], rows["rate after step 600"]):
        assert after / before == pytest.approx(0.99**-100, rel=0.01)


def test_08_rate_times_gradient_is_the_step_but_not_for_adam():
    for name in ("Adagrad", "RMSProp"):
        rows = rows_of(name)
        assert rows["this step, rate · gradient"] == rows["and how far it went"]
    rows = rows_of("Adam")
    assert rows["this step, rate · gradient"][1] > 3 * rows["and how far it went"][1]


def test_08_adams_first_step_is_as_long_as_the_rate_but_for_tiny_gradients():
    _, printed = once(NAME)
    assert re.search(r"^ +0\.0050 +0\.0100 +0\.0100 +0\.0100 ", printed, re.M)
