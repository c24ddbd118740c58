"""Elementwise transforms inside the update: the bits, errors and states are those of transforms
that work on a scratch copy, and there is neither a copy nor a second pass.

The same list with `Stops` at its end is worked on the copy: nothing behind it is left to fuse.
"""

import copy
import dataclasses
import functools
import itertools
import math
import pickle
import tracemalloc

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.backend import host
from tinygrad_opt.optim import (
    L2,
    ClipNorm,
    ClipValue,
    GaussianNoise,
    Rule,
    Transform,
    blocked,
    compiled,
    schedules,
)
from tinygrad_opt.optim.fused import Fused, chained

inf, nan = math.inf, math.nan
MAKERS = {
    "SGD": lambda p, **kw: optim.SGD(p, lr=0.1, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, lr=0.1, **kw),
    "Nesterov shifted": lambda p, **kw: optim.Nesterov(p, lr=0.1, form="shifted", **kw),
    "Adam": lambda p, **kw: optim.Adam(p, lr=0.1, **kw),
    "NAdam": lambda p, **kw: optim.NAdam(p, lr=0.1, **kw),
    "RMSProp": lambda p, **kw: optim.RMSProp(p, lr=0.1, mu=0.5, centered=True, **kw),
    "Rprop": lambda p, **kw: optim.Rprop(p, lr=0.1, **kw),
    "ScheduleFree": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, form="adamw", **kw),
}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A cache of one test's own, and rules that are compiled only where a test says so."""
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "_loops", {})
    monkeypatch.setattr(compiled, "PATIENCE", inf)


@dataclasses.dataclass
class Stops(Transform):
    """Does nothing, in a way that nobody can read."""

    def __call__(self, parts, t):
        pass


@dataclasses.dataclass
class Scale(Transform):
    """Its names are those of others: lr is an optimizer's, m Adam's slot, limit_2 a second clip's.
    """

    lr: float
    limit_2: float = 1.0

    def rule(w, g, *, lr, limit_2):
        half = lr / 2
        m = g * half
        g = (m + m) * limit_2
        return (g,)


class Larger(Transform):
    def rule(w, g):
        g = np.maximum(g, w)
        return (g,)


CHAINS = {
    "a clip": [ClipValue(0.7)],
    "a penalty": [L2(0.3)],
    "clip, penalty": [ClipValue(0.7), L2(0.3)],
    "penalty, clip": [L2(0.3), ClipValue(0.7)],
    "names twice": [ClipValue(0.7), Scale(1.7, 0.6), ClipValue(0.4), L2(0.3), L2(0.1)],
    "behind a norm": [ClipValue(0.9), ClipNorm(3.0), L2(0.3), ClipValue(0.7)],
}
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


def awkward(size, dtype, seed):
    draw = np.random.default_rng(seed)
    special = draw.choice([0.0, -0.0, nan, inf, -inf, 1e-30, -1e30], size)
    return np.where(draw.random(size) < 0.1, special, draw.standard_normal(size)).astype(dtype)


def weights(size=65, dtype="float64", backend=None):
    values = [np.linspace(-1, 1, size), np.array(-0.0)]
    return [tg.Tensor(v.astype(dtype) if backend is None else backend.array(v.astype(dtype)),
                      requires_grad=True) for v in values]  # fmt: skip


def ran(make, transforms, size, dtype, steps=3, compiling=False, gradients=awkward, **keywords):
    ws = weights(size, dtype)
    optimizer = make(ws, transforms=transforms, **keywords)
    if compiling:
        optimizer.compile()
    for step in range(steps):
        for n, w in enumerate(ws):
            w.grad = gradients(w.size, dtype, 10 * step + n).reshape(w.shape)
        optimizer.step()
    return [x for flat in optimizer._flat for x in (flat.w, *flat.slots.values())]


def assert_same_bits(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        bits = f"u{a.itemsize}"
        assert ((a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))).all()


# ---- bits ----------------------------------------------------------------------------------------


@every_chain
@both_dtypes
@pytest.mark.parametrize("size", [65, 40_000], ids=["plain", "blocks"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_update_with_transforms_in_it_gives_the_bits_of_one_behind_them(
    make, size, dtype, chain
):
    common = {"check_finite": False, "l2": 0.05}
    with np.errstate(all="ignore"):
        apart = ran(make, [*chain, Stops()], size, dtype, **common)
        assert_same_bits(ran(make, chain, size, dtype, **common), apart)


@both_dtypes
@pytest.mark.parametrize("make", [MAKERS["Momentum"], MAKERS["Adam"]])
def test_so_does_the_one_loop_that_numba_makes_of_them(make, dtype, monkeypatch):
    pytest.importorskip("numba")
    chain, common = CHAINS["names twice"], {"check_finite": False, "l2": 0.05}
    apart = ran(make, [*chain, Stops()], 300, dtype, **common)
    monkeypatch.setattr(compiled, "_loops", {})
    assert_same_bits(ran(make, chain, 300, dtype, compiling=True, **common), apart)
    (loop,) = compiled._loops.values()  # `compile()` has compiled what runs, and nothing else runs
    assert loop.update is not compiled._not_compiled
    assert [line.name for line in loop.rule.lines if line.name == "g"] == ["g"] * 6


def test_half_precision_runs_too():
    def gradients(size, dtype, seed):
        return np.random.default_rng(seed).standard_normal(size).astype(dtype)

    chain, given = CHAINS["clip, penalty"], (65, "float16")
    apart = ran(MAKERS["SGD"], [*chain, Stops()], *given, gradients=gradients, l2=0.5)
    assert_same_bits(ran(MAKERS["SGD"], chain, *given, gradients=gradients, l2=0.5), apart)


@both_dtypes
def test_clip_value_cuts_as_numpys_clip_does(dtype):
    g, w = awkward(1000, dtype, 3), awkward(1000, dtype, 4)
    for limit in (0.5, 1e-30, 3.0):
        (got,) = ClipValue.rule(w, g, limit=limit)
        assert_same_bits([got], [np.clip(g, -limit, limit)])


def test_the_order_of_transforms_is_the_order_of_their_lines():
    def moved(*transforms):
        w = tg.Tensor(np.array([2.0]), requires_grad=True)
        optimizer = optim.SGD([w], lr=1.0, transforms=transforms)
        w.grad = np.array([3.0])
        optimizer.step()
        return 2.0 - w.item()

    clip, penalty = ClipValue(1.0), L2(0.25)
    assert moved(clip, penalty) == 1.0 + 0.25 * 2.0
    assert moved(penalty, clip) == 1.0
    assert moved(clip, penalty, ClipValue(1.25)) == 1.25


# ---- names ---------------------------------------------------------------------------------------


def test_a_name_that_is_taken_gets_a_number_and_the_optimizers_own_stay():
    rule, names = chained((ClipValue.rule, Scale.rule, ClipValue.rule, L2.rule),
                          optim.Adam.rule.after(optim.running.coupled))  # fmt: skip
    assert names == ({"limit": "limit"}, {"lr": "lr_2", "limit_2": "limit_2"},
                     {"limit": "limit_3"}, {"l2": "l2_2"})  # fmt: skip
    assert rule.formula.split("; ")[:6] == [
        "g = np.minimum(np.maximum(g, -limit), limit)", "half = lr_2 / 2", "m_2 = g * half",
        "g = (m_2 + m_2) * limit_2", "g = np.minimum(np.maximum(g, -limit_3), limit_3)",
        "g = g + l2_2 * w",
    ]  # fmt: skip
    assert len(set(rule.scalars)) == len(rule.scalars) == 5 + len(optim.Adam.rule.scalars) + 1
    assert rule.results == optim.Adam.rule.results
    assert ClipValue.rule.scalars == ("limit",)  # as it was


def test_a_name_of_its_own_that_looks_like_a_numbered_one_is_not_overrun():
    @Rule
    def twice(w, g, *, limit, limit_2):
        g = limit * g + limit_2
        return (g,)

    rule, names = chained((ClipValue.rule, twice), optim.SGD.rule)
    assert names == ({"limit": "limit"}, {"limit": "limit_3", "limit_2": "limit_2"})
    (w,) = rule(np.ones(1), np.ones(1), limit=0.5, limit_3=2.0, limit_2=0.25, lr=1.0)
    assert w == 1 - (2.0 * 0.5 + 0.25)


def test_the_same_chain_is_the_same_rule_so_that_it_is_compiled_once():
    one, _ = Fused((ClipValue.rule,), ({"limit": 1.0},)).before(optim.SGD.rule)
    two, _ = Fused((ClipValue.rule,), ({"limit": 2.0},)).before(optim.SGD.rule)
    assert one is two
    assert Fused().before(optim.SGD.rule) == (optim.SGD.rule, {})


# ---- no copy, no second pass ---------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "compiled"])
@pytest.mark.parametrize("check", [True, False])
def test_no_copy_of_the_gradient_is_made_and_no_temporary_above_a_block(way, check):
    size = 4_000_000
    w = tg.Tensor(np.ones(size, "float32"), requires_grad=True)
    optimizer = optim.Adam([w], transforms=[ClipValue(0.5), L2(0.1)], check_finite=check)
    w.grad = np.ones(size, "float32")
    if way == "compiled":
        pytest.importorskip("numba")
        optimizer.compile()
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    w.grad[7] = 1e30  # its square is inf: now the check has to look closer
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert optimizer._flat[0]._scratch is None
    assert peak < 8 * blocked.BLOCK * 4  # a few blocks; the vector itself has 16 MB


def test_only_what_stands_behind_the_last_other_transform_is_left_to_the_update():
    def left(*transforms, make=MAKERS["Adam"]):
        optimizer = make(weights(), transforms=transforms)
        found = optimizer._gradients()
        scratch = optimizer._flat[0]._scratch
        assert (found.arrays[0] is optimizer._flat[0].g) == (scratch is None)
        return len(found.made_by), len(found.fused.rules)

    clip, penalty = ClipValue(1.0), L2(0.1)
    assert left() == (0, 0)
    assert left(clip, penalty) == (0, 2)
    assert left(clip, ClipNorm(1.0), penalty) == (2, 1)
    assert left(GaussianNoise(0.1), clip, penalty) == (1, 2)
    assert left(clip, Stops()) == (2, 0)
    assert left(clip, penalty, make=lambda p, **kw: optim.LAMB(p, **kw)) == (2, 0)


@pytest.mark.parametrize("make", [optim.LAMB, optim.Adafactor,
                                  lambda p, **kw: optim.LARS(p, lr=0.1, **kw)])  # fmt: skip
def test_rules_over_whole_tensors_see_the_gradient_that_transforms_made(make):
    def given(w, g):
        return np.clip(g, -0.5, 0.5) + 0.25 * w

    w, v = weights()[0], weights()[0]
    ours, by_hand = make([w], transforms=[ClipValue(0.5), L2(0.25)]), make([v])
    for seed in range(3):
        g = np.random.default_rng(seed).standard_normal(w.shape)
        w.grad, v.grad = g, given(v.data, g)
        ours.step()
        by_hand.step()
    np.testing.assert_array_equal(w.data, v.data)


# ---- what users write ----------------------------------------------------------------------------


@dataclasses.dataclass
class Doubled(ClipValue):
    """A clip that does more than its rule says."""

    def __call__(self, parts, t):
        super().__call__(parts, t)
        for part in parts:
            part.g *= 2


def test_a_transform_with_a_call_of_its_own_is_called_whatever_rule_it_has_inherited():
    w = tg.Tensor(np.array([1.0]), requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0, transforms=[Doubled(0.25)])
    w.grad = np.array([3.0])
    optimizer.step()
    assert w.item() == 1.0 - 2 * 0.25
    assert len(optimizer._gradients().fused.rules) == 0


def test_a_rule_is_all_that_a_transform_needs():
    class Flip(Transform):
        def rule(w, g):
            g = np.where(w < 0, -g, g)
            return (g,)

    w, v = (tg.Tensor(np.array([1.0, -1.0]), requires_grad=True) for _ in range(2))
    fused, apart = optim.SGD([w], 0.5, transforms=[Flip()]), optim.SGD([v], 0.5)
    apart.transforms = [Flip(), Stops()]
    for optimizer, x in ((fused, w), (apart, v)):
        x.grad = np.array([0.5, 0.5])
        optimizer.step()
        np.testing.assert_array_equal(x.data, [0.75, -0.75])
    assert isinstance(Flip.rule, Rule)


def remembers(w, g, v, *, mu):
    v = mu * v + g
    return (g,)


def moves(w, g):
    w = w + g
    g = g + w
    return (g,)


def counts(w, g, *, n=0.0):
    n = n + 1
    g = g * n
    return (g,)


@pytest.mark.parametrize("rule, message", [
    (remembers, "takes w and g and returns"), (moves, "w is only to be read"),
    (counts, "n cannot be carried"), (optim.SGD.rule, "takes w and g and returns"),
    (lambda w, g: (g,), "not a plain function"),
])  # fmt: skip
def test_a_rule_that_is_none_of_a_transform_is_refused_as_its_class_is_defined(rule, message):
    with pytest.raises(TypeError, match=message):
        type("Wrong", (Transform,), {"rule": rule})


def test_a_number_that_is_no_field_is_refused_as_the_transform_is_made():
    @dataclasses.dataclass
    class Misspelt(Transform):
        limit: float

        def rule(w, g, *, limt):
            g = np.minimum(g, limt)
            return (g,)

    with pytest.raises(TypeError, match=r"Misspelt\.rule takes limt, .* fields of Misspelt"):
        Misspelt(1.0)


# ---- numbers -------------------------------------------------------------------------------------


def test_a_schedule_is_asked_once_a_step_for_the_steps_already_taken():
    asked = []

    def limit(t):
        asked.append(t)
        return 1.0 / (1 + t)

    groups = [{"params": weights()}, {"params": weights(dtype="float32"), "lr": 0.5}]
    optimizer = optim.SGD(groups, lr=1.0, transforms=[ClipValue(limit)])
    for step in range(3):
        before = [w.numpy() for group in groups for w in group["params"]]
        for group in groups:
            for w in group["params"]:
                w.grad = np.full(w.shape, 9.0, w.dtype)
        optimizer.step()
        after = [w.numpy() for group in groups for w in group["params"]]
        np.testing.assert_allclose(after[0], before[0] - 1.0 / (1 + step), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(after[2], before[2] - 0.5 / (1 + step), rtol=1e-4, atol=1e-6)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("wrong", [-1.0, 0.0, nan, "1", lambda t: -1.0])
def test_a_number_out_of_its_range_changes_nothing(wrong):
    ws = weights()
    optimizer = optim.Momentum(ws, lr=0.1, transforms=[L2(0.1), ClipValue(0.5)])
    for w in ws:
        w.grad = np.ones(w.shape)
    optimizer.step()
    before, state = [w.numpy() for w in ws], pickle.dumps(optimizer.state_dict()["slots"])
    optimizer.transforms[1].limit = wrong
    with pytest.raises((TypeError, ValueError), match="ClipValue: limit"):
        optimizer.step()
    assert pickle.dumps(optimizer.state_dict()["slots"]) == state
    for w, old in zip(ws, before):
        np.testing.assert_array_equal(w.data, old)


def test_the_state_is_the_same_as_ever_and_a_run_that_is_resumed_goes_on_to_the_bit():
    def made(ws):
        chain = [ClipValue(schedules.exponential(0.5, 0.9)), L2(0.1)]
        return optim.Adam(ws, transforms=chain, l2=0.01)

    def run(ws, optimizer, steps):
        for seed in range(*steps):
            for w in ws:
                w.grad = np.random.default_rng(seed).standard_normal(w.shape)
            optimizer.step()

    ws = weights()
    whole = made(ws)
    run(ws, whole, (0, 3))
    state, there = whole.state_dict(), [w.numpy() for w in ws]
    assert state["transforms"] == [transform.state() for transform in whole.transforms]
    assert set(state["slots"]["0"]) == {"m", "v"}
    run(ws, whole, (3, 6))
    again = [tg.Tensor(w, requires_grad=True) for w in there]
    resumed = made(again)
    resumed.load_state_dict(pickle.loads(pickle.dumps(state)))
    resumed = copy.deepcopy(resumed)
    run(resumed.groups[0]["params"], resumed, (3, 6))
    for a, b in zip(resumed.groups[0]["params"], ws):
        np.testing.assert_array_equal(a.data, b.data)


# ---- the check for NaN and inf -------------------------------------------------------------------

SEEN = {
    "clip": [ClipValue(0.5)],
    "a limit that is none in float32": [ClipValue(1e300)],
    "a penalty": [L2(0.5)],
    "a penalty that overflows": [L2(1e38)],
    "a penalty beyond float32": [L2(1e39)],
    "penalty, clip": [L2(1e38), ClipValue(0.5)],
    "clip, penalty": [ClipValue(0.5), L2(1e38)],
    "all made 0": [Scale(0.0)],
    "scaled up": [Scale(1e10, 1e10)],
    "scaled there and back": [Scale(1e38, 1e-38)],
    "behind a norm": [ClipNorm(1.0), ClipValue(0.5)],
    "the larger of two": [Larger()],
}
VALUES = [0.0, 1.0, 1e30, inf, -inf, nan]


def refused(transforms, g, w, dtype, backend):
    """What the check says of one gradient and weight, among others that are well."""
    ws = weights(3, dtype, backend)
    optimizer = optim.SGD(ws, lr=0.0, transforms=transforms)
    gradient, data = np.array([0.5, -0.5, 0.25], dtype), np.array([0.5, 0.5, -0.5], dtype)
    gradient[1], data[1] = g, w
    ws[0].data, ws[0].grad = backend.array(data), backend.array(gradient)
    ws[1].grad = backend.array(np.ones((), dtype))
    with np.errstate(all="ignore"):
        try:
            optimizer.step()
            optimizer.raise_if_not_finite()
        except FloatingPointError as error:
            return str(error)
    return None


@both_dtypes
@pytest.mark.parametrize("transforms", SEEN.values(), ids=SEEN)
def test_what_is_refused_is_what_was_when_it_was_computed_on_the_copy(transforms, dtype, backend):
    said = []
    for g, w in itertools.product(VALUES, VALUES):
        said.append(refused(transforms, g, w, dtype, backend))
        assert said[-1] == refused([*transforms, Stops()], g, w, dtype, backend), (g, w)
    assert any(said)
    assert not all(said) or transforms in (SEEN["a penalty beyond float32"],)


def test_an_inf_becomes_the_limit_and_a_nan_raises(backend):
    told = functools.partial(refused, [ClipValue(0.5)], w=1.0, dtype="float32", backend=backend)
    assert told(inf) is told(-inf) is None
    assert "NaN or inf" in told(nan)


def test_what_stands_in_the_padding_is_nobodys_gradient(backend):
    """With ε = 0 the weights between the parameters become 0 / 0."""
    ws = weights(3, "float32", backend)
    optimizer = optim.Adam(ws, eps=0.0, transforms=[L2(0.1)])
    for _ in range(3):
        for w in ws:
            w.grad = backend.array(np.ones(w.shape, "float32"))
        optimizer.step()
    assert np.isnan(host(optimizer._flat[0].w)).any()
    optimizer.raise_if_not_finite()
    assert all(np.isfinite(host(w.data)).all() for w in ws)


def test_how_many_of_64_elements_are_a_parameters():
    sizes = (3, 64, 0, 65, 130, 1)
    ws = [tg.Tensor(np.ones(n, "float32"), requires_grad=True) for n in sizes]
    (flat,) = optim.SGD(ws, lr=0.1)._flat
    assert flat.filled().tolist() == [3, 64, 64, 1, 64, 64, 2, 1]
    inside = np.arange(flat.size) % 64 < np.repeat(flat.filled(), 64)
    np.testing.assert_array_equal(inside, flat.w == 1)
