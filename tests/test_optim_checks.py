"""What an optimizer refuses, with the cure that it names and with nothing changed: keywords, names,
numbers, groups, states, closures, transforms, and classes that users write."""

import dataclasses
import functools
import math
import re

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.backend import asarray, host
from tinygrad_opt.optim import (
    ASGD,
    L2,
    LBFGS,
    SAM,
    SGD,
    Adagrad,
    Adam,
    ClipValue,
    GaussianNoise,
    Lookahead,
    Momentum,
    Muon,
    Nesterov,
    Optimizer,
    RMSProp,
    Rprop,
    ScheduleFree,
    TensorOptimizer,
    Transform,
    without_decay,
)
from tinygrad_opt.optim.schedules import OnPlateau, cosine

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def weight(values=(0.5, -1.5, 2.0), dtype="float64"):
    return tg.Tensor(np.array(values, dtype), requires_grad=True)


def closure_of(optimizer, w):
    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    return closure


@dataclasses.dataclass
class unchanged:
    """Inside, an error of this kind and message comes, and weights, state and t stay."""

    optimizer: object
    error: type
    match: str

    def now(self):
        optimizer = self.optimizer
        while not isinstance(optimizer, Optimizer):
            optimizer = optimizer.optimizer
        return [optimizer.t, *(t.numpy() for group in optimizer.groups for t in group["params"]),
                *(host(array).copy() for flat in optimizer._flat for array in flat.slots.values()),
                *(dict(carried) for carried in optimizer._carried)]  # fmt: skip

    def __enter__(self):
        self.before = self.now()
        self.raises = pytest.raises(self.error, match=self.match)
        return self.raises.__enter__()

    def __exit__(self, *exc_info):
        caught = self.raises.__exit__(*exc_info)
        after = self.now()
        assert len(after) == len(self.before)
        for a, b in zip(after, self.before):
            np.testing.assert_array_equal(a, b)
        return caught


# ---- classes that users write --------------------------------------------------------------------


@pytest.mark.parametrize("base", [Adam, Momentum, RMSProp, Nesterov], ids=lambda cls: cls.__name__)
def test_a_rule_that_the_forms_of_the_base_would_hide_is_refused_with_the_cure(base):
    forms = ", ".join(base.rules)
    cure = rf"Mine has a new rule, .* by their forms \({forms}\): give rules = .*optim.Optimizer"
    with pytest.raises(TypeError, match=cure):

        class Mine(base):
            def rule(w, g, v, *, lr):
                w = w - lr * g
                return w, v


def test_rules_without_a_default_are_refused_with_the_cure():
    with pytest.raises(TypeError, match=r"Mine has new rules: say with rule = .* is the default"):

        class Mine(Momentum):
            def mine(w, g, v, *, lr):
                w = w - lr * g
                return w, v

            rules = {"mine": mine}


@everywhere
@both_dtypes
def test_rules_with_a_default_among_them_are_those_that_run(dtype):
    class Signed(Momentum):
        def signed(w, g, v, *, lr, mu):
            v = mu * v - lr * np.sign(g)
            w = w + v
            return w, v

        def bare(w, g, v, *, lr):
            w = w - lr * np.sign(g)
            return w, v

        rule = signed
        rules = {"signed": signed, "bare": bare}

    for form in ("signed", "bare"):
        w, there = weight(dtype=dtype), np.array((0.5, -1.5, 2.0), dtype)
        optimizer = Signed([w], lr=0.1, mu=0.75, form=form)
        v = np.zeros_like(there)
        for _ in range(3):
            optimizer.step(closure_of(optimizer, w))
            v = (0.75 if form == "signed" else 0.0) * v - np.array(0.1, dtype) * np.sign(there)
            there = there + v
        np.testing.assert_array_equal(w.numpy(), there)
        assert w.dtype == dtype
        assert optimizer.source() == Signed.rules[form].text
    with pytest.raises(ValueError, match="Signed: unknown form 'classical'; known are signed, b"):
        Signed([weight()], lr=0.1)


@everywhere
@pytest.mark.parametrize("base", [Adam, Momentum], ids=lambda cls: cls.__name__)
def test_a_subclass_with_neither_is_its_base_by_another_name(base):
    class Mine(base):
        def __init__(self, params):
            super().__init__(params, lr=0.25)

    w, there = weight(), weight()
    mine, theirs = Mine([w]), base([there], lr=0.25)
    for _ in range(3):
        mine.step(closure_of(mine, w))
        theirs.step(closure_of(theirs, there))
    np.testing.assert_array_equal(w.numpy(), there.numpy())
    assert Mine.rule is base.rule
    assert Mine.latex() == base.latex()
    assert repr(mine).startswith("Mine(lr=0.25")


@everywhere
def test_a_rule_over_whole_tensors_is_to_be_derived_from_another_base():
    cure = "Mine: derive a rule over whole tensors from tg.optim.TensorOptimizer"
    with pytest.raises(TypeError, match=cure):

        class Mine(Optimizer):
            elementwise = False

            def rule(w, g, *, lr):
                w = w - lr * g / np.sum(g)
                return (w,)

    class Right(TensorOptimizer):
        def rule(w, g, *, lr):
            w = w - lr * g / np.sum(g)
            return (w,)

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

    w = weight([1.0, 3.0])
    w.grad = asarray(np.array([1.0, 3.0]))
    Right([w], lr=1.0).step()
    np.testing.assert_array_equal(w.numpy(), [0.75, 2.25])


def no_rule(w, g, *, lr):
    return (w,)


@pytest.mark.parametrize("wrong", [functools.partial(no_rule), "w - lr * g", print, 3],
                         ids=["a partial", "a string", "a built-in", "a number"])  # fmt: skip
@pytest.mark.parametrize("place", ["rule", "rules"])
def test_a_rule_that_is_no_function_is_refused(wrong, place):
    body = {"rule": wrong} if place == "rule" else {"rule": no_rule, "rules": {"mine": wrong}}
    match = re.escape(f"Mine: a rule is a function, not {wrong!r}")
    with pytest.raises(TypeError, match=match):
        type("Mine", (Optimizer,), body)


def test_an_initial_value_for_what_is_no_slot_is_refused():
    def rule(w, g, v, *, lr):
        v = v + g
        w = w - lr * v
        return w, v

    own = {"rule": rule, "initial": {"q": "lr"}}
    for base, body in ((Optimizer, own), (Adagrad, own), (Adagrad, {"initial": {"q": "lr"}})):
        with pytest.raises(TypeError, match="Mine: initial is for slots, and q is none"):
            type("Mine", (base,), body)
    type("Mine", (Optimizer,), {"rule": rule, "initial": {"v": "lr"}})


class Bare(Optimizer):
    """A rule, and whatever __init__ a test gives it."""

    def rule(w, g, *, lr, count=0.0):
        count = count + 1
        w = w - lr * count * g
        return (w,)


HYPER_WANTED = r"Mine: the rule's numbers are given by name. Write an __init__, .*super\(\).__init_"


def bare(**given):
    class Mine(Bare):
        def __init__(self, params):
            super().__init__(params, **given)

    return Mine


@pytest.mark.parametrize("given", [{}, {"lr": 0.1}, {"hyper": 0.1}, {"hyper": [("lr", 0.1)]}],
                         ids=["nothing", "a keyword", "a number", "a list"])  # fmt: skip
def test_numbers_that_are_not_a_dict_are_refused_with_an_example(given):
    with pytest.raises(TypeError, match=re.compile(HYPER_WANTED, re.DOTALL)):
        bare(**given)([weight()])


def test_a_class_without_init_says_what_to_write():
    class Mine(Bare):
        pass

    for arguments in ((), (0.1,)):
        with pytest.raises(TypeError, match=re.compile(HYPER_WANTED, re.DOTALL)):
            Mine([weight()], *arguments)
    with pytest.raises(TypeError, match=re.compile(HYPER_WANTED, re.DOTALL)):
        Mine([weight()], lr=0.1)


@pytest.mark.parametrize("use", [
    lambda o: o.step(), lambda o: o.step(lambda: 0.0), lambda o: o.zero_grad(), repr,
    lambda o: o.values(), lambda o: o.explain("0", 0), lambda o: o.state_dict(), lambda o: o.t,
])  # fmt: skip
def test_a_forgotten_super_init_is_named_by_whatever_is_called_first(use):
    class Mine(Bare):
        def __init__(self, params, lr):
            self.mine = lr

    optimizer = Mine([weight()], lr=0.1)
    with pytest.raises(AttributeError, match=r"Mine.__init__ has not called super\(\).__init__"):
        use(optimizer)


@pytest.mark.parametrize("name", ["t", "params", "names", "l2", "count"])
def test_a_hyper_parameter_of_a_name_that_means_something_else_is_refused(name):
    with pytest.raises(TypeError, match=f"Mine: {name} cannot be a hyper-parameter"):
        bare(hyper={"lr": 0.1, name: 1.0})([weight()])


def test_a_hyper_parameter_that_no_rule_reads_is_refused_and_the_nearest_named():
    with pytest.raises(TypeError, match=r"Mine: no rule reads the hyper-parameter lrr; .* 'lr'"):
        bare(hyper={"lr": 0.1, "lrr": 1.0})([weight()])
    assert bare(hyper={"lr": 0.1})([weight()]).values() == [{"lr": 0.1, "l2": 0.0}]


# ---- the rule, shown by an optimizer and by its class --------------------------------------------

FORMED = {
    "torch": (lambda w: Momentum([w], lr=0.1, form="torch"), "torch"),
    "the default": (lambda w: Momentum([w], lr=0.1), "classical"),
    "centered": (lambda w: RMSProp([w], centered=True, mu=0.9), "centered momentum"),
    "inside": (lambda w: RMSProp([w], eps_inside=True), "plain, eps inside"),
    "eps_hat": (lambda w: Adam([w], form="eps_hat"), "eps_hat"),
    "plain": (lambda w: Muon([w], nesterov=False), "plain"),
    "shifted": (lambda w: Nesterov([w], lr=0.1, form="shifted"), "shifted"),
    "adamw": (lambda w: ScheduleFree([w], lr=0.1, form="adamw"), "adamw"),
}


@pytest.mark.parametrize("make, form", FORMED.values(), ids=FORMED)
def test_an_optimizer_shows_its_own_form_and_its_class_the_default(make, form):
    optimizer = make(weight([[1.0, 2.0]]))
    cls = type(optimizer)
    rule = cls.rules[form]
    assert optimizer.source() == rule.text == cls.source(form)
    assert optimizer.latex() == tg.optim.optimizer.latex.typeset(rule) == cls.latex(form)
    assert rule.formula in repr(optimizer)
    if cls is not Nesterov:
        assert cls.source() == cls.rule.text
        assert cls.latex() == tg.optim.optimizer.latex.typeset(cls.rule)
    if rule is not cls.rule:
        assert optimizer.source() != cls.source()
        assert optimizer.latex() != cls.latex()
    another = next(name for name in cls.rules if name != form)
    assert optimizer.source(another) == cls.source(another)  # asked for, it is shown
    with pytest.raises(ValueError, match=f"{cls.__name__}: unknown form 'no'; known are "):
        optimizer.source("no")


def test_nesterov_shows_first_where_the_gradient_is_taken():
    optimizer = Nesterov([weight()], lr=0.1)
    for it in (optimizer, Nesterov):
        ahead, rule = it.source().split("\n\n")
        assert "w = w + mu * v\n    return (w,)" in ahead
        assert rule == Momentum.source()
        assert it.latex().startswith(tg.optim.optimizer.latex.typeset(Nesterov.ahead))
        assert it.latex().endswith("\n" + Momentum.latex())
    assert ": g at w = w + mu * v; v = mu * v - lr * g; w = w + v  [" in repr(optimizer)
    assert "g at" not in repr(Nesterov([weight()], lr=0.1, form="shifted"))
    assert "ahead" not in Nesterov.source("shifted")
    assert Nesterov([weight()], lr=0.1, form="shifted").source("look_ahead") == Nesterov.source()


# ---- numbers, where they stand -------------------------------------------------------------------


@everywhere
def test_numbers_are_set_and_read_in_the_groups_and_whoever_tries_otherwise_is_told():
    w = weight()
    optimizer = Momentum([w], lr=0.1, mu=0.5)
    for name in ("lr", "mu", "l2"):
        cure = rf"Momentum.{name} is not set so: write optimizer.groups\[0\]\['{name}'\] = "
        with pytest.raises(AttributeError, match=cure):
            setattr(optimizer, name, 0.3)
        cure = rf"{name} stands in optimizer.groups\[0\]\['{name}'\], .*optimizer.values\(\)"
        with pytest.raises(AttributeError, match=cure):
            getattr(optimizer, name)
        assert not hasattr(optimizer, name)
    with pytest.raises(AttributeError, match=r"Momentum.form is not set so: make a new optimizer"):
        optimizer.form = "torch"
    assert optimizer.form == "classical"
    with pytest.raises(AttributeError, match=r"the groups are called optimizer.groups here"):
        _ = optimizer.param_groups
    with pytest.raises(AttributeError, match="'Momentum' object has no attribute 'learning'"):
        _ = optimizer.learning
    optimizer.groups[0]["lr"] = 0.3
    optimizer.step(closure_of(optimizer, w))
    np.testing.assert_array_equal(w.numpy(), np.array([0.5, -1.5, 2.0]) * (1 - 2 * 0.3))


@everywhere
@pytest.mark.parametrize("edit, message", [
    (lambda gs: gs[1].update(momentum=0.9), "unknown key 'momentum' in a group"),
    (lambda gs: gs[1].update(lrr=0.9), "unknown key 'lrr' in a group; did you mean 'lr'"),
    (lambda gs: gs[1].update(lrr=gs[1].pop("lr")), "unknown key 'lrr' in a group; .* 'lr'"),
    (lambda gs: gs[1].pop("mu"), "a group has lost its key 'mu'"),
    (lambda gs: gs[1].update(mu=1.0), r"mu is in \[0, 1\), not 1.0"),
    (lambda gs: gs[1].update(lr="0.1"), "lr is a number or a function .* not '0.1'"),
    (lambda gs: gs.append(dict(gs[0])), "was made with 2 groups and has 3 now: make a new one"),
    (lambda gs: gs.pop(), "was made with 2 groups and has 1 now: make a new one"),
])  # fmt: skip
@pytest.mark.parametrize("closed", [False, True], ids=["bare", "with a closure"])
def test_an_edit_of_the_groups_that_cannot_be_right_is_refused_at_the_step(edit, message, closed):
    a, b, calls = weight(), weight(), []
    optimizer = Momentum([{"params": [a]}, {"params": [b]}], lr=0.1)
    (a * b).sum().backward()
    groups = list(optimizer.groups)
    edit(optimizer.groups)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        optimizer.step((lambda: calls.append(1)) if closed else None)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        optimizer.values()
    optimizer.groups[:] = groups
    assert not calls
    assert optimizer.t == 0
    for w in (a, b):
        np.testing.assert_array_equal(w.numpy(), [0.5, -1.5, 2.0])
    assert not any(flat.slots["v"].any() for flat in optimizer._flat)


def test_lbfgs_refuses_a_second_group_put_in_later_before_it_asks_for_the_loss():
    w, calls = weight(), []
    optimizer = LBFGS([w])
    optimizer.groups.append(dict(optimizer.groups[0]))
    with pytest.raises(RuntimeError, match="was made with 1 groups and has 2 now"):
        optimizer.step(lambda: calls.append(1))
    assert not calls


def test_values_are_the_numbers_of_the_coming_step():
    plateau = OnPlateau(0.5, factor=0.5, patience=0)
    a, b = weight(), weight()
    optimizer = Momentum([{"params": [a]}, {"params": [b], "lr": plateau}],
                         lr=cosine(0.2, steps=2), mu=lambda t: t / 4)  # fmt: skip
    assert optimizer.values() == [{"lr": 0.2, "mu": 0.0, "l2": 0.0},
                                  {"lr": 0.5, "mu": 0.0, "l2": 0.0}]  # fmt: skip
    optimizer.step()
    assert [v["mu"] for v in optimizer.values()] == [0.25, 0.25]
    assert optimizer.values()[0]["lr"] == pytest.approx(0.1)
    for loss in (1.0, 1.0):
        optimizer.observe(loss)
    assert optimizer.values()[1]["lr"] == 0.25
    assert optimizer.t == 1  # asking is not stepping
    assert all(type(x) is float for values in optimizer.values() for x in values.values())


def shared_by_groups(plateau, a, b):
    return SGD([{"params": [a], "lr": plateau}, {"params": [b], "lr": plateau}], lr=0.1)


SHARED = {
    "two groups": shared_by_groups,
    "the default of two groups": lambda p, a, b: SGD([{"params": [a]}, {"params": [b]}], lr=p),
    "lr and mu": lambda p, a, b: Momentum([a, b], lr=p, mu=p),
    "a transform": lambda p, a, b: SGD([a, b], lr=0.1, transforms=[GaussianNoise(std=p)]),
    "a transform and lr": lambda p, a, b: SGD([a], lr=p, transforms=[GaussianNoise(std=p)]),
    "two transforms": lambda p, a, b: SGD(
        [a], lr=0.1, transforms=[GaussianNoise(std=p), GaussianNoise(std=p, seed=1)]
    ),
}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_a_plateau_hears_each_loss_once_wherever_it_stands(make):
    plateau = OnPlateau(0.5, factor=0.5, patience=1)
    optimizer = make(plateau, weight(), weight())
    heard = []
    for loss in (4.0, 4.0, 4.0, 3.0, 3.0, 3.0):
        optimizer.observe(loss)
        heard.append(plateau.value)
    assert heard == [0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


JUNK = {"np.True_": np.True_, "True": True, "bytes": b"0.1", "str": "0.1", "complex": 1j,
        "10**400": 10**400, "complex128": np.complex128(0.1), "complex64": np.complex64(0.1),
        "None": None, "a list": [0.1], "an array": np.array([0.1, 0.2])}  # fmt: skip


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_a_number_that_is_none_is_refused_when_it_is_given_edited_in_or_scheduled(junk):
    message = "SGD: lr is a number or a function of the number of steps, not "
    with pytest.raises(TypeError, match=message):
        SGD([weight()], lr=junk)
    with pytest.raises(TypeError, match=message):
        SGD([{"params": [weight()], "lr": junk}], lr=0.1)
    with pytest.raises(TypeError, match=message):
        SGD([weight()], lr=lambda t: junk)
    optimizer = SGD([weight()], lr=0.1)
    optimizer.groups[0]["lr"] = junk
    with unchanged(optimizer, TypeError, message):
        optimizer.step()


@everywhere
@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.25), np.array(0.25)], ids=repr)
@both_dtypes
def test_numbers_of_numpy_are_numbers(number, dtype):
    one, two = weight(dtype=dtype), weight(dtype=dtype)
    first, second = RMSProp([one], lr=number, mu=number), RMSProp([two], lr=0.25, mu=0.25)
    assert first.form == "momentum"
    for _ in range(3):
        first.step(closure_of(first, one))
        second.step(closure_of(second, two))
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert one.dtype == dtype
    assert RMSProp([one], mu=np.float64(0.0)).form == "plain"


WRONG = {
    "centered": (lambda w: RMSProp([w], centered="no"), "RMSProp: centered is True or False, not"),
    "inside": (lambda w: RMSProp([w], eps_inside=1), "RMSProp: eps_inside is True or False, not 1"),
    "nesterov": (lambda w: Muon([w], nesterov="no"), "Muon: nesterov is True or False, not 'no'"),
    "ns_steps": (lambda w: Muon([w], ns_steps=2.5), "Muon: ns_steps is an integer .* not 2.5"),
    "ns_steps 0": (lambda w: Muon([w], ns_steps=0), "Muon: ns_steps is an integer from 1 to 99"),
    "ns_steps True": (lambda w: Muon([w], ns_steps=True), "Muon: ns_steps is an integer"),
    "Rprop": (lambda w: Rprop([w], smallest=5.0, largest=1.0), "smallest, 5.0, is above largest"),
    "Rprop ints": (lambda w: Rprop([w], smallest=5, largest=1), "smallest, 5.0, is above largest"),
    "Rprop group": (lambda w: Rprop([{"params": [w], "largest": 1e-9}]), "is above largest, 1e-09"),
    "check_finite": (lambda w: SGD([w], 0.1, check_finite="x"), "check_finite is True or False"),
    "check_finite 0": (lambda w: SGD([w], 0.1, check_finite=0), "check_finite is True or False"),
    "form": (lambda w: Momentum([w], 0.1, form=3), "Momentum: form is a word, not 3"),
}  # fmt: skip


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_a_choice_that_there_is_not_is_refused_and_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(weight([[1.0, 2.0]]))


@everywhere
def test_bounds_of_rprop_that_cross_later_are_refused_at_the_step():
    optimizer = Rprop([weight()], lr=0.1)
    optimizer.groups[0]["largest"] = 1e-7
    with unchanged(optimizer, ValueError, "smallest, 1e-06, is above largest, 1e-07"):
        optimizer.step()


COUNTS = [0, -1, 1.5, 2.0, True, "3", math.nan, np.int64(3)]
BOUNDS = [-1e-9, math.nan, math.inf, True, "1e-7", None, 1j]


@pytest.mark.parametrize("name, value", [
    *((name, x) for name in ("max_iter", "max_eval", "history_size") for x in COUNTS),
    ("max_iter", None), ("history_size", None),
    *((name, x) for name in ("tolerance_grad", "tolerance_change") for x in BOUNDS),
])  # fmt: skip
def test_lbfgs_refuses_junk_for_a_count_or_a_tolerance(name, value):
    w = weight()
    with pytest.raises(ValueError, match=f"LBFGS: {name} is "):
        LBFGS([w], **{name: value})
    assert LBFGS([w], max_iter=1, max_eval=None, tolerance_grad=0, tolerance_change=0.0)


# ---- parameters ----------------------------------------------------------------------------------


def test_two_tensors_over_one_array_are_refused_and_both_named():
    shared = np.ones((2, 3))
    a, b, c = (tg.Tensor(x, requires_grad=True) for x in (shared, np.ones(3), shared.T))
    assert np.shares_memory(a.data, c.data)
    with pytest.raises(ValueError, match="'c' and 'a' are two tensors over one array, which would"):
        SGD([("a", a), ("b", b), ("c", c)], lr=0.1)
    with pytest.raises(ValueError, match="'1' and '0' are two tensors over one array"):
        SGD([{"params": [a]}, {"params": [c]}], lr=0.1)
    empty = [tg.Tensor(np.ones((0, 3)), requires_grad=True) for _ in range(2)]
    SGD([a, b, *empty], lr=0.1).step()


@pytest.mark.parametrize("wrong", [None, 3, 0.5])
def test_a_group_whose_params_are_no_list_is_refused(wrong):
    with pytest.raises(TypeError, match=f'"params" of a group is a list of tensors, not {wrong}'):
        SGD([{"params": wrong}], lr=0.1)


def test_without_decay_takes_a_model_or_its_parameters():
    model = tg.nn.MLP([3, 4, 2])
    wanted = without_decay(model.named_parameters())
    got = without_decay(model)
    assert [[name for name, _ in group["params"]] for group in got] == [
        [name for name, _ in group["params"]] for group in wanted
    ]
    assert [group.get("l2") for group in got] == [None, 0.0]
    assert all(t.ndim == 2 for _, t in got[0]["params"])
    optimizer = SGD(got, lr=0.1, l2=0.5)
    assert [values["l2"] for values in optimizer.values()] == [0.5, 0.0]


@pytest.mark.parametrize("wrong, kind", [(5, "int"), (None, "NoneType"), ("model", "str"),
                                         (weight(), "Tensor")])  # fmt: skip
def test_without_decay_refuses_what_has_no_parameters(wrong, kind):
    with pytest.raises(TypeError, match=f"without_decay: a model or its parameters, not a {kind}"):
        without_decay(wrong)


def test_without_decay_refuses_what_is_no_parameter():
    with pytest.raises(TypeError, match="tensors or \\(name, tensor\\) pairs, not 5"):
        without_decay([weight(), 5])


# ---- closures ------------------------------------------------------------------------------------

STEPPERS = {
    "SGD": lambda w: SGD([w], lr=0.1),
    "Nesterov": lambda w: Nesterov([w], lr=0.1),
    "LBFGS": lambda w: LBFGS([w], lr=0.1),
    "SAM": lambda w: SAM(Momentum([w], lr=0.1)),
    "Lookahead": lambda w: Lookahead(Adam([w], lr=0.1), k=2),
    "ASGD": lambda w: ASGD([w], lr=0.1),
}
every_stepper = pytest.mark.parametrize("make", STEPPERS.values(), ids=STEPPERS)


@everywhere
@every_stepper
def test_the_loss_in_place_of_a_closure_is_refused_with_the_cure(make):
    w = weight()
    optimizer = make(w)
    loss = (w * w).sum()
    cure = r"\.step\(closure\) calls it for the loss, and a Tensor cannot be called: write step\(\)"
    with unchanged(optimizer, TypeError, cure):
        optimizer.step(loss)


@everywhere
@every_stepper
def test_numbers_are_checked_before_the_closure_runs(make):
    w, calls = weight(), []
    optimizer = make(w)
    optimizer.step(closure_of(optimizer, w))
    optimizer.groups[0]["lr"] = -1.0
    with unchanged(optimizer, ValueError, r"lr is in \[0, inf\), not -1"):
        optimizer.step(lambda: calls.append(1))
    assert not calls


@everywhere
def test_a_length_of_the_climb_is_checked_before_the_closure_runs():
    w, calls = weight(), []
    optimizer = SAM(SGD([w], lr=0.1))
    optimizer.rho = -0.1
    with unchanged(optimizer, ValueError, r"SAM: rho is in \[0, inf\), not -0.1"):
        optimizer.step(lambda: calls.append(1))
    assert not calls


# ---- what transforms make ------------------------------------------------------------------------


@dataclasses.dataclass
class Poison(Transform):
    value: float

    def __call__(self, parts, t):
        for part in parts:
            part.g[1] = self.value


@dataclasses.dataclass
class Gives(Transform):
    def __call__(self, parts, t):
        return parts


@dataclasses.dataclass
class Rebinds(Transform):
    def __call__(self, parts, t):
        for part in parts:
            part.g = -part.g


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@both_dtypes
def test_what_a_transform_of_a_user_made_is_checked_too(poison, dtype):
    w = weight(dtype=dtype)
    optimizer = Momentum([("w", w)], lr=0.1, transforms=[Poison(poison)])
    w.grad = np.ones(3, dtype)
    with unchanged(optimizer, FloatingPointError, "gradient of w has 1 NaN or inf among 3 values"):
        optimizer.step()
    np.testing.assert_array_equal(w.grad, 1)
    optimizer.check_finite = False
    with np.errstate(all="ignore"):
        optimizer.step()
    assert not np.isfinite(w.numpy()).all()


def test_a_penalty_too_large_for_float32_is_seen_and_in_float64_is_none():
    w = weight(dtype="float32")
    optimizer = SGD([w], lr=0.0, transforms=[L2(1e39)])
    with unchanged(optimizer, FloatingPointError, "gradient of 0 has 3 NaN or inf among 3 values"):
        optimizer.step()
    w = weight()
    SGD([w], lr=1e-40, transforms=[L2(1e39)]).step()
    np.testing.assert_allclose(w.numpy(), [0.45, -1.35, 1.8], rtol=1e-15)


@both_dtypes
def test_a_gradient_that_a_transform_has_mended_steps(dtype):
    w = weight(dtype=dtype)
    optimizer = SGD([w], lr=0.5, transforms=[ClipValue(1.0)])
    w.grad = np.array([np.inf, -np.inf, 0.25], dtype)
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), [0.0, -1.0, 1.875])
    assert w.dtype == dtype
    w.grad = np.array([np.nan, 0, 0], dtype)
    with unchanged(optimizer, FloatingPointError, "gradient of 0 has 1 NaN"):
        optimizer.step()


@pytest.mark.parametrize("wrong", [Gives(), Rebinds()], ids=repr)
def test_a_transform_that_gives_or_rebinds_instead_of_editing_is_refused(wrong):
    w = weight()
    optimizer = Momentum([w], lr=0.1, transforms=[ClipValue(1.0), wrong])
    w.grad = np.ones(3)
    match = re.escape(f"{wrong!r}: a transform edits each part.g in place")
    with unchanged(optimizer, TypeError, match):
        optimizer.step()
    with unchanged(optimizer, TypeError, match):
        optimizer.explain("0", 0)
    np.testing.assert_array_equal(w.grad, 1)
    optimizer.transforms.pop()
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), [0.4, -1.6, 1.9])


# ---- states --------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make, slot", [
    (lambda w: Momentum([w], lr=0.1), "v"), (lambda w: Adam([w]), "m"),
    (lambda w: LBFGS([w], lr=0.1, max_iter=3), "gradient"),
    (lambda w: tg.optim.Adafactor([w]), "V"),
], ids=["Momentum", "Adam", "LBFGS", "Adafactor"])  # fmt: skip
@both_dtypes
def test_a_slot_that_is_not_finite_is_not_loaded(make, slot, value, dtype):
    w = weight(dtype=dtype)
    optimizer = make(w)
    optimizer.step(closure_of(optimizer, w))
    saved = optimizer.state_dict()
    saved["t"] = 7
    saved["slots"]["0"][slot][1] = value
    with unchanged(optimizer, ValueError, f"slot {slot} of 0 has a NaN or inf"):
        optimizer.load_state_dict(saved)


@everywhere
@pytest.mark.parametrize("t", [2**63, 2**64, 10**400, -1, 1.0, True, None])
def test_a_number_of_steps_that_is_none_is_not_loaded(t):
    w = weight()
    optimizer = Momentum([w], lr=0.1)
    optimizer.step(closure_of(optimizer, w))
    saved = optimizer.state_dict() | {"t": t}
    with unchanged(optimizer, ValueError, "t is a number of steps, not "):
        optimizer.load_state_dict(saved)
    optimizer.load_state_dict(saved | {"t": 2**63 - 1})
    assert optimizer.t == 2**63 - 1


def test_a_state_that_is_loaded_forgets_the_bad_step_that_was_noted_before(standin):
    with tg.use("cupy"):
        w = tg.Tensor(standin.ones(3), requires_grad=True)
        optimizer = Momentum([w], lr=0.1)
        good = optimizer.state_dict()
        w.grad = standin.array([1.0, np.nan, 1.0])
        optimizer.step()
        with pytest.raises(ValueError, match="does not fit"):
            optimizer.load_state_dict(good | {"t": -1})
        assert optimizer.finite.bad_step is not None  # nothing changed
        optimizer.load_state_dict(good)
        optimizer.raise_if_not_finite()
        assert optimizer.state_dict()["t"] == 0
        w.grad = standin.array([1.0, np.nan, 1.0])
        optimizer.step()
        with pytest.raises(FloatingPointError, match="a NaN or inf at step 0"):
            optimizer.raise_if_not_finite()
