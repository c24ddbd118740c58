"""The sharpness is the Hessian's, the limit is where runs begin to diverge, and looking changes
nothing."""

import math
import sys

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.limits import DENSE, limits
from tinygrad_opt.optim import (
    SAM,
    SGD,
    Adam,
    AdamW,
    Lookahead,
    Momentum,
    Nesterov,
    RMSProp,
)
from tinygrad_opt.optim.transforms import ClipNorm

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy
here = tg.backend.asarray

rng = np.random.default_rng(20)

WITH_MOMENTUM = {
    "classical": lambda w, lr: Momentum(w, lr, mu=0.8),
    "torch": lambda w, lr: Momentum(w, lr, mu=0.8, form="torch"),
    "ema": lambda w, lr: Momentum(w, lr, mu=0.8, form="ema"),
    "look_ahead": lambda w, lr: Nesterov(w, lr, mu=0.8),
    "shifted": lambda w, lr: Nesterov(w, lr, mu=0.8, form="shifted"),
}
STABLE = {"SGD": SGD, **WITH_MOMENTUM}


def bowl(curvatures, dtype="float64"):
    """A weight for each curvature, turned so that the axes are not its directions, and its loss."""
    n = len(curvatures)
    turn, _ = np.linalg.qr(rng.standard_normal((n, n)))
    hessian = (turn * np.asarray(curvatures)) @ turn.T
    w = tg.Tensor(rng.standard_normal(n).astype(dtype), requires_grad=True)
    hessian = here(((hessian + hessian.T) / 2).astype(dtype))
    return w, lambda: 0.5 * (w * (hessian @ w)).sum()


def network(dtype="float64", sizes=(5, 9, 3)):
    """A tanh network, its loss on random data, and its Hessian by differences of its gradients."""
    model = tg.nn.MLP(list(sizes), activation="tanh").astype(dtype)
    x = here(rng.standard_normal((20, sizes[0])).astype(dtype))
    y = rng.integers(0, sizes[-1], 20)
    return model, lambda: tg.cross_entropy(model(x), y)


def hessian_by_differences(model, loss, h=1e-5):
    tensors = model.parameters()

    def gradient():
        return np.concatenate([tg.backend.host(g).ravel() for g in tg.grad(loss(), tensors)])

    columns = []
    for t in tensors:
        for place in np.ndindex(t.shape):
            for sign in (1, -1):
                moved = t.data.copy()
                moved[place] += sign * h
                kept, t.data = t.data.copy(), moved
                columns.append(sign * gradient())
                t.data = kept
    columns = np.array(columns)
    return (columns[::2] + columns[1::2]) / (2 * h)


def run(optimizer, loss, steps=300):
    """The size of the last move of the weights and of one some steps before it."""
    (w,) = optimizer.groups[0]["params"]
    places = [w.numpy()]

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(closure)
        places.append(w.numpy())
    moves = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return moves[-1], moves[-steps // 4]


# ---- the eigenvalue ------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("n", [1, 2, 3, DENSE, DENSE + 1, 200])
def test_the_sharpness_of_a_bowl_is_its_largest_curvature(n):
    curvatures = np.linspace(-50.0, 3.0, n) if n > 1 else [3.0]
    w, loss = bowl(curvatures)
    found = limits(None, loss, SGD([w], lr=0.1), both_ends=True)
    # the eigenvalue of the largest size is -50: it is not that one
    assert found.sharpness == pytest.approx(3.0, rel=1e-7)
    assert found.smallest == pytest.approx(min(curvatures), rel=1e-7)
    assert found.max_lr == pytest.approx(2 / 3, rel=1e-7)
    assert found.share == pytest.approx(0.15, rel=1e-7)
    assert (found.weights, found.method, found.lr) == (n, "gradient descent", 0.1)


@everywhere
def test_the_sharpness_of_a_network_is_that_of_its_hessian_by_differences():
    tg.manual_seed(3)
    model, loss = network()
    full = hessian_by_differences(model, loss)
    values, vectors = np.linalg.eigh((full + full.T) / 2)
    found = limits(model, loss, SGD(model.parameters(), lr=0.1), both_ends=True)
    assert found.weights == len(values) > DENSE
    assert found.sharpness == pytest.approx(values[-1], rel=1e-6)
    assert found.smallest == pytest.approx(values[0], rel=1e-6)
    assert found.smallest < 0
    assert abs(found.direction @ vectors[:, -1]) == pytest.approx(1, abs=1e-5)


@everywhere
def test_float32_gives_the_sharpness_of_float64_within_the_accuracy_that_it_says():
    for seed in range(5):
        tg.manual_seed(seed)
        model = tg.nn.MLP([5, 30, 3], activation="tanh").astype("float64")
        twin = tg.nn.MLP([5, 30, 3], activation="tanh")
        twin.load_state_dict({k: v.astype("float32") for k, v in model.state_dict().items()})
        x, y = here(rng.standard_normal((20, 5))), rng.integers(0, 3, 20)
        exact = limits(model, lambda x=x, y=y, m=model: tg.cross_entropy(m(x), y),
                       SGD(model.parameters(), lr=0.1))  # fmt: skip
        x = x.astype("float32")
        found = limits(twin, lambda x=x, y=y, m=twin: tg.cross_entropy(m(x), y),
                       SGD(twin.parameters(), lr=0.1))  # fmt: skip
        assert (exact.accuracy, found.accuracy) == pytest.approx((1.5e-8, 3.5e-4), rel=0.02)
        assert found.sharpness == pytest.approx(exact.sharpness, rel=found.accuracy)


@everywhere
def test_only_the_weights_of_the_optimizer_count():
    model, loss = network()
    full = hessian_by_differences(model, loss)
    last = slice(5 * 9 + 9, None)
    found = limits(model, loss, SGD(model.layers[1].parameters(), lr=0.1))
    assert found.weights == 30
    expected = np.linalg.eigvalsh(full[last, last])[-1]
    assert found.sharpness == pytest.approx(expected, rel=1e-6)


@everywhere
@pytest.mark.parametrize("n", [2, 100])
def test_a_loss_that_is_linear_limits_nothing(n):
    w = tg.Tensor(np.ones(n), requires_grad=True)
    found = limits(None, lambda: (3 * w).sum(), SGD([w], lr=0.1))
    assert (found.sharpness, found.max_lr, found.share) == (0.0, np.inf, 0.0)
    assert np.linalg.norm(found.direction) == pytest.approx(1.0)
    assert "nothing limits lr" in repr(found)


@everywhere
def test_neither_does_one_that_curves_down():
    w, loss = bowl([-3.0, -1.0])
    found = limits(None, loss, SGD([w], lr=0.1))
    assert found.sharpness == pytest.approx(-1.0)
    assert found.max_lr == np.inf


@everywhere
def test_a_start_from_the_last_direction_finds_the_same_in_fewer_products(monkeypatch):
    module = sys.modules["tinygrad_opt.lab.limits"]
    tg.manual_seed(0)
    model, loss = network(sizes=(5, 40, 3))
    optimizer = SGD(model.parameters(), lr=0.1)
    walks = []
    monkeypatch.setattr(module, "grad", lambda *a, **k: walks.append(1) or tg.grad(*a, **k))
    first = limits(model, loss, optimizer)
    cold = len(walks)
    again = limits(model, loss, optimizer, start=first.direction)
    assert len(walks) - cold < cold
    assert again.sharpness == pytest.approx(first.sharpness, rel=1e-7)


@everywhere
def test_a_start_that_has_nothing_of_the_top_misleads_nobody():
    w = tg.Tensor(np.zeros(100), requires_grad=True)
    curvatures = here(np.linspace(1.0, 5.0, 100))
    for start in (np.eye(100)[0], np.eye(100)[50], np.repeat([1.0, 0.0], 50)):
        found = limits(None, lambda: 0.5 * (curvatures * w * w).sum(), SGD([w], lr=0.1),
                       start=start)  # fmt: skip
        assert found.sharpness == pytest.approx(5.0, rel=1e-7)


# ---- the limit -----------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_settles_just_below_the_limit_and_grows_just_above_it(name, dtype):
    w, loss = bowl([1.0, 2.0, 5.0, 7.0], dtype)
    found = limits(None, loss, STABLE[name]([w], 0.1))
    for factor in (0.99, 1.01):
        w.data = here(rng.standard_normal(4).astype(dtype))
        late, before = run(STABLE[name]([w], factor * found.max_lr), loss)
        assert (late > before) == (factor > 1)


@everywhere
@pytest.mark.parametrize("name", STABLE)
def test_l2_is_a_part_of_the_curvature(name):
    w, loss = bowl([1.0, 2.0, 3.0])
    optimizer = STABLE[name]([w], 0.1)
    optimizer.groups[0]["l2"] = 4.0
    found = limits(None, loss, optimizer)
    assert found.sharpness == pytest.approx(7.0)
    for factor in (0.99, 1.01):
        optimizer = STABLE[name]([w], factor * found.max_lr)
        optimizer.groups[0]["l2"] = 4.0
        late, before = run(optimizer, loss)
        assert (late > before) == (factor > 1)


@everywhere
def test_groups_with_rates_and_penalties_of_their_own_have_their_limit_in_common():
    a = tg.Tensor(rng.standard_normal(3), requires_grad=True)
    b = tg.Tensor(rng.standard_normal(40), requires_grad=True)
    mix = rng.standard_normal((60, 43))
    mix_a, mix_b = here(mix[:, :3]), here(mix[:, 3:])

    def loss():
        return tg.square(mix_a @ a + mix_b @ b).mean()

    def made(factor):
        groups = [{"params": [a], "l2": 1.0}, {"params": [b], "lr": factor * 0.01}]
        return Momentum(groups, lr=factor * 0.1, mu=0.5)

    found = limits(None, loss, made(1.0))
    assert found.lr == 0.1
    assert found.preconditioned != found.sharpness
    hessian = 2 * mix.T @ mix / 60 + np.diag(np.repeat([1.0, 0.0], [3, 40]))
    assert found.sharpness == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-6)
    for factor in (0.99, 1.01):
        a.data = here(rng.standard_normal(3))
        late, before = run(made(factor / found.share), loss)
        assert (late > before) == (factor > 1)


@everywhere
def test_a_schedule_is_asked_for_the_coming_step():
    w, loss = bowl([4.0])
    optimizer = SGD([w], lr=lambda t: 0.1 / (1 + t))
    assert limits(None, loss, optimizer).share == pytest.approx(0.2)
    run(optimizer, loss, steps=4)
    assert limits(None, loss, optimizer).share == pytest.approx(0.04)


@everywhere
def test_a_learning_rate_of_0_has_a_limit_too():
    w, loss = bowl([4.0])
    found = limits(None, loss, SGD([w], lr=0.0))
    assert (found.max_lr, found.share) == (pytest.approx(0.5), 0.0)


# Second moments that stay what they are: β₂ so near to 1 that a run is too short to move them, and
# so many steps behind it that its correction is 1.

FROZEN = {
    "Adam": lambda w, lr: Adam(w, lr, beta1=0.9, beta2=1 - 1e-12),
    "Adam, β1 0.5": lambda w, lr: Adam(w, lr, beta1=0.5, beta2=1 - 1e-12, eps=0.1),
    "Adam, eps_hat": lambda w, lr: Adam(w, lr, beta2=1 - 1e-12, eps=0.1, form="eps_hat"),
    "RMSProp": lambda w, lr: RMSProp(w, lr, rho=1 - 1e-12, eps=0.1),
    "RMSProp, μ 0.5": lambda w, lr: RMSProp(w, lr, rho=1 - 1e-12, mu=0.5),
    "RMSProp, inside": lambda w, lr: RMSProp(w, lr, rho=1 - 1e-12, eps=0.1, eps_inside=True),
    "RMSProp, centered": lambda w, lr: RMSProp(w, lr, rho=1 - 1e-12, centered=True),
}


@everywhere
@pytest.mark.parametrize("name", FROZEN)
def test_adaptive_rates_held_as_they_are_have_a_limit_too(name):
    w, loss = bowl([1.0, 2.0, 5.0, 7.0])

    def made(lr):
        optimizer = FROZEN[name]([w], lr)
        state = optimizer.state_dict()
        state["t"] = 10**14
        for slot, value in (("v", 2.0), ("s", 2.0), ("m", 1.0)):
            if slot in state["slots"]["0"] and not (slot == "m" and name.startswith("Adam")):
                state["slots"]["0"][slot][:] = value * np.array([1.0, 1.3, 0.7, 2.0])
        if name == "RMSProp, centered":  # variances that are above 0
            state["slots"]["0"]["s"] += 2.0
        optimizer.load_state_dict(state)
        return optimizer

    found = limits(None, loss, made(0.1))
    assert found.sharpness == pytest.approx(7.0)
    assert found.preconditioned != pytest.approx(7.0, rel=0.1)
    for factor in (0.99, 1.01):
        w.data = here(1e-80 * rng.standard_normal(4))  # so small that it can grow and leave v alone
        late, before = run(made(factor * found.max_lr), loss)
        assert (late > before) == (factor > 1)


@everywhere
def test_adam_at_rest_has_the_limit_that_it_has_in_motion():
    w, loss = bowl([1.0, 3.0])
    optimizer = Adam([w], lr=0.01)
    run(optimizer, loss, steps=3)
    moving = limits(None, loss, optimizer)
    optimizer.groups[0]["lr"] = 0.0
    found = limits(None, loss, optimizer)
    assert (found.lr, found.share) == (0.0, 0.0)
    assert found.preconditioned == pytest.approx(moving.preconditioned, rel=1e-9)
    assert found.max_lr == pytest.approx(moving.max_lr, rel=1e-9)


@everywhere
def test_adams_preconditioned_limit_at_the_usual_settings_is_38():
    w, loss = bowl([1.0, 3.0])
    optimizer = Adam([w], lr=0.01)
    run(optimizer, loss, steps=3)
    found = limits(None, loss, optimizer)
    assert found.preconditioned * found.max_lr == pytest.approx(38)
    # Cohen and others 2022: P = (1 - β₁ᵗ) (√v̂ + ε)
    second = optimizer.state_dict()["slots"]["0"]["v"] / (1 - 0.999**3)
    inverse = 1 / ((1 - 0.9**3) * (np.sqrt(second) + 1e-8))
    units = [here(unit) for unit in np.eye(2)]
    full = np.array([tg.hvp(lambda _: loss(), [w], [unit])[0].tolist() for unit in units])
    expected = np.linalg.eigvals(inverse[:, None] * full).real.max()
    assert found.preconditioned == pytest.approx(expected, rel=1e-6)


# ---- nothing is changed --------------------------------------------------------------------------


@everywhere
def test_weights_gradients_graphs_slots_buffers_and_draws_are_left_as_they_were():
    tg.manual_seed(5)
    model = tg.nn.Sequential(tg.nn.Linear(4, 12), tg.nn.BatchNorm1d(12), tg.nn.Dropout(0.3),
                             tg.nn.Linear(12, 2))  # fmt: skip
    x, y = here(rng.standard_normal((16, 4)).astype("float32")), rng.integers(0, 2, 16)
    optimizer = Momentum(model.named_parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        tg.cross_entropy(model(x), y).backward()
        optimizer.step()
    pending = tg.cross_entropy(model(x), y)

    def seen():
        gradients = [tg.backend.host(t.grad) for t in model.parameters()]
        return [*model.state_dict().values(), *gradients,
                *(s["v"] for s in optimizer.state_dict()["slots"].values()),
                [t.written for _, t in model._walk() if isinstance(t, tg.Tensor)],
                [module.training for module in model.modules()],
                [tg.backend.generator().bit_generator.state["state"]["state"]]]  # fmt: skip

    before = seen()
    limits(model, lambda: tg.cross_entropy(model(x), y), optimizer, both_ends=True)
    for was, now in zip(before, seen(), strict=True):
        np.testing.assert_array_equal(was, now)
    optimizer.zero_grad()
    pending.backward()  # its graph is still there
    optimizer.step()


@everywhere
def test_dropout_draws_one_mask_for_all_products_and_eval_leaves_it_out():
    tg.manual_seed(5)
    model = tg.nn.Sequential(tg.nn.Dropout(0.5), tg.nn.Linear(50, 1, bias=False)).astype("float64")
    x = rng.standard_normal((30, 50))
    inputs, optimizer = tg.Tensor(x), SGD(model.parameters(), lr=0.1)

    def loss():
        return tg.square(model(inputs)).mean()

    found = limits(model, loss, optimizer)
    assert limits(model, loss, optimizer).sharpness == found.sharpness
    hidden = model.layers[0](inputs).numpy()  # the draw that limits() put back
    expected = np.linalg.eigvalsh(2 * hidden.T @ hidden / 30)[-1]
    assert found.sharpness == pytest.approx(expected, rel=1e-6)
    model.eval()
    expected = np.linalg.eigvalsh(2 * x.T @ x / 30)[-1]
    assert limits(model, loss, optimizer).sharpness == pytest.approx(expected, rel=1e-6)


@everywhere
def test_the_buffers_are_put_back_also_where_the_loss_fails():
    model = tg.nn.BatchNorm1d(3)

    def loss():
        model(here(rng.standard_normal((8, 3)).astype("float32")))
        raise OSError("no data")

    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(OSError, match="no data"):
        limits(model, loss, optimizer)
    np.testing.assert_array_equal(model.running_mean.numpy(), np.zeros(3))


@everywhere
def test_a_buffer_that_is_edited_in_place_is_put_back_too():
    class Counted(tg.nn.Module):
        def __init__(self):
            self.weight = weight()
            self.calls = tg.Tensor(np.zeros(1))

        def forward(self):
            self.calls.data += 1
            return tg.square(self.weight).sum()

    model = Counted()
    counter = model.calls.data
    limits(model, model, SGD(model.parameters(), lr=0.1))
    assert model.calls.data is counter
    assert model.calls.item() == 0.0


def test_it_works_where_the_arrays_live(backend):
    w = tg.Tensor(backend.array(np.ones(50, "float32")), requires_grad=True)
    curvatures = backend.array(np.linspace(1, 4, 50, dtype="float32"))
    found = limits(None, lambda: 0.5 * (curvatures * w * w).sum(), Momentum([w], lr=0.1))
    assert found.sharpness == pytest.approx(4.0, rel=1e-4)
    assert isinstance(found.direction, np.ndarray)


# ---- what is refused -----------------------------------------------------------------------------


def weight(n=2):
    return tg.Tensor(np.ones(n), requires_grad=True)


@pytest.mark.parametrize("make", [AdamW, lambda w, lr: SAM(SGD(w, lr)),
                                  lambda w, lr: Lookahead(SGD(w, lr))])  # fmt: skip
def test_an_optimizer_that_no_curvature_limits_is_refused_in_the_words_of_theory(make):
    w = weight()
    with pytest.raises(ValueError, match="has no limit that a curvature alone decides"):
        limits(None, lambda: (w * w).sum(), make([w], lr=0.1))


def test_adam_before_its_first_step_does_not_know_its_divisors():
    w = weight()
    with pytest.raises(ValueError, match="Adam has taken no step"):
        limits(None, lambda: (w * w).sum(), Adam([w], lr=0.1))


def test_transforms_are_refused():
    w = weight()
    with pytest.raises(ValueError, match=r"has transforms, \[ClipNorm"):
        limits(None, lambda: (w * w).sum(), SGD([w], lr=0.1, transforms=[ClipNorm(1.0)]))


def test_groups_with_different_momenta_are_refused():
    a, b = weight(), weight()
    groups = [{"params": [a]}, {"params": [b], "mu": 0.5}]
    with pytest.raises(ValueError, match=r"different mu \(\[0.5, 0.9\]\)"):
        limits(None, lambda: (a * b).sum(), Momentum(groups, lr=0.1, mu=0.9))


def test_an_optimizer_of_another_model_is_refused():
    model, loss = network()
    w = weight()
    with pytest.raises(ValueError, match="holds none of the parameters of this MLP"):
        limits(model, loss, SGD([w], lr=0.1))
    with pytest.raises(ValueError, match="depends on none of the weights"):
        limits(None, loss, SGD([w], lr=0.1))


@pytest.mark.parametrize(("value", "message"), [
    (lambda w: 1.0, "one element, not float"), (lambda w: w * w, r"not shape \(2,\)"),
    (lambda w: None, "not NoneType"),
])  # fmt: skip
def test_a_loss_that_is_no_number_is_refused(value, message):
    w = weight()
    with pytest.raises(TypeError, match=message):
        limits(None, lambda: value(w), SGD([w], lr=0.1))


@everywhere
def test_a_loss_and_a_hessian_that_are_not_finite_are_refused():
    w = weight()
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        limits(None, lambda: (w * np.nan).sum(), SGD([w], lr=0.1))
    w.data = here(np.zeros(2))
    with pytest.raises(FloatingPointError, match="NaN or infinite"), np.errstate(all="ignore"):
        limits(None, lambda: (tg.maximum(w, 0.0) ** 1.5).sum(), SGD([w], lr=0.1))


def test_a_loss_that_has_walked_backward_or_recorded_nothing_is_refused():
    w = weight()
    optimizer = SGD([w], lr=0.1)

    def closure():
        value = (w * w).sum()
        value.backward()
        return value

    with pytest.raises(ValueError, match=r"the loss alone, without a walk backward\(\)"):
        limits(None, closure, optimizer)
    with tg.no_grad(), pytest.raises(ValueError, match=r"inside no_grad\(\)"):
        limits(None, lambda: (w * w).sum(), optimizer)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"start": np.ones(3)}, ValueError, r"start has shape \(3,\), and there are 2 weights"),
    ({"start": np.zeros(2)}, ValueError, "not all of them 0"),
    ({"start": np.array([1.0, np.nan])}, ValueError, "of finite numbers"),
    ({"start": ["a", "b"]}, TypeError, r"start is a vector of real numbers, not \['a', 'b'\]"),
    ({"start": np.ones(2) * 1j}, TypeError, "start is a vector of real numbers"),
    ({"accuracy": "fine"}, ValueError, "accuracy is a share between 0 and 1, not 'fine'"),
    ({"accuracy": 0.0}, ValueError, "accuracy is a share between 0 and 1, not 0.0"),
    ({"accuracy": 1.0}, ValueError, "accuracy is a share"),
    ({"loss": tg.Tensor(1.0)}, TypeError, "loss is a function without arguments, lambda: ..., not"),
    ({"optimizer": None}, TypeError, "an optimizer of tg.optim, not a NoneType"),
])  # fmt: skip
def test_arguments_that_are_none_are_refused(arguments, error, message):
    w = weight()
    known = {"model": None, "loss": lambda: (w * w).sum(), "optimizer": SGD([w], lr=0.1)}
    with pytest.raises(error, match=f"limits: .*{message}"):
        limits(**{**known, **arguments})


@everywhere
def test_a_curvature_of_0_has_no_sign():
    pytest.importorskip("scipy")
    w = tg.Tensor(np.ones(DENSE + 1), requires_grad=True)
    found = limits(None, lambda: (3 * w).sum(), SGD([w], lr=0.1), both_ends=True)
    assert found.smallest == 0.0
    assert math.copysign(1.0, found.smallest) == 1.0


def test_an_optimizer_of_empty_tensors_is_refused():
    w = tg.Tensor(np.ones(0), requires_grad=True)
    with pytest.raises(ValueError, match="limits: SGD holds no weights: all tensors are empty"):
        limits(None, lambda: (w * w).sum(), SGD([w], lr=0.1))


def test_without_scipy_the_extra_is_named_and_a_few_weights_do_without_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.setitem(sys.modules, name, None)
    w = weight(DENSE + 1)
    with pytest.raises(ImportError, match=r'pip install "tinygrad-opt\[lab\]"'):
        limits(None, lambda: (w * w).sum(), SGD([w], lr=0.1))
    w = weight(DENSE)
    assert limits(None, lambda: (w * w).sum(), SGD([w], lr=0.1)).sharpness == pytest.approx(2.0)


def test_lanczos_that_does_not_settle_is_told_of_with_the_cure(monkeypatch):
    import scipy.sparse.linalg as linalg

    def restless(*args, **settings):
        raise linalg.ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((100, 0)))

    monkeypatch.setattr(linalg, "eigsh", restless)
    w = weight(100)
    with pytest.raises(RuntimeError, match=r"did not settle to 1e-08 .* accuracy=1e-3 say"):
        limits(None, lambda: (w * w).sum(), SGD([w], lr=0.1), accuracy=1e-8)


# ---- shown ---------------------------------------------------------------------------------------


def test_it_tells_sharpness_limit_and_share_in_words():
    w, loss = bowl([2.0, 4.0])
    assert repr(limits(None, loss, Nesterov([w], lr=0.2, mu=0.9), both_ends=True)) == (
        "Limits: sharpness 4, the largest curvature over 2 weights; the smallest is 2\n"
        "Nesterov at μ = 0.9: stable up to lr = 1.357 / 4 = 0.3393; lr = 0.2 is 58.9 % of that"
    )
    assert repr(limits(None, loss, SGD([w], lr=1.0))).endswith(
        "gradient descent: stable up to lr = 2 / 4 = 0.5; lr = 1 is 200 % of that"
    )


@pytest.mark.parametrize("method", theory.LIMITS)
def test_every_method_of_the_theory_has_an_optimizer_here(method):
    w, loss = bowl([2.0])
    found = {limits(None, loss, make([w], 0.1)).method for make in STABLE.values()}
    assert method in found
