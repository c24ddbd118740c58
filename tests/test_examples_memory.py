"""The example of memory: what an optimizer says is what is held."""

import re

import pytest
from test_examples import numbers, once

NAME = "14_what_an_optimizer_remembers.py"


def test_14_each_optimizer_holds_what_it_says_in_vectors_of_four_bytes():
    names, printed = once(NAME)
    rows = re.findall(r"^(\w+) +([\d.]+) MB +([\d.]+) MB +([\d.]+)$", printed, re.M)
    vectors = {"SGD": 0, "Momentum": 1, "RMSProp": 1, "Adam": 2, "AMSGrad": 3}
    assert [name for name, *_ in rows] == [*vectors, "Adafactor"]
    for name, says, holds, a_weight in rows:
        assert float(holds) == pytest.approx(float(says), abs=0.01)
        if name in vectors:
            expected = 4 * vectors[name] * names["weights"] / 1e6
            assert float(says) == pytest.approx(expected, rel=1e-3)
            assert float(a_weight) == 8 + 4 * vectors[name]
    assert float(rows[-1][3]) == pytest.approx(8, abs=0.02)


def test_14_adam_doubles_what_weights_and_gradients_take_at_any_size():
    _, printed = once(NAME)
    plain = numbers(r"weights: ([\d.]+) GB", printed)
    adam = numbers(r"with Adam ([\d.]+) GB", printed)
    assert plain == [0.08, 8, 56]
    assert adam == pytest.approx([2 * each for each in plain], rel=0.01)


def test_14_the_look_ahead_takes_a_vector_and_gives_it_back():
    _, printed = once(NAME)
    assert numbers(r"([\d.]+) MB more", printed) == [4.0]
    assert numbers(r"after it ([\d.]+) MB", printed) == [0.0]
