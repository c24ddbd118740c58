"""Which of its rules an optimizer means: the default, that of its form, or one by name."""

import functools
import types
from collections.abc import Callable
from typing import Any

from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.optim.rule import Rule


class of_class_or_instance:
    """A method for a class and for its instances: it gets the one that it is called on."""

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self.function = function

    def __get__(self, instance: Any, owner: type) -> Callable:
        return types.MethodType(self.function, owner if instance is None else instance)


def named(it: Any, form: str | None) -> Rule:
    """The rule of that form; without one, that of an optimizer's own form, or the default."""
    form = it.form if form is None else form
    if form is None:
        return it.rule
    if form not in it.rules:
        name = it.__name__ if isinstance(it, type) else type(it).__name__
        raise ValueError(f"{name}: unknown form {form!r}{nearest(form, it.rules)}")
    return it.rules[form]
