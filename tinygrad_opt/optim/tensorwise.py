"""Rules that are not elementwise: the same straight lines, over one whole parameter at a time,
where a norm, a mean or a matrix product joins the weights of a tensor.

They run plainly, on NumPy or CuPy, and are explained and typeset like the others; they have no
compiled readings. A square is written np.square(g): CuPy's g**2 is a pow(), and rounds otherwise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim.gradients import Gradients
from tinygrad_opt.optim.optimizer import Optimizer


class TensorOptimizer(Optimizer):
    """The base of the optimizers whose rule takes a parameter as a whole, in its own shape."""

    elementwise = False

    def _update(self, gradients: Gradients, scalars: Sequence[dict[str, float]]) -> None:
        # All is computed before anything is written: an error leaves every tensor as it was.
        with np.errstate(all="ignore"):  # as silent as the elementwise rules
            new = self._computed(gradients.arrays, scalars)
        for olds, values in new:
            for old, value in zip(olds, values):
                old[...] = value

    def _computed(
        self, gradients: Sequence[Array], scalars: Sequence[dict[str, float]]
    ) -> list[tuple[list[Array], tuple]]:
        """For each tensor its arrays, and what the rule makes of them: checked, not yet written."""
        new: list[tuple[list[Array], tuple]] = []
        for flat, g in zip(self._flat, gradients):
            for n, w in enumerate(flat.data_views):
                if not w.size:  # it has no norm and no mean
                    continue
                rule, given = self._read_with(self._rule_for(w.shape), flat, scalars[flat.group])
                slots = [flat.state_of(n)[slot] for slot in rule.arrays[2:]]
                values = rule(w, flat.view(g, n), *slots, **given)
                olds = [w, *slots]
                for name, old, x in zip(rule.results, olds, values):
                    if getattr(x, "shape", None) != old.shape or x.dtype != old.dtype:
                        raise TypeError(
                            f"rule {rule.name}: the new {name} of {flat.names[n]} is to have shape "
                            f"{old.shape} and dtype {old.dtype}, not "
                            f"{getattr(x, 'shape', '')} {getattr(x, 'dtype', type(x).__name__)}"
                        )
                # `before = w` returns the array that the new w is about to be written to.
                values = tuple(x.copy() if any(x is old for old in olds) else x for x in values)
                new.append((olds, values))
        return new

    def compile(self) -> Any:
        """RuntimeError: only elementwise rules are compiled."""
        raise RuntimeError(f"{type(self).__name__} works on whole tensors: it is not compiled")


def norm(x: Array) -> Array:
    """The Euclidean norm of all of `x`, as a 0-d array of its dtype, where `x` lives."""
    xp = array_module(x)
    peak = abs(x).max()  # taken out of the squares, so that they neither overflow nor vanish
    unit = x / xp.where(peak > 0, peak, 1).astype(x.dtype)
    return peak * xp.sqrt(xp.vdot(unit, unit))


def trust(w: Array, other: Array) -> Array:
    """The trust ratio ‖w‖ / other, and 1 where either is 0: a 0-d array, where they live."""
    xp, a = array_module(w), norm(w)
    known = (a > 0) & (other > 0)
    return xp.where(known, a / xp.where(known, other, 1), 1).astype(w.dtype)


def mean(x: Array, axis: int) -> Array:
    """The mean over one axis, which stays, with length 1."""
    return x.mean(axis=axis, keepdims=True)


def rms(x: Array) -> Array:
    """The root mean square of all of `x`, as a 0-d array of its dtype, where `x` lives."""
    return norm(x) / max(x.size, 1) ** 0.5
