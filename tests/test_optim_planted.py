"""The test of the tests: whoever plants a wrong optimizer, the checks of the others find it.

For each slip of optim_cases/slips.py the very checks of test_optim_parity.py and
test_optim_closed_forms.py run on the wrong class, and at least one of them must fail, where all of
them pass for the right one. To ask only whether the loss falls, as many test suites do, would let
most of the wrong ones through.
"""

import functools

import numpy as np
import pytest
from optim_cases import CHECKS
from optim_cases.planted import PLANTED, Planted
from optim_cases.problems import Given, make, tensors, trajectory

from tinygrad_opt import optim
from tinygrad_opt.optim import compiled


@pytest.fixture(autouse=True)
def plainly(monkeypatch):
    """Not compiled halfway: that it would change nothing is for other tests, and takes time."""
    monkeypatch.setattr(compiled, "PATIENCE", np.inf)


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """From what is planted to the class that it makes, made once."""
    folder = tmp_path_factory.mktemp("planted")
    return functools.cache(lambda planted: planted.plant(folder))


def found_by(cls: type) -> str | None:
    """The first check that fails for this class: a wrong number, or one that is none any more.
    Those beside PyTorch take longest, and come last.

    Any other error is no finding: a wrong rule that cannot run would prove nothing.
    """
    checks = CHECKS[cls.__name__].items()
    for name, check in sorted(checks, key=lambda item: " follow torch: " in item[0]):
        try:
            with np.errstate(all="ignore"):
                check(cls)
        except (AssertionError, FloatingPointError):
            return name
    return None


def loss_falls(cls: type) -> bool:
    """What many tests of optimizers ask."""
    curvature = np.array([0.3, 1.0, 4.0])
    course = Given(np.array([[1.0, -2.0, 0.5]]), lambda w: curvature * w)
    weights = tensors([course])
    try:
        with np.errstate(all="ignore"):
            (path,) = trajectory(make(cls, weights), weights, [course], 100)
    except FloatingPointError:
        return False
    return bool((curvature * path[-1] ** 2).sum() < (curvature * course.start**2).sum())


def test_every_optimizer_has_slips_planted_and_they_are_more_than_a_hundred():
    assert {p.name for p in PLANTED} == set(CHECKS)
    assert len({str(p) for p in PLANTED}) == len({(p.text()) for p in PLANTED}) == len(PLANTED)
    assert len(PLANTED) >= 100


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_the_right_optimizer_made_from_its_source_in_the_same_way_passes(name, plant):
    again = plant(Planted(name, "", "none", f"class {name}(", f"class {name}("))
    assert again is not getattr(optim, name)
    assert found_by(again) is None


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_slip_is_found(planted, plant, record_property):
    found = found_by(plant(planted))
    record_property("found by", found)
    assert found is not None, f"no check sees {planted}"


def test_to_ask_whether_the_loss_falls_would_miss_most_of_them(plant, record_property):
    assert all(loss_falls(getattr(optim, name)) for name in CHECKS)
    missed = [str(planted) for planted in PLANTED if loss_falls(plant(planted))]
    record_property("missed by a falling loss", "; ".join(missed))
    assert len(missed) > len(PLANTED) / 2
