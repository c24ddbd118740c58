"""The floor of a loss is where the theory says, and the experiment would notice if it were not."""

import numpy as np
import pytest

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.plateau import EPOCH, EXPERIMENT, plateau


@pytest.fixture(scope="module")
def found():
    return plateau(seed=1)


def test_the_claims_hold_from_other_seeds_too(found):
    assert found.holds
    assert plateau(seed=2).holds


def test_they_hold_at_another_rate_and_other_momenta():
    finding = plateau(lr=0.3, mus=(0.5,), seed=0)
    assert finding.holds, [claim.row() for claim in finding.claims]
    assert list(finding.runs) == ["rate", "half", "quarter", "mu=0.5", "fair", "schedule"]


def test_all_runs_see_the_same_batches_and_start_at_the_same_loss(found):
    first = {run.loss[0] for run in found.runs.values()}
    assert first == {4.5}
    # one step from w = 3: the mean of ½ (w - α (w - c))² over the c, whose mean square is about 1
    for run in found.runs.values():
        after = 0.5 * ((3 * (1 - run.lr)) ** 2 + run.lr**2)
        assert run.loss[1] == pytest.approx(after, rel=0.02)
    assert found.runs["rate"].loss[1] == found.runs["schedule"].loss[1]


def test_the_schedule_halves_the_rate_at_the_end_of_an_epoch_and_the_loss_follows(found):
    run = found.runs["schedule"]
    falls = np.flatnonzero(np.diff(run.rates)) + 1
    assert len(falls) >= 2
    assert all(fall % EPOCH == 0 for fall in falls)
    assert set(run.rates) >= {0.1, 0.05, 0.025}
    assert run.measured(50) < 0.5 * found.runs["rate"].measured(200)


@pytest.mark.parametrize(("wrong", "caught"), [
    (lambda lr, curvature, noise, mu=0.0: lr * noise**2 / 4, "μ = 0.9"),  # no momentum in it
    (lambda lr, curvature, noise, mu=0.0: 0.5 * lr * noise**2, "SGD"),  # the 2 of 2 - αλ forgotten
])  # fmt: skip
def test_a_wrong_formula_fails(monkeypatch, wrong, caught):
    monkeypatch.setattr(theory, "floor", wrong)
    failed = [claim.what for claim in plateau(seed=0).claims if not claim.holds]
    assert any(caught in what for what in failed)


@pytest.mark.parametrize("bad", [
    {"lr": 0.0}, {"lr": 2.0}, {"lr": float("nan")}, {"mus": ()}, {"mus": (1.0,)}, {"mus": (0.0,)},
    {"steps": 199}, {"replicas": 0}, {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"plateau: {next(iter(bad))}"):
        plateau(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "plateau"
    assert EXPERIMENT.note == "Constant LR causes plateau on Loss function(Simple SGD)"
