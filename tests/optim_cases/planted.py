"""Wrong optimizers, made from the right ones by an edit of their source: the slips that optimizers
are known to have shipped with, or nearly have.

A rule is read from its source, and so is a wrong one: the module of the class is written anew into
a file of its own, with the edit in it, and imported from there.
"""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from optim_cases import slips, slips_more
from tinygrad_opt import optim


class Planted(NamedTuple):
    """In the function `place` of the class `name`, or beside it in the module, `old` became `new`;
    without a place, anywhere in the class."""

    name: str
    place: str
    slip: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name}.{self.place}: {self.slip}"

    def text(self) -> str:
        """The source of the whole module, with the edit. AssertionError if there is nothing to
        edit."""
        cls = getattr(optim, self.name)
        module = sys.modules[cls.__module__]
        whole = inspect.getsource(module)
        part = inspect.getsource(_function(cls, module, self.place))
        assert whole.count(part) == 1
        assert self.old in part, f"{self}: there is no {self.old!r}"
        return whole.replace(part, part.replace(self.old, self.new))

    def plant(self, folder: Path) -> type:
        """The wrong class, in a module of its own in this folder."""
        count = len(list(folder.iterdir()))
        return getattr(_imported(folder / f"planted_{count}.py", self.text()), self.name)


def _function(cls: type, module: ModuleType, place: str) -> Any:
    if not place:
        return cls
    found = inspect.getattr_static(cls, place, None) or getattr(module, place)
    return getattr(found, "function", found)


def _imported(path: Path, text: str) -> ModuleType:
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _listed() -> list[Planted]:
    found = []
    for where, edits in (slips.SLIPS | slips_more.SLIPS).items():
        name, _, place = where.partition(".")
        found += [Planted(name, place, *slip) for slip in edits]
    return found


PLANTED = _listed()
