"""The example of momentum: what it prints is what the closed forms say."""

import re

import pytest
from test_examples import once


def rows(printed, title):
    """The numbers of the table under that title, a list for each μ."""
    block = printed.partition(title)[2].partition("\n\n")[0]
    found = {}
    for mu, told in re.findall(r"^mu = ([\d.]+)(.*)$", block, re.M):
        told = told.replace("over 10,000", "inf").replace("made for", "").replace(",", "")
        found[float(mu)] = [float(word) for word in told.split()]
    return found


def test_11_a_push_travels_as_far_as_the_geometric_series():
    _, printed = once("11_what_momentum_remembers.py")
    table = rows(printed, "none afterwards")
    assert list(table) == [0.75, 0.9, 0.99]
    for mu, (*moved, limit) in table.items():
        expected = [0.1 * (1 - mu**step) / (1 - mu) for step in (1, 10, 100, 1000)]
        assert moved == pytest.approx(expected, abs=1e-4)
        assert limit == pytest.approx(0.1 / (1 - mu))


def test_11_what_is_left_of_a_gradient_is_mu_to_its_age():
    _, printed = once("11_what_momentum_remembers.py")
    for mu, left in rows(printed, "for a twin").items():
        assert left == pytest.approx([mu**age for age in (1, 3, 7, 69)], abs=1e-4)


def test_11_each_momentum_is_the_fastest_in_the_valleys_that_it_is_made_for():
    _, printed = once("11_what_momentum_remembers.py")
    table = rows(printed, "steps to a millionth")
    assert [round(row[-1]) for row in table.values()] == [194, 1442, 158402]
    steps = {mu: row[:-1] for mu, row in table.items()}
    fastest = [min(steps, key=lambda mu: steps[mu][n]) for n in range(4)]
    assert fastest == [0.75, 0.75, 0.9, 0.99]
    assert steps[0.75][3] > 10000
