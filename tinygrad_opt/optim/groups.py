"""What an optimizer is given: tensors, (name, tensor) pairs or group dicts become checked groups.

    AdamW(without_decay(model.named_parameters(), "weight_decay"), lr=1e-3)

is weight decay on the matrices alone, in one line.
"""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_opt.tensor import Tensor


def without_decay(params: Iterable, key: str = "l2") -> list[dict[str, Any]]:
    """Two groups, of which the second has `key` = 0: biases, the gains of norms and all else that
    has fewer than two axes.

    Args:
        params: a model, or tensors or (name, tensor) pairs.
        key: the hyper-parameter to switch off: "l2", or "weight_decay" where the rule has that.
    """
    if hasattr(params, "named_parameters"):  # a model
        params = params.named_parameters()
    if isinstance(params, (Tensor, str)) or not isinstance(params, Iterable):
        raise TypeError(f"without_decay: a model or its parameters, not a {type(params).__name__}")
    items = list(params)
    many = [item for item in items if _tensor(item).ndim > 1]
    few = [item for item in items if _tensor(item).ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": many}, {"params": few, key: 0.0}]
    return [group for group in groups if group["params"]]


def _tensor(item: Any) -> Tensor:
    t = item[1] if isinstance(item, tuple) and len(item) == 2 else item
    if not isinstance(t, Tensor):
        raise TypeError(f"without_decay: tensors or (name, tensor) pairs, not {item!r}")
    return t


def checked_groups(optimizer: str, params: Any, defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """`params` in any of its three forms as checked groups, each with all hyper-parameters."""
    if isinstance(params, (Tensor, dict, str)) or not isinstance(params, Iterable):
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
    places: dict[int | None, str] = {}
    for item in items:
        unknown = [key for key in item if key not in defaults and key != "params"]
        if unknown:
            raise ValueError(
                f"{optimizer}: unknown key {unknown[0]!r} in a group"
                f"{nearest(unknown[0], ['params', *defaults])}"
            )
        names, tensors = [], []
        for n, entry in enumerate(_listed(optimizer, item)):
            pair = isinstance(entry, tuple) and len(entry) == 2
            name, t = entry if pair else (str(len(seen)), entry)
            _check_parameter(optimizer, name, t)
            if id(t) in seen or name in seen.values():
                raise ValueError(
                    f"{optimizer}: parameter {n} of a group, {name!r}, is there twice (as "
                    f"{seen.get(id(t), name)!r})"
                )
            place = t.data.ctypes.data if isinstance(t.data, np.ndarray) and t.size else None
            if place is not None and place in places:
                raise ValueError(
                    f"{optimizer}: {name!r} and {places[place]!r} are two tensors over one array, "
                    "which would part when they are moved: use one tensor twice in the model"
                )
            places[place] = name
            seen[id(t)] = name
            names.append(name)
            tensors.append(t)
        groups.append({**defaults, **item, "params": tensors, "names": names})
    return groups


def _listed(optimizer: str, item: dict[str, Any]) -> list:
    if "params" not in item:
        raise ValueError(f'{optimizer}: a group dict has a key "params", this one: {list(item)}')
    params = item["params"]
    if not isinstance(params, Iterable):
        raise TypeError(f'{optimizer}: "params" of a group is a list of tensors, not {params!r}')
    entries = [params] if isinstance(params, Tensor) else list(params)
    if not entries:
        raise ValueError(f"{optimizer}: a group has no parameters")
    return entries


def _check_parameter(optimizer: str, name: Any, t: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{optimizer}: a parameter's name is a string, not {name!r}")
    if not isinstance(t, Tensor):
        raise TypeError(f"{optimizer}: parameter {name!r} is a {type(t).__name__}, not a Tensor")
    if t.op is not None:
        raise ValueError(
            f"{optimizer}: parameter {name!r} is a result of {t.op.__name__}, not a leaf: only "
            "leaves can be moved"
        )
    if not t.requires_grad:
        raise ValueError(f"{optimizer}: parameter {name!r} does not require a gradient")


def nearest(word: Any, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one nearest to it, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
