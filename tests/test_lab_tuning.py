"""A search for μ: what it tries, what it keeps, and that it goes on as if it had never stopped."""

import math
import sys

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.data import Batches, load_digits
from tinygrad_opt.lab import tuning
from tinygrad_opt.lab.tuning import (
    FRICTION,
    JOURNAL,
    REACH,
    SPACE,
    Outcome,
    Trial,
    Tuning,
    learn,
    split,
    tune_momentum,
)

QUICK = {"epochs": 1, "starts": 1}


@pytest.fixture
def fast(monkeypatch):
    """Instead of a run, a valley with its bottom at α/(1-μ) = 1 and μ = 0.9; it diverges beyond
    α/(1-μ) = 10. The list of what was tried comes back."""
    pytest.importorskip("optuna")
    tried = []

    def valley(task):
        lr, mu, *_ = task
        tried.append((lr, mu))
        reach = math.log(lr / (1 - mu))
        if reach > math.log(10):
            return Outcome(math.inf, math.inf, 0.0)
        loss = 0.1 + reach**2 + (math.log(1 - mu) - math.log(0.1)) ** 2
        return Outcome(loss, 2 * loss, 0.5)

    monkeypatch.setattr(tuning, "_try", valley)
    return tried


# ---- one run ----


def test_the_images_held_out_are_training_images_that_nothing_is_learnt_from():
    (x, y), (x_out, y_out) = split()
    (x_all, y_all), (x_test, _) = load_digits()
    assert (len(x), len(x_out)) == (1150, 287)
    assert len(y) == len(x)
    rows = sorted(map(bytes, np.concatenate([x, x_out])))
    assert rows == sorted(map(bytes, x_all))
    assert len({*map(bytes, x_out)} & {*map(bytes, x_test)}) == 0
    assert sorted(np.concatenate([y, y_out])) == sorted(y_all)
    assert all(np.array_equal(a, b) for a, b in zip(split()[0], (x, y)))


def test_a_run_is_the_loop_by_hand_from_its_start():
    outcome = learn(lambda params: tg.optim.Momentum(params, 0.2, 0.9), epochs=1, seed=7)
    (x, y), (x_out, y_out) = split()
    tg.manual_seed(7)
    model = tg.nn.MLP([64, 32, 10])
    optimizer = tg.optim.Momentum(model.parameters(), 0.2, 0.9)
    for x_batch, y_batch in Batches(x, y, 32, seed=7):
        optimizer.zero_grad()
        tg.cross_entropy(model(x_batch), y_batch).backward()
        optimizer.step()
    assert outcome.loss == pytest.approx(tg.cross_entropy(model(x), y).item(), rel=1e-5)
    assert outcome.val_loss == pytest.approx(tg.cross_entropy(model(x_out), y_out).item(), rel=1e-5)
    assert outcome.val_accuracy == (model(x_out).data.argmax(axis=1) == y_out).mean()


def test_a_run_that_diverges_has_an_infinite_loss_and_a_trial_is_the_mean_of_its_starts():
    assert learn(lambda params: tg.optim.SGD(params, 1e30), 1, 0) == Outcome(math.inf, math.inf, 0)
    mean = tuning._try((0.2, 0.5, 1, 2, 3))
    each = [learn(lambda params: tg.optim.Momentum(params, 0.2, 0.5), 1, seed)
            for seed in (3000, 3001)]  # fmt: skip
    assert mean.loss == pytest.approx(sum(one.loss for one in each) / 2, rel=1e-12)
    assert each[0].loss != each[1].loss


# ---- the search ----


def test_it_comes_near_the_bottom_and_looks_over_all_of_the_space(fast, tmp_path):
    found = tune_momentum(60, tmp_path)
    assert len(found.trials) == len(fast) == 60
    assert found.best.loss < 0.25
    assert abs(math.log(found.best.reach)) < 0.4
    tried = {REACH: [t.reach for t in found.trials], FRICTION: [1 - t.mu for t in found.trials]}
    for name, (low, high) in SPACE.items():
        assert low * (1 - 1e-9) <= min(tried[name]) < max(tried[name]) <= high * (1 + 1e-9)
        assert max(tried[name]) / min(tried[name]) > 20
        first = tried[name][:10]  # these are drawn at random: evenly, on a logarithmic axis
        assert len(set(first)) == 10
        assert 3 <= sum(value < math.sqrt(low * high) for value in first) <= 7
    assert any(math.isinf(trial.loss) for trial in found.trials)
    assert [(t.lr, t.mu) for t in found.trials] == fast
    assert all(t.val_loss == 2 * t.loss for t in found.trials)


def test_a_search_that_is_resumed_tries_what_one_without_a_break_tries(fast, tmp_path):
    through = tune_momentum(16, tmp_path / "through", seed=5)
    for trials in (3, 11, 16):
        resumed = tune_momentum(trials, tmp_path / "broken", seed=5)
        assert len(resumed.trials) == trials
    assert resumed == through
    assert len(fast) == 32
    assert tune_momentum(5, tmp_path / "broken", seed=5) == through  # there are more already
    assert len(fast) == 32
    assert tune_momentum(4, tmp_path / "other", seed=6).trials != through.trials[:4]


def test_what_was_killed_in_the_midst_of_a_trial_or_of_a_line_goes_on(fast, tmp_path, monkeypatch):
    through = tune_momentum(8, tmp_path / "through")
    valley, killed = tuning._try, tmp_path / "killed"

    def dies(task):
        if len(fast) == 8 + 5:
            raise KeyboardInterrupt
        return valley(task)

    monkeypatch.setattr(tuning, "_try", dies)
    with pytest.raises(KeyboardInterrupt):
        tune_momentum(8, killed)
    with (killed / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    monkeypatch.setattr(tuning, "_try", valley)
    assert tune_momentum(8, killed) == through


def test_two_processes_try_real_runs_and_the_same_ones_each_time(tmp_path):
    pytest.importorskip("optuna")
    one, two = (tune_momentum(3, tmp_path / name, jobs=2, **QUICK) for name in "ab")
    assert [(t.lr, t.mu) for t in one.trials] == [(t.lr, t.mu) for t in two.trials]
    assert [t.loss for t in one.trials] == pytest.approx([t.loss for t in two.trials], rel=1e-3)
    for trial in one.trials:
        alone = tuning._try((trial.lr, trial.mu, 1, 1, 0))
        assert trial.loss == pytest.approx(alone.loss, rel=1e-3)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [JOURNAL]


@pytest.mark.parametrize("content", [
    b"my notes\n", b"my notes", b"[]\n", b"{}\n", b'{"op_code": 0\n', b"\n",
])  # fmt: skip
def test_a_file_that_is_no_search_is_refused_and_left_as_it_is(fast, tmp_path, content):
    (tmp_path / JOURNAL).write_bytes(content)
    with pytest.raises(ValueError, match=f"{JOURNAL} is no search.* line 1 .*another folder"):
        tune_momentum(2, tmp_path, **QUICK)
    assert (tmp_path / JOURNAL).read_bytes() == content


def test_a_search_with_a_line_that_is_none_is_refused_and_its_last_line_is_not_cut(fast, tmp_path):
    tune_momentum(2, tmp_path, **QUICK)
    spoilt = (tmp_path / JOURNAL).read_bytes().replace(b"{", b"<", 1) + b'{"op_co'
    (tmp_path / JOURNAL).write_bytes(spoilt)
    with pytest.raises(ValueError, match="line 1 is"):
        tune_momentum(3, tmp_path, **QUICK)
    assert (tmp_path / JOURNAL).read_bytes() == spoilt


@pytest.mark.parametrize("other", [{"epochs": 2}, {"starts": 2}, {"seed": 1}])
def test_a_folder_with_a_search_of_other_settings_is_refused_and_left_alone(fast, tmp_path, other):
    tune_momentum(2, tmp_path, **QUICK)
    before = (tmp_path / JOURNAL).read_bytes()
    ((name, value),) = other.items()
    was = {**QUICK, "seed": 0}[name]
    with pytest.raises(ValueError, match=f"{name}={was}, and this one has {name}={value}: take an"):
        tune_momentum(2, tmp_path, **{**QUICK, **other})
    assert (tmp_path / JOURNAL).read_bytes() == before


@pytest.mark.parametrize("bad", [
    {"trials": 0}, {"jobs": 0}, {"epochs": 0}, {"starts": 0}, {"seed": -1}, {"trials": 2.5},
])  # fmt: skip
def test_what_is_out_of_range_is_refused_by_its_name_before_a_folder_is_made(tmp_path, bad):
    with pytest.raises(ValueError, match=f"tune_momentum: {next(iter(bad))}"):
        tune_momentum(**{"trials": 1, "folder": tmp_path / "new", **bad})
    assert not (tmp_path / "new").exists()


def test_without_optuna_it_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'tinygrad-opt\[tune\]'"):
        tune_momentum(1, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_optuna_is_quiet_and_as_talkative_as_before_afterwards(fast, tmp_path, capfd):
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    tune_momentum(2, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before == optuna.logging.INFO


def test_the_best_is_the_trial_of_the_lowest_loss():
    trials = [Trial(0.1, 0.5, loss, 1.0, 0.5) for loss in (math.inf, 0.2, 0.3)]
    found = Tuning(trials, 1, 1, 0)
    assert found.best is trials[1]
    assert trials[0].reach == 0.2
