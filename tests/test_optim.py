"""The optimizers against PyTorch, against each other, and against all that moves parameters."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from optim_cases.problems import affordable

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray
from tinygrad_opt.optim import SGD, Momentum, blocked, compiled

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

MAKERS = {
    "sgd": lambda p, **kw: SGD(p, lr=0.1, **kw),
    "classical": lambda p, **kw: Momentum(p, lr=0.1, mu=0.9, **kw),
    "torch": lambda p, **kw: Momentum(p, lr=0.1, mu=0.9, form="torch", **kw),
    "ema": lambda p, **kw: Momentum(p, lr=0.1, mu=0.9, form="ema", **kw),
}


def parameter(shape=(3, 4), dtype="float64", seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return tg.Tensor(values, requires_grad=True)


def bowl(*ws):
    """A smooth loss with a different curvature for each weight."""
    total = 0.0
    for w in ws:
        total = total + (tg.cos(w) * w).sum() + 0.5 * (w * w).sum()
    return total


def descend(optimizer, *ws, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        bowl(*ws).backward()
        optimizer.step()


# ---- the rules -----------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("l2", [0.0, 0.03])
@pytest.mark.parametrize("mu", [0.0, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 1e-5)])
def test_a_thousand_steps_follow_torch_sgd(mu, l2, dtype, bound):
    w = parameter(dtype=dtype)
    theirs = torch.tensor(w.numpy(), requires_grad=True)
    ours = Momentum([w], lr=0.01, mu=mu, form="torch", l2=l2) if mu else SGD([w], lr=0.01, l2=l2)
    reference = torch.optim.SGD([theirs], lr=0.01, momentum=mu, weight_decay=l2, foreach=False)
    for _ in range(affordable(1000)):
        ours.zero_grad()
        bowl(w).backward()
        ours.step()
        reference.zero_grad()
        ((torch.cos(theirs) * theirs).sum() + 0.5 * (theirs * theirs).sum()).backward()
        reference.step()
    assert w.dtype == dtype
    np.testing.assert_allclose(w.numpy(), theirs.detach().numpy(), rtol=0, atol=bound)


def test_the_rules_are_callable_on_raw_arrays_with_the_letters_in_order(backend):
    w, g, v = np.array([1.0, 2.0]), np.array([0.5, -1.0]), np.array([0.1, 0.2])
    there = [backend.array(x) for x in (w, g, v)]
    new_v = 0.9 * v - 0.1 * g
    for got, wanted in zip(Momentum.rule(*there, lr=0.1, mu=0.9), (w + new_v, new_v)):
        np.testing.assert_array_equal(backend.host(got), wanted)
    new_v = 0.9 * v + g
    torch_form = Momentum.rules["torch"](*there, lr=0.1, mu=0.9)
    for got, wanted in zip(torch_form, (w - 0.1 * new_v, new_v)):
        np.testing.assert_array_equal(backend.host(got), wanted)
    (moved,) = SGD.rule(*there[:2], lr=0.1)
    np.testing.assert_array_equal(backend.host(moved), w - 0.1 * g)
    for x, before in zip(there, (w, g, v)):  # and a rule mutates nothing
        np.testing.assert_array_equal(backend.host(x), before)


@pytest.mark.parametrize("t", [1, 100])
def test_a_rule_that_chooses_by_a_number_is_callable_on_raw_arrays_too(t, backend):
    """CuPy's own `where` refuses a bool for a condition. RAdam's t decides between two steps."""
    arrays = [np.array(x) for x in ([1.0, 2.0], [0.5, -1.0], [0.1, 0.2], [0.3, 0.4])]
    scalars = {"t": t, "lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8}
    got = tg.optim.RAdam.rule(*map(backend.array, arrays), **scalars)
    for x, wanted in zip(got, tg.optim.RAdam.rule.function(*arrays, **scalars)):
        np.testing.assert_allclose(backend.host(x), wanted, rtol=1e-14)


def trajectory(optimizer, w, lrs):
    points = []
    for lr in lrs:
        optimizer.groups[0]["lr"] = lr
        descend(optimizer, w, steps=1)
        points.append(w.numpy())
    return np.array(points)


@everywhere
def test_classical_and_torch_momentum_agree_at_a_constant_rate_and_part_when_it_changes():
    def run(form, lrs):
        w = parameter()
        return trajectory(Momentum([w], lr=0.1, mu=0.9, form=form), w, lrs)

    constant = [0.02] * 40
    np.testing.assert_allclose(run("classical", constant), run("torch", constant), atol=1e-13)
    # At the step where α falls from a to b, torch scales the whole velocity by b and classical the
    # new gradient alone: they part by μ (a - b) v, v torch's velocity before.
    a, b, n = 0.02, 0.002, 10
    drop = [a] * n + [b]
    classical, torch_form = run("classical", drop), run("torch", drop)
    velocity = (torch_form[n - 2] - torch_form[n - 1]) / a
    np.testing.assert_allclose(
        classical[n] - torch_form[n], -0.9 * (a - b) * velocity, rtol=1e-9, atol=1e-14
    )
    assert np.abs(classical[n] - torch_form[n]).max() > 1e-3


@everywhere
def test_averaged_momentum_is_torch_momentum_at_a_rate_smaller_by_one_minus_mu():
    w1, w2 = parameter(), parameter()
    descend(Momentum([w1], lr=0.1, mu=0.9, form="ema"), w1, steps=50)
    descend(Momentum([w2], lr=0.1 * (1 - 0.9), mu=0.9, form="torch"), w2, steps=50)
    np.testing.assert_allclose(w1.numpy(), w2.numpy(), atol=1e-13)


@everywhere
def test_momentum_follows_the_closed_form_on_a_quadratic():
    curvature, lr, mu = 2.0, 0.1, 0.8
    w = tg.Tensor(np.array([1.0]), requires_grad=True)
    optimizer = Momentum([w], lr=lr, mu=mu)
    matrix = np.array([[1 - lr * curvature, mu], [-lr * curvature, mu]])  # of (w, v)
    for t in range(1, 60):
        optimizer.zero_grad()
        (0.5 * curvature * w * w).sum().backward()
        optimizer.step()
        wanted = (np.linalg.matrix_power(matrix, t) @ [1.0, 0.0])[0]
        assert abs(w.item() - wanted) < 1e-12


@everywhere
@pytest.mark.parametrize("name", ["lr", "mu", "l2"])
def test_every_hyper_parameter_has_an_effect(name):
    def run(**changed):
        w = parameter()
        descend(Momentum([w], **{"lr": 0.01, "mu": 0.9, "l2": 0.0, **changed}), w)
        return w.numpy()

    assert np.abs(run(**{name: 0.05}) - run()).max() > 1e-4


@everywhere
def test_a_schedule_is_a_function_of_the_steps_already_taken():
    seen = []

    def lr(t):
        seen.append(t)
        return 0.1 / (1 + t)

    w, by_hand = parameter(), parameter().numpy()
    optimizer = SGD([w], lr=lr)
    for t in range(4):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        by_hand = by_hand - 0.1 / (1 + t) * (2 * by_hand)
        np.testing.assert_allclose(w.numpy(), by_hand, atol=1e-15)
    assert sorted(set(seen)) == [0, 1, 2, 3]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 70001])
def test_an_update_in_blocks_is_the_update_of_the_whole_bit_for_bit(make, size, monkeypatch):
    def run(block):
        monkeypatch.setattr(compiled, "_loops", {})  # buffers are made for the block
        monkeypatch.setattr(blocked, "BLOCK", block)
        monkeypatch.setattr(compiled, "SMALL", 0 if block < size else size)
        w = parameter((size,), "float32")
        optimizer = make([w], l2=0.01)
        for seed in range(3):
            w.grad = np.random.default_rng(seed).standard_normal(size).astype("float32")
            optimizer.step()
        return w.numpy()

    np.testing.assert_array_equal(run(64), run(10**9))


# ---- one vector ----------------------------------------------------------------------------------


@everywhere
def test_parameters_and_gradients_are_views_into_one_vector_each_at_a_multiple_of_64():
    ws = [parameter((3, 4)), parameter((65,)), parameter(()), parameter((2, 1))]
    before = [w.numpy() for w in ws]
    (flat,) = SGD(ws, lr=0.1)._flat
    assert flat.offsets == [0, 64, 192, 256]
    assert flat.size == 320
    for w, old in zip(ws, before):
        np.testing.assert_array_equal(w.numpy(), old)
        assert not w.grad.any()
    flat.w += 1  # in place: who looks at the same memory sees it
    flat.g += 2
    for w, old in zip(ws, before):
        np.testing.assert_array_equal(w.numpy(), old + 1)
        assert (w.grad == 2).all()


@everywhere
def test_a_gradient_that_was_there_before_the_optimizer_is_kept():
    w = parameter()
    (w * 3.0).sum().backward()
    SGD([w], lr=0.1).step()
    np.testing.assert_allclose(w.numpy(), parameter().numpy() - 0.1 * 3.0)


@everywhere
def test_assigning_data_and_grad_writes_through_to_the_vectors():
    w = parameter()
    optimizer = SGD([w], lr=0.5)
    w.data = asarray(np.ones((3, 4)))
    w.grad = asarray(np.full((3, 4), 2.0))
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), np.zeros((3, 4)))
    w.grad *= 0.5
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), np.full((3, 4), -0.5))
    w.grad = None
    assert not w.grad.any()


@everywhere
def test_two_optimizers_on_the_same_parameters_take_turns_without_loss():
    w, alone = parameter(), parameter().numpy()
    first, second = SGD([w], lr=0.1), Momentum([w], lr=0.2, mu=0.5)
    v = np.zeros_like(alone)
    for turn in range(6):
        optimizer = (first, second)[turn % 2]
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        g = 2 * alone
        if turn % 2:
            v = 0.5 * v - 0.2 * g
            alone = alone + v
        else:
            alone = alone - 0.1 * g
        np.testing.assert_allclose(w.numpy(), alone, atol=1e-14)


@everywhere
def test_a_gradient_made_for_one_optimizer_is_seen_by_the_other():
    w = parameter()
    first, second = SGD([w], lr=0.1), SGD([w], lr=0.1)
    first.zero_grad()
    (w * 3.0).sum().backward()
    first.step()  # takes the parameter back from the second, with its gradient
    np.testing.assert_allclose(w.numpy(), parameter().numpy() - 0.3)
    second.step()
    np.testing.assert_allclose(w.numpy(), parameter().numpy() - 0.6)


@everywhere
def test_a_parameter_that_the_loss_did_not_reach_coasts_on_its_velocity():
    w = tg.Tensor(np.zeros(1), requires_grad=True)
    optimizer = Momentum([w], lr=1.0, mu=0.5)
    w.grad = asarray(np.array([-1.0]))
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), [1.5])


@everywhere
def test_mixed_dtypes_are_kept_in_vectors_of_their_own():
    w32, w64 = parameter(dtype="float32"), parameter(dtype="float64")
    optimizer = Momentum([w32, w64], lr=0.01)
    descend(optimizer, w64, steps=3)
    assert (w32.dtype, w64.dtype) == ("float32", "float64")
    assert sorted(str(f.dtype) for f in optimizer._flat) == ["float32", "float64"]
    assert optimizer.memory() == {"v": 64 * 4 + 64 * 8}


@everywhere
def test_a_parameter_moved_to_another_dtype_is_refused_not_silently_left_behind():
    w = parameter()
    optimizer = SGD([w], lr=0.1)
    w._data = w._data.astype("float32")  # what model.astype() would do to a tensor nobody owns
    with pytest.raises(RuntimeError, match=r"float64.*float32.*new"):
        optimizer.step()


@everywhere
def test_a_graph_from_before_a_step_is_not_walked_after_it():
    w = parameter()
    optimizer = SGD([w], lr=0.1)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="edited between forward and backward"):
        loss.backward()


@everywhere
def test_a_step_with_a_closure_calls_it_once_and_returns_its_loss():
    w = parameter()
    optimizer = Momentum([w], lr=0.1)
    losses = []

    def closure():
        optimizer.zero_grad()
        losses.append(bowl(w))
        losses[-1].backward()
        return losses[-1]

    assert optimizer.step(closure) is losses[0]
    assert len(losses) == 1
    assert optimizer.t == 1
    assert optimizer.step() is None


@everywhere
def test_the_look_ahead_of_an_ordinary_optimizer_leaves_the_weights_where_they_are():
    w = parameter()
    optimizer = Momentum([w], lr=0.1)
    with optimizer.look_ahead():
        np.testing.assert_array_equal(w.numpy(), parameter().numpy())


def test_the_same_code_runs_on_either_backend_with_the_same_result(backend):
    w = tg.Tensor(backend.array(parameter(dtype="float32").numpy()), requires_grad=True)
    optimizer = Momentum([w], lr=0.05, l2=0.01)
    descend(optimizer, w, steps=5)
    reference = parameter(dtype="float32")
    with tg.use("numpy"):
        descend(Momentum([reference], lr=0.05, l2=0.01), reference, steps=5)
    np.testing.assert_allclose(backend.host(w.data), reference.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(optimizer.state_dict()["slots"]["0"]["v"].shape, (3, 4))


# ---- groups --------------------------------------------------------------------------------------


@everywhere
def test_groups_override_hyper_parameters_in_one_line():
    w, b = parameter(seed=1), parameter((4,), seed=2)
    optimizer = SGD([{"params": [w]}, {"params": [b], "l2": 0.0, "lr": 0.5}], lr=0.1, l2=1.0)
    w.grad, b.grad = asarray(np.zeros((3, 4))), asarray(np.ones(4))
    optimizer.step()
    np.testing.assert_allclose(w.numpy(), parameter(seed=1).numpy() * (1 - 0.1))
    np.testing.assert_allclose(b.numpy(), parameter((4,), seed=2).numpy() - 0.5)


def test_names_come_from_pairs_and_are_numbers_otherwise():
    w, b = parameter(), parameter((4,))
    assert SGD([("weight", w), ("bias", b)], lr=0.1).groups[0]["names"] == ["weight", "bias"]
    assert SGD([w, b], lr=0.1).groups[0]["names"] == ["0", "1"]


# ---- wrong inputs: an error before anything changes ----------------------------------------------

leaf = parameter()
WRONG = {
    "an empty list": (lambda: SGD([], lr=0.1), ValueError, "no parameters"),
    "a tensor for a list": (lambda: SGD(leaf, lr=0.1), TypeError, r"\[x\]"),
    "one parameter twice": (lambda: SGD([leaf, leaf], lr=0.1), ValueError, "twice"),
    "one parameter in two groups": (
        lambda: SGD([{"params": [leaf]}, {"params": [leaf]}], lr=0.1), ValueError, "twice"),
    "one name twice": (
        lambda: SGD([("w", leaf), ("w", parameter())], lr=0.1), ValueError, "'w', is there twice"),
    "a result for a leaf": (lambda: SGD([leaf * 2], lr=0.1), ValueError, "result of multiply"),
    "no gradient wanted": (lambda: SGD([tg.Tensor([1.0])], lr=0.1), ValueError, "does not require"),
    "an array": (lambda: SGD([np.ones(3)], lr=0.1), TypeError, "is a ndarray, not a Tensor"),
    "a misspelt key": (
        lambda: Momentum([{"params": [leaf], "m": 0.5}], lr=0.1), ValueError, "did you mean 'mu'"),
    "a group without params": (lambda: SGD([{"lr": 0.1}], lr=0.1), ValueError, '"params"'),
    "an empty group": (lambda: SGD([{"params": []}], lr=0.1), ValueError, "has no parameters"),
    "groups mixed with tensors": (
        lambda: SGD([{"params": [leaf]}, leaf], lr=0.1), TypeError, "mixes"),
    "lr negative": (lambda: SGD([leaf], lr=-0.1), ValueError, r"lr is in \[0, inf\), not -0.1"),
    "lr NaN": (lambda: SGD([leaf], lr=math.nan), ValueError, "lr is in .* not nan"),
    "lr infinite": (lambda: SGD([leaf], lr=math.inf), ValueError, "lr is in .* not inf"),
    "lr a word": (
        lambda: SGD([leaf], lr="fast"), TypeError, "lr is a number or a function .*, not 'fast'"),
    "mu one": (lambda: Momentum([leaf], lr=0.1, mu=1.0), ValueError, r"mu is in \[0, 1\), not 1.0"),
    "mu negative": (lambda: Momentum([leaf], lr=0.1, mu=-0.5), ValueError, "mu is in"),
    "l2 negative": (lambda: SGD([leaf], lr=0.1, l2=-1), ValueError, "l2 is in"),
    "a keyword of PyTorch's": (
        lambda: tg.optim.Adam([leaf], betas=(0.9, 0.9)), TypeError, "'betas'; here they are beta1"),
    "a decay that may mean two things": (
        lambda: SGD([leaf], lr=0.1, weight_decay=0.1), TypeError, "l2=λ joins .* AdamW"),
    "a misspelt keyword": (
        lambda: SGD([leaf], lr=0.1, transform=[]), TypeError, "did you mean 'transforms'"),
    "an unknown form": (
        lambda: Momentum([leaf], lr=0.1, form="clasical"), ValueError, "did you mean 'classical'"),
    "a schedule that goes wrong": (lambda: SGD([leaf], lr=lambda t: -1.0), ValueError, "lr is in"),
}  # fmt: skip


@pytest.mark.parametrize("make, error, message", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_refused_and_leaves_the_parameter_alone(make, error, message):
    data, grad, owned = leaf.data, leaf.grad, leaf.owned
    with pytest.raises(error, match=message):
        make()
    assert leaf.data is data
    assert leaf.grad is grad
    assert leaf.owned is owned


def test_a_class_without_a_rule_and_a_rule_without_its_numbers_are_refused():
    class NoRule(tg.optim.Optimizer):
        pass

    class TooFew(tg.optim.Optimizer):
        def rule(w, g, *, lr, rho):
            w = w - lr * rho * g
            return (w,)

    for cls, message in ((NoRule, "NoRule has no rule"), (TooFew, "takes rho, which is none of")):
        with pytest.raises(TypeError, match=message):
            cls([leaf], {"lr": 0.1})


@everywhere
@pytest.mark.parametrize("name", ["LAMB", "LARS", "Adafactor", "Adam", "Momentum"])
def test_tensors_without_elements_and_without_axes_are_updated_too(name):
    ws = [parameter((0, 3)), parameter(()), parameter((2, 0))]
    before = ws[1].item()
    optimizer = getattr(tg.optim, name)(ws, lr=0.1)
    for w in ws:
        w.grad = asarray(np.ones(w.shape))
    optimizer.step()
    assert ws[1].item() < before


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_raises_with_the_name_and_changes_nothing(bad):
    w, b = parameter(), parameter((4,))
    optimizer = Momentum([("weight", w), ("bias", b)], lr=0.1)
    descend(optimizer, w, b, steps=2)
    before = optimizer.state_dict()
    weights = w.numpy(), b.numpy()
    b.grad[2] = bad
    with pytest.raises(FloatingPointError, match=r"gradient of bias has 1 NaN or inf among 4"):
        optimizer.step()
    np.testing.assert_array_equal(w.numpy(), weights[0])
    np.testing.assert_array_equal(b.numpy(), weights[1])
    np.testing.assert_equal(optimizer.state_dict(), before)


@everywhere
def test_a_finite_gradient_whose_square_overflows_is_no_false_alarm():
    w = parameter((4,), "float32")
    optimizer = SGD([w], lr=1e-25)
    w.grad = asarray(np.full(4, 1e25, "float32"))
    optimizer.step()
    assert optimizer.t == 1


def test_on_a_gpu_a_gradient_that_is_not_finite_is_noted_there_and_told_when_asked_for(cp, no_sync):
    w = tg.Tensor(cp.ones(4), requires_grad=True)
    optimizer = Momentum([w], lr=0.1)
    for bad in (1.0, math.nan, math.inf, 1.0):
        w.grad = cp.full(4, bad)
        with no_sync():
            optimizer.step()
    with pytest.raises(FloatingPointError, match="NaN or inf at step 1;"):
        optimizer.state_dict()
    optimizer.raise_if_not_finite()  # told once
    optimizer.zero_grad()
    optimizer.step()
    assert optimizer.state_dict()["t"] == 5


@everywhere
def test_the_finite_check_can_be_switched_off():
    w = parameter((4,))
    optimizer = SGD([w], lr=0.1, check_finite=False)
    w.grad = asarray(np.full(4, np.nan))
    optimizer.step()
    assert np.isnan(w.numpy()).all()


@everywhere
def test_where_one_group_cannot_be_updated_none_is():
    class Divided(tg.optim.Optimizer):
        def rule(w, g, *, lr, c):
            w = w - lr / c * g
            return (w,)

        def __init__(self, params):
            super().__init__(params, {"lr": 0.1, "c": 1.0})

    a, b = parameter(), parameter((4,))
    optimizer = Divided([{"params": [a]}, {"params": [b], "c": 0.0}])
    a.grad, b.grad = asarray(np.ones((3, 4))), asarray(np.ones(4))
    with pytest.raises(ZeroDivisionError):
        optimizer.step()
    np.testing.assert_array_equal(a.numpy(), parameter().numpy())
    assert optimizer.t == 0


@everywhere
def test_a_carried_scalar_grows_once_a_step_whatever_the_dtypes_of_a_group():
    both = tg.optim.NAdam([parameter(dtype="float32"), parameter()])
    alone = tg.optim.NAdam([parameter()])
    for _ in range(3):
        both.step()
        alone.step()
    assert both.state_dict()["carried"] == alone.state_dict()["carried"] != [{"P": 1.0}]


@everywhere
def test_a_rule_over_whole_tensors_may_return_an_array_that_it_was_given():
    class Behind(tg.optim.tensorwise.TensorOptimizer):
        def rule(w, g, before, *, lr):
            old = w
            w = w - lr * g
            before = old
            return w, before

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

    w = parameter()
    optimizer = Behind([w], lr=1.0)
    w.grad = asarray(np.ones((3, 4)))
    optimizer.step()
    before = optimizer.state_dict()["slots"]["0"]["before"]
    np.testing.assert_array_equal(before, parameter().numpy())
    np.testing.assert_array_equal(w.numpy(), parameter().numpy() - 1)


@everywhere
@pytest.mark.parametrize("change", ["np.float64(1) * w", "w.sum()", "w[:2]", "None"])
def test_a_rule_over_whole_tensors_that_makes_something_else_is_refused_whole(change):
    made = eval(f"lambda w: {change}", {"np": np})

    class Odd(tg.optim.TensorOptimizer):
        def rule(w, g, *, lr):
            w = made(w - lr * g)
            return (w,)

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

    ws = [parameter(dtype="float32"), parameter(dtype="float32", seed=1)]
    before = [w.numpy() for w in ws]
    optimizer = Odd(ws, lr=0.1)
    with pytest.raises(TypeError, match=r"the new w of 0 is to have shape \(3, 4\) and dtype f"):
        optimizer.step()
    for w, old in zip(ws, before):
        np.testing.assert_array_equal(w.numpy(), old)
    assert optimizer.t == 0


@everywhere
def test_a_schedule_free_optimizer_is_copied_and_pickled_at_its_average_too():
    w = parameter()
    optimizer = tg.optim.ScheduleFree([w], lr=0.1)
    descend(optimizer, w)
    y = w.numpy()
    optimizer.eval()
    x = w.numpy()
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        v = copied.groups[0]["params"][0]
        np.testing.assert_array_equal(v.numpy(), x)
        copied.train()
        np.testing.assert_array_equal(v.numpy(), y)
    w.data = asarray(np.zeros((3, 4)))
    with pytest.raises(RuntimeError, match="assigned while they were the average"):
        optimizer.train()
    np.testing.assert_array_equal(w.numpy(), 0)  # nothing that was assigned is lost


@everywhere
def test_a_hyper_parameter_edited_out_of_range_is_refused_at_the_step_with_nothing_changed():
    w = parameter()
    optimizer = Momentum([w], lr=0.1)
    w.grad = asarray(np.ones((3, 4)))
    optimizer.groups[0]["mu"] = 1.5
    with pytest.raises(ValueError, match="mu is in"):
        optimizer.step()
    np.testing.assert_array_equal(w.numpy(), parameter().numpy())
    assert optimizer.t == 0


# ---- state ---------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_state_loaded_into_a_new_optimizer_continues_bit_for_bit(make):
    w, b = parameter(), parameter((5,))
    optimizer = make([("w", w), ("b", b)], l2=0.01)
    descend(optimizer, w, b, steps=7)
    state, at = optimizer.state_dict(), (w.numpy(), b.numpy())
    descend(optimizer, w, b, steps=7)
    w2, b2 = (tg.Tensor(x, requires_grad=True) for x in at)
    again = make([("w", w2), ("b", b2)], l2=0.5)
    again.load_state_dict(state)
    assert again.t == 7
    descend(again, w2, b2, steps=7)
    np.testing.assert_array_equal(w.numpy(), w2.numpy())
    np.testing.assert_array_equal(b.numpy(), b2.numpy())


@everywhere
def test_a_state_dict_is_a_copy_that_later_steps_do_not_reach():
    w = parameter()
    optimizer = Momentum([w], lr=0.1)
    descend(optimizer, w, steps=1)
    state = optimizer.state_dict()
    kept = state["slots"]["0"]["v"].copy()
    descend(optimizer, w, steps=3)
    np.testing.assert_array_equal(state["slots"]["0"]["v"], kept)


def edited(state, path, value):
    state = {**state}
    if len(path) == 1:
        state[path[0]] = value
    else:
        inner = state[path[0]]
        if isinstance(inner, list):
            state[path[0]] = [edited(inner[0], path[1:], value)]
        else:
            state[path[0]] = edited(inner, path[1:], value)
    return state


@everywhere
@pytest.mark.parametrize(
    "path, value, message",
    [
        (("optimizer",), "Adam", "optimizer is 'Adam' there"),
        (("form",), "ema", "form is 'ema' there"),
        (("t",), -1, "number of steps"),
        (("groups",), [], "0 groups there, 1 here"),
        (("groups", "names"), ["x"], r"\['x'\] there"),
        (("groups", "lr"), -1.0, "lr is in"),
        (("groups", "extra"), 1.0, "group 0 has the keys"),
        (("slots",), {}, "w is only here"),
        (("slots", "w"), {}, "has the slots"),
        (("slots", "w", "v"), np.zeros((4, 3)), r"float64 \(4, 3\) there, float64 \(3, 4\) here"),
        (("slots", "w", "v"), np.zeros((3, 4), "float32"), "float32 .* there"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_whole(path, value, message):
    w = parameter()
    optimizer = Momentum([("w", w)], lr=0.1)
    descend(optimizer, w, steps=2)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(edited(before, path, value))
    np.testing.assert_equal(optimizer.state_dict(), before)


@everywhere
def test_every_mismatch_is_listed_at_once():
    w = parameter()
    optimizer = Momentum([("w", w)], lr=0.1)
    state = edited(edited(optimizer.state_dict(), ("form",), "ema"), ("slots",), {})
    with pytest.raises(ValueError, match=r"(?s)form is.*only here"):
        optimizer.load_state_dict(state)


@everywhere
def test_memory_counts_the_bytes_really_held():
    w = parameter((100, 100), "float32")
    assert SGD([w], lr=0.1).memory() == {}
    optimizer = Momentum([w], lr=0.1)
    assert optimizer.memory() == {"v": 4 * 10048}  # 10,000 weights, padded to a multiple of 64
    assert optimizer.memory()["v"] == optimizer._flat[0].slots["v"].nbytes


def test_repr_is_one_line_that_tells_the_rule_and_the_numbers():
    text = repr(Momentum([parameter()], lr=0.1, form="ema"))
    assert text == (
        "Momentum(lr=0.1, mu=0.9, form='ema'): v = mu * v + (1 - mu) * g; w = w - lr * v  "
        "[12 weights, t=0]"
    )
