"""The example of the mini-batches: its counts, its noise and its two means are as predicted."""

import numpy as np
import pytest
from test_examples import numbers, once

from tinygrad_opt.lab import theory

NAME = "17_four_batches_one_update.py"


def test_17_random_batches_lack_classes_and_balanced_ones_do_not():
    _, printed = once(NAME)
    missing, none = numbers(r"(\d+) missing", printed)
    again, never = numbers(r"(\d+) more than once", printed)
    assert missing == pytest.approx(theory.missing_classes(1000, 8, 1000), abs=40)
    assert 200 < again < 320
    assert none == never == 0


def test_17_the_noise_is_that_of_all_images_or_of_those_of_a_class():
    _, printed = once(NAME)
    random, balanced = numbers(r"off by ([\d.]+)", printed)
    ((noise, calm),) = zip(numbers(r"predicted: ([\d.]+)", printed),
                           numbers(r"differs inside: ([\d.]+)", printed))  # fmt: skip
    assert random == pytest.approx(noise, rel=0.05)
    assert balanced == pytest.approx(calm, rel=0.05)
    assert random > 3.5 * balanced


def test_17_smoothing_changes_no_weight_and_accumulating_is_the_batch_of_1000():
    names, printed = once(NAME)
    assert "weights that smooth=4 changed: 0 of 16,000" in printed
    assert numbers(r"at most (\S+) apart", printed)[0] < 1e-12
    losses = np.array(names["losses"])
    assert names["smoothed"][3::4] == pytest.approx(losses.reshape(8, 4).mean(axis=1), rel=1e-12)
    assert len(names["means"]) == 8
    assert np.abs(names["accumulated"] - names["plain"]).max() > 0.1
