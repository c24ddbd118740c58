"""What `tinygrad-opt explain` prints is what happens: each line can be computed again."""

import re

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab.explained import explainable, in_training, named, on_a_bowl

NAMES = sorted(explainable())


def test_every_optimizer_with_a_rule_can_be_explained():
    assert {"sgd", "momentum", "nesterov", "adam", "muon", "adafactor", "lamb"} <= set(NAMES)
    assert len(NAMES) == 20
    assert "lbfgs" not in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_of_one_step_is_where_the_next_one_starts(name):
    told = on_a_bowl(name, steps=3, digits=None)
    starts = [float(x) for x in re.findall(r"^w = ([^,=\n]+), g = ", told, re.M)]
    ends = [float(x) for x in re.findall(r"^w = .* = (\S+)$", told, re.M)]
    per_step = len(ends) // 3
    assert starts[0] == 1.0
    assert starts[1:] == ends[per_step - 1 :: per_step][:2]
    assert told.count("step ") == 3


def test_the_numbers_are_those_of_the_optimizer_itself():
    told = on_a_bowl("momentum", {"lr": 0.2, "mu": 0.75}, curvature=3.0, weight=2.0, steps=4,
                     digits=None)  # fmt: skip
    w = tg.Tensor(np.array([2.0]), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=0.2, mu=0.75)
    for _ in range(4):
        optimizer.zero_grad()
        (1.5 * w * w).sum().backward()
        optimizer.step()
    assert told.splitlines()[-1].endswith(f"= {w.item()}")


def test_a_weight_of_the_network_is_told_as_it_trains():
    told = in_training("adam", {"lr": 0.01}, parameter="layers.0.weight", index=(20, 3), step=3)
    assert "layers.0.weight[20, 3], step 3 of Adam (paper)" in told
    assert told.splitlines()[0].startswith("Adam(lr=0.01, beta1=0.9")
    assert "m_hat = m / (1 - beta1**t) = " in told
    again = in_training("adam", {"lr": 0.01}, parameter="layers.0.weight", index=(20, 3), step=3)
    assert told == again
    assert told != in_training("adam", {"lr": 0.01}, index=(20, 3), step=3, seed=1)


def test_without_an_index_the_weight_of_the_largest_gradient_is_told():
    told = in_training("sgd", parameter="layers.0.weight", step=2)
    place = re.search(r"layers.0.weight\[(\d+), (\d+)\]", told).groups()
    g = float(re.search(r"g = ([-\d.]+)", told)[1])
    assert abs(g) > 0.001  # no pixel that is blank on every image
    again = in_training("sgd", index=tuple(map(int, place)), step=2)
    assert told == again


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: named("adm"), ValueError, "no optimizer 'adm' to explain; did you mean 'adam'"),
        (lambda: named(3), ValueError, "no optimizer 3 to explain; known are "),
        (lambda: on_a_bowl("momentum", {"mu": 2.0}), ValueError, "mu is in"),
        (lambda: on_a_bowl("sgd", steps=0), ValueError, "on_a_bowl: steps"),
        (lambda: on_a_bowl("sgd", weight="1"), ValueError, "on_a_bowl: weight"),
        (lambda: on_a_bowl("sgd", curvature=np.inf), ValueError, "on_a_bowl: curvature"),
        (lambda: in_training("sgd", step=0), ValueError, "in_training: step"),
        (lambda: in_training("sgd", seed=-1), ValueError, "in_training: seed"),
        (lambda: on_a_bowl("sgd", {"rho": 2.0}), TypeError, "unknown keyword 'rho'"),
        (lambda: in_training("sgd", parameter="layers.9.weight"), ValueError, "did you mean"),
        (lambda: in_training("sgd", index=(64, 0)), IndexError, r"shape \(64, 32\)"),
    ],
)
def test_what_cannot_be_explained_says_why(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_generator_of_the_library_is_left_where_it_was():
    tg.manual_seed(3)
    in_training("sgd")
    assert tg.backend.generator().random() == np.random.default_rng(3).random()
