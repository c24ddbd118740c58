"""What an optimizer refuses, and what it says then: its keywords, its transforms, its closure."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.optim.transforms import Transform

# What other libraries call the same, for those who come from there.
ELSEWHERE = {
    "weight_decay": "l2=λ joins λw to the gradient; AdamW decays the weights themselves",
    "momentum": "here it is mu", "betas": "here they are beta1 and beta2",
    "nesterov": "Nesterov is an optimizer of its own", "amsgrad": "AMSGrad is one of its own",
    "learning_rate": "here it is lr", "maximize": "minimise the negative",
    "alpha": "RMSProp has rho", "initial_accumulator_value": "here it is initial",
}  # fmt: skip


def unknown_keyword(name: str, word: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that an optimizer does not have."""
    hint = f"; {ELSEWHERE[word]}" if word in ELSEWHERE else nearest(word, known)
    return TypeError(f"{name}: unknown keyword {word!r}{hint}")


def hyper_wanted(name: str) -> TypeError:
    """The error for an optimizer whose class gives its rule no numbers."""
    return TypeError(
        f"{name}: the rule's numbers are given by name. Write an __init__, such as\n\n"
        "    def __init__(self, params, lr, **common):\n"
        '        super().__init__(params, {"lr": lr}, **common)'
    )


def check_choices(optimizer: Any, form: Any, check_finite: Any) -> None:
    """TypeError or ValueError for a form that there is not, and a flag that is none."""
    name, rules = type(optimizer).__name__, optimizer.rules
    if not isinstance(check_finite, (bool, np.bool_)):
        raise TypeError(f"{name}: check_finite is True or False, not {check_finite!r}")
    if form is not None and not isinstance(form, str):
        raise TypeError(f"{name}: form is a word, not {form!r}")
    if form is not None and not rules:
        raise TypeError(f"{name} has one rule, no forms to choose from")
    if form is not None and form not in rules:
        raise ValueError(f"{name}: unknown form {form!r}{nearest(form, rules)}")


def check_names(optimizer: Any, hyper: Mapping[str, Any]) -> None:
    """TypeError for hyper-parameters whose names are taken, or that no rule reads."""
    name = type(optimizer).__name__
    rules = [rule for rule in {getattr(optimizer, "rule", None), *optimizer.rules.values()} if rule]
    carried = {word for rule in rules for word in rule.carried}
    if taken := {"t", "l2", "params", "names", *carried} & set(hyper):
        raise TypeError(f"{name}: {', '.join(sorted(taken))} cannot be a hyper-parameter, the "
                        "name means something else")  # fmt: skip
    read = {*optimizer.initial.values(), *(word for rule in rules for word in rule.scalars)}
    if rules and (unread := set(hyper) - read):
        raise TypeError(f"{name}: no rule reads the hyper-parameter {', '.join(sorted(unread))}"
                        f"{nearest(min(unread), sorted(read))}")  # fmt: skip


def check_closure(name: str, closure: Any) -> None:
    """TypeError for what cannot be called, such as the loss itself."""
    if not callable(closure):
        raise TypeError(
            f"{name}.step(closure) calls it for the loss, and a {type(closure).__name__} cannot be "
            "called: write step(), or a function that zeroes the gradients, walks backward and "
            "returns the loss"
        )


def closure_wanted(name: str, why: str) -> RuntimeError:
    """The error of an optimizer that was asked for a step without a closure."""
    return RuntimeError(
        f"{name}.step(): {why}, so it wants a closure. Write\n\n"
        "    def closure():\n        optimizer.zero_grad()\n"
        "        loss = criterion(model(x), y)\n        loss.backward()\n"
        "        return loss\n\n    optimizer.step(closure)"
    )


def checked_transforms(name: str, transforms: Any) -> list[Transform]:
    """The transforms as a list of the optimizer's own; TypeError for anything else."""
    if isinstance(transforms, Transform) or not isinstance(transforms, (list, tuple)):
        raise TypeError(f"{name}: transforms is a list, [ClipNorm(1.0)], not {transforms!r}")
    for transform in transforms:
        if isinstance(transform, type) and issubclass(transform, Transform):
            raise TypeError(f"{name}: {transform.__name__} is a class: write [{transform.__name__}"
                            "(...)]")  # fmt: skip
        if not isinstance(transform, Transform):
            raise TypeError(f"{name}: {transform!r} is not a gradient transform of tg.optim")
    return list(transforms)
