"""One number tells whether all gradients are finite; only where it is not does anybody look closer.

On a GPU that number is not waited for: the step is noted there, and told when somebody asks.
"""

import math
from collections.abc import Iterator

import numpy as np

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim import cuda
from tinygrad_opt.optim.blocked import BLOCK
from tinygrad_opt.optim.bounds import surely_finite
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.fused import NOTHING, Fused
from tinygrad_opt.optim.running import run


class FiniteCheck:
    """The check of one optimizer.

    Attributes:
        bad_step: on a GPU, the first step with a NaN or inf since it was asked, or -1; else None.
    """

    def __init__(self) -> None:
        self.bad_step: Array | None = None

    def look(self, flat: FlatVector, g: Array, t: int, first: Fused = NOTHING,
             wait: bool = False) -> None:  # fmt: skip
        """FloatingPointError for a NaN or inf in g, the gradient of `flat`, naming the parameter:
        in g as the rule sees it, behind the lines of `first`. (A clip mends an inf; a penalty may
        overflow.) On a GPU, unless told to `wait`, it only notes the step."""
        xp = array_module(g)
        if flat.backend != "numpy" and not wait:
            if self.bad_step is None:
                self.bad_step = xp.full((), -1, "int64")
            if first.rules:
                rule, scalars = first.alone()
                hoisted, _ = rule.lowered.host(**scalars)
                cuda.watch_behind(rule, flat.w, g, hoisted, flat.filled(), t, self.bad_step)
            else:
                cuda.watch(g, t, self.bad_step)
            return
        # One dot product sees every NaN and inf. It may overflow where all is finite: look again.
        # (vdot is silent about an overflow, where @ would warn.)
        norm = float(xp.vdot(g, g))
        if math.isfinite(norm) and _stays_finite(first, flat.w, norm):
            return
        for n, (name, tensor) in enumerate(zip(flat.names, flat.tensors)):
            w, part = (flat.view(vector, n, (tensor.size,)) for vector in (flat.w, g))
            bad = sum(int((~xp.isfinite(seen)).sum()) for seen in _behind(first, w, part))
            if bad:
                raise FloatingPointError(
                    f"the gradient of {name} has {bad} NaN or inf among {part.size} "
                    f"values at step {t}; nothing was changed. A smaller learning rate helps "
                    "where the loss grew before; tg.detect_anomaly() finds the op"
                )

    def tell(self) -> None:
        """FloatingPointError if a step was noted; then it is forgotten. This waits for the GPU."""
        if self.bad_step is None:
            return
        step, self.bad_step = int(self.bad_step), None
        if step >= 0:
            raise FloatingPointError(
                f"a gradient had a NaN or inf at step {step}; the GPU was not waited for, so the "
                "weights have moved on since. A smaller learning rate helps where the loss grew "
                "before; tg.detect_anomaly() finds the op"
            )


def _stays_finite(first: Fused, w: Array, norm: float) -> bool:
    """Whether a g of this sum of squares is surely finite behind the lines of `first`."""
    if not first.rules:
        return True
    rule, scalars = first.alone()
    norms = [float(np.vdot(w, w)) if "w" in rule.reads else 0.0, norm]
    return math.isfinite(norms[0]) and surely_finite(rule, norms, scalars, w.dtype)


def _behind(first: Fused, w: Array, g: Array) -> Iterator[Array]:
    """g as it is seen behind the lines of `first`, block by block; where there are none, g."""
    if not first.rules:
        yield g
        return
    rule, scalars = first.alone()
    room = np.empty_like(g[:BLOCK])
    for start in range(0, len(g), BLOCK):
        block = slice(start, start + BLOCK)
        seen = room[: len(g) - start]
        seen[...] = g[block]
        run(rule, [w[block], seen], scalars)
        yield seen
