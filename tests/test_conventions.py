"""What the ops answer where mathematics leaves a choice: ties, kinks, zeros, NaN and inf.

Each test is one convention and names, in its docstring, who does otherwise. Where PyTorch agrees,
the same numbers are asked of it too, so that the table itself is checked.
"""

import math

import numpy as np
import pytest
import torch

import tinygrad_opt as tg

inf, nan = math.inf, math.nan
# NumPy warns where a result is inf or NaN; everywhere else here, a warning fails the test.
quiet = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def agree(backend, dtype):
    """agree(f, inputs, value, gradients, torch_f): f, and torch's, have these values and slopes.

    The slopes are weighted by a cotangent that is nowhere 1, elementwise or, for a scalar result,
    as a whole; for another kind of result, `gradients` are functions of the cotangent. Both walks
    are asked, the one on raw arrays and the one that records itself.
    """

    def agree(f, inputs, value, gradients, torch_f=None):
        arrays = [np.array(x, dtype) for x in inputs]
        xs = [tg.Tensor(backend.array(x), requires_grad=True) for x in arrays]
        y = f(*xs)
        weights = np.arange(2, 2 + y.size, dtype=dtype).reshape(y.shape)
        wanted = [w(weights) if callable(w) else np.array(w) * weights for w in gradients]
        same(backend.host(y.data), value, dtype)
        w = backend.array(weights)
        for raw, taped, g in zip(tg.grad(y, xs, w), tg.grad(y, xs, w, create_graph=True), wanted):
            same(backend.host(raw), g, dtype)
            same(backend.host(taped.data), g, dtype)
        if torch_f:
            ts = [torch.tensor(x, requires_grad=True) for x in arrays]
            ty = torch_f(*ts)
            same(ty.detach().numpy(), value, dtype)
            for gx, g in zip(torch.autograd.grad(ty, ts, torch.from_numpy(weights)), wanted):
                same(gx.numpy(), g, dtype)

    return agree


def same(found, wanted, dtype):
    """Equal up to a few roundings; a zero, an inf and a NaN exactly."""
    assert found.dtype == dtype
    wanted = np.broadcast_to(np.array(wanted, dtype), found.shape)
    np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(dtype).eps, atol=0)


# ---- kinks ---------------------------------------------------------------------------------------


def test_the_slope_of_relu_at_zero_is_0(agree):
    """autograd has 0.5 (relu is its maximum(x, 0)), tinygrad of 2021 has 1 (`>=`)."""
    agree(tg.relu, [[-1, -0.0, 0.0, 2]], [0, 0, 0, 2], [[0, 0, 0, 1]], torch.relu)


def test_relu_of_nan_is_nan_and_so_is_its_slope(agree):
    """PyTorch lets the gradient through with 1: a NaN in the forward pass, none in the backward."""
    agree(tg.relu, [[nan, inf, -inf]], [nan, inf, 0], [[nan, 1, 0]])


def test_the_slope_of_abs_at_zero_is_0(agree):
    """JAX has 1."""
    agree(tg.abs, [[-2, 0.0, 3]], [2, 0, 3], [[-1, 0, 1]], torch.abs)


def test_the_slope_of_abs_at_nan_is_nan_and_at_inf_it_is_the_sign(agree):
    """PyTorch has 0 at NaN."""
    agree(tg.abs, [[nan, inf, -inf]], [nan, inf, inf], [[nan, 1, -1]])


@quiet
def test_the_sign_of_nan_is_nan_and_its_slope_is_0(agree):
    """PyTorch says that NaN has the sign 0."""
    agree(tg.sign, [[nan, -3, 0.0, 5]], [nan, -1, 0, 1], [[0, 0, 0, 0]])


@quiet
@pytest.mark.parametrize("f", [tg.sign, lambda x: x**0], ids=["sign", "x ** 0"])
def test_what_is_flat_passes_nothing_on_even_of_an_infinite_cotangent(backend, dtype, f):
    """0 * inf would be a NaN; PyTorch writes zeros for both."""
    x = tg.Tensor(backend.array(np.array([nan, -3, 0, inf], dtype)), requires_grad=True)
    weights = backend.array(np.array([inf, -inf, nan, inf], dtype))
    for create_graph in (False, True):
        g = tg.grad(f(x), x, weights, create_graph)
        same(backend.host(g.data if create_graph else g), [0, 0, 0, 0], dtype)


def test_clip_has_the_slope_1_at_its_bounds(agree):
    """autograd has 0 there, JAX 0.5."""
    agree(
        lambda x: tg.clip(x, -1, 2), [[-3, -1, 0.5, 2, 4]], [-1, -1, 0.5, 2, 2], [[0, 1, 1, 1, 0]],
        lambda x: torch.clamp(x, -1, 2),
    )  # fmt: skip


def test_a_one_sided_clip_has_the_slope_1_at_its_bound_and_0_at_nan(agree):
    """clip(x, 0) is not relu: at 0 relu has 0, PyTorch's clamp_min has 1 like this one."""
    low = lambda x: tg.clip(x, 0)
    agree(low, [[-1, 0.0, 2, nan]], [0, 0, 2, nan], [[0, 1, 1, 0]], lambda x: x.clamp(min=0))
    high = lambda x: tg.clip(x, high=0)
    agree(high, [[-1, 0.0, 2]], [-1, 0, 0], [[1, 1, 0]], lambda x: x.clamp(max=0))


def test_leaky_relu_has_its_small_slope_at_zero(agree):
    """`x >= 0` in place of `x > 0` would give 1."""
    torch_f = torch.nn.functional.leaky_relu
    agree(tg.leaky_relu, [[-2, 0.0, 3]], [-0.02, 0, 3], [[0.01, 0.01, 1]], torch_f)


def test_elu_has_the_slope_alpha_at_zero_and_none_far_below(agree):
    """The left branch rules at 0: with alpha = 1.5 the slope is 1.5, not 1."""
    agree(
        lambda x: tg.elu(x, 1.5), [[0.0, 1000, -1000]], [0, 1000, -1.5], [[1.5, 1, 0]],
        lambda x: torch.nn.functional.elu(x, 1.5),
    )  # fmt: skip


def test_huber_has_the_slope_delta_from_the_kink_on_and_0_at_0(agree):
    """The mean of four: slopes ±1/4 at distances of 1 and beyond, 0 at distance 0."""
    agree(
        lambda x: tg.huber_loss(x, x.detach() * 0),
        [[1, -1, 0.0, 5]], 1.375, [[0.25, -0.25, 0, 0.25]],
        lambda x: torch.nn.functional.huber_loss(x, torch.zeros_like(x)),
    )  # fmt: skip


def test_huber_without_a_quadratic_part_is_refused_as_in_torch(agree):
    """smooth_l1_loss(beta=0) means the absolute error; a Huber loss with delta = 0 is just 0."""
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="delta"):
        tg.huber_loss(x, [0.0, 0.0], delta=0)


def test_the_hinge_is_flat_at_a_margin_of_exactly_1(agree):
    """The subgradient of smallest size, as everywhere here; hinge code with `<=` has -1."""
    agree(
        lambda x: tg.hinge_loss(x, x.detach() * 0 + 1), [[1, 2, 0.0]], 1 / 3, [[0, 0, -1 / 3]],
        lambda x: torch.clamp(1 - x, min=0).where(x != 1, 0 * x).mean(),
    )  # fmt: skip


# ---- ties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_max_shares_its_gradient_evenly_among_the_tied(agree, axis):
    """DeZero and Chainer give 1 to each of them; torch's max(dim) gives all of it to the first."""
    third = 1 / 3
    agree(
        lambda x: x.max(axis=axis), [[3, 1, 3, 3]], 3, [[third, 0, third, third]],
        lambda x: x.amax(dim=0),
    )  # fmt: skip


def test_min_shares_its_gradient_evenly_among_the_tied_of_each_column(agree):
    """As max; the tie in one column must not touch the other's single minimum."""
    agree(
        lambda x: x.min(axis=0), [[[1, 2], [1, 3]]], [1, 2],
        [lambda g: [[g[0] / 2, g[1]], [g[0] / 2, 0]]], lambda x: x.amin(dim=0),
    )  # fmt: skip


@quiet
def test_max_of_a_nan_is_nan_and_nobody_gets_a_finite_gradient(agree):
    """A NaN hits no tie (NaN != NaN), and 0 shares of nothing are NaN: as torch's amax."""
    agree(lambda x: x.max(), [[1, nan, 3]], nan, [[nan, nan, nan]], torch.amax)


def test_maximum_and_minimum_share_a_tie_half_and_half(agree):
    """Chainer gives all of it to the first argument."""
    a, b, half = [1, 2, 0.0], [1, 1, 4], 0.5
    agree(tg.maximum, [a, b], [1, 2, 4], [[half, 1, 0], [half, 0, 1]], torch.maximum)
    agree(tg.minimum, [a, b], [1, 1, 0], [[half, 0, 1], [half, 1, 0]], torch.minimum)


def test_maximum_of_x_and_the_number_0_has_the_slope_one_half_at_0(agree):
    """Chainer has 1. Whoever wants relu's 0 writes relu."""
    agree(lambda x: tg.maximum(x, 0), [[-1, 0.0, 2]], [0, 0, 2], [[0, 0.5, 1]],
          lambda x: torch.maximum(x, torch.zeros(1, dtype=x.dtype)))  # fmt: skip


def test_maximum_with_nan_is_nan_and_passes_its_gradient_to_both(agree):
    """np.fmax would drop the NaN."""
    a, b = [nan, 1], [1, nan]
    agree(tg.maximum, [a, b], [nan, nan], [[1, 1], [1, 1]], torch.maximum)
    agree(tg.minimum, [a, b], [nan, nan], [[1, 1], [1, 1]], torch.minimum)


def test_the_inf_norm_shares_its_gradient_evenly_and_with_the_signs(agree):
    """One of the tied alone would be a subgradient as well, but not the one of least length."""
    agree(
        lambda x: tg.norm(x, ord=inf), [[3, -1, -3.0]], 3, [[0.5, 0, -0.5]],
        lambda x: torch.linalg.vector_norm(x, inf),
    )  # fmt: skip


def test_argmax_takes_the_first_of_the_tied(backend, dtype):
    """So that the predicted class does not depend on the backend."""
    x = tg.Tensor(backend.array(np.array([[1, 3, 3], [2, 2, 0]], dtype)))
    assert backend.host(x.argmax(axis=1).data).tolist() == [1, 0]


# ---- zeros ---------------------------------------------------------------------------------------


@quiet
def test_the_square_root_has_the_slope_inf_at_zero(agree):
    """All peers agree: the true slope."""
    agree(tg.sqrt, [[0.0, 4]], [0, 2], [[inf, 0.25]], torch.sqrt)


@quiet
def test_the_logarithm_of_zero_is_minus_inf_with_the_slope_inf(agree):
    """All peers agree."""
    agree(tg.log, [[0.0, 4]], [-inf, math.log(4)], [[inf, 0.25]], torch.log)


@quiet
def test_the_infinite_slope_of_sqrt_and_the_log_of_zero_are_named_in_anomaly_mode(backend, dtype):
    """torch.autograd.detect_anomaly looks for NaN only; an inf passes."""
    x = tg.Tensor(backend.array(np.zeros(2, dtype)), requires_grad=True)
    with tg.detect_anomaly():
        y = tg.sqrt(x).sum()
        with pytest.raises(FloatingPointError, match=r"VJP of sqrt.*test_conventions\.py"):
            y.backward()
        with pytest.raises(FloatingPointError, match=r"^log made .*test_conventions\.py"):
            tg.log(x)
    assert x.grad is None


@quiet
def test_the_root_of_a_sum_of_squares_is_nan_at_zero_and_norm_is_the_cure(agree):
    """inf · 0: no engine can see through the formula written out."""
    agree(lambda x: (x * x).sum().sqrt(), [[0.0, 0]], 0, [[nan, nan]],
          lambda x: (x * x).sum().sqrt())  # fmt: skip
    agree(tg.norm, [[0.0, 0]], 0, [[0, 0]], torch.linalg.vector_norm)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, inf])
def test_the_gradient_of_every_norm_at_the_zero_vector_is_0(agree, p):
    """autograd, JAX and tinygrad have NaN for p = 2."""
    agree(lambda x: tg.norm(x, ord=p), [[0.0, 0]], 0, [[0, 0]],
          lambda x: torch.linalg.vector_norm(x, p))  # fmt: skip


def test_one_zero_row_does_not_spoil_the_norms_of_the_others(agree):
    """0 / 0 masked by multiplication would still leave NaN in the row of zeros."""
    agree(
        lambda x: tg.norm(x, axis=1), [[[0.0, 0], [3, 4]]], [0, 5],
        [lambda g: [[0, 0], [0.6 * g[1], 0.8 * g[1]]]],
        lambda x: torch.linalg.vector_norm(x, dim=1),
    )  # fmt: skip


def test_the_gradient_of_the_standard_deviation_of_equal_values_is_0(agree):
    """autograd, JAX and tinygrad have NaN."""
    agree(tg.std, [[2, 2, 2.0]], 0, [[0, 0, 0]], lambda x: x.std(unbiased=False))


def test_the_variance_of_equal_values_and_of_one_value_is_flat(agree):
    """The near miss of the row above: nothing to mask here."""
    agree(tg.var, [[2, 2, 2.0]], 0, [[0, 0, 0]], lambda x: x.var(unbiased=False))
    agree(tg.var, [[7.0]], 0, [[0]])


def test_the_layer_norm_of_equal_values_is_0_with_the_gradient_0(agree):
    """eps stands under the root: without it the slope would be inf."""
    agree(
        lambda x: tg.layer_norm(x), [[[2, 2.0]]], [[0, 0]],
        [lambda g: (g - g.mean()) / math.sqrt(1e-5)],
        lambda x: torch.nn.functional.layer_norm(x, (2,)),
    )  # fmt: skip


def test_zero_to_the_power_of_zero_is_1_and_flat_in_both(agree):
    """JAX has NaN for the base; DeZero and Chainer for x ** 0 with a plain number."""
    agree(tg.power, [0.0, 0.0], 1, [0, 0], torch.pow)
    agree(lambda x: x**0, [[0.0, 2]], [1, 1], [[0, 0]], lambda x: x**0)
    agree(lambda x: x**0.0, [[0.0, 2]], [1, 1], [[0, 0]], lambda x: x**0.0)


def test_zero_to_a_positive_power_is_flat_in_the_exponent(agree):
    """Chainer and tinygrad of 2021 have NaN: 0 · log 0."""
    agree(tg.power, [[0.0, 0], [2, 1]], [0, 0], [[0, 1], [0, 0]], torch.pow)
    agree(lambda y: 0**y, [[2.0, 3]], [0, 0], [[0, 0]], lambda y: 0**y)


@quiet
def test_the_root_of_zero_written_as_a_power_is_steep_in_the_base_and_flat_in_the_exponent(agree):
    """All peers agree."""
    agree(tg.power, [0.0, 0.5], 0, [inf, 0], torch.pow)
    agree(lambda x: x**0.5, [0.0], 0, [inf], lambda x: x**0.5)


@quiet
def test_the_exponent_of_a_negative_base_has_the_slope_nan(agree):
    """(-2) ** p is real at whole p only: there is no slope."""
    agree(tg.power, [-2.0, 3.0], -8, [12, nan], torch.pow)


@quiet
def test_zero_to_a_negative_power_is_inf_with_infinite_slopes(agree):
    """Only p ≥ 0 is masked."""
    agree(tg.power, [0.0, -1.0], inf, [-inf, -inf], torch.pow)


def test_the_gradient_of_a_product_with_one_zero_is_exact(agree):
    """autograd has NaN: y / x is 0 / 0."""
    agree(tg.prod, [[0.0, 2, 3]], 0, [[6, 0, 0]], torch.prod)


def test_the_gradient_of_a_product_with_two_zeros_is_zero(agree):
    """autograd has NaN in two places."""
    agree(tg.prod, [[0.0, 2, 0]], 0, [[0, 0, 0]], torch.prod)
    agree(lambda x: x.prod(axis=1), [[[0.0, 2], [3, 4]]], [0, 12],
          [lambda g: [[2 * g[0], 0], [4 * g[1], 3 * g[1]]]], lambda x: x.prod(1))  # fmt: skip


@quiet
def test_where_does_not_stop_a_nan_of_the_unused_branch(agree):
    """Every peer has this NaN (0 · inf); it is documented, and so is the cure below."""
    agree(
        lambda x: tg.where(x > 0, tg.sqrt(x), 0), [[0.0, 4]], [0, 2], [[nan, 0.25]],
        lambda x: torch.where(x > 0, torch.sqrt(x), 0),
    )  # fmt: skip


def test_the_double_where_cures_it(agree):
    """Choose the input as well, and no branch has an infinite slope."""
    agree(
        lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1)), 0),
        [[0.0, 4, -1]], [0, 2, 0], [[0, 0.25, 0]],
        lambda x: torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, 1)), 0),
    )  # fmt: skip


# ---- exponentials far out ------------------------------------------------------------------------


def test_logsumexp_of_large_equal_scores_is_exact(agree):
    """Written out it has inf; PyTorch's gradient, exp(x - y), is off by 3e-5 in float32 here."""
    agree(tg.logsumexp, [[1000, 1000.0]], 1000 + math.log(2), [[0.5, 0.5]])
    agree(tg.logsumexp, [[-1000, -1000.0]], -1000 + math.log(2), [[0.5, 0.5]])


def test_logsumexp_of_minus_inf_alone_is_minus_inf_with_the_gradient_0(agree):
    """PyTorch and JAX have a NaN gradient; a fully masked row then poisons all weights."""
    agree(tg.logsumexp, [[-inf, -inf]], -inf, [[0, 0]])
    agree(
        lambda x: tg.logsumexp(x, axis=1), [[[-inf, -inf], [0.0, 0]]], [-inf, math.log(2)],
        [lambda g: [[0, 0], [g[1] / 2, g[1] / 2]]],
    )  # fmt: skip


@quiet
def test_logsumexp_with_plus_inf_is_inf_with_nan_there_and_0_elsewhere(agree):
    """inf - inf has no meaning, and the other score no weight."""
    agree(tg.logsumexp, [[inf, 1]], inf, [[nan, 0]], lambda x: torch.logsumexp(x, 0))


@quiet
@pytest.mark.parametrize("row", [[-inf, -inf], [inf, 0.0]])
def test_softmax_without_a_finite_winner_is_nan(agree, row):
    """As PyTorch and JAX: a row with nothing to choose from is an error further up."""
    agree(tg.softmax, [row], [nan, nan], [[nan, nan]], lambda x: torch.softmax(x, 0))


def test_a_masked_score_in_softmax_has_the_weight_and_the_gradient_0(agree):
    """The near miss: one -inf among finite scores is what masking is made of."""
    agree(tg.softmax, [[-inf, 3.0]], [0, 1], [[0, 0]], lambda x: torch.softmax(x, 0))


def test_log_softmax_at_plus_and_minus_1000_is_exact(agree):
    """log(softmax(x)), as autograd and the old engines write it, has NaN."""
    agree(tg.log_softmax, [[1000, -1000.0]], [0, -2000],
          [lambda g: [-g[1], g[1]]], lambda x: torch.log_softmax(x, 0))  # fmt: skip


def test_cross_entropy_at_plus_and_minus_1000_is_exact(agree):
    """The mean of 0 and 2000, and the gradient (softmax - one-hot) / 2."""
    agree(
        lambda x: tg.cross_entropy(x, [0, 1]), [[[1000, -1000], [1000, -1000.0]]], 1000,
        [[[0, 0], [0.5, -0.5]]],
        lambda x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])),
    )  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("labels", [[], np.zeros(0, "int64")])
def test_cross_entropy_of_an_empty_batch_is_an_error(labels):
    """PyTorch has NaN, and an empty gradient."""
    with pytest.raises(ValueError, match="cross_entropy: the batch is empty"):
        tg.cross_entropy(tg.Tensor(np.zeros((0, 3), "float32"), requires_grad=True), labels)


def test_binary_cross_entropy_of_logits_is_exact_on_the_wrong_side(agree):
    """PyTorch's BCE of probabilities clamps the loss at 100 and has gradients of ±5e11."""
    agree(
        lambda x: tg.bce_with_logits(x, (x.detach() < 0).astype(x.dtype)),
        [[1000, -1000.0]], 1000, [[0.5, -0.5]],
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(x, (x < 0).to(x.dtype)),
    )  # fmt: skip


@quiet
def test_log_of_sigmoid_far_left_is_minus_inf_with_a_nan_gradient(agree):
    """0 · inf, in every engine; logsigmoid is the cure."""
    agree(lambda x: tg.log(tg.sigmoid(x)), [[-1000.0]], -inf, [[nan]],
          lambda x: torch.log(torch.sigmoid(x)))  # fmt: skip


def test_logsigmoid_is_exact_in_both_tails(agree):
    """Where log(sigmoid(x)) has -inf and NaN."""
    agree(tg.logsigmoid, [[-1000, 1000, 0.0]], [-1000, 0, -math.log(2)], [[1, 0, 0.5]],
          torch.nn.functional.logsigmoid)  # fmt: skip


def test_softplus_is_exact_in_both_tails_and_at_inf(agree):
    """log(1 + exp(x)) has inf above 89 in float32: tinygrad of 2021."""
    x = [-1000, 1000, 0.0, inf, -inf]
    agree(tg.softplus, [x], [0, 1000, math.log(2), inf, 0], [[0, 1, 0.5, 1, 0]],
          torch.nn.functional.softplus)  # fmt: skip


def test_sigmoid_is_finite_in_both_tails_and_at_inf(agree):
    """exp(x) / (1 + exp(x)) has NaN above 89 in float32: autograd written out, tinygrad of 2021."""
    x = [-1000, 1000, 0.0, inf, -inf, nan]
    agree(tg.sigmoid, [x], [0, 1, 0.5, 1, 0, nan], [[0, 0, 0.25, 0, 0, nan]], torch.sigmoid)


def test_tanh_is_flat_far_out(agree):
    """The quotient of exponentials has NaN."""
    x = [-1000, 1000, 0.0, inf, -inf, nan]
    agree(tg.tanh, [x], [-1, 1, 0, 1, -1, nan], [[0, 0, 1, 0, 0, nan]], torch.tanh)


@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_the_smooth_activations_are_exact_far_out(agree, name):
    """x · sigmoid(x) with a naive sigmoid has NaN at -1000."""
    torch_f = getattr(torch.nn.functional, name)
    agree(getattr(tg, name), [[-1000, 1000, 0.0]], [0, 1000, 0], [[0, 1, 0.5]], torch_f)


def test_expm1_and_log1p_keep_all_digits_of_a_small_x(agree, dtype):
    """exp(x) - 1 and log(1 + x) keep none of them at 1e-20."""
    agree(tg.expm1, [[1e-20, 0.0]], [1e-20, 0], [[1, 1]], torch.expm1)
    agree(tg.log1p, [[1e-20, 0.0]], [1e-20, 0], [[1, 1]], torch.log1p)


# ---- picking twice -------------------------------------------------------------------------------


def test_a_repeated_index_adds_its_gradients(agree):
    """`gx[index] += g` keeps only the last of them."""
    x, index = [[5], [6], [7.0]], [0, 0, 1]
    wanted = [lambda g: [g[0] + g[1], g[2], [0]]]
    for f in (
        lambda x: x[index],
        lambda x: x[np.array(index)],
        lambda x: x.take(index, axis=0),
        lambda x: tg.embedding(index, x),
        lambda x: x.take_along_axis(np.array(index)[:, None], 0),
    ):
        agree(f, [x], [[5], [5], [6]], wanted, lambda x: x[index])


def test_writing_into_a_recorded_tensor_is_an_error(backend, dtype):
    """scatter and put with a repeated index: PyTorch gives both writers a gradient of 1."""
    x = tg.Tensor(backend.array(np.zeros(3, dtype)), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"tg\.where"):
        x[0] = 1.0
    assert backend.host(x.data).tolist() == [0, 0, 0]
