"""A rule with its scalars hoisted out, in text that means the same in Python and in C: what the
readings for a CPU and for a GPU have in common.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_opt.optim.grammar import ON_SCALARS, SCALAR, function_of

if TYPE_CHECKING:
    from tinygrad_opt.optim.rule import Rule

# Words that mean something in C++, to CuPy, or in the loop that Numba compiles.
_TAKEN = frozenset((
    "alignas alignof and_eq asm auto bitand bitor bool case catch char char8_t char16_t "
    "char32_t compl complex concept const const_cast consteval constexpr constinit co_await "
    "co_return co_yield decltype default delete do double dynamic_cast enum explicit export "
    "extern false float float16 friend goto half inline int long major minor mutable namespace "
    "new noexcept not_eq nullptr operator or_eq private protected public register "
    "reinterpret_cast requires short signed sizeof static static_assert static_cast struct "
    "switch template this thread_local throw true try typedef typeid typename union unsigned "
    "using virtual void volatile wchar_t xor xor_eq blockIdx blockDim gridDim threadIdx "
    "warpSize T i n numba range size NULL NAN INFINITY EOF linux unix "
).split())
_PREFIXES = re.compile(r"(in|out|np)_.*|s\d+")


def _safe_names(names: Iterable[str]) -> dict[str, str]:
    """For each name of a rule one that can be declared in Python and in C: nearly always itself."""
    safe: dict[str, str] = {}
    for name in names:
        word = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
        others = {*safe.values(), *(other for other in names if other != name)}
        while word in _TAKEN or word in others or _PREFIXES.fullmatch(word):
            word = f"x_{word}"
        safe[name] = word
    return safe


class Lowered:
    """A rule ready to be compiled: `lines` of text that mean the same in Python and in C.

    Squares and NumPy's functions are calls of np_square, np_sqrt and so on, which each language
    defines in its own way. A scalar is a name s0, s1, ...

    Attributes:
        names: what each name of the rule is called here: itself, unless that means something else.
        lines: (name, text, kind) for each line in which an array occurs.
        types: of s0, s1, ...: float, or bool for the condition of a np.where.
        host: from the keywords of the rule to (the values of s0, s1, ..., those to be carried).
    """

    def __init__(self, rule: Rule):
        self.names = _safe_names(rule.names)
        self.lines: list[tuple[str, str, str]] = []
        self.types: list[type] = []
        self._kind, self._known = rule.grammar.kind, dict[str, str]()
        program: list[str] = []
        for name, expression, kind in rule.lines:
            if kind == SCALAR:
                program.append(f"{name} = {ast.unparse(expression)}")
                self._known = {}  # what was hoisted before may have another value from here on
            else:
                tree = ast.parse(ast.unparse(expression), mode="eval").body
                text = ast.unparse(self._lower(tree, program))
                self.lines.append((self.names[name], text, kind))
        values = "".join(f"_{kind.__name__}(_s{n}), " for n, kind in enumerate(self.types))
        carried = "".join(f"{name!r}: {name}, " for name in rule.carried)
        head = f"def host({', '.join(('*', *rule.scalars)) if rule.scalars else ''}):"
        source = "\n    ".join([head, *program, f"return ({values}), {{{carried}}}"])
        space: dict[str, Any] = {**ON_SCALARS, "_float": float, "_bool": bool}
        exec(source, space)
        self.host: Callable[..., tuple[tuple, dict[str, float]]] = space["host"]

    @property
    def count(self) -> int:
        """How many scalars there are."""
        return len(self.types)

    def _hoisted(self, text: str, program: list[str], kind: type = float) -> ast.expr:
        if text not in self._known:
            self._known[text] = f"s{self.count}"
            program.append(f"_s{self.count} = {text}")
            self.types.append(kind)
        return ast.Name(self._known[text])

    def _lower(self, e: ast.expr, program: list[str]) -> ast.expr:
        if self._kind(e) == SCALAR:
            return self._hoisted(ast.unparse(e), program)
        match e:
            case ast.Call(args=[condition, *values]) if function_of(e) == "where":
                if self._kind(condition) == SCALAR:
                    # Decided before it is rounded: 1e-50 is true, and in float32 it is 0.
                    chosen = self._hoisted(f"_bool({ast.unparse(condition)})", program, bool)
                else:
                    chosen = self._lower(condition, program)
                return _call("where", chosen, *(self._lower(v, program) for v in values))
            case ast.Call(args=arguments):
                return _call(function_of(e), *(self._lower(a, program) for a in arguments))
            case ast.BinOp(left=base, op=ast.Pow()):
                return _call("square", self._lower(base, program))
            case ast.BinOp(left=a, op=op, right=b):
                return ast.BinOp(self._lower(a, program), op, self._lower(b, program))
            case ast.Compare(left=a, ops=ops, comparators=[b]):
                return ast.Compare(self._lower(a, program), ops, [self._lower(b, program)])
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return _call("not", self._lower(operand, program))
            case ast.UnaryOp(operand=ast.UnaryOp(op=ast.USub(), operand=operand)):
                return self._lower(operand, program)  # --x is x, and in C it would be x - 1
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, self._lower(operand, program))
            case ast.Name(id=name):
                return ast.Name(self.names[name])
        raise AssertionError(ast.dump(e))


def _call(name: str | None, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(f"np_{name}"), list(arguments), [])
