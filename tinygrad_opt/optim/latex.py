r"""A rule as a formula: each line of its source becomes a line of LaTeX, `mu * v - lr * g` the
\mu v - \alpha g of the textbook.

Nobody writes these formulas by hand, so they cannot drift from the code that runs.
"""

import ast

from tinygrad_opt.optim.rule import Rule

_GREEK = {
    "lr": r"\alpha", "mu": r"\mu", "rho": r"\rho", "beta": r"\beta", "eps": r"\varepsilon",
    "eta": r"\eta", "alpha": r"\alpha", "gamma": r"\gamma", "delta": r"\delta", "psi": r"\psi",
    "lambd": r"\lambda_d", "l2": r"\lambda", "decay": r"\lambda", "kappa": r"\kappa",
    "tau": r"\tau", "xi": r"\xi", "theta": r"\theta", "sigma": r"\sigma", "nu": r"\nu",
}  # fmt: skip
_WHOLE = {"weight_decay": r"\lambda"}
_OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Lt: "<", ast.Gt: ">", ast.LtE: r"\le", ast.GtE: r"\ge",
    ast.Eq: "=", ast.NotEq: r"\ne", ast.BitAnd: r"\wedge", ast.BitOr: r"\vee",
}  # fmt: skip

# How strongly each form binds: an operand that binds less strongly is put in parentheses.
_CHOICE, _LOGIC, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(8)


def typeset(rule: Rule) -> str:
    """The rule as an `aligned` environment, a line each; what stands left of the arrow is what the
    rule assigns, so that v on its right is the old and on later lines the new."""
    lines = [rf"{_name(line.name)} &\leftarrow {_tex(line.expression)}" for line in rule.lines]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


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


def _tex(e: ast.expr, least: int = _CHOICE) -> str:
    text, strength = _form(e)
    return text if strength >= least else rf"\left({text}\right)"


def _form(e: ast.expr) -> tuple[str, int]:
    match e:
        case ast.Name(id=name):
            return _name(name), _ATOM
        case ast.Constant(value=value):
            return (f"{value:g}" if isinstance(value, (int, float)) else str(value)), _ATOM
        case ast.UnaryOp(op=ast.USub(), operand=a):
            return "-" + _tex(a, _PRODUCT), _SIGN
        case ast.UnaryOp(op=ast.Invert(), operand=a):
            return rf"\neg {_tex(a, _ATOM)}", _ATOM
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            return rf"\frac{{{_tex(a)}}}{{{_tex(b)}}}", _PRODUCT
        case ast.BinOp(left=a, op=ast.Pow(), right=ast.Constant(value=0.5)):
            return rf"\sqrt{{{_tex(a)}}}", _ATOM
        case ast.BinOp(left=a, op=ast.Pow(), right=b):
            return f"{_tex(a, _ATOM)}^{{{_tex(b)}}}", _POWER
        case ast.BinOp(left=a, op=ast.MatMult(), right=b):
            return f"{_tex(a, _PRODUCT)} {_tex(b, _SIGN)}", _PRODUCT
        case ast.BinOp(left=a, op=ast.Mult(), right=b):
            between = r" \cdot " if _starts_with_digit(b) else r" \, "
            return f"{_tex(a, _PRODUCT)}{between}{_tex(b, _SIGN + 1)}", _PRODUCT
        case ast.BinOp(left=a, op=ast.Add() | ast.Sub() as op, right=b):
            right = _tex(b, _PRODUCT) if isinstance(op, ast.Sub) else _tex(b, _SUM)
            return f"{_tex(a, _SUM)} {_OPERATORS[type(op)]} {right}", _SUM
        case ast.BinOp(left=a, op=op, right=b):
            return f"{_tex(a, _COMPARE)} {_OPERATORS[type(op)]} {_tex(b, _COMPARE)}", _LOGIC
        case ast.Compare(left=a, ops=[op], comparators=[b]):
            return f"{_tex(a, _SUM)} {_OPERATORS[type(op)]} {_tex(b, _SUM)}", _COMPARE
        case ast.Attribute(value=a, attr="T"):
            return rf"{_tex(a, _ATOM)}^\top", _POWER
        case ast.Call():
            return _call(e), _ATOM
    return rf"\mathtt{{{ast.unparse(e)}}}", _ATOM


def _call(e: ast.Call) -> str:
    name = e.func.attr if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
    given = [_tex(a) for a in e.args]
    match name, given:
        case "sqrt", [a]:
            return rf"\sqrt{{{a}}}"
        case "abs", [a]:
            return rf"\left|{a}\right|"
        case "norm", [a]:
            return rf"\left\lVert {a} \right\rVert"
        case "square", [_]:
            return f"{_tex(e.args[0], _ATOM)}^2"
        case (("maximum" | "max" | "minimum" | "min"), _):
            return rf"\{name[:3]}\left({', '.join(given)}\right)"
        case "where", [condition, a, b]:
            return (rf"\begin{{cases}} {a} & \text{{if }} {condition} \\ "
                    rf"{b} & \text{{otherwise}} \end{{cases}}")  # fmt: skip
    word = name.replace("_", r"\_")
    return rf"\operatorname{{{word}}}\left({', '.join(given)}\right)"


def _starts_with_digit(e: ast.expr) -> bool:
    while isinstance(e, ast.BinOp) and not isinstance(e.op, ast.Div):
        e = e.left
    return isinstance(e, ast.Constant)
