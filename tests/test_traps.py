"""The traps that shipped engines fall into, one test each, with the engines that fell.

Values at ties, kinks and zeros have their full table in test_conventions.py; here the same points
go through `backward()` into the leaves, and the rest is about graphs, memory, shapes and NumPy.
"""

import gc
import math
import tracemalloc

import numpy as np
import pytest
import torch

import tinygrad_opt as tg

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

inf, nan = math.inf, math.nan
rng = np.random.default_rng(7)


def leaf(values, dtype="float32"):
    return tg.Tensor(np.array(values, dtype), requires_grad=True)


def live_tensors():
    return sum(type(o) is tg.Tensor for o in gc.get_objects())


@pytest.fixture
def no_collector():
    """Nothing but reference counts frees memory in this test."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ---- graphs --------------------------------------------------------------------------------------


@everywhere
def test_a_tensor_used_twice_adds_up_both_uses():
    """tinygrad's first day had 1 for x * x + x at 3: `t.grad = g` overwrites."""
    x = leaf(3)
    (x * x + x).backward()
    assert float(x.grad) == 7


@everywhere
def test_in_a_diamond_the_lower_node_waits_for_both_of_its_consumers():
    """Depth first without a topological order, b would pass half of its cotangent on: 2, not 4."""
    a = leaf(1)
    b = a + a
    (b + b).backward()
    assert float(a.grad) == 4
    x = leaf(2, "float64")
    y = x * x  # used by a short way and by a long one
    (y * y.exp().log().sqrt() + y).backward()
    assert float(x.grad) == pytest.approx(3 * 2**2 + 2 * 2)


@everywhere
@pytest.mark.parametrize("f", [lambda x: x * x, lambda x: x + x, lambda x: (x * x).sum()])
def test_a_second_backward_is_an_error_even_where_nothing_was_saved(f):
    """micrograd has 24 and tinygrad 36 for 12; PyTorch raises, but doubles x + x in silence."""
    x = leaf(6)
    y = f(x)
    y.backward()
    once = x.grad.copy()
    with pytest.raises(RuntimeError, match=r"already walked.*retain_graph=True"):
        y.backward()
    assert x.grad == once


@everywhere
def test_a_part_of_a_released_graph_cannot_be_walked_again_from_elsewhere():
    """The shared trunk of two losses: the second backward must not see half a graph."""
    x, w = leaf(2), leaf(5)
    trunk = x * x
    first, second = trunk * 3, trunk * w
    first.backward()
    with pytest.raises(RuntimeError, match=r"graph through multiply was already walked"):
        second.backward()
    assert (float(x.grad), w.grad) == (12, None)


@everywhere
def test_a_retained_graph_walked_again_from_a_zeroed_leaf_gives_the_same_gradient():
    """micrograd has 24 instead of 12 at the second time: gradients stay behind on inner nodes."""
    x = leaf(2)
    y = x * x * x
    y.backward(retain_graph=True)
    assert float(x.grad) == 12
    x.grad = None
    y.backward(retain_graph=True)
    assert float(x.grad) == 12
    y.backward()
    assert float(x.grad) == 24  # and without zeroing, they add up


def test_a_chain_of_many_ops_goes_forward_backward_and_away(backend):
    """micrograd and tinygrad of 2021 have a RecursionError; a deep free may even crash Python."""
    length = 200_000 if backend.name == "numpy" else 10_000  # a kernel an op takes its time
    x = leaf(1, "float64")
    y = x
    for _ in range(length):
        y = y + 1.0
    assert float(y) == 1 + length
    y.backward()
    assert float(x.grad) == 1
    z = x
    for _ in range(length):
        z = z * 1.0
    del z  # never walked: freed link by link


@everywhere
def test_a_chain_of_ten_thousand_ops_has_a_second_derivative():
    """The recorded gradient is as long a chain again, and as little recursive."""
    x = leaf(1, "float64")
    y = x * x
    for _ in range(10_000):
        y = y + 0.5
    gx = tg.grad(y, x, create_graph=True)
    assert float(gx) == 2
    assert float(tg.grad(gx, x)) == 2


@everywhere
def test_the_gradient_of_a_gradient_leaves_no_trace_in_grad():
    """DeZero carries second orders in x.grad: forgetting cleargrad() makes 24 of 12."""
    x = leaf(2)
    gx = tg.grad(x * x * x, x, create_graph=True)
    assert x.grad is None
    assert float(tg.grad(gx, x)) == 12
    assert x.grad is None


@everywhere
def test_a_nonscalar_backward_wants_a_cotangent():
    """DeZero sums in silence; Chainer says 'int' and 'NoneType'; tinygrad of 2021 only asserts."""
    x = leaf([1, 2])
    with pytest.raises(RuntimeError, match=r"shape \(2,\) needs a cotangent"):
        (x * 2).backward()
    assert x.grad is None
    (x * 2).backward([3, 5])
    assert x.grad.tolist() == [6, 10]


@everywhere
def test_the_backward_of_a_leaf_sets_its_gradient_to_1_and_adds_up():
    """DeZero: AttributeError, 'NoneType' object has no attribute 'generation'."""
    x = leaf(5)
    x.backward()
    assert float(x.grad) == 1
    x.backward()
    assert float(x.grad) == 2


@everywhere
@pytest.mark.parametrize("data", [np.array([1, 2]), np.array([True]), np.uint8(3)])
def test_integers_cannot_require_a_gradient(data):
    """DeZero hands out int64 gradients without a word."""
    with pytest.raises(TypeError, match=r"int|bool.*cannot require a gradient: write 1\.0"):
        tg.Tensor(data, requires_grad=True)


# ---- memory --------------------------------------------------------------------------------------


def mlp_step(parameters, x, labels, create_graph=False):
    w1, b1, w2, b2 = parameters
    loss = tg.cross_entropy(tg.relu(x @ w1 + b1) @ w2 + b2, labels)
    if create_graph:
        gradients = tg.grad(loss, parameters, create_graph=True)
        slope = sum((g * g).sum() for g in gradients)
        gradients = tg.grad(slope, parameters)
    else:
        loss.backward()
        gradients = [p.grad for p in parameters]
    with tg.no_grad():
        for p, g in zip(parameters, gradients):
            p -= 0.1 * g
            p.grad = None
    return float(loss)


@pytest.mark.parametrize(("create_graph", "steps"), [(False, 1000), (True, 200)])
def test_training_leaks_no_tensor_with_the_collector_off(
    backend, no_collector, create_graph, steps
):
    """micrograd leaves 4 cycles an expression, DeZero with create_graph 5 a step."""
    if backend.name != "numpy":
        steps //= 10  # a leak shows after one
    x = tg.Tensor(rng.standard_normal((8, 4), "float32"))
    labels = rng.integers(0, 3, 8)
    shapes = [(4, 5), (5,), (5, 3), (3,)]
    parameters = [leaf(rng.standard_normal(shape)) for shape in shapes]
    before = live_tensors()
    first = mlp_step(parameters, x, labels, create_graph)
    for _ in range(steps - 1):
        last = mlp_step(parameters, x, labels, create_graph)
    assert live_tensors() == before
    assert math.isfinite(last)
    assert create_graph or last < first


@everywhere
def test_a_graph_that_is_never_walked_goes_with_its_last_reference(no_collector):
    """An evaluation without no_grad(), a loss thrown away: no backward() comes to release them."""
    x = leaf(rng.standard_normal((3, 4)))
    before = live_tensors()
    for _ in range(5):
        parts = tg.split(tg.softmax(x), 2, axis=1)
        tg.stack(parts).max(axis=0).std()
        tg.einsum("ij,kj->ik", x, x)
    del parts
    assert live_tensors() == before


@everywhere
def test_an_error_on_the_way_leaves_nothing_behind(no_collector):
    """Neither in the forward pass, nor in a refused backward."""
    x = leaf(rng.standard_normal((3, 4)))
    before = live_tensors()
    errors = 0
    for _ in range(5):
        try:
            (x * 2) @ (x * 3)
        except ValueError:
            errors += 1
        try:
            (x * 2).backward()
        except RuntimeError:
            errors += 1
    assert errors == 10
    assert live_tensors() == before


@everywhere
def test_a_backward_frees_what_the_graph_held_while_the_loss_lives_on(no_collector):
    """A list of losses must not be a list of graphs."""
    x = leaf(np.ones(3))
    before = live_tensors()
    losses = []
    for _ in range(5):
        loss = (x * x * x).sum()
        loss.backward()
        losses.append(loss)
    assert live_tensors() == before + len(losses)


@everywhere
def test_the_gradients_of_a_sum_do_not_share_memory():
    """DeZero and Chainer: a.grad is b.grad after a + b."""
    a, b = leaf([1, 2]), leaf([3, 4])
    y = a + b
    y.backward([1, 1])
    assert a.grad is not b.grad
    a.grad *= 5
    y.data *= 0
    assert (a.grad.tolist(), b.grad.tolist()) == ([5, 5], [1, 1])


def test_weight_decay_in_place_on_the_gradients_of_a_sum_is_right(backend):
    """DeZero has [4, 4], [4, 4] and Chainer -3, -2 where [2, 2], [3, 3] and -1, -1 are wanted."""
    a, b = leaf([1, 1]), leaf([2, 2])
    (a + b).backward(backend.array(np.ones(2, "float32")))
    for p in (a, b):
        p.grad += 1.0 * p.data
    assert (a.grad.tolist(), b.grad.tolist()) == ([2, 2], [3, 3])


def test_clipping_in_place_the_gradients_of_a_sum_gives_the_norm_asked_for(backend):
    """DeZero and Chainer clip the shared array twice: a norm of 0.141 instead of 1."""
    a, b = leaf([1, 1]), leaf([2, 2])
    (a + b).backward(backend.array(np.full(2, 5, "float32")))
    norm = math.sqrt(sum(float((p.grad * p.grad).sum()) for p in (a, b)))
    assert norm == 10
    for p in (a, b):
        p.grad /= norm
    assert math.sqrt(sum(float((p.grad * p.grad).sum()) for p in (a, b))) == pytest.approx(1)


def test_the_gradient_is_never_the_array_of_the_given_cotangent(backend):
    """A gradient that aliases the cotangent is scaled along with it."""
    x = leaf([1, 2])
    seed = backend.array(np.ones(2, "float32"))
    for y in (x, x + 0.0, x.reshape(2), x.transpose()):
        x.grad = None
        y.backward(seed)
        assert not backend.xp.shares_memory(x.grad, seed)
        (gx,) = tg.grad(x + 0.0, [x], seed)
        assert not backend.xp.shares_memory(gx, seed)
    assert seed.tolist() == [1, 1]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.sum(), lambda x: x.mean(), lambda x: x.sum(axis=0).sum(), lambda x: x[0, 0],
        lambda x: x.broadcast_to((3, 2, 2)).sum(), lambda x: x.T.reshape(4).sum(),
        lambda x: x.max(), lambda x: x.expand_dims(0).squeeze().swapaxes(0, 1).sum(),
    ],
)  # fmt: skip
def test_every_gradient_can_be_written_into(backend, f):
    """DeZero and Chainer give a read-only view for `sum`, and gradient hooks crash on it."""
    x = leaf([[1, 2], [3, 4]])
    f(x).backward()
    before = x.grad.copy()
    x.grad *= 2
    assert x.grad.tolist() == (2 * before).tolist()
    gx = tg.grad(f(x), x)
    gx += 1
    assert gx.tolist() == (before + 1).tolist()


@everywhere
def test_two_backwards_into_one_leaf_add_up_without_touching_what_the_first_handed_out():
    """`x.grad += g` in place must not reach the array of tg.grad or of another leaf."""
    x, y = leaf([1, 2]), leaf([5, 6])
    first = tg.grad((x * 3).sum(), x)
    (x + y).backward([1, 1])
    (x * 2).backward([1, 1])
    assert (x.grad.tolist(), y.grad.tolist(), first.tolist()) == ([3, 3], [1, 1], [3, 3])


# ---- shapes --------------------------------------------------------------------------------------

SHAPES = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (4, 1, 3), (4, 2, 1), (1, 1, 1), (0, 1), (1, 0)]


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "maximum"])
def test_each_gradient_comes_back_in_its_own_shape_for_every_pair_that_broadcasts(backend, op):
    """tinygrad of 2021: (3,) + (2, 3) ends in a ValueError."""
    pairs = 0
    for one in SHAPES:
        for two in SHAPES:
            try:
                shape = np.broadcast_shapes(one, two)
            except ValueError:
                continue
            a, b = rng.uniform(1, 2, one), rng.uniform(1, 2, two)
            g = rng.standard_normal(shape)
            ta, tb = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
            torch_op = getattr(torch, op)
            wanted = torch.autograd.grad(torch_op(ta, tb), (ta, tb), torch.tensor(g))
            xa, xb = leaf(a, "float64"), leaf(b, "float64")
            getattr(tg, op)(xa, xb).backward(backend.array(g))
            for x, right in zip((xa, xb), wanted):
                found = backend.host(x.grad)
                np.testing.assert_allclose(found, right.numpy(), rtol=1e-13, atol=1e-13)
            pairs += 1
    assert pairs > 80


def test_broadcast_to_may_add_axes(backend):
    """autograd: AssertionError."""
    x = leaf([[1], [2]])
    g = rng.standard_normal((4, 2, 3)).astype("float32")
    x.broadcast_to((4, 2, 3)).backward(backend.array(g))
    wanted = g.sum(axis=(0, 2), dtype="float64")[:, None]
    np.testing.assert_allclose(backend.host(x.grad), wanted, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_a_weight_under_a_stack_takes_no_matrix_for_each_of_the_stack():
    """Summed afterwards, 512 of them would be 8 MB here, and 512 small products slow."""
    x, w = tg.Tensor(np.ones((512, 2, 64), "float32")), leaf(np.ones((64, 64)))
    y = x @ w
    g = np.ones(y.shape, "float32")
    tracemalloc.start()
    try:
        y.backward(g)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert (w.grad == 1024).all()


MATRICES = [
    ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (6, 4, 5)),
    ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)),
    ((2, 0, 4), (4, 5)), ((2, 3, 0), (0, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), MATRICES)
def test_matmul_knows_vectors_stacks_and_broadcast_stacks(backend, one, two):
    """DeZero makes (2, 3, 2, 5) of two stacks of matrices; tinygrad of 2021 fails an assert."""
    a, b = rng.standard_normal(one), rng.standard_normal(two)
    ta, tb = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    ty = ta @ tb
    g = rng.standard_normal(tuple(ty.shape))
    xa, xb = leaf(a, "float64"), leaf(b, "float64")
    y = xa @ xb
    assert y.shape == tuple(ty.shape)
    y.backward(backend.array(g))
    for x, right in zip((xa, xb), torch.autograd.grad(ty, (ta, tb), torch.tensor(g))):
        np.testing.assert_allclose(backend.host(x.grad), right.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "logsumexp", "std", "norm"])
def test_a_negative_axis_counts_from_the_end(backend, name):
    """DeZero's max and tinygrad's sum and max of 2021: ValueError for axis=-1."""
    a = rng.standard_normal((2, 3, 4))
    g = rng.standard_normal((2, 4))
    found = []
    for axis in (1, -2, (1,), (-2,)):
        x = leaf(a, "float64")
        y = getattr(x, name)(axis=axis)
        y.backward(backend.array(g))
        found.append((backend.host(y.data), backend.host(x.grad)))
        assert y.shape == (2, 4)
    for y, gx in found[1:]:
        assert np.array_equal(y, found[0][0])
        assert np.array_equal(gx, found[0][1])
    gone = getattr(leaf(a, "float64"), name)(axis=(0, -1), keepdims=True)
    assert gone.shape == (1, 3, 1)


# ---- values, through backward() ------------------------------------------------------------------

GRADIENTS = {  # name: function, where, the gradient there, who has it otherwise
    "max of ties": (lambda x: x.max(), [1, 3, 3], [0, 0.5, 0.5], "DeZero, Chainer: 0, 1, 1"),
    "maximum at a tie": (lambda x: tg.maximum(x, 0).sum(), [-1, 0, 2], [0, 0.5, 1], "Chainer: 1"),
    "relu at 0": (lambda x: x.relu().sum(), [-1, 0, 2], [0, 0, 1], "tinygrad 2021: 1"),
    "relu at NaN": (lambda x: x.relu().sum(), [nan], [nan], "PyTorch: 1"),
    "abs at 0": (lambda x: abs(x).sum(), [-1, 0, 2], [-1, 0, 1], "JAX: 1"),
    "clip at its edges": (lambda x: x.clip(0, 1).sum(), [0, 1, 2], [1, 1, 0], "autograd, JAX"),
    "x ** 0 at 0": (lambda x: (x**0).sum(), [0, 2], [0, 0], "micrograd, DeZero, Chainer"),
    "x ** 2 at 0": (lambda x: (x**2).sum(), [0, 3], [0, 6], "nobody"),
    "x ** 1 at 0": (lambda x: (x**1).sum(), [0, 3], [1, 1], "nobody"),
    "0 ** y": (lambda y: (0**y).sum(), [2, 3], [0, 0], "Chainer, tinygrad 2021: NaN"),
    "prod with a zero": (lambda x: x.prod(), [0, 2], [2, 0], "autograd: NaN, 0"),
    "prod with two": (lambda x: x.prod(), [0, 0, 2], [0, 0, 0], "autograd: NaN"),
    "norm at 0": (lambda x: x.norm(), [0, 0], [0, 0], "autograd, tinygrad, JAX: NaN"),
    "std of constants": (lambda x: x.std(), [2, 2], [0, 0], "autograd, tinygrad, JAX: NaN"),
    "log_softmax": (lambda x: x.log_softmax()[1], [1000, -1000], [-1, 1], "written out: NaN"),
    "sigmoid far out": (lambda x: x.sigmoid().sum(), [100, -1000], [0, 0], "tinygrad 2021: NaN"),
    "softplus far out": (lambda x: x.softplus().sum(), [1000, -1000], [1, 0], "tinygrad 2021: inf"),
    "a repeated index": (lambda x: x[[0, 0, 1]].sum(), [5, 6, 7], [2, 1, 0], "DeZero on CuPy"),
    "double where": (
        lambda x: tg.where(x > 0, tg.where(x > 0, x, 1).sqrt(), 0).sum(), [0, 4], [0, 0.25],
        "nobody",
    ),
}  # fmt: skip
INFINITE = {
    "sqrt at 0": (lambda x: x.sqrt().sum(), [0, 4], [inf, 0.25], "nobody"),
    "where does not mask": (
        lambda x: tg.where(x > 0, x.sqrt(), 0).sum(), [0, 4], [nan, 0.25], "everybody has NaN here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("f", "x", "wanted", "others"), GRADIENTS.values(), ids=GRADIENTS)
def test_the_gradient_that_reaches_the_leaf_is(backend, f, x, wanted, others, dtype):
    """Who is wrong there stands in the table."""
    x = leaf(x, dtype)
    f(x).backward()
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(backend.host(x.grad), wanted, rtol=1e-6, atol=1e-30)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("f", "x", "wanted", "others"), INFINITE.values(), ids=INFINITE)
def test_the_gradient_that_reaches_the_leaf_is_not_finite(backend, f, x, wanted, others):
    """And NumPy says so, with a RuntimeWarning."""
    x = leaf(x)
    f(x).backward()
    np.testing.assert_array_equal(backend.host(x.grad), np.array(wanted, "float32"))


@everywhere
def test_a_tie_along_an_axis_is_shared_and_not_given_to_the_first():
    """torch's max(dim).values gives 0, 1, 0; a documented difference."""
    x = leaf([[1, 3, 3], [5, 2, 5]])
    x.max(axis=1).backward([1, 10])
    assert x.grad.tolist() == [[0, 0.5, 0.5], [5, 0, 5]]


# ---- NumPy beside tensors ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_times_a_tensor_is_a_tensor(backend, dtype):
    """tinygrad of 2021: an object array of tensors, in silence."""
    array = backend.array(np.array([[1, 2], [3, 4]], dtype))
    x = leaf([5, 7], dtype)
    pairs = [
        (array * x, [[5, 14], [15, 28]]), (array + x, [[6, 9], [8, 11]]),
        (array - x, [[-4, -5], [-2, -3]]), (array @ x, [19, 43]), (np.float64(2) * x, [10, 14]),
        (np.array(2.0) * x, [10, 14]), (array > x, [[False, False], [False, False]]),
    ]  # fmt: skip
    for y, wanted in pairs:
        assert type(y) is tg.Tensor
        assert backend.host(y.data).tolist() == wanted
    (array * x).backward(backend.array(np.ones((2, 2), dtype)))
    assert x.grad.tolist() == [4, 6]
    assert x.grad.dtype == dtype


def test_the_functions_of_numpy_on_a_tensor_are_ops(backend):
    """DeZero and Chainer: TypeError, 'loop of ufunc does not support argument 0 ... exp method'."""
    x = leaf([0, 1])
    y = np.exp(x)
    assert type(y) is tg.Tensor
    y.backward([1, 1])
    np.testing.assert_allclose(backend.host(x.grad), np.exp([0, 1]), rtol=1e-6)


@everywhere
def test_data_edited_between_forward_and_backward_is_refused():
    """PyTorch (`x.data += 1`), DeZero, Chainer and tinygrad have 6 where 4 is right, in silence."""
    x = leaf(2)
    y = x * x
    x.data += 1
    with pytest.raises(RuntimeError, match=r"data of an input of multiply was edited"):
        y.backward()
    assert x.grad is None
    z = x * x
    z.backward()  # a new forward pass sees the new data
    assert float(x.grad) == 6


@pytest.mark.parametrize("edit", ["assign", "augmented", "no_grad", "setitem", "result"])
def test_every_way_of_editing_through_the_tensor_is_noticed(backend, edit):
    """The in-place operators, item assignment and the result of an op included."""
    x = leaf([1, 2, 3])
    y = tg.exp(x)
    loss = y.sum()
    if edit == "assign":
        x.data = backend.array(np.zeros(3, "float32"))
    elif edit == "augmented":
        x.data *= 2
    elif edit == "no_grad":
        with tg.no_grad():
            x -= 1
    elif edit == "setitem":
        with tg.no_grad():
            x[0] = 5
    else:
        y.data += 1
    with pytest.raises(RuntimeError, match="edited between forward and backward"):
        loss.backward()
    with pytest.raises(RuntimeError, match="edited between forward and backward"):
        tg.grad(loss, x)
    assert x.grad is None


@everywhere
def test_linear_weights_are_float32_on_numpy_2():
    """DeZero: float64, since `astype(np.float32) * np.sqrt(1 / n)` promotes."""
    layer = tg.nn.Linear(3, 2)
    assert [p.dtype for p in layer.parameters()] == ["float32", "float32"]
