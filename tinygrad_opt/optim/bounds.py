"""The reading of a rule with bounds: from how large its arrays are, how large its results can be.

    g = np.minimum(np.maximum(g, -limit), limit)      |g| ≤ 4, limit = 1: the new |g| ≤ 4
    g = g + l2 * w                                    |w| ≤ 2, l2 = 0.5: the new |g| ≤ 5

So whoever asks only whether results are finite need not compute them, nearly always.
"""

import ast
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.optim.rule import Rule

_KNOWN = {"np_maximum": max, "np_minimum": max, "np_abs": abs}  # of two choices, the larger one


class _Bounds(ast.NodeTransformer):
    """Expressions over numbers turned into those over bounds on |x|. They hold for sums, products
    and what is in _KNOWN; of all else (a quotient, a root, a choice) nothing is known, and the
    bound is inf."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        a, b = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Mult):
            return ast.Call(ast.Name("_product"), [a, b, ast.Name("_largest")], [])
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return ast.BinOp(a, ast.Add(), b)
        return ast.Name("_inf")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        return self.visit(node.operand) if isinstance(node.op, ast.USub) else ast.Name("_inf")

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id in _KNOWN:
            return ast.Call(node.func, [self.visit(a) for a in node.args], [])
        return ast.Name("_inf")

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        return ast.Name("_inf")


def _product(a: float, b: float, largest: float) -> float:
    # An operand that is too large may be an inf by now, and times a tiny number it stays one.
    return a * b if a <= largest and b <= largest else math.inf


@functools.cache
def _bounds(rule: Rule) -> Callable[..., tuple[float, ...]]:
    named, lowered = rule.lowered.names, rule.lowered
    scalars = [f"s{n}" for n in range(lowered.count)]
    lines = [f"{name} = {ast.unparse(_Bounds().visit(ast.parse(text, mode='eval').body))}"
             for name, text, _ in lowered.lines]  # fmt: skip
    head = f"def bounds(_largest, {', '.join([*(named[a] for a in rule.arrays), *scalars])}):"
    last = f"return ({''.join(f'{named[r]}, ' for r in rule.results)})"
    space: dict[str, Any] = {**_KNOWN, "_product": _product, "_inf": math.inf}
    exec("\n    ".join([head, *lines, last]), space)
    return space["bounds"]


@functools.cache
def _range(dtype: np.dtype) -> tuple[float, float]:
    """The largest bound that is one, and the smallest number that has a square; both with a factor
    of 2 for all that rounding does."""
    info = np.finfo(dtype)
    return float(info.max) / 2, 2 * math.sqrt(info.tiny)


def surely_finite(rule: Rule, norms: Sequence[float], scalars: dict[str, float],
                  dtype: np.dtype) -> bool:  # fmt: skip
    """Whether all results of an elementwise rule are finite. False says nothing.

    Args:
        rule: the rule.
        norms: of each array the sum of its squares, finite, as it was computed in `dtype`.
        scalars: the keywords.
        dtype: of the arrays.
    """
    largest, least = _range(dtype)
    most = [2 * max(math.sqrt(norm), least) for norm in norms]
    hoisted, _ = rule.lowered.host(**scalars)
    return all(x <= largest for x in _bounds(rule)(largest, *most, *map(abs, hoisted)))
