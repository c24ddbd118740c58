"""The gradient on its way to the rule: gathered into one vector, then changed by the transforms, in
order. Those at the end of the list that are elementwise are left to the update itself.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.fused import NOTHING, Fused
from tinygrad_opt.optim.transforms import Transform, is_elementwise


class Gradients(NamedTuple):
    """What an update starts from.

    Attributes:
        arrays: the gradient of each flat vector, or what was made of it on a scratch copy.
        made_by: the transforms that made that, in order.
        fused: those that are left, whose lines run in the update.
    """

    arrays: list[Array]
    made_by: list[Transform]
    fused: Fused


class Part:
    """A flat vector as transforms see it: the weights, and a copy of the gradient to change."""

    def __init__(self, flat: FlatVector):
        self.w, self.g, self.xp, self._flat = flat.w, flat.scratch(), array_module(flat.w), flat
        self.scratch = self.g

    def views(self) -> list[tuple[Array, Array]]:
        return [(w, self._flat.view(self.g, n)) for n, w in enumerate(self._flat.data_views)]


def transformed(flats: Sequence[FlatVector], transforms: Sequence[Transform], t: int,
                elementwise: bool) -> Gradients:  # fmt: skip
    """The gradients that the coming update starts from; `elementwise` tells whether the rule is.

    Raises:
        TypeError: a transform gave something back, or put another array in the place of part.g.
        TypeError, ValueError: a number of a transform is out of its range.
    """
    if not transforms:
        for flat in flats:
            flat.gather()
        return Gradients([flat.g for flat in flats], [], NOTHING)
    left = tail(transforms) if elementwise else []
    made_by = list(transforms[: len(transforms) - len(left)])
    for flat in flats:
        flat.gather()
    arrays = [flat.g for flat in flats]
    if made_by:
        parts = [Part(flat) for flat in flats]
        for transform in made_by:
            given: Any = transform(parts, t)  # type: ignore[func-returns-value]
            if given is not None or any(part.g is not part.scratch for part in parts):
                raise TypeError(f"{transform!r}: a transform edits each part.g in place")
        arrays = [part.g for part in parts]
    return Gradients(arrays, made_by, in_front(left, t))


def tail(transforms: Sequence[Transform]) -> list[Transform]:
    """Those behind the last one that is not elementwise."""
    n = len(transforms)
    while n and is_elementwise(transforms[n - 1]):
        n -= 1
    return list(transforms[n:])


def in_front(transforms: Sequence[Transform], t: int) -> Fused:
    """Elementwise transforms with their numbers for step t, as lines in front of a rule."""
    if not transforms:
        return NOTHING
    return Fused(tuple(transform.rule for transform in transforms),
                 tuple(transform.scalars(t) for transform in transforms))  # fmt: skip
