"""What all optimizers share: groups, the flat vectors, and the life of a step around the rule.

A subclass gives the slots' names and the rule, a straight line from (w, g, slots...) and the
scalars to the new (w, slots...); `rules` holds variants by name. It never loops, branches, mutates,
or touches `.grad`: the same lines run on NumPy and on CuPy, and on any part of the vector.
"""

import contextlib
import difflib
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import array_module
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.tensor import Tensor

BLOCK = 65536  # elements of each vector at a time: what a rule makes of them stays in the cache

RANGES = {"lr": (0.0, math.inf), "mu": (0.0, 1.0), "l2": (0.0, math.inf)}  # low ≤ value < high


class Optimizer:
    """The base of every optimizer; see the subclasses for what to call.

    Attributes:
        t: the number of steps taken.
        groups: one dict a group, with "params" (the tensors), "names" and the hyper-parameters,
            which may be edited: numbers, or schedules (functions of the number of steps taken, 0
            first).
    """

    slots: ClassVar[tuple[str, ...]] = ()
    rule: ClassVar[Callable]
    rules: ClassVar[dict[str, Callable]] = {}

    def __init_subclass__(cls) -> None:
        """Rules are functions of arrays, not methods: `Momentum.rule(w, g, v, lr=0.1, mu=0.9)`."""
        for name, member in list(vars(cls).items()):
            if member is vars(cls).get("rule") or member in cls.rules.values():
                setattr(cls, name, staticmethod(member))

    def __init__(self, params: Any, hyper: dict[str, Any], form: str | None = None, l2: Any = 0.0,
                 check_finite: bool = True):  # fmt: skip
        self.form, self.check_finite, self.t = form, check_finite, 0
        self._name = type(self).__name__
        if form is None:
            self._rule = type(self).rule
        elif form in self.rules:
            self._rule = self.rules[form]
        else:
            known = _nearest(form, self.rules)
            raise ValueError(f"{type(self).__name__}: unknown form {form!r}{known}")
        keywords = inspect.signature(self._rule).parameters.values()
        self._scalar_names = (
            "l2", *(p.name for p in keywords if p.kind is p.KEYWORD_ONLY and p.name != "t")
        )  # fmt: skip
        self.groups = _groups(type(self).__name__, params, {**hyper, "l2": l2})
        for group in self.groups:
            self._scalars(group)
        self._flat = [
            flat
            for n, group in enumerate(self.groups)
            for flat in _flat_vectors(group["params"], self.slots, n)
        ]

    # ---- a step ---

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter from its gradient; with a `closure` that computes the loss and its
        gradient anew, call that first and return its loss.

        Raises FloatingPointError for a NaN or inf gradient and ValueError for a hyper-parameter
        that left its range; the parameters, the slots and t are as before then.
        """
        loss = None
        if closure is not None:
            with self.look_ahead():
                loss = closure()
        scalars = [self._scalars(group) for group in self.groups]
        for flat in self._flat:
            flat.gather()
            if self.check_finite:
                self._check_finite(flat)
        for flat in self._flat:
            self._update(flat, *scalars[flat.group])
            flat.stamp()
        self.t += 1
        return loss

    def _update(self, flat: FlatVector, l2: float, scalars: dict[str, float]) -> None:
        """The rule over one flat vector, a block at a time: in blocks that fit the cache, the many
        temporaries of plain NumPy cost a fraction of what they cost in memory."""
        for w, g, *slots in flat.blocks(BLOCK if flat.backend == "numpy" else flat.size):
            if l2:
                g = g + l2 * w
            old = (w, *slots)
            new = self._rule(w, g, *slots, **scalars)
            if type(new) is not tuple or len(new) != len(old) or new[0].dtype != w.dtype:
                raise self._misfit(new, old)
            for vector, value in zip(old, new):
                vector[...] = value

    def _misfit(self, new: Any, old: tuple) -> TypeError:
        wanted = ", ".join(("w", *self.slots))
        given = new if isinstance(new, tuple) else (new,)
        what = ", ".join(f"{getattr(x, 'dtype', type(x).__name__)}" for x in given)
        return TypeError(
            f"{self._name}.rule returns the new ({wanted}{',' * (len(old) == 1)}), a tuple of "
            f"{len(old)} arrays of {old[0].dtype}, not {type(new).__name__} of {what}"
        )

    def zero_grad(self) -> None:
        """Fill every gradient with zeros, for the next `backward()` to add to."""
        for flat in self._flat:
            flat.gather()
            flat.g.fill(0)

    def look_ahead(self) -> contextlib.AbstractContextManager:
        """Where the gradient is to be taken: inside, the weights stand at the point that this rule
        asks for. For most, and this one, that is where they are."""
        return contextlib.nullcontext()

    # ---- hyper-parameters --------------------------------------------------

    def _scalars(self, group: dict[str, Any]) -> tuple[float, dict[str, float]]:
        """The l2 and the keywords of the rule for the coming step: schedules asked, ranges checked.

        As Python floats, which take on the dtype of the arrays they meet.
        """
        values: dict[str, float] = {}
        for name in self._scalar_names:
            value = group[name]
            value = value(self.t) if callable(value) else value
            try:
                if isinstance(value, (str, bool)):
                    raise TypeError
                value = float(value)
            except (TypeError, ValueError):
                raise TypeError(f"{self._name}: {name} is a number, not {value!r}") from None
            low, high = RANGES.get(name, (-math.inf, math.inf))
            if not low <= value < high:
                raise ValueError(f"{self._name}: {name} is in [{low:g}, {high:g}), not {value}")
            values[name] = value
        return values.pop("l2"), values

    # ---- the finite check --------------------------------------------------

    def _check_finite(self, flat: FlatVector) -> None:
        # One dot product sees every NaN and inf. It may overflow where all is finite: look again.
        # (vdot is silent about an overflow, where @ would warn.)
        if math.isfinite(array_module(flat.g).vdot(flat.g, flat.g)):
            return
        for name, part in zip(self._names(flat), flat.grad_views):
            bad = ~array_module(part).isfinite(part)
            if bad.any():
                raise FloatingPointError(
                    f"the gradient of {name} has {int(bad.sum())} NaN or inf among {part.size} "
                    f"values at step {self.t}; nothing was changed. A smaller learning rate helps "
                    "where the loss grew before; tg.detect_anomaly() finds the op"
                )

    def _names(self, flat: FlatVector) -> list[str]:
        """The names of the parameters in a flat vector, in its order."""
        group = self.groups[flat.group]
        return [n for n, t in zip(group["names"], group["params"]) if t in flat]

    # ---- state ---

    def memory(self) -> dict[str, int]:
        """Bytes really held by each slot, padding included; {} for a rule that remembers
        nothing."""
        return {
            name: sum(flat.slots[name].nbytes for flat in self._flat)
            for name in self.slots
        }

    def state_dict(self) -> dict[str, Any]:
        """All that the coming steps depend on besides the weights: t, the hyper-parameters by group
        and the slots by parameter name, as NumPy arrays of the caller's own."""
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.groups]
        for group in groups:
            group["names"] = list(group["names"])
        slots: dict[str, dict[str, Any]] = {}
        for flat in self._flat:
            for n, name in enumerate(self._names(flat)):
                slots[name] = {slot: backend.host(flat.view(vector, n))
                               for slot, vector in flat.slots.items()}  # fmt: skip
        return {"optimizer": type(self).__name__, "form": self.form, "t": self.t, "groups": groups,
                "slots": slots}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave. ValueError listing every mismatch of optimizer, form,
        groups, names, shapes, dtypes and slots; nothing has changed then."""
        problems = self._mismatches(state)
        if problems:
            raise ValueError(
                f"this state does not fit {self._name}:\n- " + "\n- ".join(problems)
            )
        for group, saved in zip(self.groups, state["groups"]):
            group.update(saved)
        for flat in self._flat:
            for slot, vector in flat.slots.items():
                for n, name in enumerate(self._names(flat)):
                    saved = np.asarray(state["slots"][name][slot])
                    flat.view(vector, n)[...] = backend.to(saved, flat.backend)
        self.t = state["t"]

    def _mismatches(self, state: dict[str, Any]) -> list[str]:
        mine = self.state_dict()
        if not isinstance(state, dict):
            return [f"it is a {type(state).__name__}, not the (nested) dict of state_dict()"]
        if set(state) != set(mine):
            return [f"it has the keys {sorted(state)}, not {sorted(mine)}"]
        for key in ("groups", "slots"):
            if type(state[key]) is not type(mine[key]):
                return [f"{key} is a {type(state[key]).__name__}"]
        found = [
            f"{key} is {state[key]!r} there and {mine[key]!r} here"
            for key in ("optimizer", "form") if state[key] != mine[key]
        ]  # fmt: skip
        if not isinstance(state["t"], int) or state["t"] < 0:
            found.append(f"t is a number of steps, not {state['t']!r}")
        if len(state["groups"]) != len(mine["groups"]):
            found.append(f"{len(state['groups'])} groups there, {len(mine['groups'])} here")
        for n, (saved, group) in enumerate(zip(state["groups"], mine["groups"])):
            if set(saved) != set(group):
                found.append(f"group {n} has the keys {sorted(saved)}, not {sorted(group)}")
            elif saved["names"] != group["names"]:
                found.append(f"group {n} holds {saved['names']} there, {group['names']} here")
            else:
                try:
                    self._scalars(saved)
                except (TypeError, ValueError) as error:
                    found.append(f"group {n}: {error}")
        for name in sorted(set(state["slots"]) ^ set(mine["slots"])):
            found.append(f"{name} is only {'there' if name in state['slots'] else 'here'}")
        for name in set(state["slots"]) & set(mine["slots"]):
            there, here = state["slots"][name], mine["slots"][name]
            if set(there) != set(here):
                found.append(f"{name} has the slots {sorted(there)} there, {sorted(here)} here")
                continue
            for slot in here:
                a, b = np.asarray(there[slot]), here[slot]
                if (a.shape, a.dtype) != (b.shape, b.dtype):
                    found.append(
                        f"slot {slot} of {name} is {a.dtype} {a.shape} there, "
                        f"{b.dtype} {b.shape} here"
                    )
        return found

    def __repr__(self) -> str:
        numbers = {k: v for k, v in self.groups[0].items() if k not in ("params", "names")}
        shown = ", ".join(f"{k}={v:g}" if isinstance(v, (int, float)) else f"{k}={v!r}"
                          for k, v in numbers.items())  # fmt: skip
        form = f", form={self.form!r}" if self.form else ""
        count = sum(t.size for group in self.groups for t in group["params"])
        return f"{type(self).__name__}({shown}{form}, {count:,} weights, t={self.t})"


# ---- parameters, pairs and groups --------------------------------------------------


def _groups(optimizer: str, params: Any, defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """`params` in any of its three forms as checked groups, each with all hyper-parameters."""
    if isinstance(params, (Tensor, dict)) or not isinstance(params, Iterable):
        raise TypeError(
            f"{optimizer}: params is a list of tensors, of (name, tensor) pairs or of group dicts, "
            f"not one {type(params).__name__}; write [x] or model.parameters()"
        )
    items = list(params)
    if not items:
        raise ValueError(
            f"{optimizer}: there are no parameters. Does the model hold its tensors (with "
            "requires_grad=True) and modules in attributes, lists or dicts?"
        )
    are_groups = [isinstance(item, dict) for item in items]
    if any(are_groups) and not all(are_groups):
        raise TypeError(f"{optimizer}: params mixes group dicts with tensors: give one kind")
    if not all(are_groups):
        items = [{"params": items}]
    groups: list[dict[str, Any]] = []
    seen: dict[int, str] = {}
    for item in items:
        unknown = [key for key in item if key not in defaults and key != "params"]
        if unknown:
            raise ValueError(
                f"{optimizer}: unknown key {unknown[0]!r} in a group"
                f"{_nearest(unknown[0], ['params', *defaults])}"
            )
        names, tensors = [], []
        for n, entry in enumerate(_listed(optimizer, item)):
            name, t = entry if isinstance(entry, tuple) else (str(len(seen)), entry)
            _check_parameter(optimizer, name, t)
            if id(t) in seen or name in seen.values():
                raise ValueError(
                    f"{optimizer}: parameter {n} of a group, {name!r}, is there twice (as "
                    f"{seen.get(id(t), name)!r})"
                )
            seen[id(t)] = name
            names.append(name)
            tensors.append(t)
        groups.append({**defaults, **item, "params": tensors, "names": names})
    return groups


def _listed(optimizer: str, item: dict[str, Any]) -> list:
    if "params" not in item:
        raise ValueError(f'{optimizer}: a group dict has a key "params", this one: {list(item)}')
    params = item["params"]
    entries = [params] if isinstance(params, Tensor) else list(params)
    if not entries:
        raise ValueError(f"{optimizer}: a group has no parameters")
    return entries


def _check_parameter(optimizer: str, name: str, t: Any) -> None:
    if not isinstance(t, Tensor):
        raise TypeError(f"{optimizer}: parameter {name!r} is a {type(t).__name__}, not a Tensor")
    if t.op is not None:
        raise ValueError(
            f"{optimizer}: parameter {name!r} is a result of {t.op.__name__}, not a leaf: only "
            "leaves can be moved"
        )
    if not t.requires_grad:
        raise ValueError(f"{optimizer}: parameter {name!r} does not require a gradient")


def _flat_vectors(tensors: list[Tensor], slots: tuple[str, ...], group: int) -> list[FlatVector]:
    """One flat vector for each dtype and backend among the tensors of a group."""
    kinds: dict[tuple, list[Tensor]] = {}
    for t in tensors:
        kinds.setdefault((t.dtype, backend.name_of(t._data)), []).append(t)
    return [FlatVector(same, slots, group) for same in kinds.values()]


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
