"""What a rule may say: elementwise arithmetic on arrays, any arithmetic on scalars, and choices by
np.where. Whatever else is refused as the rule's class is defined, with the place and the cure.
"""

import ast
import builtins
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

# Functions of arrays whose result is the same to the last bit wherever it is computed, with the
# number of arguments. (exp, log and tanh differ by a unit in the last place between libraries.)
FUNCTIONS = {"sqrt": 1, "abs": 1, "sign": 1, "square": 1, "maximum": 2, "minimum": 2, "where": 3}
REDUCTIONS = {"sum", "mean", "max", "min", "prod", "std", "var", "dot", "norm", "any", "all"}
ON_SCALARS = {"abs": abs, "max": max, "min": min}  # for these, Python's own are at hand

SCALAR, ARRAY, MASK = "scalar", "array", "mask"  # what an expression can be; a mask is of bools

_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_OF_SCALARS = (*_ARITHMETIC, ast.Pow, ast.FloorDiv, ast.Mod)
_CURES: tuple[tuple[tuple[type[ast.AST], ...], str], ...] = (
    ((ast.If, ast.IfExp, ast.Match, ast.BoolOp, ast.Assert, ast.Raise, ast.Try),
     "a rule never branches: choose each weight's value with np.where(condition, a, b)"),
    ((ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.With),
     "a rule never loops: write the update of one weight, it is done for all of them"),
    ((ast.Subscript,), "a rule never indexes: every weight is updated alike"),
    ((ast.AugAssign,), "a rule never changes an array in place: write `v = v + ...`"),
    ((ast.Attribute,), "a rule reads no attributes: numbers come in by keyword"),
    ((ast.Lambda, ast.FunctionDef), "a rule defines no functions of its own"),
)  # fmt: skip


class Grammar:
    """The checks, for the expressions of one rule.

    Attributes:
        names: what each name of the rule that is known so far stands for: SCALAR, ARRAY or MASK.
        is_read: whether all lines are checked. What they call is known from then on, and they may
            stand beside the lines of a module that calls NumPy otherwise, or not at all.
    """

    def __init__(self, function: Callable, rule: str, first: int, elementwise: bool):
        self.function, self.rule, self.first = function, rule, first
        self.elementwise = elementwise
        self.names: dict[str, str] = {}
        self.is_read = False

    def kind(self, e: ast.expr) -> str:
        """What `e` is, checked to be something that a rule may say."""
        if not self.elementwise:
            return ARRAY
        match e:
            case ast.Constant(value=value):
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise self.refused(e, "a rule computes with numbers")
                if not _is_finite(value):
                    raise self.refused(e, "a rule has no infinite constants")
                return SCALAR
            case ast.Name(id=name):
                if name not in self.names:
                    raise self.refused(
                        e,
                        f"{name} is no argument of the rule and was not assigned above: a number "
                        "is given by keyword, what is remembered from step to step after g, before "
                        "the *",
                    )
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._number(operand)
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self._mask(operand)
            case ast.BinOp(left=a, op=ast.BitAnd() | ast.BitOr(), right=b):
                self._mask(a)
                return self._mask(b)
            case ast.BinOp(left=a, op=op, right=b):
                kinds = {self._number(a), self._number(b)}
                if kinds == {SCALAR}:
                    if not isinstance(op, _OF_SCALARS):
                        raise self.refused(e, "scalars are combined by + - * / // % **")
                    return SCALAR
                if isinstance(op, _ARITHMETIC):
                    return ARRAY
                if not isinstance(op, ast.Pow):
                    raise self.refused(e, "arrays are combined by + - * / and functions of NumPy")
                if not (isinstance(b, ast.Constant) and type(b.value) is int and b.value == 2):
                    raise self.refused(
                        e,
                        "the only power of an array is **2 (others round "
                        "differently on each device); for roots, np.sqrt",
                    )
                return ARRAY
            case ast.Compare(left=a, comparators=[b]):
                if isinstance(e.ops[0], (ast.Is, ast.IsNot, ast.In, ast.NotIn)):
                    raise self.refused(e, "arrays are compared by < <= > >= == !=")
                kinds = {self._number(a), self._number(b)}
                return MASK if ARRAY in kinds else SCALAR
            case ast.Compare():
                raise self.refused(e, "one comparison at a time: (a < b) & (b < c)")
            case ast.Call():
                return self._call(e)
        raise self.refused(e, cure_for(e))

    def _number(self, e: ast.expr) -> str:
        kind = self.kind(e)
        if kind == MASK:
            raise self.refused(e, "a condition is no number: write np.where(condition, a, b)")
        return kind

    def _mask(self, e: ast.expr) -> str:
        if self.kind(e) != MASK:
            raise self.refused(e, "& | ~ combine comparisons of arrays")
        return MASK

    def _call(self, e: ast.Call) -> str:
        name = function_of(e)
        if name is None or e.keywords:
            last = e.func.attr if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
            what = ("reduces" if last in REDUCTIONS else "has keywords" if name else
                    f"is written np.{last}(...), of numbers ** 0.5 or abs" if last in FUNCTIONS else
                    "is not known, or rounds differently on each device")  # fmt: skip
            raise self.refused(e, f"a rule may call {_KNOWN}: {last} {what}")
        self._check_meaning(e)
        if name == "where":
            if len(e.args) != 3:
                raise self.refused(e, "np.where takes a condition and two values")
            if self.kind(e.args[0]) == ARRAY:
                raise self.refused(e, "the condition of np.where is a comparison")
            if ARRAY not in {self._number(e.args[1]), self._number(e.args[2])}:
                raise self.refused(
                    e,
                    "np.where between two scalars makes float64: write "
                    "np.where(c, 2 * g, 3 * g), not np.where(c, 2, 3) * g",
                )
            return ARRAY
        kinds = {self._number(argument) for argument in e.args}
        if kinds <= {SCALAR} and not isinstance(e.func, ast.Attribute):
            if (len(e.args) == 1) != (name == "abs") or not e.args:
                raise self.refused(e, "max and min take two scalars or more, abs takes one")
            return SCALAR
        if kinds == {SCALAR}:
            raise self.refused(
                e,
                "NumPy's functions turn a scalar into np.float64, which would "
                "widen float32 arrays: write ** 0.5, max, min or abs",
            )
        if name not in FUNCTIONS:
            raise self.refused(e, f"of arrays, write np.{name}imum")
        if len(e.args) != FUNCTIONS[name]:
            raise self.refused(e, f"np.{name} takes {FUNCTIONS[name]} here")
        return ARRAY

    def _check_meaning(self, e: ast.Call) -> None:
        """A plain call must find under the name what the other readings take it for."""
        if self.is_read:
            return
        name = "np" if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
        meant = np if name == "np" else ON_SCALARS[name]
        found = {**vars(builtins), **self.space()}.get(name)
        if found is not meant:
            is_here = f"is {found!r} here" if found is not None else "is not known here"
            raise self.refused(e, f"{name} {is_here}: " + (
                "write `import numpy as np` above the class" if name == "np" else
                f"a rule means Python's own {name}"
            ))  # fmt: skip

    def space(self) -> dict[str, Any]:
        """What the rule's author sees under which name: the module, and functions around it."""
        return {**self.function.__globals__, **inspect.getclosurevars(self.function).nonlocals}

    def check_name(self, node: ast.AST, name: str) -> None:
        if name.startswith("_") or name in ("np", *ON_SCALARS):
            raise self.refused(node, f"{name} cannot be a name in a rule, it means something else")

    def refused(self, node: ast.AST, why: str) -> TypeError:
        """The error that says where the rule says what it may not, and what to write instead."""
        line = self.first + getattr(node, "lineno", 1) - 1
        code = ast.unparse(node).splitlines()[0]
        file = self.function.__code__.co_filename
        return TypeError(f"{file}, line {line}, rule {self.rule}: `{code}`: {why}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def function_of(e: ast.Call) -> str | None:
    """The name of a function that rules know, called as np.sqrt(x) or, on scalars, max(a, b)."""
    match e.func:
        case ast.Attribute(value=ast.Name(id="np"), attr=name) if name in FUNCTIONS:
            return name
        case ast.Name(id=name) if name in ON_SCALARS:
            return name
    return None


_KNOWN = ", ".join(f"np.{name}" for name in FUNCTIONS) + " (and, of scalars, max, min, abs, **)"


def cure_for(node: ast.AST) -> str:
    for kinds, cure in _CURES:
        if isinstance(node, kinds):
            return cure
    return "a rule is a straight line of `name = expression` in elementwise arithmetic"


def described(kind: str) -> str:
    return {SCALAR: "a scalar", ARRAY: "an array", MASK: "a condition"}[kind]
