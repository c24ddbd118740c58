"""The race is checked for what makes it fair, and a race that is not would be noticed."""

import dataclasses
import math
import pickle
import types

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import report
from tinygrad_opt.data import load_digits
from tinygrad_opt.lab import CONTESTANTS, Contestant, digits_race, theory
from tinygrad_opt.lab.digits_race import EXPERIMENT, _claims, state_bytes
from tinygrad_opt.lab.race import race
from tinygrad_opt.optim import SGD, Momentum
from tinygrad_opt.plots.digits_race import FIGURES, digits_race_figure

WHO = ("sgd", "momentum-0.9", "sam", "rprop", "adam", "muon")


@pytest.fixture(scope="module")
def found():
    return digits_race.digits_race(WHO, epochs=1, seed=3)


def failed(claims):
    return [claim.what for claim in claims if not claim.holds]


def after(found, place=0, **changes):
    """The claims that fail if the run at that place, the first, were otherwise."""
    results = list(found.results)
    results[place] = dataclasses.replace(results[place], **changes)
    return failed(_claims(results, found.untrained, 1437, 1))


def history_of(result, steps, first=None):
    """The history of a run as the claims read it, with another first loss or number of steps."""
    first = result.history.loss_at(0) if first is None else first
    return types.SimpleNamespace(steps=steps, loss_at=lambda step: first)


def test_all_holds_after_one_epoch_but_that_everyone_has_learned(found):
    assert [what for what in failed(found.claims) if "end above" not in what] == []
    assert [(r.key, r.seed) for r in found.results] == [(key, s) for key in WHO for s in (3, 4)]
    said = {claim.what: claim.measured for claim in found.claims}
    assert said["steps of a run on batches of 32"] == 45
    assert said["steps of a run on all images at once"] == 1
    assert said["gradients a step, SAM + Momentum"] == 2
    assert said["gradients a step, 5 optimizers"] == 1


def test_the_loss_before_the_first_step_is_that_of_the_untrained_network(found):
    (images, labels), _ = load_digits()
    for seed, loss in zip((3, 4), found.untrained, strict=True):
        tg.manual_seed(seed)
        scores = tg.nn.MLP([64, 32, 10], activation="relu")(images).numpy().astype(float)
        by_hand = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(1437), labels]
        assert loss == pytest.approx(by_hand.mean(), rel=1e-5)
        assert loss == pytest.approx(math.log(10) + scores.var(axis=1).mean() / 2, abs=0.1)
        rprop = next(r for r in found.results if (r.key, r.seed) == ("rprop", seed))
        assert rprop.history.loss[0] == pytest.approx(loss, rel=1e-5)
    assert found.claims[0].measured == np.mean(found.untrained)


def test_every_optimizer_has_a_prediction_of_what_it_holds_and_holds_that():
    for result in race(epochs=1, batch_size=720, seeds=(0,)):
        assert result.history.steps == 2 - CONTESTANTS[result.key].full_batch
        assert result.state_bytes * result.weights == pytest.approx(state_bytes(result)), result.key
    padded = 64 * 32 + 64 + 320 + 64
    known = {"sgd": 0, "momentum-0.9": padded, "sam": padded, "lookahead": 2 * padded,
             "amsgrad": 3 * padded, "muon": 64 * 32 + 320 + 2 * (64 + 64),
             "adafactor": 64 + 32 + 32 + 10 + 32 + 10}  # fmt: skip
    for result in race(known, epochs=1, batch_size=1437, seeds=(0,)):
        assert state_bytes(result) == 4 * known[result.key], result.key


def test_the_pairs_of_lbfgs_are_one_less_than_its_steps():
    (result,) = race(["lbfgs"], epochs=4, seeds=(0,))
    assert state_bytes(result) == 4 * (2 * 3 + 2) * 2496
    assert result.state_bytes * result.weights == pytest.approx(state_bytes(result))


def test_another_start_another_budget_and_a_secret_vector_are_found(found):
    sgd = found.results[0]
    only = [claim.what for claim in found.claims if "end above" in claim.what]
    assert after(found) == only
    for place, off in ((0, 1e-7), (2, -1e-7)):
        elsewhere = history_of(sgd, 45, sgd.history.loss_at(0) + off)
        (start,) = set(after(found, place, history=elsewhere)) - set(only)
        assert start == "the loss of the first batch under 5 optimizers, largest difference"
    wrong = after(found, history=history_of(sgd, 46), gradients=46)
    assert set(wrong) == {"steps of a run on batches of 32", *only}
    assert set(after(found, gradients=90)) == {"gradients a step, 5 optimizers", *only}
    (bytes_held,) = set(after(found, state_bytes=4.0)) - set(only)
    assert bytes_held.startswith("bytes held beside the weights")


def test_a_run_that_diverges_fails_its_claim_and_counts_as_one_that_has_not_learned(found):
    nan = float("nan")
    wrong = after(found, failure="the loss is inf", train_loss=nan, test_accuracy=nan)
    assert wrong == ["runs that diverge, of 12", "runs that end above 0.1 ln 10, of 12"]
    all_failed = [dataclasses.replace(r, failure="why", train_loss=nan) for r in found.results]
    claims = _claims(all_failed, found.untrained, 1437, 1)
    assert [c.measured for c in claims if c.what.startswith("runs")] == [12, 12]


def test_an_optimizer_that_is_not_tuned_does_not_learn(monkeypatch):
    monkeypatch.setitem(CONTESTANTS, "sgd", Contestant("sgd", "SGD", 0.0001, SGD))
    finding = digits_race.digits_race(["sgd"], epochs=2, starts=1)
    assert failed(finding.claims) == ["runs that end above 0.1 ln 10, of 1"]
    assert finding.claims[0].what == "the loss before the first step, one start"


def test_momentum_at_its_best_rate_ends_lower_than_sgd_and_at_sgds_rate_for_it_does_not(
    monkeypatch,
):
    what = "training loss at the end, Momentum μ=0.9 against SGD, each at its best α"
    finding = digits_race.digits_race(["sgd", "momentum-0.9"], starts=1)
    assert finding.holds
    assert finding.claims[-1].what == what
    slow = Contestant("momentum-0.9", "Momentum μ=0.9", 0.002, lambda params, lr: Momentum(
        params, lr, mu=0.9))  # fmt: skip
    monkeypatch.setitem(CONTESTANTS, "momentum-0.9", slow)
    finding = digits_race.digits_race(["sgd", "momentum-0.9"], starts=1)
    assert what in failed(finding.claims)


@pytest.mark.parametrize(("name", "wrong", "what"), [
    ("chance_loss", lambda classes: math.log2(classes), "the loss before the first step"),
    ("training_steps", lambda n, b, epochs: epochs * (n // b), "steps of a run on batches"),
    ("GRADIENTS", {}, "gradients a step, 6 optimizers"),
    ("VECTORS", theory.VECTORS | {"Adam": ("mean",)}, "bytes held"),
])  # fmt: skip
def test_a_wrong_theory_fails(found, monkeypatch, name, wrong, what):
    monkeypatch.setattr(theory, name, wrong)
    now = failed(_claims(found.results, found.untrained, 1437, 1))
    assert sum(each.startswith(what) for each in now) == 1


def test_the_figure_is_that_of_the_race(found):
    assert FIGURES == {"race": digits_race_figure} == report.figures(EXPERIMENT)
    left, right = digits_race_figure(found)
    assert {"SGD", "Muon + AdamW"} <= {line.get_label() for line in left.get_lines()}
    assert right.get_title(loc="left") == "Test accuracy"
    pair = tuple(left.figure.subplots(1, 2))
    assert digits_race_figure(found, pair) == pair


def test_a_finding_can_be_sent_from_one_process_to_another(found):
    again = pickle.loads(pickle.dumps(found))
    assert again.claims == found.claims
    assert again.results[0].history.step_loss == found.results[0].history.step_loss


@pytest.mark.parametrize(("bad", "words"), [
    ({"starts": 0}, "digits_race: starts"), ({"seed": -1}, "digits_race: seed"),
    ({"epochs": 0}, "race: epochs"), ({"optimizers": ["sdg"]}, "no optimizer 'sdg'"),
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name(bad, words):
    with pytest.raises(ValueError, match=words):
        digits_race.digits_race(**bad)


def test_the_experiment_quotes_the_notes():
    assert EXPERIMENT.key == "race"
    assert EXPERIMENT.note == (
        "We use Adaptive LR, used by Adam, Adagrad(which also uses diff. alpha for diff. weights)"
    )
