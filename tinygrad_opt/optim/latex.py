r"""A rule as a formula: each line of its source becomes a line of LaTeX, `mu * v - lr * g` the
\mu v - \alpha g of the textbook.

Nobody writes these formulas by hand, so they cannot drift from the code that runs.
"""

import ast
import re
from collections.abc import Mapping

from tinygrad_opt.optim.rule import Rule

_GREEK = {
    "lr": r"\alpha", "mu": r"\mu", "rho": r"\rho", "beta": r"\beta", "eps": r"\varepsilon",
    "eta": r"\eta", "alpha": r"\alpha", "gamma": r"\gamma", "delta": r"\delta", "psi": r"\psi",
    "l2": r"\lambda", "kappa": r"\kappa",
    "tau": r"\tau", "xi": r"\xi", "theta": r"\theta", "sigma": r"\sigma", "nu": r"\nu",
}  # fmt: skip
_WHOLE = {"weight_decay": r"\lambda", "lr_decay": r"\gamma", "beta2_decay": r"\gamma",
          "lambd": r"\lambda_d"}  # fmt: skip
_OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Lt: "<", ast.Gt: ">", ast.LtE: r"\le", ast.GtE: r"\ge",
    ast.Eq: "=", ast.NotEq: r"\ne", ast.BitAnd: r"\wedge", ast.BitOr: r"\vee",
}  # fmt: skip

# How strongly each form binds: an operand that binds less strongly is put in parentheses.
_CHOICE, _LOGIC, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(8)


def typeset(rule: Rule) -> str:
    """The rule as an `aligned` environment, a line each; what stands left of the arrow is what the
    rule assigns, so that v on its right is the old and on later lines the new."""
    names = letters(rule)
    lines = [rf"{names[line.name]} &\leftarrow {_Typesetter(names).tex(line.expression)}"
             for line in rule.lines]  # fmt: skip
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def letters(rule: Rule) -> dict[str, str]:
    """What each name of the rule is in LaTeX. No two are alike: where both `lr` and `alpha` occur,
    the latter is spelt out."""
    found: dict[str, str] = {}
    first = ["lr"] if "lr" in rule.scalars else []
    for name in (*rule.arrays, *first, *rule.scalars, *(line.name for line in rule.lines)):
        text = _name(name)
        if name not in found and text in found.values():
            text = rf"\mathrm{{{_escaped(name)}}}"
        found.setdefault(name, text)
    return found


def _name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    head, *rest = name.split("_")
    digits = head.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if head not in _GREEK and digits.isdigit():
        head, rest = head[: -len(digits)], [digits, *rest]
    text = _GREEK.get(head, head if len(head) == 1 else rf"\mathrm{{{head}}}")
    if "hat" in rest:
        rest.remove("hat")
        text = rf"\hat{{{text}}}"
    if not rest:
        return text
    below = [_GREEK.get(r, r if len(r) == 1 or r.isdigit() else rf"\mathrm{{{r}}}") for r in rest]
    return f"{text}_{{{','.join(below)}}}"


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def _constant(value: object) -> tuple[str, int]:
    """A number with all its digits; a very small or large one is written as a power of ten."""
    text = repr(value).removesuffix(".0")
    match = re.fullmatch(r"([\d.]+)e([+-]\d+)", text)
    if not match:
        return text, _ATOM
    power = f"10^{{{int(match[2])}}}"
    return (power, _POWER) if match[1] == "1" else (rf"{match[1]} \cdot {power}", _PRODUCT)


class _Typesetter:
    """Expressions as LaTeX, with the letters of one rule."""

    def __init__(self, names: Mapping[str, str]):
        self.names = names

    def tex(self, e: ast.expr, least: int = _CHOICE) -> str:
        text, strength = self.form(e)
        return text if strength >= least else rf"\left({text}\right)"

    def unsigned(self, e: ast.expr, least: int) -> str:
        """An operand behind a sign, which no other may follow."""
        text = self.tex(e, least)
        return rf"\left({text}\right)" if text.startswith("-") else text

    def base(self, e: ast.expr) -> str:
        """What an exponent is put to."""
        text = self.tex(e, _ATOM)
        return rf"\left({text}\right)" if text.endswith(r"\end{cases}") else text

    def form(self, e: ast.expr) -> tuple[str, int]:
        tex = self.tex
        match e:
            case ast.Name(id=name):
                return self.names.get(name, _name(name)), _ATOM
            case ast.Constant(value=value):
                return _constant(value)
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return "-" + self.unsigned(a, _PRODUCT), _SIGN
            case ast.UnaryOp(op=ast.Invert(), operand=a):
                return rf"\neg {tex(a, _ATOM)}", _ATOM
            case ast.BinOp(left=a, op=ast.Div(), right=b):
                return rf"\frac{{{tex(a)}}}{{{tex(b)}}}", _PRODUCT
            case ast.BinOp(left=a, op=ast.Pow(), right=ast.Constant(value=0.5)):
                return rf"\sqrt{{{tex(a)}}}", _ATOM
            case ast.BinOp(left=a, op=ast.Pow(), right=b):
                return f"{self.base(a)}^{{{tex(b)}}}", _POWER
            case ast.BinOp(left=a, op=ast.FloorDiv(), right=b):
                return rf"\left\lfloor \frac{{{tex(a)}}}{{{tex(b)}}} \right\rfloor", _ATOM
            case ast.BinOp(left=a, op=ast.Mod(), right=b):
                return rf"{tex(a, _POWER)} \bmod {tex(b, _POWER)}", _PRODUCT
            case ast.BinOp(left=a, op=ast.MatMult(), right=b):
                return f"{tex(a, _PRODUCT)} {tex(b, _SIGN)}", _PRODUCT
            case ast.BinOp(left=a, op=ast.Mult(), right=b):
                between = r" \cdot " if _starts_with_digit(b) else r" \, "
                return f"{tex(a, _PRODUCT)}{between}{tex(b, _SIGN + 1)}", _PRODUCT
            case ast.BinOp(left=a, op=ast.Add() | ast.Sub() as op, right=b):
                right = self.unsigned(b, _PRODUCT if isinstance(op, ast.Sub) else _SUM)
                return f"{tex(a, _SUM)} {_OPERATORS[type(op)]} {right}", _SUM
            case ast.BinOp(left=a, op=op, right=b):
                return f"{tex(a, _COMPARE)} {_OPERATORS[type(op)]} {tex(b, _COMPARE)}", _LOGIC
            case ast.Compare(left=a, ops=[op], comparators=[b]):
                return f"{tex(a, _SUM)} {_OPERATORS[type(op)]} {tex(b, _SUM)}", _COMPARE
            case ast.Attribute(value=a, attr="T"):
                return rf"{tex(a, _ATOM)}^\top", _POWER
            case ast.Call(func=ast.Attribute(attr="square"), args=[a]):
                return f"{self.base(a)}^{{2}}", _POWER
            case ast.Call():
                return self.call(e), _ATOM
        return rf"\mathtt{{{ast.unparse(e)}}}", _ATOM

    def call(self, e: ast.Call) -> str:
        name = e.func.attr if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
        given = [self.tex(a) for a in e.args]
        match name, given:
            case "sqrt", [a]:
                return rf"\sqrt{{{a}}}"
            case "abs", [a]:
                return rf"\left|{a}\right|"
            case "norm", [a]:
                return rf"\left\lVert {a} \right\rVert"
            case ("maximum" | "max" | "minimum" | "min"), _:
                return rf"\{name[:3]}\left({', '.join(given)}\right)"
            case "where", _:
                rows = self.cases(e)
                return rf"\begin{{cases}} {' '.join(rows)} \end{{cases}}"
        # \mathrm, for not everybody who shows formulas knows \operatorname.
        return rf"\mathrm{{{_escaped(name)}}}\left({', '.join(given)}\right)"

    def cases(self, e: ast.Call) -> list[str]:
        """The rows of np.where; one inside its second value goes on with the rows."""
        condition, a, b = e.args
        row = rf"{self.tex(a)} & \text{{if }} {self.tex(condition)} \\"
        if isinstance(b, ast.Call) and ast.unparse(b.func) == "np.where":
            return [row, *self.cases(b)]
        return [row, rf"{self.tex(b)} & \text{{otherwise}}"]


def _starts_with_digit(e: ast.expr) -> bool:
    while isinstance(e, ast.BinOp) and not isinstance(e.op, ast.Div):
        e = e.left
    return isinstance(e, ast.Constant)
