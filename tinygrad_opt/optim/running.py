"""Where a rule runs: on NumPy arrays as the compiled loop or its forerunners, on CuPy arrays as one
kernel. Whoever updates anything calls this, and need not know which.
"""

import functools
from collections.abc import Callable, Sequence

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim import compiled, cuda
from tinygrad_opt.optim.rule import Rule

Prepared = tuple[Callable[[], None], dict[str, float]]


def prepared(rule: Rule, arrays: Sequence[Array], scalars: dict[str, float]) -> Prepared:
    """An elementwise rule over flat arrays of one length: the update in place, ready to be called,
    and what its scalars carry over to the next step."""
    hoisted, carried = rule.lowered.host(**scalars)
    if array_module(arrays[0]).__name__ == "numpy":
        loop = compiled.loop(rule, arrays[0].dtype)
        return functools.partial(loop, arrays, scalars, hoisted), carried
    return functools.partial(cuda.launch, rule, arrays, hoisted), carried


def run(rule: Rule, arrays: Sequence[Array], scalars: dict[str, float]) -> None:
    """An elementwise rule over flat arrays of one length, in place."""
    prepared(rule, arrays, scalars)[0]()


@Rule
def coupled(w, g, *, l2):
    g = g + l2 * w
    return (g,)


@functools.cache
def with_l2(rule: Rule) -> Rule:
    """The rule, behind the line that adds the gradient of the penalty ½ · l2 · ‖w‖² to g."""
    return rule.after(coupled)
