"""The state of an optimizer as plain data, and back: everything is checked before anything changes.

Beside names, numbers and arrays there are schedules: a named one is saved by its name and numbers;
a function of the user's own cannot be saved, and must be given again before loading.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.atomic import uninterrupted

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer


def taken(optimizer: Optimizer) -> dict[str, Any]:
    """The state of `optimizer`; its arrays are NumPy's, and the caller's own."""
    return {
        "optimizer": type(optimizer).__name__,
        "form": optimizer.form,
        "t": optimizer.t,
        "groups": [{key: _plain(key, value) for key, value in group.items() if key != "params"}
                   for group in optimizer.groups],
        "carried": [dict(carried) for carried in optimizer._carried],
        "transforms": [transform.state() for transform in optimizer.transforms],
        "slots": {
            name: {slot: backend.host(x) for slot, x in flat.state_of(n).items()}
            for flat in optimizer._flat for n, name in enumerate(flat.names)
        },
    }  # fmt: skip


def load(optimizer: Optimizer, saved: Any) -> None:
    """Put `saved` into `optimizer`, or raise ValueError with all that does not fit."""
    groups, problems = _checked(optimizer, saved)
    if problems:
        raise ValueError(
            f"this state does not fit {type(optimizer).__name__}:\n- " + "\n- ".join(problems)
        )
    optimizer.finite.bad_step = None
    new = [(x, backend.to(np.asarray(saved["slots"][name][slot]), flat.backend))
           for flat in optimizer._flat for n, name in enumerate(flat.names)
           for slot, x in flat.state_of(n).items()]  # fmt: skip
    named = _restored_transforms(saved["transforms"], optimizer.transforms)
    with uninterrupted():
        for group, values in zip(optimizer.groups, groups):
            for key, value in values.items():
                group[key] = schedules.merged(group[key], value)
        for x, value in new:
            x[...] = value
        for transform, found in zip(optimizer.transforms, named):
            for key, schedule in found.items():
                setattr(transform, key, schedules.merged(getattr(transform, key), schedule))
        optimizer._carried = [dict(carried) for carried in saved["carried"]]
        optimizer.t = saved["t"]
        for flat in optimizer._flat:
            flat.stepped = 0


def _plain(key: str, value: Any) -> Any:
    """A hyper-parameter as plain data."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.item()
    return list(value) if key == "names" else schedules.as_data(value)


def _checked(optimizer: Optimizer, saved: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The hyper-parameters to take over, a dict a group, and all that does not fit."""
    mine = taken(optimizer)
    if not isinstance(saved, dict):
        return [], [f"it is a {type(saved).__name__}, not the (nested) dict of state_dict()"]
    if set(saved) != set(mine):
        return [], [f"it has the keys {sorted(map(str, saved))}, not {sorted(mine)}"]
    for key in ("groups", "carried", "transforms", "slots"):
        if type(saved[key]) is not type(mine[key]):
            return [], [f"{key} is a {type(saved[key]).__name__}"]
    transforms = optimizer.transforms
    found = [
        f"{key} is {saved[key]!r} there and {mine[key]!r} here"
        for key, here in (("optimizer", None), ("form", None), ("transforms", transforms))
        if schedules.lasting(saved[key], here) != schedules.lasting(mine[key], here)
    ]  # fmt: skip
    places: list[tuple[str, Any, Any]] = []
    try:
        for n, named in enumerate(_restored_transforms(saved["transforms"], transforms)):
            places += [(f"transform {n}: {key}", getattr(transforms[n], key, None), schedule)
                       for key, schedule in named.items()]  # fmt: skip
    except ValueError as error:
        found.append(f"transforms: {error}")
    if type(saved["t"]) is not int or not 0 <= saved["t"] < 2**63:
        found.append(f"t is a number of steps, not {saved['t']!r}")
    if len(saved["groups"]) != len(mine["groups"]):
        found.append(f"{len(saved['groups'])} groups there, {len(mine['groups'])} here")
    groups = []
    for n, (there, here) in enumerate(zip(saved["groups"], optimizer.groups)):
        values, problems = _checked_group(optimizer, there, here)
        groups.append(values)
        found += [f"group {n}{problem}" for problem in problems]
        places += [(f"group {n}: {key}", here[key], value) for key, value in values.items()]
    found += schedules.apart(places)
    found += _carried_problems(saved["carried"], mine["carried"])
    found += _slot_problems(saved["slots"], mine["slots"])
    return groups, found


def _checked_group(
    optimizer: Optimizer, there: Any, here: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    wanted = {key for key in here if key != "params"}
    if not isinstance(there, dict) or set(there) != wanted:
        keys = sorted(map(str, there)) if isinstance(there, dict) else type(there).__name__
        return {}, [f" has the keys {keys}, not {sorted(wanted)}"]
    if there["names"] != here["names"]:
        return {}, [f" holds {there['names']} there, {here['names']} here"]
    values: dict[str, Any] = {}
    try:
        for key, value in there.items():
            values[key] = _restored(key, value, here[key])
        optimizer._scalars(values)
    except (TypeError, ValueError) as error:
        return {}, [f": {error}"]
    return values, []


def _restored(key: str, value: Any, here: Any) -> Any:
    """A hyper-parameter from its plain data."""
    if key == "names":
        return list(value)
    if not isinstance(value, dict):
        return value
    if "function" in value and not schedules.is_function(here):
        raise ValueError(
            f"{key} was a function of your own ({value['function']}), which no state can hold: "
            "give it again when making the optimizer, and load then"
        )
    return schedules.restored(value, here)


def _restored_transforms(states: list, here: Any) -> list[dict[str, schedules.Schedule]]:
    """The schedules of each transform, whose other numbers stay."""
    return [{key: schedules.restored(part, getattr(transform, key, None))
             for key, part in state.items() if isinstance(part, dict) and "schedule" in part}
            for state, transform in zip(states, here) if isinstance(state, dict)]  # fmt: skip


def _is_finite(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def _carried_problems(there: list, here: list) -> list[str]:
    found = []
    for a, b in zip(there, here):
        numbers = isinstance(a, dict) and all(_is_finite(x) for x in a.values())
        if not numbers or set(a) != set(b):
            found.append(f"carried is {a!r} there, numbers for {sorted(b)} here")
    if len(there) != len(here):
        found.append(f"carried is for {len(there)} groups there, {len(here)} here")
    return found


def _slot_problems(there: dict, here: dict) -> list[str]:
    found = [f"{name} is only {'there' if name in there else 'here'}"
             for name in sorted(set(there) ^ set(here), key=str)]  # fmt: skip
    for name in (name for name in here if name in there):
        if not isinstance(there[name], dict) or set(there[name]) != set(here[name]):
            is_dict = isinstance(there[name], dict)
            slots = sorted(map(str, there[name])) if is_dict else there[name]
            found.append(f"{name} has the slots {slots} there, {sorted(here[name])} here")
            continue
        for slot, b in here[name].items():
            try:
                a = np.asarray(there[name][slot])
            except ValueError as error:
                found.append(f"slot {slot} of {name}: {error}")
                continue
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                found.append(f"slot {slot} of {name} is {a.dtype} {a.shape} there, "
                             f"{b.dtype} {b.shape} here")  # fmt: skip
            elif not np.isfinite(a).all():
                found.append(f"slot {slot} of {name} has a NaN or inf")
    return found
