"""The folder that the lab writes: its table, its chapters, its pictures, and strict JSON."""

import json
import os
import re

import pytest
from PIL import Image

from tinygrad_opt import report
from tinygrad_opt.lab.claims import Claim, Finding
from tinygrad_opt.lab.experiments import experiments
from tinygrad_opt.lab.plateau import plateau


@pytest.fixture(scope="module")
def found():
    return {"plateau": (plateau(steps=200, replicas=64, seed=5), 1.5)}


def test_the_folder_holds_the_report_the_claims_and_the_pictures(found, tmp_path):
    out = tmp_path / "new" / "lab"
    paths = report.write(found, out, seed=5)
    assert sorted(out.iterdir()) == sorted(paths)
    assert sorted(path.name for path in paths) == ["claims.json", "plateau.png", "report.md"]
    with Image.open(out / "plateau.png") as picture:
        assert picture.size[0] > 1200
    assert (out / "plateau.png").stat().st_size < 200_000


def test_the_numbers_are_kept_where_a_picture_cannot_be(found, tmp_path):
    (tmp_path / "plateau.png").mkdir()
    with pytest.raises(OSError, match=r"plateau\.png"):
        report.write(found, tmp_path, seed=5)
    assert (tmp_path / "claims.json").read_text("utf-8") == report.as_json(found, 5)
    assert not (tmp_path / "report.md").exists()  # which would claim to be complete


@pytest.mark.parametrize("name", ["claims.json", "plateau.png", "report.md"])
def test_a_file_of_before_stays_whole_where_the_new_one_cannot_be_written_to_its_end(
    found, tmp_path, monkeypatch, name
):
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == name:
            raise OSError(28, "No space left on device", os.fspath(source))
        replace(source, target)

    (tmp_path / name).write_text("of before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=f"No space left on device: .*{name}"):
        report.write(found, tmp_path, seed=5)
    assert (tmp_path / name).read_text() == "of before"


def test_a_folder_may_be_named_in_words_and_a_key_that_is_none_is_told_before_it_is_made(
    found, tmp_path
):
    assert report.write(found, str(tmp_path / "lab"))[0] == tmp_path / "lab" / "claims.json"
    with pytest.raises(ValueError, match="no experiment 'platau'; did you mean 'plateau'"):
        report.write({"platau": found["plateau"]}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_json_holds_each_claim_with_its_verdict(found):
    data = json.loads(report.as_json(found, 5), parse_constant=pytest.fail)
    assert data["seed"] == 5
    for item, claim in zip(data["claims"]["plateau"], found["plateau"][0].claims, strict=True):
        assert item["what"] == claim.what
        assert item["measured"] == claim.measured
        assert item["holds"] == claim.holds


def test_the_report_quotes_the_note_and_shows_formula_table_and_picture(found):
    text = report.markdown(found, 5)
    experiment = experiments()["plateau"]
    for words in (f"## {experiment.title}", f"> {experiment.note}", experiment.formula,
                  "(plateau.png)", "seed 5", "2 seconds"):  # fmt: skip
        assert words in text
    assert text.count(report.claims_table(found["plateau"][0].claims)) == 2


def test_each_picture_of_the_report_is_told_in_words_of_its_own():
    told = []
    for experiment in experiments().values():
        text = report.chapter(experiment, Finding([]))
        pictures = dict(re.findall(r"^!\[(.+)\]\((\S+)\)$", text, re.M))
        stems = [f"{stem}.{end}" for kind, end in (("FIGURES", "png"), ("ANIMATIONS", "gif"))
                 for stem in report.figures(experiment, kind)]  # fmt: skip
        assert list(pictures.values()) == stems
        told += pictures
    assert all(words[0].isupper() and words.endswith(".") for words in told)
    assert experiment.title not in told


def test_a_bar_in_a_cell_does_not_end_it():
    table = report.markdown_table(["loss", "|w|"], [["½|w - x|²", "3"]])
    assert table.splitlines() == [
        r"| loss | \|w\| |", "| --- | ---: |", r"| ½\|w - x\|² | 3 |"]  # fmt: skip


def test_the_verdict_names_the_claims_that_fail():
    good, bad = Claim("one", 1.0, 1.0), Claim("two", 1.0, 2.0)
    assert report.verdict({"a": (Finding([good]), 0.0)}) == "All 1 claims hold."
    told = report.verdict({"a": (Finding([good]), 0.0), "b": (Finding([bad]), 0.0)})
    assert told == "1 of 2 claims FAIL: two."
