"""Elementwise transforms that run in the update itself: their lines stand in front of the rule's,
as one straight line, which is one loop, one kernel, and no copy of the gradient.

    ClipValue, L2, SGD      g = np.minimum(np.maximum(g, -limit), limit)
                            g = g + l2 * w
                            w = w - lr * g
"""

import functools
from typing import NamedTuple

from tinygrad_opt.optim.rule import Rule


class Fused(NamedTuple):
    """Some transforms as lines in front of a rule.

    Attributes:
        rules: of each transform, in order.
        numbers: the scalars of each, as they are for the coming step.
    """

    rules: tuple[Rule, ...] = ()
    numbers: tuple[dict[str, float], ...] = ()

    def before(self, rule: Rule) -> tuple[Rule, dict[str, float]]:
        """`rule` behind all of these, and the scalars of these as they are called there."""
        if not self.rules:
            return rule, {}
        both, names = chained(self.rules, rule)
        return both, {new: numbers[name] for called, numbers in zip(names, self.numbers)
                      for name, new in called.items()}  # fmt: skip

    def alone(self) -> tuple[Rule, dict[str, float]]:
        """These as one rule of their own, from (w, g) to the g that is seen behind them, and its
        scalars. There is one transform at least."""
        *rules, last = self.rules
        *numbers, own = self.numbers
        both, scalars = Fused(tuple(rules), tuple(numbers)).before(last)
        return both, {**scalars, **own}


NOTHING = Fused()


@functools.cache
def chained(first: tuple[Rule, ...], rule: Rule) -> tuple[Rule, tuple[dict[str, str], ...]]:
    """`rule` behind all of `first`, in order; and for each of these what its scalars are called
    there. A name that is taken gets a number: of two limits the second is limit_2."""
    taken, renamed, names = set(rule.names), [], []
    for each in first:
        called: dict[str, str] = {}
        for name in each.names:
            if name not in each.arrays:
                called[name] = _free(name, taken | (each.names.keys() - {name}))
                taken.add(called[name])
        renamed.append(each.renamed(called))
        names.append({name: called[name] for name in each.scalars})
    for each in reversed(renamed):
        rule = rule.after(each)
    return rule, tuple(names)


def _free(name: str, taken: set[str]) -> str:
    new, n = name, 1
    while new in taken:
        n += 1
        new = f"{name}_{n}"
    return new
