"""The training loop does what the loop by hand does, and what it tells is what happened."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import strict_cupy

import tinygrad_opt as tg
from tinygrad_opt import nn, train
from tinygrad_opt.data import Batches
from tinygrad_opt.optim import SGD, Momentum
from tinygrad_opt.optim.wrappers import Wrapper
from tinygrad_opt.train import History, evaluate, fit

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

N, CLASSES = 26, 3


def classes(dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 4)).astype(dtype), rng.integers(0, CLASSES, N)


def on(backend, *pairs):
    """Pairs (x, y) as batches on that backend."""
    return [tuple(map(backend.array, pair)) for pair in pairs]


def network(dtype="float32", *extra, seed=1):
    tg.manual_seed(seed)
    layers = nn.Linear(4, 6), nn.Tanh(), *extra, nn.Linear(6, CLASSES)
    return nn.Sequential(*layers).astype(dtype)


def momentum(model, lr=0.3, **settings):
    return Momentum(model.named_parameters(), lr, mu=0.8, **settings)


def weights(model):
    return np.concatenate([value.ravel() for value in model.state_dict().values()])


def run(batches, epochs=3, dtype="float64", model=None, **settings):
    """The weights after training a fresh network, and the history."""
    model = network(dtype) if model is None else model
    history = fit(model, tg.cross_entropy, momentum(model), batches, epochs, **settings)
    return weights(model), history


class Recorded:
    """A loss that also notes what it was asked."""

    def __init__(self, loss=tg.cross_entropy):
        self.loss, self.values, self.sizes, self.accuracies = loss, [], [], []

    def __call__(self, prediction, y):
        value = self.loss(prediction, y)
        self.values.append(value.item())
        self.sizes.append(len(y))
        self.accuracies.append(float((prediction.data.argmax(axis=1) == y).mean()))
        return value


# ---- the loop ----


@everywhere
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_is_bit_for_bit_the_loop_by_hand(dtype):
    x, y = classes(dtype)
    model = network(dtype)
    optimizer = momentum(model)
    losses = []
    batches = Batches(x, y, 8, seed=3)
    for _ in range(4):
        for x_batch, y_batch in batches:
            optimizer.zero_grad()
            with optimizer.look_ahead():
                loss = tg.cross_entropy(model(x_batch), y_batch)
                loss.backward()
            optimizer.step()
            losses.append(loss.item())
    after, history = run(Batches(x, y, 8, seed=3), 4, dtype)
    assert np.array_equal(after, weights(model))
    assert history.step_loss == losses
    assert losses[-1] < losses[0]


def test_it_trains_on_every_backend_to_the_same_numbers(backend):
    x, y = classes("float64")
    with tg.use("numpy"):
        expected, by_hand = run(Batches(x, y, 8), validation=(x, y), accumulate=2)
    model = network("float64").to(backend.name)
    after, history = run(Batches(x, y, 8), model=model, validation=(x, y), accumulate=2)
    assert np.allclose(after, expected, rtol=0, atol=1e-12)
    assert np.allclose(history.step_loss, by_hand.step_loss, rtol=0, atol=1e-12)
    assert np.allclose(history.loss, by_hand.loss, rtol=0, atol=1e-12)
    assert np.allclose(history.val_loss, by_hand.val_loss, rtol=0, atol=1e-12)
    assert history.accuracy == by_hand.accuracy
    assert history.val_accuracy == by_hand.val_accuracy


def test_no_step_waits_for_the_gpu():
    def waits(batch_size):
        with strict_cupy.installed(), tg.use("cupy"):
            model = nn.Linear(4, 1).to("cupy")
            optimizer = SGD(model.parameters(), 0.1, check_finite=False)
            batches = Batches(np.ones((24, 4), "f4"), np.ones((24, 1), "f4"), batch_size)
            with strict_cupy.counting() as counts:
                history = fit(model, tg.mse_loss, optimizer, batches, 1)
                return history.steps, counts.synchronisations

    (few_steps, few), (many_steps, many) = waits(12), waits(1)
    assert (few_steps, many_steps) == (2, 24)
    assert few == many


@everywhere
def test_an_optimizer_may_call_the_closure_more_than_once_and_the_first_loss_is_told():
    class Twice(Wrapper):
        """The gradient of a second point, as SAM takes it."""

        def __init__(self, optimizer):
            super().__init__(optimizer)
            self.returned = []

        def step(self, closure):
            first = closure()
            with tg.no_grad():
                for t in self.groups[0]["params"]:
                    t.data = t.data + 0.01
            self.returned.append((first.item(), closure().item()))
            self.optimizer.step()

    x, y = classes()
    model = network()
    twice = Twice(momentum(model))
    history = fit(model, tg.cross_entropy, twice, Batches(x, y, 13), 2, accumulate=2)
    assert np.allclose(history.step_loss, [first for first, _ in twice.returned], rtol=1e-6)
    assert all(first != second for first, second in twice.returned)
    assert history.steps == 2


def test_a_function_of_tensors_is_a_model_too(backend):
    w = tg.Tensor(np.zeros((4, 1)), requires_grad=True)
    x = classes("float64")[0]
    target = x @ np.array([[1.0], [-2.0], [0.5], [0.0]])
    batches = on(backend, (x, target))
    history = fit(lambda x: x @ w, tg.mse_loss, SGD([w], 0.1), batches, 200)
    assert np.allclose(w.numpy().ravel(), [1, -2, 0.5, 0], atol=1e-2)
    assert history.loss[-1] < 1e-4 * history.loss[0]


# ---- accumulate and smooth: two different things ----


@everywhere
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-5)])
def test_accumulated_batches_of_unequal_size_give_the_update_of_one_big_batch(dtype, bound):
    x, y = classes(dtype)  # 26 samples: batches of 8, 8, 8 and 2
    expected, big = run(Batches(x, y, N, seed=5), 6, dtype)
    after, history = run(Batches(x, y, 8, seed=5), 6, dtype, accumulate=4)
    assert np.abs(after - expected).max() < bound
    assert np.allclose(history.step_loss, big.step_loss, rtol=0, atol=bound)
    assert np.abs(after - weights(network(dtype))).max() > 0.1


def test_what_is_left_at_the_end_of_an_epoch_is_a_smaller_update_of_its_own(backend):
    x, y = classes("float64")
    cuts = [slice(0, 8), slice(8, 16), slice(16, 24), slice(24, 26)]
    expected, _ = run(on(backend, (x[:24], y[:24]), (x[24:], y[24:])))
    after, history = run(on(backend, *((x[cut], y[cut]) for cut in cuts)), accumulate=3)
    assert np.abs(after - expected).max() < 1e-12
    assert history.steps == 6


def test_a_group_that_the_epoch_cuts_short_weighs_its_batches_by_their_samples_too(backend):
    x, y = classes("float64")
    expected, big = run(on(backend, (x[:20], y[:20]), (x[20:], y[20:])))
    batches = Batches(x, y, 5, shuffle=False)  # 26 samples: 5, 5, 5, 5 and then 5, 1
    after, history = run(batches, accumulate=4)
    assert np.abs(after - expected).max() < 1e-12
    assert np.allclose(history.step_loss, big.step_loss, rtol=0, atol=1e-12)
    assert np.allclose(history.loss, big.loss, rtol=0, atol=1e-12)


def test_smooth_changes_what_is_told_and_not_one_bit_of_the_weights(backend):
    x, y = classes()
    batches = on(backend, (x[:8], y[:8]), (x[8:16], y[8:16]), (x[16:18], y[16:18]))
    plain, history = run(batches, 4, "float32")
    smoothed, told = run(batches, 4, "float32", smooth=4)
    assert np.array_equal(plain, smoothed)
    assert told.loss == history.loss
    raw, sizes = history.step_loss, [8, 8, 2] * 4
    expected = [
        np.average(raw[max(0, i - 3) : i + 1], weights=sizes[max(0, i - 3) : i + 1])
        for i in range(12)
    ]
    assert np.allclose(told.step_loss, expected, rtol=1e-12)
    assert told.step_loss != raw
    told.smooth = 1
    assert told.step_loss == raw


# ---- the history ----


@everywhere
def test_a_history_has_one_value_an_epoch_and_one_a_step():
    x, y = classes()
    _, history = run(Batches(x, y, 8), 5, "float32", validation=(x, y))
    assert history.steps == len(history.step_loss) == len(history.step_seconds) == 5 * 4
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert len(getattr(history, name)) == 5
        assert all(type(value) is float for value in getattr(history, name))
    assert all(type(value) is float for value in history.step_loss)
    assert all(seconds > 0 for seconds in history.step_seconds)


@everywhere
def test_the_values_of_an_epoch_are_means_over_its_samples():
    x, y = classes()
    model, loss = network(), Recorded()
    history = fit(model, loss, momentum(model), Batches(x, y, 8), 2)
    for epoch in range(2):
        part = slice(4 * epoch, 4 * epoch + 4)
        assert loss.sizes[part] == [8, 8, 8, 2]
        expected = np.average(loss.values[part], weights=loss.sizes[part])
        assert history.loss[epoch] == pytest.approx(expected, rel=1e-12)
        expected = np.average(loss.accuracies[part], weights=loss.sizes[part])
        assert history.accuracy[epoch] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("target", [np.zeros((N, 2), "f4"), np.zeros((N, 2), int), np.zeros(N)])
def test_accuracy_is_empty_where_the_targets_are_no_labels(backend, target):
    x = classes()[0]
    model = nn.Linear(4, 2)
    optimizer = SGD(model.parameters(), 0.01)

    def loss(prediction, y):
        return tg.mse_loss(prediction if y.ndim == 2 else prediction[:, 0], y)

    history = fit(model, loss, optimizer, on(backend, (x, target)), 2, validation=(x, target))
    assert (history.accuracy, history.val_accuracy) == ([], [])
    assert len(history.loss) == len(history.val_loss) == 2


@pytest.mark.parametrize("labels", [np.asarray, list, tg.Tensor])
def test_labels_may_come_from_the_host_or_as_a_tensor(backend, labels):
    x, y = classes()
    model = network()
    right = (model(tg.Tensor(x)).numpy().argmax(axis=1) == y).mean()
    batches = [(backend.array(x), labels(y))]
    history = fit(model, tg.cross_entropy, momentum(model), batches, 1)
    assert history.accuracy == [right]


@everywhere
def test_two_calls_with_one_history_are_one_long_call():
    x, y = classes()
    expected, whole = run(Batches(x, y, 8), 3, "float32", validation=(x, y))
    model = network()
    optimizer, batches, history = momentum(model), Batches(x, y, 8), History()
    for epochs in (1, 2):
        told = fit(model, tg.cross_entropy, optimizer, batches, epochs, validation=(x, y),
                   history=history)  # fmt: skip
        assert told is history
    assert np.array_equal(weights(model), expected)
    assert history.epochs == whole.epochs
    assert history.step_loss == whole.step_loss


def test_an_epoch_without_validation_holds_none_among_those_with(backend):
    model, history = network(), History()
    for validation in (None, classes()):
        fit(model, tg.cross_entropy, momentum(model), on(backend, classes()), 1,
            validation=validation, history=history)  # fmt: skip
    assert history.val_loss[0] is None
    assert history.val_loss[1] > 0
    assert "-" in repr(history).splitlines()[2]


@everywhere
def test_a_history_becomes_json_and_comes_back_equal():
    x, y = classes()
    _, history = run(Batches(x, y, 8), 2, "float32", validation=(x, y), smooth=3)
    data = json.loads(json.dumps(history.as_dict(), allow_nan=False))
    assert data["step_loss"] == history.step_loss
    assert data["val_accuracy"] == history.val_accuracy
    assert data["smooth"] == 3


def test_a_history_prints_as_a_table_of_epochs():
    x, y = classes()
    _, history = run(Batches(x, y, 8), 2, "float32")
    head, names, first, last = repr(history).splitlines()
    assert head == "History: 2 epochs, 8 steps"
    assert names.split() == ["epoch", "loss", "accuracy"]
    assert first.split() == ["1", f"{history.loss[0]:.4g}", f"{history.accuracy[0]:.2%}"]
    assert last.split()[0] == "2"
    _, history = run(Batches(x, y, 8), 40, "float32")
    lines = repr(history).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*"12345", "...", *map(str, range(36, 41))]
    assert repr(History()) == "History: 0 epochs, 0 steps"


# ---- validation and modes ----


class Spy(nn.Module):
    """Passes x on, and notes in which mode it was called and whether a graph was being recorded."""

    def __init__(self):
        self.calls = []

    def forward(self, x):
        self.calls.append((self.training, getattr(x, "requires_grad", False), len(x)))
        return x


def test_validation_runs_in_evaluation_mode_unrecorded_and_in_chunks(backend, monkeypatch):
    monkeypatch.setattr(train, "CHUNK", 10)
    spy = Spy()
    ((x, y),) = on(backend, classes())
    model = network("float32", spy, nn.Dropout(0.5))
    _, history = run([(x, y)], 1, model=model, validation=(x, y))
    assert spy.calls == [(True, True, N), (False, False, 10), (False, False, 10), (False, False, 6)]
    model.eval()
    scores = model(x)
    assert history.val_loss[-1] == pytest.approx(tg.cross_entropy(scores, y).item(), rel=1e-6)
    assert history.val_accuracy[-1] == (scores.numpy().argmax(axis=1) == classes()[1]).mean()


def test_evaluate_gives_the_mean_over_all_samples(backend, monkeypatch):
    monkeypatch.setattr(train, "CHUNK", 10)
    ((x, y),) = on(backend, classes("float64"))
    model = network("float64")
    loss, accuracy = evaluate(model, tg.cross_entropy, x, y)
    scores = model(x)
    assert loss == pytest.approx(tg.cross_entropy(scores, y).item(), rel=1e-12)
    assert accuracy == (scores.numpy().argmax(axis=1) == classes()[1]).mean()
    assert evaluate(model, tg.mse_loss, x, np.zeros((N, CLASSES)))[1] is None
    assert model.training


@pytest.mark.parametrize("training", [True, False])
def test_the_model_trains_in_training_mode_and_ends_in_the_mode_it_came_in(backend, training):
    spy = Spy()
    model = network("float32", spy).train(training)
    run(on(backend, classes()), 1, model=model, validation=classes())
    assert [call[0] for call in spy.calls] == [True, False]
    assert [module.training for module in model.modules()] == [training] * len(model.modules())


def test_a_part_frozen_by_eval_stays_frozen_while_the_rest_trains(backend):
    frozen, spy = Spy(), Spy()
    model = network("float32", frozen, spy)
    frozen.eval()
    run(on(backend, classes()), 1, model=model, validation=classes())
    assert [call[0] for call in frozen.calls] == [False, False]
    assert [call[0] for call in spy.calls] == [True, False]
    assert (model.training, frozen.training, spy.training) == (True, False, True)


# ---- what goes wrong ----


class Explosive(nn.Module):
    """Scores times a factor that is set to infinity, or to 0 under a root, at a chosen call."""

    def __init__(self, at, wrong):
        self.inner, self.at, self.wrong, self.calls = network(), at, wrong, 0

    def forward(self, x):
        self.calls += 1
        scores = self.inner(x)
        if self.calls < self.at:
            return scores
        if self.wrong == "gradient":
            return scores + tg.sqrt(scores * 0)
        return scores * tg.log(scores * 0 + 0.0)  # THE LINE


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_tells_all(accumulate):
    x, y = classes()
    batches = [(x[:8], y[:8]), (x[8:16], y[8:16])] * 2
    steps = 2
    model, reference = Explosive(at=(steps + 1) * accumulate, wrong="loss"), network()
    optimizer = momentum(model)
    history = History()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
        fit(model, tg.cross_entropy, optimizer, batches * 2, 1, accumulate, history=history)
    fit(reference, tg.cross_entropy, momentum(reference), (batches * 2)[: steps * accumulate], 1,
        accumulate)  # fmt: skip
    assert np.array_equal(weights(model), weights(reference))
    assert optimizer.t == steps == history.steps
    assert history.epochs == []
    text = str(caught.value)
    assert "the loss is nan" in text
    assert f"step {steps} (the first is 0), in epoch 1" in text
    assert f"the last finite loss was {history.step_loss[-1]:.6g}" in text
    assert "the learning rate is 0.3" in text
    lines = Path(__file__).read_text("utf-8").splitlines()
    line = next(n for n, line in enumerate(lines, 1) if line.endswith("# THE LINE"))
    assert "log made" in text
    assert f"{__file__}:{line}" in text


def test_a_gradient_that_is_not_finite_is_told_with_step_and_learning_rate_too():
    x, y = classes()
    model = Explosive(at=3, wrong="gradient")
    optimizer = Momentum(model.named_parameters(), lambda t: 0.5 / (1 + t))
    history = History()
    before = []

    def loss(prediction, y):
        before[:] = [weights(model)]
        return tg.cross_entropy(prediction, y)

    with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
        fit(model, loss, optimizer, [(x, y)], 5, history=history)
    assert np.array_equal(weights(model), before[0])
    assert "gradient of" in str(caught.value)
    assert "step 2 (the first is 0), in epoch 3" in str(caught.value)
    assert f"the learning rate is {0.5 / 3:g}" in str(caught.value)
    assert len(history.epochs) == 2


def test_weights_that_are_nan_already_are_not_blamed_on_an_op():
    x, y = classes()
    model = network()
    model.parameters()[0].data = model.parameters()[0].data * np.float32("nan")
    with pytest.raises(FloatingPointError, match=r"no op makes it .* no loss before"):
        run([(x, y)], 1, model=model)


def test_a_gpu_that_is_not_waited_for_tells_of_its_nan_at_the_end_of_the_epoch(cp):
    with tg.use("cupy"):
        model = nn.Linear(4, 1).to("cupy")
        optimizer = SGD(model.parameters(), 0.1, check_finite=False)
        x = np.ones((6, 4), "f4")
        x[4:] = 3e38
        batches = Batches(x, np.ones((6, 1), "f4"), 2, shuffle=False)
        told = r"loss of step 2 .*; the learning rate is 0\.1 by now$"
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=told):
            fit(model, tg.mse_loss, optimizer, batches, 1)


def test_a_gpu_tells_of_a_gradient_that_was_not_finite_at_the_end_of_the_epoch(cp):
    with tg.use("cupy"):
        model = nn.Linear(4, 1).to("cupy")
        optimizer = SGD(model.parameters(), 0.1)

        def loss(prediction, y):  # finite, with an infinite slope
            return tg.sqrt(tg.square(prediction - prediction.detach())).mean()

        batches = Batches(np.ones((2, 4), "f4"), np.ones((2, 1), "f4"), 2)
        told = r"at step 0;.*; the learning rate is 0\.1 by now$"
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=told):
            fit(model, loss, optimizer, batches, 1)


def test_an_interrupt_leaves_the_weights_of_the_last_whole_step_and_its_history(backend):
    x, y = classes()
    batches = on(backend, (x[:8], y[:8]), (x[8:16], y[8:16]), (x[16:], y[16:]))

    class Interrupted(Recorded):
        def __call__(self, prediction, y):
            value = super().__call__(prediction, y)
            if len(self.values) == 6:
                raise KeyboardInterrupt
            return value

    model, history = network().eval(), History()
    with pytest.raises(KeyboardInterrupt):
        fit(model, Interrupted(), momentum(model), batches, 4, history=history)
    assert (len(history.epochs), history.steps) == (1, 5)
    assert not model.training

    reference = network()
    optimizer = momentum(reference)
    for part in (batches, batches[:2]):
        fit(reference, tg.cross_entropy, optimizer, part, 1)
    assert np.array_equal(weights(model), weights(reference))

    fit(model, tg.cross_entropy, momentum(model), batches, 1, history=history)
    assert history.loss[1] == pytest.approx(np.average(history.step_loss[5:], weights=[8, 8, 10]))


BAD = [
    ({"epochs": -1}, ValueError, "epochs is an integer of 0 or more, not -1"),
    ({"epochs": 1.0}, ValueError, "epochs is an integer"),
    ({"accumulate": 0}, ValueError, "accumulate is an integer of 1 or more, not 0"),
    ({"smooth": 0}, ValueError, "smooth is an integer of 1 or more, not 0"),
    ({"validation": classes()[0]}, ValueError, r"validation is a pair \(x, y\)"),
    ({"validation": (*classes(), 1)}, ValueError, r"validation is a pair \(x, y\)"),
    ({"validation": (classes()[0], [1])}, ValueError, "x has 26 samples, y has 1"),
    ({"validation": ([[math.nan]], [1])}, ValueError, "validation: x holds nan in row 0"),
    ({"batches": iter([classes()]), "epochs": 2}, TypeError, "used up after one of the 2 epochs"),
    ({"batches": []}, ValueError, "epoch 1 has no batches"),
    ({"batches": [(*classes(), 1)]}, ValueError, r"a pair \(x, y\), not 3 parts"),
    ({"batches": classes()}, ValueError, r"a pair \(x, y\), not ndarray"),
    ({"loss": lambda p, y: p}, TypeError, r"one number, the mean of a batch, not shape \(26, 3\)"),
    ({"loss": lambda p, y: 1.0}, TypeError, "one number, the mean of a batch, not float"),
]


@pytest.mark.parametrize(("wrong", "error", "text"), BAD, ids=lambda value: None)
def test_bad_arguments_are_told_before_anything_changes(backend, wrong, error, text):
    model = network()
    optimizer, before = momentum(model), weights(model)
    good = {"loss": tg.cross_entropy, "batches": on(backend, classes()), "epochs": 1}
    with pytest.raises(error, match=text):
        fit(model, optimizer=optimizer, **{**good, **wrong})
    assert np.array_equal(weights(model), before)
    assert optimizer.t == 0
    assert model.training


def test_a_loss_and_an_optimizer_in_each_others_place_are_told():
    model = network()
    with pytest.raises(TypeError, match=r"the optimizer is one of tg\.optim, not a function"):
        fit(model, momentum(model), tg.cross_entropy, [classes()], 1)


def test_an_optimizer_of_another_model_is_refused_and_one_of_a_part_is_not(backend):
    model, other, batches = network(), network(), on(backend, classes())
    with pytest.raises(ValueError, match="Momentum holds none of the parameters of"):
        fit(model, tg.cross_entropy, momentum(other), batches, 1)
    first = model.state_dict()
    last_layer = model.parameters()[2:]
    fit(model, tg.cross_entropy, SGD(last_layer, 0.1), batches, 1)
    changed = [name for name, value in model.state_dict().items()
               if not np.array_equal(value, first[name])]  # fmt: skip
    assert len(changed) == 2


def test_no_epochs_change_nothing_and_a_generator_serves_for_one(backend):
    model, batches = network(), on(backend, classes())
    before = weights(model)
    assert fit(model, tg.cross_entropy, momentum(model), [], 0).epochs == []
    assert np.array_equal(weights(model), before)
    assert len(fit(model, tg.cross_entropy, momentum(model), iter(batches), 1).loss) == 1


# ---- the progress bar ----


@everywhere
def test_progress_goes_to_stderr_if_asked_for_and_nowhere_else(capsys):
    x, y = classes()
    _, history = run(Batches(x, y, 8), 2, "float32", progress=True, label="[digits]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "[digits]" in err
    assert "epoch 2/2" in err
    assert f"loss {history.step_loss[-1]:.4g}" in err
    for progress in (False, None):  # None: stderr is no terminal here
        run(Batches(x, y, 8), 1, "float32", progress=progress)
    assert capsys.readouterr() == ("", "")


def test_epochs_are_counted_from_the_beginning_of_the_history_that_is_gone_on_with(capsys):
    (x, y), model = classes(), network()
    _, history = run(Batches(x, y, 8), 2, model=model)
    run(Batches(x, y, 8), 3, model=model, history=history, progress=True)
    told = capsys.readouterr().err
    assert "epoch 5/5" in told
    assert "/3" not in told
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="in epoch 6; the last"):
        run([(x * np.nan, y)], 1, model=model, history=history)
    with pytest.raises(ValueError, match="epoch 6 has no batches"):
        run([], 1, model=model, history=history)


def test_the_bar_reads_losses_a_few_times_a_second_and_not_at_every_step(
    backend, monkeypatch, capsys
):
    read, now = [], [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    original = History.loss_at
    monkeypatch.setattr(History, "loss_at", lambda self, n: (read.append(n), original(self, n))[1])

    def loss(prediction, y):
        now[0] += 0.01
        return tg.cross_entropy(prediction, y)

    model = network()
    fit(model, loss, momentum(model), on(backend, classes()) * 100, 1, progress=True)
    assert 4 <= len(read) <= 6  # one second, four times, and once at the end


# ---- optimizers that want more than a step -------------------------------------------------------


def test_a_schedule_that_waits_for_a_plateau_hears_the_loss_of_each_epoch(backend):
    x, y = classes("float64")
    model, lr = network("float64"), tg.optim.schedules.OnPlateau(0.5, factor=0.1, patience=1)
    optimizer = SGD(model.parameters(), lr=lr)
    history = fit(model, tg.cross_entropy, optimizer, Batches(x, y, 26, shuffle=False), 3)
    assert lr(0) == 0.5
    assert lr.best == min(history.loss)
    flat = lambda p, y: tg.cross_entropy(p, y) * 0 + 9.0
    fit(model, flat, optimizer, on(backend, (x, y)), 2)
    assert lr(0) == 0.05


@everywhere
def test_the_validation_loss_is_what_a_plateau_is_told_if_there_is_one():
    x, y = classes("float64")
    model, lr = network("float64"), tg.optim.schedules.OnPlateau(0.5)
    history = fit(model, tg.cross_entropy, SGD(model.parameters(), lr=lr), Batches(x, y, 8), 3,
                  validation=classes("float64", seed=9))  # fmt: skip
    assert lr.best == min(history.val_loss)
    assert lr.best != min(history.loss)


@everywhere
def test_an_average_of_weights_is_what_is_validated_and_training_goes_on_as_if_it_were_not():
    (x, y), held_out = classes("float64"), classes("float64", seed=9)

    def trained(validation):
        model = network("float64")
        optimizer = tg.optim.ScheduleFree(model.parameters(), lr=0.5)
        history = fit(model, tg.cross_entropy, optimizer, Batches(x, y, 8), 2,
                      validation=validation)  # fmt: skip
        return model, optimizer, history

    model, optimizer, history = trained(held_out)
    np.testing.assert_array_equal(weights(model), weights(trained(None)[0]))
    at_y = evaluate(model, tg.cross_entropy, *held_out)[0]
    optimizer.eval()
    assert history.val_loss[-1] == evaluate(model, tg.cross_entropy, *held_out)[0] != at_y


@pytest.mark.parametrize("name", ["Nesterov", "SAM", "Lookahead", "LBFGS", "Adam", "Muon"])
def test_one_loop_trains_with_optimizers_of_every_kind(backend, name):
    model = network("float64")
    params = model.parameters()
    matrices = [t for t in params if t.ndim == 2]
    optimizer = {
        "Nesterov": lambda: tg.optim.Nesterov(params, lr=0.1),
        "SAM": lambda: tg.optim.SAM(SGD(params, lr=0.3)),
        "Lookahead": lambda: tg.optim.Lookahead(SGD(params, lr=0.3), k=2),
        "LBFGS": lambda: tg.optim.LBFGS(params, line_search_fn="strong_wolfe"),
        "Adam": lambda: tg.optim.Adam(params, lr=0.02),
        "Muon": lambda: tg.optim.Muon(matrices, lr=0.05),
    }[name]()
    history = fit(model, tg.cross_entropy, optimizer, on(backend, classes("float64")), 12)
    assert history.loss[-1] < 0.9 * history.loss[0]
    assert optimizer.t == history.steps == 12
