"""What a rule may say, what it is told when it says something else, and that none is accepted whose
readings would differ."""

import functools
import re
import textwrap

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.optim import Optimizer, Rule, compiled, cuda

HEAD = "import numpy as np\nfrom tinygrad_opt.optim import Optimizer, Rule\nrate = 0.1\n\n"


@pytest.fixture
def define(tmp_path):
    """Define the classes of a source in a module of its own, and give its namespace."""

    def in_a_file(text, head=HEAD):
        path = tmp_path / f"written{len(list(tmp_path.iterdir()))}.py"
        path.write_text(head + textwrap.dedent(text))
        space = {"__name__": path.stem}
        exec(compile(path.read_text(), path, "exec"), space)
        return space

    return in_a_file


def with_rule(body, signature="w, g, v, *, lr, mu"):
    lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
    return f"class Mine(Optimizer):\n    def rule({signature}):\n{lines}\n"


# What follows `v = mu * v`, which is line 7 of its file; then the code at fault, in line 8, and the
# cure. `return w, v` is put behind all but those that return themselves and the one with a `!`.
WRONG_LINES = {
    "if": ("if lr > 0:\n    v = g", "if lr > 0:", "never branches: .* np.where"),
    "while": ("while lr > 0:\n    v = g", "while lr > 0:", "never loops"),
    "for": ("for i in range(3):\n    v = g", "for i in range(3):", "never loops"),
    "with": ("with np.errstate():\n    v = g", "with np.errstate():", "never loops"),
    "assert": ("assert lr > 0", "assert lr > 0", "never branches"),
    "raise": ("raise ValueError", "raise ValueError", "never branches"),
    "try": ("try:\n    v = g\nfinally:\n    v = v", "try:", "never branches"),
    "match": ("match lr:\n    case 0:\n        v = g", "match lr:", "never branches"),
    "a conditional expression": ("v = g if lr > 0 else v", "g if lr > 0 else v", "never branches"),
    "and": ("v = lr and v", "lr and v", "never branches"),
    "or": ("v = v or g", "v or g", "never branches"),
    "not": ("v = np.where(not g, g, v)", "not g", "straight line"),
    "a list comprehension": ("v = [x for x in g]", "[x for x in g]", "never loops"),
    "a set comprehension": ("v = {x for x in g}", "{x for x in g}", "never loops"),
    "a generator": ("v = np.maximum(g, (x for x in g))", "(x for x in g)", "never loops"),
    "a subscript": ("v = v - g[0]", "g[0]", "never indexes"),
    "a subscript assigned": ("v[0] = lr", "v[0] = lr", "assigns to one name"),
    "an augmented assignment": ("v += g", "v += g", r"in place: write `v = v \+ "),
    "an attribute": ("v = v * g.size", "g.size", "reads no attributes"),
    "an attribute assigned": ("g.x = v", "g.x = v", "assigns to one name"),
    "a constant of NumPy": ("v = v * np.pi", "np.pi", "reads no attributes"),
    "np.sum": ("v = v / np.sum(g)", "np.sum(g)", "sum reduces"),
    ".mean()": ("v = v - g.mean()", "g.mean()", "mean reduces"),
    "np.linalg.norm": ("v = v / np.linalg.norm(g)", "np.linalg.norm(g)", "norm reduces"),
    "np.exp": ("v = np.exp(g)", "np.exp(g)", "np.sqrt, .*: exp is not known"),
    "np.tanh": ("v = lr * np.tanh(g)", "np.tanh(g)", "tanh is not known"),
    "a function of one's own": ("v = smooth(g)", "smooth(g)", "smooth is not known"),
    "a keyword": ("v = np.sqrt(g, out=v)", "np.sqrt(g, out=v)", "sqrt has keywords"),
    "too few arguments": ("v = np.maximum(g)", "np.maximum(g)", "takes 2"),
    "too many arguments": ("v = np.sqrt(g, v)", "np.sqrt(g, v)", "takes 1"),
    "where of one": ("v = np.where(g > v)", "np.where(g > v)", "a condition and two values"),
    "arguments unpacked": ("v = np.maximum(*g)", "*g", "straight line"),
    "max of arrays": ("v = max(g, v)", "max(g, v)", "write np.maximum"),
    "max of one scalar": ("v = max(lr) * v", "max(lr)", "two scalars or more"),
    "abs of nothing": ("v = abs() * v", "abs()", "abs takes one"),
    "np.sqrt of a scalar": ("v = np.sqrt(lr) * v", "np.sqrt(lr)", r"np.float64.* write \*\* 0.5"),
    "np.maximum of scalars": ("v = np.maximum(lr, mu) * v", "np.maximum(lr, mu)", "write .* max"),
    "a power of an array": ("v = g**3", "g ** 3", r"\*\*2 .* np.sqrt"),
    "a float power": ("v = g**2.0", "g ** 2.0", r"\*\*2 "),
    "a root as a power": ("v = g**0.5", "g ** 0.5", "for roots, np.sqrt"),
    "a power of a scalar by an array": ("v = lr**g", "lr ** g", r"\*\*2 "),
    "floor division": ("v = g // lr", "g // lr", r"by \+ - \* / and functions"),
    "a matrix product": ("v = g @ v", "g @ v", r"by \+ - \* /"),
    "scalars shifted": ("v = (lr << mu) * g", "lr << mu", "scalars are combined by"),
    "a plus sign": ("v = +g", "+g", "straight line"),
    "a tuple": ("v, w = g, v", "v, w = (g, v)", "assigns to one name"),
    "two targets": ("v = w = g", "v = w = g", "assigns to one name"),
    "an unknown name": ("v = rate * g", "rate", "no argument .* a number is given by keyword"),
    "a name before its line": ("v = u * g\nu = g", "u", "was not assigned above"),
    "a misspelt scalar": ("v = mue * g", "mue", "given by keyword"),
    "where between scalars": ("v = np.where(g > v, 2, 3) * g", "np.where(g > v, 2, 3)", "float64"),
    "where with an array for a condition": ("v = np.where(g, g, v)", "np.where(g, g, v)",
                                            "is a comparison"),
    "a condition as a number": ("v = (g > v) * g", "g > v", "no number: write np.where"),
    "a condition minus": ("v = -(g > v)", "g > v", "no number"),
    "conditions compared": ("v = np.where((g > v) == (w > v), g, v)", "g > v", "no number"),
    "an array as a condition": ("v = np.where(g & v, g, v)", "g", "combine comparisons"),
    "a number inverted": ("v = np.where(~g, g, v)", "g", "combine comparisons"),
    "a scalar condition in &": (
        "v = np.where((g > v) & (lr > 0), g, v)", "lr > 0", "combine comparisons of arrays"),
    "a chained comparison": ("v = np.where(0 < g < v, g, v)", "0 < g < v", r"\(a < b\) & "),
    "is": ("v = np.where(g is v, g, v)", "g is v", "compared by < <="),
    "in": ("v = np.where(g in v, g, v)", "g in v", "compared by < <="),
    "a scalar made an array": ("mu = g", "mu = g", "mu was a scalar above and is an array"),
    "an array made a scalar": ("v = lr", "v = lr", "v was an array above and is a scalar"),
    "an array made a condition": ("v = g > 0", "v = g > 0", "is a condition here"),
    "a name with _": ("_u = g", "_u = g", "_u cannot be a name"),
    "a name max": ("max = g", "max = g", "max cannot be a name"),
    "a name np": ("np = g", "np = g", "np cannot be a name"),
    "True": ("v = True * g", "True", "computes with numbers"),
    "None": ("v = None", "None", "computes with numbers"),
    "a complex number": ("v = 2j * g", "2j", "computes with numbers"),
    "infinity": ("v = 1e999 * g", "1e309", "no infinite constants"),
    "an int beyond floats": (f"v = {10**400} * g", str(10**400), "no infinite constants"),
    "a string": ("'a note'", "'a note'", "straight line"),
    "a bare call": ("np.abs(g)", "np.abs(g)", "straight line"),
    "an import": ("import math", "import math", "straight line"),
    "a lambda": ("v = (lambda: g)()", "(lambda: g)()", "is not known"),
    "a function inside": ("def f():\n    pass", "def f():", "defines no functions"),
    "a walrus": ("v = (u := g)", "(u := g)", "straight line"),
    "an early return": ("return w, v\nw = w - v", "return (w, v)", "straight line"),
    "an annotation alone": ("u: float", "u: float", "straight line"),
    "returns one array": ("return w", "return w", r"tuple of names: .* `return \(w,\)`"),
    "returns an expression": ("return w - g, v", "return (w - g, v)", "tuple of names"),
    "returns a local": ("return w, u", "return (w, u)", "u is none of the arrays"),
    "returns a scalar": ("return w, lr", "return (w, lr)", "lr is none of the arrays"),
    "slots in the wrong order": ("return v, w", "return (v, w)", "returns the new w, v, in this"),
    "a slot missing": ("return (w,)", "return (w,)", "returns the new w, v"),
    "returns nothing": ("w = w - v!", "w = w - v", "ends by returning"),
}  # fmt: skip


@pytest.mark.parametrize("body, code, cure", WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_line_that_no_rule_may_have_is_refused_with_its_place_and_the_cure(
    define, body, code, cure
):
    returns = "" if body.startswith("return") or body[-1] == "!" else "\nreturn w, v"
    with pytest.raises(TypeError) as caught:
        define(with_rule(f"v = mu * v\n{body.rstrip('!')}{returns}"))
    message = str(caught.value)
    assert re.match(r"\S*written0\.py, line 8, rule Mine\.rule: `", message)
    assert f"`{code}`: " in message
    assert re.search(cure, message.split("`: ", 1)[1]), message


HEADS = {
    "*args": ("w, g, v, *rest, lr, mu", "arrays come in order, scalars by keyword"),
    "**keywords": ("w, g, v, *, lr, mu, **rest", "scalars by keyword"),
    "a default of an array": ("w, g, v=None, *, lr, mu", "arrays come in order"),
    "g before w": ("g, w, v, *, lr, mu", "takes w, g and then its slots, not g, w, v"),
    "no g": ("w, v, *, lr, mu", "takes w, g and then its slots, not w, v"),
    "an array with _": ("w, g, _v, *, lr, mu, v", "_v cannot be a name"),
    "a scalar called max": ("w, g, v, *, lr, mu, max", "max cannot be a name"),
    "l2, which all take": ("w, g, v, *, lr, mu, l2", "l2 is every optimizer's own"),
}


@pytest.mark.parametrize("signature, cure", HEADS.values(), ids=HEADS)
def test_a_signature_that_no_rule_has_is_refused_when_the_class_is_defined(define, signature, cure):
    with pytest.raises(TypeError, match=r"written0\.py, line 6, .*" + re.escape(cure)):
        define(with_rule("v = mu * v\nw = w + lr * v\nreturn w, v", signature))


CLASSES = {
    "a source that nobody can read": (None, "source of rule Mine.rule cannot be read.* in a file"),
    "a lambda": (
        "class Mine(Optimizer):\n    rule = lambda w, g, *, lr: (w - lr * g,)\n",
        "line 6: rule Mine.<lambda> is not a plain function"),
    "a lambda in the midst of a call": (
        "class Mine(Optimizer):\n    rules = dict(\n        a=lambda w, g, *, lr: (w - lr * g,))\n",
        "not a plain function"),
    "an async function": (
        "class Mine(Optimizer):\n    async def rule(w, g, *, lr):\n        return (w,)\n",
        "not a plain function"),
    "only a docstring": (
        with_rule('"""Nothing."""', "w, g, *, lr"), "a rule ends by returning a tuple of names"),
    "slots that disagree": (
        with_rule("v = g\nreturn w, v") + "    slots = ('u',)\n",
        r"slots are \('u',\), and the rule takes \('v',\)"),
    "a decorator that changes it": (
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def both(*a, **k):\n"
        "        return f(*f(*a, **k))\n    return both\n\n"
        "class Mine(Optimizer):\n    @twice\n    def rule(w, g, *, lr):\n        return (w,)\n",
        "a decorator has put another function in its place"),
    "a wrong form among right ones": (
        "class Mine(Optimizer):\n    def rule(w, g, *, lr):\n        w = w - lr * g\n"
        "        return (w,)\n    def other(w, g, *, lr):\n        w -= lr * g\n"
        "        return (w,)\n    rules = {'rule': rule, 'other': other}\n",
        "line 10, rule Mine.other: `w -= lr [*] g`"),
    "a Rule whose results are in disorder": (
        "class Mine(Optimizer):\n    @Rule\n    def rule(w, g, v, *, lr):\n        v = g\n"
        "        return v, w\n", "returns the new w, v"),
}  # fmt: skip


@pytest.mark.parametrize("text, message", CLASSES.values(), ids=CLASSES)
def test_a_class_is_refused_whose_rule_cannot_be_what_it_says(define, text, message):
    with pytest.raises(TypeError, match=message):
        if text is None:
            exec(HEAD + with_rule("v = g\nreturn w, v"), {"__name__": "nowhere"})
        else:
            define(text)


SHADOWS = {
    "np is something else": ("import math as np\n", "np is <module 'math'"),
    "np is not there": ("", "np is not known here: write `import numpy as np`"),
    "abs is NumPy's": ("import numpy as np\nfrom numpy import abs\n", "Python's own abs"),
}


@pytest.mark.parametrize("head, message", SHADOWS.values(), ids=SHADOWS)
def test_a_name_that_the_plain_rule_would_read_otherwise_is_refused(define, head, message):
    function = "abs" if "abs" in head else "np.abs"
    with pytest.raises(TypeError, match=re.escape(message)):
        define(with_rule(f"v = {function}(g)\nreturn w, v"),
               head + "from tinygrad_opt.optim import Optimizer\n")  # fmt: skip


NEAR_MISSES = [
    "v = np.where(lr > 0, g, v)", "v = np.where(g > v, 0, g)", "v = (lr > 0) * g",
    "v = lr**mu * g", "v = (mu // 2 + mu % 2) * g", "v = -(-g)**2", "v = 2 * g - g * -1",
    "v = abs(g) + abs(lr) * np.abs(v)", "v = max(lr, mu, 1) * g + min(lr, 2) * v",
    "v = np.where(~((g > v) & (w != g)) | (g <= lr), g, v)", "v: 'an array' = g",
    "m = g > v\nm = ~m\nv = np.where(m, g, v)", "lr = lr / 2\nv = lr * g", "v = g", "u = g\nv = u",
    "T = g\nnew = T\nv = new", "v = np.maximum(0.0, g)", "v = lr**0.5 * np.square(g)",
]  # fmt: skip


@pytest.mark.parametrize("body", NEAR_MISSES)
def test_what_only_looks_like_a_mistake_is_accepted(define, body):
    rule = define(with_rule(f'"""A docstring."""\n{body}\nreturn w, v'))["Mine"].rule
    assert rule.results == ("w", "v")
    assert len(rule.lines) == len(body.splitlines())


def test_a_comment_or_docstring_at_the_margin_does_not_confuse_the_reader_of_lines(define):
    text = (
        "class Mine(Optimizer):\n    def rule(w, g, *, lr):\n"
        '        """A docstring\nthat goes on at the margin."""\n# a remark\n'
        "        w = w - lr * g\n        return (w,)\n"
    )
    assert define(text)["Mine"].rule.formula == "w = w - lr * g"
    with pytest.raises(TypeError, match="line 10, rule"):
        define(text.replace("w = w - lr", "w = w @ lr"))


def test_all_forms_of_a_class_are_read_and_one_function_is_one_rule():
    momentum = tg.optim.Momentum
    assert momentum.rule is momentum.rules["classical"] is momentum.classical
    assert momentum.rule is tg.optim.Nesterov.rules["look_ahead"]
    assert momentum.slots == ("v",)
    assert momentum.rule.text.startswith("def classical(w, g, v, *, lr, mu):\n    v = mu * v - lr")
    assert momentum.rule.arrays == ("w", "g", "v")
    assert momentum.rule.scalars == ("lr", "mu")
    assert repr(momentum.rule) == "<rule Momentum.classical: v = mu * v - lr * g; w = w + v>"


def test_a_scalar_with_a_default_that_is_assigned_is_carried_and_no_other():
    assert tg.optim.NAdam.rule.carried == {"P": 1.0}  # psi has a default as well
    host = tg.optim.NAdam.rule.lowered.host
    given = {"t": 1, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "psi": 0.004}
    _, first = host(**given, P=1.0)
    _, second = host(**given | {"t": 2}, **first)
    mu = [0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (1, 2)]
    assert (first["P"], second["P"]) == (mu[0], mu[0] * mu[1])


def test_a_rule_after_another_is_one_line_of_both_and_refuses_a_name_in_two_meanings():
    @Rule
    def decay(w, g, *, eta):
        g = g + eta * w
        return (g,)

    both = tg.optim.SGD.rule.after(decay)
    assert both.formula == "g = g + eta * w; w = w - lr * g"
    w, g = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    (got,) = both(w, g, lr=0.1, eta=0.01)
    np.testing.assert_array_equal(got, w - 0.1 * (g + 0.01 * w))
    with pytest.raises(TypeError, match=r"lr is a scalar of .*SGD\.rule"):
        tg.optim.SGD.rule.after(tg.optim.SGD.rule)

    @Rule
    def on_the_way(w, g):
        m = g + w
        g = m + m
        return (g,)

    with pytest.raises(TypeError, match=r"m is an array of .*on_the_way"):
        tg.optim.Adam.rule.after(on_the_way)  # whose slot m it would overwrite


def test_a_renamed_rule_is_the_same_update_in_every_reading_and_the_first_keeps_its_names():
    @Rule
    def decay(w, g, *, eta, c):
        eta_g = c * eta * g
        far = g > eta / 2
        g = np.where(far, eta_g, g) + eta * w
        return (g,)

    other = decay.renamed({"eta": "zeta", "eta_g": "u", "far": "near"})
    assert other.formula == (
        "u = c * zeta * g; near = g > zeta / 2; g = np.where(near, u, g) + zeta * w")
    assert (other.scalars, decay.scalars) == (("zeta", "c"), ("eta", "c"))
    w, g = np.array([1.0, -2.0]), np.array([0.5, 0.01])
    np.testing.assert_array_equal(other(w, g, zeta=0.1, c=3.0), decay(w, g, eta=0.1, c=3.0))
    assert other.lowered.host(zeta=0.1, c=3.0) == decay.lowered.host(eta=0.1, c=3.0)
    assert [name for name, _, _ in other.lowered.lines] == ["u", "near", "g"]


# ---- rules made to part the readings -------------------------------------------------------------
# Each was accepted once, or is near one that was, while a reading gave other bits.

TRICKY = {
    "two minus signs": "w = - -g * lr - -w\nv = -(-v)\nv = - - -v**2",
    "an alias of the old w": "old = w\nw = w - lr * (g - v)\nv = old",
    "an alias of g": "w = w - lr * (g - v)\nv = g",
    "two slots swapped": "old = w\nw = v\nv = old",
    "conditions": (
        "a = g > 0\nb = w < lr\nc = ~a | b & (g != w) | ~(w == g)\n"
        "w = np.where(c & ~b, w, -g)\nc = ~c\nv = np.where(c, v, w)"),
    "ints": "w = 2 * g + 0 * w + g * -1 + t * w + 4611686018427387905 * g",
    "a scalar that is 0 in float32": "w = np.where(tiny, g, w) - np.where(lr > 0.5, 2 * g, v)",
    "conditions as scalars": "early = t < 5\nw = (lr > 0.05) * g + early * w - (1 - early) * v",
    "scalars rebound": (
        "a = lr\nu = a * g\na = a * 2\nw = w - a * g - u - (a + 1) * v\nlr = lr / 3\n"
        "w = w - lr * g\nt = t + 1\nw = w * t"),
    "scalars carried": "P = P * lr\nw = w - P * g\nP = P * 0.5\nQ = Q + P\nw = w - Q * g",
    "words of C and Numba": (
        "T = g * lr\ni = w - T\nn = i * g\nint = n + g\nnew = int - v\nthis = new * w\n"
        "range = this + T\nin_w = range - n\nx_T = in_w * 2\nauto = x_T - T\nnumba = auto + g\n"
        "s0 = numba * lr\nnp_sqrt = np.sqrt(s0)\nnp_where = np.where(s0 > np_sqrt, s0, T)\n"
        "double = np_where + np_sqrt\nw = w - double"),
    "letters of Greek": "μ = lr * g\nΔ = μ - v\nw = w - Δ",
    "powers": (
        "w = -(w + g)**2 * w - g**2 / (w * g)**2 - (-g)**2 + lr**2 * g + 2**lr * g - lr**-1 * w"
        " + (-lr)**2 * v"),
    "quotients": (
        "w = w / g / lr / 3 - w / (g / lr) + lr / g / w * 3 - w * (g / lr)"
        " - (w - (g - (w - lr)))"),
    "functions": (
        "w = abs(g) - np.abs(w) * abs(lr) + np.sign(g) * np.sqrt(abs(w)) + max(lr, 2) * g"
        " + min(lr, 1, 3) * np.square(v)"),
    "largest and smallest": (
        "v = np.maximum(np.minimum(g, v), lr) + np.minimum(0.0, np.maximum(w, 0))\n"
        "w = np.maximum(g, w)\nv = np.maximum(-0.0, np.minimum(v, -w))"),
    "where in where": (
        "s = g * v\nv = np.where(s > 0, np.minimum(1.2 * v, 5.0), np.where(s < 0, "
        "np.maximum(0.5 * v, 1e-6), np.where(g == 0, 0.0, v)))\nw = np.where(v > w, v, w)"),
    "locals used again": (
        "x = g * lr\nx = x * x - w\ny = x\nx = y - x * v\nv = x\nx = v * 2\nw = x - y"),
}  # fmt: skip
GIVEN = {"lr": 0.1, "t": 7, "tiny": 1e-50, "P": 1.0, "Q": 2}


def awkward(size, dtype, seed):
    """Numbers of all sizes, every tenth one of those where implementations like to differ."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(size) * 10.0 ** draw.choice([0, 0, 0, -20, 20, -42], size)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0]
    return np.where(draw.random(size) < 0.4, draw.choice(special, size), x).astype(dtype)


def assert_same_bits(got, wanted):
    assert got.dtype == wanted.dtype
    bits = f"u{got.dtype.itemsize}"
    same = (got.view(bits) == wanted.view(bits)) | (np.isnan(got) & np.isnan(wanted))
    assert same.all(), (got[~same][:3], wanted[~same][:3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("body", TRICKY.values(), ids=TRICKY)
def test_all_readings_of_a_tricky_rule_agree_to_the_last_bit(define, standin, body, dtype):
    signature = "w, g, v, *, lr, t, tiny, P=1.0, Q=2"
    rule = define(with_rule(body + "\nreturn w, v", signature))["Mine"].rule
    arrays = [awkward(501, dtype, seed) for seed in range(3)]
    with np.errstate(all="ignore"):
        wanted = rule(*[a.copy() for a in arrays], **GIVEN)
    hoisted, _ = rule.lowered.host(**GIVEN)
    loop = compiled.Loop(rule, np.dtype(dtype))
    once = functools.partial(loop, scalars=GIVEN, hoisted=hoisted)

    def on_the_gpu(arrays):
        there = [standin.asarray(a) for a in arrays]
        cuda.launch(rule, there, hoisted)
        for a, b in zip(arrays, there):
            a[...] = standin.asnumpy(b)

    in_blocks = functools.partial(loop._blocks, hoisted=hoisted)
    in_a_loop = functools.partial(without_cache(rule, np.dtype(dtype)), hoisted=hoisted)
    for reading in (once, in_blocks, in_a_loop, on_the_gpu):
        got = [a.copy() for a in arrays]
        reading(got)
        for name, new in zip(rule.results, wanted):
            assert_same_bits(got[rule.arrays.index(name)], np.asarray(new))
        assert_same_bits(got[1], arrays[1])  # g is nobody's to change


@functools.cache
def numba_or_skip():
    return pytest.importorskip("numba")


def without_cache(rule, dtype):
    """The very loop that Numba compiles, run by Python: its text is what is under test here."""
    numba_or_skip()
    space = {}
    text = compiled.source(rule, dtype).replace("@jit\n", "")
    exec(text, space)

    def run(arrays, hoisted):
        with np.errstate(all="ignore"):
            space["update"](0, len(arrays[0]), *arrays, *map(float, hoisted))

    return run


def test_the_rule_that_the_tests_above_define_has_another_optimizer_as_its_base_alone(define):
    mine = define(with_rule("v = mu * v - lr * g\nw = w + v\nreturn w, v"))["Mine"]
    w = tg.Tensor(np.ones(3), requires_grad=True)
    optimizer = mine([w], {"lr": 0.1, "mu": 0.9})
    w.grad = np.full(3, 2.0)
    optimizer.step()
    np.testing.assert_array_equal(w.numpy(), np.full(3, 1 - 0.1 * 2.0))
    assert issubclass(mine, Optimizer)
