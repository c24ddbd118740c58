"""Every claim of the lab holds, and the tables in the documentation say what is measured here."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tinygrad_opt import report
from tinygrad_opt.lab.claims import Claim, as_data, number, table
from tinygrad_opt.lab.experiments import experiments

FOLDER = Path(__file__).parents[1] / "docs" / "lab"
KEYS = list(experiments())


@functools.cache
def recorded() -> dict[str, list[Claim]]:
    """The claims in docs/lab, which `tinygrad-opt lab --out docs/lab` wrote, by experiment."""
    fields = Claim.__dataclass_fields__
    made = json.loads((FOLDER / "claims.json").read_text("utf-8"))["claims"]
    return {
        key: [Claim(**{name: item[name] for name in fields}) for item in items]
        for key, items in made.items()
    }


# ---- what a claim is -----------------------------------------------------------------------------


@pytest.mark.parametrize(("claim", "error", "holds"), [
    (Claim("a", 2.0, 2.019, 0.01), 0.0095, True),
    (Claim("a", 2.0, 2.021, 0.01), 0.0105, False),
    (Claim("a", -2.0, -1.9, 0.1), 0.05, True),
    (Claim("a", -0.5, -0.52, 0.03, relative=False), 0.02, True),
    (Claim("a", -0.5, -0.54, 0.03, relative=False), 0.04, False),
    (Claim("a", 0.0, 0.0), 0.0, True),
    (Claim("a", 0, 1), 1.0, False),
    (Claim("a", math.inf, math.inf), 0.0, True),
    (Claim("a", "diverges", "diverges"), None, True),
    (Claim("a", "diverges", "converges"), None, False),
])  # fmt: skip
def test_a_claim_holds_where_the_numbers_are_near_enough(claim, error, holds):
    assert claim.error == (None if error is None else pytest.approx(error))
    assert claim.holds == holds
    assert claim.row()[-1] == ("holds" if holds else "FAILS")


def test_nothing_holds_for_a_run_that_ended_in_nan():
    claim = Claim("a", 1.0, math.nan, 0.5)
    assert math.isnan(claim.error)
    assert not claim.holds
    assert not Claim("a", math.nan, math.nan).holds
    assert json.loads(report.strict_json(as_data(claim)))["measured"] is None


def test_a_claim_of_numpys_numbers_goes_into_json():
    claim = Claim("a", np.float32(1.0), np.int64(1), np.float64(0.1), np.bool_(True))
    assert json.loads(report.strict_json(as_data(claim)))["holds"] is True


def test_a_claim_that_could_not_be_judged_is_refused():
    with pytest.raises(TypeError, match=r"a: 'converges' and 1.0 do not compare"):
        Claim("a", "converges", 1.0)
    with pytest.raises(ValueError, match="a: a share of 0 is 0"):
        Claim("a", 0.0, 0.1, within=0.1)
    for within in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"a: within is .* of 0 or more, not {within}"):
            Claim("a", 1.0, 1.0, within)


def test_a_row_says_both_numbers_with_their_unit_and_the_error_with_its_bound():
    assert Claim("floor", 0.0263158, 0.02656, 0.05, unit="nats").row() == [
        "floor", "0.02632 nats", "0.02656 nats", "0.93 % of 5 %", "holds"]  # fmt: skip
    assert Claim("slope", -0.5, -0.512, 0.03, relative=False).row()[1:4] == [
        "-0.5", "-0.512", "0.012 of 0.03"]  # fmt: skip
    assert Claim("count", 1000, 1000).row()[1:4] == ["1,000", "1,000", "equal"]
    assert Claim("count", 1000, 998).row()[1:] == ["1,000", "998", "2", "FAILS"]
    assert Claim("at 1.01", "diverges", "diverges").row()[1:4] == ["diverges", "diverges", ""]
    assert [number(x) for x in (1e7, 0.1, 1 / 3, 1.5e-13, math.inf)] == [
        "10,000,000", "0.1", "0.3333", "1.5e-13", "inf"]  # fmt: skip


# ---- what the lab finds --------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_every_claim_of_an_experiment_holds_and_is_the_one_in_the_documentation(key):
    finding = experiments()[key].run(seed=0)
    assert [row for row in table(finding.claims) if row[-1] != "holds"] == []
    assert [claim.what for claim in finding.claims] == [claim.what for claim in recorded()[key]]
    for now, then in zip(finding.claims, recorded()[key]):
        assert (now.relative, now.unit) == (then.relative, then.unit)
        # Other processors round otherwise, and a bound may be three standard errors of a sample.
        assert now.within == pytest.approx(then.within, rel=0.01, abs=0)
        if isinstance(now.predicted, str):
            assert now.predicted == then.predicted
        else:
            assert now.predicted == pytest.approx(then.predicted, rel=0.01)
        assert then.holds


def test_the_documentation_has_every_experiment_and_no_other():
    assert list(recorded()) == KEYS


def test_the_report_in_the_documentation_is_that_of_its_claims():
    text = (FOLDER / "report.md").read_text("utf-8")
    for claims in recorded().values():
        assert report.claims_table(claims) in text
    every = [claim for claims in recorded().values() for claim in claims]
    assert report.claims_table(every) in text
    assert f"All {len(every)} claims hold." in text
    for experiment in experiments().values():
        assert f"## {experiment.title}\n\n> " in text


def test_the_pictures_of_the_report_are_there_and_no_others():
    there = {path.name for path in FOLDER.iterdir()} - {"claims.json", "report.md"}
    named = {
        f"{stem}.{end}"
        for experiment in experiments().values()
        for kind, end in (("FIGURES", "png"), ("ANIMATIONS", "gif"))
        for stem in report.figures(experiment, kind)
    }
    assert there == named
