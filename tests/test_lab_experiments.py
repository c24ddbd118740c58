"""Experiments are chosen by their keys, run in processes of their own if wanted, and say the notes'
words."""

import inspect
import os

import numpy as np
import pytest

from tinygrad_opt.lab import experiments as lab
from tinygrad_opt.lab.claims import table

NOTED = {
    "learning-rate": "dangling of Loss function",
    "plateau": "Constant LR causes plateau",
    "mini-batches": "uniform random distribution of classes in a batch",
    "adaptive-rates": "diff. alpha for diff. weights",
    "perturbation": "Gaussian Noise",
    "batch-noise": "How?",
    "momentum": "μ",
    "sweep": "HyperParameter",
    "look-ahead": '"LOOK AHEAD"',
    "memory": "Memory Efficient(GPU)",
}


def test_the_experiments_stand_in_the_order_of_the_notes():
    assert list(lab.experiments()) == [*NOTED, "edge-of-stability", "race", "contours"]
    for key, words in NOTED.items():
        assert words in lab.experiments()[key].note


def test_chosen_ones_come_in_the_order_of_the_notes_each_once():
    assert list(lab.chosen_experiments(["momentum", "plateau", "momentum"])) == [
        "plateau", "momentum"]  # fmt: skip
    assert list(lab.chosen_experiments()) == list(lab.experiments())
    with pytest.raises(ValueError, match=r"no experiment 'platau'.*plateau"):
        lab.chosen_experiments(["platau"])


def test_processes_find_what_one_alone_finds_and_leave_the_environment_as_it_was():
    before = dict(os.environ)
    alone = lab.run(["plateau", "look-ahead"], seed=3)
    together = lab.run(["look-ahead", "plateau"], seed=3, jobs=2)
    assert dict(os.environ) == before
    assert list(alone) == list(together) == ["plateau", "look-ahead"]
    for key in alone:
        assert table(alone[key][0].claims) == table(together[key][0].claims)
    runs = (found["plateau"][0].runs["rate"].loss for found in (alone, together))
    np.testing.assert_array_equal(*runs)


def test_the_seed_changes_what_is_drawn():
    first, second = (lab.run(["plateau"], seed=seed)["plateau"][0] for seed in (1, 2))
    assert not np.array_equal(first.runs["rate"].loss, second.runs["rate"].loss)


@pytest.mark.parametrize(("settings", "message"), [
    ({"keys": "plateau"}, r"lab: keys is a list of words, such as \['plateau'\], not 'plateau'"),
    ({"keys": 3}, "lab: keys is a list of words"), ({"keys": [3]}, r"lab: keys\[0\] is a word"),
    ({"keys": ["plateau"], "jobs": 0}, "lab: jobs is an integer of 1 or more, not 0"),
    ({"keys": ["plateau"], "jobs": -1}, "lab: jobs is an integer of 1 or more, not -1"),
    ({"keys": ["plateau"], "jobs": 1.5}, "lab: jobs is an integer of 1 or more, not 1.5"),
    ({"keys": [], "seed": -1}, "lab: seed is an integer of 0 or more, not -1"),
])  # fmt: skip
def test_a_run_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        lab.run(**settings)


SETTINGS = [
    (key, name) for key, experiment in lab.experiments().items()
    for name in inspect.signature(experiment.run).parameters if name != "progress"
]  # fmt: skip


@pytest.mark.parametrize(("key", "name"), SETTINGS)
@pytest.mark.parametrize("wrong", ["much", 1j, np.ones((2, 2)), {None}], ids=type)
def test_a_setting_of_another_type_is_refused_by_its_name(key, name, wrong):
    with pytest.raises(ValueError, match=rf"^([a-z_]+: )?{name}(\[0\])? is a"):
        lab.experiments()[key].run(**{name: wrong})


def test_every_experiment_can_be_set():
    assert {key for key, _ in SETTINGS} == set(lab.experiments())
    assert len(SETTINGS) > 40


def test_no_experiments_find_nothing():
    assert lab.run([], jobs=2) == {}
