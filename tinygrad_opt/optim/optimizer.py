"""What all optimizers share: groups, the flat vectors, and the life of a step around the rule.

A subclass gives the rule, a straight line from (w, g, slots...) and the scalars to the new (w,
slots...); `rules` holds variants by name. `rule.py` tells what a rule may say, and how it is read.
"""

import contextlib
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt import suspicions
from tinygrad_opt.backend import Array
from tinygrad_opt.optim import compiled, latex, state
from tinygrad_opt.optim.atomic import uninterrupted
from tinygrad_opt.optim.checks import (
    check_choices,
    check_closure,
    check_names,
    checked_transforms,
    hyper_wanted,
    unknown_keyword,
)
from tinygrad_opt.optim.explain import Explanations
from tinygrad_opt.optim.finite import FiniteCheck
from tinygrad_opt.optim.flat import FlatVector, flat_vectors
from tinygrad_opt.optim.forms import named, of_class_or_instance
from tinygrad_opt.optim.fused import NOTHING, Fused
from tinygrad_opt.optim.gradients import Gradients, in_front, tail, transformed
from tinygrad_opt.optim.groups import checked_groups, nearest
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import Prepared, prepared, with_l2
from tinygrad_opt.optim.schedules import Schedule, listening
from tinygrad_opt.optim.transforms import Transform
from tinygrad_opt.tensor import next_index

_BELOW_ONE, _NOT_NEGATIVE, _ANY = (0.0, 1.0), (0.0, math.inf), (-math.inf, math.inf)
RANGES = {  # low ≤ value < high; a class adds its own names in `ranges`
    "lr": _NOT_NEGATIVE, "eps": _NOT_NEGATIVE, "l2": _NOT_NEGATIVE, "weight_decay": _NOT_NEGATIVE,
    "mu": _BELOW_ONE, "rho": _BELOW_ONE, "beta": _BELOW_ONE, "beta1": _BELOW_ONE,
    "beta2": _BELOW_ONE,
}  # fmt: skip


class Optimizer:
    """The base of every optimizer; see the subclasses for what to call.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "lr": ...}.
        hyper: the hyper-parameters by name: numbers, or schedules (functions of the number of steps
            taken, 0 first). A group dict may override each.
        form: which of `rules`, where there are several.
        l2: λ of the penalty ½λ|w|², whose gradient λw is added to g (torch's `weight_decay`).
        transforms: what is done to the gradient before the rule sees it, in order; `.grad` stays.
        check_finite: raise FloatingPointError, with nothing changed, on a NaN or inf gradient. On
            CuPy, which is not waited for, later: see `raise_if_not_finite`.

    Attributes:
        t: the number of steps taken.
        groups: one dict a group, with "params" (the tensors), "names" and the hyper-parameters,
            which may be edited.
        transforms, check_finite: as given; they may be changed between steps.

    Raises:
        TypeError, ValueError: parameters that are no leaves, none at all or twice; an unknown
            keyword, form or group key; a hyper-parameter out of its range; parameters in half
            precision where the rule squares gradients.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # of the default rule; the rules' arguments decide
    rule: ClassVar[Any]
    rules: ClassVar[dict[str, Any]] = {}
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    initial: ClassVar[dict[str, str]] = {}  # slot: the hyper-parameter that it is filled with
    form: str | None = None  # which of `rules` an optimizer runs
    elementwise: ClassVar[bool] = True  # False: the rules are over whole tensors, one at a time

    def __init_subclass__(cls, **keywords: Any) -> None:
        """The rules of a new class are read and checked as the class is defined."""
        super().__init_subclass__(**keywords)
        read: dict[Any, Rule] = {}
        for function in (vars(cls).get("rule"), *vars(cls).get("rules", {}).values()):
            if isinstance(function, staticmethod):
                function = function.__func__
            if function is not None and not isinstance(function, (types.FunctionType, Rule)):
                raise TypeError(f"{cls.__name__}: a rule is a function, not {function!r}")
            if isinstance(function, types.FunctionType) and function not in read:
                read[function] = Rule(function, cls.elementwise)
            if rule := read.get(function) or (function if isinstance(function, Rule) else None):
                cls._check_rule(rule)
        for name, member in list(vars(cls).items()):
            if isinstance(member, (types.FunctionType, staticmethod)):
                function = getattr(member, "__func__", member)
                if function in read:
                    setattr(cls, name, read[function])
        if "rule" in vars(cls) and cls.rules and "rules" not in vars(cls):
            raise TypeError(
                f"{cls.__name__} has a new rule, but would run those of its base class by their "
                f"forms ({', '.join(cls.rules)}): give rules = {{...}} too, or derive it from "
                "tg.optim.Optimizer"
            )
        if "rules" in vars(cls) and hasattr(cls, "rule") and "rule" not in vars(cls):
            raise TypeError(
                f"{cls.__name__} has new rules: say with rule = ... which of them is the default"
            )
        if "rules" in vars(cls):
            cls.rules = {name: read.get(f, f) for name, f in cls.rules.items()}
        if "rule" in vars(cls):
            if "slots" in vars(cls) and cls.slots != cls.rule.arrays[2:]:
                raise TypeError(f"{cls.__name__}: slots are {cls.slots}, and the rule takes "
                                f"{cls.rule.arrays[2:]} after w and g")  # fmt: skip
            cls.slots = cls.rule.arrays[2:]
        rules = [cls.rule, *cls.rules.values()] if hasattr(cls, "rule") else []
        known = {slot for rule in rules for slot in rule.arrays[2:]}
        if rules and (unknown := set(vars(cls).get("initial", ())) - known):
            raise TypeError(f"{cls.__name__}: initial is for slots, and {min(unknown)} is none")

    @classmethod
    def _check_rule(cls, rule: Rule) -> None:
        if not cls.elementwise and cls._update is Optimizer._update:
            raise TypeError(f"{cls.__name__}: derive a rule over whole tensors from "
                            "tg.optim.TensorOptimizer")  # fmt: skip
        if rule.arrays[:2] != ("w", "g"):
            raise rule.refused(
                rule.tree.args,
                f"a rule takes w, g and then its slots, not {', '.join(rule.arrays) or 'nothing'}",
            )
        wanted = ("w", *rule.arrays[2:])
        if rule.results != wanted:
            raise rule.refused(
                rule.tree.body[-1],
                f"a rule returns the new {', '.join(wanted)}, "
                f"in this order, not {', '.join(rule.results)}"
                + "; numbers such as lr are given by keyword, after a *" * (not rule.scalars),
            )
        if "l2" in rule.names:
            raise rule.refused(
                rule.tree.args,
                "l2 is every optimizer's own, and is in g when the rule sees it: take another name",
            )

    def __init__(self, params: Any, hyper: Any = None, *, form: str | None = None,
                 l2: Any = 0.0, transforms: Sequence[Transform] = (), check_finite: bool = True,
                 **unknown: Any):  # fmt: skip
        name = type(self).__name__
        if not isinstance(hyper, Mapping):
            raise hyper_wanted(name)
        if unknown:
            word = next(iter(unknown))
            raise unknown_keyword(name, word, [*hyper, "l2", "transforms", "check_finite"])
        check_choices(self, form, check_finite)
        if form is None and self.elementwise and not hasattr(self, "rule"):
            raise TypeError(f"{name} has no rule: an optimizer is a class with a function `rule`")
        self.form, self.check_finite, self.t = form, check_finite, 0
        self.transforms = checked_transforms(name, transforms)
        self.groups = checked_groups(name, params, {**hyper, "l2": l2})
        self._keys = frozenset((*hyper, "l2", "params", "names"))
        now = [self._scalars(group) for group in self.groups]
        for group in self.groups:
            for parameter, t in zip(group["names"], group["params"]):
                self._check_parameter(parameter, t)
        check_names(self, hyper)
        for rule in self._rules():
            if missing := set(rule.scalars) - {"t", *hyper, *rule.carried}:
                raise TypeError(
                    f"rule {rule.name} takes {', '.join(sorted(missing))}, which is none of the "
                    f"hyper-parameters that {name} was made with"
                )
        carried = {k: v for rule in self._rules() for k, v in rule.carried.items()}
        self._carried = [dict(carried) for _ in self.groups]
        self._flat = [flat for n, group in enumerate(self.groups)
                      for flat in flat_vectors(group["params"], group["names"], n)]  # fmt: skip
        for flat in self._flat:
            self._make_slots(flat, now[flat.group])
        self._explained = Explanations()
        self.finite = FiniteCheck()
        self._standing = 0  # how many blocks deep the weights are elsewhere (look_ahead, averaged)
        self._moved = 0  # when they were last moved there, or back
        self._after: list[Callable[[], None]] = []  # what wrappers do as a part of each update

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._moved = 0  # of the clock of another process, perhaps

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_keys", ()) or (name == "form" and "_keys" in self.__dict__):
            how = (f"write optimizer.groups[0][{name!r}] = ..." if name != "form" else
                   "make a new optimizer for another rule")  # fmt: skip
            raise AttributeError(f"{type(self).__name__}.{name} is not set so: {how}")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Only what is not there comes here.
        if name in self.__dict__.get("_keys", ()):
            raise AttributeError(
                f"{name} stands in optimizer.groups[0][{name!r}], for each group has its own; "
                "optimizer.values() tells what it is now"
            )
        if name == "param_groups":
            raise AttributeError("the groups are called optimizer.groups here")
        if "_keys" not in self.__dict__ and not name.startswith("__"):
            raise AttributeError(f"{type(self).__name__}.__init__ has not called super().__init__")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # ---- which rule --------------------------------------------------------

    def _rule_for(self, shape: tuple[int, ...]) -> Rule:
        """The rule that updates a parameter of this shape."""
        return self.rule if self.form is None else self.rules[self.form]

    def _rules(self) -> list[Rule]:
        return list(dict.fromkeys(
            self._rule_for(t.shape) for group in self.groups for t in group["params"]
        ))  # fmt: skip

    def _explain_note(self, flat: FlatVector, n: int, place: tuple[int, ...]) -> Any:
        """A line more for the explanation of one weight: a function of how numbers are shown."""
        return None

    def _make_slots(self, flat: FlatVector, values: dict[str, float]) -> None:
        """Room for what the rule remembers."""
        for slot in self._rule_for(flat.tensors[0].shape).arrays[2:]:
            flat.add_slot(slot, values[self.initial[slot]] if slot in self.initial else 0.0)

    def _check_parameter(self, name: str, t: Any) -> None:
        rule = self._rule_for(t.shape)
        if t.dtype.itemsize < 4 and (rule.squares or "eps" in rule.scalars):
            raise TypeError(
                f"{type(self).__name__}: parameter {name!r} is {t.dtype}, in which squared "
                'gradients and ε are rounded to 0, and one step gives NaN: model.astype("float32")'
            )

    # ---- a step ------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter from its gradient; with a `closure` that computes the loss and its
        gradient anew, call that first and return its loss.

        A parameter that the loss did not reach has the gradient 0: a velocity coasts on.

        Raises FloatingPointError for a NaN or inf gradient and ValueError for a hyper-parameter
        that left its range; the parameters, the slots and t are as before then. An interrupt
        (Ctrl-C) during the update waits for its end.
        """
        self._check_standing()
        scalars = self.values()
        loss = None
        if closure is not None:
            check_closure(type(self).__name__, closure)
            try:
                self._standing = 1  # no step within a step
                with self.look_ahead():
                    loss = closure()
            finally:
                self._standing = 0
        if any(flat.mixed for flat in self._flat):
            suspicions.forgotten_zero_grad()
        gradients = self._gradients()
        if self._explained:
            self._explained.keep(self, gradients, scalars)
        with uninterrupted():
            self._update(gradients, scalars)
            self._finish()
        return loss

    def _check_standing(self) -> None:
        if self._standing:
            raise RuntimeError(
                f"{type(self).__name__}.step(): the weights stand elsewhere for a while: leave the "
                "`with optimizer.look_ahead()` (or averaged(), or the closure) first"
            )

    def _gradients(self) -> Gradients:
        """What the update starts from, checked to be finite where the rule sees it."""
        gradients = transformed(self._flat, self.transforms, self.t, self.elementwise)
        if self.check_finite:
            for flat, g in zip(self._flat, gradients.arrays):
                self.finite.look(flat, g, self.t, gradients.fused)
        return gradients

    def _update(self, gradients: Gradients, scalars: Sequence[dict[str, float]]) -> None:
        # What can fail comes first, so that no group has moved where another cannot; and all parts
        # of a group start from the same carried scalars.
        ready = [self._prepared(flat, g, scalars[flat.group], gradients.fused)
                 for flat, g in zip(self._flat, gradients.arrays)]  # fmt: skip
        for flat, (act, carried) in zip(self._flat, ready):
            act()
            self._carried[flat.group].update(carried)

    def _finish(self) -> None:
        for flat in self._flat:
            flat.stamp()
        self.t += 1
        for act in self._after:
            act()
        now = next_index()
        for flat in self._flat:
            flat.stepped = now

    def _prepared(
        self, flat: FlatVector, g: Array, values: dict[str, float], first: Fused
    ) -> Prepared:
        rule, given = self._read_with(self._rule_for(flat.tensors[0].shape), flat, values, first)
        return prepared(rule, [flat.w, g, *flat.slots.values()], given)

    def _read_with(
        self, rule: Rule, flat: FlatVector, values: Mapping[str, float], first: Fused = NOTHING
    ) -> tuple[Rule, dict[str, float]]:
        """The rule, behind the lines of transforms and that for `l2` if they are in use, and the
        scalars that it takes."""
        if values["l2"]:
            rule = with_l2(rule)
        known = {**values, **self._carried[flat.group], "t": self.t + 1}
        if first.rules:
            rule, of_transforms = first.before(rule)
            known |= of_transforms
        return rule, {name: known[name] for name in rule.scalars}

    def zero_grad(self) -> None:
        """Make every gradient 0. The zeros are written when somebody reads `.grad`; an array that
        was taken from there before shows them only then, and what is written into it counts only
        if it is assigned, `.grad = array`."""
        for flat in self._flat:
            flat.clear()

    def compile(self) -> "Optimizer":
        """Compile the rule now instead of when it pays (see `compiled.py`), and give `self` back.

        The numbers stay the same to the last bit. RuntimeError where Numba is not installed, or the
        rule is not elementwise; nothing is to be compiled on a GPU, where each rule is a kernel.
        """
        scalars, first = self.values(), in_front(tail(self.transforms), self.t)
        for flat in self._flat:
            if flat.backend == "numpy":
                rule = self._rule_for(flat.tensors[0].shape)
                rule, _ = self._read_with(rule, flat, scalars[flat.group], first)
                compiled.loop(rule, flat.dtype).compile()
        return self

    # ---- where the gradient is taken ---------------------------------------

    def look_ahead(self) -> contextlib.AbstractContextManager:
        """Where the gradient is to be taken: inside, the weights stand at the point that this rule
        asks for. For most, and this one, that is where they are."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _standing_at(self, point: Callable[[FlatVector], Array]) -> Iterator[None]:
        """Inside, the weights of each flat vector are `point(flat)`; then what they were, to the
        bit."""
        for flat in self._flat:
            flat.gather()
        there = [point(flat) for flat in self._flat]  # what can fail comes before any weight moves
        here = [flat.w.copy() for flat in self._flat]
        self._standing += 1
        try:
            try:
                self._move(there)
                del there  # a vector as long as the weights, which nobody needs any more
                self._moved = next_index()
                yield
                self._check_unassigned()
            finally:
                with uninterrupted():
                    self._move(here)
        except BaseException:  # perhaps a signal, just before the block above was uninterrupted
            self._move(here)
            raise
        finally:
            self._standing -= 1
            self._moved = next_index()

    def _check_unassigned(self) -> None:
        for flat in self._flat:
            for name, t in zip(flat.names, flat.tensors):
                if t.written > self._moved:
                    raise RuntimeError(
                        f"{name} was assigned inside look_ahead() or averaged(), where the weights "
                        "stand elsewhere for a while: they are put back at its end. Assign outside "
                        "of it"
                    )

    def _move(self, places: Sequence[Array]) -> None:
        for flat, place in zip(self._flat, places):
            flat.gather()
            flat.w[...] = place
            flat.stamp()

    def eval(self) -> "Optimizer":
        """Make the weights those to measure with. For most, and this one, they are that always."""
        return self

    def train(self) -> "Optimizer":
        """Make the weights those to train with, after `eval()`."""
        return self

    # ---- hyper-parameters --------------------------------------------------

    def observe(self, loss: Any) -> None:
        """Tell the schedules how the epoch went: `OnPlateau` lowers its value when the loss, a
        number, no longer falls. `fit` calls this, with the validation loss if there is one."""
        # Each once, though several groups may share it, or the plateau that it warms up to.
        given = [x for x in self._given() if isinstance(x, Schedule)]
        for schedule in {id(listening(x) or x): x for x in given}.values():
            schedule.observe(loss)

    def _given(self) -> list[Any]:
        """All that may be a schedule."""
        return [x for holder in (*self.groups, *map(vars, self.transforms))
                for x in holder.values()]  # fmt: skip

    def _scalars(self, group: Mapping[str, Any]) -> dict[str, float]:
        """The hyper-parameters for the coming step: schedules asked, ranges checked.

        As Python floats, which take on the dtype of the arrays they meet.
        """
        values: dict[str, float] = {}
        for name, value in group.items():
            if name == "params" or name == "names":
                continue
            if type(value) is not float:
                value = self._scheduled(name, value) if callable(value) else value
                value = self._float(name, value)
            low, high = self.ranges.get(name) or RANGES.get(name, _ANY)
            if not low <= value < high:
                raise ValueError(f"{type(self).__name__}: {name} is in [{low:g}, {high:g}), not "
                                 f"{value}")  # fmt: skip
            values[name] = value
        if len(values) + 2 != len(self._keys) or not values.keys() <= self._keys:
            for word in values.keys() - self._keys:
                raise ValueError(f"{type(self).__name__}: unknown key {word!r} in a group"
                                 f"{nearest(word, sorted(self._keys))}")  # fmt: skip
            word = min(self._keys - {*values, "params", "names"})
            raise ValueError(f"{type(self).__name__}: a group has lost its key {word!r}")
        return values

    def _scheduled(self, name: str, schedule: Callable[[int], Any]) -> Any:
        try:
            return schedule(self.t)
        except Exception as error:
            error.add_note(
                f"{name} of {type(self).__name__} is this function of the number of steps taken, "
                f"which was {self.t}: the first step asks for 0"
            )
            raise

    def values(self) -> list[dict[str, float]]:
        """The hyper-parameters as numbers, a dict a group, as the coming step will take them:
        schedules asked, ranges checked."""
        if len(self.groups) != len(self._carried):
            raise RuntimeError(
                f"{type(self).__name__} was made with {len(self._carried)} groups and has "
                f"{len(self.groups)} now: make a new one"
            )
        return [self._scalars(group) for group in self.groups]

    def _float(self, name: str, value: Any) -> float:
        try:
            if isinstance(value, (str, bytes, bool, np.bool_, complex, np.complexfloating)):
                raise TypeError
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"{type(self).__name__}: {name} is a number or a function of the number of steps, "
                f"not {value!r}"
            ) from None

    # ---- the finite check --------------------------------------------------

    def raise_if_not_finite(self) -> None:
        """On CuPy, raise FloatingPointError if a gradient since the last call had a NaN or inf.

        A step on a GPU does not wait to find out; it takes note there. This waits: `fit` calls it
        when it reads losses, `state_dict()` before it saves. The weights have moved on since.
        """
        self.finite.tell()

    # ---- state -------------------------------------------------------------

    def memory(self) -> dict[str, int]:
        """Bytes really held by each slot, padding included; {} for a rule that remembers
        nothing."""
        held: dict[str, int] = {}
        for flat in self._flat:
            for slots in (flat.slots, *flat.loose):
                for name, array in slots.items():
                    held[name] = held.get(name, 0) + array.nbytes
        return held

    def state_dict(self) -> dict[str, Any]:
        """All that the coming steps depend on besides the weights: t, the hyper-parameters by group
        and the slots by parameter name, as NumPy arrays of the caller's own."""
        self.raise_if_not_finite()
        return state.taken(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave. ValueError listing every mismatch of optimizer, form,
        groups, names, shapes, dtypes, slots and transforms; nothing has changed then.

        Named schedules are restored; a function of your own must have been given again, to the
        group that had it.
        """
        state.load(self, saved)

    # ---- the rule, shown ---------------------------------------------------

    def explain(self, name: str, index: Any = (), digits: int | None = None) -> str:
        """The update of one weight, line by line, with its real numbers.

        Before `step()` it is the coming update, from the gradient as it stands. After `step()`, it
        is the step that was taken, for a weight that `watch()` was called for before.

        Args:
            name: the parameter's name (its place, "0", "1", ..., if it was given without one).
            index: the element: an int or a tuple of ints.
            digits: show that many significant digits. By default all that are needed: evaluated
                again in the weight's dtype, each right-hand side gives the value stored, exactly.

        Raises:
            ValueError: no parameter of that name.
            IndexError: no such element.
            RuntimeError: the step is taken, and the weight was not watched.
        """
        if digits is not None and (type(digits) is not int or digits < 1):
            raise TypeError(f"explain: digits is an int of 1 or more, not {digits!r}")
        return self._explained.tell(self, name, index, digits)

    def watch(self, name: str, index: Any = ()) -> None:
        """Keep the numbers of this weight at each step, so that `explain` can tell the last one
        after the step too. Arguments and errors as for `explain`."""
        self._explained.watch(self, name, index)

    @of_class_or_instance
    def source(it: Any, form: str | None = None) -> str:
        """The source of the rule, as its author wrote it: that of `form`, else of an optimizer the
        one that it runs, and of a class the one that it runs by default."""
        return named(it, form).text

    @of_class_or_instance
    def latex(it: Any, form: str | None = None) -> str:
        """The rule as LaTeX, an `aligned` environment, made from the source; which one as for
        `source`."""
        return latex.typeset(named(it, form))

    def __repr__(self) -> str:
        numbers = {k: v for k, v in self.groups[0].items() if k not in ("params", "names")}
        if numbers["l2"] == 0.0:
            del numbers["l2"]
        shown = [f"{k}={v:g}" if isinstance(v, (int, float)) else f"{k}={v!r}"
                 for k, v in numbers.items()]  # fmt: skip
        if self.form:
            shown.append(f"form={self.form!r}")
        if self.transforms:
            shown.append(f"transforms={self.transforms!r}")
        count = sum(t.size for group in self.groups for t in group["params"])
        return (f"{type(self).__name__}({', '.join(shown)}): {self._formula()}  "
                f"[{count:,} weights, t={self.t}]")  # fmt: skip

    def _formula(self) -> str:
        return self._rule_for(self.groups[0]["params"][0].shape).formula
