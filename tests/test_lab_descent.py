"""What becomes of a run is told by its moves, and where runs begin to grow is found by trying."""

import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.descent import METHODS, STEPS, closure_of, fate, largest_stable, moves_of


def test_each_limit_of_theory_has_the_optimizer_that_obeys_it():
    assert list(METHODS) == list(theory.LIMITS)
    for method, make in METHODS.items():
        w = tg.Tensor(np.ones(1), requires_grad=True)
        optimizer = make([("w", w)], 0.25, 0.5, l2=0.125)
        assert theory.method_of(optimizer) == method
        (values,) = optimizer.values()
        assert values == {"lr": 0.25, "l2": 0.125, **({"mu": 0.5} if "mu" in values else {})}


def test_a_closure_clears_walks_backward_and_gives_the_loss():
    w = tg.Tensor(np.array([3.0]), requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    closure = closure_of(optimizer, lambda: (w * w).sum())
    assert [closure().item(), closure().item()] == [9.0, 9.0]
    assert w.grad.tolist() == [6.0]


@pytest.mark.parametrize(("ratio", "expected"), [
    (0.5, "converges"), (0.9998, "converges"), (1 - 1e-5, "dangles"), (1.0, "dangles"),
    (1 + 1e-5, "dangles"), (1.0002, "diverges"), (math.inf, "diverges"), (math.nan, "diverges"),
    (0.0, "converges"),
])  # fmt: skip
def test_the_fate_of_a_run_is_told_by_its_moves(ratio, expected):
    moves = np.ones(STEPS)
    moves[-1] = ratio
    assert fate(moves) == expected


def test_the_fate_of_a_run_that_has_arrived_is_to_converge_however_rounding_plays_with_it():
    assert fate(np.zeros(STEPS)) == "converges"
    moves = np.full(STEPS, 1e-16)
    moves[0], moves[-1] = 1.0, 5e-16
    assert fate(moves) == "converges"


def test_moves_are_how_far_all_weights_went_and_inf_after_an_overflow():
    a, b = (tg.Tensor(np.full(2, x), requires_grad=True) for x in (1.0, 2.0))
    moves = moves_of(tg.optim.SGD([a, b], lr=0.1), lambda: (a * a + b * b).sum(), steps=2)
    np.testing.assert_allclose(moves, [0.2 * np.sqrt(10), 0.16 * np.sqrt(10)])
    moves = moves_of(tg.optim.SGD([a], lr=1e100), lambda: (a * a).sum(), steps=5)
    assert moves[0] == pytest.approx(2e100 * np.linalg.norm([0.64, 0.64]))
    assert np.isinf(moves[-1])


@pytest.mark.parametrize("at_once", [1, 2, 7, 128])
@pytest.mark.parametrize("edge", [1e-4, 0.01, 0.0123, 0.7, 38.0, 1e4])
def test_the_edge_is_found_whatever_its_size_and_however_many_are_tried_at_once(edge, at_once):
    found = largest_stable(lambda tried: tried > edge, at_once=at_once)
    assert found == pytest.approx(edge, rel=1e-5)


def test_an_edge_at_either_end_of_where_one_looks_is_found_too():
    for edge in (0.1 + 1e-9, 8.0 - 1e-9):
        found = largest_stable(lambda tried, edge=edge: tried > edge, 0.1, 8.0, 1e-3, at_once=128)
        assert found == pytest.approx(edge, rel=1e-3)
