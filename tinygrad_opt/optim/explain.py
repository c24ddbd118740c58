"""The reading with numbers: the update of one weight told line by line, from the source of the rule
and the values that stand in the vectors.

    v = mu * v - lr * g = 0.9 * (-0.0213) - 0.1 * 0.412 = -0.06037
    w = w + v = 0.31 + (-0.06037) = 0.24963
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.optim.rule import Number

if TYPE_CHECKING:
    from tinygrad_opt.optim.flat import FlatVector
    from tinygrad_opt.optim.gradients import Gradients
    from tinygrad_opt.optim.optimizer import Optimizer


class Explanations:
    """The weights that are watched, and what was kept of their last step."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[int, ...]], Callable[[int | None], str] | None] = {}

    def __getstate__(self) -> dict:
        """Copied or pickled, what is watched is watched, and the last step is forgotten."""
        return {"_kept": dict.fromkeys(self._kept)}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def watch(self, optimizer: Optimizer, name: str, index: Any) -> None:
        _, _, place = _found(optimizer, name, index)
        self._kept.setdefault((name, place), None)

    def keep(self, optimizer: Optimizer, gradients: Gradients,
             scalars: Sequence[dict[str, float]]) -> None:  # fmt: skip
        """Note the numbers of every watched weight, as they stand before an update."""
        for name, place in self._kept:
            self._kept[name, place] = _snapshot(optimizer, name, place, gradients, scalars)

    @staticmethod
    def is_over(optimizer: Any) -> bool:
        """Whether the step that the gradients were for has been taken."""
        return all(flat.graded < flat.stepped for flat in optimizer._flat)

    def tell(self, optimizer: Optimizer, name: str, index: Any, digits: int | None) -> str:
        _, _, place = _found(optimizer, name, index)
        if self.is_over(optimizer):
            kept = self._kept.get((name, place))
            if kept is None:
                raise RuntimeError(
                    f"the step is taken, and nothing was kept of {name}{list(place)}: call "
                    f"opt.watch({name!r}, {place}) before step(), or explain() between "
                    "backward() and step()"
                )
            return kept(digits)
        scalars, gradients = optimizer.values(), optimizer._gradients()
        return _snapshot(optimizer, name, place, gradients, scalars)(digits)


def _found(optimizer: Optimizer, name: str, index: Any) -> tuple[FlatVector, int, tuple[int, ...]]:
    """The flat vector of a parameter, its place there, and the checked index of one element."""
    names = [known for group in optimizer.groups for known in group["names"]]
    if name not in names:
        hint = "" if not all(known.isdigit() for known in names) else (
            "; an optimizer of model.named_parameters() knows names")  # fmt: skip
        raise ValueError(f"no parameter is called {name!r}{nearest(name, names)}{hint}")
    flat = next(flat for flat in optimizer._flat if name in flat.names)
    n = flat.names.index(name)
    shape = flat.data_views[n].shape
    place = index if isinstance(index, (tuple, list)) else (index,)
    try:
        place = tuple(operator.index(i) for i in place)
    except TypeError:
        raise TypeError(f"explain: an index is made of ints, not {index!r}") from None
    if len(place) != len(shape) or not all(-k <= i < k for i, k in zip(place, shape)):
        raise IndexError(f"{name} has shape {shape}, so a weight is given by {len(shape)} indices: "
                         f"no element {list(place)}")  # fmt: skip
    return flat, n, tuple(i % k for i, k in zip(place, shape))


def _snapshot(
    optimizer: Optimizer, name: str, place: tuple[int, ...], gradients: Gradients,
    scalars: Sequence[dict[str, float]],
) -> Callable[[int | None], str]:  # fmt: skip
    """The numbers of one weight now, as a function that tells them with so many digits."""
    flat, n, _ = _found(optimizer, name, place)
    g = flat.view(gradients.arrays[optimizer._flat.index(flat)], n)
    rule, given = optimizer._read_with(
        optimizer._rule_for(flat.data_views[n].shape), flat, scalars[flat.group], gradients.fused
    )
    slots = [flat.state_of(n)[slot] for slot in rule.arrays[2:]]
    arrays, index = [flat.data_views[n], g, *slots], place
    if rule.elementwise:
        arrays, index = [backend.host(x[place].reshape(1)) for x in arrays], (0,)
    else:  # a norm, say, joins all weights, and its last bits tell where they were added up
        arrays = [x.copy() for x in arrays]
    raw = backend.host(flat.grad_views[n][place].reshape(1))[0]
    head = f"{name}{list(place) if place else ''}, step {optimizer.t + 1} of {_title(optimizer)}"
    transforms = list(map(repr, gradients.made_by))
    note = optimizer._explain_note(flat, n, place)

    def tell(digits: int | None) -> str:
        def show(x: Any) -> str:
            return text_of(x, digits)

        start = {a: backend.host(x[index])[()] for a, x in zip(rule.arrays, arrays)
                 if x.shape == arrays[0].shape}  # fmt: skip
        lines = [head]
        if transforms:
            lines.append(f"g = {show(start['g'])}, which {', '.join(transforms)} made of "
                         f"{show(raw)}")  # fmt: skip
        lines.append(", ".join(f"{letter} = {show(x)}" for letter, x in start.items()))
        lines += [note(show)] if note else []
        lines += [_line(number, show) for number in rule.numbers(arrays, given, index, show)]
        return "\n".join(lines)

    return tell


def _line(number: Number, show: Callable[[Any], str]) -> str:
    steps = [number.text, number.shown]
    if number.value is not None:
        steps.append(show(number.value))
    return f"{number.name} = " + " = ".join(dict.fromkeys(steps))


def _title(optimizer: Optimizer) -> str:
    form = f" ({optimizer.form})" if optimizer.form else ""
    return f"{type(optimizer).__name__}{form}"


def text_of(x: Any, digits: int | None = None) -> str:
    """A number as it is shown: `digits` significant ones, or the shortest text that gives the same
    number again in its dtype."""
    if isinstance(x, (int, np.bool_)):
        return str(x)
    return f"{x:.{digits}g}" if digits else str(x)
