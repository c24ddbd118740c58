"""SAM and Lookahead around each other and around all that they can be put around, against runs that
are done by hand; and what a wrapper hands on to the optimizer inside."""

import copy
import json
import pickle
import re

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray
from tinygrad_opt.optim import LBFGS, SAM, SGD, Adam, Lookahead, Momentum, Nesterov, ScheduleFree
from tinygrad_opt.optim.schedules import OnPlateau, cosine, exponential

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

STARTS = ([[0.5, -1.5], [2.0, 0.25]], [0.75, -0.125, 1.0])
LR, MU = 0.1, 0.75
PRECISE = {"float32": 2e-6, "float64": 1e-14}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def weights(dtype="float64"):
    return [tg.Tensor(np.array(start, dtype), requires_grad=True) for start in STARTS]


def bowl(ws):
    total = 0.0
    for w in ws:
        total = total + (tg.cos(w) * w).sum() + 0.5 * (w * w).sum()
    return total


def closure_of(optimizer, ws):
    def closure():
        optimizer.zero_grad()
        loss = bowl(ws)
        loss.backward()
        return loss

    return closure


def run(optimizer, ws, steps):
    for _ in range(steps):
        optimizer.step(closure_of(optimizer, ws))
    return [w.numpy() for w in ws]


# ---- by hand, on lists of arrays -----------------------------------------------------------------


def gradient(places):
    return [np.cos(w) - np.sin(w) * w + w for w in places]


def climb(places, gs, rho):
    norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gs))
    return [w + w.dtype.type(rho / (norm + 1e-12)) * g for w, g in zip(places, gs)]


def sharp(places, rho):
    """The gradient from a step of length rho uphill."""
    return gradient(climb(places, gradient(places), rho))


class ByHand:
    """The weights, velocities of 0, and the step of the classical momentum."""

    def __init__(self, dtype):
        self.w = [np.array(start, dtype) for start in STARTS]
        self.v = [np.zeros_like(w) for w in self.w]

    def ahead(self):
        return [w + MU * v for w, v in zip(self.w, self.v)]

    def step(self, gs, mu=MU):
        self.v = [mu * v - LR * g for v, g in zip(self.v, gs)]
        self.w = [w + v for w, v in zip(self.w, self.v)]


def assert_there(got, wanted, dtype):
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=PRECISE[dtype], atol=PRECISE[dtype])


@everywhere
@both_dtypes
def test_sam_around_nesterov_climbs_from_the_look_ahead_point(dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    got = run(SAM(Nesterov(ws, lr=LR, mu=MU), rho=0.2), ws, 6)
    for _ in range(6):
        hand.step(sharp(hand.ahead(), 0.2))
    assert_there(got, hand.w, dtype)


@everywhere
@both_dtypes
def test_sam_around_sam_climbs_along_the_gradient_of_the_first_climb(dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    got = run(SAM(SAM(SGD(ws, lr=LR), rho=0.1), rho=0.3), ws, 6)
    for _ in range(6):
        hand.step(sharp(climb(hand.w, sharp(hand.w, 0.3), 0.1), 0.3), mu=0.0)
    assert_there(got, hand.w, dtype)


@everywhere
@both_dtypes
def test_lookahead_around_sam_around_momentum_pulls_back_after_k_sharp_steps(dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    optimizer = Lookahead(SAM(Momentum(ws, lr=LR, mu=MU), rho=0.2), k=3, alpha=0.25)
    got = run(optimizer, ws, 7)
    slow = hand.w
    for t in range(1, 8):
        hand.step(sharp(hand.w, 0.2))
        if t % 3 == 0:
            slow = hand.w = [s + 0.25 * (w - s) for w, s in zip(hand.w, slow)]
    assert_there(got, hand.w, dtype)


@everywhere
@both_dtypes
def test_lookahead_within_lookahead_pulls_the_slow_weights_too(dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    got = run(Lookahead(Lookahead(SGD(ws, lr=LR), k=2, alpha=0.5), k=4, alpha=0.25), ws, 9)
    slow = slower = hand.w
    for t in range(1, 10):
        hand.step(gradient(hand.w), mu=0.0)
        if t % 2 == 0:
            slow = hand.w = [s + 0.5 * (w - s) for w, s in zip(hand.w, slow)]
        if t % 4 == 0:
            slower = slow = hand.w = [s + 0.25 * (w - s) for w, s in zip(hand.w, slower)]
    assert_there(got, hand.w, dtype)


@everywhere
def test_the_loss_that_comes_back_is_that_at_the_weights_and_not_on_higher_ground():
    ws = weights()
    optimizer = SAM(SAM(SGD(ws, lr=LR), rho=0.3), rho=0.3)
    before = bowl(ws).item()
    assert optimizer.step(closure_of(optimizer, ws)).item() == before


# ---- numbers that change -------------------------------------------------------------------------


def rising(t):
    return 0.05 * (t + 1)


RATES = {"a function": rising, "named": exponential(0.05, 1.5), "another": cosine(0.4, 5, 0.05)}


@everywhere
@both_dtypes
@pytest.mark.parametrize("rho", RATES.values(), ids=RATES)
def test_rho_may_be_a_schedule_of_the_steps_already_taken(rho, dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    got = run(SAM(Momentum(ws, lr=LR, mu=MU), rho=rho), ws, 5)
    for t in range(5):
        hand.step(sharp(hand.w, rho(t)))
    assert_there(got, hand.w, dtype)


@everywhere
@both_dtypes
@pytest.mark.parametrize("alpha", RATES.values(), ids=RATES)
def test_alpha_may_be_a_schedule_asked_for_the_step_that_ends_a_round(alpha, dtype):
    ws, hand = weights(dtype), ByHand(dtype)
    got = run(Lookahead(Momentum(ws, lr=LR, mu=MU), k=2, alpha=alpha), ws, 6)
    slow = hand.w
    for t in range(6):
        hand.step(gradient(hand.w))
        if t % 2:
            slow = hand.w = [s + alpha(t) * (w - s) for w, s in zip(hand.w, slow)]
    assert_there(got, hand.w, dtype)


WRAPPED = {
    "SAM": (lambda ws, x: SAM(Momentum(ws, lr=LR), rho=x), "rho"),
    "Lookahead": (lambda ws, x: Lookahead(Momentum(ws, lr=LR), k=2, alpha=x), "alpha"),
}
both_wrappers = pytest.mark.parametrize("make, number", WRAPPED.values(), ids=WRAPPED)


@everywhere
@both_wrappers
def test_a_named_schedule_is_saved_and_restored_and_the_run_goes_on_bit_for_bit(make, number):
    ws, there = weights(), weights()
    optimizer = make(ws, exponential(0.05, 1.5))
    run(optimizer, ws, 3)
    saved = optimizer.state_dict()
    assert json.dumps(saved[number])  # plain data
    resumed = make(there, 0.9)
    for a, b in zip(there, ws):
        a.data[...] = b.data
    resumed.load_state_dict(saved)
    assert getattr(resumed, number) == exponential(0.05, 1.5)
    for a, b in zip(run(resumed, there, 4), run(optimizer, ws, 4)):
        np.testing.assert_array_equal(a, b)


@both_wrappers
def test_a_function_of_your_own_is_to_be_given_again_and_its_place_decides(make, number):
    ws = weights()
    optimizer = make(ws, rising)
    run(optimizer, ws, 3)
    saved = optimizer.state_dict()
    assert saved[number] == {"function": "rising"}
    resumed = make(weights(), other := lambda t: 0.5)
    resumed.load_state_dict(saved)
    assert getattr(resumed, number) is other
    assert resumed.t == 3
    without = make(weights(), 0.5)
    with pytest.raises(ValueError, match="rising is your own function, not saved: give it again"):
        without.load_state_dict(saved)
    assert (getattr(without, number), without.t) == (0.5, 0)


@everywhere
@both_wrappers
def test_a_schedule_out_of_range_is_refused_at_the_step_before_the_closure_runs(make, number):
    ws, calls = weights(), []
    optimizer = make(ws, lambda t: -1.0 if t == 2 else 0.5)
    run(optimizer, ws, 2)
    before = [w.numpy() for w in ws]
    with pytest.raises(ValueError, match=rf"{number} is in .*, not -1.0"):
        optimizer.step(lambda: calls.append(1))
    assert not calls
    assert optimizer.t == 2
    for a, b in zip(ws, before):
        np.testing.assert_array_equal(a.numpy(), b)


@both_wrappers
@pytest.mark.parametrize("inside", [True, False], ids=["inside too", "there alone"])
def test_a_plateau_in_a_wrapper_hears_each_loss_once(make, number, inside):
    ws = weights()
    plateau = OnPlateau(0.5, factor=0.5, patience=0)
    optimizer = make(ws, plateau)
    if inside:
        optimizer.groups[0]["lr"] = plateau
    for loss in (1.0, 2.0):
        optimizer.observe(loss)
    assert (plateau.value, plateau.best) == (0.25, 1.0)
    saved = optimizer.state_dict()
    optimizer.observe(3.0)
    assert plateau.value == 0.125
    optimizer.load_state_dict(saved)
    assert getattr(optimizer, number) is plateau  # that which the loop holds
    assert plateau.value == 0.25


# ---- what belongs to whom ------------------------------------------------------------------------


def test_what_is_not_the_wrappers_own_is_read_from_and_written_to_the_optimizer_inside():
    ws = weights("float32")
    base = Momentum(ws, lr=LR)
    wrapped = Lookahead(SAM(base, rho=0.1), k=4, alpha=0.5)
    wrapped.check_finite = False
    clip = [tg.optim.ClipNorm(1.0)]
    wrapped.transforms = clip
    wrapped.rho = 0.2  # of SAM, between the two
    assert base.check_finite is False
    assert base.transforms is clip
    assert wrapped.optimizer.rho == wrapped.rho == 0.2
    assert "rho" not in vars(base)
    assert not {"check_finite", "transforms", "rho"} & set(vars(wrapped))
    assert wrapped.t == wrapped.optimizer.t == 0
    run(wrapped, ws, 2)
    assert wrapped.t == wrapped.optimizer.t == base.t == 2
    assert wrapped.groups is base.groups
    wrapped.k = 7
    assert "k" not in vars(base)
    with pytest.raises(AttributeError, match=r"Momentum.lr is not set so: write .*\['lr'\] = "):
        wrapped.lr = 0.2
    with pytest.raises(AttributeError, match=r"lr stands in optimizer.groups\[0\]\['lr'\]"):
        _ = wrapped.lr


@everywhere
def test_a_check_that_was_switched_off_through_the_wrapper_is_off():
    ws = weights()
    optimizer = SAM(SGD(ws, lr=LR))

    def closure():
        ws[0].grad = asarray(np.full((2, 2), np.inf))
        return 0.0

    with pytest.raises(FloatingPointError, match=r"4 NaN or inf|a NaN or inf at step 0"):
        optimizer.step(closure)
        optimizer.raise_if_not_finite()  # a GPU tells when it is asked
    optimizer.check_finite = False
    with np.errstate(invalid="ignore"):
        optimizer.step(closure)
    np.testing.assert_array_equal(ws[0].numpy(), -np.inf)


@everywhere
def test_eval_and_train_and_compile_give_the_wrapper_back_and_reach_inside():
    ws = weights()
    for optimizer in (Lookahead(SGD(ws, lr=LR)), SAM(SGD(ws, lr=LR))):
        assert optimizer.eval() is optimizer
        assert optimizer.train() is optimizer
    free = SAM(ScheduleFree(ws, lr=LR))
    run(free, ws, 3)
    training = [w.numpy() for w in ws]
    assert free.eval() is free
    assert all((w.numpy() != y).any() for w, y in zip(ws, training))
    assert free.train() is free
    for w, y in zip(ws, training):
        np.testing.assert_array_equal(w.numpy(), y)


@everywhere
def test_the_slow_weights_of_each_lookahead_are_counted_in_the_memory():
    ws = weights("float32")
    base = Momentum(ws, lr=LR)
    once = Lookahead(base)
    vector = base.memory()["v"]
    assert once.memory() == {"v": vector, "slow": vector}
    assert Lookahead(once).memory() == {"v": vector, "slow": 2 * vector}
    assert Lookahead(SAM(Lookahead(once))).memory() == {"v": vector, "slow": 3 * vector}


@pytest.mark.parametrize("inside", [ScheduleFree, LBFGS], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("around", [lambda x: x, SAM, lambda x: SAM(SAM(x))],
                         ids=["itself", "in SAM", "twice"])  # fmt: skip
def test_lookahead_is_refused_around_what_remembers_where_it_was(inside, around):
    optimizer = inside(weights(), lr=LR)
    with pytest.raises(TypeError, match=f"Lookahead: {inside.__name__} remembers where it was"):
        Lookahead(around(optimizer))
    assert not optimizer._after


@pytest.mark.parametrize("wrapper", [SAM, Lookahead])
@pytest.mark.parametrize(
    "given, kind",
    [(weights(), "list"), (weights()[0], "Tensor"), (SGD, "type"), (None, "NoneType")],
    ids=["parameters", "one tensor", "a class", "nothing"],
)
def test_a_wrapper_around_no_optimizer_says_what_to_write(wrapper, given, kind):
    name = wrapper.__name__
    cure = re.escape(f"{name} wraps an optimizer, not a {kind}: write {name}(Momentum(params, lr=")
    with pytest.raises(TypeError, match=cure):
        wrapper(given)


@everywhere
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_slow_weights_that_are_not_finite_are_not_loaded(value):
    ws = weights()
    optimizer = Lookahead(Momentum(ws, lr=LR), k=2)
    run(optimizer, ws, 2)
    saved = optimizer.state_dict()
    saved["slow"]["1"][2] = value
    saved["alpha"] = 0.9
    with pytest.raises(ValueError, match="does not fit Lookahead: the slow weights of 1"):
        optimizer.load_state_dict(saved)
    assert optimizer.alpha == 0.5
    assert np.isfinite(optimizer.state_dict()["slow"]["1"]).all()


@everywhere
@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
                         ids=["copied", "pickled"])  # fmt: skip
def test_a_copy_of_wrappers_pulls_its_own_weights_and_not_those_of_the_first(how):
    ws = weights()
    optimizer = Lookahead(SAM(Nesterov(ws, lr=LR, mu=MU), rho=0.2), k=2)
    run(optimizer, ws, 3)
    optimizer_2, ws_2 = how((optimizer, ws))
    there = [w.numpy() for w in ws]
    after = run(optimizer_2, ws_2, 3)
    for w, before in zip(ws, there):
        np.testing.assert_array_equal(w.numpy(), before)
    for a, b in zip(run(optimizer, ws, 3), after):
        np.testing.assert_array_equal(a, b)


# ---- explained -----------------------------------------------------------------------------------


def last_number(line):
    return line.rsplit(" = ", 1)[1]


@everywhere
@both_dtypes
@pytest.mark.parametrize("inside", [SGD, Momentum, Nesterov, Adam], ids=lambda cls: cls.__name__)
def test_sam_explains_a_watched_step_after_it_and_refuses_before(inside, dtype):
    ws = weights(dtype)
    optimizer = SAM(inside(ws, lr=LR), rho=0.2)
    optimizer.watch("0", (1, 0))
    for t in range(1, 4):
        optimizer.zero_grad()
        bowl(ws).backward()  # not the gradient that counts
        with pytest.raises(RuntimeError, match=r"taken inside step\(closure\): call watch\('0'"):
            optimizer.explain("0", (1, 0))
        optimizer.step(closure_of(optimizer, ws))
        head, climbed, *lines = optimizer.explain("0", (1, 0)).splitlines()
        assert head.startswith(f"0[1, 0], step {t} of {inside.__name__}")
        assert head.endswith(", inside SAM")
        assert climbed == ("g was taken at w = w + rho * g / ((the norm of all gradients) + 1e-12)")
        assert lines[-1].startswith("w = ")
        assert ws[0].dtype.type(last_number(lines[-1])) == ws[0].numpy()[1, 0]
    with pytest.raises(RuntimeError, match=r"nothing was kept of 1\[0\]"):
        optimizer.explain("1", 0)


@everywhere
def test_the_gradient_that_sam_explains_is_that_from_higher_ground():
    ws = weights()
    optimizer = SAM(SGD(ws, lr=LR), rho=0.2)
    optimizer.watch("1", 2)
    start = [w.numpy() for w in ws]
    optimizer.step(closure_of(optimizer, ws))
    g = re.search(r"^w = \S+, g = (\S+)$", optimizer.explain("1", 2), re.MULTILINE)[1]
    assert float(g) == pytest.approx(sharp(start, 0.2)[1][2], rel=1e-14)
    assert float(g) != pytest.approx(gradient(start)[1][2], rel=1e-3)


@everywhere
def test_lookahead_names_the_pull_on_every_kth_step_and_on_no_other():
    ws = weights()
    optimizer = Lookahead(SGD(ws, lr=LR), k=3)
    optimizer.watch("1", 0)
    pull = "and then Lookahead, for its 3 steps are done: " + Lookahead.rule.formula
    assert pull.endswith("slow = slow + alpha * (w - slow); w = slow")
    for t in range(1, 8):
        closure_of(optimizer, ws)()
        coming = optimizer.explain("1", 0)
        optimizer.step()
        taken = optimizer.explain("1", 0)
        assert coming == taken
        assert f"step {t} of SGD" in taken
        assert (taken.splitlines()[-1] == pull) == (t % 3 == 0)
        assert ("Lookahead" in taken) == (t % 3 == 0)
