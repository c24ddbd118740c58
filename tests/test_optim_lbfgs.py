"""L-BFGS by what defines it: the secant equation, the Wolfe conditions, the minimum it finds."""

import numpy as np
import pytest
import torch

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray, host
from tinygrad_opt.optim import LBFGS
from tinygrad_opt.optim.lbfgs import ROUNDING, inverse_hessian_times
from tinygrad_opt.optim.linesearch import C1, C2, Point, strong_wolfe

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy


def rosenbrock(x):
    """The banana valley, for tg.Tensor and torch alike."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2).sum() + ((1 - x[:-1]) ** 2).sum()


def parameter(values, dtype="float64"):
    return tg.Tensor(np.asarray(values, dtype), requires_grad=True)


def closure_of(optimizer, w, loss=rosenbrock):
    calls = []

    def closure():
        optimizer.zero_grad()
        calls.append(loss(w))
        calls[-1].backward()
        return calls[-1]

    return closure, calls


def descend(w, steps=30, loss=rosenbrock, **settings):
    optimizer = LBFGS([w], **{"line_search_fn": "strong_wolfe", **settings})
    closure, calls = closure_of(optimizer, w, loss)
    for _ in range(steps):
        optimizer.step(closure)
    return optimizer, calls


# ---- the two loops -------------------------------------------------------------------------------


def bfgs_inverse(pairs, size):
    """The inverse Hessian as a matrix, by the rank-two updates (Nocedal, Wright 2006, 6.17)."""
    s, y = pairs[-1]
    H = np.eye(size) * (s @ y) / (y @ y)
    for s, y in pairs:
        V = np.eye(size) - np.outer(y, s) / (y @ s)
        H = V.T @ H @ V + np.outer(s, s) / (y @ s)
    return H


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_two_loops_are_the_product_with_the_matrix_of_rank_two_updates(
    count, dtype, bound, backend
):
    rng = np.random.default_rng(count)
    A = rng.standard_normal((6, 6))
    A = A @ A.T + np.eye(6)
    steps = rng.standard_normal((count, 6))
    pairs = [(s.astype(dtype), (A @ s).astype(dtype)) for s in steps]
    g = rng.standard_normal(6).astype(dtype)
    wanted = bfgs_inverse([(s.astype("f8"), y.astype("f8")) for s, y in pairs], 6) @ g
    pairs = [(backend.array(s), backend.array(y)) for s, y in pairs]
    got = backend.host(inverse_hessian_times(backend.array(g), pairs))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, rtol=bound, atol=bound)


def test_the_guess_fulfils_the_secant_equation_of_the_newest_pair(backend):
    rng = np.random.default_rng(0)
    pairs = [(s, s * 3 + 0.1 * rng.standard_normal(8)) for s in rng.standard_normal((4, 8))]
    pairs = [(backend.array(s), backend.array(y)) for s, y in pairs]
    s, y = pairs[-1]
    got = backend.host(inverse_hessian_times(y, pairs))
    np.testing.assert_allclose(got, backend.host(s), atol=1e-12)


def test_without_pairs_the_direction_is_the_gradient():
    g = np.arange(5.0)
    np.testing.assert_array_equal(inverse_hessian_times(g, []), g)


# ---- the line search -----------------------------------------------------------------------------

CURVES = {  # f and its slope; each falls at 0
    "bowl": (lambda t: (t - 3) ** 2, lambda t: 2 * (t - 3)),
    "steep wall": (lambda t: np.exp(5 * t) - 20 * t, lambda t: 5 * np.exp(5 * t) - 20),
    "long slope": (lambda t: -t / (t**2 + 2), lambda t: (t**2 - 2) / (t**2 + 2) ** 2),
    "wiggles": (lambda t: (t - 4) ** 2 - 2 * np.sin(9 * t),
                lambda t: 2 * (t - 4) - 18 * np.cos(9 * t)),
    "kinked": (lambda t: abs(t - 1.0) + 0.01 * t * t - 0.5 * t,
               lambda t: float(np.sign(t - 1.0)) + 0.02 * t - 0.5),
}  # fmt: skip


def searched(f, slope, length, rounding=0.0, **settings):
    seen = []

    def at(t):
        seen.append(t)
        value = float(f(t))
        return Point(t, value, float(slope(t)), None, rounding * abs(value))

    start = at(0.0)
    seen.clear()
    return strong_wolfe(at, start, length, **settings), start, seen


@pytest.mark.parametrize("length", [1e-3, 0.1, 1.0, 10.0, 300.0])
@pytest.mark.parametrize("name", ["bowl", "steep wall", "long slope"])
def test_the_line_search_ends_where_both_wolfe_conditions_hold(name, length):
    with np.errstate(over="ignore"):
        found, start, seen = searched(*CURVES[name], length)
    assert found.f <= start.f + C1 * found.length * start.slope
    assert abs(found.slope) <= C2 * abs(start.slope)
    assert found.length in seen
    assert len(seen) <= 25


@pytest.mark.parametrize("length", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", ["wiggles", "kinked"])
def test_where_the_way_is_rough_the_loss_still_falls(name, length):
    found, start, _ = searched(*CURVES[name], length)
    assert found.f < start.f
    assert found.f <= start.f + C1 * found.length * start.slope


def test_a_point_that_is_not_finite_counts_as_too_far():
    f, slope = lambda t: t * t - 2 * t if t < 5 else np.nan, lambda t: 2 * t - 2
    found, *_ = searched(f, slope, 100.0)
    assert found.length < 5
    assert abs(found.slope) <= C2 * 2


FALLING = {  # curves of which a short piece, continued as a cubic, falls for ever
    "from a hilltop": (lambda t: np.cos(t + 0.1), lambda t: -np.sin(t + 0.1)),
    "flatter, then steeper": (lambda t: 1e-4 * t**4 - 0.004 * t**3 + 0.02 * t**2 - 0.2 * t,
                              lambda t: 4e-4 * t**3 - 0.012 * t**2 + 0.04 * t - 0.2),
    "steeper and steeper": (lambda t: t**4 - t**3 - t**2 - 0.1 * t,
                            lambda t: 4 * t**3 - 3 * t**2 - 2 * t - 0.1),
}  # fmt: skip


@pytest.mark.parametrize("length", [1e-4, 1e-2])
@pytest.mark.parametrize("name", FALLING)
def test_where_no_minimum_is_in_sight_the_length_grows_severalfold(name, length):
    found, start, seen = searched(*FALLING[name], length)
    assert found.f <= start.f + C1 * found.length * start.slope
    assert abs(found.slope) <= C2 * abs(start.slope)
    assert len(seen) <= 9


# ---- what rounding does to it --------------------------------------------------------------------

EPS = float(np.finfo("float32").eps)


def rounded(f, seed):
    """The values of f in float32, and their last bit at random, as other sums would give it."""
    draw = np.random.default_rng(seed)
    return lambda t: float(np.float32(f(t) * (1 + EPS / 2 * draw.uniform(-1, 1))))


@pytest.mark.parametrize("height", [1e-7, 1e-8, 1e-10])
@pytest.mark.parametrize("place", [0.2, 1.05])
def test_near_the_minimum_where_losses_are_rounded_off_the_slopes_decide(place, height):
    """The minimum is at `place`, and lower than the start by less than the rounding of f."""

    def f(t):
        return 1 + height * ((t - place) ** 2 - place**2)

    for seed in range(20):
        found, start, seen = searched(
            rounded(f, seed), lambda t: 2 * height * (t - place), 1.0, ROUNDING * EPS)  # fmt: skip
        assert abs(found.slope) <= C2 * abs(start.slope)
        assert found.length == pytest.approx(place, rel=0.06)
        assert len(seen) <= 2


@pytest.mark.parametrize("place, end", [(0.45, 0.0), (0.55, 1.0)])
def test_of_two_ends_whose_losses_are_the_same_the_lower_one_by_the_slopes_comes_back(place, end):
    found, *_ = searched(lambda t: 1.0, lambda t: 1e-8 * (t - place), 1.0, ROUNDING * EPS,
                         tolerance=2.0)  # fmt: skip
    assert found.length == end


def hill(t):
    """As high at 1 as at 0, with a valley between; by the slopes alone, 1 would be far below."""
    return -t * (t - 1) ** 2 - 0.5 * t * t * (t - 1)


def test_a_point_as_high_as_the_start_is_not_taken_for_its_slope():
    found, start, seen = searched(
        lambda t: 1 + hill(t), lambda t: (hill(t + 1e-6) - hill(t - 1e-6)) / 2e-6, 1.0,
        ROUNDING * EPS)  # fmt: skip
    assert len(seen) > 1
    assert found.f < start.f - 0.05


@everywhere
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_difference_that_rounding_does_not_make_is_believed(dtype):
    w = parameter([0.0], dtype)
    descend(w, 1, lambda w: 1 + 1e-4 * hill(w).sum(), lr=1e4, max_iter=1)  # 1 is tried first
    assert hill(w.numpy()[0]) < -0.05


@pytest.mark.parametrize("length", [0.02, 0.07])
def test_rounding_does_not_decide_how_far_a_short_first_step_leads(length):
    """Between near points the losses say nothing of how the slope bends, and the slopes do."""
    lengths = [
        searched(rounded(lambda t: 3 - 0.2 * t + 0.02 * t * t, seed),
                 lambda t: 0.04 * t - 0.2, length, ROUNDING * EPS)[0].length
        for seed in range(40)
    ]  # fmt: skip
    assert max(lengths) == pytest.approx(min(lengths), rel=1e-3)


# ---- the optimizer -------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("size", [2, 10, 50])
def test_the_minimum_of_the_banana_valley_is_found(size):
    w = parameter(np.random.default_rng(size).standard_normal(size) * 0.5)
    _, calls = descend(w)
    assert rosenbrock(w).item() < 1e-8
    np.testing.assert_allclose(w.numpy(), 1.0, atol=1e-3)
    assert len(calls) < 400


@everywhere
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_accepted_step_of_the_line_search_fulfils_the_wolfe_conditions(dtype):
    w, eps = parameter([-1.2, 1.0, 0.5, 2.0], dtype), np.finfo(dtype).eps
    optimizer = LBFGS([w], line_search_fn="strong_wolfe", max_iter=1, max_eval=30)
    closure, _ = closure_of(optimizer, w)
    steps = 0
    while steps < 25:
        before, f0 = w.numpy(), closure().item()
        g0 = host(w.grad).copy()
        optimizer.step(closure)
        step = w.numpy() - before
        f1, g1 = closure().item(), host(w.grad)
        if abs(f0 - f1) < 100 * eps:
            break
        assert f1 <= f0 + C1 * (g0 @ step) + 4 * eps * f0
        assert abs(g1 @ step) <= C2 * abs(g0 @ step) + 100 * eps
        steps += 1
    assert steps > 10


@everywhere
def test_float32_weights_come_to_the_minimum_with_as_many_calls_as_float64_ones():
    """A logistic regression to its end, where losses in float32 no longer show which is lower."""

    def run(dtype):
        draw = np.random.default_rng(0)
        x = draw.standard_normal((100, 8))
        x = x * np.sign(x[:, :1] + draw.standard_normal((100, 1)))  # towards their class
        x, w = tg.Tensor(asarray(x.astype(dtype))), parameter(np.zeros(8), dtype)
        _, calls = descend(w, 40, lambda w: tg.softplus(-(x @ w)).mean(), max_iter=1, l2=0.01,
                           tolerance_change=0.0)  # fmt: skip
        return len(calls), w.numpy()

    (few, w), (enough, exact) = run("float32"), run("float64")
    assert few <= enough + 5
    np.testing.assert_allclose(w, exact, rtol=1e-5)


@everywhere
def test_a_quadratic_of_n_weights_is_solved_in_little_more_than_n_iterations():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((8, 8))
    A, b = A @ A.T + np.eye(8), rng.standard_normal(8)
    w, matrix, vector = parameter(np.zeros(8)), asarray(A), asarray(b)

    def loss(x):
        return 0.5 * (x * (matrix @ x)).sum() - (vector * x).sum()

    descend(w, steps=2, loss=loss, tolerance_grad=1e-10, tolerance_change=0.0)
    np.testing.assert_allclose(w.numpy(), np.linalg.solve(A, b), atol=1e-6)


@everywhere
@pytest.mark.parametrize("dtype, bound", [("float64", 1e-9), ("float32", 1e-4)])
def test_without_a_line_search_the_iterates_are_those_of_torch(dtype, bound):
    start = np.array([0.3, -0.2, 0.1, 0.4], dtype)
    w, z = parameter(start.copy(), dtype), torch.tensor(start, requires_grad=True)
    ours, theirs = LBFGS([w], lr=0.05), torch.optim.LBFGS([z], lr=0.05)
    closure, calls = closure_of(ours, w)
    counted = []

    def their_closure():
        theirs.zero_grad()
        loss = rosenbrock(z)
        loss.backward()
        counted.append(loss.item())
        return loss

    for _ in range(3):
        ours.step(closure)
        theirs.step(their_closure)
        np.testing.assert_allclose(w.numpy(), z.detach().numpy(), atol=bound)
    assert len(calls) == len(counted)
    assert w.dtype == dtype


@everywhere
def test_it_reaches_as_low_as_torch_does():
    start = np.random.default_rng(7).standard_normal(20)
    w, z = parameter(start.copy()), torch.tensor(start, requires_grad=True)
    descend(w, steps=40)
    theirs = torch.optim.LBFGS([z], line_search_fn="strong_wolfe")

    def their_closure():
        theirs.zero_grad()
        loss = rosenbrock(z)
        loss.backward()
        return loss

    for _ in range(40):
        theirs.step(their_closure)
    assert rosenbrock(w).item() <= max(rosenbrock(z).item(), 1e-10) * 10


@everywhere
def test_the_loss_of_the_first_call_comes_back_and_t_counts_the_steps():
    w = parameter([-1.2, 1.0])
    optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    closure, calls = closure_of(optimizer, w)
    assert optimizer.step(closure) is calls[0]
    assert optimizer.t == 1
    assert len(calls) <= 25


@everywhere
def test_l2_joins_the_loss_so_that_the_minimum_is_that_of_the_sum():
    w = parameter([5.0, -3.0])
    descend(w, steps=5, loss=lambda x: 0.5 * ((x - 1.0) ** 2).sum(), l2=1.0)
    np.testing.assert_allclose(w.numpy(), 0.5, atol=1e-6)  # ½(x - 1)² + ½x²


@everywhere
def test_no_more_pairs_are_kept_than_asked_for_and_memory_tells_their_bytes():
    w = parameter(np.random.default_rng(0).standard_normal(100))
    optimizer, _ = descend(w, steps=3, history_size=4)
    names = {f"{letter}{n}" for letter in "sy" for n in range(4)} | {"gradient", "step"}
    assert set(optimizer.memory()) == names
    assert all(size == 128 * 8 for size in optimizer.memory().values())


@everywhere
def test_a_step_along_which_the_loss_curves_down_leaves_no_pair():
    w = parameter([0.3])
    optimizer, _ = descend(w, 2, lambda w: tg.cos(w).sum(), line_search_fn=None, max_iter=1)
    assert set(optimizer.memory()) == {"gradient", "step"}
    assert w.item() > 0.6  # there were two


@everywhere
def test_a_resumed_run_is_the_run_that_was_not_interrupted():
    straight, first = parameter([-1.2, 1.0, 0.3]), parameter([-1.2, 1.0, 0.3])
    descend(straight, steps=6, max_iter=3)
    before, _ = descend(first, steps=3, max_iter=3)
    second = parameter(first.numpy())
    after = LBFGS([second], max_iter=3, line_search_fn="strong_wolfe")
    after.load_state_dict(before.state_dict())
    closure, _ = closure_of(after, second)
    for _ in range(3):
        after.step(closure)
    np.testing.assert_array_equal(second.numpy(), straight.numpy())
    assert after.t == 6


@everywhere
def test_a_state_of_another_shape_is_refused_and_the_memory_stays():
    optimizer, _ = descend(parameter([-1.2, 1.0]), steps=2)
    other, _ = descend(parameter([-1.2, 1.0, 0.3]), steps=2)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="does not fit LBFGS"):
        optimizer.load_state_dict(other.state_dict())
    np.testing.assert_equal(optimizer.state_dict(), before)


@everywhere
def test_an_error_in_the_closure_leaves_weights_and_memory_as_they_were():
    w = parameter([-1.2, 1.0])
    optimizer, _ = descend(w, steps=1, max_iter=3)
    before, state = w.numpy(), optimizer.state_dict()
    count = 0

    def closure():
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        optimizer.zero_grad()
        loss = rosenbrock(w)
        loss.backward()
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    np.testing.assert_array_equal(w.numpy(), before)
    np.testing.assert_equal(optimizer.state_dict(), state)


@everywhere
def test_a_nan_where_the_step_begins_raises_and_changes_nothing():
    w = parameter([-1.0, 1.0])
    optimizer = LBFGS([("w", w)], line_search_fn="strong_wolfe")
    closure, _ = closure_of(optimizer, w, lambda x: x.log().sum())
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        optimizer.step(closure)
    np.testing.assert_array_equal(w.numpy(), [-1.0, 1.0])


def test_it_runs_on_either_backend_with_the_same_result(backend):
    start = np.array([-1.2, 1.0, 0.4], "float64")
    w = tg.Tensor(backend.array(start), requires_grad=True)
    descend(w, steps=5)
    with tg.use("numpy"):
        reference = parameter(start.copy())
        descend(reference, steps=5)
    np.testing.assert_allclose(backend.host(w.data), reference.numpy(), atol=1e-9)


leaf = parameter([1.0])
WRONG = {
    "transforms": ({"transforms": [tg.optim.ClipNorm(1.0)]}, ValueError, "no transforms"),
    "line search": ({"line_search_fn": "armijo"}, ValueError, "'strong_wolfe' or None"),
    "max_iter": ({"max_iter": 0}, ValueError, "max_iter is an integer of 1 or more"),
    "max_eval": ({"max_eval": 2.5}, ValueError, "max_eval is an integer"),
    "history": ({"history_size": True}, ValueError, "history_size is an integer"),
    "tolerance": ({"tolerance_grad": -1.0}, ValueError, "tolerance_grad is in"),
    "lr": ({"lr": -1.0}, ValueError, "lr is in"),
    "keyword": ({"momentum": 0.9}, TypeError, "unknown keyword 'momentum'"),
}


@pytest.mark.parametrize("settings, error, message", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        LBFGS([leaf], **settings)


def test_it_wants_a_closure_that_returns_the_loss_and_parameters_of_one_kind():
    optimizer = LBFGS([leaf])
    with pytest.raises(RuntimeError, match=r"wants a closure.*\n\n    def closure"):
        optimizer.step()
    with pytest.raises(TypeError, match="returns the loss"):
        optimizer.step(lambda: None)
    with pytest.raises(ValueError, match="one group and of one dtype"):
        LBFGS([parameter([1.0]), parameter([1.0], "float32")])


def test_what_cannot_be_shown_says_why():
    optimizer = LBFGS([leaf])
    assert "def inverse_hessian_times" in LBFGS.source()
    with pytest.raises(TypeError, match="not one formula"):
        LBFGS.latex()
    with pytest.raises(TypeError, match="no numbers of one weight"):
        optimizer.explain("0", 0)
    with pytest.raises(RuntimeError, match="not compiled"):
        optimizer.compile()
    assert repr(optimizer).startswith("LBFGS(lr=1.0, max_iter=20")
