"""One vector stays true to its parameters, whatever a model does with them."""

import copy
import functools

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.backend import asarray, host
from tinygrad_opt.optim import SGD, Adagrad, Adam, Momentum

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy


class Tied(nn.Module):
    """Encodes and decodes with one matrix."""

    def __init__(self, dtype):
        start = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
        self.weight = tg.Tensor(start, requires_grad=True)
        self.again = self.weight

    def __call__(self, x):
        return (x @ self.weight) @ self.again.T


@everywhere
@pytest.mark.parametrize("dtype, bound", [("float64", 1e-14), ("float32", 1e-6)])
def test_a_tied_weight_moves_once_by_the_sum_of_its_gradients(dtype, bound):
    model = Tied(dtype)
    w, x = model.weight.numpy(), np.random.default_rng(1).standard_normal((5, 3)).astype(dtype)
    optimizer = SGD(model.named_parameters(), lr=0.1)
    assert optimizer.groups[0]["names"] == ["weight"]
    optimizer.zero_grad()
    y = model(asarray(x))
    (0.5 * y * y).sum().backward()
    optimizer.step()
    c = x @ w @ w.T  # also the cotangent
    gradient = x.T @ (c @ w) + c.T @ (x @ w)
    np.testing.assert_allclose(model.weight.numpy(), w - 0.1 * gradient, rtol=0, atol=bound * 100)
    assert model.again is model.weight


@everywhere
def test_a_model_that_is_loaded_writes_through_to_the_vector():
    model, other = nn.MLP([3, 4, 2]), nn.MLP([3, 4, 2])
    optimizer = Momentum(model.parameters(), lr=0.1)
    (flat,) = optimizer._flat
    model.load_state_dict(other.state_dict())
    for n, (t, wanted) in enumerate(zip(model.parameters(), other.parameters())):
        np.testing.assert_array_equal(host(flat.view(flat.w, n)), wanted.numpy())
        assert np.shares_memory(t.data, flat.w)
    for t in model.parameters():
        t.grad = asarray(np.ones(t.shape, "float32"))
    optimizer.step()
    for t, old in zip(model.parameters(), other.parameters()):
        np.testing.assert_allclose(t.numpy(), old.numpy() - 0.1, atol=1e-6)


@everywhere
def test_a_model_is_moved_before_its_optimizer_is_made_or_after_it_is_gone():
    model = nn.MLP([3, 4, 2])
    optimizer = Adam(model.parameters())
    with pytest.raises(RuntimeError, match="make the optimizer after it"):
        model.astype("float64")
    assert all(t.dtype == "float32" for t in model.parameters())
    del optimizer
    model.astype("float64")
    optimizer = Adam(model.parameters())
    assert optimizer._flat[0].dtype == "float64"


@everywhere
def test_a_parameter_taken_by_another_optimizer_is_taken_back_with_its_value_at_the_next_step():
    w = tg.Tensor(np.ones(3), requires_grad=True)
    first, second = SGD([w], lr=0.1), SGD([w], lr=0.1)
    w.data = asarray(np.full(3, 5.0))  # now in the second's vector
    w.grad = asarray(np.ones(3))
    first.step()
    np.testing.assert_allclose(w.numpy(), 4.9)
    assert np.shares_memory(w.data, first._flat[0].w)
    second.zero_grad()
    assert np.shares_memory(w.data, second._flat[0].w)
    np.testing.assert_allclose(w.numpy(), 4.9)


@everywhere
def test_a_copy_of_model_and_optimizer_together_is_another_pair():
    model = nn.MLP([3, 4, 2])
    optimizer = Momentum(model.parameters(), lr=0.1)
    twin, twins = copy.deepcopy((model, optimizer))
    before = [t.numpy() for t in model.parameters()]
    for t in twin.parameters():
        t.grad = asarray(np.ones(t.shape, "float32"))
    twins.step()
    for t, old, moved in zip(model.parameters(), before, twin.parameters()):
        np.testing.assert_array_equal(t.numpy(), old)
        np.testing.assert_allclose(moved.numpy(), old - 0.1, atol=1e-6)


@everywhere
@pytest.mark.parametrize(
    "make", [Adam, functools.partial(Adagrad, initial=0.5)], ids=["Adam", "Adagrad"]
)
def test_parameters_start_at_multiples_of_64_and_what_lies_between_stays_zero(make):
    ws = [tg.Tensor(np.ones(n, "float32"), requires_grad=True) for n in (1, 64, 65, 0, 3)]
    optimizer = make(ws, lr=0.1, l2=0.1)
    (flat,) = optimizer._flat
    assert flat.offsets == [0, 64, 128, 256, 256]
    for _ in range(3):
        for w in ws:
            w.grad = asarray(np.ones(w.shape, "float32"))
        optimizer.step()
    used = np.zeros(flat.size, bool)
    for start, w in zip(flat.offsets, ws):
        used[start : start + w.size] = True
    for vector in map(host, (flat.w, flat.g, *flat.slots.values())):
        assert not vector[~used].any()
        assert vector[used].all()


@pytest.mark.parametrize(  # not the stand-in, whose memory is that of any array of NumPy's
    "backend", ["numpy", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True
)
def test_vectors_begin_on_256_bytes(backend):
    for size in (1, 64, 65):
        w = tg.Tensor(np.ones(size, "float32"), requires_grad=True)
        (flat,) = Adam([w])._flat
        for vector in (flat.w, flat.g, *flat.slots.values()):
            start = vector.ctypes.data if backend.xp is np else vector.data.ptr
            assert start % 256 == 0


# ---- zero_grad() -----------------------------------------------------------


def cleared(dtype="float32", optimizer=SGD, **hyper):
    """Three weights with gradients of ones, just cleared by their optimizer."""
    w = tg.Tensor(np.arange(3, dtype=dtype), requires_grad=True)
    optimizer = optimizer([w], lr=0.1, **hyper)
    w.sum().backward()
    optimizer.zero_grad()
    return w, optimizer


READERS = {
    "the attribute": lambda w, optimizer: w.grad,
    "a deep copy": lambda w, optimizer: copy.deepcopy(w).grad,
    "an edit in place": lambda w, optimizer: w.__setattr__("grad", w.grad) or w.grad,
    "another optimizer": lambda w, optimizer: SGD([w], lr=0.1)._flat[0].g[:3],
    "a step": lambda w, optimizer: optimizer.step() or optimizer._flat[0].g[:3],
    "assigning None": lambda w, optimizer: w.__setattr__("grad", None) or w.grad,
    "the model": lambda w, optimizer: moved(w).grad,
}


def moved(w):
    """The weight in float64, when the optimizer has been forgotten."""
    model = nn.Sequential(nn.Linear(1, 1))
    model.layers[0].weight = w
    w.owned = None
    model.astype("float64")
    return w


@everywhere
@pytest.mark.parametrize("reader", READERS)
def test_a_cleared_gradient_is_zeros_for_whoever_looks(reader):
    assert not host(READERS[reader](*cleared())).any()


@everywhere
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_after_zero_grad_the_first_backward_replaces_and_the_second_adds(dtype):
    w, optimizer = cleared(dtype)
    (3 * w).sum().backward()
    np.testing.assert_array_equal(host(w.grad), np.full(3, 3, dtype))
    (w * w).sum().backward()
    np.testing.assert_array_equal(host(w.grad), 3 + 2 * np.arange(3, dtype=dtype))
    assert np.shares_memory(w.grad, optimizer._flat[0].g)


@everywhere
def test_what_is_put_into_a_cleared_gradient_by_hand_stays_there():
    def taken_before(w, optimizer):
        gradient = w.grad
        optimizer.zero_grad()
        gradient[:] = asarray([5, 0, 0])
        w.grad = gradient

    for by_hand in (lambda w, _: w.grad.__setitem__(0, 5.0),
                    lambda w, _: setattr(w, "grad", [5, 0, 0]), taken_before):  # fmt: skip
        w, optimizer = cleared()
        by_hand(w, optimizer)
        np.testing.assert_array_equal(host(w.grad), [5, 0, 0])
        w.sum().backward()
        np.testing.assert_array_equal(host(w.grad), [6, 1, 1])


@everywhere
def test_a_cleared_gradient_can_be_taken_off_when_the_optimizer_is_gone():
    w, optimizer = cleared()
    del optimizer
    w.grad = None
    assert w.grad is None
    SGD([w], lr=0.1)
    np.testing.assert_array_equal(host(w.grad), np.zeros(3))


@everywhere
def test_a_weight_that_the_loss_no_longer_reaches_has_the_gradient_zero_and_coasts():
    v, w = (tg.Tensor(np.zeros(3, "float32"), requires_grad=True) for _ in range(2))
    optimizer = Momentum([v, w], lr=1.0, mu=0.5)
    (v + w).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    v.sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(host(v.data), np.full(3, -2.5))
    np.testing.assert_array_equal(host(w.data), np.full(3, -1.5))


@everywhere
def test_a_derivative_that_reads_a_cleared_gradient_does_not_write_zeros_over_the_new_one():
    w = tg.Tensor(np.ones((3, 3), "float32"), requires_grad=True)

    @tg.primitive
    def watched(x):
        return x * 1.0

    watched.defvjp(lambda g, y, x: g if w.grad is not None else 0)
    x = tg.Tensor(np.ones((2, 3), "float32"), requires_grad=True)
    optimizer = SGD([w], lr=0.1)
    optimizer.zero_grad()
    (watched(x) @ w).sum().backward()  # that of w is walked last but one
    np.testing.assert_array_equal(host(w.grad), np.full((3, 3), 2))


@everywhere
def test_grad_writes_nothing_into_a_cleared_gradient():
    """It would not be seen, but in two threads at once."""
    x, w = (tg.Tensor(np.ones((3, 3), "float32"), requires_grad=True) for _ in range(2))
    optimizer = SGD([w], lr=0.1)
    taken = w.grad
    taken[:] = 7
    optimizer.zero_grad()
    tg.grad((x @ w).sum(), [x, w])
    assert (taken == 7).all()
    assert not w.grad.any()


@everywhere
def test_a_backward_that_fails_leaves_a_cleared_gradient_zero():
    @tg.primitive
    def broken(x):
        return x * 1.0

    broken.defvjp(lambda g, y, x: 1 / 0)
    w = tg.Tensor(np.ones((3, 3), "float32"), requires_grad=True)
    optimizer = SGD([w], lr=0.1)
    optimizer.zero_grad()
    x = broken(tg.Tensor(np.ones((3, 3), "float32"), requires_grad=True))
    with pytest.raises(ZeroDivisionError):
        (x.detach() @ w + x).sum().backward()  # the product is walked first
    assert not w.grad.any()


@everywhere
def test_a_weight_that_is_itself_the_result_starts_from_a_cleared_gradient_too():
    w = tg.Tensor([3.0], requires_grad=True)
    optimizer = SGD([w], lr=1.0)
    (w * 5).sum().backward()
    optimizer.zero_grad()
    w.backward()
    assert w.grad.tolist() == [1.0]


@everywhere
def test_a_backward_within_a_vjp_adds_to_the_gradient_that_the_outer_one_is_about_to_write():
    """As where a part of the forward pass is run again to save memory. In between, it reads 0."""
    w = tg.Tensor([3.0], requires_grad=True)
    optimizer = SGD([w], lr=1.0)
    (w * 5).sum().backward()
    optimizer.zero_grad()
    seen = []

    @tg.primitive
    def again(x):
        return x * 2.0

    def vjp(g, y, x):
        seen.append(w.grad.tolist())
        optimizer.zero_grad()
        (w * 4).sum().backward()
        return g * 2

    again.defvjp(vjp)
    again(w).sum().backward()
    assert seen == [[0.0]]
    assert w.grad.tolist() == [6.0]


def test_an_error_while_gradients_are_added_leaves_a_cleared_one_cleared():
    w, v = (tg.Tensor(np.ones(2, "float32"), requires_grad=True) for _ in "wv")
    optimizer = SGD([w], lr=0.1)
    (w * 5).sum().backward()
    optimizer.zero_grad()
    v.grad = np.full(2, 3e38, "float32")
    loss = w * 2 + v * 2e38  # what v's gradient grows to overflows
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        loss.backward(np.ones(2, "float32"))
    assert w.grad.tolist() in ([0.0, 0.0], [2.0, 2.0])  # of before, or of now; not the 5 of before


def raw(x):
    return x.data if isinstance(x, tg.Tensor) else x


PRODUCTS = {  # name: (the function of x and w, the shape of w); x has the shape (6, 4)
    "rows": (lambda x, w: x @ w, (4, 3)),
    "a vector": (lambda x, w: x[0] @ w, (4, 3)),
    "by a vector": (lambda x, w: x @ w, (4,)),
    "rows of rows": (lambda x, w: x.reshape(2, 3, 4) @ w, (4, 3)),
    "a stack of matrices": (lambda x, w: x.reshape(2, 3, 4) @ w, (2, 4, 3)),
    "a stack that is stretched": (lambda x, w: x.reshape(2, 3, 4) @ w, (1, 4, 3)),
    "one matrix twice": (lambda x, w: (x @ w) @ w, (4, 4)),
    "the left factor": (lambda x, w: w @ x, (3, 6)),
    "itself": (lambda x, w: w @ w, (4, 4)),
    "a product and a sum": (lambda x, w: (x @ w).sum() + (w * w).sum(), (4, 4)),
    "another dtype": (lambda x, w: x.astype("float64") @ w, (4, 3)),
    "linear": (lambda x, w: tg.linear(x, w, w[0]), (4, 3)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_writes_into_a_cleared_gradient_what_it_would_add_to_zeros(
    product, dtype, backend
):
    rng = np.random.default_rng(0)
    function, shape = PRODUCTS[product]

    def drawn(shape, dtype):
        return backend.array(rng.standard_normal(shape).astype(dtype))

    x, w = (tg.Tensor(drawn(s, dtype), requires_grad=True) for s in ((6, 4), shape))
    optimizer = SGD([w, x], lr=0.1)
    y = function(x, w)
    cotangent = drawn(y.shape, y.dtype)
    wanted = [backend.host(g) for g in tg.grad(y, [w, x], cotangent)]
    for t in (w, x):
        t.grad = drawn(t.shape, dtype)  # what is to be forgotten
    optimizer.zero_grad()
    for create_graph in (False, True):
        again = tg.grad(y, [w, x], cotangent, create_graph=create_graph)
        for t, gradient, before in zip((w, x), again, wanted):
            np.testing.assert_allclose(backend.host(raw(gradient)), before, rtol=1e-5)
            assert t.cleared
    for times in (1, 2):
        y.backward(cotangent, retain_graph=True)
        in_place = optimizer._flat[0].grad_views
        for t, gradient, view in zip((w, x), wanted, in_place):
            bound = np.finfo(dtype).eps * 100
            np.testing.assert_allclose(backend.host(t.grad), times * gradient, rtol=0, atol=bound)
            assert t.grad.dtype == dtype
            assert t.grad is view
