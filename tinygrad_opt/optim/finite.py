"""One number tells whether all gradients are finite; only where it is not does anybody look closer.

On a GPU that number is not waited for: the step is noted there, and told when somebody asks.
"""

import math

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim import cuda
from tinygrad_opt.optim.flat import FlatVector


class FiniteCheck:
    """The check of one optimizer.

    Attributes:
        bad_step: on a GPU, the first step with a NaN or inf since it was asked, or -1; else None.
    """

    def __init__(self) -> None:
        self.bad_step: Array | None = None

    def look(self, flat: FlatVector, g: Array, t: int, wait: bool = False) -> None:
        """FloatingPointError for a NaN or inf in g, the gradient of `flat`, naming the parameter.
        On a GPU, unless told to `wait`, it only notes the step."""
        xp = array_module(g)
        if flat.backend != "numpy" and not wait:
            if self.bad_step is None:
                self.bad_step = xp.full((), -1, "int64")
            cuda.watch(g, t, self.bad_step)
            return
        # One dot product sees every NaN and inf. It may overflow where all is finite: look again.
        # (vdot is silent about an overflow, where @ would warn.)
        if math.isfinite(xp.vdot(g, g)):
            return
        for n, name in enumerate(flat.names):
            part = flat.view(g, n)
            bad = ~xp.isfinite(part)
            if bad.any():
                raise FloatingPointError(
                    f"the gradient of {name} has {int(bad.sum())} NaN or inf among {part.size} "
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
