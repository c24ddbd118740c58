"""A signal in the midst of an update waits for its end: the state is all old or all new."""

import itertools
import os
import random
import signal
import sys
import threading

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray
from tinygrad_opt.optim.atomic import uninterrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's here")


class Stopped(Exception):
    """What the handler of SIGTERM raises here."""


def stop(number, frame):
    raise Stopped


@pytest.fixture(autouse=True)
def handlers():
    """Python's own handler for SIGINT, one that raises for SIGTERM, and the old ones afterwards."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, stop)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SIGNALS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Stopped}
each_signal = pytest.mark.parametrize("number, error", SIGNALS.items(), ids=["SIGINT", "SIGTERM"])


def assert_handlers_are_back():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is stop


@each_signal
def test_a_signal_inside_is_raised_at_the_end_and_the_handlers_are_put_back(number, error):
    done = []
    with pytest.raises(error), uninterrupted():
        signal.raise_signal(number)
        done.append("the rest")
    assert done == ["the rest"]
    assert_handlers_are_back()
    with pytest.raises(error):
        signal.raise_signal(number)


def test_of_two_signals_neither_is_lost_though_the_first_raises():
    seen = []

    def noted(number, frame):
        seen.append(number)
        raise Stopped(number)

    signal.signal(signal.SIGINT, noted)
    signal.signal(signal.SIGTERM, noted)
    with pytest.raises(Stopped), uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert seen == [signal.SIGTERM, signal.SIGINT]


def test_a_handler_that_raises_nothing_is_called_once_and_the_block_goes_on():
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append((number, frame)))
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        assert not seen
    ((number, frame),) = seen
    assert number == signal.SIGINT
    assert frame is not None


def test_an_error_of_the_block_itself_passes_and_the_handlers_are_put_back():
    with pytest.raises(ZeroDivisionError), uninterrupted():
        1 / 0
    assert_handlers_are_back()


def test_handlers_that_are_not_pythons_are_left_alone():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_block_within_a_block_waits_for_the_outer_one():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        done.append("outside of the inner one")
    assert done
    assert_handlers_are_back()


def test_in_another_thread_there_is_nothing_to_do():
    seen = []

    def elsewhere():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))
        optimizer, w = trained()
        w.grad = np.ones(3)
        optimizer.step()
        seen.append(optimizer.t)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, 4]


def trained(form="torch"):
    w = tg.Tensor(np.ones(3), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=0.1, form=form)
    for _ in range(3):
        w.grad = np.ones(3)
        optimizer.step()
    return optimizer, w


# ---- at every moment -----------------------------------------------------------------------------


def at_line(count, number):
    """Raise the signal as soon as `count` lines of the package have been run, of any file."""
    left = itertools.count(count, -1)

    def trace(frame, event, arg):
        if "tinygrad_opt" not in frame.f_code.co_filename:
            return None
        if event == "line" and next(left) == 0:
            signal.raise_signal(number)
        return trace

    return trace


def lines(backend):
    """Those of a step, one after the other; on CuPy, where a step takes long, every third."""
    return itertools.count(step=1 if backend.name == "numpy" else 3)


def states(optimizer, ws):
    return [w.numpy() for w in ws], optimizer.state_dict()


def equal(a, b):
    try:
        np.testing.assert_equal(a, b)
    except AssertionError:
        return False
    return True


def make_two_groups():
    ws = [tg.Tensor(np.linspace(-1, 1, n).astype(d), requires_grad=True)
          for n, d in ((5, "float32"), (70, "float64"), (3, "float64"))]  # fmt: skip
    groups = [{"params": ws[:2]}, {"params": ws[2:], "lr": 0.5}]
    return tg.optim.NAdam(groups, lr=0.1), ws


def make_nesterov():
    ws = [tg.Tensor(np.linspace(-1, 1, 5), requires_grad=True)]
    return tg.optim.Nesterov(ws, lr=0.1), ws


def make_sam():
    ws = [tg.Tensor(np.linspace(-1, 1, 5), requires_grad=True)]
    return tg.optim.SAM(tg.optim.Momentum(ws, lr=0.1)), ws


def make_lookahead():
    ws = [tg.Tensor(np.linspace(-1, 1, 5), requires_grad=True)]
    return tg.optim.Lookahead(tg.optim.Momentum(ws, lr=0.1), k=1), ws


def closure_of(optimizer, ws):
    def closure():
        optimizer.zero_grad()
        loss = (tg.cos(ws[0]) * ws[0]).sum()
        loss.backward()
        return loss

    return closure


def make_lamb():
    ws = [tg.Tensor(np.linspace(-1, 1, n), requires_grad=True) for n in (5, 2)]
    return tg.optim.LAMB(ws, lr=0.1), ws


def one_step(make):
    optimizer, ws = make()
    for n in range(2):
        with optimizer.look_ahead():
            for w in ws:
                w.grad = asarray(np.cos(np.arange(w.size) + n).astype(str(w.dtype)))
        if n == 0:
            optimizer.step()
    return optimizer, ws


@each_signal
@pytest.mark.parametrize("make", [make_two_groups, make_nesterov, make_lookahead, make_lamb])
def test_whatever_line_of_a_step_it_comes_at_all_is_old_or_all_is_new(
    make, number, error, backend
):
    optimizer, ws = one_step(make)
    old = states(optimizer, ws)
    optimizer.step()
    new = states(optimizer, ws)
    outcomes = {"old": 0, "new": 0}
    for count in lines(backend):
        optimizer, ws = one_step(make)
        raised = False
        before = sys.gettrace()
        sys.settrace(at_line(count, number))
        try:
            optimizer.step()
        except error:
            raised = True
        finally:
            sys.settrace(before)
        now = states(optimizer, ws)
        is_old, is_new = equal(now, old), equal(now, new)
        assert is_old != is_new, f"half an update at line {count}"
        assert_handlers_are_back()
        if not raised:
            break
        outcomes["old" if is_old else "new"] += 1
    assert is_new
    assert min(outcomes.values()) > 3
    assert count > 40


def test_signals_from_outside_at_random_moments_of_many_steps_leave_whole_updates():
    """A thread of its own sends them, so that they come between any two instructions."""
    armed = False

    def raise_once(number, frame):  # never outside of the `try` below: there nobody would catch it
        nonlocal armed
        if armed:
            armed = False
            raise Stopped

    for number in SIGNALS:
        signal.signal(number, raise_once)
    w = tg.Tensor(np.zeros(40_000), requires_grad=True)
    optimizer = tg.optim.Momentum([w], lr=1.0, mu=0.5)
    w.grad = np.full(40_000, -1.0)
    draw, caught, steps, over = random.Random(0), 0, 0, threading.Event()

    def bother():
        while not over.wait(draw.random() * 0.002):
            os.kill(os.getpid(), draw.choice(list(SIGNALS)))

    thread = threading.Thread(target=bother)
    thread.start()
    try:
        while caught < 150:
            try:
                armed = True
                optimizer.step()
                armed = False
                steps += 1
            except Stopped:
                caught += 1
            v = optimizer._flat[0].slots["v"]
            assert (w.data == w.data[0]).all()
            assert (v[:40_000] == v[0]).all()
            if optimizer.t < 50:  # v = 2 - 2^(1-t) and w = 2t - v, exactly, where t steps are whole
                v_t = 2 * (1 - 0.5**optimizer.t)
                assert v[0] == v_t
                assert w.data[0] == 2 * optimizer.t - v_t
    finally:
        armed = False
        over.set()
        thread.join()
    assert steps > 0
    assert all(signal.getsignal(number) is raise_once for number in SIGNALS)


@pytest.mark.parametrize("make", [make_nesterov, make_sam])
def test_the_weights_are_never_left_at_the_place_of_the_gradient(make, backend):
    """A step with a closure moves them there and back; Ctrl-C may come in the closure as well."""

    def fresh():
        optimizer, ws = make()
        closure = closure_of(optimizer, ws)
        optimizer.step(closure)
        return optimizer, ws, closure

    optimizer, ws, closure = fresh()
    old = states(optimizer, ws)
    optimizer.step(closure)
    new, seen = states(optimizer, ws), []
    for count in lines(backend):
        optimizer, ws, closure = fresh()
        raised, before = False, sys.gettrace()
        sys.settrace(at_line(count, signal.SIGINT))
        try:
            optimizer.step(closure)
        except KeyboardInterrupt:
            raised = True
        finally:
            sys.settrace(before)
        now = states(optimizer, ws)
        assert equal(now, old) != equal(now, new), f"half an update at line {count}"
        assert_handlers_are_back()
        seen.append(equal(now, new))
        if not raised:
            break
    assert len(seen) > 50
    assert not seen[0]
    assert seen[-1]
