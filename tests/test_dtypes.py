"""float32 in, float32 out: what widens a dtype, what does not, and where a dtype ends."""

import math

import numpy as np
import pytest

import tinygrad_opt as tg

# NumPy warns where a result overflows; everywhere else here, a warning fails the test.
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


# ---- dtypes --------------------------------------------------------------------------------------

CONSTANTS = {
    "2.0": 2.0,
    "2": 2,
    "True": True,
    "math.sqrt(2)": math.sqrt(2),
    "np.sqrt(2)": np.sqrt(2),
    "np.float64(2)": np.float64(2),
    "np.int64(2)": np.int64(2),
    "np.array(3.)": np.array(3.0),
}
BINARY = [tg.add, tg.subtract, tg.multiply, tg.divide, tg.power, tg.maximum, tg.minimum]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("narrow", ["float16", "float32"])
def test_a_constant_never_widens_what_it_meets(backend, op, constant, narrow):
    """DeZero makes float64 of float32 * 2.0; NumPy itself does with np.sqrt(2) and np.array(3.)."""
    x = tg.Tensor(backend.array(np.array([1.5, 2.5], narrow)), requires_grad=True)
    for y in (op(x, constant), op(constant, x)):
        assert y.dtype == narrow
        assert tg.grad(y.sum(), x).dtype == narrow
        assert tg.grad(y.sum(), x, create_graph=True).dtype == narrow


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.mean(), lambda x: x.mean(axis=0), lambda x: x.max(), lambda x: x.max(axis=1),
        lambda x: tg.maximum(x, 0), lambda x: tg.where(x > 0, x, 0.0), lambda x: x.std(),
        lambda x: x.norm(), lambda x: x.var(ddof=1), lambda x: tg.where(x > 0, 2.0, x),
    ],
)  # fmt: skip
def test_float32_stays_float32_through_mean_max_maximum_and_where(backend, f):
    """autograd has float64 for mean, max, maximum and where, DeZero and JAX for mean."""
    x = tg.Tensor(backend.array(np.array([[1, -2], [3, 3]], "float32")), requires_grad=True)
    y = f(x)
    weights = backend.array(np.ones(y.shape))  # of float64: the cotangent must not widen it either
    assert y.dtype == "float32"
    assert tg.grad(y, x, weights).dtype == "float32"
    assert tg.grad(y, x, weights, create_graph=True).dtype == "float32"


def test_a_choice_between_two_python_numbers_is_float32(backend):
    """NumPy has float64 or int64."""
    mask = backend.array(np.array([True, False]))
    for a, b in ((1.0, 0.0), (1, 0), (1.0, True), (False, 2)):
        y = tg.where(tg.Tensor(mask), a, b)
        assert (y.dtype, backend.host(y.data).tolist()) == ("float32", [float(a), float(b)])
        assert tg.where(mask, a, b).dtype == "float32"


def test_tensors_of_two_precisions_promote_and_each_gradient_comes_back_in_its_own(backend):
    """DeZero raises; a gradient left in float64 would break the float32 weight's update."""
    narrow = tg.Tensor(backend.array(np.array([1.5, 2], "float32")), requires_grad=True)
    wide = tg.Tensor(backend.array(np.array([3.0, 4])), requires_grad=True)
    for op in BINARY:
        y = op(narrow, wide)
        assert y.dtype == "float64"
        assert [g.dtype for g in tg.grad(y.sum(), [narrow, wide])] == ["float32", "float64"]
    (narrow * wide).sum().backward()
    assert (narrow.grad.dtype, wide.grad.dtype) == ("float32", "float64")


def test_integers_promote_float32_to_float64_as_in_numpy(backend):
    """PyTorch stays at float32. Integer arrays seldom are weights: NumPy's rule is kept."""
    x = tg.Tensor(backend.array(np.array([1.5, 2], "float32")), requires_grad=True)
    y = x * tg.Tensor(backend.array(np.array([2, 3])))
    assert y.dtype == "float64"
    assert tg.grad(y.sum(), x).dtype == "float32"


def test_small_integers_wrap_around_as_in_numpy(backend):
    """uint8 pixels become float before anything is computed with them."""
    pixel = tg.Tensor(backend.array(np.array([200], "uint8")))
    assert backend.host((pixel + 100).data).tolist() == [44]


def test_a_0d_result_is_an_array_that_can_be_written_into(backend, dtype):
    """NumPy's 0-d + 0-d is a scalar, which has no `out=` and cannot hold a gradient."""
    a = tg.Tensor(backend.array(np.array(2.0, dtype)), requires_grad=True)
    y = a * a + a
    assert isinstance(y.data, backend.xp.ndarray)
    y.backward()
    assert isinstance(a.grad, backend.xp.ndarray)
    a.grad *= 2
    assert float(a.grad) == 10


@pytest.mark.parametrize("slot", ["data", "grad"])
def test_a_float64_array_does_not_slip_into_a_float32_tensor(backend, slot):
    """NumPy's `p -= lr * g` casts a float64 gradient in silence."""
    x = tg.Tensor(backend.array(np.zeros(2, "float32")), requires_grad=True)
    with pytest.raises(TypeError, match=r"float32 .* float64.*astype"):
        setattr(x, slot, backend.array(np.ones(2)))
    assert x.grad is None
    assert backend.host(x.data).tolist() == [0, 0]


# ---- where the range ends ------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize(
    ("dtype", "below", "above"), [("float16", 11, 12), ("float32", 88, 89), ("float64", 709, 710)]
)
def test_exp_overflows_where_its_dtype_ends_and_the_safe_forms_do_not(backend, dtype, below, above):
    """sigmoid, softplus, logsigmoid, logsumexp and tanh never form the large exponential."""
    x = tg.Tensor(backend.array(np.array([below, above], dtype)))
    assert np.isfinite(backend.host(tg.exp(x).data)).tolist() == [True, False]
    for f in (tg.sigmoid, tg.softplus, tg.logsigmoid, tg.logsumexp, tg.tanh, tg.silu):
        assert np.isfinite(backend.host(f(x).data)).all()
        assert np.isfinite(backend.host(f(-x).data)).all()


@pytest.mark.parametrize(("dtype", "far"), [("float32", 17), ("float64", 40)])
def test_one_minus_sigmoid_is_zero_where_sigmoid_of_minus_x_is_not(backend, dtype, far):
    """Which is why no VJP here subtracts from 1 in the tail that matters."""
    x = tg.Tensor(backend.array(np.array(far, dtype)), requires_grad=True)
    assert float(1 - tg.sigmoid(x)) == 0
    assert float(tg.sigmoid(-x)) == pytest.approx(math.exp(-far), rel=1e-6)
    assert float(tg.grad(tg.logsigmoid(x), x)) == pytest.approx(math.exp(-far), rel=1e-6)


def test_a_float32_sum_of_a_million_terms_is_good_to_six_digits(backend):
    """One running sum, as a loop or cumsum has it, is off by 1 % here."""
    x = tg.Tensor(backend.array(np.full(10**6, 0.1, "float32")))
    assert float(x.sum()) == pytest.approx(1e5, rel=1e-6)
    assert float(x.mean()) == pytest.approx(0.1, rel=1e-6)


@quiet
def test_a_float16_sum_overflows_at_65504(backend):
    """Seventy thousand ones are inf: sums of float16 want .astype("float32") first."""
    x = tg.Tensor(backend.array(np.ones(70_000, "float16")))
    assert float(x.sum()) == math.inf
    assert float(x.astype("float32").sum()) == 70_000
