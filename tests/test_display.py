"""A small tensor shows its values, a large one what tells of them."""

import math

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor

everywhere = pytest.mark.usefixtures("backend")


def leaf(data, dtype="float32"):
    return tg.Tensor(data, requires_grad=True, dtype=dtype)


ELSEWHERE = {"numpy": "", "cupy": ", backend=cupy"}  # what a repr says of the backend


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Tensor(1.5), "Tensor(1.5{})"),
        (lambda: Tensor([1, 2]), "Tensor([1., 2.]{})"),
        (lambda: leaf([[1, 2], [3, 4]]),
         "Tensor([[1., 2.],\n        [3., 4.]]{}, requires_grad=True)"),
        (lambda: leaf([1, 2]) * 2, "Tensor([2., 4.]{}, op=multiply)"),
        (lambda: Tensor(np.arange(3)), "Tensor([0, 1, 2], dtype=int64{})"),
        (lambda: Tensor([True, False]), "Tensor([ True, False], dtype=bool{})"),
        (lambda: Tensor(np.zeros((2, 0))), "Tensor([], shape=(2, 0), dtype=float64{})"),
        (lambda: Tensor(np.arange(20.0) / 19).reshape(20)[:2], "Tensor([0.        , 0.05263158], "
         "dtype=float64{})"),
        (lambda: Tensor([float("nan"), float("inf")]), "Tensor([nan, inf]{})"),
    ],
)  # fmt: skip
def test_the_repr_of_a_small_tensor_shows_its_values(backend, make, text):
    text = text.format(ELSEWHERE[backend.name])
    assert repr(make()) == text
    assert str(make()) == f"{make()}" == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: leaf(np.linspace(-1, 3, 21)),
         "Tensor(shape=(21,), dtype=float32, mean=1, std=1.211, range=[-1, 3]{}, "
         "requires_grad=True)"),
        (lambda: leaf(np.tile([0, 4], (5, 5)), "float64") + 1,
         "Tensor(shape=(5, 10), dtype=float64, mean=3, std=2, range=[1, 5]{}, op=add)"),
        (lambda: Tensor(np.arange(100)), "Tensor(shape=(100,), dtype=int64, range=[0, 99]{})"),
        (lambda: Tensor(np.array([math.inf] + [1.0] * 30)),
         "Tensor(shape=(31,), dtype=float64, mean=inf, std=nan, range=[1, inf]{})"),
    ],
)  # fmt: skip
def test_the_repr_of_a_large_tensor_shows_shape_mean_std_and_range(backend, make, text):
    assert repr(make()) == text.format(ELSEWHERE[backend.name])


@everywhere
def test_twenty_values_are_small_and_twenty_one_are_large():
    assert "shape" not in repr(Tensor(np.zeros((4, 5))))
    assert "shape" in repr(Tensor(np.zeros(21)))
