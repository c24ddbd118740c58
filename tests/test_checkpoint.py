"""A run that stopped goes on to the same bits; what does not fit is told before it is loaded."""

import itertools
import json
import math
import pickle
import shutil
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from optim_cases.effects import ALL
from test_optim_state import MAKERS

import tinygrad_opt as tg
from tinygrad_opt import checkpoint, nn, optim
from tinygrad_opt.checkpoint import CheckpointError, load, save
from tinygrad_opt.data import Batches, ClassBalancedBatches
from tinygrad_opt.optim import GaussianNoise, Transform, schedules
from tinygrad_opt.train import History, fit

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

N, CLASSES, EPOCHS = 40, 4, 2
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 6)).astype("float32"), np.arange(N) % CLASSES

OPTIMIZERS = {**MAKERS, "LBFGS": lambda p: optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4)}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def momentum(p, **settings):
    return optim.Momentum(p, lr=0.1, mu=0.9, **settings)


def scheduled(p):
    return optim.AdamW(p, lr=schedules.one_cycle(0.05, 60), l2=0.01,
                       transforms=[GaussianNoise(0.01, seed=3)])  # fmt: skip


def network(seed=0, hidden=8):
    tg.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, hidden), nn.BatchNorm1d(hidden), nn.Tanh(), nn.Dropout(0.3),
                         nn.Linear(hidden, CLASSES))  # fmt: skip


def run_of(make=momentum, seed=0, batches=None):
    """All parts of a run, by the names that `save` and `load` have for them."""
    model = network(seed)
    optimizer = make(model.named_parameters())
    batches = Batches(X, Y, batch_size=4, seed=5) if batches is None else batches
    return SimpleNamespace(model=model, optimizer=optimizer, batches=batches, history=History())


def train(run, epochs=EPOCHS, loss=tg.cross_entropy, **settings):
    left = epochs - len(run.history.epochs)
    fit(run.model, loss, run.optimizer, run.batches, left, history=run.history, **settings)
    return run


def contents(run):
    """All that there is to compare; how long the steps took is not."""
    told = run.history.as_dict()
    del told["step_seconds"]
    generator = tg.backend.generator().bit_generator.state
    position = run.batches.position
    return run.model.state_dict(), run.optimizer.state_dict(), position, told, generator


def kept_at_each_step(run, folder, **settings):
    """Train it, and keep the file that `fit` had written after s steps as folder/s."""
    path = folder / "run.ckpt"

    def keep():
        if path.exists():
            shutil.copy(path, folder / str(run.history.steps))

    def loss(prediction, y):
        if not (folder / str(run.history.steps)).exists():
            keep()  # a step begins, so the one before has been saved
        return tg.cross_entropy(prediction, y)

    train(run, loss=loss, checkpoint=path, **settings)
    keep()
    return contents(run)


def resumed(make, path, batches=None, **settings):
    """A run that starts from other weights, loads all parts and goes on to the end."""
    run = run_of(make, seed=9, batches=batches)
    load(path, **vars(run))
    return contents(train(run, **settings))


# ---- to the same bits ----------------------------------------------------------------------------


def test_the_catalogue_holds_every_optimizer():
    made = [make(network().named_parameters()) for make in OPTIMIZERS.values()]
    assert {type(optimizer).__name__ for optimizer in made} == {*ALL, "LBFGS"}


@everywhere
@every_optimizer
def test_every_optimizer_goes_on_bit_for_bit_within_an_epoch_and_between_two(make, tmp_path):
    wanted = kept_at_each_step(run_of(make), tmp_path, every=7)
    for steps in (7, 10, 14):
        np.testing.assert_equal(resumed(make, tmp_path / str(steps)), wanted)


@pytest.mark.parametrize("make", [momentum, scheduled])
def test_from_each_of_fifty_steps_a_run_goes_on_bit_for_bit(make, tmp_path, record_property):
    wanted = kept_at_each_step(run_of(make), tmp_path, every=1, epochs=5)
    equal = 0
    for steps in range(1, 51):
        np.testing.assert_equal(resumed(make, tmp_path / str(steps), epochs=5), wanted)
        equal += 1
    assert equal == run_steps(wanted) == 50
    record_property("bitwise equal", f"{equal}/50")


def run_steps(found):
    return len(found[3]["step_loss"])


@pytest.mark.parametrize("smooth", [1, 3])
def test_accumulated_steps_begin_again_where_the_last_ended(smooth, tmp_path):
    settings = {"accumulate": 3, "smooth": smooth, "validation": None}
    wanted = kept_at_each_step(run_of(), tmp_path, every=1, **settings)
    assert run_steps(wanted) == 8  # of 3, 3, 3 and 1 batches, twice
    for steps in range(1, 9):
        np.testing.assert_equal(resumed(momentum, tmp_path / str(steps), **settings), wanted)


def test_class_balanced_batches_go_on_where_they_were(tmp_path):
    def batches():
        return ClassBalancedBatches(X, Y, batch_size=2, window=2, seed=1)

    wanted = kept_at_each_step(run_of(batches=batches()), tmp_path, every=7)
    for steps in (7, 14, 20, 21, 35):
        again = resumed(momentum, tmp_path / str(steps), batches())
        np.testing.assert_equal(again, wanted)


@pytest.mark.parametrize("every, step", [(4, 24), (None, 20)])
def test_a_plateau_is_waited_for_across_the_stop(every, step, tmp_path):
    """Its memory is in the schedule; the epoch's loss, which it is told, in the history."""

    def make(p):
        rate = schedules.OnPlateau(0.3, patience=0, factor=0.5, threshold=0.2)
        return optim.SGD(p, lr=rate)

    class Stop(Exception):
        pass

    settings = {"epochs": 6, "validation": (X[:20], Y[:20])}
    wanted = contents(train(run_of(make), **settings))
    run, path = run_of(make), tmp_path / "run.ckpt"

    def loss(prediction, y):
        if run.history.steps == 27:
            raise Stop
        return tg.cross_entropy(prediction, y)

    with pytest.raises(Stop):
        train(run, loss=loss, checkpoint=path, every=every, **settings)
    assert load(path).step == step
    np.testing.assert_equal(resumed(make, path, **settings), wanted)
    assert wanted[1]["groups"][0]["lr"]["value"] < 0.3


def test_a_plateau_that_groups_share_within_a_warmup_hears_each_loss_once_after_the_stop(tmp_path):
    def make(p):
        rate = schedules.warmup(2, schedules.OnPlateau(0.5, factor=0.5, patience=1, threshold=0.9))
        return optim.SGD([{"params": p[:2]}, {"params": p[2:]}], lr=rate)

    wanted = contents(train(run_of(make), epochs=5))
    train(run_of(make), epochs=2, checkpoint=tmp_path / "run.ckpt")
    np.testing.assert_equal(resumed(make, tmp_path / "run.ckpt", epochs=5), wanted)


def own(t):
    return 0.1 / (1 + t)


@dataclass(frozen=True)
class Own(schedules.Schedule):
    levels: tuple

    def at(self, t):
        return self.levels[t % len(self.levels)]


@dataclass
class Shift(Transform):
    """One of the user's own, with what is no number."""

    by: object

    def __call__(self, parts, t):
        pass


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, lr=schedules.warmup(3, own)),
    lambda p: optim.SGD(p, lr=Own((0.1, 0.05))),
    lambda p: optim.SGD(p, lr=schedules.warmup(3, Own((0.1, 0.05)))),
    lambda p: optim.SAM(momentum(p), rho=schedules.warmup(3, own)),
    lambda p: optim.SAM(momentum(p), rho=Own((0.1,))),
    lambda p: optim.Lookahead(momentum(p), alpha=schedules.warmup(3, own, start=0.5)),
    lambda p: momentum(p, transforms=[optim.ClipNorm(schedules.warmup(3, own, start=1.0))]),
    lambda p: momentum(p, transforms=[optim.ClipNorm(Own((1.0, 0.5)))]),
    *[lambda p, by=by: momentum(p, transforms=[Shift(by)])
      for by in ((1, 2), math.nan, math.inf, np.arange(3.0), np.float32(0.1), {"a": (1,)}, "b")],
], ids=range(15))  # fmt: skip
def test_what_is_the_users_own_in_an_optimizer_is_given_again_and_goes_on(make, tmp_path):
    wanted = contents(train(run_of(make)))
    train(run_of(make), epochs=1, checkpoint=tmp_path / "run.ckpt")
    np.testing.assert_equal(resumed(make, tmp_path / "run.ckpt"), wanted)


@everywhere
def test_a_loop_by_hand_goes_on_too(tmp_path):
    def by_hand(run, stop=None):
        for epoch in range(run.batches.epoch, 2):
            for x, y in run.batches:
                run.optimizer.zero_grad()
                tg.cross_entropy(run.model(x), y).backward()
                run.optimizer.step()
                if run.optimizer.t == stop:
                    save(tmp_path / "hand.ckpt", **vars(run), notes={"epoch": epoch})
                    return None
        return contents(run)

    wanted = by_hand(run_of())
    for stop in (3, 10, 13):
        by_hand(run_of(), stop)
        run = run_of(seed=9)
        assert load(tmp_path / "hand.ckpt", **vars(run)).notes == {"epoch": (stop - 1) // 10}
        np.testing.assert_equal(by_hand(run), wanted)


@pytest.mark.parametrize("saved_on, loaded_on", [("numpy", "cupy"), ("cupy", "numpy")])
def test_arrays_come_back_to_where_the_model_is(saved_on, loaded_on, cp, tmp_path):
    with tg.use(saved_on):
        run = train(run_of(scheduled), epochs=1)
        save(tmp_path / "run.ckpt", **vars(run))
    with tg.use(loaded_on):
        other = run_of(scheduled, seed=9)
        load(tmp_path / "run.ckpt", **vars(other))
        assert {tg.backend.name_of(t.data) for t in other.model.parameters()} == {loaded_on}
        np.testing.assert_equal(contents(other), contents(run))


def test_a_file_is_the_same_from_both_backends(cp, tmp_path):
    for name in ("numpy", "cupy"):
        with tg.use(name):
            save(tmp_path / name, **vars(run_of(scheduled)))
    (a, x), (b, y) = (parts_of(tmp_path / name) for name in ("numpy", "cupy"))
    assert a == b
    np.testing.assert_equal(x, y)


# ---- what fit saves ------------------------------------------------------------------------------


def test_fit_saves_every_so_many_steps_and_at_the_end_of_each_epoch(monkeypatch, tmp_path):
    saved = []

    def note(path, *, model, optimizer, batches, history):
        saved.append((optimizer.t, *batches.position, len(history.epochs)))

    monkeypatch.setattr("tinygrad_opt.train.save_checkpoint", note)
    train(run_of(), checkpoint=tmp_path / "run.ckpt", every=5)
    assert saved == [(5, 0, 5, 0), (10, 1, 0, 1), (15, 1, 5, 1), (20, 2, 0, 2)]
    saved.clear()
    train(run_of(), checkpoint=tmp_path / "run.ckpt")
    assert saved == [(10, 1, 0, 1), (20, 2, 0, 2)]
    saved.clear()
    train(run_of(), checkpoint=tmp_path / "run.ckpt", every=4, accumulate=3)
    assert saved == [(4, 1, 0, 1), (8, 2, 0, 2)]  # the steps 4 and 8 end an epoch
    saved.clear()
    train(run_of(), epochs=0, checkpoint=tmp_path / "run.ckpt")
    train(run_of())
    assert saved == []


@pytest.mark.parametrize("settings, error, told", [
    ({"every": 3}, ValueError, "say checkpoint="),
    ({"checkpoint": "a", "every": 0}, ValueError, "every"),
    ({"checkpoint": "a", "batches": [(X, Y)]}, TypeError, "a list does not"),
    ({"checkpoint": "a", "model": network().forward}, TypeError, "a Module, not of a method"),
])  # fmt: skip
def test_fit_refuses_what_it_could_not_resume_before_a_step(settings, error, told, tmp_path):
    run = run_of()
    arguments = {"model": run.model, "batches": run.batches, **settings}
    with pytest.raises(error, match=told):
        fit(loss=tg.cross_entropy, optimizer=run.optimizer, epochs=1, **arguments)
    assert run.optimizer.t == 0


class Stubborn(nn.Module):
    """Has a state of its own, and loads it unless it is told not to."""

    refuses = False

    def __init__(self):
        self.inside = network()
        self.more = {"deep": nn.Linear(2, 2)}
        self.count = 3

    def forward(self, x):
        return self.inside(x)

    def state_dict(self):
        return {**super().state_dict(), "count": np.array(self.count)}

    def load_state_dict(self, state):
        self.count = int(state.pop("count"))
        super().load_state_dict(state)
        self.more["deep"].late = 1
        if self.refuses:
            raise KeyError("I refuse")


class Odd(schedules.Schedule):  # no dataclass, so nobody can tell what is in it
    def at(self, t):
        return 0.1


def stubborn():
    model = Stubborn()
    model.refuses = True
    return model


@pytest.mark.parametrize("change, error, told", [
    (lambda run: setattr(run, "model", stubborn()), CheckpointError, "model: 'I refuse'"),
    (lambda run: run.optimizer.groups[0].update(lr=Odd()), TypeError, "dataclass"),
    (lambda run: run.optimizer.groups[0].update(lr=Fraction(1, 10)), TypeError,
     "optimizer/groups/0/lr is a Fraction"),
    (lambda run: run.optimizer.transforms.append(Shift({1})), TypeError,
     "optimizer/transforms/0/by is a set"),
], ids=["model", "schedule", "number", "transform"])  # fmt: skip
def test_what_could_not_be_loaded_again_is_told_before_a_step(change, error, told, tmp_path):
    run = run_of()
    change(run)
    if run.model.forward.__func__ is Stubborn.forward:
        run.optimizer = momentum(run.model.named_parameters())
    before = run.model.state_dict()
    with pytest.raises(error, match=told) as raised:
        train(run, checkpoint=tmp_path / "run.ckpt")
    assert run.optimizer.t == 0
    np.testing.assert_equal(run.model.state_dict(), before)
    assert not list(tmp_path.iterdir())
    if error is CheckpointError:
        assert "and what is saved there could not be loaded again" in str(raised.value)


@pytest.mark.parametrize("path, error, told", [
    ("no/run.ckpt", FileNotFoundError, "no/run.ckpt'$"), ("", OSError, "directory"),
    (".", OSError, "directory"), (7, TypeError, "a path is a str or a Path, not 7"),
    (b"a", TypeError, "a path is"), (False, TypeError, "a path is"),
    ("kept", OSError, "kept.previous"),
])  # fmt: skip
def test_a_path_that_cannot_be_written_is_told_before_a_step(
    path, error, told, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.previous").mkdir()
    run = run_of()
    with pytest.raises(error, match=told):
        train(run, checkpoint=path)
    assert run.optimizer.t == 0
    if path != "kept":  # where there is nothing yet to be kept
        with pytest.raises(error, match=told):
            save(path, model=run.model)
    assert [name.name for name in tmp_path.iterdir()] == ["kept.previous"]


def test_a_folder_that_is_locked_is_told_before_a_step(tmp_path, monkeypatch):
    def locked(path, mode="r"):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", locked)
    run = run_of()
    with pytest.raises(PermissionError, match=r"/run.ckpt'$"):
        train(run, checkpoint=tmp_path / "run.ckpt")
    assert run.optimizer.t == 0


def test_that_safetensors_is_missing_is_told_before_a_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    run = run_of()
    with pytest.raises(ModuleNotFoundError, match="safetensors"):
        train(run, checkpoint=tmp_path / "run.ckpt")
    assert run.optimizer.t == 0


def test_trying_out_leaves_a_run_and_what_is_on_disk_as_they_were(tmp_path):
    run, path = train(run_of(scheduled), epochs=1), tmp_path / "run.ckpt"
    path.write_text("somebody's own")
    before = contents(run)
    checkpoint.try_out(path, **vars(run))
    np.testing.assert_equal(contents(run), before)
    assert path.read_text() == "somebody's own"
    assert list(tmp_path.iterdir()) == [path]


def test_the_epoch_in_whose_midst_it_stopped_has_the_figures_of_all_its_batches(tmp_path):
    wanted = kept_at_each_step(run_of(), tmp_path, every=7)[3]
    run = run_of()
    load(tmp_path / "7", **vars(run))
    assert run.history.steps == 7
    assert len(run.history.epochs) == 0
    assert train(run).history.loss == wanted["loss"]
    other = run_of()  # without its history, the figures are those of what this run has seen
    load(tmp_path / "7", model=other.model, optimizer=other.optimizer, batches=other.batches)
    assert train(other).history.step_loss == wanted["step_loss"][7:]


def test_the_bar_of_a_resumed_run_is_as_long_as_what_is_left(monkeypatch):
    totals, bar = [], tg.train.Bar

    def noted(shown, label, total):
        totals.append(total)
        return bar(shown, label, total)

    monkeypatch.setattr(tg.train, "Bar", noted)
    run = run_of()
    run.batches.done = 7
    train(run)
    train(run_of())
    assert totals == [13, 20]
    assert run.history.steps == 13


def test_a_gradient_that_a_gpu_has_seen_to_be_nan_is_told_before_it_is_saved(cp, tmp_path):
    with tg.use("cupy"):
        run, path = run_of(), tmp_path / "run.ckpt"

        def loss(prediction, y):
            value = tg.cross_entropy(prediction, y)
            return value * (math.nan if run.history.steps == 5 else 1.0)

        told = r"step 5 \(the first is 0\) was not finite.*the learning rate is 0.1 by now"
        with pytest.raises(FloatingPointError, match=told):
            train(run, loss=loss, checkpoint=path, every=2)
        assert load(path).step == 4


# ---- what comes back -----------------------------------------------------------------------------

STRANGE = {
    "transposed": np.arange(6, dtype="float32").reshape(2, 3).T,
    "strided": np.arange(20, dtype="float64").reshape(4, 5)[::2, 1::3],
    "backward": np.arange(7, dtype="int64")[::-1],
    "broadcast": np.broadcast_to(np.array([1.0, 2.0], "float16"), (3, 2)),
    "Fortran's": np.asfortranarray(np.arange(12, dtype="int32").reshape(3, 4)),
    "turned": np.arange(24, dtype="uint8").reshape(2, 3, 4).transpose(2, 0, 1),
    "a number": np.array(3.5),
    "empty": np.zeros((0, 3), "float32"),
    "yes or no": np.array([[True, False], [False, True]]).T,
    "big-endian": np.arange(4, dtype=">f8"),
    "not finite": np.array([np.nan, np.inf, -np.inf, -0.0]),
}


@pytest.mark.parametrize("x", STRANGE.values(), ids=STRANGE)
def test_an_array_comes_back_with_its_dtype_shape_and_values_however_it_lies(x, tmp_path):
    save(tmp_path / "a.ckpt", notes={"x": x})
    again = load(tmp_path / "a.ckpt").notes["x"]
    assert (again.dtype, again.shape) == (x.dtype.newbyteorder("="), x.shape)
    assert again.tobytes() == x.astype(again.dtype).tobytes()
    again[...] = 0  # the caller's own


@everywhere
def test_weights_that_lie_otherwise_in_memory_are_saved_as_they_read(tmp_path, backend):
    model = network()
    x = np.arange(48, dtype="float32").reshape(8, 6).T
    model.layers[0].weight = tg.Tensor(backend.array(x.T).T, requires_grad=True)
    save(tmp_path / "a.ckpt", model=model)
    other = network()
    load(tmp_path / "a.ckpt", model=other)
    np.testing.assert_array_equal(other.layers[0].weight.numpy(), x)


def test_notes_come_back_as_they_were_and_a_tuple_as_a_list(tmp_path):
    notes = {"nan": math.nan, "inf": [math.inf, -math.inf], "zero": -0.0, "none": None,
             "µ": "ü\ud800", "deep": {"a": [1, {"b": True}], "": []}, "big": 2**200,
             "tiny": 5e-324}  # fmt: skip
    path = tmp_path / "a.ckpt"
    save(path, notes={**notes, "tuple": (1, 2), "numpy": np.float32(0.5), "bool": np.bool_(True)})
    again = load(path).notes
    assert math.copysign(1, again["zero"]) == -1
    assert again.pop("tuple") == [1, 2]
    assert again.pop("numpy") == 0.5
    assert again.pop("bool") is True
    np.testing.assert_equal(again, notes)
    save(path, model=network())
    assert load(path).notes == {}


@pytest.mark.parametrize("notes, told", [
    ({"a": {"b": [0, {1, 2}]}}, "notes/a/b/1 is a set"),
    ({"f": print}, "notes/f is a builtin_function"),
    ({"t": tg.Tensor([1.0])}, "notes/t is a Tensor"),
    ({3: "a"}, "notes has the key 3"),
    ({"z": np.array([1j])}, "complex128"),
    ([1, 2], "notes is a dict, not a list"),
    ({"m": np.ma.masked_array([1.0, 2.0], mask=[0, 1])}, "notes/m is a masked array"),
    ({"d": np.datetime64("2020-01-01")}, "notes/d is a datetime64"),
    ({"d": np.datetime64("2020-01-01T00:00:00", "ns")}, "notes/d is a datetime64"),
    ({"d": np.timedelta64(5, "ns")}, "notes/d is a timedelta64"),
    ({"v": np.zeros(1, [("a", "f4")])[0]}, "notes/v is a void"),
    ({"l": np.longdouble(0.1)}, "notes/l is a longdouble"),
    ({"b": np.bytes_(b"a")}, "notes/b is a bytes_"),
    *[({"a": [np.array(x)]}, "notes/a/0: dtype")
      for x in ([None], ["a"], [1j], np.zeros(1, [("a", "f4")]), np.zeros(1, "M8[ns]"),
                np.zeros(1, "g"))],
])  # fmt: skip
def test_notes_that_would_come_back_as_something_else_are_refused(notes, told, tmp_path):
    with pytest.raises(TypeError, match=told):
        save(tmp_path / "a.ckpt", notes=notes)
    assert not list(tmp_path.iterdir())


def circle():
    found = {}
    found["a"] = [found]
    return found


def deep(levels):
    return {"x": [] if levels == 1 else [deep(levels - 2)]} if levels else []


@pytest.mark.parametrize("notes, told", [
    (circle(), "notes/a/0/a.* is more than 100 lists and dicts deep: does it hold itself"),
    (deep(101), "is more than 100 lists and dicts deep"),
    ({"n": [10**5000]}, "notes/n/0 is an integer of 16610 bits.*save hex"),
    ({"n": -(2**2048)}, "notes/n is an integer of 2049 bits"),
    ({"\ud800": np.ones(1)}, "is no name for an array in UTF-8: rename it"),
    ({"x": "a" * 100_000_001}, "bytes of JSON, of at most 100,000,000: save long lists"),
], ids=["circle", "deep", "huge", "negative", "surrogate", "long"])  # fmt: skip
def test_notes_that_are_too_much_for_a_file_are_refused_with_the_cure(notes, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        save(tmp_path / "a.ckpt", notes=notes)
    assert not list(tmp_path.iterdir())


def test_notes_up_to_the_limits_come_back(tmp_path):
    notes = {"n": 2**2047, "m": -(2**2047), "d": deep(98)}
    save(tmp_path / "a.ckpt", notes=notes)
    assert load(tmp_path / "a.ckpt").notes == notes


@pytest.mark.parametrize("notes", [None, {}])
def test_where_there_is_nothing_to_save_nothing_is_touched(notes, two):
    before = {path: path.read_bytes() for path in two.parent.iterdir()}
    with pytest.raises(ValueError, match="there is nothing to save: give the parts by name"):
        save(two, notes=notes)
    assert {path: path.read_bytes() for path in two.parent.iterdir()} == before


def test_parts_are_given_by_name(two):
    for act, name in ((save, "save"), (load, "load")):
        with pytest.raises(TypeError, match=rf"takes the parts by name: {name}\(path, model=model"):
            act(two, network())


def test_a_slot_that_load_would_refuse_is_not_saved_and_the_old_file_stays(tmp_path):
    """The square of a large gradient is inf in float32, and the weights go on without it."""
    path = tmp_path / "run.ckpt"
    for make in (optim.Adam, lambda p: optim.Lookahead(optim.SAM(optim.Adam(p)))):
        run = run_of(make)
        save(path, **vars(run))
        old = path.read_bytes()
        run.optimizer.zero_grad()
        for t in run.model.parameters():
            t.grad = t.grad + np.float32(1e21)
        inside = run.optimizer
        while isinstance(inside, (optim.SAM, optim.Lookahead)):
            inside = inside.optimizer
        with np.errstate(over="ignore"):
            inside.step()
        assert all(np.isfinite(t.data).all() for t in run.model.parameters())
        with pytest.raises(FloatingPointError, match=r"slot v of layers.0.weight has a NaN or inf"):
            save(path, **vars(run))
        assert path.read_bytes() == old
    run.optimizer = optim.Lookahead(optim.SGD(run.model.named_parameters(), lr=0.1))
    run.optimizer._slow[0][3] = np.nan
    with pytest.raises(FloatingPointError, match=r"slot slow of layers.0.weight has"):
        save(path, **vars(run))


def test_two_arrays_of_one_name_are_refused_and_neither_is_lost(tmp_path):
    notes = {"a/b": {"c": np.ones(2)}, "a": {"b/c": np.zeros(2)}}
    with pytest.raises(ValueError, match="two arrays would be called notes/a/b/c"):
        save(tmp_path / "a.ckpt", notes=notes)


def test_what_is_loaded_is_what_was_asked_for_and_the_rest_is_told(tmp_path):
    path, run = tmp_path / "run.ckpt", train(run_of(), epochs=1)
    save(path, **vars(run), notes={"lr": 0.1})
    other, state = network(seed=9), tg.backend.generator().bit_generator.state
    told = load(path, model=other)
    assert told.left == ("optimizer", "batches", "history", "random")
    assert (told.path, told.step, told.notes) == (path, 10, {"lr": 0.1})
    np.testing.assert_equal(other.state_dict(), run.model.state_dict())
    assert tg.backend.generator().bit_generator.state == state  # for nothing goes on training
    load(path, model=other, random=True)
    assert tg.backend.generator().bit_generator.state != state
    save(path, **vars(run), random=False)
    with pytest.raises(CheckpointError, match="random: it was saved without"):
        load(path, **vars(run))
    assert load(path, **vars(run), random=False).left == ()


def test_the_arrays_can_be_read_by_any_reader_of_safetensors(tmp_path):
    from safetensors.numpy import load_file

    run = train(run_of(), epochs=1)
    save(tmp_path / "run.ckpt", **vars(run))
    arrays = load_file(tmp_path / "run.ckpt")
    for name, x in run.model.state_dict().items():
        np.testing.assert_array_equal(arrays[f"model/{name}"], x)
    v = run.optimizer.state_dict()["slots"]["layers.0.weight"]["v"]
    np.testing.assert_array_equal(arrays["optimizer/slots/layers.0.weight/v"], v)


# ---- what does not fit ---------------------------------------------------------------------------


def refused(path, **parts):
    with pytest.raises(CheckpointError) as error:
        load(path, **parts)
    assert len(error.value.problems) == str(error.value).count("\n- ")
    return error.value.problems


def test_every_problem_of_every_part_is_listed_at_once_and_nothing_changes(tmp_path):
    path = tmp_path / "run.ckpt"
    save(path, **vars(train(run_of(), epochs=1)))
    model = network(seed=9, hidden=7)
    optimizer = optim.SAM(optim.Adam(model.named_parameters()))
    batches = Batches(X[:30], Y[:30], batch_size=5, seed=6, shuffle=False)
    run = SimpleNamespace(model=model, optimizer=optimizer, batches=batches, history=History())
    before = contents(run)
    problems = refused(path, **vars(run))
    for name, shape in (("0.weight", "(6, 8) for one of (6, 7)"),
                        ("0.bias", "(8,) for one of (7,)"),
                        ("1.running_mean", "(8,) for one of (7,)"),
                        ("4.weight", "(8, 4) for one of (7, 4)")):  # fmt: skip
        assert f"model: layers.{name}: shape {shape}" in problems
    assert any(line.startswith("optimizer: this state does not fit SAM") for line in problems)
    for line in ("x is 'float32 (40, 6)' there, 'float32 (30, 6)' here", "seed is 5 there, 6 here",
                 "batch_size is 4 there, 5 here", "shuffle is True there, False here"):  # fmt: skip
        assert f"batches: {line}" in problems
    np.testing.assert_equal(contents(run), before)


@pytest.mark.parametrize("make, told", [
    (lambda p: optim.Nesterov(p, lr=0.1), ["optimizer is 'Momentum' there and 'Nesterov' here"]),
    (lambda p: momentum(p[:3]), ["group 0 holds", "layers.4.weight is only there"]),
    (lambda p: momentum([{"params": p[:2]}, {"params": p[2:]}]), ["1 groups there, 2 here"]),
    (lambda p: momentum(p, transforms=[GaussianNoise(0.1)]), ["transforms is [] there"]),
])  # fmt: skip
def test_another_optimizer_is_told(make, told, tmp_path):
    path, run = tmp_path / "run.ckpt", train(run_of(), epochs=1)
    save(path, **vars(run))
    optimizer = make(network().named_parameters())
    state = optimizer.state_dict()
    problems = refused(path, optimizer=optimizer)
    for words in told:
        assert any(words in line for line in problems), problems
    np.testing.assert_equal(optimizer.state_dict(), state)


def test_what_is_wrong_with_a_wrapper_and_with_what_is_inside_is_listed_together(tmp_path):
    path = tmp_path / "run.ckpt"
    save(path, **vars(run_of(lambda p: optim.Lookahead(optim.SAM(momentum(p)), k=3))))
    model = network(hidden=7)
    optimizer = optim.Lookahead(optim.SAM(optim.SGD(model.named_parameters(), lr=0.1)), k=3)
    problems = refused(path, optimizer=optimizer)
    assert any("optimizer is 'Momentum' there and 'SGD' here" in line for line in problems)
    assert any("fit Lookahead: the slow weights of" in line for line in problems)


def test_a_schedule_of_ones_own_is_given_again_and_else_missed(tmp_path):
    path = tmp_path / "run.ckpt"
    save(path, **vars(train(run_of(lambda p: optim.SGD(p, lr=lambda t: 0.1 / (1 + t))), epochs=1)))
    (problem,) = refused(path, optimizer=optim.SGD(network().named_parameters(), lr=0.1))
    assert "lr was a function of your own" in problem
    optimizer = optim.SGD(network().named_parameters(), lr=lambda t: 0.2 / (1 + t))
    assert load(path, optimizer=optimizer).step == optimizer.t == 10


def test_a_part_that_was_not_saved_is_missed(tmp_path):
    save(tmp_path / "a.ckpt", model=network())
    run = run_of(seed=9)
    before = contents(run)
    problems = refused(tmp_path / "a.ckpt", **vars(run))
    assert [line.partition(":")[0] for line in problems] == [
        "optimizer", "batches", "history", "random"]  # fmt: skip
    assert all("saved without; there are model" in line for line in problems)
    np.testing.assert_equal(contents(run), before)


def test_tied_weights_are_one_and_other_names_are_told(tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model.layers[1].weight = model.layers[0].weight
        return model

    path, model = tmp_path / "a.ckpt", tied()
    save(path, model=model)
    other = tied()
    load(path, model=other)
    np.testing.assert_equal(other.state_dict(), model.state_dict())
    save(path, model=nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    (problem,) = refused(path, model=tied())
    assert problem.endswith("layers.0.weight and layers.1.weight: one tensor, but several values")
    problems = refused(path, model=nn.MLP([4, 4, 4, 4]))
    assert {line[7:].partition(": ")[0] for line in problems} == {"missing"}


def test_a_part_that_is_missed_in_a_file_of_notes_alone_is_told_so(tmp_path):
    save(tmp_path / "a.ckpt", notes={"a": 1})
    (problem,) = refused(tmp_path / "a.ckpt", model=network())
    assert problem == "model: it was saved without; there are notes alone"


def test_a_model_with_a_state_of_its_own_is_loaded_by_its_own_rule(tmp_path):
    path, model, other = tmp_path / "a.ckpt", Stubborn(), Stubborn()
    model.count = 5
    model.inside.layers[0].weight.data += 1
    optimizer = momentum(other.named_parameters())
    save(path, model=model)
    load(path, model=other)
    assert other.count == 5
    np.testing.assert_equal(other.state_dict(), model.state_dict())
    assert all(np.shares_memory(t.data, optimizer._flat[0].w) for t in other.parameters())


@pytest.mark.parametrize("held", [True, False], ids=["of an optimizer", "free"])
def test_a_model_that_refuses_after_it_has_loaded_is_put_back(held, tmp_path):
    path, saved, model = tmp_path / "a.ckpt", run_of(), stubborn()
    saved.model = Stubborn()
    saved.optimizer = momentum(saved.model.named_parameters())
    saved.model.count = 5
    for t in saved.model.parameters():
        t.data += 1
    save(path, **vars(saved))
    run = run_of()
    run.model, arrays = model, [t.data for t in model.parameters()]
    run.optimizer = momentum((model if held else network()).named_parameters())
    arrays = [t.data for t in model.parameters()]
    before, stamps = contents(run), [t.written for t in model.parameters()]
    assert "model: 'I refuse'" in refused(path, **vars(run))
    np.testing.assert_equal(contents(run), before)
    assert [t.written for t in model.parameters()] == stamps
    assert all(a is t.data for a, t in zip(arrays, model.parameters()))
    assert not hasattr(model.more["deep"], "late")


def test_a_model_that_refuses_at_the_second_time_is_put_back_too(tmp_path):
    class Late(Stubborn):
        calls = 0

        def load_state_dict(self, state):
            super().load_state_dict(state)
            Late.calls += 1
            if Late.calls == 2:
                raise ValueError("not again")

    saved, model = Late(), Late()
    saved.count = 5
    saved.inside.layers[0].weight.data += 1
    save(tmp_path / "a.ckpt", model=saved)
    before = model.state_dict()
    assert refused(tmp_path / "a.ckpt", model=model) == ["model: not again"]
    np.testing.assert_equal(model.state_dict(), before)


class Trainer:
    """Its method is a schedule, and it cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()

    def rate(self, t):
        return 0.1

    def __deepcopy__(self, memo):
        raise TypeError("I cannot be copied")

    __call__ = rate


@pytest.mark.parametrize("make", [
    lambda p, by: optim.SGD(p, lr=by.rate), lambda p, by: optim.SGD(p, lr=by),
    lambda p, by: optim.SAM(optim.SGD(p, lr=0.1), rho=schedules.warmup(2, by.rate)),
    lambda p, by: optim.SGD(p, lr=0.1, transforms=[optim.ClipNorm(schedules.warmup(2, by, 0.5))]),
    lambda p, by: optim.SGD(p, lr=0.1, transforms=[optim.ClipNorm(by)]),
], ids=range(5))  # fmt: skip
def test_a_schedule_that_cannot_be_copied_is_shared_with_what_is_tried(make, tmp_path):
    run, by = run_of(), Trainer()
    for each in (run, other := run_of(seed=9)):
        each.optimizer = make(each.model.named_parameters(), by)
    train(run, checkpoint=tmp_path / "run.ckpt")
    load(tmp_path / "run.ckpt", **vars(other))
    np.testing.assert_equal(contents(other), contents(run))


@pytest.mark.parametrize("wrap", [lambda x: x, optim.SAM])
def test_a_transform_that_knows_its_optimizer_has_it_tried_on_another_all_the_same(wrap, tmp_path):
    run = run_of(lambda p: wrap(momentum(p, transforms=[optim.Centralize()])))
    save(tmp_path / "run.ckpt", **vars(run))
    train(run, epochs=1)
    run.optimizer.transforms[0].optimizer = run.optimizer
    run.optimizer.transforms[0].inside = getattr(run.optimizer, "optimizer", run.optimizer)
    run.optimizer.transforms[0].weight = run.model.parameters()[0]
    run.batches, before = Batches(X, Y, batch_size=5), run.optimizer.state_dict()
    assert all(line.startswith("batches: ") for line in refused(tmp_path / "run.ckpt", **vars(run)))
    np.testing.assert_equal(run.optimizer.state_dict(), before)
    assert all(np.shares_memory(t.data, run.optimizer._flat[0].w) for t in run.model.parameters())
    assert all(t.owned() is run.optimizer._flat[0] for t in run.model.parameters())


def test_a_part_that_cannot_be_copied_is_a_problem_of_its_own(tmp_path):
    run = run_of()
    save(tmp_path / "run.ckpt", **vars(run))
    run.optimizer.mine = Trainer()
    assert refused(tmp_path / "run.ckpt", **vars(run)) == ["optimizer: I cannot be copied"]


@pytest.mark.parametrize("part, value", [
    ("model", network().forward), ("optimizer", network()), ("batches", [(X, Y)]),
    ("history", network()), ("history", SimpleNamespace(step_loss=[])),
])  # fmt: skip
def test_what_is_no_such_part_is_a_type_error(part, value, tmp_path):
    path = tmp_path / "a.ckpt"
    for act in (save, load):
        with pytest.raises(TypeError, match=f"{part} is .*, not a {type(value).__name__}"):
            act(path, **{part: value})
    assert not path.exists()


@pytest.mark.parametrize("part, value", [
    ("model", nn.Linear), ("optimizer", optim.SGD), ("batches", Batches), ("history", History),
])  # fmt: skip
def test_a_class_is_no_part(part, value, tmp_path):
    for act in (save, load):
        with pytest.raises(TypeError, match=f"{part} is .*, not the class {value.__name__}: make"):
            act(tmp_path / "a.ckpt", **{part: value})


def test_weights_that_stand_elsewhere_are_neither_saved_nor_loaded(tmp_path):
    path, run = tmp_path / "run.ckpt", train(run_of(lambda p: optim.Nesterov(p, lr=0.1)))
    save(path, **vars(run))
    with run.optimizer.look_ahead():
        for act in (save, load):
            with pytest.raises(RuntimeError, match="stand elsewhere"):
                act(path, **vars(run))
    free = train(run_of(lambda p: optim.ScheduleFree(p, lr=0.1)))
    save(path, **vars(free))
    free.optimizer.eval()
    before = free.model.state_dict()
    with pytest.raises(RuntimeError, match=r"train\(\)"):
        save(path, **vars(free))
    (problem,) = refused(path, **vars(free))
    assert "train()" in problem
    np.testing.assert_equal(free.model.state_dict(), before)


def test_a_history_that_is_none_is_told_and_the_old_one_stays():
    history = train(run_of(), epochs=1).history
    before, state = history.as_dict(), history.state_dict()
    for change in ({"smooth": 0}, {"epochs": [[1.0]]}, {"loss": state["loss"][:-1]},
                   {"step_seconds": state["step_seconds"][:-1]},
                   {"step_batches": state["step_batches"][:-1]},
                   {k: state[k][:-1] for k in ("step_batches", "step_seconds")}):  # fmt: skip
        with pytest.raises(ValueError, match="no state of a History"):
            history.load_state_dict({**state, **change})
        assert history.as_dict() == before


def test_a_history_without_classes_has_no_accuracy_afterwards_either(tmp_path):
    model = nn.Linear(6, 1)
    run = SimpleNamespace(model=model, optimizer=momentum(model.named_parameters()),
                          batches=Batches(X, X[:, :1], 4), history=History())  # fmt: skip
    train(run, epochs=1, loss=tg.mse_loss, checkpoint=tmp_path / "run.ckpt")
    history = History()
    load(tmp_path / "run.ckpt", history=history)
    assert history.as_dict() == run.history.as_dict()
    assert history._steps == run.history._steps
    assert history._settled == history.steps  # all of it is on the host
    assert history._steps[0][0].hits is None


def test_a_validation_loss_that_is_not_finite_is_kept_in_the_history(tmp_path):
    run = run_of()
    run.history.epochs.append(tg.train.Epoch(1.5, None, math.nan, math.inf))
    save(tmp_path / "a.ckpt", history=run.history)
    history = History()
    load(tmp_path / "a.ckpt", history=history)
    np.testing.assert_equal(history.as_dict(), run.history.as_dict())


# ---- the two files -------------------------------------------------------------------------------


def steps_of(path):
    """The step in the file, if it is loaded without a warning."""
    with warnings.catch_warnings(action="error"):
        return load(path).step


@pytest.fixture
def two(tmp_path):
    """run.ckpt of step 10, run.ckpt.previous of step 5."""
    run, path = run_of(), tmp_path / "run.ckpt"
    fit(run.model, tg.cross_entropy, run.optimizer, run.batches, 1, checkpoint=path, every=5)
    assert steps_of(path) == 10
    assert steps_of(path.with_name("run.ckpt.previous")) == 5
    return path


def test_the_last_two_are_there_and_no_other_file(two):
    save(two, **vars(run_of()))
    assert steps_of(two) == 0
    assert steps_of(two.with_name("run.ckpt.previous")) == 10
    assert sorted(path.name for path in two.parent.iterdir()) == ["run.ckpt", "run.ckpt.previous"]


@pytest.mark.parametrize("harm, told", [
    (lambda path: path.unlink(), "run.ckpt is not there"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), "run.ckpt is cut off"),
    (lambda path: path.write_bytes(b""), "run.ckpt is cut off"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "run.ckpt is damaged"),
])  # fmt: skip
def test_where_the_newer_is_damaged_or_missing_the_older_is_loaded_and_said_so(two, harm, told):
    harm(two)
    run = run_of(seed=9)
    told += ".*before it, run.ckpt.previous, of step 5"
    with pytest.warns(RuntimeWarning, match=told) as seen:
        found = load(two, **vars(run))
    assert seen[0].filename == __file__
    assert found.path == two.with_name("run.ckpt.previous")
    assert found.step == run.optimizer.t == 5
    save(two, **vars(run_of()))  # a damaged file does not take the place of a whole one
    assert steps_of(two) == 0
    assert steps_of(two.with_name("run.ckpt.previous")) == 5


def test_where_neither_is_whole_both_are_told(two):
    two.write_bytes(two.read_bytes()[:100])
    two.with_name("run.ckpt.previous").write_bytes(b"")
    newer, older = refused(two)
    assert newer.startswith("run.ckpt is cut off")
    assert older.startswith("run.ckpt.previous is cut off")
    newer, older = refused(two.with_name("other.ckpt"))
    assert "other.ckpt is not there" in newer
    two.unlink()
    two.mkdir()
    assert "run.ckpt cannot be read: Is a directory" in refused(two)[0]


def test_what_does_not_fit_is_no_reason_to_take_the_older(two):
    assert "shape" in refused(two, model=network(hidden=7))[0]


def test_what_was_at_the_path_and_is_no_checkpoint_is_kept_too(tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_text("somebody's own")
    save(path, **vars(run_of()))
    assert (tmp_path / "run.ckpt.previous").read_text() == "somebody's own"
    assert steps_of(path) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_through_a_link_the_two_are_beside_what_it_leads_to(two, tmp_path):
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "link"
    link.symlink_to(two)
    save(link, **vars(run_of()))
    assert link.is_symlink()
    assert steps_of(link) == steps_of(two) == 0
    two.unlink()
    with pytest.warns(RuntimeWarning, match="run.ckpt is not there"):
        assert load(link).step == 10


# ---- files of others -----------------------------------------------------------------------------


def parts_of(path):
    """The JSON and the arrays of a checkpoint."""
    from safetensors.numpy import load as arrays

    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["state"]), arrays(data)


def written(path, content, version="1"):
    """A file with a right digest that `save` would not write."""
    from safetensors.numpy import save as as_bytes

    text = content if isinstance(content, str) else json.dumps(content)
    digest = checkpoint._digest(version, text, {})
    metadata = {"tinygrad_opt": version, "state": text, "sha256": digest}
    path.write_bytes(as_bytes({}, metadata=metadata))


def test_a_newer_format_is_told_and_the_older_file_is_not_taken_for_it(two):
    written(two, {"whatever": 1}, version="2")
    (problem,) = refused(two)
    assert "run.ckpt is of the format 2, and this tinygrad_opt reads 1: update it" in problem
    save(two, **vars(run_of()))  # and it is not lost
    assert "run.ckpt.previous is of the format 2" in refused(two.with_name("run.ckpt.previous"))[0]


@pytest.mark.parametrize("content", [
    "no JSON", "[" * 100_000, {}, [], {"state": {}, "arrays": {"x": ["a"]}},
    {"state": {"notes": {}, "step": 0}, "arrays": {"x": []}}, {"state": {}, "arrays": {}},
])  # fmt: skip
def test_a_file_made_by_something_else_is_a_checkpoint_error(content, tmp_path):
    written(tmp_path / "a.ckpt", content)
    assert "made by something else" in refused(tmp_path / "a.ckpt")[0]


@pytest.mark.parametrize("state", [None, 3, [], {}, {"bit_generator": "MT19937"},
                                   {"optimizer": "SAM", "inside": {"inside": 1}}])  # fmt: skip
def test_parts_that_are_not_what_state_dict_gives_are_problems_of_theirs(state, tmp_path):
    tree = dict.fromkeys(("model", "optimizer", "batches", "history", "random"), state)
    written(tmp_path / "a.ckpt", {"state": {**tree, "notes": {}, "step": 0}, "arrays": {}})
    run = run_of(lambda p: optim.SAM(momentum(p)))
    before = contents(run)
    problems = refused(tmp_path / "a.ckpt", **vars(run))
    assert {line.partition(":")[0] for line in problems} == set(tree)
    np.testing.assert_equal(contents(run), before)


def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path):
    ran = []

    class Trap:
        def __reduce__(self):
            return ran.append, (1,)

    path = tmp_path / "a.ckpt"
    path.write_bytes(pickle.dumps(Trap()) * 10)
    assert "no checkpoint" in refused(path)[0]
    assert ran == []


@pytest.mark.parametrize("change", [
    lambda arrays: {"notes/y": arrays["notes/x"]},
    lambda arrays: {"notes/x": arrays["notes/x"].reshape(1, 2)},
    lambda arrays: {"notes/x": arrays["notes/x"].view("int32")},
    lambda arrays: {**arrays, "more": np.zeros(0)},
])  # fmt: skip
def test_the_digest_is_over_names_shapes_and_dtypes_as_well_as_bytes(change, tmp_path):
    from safetensors.numpy import save as as_bytes

    path = tmp_path / "a.ckpt"
    save(path, notes={"x": np.ones(2, "float32")})
    data = path.read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    path.write_bytes(as_bytes(change(parts_of(path)[1]), metadata=metadata))
    assert "its SHA-256 is not the one" in refused(path)[0]
    digest = checkpoint._digest
    assert digest("1", "23", {}) != digest("12", "3", {})  # no part passes for one of its neighbour


def test_a_file_of_safetensors_that_is_none_of_ours_is_told(tmp_path):
    from safetensors.numpy import save_file

    for metadata in (None, {"format": "pt"}):
        save_file({"w": np.ones(3)}, tmp_path / "a.ckpt", metadata=metadata)
        assert "no checkpoint of tinygrad_opt" in refused(tmp_path / "a.ckpt")[0]


# ---- an interrupt --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's here")
@pytest.mark.parametrize("make", [momentum, lambda p: optim.Lookahead(optim.SAM(optim.Adam(p)))])
def test_an_interrupt_at_whatever_line_of_loading_leaves_all_old_or_all_new(
    make, tmp_path, record_property
):
    path = tmp_path / "run.ckpt"
    new = contents(train(trained := run_of(make), epochs=1))
    save(path, **vars(trained))
    run = train(run_of(make, seed=9), epochs=2)
    old_parts = {name: part.state_dict() for name, part in vars(run).items()}
    generator = tg.backend.generator().bit_generator.state
    old, outcomes = contents(run), {"old": 0, "new": 0}
    for count in itertools.count(step=11):
        raised, before = False, sys.gettrace()
        sys.settrace(interrupted_at(count))
        try:
            load(path, **vars(run))
        except KeyboardInterrupt:
            raised = True
        finally:
            sys.settrace(before)
        now = contents(run)
        is_new = np.array_equal(now[0]["layers.0.weight"], new[0]["layers.0.weight"])
        np.testing.assert_equal(now, new if is_new else old)
        outcomes["new" if is_new else "old"] += 1
        if not raised:
            break
        for name, part in vars(run).items():
            part.load_state_dict(old_parts[name])
        tg.backend.generator().bit_generator.state = generator
    assert is_new
    assert outcomes["old"] > 100
    assert outcomes["new"] > 3
    record_property("outcomes", str(outcomes))


def interrupted_at(count):
    """Press Ctrl-C as soon as `count` lines of the package have been run."""
    left = itertools.count(count, -1)

    def trace(frame, event, arg):
        if "tinygrad_opt" not in frame.f_code.co_filename:
            return None
        if event == "line" and next(left) == 0:
            signal.raise_signal(signal.SIGINT)
        return trace

    return trace
