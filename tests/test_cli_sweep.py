"""`tinygrad-opt sweep`: what it prints and writes, what it refuses, and that it goes on."""

import argparse
import json
import math
import re
import sys

import numpy as np
import pytest

from tinygrad_opt.cli import sweep as command
from tinygrad_opt.cli.options import Usage
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.sweep import sweep

MAP = ["--mu", "0", "0.9", "--rate", "0.5", "1", "3.9", "--steps", "200"]
DIGITS = ["--problem", "digits", "--mu", "0", "0.9", "--rate", "0.02", "0.2", "--epochs", "1"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder, so that stray files are seen."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def call(*words):
    """The exit code of `tinygrad-opt sweep` with these words."""
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers(), {})
    arguments = parser.parse_args(["sweep", *words])
    return arguments.command(arguments)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def as_json(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_the_map_is_printed_drawn_and_kept_and_nothing_is_written_elsewhere(
    empty_folder, tmp_path, capsys
):
    out = tmp_path / "new" / "map"
    assert call(*MAP, "--out", str(out)) == 0
    assert files(out) == ["sweep.json", "sweep.png"]
    assert files(empty_folder) == []
    printed, progress = capsys.readouterr()
    assert progress == ""
    assert "cells on the wrong side of the curve, heavy ball, of 5" in printed
    assert str(out / "sweep.png") in printed
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    data = as_json((out / "sweep.json").read_text("utf-8"))
    expected = sweep(mus=(0, 0.9), rates=(0.5, 1, 3.9), steps=200)
    assert data["seed"] == 0
    assert list(data["maps"]) == ["heavy ball", "Nesterov"]
    for method, made in expected.maps.items():
        assert data["maps"][method]["diverged"] == made.diverged.tolist()
        assert data["maps"][method]["limits"] == made.limits.tolist()
        losses = [loss for row in data["maps"][method]["loss"] for loss in row]
        assert losses == [loss if math.isfinite(loss) else None for loss in made.loss.ravel()]
    assert all(claim["holds"] for claim in data["claims"])


def test_json_prints_the_file_and_nothing_else(empty_folder, capsys):
    assert call(*MAP, "--method", "ema", "--json", "--seed", "3") == 0
    printed, _ = capsys.readouterr()
    assert printed == (empty_folder / "sweep/sweep.json").read_text("utf-8")
    data = as_json(printed)
    assert list(data["maps"]) == ["heavy ball, ema"]
    assert data["seed"] == 3


def test_the_numbers_are_kept_where_the_picture_cannot_be(empty_folder):
    (empty_folder / "sweep/sweep.png").mkdir(parents=True)
    with pytest.raises(OSError, match=r"sweep\.png"):
        call(*MAP, "--method", "ema")
    assert list(as_json((empty_folder / "sweep/sweep.json").read_text("utf-8"))["maps"])


def test_rates_beyond_float64_are_an_error_and_no_traceback(capsys):
    with np.errstate(all="ignore"):
        assert call("--mu", "0", "0.5", "--rate", "1", "1e308") == 1
    assert capsys.readouterr().err.startswith("error: the gradient of w has ")


def test_a_claim_that_fails_is_exit_code_1(monkeypatch, capsys):
    monkeypatch.setitem(theory.LIMITS, "heavy ball", lambda mu: 2 * (1 - mu))
    assert call(*MAP, "--method", "heavy-ball") == 1
    assert "FAILS" in capsys.readouterr().out


def test_the_digits_have_a_line_for_each_momentum(empty_folder, capsys):
    pytest.importorskip("scipy")
    assert call(*DIGITS) == 0
    printed, _ = capsys.readouterr()
    made = as_json((empty_folder / "sweep/sweep.json").read_text("utf-8"))["maps"]["heavy ball"]
    for mu, losses in zip(made["mus"], made["loss"]):
        lr = made["rates"][losses.index(min(losses))]
        row = ["heavy", "ball", f"{mu:g}", f"{lr:g}", f"{lr / (1 - mu):.3g}", f"{min(losses):.4g}"]
        assert row in [line.split()[:6] for line in printed.splitlines()]


def test_a_search_goes_on_in_its_folder(empty_folder, capsys):
    pytest.importorskip("optuna")
    quick = ["--epochs", "1", "--starts", "1", "--out", "mine"]
    assert call("--tune", "2", *quick) == 0
    first = as_json((empty_folder / "mine/tuning.json").read_text("utf-8"))
    assert call("--tune", "3", *quick, "--json") == 0
    second = as_json(capsys.readouterr().out.partition("search.journal\n")[2])
    assert files(empty_folder / "mine") == ["search.journal", "tuning.json", "tuning.png"]
    assert (len(first["trials"]), len(second["trials"])) == (2, 3)
    assert second["trials"][:2] == first["trials"]
    assert second["best"] == min(second["trials"], key=lambda trial: trial["loss"])
    with pytest.raises(Usage, match="holds a search with epochs=1, and this one has epochs=5"):
        call("--tune", "3", "--out", "mine")


def test_without_optuna_it_names_the_extra_and_fails(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert call("--tune", "1") == 1
    assert "pip install 'tinygrad-opt[tune]'" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "text"), [
    (["--mu", "0", "1"], "sweep: mus"),
    (["--rate", "1"], "sweep: rates"),
    (["--condition", "0"], "sweep: condition"),
    (["--epochs", "3"], "--epochs: is for the digits and a search, not for the bowl"),
    (["--problem", "digits", "--steps", "200"], "--steps: is for the bowl, not for the digits"),
    (["--tune", "2", "--mu", "0", "0.5"], "--mu: is for the bowl and the digits, not for a search"),
    (["--tune", "2", "--problem", "bowl"], "--tune searches on the digits"),
])  # fmt: skip
def test_what_does_not_go_together_is_wrong_usage_and_writes_nothing(empty_folder, words, text):
    with pytest.raises(Usage, match=text):
        call(*words)
    assert files(empty_folder) == []


@pytest.mark.parametrize("words", [
    ["--tune", "0"], ["--jobs", "0"], ["--steps", "199"], ["--method", "adam"], ["--mu", "x"],
])  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        call(*words)
    assert stop.value.code == 2


def test_the_examples_of_the_help_can_be_parsed():
    lines = [re.split(" {2,}|>", line.strip())[0] for line in command.EXAMPLES.splitlines()[1:]]
    assert len(lines) == 7
    for line in lines:
        parser = argparse.ArgumentParser()
        command.add(parser.add_subparsers(), {})
        parser.parse_args(line.split()[1:])
