"""The example of the edge of stability: both trainings end at their limits, and their losses
fell."""

import re

import pytest
from test_examples import numbers, once

NAME = "15_edge_of_stability.py"


def test_15_the_sharpness_climbs_to_its_limit_and_stays_while_the_loss_falls():
    pytest.importorskip("scipy")
    names, printed = once(NAME)
    descent, nesterov = printed.split("\n\n")
    for text, limit, shares in zip((descent, nesterov), (6.0, 6.786), names["shares"].values()):
        rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)%$", text, re.M)
        assert [int(step) for step, *_ in rows] == list(range(0, 2001, 200))
        losses = [float(loss) for _, loss, _, _ in rows]
        assert losses[-1] < 0.05 * losses[0]
        for (_, _, sharpness, percent), share in zip(rows, shares):
            assert float(sharpness) / limit == pytest.approx(share, rel=1e-3)
            assert float(percent) == pytest.approx(100 * share, abs=0.06)
        assert shares[0] < 0.5
        assert sum(shares[-5:]) / 5 == pytest.approx(1, abs=0.05)
        (rises,) = numbers(r"rose in (\d+) of 2000", text)
        assert 20 < rises < 1000
    assert max(shares) > 1.1
