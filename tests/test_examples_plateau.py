"""The example of the plateau: its floors stand to each other as the theory of small rates says."""

import pytest
from test_examples import numbers, once


def test_07_half_the_rate_halves_the_floor_and_momentum_raises_it_tenfold():
    _, printed = once("07_stuck_on_a_plateau.py")
    assert numbers(r"half the rate: +([\d.]+)", printed) == [pytest.approx(0.5, abs=0.1)]
    assert numbers(r"momentum 0.9: +([\d.]+)", printed) == [pytest.approx(10, rel=0.3)]
    (scheduled,) = numbers(r"the schedule: +([\d.]+)", printed)
    assert scheduled < 0.15
