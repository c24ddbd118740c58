"""The example of the race down the valley: all tuned alike, and the curvatures are right."""

import math
import re

import pytest
from test_examples import numbers, once

NAME = "16_race_down_a_valley.py"


def test_16_the_curvatures_are_those_of_the_closed_form():
    _, printed = once(NAME)
    flat, steep = 501 - math.sqrt(250601), 501 + math.sqrt(250601)
    assert numbers(r"minimum: ([\d.]+) and", printed) == pytest.approx([flat], rel=1e-3)
    assert numbers(r"minimum: [\d.]+ and ([\d.]+),", printed) == pytest.approx([steep], rel=1e-3)
    assert numbers(r"= ([\d.]+)\n\n", printed) == pytest.approx([2 / steep], rel=1e-3)


def test_16_each_optimizer_ran_at_its_nearest_rate_and_adagrad_steps_alike_in_x_and_y():
    names, printed = once(NAME)
    rows = re.findall(r"^(\w+) +([\d.]+) +(-?[\d.]+) +(-?[\d.]+) +([\d.]+) +([\d.]+) ([\d.]+)$",
                      printed, re.M)  # fmt: skip
    assert [row[0] for row in rows] == list(names["names"])
    slopes = 215.6, 88.0
    for name, *cells in rows:
        lr, x, y, away, *first = map(float, cells)
        assert lr in names["RATES"]
        assert math.hypot(x - 1, y - 1) == pytest.approx(away, abs=2e-3)
        if name in ("Adagrad", "Adam"):
            assert first == pytest.approx([lr, lr], rel=1e-3)
        if name in ("SGD", "Momentum", "Nesterov"):
            assert first == pytest.approx([lr * slope for slope in slopes], rel=1e-3)
    assert min(rows, key=lambda row: float(row[4]))[0] == "Adam"
