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
import copy
import functools
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt.backend import Array, array_module, host, is_array
from tinygrad_opt.optim.grammar import (
    ARRAY,
    FUNCTIONS,
    ON_SCALARS,
    SCALAR,
    Grammar,
    cure_for,
    described,
    function_of,
)
from tinygrad_opt.optim.lowered import Lowered


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
        text, tree: its source, and the syntax tree of that.

    Raises:
        TypeError: the source is not a straight line of elementwise arithmetic: with the file, the
            line, what stands there and what to write instead.
    """

    def __init__(self, function: Callable, elementwise: bool = True):
        functools.update_wrapper(self, function)
        self.name = ".".join(function.__qualname__.split(".")[-2:]).removeprefix("<locals>.")
        self.function, self.elementwise = function, elementwise
        try:
            if hasattr(function, "__wrapped__"):
                raise TypeError("a decorator has put another function in its place")
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise TypeError(
                f"the source of rule {self.name} cannot be read ({error}): define its class in a "
                "file or a notebook, for all readings of the rule start from its source"
            ) from error
        self.text = textwrap.dedent("".join(lines))
        tree = _parsed(lines)
        if not isinstance(tree, ast.FunctionDef):
            file = function.__code__.co_filename
            raise TypeError(f"{file}, line {first}: rule {self.name} is not a plain function "
                            "(def ...)")  # fmt: skip
        self.arrays = tuple(a.arg for a in tree.args.posonlyargs + tree.args.args)
        self.scalars = tuple(a.arg for a in tree.args.kwonlyargs)
        self.grammar = Grammar(function, self.name, first, elementwise)
        if tree.args.vararg or tree.args.kwarg or tree.args.defaults:
            raise self.refused(tree.args, "arrays come in order, scalars by keyword after a *")
        self.names.update(dict.fromkeys(self.arrays, ARRAY) | dict.fromkeys(self.scalars, SCALAR))
        for name in self.names:
            self.grammar.check_name(tree, name)
        self.tree = tree
        body = tree.body[1:-1] if ast.get_docstring(tree) is not None else tree.body[:-1]
        self.lines = [self._line(statement) for statement in body]
        self.results = self._returned(tree.body[-1])
        assigned = {line.name for line in self.lines}
        defaults = (function.__kwdefaults__ or {}).items()
        self.carried = {name: value for name, value in defaults if name in assigned}
        self.grammar.is_read = True

    def __call__(self, *arrays: Any, **scalars: Any) -> tuple:
        """The plain reading: the author's own function on arrays. (CuPy's ** is a pow(): the last
        bit of a square may be another than that of the kernel, which is what a step runs.)"""
        function = self.function
        if self.elementwise and any(array_module(x) is not np for x in arrays):
            function = _choosing_on_cupy(function)
        return function(*arrays, **scalars)

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.formula}>"

    @property
    def formula(self) -> str:
        """The rule in one line, as it is written."""
        return "; ".join(f"{line.name} = {as_written(line.expression)}" for line in self.lines)

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """The names on the right of its lines."""
        return frozenset(e.id for line in self.lines for e in ast.walk(line.expression)
                         if isinstance(e, ast.Name))  # fmt: skip

    @functools.cached_property
    def squares(self) -> bool:
        """Whether it squares anything: what is small in half precision is 0 then."""
        if not self.elementwise:
            return True  # norms and products of matrices do

        def is_square(e: ast.AST) -> bool:
            match e:
                case ast.BinOp(op=ast.Pow()):
                    return self.grammar.kind(e) == ARRAY
                case ast.BinOp(left=a, op=ast.Mult(), right=b):
                    return ast.dump(a) == ast.dump(b)
                case ast.Call():
                    return function_of(e) == "square"
            return False

        return any(is_square(e) for line in self.lines for e in ast.walk(line.expression))

    def after(self, first: "Rule") -> "Rule":
        """The rule that does `first` and then this one: one straight line again.

        Raises TypeError where both use one name for different things.
        """
        if twice := sorted((first.names.keys() - set(first.arrays)) & self.names.keys()):
            raise TypeError(
                f"rule {self.name}: {twice[0]} is {described(first.names[twice[0]])} of "
                f"{first.name}, which comes before it: give it another name"
            )

        def function(*arrays: Any, **scalars: Any) -> tuple:
            names = dict(zip(self.arrays, arrays))
            own = {name: scalars.pop(name) for name in first.scalars}
            names.update(zip(first.results, first(*(names[a] for a in first.arrays), **own)))
            return self(*names.values(), **scalars)

        return self._with(function, first.lines + self.lines, first.scalars + self.scalars,
                          first.names | self.names)  # fmt: skip

    def renamed(self, called: Mapping[str, str]) -> "Rule":
        """The same rule, where what `called` holds has other names: its scalars, and what it works
        out on the way. The arrays keep theirs."""

        def function(*arrays: Any, **scalars: Any) -> tuple:
            return self(*arrays, **{name: scalars[called.get(name, name)] for name in self.scalars})

        def new(name: str) -> str:
            return called.get(name, name)

        lines = [Line(new(name), _Renamed(called).visit(copy.deepcopy(expression)), kind)
                 for name, expression, kind in self.lines]  # fmt: skip
        return self._with(function, lines, tuple(map(new, self.scalars)),
                          {new(name): kind for name, kind in self.names.items()})  # fmt: skip

    def _with(self, function: Callable, lines: list[Line], scalars: tuple[str, ...],
              names: dict[str, str]) -> "Rule":  # fmt: skip
        """A rule made of this one: the same arrays and results, and what it carries."""
        made = object.__new__(Rule)
        read = ("lowered", "reads", "squares")  # anew, from the lines
        made.__dict__ = {k: v for k, v in self.__dict__.items() if k not in read}
        made.function = functools.update_wrapper(function, self.function)
        made.lines, made.scalars, made.grammar = lines, scalars, copy.copy(self.grammar)
        made.grammar.names = names
        return made

    @property
    def names(self) -> dict[str, str]:
        """What each of its names stands for: SCALAR, ARRAY or MASK."""
        return self.grammar.names

    def refused(self, node: ast.AST, why: str) -> TypeError:
        """The error that says where the rule says what it may not, and what to write instead."""
        return self.grammar.refused(node, why)

    # ---- reading the source ------------------------------------------------

    def _line(self, statement: ast.stmt) -> Line:
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            raise self.refused(statement, cure_for(statement))
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if len(targets) != 1 or not isinstance(targets[0], ast.Name):
            raise self.refused(statement, "a line of a rule assigns to one name")
        name, kind = targets[0].id, self.grammar.kind(statement.value)
        self.grammar.check_name(statement, name)
        before = self.names.setdefault(name, kind)
        if before != kind:
            raise self.refused(
                statement,
                f"{name} was {described(before)} above and is {described(kind)} here: give it "
                "another name (or, to remember it, a place among the arrays, before the *)",
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

    # ---- what the compiled readings share ----------------------------------

    @functools.cached_property
    def lowered(self) -> Lowered:
        """The rule with its scalars hoisted out: the same for a CPU and for a GPU."""
        if not self.elementwise:
            raise TypeError(f"rule {self.name} works on whole tensors: it is not compiled")
        return Lowered(self)

    # ---- the reading with numbers ------------------------------------------

    def numbers(
        self, arrays: Sequence[Array], scalars: Mapping[str, float], index: tuple,
        show: Callable[[Any], str] = repr,
    ) -> list[Number]:  # fmt: skip
        """Each line as it comes out for the weight at `index` of the arrays.

        Args:
            arrays: in the order of the rule, where the update is computed; of an elementwise rule,
                parts of one element each do, on the host.
            scalars: the keywords.
            index: the element, a tuple of ints.
            show: the text of a number.
        """
        names: dict[str, Any] = {**scalars, **dict(zip(self.arrays, arrays))}
        space = {**self.grammar.space(), "np": np, **ON_SCALARS}

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
            told.append(Number(name, as_written(expression), as_text, one(value)))
        return told


def _choosing_on_cupy(function: Callable) -> Callable:
    """The same function, where np.where takes a number for its condition on CuPy as well."""

    def where(condition: Any, a: Any, b: Any) -> Any:
        return np.where(condition if is_array(condition) else np.bool(condition), a, b)

    functions = {name: getattr(np, name) for name in FUNCTIONS} | {"where": where}
    space = {**function.__globals__, "np": types.SimpleNamespace(**functions)}
    made = types.FunctionType(function.__code__, space, function.__name__,
                              function.__defaults__, function.__closure__)  # fmt: skip
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def as_written(e: ast.expr) -> str:
    """The source of an expression, with powers as one writes them: g**2."""
    return re.sub(r"(\w) \*\* (\w+)(?![\w.(])", r"\1**\2", ast.unparse(e))


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


def _element(x: Any, shape: tuple, index: tuple) -> Any:
    """The one number that stands for `x` in the explanation of one weight, or None."""
    if not is_array(x) or not x.ndim:
        return host(x)[()] if is_array(x) else x
    try:  # means of rows and columns broadcast to the weights they are of
        return host(np.broadcast_to(x, shape)[index])[()] if x.ndim == len(shape) else None
    except ValueError:
        return None


class _Renamed(ast.NodeTransformer):
    """Names replaced by others."""

    def __init__(self, called: Mapping[str, str]):
        self.called = called

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.called.get(node.id, node.id))


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
        if isinstance(node.op, ast.Pow) and is_array(self._value(node.left)):
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


