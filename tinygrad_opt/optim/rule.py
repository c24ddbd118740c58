"""A rule is read once, from its own source: a straight line of assignments, of which every other
form of the optimizer (a compiled loop, a CUDA kernel, an explanation, a formula) is a reading.

    def classical(w, g, v, *, lr, mu):      arrays in order, then scalars by keyword
        v = mu * v - lr * g
        w = w + v
        return w, v                         the new arrays, under their own names

The arrays of an elementwise rule all have one shape, and each weight is updated from its own
numbers alone: no branch, loop, index or sum. A part of an expression in which no array occurs
(`1 - beta1**t`) is a scalar: it is worked out once, on the host and in double precision, and
rounded to the arrays' dtype where it meets them, which is what NumPy does with a Python float. So
all readings round alike, and agree to the last bit.
"""

import ast
import builtins
import functools
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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


class Line(NamedTuple):
    """One assignment of a rule."""

    name: str
    expression: ast.expr
    kind: str  # SCALAR, ARRAY or MASK


class Number(NamedTuple):
    """One line with its numbers: `v = mu * v` is `0.9 * 0.5`, which gives 0.45."""

    name: str
    text: str
    shown: str
    value: Any  # a NumPy scalar of the arrays' dtype, a float, or None where it is not one number


class Rule:
    """A rule, callable as the plain function that it is.

    Args:
        function: the rule as its author wrote it.
        elementwise: False for a rule over whole tensors, which may call any function (a norm, a
            mean, a matrix product): it runs plainly, and has no compiled readings.

    Attributes:
        name, function: as given.
        arrays: the names of the arguments, w and g first for an optimizer's rule.
        scalars: the names of the keywords.
        carried: the keywords that have a default and that the rule assigns: what it assigned comes
            back at the next step, and the default is for the first one.
        lines, results: the assignments, and the names of the arrays that it returns.
        names: what each of its names stands for: SCALAR, ARRAY or MASK.
        text, tree: its source, and the syntax tree of that.

    Raises:
        TypeError: the source is not a straight line of elementwise arithmetic: with the file, the
            line, what stands there and what to write instead.
    """

    def __init__(self, function: Callable, elementwise: bool = True):
        functools.update_wrapper(self, function)
        self.name = ".".join(function.__qualname__.split(".")[-2:]).removeprefix("<locals>.")
        self.function, self.elementwise = function, elementwise
        self._written = function
        try:
            if hasattr(function, "__wrapped__"):
                raise TypeError("a decorator has put another function in its place")
            lines, self._first = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise TypeError(
                f"the source of rule {self.name} cannot be read ({error}): define its class in a "
                "file or a notebook, for all readings of the rule start from its source"
            ) from error
        self.text = textwrap.dedent("".join(lines))
        tree = _parsed(lines)
        if not isinstance(tree, ast.FunctionDef):
            file = function.__code__.co_filename
            raise TypeError(f"{file}, line {self._first}: rule {self.name} is not a plain function "
                            "(def ...)")  # fmt: skip
        self.arrays = tuple(a.arg for a in tree.args.posonlyargs + tree.args.args)
        self.scalars = tuple(a.arg for a in tree.args.kwonlyargs)
        if tree.args.vararg or tree.args.kwarg or tree.args.defaults:
            raise self.refused(tree.args, "arrays come in order, scalars by keyword after a *")
        self.names = dict.fromkeys(self.arrays, ARRAY) | dict.fromkeys(self.scalars, SCALAR)
        for name in self.names:
            self._check_name(tree, name)
        self.tree = tree
        body = tree.body[1:-1] if ast.get_docstring(tree) is not None else tree.body[:-1]
        self.lines = [self._line(statement) for statement in body]
        self.results = self._returned(tree.body[-1])
        assigned = {line.name for line in self.lines}
        defaults = (function.__kwdefaults__ or {}).items()
        self.carried = {name: value for name, value in defaults if name in assigned}

    def __call__(self, *arrays: Any, **scalars: Any) -> tuple:
        """The plain reading: the author's own function on arrays."""
        return self.function(*arrays, **scalars)

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.formula}>"

    @property
    def formula(self) -> str:
        """The rule in one line, as it is written."""
        return "; ".join(f"{line.name} = {ast.unparse(line.expression)}" for line in self.lines)

    def after(self, first: "Rule") -> "Rule":
        """The rule that does `first` and then this one: one straight line again.

        Raises TypeError where both use one name for different things.
        """
        if twice := sorted(set(first.scalars) & set(self.names)):
            raise TypeError(
                f"rule {self.name}: {twice[0]} is a scalar of {first.name}, which comes before it: "
                "give it another name"
            )

        def function(*arrays: Any, **scalars: Any) -> tuple:
            names = dict(zip(self.arrays, arrays))
            own = {name: scalars.pop(name) for name in first.scalars}
            names.update(zip(first.results, first(*(names[a] for a in first.arrays), **own)))
            return self(*names.values(), **scalars)

        both = object.__new__(Rule)
        both.__dict__ = {k: v for k, v in self.__dict__.items() if k != "lowered"}
        both.function = functools.update_wrapper(function, self.function)
        both.lines, both.scalars = first.lines + self.lines, first.scalars + self.scalars
        both.names = first.names | self.names
        return both

    # ---- reading the source ------------------------------------------------

    def _line(self, statement: ast.stmt) -> Line:
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            raise self.refused(statement, _cure(statement))
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            raise self.refused(statement, "a line of a rule assigns to one name")
        name, kind = targets[0].id, self._kind(statement.value)
        self._check_name(statement, name)
        before = self.names.setdefault(name, kind)
        if before != kind:
            raise self.refused(
                statement,
                f"{name} was {_a(before)} above and is {_a(kind)} here: give it another name",
            )
        return Line(name, statement.value, kind)

    def _returned(self, statement: ast.stmt) -> tuple[str, ...]:
        value = statement.value if isinstance(statement, ast.Return) else None
        if not isinstance(value, ast.Tuple) or not all(isinstance(e, ast.Name) for e in value.elts):
            raise self.refused(
                statement,
                "a rule ends by returning a tuple of names: the new "
                "arrays, `return w, v` or `return (w,)`",
            )
        names = tuple(e.id for e in value.elts if isinstance(e, ast.Name))
        for name in names:
            if name not in self.arrays:
                raise self.refused(
                    statement,
                    f"{name} is none of the arrays that the rule was "
                    f"given ({', '.join(self.arrays)})",
                )
        return names

    def _kind(self, e: ast.expr) -> str:
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
                        f"{name} is no argument of the rule and was not "
                        "assigned above: give it by keyword",
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
        raise self.refused(e, _cure(e))

    def _number(self, e: ast.expr) -> str:
        kind = self._kind(e)
        if kind == MASK:
            raise self.refused(e, "a condition is no number: write np.where(condition, a, b)")
        return kind

    def _mask(self, e: ast.expr) -> str:
        if self._kind(e) != MASK:
            raise self.refused(e, "& | ~ combine comparisons of arrays")
        return MASK

    def _call(self, e: ast.Call) -> str:
        name = function_of(e)
        if name is None or e.keywords:
            last = e.func.attr if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
            what = "reduces" if last in REDUCTIONS else "has keywords" if name else "is not known"
            raise self.refused(e, f"a rule may call {_KNOWN}: {last} {what}")
        self._check_meaning(e)
        if name == "where":
            if len(e.args) != 3:
                raise self.refused(e, "np.where takes a condition and two values")
            if self._kind(e.args[0]) == ARRAY:
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
        name = "np" if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
        meant = np if name == "np" else ON_SCALARS[name]
        found = {**vars(builtins), **self._space()}.get(name)
        if found is not meant:
            is_here = f"is {found!r} here" if found is not None else "is not known here"
            raise self.refused(e, f"{name} {is_here}: " + (
                "write `import numpy as np` above the class" if name == "np" else
                f"a rule means Python's own {name}"
            ))  # fmt: skip

    def _space(self) -> dict[str, Any]:
        """What the rule's author sees under which name: the module, and functions around it."""
        return {**self._written.__globals__, **inspect.getclosurevars(self._written).nonlocals}

    def _check_name(self, node: ast.AST, name: str) -> None:
        if name.startswith("_") or name in ("np", *ON_SCALARS):
            raise self.refused(node, f"{name} cannot be a name in a rule, it means something else")

    def refused(self, node: ast.AST, why: str) -> TypeError:
        """The error that says where the rule says what it may not, and what to write instead."""
        line = self._first + getattr(node, "lineno", 1) - 1
        code = ast.unparse(node).splitlines()[0]
        file = self.function.__code__.co_filename
        return TypeError(f"{file}, line {line}, rule {self.name}: `{code}`: {why}")

    # ---- what the compiled readings share ----------------------------------

    @functools.cached_property
    def lowered(self) -> "Lowered":
        """The rule with its scalars hoisted out: the same for a CPU and for a GPU."""
        if not self.elementwise:
            raise TypeError(f"rule {self.name} works on whole tensors: it is not compiled")
        return Lowered(self)

    # ---- the reading with numbers ------------------------------------------

    def numbers(
        self, arrays: Sequence[np.ndarray], scalars: Mapping[str, float], index: tuple,
        show: Callable[[Any], str] = repr,
    ) -> list[Number]:  # fmt: skip
        """Each line as it comes out for the weight at `index` of the arrays.

        Args:
            arrays: in the order of the rule, on the host; of an elementwise rule, parts of one
                element each do.
            scalars: the keywords.
            index: the element, a tuple of ints.
            show: the text of a number.
        """
        names: dict[str, Any] = {**scalars, **dict(zip(self.arrays, arrays))}
        space = {**self._space(), "np": np, **ON_SCALARS}

        def one(x: Any) -> Any:
            return _element(x, arrays[0].shape, index)

        told = []
        for name, expression, _ in self.lines:
            text = ast.unparse(expression)
            with np.errstate(all="ignore"):
                value = eval(text, space, names)
                shown = _Numbers(space, names, one, show).visit(ast.parse(text, mode="eval").body)
            names[name] = value
            as_text = ast.unparse(shown)
            if isinstance(shown, ast.Name) and as_text.startswith("("):
                as_text = as_text[1:-1]  # alone, a negative number needs no parentheses
            told.append(Number(name, text, as_text, one(value)))
        return told


def _parsed(lines: list[str]) -> ast.stmt | None:
    """The statement in these lines of source, indented or not; None if they are only a part of one
    (a lambda in the midst of a call)."""
    inside = lines[0][:1].isspace()  # of a class: dedent would stumble over comments at the margin
    try:
        (tree,) = ast.parse("if True:\n" * inside + "".join(lines)).body
    except (SyntaxError, ValueError):
        return None
    if inside and isinstance(tree, ast.If):
        tree = ast.increment_lineno(tree, -1).body[0]
    return tree


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


def _cure(node: ast.AST) -> str:
    for kinds, cure in _CURES:
        if isinstance(node, kinds):
            return cure
    return "a rule is a straight line of `name = expression` in elementwise arithmetic"


def _a(kind: str) -> str:
    return {SCALAR: "a scalar", ARRAY: "an array", MASK: "a condition"}[kind]


def _element(x: Any, shape: tuple, index: tuple) -> Any:
    """The one number that stands for `x` in the explanation of one weight, or None."""
    if not isinstance(x, np.ndarray) or not x.ndim:
        return x if not isinstance(x, np.ndarray) else x[()]
    try:  # means of rows and columns broadcast to the weights they are of
        return np.broadcast_to(x, shape)[index] if x.ndim == len(shape) else None
    except ValueError:
        return None


class _Numbers(ast.NodeTransformer):
    """Names replaced by their numbers, and so are calls that see more than one weight (a norm); a
    name of many numbers (a matrix) stays a name."""

    def __init__(self, space: dict[str, Any], names: dict[str, Any], one: Callable[[Any], Any],
                 show: Callable[[Any], str]):  # fmt: skip
        self.space, self.names, self.one, self.show = space, names, one, show

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return self._number(self.one(self.names.get(node.id)), node)

    def visit_Call(self, node: ast.Call) -> Any:
        if function_of(node):
            node.args = [self.visit(argument) for argument in node.args]
            return node
        return self._number(self.one(self._value(node)), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        # g**2 of an array is g * g; a pow() may round otherwise, and so may one who recomputes it.
        if isinstance(node.op, ast.Pow) and isinstance(self._value(node.left), np.ndarray):
            base = self.visit(node.left)
            return ast.BinOp(base, ast.Mult(), base)
        node.left, node.right = self.visit(node.left), self.visit(node.right)
        return node

    def _value(self, node: ast.expr) -> Any:
        return eval(ast.unparse(node), self.space, self.names)

    def _number(self, value: Any, node: Any) -> Any:
        if value is None:
            return node
        text = self.show(value)
        # A name again, so that unparse sees one atom: (-2)**2 must not become -2**2.
        return ast.Name(f"({text})" if text.startswith("-") else text)


# Words that mean something in C++, to CuPy, or in the loop that Numba compiles.
_TAKEN = re.compile(
    r"(in|out|np)_.*|s\d+|T|i|n|numba|range|size|NULL|NAN|INFINITY|EOF|linux|unix|"
    "alignas|alignof|and_eq|asm|auto|bitand|bitor|bool|case|catch|char|char8_t|char16_t|char32_t|compl|"
    "complex|concept|const|const_cast|consteval|constexpr|constinit|co_await|co_return|"
    "co_yield|decltype|default|delete|do|double|dynamic_cast|enum|explicit|export|extern|false|float|"
    "float16|friend|goto|half|inline|int|long|major|minor|mutable|namespace|new|noexcept|not_eq|"
    "nullptr|operator|or_eq|private|protected|public|register|reinterpret_cast|requires|short|"
    "signed|sizeof|static|static_assert|static_cast|struct|switch|template|this|thread_local|"
    "throw|true|try|typedef|typeid|typename|union|unsigned|using|virtual|void|volatile|wchar_t|xor|"
    "xor_eq|blockIdx|blockDim|gridDim|threadIdx|warpSize"
)


def _safe_names(names: Iterable[str]) -> dict[str, str]:
    """For each name of a rule one that can be declared in Python and in C: nearly always itself."""
    safe: dict[str, str] = {}
    for name in names:
        word = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
        while _TAKEN.fullmatch(word) or (word != name and word in names) or word in safe.values():
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
        self._rule, self._known = rule, dict[str, str]()
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
        if self._rule._kind(e) == SCALAR:
            return self._hoisted(ast.unparse(e), program)
        match e:
            case ast.Call(args=[condition, *values]) if function_of(e) == "where":
                if self._rule._kind(condition) == SCALAR:
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
