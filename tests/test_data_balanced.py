"""Each window of batches holds every class equally often, or one is told by numbers why not."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.data import Batches, ClassBalancedBatches
from tinygrad_opt.optim import SGD
from tinygrad_opt.optim.wrappers import Wrapper
from tinygrad_opt.train import fit


def labelled(sizes, seed=0, names=None):
    """x whose row i holds i, and shuffled labels with sizes[c] of the c-th class."""
    names = np.arange(len(sizes)) if names is None else np.asarray(names)
    y = np.random.default_rng(seed).permutation(np.repeat(names, sizes))
    return np.arange(len(y), dtype=np.float32)[:, None], y


def windows_of(batches, epoch):
    """The rows of that epoch, of shape (windows, window, batch_size)."""
    return batches.order(epoch).reshape(-1, batches.window, batches.batch_size)


@st.composite
def settings_that_work(draw):
    """Sizes of the classes, batch_size and window, with the classes a divisor of their product."""
    classes, window = draw(st.integers(2, 7)), draw(st.integers(1, 6))
    size = classes // math.gcd(classes, window) * draw(st.integers(1, 3))
    each = size * window // classes
    sizes = [each + draw(st.integers(0, 2 * each)) for _ in range(classes)]
    return sizes, size, window


# ---- balance ----


@given(settings_that_work(), st.integers(0, 9), st.integers(0, 2**40))
def test_every_window_is_balanced_every_batch_as_even_as_can_be_and_no_sample_comes_twice(
    settings, epoch, seed
):
    sizes, size, window = settings
    x, y = labelled(sizes, names=np.arange(len(sizes)) * 5 - 9)
    batches = ClassBalancedBatches(x, y, size, window, seed)
    order = batches.order(epoch)
    assert order.dtype == np.int64
    assert len(order) == len(batches) * size == len(set(order.tolist()))

    each = size * window // len(sizes)
    assert len(batches) == min(sizes) // each * window
    for rows in windows_of(batches, epoch):
        assert Counter(y[rows.ravel()].tolist()) == dict.fromkeys(batches.classes.tolist(), each)
        for batch in rows:
            counts = [(y[batch] == label).sum() for label in batches.classes]
            assert max(counts) - min(counts) == (1 if size % len(sizes) else 0)


def test_of_1000_classes_four_batches_of_250_hold_each_exactly_once(backend):
    x, y = labelled(np.random.default_rng(1).integers(3, 6, 1000))
    batches = ClassBalancedBatches(x, y, batch_size=250, window=4)
    epoch = [backend.host(labels) for _, labels in batches]
    assert len(epoch) == len(batches) == 12
    for start in (0, 4, 8):
        window = np.concatenate(epoch[start : start + 4])
        assert np.array_equal(np.sort(window), np.arange(1000))
    assert not np.array_equal(np.sort(np.concatenate(epoch[2:6])), np.arange(1000))


@pytest.mark.parametrize("window", [1, 3])
def test_where_the_classes_divide_the_batch_size_each_batch_is_balanced(backend, window):
    x, y = labelled([30, 31, 40])
    batches = ClassBalancedBatches(x, y, 6, window)
    for _, labels in batches:
        assert np.bincount(backend.host(labels)).tolist() == [2, 2, 2]


# ---- chance ----


def test_every_class_lands_in_every_batch_of_a_window_equally_often_and_beside_every_other():
    x, y = labelled([600] * 4)
    batches = ClassBalancedBatches(x, y, batch_size=2, window=2, seed=3)
    firsts = Counter(tuple(sorted(y[rows[0]].tolist())) for rows in windows_of(batches, 0))
    assert set(firsts) == set(itertools.combinations(range(4), 2))
    assert sum(firsts.values()) == 600
    assert all(abs(count - 100) < 5 * math.sqrt(100) for count in firsts.values())


def test_a_window_that_holds_each_class_more_than_once_is_random_too():
    x, y = labelled([400] * 3)
    batches = ClassBalancedBatches(x, y, batch_size=3, window=2, seed=3)
    orders = Counter(tuple(y[rows[0]].tolist()) for rows in windows_of(batches, 0))
    assert set(orders) == set(itertools.permutations(range(3)))


def test_samples_that_met_in_a_window_meet_others_in_the_next_epoch():
    x, y = labelled([10, 8])
    batches = ClassBalancedBatches(x, y, batch_size=4)
    again = 0
    for epoch in range(0, 40, 2):  # both of one deal of class 0
        first, second = (
            {frozenset(rows[y[rows] == 0].tolist()) for rows in windows_of(batches, e)[:, 0]}
            for e in (epoch, epoch + 1)
        )
        again += len(first & second)
    assert again < 20  # of 80 pairs; about 7 by chance


@pytest.mark.parametrize(("seed", "deal"), [(0, 0), (0, 3), (2**40, 1)])
def test_a_class_is_dealt_out_in_numpys_permutation_seeded_with_seed_deal_and_class(seed, deal):
    x, y = labelled([300, 300, 100])
    batches = ClassBalancedBatches(x, y, 300, seed=seed)
    for c in (0, 1):
        rows = np.flatnonzero(y == c)  # ascending, whatever sorted the labels
        shuffled = np.random.default_rng([seed, deal, c + 1]).permutation(rows)
        for turn, part in enumerate(np.split(shuffled, 3)):
            order = batches.order(3 * deal + turn)
            assert set(order[y[order] == c]) == set(part)


def test_one_seed_and_another_differ_in_the_order_of_classes_and_of_samples():
    x, y = labelled([50] * 8)
    one, other = (ClassBalancedBatches(x, y, 8, seed=seed).order(0) for seed in (0, 1))
    assert not np.array_equal(y[one], y[other])
    assert not np.array_equal(one[y[one] == 3], other[y[other] == 3])


def test_an_epoch_follows_from_seed_and_epoch_alone():
    x, y = labelled([9, 7, 12])
    one, other = (ClassBalancedBatches(x, y, 3, 2, seed=5) for _ in range(2))
    expected = [one.order(epoch) for epoch in range(6)]
    for epoch in reversed(range(6)):
        assert np.array_equal(other.order(epoch), expected[epoch])
    assert other.epoch == 0
    other_seed = ClassBalancedBatches(x, y, 3, 2, seed=6).order(0)
    orders = [order.tolist() for order in [*expected, other_seed]]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


# ---- epochs ----


def test_the_batches_of_an_epoch_are_its_order_in_cuts_and_epoch_resumes(backend):
    x, y = labelled([9, 7, 12])
    batches = ClassBalancedBatches(x, y, 3, window=2, seed=4)
    for epoch in (0, 1, 5):
        batches.epoch = epoch
        pairs = list(batches)
        assert batches.epoch == epoch + 1
        assert len(pairs) == len(batches) == 6
        for (x_batch, y_batch), rows in zip(pairs, batches.order(epoch).reshape(-1, 3)):
            assert np.array_equal(backend.host(x_batch), x[rows])
            assert np.array_equal(backend.host(y_batch), y[rows])


@pytest.mark.parametrize("n", [6, 7, 9, 11, 12, 13, 18, 20])
def test_a_common_class_is_dealt_out_over_epochs_each_sample_once_or_twice(n):
    x, y = labelled([7, n, 6])  # k = 6 of each, in three windows
    batches = ClassBalancedBatches(x, y, 2, window=3, seed=n)
    epochs = math.ceil(n / 6)
    for deal in range(5):
        rows = [batches.order(deal * epochs + turn) for turn in range(epochs)]
        seen = Counter(int(row) for row in np.concatenate(rows) if y[row] == 1)
        assert sorted(seen) == np.flatnonzero(y == 1).tolist()
        assert sum(seen.values()) == 6 * epochs
        assert set(seen.values()) <= {1, 2}


def test_each_deal_of_a_class_is_shuffled_anew():
    x, y = labelled([10, 5])
    batches = ClassBalancedBatches(x, y, 10)
    halves = {frozenset(r for r in batches.order(e).tolist() if y[r] == 0) for e in range(20)}
    assert len(halves) > 15  # of 20: two an epoch that never changed would be two


def test_what_the_rarest_class_has_beyond_whole_windows_is_left_out_in_turn_too():
    x, y = labelled([8, 7])
    batches = ClassBalancedBatches(x, y, 6)
    assert len(batches) == 2
    left_out = [set(np.flatnonzero(y == 1)) - set(batches.order(e)) for e in range(30)]
    assert all(len(rows) == 1 for rows in left_out)
    assert set().union(*left_out) == set(np.flatnonzero(y == 1))


# ---- arrays ----


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", ">i4", "bool"])
def test_labels_of_any_integer_dtype_and_value_keep_them(backend, dtype):
    names = [False, True] if dtype == "bool" else [3, 100]
    x, y = labelled([4, 6], names=np.array(names, dtype))
    for labels in (y, backend.array(y.astype(y.dtype.newbyteorder("="))), y.tolist()):
        batches = ClassBalancedBatches(x, labels, 2)
        assert batches.classes.tolist() == names
        for _, label in batches:
            assert label.dtype == batches.y.dtype
            assert sorted(backend.host(label).tolist()) == names


@pytest.mark.usefixtures("backend")
def test_labels_may_be_tensors_and_negative():
    batches = ClassBalancedBatches([[0.0], [1.0], [2.0]], tg.Tensor(np.array([-7, 2**40, -7])), 2)
    assert batches.classes.tolist() == [-7, 2**40]
    ((_, y),) = batches
    assert sorted(y.tolist()) == [-7, 2**40]


def test_no_batch_waits_for_the_gpu(cp, no_sync):
    with tg.use("cupy"):
        batches = ClassBalancedBatches(*labelled([9, 7, 12]), 3, window=2)
        with no_sync():
            assert len(list(batches)) == 6


# ---- training ----


class GradientsOnly(Wrapper):
    """Notes the gradient of each step, and takes none."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.seen = []

    def step(self, closure):
        closure()
        self.seen.append([t.grad.copy() for t in self.groups[0]["params"]])


@pytest.mark.parametrize(("size", "window"), [(2, 3), (4, 3), (5, 6)])
def test_accumulating_over_a_window_gives_the_gradient_of_the_whole_window(backend, size, window):
    x, y = labelled([35, 14, 22, 17, 12, 16])
    x = np.random.default_rng(1).normal(size=(len(x), 4))
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6)).astype("float64")
    params = model.parameters()

    def gradient(rows):
        loss = tg.cross_entropy(model(backend.array(x[rows])), y[rows])
        return [backend.host(g) for g in tg.grad(loss, params)]

    batches = ClassBalancedBatches(x, y, size, window, seed=2)
    optimizer = GradientsOnly(SGD(params, lr=0.1))
    history = fit(model, tg.cross_entropy, optimizer, batches, 2, accumulate=window)
    windows = [rows for epoch in range(2) for rows in windows_of(batches, epoch)]
    assert len(optimizer.seen) == history.steps == len(windows) >= 2
    for found, rows in zip(optimizer.seen, windows):
        rows = rows.ravel()
        whole, first = gradient(rows), gradient(rows[:size])
        of_classes = [gradient(rows[y[rows] == label]) for label in batches.classes]
        for g, expected, cut, *parts in zip(map(backend.host, found), whole, first, *of_classes):
            assert np.abs(g - expected).max() < 1e-12
            assert np.abs(g - sum(parts) / len(parts)).max() < 1e-12
            assert np.abs(g - cut).max() > 1e-3


# ---- mistakes ----


def refusal(*args, error=ValueError, **settings):
    with pytest.raises(error) as caught:
        ClassBalancedBatches(*args, **settings)
    return str(caught.value)


def test_classes_that_do_not_fit_equally_are_refused_with_the_arithmetic_and_the_cure():
    data = labelled([5] * 1000)
    assert refusal(*data, batch_size=240, window=4) == (
        "ClassBalancedBatches: 1,000 classes do not fit equally into 4 batches of 240 = 960 "
        "samples: 960 / 1,000 is no whole number; batch_size=250 with window=4 holds each once"
    )
    assert refusal(*labelled([30] * 10), 32) == (
        "ClassBalancedBatches: 10 classes do not fit equally into 1 batch of 32 = 32 samples: "
        "32 / 10 is no whole number; batch_size=30 with window=1 holds each 3 times; "
        "batch_size=40 with window=1 holds each 4 times; "
        "batch_size=32 with window=5 holds each 16 times"
    )


def test_a_class_that_cannot_fill_a_window_is_refused_with_its_label_and_the_cure():
    data = labelled([40, 30, 35], names=[4, -8, 15])
    assert refusal(*data, batch_size=25, window=6) == (
        "ClassBalancedBatches: 6 batches of 25 = 150 samples hold 50 of each class, but class -8 "
        "has only 30; batch_size=15 with window=6 holds each 30 times; "
        "batch_size=25 with window=3 holds each 25 times"
    )


def test_where_no_neighbour_works_the_cure_is_a_window_that_holds_each_class_once():
    assert refusal(*labelled([1] * 12), 7, 5).endswith(
        "35 / 12 is no whole number; batch_size=6 with window=2 holds each once"
    )
    assert refusal(*labelled([3] * 10), 1000, 1000).endswith(
        "class 0 has only 3; batch_size=10 with window=1 holds each once"
    )


@given(st.integers(2, 9), st.integers(1, 12), st.integers(1, 40), st.integers(1, 9))
def test_every_cure_works_as_often_as_it_says_and_none_is_nearer(classes, fewest, size, window):
    def works(size, window):
        return size * window % classes == 0 and size * window // classes <= fewest

    data = labelled([fewest + 1] * (classes - 1) + [fewest])
    if works(size, window):
        assert len(ClassBalancedBatches(*data, size, window))
        return
    cures = re.findall(
        r"batch_size=(\d+) with window=(\d+) holds each (\w+)", refusal(*data, size, window)
    )
    assert cures
    for s, w, times in cures:
        batches = ClassBalancedBatches(*data, int(s), int(w))
        count = (batches.y[batches.order(0)[: int(s) * int(w)]] == 0).sum()
        assert {"once": 1, "twice": 2}.get(times) or int(times) == count

    most = classes * fewest
    sizes = [s for s in range(1, most + 1) if works(s, window)]
    windows = [w for w in range(1, most + 1) if works(size, w)]
    nearest = {(s, window) for s in beside(size, sizes)}
    nearest |= {(size, w) for w in beside(window, windows)}
    if nearest:
        assert {(int(s), int(w)) for s, w, _ in cures} == nearest


def beside(value, choices):
    """The largest choice below value and the smallest above."""
    below, above = [c for c in choices if c < value], [c for c in choices if c > value]
    return below[-1:] + above[:1]


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (np.eye(3)[[0, 1, 2, 0]], ValueError, r"y of shape \(4, 3\).*one-hot rows .*argmax"),
        (np.zeros((4, 1), int), ValueError, r"y of shape \(4, 1\): labels are one integer"),
        (np.array([0.0, 1, 0, 1]), TypeError, r"y is float64, but labels are integers: use y\.as"),
        ([0.0, 1.0, 0.0, 1.0], TypeError, "y is float32, but labels are integers"),
        ([3, 3, 3, 3], ValueError, "all of y is class 3, which leaves nothing to balance"),
        ([0, 1, 0], ValueError, "x has 4 samples, y has 3: each x needs its y"),
        (["a", "b", "a", "b"], TypeError, "y: dtype"),
    ],
    ids=lambda value: None,
)
def test_labels_that_are_none_are_refused(y, error, text):
    with pytest.raises(error, match=f"^ClassBalancedBatches: {text}"):
        ClassBalancedBatches(np.zeros((4, 1)), y, 2)


@pytest.mark.parametrize("name", ["batch_size", "window"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "4", None, True])
def test_a_batch_size_or_window_that_counts_nothing_is_refused(name, value):
    settings = {"batch_size": 2, "window": 1, name: value}
    text = refusal(*labelled([4, 4]), **settings)
    assert text == f"ClassBalancedBatches: {name} is an integer of 1 or more, not {value!r}"


def test_what_batches_refuse_is_refused_under_the_name_of_this_class():
    x, y = labelled([4, 4])
    assert refusal(x, y, 2, seed=-1).startswith("ClassBalancedBatches: seed is an integer of 0")
    batches = ClassBalancedBatches(x, y, 2)
    for bad in (lambda: batches.order(-1), lambda: setattr(batches, "epoch", -1)):
        with pytest.raises(ValueError, match="ClassBalancedBatches: epoch is an integer of 0 or m"):
            bad()
    x[3] = np.nan
    assert refusal(x, y, 2).startswith("ClassBalancedBatches: x holds nan in row 3")


def test_a_batch_size_assigned_later_is_held_to_the_same_arithmetic():
    batches = ClassBalancedBatches(*labelled([4, 4]), 2)
    batches.batch_size = 3
    with pytest.raises(ValueError, match="2 classes do not fit equally into 1 batch of 3"):
        iter(batches)
    assert batches.epoch == 0
    batches.window = 2
    assert [len(y) for _, y in batches] == [3, 3]


def test_the_repr_shows_how_often_a_window_holds_each_class():
    x, y = labelled([9, 7, 12])
    text = repr(ClassBalancedBatches(x, y, 3, window=2, seed=4))
    shared = repr(Batches(x, y, 3, seed=4)).removeprefix("Batches").replace("10 b", "6 b")
    assert text == f"ClassBalancedBatches{shared[:-1]}, window=2 holds each of 3 classes twice)"
