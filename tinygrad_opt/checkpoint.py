"""A run that stops is a run that can go on: all that the coming steps depend on, in one file.

    tg.checkpoint.save("run.ckpt", model=model, optimizer=optimizer, batches=batches)
    tg.checkpoint.load("run.ckpt", model=model, optimizer=optimizer, batches=batches)

The arrays are stored as safetensors, all else as JSON, and nothing as pickle: to load a file runs
no code of it. A SHA-256 over both tells a damaged file from a whole one.
"""

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array
from tinygrad_opt.data.batches import Batches
from tinygrad_opt.files import check_replaceable, replacing
from tinygrad_opt.nn import Module
from tinygrad_opt.optim.atomic import uninterrupted
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.schedules import Schedule
from tinygrad_opt.optim.transforms import Transform
from tinygrad_opt.optim.wrappers import Wrapper
from tinygrad_opt.tensor import Tensor

__all__ = ["CheckpointError", "Loaded", "load", "save"]

VERSION = "1"  # of the format; the digest is made in one way in all of them
MOST_JSON = 100_000_000  # bytes that safetensors allows for all that is no array
MOST_BITS = 2048  # of an integer: Python reads no longer ones from text, where it is set up so
DEEPEST = 100  # lists and dicts within one another; Python's reader of JSON ends at some 900


class CheckpointError(Exception):
    """A checkpoint that cannot be loaded, or one that could not be. Nothing has been changed then.

    Attributes:
        problems: a string for each, all of them.
    """

    def __init__(self, path: Path | str, problems: list[str], told: str = "nothing was loaded"):
        self.problems = problems
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        super().__init__(f"{path}: {count}, and {told}:\n- " + "\n- ".join(problems))


class _Damaged(Exception):
    """This file is no whole checkpoint; another one may be."""


@dataclass(frozen=True)
class Loaded:
    """What `load` tells.

    Attributes:
        path: the file that was read: the one asked for, or the one before it.
        step: how many steps its optimizer has taken; None where none was saved.
        notes: those that were given to `save`; {} without.
        left: the names of the parts in the file that were not asked for.
    """

    path: Path
    step: int | None
    notes: dict[str, Any]
    left: tuple[str, ...]


# ---- saving and loading --------------------------------------------------------------------------


def save(
    path: Path | str,
    *unnamed: Any,
    model: Module | None = None,
    optimizer: Any = None,
    batches: Batches | None = None,
    history: Any = None,
    random: bool | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint of the parts that are given.

    What was at `path` stays beside it as `path` + ".previous". Whatever happens meanwhile, a kill
    or a power failure included, one of the two is whole: the new file is written beside them, read
    back and compared, and only then takes its place.

    Args:
        path: the file, "run.ckpt".
        model: its parameters and buffers, as they stand: inside `look_ahead()` that is elsewhere,
            which is noticed only where its optimizer is saved too.
        optimizer: of tg.optim: its slots, hyper-parameters, schedules and t.
        batches: a `Batches`: its `position`, settings and the size of its data, not the data.
        history: a `tg.train.History`.
        random: the state of the generator behind dropout and initial weights, see
            `tg.manual_seed`. By default it is saved where an optimizer is.
        notes: whatever else JSON can hold, or arrays, under names: numbers (NaN and infinities
            too), strings, lists, dicts. A tuple comes back as a list.

    Raises:
        OSError: `path` cannot be written, or is no file. What was there is as it was, as after each
            error here.
        TypeError: a part is not what it should be, or notes hold what JSON has no word for.
        ValueError: there is nothing to save; or notes are too much for JSON: too long, too deep, an
            integer of more than 2,048 bits.
        RuntimeError: the weights stand elsewhere for a while: inside `look_ahead()`, or while
            `ScheduleFree` is in evaluation.
        FloatingPointError: the optimizer has met a gradient that is NaN or inf, on a GPU; or a slot
            holds one (the square of a large gradient), which `load` would refuse.
        CheckpointError: what is read back is not what was written.
    """
    target, before = _places(path)
    parts = _parts("save", unnamed, model, optimizer, batches, history, random)
    data = _encoded(_state_of(parts, notes))
    keep = before if target.is_file() and (_is_whole(target) or not before.exists()) else None
    with replacing(path, keep) as file:
        file.write(data)
        file.flush()
        if not _is_whole(Path(file.name)):
            raise CheckpointError(path, ["what was read back is not what was written: is the disk "
                                         "failing?"], "the old file is as it was")  # fmt: skip


def load(
    path: Path | str,
    *unnamed: Any,
    model: Module | None = None,
    optimizer: Any = None,
    batches: Batches | None = None,
    history: Any = None,
    random: bool | None = None,
) -> Loaded:
    """Put a checkpoint into the parts that are given, which then go on as those that were saved.

    All is checked before anything changes, and an interrupt meanwhile leaves all as it was or all
    loaded. Arrays go to the backend where the model is. A file that is missing or damaged is
    replaced by the one before it, `path` + ".previous", with a RuntimeWarning.

    Args:
        path: the file that `save` wrote.
        model, optimizer, batches, history: as made for the run: the same layers, the same kind of
            optimizer over parameters of the same names, the same data.
        random: put the generator behind dropout back to where it was. By default where an
            optimizer is given, for then training goes on.

    Returns:
        A `Loaded`: the notes, the step, and which parts of the file nobody asked for.

    Raises:
        CheckpointError: listing every problem at once: no whole file; a newer format; a part that
            the file lacks; names, shapes, dtypes, kinds, groups or settings that differ.
        TypeError: a part is not what it should be.
    """
    parts = _parts("load", unnamed, model, optimizer, batches, history, random)
    found, tree = _whole_one(path)
    problems = _all_problems(parts, tree)
    if problems:
        raise CheckpointError(path, problems)
    with uninterrupted():
        before = _Before(model) if model is not None and _has_own_state(model) else None
        try:
            for name, part in parts.items():
                part.load_state_dict(tree[name])
        except Exception as error:  # by a load_state_dict of the user's own, at the second time
            if before is not None:
                before.put_back()
            raise CheckpointError(path, [f"{name}: {line}" for line in _lines(error)]) from error
    left = tuple(name for name in _names(tree) if name not in parts)
    return Loaded(found, tree["step"], tree["notes"], left)


def try_out(path: Path | str, **given: Any) -> None:
    """Raise now, before a long run, what `save(path, **given)` would raise in its midst, and
    CheckpointError where the parts could not be loaded from what it writes. Nothing is changed.

    It takes the time and memory of a `save` and a `load`, and writes no file.
    """
    check_replaceable(path, _places(path)[1])
    names = ("model", "optimizer", "batches", "history", "random")
    parts = _parts("save", (), *(given.get(name) for name in names))
    problems = _all_problems(parts, _decoded(_encoded(_state_of(parts, given.get("notes")))))
    if problems:
        raise CheckpointError(path, problems, "what is saved there could not be loaded again")


def _parts(
    act: str,
    unnamed: tuple,
    model: Any,
    optimizer: Any,
    batches: Any,
    history: Any,
    random: bool | None,
) -> dict[str, Any]:
    """The parts that are given, by name, each with `state_dict` and `load_state_dict`."""
    if unnamed:
        raise TypeError(f"checkpoint.{act} takes the parts by name: {act}(path, model=model, "
                        "optimizer=optimizer, ...)")  # fmt: skip
    is_history = all(hasattr(history, x) for x in ("step_loss", "state_dict", "load_state_dict"))
    for part, is_one, wanted in (
        (model, isinstance(model, Module), "model is a Module"),
        (optimizer, isinstance(optimizer, (Optimizer, Wrapper)), "optimizer is one of tg.optim"),
        (batches, isinstance(batches, Batches), "batches is a Batches"),
        (history, is_history, "history is a tg.train.History"),
    ):
        if isinstance(part, type):
            raise TypeError(f"checkpoint: {wanted}, not the class {part.__name__}: make one of it")
        if part is not None and not is_one:
            raise TypeError(f"checkpoint: {wanted}, not a {type(part).__name__}")
    if optimizer is not None and optimizer._standing:
        raise RuntimeError(
            "checkpoint: the weights stand elsewhere for a while: leave the "
            "`with optimizer.look_ahead()` (or averaged(), or the closure) first"
        )
    if random is None:
        random = optimizer is not None
    parts = {"model": model, "optimizer": optimizer, "batches": batches, "history": history,
             "random": _Generator() if random else None}  # fmt: skip
    return {name: part for name, part in parts.items() if part is not None}


def _state_of(parts: dict[str, Any], notes: Any) -> dict[str, Any]:
    """All that is to be saved, checked."""
    if notes is not None and not isinstance(notes, Mapping):
        raise TypeError(f"notes is a dict, not a {type(notes).__name__}")
    if not parts and not notes:
        raise ValueError("checkpoint.save: there is nothing to save: give the parts by name, "
                         "model=model, optimizer=optimizer, ..., or notes")  # fmt: skip
    tree = {name: part.state_dict() for name, part in parts.items()}
    tree["notes"] = {} if notes is None else notes
    tree["step"] = parts["optimizer"].t if "optimizer" in parts else None
    inside = tree.get("optimizer")
    while isinstance(inside, dict):
        for name, x in [*inside.get("slots", {}).items(), *inside.get("slow", {}).items()]:
            for slot, values in (x if isinstance(x, dict) else {"slow": x}).items():
                if not np.isfinite(values).all():
                    raise FloatingPointError(
                        f"checkpoint: slot {slot} of {name} has a NaN or inf, which load would "
                        "refuse, so nothing was saved: are its gradients too large for the squares "
                        f"of {values.dtype}? Clip them, ClipNorm(1.0), or scale the data"
                    )
        inside = inside.get("inside")
    return tree


def _names(tree: dict[str, Any]) -> list[str]:
    return [name for name in tree if name not in ("notes", "step")]


class _Generator:
    """The seeded generator as a part; a twin of it has one of its own."""

    def __init__(self, twin: Any = None):
        self.twin = twin

    def state_dict(self) -> dict[str, Any]:
        return dict(backend.generator().bit_generator.state)

    def load_state_dict(self, saved: Any) -> None:
        (self.twin or backend.generator()).bit_generator.state = saved


# ---- does it fit ---------------------------------------------------------------------------------


def _all_problems(parts: dict[str, Any], tree: dict[str, Any]) -> list[str]:
    """All that keeps the parts from being loaded, each line with the name of its part."""
    problems = []
    for name, part in parts.items():
        if name in tree:
            problems += [f"{name}: {line}" for line in _problems(part, tree[name])]
        else:
            there = ", ".join(_names(tree)) or "notes alone"
            problems.append(f"{name}: it was saved without; there are {there}")
    return problems


def _problems(part: Any, saved: Any) -> list[str]:
    try:
        if isinstance(part, Module) and _has_own_state(part):
            return _tried_on_itself(part, saved)
        return _refusals(_twin(part), saved)
    except Exception as error:  # of a part that cannot be copied
        return _lines(error)


def _twin(part: Any) -> Any:
    """Another of the kind to try a state on."""
    if isinstance(part, _Generator):
        return _Generator(np.random.default_rng(0))
    if isinstance(part, (Optimizer, Wrapper)):
        memo: dict[int, Any] = {}  # what copy takes for copied already
        for given in (*part._given(), *part.transforms):
            if callable(given):
                _share(given, memo)
        return copy.deepcopy(part, memo)
    if not isinstance(part, Module):
        return copy.copy(part)  # whose loading assigns attributes and writes into none
    twin = Module()  # with tensors of the same names, for the model may hold much that is no tensor
    for t, names in part._names().items():
        vars(twin).update(dict.fromkeys(names, Tensor(np.empty(t.shape, t.dtype))))
    return twin


def _share(given: Any, memo: dict[int, Any]) -> None:
    """Have the twin hold the same functions and data of the user's, which may be large or cannot be
    copied (a lock, a file), in schedules and transforms of its own."""
    if isinstance(given, (Schedule, Transform)):
        for value in vars(given).values():
            _share(value, memo)
    elif not isinstance(given, (Optimizer, Wrapper, Tensor)):  # the twin has its own
        memo[id(given)] = given


def _refusals(twin: Any, saved: Any) -> list[str]:
    """All that keeps `saved` from being loaded, what is inside a wrapper first."""
    found: list[str] = []
    if isinstance(twin, Wrapper) and isinstance(saved, dict) and "inside" in saved:
        found = _refusals(twin.optimizer, saved["inside"])
    try:
        twin.load_state_dict(saved)
    except Exception as error:
        found += [line for line in _lines(error) if line not in found]
    return found


def _lines(error: Exception) -> list[str]:
    head, *rest = str(error).splitlines() or [type(error).__name__]
    return [line.strip().removeprefix("- ") for line in rest] or [head]


# ---- a model with a state of its own -------------------------------------------------------------


def _has_own_state(model: Module) -> bool:
    """Whether its class says itself what is saved or how it is loaded."""
    return any(getattr(type(model), name) is not getattr(Module, name)
               for name in ("state_dict", "load_state_dict"))  # fmt: skip


def _tried_on_itself(model: Module, saved: Any) -> list[str]:
    """What loading it raises. No twin could tell, so it is loaded, and put back."""
    with uninterrupted():
        before = _Before(model)
        try:
            model.load_state_dict(copy.copy(saved))  # which may be taken apart there
        except Exception as error:
            return _lines(error)
        finally:
            before.put_back()
    return []


class _Before:
    """A model as it is, to be put back: its arrays, and the attributes of its modules (but not what
    is in a list or dict of the user's)."""

    def __init__(self, model: Module):
        self.tensors = [(t, t.data, t.data.copy(), t.written) for t in model._names()]
        self.modules = [(module, dict(vars(module))) for module in model.modules()]

    def put_back(self) -> None:
        for module, attributes in self.modules:
            vars(module).clear()
            vars(module).update(attributes)
        for t, array, values, written in self.tensors:
            array[...] = values
            t.data, t.written = array, written


# ---- the files -----------------------------------------------------------------------------------


def _places(path: Path | str) -> tuple[Path, Path]:
    """The file itself, links followed, and the one that keeps the checkpoint before it."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"checkpoint: a path is a str or a Path, not {path!r}")
    target = Path(os.path.realpath(path))
    return target, target.with_name(target.name + ".previous")


def _is_whole(path: Path) -> bool:
    try:
        _decoded(path.read_bytes())
    except (OSError, _Damaged):
        return False
    except CheckpointError:  # of a newer version
        pass
    return True


def _whole_one(path: Path | str) -> tuple[Path, dict[str, Any]]:
    """The newest whole checkpoint there is, and where it was found."""
    problems: list[str] = []
    for place in _places(path):
        try:
            tree = _decoded(place.read_bytes())
        except FileNotFoundError:
            problems.append(f"{place.name} is not there")
        except OSError as error:
            problems.append(f"{place.name} cannot be read: {error.strerror}")
        except _Damaged as error:
            problems.append(f"{place.name} {error}")
        except CheckpointError as error:
            raise CheckpointError(path, [f"{place.name} {error.problems[0]}"]) from None
        else:
            if problems:
                step = "" if tree["step"] is None else f", of step {tree['step']}"
                warnings.warn(
                    f"{problems[0]}: loaded the checkpoint before it, {place.name}{step}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return place, tree
    raise CheckpointError(path, problems)


# ---- the format: safetensors, whose metadata hold the JSON and the digest ------------------------


def _encoded(tree: dict[str, Any]) -> bytes:
    from safetensors import SafetensorError
    from safetensors.numpy import save

    arrays: dict[str, Array] = {}
    places: dict[str, list] = {}
    plain = _without_arrays(tree, [], arrays, places)
    text = json.dumps({"state": plain, "arrays": places})
    metadata = {"tinygrad_opt": VERSION, "state": text, "sha256": _digest(VERSION, text, arrays)}
    try:
        return save(arrays, metadata=metadata)
    except SafetensorError as error:
        raise ValueError(
            f"checkpoint: safetensors refuses this ({error}): all that is no array is "
            f"{len(text):,} bytes of JSON, of at most {MOST_JSON:,}: save long lists of "
            "numbers as arrays"
        ) from None


def _decoded(data: bytes) -> dict[str, Any]:
    from safetensors.numpy import load

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
        version, text, digest = (metadata.get(key) for key in ("tinygrad_opt", "state", "sha256"))
    except Exception as error:  # of several kinds, as the bytes may say anything
        raise _Damaged(f"is cut off, damaged or no checkpoint ({error})") from None
    if not version or not text:
        raise _Damaged("is a safetensors file, but no checkpoint of tinygrad_opt")
    if digest != _digest(version, text, arrays):
        raise _Damaged("is damaged: its SHA-256 is not the one that it was saved with")
    if version != VERSION:
        raise CheckpointError("", [f"is of the format {version}, and this tinygrad_opt reads "
                                   f"{VERSION}: update it"])  # fmt: skip
    try:
        content = json.loads(text)
        for key, place in content["arrays"].items():
            node = content["state"]
            for step in place[:-1]:
                node = node[step]
            node[place[-1]] = arrays[key]
        return {"notes": content["state"]["notes"], "step": content["state"]["step"],
                **content["state"]}  # fmt: skip
    except Exception as error:
        raise _Damaged(f"was made by something else than tinygrad_opt ({error!r})") from None


def _without_arrays(
    x: Any, place: list, arrays: dict[str, Array], places: dict[str, list]
) -> Any:
    """`x` as JSON has it, None where an array was: that is put into `arrays`, and into `places` the
    way to it, under a name that says where it was."""
    name = "/".join(map(str, place))
    if len(place) > DEEPEST:
        raise ValueError(f"checkpoint: {name[:60]}... is more than {DEEPEST} lists and dicts deep: "
                         "does it hold itself? Save what is in it flat")  # fmt: skip
    if isinstance(x, np.generic) and x.dtype.kind in "biufU":
        x = x.item()
    if isinstance(x, int) and x.bit_length() > MOST_BITS:
        raise ValueError(f"checkpoint: {name} is an integer of {x.bit_length()} bits, and JSON is "
                         f"read with {MOST_BITS} at most: save hex(x), a string")  # fmt: skip
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"checkpoint: {name} is a masked array, which would lose its mask: save "
                        ".filled(value), or .data and .mask as two arrays")  # fmt: skip
    if backend.is_array(x):
        if name in arrays:
            raise ValueError(f"checkpoint: two arrays would be called {name}: rename one")
        try:
            dtype = backend.check_dtype(x.dtype).newbyteorder("<")
            name.encode()
        except TypeError as error:
            raise TypeError(f"checkpoint: {name}: {error}") from None
        except UnicodeEncodeError:
            raise ValueError(f"checkpoint: {name!r} is no name for an array in UTF-8: rename "
                             "it") from None  # fmt: skip
        # safetensors writes the memory as it lies; ascontiguousarray would make (1,) of ().
        arrays[name] = np.asarray(backend.host(x), dtype, order="C")
        places[name] = place
        return None
    if isinstance(x, Mapping):
        for key in x:
            if not isinstance(key, str):
                raise TypeError(f"checkpoint: {name or 'a dict'} has the key {key!r}: JSON has "
                                "strings alone for keys")  # fmt: skip
        return {key: _without_arrays(y, [*place, key], arrays, places) for key, y in x.items()}
    if isinstance(x, (list, tuple)):
        return [_without_arrays(y, [*place, n], arrays, places) for n, y in enumerate(x)]
    raise TypeError(f"checkpoint: {name} is a {type(x).__name__}, for which JSON has no word: save "
                    "numbers, strings, lists, dicts or arrays")  # fmt: skip


def _digest(version: str, text: str, arrays: dict[str, Array]) -> str:
    """SHA-256 over the version, the JSON, and name, dtype, shape and bytes of each array, each with
    its length before it, so that nothing can pass for something else."""
    found = hashlib.sha256()

    def add(part: Any) -> None:
        part = part.encode() if isinstance(part, str) else part
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)

    add(version)
    add(text)
    for name in sorted(arrays):
        x = arrays[name]
        for part in (name, x.dtype.name, str(x.shape), memoryview(x.reshape(-1).view(np.uint8))):
            add(part)
    return found.hexdigest()
