"""The example of the batches: each measured noise and floor stands beside the predicted one."""

import pytest
from test_examples import numbers, once


def test_10_the_noise_of_batches_is_the_predicted_one_and_balanced_ones_have_less():
    _, printed = once("10_batches_are_noise.py")
    random, balanced = printed.split("\n3. ")
    noise = {}
    for name, part in (("random", random), ("balanced", balanced)):
        noise[name] = numbers(r"B = \d+ +([\d.]+)", part)
        predicted = numbers(r"B = \d+ +[\d.]+ +([\d.]+)", part)
        assert len(noise[name]) == len(predicted) == 4
        assert noise[name] == [pytest.approx(value, rel=0.06) for value in predicted]
    for a, b in zip(noise["random"], noise["balanced"]):
        assert b < 0.5 * a
    # 4 times the batch, half the noise, as long as the batch is small beside the whole
    assert noise["random"][1] == pytest.approx(noise["random"][0] / 2, rel=0.06)


def test_10_batches_and_noise_stop_at_one_floor_and_the_full_gradient_does_not_stop():
    _, printed = once("10_batches_are_noise.py")
    batches, noise, exact = numbers(r"from 200 on ([\d.]+)", printed)
    (predicted,) = numbers(r"predicted floor +([\d.]+)", printed)
    assert [batches, noise] == [pytest.approx(predicted, rel=0.1)] * 2
    assert exact < 1e-6
    starts = numbers(r"after 10 steps ([\d.]+)", printed)
    assert starts == [pytest.approx(starts[-1], rel=0.1)] * 3
