"""Each schedule against PyTorch's, against its own formula, asked in any order, saved and restored.

PyTorch's schedulers are stepped one by one, as they must be; ours are asked for t.
"""

import copy
import json
import math
import pickle
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.optim import ClipNorm, schedules
from tinygrad_opt.optim.schedules import (
    OnPlateau,
    constant,
    cosine,
    cyclic,
    exponential,
    inverse_time,
    merged,
    one_cycle,
    restored,
    step,
    warmup,
)

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

N = 400
EXAMPLES = [
    constant(0.3),
    step(0.1, every=30, factor=0.5),
    exponential(0.1, 0.99),
    inverse_time(0.1, rate=0.03),
    cosine(0.1, steps=300, final=0.01),
    warmup(20, 0.1, start=0.01),
    warmup(20, cosine(0.1, steps=300)),
    one_cycle(0.5, steps=300),
    one_cycle(0.85, steps=300, start=0.95, final=0.95, rise=0.4),
    cyclic(0.01, 0.1, up=7, down=13),
    OnPlateau(0.1, factor=0.5, patience=2),
    warmup(5, OnPlateau(0.1, patience=0)),
]
every_example = pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)


def torch_values(make, steps=N, lr=0.1, momentum=0.5):
    """The (lr, momentum) that torch's scheduler gives, before each of `steps` steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=momentum)
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimizer.step() was never called
        scheduler = make(optimizer)
        for _ in range(steps):
            group = optimizer.param_groups[0]
            values.append((float(group["lr"]), float(group["momentum"])))
            scheduler.step()
    return np.array(values).T


def same(schedule, theirs):
    ours = [schedule(t) for t in range(len(theirs))]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


# ---- against PyTorch -----------------------------------------------------------------------------


@pytest.mark.parametrize("every, factor", [(1, 0.97), (30, 0.1), (50, 0.5)])
def test_step_is_torchs_step_lr(every, factor):
    lrs, _ = torch_values(lambda o: lr_scheduler.StepLR(o, every, factor))
    same(step(0.1, every, factor), lrs)


@pytest.mark.parametrize("factor", [0.9, 0.999, 1.01])
def test_exponential_is_torchs_exponential_lr(factor):
    lrs, _ = torch_values(lambda o: lr_scheduler.ExponentialLR(o, factor))
    same(exponential(0.1, factor), lrs)


@pytest.mark.parametrize("final", [0.0, 0.003])
def test_cosine_is_torchs_cosine_annealing_up_to_its_end(final):
    lrs, _ = torch_values(lambda o: lr_scheduler.CosineAnnealingLR(o, N - 1, final))
    same(cosine(0.1, N - 1, final), lrs)


def test_cosine_stays_at_its_end_where_torchs_comes_up_again():
    lrs, _ = torch_values(lambda o: lr_scheduler.CosineAnnealingLR(o, 100, 0.003))
    assert lrs[150] == pytest.approx(0.0515)
    assert {cosine(0.1, 100, 0.003)(t) for t in (100, 101, 150, 200, 10**9)} == {0.003}


def test_inverse_time_is_torchs_lambda_lr_of_one_over_1_plus_rate_t():
    lrs, _ = torch_values(lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + 0.07 * t)))
    same(inverse_time(0.1, 0.07), lrs)


@pytest.mark.parametrize("start", [0.001, 0.05])
def test_warmup_to_a_number_is_torchs_linear_lr(start):
    lrs, _ = torch_values(lambda o: lr_scheduler.LinearLR(o, start / 0.1, total_iters=150))
    same(warmup(150, 0.1, start), lrs)


def test_warmup_to_a_schedule_leads_to_where_it_is_by_then_and_follows_it_unshifted():
    then = cosine(0.1, steps=300)
    ramp = warmup(100, then, start=0.02)
    assert [ramp(t) for t in range(100, N)] == [then(t) for t in range(100, N)]
    line = 0.02 + (then(100) - 0.02) * np.arange(100) / 100
    np.testing.assert_allclose([ramp(t) for t in range(100)], line, rtol=1e-15)
    assert then(100) < 0.076  # a quarter of the fall: neither then(0) nor a shifted curve


@pytest.mark.parametrize("rise", [0.3, 0.25, 0.9])
@pytest.mark.parametrize("steps", [10, 300, N])
def test_one_cycle_is_torchs_for_the_rate_and_upside_down_for_the_momentum(rise, steps):
    lrs, momenta = torch_values(
        lambda o: lr_scheduler.OneCycleLR(o, 0.7, total_steps=steps, pct_start=rise), steps
    )
    same(one_cycle(0.7, steps, rise=rise), lrs)
    same(one_cycle(0.85, steps, start=0.95, final=0.95, rise=rise), momenta)


def test_one_cycle_takes_its_start_and_final_like_torchs_div_factors():
    lrs, _ = torch_values(
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.7, total_steps=N, div_factor=7.0, final_div_factor=10.0
        )
    )
    same(one_cycle(0.7, N, start=0.1, final=0.01), lrs)


def test_one_cycle_without_a_rise_starts_at_its_peak():
    """PyTorch's starts a step below: its turn lies at t = -1 then."""
    assert one_cycle(0.7, 300, rise=0)(0) == 0.7
    assert one_cycle(0.7, 300, rise=0)(1) == pytest.approx(0.7 * math.cos(math.pi / 598) ** 2)


def test_one_cycle_stays_at_its_end_where_torch_raises():
    assert {one_cycle(0.7, 100, final=0.02)(t) for t in (99, 100, 5000)} == {0.02}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("rise", [0.0, 0.3, 0.5, 0.99])
def test_one_cycle_of_hardly_any_steps_is_finite_and_ends(steps, rise):
    schedule = one_cycle(0.7, steps, final=0.02, rise=rise)
    values = [schedule(t) for t in range(5)]
    assert all(0.02 <= v <= 0.7 for v in values)
    assert values[steps - 1 :] == [0.02] * (6 - steps)


@pytest.mark.parametrize("up, down", [(10, 10), (7, 13), (50, 1), (1, 3)])
def test_cyclic_is_torchs_triangle_for_the_rate_and_upside_down_for_the_momentum(up, down):
    lrs, momenta = torch_values(
        lambda o: lr_scheduler.CyclicLR(
            o, 0.01, 0.3, up, down, base_momentum=0.8, max_momentum=0.9
        )
    )
    same(cyclic(0.01, 0.3, up, down), lrs)
    same(cyclic(0.9, 0.8, up, down), momenta)


def test_cyclic_takes_as_long_down_as_up_unless_told():
    assert cyclic(0.0, 1.0, up=4) == cyclic(0.0, 1.0, up=4, down=4)
    wave = cyclic(0.0, 1.0, up=4)
    assert [wave(t) for t in range(9)] == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]


# ---- on a plateau --------------------------------------------------------------------------------


def losses(seed, n=N):
    """A loss that falls, stalls, rises and falls again, with noise."""
    draw = np.random.default_rng(seed)
    t = np.arange(n)
    return 2 + np.cos(t / 40) + 0.1 * draw.standard_normal(n) * (t % 70 < 35)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"factor": 0.5, "patience": 3},
        {"factor": 0.7, "patience": 0, "lowest": 0.013},
        {"factor": 0.9, "patience": 2, "cooldown": 5},
        {"factor": 0.8, "patience": 4, "threshold": 0.2},
        {"factor": 0.2, "patience": 0, "threshold": 0.0},
    ],
    ids=str,
)
def test_on_plateau_is_torchs_reduce_lr_on_plateau(kwargs, seed):
    theirs = {"min_lr" if k == "lowest" else k: v for k, v in kwargs.items()}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **theirs)
    ours, values = OnPlateau(0.1, **kwargs), []
    for epoch, loss in enumerate(losses(seed)):
        if epoch in (60, 61, 200):
            loss = (math.nan, math.inf, math.nan)[epoch % 3]
        scheduler.step(loss)
        ours.observe(loss)
        values.append(ours(epoch))
        assert ours(0) == ours(10**6) == optimizer.param_groups[0]["lr"]
        assert (ours.bad, ours.cooling) == (scheduler.num_bad_epochs, scheduler.cooldown_counter)
    assert len(set(values)) > 1


def test_on_plateau_falls_after_patience_bad_epochs_and_one_more():
    schedule = OnPlateau(1.0, factor=0.5, patience=2)
    seen = []
    for loss in [3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0]:
        schedule.observe(loss)
        seen.append(schedule(0))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_on_plateau_counts_nan_and_inf_as_epochs_without_a_fall():
    schedule = OnPlateau(1.0, patience=2)
    for loss in (math.nan, math.inf, -math.inf):
        assert schedule(0) == 1.0
        schedule.observe(loss)
    assert schedule(0) == 0.1
    assert schedule.best is None


def test_on_plateau_hears_tensors_and_arrays_of_one_element(backend):
    schedule = OnPlateau(1.0)
    schedule.observe(tg.Tensor(backend.array(np.float64(0.5))))
    assert schedule.best == 0.5
    schedule.observe(backend.array(np.array(0.25)))
    assert schedule.best == 0.25
    assert type(schedule.best) is float


@pytest.mark.parametrize("loss", ["0.5", True, None, [1.0, 2.0]])
def test_on_plateau_refuses_what_is_no_loss_and_notes_nothing(loss):
    schedule = OnPlateau(1.0, patience=0)
    with pytest.raises(TypeError):
        schedule.observe(loss)
    assert schedule == OnPlateau(1.0, patience=0)


def test_a_plateau_that_two_warmups_lead_to_is_told_each_loss_once():
    plateau = OnPlateau(0.1, factor=0.5, patience=1)
    a, b = (tg.Tensor(np.ones(2, "float32"), requires_grad=True) for _ in "ab")
    groups = [{"params": [a], "lr": warmup(3, plateau)}, {"params": [b], "lr": warmup(7, plateau)}]
    optimizer = optim.SGD(groups, lr=0.1)
    for _ in range(2):  # the first is the best so far, and the second the one bad one in patience
        optimizer.observe(1.0)
    assert plateau.value == 0.1
    optimizer.observe(1.0)
    assert plateau.value == 0.05


def test_a_warmup_passes_losses_on_and_the_closed_forms_ignore_them():
    inner = OnPlateau(1.0, factor=0.5, patience=0)
    schedule = warmup(10, inner)
    for _ in range(2):
        schedule.observe(3.0)
    assert (schedule(5), schedule(10)) == (0.25, 0.5)
    for example in EXAMPLES[:5]:
        assert example.observe(3.0) is None


# ---- functions of t ------------------------------------------------------------------------------


@every_example
def test_any_t_may_be_asked_for_in_any_order(schedule):
    in_order = [schedule(t) for t in range(N)]
    shuffled = np.random.default_rng(0).permutation(N)
    for t in [*shuffled, *shuffled]:
        assert schedule(t) == in_order[t]


@every_example
def test_values_are_python_floats_whatever_went_in(schedule):
    """An np.float64 would turn float32 weights into float64 ones."""
    assert {type(schedule(t)) for t in (0, 1, 50, 299, np.int64(300), 10**6)} == {float}


def test_values_from_numpy_numbers_integers_and_own_functions_are_python_floats_too():
    assert type(exponential(np.float64(0.1), np.float32(0.5))(np.int64(3))) is float
    assert type(cosine(1, np.int64(10), 0)(10)) is float
    own = warmup(3, lambda t: np.float64(0.1) / (1 + t))
    assert {type(own(t)) for t in range(6)} == {float}
    assert own(4) == 0.1 / 5


@every_example
@pytest.mark.parametrize("t, error", [(-1, ValueError), (1.0, TypeError), ("1", TypeError)])
def test_t_is_a_number_of_steps(schedule, t, error):
    with pytest.raises(error):
        schedule(t)


def test_growth_beyond_all_floats_is_inf_for_the_optimizer_to_refuse():
    assert exponential(0.1, 10.0)(400) == math.inf
    assert step(0.1, every=2, factor=10.0)(800) == math.inf


@everywhere
@every_example
def test_a_schedule_serves_as_a_hyper_parameter(schedule):
    w = tg.Tensor(np.array([1.0]), requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=schedule)
    wanted = 1.0
    for t in range(3):
        w.grad[...] = 1.0
        optimizer.step()
        wanted -= schedule(t)
    assert w.numpy()[0] == pytest.approx(wanted, rel=1e-15)


# ---- wrong arguments -----------------------------------------------------------------------------

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    "make, names",
    [
        (lambda: constant(-0.1), "constant: value"),
        (lambda: constant(nan), "constant: value"),
        (lambda: constant(True), "constant: value"),
        (lambda: constant("0.1"), "constant: value"),
        (lambda: constant(None), "constant: value"),
        (lambda: constant(10**400), "too large"),
        (lambda: step(inf, 3), "step: initial"),
        (lambda: step(0.1, 0), "step: every"),
        (lambda: step(0.1, 2.0), "step: every"),
        (lambda: step(0.1, True), "step: every"),
        (lambda: step(0.1, 3, -0.5), "step: factor"),
        (lambda: exponential(0.1, nan), "exponential: factor"),
        (lambda: exponential(-1, 0.5), "exponential: initial"),
        (lambda: inverse_time(0.1, -0.1), "inverse_time: rate"),
        (lambda: cosine(0.1, -100), "cosine: steps"),
        (lambda: cosine(0.1, 0), "cosine: steps"),
        (lambda: cosine(0.1, 100, -0.01), "cosine: final"),
        (lambda: cosine(constant(0.1), 100), "cosine: initial"),
        (lambda: warmup(0, 0.1), "warmup: steps"),
        (lambda: warmup(10, -0.1), "warmup: then"),
        (lambda: warmup(10, "cosine"), "warmup: then"),
        (lambda: warmup(10, 0.1, nan), "warmup: start"),
        (lambda: one_cycle(nan, 10), "one_cycle: peak"),
        (lambda: one_cycle(0.1, 10.5), "one_cycle: steps"),
        (lambda: one_cycle(0.1, 10, start=-1), "one_cycle: start"),
        (lambda: one_cycle(0.1, 10, final=nan), "one_cycle: final"),
        (lambda: one_cycle(0.1, 10, rise=1.0), "one_cycle: rise"),
        (lambda: one_cycle(0.1, 10, rise=-0.1), "one_cycle: rise"),
        (lambda: cyclic(-0.1, 1, 3), "cyclic: low"),
        (lambda: cyclic(0.1, inf, 3), "cyclic: high"),
        (lambda: cyclic(0.1, 1, 0), "cyclic: up"),
        (lambda: cyclic(0.1, 1, 3, 0), "cyclic: down"),
        (lambda: cyclic(0.1, 1, 3, 2.5), "cyclic: down"),
        (lambda: OnPlateau(nan), "OnPlateau: initial"),
        (lambda: OnPlateau(0.1, factor=1.0), "OnPlateau: factor"),
        (lambda: OnPlateau(0.1, patience=-1), "OnPlateau: patience"),
        (lambda: OnPlateau(0.1, threshold=-1e-4), "OnPlateau: threshold"),
        (lambda: OnPlateau(0.1, cooldown=0.5), "OnPlateau: cooldown"),
        (lambda: OnPlateau(0.1, lowest=-1.0), "OnPlateau: lowest"),
        (lambda: OnPlateau(0.1, lowest=0.2), "lowest, 0.2, is above initial, 0.1"),
    ],
)
def test_a_wrong_argument_is_named_when_the_schedule_is_made(make, names):
    with pytest.raises((TypeError, ValueError, OverflowError), match=names):
        make()


def test_the_closed_forms_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        cosine(0.1, 100).initial = 5


# ---- saved, restored, shown ----------------------------------------------------------------------


@every_example
def test_a_schedule_goes_through_json_and_comes_back_equal(schedule):
    schedule = copy.deepcopy(schedule)
    for loss in (3.0, 3.0, -2.0, -2.0, -2.0, -2.0):
        schedule.observe(loss)
    back = restored(json.loads(json.dumps(schedule.state(), allow_nan=False)))
    assert type(back) is type(schedule)
    assert back == schedule
    assert [back(t) for t in range(N)] == [schedule(t) for t in range(N)]
    for loss in (-2.0, -3.0, 1.0, 1.0, 1.0):  # and what is observed from here on acts alike
        back.observe(loss)
        schedule.observe(loss)
    assert back == schedule
    assert back(7) == schedule(7)


@every_example
def test_a_schedule_survives_pickle_and_deepcopy(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule == copy.deepcopy(schedule)


@every_example
def test_repr_is_the_call_that_makes_it(schedule):
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_equality_is_by_kind_and_every_value():
    for n, one in enumerate(EXAMPLES):
        for m, other in enumerate(EXAMPLES):
            assert (one == other) is (n == m)
    assert cosine(0.1, 100) == cosine(0.1, 100, 0.0)
    assert cosine(0.1, 100) != cosine(0.1, 101)
    observed = OnPlateau(0.1)
    observed.observe(1.0)
    assert observed != OnPlateau(0.1)


def test_the_state_is_the_name_and_the_arguments():
    assert cosine(0.1, 100).state() == {
        "schedule": "cosine", "initial": 0.1, "steps": 100, "final": 0.0
    }  # fmt: skip
    assert warmup(5, cosine(0.1, 100)).state()["then"] == cosine(0.1, 100).state()
    schedule = OnPlateau(0.1, patience=1)
    for loss in (2.0, 3.0):
        schedule.observe(loss)
    assert schedule.state() == {
        "schedule": "OnPlateau", "initial": 0.1, "factor": 0.1, "patience": 1, "threshold": 1e-4,
        "cooldown": 0, "lowest": 0.0, "value": 0.1, "best": 2.0, "bad": 1, "cooling": 0,
    }  # fmt: skip


GOOD = cosine(0.1, 100).state()
PLATEAU = OnPlateau(0.1, patience=3, cooldown=2).state()


@pytest.mark.parametrize(
    "state, says",
    [
        (None, "is a dict"),
        ([], "is a dict"),
        ({}, "no schedule is called None"),
        (GOOD | {"schedule": "cosin"}, "no schedule is called 'cosin'"),
        (GOOD | {"schedule": "Schedule"}, "no schedule is called"),
        (GOOD | {"schedule": ["cosine"]}, "no schedule is called"),
        (GOOD | {"extra": 1}, "extra"),
        ({"schedule": "cosine", "initial": 0.1}, "steps"),
        (GOOD | {"initial": "0.1"}, "cosine: initial"),
        (GOOD | {"initial": None}, "cosine: initial"),
        (GOOD | {"initial": 10**400}, "too large"),
        (GOOD | {"steps": 100.0}, "cosine: steps"),
        (GOOD | {"final": nan}, "cosine: final"),
        (GOOD | {"final": constant(1).state()}, "cosine: final"),
        (warmup(5, 0.1).state() | {"then": {"schedule": "cosin"}}, "'cosin'"),
        (warmup(5, 0.1).state() | {"then": GOOD | {"steps": 0}}, "cosine: steps"),
        (warmup(5, lambda t: 0.1).state(), "<lambda> is your own function"),
        (PLATEAU | {"value": 0.2}, "is above initial"),
        (PLATEAU | {"value": "0.1"}, "OnPlateau: value"),
        (PLATEAU | {"value": -0.1}, "OnPlateau: value"),
        (PLATEAU | {"best": nan}, "OnPlateau: best"),
        (PLATEAU | {"best": "low"}, "OnPlateau: best"),
        (PLATEAU | {"bad": -1}, "OnPlateau: bad"),
        (PLATEAU | {"bad": 0.5}, "OnPlateau: bad"),
        (PLATEAU | {"cooling": None}, "OnPlateau: cooling"),
    ],
)
def test_a_wrong_state_is_refused_and_says_why(state, says):
    with pytest.raises(ValueError, match=says):
        restored(state)


def test_loading_keeps_the_plateau_that_the_training_loop_holds():
    held = OnPlateau(0.1)
    trained = warmup(5, OnPlateau(0.1, factor=0.5, patience=0))
    for _ in range(3):
        trained.observe(1.0)
    now = merged(warmup(9, held), restored(trained.state()))
    assert now == trained
    assert now.then is held
    held.observe(1.0)
    assert now(5) == 0.0125
    assert merged(held, constant(0.1)) == constant(0.1)
    assert merged(0.3, trained) is trained
    assert merged(constant(0.1), trained.then) is trained.then


# ---- what several share, and what is the user's own ----------------------------------------------


@dataclass(frozen=True)
class Own(schedules.Schedule):
    levels: tuple
    start: float = nan

    def at(self, t):
        return self.levels[min(t, len(self.levels) - 1)]


@dataclass
class Counting(schedules.Schedule):
    """One of the user's own that remembers."""

    initial: float
    heard: tuple = field(init=False, default=())

    def at(self, t):
        return self.initial / (1 + len(self.heard))

    def observe(self, loss):
        self.heard += (loss,)


def shared(make):
    """Two groups around one schedule."""
    ws = [tg.Tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    schedule = make()
    return schedule, optim.SGD([{"params": [w], "lr": schedule} for w in ws], lr=0.1)


def through_json(optimizer):
    return json.loads(json.dumps({**optimizer.state_dict(), "slots": {"0": {}, "1": {}}}))


@pytest.mark.parametrize("make", [
    lambda: OnPlateau(0.8, factor=0.5, patience=1), lambda: Counting(0.8),
    lambda: warmup(2, OnPlateau(0.8, factor=0.5, patience=1)),
    lambda: warmup(2, warmup(1, OnPlateau(0.8, factor=0.5, patience=1))),
    lambda: warmup(2, Counting(0.8)),
])  # fmt: skip
def test_a_schedule_that_groups_share_hears_each_loss_once_after_loading_too(make):
    whole, optimizer = shared(make)
    optimizer.observe(1.0)
    mine, again = shared(make)
    again.load_state_dict(through_json(optimizer))
    assert [group["lr"] for group in again.groups] == [mine, mine]
    assert all(group["lr"] is mine for group in again.groups)
    for _ in range(3):
        optimizer.observe(1.0)
        again.observe(1.0)
        assert mine == whole
    assert again.values()[0]["lr"] == optimizer.values()[0]["lr"]


@pytest.mark.parametrize("around", [lambda x: x, lambda x: warmup(2, x)])
def test_one_plateau_cannot_become_two_of_different_content(around):
    _, optimizer = shared(lambda: around(OnPlateau(0.8)))
    optimizer.groups[0]["lr"] = around(OnPlateau(0.1))
    mine, again = shared(lambda: around(OnPlateau(0.8)))
    before = copy.deepcopy(mine)
    with pytest.raises(ValueError, match="group 0: lr and group 1: lr share one OnPlateau here"):
        again.load_state_dict(through_json(optimizer))
    assert mine == before
    optimizer.groups[0]["lr"] = around(OnPlateau(0.8))  # two of them, but alike
    again.load_state_dict(through_json(optimizer))
    _, other = shared(lambda: around(OnPlateau(0.8)))
    other.transforms = [ClipNorm(other.groups[0]["lr"])]
    state = {**through_json(other), "transforms": [ClipNorm(OnPlateau(0.8)).state()]}
    state["transforms"][0]["limit"]["bad"] = 3
    with pytest.raises(ValueError, match="transform 0: limit and group 0: lr share one OnPlateau"):
        other.load_state_dict(state)


def test_a_memory_that_is_an_array_is_compared_too():
    _, optimizer = shared(lambda: Counting(0.8))
    optimizer.groups[0]["lr"].heard = np.array([1.0, 2.0])
    _, again = shared(lambda: Counting(0.8))
    again.load_state_dict(optimizer.state_dict())
    assert again.groups[1]["lr"].heard.tolist() == [1.0, 2.0]
    optimizer.groups[0]["lr"] = copy.deepcopy(optimizer.groups[1]["lr"])
    optimizer.groups[0]["lr"].heard = np.array([1.0, 3.0])
    with pytest.raises(ValueError, match="share one Counting here"):
        again.load_state_dict(optimizer.state_dict())


def own(t):
    return 0.1


@pytest.mark.parametrize("make", [lambda: warmup(3, own), lambda: warmup(3, warmup(2, own)),
                                  lambda: Own((0.1, 0.2)), lambda: warmup(3, Own((0.5,)))],
                         ids=range(4))  # fmt: skip
def test_what_is_the_users_own_is_taken_from_the_same_place(make):
    state = json.loads(json.dumps(make().state()))
    again = restored(state, make()).state()
    assert schedules.lasting(again) == schedules.lasting(make().state())
    for place in (None, 0.1, cosine(0.1, 5), warmup(3, 0.1)):
        with pytest.raises(ValueError, match=r"give it again|to be given again"):
            restored(state, place)
    _, optimizer = shared(make)
    optimizer.transforms = [ClipNorm(make())]
    _, again = shared(make)
    again.transforms = [ClipNorm(make())]
    again.load_state_dict(through_json(optimizer))


def test_a_schedule_of_ones_own_with_other_numbers_is_no_place_for_the_saved_one():
    state = json.loads(json.dumps(Own((0.1, 0.2)).state()))
    for other in (Own((0.1, 0.3)), Own((0.1, 0.2), 0.0)):
        with pytest.raises(ValueError, match=r"Own is a schedule of your own, with .* make it as"):
            restored(state, other)
    with pytest.raises(ValueError, match="the state of Own has the keys"):
        restored({**state, "more": 1}, Own((0.1, 0.2)))


def test_a_memory_of_ones_own_within_a_transform_is_loaded_too():
    (_, optimizer), (_, again) = shared(lambda: 0.1), shared(lambda: 0.1)
    for each in (optimizer, again):
        each.transforms = [ClipNorm(Counting(0.5))]
    optimizer.observe(1.0)
    again.load_state_dict(through_json(optimizer))
    assert again.transforms == optimizer.transforms
    again.transforms = [ClipNorm(Counting(0.7))]
    with pytest.raises(ValueError, match=r"with initial = 0\.5 there and 0.7 here"):
        again.load_state_dict(through_json(optimizer))
