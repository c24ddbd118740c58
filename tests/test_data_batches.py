"""An epoch follows from (seed, epoch) alone, and holds every sample exactly once."""

import itertools
import json

import numpy as np
import pytest

import tinygrad_opt
from tinygrad_opt.data import Batches, ClassBalancedBatches

N, B = 23, 5
X = np.arange(N * 6, dtype=np.float32).reshape(N, 2, 3)  # row i begins with 6 i
Y = np.arange(N) % 4


def rows_of(backend, epoch):
    """The rows that the batches of one epoch hold, as their x tells."""
    return [(backend.host(x)[:, 0, 0] / 6).astype(int).tolist() for x, _ in epoch]


def targets_of(backend, epoch):
    """The targets of all batches of one epoch, strung in one row."""
    return np.concatenate([backend.host(y) for _, y in epoch])


# ---- the order ----


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (7, 0), (7, 12), (2**40, 3)])
def test_the_order_is_numpys_permutation_seeded_with_seed_and_epoch(seed, epoch):
    order = Batches(X, Y, B, seed=seed).order(epoch)
    assert order.dtype == np.int64
    assert np.array_equal(order, np.random.default_rng([seed, epoch]).permutation(N))


def test_batches_are_consecutive_cuts_of_the_order_and_the_last_is_the_rest(backend):
    batches = Batches(X, Y, B, seed=3)
    for epoch in range(3):
        order = batches.order(epoch).tolist()
        cuts = [order[i : i + B] for i in range(0, N, B)]
        assert rows_of(backend, batches) == cuts
        assert [len(cut) for cut in cuts] == [5, 5, 5, 5, 3]
        assert sorted(itertools.chain(*cuts)) == list(range(N))


def test_without_shuffle_every_epoch_keeps_the_order_of_the_data(backend):
    batches = Batches(X, Y, B, shuffle=False)
    for _ in range(2):
        assert list(itertools.chain(*rows_of(backend, batches))) == list(range(N))
    assert batches.epoch == 2


def test_x_and_y_of_one_pair_belong_to_the_same_samples(backend):
    for x, y in Batches(X, Y, B, seed=1):
        rows = (backend.host(x)[:, 0, 0] / 6).astype(int)
        assert np.array_equal(backend.host(x), X[rows])
        assert np.array_equal(backend.host(y), Y[rows])


def test_epochs_and_seeds_differ_from_one_another():
    orders = [Batches(X, Y, B, seed=s).order(e).tolist() for s in range(3) for e in range(3)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_asking_for_an_order_changes_nothing():
    batches = Batches(X, Y, B)
    first = batches.order(5)
    first[:] = 0
    assert sorted(batches.order(5)) == list(range(N)) and batches.epoch == 0


def test_an_order_that_a_subclass_repeats_or_shortens_is_what_the_batches_hold(backend):
    class FirstTwice(Batches):
        def order(self, epoch):
            return np.array([0, 0, epoch, 4])

        def __len__(self):
            return 2

    batches = FirstTwice(X, Y, batch_size=2)
    assert rows_of(backend, batches) == [[0, 0], [0, 4]]
    assert rows_of(backend, batches) == [[0, 0], [1, 4]]


# ---- lengths ----


@pytest.mark.parametrize("n", [1, 4, 5, 6, 10])
@pytest.mark.parametrize("size", [1, 4, 5, 11])
def test_len_is_the_number_of_batches_that_an_epoch_yields(n, size):
    batches = Batches(X[:n], Y[:n], size)
    assert len(batches) == len(list(batches)) == -(-n // size)


@pytest.mark.parametrize(("n", "full"), [(5, 1), (9, 1), (10, 2), (23, 4)])
def test_drop_last_leaves_out_the_smaller_last_batch_and_nothing_else(backend, n, full):
    batches = Batches(X[:n], Y[:n], B, drop_last=True, seed=2)
    order = batches.order(0)
    epoch = list(batches)
    assert len(batches) == len(epoch) == full
    assert np.array_equal(targets_of(backend, epoch), Y[order[: full * B]])


def test_over_some_epochs_drop_last_leaves_out_every_sample_now_and_then():
    batches = Batches(X, Y, B, drop_last=True)
    assert {int(i) for epoch in range(40) for i in batches.order(epoch)[20:]} == set(range(N))


def test_a_batch_larger_than_the_data_is_the_whole_data(backend):
    ((x, y),) = Batches(X, Y, 100, shuffle=False)
    assert np.array_equal(backend.host(x), X) and np.array_equal(backend.host(y), Y)


# ---- epochs ----


def test_each_iteration_is_the_next_epoch(backend):
    batches = Batches(X, Y, B)
    for epoch in range(3):
        assert batches.epoch == epoch
        assert np.array_equal(targets_of(backend, batches), Y[batches.order(epoch)])


def test_assigning_epoch_resumes_there(backend):
    whole = Batches(X, Y, B, seed=9)
    epochs = [rows_of(backend, whole) for _ in range(4)]
    resumed = Batches(X, Y, B, seed=9)
    resumed.epoch = 2
    assert [rows_of(backend, resumed), rows_of(backend, resumed)] == epochs[2:]
    resumed.epoch = 1
    assert rows_of(backend, itertools.islice(resumed, 3, None)) == epochs[1][3:]


def test_the_batches_that_are_done_are_left_out_of_one_epoch(backend):
    whole = Batches(X, Y, B, seed=9)
    epochs = [rows_of(backend, whole) for _ in range(4)]
    resumed = Batches(X, Y, B, seed=9)
    resumed.epoch, resumed.done = 2, 3
    assert resumed.position == (2, 3)
    begun = iter(resumed)
    assert (resumed.epoch, resumed.done) == (3, 0)
    assert [rows_of(backend, begun), rows_of(backend, resumed)] == [epochs[2][3:], epochs[3]]
    assert resumed.position == (4, 0)


def test_the_position_is_that_of_the_batch_at_hand_and_after_the_last_the_next_epoch():
    batches, seen = Batches(X, Y, B), []
    batches.done = 2
    for _ in range(2):
        seen += [batches.position]
        seen += [batches.position for _ in batches]
    inside = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
    assert seen == [(0, 2), (0, 3), (0, 4), (1, 0), (1, 0), *inside]


def test_after_a_loop_that_is_left_early_the_position_is_the_next_epoch():
    batches = Batches(X, Y, B)
    for _ in batches:
        break
    assert batches.position == (batches.epoch, batches.done) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        for _ in batches:
            1 / 0
    assert batches.position == (2, 0)


def test_of_two_loops_at_once_the_position_is_that_of_the_one_begun_last():
    batches = Batches(X, Y, B)
    first, second = iter(batches), iter(batches)
    assert batches.position == (1, 0)  # no batch is out
    next(first), next(second), next(first)
    assert batches.position == (1, 1)
    first.close()
    assert batches.position == (1, 1)
    second.close()
    assert batches.position == (2, 0)


def test_a_loop_that_is_about_to_begin_stands_at_its_own_beginning():
    batches = Batches(X, Y, B)
    batches.epoch, batches.done = 2, 3
    loop = iter(batches)
    assert batches.position == (2, 3)
    assert (batches.epoch, batches.done) == (3, 0)
    other = Batches(X, Y, B)
    other.load_state_dict(batches.state_dict())
    assert [pair[0].tolist() for pair in other] == [pair[0].tolist() for pair in loop]
    iter(batches)  # and is not kept
    assert batches.position == (4, 0)


def test_when_an_inner_loop_is_over_the_position_is_that_of_the_outer_one():
    batches, seen = Batches(X, Y, B), []
    for k, _ in enumerate(batches):
        if k == 1:
            inside = [batches.position for _ in batches]
            for _ in batches:
                break
        seen.append(batches.position)
    assert inside == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
    assert seen == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    assert batches.position == (3, 0)


@pytest.mark.parametrize("change", [{"epoch": 7}, {"done": 3}])
def test_a_position_that_is_assigned_counts_and_not_that_of_a_loop_begun_before(change):
    batches = Batches(X, Y, B)
    begun = iter(batches)
    next(begun)
    for name, value in change.items():
        setattr(batches, name, value)
    assert batches.position == (change.get("epoch", 1), change.get("done", 0))
    assert next(begun) and batches.position == (change.get("epoch", 1), change.get("done", 0))


@pytest.mark.parametrize("done, told", [
    (-1, "an integer of 0 or more"), (1.5, "an integer of 0 or more"),
    (5, "done is less than the 5 batches of an epoch, not 5"),
])  # fmt: skip
def test_a_done_that_no_epoch_has_is_refused_and_the_old_one_stays(done, told):
    batches = Batches(X, Y, B)
    batches.done = 4
    with pytest.raises(ValueError, match=f"Batches: done is.*{told.removeprefix('done is ')}"):
        batches.done = done
    assert batches.position == (0, 4)


def test_a_state_is_plain_and_leads_to_where_it_was_taken(backend):
    batches = Batches(X, Y, B, seed=9)
    for n, _ in enumerate(batches):
        if n == 2:
            state = json.loads(json.dumps(batches.state_dict()))
    other = Batches(X, Y, B, seed=9)
    other.load_state_dict(state)
    assert other.position == (0, 3)
    batches.epoch = 0
    assert rows_of(backend, other) == rows_of(backend, batches)[3:]


OTHERS = {
    "kind": ClassBalancedBatches(X, Y[:N], 4), "x": Batches(X[:, 0], Y, B),
    "y": Batches(X, Y.astype("int32"), B), "batch_size": Batches(X, Y, 6),
    "seed": Batches(X, Y, B, seed=1), "shuffle": Batches(X, Y, B, shuffle=False),
    "drop_last": Batches(X, Y, B, drop_last=True),
}  # fmt: skip


@pytest.mark.parametrize("key", OTHERS)
def test_a_state_of_other_batches_is_told_and_the_position_stays(key):
    other = OTHERS[key]
    before = other.position
    with pytest.raises(ValueError, match=key) as error:
        other.load_state_dict(Batches(X, Y, B).state_dict())
    assert str(error.value).count("\n- ") == (0 if key == "kind" else 1)
    assert other.position == before


@pytest.mark.parametrize("change", [{"epoch": -1}, {"done": 5}, {"epoch": "1"}, {"more": 1}, None])
def test_a_state_that_is_none_is_refused(change):
    batches = Batches(X, Y, B)
    batches.epoch, batches.done = 3, 2
    state = None if change is None else {**batches.state_dict(), **change}
    with pytest.raises(ValueError, match="Batches"):
        batches.load_state_dict(state)
    assert batches.position == (3, 2)


def test_windows_of_classes_are_a_setting_too():
    wide, narrow = (ClassBalancedBatches(X, Y, 4, window=n) for n in (2, 1))
    with pytest.raises(ValueError, match="window is 2 there, 1 here"):
        narrow.load_state_dict(wide.state_dict())


def test_a_loop_that_is_left_early_is_followed_by_a_whole_next_epoch(backend):
    batches = Batches(X, Y, B)
    for _ in batches:
        break
    assert batches.epoch == 1
    assert np.array_equal(targets_of(backend, batches), Y[batches.order(1)])


def test_two_iterators_at_once_are_two_whole_epochs(backend):
    batches = Batches(X, Y, B)
    first, second = iter(batches), iter(batches)  # neither has been asked for a batch yet
    epoch_1, epoch_0 = zip(*zip(second, first, strict=True), strict=True)
    assert np.array_equal(targets_of(backend, epoch_0), Y[batches.order(0)])
    assert np.array_equal(targets_of(backend, epoch_1), Y[batches.order(1)])
    assert batches.epoch == 2


def test_an_epoch_that_has_begun_is_not_disturbed_by_later_assignments(backend):
    batches = Batches(X, Y, B, seed=4)
    epoch = iter(batches)
    first = next(epoch)
    batches.epoch, batches.seed, batches.batch_size, batches.drop_last = 70, 5, 2, True
    rest = list(epoch)
    expected = Y[np.random.default_rng([4, 0]).permutation(N)]
    assert np.array_equal(targets_of(backend, [first, *rest]), expected)


def test_an_epoch_that_cannot_begin_does_not_count(backend, monkeypatch):
    batches = Batches(X, Y, B)

    def full(array):
        raise MemoryError("the device is full")

    with monkeypatch.context() as patch:
        patch.setattr(tinygrad_opt.backend, "asarray", full)
        with pytest.raises(MemoryError):
            iter(batches)
    assert batches.epoch == 0
    assert np.array_equal(targets_of(backend, batches), Y[batches.order(0)])


# ---- arrays ----


def test_batches_live_on_the_current_backend_with_the_dtypes_of_the_data(backend):
    for x, y in Batches(X.astype(np.float64), Y.astype(np.uint8), B):
        assert isinstance(x, backend.xp.ndarray) and isinstance(y, backend.xp.ndarray)
        assert x.dtype == np.float64 and y.dtype == np.uint8
        assert x.shape[1:] == (2, 3)


def test_the_data_go_to_a_device_once_and_not_with_every_epoch(backend, monkeypatch):
    copied = []
    asarray = tinygrad_opt.backend.asarray
    monkeypatch.setattr(
        tinygrad_opt.backend, "asarray", lambda a: copied.append(np.shape(a)) or asarray(a)
    )
    batches = Batches(X, Y, B)
    for _ in range(3):
        list(batches)
    assert copied == [X.shape, Y.shape, (N,), (N,), (N,)]


def test_batches_of_an_epoch_stay_on_the_backend_that_it_began_on_and_the_next_follows_the_switch(
    backend,
):
    batches = Batches(X, Y, B)
    epoch = iter(batches)
    with tinygrad_opt.backend.use("numpy"):
        assert all(isinstance(x, backend.xp.ndarray) for x, _ in epoch)
        assert all(type(x) is np.ndarray for x, _ in batches)
    assert all(isinstance(x, backend.xp.ndarray) for x, _ in batches)


def test_no_batch_waits_for_the_gpu(cp, no_sync):
    with tinygrad_opt.use("cupy"):
        batches = Batches(X, Y, B)
        with no_sync():
            assert len(list(batches)) == 5


def test_integers_on_a_gpu_come_with_their_range_as_it_was_when_they_were_copied_there(cp):
    is_within = tinygrad_opt.backend.is_within
    labels = np.arange(N) - 3
    with tinygrad_opt.use("cupy"):
        batches = Batches(X.astype("i8"), labels, B)
        for x, y in batches:
            assert is_within(y, -3, N - 3) and not is_within(y, -2, N) and not is_within(y, -3, 0)
            assert is_within(x, int(X.min()), int(X.max()) + 1)
        labels[0] = -9  # after the one copy
        assert all(is_within(y, -3, N - 3) for _, y in batches)
        ((x, _),) = Batches(X, labels, N)
        assert not is_within(x, -1000, 1000)  # what is not an integer is no index


def test_integers_on_the_host_come_without_a_range():
    before = len(tinygrad_opt.backend._ranges)
    kept = list(Batches(X, Y, B))
    assert len(tinygrad_opt.backend._ranges) == before and kept


@pytest.mark.parametrize("shuffle", [True, False])
def test_writing_into_a_batch_changes_neither_the_data_nor_another_batch(backend, shuffle):
    data, labels = X.copy(), Y.copy()
    batches = Batches(data, labels, B, shuffle=shuffle)
    for x, y in batches:
        assert x.flags.c_contiguous and x.flags.owndata
        x[:], y[:] = -1, -1
    assert np.array_equal(data, X) and np.array_equal(labels, Y)
    assert sorted(targets_of(backend, batches)) == sorted(Y)  # nor the copy that a GPU has


def test_edits_of_the_array_that_was_handed_over_are_seen_on_numpy():
    data = X.copy()
    batches = Batches(data, Y, N, shuffle=False)
    list(batches)
    data[4] = -1
    ((x, _),) = batches
    assert (x[4] == -1).all()


def test_data_of_any_memory_layout_give_c_contiguous_batches(backend):
    ((x, y),) = Batches(np.asfortranarray(X), Y[::-1], N, shuffle=False)
    assert x.flags.c_contiguous
    assert np.array_equal(backend.host(x), X) and np.array_equal(backend.host(y), Y[::-1])


def test_lists_and_tensors_and_device_arrays_serve_as_data(backend):
    lists = Batches([[0.5], [1.5]], [0, 1], 2, shuffle=False)
    tensors = Batches(tinygrad_opt.Tensor([[0.5], [1.5]]), backend.array(np.arange(2)), 2, 0, False)
    for batches in (lists, tensors):
        ((x, y),) = batches
        assert x.dtype == np.float32 and backend.host(x).tolist() == [[0.5], [1.5]]
        assert y.dtype == np.int64 and backend.host(y).tolist() == [0, 1]


def test_targets_may_be_numbers_or_vectors_too(backend):
    ((_, y),) = Batches(X, X[:, 0] / 2, N, shuffle=False)
    assert np.array_equal(backend.host(y), X[:, 0] / 2)


# ---- mistakes ----


def test_different_lengths_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="Batches: x has 23 samples, y has 22: each x needs its y"):
        Batches(X, Y[:-1], B)


def test_drop_last_that_leaves_no_batch_is_refused_with_the_arithmetic():
    with pytest.raises(ValueError, match="Batches: 23 samples // batch_size 24 = 0 batches"):
        Batches(X, Y, 24, drop_last=True)
    assert len(Batches(X, Y, 23, drop_last=True)) == 1


@pytest.mark.parametrize("size", [0, -1, 2.0, "4", None, True])
def test_a_batch_size_that_counts_nothing_is_refused(size):
    with pytest.raises(ValueError, match="Batches: batch_size is an integer of 1 or more"):
        Batches(X, Y, size)


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_no_natural_number_is_refused(seed):
    with pytest.raises(ValueError, match="Batches: seed is an integer of 0 or more"):
        Batches(X, Y, B, seed=seed)


@pytest.mark.parametrize("epoch", [-1, 1.5, None])
def test_an_epoch_that_is_no_natural_number_is_refused_and_the_old_one_stays(epoch):
    batches = Batches(X, Y, B)
    batches.epoch = 3
    with pytest.raises(ValueError, match="Batches: epoch is an integer of 0 or more"):
        batches.epoch = epoch
    with pytest.raises(ValueError, match="Batches: epoch is an integer of 0 or more"):
        batches.order(epoch)
    assert batches.epoch == 3


@pytest.mark.parametrize("which", ["x", "y"])
def test_bad_data_are_refused_under_the_name_of_their_argument(which):
    data = {"x": X.copy(), "y": X[:, 0, 0].copy()}
    data[which][7] = np.nan
    with pytest.raises(ValueError, match=f"Batches: {which} holds nan in row 7"):
        Batches(**data, batch_size=B)
    data[which] = np.array(["text"] * N)
    with pytest.raises(TypeError, match=f"Batches: {which}: dtype"):
        Batches(**data, batch_size=B)


def test_the_repr_shows_shapes_dtypes_and_the_number_of_batches():
    assert repr(Batches(X, Y, B, seed=2)) == (
        "Batches(x float32 (23, 2, 3), y int64 (23,), batch_size=5, seed=2: 5 batches an epoch)"
    )
