"""What a weight's learning rate comes to in the end can be read off the rule, step after step.

    rate = effective_rate(optimizer, "w")  # after step(): w has moved by -rate * gradient
"""

import ast
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.optim.grammar import ON_SCALARS
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.optim.rule import Rule


def effective_rate(optimizer: Optimizer, name: str, of: str | None = None) -> np.ndarray:
    """The learning rate of each weight of a parameter in the step that was taken last: by how much
    the weight went down for each unit of what the rule follows.

    No formula of it stands here. The rule itself is asked: the lines that lead to the new w are
    worked out with w = 0 and with 1 in place of what is followed; the slots are what they are now,
    after the step. A decay of the weights (AdamW) is no part of it.

    Args:
        optimizer: of an elementwise rule, after at least one step. With `l2` or transforms, the
            gradient that counts is the one that the rule has seen.
        name: the parameter's name.
        of: the name in the rule that the step is a multiple of: "g", "m_hat" or "m". By default the
            first of "m_hat", "g", "m" that fits: the mean m̂ for Adam and its kin, g for SGD,
            Adagrad and RMSProp.

    Returns:
        An array of the parameter's shape and dtype, on the host.

    Raises:
        TypeError: a wrapper: ask for its `optimizer`.
        ValueError: no parameter of that name; no step yet; or no such rate, because the step is no
            multiple of `of`, weight by weight. With a momentum a velocity moves the weight, also
            where its gradient is 0; and a sign has no size.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"effective_rate: an optimizer, not a {type(optimizer).__name__}; of a "
                        "wrapper, the one inside: wrapper.optimizer")  # fmt: skip
    if not optimizer.t:
        raise ValueError("effective_rate: no step is taken yet, so there is no rate of it")
    names = [known for flat in optimizer._flat for known in flat.names]
    if name not in names:
        raise ValueError(f"effective_rate: no parameter is called {name!r}{nearest(name, names)}")
    flat = next(flat for flat in optimizer._flat if name in flat.names)
    n = flat.names.index(name)
    rule = optimizer._rule_for(flat.data_views[n].shape) if optimizer.elementwise else None
    group = optimizer.groups[flat.group]
    known: dict[str, Any] = {
        key: value(optimizer.t - 1) if callable(value) else value
        for key, value in group.items() if key not in ("params", "names")
    }  # fmt: skip
    known |= {**optimizer._carried[flat.group], "t": optimizer.t}
    known |= {slot: backend.host(x) for slot, x in flat.state_of(n).items()}
    like = backend.host(flat.data_views[n])
    for follows in ("m_hat", "g", "m") if of is None else (of,):
        found = _multiple(rule, known, follows, like) if rule else None
        if found is not None:
            return found
    formula = f": {rule.formula}" if rule else ""
    raise ValueError(
        f"effective_rate: a step of {type(optimizer).__name__} is no multiple of "
        f"{of or 'a gradient or of their mean'}, weight by weight{formula}"
    )


def _multiple(
    rule: Rule, known: dict[str, Any], follows: str, like: np.ndarray
) -> np.ndarray | None:
    """What the step is `follows` times, or None if it is no multiple of it."""
    done = {*rule.arrays[2:], *rule.carried}  # these lines were worked out by the step itself
    lines = [(line.name, line.expression) for line in rule.lines
             if line.name not in done and line.name != follows]  # fmt: skip
    used = {node.id for _, expression in lines for node in ast.walk(expression)
            if isinstance(node, ast.Name)}  # fmt: skip
    if follows not in used or _reads_what_was(rule, done - {follows}):
        return None
    space = {**rule.grammar.space(), "np": np, **ON_SCALARS}

    def step(size: float) -> np.ndarray:
        names = known | {"w": np.zeros_like(like), follows: np.full_like(like, size)}
        for name, expression in lines:
            names[name] = eval(ast.unparse(expression), space, names)
        return -names["w"]

    with np.errstate(all="ignore"):
        try:
            nothing, one, two = step(0.0), step(1.0), step(2.0)
        except NameError:  # the gradient, say, beside what is followed
            return None
    finite = np.isfinite(two)
    straight = not nothing[finite].any() and np.array_equal(two[finite], 2 * one[finite])
    return one if straight else None


def _reads_what_was(rule: Rule, done: set[str]) -> bool:
    """Whether a line reads a slot as it was before this step, which is gone by now."""
    waiting = set(done)
    for line in rule.lines:
        read = {node.id for node in ast.walk(line.expression) if isinstance(node, ast.Name)}
        if line.name not in done and read & waiting:
            return True
        waiting.discard(line.name)
    return False
