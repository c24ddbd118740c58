"""The GPU's reading of whole optimizers, on the stand-in: one launch a step, nobody waits, and the
numbers are NumPy's to the bit. (Rule by rule: test_optim_compiled.py.)"""

import numpy as np
import pytest
import strict_cupy

import tinygrad_opt as tg
from tinygrad_opt import backend as backends
from tinygrad_opt import optim
from tinygrad_opt.optim import GaussianNoise, Rule, cuda

MAKERS = {
    "SGD": lambda p, **kw: optim.SGD(p, lr=0.1, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, lr=0.1, **kw),
    "Momentum torch": lambda p, **kw: optim.Momentum(p, lr=0.1, form="torch", **kw),
    "Momentum ema": lambda p, **kw: optim.Momentum(p, lr=0.1, form="ema", **kw),
    "Nesterov shifted": lambda p, **kw: optim.Nesterov(p, lr=0.1, form="shifted", **kw),
    "Adagrad": lambda p, **kw: optim.Adagrad(p, lr=0.1, initial=0.1, lr_decay=0.1, **kw),
    "RMSProp": lambda p, **kw: optim.RMSProp(p, lr=0.1, **kw),
    "RMSProp all": lambda p, **kw: optim.RMSProp(
        p, lr=0.1, mu=0.5, centered=True, eps_inside=True, **kw),
    "Adadelta": lambda p, **kw: optim.Adadelta(p, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, **kw),
    "Adam eps_hat": lambda p, **kw: optim.Adam(p, form="eps_hat", **kw),
    "AMSGrad": lambda p, **kw: optim.AMSGrad(p, **kw),
    "AdamW": lambda p, **kw: optim.AdamW(p, **kw),
    "Adamax": lambda p, **kw: optim.Adamax(p, **kw),
    "NAdam": lambda p, **kw: optim.NAdam(p, **kw),
    "RAdam": lambda p, **kw: optim.RAdam(p, **kw),
    "Rprop": lambda p, **kw: optim.Rprop(p, lr=0.01, **kw),
    "ASGD": lambda p, **kw: optim.ASGD(p, lr=0.1, t0=2, **kw),
    "Lion": lambda p, **kw: optim.Lion(p, weight_decay=0.1, **kw),
    "ScheduleFree": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, **kw),
    "ScheduleFree adamw": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, form="adamw", **kw),
}  # fmt: skip
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
SHAPES = [(3, 4), (65,), ()]


def weights(dtype="float32", xp=np):
    draw = np.random.default_rng(0)
    return [tg.Tensor(xp.asarray(draw.standard_normal(s).astype(dtype)), requires_grad=True)
            for s in SHAPES]  # fmt: skip


def give_gradients(ws, seed, xp=np):
    draw = np.random.default_rng(seed)
    for w in ws:
        w.grad = xp.asarray(draw.standard_normal(w.shape).astype(str(w.dtype)))


def is_first(optimizer):
    """ScheduleFree begins with one launch more: z is where the weights are by then."""
    return isinstance(optimizer, optim.ScheduleFree) and optimizer.t == 1


def host(x):
    return backends.host(x)


def test_every_elementwise_optimizer_is_here():
    here = {type(make(weights())) for make in MAKERS.values()}
    all_of_them = {cls for cls in vars(optim).values() if isinstance(cls, type)
                   and issubclass(cls, optim.Optimizer) and cls.elementwise}  # fmt: skip
    assert all_of_them - here <= {optim.Optimizer, getattr(optim, "LBFGS", None)}


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_on_the_gpu_is_one_launch_waits_for_nobody_and_gives_numpys_bits(
    make, dtype, standin
):
    here, there = weights(dtype), weights(dtype, standin)
    ours, theirs = make(here), make(there, check_finite=False)
    for seed in range(4):
        give_gradients(here, seed)
        give_gradients(there, seed, standin)
        ours.step()
        with strict_cupy.no_sync(), strict_cupy.counting() as counts:
            theirs.step()
        assert counts.launches == 1 + is_first(theirs)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(host(b.data), a.data)
    ours, theirs = ours.state_dict(), theirs.state_dict()
    np.testing.assert_equal(theirs["slots"], ours["slots"])
    assert theirs["carried"] == ours["carried"]


@every
def test_l2_costs_no_second_launch(make, standin):
    here, there = weights(), weights(xp=standin)
    ours, theirs = make(here, l2=0.03), make(there, l2=0.03, check_finite=False)
    for seed in range(2):
        give_gradients(here, seed)
        give_gradients(there, seed, standin)
        ours.step()
        with strict_cupy.no_sync(), strict_cupy.counting() as counts:
            theirs.step()
        assert counts.launches == 1 + is_first(theirs)
    for a, b in zip(here, there):
        np.testing.assert_array_equal(host(b.data), a.data)


def test_groups_are_a_launch_each_and_the_schedule_is_asked_on_the_host(standin):
    def run(ws):
        groups = [{"params": ws[:1], "lr": optim.schedules.cosine(0.1, 10)}, {"params": ws[1:]}]
        optimizer = optim.AdamW(groups, lr=0.01, check_finite=False)
        xp = backends.array_module(ws[0].data)
        with strict_cupy.counting() as counts:
            for seed in range(3):
                give_gradients(ws, seed, xp)
                before = counts.launches
                with strict_cupy.no_sync():
                    optimizer.step()
                assert counts.launches - before in (0, 2)
        return [host(w.data) for w in ws]

    for a, b in zip(run(weights()), run(weights(xp=standin))):
        np.testing.assert_array_equal(a, b)


def test_the_helpers_around_rules_give_numpys_bits_too(standin):
    """The look-ahead of Nesterov, the average of ScheduleFree, the slow weights of Lookahead."""

    def run(xp):
        found = []
        ws = weights(xp=xp)
        nesterov = optim.Nesterov(ws, lr=0.1)
        for seed in range(3):
            with nesterov.look_ahead():
                found += [host(w.data).copy() for w in ws]
                give_gradients(ws, seed, xp)
            nesterov.step()
        free = optim.ScheduleFree(ws := weights(xp=xp), lr=0.1)
        slow = optim.Lookahead(optim.SGD(vs := weights(xp=xp), lr=0.1), k=2)
        for seed in range(4):
            give_gradients(ws, seed, xp)
            free.step()
            give_gradients(vs, seed, xp)
            slow.step()
        free.eval()
        return found + [host(w.data).copy() for w in ws + vs]

    for a, b in zip(run(np), run(standin), strict=True):
        np.testing.assert_array_equal(a, b)


def test_transforms_and_the_finite_check_give_the_same_weights_on_both(standin):
    def run(xp):
        ws = weights(xp=xp)
        optimizer = optim.Momentum(ws, lr=0.1, transforms=[GaussianNoise(0.1, seed=3)])
        for seed in range(3):
            give_gradients(ws, seed, xp)
            optimizer.step()
        found = [host(w.data).copy() for w in ws]
        ws[1].grad[3] = float("nan")
        with pytest.raises(FloatingPointError, match="NaN or inf"):
            optimizer.step()
            optimizer.raise_if_not_finite()  # a GPU tells when it is asked
        return found

    for a, b in zip(run(np), run(standin)):
        np.testing.assert_array_equal(a, b)


def test_the_kernel_is_the_rule_in_c_with_its_own_letters_and_stores_at_the_end():
    parameters, results, body = cuda.source(optim.Momentum.rule)
    assert parameters == "T in_w, T in_g, T in_v, T s0, T s1"
    assert results == "T out_w, T out_v"
    assert body.splitlines() == [
        "T w = in_w;", "T g = in_g;", "T v = in_v;", "v = s0 * v - s1 * g;", "w = w + v;",
        "out_w = w;", "out_v = v;",
    ]  # fmt: skip


def test_a_condition_of_the_rule_is_a_bool_in_the_kernel_and_a_scalar_is_computed_once():
    @Rule
    def gated(w, g, *, lr, t):
        far = g > lr / t
        w = np.where(far, w - lr / t * g, w)
        return (w,)

    parameters, _, body = cuda.source(gated)
    assert parameters == "T in_w, T in_g, T s0"
    assert "bool far = g > s0;" in body
    assert gated.lowered.host(lr=0.5, t=2) == ((0.25,), {})


def test_no_kernel_fuses_multiply_and_add(standin, monkeypatch):
    seen = []
    kernel = standin.ElementwiseKernel

    def noted(*args, **keywords):
        seen.append(keywords["options"])
        return kernel(*args, **keywords)

    monkeypatch.setattr(standin, "ElementwiseKernel", noted)
    cuda._kernel.cache_clear()
    cuda.launch(optim.SGD.rule, [standin.ones(3), standin.ones(3)], (0.5,))
    assert seen == [("--fmad=false",)]
    cuda._kernel.cache_clear()


def test_a_rule_of_a_class_with_a_name_that_c_does_not_know_runs(standin, monkeypatch):
    class Größer(optim.Optimizer):
        def rule(w, g, *, lr):
            w = w - lr * g
            return (w,)

    seen, kernel, w = [], standin.ElementwiseKernel, standin.ones(3)

    def noted(*args, **keywords):
        seen.append(args[3])
        return kernel(*args, **keywords)

    monkeypatch.setattr(standin, "ElementwiseKernel", noted)
    cuda.launch(Größer.rule, [w, standin.ones(3)], (0.25,))
    assert seen == ["Gr__er_rule"]
    np.testing.assert_array_equal(host(w), np.full(3, 0.75))
