"""The explanation with numbers: what is printed, evaluated again, is what the step stores, exactly;
and it is made of the rule, whose formula stands nowhere else."""

import ast
import functools
import itertools
import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import strict_cupy
from hypothesis import given, settings

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.backend import asarray, host
from tinygrad_opt.optim import (
    L2,
    ClipNorm,
    ClipValue,
    GaussianNoise,
    Optimizer,
    Rule,
    explain,
    schedules,
)

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

MAKERS = {
    "SGD": lambda p, **kw: optim.SGD(p, lr=0.1, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, lr=0.1, mu=0.9, **kw),
    "Momentum torch": lambda p, **kw: optim.Momentum(p, lr=0.1, form="torch", **kw),
    "Momentum ema": lambda p, **kw: optim.Momentum(p, lr=0.1, form="ema", **kw),
    "Nesterov": lambda p, **kw: optim.Nesterov(p, lr=0.1, **kw),
    "Nesterov shifted": lambda p, **kw: optim.Nesterov(p, lr=0.1, form="shifted", **kw),
    "Adagrad": lambda p, **kw: optim.Adagrad(p, lr=0.1, initial=0.1, lr_decay=0.1, **kw),
    "Adadelta": lambda p, **kw: optim.Adadelta(p, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, **kw),
    "Adam eps_hat": lambda p, **kw: optim.Adam(p, form="eps_hat", **kw),
    "AMSGrad": lambda p, **kw: optim.AMSGrad(p, **kw),
    "AdamW": lambda p, **kw: optim.AdamW(p, **kw),
    "Adamax": lambda p, **kw: optim.Adamax(p, **kw),
    "NAdam": lambda p, **kw: optim.NAdam(p, **kw),
    "RAdam": lambda p, **kw: optim.RAdam(p, beta2=0.9, **kw),
    "Rprop": lambda p, **kw: optim.Rprop(p, lr=0.01, **kw),
    "ASGD": lambda p, **kw: optim.ASGD(p, lr=0.1, t0=2, **kw),
    "Lion": lambda p, **kw: optim.Lion(p, weight_decay=0.1, **kw),
    "ScheduleFree": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, **kw),
    "ScheduleFree adamw": lambda p, **kw: optim.ScheduleFree(p, lr=0.1, form="adamw", **kw),
    "LAMB": lambda p, **kw: optim.LAMB(p, **kw),
    "LARS": lambda p, **kw: optim.LARS(p, lr=0.1, weight_decay=0.1, **kw),
    "Adafactor": lambda p, **kw: optim.Adafactor(p, weight_decay=0.1, **kw),
    "Muon": lambda p, **kw: optim.Muon(p, **kw),
    "Muon plain": lambda p, **kw: optim.Muon(p, nesterov=False, **kw),
} | {
    f"RMSProp {mu} {centered} {inside}": lambda p, mu=mu, centered=centered, inside=inside, **kw:
        optim.RMSProp(p, lr=0.1, mu=mu, centered=centered, eps_inside=inside, **kw)
    for mu, centered, inside in itertools.product((0.0, 0.5), (False, True), (False, True))
}  # fmt: skip
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
SPACE = {"np": np, "max": max, "min": min, "abs": abs, "nan": math.nan, "inf": math.inf}


def weight(values=None, dtype="float64"):
    values = np.linspace(-1.0, 1.5, 6).reshape(3, 2) if values is None else np.array(values)
    return tg.Tensor(values.astype(dtype), requires_grad=True)


def stepped(optimizer, w, g):
    """Give a gradient, where this optimizer wants it, and take the step."""
    with optimizer.look_ahead():
        w.grad = asarray(g)
        w.grad *= 1  # an edit in place is seen as well
    return optimizer


def on_a_gpu(backend):
    return backend.xp not in (np, strict_cupy.cupy)


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or (
        a == b and math.copysign(1, a) == math.copysign(1, b)
    )


def checked(text, rule_lines):
    """Evaluate each right-hand side of an explanation; the results by name, the last ones."""
    results, evaluated = {}, 0
    for line in text.splitlines()[-rule_lines:]:
        name, *steps = line.split(" = ")
        results[name] = float(eval(steps[-1], SPACE))
        if len(steps) > 2:  # else it is `before = g = 0.1`, and nothing is computed
            evaluated += 1
            with np.errstate(all="ignore"):
                assert same(float(eval(steps[-2], SPACE)), results[name]), line
    assert evaluated
    return results


def rule_of(optimizer, w):
    rule = optimizer._rule_for(w.shape)
    return rule.after(optim.running.coupled) if optimizer.groups[0]["l2"] else rule


def fused_in(optimizer):
    """Transforms of one line each, which stand in front of an elementwise rule."""
    return optimizer.transforms if optimizer.elementwise else []


numbers = st.floats(-8.0, 8.0).map(lambda x: x if abs(x) > 1e-6 else 0.0) | st.floats(-1e-3, 1e-3)


def told_and_stored(make, values, dtype, **keywords):
    w = weight(np.array(values[:4]).reshape(2, 2), dtype)
    optimizer = make([("w", w)], **keywords)
    lines = len(rule_of(optimizer, w).lines) + len(fused_in(optimizer))
    for turn in range(3):  # step 1, and steps with a memory
        stepped(optimizer, w, np.array(values[4 * turn + 4 :][:4], dtype).reshape(2, 2))
        index = (turn % 2, 1)
        text = optimizer.explain("w", index)
        optimizer.step()
        slots = {slot: x[index] for slot, x in optimizer.state_dict()["slots"]["w"].items()
                 if x.shape == w.shape}  # fmt: skip
        yield text, lines, {"w": w.numpy()[index], **slots}


def for_drawn_values(check, backend, examples, smallest=0.0):
    """Ask for `check` of so many lists of numbers, on the stand-in of a quarter as many; what is
    smaller than `smallest` is 0."""

    @settings(max_examples=examples if backend.xp is not strict_cupy.cupy else examples // 4)
    @given(values=st.lists(numbers, min_size=16, max_size=16))
    def asked(values):
        check([x if abs(x) >= smallest else 0.0 for x in values])

    asked()


@every
@pytest.mark.parametrize("keywords", [
    {}, {"l2": 0.01},
    {"l2": 0.01,
     "transforms": [ClipValue(0.5), L2(schedules.exponential(0.3, 0.5)), ClipValue(0.6)]},
], ids=["", "l2", "transforms"])  # fmt: skip
def test_evaluated_again_each_line_gives_what_is_printed_and_the_step_stores_it(
    make, keywords, backend
):
    def check(values):
        for text, lines, stored in told_and_stored(make, values, "float64", **keywords):
            results = checked(text, lines)
            for name, value in stored.items():
                assert same(results[name], float(value)), (name, text)

    for_drawn_values(check, backend, examples=12)


@every
def test_in_float32_too_where_scalars_stay_double_until_they_meet_a_weight(
    make, backend, monkeypatch
):
    def show(x, digits=None):
        return f"np.float32({x!s})" if isinstance(x, np.float32) else repr(x)

    def check(values):
        for text, lines, stored in told_and_stored(make, values, "float32", l2=0.01):
            results = checked(text, lines)
            for name, value in stored.items():
                assert same(results[name], float(value)), (name, text)

    monkeypatch.setattr(explain, "text_of", show)
    monkeypatch.setitem(SPACE, "nan", np.float32("nan"))
    # A GPU takes float32 numbers below 1.2e-38 for 0, so that no square may come out so small.
    for_drawn_values(check, backend, examples=8, smallest=1e-6 if on_a_gpu(backend) else 0.0)


@everywhere
def test_a_square_is_shown_as_the_product_that_is_computed():
    """pow(g, 2) differs from g * g in the last bit for about one number in a thousand."""
    draw = np.random.default_rng(0).standard_normal(100_000).tolist()
    g = next(x for x in draw if x**2 != x * x)
    w = weight([[1.0, 2.0]])
    optimizer = optim.Adagrad([("w", w)])
    w.grad = asarray(np.array([[g, 1.0]]))
    line = optimizer.explain("w", (0, 0)).splitlines()[2]
    optimizer.step()
    assert eval(line.split(" = ")[-2], {}) == optimizer.state_dict()["slots"]["w"]["G"][0, 0]
    assert line.startswith("G = G + g**2 = 0.0 + ")


@pytest.mark.parametrize("make", [
    optim.LAMB, functools.partial(optim.LARS, eta=1.0), optim.Adafactor, optim.Muon,
], ids=["LAMB", "LARS", "Adafactor", "Muon"])  # fmt: skip
def test_a_norm_is_explained_as_it_was_added_up_on_the_gpu(make, standin, monkeypatch):
    """In another order than on the host: its last bits are others, and those of the weights."""

    def from_the_end(a, b):
        return (a.ravel() * b.ravel())[::-1].cumsum()[-1]

    draw, index = np.random.default_rng(0), (17, 3)
    values, g = (draw.standard_normal((40, 30)).astype("float32") for _ in range(2))
    monkeypatch.setattr(standin, "vdot", from_the_end)
    with tg.use("cupy"):
        w = tg.Tensor(values, requires_grad=True)
        optimizer = make([("w", w)], lr=1.0)
        optimizer.watch("w", index)
        w.grad = asarray(g)
        coming = optimizer.explain("w", index)
        optimizer.step()
        assert optimizer.explain("w", index) == coming
        assert coming.endswith(f" = {w.numpy()[index]!s}")
    here = tg.Tensor(values, requires_grad=True)
    optimizer = make([("w", here)], lr=1.0)
    here.grad = g
    optimizer.step()
    assert 0 < np.abs(here.numpy() - w.numpy()).max() < 1e-4


def test_no_rule_over_whole_tensors_takes_a_power_of_an_array():
    """It is not compiled, and CuPy's own ** is a pow(): its last bit may be another than that of
    the product which the explanation shows, or NumPy computes."""
    rules = [rule for rule in rules_of_the_package() if not rule.elementwise]
    assert {rule.name for rule in rules} >= {"LAMB.rule", "Adafactor.vector", "Muon.plain"}
    for rule in rules:
        for node in ast.walk(rule.tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
                bases = {e.id for e in ast.walk(node.left) if isinstance(e, ast.Name)}
                assert bases <= set(rule.scalars), f"{rule.name}: {ast.unparse(node)}"


def test_a_number_is_shown_so_short_that_it_still_gives_itself():
    assert explain.text_of(np.float32(0.1)) == "0.1"
    assert explain.text_of(np.float64(np.float32(0.1))) == "0.10000000149011612"
    assert explain.text_of(0.1) == "0.1"
    assert explain.text_of(3) == "3"
    assert explain.text_of(np.float64(2 / 3), 4) == "0.6667"


@everywhere
def test_an_explanation_reads_like_the_formula_with_numbers():
    w = weight([[0.5, 2.0]])
    optimizer = optim.Momentum([("layer.weight", w)], lr=0.1, mu=0.5)
    w.grad = asarray(np.array([[1.0, -3.0]]))
    optimizer.step()
    w.grad = asarray(np.array([[1.0, 4.0]]))
    assert optimizer.explain("layer.weight", (0, 1), digits=3) == (
        "layer.weight[0, 1], step 2 of Momentum (classical)\n"
        "w = 2.3, g = 4, v = 0.3\n"
        "v = mu * v - lr * g = 0.5 * 0.3 - 0.1 * 4 = -0.25\n"
        "w = w + v = 2.3 + (-0.25) = 2.05"
    )


@everywhere
@every
def test_asking_changes_nothing_and_asking_twice_gives_the_same(make):
    w = weight()
    optimizer = make([("w", w)], transforms=[GaussianNoise(0.1), ClipNorm(0.5)])
    for seed in range(2):
        stepped(optimizer, w, np.random.default_rng(seed).standard_normal((3, 2))).step()
    stepped(optimizer, w, np.ones((3, 2)))
    before, data, grad = optimizer.state_dict(), w.numpy(), host(w.grad)
    first = optimizer.explain("w", (2, 1))
    assert optimizer.explain("w", (-1, 1)) == first == optimizer.explain("w", [2, 1])
    assert optimizer.explain("w", (2, 0)) != first
    np.testing.assert_equal(optimizer.state_dict(), before)
    np.testing.assert_array_equal(w.numpy(), data)
    np.testing.assert_array_equal(host(w.grad), grad)


@everywhere
def test_transforms_groups_dtypes_and_schedules_are_in_the_numbers():
    a, b = weight(dtype="float32"), weight()
    optimizer = optim.SGD(
        [{"params": [("a", a), ("b", b)], "lr": schedules.exponential(0.5, 0.5)}], lr=0.1,
        transforms=[GaussianNoise(0.3, seed=1), ClipNorm(0.7)],
    )  # fmt: skip
    for step in range(3):
        for w in (a, b):
            w.grad = asarray(np.full((3, 2), 2.0, w.dtype))
        for name in "ab":
            text = optimizer.explain(name, (1, 1))
            assert f"step {step + 1} of SGD" in text
            assert f"{0.5 * 0.5**step} * " in text
            assert "which GaussianNoise(" in text
            assert "made of 2.0" in text
        want = [float(optimizer.explain(n, (1, 1)).split(" = ")[-1]) for n in "ab"]
        optimizer.step()
        assert [np.float32(want[0]), want[1]] == [a.numpy()[1, 1], b.numpy()[1, 1]]


@everywhere
def test_transforms_in_the_update_are_lines_of_it_and_those_before_them_are_named():
    w = weight([[3.0, 4.0]])
    chain = [ClipValue(3.5), ClipNorm(1.0), L2(0.25), ClipValue(0.75)]
    optimizer = optim.SGD([("w", w)], lr=1.0, l2=0.5, transforms=chain)
    optimizer.watch("w", (0, 1))
    w.grad = asarray(np.array([[0.0, 5.0]]))
    coming = optimizer.explain("w", (0, 1))
    assert coming == (
        "w[0, 1], step 1 of SGD\n"
        "g = 1.0, which ClipValue(limit=3.5), ClipNorm(limit=1.0) made of 5.0\n"
        "w = 4.0, g = 1.0\n"
        "g = g + l2_2 * w = 1.0 + 0.25 * 4.0 = 2.0\n"
        "g = np.minimum(np.maximum(g, -limit), limit) = "
        "np.minimum(np.maximum(2.0, -0.75), 0.75) = 0.75\n"
        "g = g + l2 * w = 0.75 + 0.5 * 4.0 = 2.75\n"
        "w = w - lr * g = 4.0 - 1.0 * 2.75 = 1.25"
    )
    optimizer.step()
    assert optimizer.explain("w", (0, 1)) == coming
    assert w.numpy()[0, 1] == 1.25
    optimizer.transforms[:] = [L2(0.25)]
    w.grad *= 1
    assert "made of" not in optimizer.explain("w", (0, 1))


@everywhere
def test_the_look_ahead_of_nesterov_tells_where_its_gradient_was_taken():
    for dtype in ("float32", "float64"):
        w = weight(dtype=dtype)
        optimizer = optim.Nesterov([("w", w)], lr=0.3, mu=0.7)
        for _ in range(3):
            with optimizer.look_ahead():
                there = w.numpy()[2, 1]
                w.grad = asarray(np.cos(w.numpy()))
            assert f"g was taken at w + mu * v = {explain.text_of(there)}" in optimizer.explain(
                "w", (2, 1)
            )
            optimizer.step()
    assert "taken at" not in Shown([("w", weight())], lr=0.1).explain("w", (0, 0))


class Shown(optim.Momentum):
    pass


@everywhere
def test_watched_before_a_step_is_told_after_it_and_unwatched_says_so():
    w = weight()
    optimizer = optim.Adam([("w", w)])
    optimizer.watch("w", (1, 0))
    w.grad = asarray(np.ones((3, 2)))
    coming = optimizer.explain("w", (1, 0))
    optimizer.step()
    assert optimizer.explain("w", (1, 0)) == coming
    assert f" = {w.numpy()[1, 0]}" in coming.splitlines()[-1]
    with pytest.raises(RuntimeError, match=r"nothing was kept of w\[0, 0\]: call opt.watch\('w',"):
        optimizer.explain("w", (0, 0))
    w.grad = asarray(np.full((3, 2), 2.0))  # the next step is under way
    assert "step 2 of Adam" in optimizer.explain("w", (0, 0))
    optimizer.step()
    optimizer.zero_grad()
    assert "step 3 of Adam" in optimizer.explain("w", (1, 0))


WRONG = {
    "a name": (("layer.wieght", 0), ValueError, "did you mean 'layer.weight'"),
    "an index too large": (
        ("layer.weight", (3, 0)), IndexError, r"has shape \(3, 2\), .* 2 indices: no element"),
    "an index too small": (("layer.weight", (-4, 0)), IndexError, "no element"),
    "too few axes": (("layer.weight", 1), IndexError, r"no element \[1\]"),
    "none at all": (("layer.weight",), IndexError, "no element"),
    "a slice": (("layer.weight", (slice(1), 0)), TypeError, "made of ints"),
    "a float": (("layer.weight", (1.0, 0)), TypeError, "made of ints"),
}


@pytest.mark.parametrize("asked, error, message", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("verb", ["explain", "watch"])
def test_a_wrong_name_or_index_says_what_there_is(asked, error, message, verb):
    optimizer = optim.SGD([("layer.weight", weight())], lr=0.1)
    with pytest.raises(error, match=message):
        getattr(optimizer, verb)(*asked)


@everywhere
def test_a_single_number_wants_no_index():
    w = tg.Tensor(np.array(2.0), requires_grad=True)
    optimizer = optim.SGD([("gain", w)], lr=0.5)
    w.grad = asarray(np.array(1.0))
    assert optimizer.explain("gain").splitlines()[0] == "gain, step 1 of SGD"


@everywhere
def test_changing_the_rule_changes_the_text():
    class Mine(Optimizer):
        def rule(w, g, *, lr):
            w = w - 2 * lr * np.sign(g)
            return (w,)

    w = weight([[1.0, 2.0]])
    optimizer = Mine([("w", w)], {"lr": 0.25})
    w.grad = asarray(np.array([[-3.0, 5.0]]))
    text = optimizer.explain("w", (0, 0)).splitlines()[-1]
    assert text == "w = w - 2 * lr * np.sign(g) = 1.0 - 2 * 0.25 * np.sign((-3.0)) = 1.5"


# ---- each formula stands once --------------------------------------------------------------------


class Bare(ast.NodeTransformer):
    """`self.w`, `flat.slots["w"]` and `group["w"]` are w here: what matters is the formula."""

    def visit_Attribute(self, node):
        return ast.Name(node.attr)

    def visit_Subscript(self, node):
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return ast.Name(node.slice.value)
        return self.visit(node.value)


def formulas(tree):
    """The expressions of a tree with two operations or more among them; x += y is x + y."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign):
            node = ast.BinOp(node.target, node.op, node.value)
        if isinstance(node, ast.BinOp):
            text = ast.unparse(Bare().visit(ast.parse(ast.unparse(node), mode="eval")))
            if sum(isinstance(part, ast.BinOp | ast.Call) for part in ast.walk(node)) >= 2:
                yield text


def rules_of_the_package():
    for cls in vars(optim).values():
        if isinstance(cls, type):
            yield from (r for r in vars(cls).values() if isinstance(r, Rule))
            yield from (r for r in vars(cls).get("rules", {}).values() if isinstance(r, Rule))
    yield optim.running.coupled


def test_no_update_formula_stands_a_second_time_anywhere_in_the_package():
    codes = [(r.function.__code__, r) for r in rules_of_the_package()]
    rules = {(Path(code.co_filename), code.co_firstlineno): r for code, r in codes}
    assert len(rules) >= 30
    known = {}  # every assigned expression of a rule that holds an array, and where it stands
    for rule in rules.values():
        for line in rule.lines:
            if line.kind == "array":
                for text in itertools.islice(formulas(line.expression), 1):  # the whole of it
                    known[text] = rule.name
    assert {"mu * v - lr * g", "w - lr * m_hat / (sqrt(v_hat) + eps)"} <= set(known)
    again = []
    for path in Path(optim.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            for name, body in ast.iter_fields(node):
                if name == "body" and isinstance(body, list):  # without the rules themselves
                    node.body = [x for x in body if not (isinstance(x, ast.FunctionDef) and (
                        path, min([x.lineno, *(d.lineno for d in x.decorator_list)])) in rules
                    )]  # fmt: skip
        again += [(path.name, text, known[text]) for text in formulas(tree) if text in known]
    assert not again


def test_no_two_rules_are_one_and_the_same():
    formulas_of = [r.formula for r in {id(r): r for r in rules_of_the_package()}.values()]
    assert len(set(formulas_of)) == len(formulas_of)
