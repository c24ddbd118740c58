"""The optimizers that PyTorch has as well, a thousand steps beside PyTorch's own; the others beside
an independent statement of the same mathematics. Ours run on every backend, PyTorch's on the host.
"""

import numpy as np
import pytest
import torch
from optim_cases import CHECKS
from optim_cases.effects import ALL, choices
from optim_cases.parity import CONFIGURATIONS, PAIRS, TABLE, follows_torch, wide
from optim_cases.problems import (
    Given,
    Recorded,
    Smooth,
    advance,
    affordable,
    assert_apart,
    assert_near,
    make,
    run,
    tensors,
    trajectory,
)
from optim_cases.statements import COURSE, STEPS, falling

from tinygrad_opt import optim
from tinygrad_opt.backend import asarray
from tinygrad_opt.optim import compiled

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

# Not among them: SparseAdam, for there are no sparse gradients here, and LBFGS, whose line search
# takes other roads to the same minimum (tests/test_optim_lbfgs.py).
THEIRS = {
    "SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Rprop",
    "ASGD", "Adafactor", "Muon",
}  # fmt: skip


@pytest.fixture(autouse=True)
def plainly(monkeypatch):
    """Not compiled halfway: that it would change nothing is for other tests, and takes time."""
    monkeypatch.setattr(compiled, "PATIENCE", np.inf)


def test_every_optimizer_of_torch_is_compared_in_more_than_eighty_configurations_in_all():
    there = {name for name, kind in vars(torch.optim).items()
             if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)}  # fmt: skip
    assert there - {"Optimizer", "SparseAdam", "LBFGS"} == THEIRS
    assert {theirs for _, theirs, _, _ in TABLE} == THEIRS
    assert len({str(c) for c in CONFIGURATIONS}) == len(CONFIGURATIONS) >= 80


@everywhere
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_a_thousand_steps_follow_torch(configuration):
    """To 1e-12, slots included, on a smooth problem and on recorded gradients. (Muon with PyTorch's
    bfloat16 taken out; with it, see below.)"""
    ours, steps = getattr(optim, configuration.ours), affordable(1000)
    with wide():
        follows_torch(ours, configuration, "float64", steps)


@everywhere
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_steps_in_float32_follow_torch_and_stay_float32(configuration):
    """To 1e-5, a thousand of them."""
    ours, steps = getattr(optim, configuration.ours), affordable(1000)
    with wide():
        follows_torch(ours, configuration, "float32", steps)


@everywhere
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_follows_torch_as_it_is_to_the_limit_of_bfloat16(nesterov):
    """A bfloat16 has 8 bits, so that each product in the iteration is off by up to 2^-8: the steps
    of both differ by a few hundredths of their length, and by something."""
    course, steps = Recorded((4, 6), steps=100), affordable(100)
    (w,) = weights = tensors([course])
    p = torch.tensor(course.start.copy(), requires_grad=True)
    ours = optim.Muon(weights, lr=0.01, nesterov=nesterov)
    theirs = torch.optim.Muon([p], lr=0.01, nesterov=nesterov)
    for t in range(steps):
        w.data = asarray(p.detach().numpy().copy())  # each step from the same point
        w.grad = asarray(course.gradients[t])
        p.grad = torch.from_numpy(course.gradients[t])
        before = w.numpy()
        ours.step()
        theirs.step()
        step, other = w.numpy() - before, p.detach().numpy() - before
        apart = np.linalg.norm(step - other) / np.linalg.norm(other)
        assert 0 < apart < 0.05


SAME_WORDS = {
    "rho": "alpha", "initial": "initial_accumulator_value", "psi": "momentum_decay",
    "mu": "momentum", "l2": "weight_decay", "steps": "ns_steps",
}  # fmt: skip


@pytest.mark.parametrize("ours, theirs", sorted({(o, t) for o, t, _, _ in TABLE if t != "SGD"}))
def test_the_default_numbers_are_those_of_torch(ours, theirs):
    there = getattr(torch.optim, theirs)([torch.zeros(2, 2, requires_grad=True)]).param_groups[0]
    for pair, names in PAIRS.items():
        there |= dict(zip(names, there.get(pair, ())))
    here = dict(getattr(optim, ours)(tensors([Recorded((2, 2), steps=1)])).groups[0])
    del here["params"]
    compared = set()
    for name, value in here.items():
        word = name if name in there else SAME_WORDS.get(name)
        if word in there and not (name == "l2" and "weight_decay" in here):
            assert there[word] == value, name
            compared.add(name)
    eps = {"eps1", "eps2", "a1", "a2", "a3", "matched"}  # of pairs and triples, compared by parity
    assert set(here) - compared <= eps | {"names", "l2"}


# ---- those that PyTorch lacks --------------------------------------------------------------------

STATED = [
    pytest.param(name, check, id=f"{name}: {check.__name__}")
    for name, checks in CHECKS.items() for check in checks.values()
    if check.__module__ in ("optim_cases.statements", "optim_cases.wholes")
]  # fmt: skip


@everywhere
@pytest.mark.parametrize("name, check", STATED)
def test_an_optimizer_is_what_an_independent_statement_says(name, check):
    check(getattr(optim, name))


def test_every_optimizer_is_compared_with_torch_or_with_a_statement():
    """And those whose PyTorch namesake is something else are compared with a statement."""
    stated = {param.values[0] for param in STATED}
    followed = {c.ours for c in CONFIGURATIONS}
    named = {name for name in optim.__all__ if isinstance(getattr(optim, name), type)
             and (issubclass(getattr(optim, name), optim.Optimizer) or name in ("SAM", "Lookahead"))
             }  # fmt: skip
    assert stated | followed | {"Optimizer", "LBFGS"} == named
    assert stated >= {"Momentum", "Nesterov", "RMSProp", "Adam", "AdamW", "Lion", "LAMB", "LARS",
                      "Adafactor", "Muon", "ScheduleFree", "SAM", "Lookahead"}  # fmt: skip


# ---- the two Nesterovs ---------------------------------------------------------------------------


def nesterovs(course, mu, rate, steps):
    """PyTorch's weights, and w + μv of ours where the gradient is taken ahead, after each step."""
    (w,) = weights = tensors([course])
    p = torch.tensor(course.start.copy(), requires_grad=True)
    ours = optim.Nesterov(weights, lr=rate, mu=mu)
    theirs = torch.optim.SGD([p], lr=0.1, momentum=mu, nesterov=True, foreach=False, fused=False)
    there, here = [], []
    for t in range(steps):
        advance(ours, weights, [course], t)
        theirs.param_groups[0]["lr"] = rate(t)
        p.grad = torch.from_numpy(course.gradient(p.detach().numpy(), t))
        theirs.step()
        there.append(p.detach().numpy().copy())
        here.append(w.numpy() + mu * ours.state_dict()["slots"]["0"]["v"])
    return np.array(there), np.array(here)


@everywhere
@pytest.mark.parametrize("mu", [0.5, 0.9])
def test_at_a_constant_rate_the_weights_of_torch_nesterov_are_the_look_ahead_points(mu):
    slow_bowl = Given([1.0, -2.0, 0.5], lambda w: np.array([0.5, 2.0, 5.0]) * w)
    for course, steps in ((slow_bowl, 300), (Smooth((3, 4)), 300)):
        there, here = nesterovs(course, mu, lambda t: 0.02, steps)
        assert_near(there, here, 1e-14)


@everywhere
def test_under_a_schedule_the_two_nesterovs_differ_by_the_change_of_rate_times_what_is_remembered():
    """With y = w + μv: y_t = y_{t-1} - α_t g_t + μ v_t, and p_t = p_{t-1} - α_t g_t - α_t μ u_t for
    PyTorch, which keeps u = Σ μ^(t-k) g_k where v = -Σ μ^(t-k) α_k g_k. On the same gradients, they
    differ by μ Σ_t Σ_k μ^(t-k) (α_t - α_k) g_k."""
    mu = 0.9
    there, here = nesterovs(COURSE, mu, falling, STEPS)
    apart, wanted = np.zeros((3, 4)), []
    for t in range(STEPS):
        apart = apart + mu * sum(
            mu ** (t - k) * (falling(t) - falling(k)) * COURSE.gradients[k] for k in range(t + 1)
        )
        wanted.append(apart)
    assert_near(here - there, wanted)
    assert_apart(here, there, least=1e-2)


@everywhere
def test_where_the_rate_drops_the_two_nesterovs_part_by_mu_squared_times_the_drop_times_u():
    """Along a loss of their own: up to the drop from a to b they agree, and after that step they
    differ by μ² (a - b) u."""
    a, b, mu, course = 0.02, 0.002, 0.9, Smooth((3, 4))
    there, here = nesterovs(course, mu, lambda t: a if t < 10 else b, 11)
    assert_near(there[:10], here[:10], 1e-14)
    points = [course.start, *there[:9]]
    u = sum(mu ** (9 - k) * course.gradient(p, k) for k, p in enumerate(points))
    assert_near(here[10] - there[10], -(mu**2) * (a - b) * u, 1e-13)
    assert_apart(here[10], there[10], least=1e-2)


# ---- what the comparisons have found -------------------------------------------------------------


@everywhere
def test_a_momentum_in_a_group_of_rmsprop_made_without_one_is_refused_and_not_ignored():
    (w,) = weights = tensors([Smooth((3, 4))])
    with pytest.raises(ValueError, match=r"mu is 0\.9 in a group.*give a mu when making it"):
        optim.RMSProp([{"params": weights, "mu": 0.9}], lr=0.1)
    optimizer = optim.RMSProp(weights, lr=0.1)
    optimizer.groups[0]["mu"] = 0.5
    before = w.numpy()
    with pytest.raises(ValueError, match=r"mu is 0\.5"):
        optimizer.step()
    np.testing.assert_array_equal(w.numpy(), before)
    other = tensors([Smooth((2,))])
    optim.RMSProp([{"params": weights}, {"params": other, "mu": 0.0}], lr=0.1, mu=0.9).step()


@everywhere
def test_the_floor_of_adafactor_is_restored_with_its_state():
    """None, the dtype's own epsilon, into an optimizer that was made with another number."""
    course = Given(np.full((2, 2), 0.5), lambda w: 1e-3 * np.sign(w))
    plain = run(optim.Adafactor, course, 20, lr=0.1)
    weights = tensors([course])
    first = optim.Adafactor(weights, lr=0.1)
    trajectory(first, weights, [course], 10)
    second = optim.Adafactor(weights, lr=0.1, eps=(0.5, 1e-3))
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(trajectory(second, weights, [course], 10)[0], plain[10:])


@everywhere
def test_the_averages_begin_at_the_weights_that_are_loaded_after_the_optimizer_is_made():
    """x of ScheduleFree, the mean of ASGD and the slow weights of Lookahead: not where the weights
    stood when the optimizer was made."""

    course = Given([1.0, -2.0], np.copy)
    for made in (
        lambda p: optim.ScheduleFree(p, lr=0.1),
        lambda p: optim.ASGD(p, lr=0.1, t0=0),
        lambda p: optim.Lookahead(optim.SGD(p, lr=0.1), k=3),
    ):
        (early,) = tensors([course])
        (late,) = tensors([Given([9.0, 9.0], np.copy)])
        first, second = made([early]), made([late])
        late.data = asarray(course.start.copy())
        paths = [trajectory(o, [w], [course], 12)[0] for o, w in ((first, early), (second, late))]
        np.testing.assert_array_equal(*paths)
        if isinstance(first, optim.ASGD):
            paths = [o.state_dict()["slots"]["0"]["ax"] for o in (first, second)]
            np.testing.assert_array_equal(*paths)


@everywhere
def test_before_the_first_step_the_averages_are_the_weights():
    for cls in (optim.ASGD, optim.ScheduleFree):
        (w,) = weights = tensors([Smooth((3, 4))])
        optimizer, before = cls(weights, lr=0.1), w.numpy()
        w.data = asarray(before + 1)
        if cls is optim.ASGD:
            with optimizer.averaged():
                np.testing.assert_array_equal(w.numpy(), before + 1)
        else:
            optimizer.eval()
            np.testing.assert_array_equal(w.numpy(), before + 1)
            optimizer.train()
        np.testing.assert_array_equal(w.numpy(), before + 1)


@everywhere
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (), (1,)], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_step_on_nothing_and_on_one_weight_works(name, shape):
    if name == "Muon" and len(shape) != 2:
        shape = (2, 0)  # Muon moves matrices alone
    cls = getattr(optim, name)
    for form in choices(cls):
        (w,) = weights = tensors([Given(np.ones(shape), np.copy)])
        trajectory(make(cls, weights, **form), weights, [Given(np.ones(shape), np.copy)], 3)
        assert w.shape == shape
        assert np.isfinite(w.numpy()).all()
        assert not w.size or (w.numpy() != 1).all()


@everywhere
def test_a_zero_gradient_on_fresh_state_moves_only_what_decays():
    moved = set()
    for name in ALL:
        cls = getattr(optim, name)
        for form in choices(cls):
            course = Given(np.ones((2, 2)), np.zeros_like)
            (w,) = weights = tensors([course])
            trajectory(make(cls, weights, **form), weights, [course], 3)
            if (w.numpy() != 1).any():
                moved.add(name)
    assert moved == {"AdamW", "ASGD", "LAMB", "Muon"}
