"""`tinygrad-opt lab`, called as a user calls it."""

import dataclasses
import json
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest

from tinygrad_opt.cli import main
from tinygrad_opt.lab import experiments as lab
from tinygrad_opt.lab.claims import Claim, Finding


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def failing(monkeypatch):
    """The plateau, with one claim that does not hold."""
    real = lab.experiments()["plateau"]

    def run(seed=0):
        finding = real.run(steps=200, replicas=16, seed=seed)
        return dataclasses.replace(finding, claims=[Claim("the moon", 1.0, 2.0)])

    run.__module__ = real.run.__module__
    changed = {**lab.experiments(), "plateau": dataclasses.replace(real, run=run)}
    monkeypatch.setattr(lab, "experiments", lambda: changed)
    monkeypatch.setattr("tinygrad_opt.report.experiments", lambda: changed)


def test_it_prints_the_claims_and_writes_its_folder_and_nothing_elsewhere(empty_folder, capsys):
    assert main(["lab", "plateau", "--out", "results", "--jobs", "1"]) == 0
    printed, progress = capsys.readouterr()
    assert "floor of the loss, SGD, α = 0.1" in printed
    assert "All 9 claims hold." in printed
    assert progress == ""
    assert [path.name for path in empty_folder.iterdir()] == ["results"]
    names = sorted(path.name for path in (empty_folder / "results").iterdir())
    assert names == ["claims.json", "plateau.png", "report.md"]


def test_json_prints_the_file_claims_json_and_nothing_else(empty_folder, capsys):
    assert main(["lab", "plateau", "--json", "--seed", "3", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed == (empty_folder / "lab/claims.json").read_text("utf-8")
    assert json.loads(printed)["seed"] == 3


def test_a_claim_that_fails_makes_the_exit_code_1_and_is_written_all_the_same(
    failing, empty_folder, capsys
):
    assert main(["lab", "plateau", "--jobs", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 of 1 claims FAIL: the moon." in printed
    assert "FAILS" in (empty_folder / "lab/report.md").read_text("utf-8")


def test_the_list_names_every_experiment_and_writes_nothing(empty_folder, capsys):
    assert main(["lab", "--list"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == list(lab.experiments())
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["platau"], "no experiment 'platau'"),
    (["plateau", "--seed", "-1"], "'-1' is not an integer of 0 or more"),
    (["plateau", "--jobs", "0"], "'0' is not an integer of 1 or more"),
])  # fmt: skip
def test_wrong_usage_ends_with_2_before_anything_is_written(
    arguments, words, empty_folder, capsys
):
    assert main(["lab", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(empty_folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_wrong_usage(empty_folder, capsys):
    (empty_folder / "file").write_text("")
    assert main(["lab", "plateau", "--out", "file/lab"]) == 2
    assert "argument --out" in capsys.readouterr().err


def test_what_an_experiment_needs_is_looked_for_before_any_of_them_runs(
    monkeypatch, empty_folder, capsys
):
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(["lab", "edge-of-stability", "plateau", "--jobs", "1"]) == 1
    printed, errors = capsys.readouterr()
    assert "edge-of-stability needs scipy, which is not installed" in errors
    assert 'pip install "tinygrad-opt[lab]"' in errors
    assert printed == ""
    assert list(empty_folder.iterdir()) == []
    assert main(["lab", "plateau", "--jobs", "1"]) == 0


def test_a_worker_that_was_killed_is_an_error_and_no_traceback(monkeypatch, capsys):
    def run(*arguments, **settings):
        raise BrokenProcessPool("a process was terminated abruptly")

    monkeypatch.setattr(lab, "run", run)
    assert main(["lab", "plateau"]) == 1
    assert capsys.readouterr().err == "error: a process was terminated abruptly\n"


def test_without_the_package_that_an_experiment_needs_it_says_which(monkeypatch, capsys):
    def run(*arguments, **settings):
        raise ImportError("SciPy is not installed: pip install 'tinygrad-opt[lab]'")

    monkeypatch.setattr(lab, "run", run)
    assert main(["lab", "plateau"]) == 1
    assert "tinygrad-opt[lab]" in capsys.readouterr().err


def test_the_help_has_examples(capsys):
    assert main(["lab", "--help"]) == 0
    assert "tinygrad-opt lab plateau momentum" in capsys.readouterr().out


def test_a_finding_without_claims_holds_nothing_against():
    assert Finding([]).holds
