"""Optimizers as they run: in two threads, away from where the weights are, from a copy, at the
edges of a dtype, and without a home."""

import copy
import math
import pathlib
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray, host
from tinygrad_opt.optim import (
    ASGD,
    LAMB,
    LARS,
    LBFGS,
    SAM,
    SGD,
    Adam,
    AMSGrad,
    Lookahead,
    Momentum,
    Muon,
    Nesterov,
    RAdam,
    RMSProp,
    Rprop,
    ScheduleFree,
    compiled,
)

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def weight(values=(0.5, -1.5, 2.0), dtype="float64"):
    return tg.Tensor(np.array(values, dtype), requires_grad=True)


def closure_of(optimizer, w):
    def closure():
        optimizer.zero_grad()
        loss = (tg.cos(w) * w).sum() + (w * w).sum()
        loss.backward()
        return loss

    return closure


# ---- two threads ---------------------------------------------------------------------------------

THREADED = {
    "Momentum": lambda w: Momentum([w], lr=0.1),
    "Adam": lambda w: Adam([w]),
    "RAdam": lambda w: RAdam([w]),
    "Rprop": lambda w: Rprop([w]),
}


@pytest.mark.parametrize("make", THREADED.values(), ids=THREADED)
def test_two_threads_end_where_two_runs_one_after_the_other_end_to_the_bit(make, monkeypatch):
    monkeypatch.setattr(compiled, "PATIENCE", math.inf)
    monkeypatch.setattr(compiled, "_loops", {})
    size, steps = 300_000, 12  # more than a block, and less than two
    rng = np.random.default_rng(0)
    starts = rng.standard_normal((2, size)).astype("float32")
    gradients = rng.standard_normal((2, size)).astype("float32")
    begin = threading.Barrier(2)
    ended = {}

    def run(n, key, alone=False):
        w = weight(starts[n], "float32")
        optimizer = make(w)
        if not alone:
            begin.wait()
        for t in range(steps):
            w.grad = gradients[n] * np.float32(math.cos(t + n))
            optimizer.step()
        ended[key, n] = [w.numpy(), *(x.copy() for x in optimizer._flat[0].slots.values())]

    for n in range(2):
        run(n, "serial", alone=True)
    both = [threading.Thread(target=run, args=(n, "threads")) for n in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for n in range(2):
        for a, b in zip(ended["threads", n], ended["serial", n], strict=True):
            np.testing.assert_array_equal(a, b)


# ---- standing elsewhere --------------------------------------------------------------------------

ELSEWHERE = r"\.step\(\): the weights stand elsewhere for a while: leave the `with optimizer.look_"


def state_of(optimizer):
    while not hasattr(optimizer, "_flat") or hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return [np.array(optimizer.t), *(host(x).copy() for flat in optimizer._flat
            for x in (flat.w, *flat.slots.values()))]  # fmt: skip


def assert_state(optimizer, wanted):
    for a, b in zip(state_of(optimizer), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@everywhere
@both_dtypes
def test_a_step_at_the_look_ahead_is_refused_and_nothing_has_changed(dtype):
    w = weight(dtype=dtype)
    optimizer = Nesterov([w], lr=0.1)
    optimizer.step(closure_of(optimizer, w))
    before = state_of(optimizer)
    with optimizer.look_ahead():
        ahead = w.numpy()
        closure_of(optimizer, w)()
        with pytest.raises(RuntimeError, match="Nesterov" + ELSEWHERE):
            optimizer.step()
        np.testing.assert_array_equal(w.numpy(), ahead)
    assert (ahead != before[1][:3]).all()
    assert_state(optimizer, before)
    optimizer.step()  # outside, with the gradient that was taken there
    assert optimizer.t == 2


@everywhere
@both_dtypes
def test_a_step_among_the_averages_is_refused_and_nothing_has_changed(dtype):
    w = weight(dtype=dtype)
    optimizer = ASGD([w], lr=0.1, t0=0)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, w))
    before = state_of(optimizer)
    calls = []
    with optimizer.averaged():
        for closure in (None, lambda: calls.append(1)):
            with pytest.raises(RuntimeError, match="ASGD" + ELSEWHERE):
                optimizer.step(closure)
    assert not calls
    assert_state(optimizer, before)
    optimizer.step(closure_of(optimizer, w))
    assert optimizer.t == 4


STEPPERS = {
    "SGD": lambda w: SGD([w], lr=0.1),
    "Adam": lambda w: Adam([w]),
    "Nesterov": lambda w: Nesterov([w], lr=0.1),
    "shifted": lambda w: Nesterov([w], lr=0.1, form="shifted"),
    "Muon": lambda w: Muon([w]),
    "LBFGS": lambda w: LBFGS([w], lr=0.1, max_iter=3),
    "LBFGS, searching": lambda w: LBFGS([w], max_iter=3, line_search_fn="strong_wolfe"),
    "ScheduleFree": lambda w: ScheduleFree([w], lr=0.1),
    "SAM": lambda w: SAM(Momentum([w], lr=0.1)),
    "SAM of SAM": lambda w: SAM(SAM(SGD([w], lr=0.1))),
    "Lookahead": lambda w: Lookahead(Momentum([w], lr=0.1), k=2),
}


@everywhere
@pytest.mark.parametrize("make", STEPPERS.values(), ids=STEPPERS)
@pytest.mark.parametrize("depth", ["itself", "what is inside"])
def test_a_step_within_the_closure_of_a_step_is_refused_and_nothing_has_changed(make, depth):
    w = weight([[0.5, -1.5, 2.0]])
    optimizer = make(w)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, w))
    inner = optimizer
    while depth != "itself" and hasattr(inner, "optimizer"):
        inner = inner.optimizer
    before, calls = state_of(optimizer), []

    def closure():
        calls.append(1)
        loss = closure_of(optimizer, w)()
        inner.step(lambda: calls.append(2))
        return loss

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        optimizer.step(closure)
    assert calls == [1]
    assert_state(optimizer, before)
    optimizer.step(closure_of(optimizer, w))  # and it goes on
    assert optimizer.t == before[0] + 1


@everywhere
@pytest.mark.parametrize("make", STEPPERS.values(), ids=STEPPERS)
def test_after_an_error_in_the_closure_the_next_step_is_as_if_nothing_was(make):
    def wrong():
        closure_of(optimizer, w)()
        raise KeyError("mine")

    w, there = weight([[0.5, -1.5, 2.0]]), weight([[0.5, -1.5, 2.0]])
    optimizer, right = make(w), make(there)
    for fails in (False, True, False, True, False):
        if fails:
            with pytest.raises(KeyError, match="mine"):
                optimizer.step(wrong)
        else:
            optimizer.step(closure_of(optimizer, w))
            right.step(closure_of(right, there))
        assert_state(optimizer, state_of(right))


# ---- L-BFGS that comes to NaN --------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("what", ["the loss", "the gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@both_dtypes
def test_lbfgs_without_a_line_search_that_comes_to_nan_puts_everything_back(what, value, dtype):
    w = weight(dtype=dtype)
    optimizer = LBFGS([w], lr=0.1, max_iter=5, history_size=3)
    good = closure_of(optimizer, w)
    optimizer.step(good)
    before, seen = state_of(optimizer), []

    def closure():
        loss = good()
        seen.append(w.numpy())
        if len(seen) < 3:
            return loss
        if what == "the loss":
            return loss * value
        w.grad[1] = value
        return loss

    with pytest.raises(FloatingPointError, match=r"loss is (nan|-?inf)|1 NaN or inf among 3"):
        optimizer.step(closure)
    assert len(seen) == 3
    assert (seen[0] != seen[2]).all()  # it had moved
    assert_state(optimizer, before)
    optimizer.step(good)
    assert optimizer.t == 2
    assert np.isfinite(w.numpy()).all()


# ---- the edges of a dtype ------------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e-200])
def test_rprop_clips_the_first_step_and_grows_however_small_the_gradients(size, dtype, backend):
    if size < 1e-40 and dtype == "float32":  # still a number there, if a denormal one, but not
        size = 1e-40 if backend.name == "numpy" else 1.2e-38  # on a GPU, which takes those for 0
    w = weight([0.0, 0.0], dtype)
    optimizer = Rprop([w], lr=0.5, largest=0.1)
    for step in (0.1, 0.2, 0.3):  # no longer than the largest
        w.grad = asarray(np.array([size, -size], dtype))
        optimizer.step()
        np.testing.assert_allclose(w.numpy(), [-step, step], rtol=1e-6)
    w = weight([0.0, 0.0], dtype)
    optimizer = Rprop([w], lr=0.01)
    for step in (0.01, 0.022, 0.0364):  # each 1.2 times the one before
        w.grad = asarray(np.array([size, -size], dtype))
        optimizer.step()
        np.testing.assert_allclose(w.numpy(), [-step, step], rtol=1e-6)


NORMED = {
    "LARS": lambda w: LARS([w], lr=1.0, eta=0.1),
    "LARS, decay": lambda w: LARS([w], lr=1.0, eta=0.1, weight_decay=0.5),
    "Muon": lambda w: Muon([w], lr=0.1, eps=1e-35),
    "Muon, plain": lambda w: Muon([w], lr=0.1, eps=1e-35, nesterov=False),
}


@everywhere
@pytest.mark.parametrize("size", [1e20, 1e30, 1e-25])
@pytest.mark.parametrize("make", NORMED.values(), ids=NORMED)
def test_norms_of_float32_neither_overflow_nor_vanish(make, size):
    start = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])
    gradient = size * np.array([[1.0, 2.0, -0.5], [0.25, -1.0, 3.0]])
    ends = []
    for dtype in ("float32", "float64"):
        w = weight(start, dtype)
        optimizer = make(w)
        for _ in range(3):
            w.grad = asarray(gradient.astype(dtype))
            optimizer.step()
        ends.append(w.numpy())
    assert (np.abs(ends[1] - start) > 1e-3).all()
    np.testing.assert_allclose(ends[0], ends[1], rtol=2e-4, atol=2e-5)


@everywhere
def test_the_trust_of_lamb_in_weights_whose_squares_overflow_is_their_norm():
    start, gradient = np.array([1e20, -2e20, 3e20]), np.array([1.0, -0.5, 0.25])
    ends = []
    for dtype in ("float32", "float64"):
        w = weight(start, dtype)
        optimizer = LAMB([w], lr=0.1, weight_decay=0.0)
        for _ in range(2):
            w.grad = asarray(gradient.astype(dtype))
            optimizer.step()
        ends.append(w.numpy())
    assert (np.abs(ends[1] / start - 1) > 0.01).all()
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)


@everywhere
@pytest.mark.parametrize("make", [lambda w: LAMB([w], lr=0.1), lambda w: LARS([w], lr=0.1),
                                  lambda w: Muon([w], lr=0.1)])  # fmt: skip
def test_a_huge_gradient_leaves_finite_weights(make):
    w = weight([[0.5, -1.5], [2.0, 1.0]], "float32")
    optimizer = make(w)
    for _ in range(3):
        w.grad = asarray(np.full((2, 2), 1e20, "float32"))
        optimizer.step()
        assert np.isfinite(w.numpy()).all()


# ---- copies --------------------------------------------------------------------------------------

COPIES = {"copied": copy.deepcopy, "pickled": lambda x: pickle.loads(pickle.dumps(x))}
every_copy = pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
PENDING = {
    "SGD": lambda w: SGD([("w", w)], lr=0.1),
    "Adam": lambda w: Adam([("w", w)]),
    "AMSGrad": lambda w: AMSGrad([("w", w)]),
    "Muon": lambda w: Muon([("w", w)]),
    "RMSProp": lambda w: RMSProp([("w", w)], centered=True, mu=0.9),
    "Lookahead": lambda w: Lookahead(Momentum([("w", w)], lr=0.1), k=3),
}


@everywhere
@every_copy
@pytest.mark.filterwarnings("ignore:TGO-W01")  # meant, where it is added
@pytest.mark.parametrize("make", PENDING.values(), ids=PENDING)
@pytest.mark.parametrize("zeroed", [True, False], ids=["zeroed", "added"])
def test_a_copy_made_between_backward_and_step_explains_the_coming_step(make, how, zeroed):
    w = weight([[0.5, -1.5, 2.0]])
    optimizer = make(w)
    for _ in range(2):
        optimizer.step(closure_of(optimizer, w))
    if zeroed:
        closure_of(optimizer, w)()
    else:
        (w * w).sum().backward()
    told = optimizer.explain("w", (0, 2))
    assert told.startswith("w[0, 2], step 3 of ")
    optimizer_2, w_2 = how((optimizer, w))
    assert optimizer_2.explain("w", (0, 2)) == told
    optimizer_2.step()
    last = next(line for line in reversed(told.splitlines()) if line.startswith("w = "))
    stored = float(last.rsplit(" = ", 1)[1])
    if not isinstance(optimizer_2, Lookahead):  # which pulls it back then
        assert w_2.numpy()[0, 2] == stored
    assert w.numpy()[0, 2] != w_2.numpy()[0, 2]


@everywhere
@every_copy
def test_what_is_watched_is_watched_in_a_copy_and_its_last_step_forgotten(how):
    w = weight()
    optimizer = Momentum([w], lr=0.1)
    optimizer.watch("0", 1)
    optimizer.step(closure_of(optimizer, w))
    optimizer_2, w_2 = how((optimizer, w))
    optimizer_2.step(closure_of(optimizer_2, w_2))
    told = optimizer_2.explain("0", 1)
    assert told.startswith("0[1], step 2 of Momentum")
    assert float(told.rsplit(" = ", 1)[1]) == w_2.numpy()[1]
    assert optimizer.explain("0", 1).startswith("0[1], step 1 of Momentum")


def test_a_copy_unpickled_in_another_process_explains_the_coming_step_too():
    w = weight()
    optimizer = Momentum([w], lr=0.1)
    for _ in range(20):  # so that the clock here is far ahead of that there
        optimizer.step(closure_of(optimizer, w))
    closure_of(optimizer, w)()
    there = ("import pickle, sys; "
             "print(pickle.load(sys.stdin.buffer).explain('0', 1))")  # fmt: skip
    told = subprocess.run([sys.executable, "-c", there], input=pickle.dumps(optimizer),
                          capture_output=True, check=True).stdout.decode()  # fmt: skip
    assert told.strip() == optimizer.explain("0", 1)
    assert told.startswith("0[1], step 21 of Momentum")


@everywhere
@every_copy
def test_a_copy_of_nesterov_wants_its_own_look_ahead(how):
    w = weight()
    optimizer = Nesterov([w], lr=0.1)
    optimizer.step(closure_of(optimizer, w))
    with optimizer.look_ahead():
        closure_of(optimizer, w)()
    optimizer_2, w_2 = how((optimizer, w))
    before = state_of(optimizer_2)
    for refused in (optimizer_2.step, lambda: optimizer_2.explain("0", 1)):
        with pytest.raises(RuntimeError, match="gradient was not taken at the look-ahead point"):
            refused()
    assert_state(optimizer_2, before)
    with optimizer_2.look_ahead():
        closure_of(optimizer_2, w_2)()
    assert optimizer_2.explain("0", 1) == optimizer.explain("0", 1)
    optimizer.step()
    optimizer_2.step()
    assert_state(optimizer_2, state_of(optimizer))


@everywhere
@every_copy
def test_the_look_ahead_of_another_process_does_not_count_in_this_one(how):
    w = weight()
    optimizer = Nesterov([w], lr=0.1)
    closure_of(optimizer, w)()
    optimizer._window = (0, 2**62)  # as on a clock that was ahead of this one, and far
    optimizer_2, w_2 = how((optimizer, w))
    closure_of(optimizer_2, w_2)()
    with pytest.raises(RuntimeError, match="gradient was not taken at the look-ahead point"):
        optimizer_2.step()
    np.testing.assert_array_equal(w_2.numpy(), w.numpy())


# ---- where compiled rules are kept ---------------------------------------------------------------


@pytest.fixture
def nothing_compiled(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "_loops", {})
    for name in ("HOME", "XDG_CACHE_HOME", "TINYGRAD_OPT_CACHE"):
        monkeypatch.delenv(name, raising=False)


def stepped(compile_it):
    w = weight(np.linspace(-1, 1, 20_000), "float32")
    optimizer = SGD([w], lr=0.1)
    if compile_it:
        assert optimizer.compile() is optimizer
    w.grad = np.cos(np.linspace(0, 9, 20_000, dtype="float32"))
    optimizer.step()
    return w.numpy()


def test_without_a_home_compiled_rules_go_where_temporary_files_do(
    nothing_compiled, monkeypatch, tmp_path
):
    def nobody(number):
        raise KeyError(number)

    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", nobody)
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="home"):
        pathlib.Path("~").expanduser()
    plain = stepped(False)
    np.testing.assert_array_equal(stepped(True), plain)
    assert len(list(tmp_path.glob("tinygrad_opt/rule_*.py"))) == 1


def test_a_tilde_in_the_chosen_cache_is_the_home(nothing_compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", "~/x")
    monkeypatch.chdir(tmp_path)
    plain = stepped(False)
    np.testing.assert_array_equal(stepped(True), plain)
    assert len(list(tmp_path.glob("x/rule_*.py"))) == 1
    assert not (tmp_path / "~").exists()
    assert re.fullmatch(r"rule_[0-9a-f]{20}\.py", next(tmp_path.glob("x/rule_*.py")).name)


def test_compile_compiles_for_every_dtype_and_group(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "_loops", {})
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(tmp_path))
    weights = [weight(dtype="float32"), weight(dtype="float64"), weight(dtype="float64")]
    groups = [{"params": weights[:2]}, {"params": weights[2:], "l2": 0.1}]
    SGD(groups, lr=0.1).compile()
    done = {(len(rule.lines), dtype.name) for (rule, dtype), loop in compiled._loops.items()
            if loop.update is not compiled._not_compiled}  # fmt: skip
    assert done == {(1, "float32"), (1, "float64"), (2, "float64")}  # with l2, a line more
