"""What an optimizer remembers, as plain data: a run that is cut goes on as if it had not been."""

import copy
import json
import pickle

import numpy as np
import pytest
from optim_cases.problems import Recorded, Smooth, assert_near, tensors, trajectory

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.optim import ClipNorm, GaussianNoise, schedules
from tinygrad_opt.optim.schedules import OnPlateau

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

MAKERS = {
    "SGD": lambda p, **kw: optim.SGD(p, lr=0.1, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, lr=0.1, mu=0.9, **kw),
    "Momentum ema": lambda p, **kw: optim.Momentum(p, lr=0.1, form="ema", **kw),
    "Nesterov": lambda p, **kw: optim.Nesterov(p, lr=0.1, **kw),
    "Nesterov shifted": lambda p, **kw: optim.Nesterov(p, lr=0.1, form="shifted", **kw),
    "Adagrad": lambda p, **kw: optim.Adagrad(p, lr=0.1, initial=0.1, lr_decay=0.1, **kw),
    "RMSProp": lambda p, **kw: optim.RMSProp(p, lr=0.1, **kw),
    "RMSProp all": lambda p, **kw: optim.RMSProp(p, lr=0.1, mu=0.5, centered=True, **kw),
    "Adadelta": lambda p, **kw: optim.Adadelta(p, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, lr=schedules.cosine(0.1, 30), **kw),
    "AMSGrad": lambda p, **kw: optim.AMSGrad(p, **kw),
    "AdamW": lambda p, **kw: optim.AdamW(p, lr=schedules.warmup(15, 0.1), **kw),
    "Adamax": lambda p, **kw: optim.Adamax(p, **kw),
    "NAdam": lambda p, **kw: optim.NAdam(p, **kw),
    "RAdam": lambda p, **kw: optim.RAdam(p, **kw),
    "Rprop": lambda p, **kw: optim.Rprop(p, lr=0.01, **kw),
    "ASGD": lambda p, **kw: optim.ASGD(p, lr=0.1, t0=12, **kw),
    "Lion": lambda p, **kw: optim.Lion(p, weight_decay=0.1, **kw),
    "LAMB": lambda p, **kw: optim.LAMB(p, **kw),
    "LARS": lambda p, **kw: optim.LARS(p, lr=0.1, **kw),
    "Adafactor": lambda p, **kw: optim.Adafactor(p, **kw),
    "Muon": lambda p, **kw: optim.Muon([x for x in p if x[1].ndim == 2], **kw),
    "ScheduleFree": lambda p, **kw: optim.ScheduleFree(p, lr=schedules.warmup(15, 0.1), **kw),
    "ScheduleFree adamw": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, form="adamw", **kw),
    "SAM": lambda p, **kw: optim.SAM(optim.Momentum(p, lr=0.1, **kw), rho=0.1),
    "Lookahead": lambda p, **kw: optim.Lookahead(optim.Adam(p, **kw), k=3),
    "Lookahead of SAM": lambda p, **kw: optim.Lookahead(optim.SAM(optim.SGD(p, lr=0.1, **kw)), k=3),
}  # fmt: skip
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
NOISE = {"transforms": [GaussianNoise(0.01, decay=0.5, seed=4), ClipNorm(3.0)], "l2": 0.01}


def weights(dtype="float64", values=None):
    draw = np.random.default_rng(0)
    values = values or [draw.standard_normal(s).astype(dtype) for s in ((3, 4), (5,))]
    return [(name, tg.Tensor(x, requires_grad=True)) for name, x in zip("wb", values)]


def descend(optimizer, ws, steps):
    for _ in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = sum((tg.cos(w) * w).sum() + 0.5 * (w * w).sum() for _, w in ws)
            loss.backward()
            return loss

        optimizer.step(closure)


def contents(optimizer, ws):
    return [w.numpy() for _, w in ws], optimizer.state_dict()


@everywhere
@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_state_goes_on_bit_for_bit(make, dtype):
    ws = weights(dtype)
    optimizer = make(ws, **NOISE)
    descend(optimizer, ws, 10)
    state, at = optimizer.state_dict(), [w.numpy() for _, w in ws]
    descend(optimizer, ws, 20)
    others = weights(values=at)
    again = make(others, **NOISE)
    again.load_state_dict(through_json(state))
    assert again.t == 10
    descend(again, others, 20)
    np.testing.assert_equal(contents(again, others), contents(optimizer, ws))


@every
@pytest.mark.parametrize("saved_on, loaded_on", [("numpy", "cupy"), ("cupy", "numpy")])
@pytest.mark.parametrize("dtype, bound", [("float32", 1e-5), ("float64", 1e-12)])
def test_a_state_saved_on_one_backend_is_taken_over_to_the_bit_and_goes_on_on_the_other(
    make, saved_on, loaded_on, dtype, bound, cp
):
    """The steps are the same but for norms, which the GPU adds up in another order."""
    courses = [Smooth((3, 4), dtype, 1), Recorded((5,), dtype, 2)]
    with tg.use(saved_on):
        ws = tensors(courses)
        optimizer = make(list(zip("wb", ws)), **NOISE)
        trajectory(optimizer, ws, courses, 10)
        state, at = through_json(optimizer.state_dict()), [w.numpy() for w in ws]
        wanted = trajectory(optimizer, ws, courses, 10, start=10)
    with tg.use(loaded_on):
        ws = [tg.Tensor(x, requires_grad=True) for x in at]
        optimizer = make(list(zip("wb", ws)), **NOISE)
        optimizer.load_state_dict(state)
        np.testing.assert_equal(optimizer.state_dict(), state)
        for path, other in zip(trajectory(optimizer, ws, courses, 10, start=10), wanted):
            assert_near(path, other, bound)


def through_json(state):
    """All but the arrays, which a file would keep beside it."""
    arrays = []

    def without(x):
        if isinstance(x, np.ndarray):
            arrays.append(x)
            return f"array {len(arrays) - 1}"
        if isinstance(x, dict):
            return {k: without(v) for k, v in x.items()}
        return [without(v) for v in x] if isinstance(x, list) else x

    def back(x):
        if isinstance(x, str) and x.startswith("array "):
            return arrays[int(x.split()[1])]
        if isinstance(x, dict):
            return {k: back(v) for k, v in x.items()}
        return [back(v) for v in x] if isinstance(x, list) else x

    return back(json.loads(json.dumps(without(state))))


@everywhere
def test_numbers_of_numpy_come_out_as_plain_numbers():
    optimizer = optim.Momentum(weights(), lr=np.float32(0.5), mu=np.array(0.25))
    (group,) = optimizer.state_dict()["groups"]
    assert json.dumps(group) == '{"lr": 0.5, "mu": 0.25, "l2": 0.0, "names": ["w", "b"]}'


@everywhere
@every
def test_arrays_of_a_state_are_copies_both_ways(make):
    ws = weights()
    optimizer = make(ws)
    descend(optimizer, ws, 4)
    state = optimizer.state_dict()
    kept = copy.deepcopy(state)
    descend(optimizer, ws, 2)
    np.testing.assert_equal(state, kept)
    optimizer.load_state_dict(state)
    descend(optimizer, ws, 2)
    np.testing.assert_equal(state, kept)
    optimizer.load_state_dict(state)
    for flat in optimizer._flat:
        assert all(np.shares_memory(w.data, flat.w) for w in flat.tensors)


@everywhere
@every
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_an_optimizer_and_its_weights_lives_on_by_itself(make, how):
    ws = weights()
    optimizer = make(ws, **NOISE)
    optimizer.watch("w", (0, 0))
    descend(optimizer, ws, 4)
    both = (optimizer, ws)
    again, others = copy.deepcopy(both) if how == "deepcopy" else pickle.loads(pickle.dumps(both))
    for flat in again._flat:
        assert all(np.shares_memory(w.data, flat.w) for w in flat.tensors)
        assert all(np.shares_memory(w.grad, flat.g) for w in flat.tensors)
        assert not any(np.shares_memory(w.data, flat.w) for _, w in ws)
        assert {id(w) for w in flat.tensors} <= {id(w) for _, w in others}
    before = contents(optimizer, ws)
    np.testing.assert_equal(contents(again, others), before)
    descend(again, others, 5)
    np.testing.assert_equal(contents(optimizer, ws), before)
    descend(optimizer, ws, 5)
    np.testing.assert_equal(contents(again, others), contents(optimizer, ws))


@everywhere
def test_a_plateau_that_was_observed_is_loaded_into_the_one_that_the_loop_holds():
    def made():
        plateau, ws = OnPlateau(0.1, factor=0.5, patience=1), weights()
        noise = GaussianNoise(OnPlateau(0.02, factor=0.5, patience=1))
        return plateau, ws, optim.SGD([{"params": ws, "lr": plateau}], lr=0.0, transforms=[noise])

    plateau, ws, optimizer = made()
    for loss in (3.0, 3.0, 3.0, 3.0):
        descend(optimizer, ws, 1)
        plateau.observe(loss)
        optimizer.transforms[0].std.observe(loss)
    state = optimizer.state_dict()
    assert plateau(0) == 0.05
    mine, _, again = made()
    std = again.transforms[0].std
    again.load_state_dict(state)
    assert again.groups[0]["lr"] is mine
    assert again.transforms[0].std is std
    assert std(0) == 0.01
    assert mine == plateau
    for loss in (3.0, 3.0):
        plateau.observe(loss)
        mine.observe(loss)
    assert mine(0) == plateau(0) < 0.05


@everywhere
def test_groups_keep_their_own_numbers_and_what_is_edited_is_saved():
    ws = weights()
    optimizer = optim.NAdam([{"params": ws[:1], "lr": 0.5}, {"params": ws[1:]}], lr=0.1)
    descend(optimizer, ws, 3)
    optimizer.groups[1]["lr"] = 0.25
    state = through_json(optimizer.state_dict())
    again = optim.NAdam([{"params": (a := weights())[:1]}, {"params": a[1:]}], lr=0.3)
    again.load_state_dict(state)
    assert [g["lr"] for g in again.groups] == [0.5, 0.25]
    assert again.state_dict()["carried"] == state["carried"]
    assert state["carried"][0]["P"] != 1.0


@everywhere
def test_a_function_of_your_own_is_saved_by_its_bare_name_and_must_be_given_again():
    def falling(t):
        return 0.1 / (1 + t)

    optimizer = optim.SGD(ws := weights(), lr=falling)
    descend(optimizer, ws, 2)
    state = optimizer.state_dict()
    assert state["groups"][0]["lr"]["function"].endswith("falling")
    with pytest.raises(
        ValueError, match=r"lr was a function of your own .*falling.* give it again"
    ):
        optim.SGD(weights(), lr=0.1).load_state_dict(state)
    again = optim.SGD(weights(), lr=falling)
    again.load_state_dict(state)
    assert again.groups[0]["lr"] is falling
    again = optim.SGD(weights(), lr=falling)
    again.load_state_dict(optim.SGD(weights(), lr=0.7).state_dict())
    assert again.groups[0]["lr"] == 0.7  # what was saved counts


@everywhere
def test_between_train_and_eval_schedule_free_neither_saves_nor_loads():
    ws = weights()
    optimizer = optim.ScheduleFree(ws, lr=0.1)
    descend(optimizer, ws, 3)
    state, at = optimizer.state_dict(), [w.numpy() for _, w in ws]
    optimizer.eval()
    with pytest.raises(RuntimeError, match=r"optimizer\.train\(\)"):
        optimizer.state_dict()
    with pytest.raises(RuntimeError, match=r"optimizer\.train\(\)"):
        optimizer.load_state_dict(state)
    optimizer.train()
    np.testing.assert_equal(contents(optimizer, ws), (at, state))
    optimizer.load_state_dict(state)


# ---- states that do not fit ----------------------------------------------------------------------


def made():
    ws = weights()
    optimizer = optim.NAdam([{"params": ws[:1]}, {"params": ws[1:]}], lr=0.1,
                            transforms=[ClipNorm(1.0)])  # fmt: skip
    descend(optimizer, ws, 2)
    return optimizer, ws


def put(*path, to=None, drop=False):
    """An edit of a state: what stands at the path is set, or removed."""

    def edit(state):
        for key in path[:-1]:
            state = state[key]
        if drop:
            del state[path[-1]]
        else:
            state[path[-1]] = to

    return edit


nan = float("nan")
WRONG = {
    "another optimizer": (put("optimizer", to="Adam"), "optimizer is 'Adam' there and 'NAdam'"),
    "another form": (put("form", to="paper"), "form is 'paper' there and None here"),
    "t negative": (put("t", to=-1), "t is a number of steps, not -1"),
    "t a bool": (put("t", to=True), "t is a number of steps, not True"),
    "t a float": (put("t", to=2.0), "t is a number of steps"),
    "a key missing": (put("t", drop=True), "it has the keys"),
    "a key too many": (put("version", to=2), "it has the keys .*version"),
    "groups a dict": (put("groups", to={}), "groups is a dict"),
    "a group missing": (put("groups", 1, drop=True), "1 groups there, 2 here"),
    "a group no dict": (put("groups", 1, to=3), "group 1 has the keys int"),
    "a hyper-parameter missing": (put("groups", 0, "psi", drop=True), "group 0 has the keys"),
    "one too many": (put("groups", 0, "mu", to=0.9), "group 0 has the keys .*'mu'"),
    "lr negative": (put("groups", 1, "lr", to=-0.1), "group 1: NAdam: lr is in"),
    "lr NaN": (put("groups", 1, "lr", to=nan), "group 1: NAdam: lr is in"),
    "lr a word": (put("groups", 1, "lr", to="fast"), "group 1: NAdam: lr is a number"),
    "an unknown schedule": (
        put("groups", 0, "lr", to={"schedule": "magic"}), "group 0: no schedule is called 'magic'"),
    "a schedule without numbers": (
        put("groups", 0, "lr", to={"schedule": "cosine"}), "group 0: the state of cosine has"),
    "other names": (put("groups", 0, "names", to=["x"]), r"group 0 holds \['x'\] there"),
    "names no list": (put("groups", 0, "names", to=3), "group 0 holds 3 there"),
    "carried NaN": (put("carried", 0, "P", to=nan), "carried is {'P': nan} there"),
    "carried a word": (put("carried", 0, "P", to="1"), "carried is {'P': '1'} there"),
    "carried something else": (put("carried", 0, to={"Q": 1.0}), r"numbers for \['P'\] here"),
    "carried for one group": (put("carried", 1, drop=True), "carried is for 1 groups there, 2"),
    "other transforms": (put("transforms", to=[]), r"transforms is \[\] there"),
    "a parameter missing": (put("slots", "b", drop=True), "b is only here"),
    "a parameter too many": (put("slots", "c", to={}), "c is only there"),
    "a slot missing": (put("slots", "b", "v", drop=True), r"b has the slots \['m'\] there"),
    "a slot too many": (put("slots", "b", "u", to=np.zeros(5)),
                        r"b has the slots \['m', 'u', 'v'\] there"),
    "slots of no kind": (put("slots", "b", to=3), "b has the slots 3 there"),
    "slots without names": (put("slots", "b", to={1: 2, "m": 3}), "b has the slots"),
    "a slot of another shape": (
        put("slots", "w", "m", to=np.zeros((4, 3))), r"slot m of w is float64 \(4, 3\) there"),
    "a slot of another dtype": (
        put("slots", "w", "m", to=np.zeros((3, 4), "float32")), "slot m of w is float32"),
    "a ragged slot": (put("slots", "w", "m", to=[[1.0], [1.0, 2.0]]), "slot m of w"),
}  # fmt: skip


@everywhere
@pytest.mark.parametrize("edit, message", WRONG.values(), ids=WRONG)
def test_a_state_that_does_not_fit_is_refused_whole(edit, message):
    optimizer, ws = made()
    before = contents(optimizer, ws)
    descend(*made(), 3)
    other, others = made()
    descend(other, others, 3)
    state = other.state_dict()
    edit(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(contents(optimizer, ws), before)


@pytest.mark.parametrize("state", [None, [], 3, "state", {}])
def test_what_is_no_state_at_all_is_refused(state):
    with pytest.raises(ValueError, match=r"this state does not fit NAdam:\n- it "):
        made()[0].load_state_dict(state)


@everywhere
def test_all_that_does_not_fit_is_told_at_once():
    optimizer, _ = made()
    state = optimizer.state_dict()
    edits = ["another optimizer", "t negative", "lr NaN", "carried NaN", "a slot of another shape",
             "a parameter too many", "other transforms"]  # fmt: skip
    for name in edits:
        WRONG[name][0](state)
    with pytest.raises(ValueError, match="this state does not fit NAdam:\n- ") as caught:
        optimizer.load_state_dict(state)
    assert len(str(caught.value).splitlines()) == 1 + len(edits)


@everywhere
@pytest.mark.parametrize(
    "edit",
    [put("optimizer", to="SAM"), put("k", to="5"), put("k", to=0), put("alpha", to=7.0),
     put("slow", "w", drop=True), put("slow", "w", to=np.zeros(3)), put("inside", "t", to=-1),
     put("inside", "slots", "w", drop=True), put("extra", to=1)],
)  # fmt: skip
def test_a_wrapper_refuses_whole_too(edit):
    ws = weights()
    optimizer = MAKERS["Lookahead"](ws)
    descend(optimizer, ws, 4)
    before, state = contents(optimizer, ws), optimizer.state_dict()
    edit(state)
    with pytest.raises(ValueError, match="does not fit"):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(contents(optimizer, ws), before)
