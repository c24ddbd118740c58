"""The test of the tests: whoever plants a wrong VJP, the gradient matrix finds it.

For each wrong VJP of op_cases/planted.py the very checks of test_gradients.py run on the op, and at
least one of them must fail; with the right VJP all of them pass. That the cotangent is random is no
luxury: summed with ones instead, the same samples let a good part of the planted pass.
"""

import contextlib

import pytest
from op_cases import SAMPLES
from op_cases.checks import failures, plain
from op_cases.manners import MANNERS
from op_cases.planted import PLANTED, PRIMITIVES, Planted

DIFFERENTIABLE = {op for op in SAMPLES if any(s.checks for s in SAMPLES[op])}


def first_failure(op: str) -> str | None:
    """What the matrix says first against `op`: a wrong number or a broken promise.

    Any other error is no finding: a planted VJP that cannot run would prove nothing.
    """
    for said in failures(op):
        return said
    for sample in SAMPLES[op]:
        for manner in MANNERS.values() if sample.checks else ():
            try:
                manner(sample)
            except AssertionError as error:
                return str(error)
    return None


def first_order_passes(op: str, ones: bool) -> bool:
    """Whether the value and gradients of every sample agree under one cotangent, random or of ones.
    (Samples without an absolute tolerance are left out: where the right gradient is 0, as under
    ones it often is, PyTorch's rounding would fail them.)"""
    try:
        for sample in SAMPLES[op]:
            for dtype in ("float64", "float32"):
                if dtype in sample.checks and sample.scale:
                    plain(sample, dtype, ones=ones)
    except AssertionError:
        return False
    return True


@contextlib.contextmanager
def wrong(planted: Planted):
    op = PRIMITIVES[planted.primitive]
    right = op.vjps
    op.vjps = planted.vjps
    try:
        yield
    finally:
        op.vjps = right


def test_every_op_has_wrong_vjps_planted_and_they_are_more_than_a_hundred():
    assert {p.op for p in PLANTED} == DIFFERENTIABLE
    assert len({str(p) for p in PLANTED}) == len(PLANTED) >= 150


@pytest.mark.parametrize("op", sorted(DIFFERENTIABLE))
def test_the_right_vjps_pass(op):
    assert first_failure(op) is None


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_wrong_vjp_is_found(planted):
    with wrong(planted):
        assert first_failure(planted.op) is not None, f"the matrix misses: {planted}"


def test_a_cotangent_of_ones_would_miss_many_that_a_random_one_finds(record_property):
    """The same check and samples, first order alone: `y.sum().backward()` against a random
    cotangent. What both miss is for second order, dtypes and memory to find."""
    assert all(first_order_passes(op, ones) for op in DIFFERENTIABLE for ones in (True, False))
    missed: dict[bool, list[str]] = {True: [], False: []}
    for planted in PLANTED:
        with wrong(planted):
            for ones, names in missed.items():
                if first_order_passes(planted.op, ones):
                    names.append(str(planted))
    for ones, names in missed.items():
        record_property("missed by ones" if ones else "missed by random", "; ".join(names))
    record_property("planted", len(PLANTED))
    assert set(missed[False]) <= set(missed[True])
    assert len(missed[True]) - len(missed[False]) >= 25
