"""The example of the look-ahead: its steps are those of the formulas, and its limit is sharp."""

import pytest
from test_examples import numbers, once


def test_13_the_second_steps_are_those_worked_out_by_hand():
    _, printed = once("13_look_ahead.py")
    # α λ = 0.3: the first step goes from 1 to 0.7, and 0.9 of it are kept
    assert numbers(r"stands at ([\d.]+)", printed) == [0.7, 0.7]
    assert numbers(r"keeps ([-+\d.]+)", printed) == [-0.27, -0.27]
    assert numbers(r"gradient at ([\d.]+)", printed) == [0.7, 0.43]
    assert numbers(r"goes to ([\d.]+)", printed) == pytest.approx([0.43 - 0.21, 0.43 - 0.129])


def test_13_a_swing_shrinks_by_the_root_of_mu_and_by_more_with_the_look_ahead():
    _, printed = once("13_look_ahead.py")
    for name, rate in (("heavy_ball", 0.9**0.5), ("nesterov", (0.9 * (1 - 0.3)) ** 0.5)):
        (row,) = [line for line in printed.splitlines()
                  if line.startswith(f"{name}  ") and "e" in line and "stands" not in line
                  and "e+00" in line]  # fmt: skip
        first, *_, last = map(float, row.split()[1:])
        assert (last / first) ** (1 / 60) == pytest.approx(rate, rel=0.02)


def test_13_nesterov_shrinks_below_its_limit_and_grows_above_it_where_gradient_descent_shrinks():
    _, printed = once("13_look_ahead.py")
    below, above, far = (
        float(x) for x in printed.rsplit("nesterov", 1)[1].splitlines()[0].split()
    )
    assert below < 1e-2 < 1 < 1e2 < above < far
    descent = printed.rsplit("gradient descent", 1)[1].splitlines()[0].split()
    assert all(float(x) < 1e-10 for x in descent)
