"""The example of the ridge: nothing moves without noise, and with it as many as are predicted."""

import re

import pytest
from test_examples import numbers, once


def test_09_without_noise_every_optimizer_stays_and_with_it_seeds_leave_as_predicted():
    _, printed = once("09_jump_off_the_ridge.py")
    for rule in ("SGD", "Momentum", "Adam"):
        assert re.search(rf"{rule} +0\.0 +-0\.08\n", printed)
    rows = re.findall(r"^   0\.[12] +\d+ +(\d+) +([\d.]+) +(\d+) +([\d.]+)$", printed, re.M)
    assert len(rows) == 6
    for off, expected_off, alive, expected_alive in (map(float, row) for row in rows):
        for count, expected in ((off, expected_off), (alive, expected_alive)):
            share = expected / 100
            assert abs(count - expected) <= max(1, 3 * (100 * share * (1 - share)) ** 0.5)
    assert float(rows[2][0]) > 85 > 70 > float(rows[2][2])  # a ridge is left for good, and fast


def test_09_the_floor_is_the_predicted_one_and_a_decay_lowers_it():
    _, printed = once("09_jump_off_the_ridge.py")
    floors = numbers(r"decay [\d.]+ +([\d.]+) ", printed)
    predicted = numbers(r"predicted ([\d.]+)", printed)
    assert floors == [pytest.approx(value, rel=0.1) for value in predicted]
    assert floors[1] < floors[0] / 30
