"""What optimizers hold is what is traced, and an optimizer that held more would be noticed."""

import tracemalloc

import numpy as np
import pytest

from tinygrad_opt import optim
from tinygrad_opt.lab import memory as module
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.memory import EXPERIMENT, MAKERS, measure, memory
from tinygrad_opt.optim import compiled

MATRICES, SIDE = 300, 64
VECTOR = 4 * MATRICES * SIDE * SIDE  # bytes


@pytest.fixture(scope="module")
def found():
    return memory(matrices=MATRICES, rows=SIDE, columns=SIDE, pairs=3, seed=1)


def test_what_each_remembers_is_held_and_told_to_a_thousandth_of_a_vector(found):
    failed = [claim.row() for claim in found.claims if not claim.holds]
    # at this size the blocks of a rule, and Python's own objects, are no small part of a vector:
    # what steps take is tested below
    assert all("takes on top" in row[0] for row in failed), failed
    for each in found.held.values():
        assert abs(each.held - each.vectors * VECTOR) < 0.001 * VECTOR, each.name
        assert abs(each.told - each.vectors * VECTOR) < 0.001 * VECTOR, each.name
        assert each.base == pytest.approx(2 * VECTOR, rel=1e-3)


def test_every_optimizer_of_the_library_is_among_them(found):
    names = {name for name in optim.__all__ if hasattr(getattr(optim, name), "step")}
    measured = {name.partition(",")[0].partition(" ")[0].replace("-", "") for name in found.held}
    assert measured == names - {"Optimizer", "schedules"}


def test_the_table_of_theory_is_the_one_that_is_measured(found):
    assert set(MAKERS) == set(theory.VECTORS)
    assert set(found.held) == {*MAKERS, "Adafactor", "L-BFGS, 3 pairs"}
    assert {name: found.held[name].vectors for name in ("SGD", "Momentum", "Adam", "AMSGrad")} == {
        "SGD": 0, "Momentum": 1, "Adam": 2, "AMSGrad": 3,
    }  # fmt: skip
    assert found.held["L-BFGS, 3 pairs"].vectors == 8
    assert found.held["Adafactor"].vectors == 2 / SIDE


def test_a_step_of_an_elementwise_rule_takes_the_same_few_blocks_however_many_weights():
    slope = np.ones((512, 512), "float32")
    taken = []
    with module._tracing():
        for matrices in (4, 16):
            taken.append(measure(optim.Adamax, matrices, slope)[3])
    # t.data + slope, which is the test's, and two blocks of 2**18 numbers at the most
    assert max(taken) < 2**20 * 3.5
    assert taken[1] < 0.25 * 16 * slope.nbytes


def test_a_rule_over_whole_tensors_computes_all_before_it_writes_any(found):
    for name, vectors in (("LARS", 2), ("LAMB", 3), ("Muon", 2)):
        assert found.held[name].whole_tensors
        assert found.held[name].temporary == pytest.approx(vectors * VECTOR, rel=0.05)
    assert not found.held["Adam"].whole_tensors


def test_for_a_while_one_vector_more_is_held(found):
    assert list(found.for_a_while) == list(theory.FOR_A_WHILE)
    for occasion, extra in found.for_a_while.items():
        assert extra == pytest.approx(VECTOR, rel=1e-3), occasion


class Hoarder(optim.SGD):
    """SGD that keeps a copy of the weights at every step, and tells nobody."""

    def step(self, closure=None):
        self.kept = [flat.w.copy() for flat in self._flat]
        return super().step(closure)


def test_memory_that_an_optimizer_does_not_tell_of_is_found():
    slope = np.ones((64, 64), "float32")
    with module._tracing():
        _, held, told, *_ = measure(lambda params: Hoarder(params, lr=0.1), 10, slope)
    assert told == 0
    assert held == pytest.approx(10 * slope.nbytes, rel=0.05)


@pytest.mark.parametrize(("name", "wrong"), [
    ("Adam", ("mean",)), ("SGD", ("velocity",)), ("AMSGrad", ("mean", "mean square")),
])  # fmt: skip
def test_a_wrong_table_fails(monkeypatch, name, wrong):
    monkeypatch.setattr(theory, "VECTORS", theory.VECTORS | {name: wrong})
    monkeypatch.setattr(module, "MAKERS", {name: MAKERS[name], "Lion": MAKERS["Lion"]})
    failed = [claim.what for claim in memory(matrices=60).claims if not claim.holds]
    assert f"{name} remembers" in failed
    assert "Lion remembers" not in failed


def test_it_leaves_tracing_and_the_compiler_as_they_were():
    assert not tracemalloc.is_tracing()
    patience = compiled.PATIENCE
    with pytest.raises(ZeroDivisionError), module._tracing():
        assert tracemalloc.is_tracing()
        1 / 0
    assert not tracemalloc.is_tracing()
    assert patience == compiled.PATIENCE
    tracemalloc.start()
    try:
        with module._tracing():
            pass
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bad", [
    {"matrices": 0}, {"rows": 0}, {"rows": 10, "columns": 10}, {"columns": -1}, {"pairs": 0},
    {"seed": -1},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match=rf"memory: {next(iter(bad))}"):
        memory(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "memory"
    assert EXPERIMENT.note == (
        "Since we need to calculate the momentum for every parameters of the network(could be 10 "
        "millions or so), it surely is not a Memory Efficient(GPU) technique."
    )
