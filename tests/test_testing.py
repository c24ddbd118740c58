"""The checks of gradients, checked: wrong derivatives are planted and must all be found, and right
ones, steep ones among them, must all pass."""

import doctest
import re
import sys

import numpy as np
import pytest
import torch

import tinygrad_opt as tg
from tinygrad_opt import testing
from tinygrad_opt.ops.shape import scatter
from tinygrad_opt.tensor import raw_array
from tinygrad_opt.testing import KinkError, gradcheck, match_torch

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

RNG = np.random.default_rng(20)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
W, V, B = RNG.normal(size=(4, 2)), RNG.normal(size=(4,)), RNG.normal(size=(3, 3))
POSITIVE = RNG.uniform(0.5, 2, size=(3, 4))
LABELS = np.array([1, 0, 3])
LAST = np.zeros((3, 4))
LAST[-1, -1] = 1


def op(forward, *vjps):
    planted = tg.primitive(forward)
    planted.defvjp(*vjps)
    return planted


def detached(x):
    return tg.Tensor(raw_array(x)) if isinstance(x, tg.Tensor) else x


# ---- right functions pass ------------------------------------------------------------------------

RIGHT = {
    "add": (lambda x, y: x + y, X, Y),
    "broadcasting": (lambda x, v: x * v - v / (2 + x * x), X, V),
    "power": (lambda x, p: x**p, POSITIVE, Y),
    "exp": (tg.exp, X),
    "steep exp": (lambda x: tg.exp(50 * x), np.array([-1.0, 0.1, 1.0, 5.0])),
    "log near 0": (tg.log, np.array([1e-5, 1e-4, 1e-3, 1.0, 1e6])),
    "1 / x near 0": (lambda x: 1 / x, np.array([-1e-5, 1e-4, 1e-3, 1.0, 1e6])),
    "sqrt near 0": (tg.sqrt, np.array([1e-5, 1e-3, 1.0, 1e8])),
    "sin of a large angle": (tg.sin, np.array([10.0, -1000.0, 12345.0])),
    "fast sin": (lambda x: tg.sin(300 * x), X),
    "steep sigmoid": (lambda x: tg.sigmoid(1000 * x), np.array([-0.01, 1e-4, 0.002])),
    "saturated tanh": (tg.tanh, np.array([-30.0, 0.0, 5.0, 30.0])),
    "relu off its kink": (tg.relu, X),
    "relu near its kink": (tg.relu, np.array([1e-6, -1e-6, 1e-8])),
    "gelu": (tg.gelu, X),
    "softplus": (tg.softplus, 20 * X),
    "elu": (tg.elu, X),
    "maximum": (tg.maximum, X, Y),
    "where": (lambda x, y: tg.where(x > 0, x * y, y**3), X, Y),
    "clip": (lambda x: x.clip(-0.5, 0.5), X),
    "sum": (lambda x: x.sum(axis=0), X),
    "mean of all": (tg.mean, X),
    "var": (lambda x: x.var(axis=1, ddof=1), X),
    "std": (lambda x: x.std(axis=0), X),
    "prod with a zero": (tg.prod, np.array([2.0, 0.0, 3.0])),
    "max": (lambda x: x.max(axis=1), X),
    "norm": (lambda x: tg.norm(x, axis=1), X),
    "logsumexp": (lambda x: tg.logsumexp(x, axis=1), 10 * X),
    "softmax": (tg.softmax, X),
    "log_softmax": (tg.log_softmax, X),
    "sums to a constant": (lambda x: tg.softmax(x, axis=1).sum(axis=1), X),
    "next to an infinity": (
        lambda x: tg.where(x < 1 + 4e-6, x * x, float("inf")), np.array([1.0, 0.5]),
    ),
    "cross_entropy": (tg.cross_entropy, X, LABELS),
    "cross_entropy, confident": (tg.cross_entropy, 100 * X, LABELS),
    "mse of large values": (tg.mse_loss, 1e4 * X, 1e4 * Y),
    "matmul": (tg.matmul, X, W),
    "linear": (tg.linear, X, W, np.array([0.5, -1.0])),
    "einsum": (lambda x, y: tg.einsum("ij,kj->ik", x, y), X, Y),
    "indexing twice": (lambda x, i: x[i], X, np.array([0, 0, 2])),
    "layer_norm": (lambda x, v: tg.layer_norm(x, v, tg.Tensor(V)), X, V),
    "a large offset": (lambda x: (x + 1e5).var(), X),
    "a constant": (lambda x: (x * 0).sum(), X),
    "nothing but a shift": (lambda x: x + 1e6, X),
    "no elements": (lambda x: x * 2, np.zeros((0, 3))),
    "0-d": (lambda x: x * x.exp(), np.array(0.7)),
    "huge values": (lambda x: x * 1e200, X),
    "tiny values": (lambda x: x * 1e-200, X),
    "a small network": (
        lambda x, w, b: tg.cross_entropy(tg.tanh(x @ w) @ w.T + b, LABELS), X, W, V,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_gradcheck_passes_what_is_right(backend, name):
    """Under three cotangents on NumPy; on a GPU, where each difference waits for it, under one."""
    f, *arrays = RIGHT[name]
    for seed in range(3 if backend.name == "numpy" else 1):
        assert gradcheck(f, *arrays, seed=seed) is True


# ---- planted mistakes are found ------------------------------------------------------------------

TANH = lambda x: np.tanh(raw_array(x))
SOFTMAX = lambda x: tg.softmax(x)


def getitem_overwriting(g, y, x, key):
    out = np.zeros(x.shape)
    out[key] = g  # keeps only the last of a repeated index
    return out


FLIPPED_SCATTER = op(
    lambda g, i, shape: scatter(g, (i,), shape), lambda g, y, x, i, shape: tg.flip(g[i], 1)
)

WRONG = {
    "sign": (op(TANH, lambda g, y, x: -g * (1 - y * y)), X),
    "factor": (op(np.square, lambda g, y, x: g * x), X),
    "off by 1e-4": (op(np.sin, lambda g, y, x: g * tg.cos(x) * 1.0001), X),
    "off by 1e-5 of a steep one": (op(np.exp, lambda g, y, x: g * y * 1.00001), 9 + X),
    "a small one among large ones": (
        op(np.exp, lambda g, y, x: g * y * np.array([1, 1, 1, 1, 1 + 1e-5])),
        np.array([20.0, 21.0, 22.0, 23.0, 0.1]),
    ),
    "off by 1e-3 of a gentle one far out": (
        op(np.sqrt, lambda g, y, x: g / (2 * y) * 1.001), np.array([1e8, 4e8]),
    ),
    "power rule": (op(lambda x: x**3, lambda g, y, x: g * 3 * x), X),
    "transposed": (op(np.matmul, lambda g, y, a, b: g @ b, lambda g, y, a, b: a.T @ g), B, B + 1),
    "arguments exchanged": (
        op(np.multiply, lambda g, y, a, b: g * a, lambda g, y, a, b: g * b), X, Y,
    ),
    "second argument's sign": (
        op(np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: g), X, Y,
    ),
    "softmax without a gradient": (op(SOFTMAX, lambda g, y, x: g * 0), X),
    "softmax without its sum": (op(SOFTMAX, lambda g, y, x: g * y), X),
    "softmax along the other axis": (
        op(SOFTMAX, lambda g, y, x: y * (g - (g * y).sum(axis=0, keepdims=True))), X,
    ),
    "the cotangent ignored": (op(TANH, lambda g, y, x: 1 - y * y), X),
    "the cotangent's size only": (op(TANH, lambda g, y, x: (g * g) ** 0.5 * (1 - y * y)), X),
    "the cotangent reversed": (op(TANH, lambda g, y, x: tg.flip(g, 0) * (1 - y * y)), X),
    "the last element": (
        op(np.square, lambda g, y, x: 2 * g * x * (1 + LAST / 100)), X,
    ),
    "negative numbers only": (
        op(lambda x: np.where(x > 0, x, 0.1 * x), lambda g, y, x: tg.where(x > 0, g, 0.01 * g)), X,
    ),
    "un-broadcast over the wrong axis": (
        op(np.add, lambda g, y, a, b: g, lambda g, y, a, b: g.sum(axis=1)), B, B[0],
    ),
    "un-broadcast forgotten": (
        op(np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: (g * a)[:, :1]), X, X[:, :1],
    ),
    "mean without its n": (op(np.mean, lambda g, y, x: tg.broadcast_to(g, x.shape)), X),
    "variance over n - 1": (
        op(np.var, lambda g, y, x: g * 2 * (x - x.mean()) / (x.size - 1)), X,
    ),
    "a repeated index": (op(lambda x, i: x[i], getitem_overwriting), V, np.array([0, 0, 1])),
    "max to the wrong place": (
        op(np.max, lambda g, y, x: g * (x == x.min())), X,
    ),
    "cumsum not reversed": (op(np.cumsum, lambda g, y, x: tg.cumsum(g)), V),
    "transposed by the same axes": (
        op(lambda x: x.transpose(1, 2, 0), lambda g, y, x: g.transpose(1, 2, 0)),
        RNG.normal(size=(2, 2, 2)),
    ),
    "parts exchanged": (
        op(lambda a, b: np.concatenate([a, b]), lambda g, y, a, b: g[3:], lambda g, y, a, b: g[:3]),
        X, Y,
    ),
    "where the wrong way round": (
        op(lambda x: np.where(x > 0, x, 3 * x), lambda g, y, x: tg.where(x > 0, 3 * g, g)), X,
    ),
    "cut off from its input": (lambda x: x.detach() ** 2, X),
    "half cut off": (lambda x: x * x.detach(), X),
    "NaN": (op(np.sin, lambda g, y, x: g * tg.cos(x) * float("nan")), X),
}  # fmt: skip

# These give the right gradient, but are wrong when it is differentiated again.
WRONG_AT_ORDER_2 = {
    "the result detached": (op(TANH, lambda g, y, x: g * (1 - detached(y) ** 2)), X),
    "the input detached": (op(np.square, lambda g, y, x: g * 2 * detached(x)), X),
    "the cotangent detached": (op(np.sin, lambda g, y, x: detached(g) * tg.cos(x)), X),
    "one of two factors detached": (
        op(np.multiply, lambda g, y, a, b: g * detached(b), lambda g, y, a, b: g * a), X, Y,
    ),
    "another value when it is recorded": (
        op(np.sin, lambda g, y, x: g * tg.cos(x) * (1.01 if isinstance(g, tg.Tensor) else 1)), X,
    ),
    "the adjoint of an index flipped": (
        op(lambda x, i: x[i], lambda g, y, x, i: FLIPPED_SCATTER(g, i, x.shape)), B,
        np.array([0, 0, 2]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("seed", range(5))
def test_gradcheck_finds_every_planted_mistake_at_order_1(name, seed):
    f, *arrays = WRONG[name]
    with pytest.raises(AssertionError, match=r"order 1, argument \d.*: \d+ of \d+ elements differ"):
        gradcheck(f, *arrays, order=1, seed=seed)


@pytest.mark.parametrize("name", WRONG_AT_ORDER_2)
@pytest.mark.parametrize("seed", range(5))
def test_gradcheck_finds_what_is_wrong_at_order_2_alone(name, seed):
    f, *arrays = WRONG_AT_ORDER_2[name]
    assert gradcheck(f, *arrays, order=1, seed=seed)
    with pytest.raises(AssertionError, match=r"order 2|create_graph"):
        gradcheck(f, *arrays, seed=seed)


def test_a_cotangent_of_ones_would_miss_what_the_random_one_finds():
    f = WRONG["softmax without a gradient"][0]
    right, wrong = (tg.Tensor(X, requires_grad=True) for _ in range(2))
    tg.softmax(right).backward(np.ones(X.shape))
    f(wrong).backward(np.ones(X.shape))
    np.testing.assert_allclose(wrong.grad, right.grad, atol=1e-15)
    with pytest.raises(AssertionError):
        gradcheck(f, X)


# ---- kinks, edges and other mishaps --------------------------------------------------------------


@everywhere
@pytest.mark.parametrize(
    "f, point, where",
    [
        (tg.relu, [1.0, 0.0, 2.0], "argument 0[1] = 0"),
        (tg.relu, [1.0, -1e-11], "argument 0[1] = -1e-11"),
        (tg.abs, [0.0, 1.0], "argument 0[0] = 0"),
        (tg.sign, [3.0, 0.0], "argument 0[1] = 0"),
        (lambda x: (x >= 1).astype("float64") * x, [1.0], "argument 0[0] = 1"),
        (lambda x: x.clip(-1, 1), [[0.5, 1.0]], "argument 0[0, 1] = 1"),
        (lambda x: x.max(), [2.0, 1.0, 2.0], "argument 0[0] = 2"),
        (tg.norm, [0.0, 0.0], "argument 0[0] = 0"),
        (lambda x: tg.leaky_relu(x, 0.9), [0.0], "argument 0[0] = 0"),
    ],
)
def test_a_kink_is_told_from_a_mistake_and_where_it_is(f, point, where):
    with pytest.raises(KinkError, match=re.escape(where)):
        gradcheck(f, np.array(point))


@everywhere
def test_a_kink_shows_the_slopes_of_both_sides():
    with pytest.raises(KinkError) as caught:
        gradcheck(tg.relu, np.array([0.0]))
    right, left = map(float, re.search(r"slopes are (\S+) and (\S+) ", str(caught.value)).groups())
    assert left == 0
    assert 0.5 <= abs(right) <= 1.5


@everywhere
def test_a_kink_of_the_gradient_is_found_at_order_2():
    at_delta = lambda x: tg.huber_loss(x, x.detach() * 0)
    assert gradcheck(at_delta, np.array([1.0, 0.5]), order=1)
    with pytest.raises(KinkError, match=r"order 2, argument 0\[0\] = 1"):
        gradcheck(at_delta, np.array([1.0, 0.5]))


def test_a_wrong_gradient_at_a_kink_is_a_failure_too():
    with pytest.raises(AssertionError):
        gradcheck(op(np.abs, lambda g, y, x: g), np.array([0.0, -1.0]))


@everywhere
@pytest.mark.parametrize(
    "f, point, message",
    [
        (tg.log, [1.0, 0.0], r"the result is -inf at \[1\]"),
        (tg.sqrt, [[-1.0, 4.0]], r"the result is nan at \[0, 0\]"),
        (tg.sqrt, [0.0, 1.0], r"not finite within .* of order 1, argument 0\[0\] = 0"),
        (tg.exp, [1.0, 800.0], r"the result is inf at \[1\]"),
    ],
)
def test_values_that_are_not_finite_are_reported_as_such_and_without_a_warning(f, point, message):
    with pytest.raises(AssertionError, match=message):
        gradcheck(f, np.array(point))


@everywhere
def test_a_random_function_is_reported_as_such():
    with pytest.raises(AssertionError, match="other values on a second call"):
        gradcheck(lambda x: tg.dropout(x, 0.5), X)


def test_the_table_shows_the_worst_rows_first_and_counts_the_rest():
    scale = np.linspace(1, 2, 20)
    planted = op(np.square, lambda g, y, x: 2 * g * x * scale)
    with pytest.raises(AssertionError) as caught:
        gradcheck(planted, np.arange(1.0, 21.0))
    title, header, *rows, rest = str(caught.value).splitlines()[1:]
    assert title == "order 1, argument 0, shape (20,): 19 of 20 elements differ"
    assert header.split() == ["index", "engine", "numeric", "relative", "error"]
    assert [int(re.search(r"\[(\d+)\]", row).group(1)) for row in rows] == list(range(19, 9, -1))
    _, engine, numeric, error = rows[0].split()
    assert float(engine) == pytest.approx(2 * float(numeric), rel=1e-6)
    assert float(error) == pytest.approx(0.5, rel=1e-6)
    assert rest.strip() == "... and 9 more"


def test_the_table_shows_nothing_but_what_is_wrong_and_nan_first():
    factor = np.ones(20)
    factor[[3, 7, 11]] = 1.5, np.nan, 2
    planted = op(np.square, lambda g, y, x: 2 * g * x * factor)
    with pytest.raises(AssertionError) as caught:
        gradcheck(planted, np.arange(1.0, 21.0))
    title, _, *rows = str(caught.value).splitlines()[1:]
    assert title.endswith("3 of 20 elements differ")
    assert [row.split()[0] for row in rows] == ["[7]", "[11]", "[3]"]


def test_each_wrong_argument_has_its_table():
    planted = op(np.multiply, lambda g, y, a, b: -g * b, lambda g, y, a, b: -g * a)
    with pytest.raises(AssertionError, match=r"argument 0(.|\n)*argument 2"):
        gradcheck(lambda a, i, b: planted(a, b), X, LABELS, Y)


# ---- what goes in --------------------------------------------------------------------------------


def test_arrays_are_copied_to_float64_and_never_written_into():
    x, i = X.astype(np.float32), np.array([2, 0, 2])
    x.flags.writeable = i.flags.writeable = False
    seen = []

    def f(x, i):
        seen.append((x.dtype, type(i), i.dtype))
        y = x[i.copy()] * 2
        raw_array(x)[0] += 1  # a careless op that writes into its inputs
        i[0] = 2 - i[0]
        return y

    assert gradcheck(f, x, i, order=1)
    assert {(str(d), t, str(n)) for d, t, n in seen} == {("float64", np.ndarray, "int64")}


@everywhere
def test_lists_numbers_and_tensors_of_floats_are_differentiated_and_the_rest_is_passed_on():
    def f(a, b, c, axis, name, mask):
        assert [type(x) for x in (a, b, c)] == [tg.Tensor] * 3
        assert all(x.requires_grad and x.dtype == np.float64 for x in (a, b, c))
        assert (axis, name, mask.dtype) == (1, "n", bool)
        return tg.where(mask, a * b * c, 0).sum(axis=axis)

    c = tg.Tensor([[1.0, 2.0]])
    assert gradcheck(f, [[0.5, 1.5]], 2.0, c, 1, "n", np.array([[True, False]]))
    assert c.grad is None


@everywhere
def test_bad_input_gets_a_clear_error():
    with pytest.raises(ValueError, match="no argument is an array of floats"):
        gradcheck(tg.exp, np.arange(3))
    with pytest.raises(ValueError, match="order is 1 or 2, not 3"):
        gradcheck(tg.exp, X, order=3)
    with pytest.raises(ValueError, match="order is 1 or 2, not 0"):
        match_torch(tg.exp, torch.exp, X, order=0)
    with pytest.raises(TypeError, match="one Tensor of floats"):
        gradcheck(lambda x: x > 0, X)
    with pytest.raises(TypeError, match="one Tensor of floats"):
        gradcheck(lambda x: (x, x), X)
    with pytest.raises(TypeError, match="gives a tuple where a Tensor is wanted"):
        match_torch(lambda x: (x, x), torch.exp, X)


def test_tolerances_step_and_seed_are_obeyed():
    nearly = op(np.sin, lambda g, y, x: g * tg.cos(x) * (1 + 1e-4))
    assert gradcheck(nearly, X, order=1, rtol=1e-3)
    with pytest.raises(AssertionError):
        gradcheck(nearly, X, order=1, rtol=1e-5)
    assert gradcheck(lambda x: nearly(x) * 1e-5, X, order=1)  # below atol
    with pytest.raises(AssertionError):
        gradcheck(lambda x: nearly(x) * 1e-5, X, order=1, atol=1e-12)
    wavy = lambda x: tg.sin(1e4 * x)
    seen = []
    gradcheck(lambda x: (seen.append(float(x)), wavy(x))[1], 0.3, order=1, step=1e-7)
    assert max(seen) == pytest.approx(0.3 + 1e-7, abs=1e-12)
    tables = []
    for seed in (0, 0, 1):
        with pytest.raises(AssertionError) as caught:
            gradcheck(WRONG["sign"][0], X, seed=seed)
        tables.append(str(caught.value))
    assert tables[0] == tables[1] != tables[2]


def test_gradcheck_runs_where_the_arrays_live(backend):
    with tg.use(backend.name):
        weights = backend.array(Y)

        def f(x, i):
            assert type(raw_array(x)) is backend.xp.ndarray
            assert type(i) is backend.xp.ndarray
            return (x * weights)[i].tanh()

        assert gradcheck(f, backend.array(X), LABELS[:2])
        with pytest.raises(AssertionError, match="12 of 12"):
            gradcheck(lambda x: x.detach() * weights, X)


# ---- match_torch ---------------------------------------------------------------------------------

PAIRS = {
    "tanh": (tg.tanh, torch.tanh, X),
    "matmul": (tg.matmul, torch.matmul, X, W),
    "softmax": (lambda x: tg.softmax(x, axis=1), lambda x: torch.softmax(x, 1), X),
    "sums to zero": (lambda x: tg.softmax(x).sum(axis=1), lambda x: torch.softmax(x, 1).sum(1), X),
    "rounded at another size": (lambda x: (x + 100) - 100, lambda x: x * 1, X),
    "a loss": (tg.cross_entropy, torch.nn.functional.cross_entropy, X, LABELS),
    "tie": (lambda x: x.max(), lambda x: x.max(), np.array([1.0, 3, 3])),
    "abs at 0": (tg.abs, torch.abs, np.array([0.0, -2.0])),
    "NaN and infinities": (
        tg.exp, torch.exp, np.array([np.nan, np.inf, -np.inf, 1.0]),
    ),
    "an index": (lambda x, i: x[i], lambda x, i: x[i], X, np.array([0, 0, 2])),
    "not connected": (lambda x: x.detach() * 2, lambda x: x.detach() * 2, X),
    "one argument unused": (lambda x, y: x * x, lambda x, y: x * x, X, Y),
    "integers": (lambda x: x.argmax(axis=1), lambda x: x.argmax(1), X),
    "bools": (lambda x: x > 0, lambda x: x > 0, X),
    "0-d": (lambda x, s: (x * s).sum(), lambda x, s: (x * s).sum(), X, np.array(0.5)),
}  # fmt: skip


@everywhere
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", PAIRS)
def test_match_torch_passes_what_is_right_at_both_orders(name, dtype):
    f, g, *arrays = PAIRS[name]
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]
    for seed in range(3):
        assert match_torch(f, g, *arrays, order=2, seed=seed) is True


TORCH_TWINS = {
    "sign": torch.tanh,
    "factor": torch.square,
    "off by 1e-4": torch.sin,
    "transposed": torch.matmul,
    "arguments exchanged": torch.mul,
    "second argument's sign": torch.sub,
    "softmax without a gradient": lambda x: torch.softmax(x, -1),
    "softmax without its sum": lambda x: torch.softmax(x, -1),
    "the cotangent ignored": torch.tanh,
    "the last element": torch.square,
    "un-broadcast over the wrong axis": torch.add,
    "un-broadcast forgotten": torch.mul,
    "mean without its n": torch.mean,
    "a repeated index": lambda x, i: x[i],
    "cumsum not reversed": lambda x: torch.cumsum(x, 0),
    "cut off from its input": torch.square,
    "NaN": torch.sin,
}


@pytest.mark.parametrize("name", TORCH_TWINS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_match_torch_finds_planted_mistakes(name, dtype):
    f, *arrays = WRONG[name]
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]
    with pytest.raises(AssertionError, match="the gradient of order 1 for argument"):
        match_torch(f, TORCH_TWINS[name], *arrays)


def test_match_torch_finds_what_is_wrong_at_order_2_alone():
    for name, twin in (("the result detached", torch.tanh), ("the input detached", torch.square)):
        f, *arrays = WRONG_AT_ORDER_2[name]
        assert match_torch(f, twin, *arrays)
        with pytest.raises(AssertionError, match="of order 2"):
            match_torch(f, twin, *arrays, order=2)


X32 = X.astype(np.float32)


@everywhere
@pytest.mark.parametrize(
    "f, twin, x, message",
    [
        (
            lambda x: x * tg.Tensor(np.full((3, 4), 2.0)),
            lambda x: x * 2,
            X32,
            "is float64 .* PyTorch's float32",
        ),
        (lambda x: x.astype("float32"), lambda x: x, X, "is float32 .* PyTorch's float64"),
        (lambda x: x.sum(axis=1, keepdims=True), lambda x: x.sum(1), X, r"\(3, 1\), .*\(3,\)"),
        (lambda x: x * (1 + 1e-4), lambda x: x, X32, r"1\d of 12 elements differ"),
        (lambda x: x * (1 + 1e-8), lambda x: x, X, "12 of 12 elements differ"),
        (lambda x: x.argmax(axis=1) + 1, lambda x: x.argmax(1), X, "3 of 3 elements differ"),
        (lambda x: x.argmax(axis=1).astype("int32"), lambda x: x.argmax(1), X, "is int32"),
        (tg.sign, torch.sign, np.array([np.nan]), "1 of 1 elements differ"),
        (lambda x: 1 / x, lambda x: -1 / x, np.array([0.0, 1.0]), "2 of 2 elements differ"),
    ],
)
def test_match_torch_compares_dtype_shape_and_value(f, twin, x, message):
    with pytest.raises(AssertionError, match="match_torch: ?\n?the value(.|\n)*" + message):
        match_torch(f, twin, x)


def test_a_vjp_that_computes_in_float32_is_found_in_float64():
    rounding = op(np.sin, lambda g, y, x: g * np.cos(x.astype(np.float32)))
    with pytest.raises(AssertionError, match="the gradient of order 1"):
        match_torch(rounding, torch.sin, X)


@everywhere
def test_match_torch_obeys_its_tolerances_and_mutates_nothing():
    x = X.copy()
    x.flags.writeable = False
    assert match_torch(lambda x: x * (1 + 1e-6), lambda x: x, x, rtol=1e-5)
    assert match_torch(lambda x: x + 1e-6, lambda x: x, x, atol=1e-5)
    with pytest.raises(AssertionError):
        match_torch(lambda x: x + 1e-6, lambda x: x, x, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(x, X)


def test_match_torch_runs_on_every_backend(backend):
    assert match_torch(
        lambda x, w: (x @ w).relu(), lambda x, w: (x @ w).relu(),
        backend.array(X32), W.astype("f4"), order=2,
    )  # fmt: skip
    with pytest.raises(AssertionError):
        match_torch(lambda x: x * 2, lambda x: x * 3, X32)


def test_without_torch_match_torch_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        match_torch(tg.exp, None, X)


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(testing)
    assert results.attempted >= 3
    assert results.failed == 0
