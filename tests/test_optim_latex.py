"""Rules as formulas: read back by a parser that knows nothing of the typesetter, and evaluated."""

import ast
import math
import re

import hypothesis.strategies as st
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.mathtext import MathTextParser

from tinygrad_opt import optim
from tinygrad_opt.optim import Rule, latex

matplotlib.use("agg")

CLASSES = [c for c in vars(optim).values() if isinstance(c, type) and hasattr(c, "rule")
           and isinstance(c.rule, Rule)]  # fmt: skip
RULES = {rule.name: rule for cls in CLASSES
         for rule in (cls.rule, *getattr(cls, "rules", {}).values())}  # fmt: skip
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def lines_of(rule):
    first, *lines, last = latex.typeset(rule).split("\n")
    assert (first, last) == (r"\begin{aligned}", r"\end{aligned}")
    assert all(line.endswith(r" \\") for line in lines[:-1])
    return [line.removesuffix(r" \\") for line in lines]


# ---- a reader of formulas ------------------------------------------------------------------------


class Formula:
    """A formula of the subset that rules need, evaluated as a mathematician reads it: products by
    juxtaposition, and a sign before a product is the whole product's."""

    WORDS = (r"\\left[(|]|\\right[)|]|\\begin\{cases\}|\\end\{cases\}|\\text\{if \}|"
             r"\\text\{otherwise\}|\\(?:frac|sqrt|max|min|cdot|wedge|vee|neg|le|ge|ne|,)(?![a-z])|"
             r"\\mathrm\{sign\}|\\\\|\d+(?:\.\d+)?|[{}^+\-<>=&,]")  # fmt: skip

    def __init__(self, text, letters):
        self.letters = letters  # LaTeX of a name: its value
        names = "|".join(re.escape(n) for n in sorted(letters, key=len, reverse=True))
        pattern = re.compile(rf"\s*(?:(?P<name>{names})(?![a-z])|(?P<word>{self.WORDS}))")
        self.tokens, at = [], 0
        while text[at:].strip():
            found = pattern.match(text, at)
            assert found, f"cannot read {text[at:]!r}"
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self.at = 0

    def value(self):
        value = self.logic()
        assert self.at == len(self.tokens), f"left over: {self.tokens[self.at :]}"
        return value

    def sees(self, *words):
        return self.at < len(self.tokens) and self.tokens[self.at][1] in words

    def take(self, *words):
        kind, word = self.tokens[self.at]
        assert not words or word in words, f"{word} instead of {words}"
        self.at += 1
        return kind, word

    def logic(self):
        value = self.comparison()
        while self.sees(r"\wedge", r"\vee"):
            _, word = self.take()
            other = self.comparison()
            value = (value and other) if word == r"\wedge" else (value or other)
        return value

    def comparison(self):
        a = self.sum()
        if not self.sees("<", ">", r"\le", r"\ge", "=", r"\ne"):
            return a
        _, word = self.take()
        b = self.sum()
        return {"<": a < b, ">": a > b, r"\le": a <= b, r"\ge": a >= b, "=": a == b,
                r"\ne": a != b}[word]  # fmt: skip

    def sum(self):
        value = self.product()
        while self.sees("+", "-"):
            _, word = self.take()
            value = value + self.product() * (1 if word == "+" else -1)
        return value

    def product(self):
        sign = 1
        if self.sees("-"):
            self.take()
            assert not self.sees("-", "+"), "two signs in a row"
            sign = -1
        value = self.power()
        while self.at < len(self.tokens) and not self.sees(
            "+", "-", "<", ">", "=", r"\le", r"\ge", r"\ne", r"\wedge", r"\vee", ",", "&", r"\\",
            "}", r"\right)", r"\right|", r"\end{cases}",
        ):  # fmt: skip
            if self.sees(r"\cdot", r"\,"):
                self.take()
            elif re.match(r"[\d]", self.tokens[self.at][1]):
                raise AssertionError("a digit behind a factor reads as a part of it")
            value = value * self.power()
        return value if sign == 1 else -value

    def power(self):
        base = self.atom()
        if self.sees("^"):
            self.take()
            base = base ** (self.group() if self.sees("{") else float(self.take()[1]))
            assert not self.sees("^"), "two exponents"
        return base

    def group(self):
        self.take("{")
        value = self.logic()
        self.take("}")
        return value

    def within(self, left, right):
        self.take(left)
        values = [self.logic()]
        while self.sees(","):
            self.take()
            values.append(self.logic())
        self.take(right)
        return values

    def atom(self):
        if self.sees(r"\left("):
            (value,) = self.within(r"\left(", r"\right)")
            return value
        if self.sees(r"\left|"):
            return abs(self.within(r"\left|", r"\right|")[0])
        kind, word = self.take()
        if kind == "name":
            return self.letters[word]
        match word:
            case r"\frac":
                top = self.group()
                return top / self.group()
            case r"\sqrt":
                return self.group() ** 0.5
            case r"\max" | r"\min":
                return (max if word == r"\max" else min)(self.within(r"\left(", r"\right)"))
            case r"\mathrm{sign}":
                return float(np.sign(self.within(r"\left(", r"\right)")[0]))
            case r"\neg":
                return not self.atom()
            case r"\begin{cases}":
                return self.cases()
        return float(word)

    def cases(self):
        chosen = None
        while True:
            value = self.logic()
            self.take("&")
            if self.sees(r"\text{otherwise}"):
                self.take()
                self.take(r"\end{cases}")
                return value if chosen is None else chosen
            self.take(r"\text{if }")
            if self.logic() and chosen is None:
                chosen = value
            self.take(r"\\")


def read(text, letters):
    try:
        return Formula(text, letters).value()
    except (ZeroDivisionError, OverflowError):
        return math.nan


# ---- every rule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [r for r in RULES.values() if r.elementwise],
    ids=[r.name for r in RULES.values() if r.elementwise],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_formula_read_back_gives_what_the_rule_computes(rule, seed):
    draw = np.random.default_rng(seed)
    names = latex.letters(rule)
    given = {name: float(x) for name, x in zip(rule.scalars, draw.uniform(0.1, 0.9, 20))}
    arrays = [
        np.array([x])
        for x in draw.standard_normal(len(rule.arrays)) ** 2 * [1, -1, 1, 1, 1][: len(rule.arrays)]
    ]
    given |= {"t": 7.0} if "t" in given else {}
    values = {**given, **{a: float(x[0]) for a, x in zip(rule.arrays, arrays)}}
    wanted = rule.numbers(arrays, given, (0,))
    for line, number in zip(lines_of(rule), wanted, strict=True):
        left, right = line.split(r" &\leftarrow ")
        assert left == names[number.name]
        got = read(right, {names[n]: v for n, v in values.items()})
        assert got == pytest.approx(float(number.value), rel=1e-9, abs=1e-12, nan_ok=True), line
        values[number.name] = float(number.value)


@every_rule
def test_every_letter_of_the_rule_stands_in_its_formula_and_no_two_look_alike(rule):
    names = latex.letters(rule)
    used = {node.id for line in rule.lines for node in ast.walk(line.expression)
            if isinstance(node, ast.Name) and node.id in rule.names}  # fmt: skip
    used |= {line.name for line in rule.lines}
    text = latex.typeset(rule)
    assert all(names[name] in text for name in used)
    assert len({names[name] for name in used}) == len(used)


@every_rule
def test_braces_and_parentheses_are_balanced(rule):
    text = latex.typeset(rule)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") - text.count(r"\leftarrow") == text.count(r"\right")
    assert text.count(r"\begin{") == text.count(r"\end{")
    depth = 0
    for brace in re.findall(r"[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0


@every_rule
def test_another_typesetter_accepts_every_line(rule):
    parser = MathTextParser("path")
    for line in lines_of(rule):
        line = re.sub(r"\\[lr]Vert", r"\\Vert", line)
        if "cases" not in line:  # matplotlib has neither
            parser.parse(f"${line.replace('&', ' ')}$")


def test_formulas_are_the_textbooks():
    assert lines_of(optim.Momentum.rule) == [
        r"v &\leftarrow \mu \, v - \alpha \, g", r"w &\leftarrow w + v"]  # fmt: skip
    adam = optim.Adam.latex()
    assert r"\hat{m} &\leftarrow \frac{m}{1 - \beta_{1}^{t}}" in adam
    assert r"\sqrt{\hat{v}} + \varepsilon" in adam
    assert optim.Momentum.latex("torch") == latex.typeset(optim.Momentum.rules["torch"])
    assert optim.SAM.latex() != optim.Lookahead.latex()


def test_an_optimizers_formula_changes_with_its_rule():
    class Mine(optim.Optimizer):
        def rule(w, g, *, lr):
            w = w - 3 * lr * g
            return (w,)

    assert r"w &\leftarrow w - 3 \, \alpha \, g" in Mine.latex()


# ---- parentheses ---------------------------------------------------------------------------------

TRICKY = [
    "a - (b - c)", "a - (b + c)", "(a - b) - c", "a / (b * c)", "a / b / c", "a / (b / c)",
    "a * (b / c)", "a * (b + c)", "(a + b) * c", "-(a + b)**2", "(-a)**2", "-a**2", "(a * b)**2",
    "(a / b)**2", "a * -b", "a - -b", "a + -b", "-(-a)", "--a * b", "-a * b", "-(a * b)",
    "-(a - b)",
    "(a**2)**2", "a**2**b", "2**-a", "np.square(a)**2", "np.square(a + b)", "a * 2", "2 * a",
    "a * (2 * b)", "a * 2 * 3", "a * 0.5**b", "3 * 4", "a**0.5", "(a + b)**0.5", "(a**0.5)**2",
    "np.abs(a)**2", "abs(a - b) * c", "max(a, b)**2", "np.maximum(a, b + c) / 2", "np.sign(a) * b",
    "np.where(a > b, a, b)**2", "2 * np.where(a > b, a, b)", "np.where(a > b, a, b) * c + 1",
    "np.where((a > b) & (b > c) | ~(a == c), a, -b)",
    "np.where((a > b) & ((b > c) | (a > c)), a, b)",
    "np.where(a > b, 1.0, np.where(b > c, 2.0, 3.0))",
    "np.where(a > b, np.where(b > c, 1., 2.), 3.)",
    "np.where(a > b, a, np.where(b > c, b, c)) - c", "a // b", "a % b", "(a + b) // c * 2",
    "(a * b) % c", "a * (b % c)", "1e-8 + a", "a * 1e-30", "a - 1.2345678", "(a < b) * c",
]  # fmt: skip


def typeset(text, letters=("a", "b", "c")):
    names = {n: n for n in letters}
    return latex._Typesetter(names).tex(ast.parse(text, mode="eval").body)


def calculated(text, values):
    with np.errstate(all="ignore"):
        try:
            return float(eval(text, {"np": np}, values))
        except (ZeroDivisionError, OverflowError):
            return math.nan


@pytest.mark.parametrize(
    "text", [t for t in TRICKY if "//" not in t and "%" not in t and "1e-" not in t]
)
@pytest.mark.parametrize("values", [(0.7, 0.3, 1.9), (0.2, 1.5, 0.4), (3.0, 2.0, 1.0)])
def test_a_tricky_expression_reads_back_as_what_it_is(text, values):
    values = dict(zip("abc", values))
    assert read(typeset(text), values) == pytest.approx(calculated(text, values), rel=1e-12)


@pytest.mark.parametrize("text", TRICKY)
def test_what_is_typeset_has_no_two_signs_or_exponents_in_a_row(text):
    shown = typeset(text)
    assert not re.search(r"[-+] ?-|\^(\d|\{[^{}]*\})\^", shown), shown


def test_floors_remainders_and_small_numbers_have_a_form_of_their_own():
    assert typeset("a // b") == r"\left\lfloor \frac{a}{b} \right\rfloor"
    assert typeset("(a + b) % c") == r"\left(a + b\right) \bmod c"
    assert typeset("a * (b % c)") == r"a \, \left(b \bmod c\right)"
    assert typeset("1e-8 * a") == r"10^{-8} \, a"
    assert typeset("a - 2.5e-8") == r"a - 2.5 \cdot 10^{-8}"
    assert typeset("a * 1.23456789") == r"a \cdot 1.23456789"


def trees():
    leaves = st.sampled_from(["a", "b", "c", "2", "3", "0.5"])

    def grown(inner):
        binary = st.tuples(inner, st.sampled_from("+-*/"), inner).map(
            lambda x: f"({x[0]} {x[1]} {x[2]})"
        )
        forms = ["-({})", "({})**2", "np.abs({})", "np.square({})", "np.sign({})",
                 "np.maximum({}, a)", "np.where(a > {}, b, c)",
                 "np.where({} < b, c, a)"]  # fmt: skip
        others = st.tuples(st.sampled_from(forms), inner).map(lambda x: x[0].format(x[1]))
        return st.one_of(binary, binary, others)

    return st.recursive(leaves, grown, max_leaves=7)


@settings(max_examples=300)
@given(trees())
def test_any_expression_reads_back_as_what_it_is(text):
    for values in ({"a": 0.7, "b": -1.3, "c": 1.9}, {"a": -0.4, "b": 0.6, "c": 2.1}):
        wanted = calculated(text, values)
        got = read(typeset(text), values)
        assert (
            got == pytest.approx(wanted, rel=1e-7, abs=1e-7, nan_ok=True) or not abs(wanted) < 1e6
        )
