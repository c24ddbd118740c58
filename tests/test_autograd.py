"""The walk back through the graph, what users build on it, and the modes that change it."""

import threading

import numpy as np
import pytest
import torch

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from tinygrad_opt.backend import host

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

rng = np.random.default_rng(11)


def leaf(values, dtype="float64"):
    return Tensor(np.array(values, dtype), requires_grad=True)


@pytest.fixture
def cube():
    """A user's own op."""

    @tg.primitive
    def cube(x):
        return x**3

    cube.defvjp(lambda g, y, x: g * 3 * x * x)
    return cube


# ---- primitive -----------------------------------------------------------------------------------


def test_an_op_called_on_arrays_gives_an_array_and_on_tensors_a_tensor(backend, cube):
    a = backend.array(np.array([1.0, 2.0]))
    assert type(cube(a)) is type(a)
    y = cube(Tensor(a))
    assert (type(y), y.requires_grad, y.is_leaf) == (Tensor, False, True)
    y = cube(Tensor(a, requires_grad=True))
    assert (y.requires_grad, y.op, y.is_leaf) == (True, cube, False)
    assert backend.host(y.data).tolist() == [1, 8]


def test_a_user_s_op_has_derivatives_of_every_order(backend, cube):
    x = Tensor(backend.array(np.array([1.0, 2.0])), requires_grad=True)
    first = tg.grad(cube(x).sum(), x, create_graph=True)
    second = tg.grad(first.sum(), x, create_graph=True)
    third = tg.grad(second.sum(), x)
    orders = [first.data, second.data, third]
    assert [backend.host(g).tolist() for g in orders] == [[3, 12], [6, 12], [6, 6]]


@everywhere
def test_an_op_keeps_its_name_and_docstring():
    @tg.primitive
    def _area(width, height):
        """Width times height."""
        return width * height

    assert (_area.__name__, _area.__doc__) == ("area", "Width times height.")
    _area.defvjp(lambda g, y, w, h: g * h, lambda g, y, w, h: g * w)
    assert "op=area" in repr(_area(leaf(2), 3.0))


@everywhere
def test_a_vjp_runs_only_for_the_arguments_that_need_it():
    calls = []

    @tg.primitive
    def times(a, b):
        return a * b

    times.defvjp(lambda g, y, a, b: calls.append("a") or g * b,
                 lambda g, y, a, b: calls.append("b") or g * a)  # fmt: skip
    data, weight = Tensor([1.0, 2.0]), leaf([3, 4], "float32")
    times(data, weight).sum().backward()
    assert calls == ["b"]
    times(weight, 2.0).sum().backward()
    assert calls == ["b", "a"]


@everywhere
def test_an_argument_without_a_vjp_may_be_a_constant_but_not_require_a_gradient():
    @tg.primitive
    def times(a, b):
        return a * b

    times.defvjp(lambda g, y, a, b: g * b)
    x = leaf([1, 2])
    assert tg.grad(times(x, 3.0).sum(), x).tolist() == [3, 3]
    assert tg.grad(times(x, x.detach()).sum(), x).tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"times has no derivative .* argument 1: detach\(\)"):
        times(x, x).sum().backward()
    assert x.grad is None


@everywhere
def test_an_argument_without_a_vjp_that_requires_a_gradient_since_the_forward_is_refused():
    @tg.primitive
    def times(a, b):
        return a * b

    times.defvjp(lambda g, y, a, b: g * b)
    x, late = leaf([1, 2]), Tensor([3.0, 4.0])
    loss = times(x, late).sum()
    late.requires_grad = True
    with pytest.raises(TypeError, match=r"times has no derivative .* argument 1: detach\(\)"):
        loss.backward()
    assert x.grad is None


@everywhere
def test_the_errors_of_an_op_of_your_own_called_linear_are_its_own():
    @tg.primitive
    def linear(x, w):
        raise ValueError(f"w has {len(w)} rows")

    with pytest.raises(ValueError, match=r"^linear: w has 4 rows$"):
        linear(Tensor(np.ones((2, 3))), Tensor(np.ones((4, 3))))


def test_tensors_and_options_may_be_given_by_keyword(backend):
    @tg.primitive
    def scaled(a, b, scale=1.0):
        return a * b * scale

    scaled.defvjp(lambda g, y, a, b, scale=1.0: g * b * scale,
                  lambda g, y, a, b, scale=1.0: g * a * scale)  # fmt: skip
    @tg.primitive
    def shifted(a, scale=1.0, b=None):
        return a * scale + b

    shifted.defvjp(lambda g, y, a, scale, b: g * scale, None, lambda g, y, a, scale, b: g)
    a, b = leaf([1, 2]), leaf([3, 4])
    assert [g.tolist() for g in tg.grad(shifted(a, b=b).sum(), [a, b])] == [[1, 1], [1, 1]]
    for y in (scaled(a, b, scale=2.0), scaled(a, b=b, scale=2.0), scaled(b=b, a=a, scale=2.0)):
        assert y.tolist() == [6, 16]
        assert [g.tolist() for g in tg.grad(y.sum(), [a, b])] == [[6, 8], [2, 4]]
    y = tg.power(a, p=b) + tg.matmul(a=a, b=b) + tg.where(a > 1, a=b, b=a)
    wanted = torch_gradients(lambda a, b: a**b + a @ b + torch.where(a > 1, b, a), a, b)
    for found, right in zip(tg.grad(y.sum(), [a, b]), wanted):
        np.testing.assert_allclose(backend.host(found), right, rtol=1e-12)


@everywhere
def test_a_numpy_scalar_given_by_keyword_does_not_widen_the_result():
    x = leaf([-1.0, 2.0], "float32")
    for y in (tg.leaky_relu(x, negative_slope=np.float64(0.5)), tg.elu(x, alpha=np.float64(2))):
        assert y.dtype == "float32"
        assert tg.grad(y.sum(), x).dtype == "float32"


@everywhere
def test_an_option_that_is_keyword_only_stays_one_and_takes_no_tensor():
    @tg.primitive
    def scaled(a, *, scale=1.0):
        return a * scale

    scaled.defvjp(lambda g, y, a, *, scale=1.0: g * scale)
    a = leaf([1, 2])
    for y in (scaled(a, scale=3.0), scaled(a=a, scale=3.0)):
        assert y.tolist() == [3, 6]
        assert tg.grad(y.sum(), a).tolist() == [3, 3]
    with pytest.raises(TypeError, match=r"scaled: a tensor cannot .* keyword-only argument"):
        scaled(2.0, scale=a)
    with pytest.raises(TypeError, match=r"scaled: a tensor cannot .* keyword-only argument"):
        scaled(a, scale=leaf(3))


def torch_gradients(f, *xs):
    ts = [torch.tensor(x.numpy(), requires_grad=True) for x in xs]
    return [g.numpy() for g in torch.autograd.grad(f(*ts).sum(), ts)]


def test_a_vjp_need_not_undo_broadcasting(backend):
    @tg.primitive
    def plus(a, b):
        return a + b

    plus.defvjp(lambda g, y, a, b: g, lambda g, y, a, b: g)
    a, b = leaf(rng.standard_normal((2, 1))), leaf(rng.standard_normal(3))
    g = rng.standard_normal((2, 3))
    plus(a, b).backward(backend.array(g))
    np.testing.assert_allclose(backend.host(a.grad), g.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(backend.host(b.grad), g.sum(axis=0))


@everywhere
def test_an_op_with_any_number_of_arguments_has_one_vjp_for_all():
    @tg.primitive
    def total(*arrays):
        return sum(arrays)

    total.defvjp_each(lambda n, g, y, *arrays: g * (n + 1))
    a, b = leaf([1, 2]), leaf([3, 4])
    total(a, b, a).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([4, 4], [2, 2])


@everywhere
@pytest.mark.parametrize(
    ("vjp", "said"),
    [
        (lambda g, y, x: g[:2], r"\(2,\).*\(3,\)"),
        (lambda g, y, x: g[:1], r"\(1,\).*\(3,\)"),
        (lambda g, y, x: None, "NoneType"),
        (lambda g, y, x: 3.0, "float"),
    ],
)
def test_a_wrong_vjp_is_named_with_what_it_gave(cube, vjp, said):
    cube.defvjp(vjp)
    x = leaf([1.0, 2.0, 3.0])
    with pytest.raises((TypeError, ValueError), match=rf"VJP of cube.*{said}"):
        cube(x).sum().backward()
    assert x.grad is None


@everywhere
@pytest.mark.parametrize("result", [1.5, (np.ones(2), np.ones(2)), None])
def test_an_op_that_does_not_give_an_array_is_named(result):
    @tg.primitive
    def odd(x):
        return result

    odd.defvjp(lambda g, y, x: g)
    with pytest.raises(TypeError, match=rf"^odd.*{type(result).__name__}"):
        odd(leaf([1.0, 2.0]))


class OutOfOrder(ValueError):
    """A user's own kind of error."""


class Numbered(Exception):
    """One whose constructor takes more than a text."""

    def __init__(self, number, text):
        super().__init__(number, text)


class NumberedIndex(Numbered, IndexError):
    pass


@everywhere
@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OutOfOrder("sort them"), OutOfOrder, "failing: sort them"),
        (ZeroDivisionError("by 0"), ZeroDivisionError, "failing: by 0"),
        (RuntimeError("no luck"), RuntimeError, "failing: no luck"),
        (NumberedIndex(7, "far"), IndexError, "failing: (7, 'far')"),
        (Numbered(7, "far"), Numbered, "(7, 'far')"),
    ],
)
def test_an_error_inside_an_op_keeps_its_kind_and_is_told_with_the_op(error, kind, text):
    @tg.primitive
    def failing(x):
        raise error

    with pytest.raises(type(error) if kind is not IndexError else IndexError) as caught:
        failing(leaf([1.0, 2.0]))
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert caught.value.__cause__ is error


@everywhere
def test_a_misspelt_attribute_inside_an_op_is_not_blamed_on_the_argument():
    @tg.primitive
    def halved(x, by):
        return x / np.float128x(by)

    with pytest.raises(AttributeError, match=r"^halved: module 'numpy' has no .*float128x"):
        halved(leaf([1.0, 2.0]), 2.0)


@everywhere
def test_a_misspelt_attribute_inside_a_vjp_is_not_blamed_on_what_it_gave(cube):
    cube.defvjp(lambda g, y, x: g.summe())
    with pytest.raises(AttributeError, match=r"VJP of cube for argument 0: .*'summe'"):
        cube(leaf([1.0])).backward()


@everywhere
def test_the_argument_named_is_the_failing_one_also_where_a_tensor_is_given_twice():
    @tg.primitive
    def times(a, b):
        return a * b

    @tg.primitive
    def total(*arrays):
        return sum(arrays)

    x = leaf([1.0, 2.0])
    times.defvjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g[:1])
    with pytest.raises(ValueError, match=r"VJP of times for argument 1 gave shape \(1,\)"):
        times(x, x).sum().backward()
    times.defvjp(lambda g, y, a, b: g * b, None)
    with pytest.raises(TypeError, match="times has no derivative with respect to argument 1"):
        times(x, x).sum().backward()
    total.defvjp_each(lambda n, g, y, *arrays: g[:1] if n == 2 else g)
    with pytest.raises(ValueError, match=r"VJP of total for argument 2 gave shape \(1,\)"):
        total(x, x, x).sum().backward()


@everywhere
def test_a_result_of_integers_or_bools_is_not_recorded():
    x = leaf([1.5, 2.5])

    @tg.primitive
    def rounded(x):
        return x.astype("int64")

    rounded.defvjp(lambda g, y, x: g)
    for y in (x.astype("int64"), x.astype(bool), rounded(x)):
        assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
    assert x.astype("float32").requires_grad


@everywhere
def test_only_the_documented_inputs_are_recorded_never_a_constant_s_gradient():
    x, c = leaf([1, 2]), Tensor([5.0, 6.0], dtype="float64")
    y = (x * c + c).sum()
    y.backward()
    assert c.grad is None
    assert x.grad.tolist() == [5, 6]


# ---- backward ------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("seed", range(20))
def test_in_any_graph_each_tensor_is_walked_once_when_all_that_used_it_were(seed):
    """Each of 60 tensors is made of two of the ten before it, and its derivative beside it, going
    forward; so some are used often, some never, and many wait for their turn at once."""
    random = np.random.default_rng(seed)
    walked = []

    @tg.primitive
    def mix(a, b, p, q):
        return p * a + q * b

    mix.defvjp(lambda g, y, a, b, p, q: walked.append("a") or p * g,
               lambda g, y, a, b, p, q: walked.append("b") or q * g, None, None)  # fmt: skip
    x = leaf(1.0)
    tensors, slopes, below = [x], [1.0], [set()]
    for n in range(1, 61):
        a, b = (int(random.integers(max(0, n - 10), n)) for _ in "ab")
        p, q = random.uniform(-1, 1, 2).tolist()
        tensors.append(mix(tensors[a], tensors[b], p, q))
        slopes.append(p * slopes[a] + q * slopes[b])
        below.append({n} | below[a] | below[b])
    for n in (60, 50, 20):
        walked.clear()
        found = tg.grad(tensors[n], x)
        np.testing.assert_allclose(host(found), slopes[n], rtol=1e-12, atol=1e-14)
        assert (walked.count("a"), walked.count("b")) == (len(below[n]), len(below[n]))


def test_backward_weighs_the_elements_of_the_result_by_the_cotangent(backend):
    x = Tensor(backend.array(np.array([1.0, 2.0])), requires_grad=True)
    weights = backend.array(np.array([3.0, 5]))
    for g in ([3, 5], weights, Tensor(weights), weights.astype("int64")):
        x.grad = None
        (x * x).backward(g)
        assert backend.host(x.grad).tolist() == [6, 20]


@everywhere
def test_a_derivative_that_fails_leaves_gradients_and_graph_as_they_were(cube):
    x, z = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = (cube(x) * z).sum()
    working = cube.vjps
    cube.defvjp(lambda g, y, x: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert (x.grad, z.grad) == (None, None)
    cube.vjps = working
    y.backward()
    assert (x.grad.tolist(), z.grad.tolist()) == ([9, 48], [1, 8])


def test_a_cotangent_of_another_precision_is_cast_to_that_of_the_result(backend):
    x = leaf([1, 2], "float32")
    (x * x).backward(backend.array(np.array([3.0, 5.0])))
    assert (x.grad.dtype, x.grad.tolist()) == ("float32", [6, 20])


@everywhere
def test_a_backward_that_runs_out_of_memory_changes_no_gradient(monkeypatch):
    """The first gradient of z needs memory; to that of x, which comes first, it is added."""
    z, x = leaf([3.0, 4.0]), leaf([1.0, 2.0])
    x.grad = [10, 10]
    y = (x * z).sum()

    class Full:
        def __getattr__(self, name):
            return getattr(np, name)

        def array(self, *args):
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(tg.autograd, "array_module", lambda *arrays: Full())
        with pytest.raises(MemoryError):
            y.backward(1.0)
    assert (x.grad.tolist(), z.grad) == ([10, 10], None)
    y.backward()  # and the graph is still there
    assert (x.grad.tolist(), z.grad.tolist()) == ([13, 14], [1, 2])


@everywhere
def test_gradients_of_several_backwards_add_up():
    x = leaf([1, 2])
    for _ in range(3):
        (x * x).sum().backward()
    assert x.grad.tolist() == [6, 12]


@everywhere
def test_a_single_element_of_any_shape_needs_no_cotangent():
    x = leaf([[3.0]])
    (x * x).backward()
    assert x.grad.tolist() == [[6]]


def test_a_random_network_has_the_gradients_that_torch_finds(backend):
    def net(f, x, w1, b1, w2):
        h = f.tanh(x @ w1 + b1)
        return (h @ w2 - (h * h).sum()) / (1 + f.exp(-h).mean())

    shapes = [(5, 4), (4, 3), (3,), (3, 2)]
    xs = [leaf(rng.standard_normal(s)) for s in shapes]
    g = rng.standard_normal((5, 2))
    net(tg, *xs).backward(backend.array(g))
    ts = [torch.tensor(x.numpy(), requires_grad=True) for x in xs]
    for x, wanted in zip(xs, torch.autograd.grad(net(torch, *ts), ts, torch.tensor(g))):
        np.testing.assert_allclose(backend.host(x.grad), wanted.numpy(), rtol=1e-11, atol=1e-12)


@everywhere
def test_a_graph_can_be_walked_again_only_when_retained():
    x = leaf([1, 2])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(RuntimeError, match=r"graph through \w+ was already walked and released"):
        y.backward()
    with pytest.raises(RuntimeError, match="already walked"):
        tg.grad(y, x)
    assert x.grad.tolist() == [4, 8]


@everywhere
def test_grad_keeps_the_graph_and_touches_no_leaf():
    x = leaf([1, 2])
    y = (x * x).sum()
    assert tg.grad(y, x).tolist() == tg.grad(y, x).tolist() == [2, 4]
    assert x.grad is None
    y.backward()
    assert x.grad.tolist() == [2, 4]


# ---- grad ----------------------------------------------------------------------------------------


def test_grad_gives_one_array_for_one_tensor_and_a_list_for_a_list(backend):
    x = Tensor(backend.array(np.array(2.0)), requires_grad=True)
    z = Tensor(backend.array(np.array(5.0)), requires_grad=True)
    y = x * x * z
    assert type(tg.grad(y, x)) is type(x.data)
    for xs in ([x, z], (x, z)):
        found = tg.grad(y, xs)
        assert type(found) is list
        assert [float(g) for g in found] == [20, 4]
    assert type(tg.grad(y, x, create_graph=True)) is Tensor


@everywhere
def test_grad_of_an_inner_tensor_is_its_whole_cotangent_and_does_not_stop_the_walk():
    x = leaf([1.0, 2.0])
    h = x * 3
    y = (h * h + h).sum()
    gh, gx = tg.grad(y, [h, x])
    assert gh.tolist() == [7, 13]
    assert gx.tolist() == [21, 39]
    assert tg.grad(y, y) == 1


@everywhere
def test_grad_with_respect_to_what_was_not_used_is_zero():
    x, other = leaf([1.0, 2.0]), leaf([[3.0]], "float32")
    for create_graph in (False, True):
        _, g = tg.grad((x * x).sum(), [x, other], create_graph=create_graph)
        assert (g.shape, g.dtype) == ((1, 1), "float32")
        assert g.tolist() == [[0]]


@everywhere
def test_the_same_tensor_may_be_asked_for_twice_and_the_answers_are_apart():
    x = leaf([1.0, 2.0])
    a, b = tg.grad((x * x).sum(), [x, x])
    a += 100
    assert b.tolist() == [2, 4]


@everywhere
@pytest.mark.parametrize("create_graph", [False, True])
def test_two_gradients_of_one_sum_are_two_arrays(create_graph):
    """a + b hands the same cotangent to both."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    ga, gb = tg.grad(a + b, [a, b], [5, 7], create_graph)
    assert ga is not gb
    if create_graph:
        ga, gb = ga.data, gb.data
    ga *= 10
    assert (ga.tolist(), gb.tolist()) == ([50, 70], [5, 7])


def test_second_derivatives_match_torch(backend):
    def f(w, x):
        return ((w @ x).exp() / (x * x).sum()).sum()

    w, x = leaf(rng.standard_normal((2, 3))), leaf(rng.standard_normal(3))
    gw, gx = tg.grad(f(w, x), [w, x], create_graph=True)
    mixed = tg.grad((gw * gw).sum() + (gx * gx * gx).sum(), [w, x])
    tw, tx = (torch.tensor(v.numpy(), requires_grad=True) for v in (w, x))
    hw, hx = torch.autograd.grad(f(tw, tx), [tw, tx], create_graph=True)
    wanted = torch.autograd.grad((hw * hw).sum() + (hx**3).sum(), [tw, tx])
    for found, right in zip(mixed, wanted):
        np.testing.assert_allclose(backend.host(found), right.numpy(), rtol=1e-10)


@everywhere
def test_a_recorded_gradient_can_be_a_term_of_the_loss():
    """A gradient penalty, walked with backward()."""
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = tg.grad((w * x * x).sum(), x, create_graph=True)
    (g * g).sum().backward()
    assert w.grad.tolist() == [24, 128]  # d/dw (2wx)² = 8wx²
    assert x.grad.tolist() == [72, 256]


@everywhere
def test_a_cotangent_tensor_with_create_graph_is_differentiated_through():
    """The double-backward trick: a Jacobian times a vector from two walks."""
    x, u = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    vjp = tg.grad(x**3, x, cotangent=u, create_graph=True)
    jvp = tg.grad(vjp, u, cotangent=[5, 7])
    assert jvp.tolist() == [15, 84]


@everywhere
def test_a_gradient_with_create_graph_is_recorded_under_no_grad_too_and_the_mode_comes_back(cube):
    x = leaf([1.0, 2.0])
    y = cube(x).sum()
    with tg.no_grad():
        first = tg.grad(y, x, create_graph=True)
        assert tg.grad(first, x, [1, 10]).tolist() == [6, 120]
        assert not (x * 2).requires_grad
        cube.defvjp(lambda g, y, x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tg.grad(y, x, create_graph=True)
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_a_recorded_gradient_does_not_change_with_the_array_that_was_its_cotangent(backend):
    x, u = leaf([1.0, 2.0]), backend.array(np.array([1.0, 10.0]))
    first = tg.grad(x**3, x, cotangent=u, create_graph=True)
    u[:] = 0
    assert tg.grad(first.sum(), x).tolist() == [6, 120]


@everywhere
def test_the_gradient_of_a_linear_function_is_constant_and_its_own_gradient_zero():
    x = leaf([1.0, 2.0])
    g = tg.grad((3 * x).sum(), x, create_graph=True)
    assert g.tolist() == [3, 3]
    assert not g.requires_grad or tg.grad(g.sum(), x).tolist() == [0, 0]


# ---- hvp -----------------------------------------------------------------------------------------


def test_hvp_of_a_quadratic_form_is_the_symmetrised_matrix_times_v(backend):
    a = rng.standard_normal((4, 4))
    v = rng.standard_normal(4)
    m, x = backend.array(a), leaf(rng.standard_normal(4))
    (hv,) = tg.hvp(lambda x: x @ m @ x, [x], [backend.array(v)])
    np.testing.assert_allclose(backend.host(hv), (a + a.T) @ v, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["array", "tensor", "leaf"])
def test_hvp_takes_arrays_and_tensors_and_couples_the_blocks(backend, kind):
    a, b = rng.standard_normal(3), rng.standard_normal((3, 2))
    va, vb = rng.standard_normal(3), rng.standard_normal((3, 2))

    def wrap(x):
        x = backend.array(x)
        return x if kind == "array" else Tensor(x, requires_grad=kind == "leaf")

    def f(x, w):
        return ((x @ w).tanh() ** 2).sum()

    ta, tb = torch.tensor(a), torch.tensor(b)
    wanted = torch.autograd.functional.hvp(f, (ta, tb), (torch.tensor(va), torch.tensor(vb)))[1]
    xs = [wrap(a), wrap(b)]
    found = tg.hvp(f, xs, [wrap(va), wrap(vb)])
    assert type(found) is list
    for h, right in zip(found, wanted):
        np.testing.assert_allclose(backend.host(h), right.numpy(), rtol=1e-10)
    for x in xs:
        assert getattr(x, "grad", None) is None
        assert getattr(x, "requires_grad", False) == (kind == "leaf")


def test_hvp_keeps_float32_and_the_backend(backend):
    x = Tensor(backend.array(np.array([1.0, 2.0], "float32")))
    (h,) = tg.hvp(lambda x: (x * x * x).sum(), [x], [[1.0, 10.0]])
    assert type(h) is type(x.data)
    assert (h.dtype, backend.host(h).tolist()) == ("float32", [6, 120])


@everywhere
def test_hvp_refuses_one_tensor_twice_for_its_two_blocks_would_be_mixed_up():
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match="hvp: xs holds one tensor twice"):
        tg.hvp(lambda a, b: (a * a * b).sum(), [x, x], [[1.0, 0.0], [0.0, 1.0]])


@everywhere
def test_the_hessian_of_a_linear_function_is_zero():
    (h,) = tg.hvp(lambda x: (3 * x).sum(), [leaf([1.0, 2.0])], [[1.0, 1.0]])
    assert h.tolist() == [0, 0]


# ---- no_grad -------------------------------------------------------------------------------------


def test_nothing_is_recorded_under_no_grad(backend, cube):
    x = Tensor(backend.array(np.array([1.0, 2.0])), requires_grad=True)
    with tg.no_grad():
        for y in (x * 2, x[0], cube(x), x.sum(), x.astype("float32"), tg.softmax(x)):
            assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
    assert (x * 2).requires_grad
    with tg.no_grad(), pytest.raises(RuntimeError, match=r"nothing below .*outside no_grad\(\)"):
        (x * 2).sum().backward()


@everywhere
def test_no_grad_decorates_functions_nests_and_ends_with_an_exception():
    x = leaf([1.0, 2.0])

    @tg.no_grad()
    def evaluate(depth):
        """Score."""
        return x * 2 if depth == 0 else evaluate(depth - 1)

    assert not evaluate(3).requires_grad
    assert (evaluate.__name__, evaluate.__doc__) == ("evaluate", "Score.")
    assert (x * 2).requires_grad
    with tg.no_grad():
        with pytest.raises(KeyError), tg.no_grad():
            raise KeyError
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    block = tg.no_grad()
    with block:
        with block:
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_refuses_to_decorate_what_runs_after_the_call_has_returned():
    async def evaluate():
        return 1

    def batches():
        yield 1

    for f in (evaluate, batches):
        for mode in (tg.no_grad, tg.detect_anomaly):
            with pytest.raises(TypeError, match="in a generator or coroutine, write the `with` in"):
                mode()(f)


@everywhere
def test_a_backward_under_no_grad_walks_what_was_recorded_outside():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    with tg.no_grad():
        assert tg.grad(y, x).tolist() == [2, 4]
        y.backward()
    assert x.grad.tolist() == [2, 4]


def test_the_modes_belong_to_the_thread():
    """A data loader's no_grad() must not switch off the training loop's recording."""
    x = leaf([1.0, 2.0])
    inside, done = threading.Event(), threading.Event()
    seen = []

    @tg.no_grad()
    def worker():
        with tg.detect_anomaly():
            seen.append((x * 2).requires_grad)
            inside.set()
            done.wait(10)
        seen.append((x * 2).requires_grad)

    threads = [threading.Thread(target=worker) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    y = x * 2
    assert y.requires_grad
    assert y.origin is None
    with np.errstate(divide="ignore"):
        tg.log(Tensor([0.0]))  # no anomaly mode here
    threads[1].start()
    done.set()
    for thread in threads:
        thread.join(10)
    assert seen == [False] * 4
    assert (x * 2).requires_grad


def test_a_vjp_that_writes_into_the_cotangent_is_told_and_harms_no_other_walk():
    @tg.primitive
    def careless(x):
        return x * 2

    def vjp(g, y, x):
        g *= 2
        return g

    careless.defvjp(vjp)
    x = leaf([3.0])
    with pytest.raises(ValueError, match=r"VJP of careless.*read-only"):
        careless(x.sum()).backward()
    x.sum().backward()
    assert x.grad.tolist() == [1.0]
