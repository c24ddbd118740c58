"""Each warning comes where its mistake is made, in the words of this file, and at no near miss."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.data.checks import look_for_sorted_classes
from tinygrad_opt.suspicions import ForgottenZeroGrad, SoftmaxTwice, SortedData, Suspicion

X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
Y = np.array([0, 2, 1, 1, 0, 2])


def prepared(backend, **how):
    """A model, its loss, ready to be walked, and an optimizer."""
    tg.manual_seed(0)
    model = tg.nn.MLP([4, 3])
    optimizer = tg.optim.Momentum(model.parameters(), lr=0.1, **how)
    x, y = backend.array(X), backend.array(Y)
    return model, lambda: tg.cross_entropy(model(x), y), optimizer


# ---- TGO-W01 -------------------------------------------------------------------------------------

FORGOTTEN = (
    r"^TGO-W01: these gradients were added to those of the last step: call "
    r"optimizer\.zero_grad\(\) before backward\(\)\. Without it you train with momentum μ = 1: "
    r"nothing ever slows down$"
)


def test_a_forgotten_zero_grad_is_noticed_at_the_user_s_line(backend):
    _, loss, optimizer = prepared(backend)
    loss().backward()
    optimizer.step()
    loss().backward()
    with pytest.warns(ForgottenZeroGrad, match=FORGOTTEN) as caught:
        optimizer.step()
    assert [w.filename for w in caught] == [__file__]


def test_it_is_noticed_though_only_one_of_the_layers_kept_its_gradient(backend):
    model, loss, optimizer = prepared(backend)
    loss().backward()
    optimizer.step()
    model.layers[0].weight.grad = np.zeros_like(model.layers[0].weight.numpy()).tolist()
    loss().backward()
    with pytest.warns(ForgottenZeroGrad):
        optimizer.step()


def test_as_an_error_it_leaves_weights_and_gradients_as_they_were(backend):
    model, loss, optimizer = prepared(backend)
    loss().backward()
    optimizer.step()
    loss().backward()
    before = [backend.host(a).copy() for t in model.parameters() for a in (t.data, t.grad)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", Suspicion)
        with pytest.raises(ForgottenZeroGrad):
            optimizer.step()
    after = [backend.host(a) for t in model.parameters() for a in (t.data, t.grad)]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    plainly(model, loss, optimizer)


def plainly(model, loss, optimizer):
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()


def accumulating(model, loss, optimizer):
    optimizer.zero_grad()
    loss().backward()
    loss().backward()
    optimizer.step()


def looking_at_the_zeros(model, loss, optimizer):
    optimizer.zero_grad()
    assert not model.parameters()[0].grad.any()
    loss().backward()
    optimizer.step()


def zeroed_by_the_model(model, loss, optimizer):
    model.zero_grad()
    loss().backward()
    optimizer.step()


def zeroed_by_hand(model, loss, optimizer):
    for t in model.parameters():
        t.grad = None
    loss().backward()
    optimizer.step()


def by_closure(model, loss, optimizer):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def accumulating_ahead(model, loss, optimizer):
    optimizer.zero_grad()
    for _ in range(2):
        with optimizer.look_ahead():
            loss().backward()
    optimizer.step()


def loading_between(model, loss, optimizer):
    optimizer.zero_grad()
    loss().backward()
    model.load_state_dict(model.state_dict())
    loss().backward()
    optimizer.step()


def walked_through_by_another_loss(model, loss, optimizer):
    """As the generator's loss walks through the discriminator, whose gradients nobody uses."""
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()
    loss().backward()


HEALTHY = [plainly, walked_through_by_another_loss, accumulating, looking_at_the_zeros,
           zeroed_by_the_model, zeroed_by_hand, by_closure, accumulating_ahead,
           loading_between]  # fmt: skip


def test_zeros_written_in_place_are_zeros():
    """On a GPU nobody waits to see them."""
    model, loss, optimizer = prepared(SimpleNamespace(array=np.asarray))
    for _ in range(3):
        loss().backward()
        optimizer.step()
        for t in model.parameters():
            t.grad[...] = 0


@pytest.mark.parametrize("step", HEALTHY, ids=lambda f: f.__name__)
def test_a_healthy_loop_is_not_suspected(backend, step):
    model, loss, optimizer = prepared(backend)
    for _ in range(3):
        step(model, loss, optimizer)  # a warning is an error in these tests


@pytest.mark.parametrize("name", ["Nesterov", "LBFGS", "SAM", "Lookahead", "ScheduleFree"])
def test_no_optimizer_suspects_its_own_steps(name):
    tg.manual_seed(0)
    model = tg.nn.MLP([4, 3])
    make = getattr(tg.optim, name)
    inner = () if name in ("SAM", "Lookahead") else {"lr": 0.1}
    optimizer = (make(tg.optim.SGD(model.parameters(), lr=0.1)) if inner == () else
                 make(model.parameters(), **inner))  # fmt: skip
    for _ in range(4):
        by_closure(model, lambda: tg.cross_entropy(model(X), Y), optimizer)


def test_gradients_that_no_optimizer_holds_add_up_in_silence(backend):
    model = tg.nn.MLP([4, 3])
    for _ in range(3):
        tg.cross_entropy(model(backend.array(X)), backend.array(Y)).backward()
        with tg.no_grad():
            for t in model.parameters():
                t -= 0.1 * t.grad


# ---- TGO-W02 -------------------------------------------------------------------------------------


def test_a_softmax_before_cross_entropy_is_noticed_with_the_least_loss_that_it_leaves(backend):
    scores = tg.Tensor(backend.array(X[:, :3]), requires_grad=True)
    text = (r"^TGO-W02: cross_entropy takes raw scores, and these come from a softmax: leave that "
            r"out\. With it, the loss cannot go below 0\.5514 for 3 classes$")  # fmt: skip
    with pytest.warns(SoftmaxTwice, match=text) as caught:
        tg.cross_entropy(tg.softmax(scores), backend.array(Y))
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_the_least_loss_that_is_told_is_that_of_certain_and_right_probabilities(classes):
    certain = tg.Tensor(np.eye(classes) * 1e4, requires_grad=True)
    with pytest.warns(SoftmaxTwice) as caught:
        loss = tg.cross_entropy(tg.softmax(certain), np.arange(classes))
    assert f"below {loss.item():.4g} for {classes} classes" in str(caught[0].message)


@pytest.mark.parametrize("scores", [
    lambda x: x,
    lambda x: x * 1.0,
    lambda x: tg.log_softmax(x),  # its softmax is the same again
    lambda x: tg.softmax(x) @ np.eye(3, dtype="float32"),  # a layer stands between
    lambda x: tg.softmax(x.detach()),  # nothing is trained there
], ids=["raw", "scaled", "log", "layer", "detached"])  # fmt: skip
def test_other_scores_are_not_suspected(scores):
    x = tg.Tensor(X[:, :3], requires_grad=True)
    tg.cross_entropy(scores(x), Y)


# ---- TGO-W03 -------------------------------------------------------------------------------------


def fitted(x, y, batch_size, **how):
    """Batches, trained on for an epoch."""
    tg.manual_seed(0)
    model = tg.nn.MLP([x.shape[1], 40])
    loss = tg.cross_entropy if y.ndim == 1 and y.dtype.kind == "i" else (
        lambda prediction, _: prediction.mean())  # fmt: skip
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    tg.train.fit(model, loss, optimizer, tg.data.Batches(x, y, batch_size, **how), epochs=1)


def test_training_in_the_order_of_the_classes_is_noticed_at_the_user_s_line():
    labels = np.repeat(np.arange(4), 16)
    x = np.zeros((64, 2), "float32")
    text = (
        r"^TGO-W03: the first 8 batches hold a single class each, of 4 in all: the samples are "
        r"sorted\. Take shuffle=True, or the network unlearns one class on the next$"
    )
    model = tg.nn.MLP([2, 4])
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    batches = tg.data.Batches(x, labels, 8, shuffle=False)
    with pytest.warns(SortedData, match=text) as caught:
        tg.train.fit(model, tg.cross_entropy, optimizer, batches, epochs=1)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("labels, batch_size, how", [
    (np.repeat(np.arange(4), 16), 8, {}),  # shuffled
    (np.tile(np.arange(4), 16), 8, {"shuffle": False}),  # mixed
    (np.zeros(64, int), 8, {"shuffle": False}),  # one class is all there is
    (np.tile(np.arange(32), 2), 2, {"shuffle": False}),
    (np.repeat(np.arange(4), 16), 1, {"shuffle": False}),  # a batch of one holds one class
    (np.repeat(np.arange(4), 16), 64, {"shuffle": False}),  # all in one batch
    (np.array([0, 0, 1, 1, 0, 1, 1, 0]), 2, {"shuffle": False}),  # two such batches may be chance
    (np.repeat(np.arange(4.0), 16), 8, {"shuffle": False}),  # numbers, not classes
    (np.repeat(np.arange(4), 16)[:, None], 8, {"shuffle": False}),
], ids=str)  # fmt: skip
def test_other_batches_are_not_suspected(labels, batch_size, how):
    fitted(np.zeros((64, 2), "float32")[: len(labels)], labels, batch_size, **how)


def test_sorted_samples_may_be_measured_on():
    for _ in tg.data.Batches(np.zeros((64, 2)), np.repeat(np.arange(4), 16), 8, shuffle=False):
        pass


def test_samples_in_no_order_are_suspected_less_than_once_in_a_thousand_data_sets():
    """By design once in a million, whatever the batch size and the number of classes."""
    rng = np.random.default_rng(0)
    for n in range(1000):
        look_for_sorted_classes(rng.integers(0, 2 + n % 3, 64), 2 + n % 4)


# ---- all of them ---------------------------------------------------------------------------------


def test_one_filter_silences_them_all_and_each_by_its_class_or_its_code():
    def mistakes():
        x = tg.Tensor(X[:, :3], requires_grad=True)
        tg.cross_entropy(tg.softmax(x), Y)
        fitted(np.zeros((64, 2), "float32"), np.repeat(np.arange(4), 16), 8, shuffle=False)

    for how in ({"category": Suspicion}, {"message": "TGO-W"}):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", **how)
            mistakes()
    with warnings.catch_warnings(), pytest.raises(SortedData):
        warnings.filterwarnings("ignore", category=SoftmaxTwice)
        mistakes()
