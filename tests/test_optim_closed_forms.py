"""Runs of the optimizers whose course is known in closed form, what must not matter to them, and
what must."""

import inspect

import numpy as np
import pytest
import strict_cupy
from optim_cases import CHECKS
from optim_cases.effects import ALL, WRAPPERS, hyper_parameters, others
from optim_cases.formulas import on_an_interval
from optim_cases.invariances import ELEMENTWISE
from optim_cases.problems import (
    Recorded,
    Smooth,
    affordable,
    assert_near,
    make,
    tensors,
    trajectory,
)

from tinygrad_opt import optim
from tinygrad_opt.optim import compiled

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy


@pytest.fixture(autouse=True)
def plainly(monkeypatch):
    """Not compiled halfway: that it would change nothing is for other tests, and takes time."""
    monkeypatch.setattr(compiled, "PATIENCE", np.inf)


def of(*modules: str) -> list:
    return [
        pytest.param(name, check, id=f"{name}: {check.__name__}")
        for name, checks in CHECKS.items() for check in checks.values()
        if check.__module__.removeprefix("optim_cases.") in modules
    ]  # fmt: skip


def test_the_optimizers_are_run_on_the_backend_of_the_test(backend):
    courses = [Smooth((3, 4)), Recorded((2,), "float32")]
    weights = tensors(courses)
    optimizer = make(optim.Adam, weights)
    trajectory(optimizer, weights, courses, 2)
    for flat in optimizer._flat:
        for x in (*flat.data_views, *flat.grad_views, flat.w, flat.g, *flat.slots.values()):
            assert type(x) is backend.xp.ndarray
    assert affordable(1000) == (100 if backend.xp is strict_cupy.cupy else 1000)


@everywhere
@pytest.mark.parametrize("name, check", of("formulas"))
def test_the_course_is_the_one_of_the_formula(name, check):
    check(getattr(optim, name))


@everywhere
@pytest.mark.parametrize("name, check", of("invariances"))
def test_what_must_not_matter_does_not_and_what_must_does(name, check):
    check(getattr(optim, name))


@everywhere
@pytest.mark.parametrize("name, check", of("effects"))
def test_nothing_stands_there_for_show(name, check):
    check(getattr(optim, name))


def test_every_optimizer_is_asked_for_its_effects_and_every_elementwise_one_for_the_order():
    for name in ALL:
        assert "every_hyper_parameter_has_an_effect" in CHECKS[name]
        assert "what_is_float32_stays_float32" in CHECKS[name]
        slots = name in WRAPPERS or getattr(optim, name).slots
        assert ("every_slot_matters" in CHECKS[name]) == bool(slots) or name == "SAM"
    elementwise = {name for name in ALL if getattr(getattr(optim, name), "elementwise", False)}
    assert set(ELEMENTWISE) == elementwise - set(WRAPPERS)


@pytest.mark.parametrize("name", ALL)
def test_the_hyper_parameters_are_read_from_the_signature_and_each_has_another_value(name):
    cls = getattr(optim, name)
    names = hyper_parameters(cls)
    assert set(names) - {"l2"} <= set(inspect.signature(cls).parameters)
    assert len(names) >= (1 if name == "SAM" else 2)
    for hyper in names:
        assert others(cls, hyper)


@pytest.mark.parametrize("name, end", [("Adam", 1.0), ("AMSGrad", -1.0)])
def test_the_example_of_reddi_kale_and_kumar_with_its_own_numbers(name, end):
    """1010 x once in 101 steps and -10 x else, on [-1, 1], β₂ = 0.99."""
    slopes = np.where(np.arange(1, 70_001) % 101 == 1, 1010.0, -10.0)
    got = on_an_interval(getattr(optim, name), slopes, 0.02, beta1=0.9, beta2=0.99)
    assert_near(got, end, 0.2)
