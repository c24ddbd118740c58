"""A Module finds its parameters by looking through its own attributes whenever it is asked.

Nothing is registered, so nothing can be forgotten: `super().__init__()` need not be called, an
attribute may be replaced at any time, and weights are tied by `a.weight = b.weight`.
"""

import difflib
import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.tensor import Tensor, next_index


class Module:
    """A part of a network: subclass it, set tensors and modules in `__init__`, write `forward`.

    What counts is found through attributes, lists, tuples and dicts, at any depth, and is called by
    the way to it: `layers.0.weight`. A Tensor with `requires_grad` is a *parameter*; one without is
    a *buffer* (running statistics, a frozen weight), which is saved and moved but not trained.
    Anything else, raw arrays included, is left alone.

    A tensor under two names (tied weights) is one parameter, under the first of them. A module, or
    a list, that is reached twice is looked through once, so circles do no harm.

    Attributes:
        training: True in training, False after `eval()`; what Dropout and BatchNorm1d go by.
    """

    training: bool = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name, _ in _children(vars(cls)):
            raise TypeError(
                f"{cls.__name__}.{name} is an attribute of the class, which all instances would "
                f"share: write self.{name} = ... in __init__"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        lost = backend.is_array(value) or (isinstance(value, Tensor) and not value.requires_grad)
        if lost and isinstance(old, Tensor) and old.requires_grad:
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter and would not be trained then: to "
                f"set values, assign {name}.data; to freeze them, {name}.requires_grad = False"
            )
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no method forward(self, x)")

    # ---- what is in it ---------------------------------------------------------------------------

    def modules(self) -> list["Module"]:
        """This module and all those in it, each once."""
        return list({id(m): m for _, m in self._walk() if isinstance(m, Module)}.values())

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """(name, tensor) for every parameter, each once, in the order of their definition."""
        return [(names[0], t) for t, names in self._names().items() if t.requires_grad]

    def parameters(self) -> list[Tensor]:
        """The tensors that require a gradient, each once, in the order of their definition."""
        return [t for _, t in self.named_parameters()]

    def _walk(self) -> Iterator[tuple[str, "Module | Tensor"]]:
        """(name, what) for every tensor and module below, by depth first; "" is the module itself.

        A stack in place of recursion, and each module opened once: neither depth nor circles hurt.
        """
        stack: list[tuple[str, Module | Tensor]] = [("", self)]
        opened = set()
        while stack:
            name, found = stack.pop()
            yield name, found
            if isinstance(found, Module) and id(found) not in opened:
                opened.add(id(found))
                inside = list(_children(vars(found), name))
                stack.extend(reversed(inside))

    def _names(self) -> dict[Tensor, list[str]]:
        """Every tensor below with all its names; ValueError where one is no leaf, or two share one
        name."""
        names: dict[Tensor, list[str]] = {}
        taken: dict[str, Tensor] = {}
        for name, t in self._walk():
            if isinstance(t, Module):
                continue
            if t.op is not None:
                raise ValueError(
                    f"{name} is the result of {t.op.__name__}, so it cannot be trained: make it "
                    "anew from an array, Tensor(array, requires_grad=True). To keep a result for a "
                    "later look, keep its array, result.data"
                )
            if taken.setdefault(name, t) is not t:
                raise ValueError(f"two tensors are called {name!r}: rename a key of the dict")
            names.setdefault(t, []).append(name)
        return names

    # ---- training --------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "Module":
        """Set `training` here and in every module below; gives the module itself."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> "Module":
        """`train(False)`: Dropout passes all, BatchNorm1d uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the gradients to zeros, where there are any."""
        for t in self._names():
            if t.grad is not None:
                t.grad = array_module(t.grad).zeros_like(t.grad)

    # ---- saving and loading ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays, by name; a tied one under each of
        its names."""
        return {name: t.numpy() for t, names in self._names().items() for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write the arrays of `state` (of NumPy, of CuPy, or Tensors) into the tensors by name.

        Of a tied tensor one name is enough. The tensors stay the same objects, so an optimizer that
        holds them goes on with the new values.

        Raises:
            ValueError: names missing or unexpected, other shapes or dtypes, or different values for
                the names of one tensor: all problems at once, and nothing is loaded.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict takes a dict of arrays, not a {type(state).__name__}")
        names = self._names()
        known = {name: t for t, own in names.items() for name in own}
        values: dict[Tensor, np.ndarray] = {}
        problems = [f"missing: {own[0]}" for own in names.values() if not state.keys() & own]
        for name, value in state.items():
            t = known.get(name)
            if t is None:
                problems.append(f"unexpected: {name}{nearest(name, known)}")
                continue
            try:
                array = _host(value)
            except Exception as error:
                problems.append(f"{name}: not an array but a {type(value).__name__} ({error})")
                continue
            if array.shape != t.shape:
                turned = "; PyTorch's is transposed, pass .T" if array.T.shape == t.shape else ""
                problems.append(f"{name}: shape {array.shape} for one of {t.shape}{turned}")
            elif array.dtype != t.dtype:
                problems.append(f"{name}: {array.dtype} for {t.dtype}; use astype on either side")
            elif not np.array_equal(values.setdefault(t, array), array, equal_nan=True):
                problems.append(f"{' and '.join(names[t])}: one tensor, but several values")
        if problems:
            count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
            raise ValueError(
                f"load_state_dict: {count}, and nothing was loaded:\n  " + "\n  ".join(problems)
            )
        moved = {t: backend.to(value, backend.name_of(t.data)) for t, value in values.items()}
        for t, array in moved.items():
            t.data = array

    # ---- moving ----------------------------------------------------------------------------------

    def to(self, name: str) -> "Module":
        """Move all tensors to the backend `name`, "numpy" or "cupy", and give the module itself.

        The tensors stay the same objects with new arrays, gradients included.

        Raises RuntimeError, and moves nothing, where an optimizer already holds the tensors or the
        backend does not work here; ValueError for an unknown name.
        """
        backend.module_of(name)
        return self._replace(lambda x: backend.to(x, name), f'to("{name}")')

    def astype(self, dtype: Any) -> "Module":
        """Turn all floating-point tensors into `dtype`, and give the module itself; see `to`.

        TypeError for a dtype that is not a float of 16, 32 or 64 bits.
        """
        wanted = backend.check_dtype(dtype)
        if wanted.kind != "f":
            raise TypeError(f"the weights of a model are floats, not {wanted}")
        return self._replace(
            lambda x: x.astype(wanted, copy=False) if x.dtype.kind == "f" else x,
            f'astype("{wanted}")',
        )

    def _replace(self, change: Callable[[Array], Array], call: str) -> "Module":
        new = []
        for t, names in self._names().items():
            x = change(t.data)
            if x is t.data:
                continue
            if t.in_use:
                raise RuntimeError(
                    f"{names[0]} belongs to an optimizer, which would go on with the old array: "
                    f"call model.{call} first, and make the optimizer after it"
                )
            new.append((t, x, None if t.grad is None else change(t.grad)))
        for t, x, grad in new:
            t._data, t._grad, t.written, t.owned = x, grad, next_index(), None
        return self

    # ---- showing ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        total, rows = self._table()
        wide = [max(len(row[column]) for row in rows) for column in (0, 1, 2)]
        lines = [f"{a:{wide[0]}}  {b:{wide[1]}}  {c:>{wide[2]}}".rstrip() for a, b, c in rows]
        return "\n".join([*lines, total])

    def _repr_html_(self) -> str:
        total, rows = self._table()
        body = "".join(
            f'<tr><td style="text-align:left"><pre>{html.escape(a)}</pre></td>'
            f'<td style="text-align:left">{html.escape(b)}</td><td>{c}</td></tr>'
            for a, b, c in rows
        )
        return f"<table>{body}<caption>{total}</caption></table>"

    def _table(self) -> tuple[str, list[tuple[str, str, str]]]:
        """A line on the whole, and for each module a row: its name and kind, its tensors (buffers
        in brackets), and how many numbers of it are trained."""
        names: dict[Tensor, str] = {}
        for full, t in self._walk():
            if isinstance(t, Tensor):
                names.setdefault(t, full)
        parameters = [t for t in names if t.requires_grad]
        dtypes = sorted({str(t.dtype) for t in parameters})
        total = [f"{sum(t.size for t in parameters):,} parameters", *dtypes]
        if len(parameters) < len(names):
            total.append(f"{sum(t.size for t in names if not t.requires_grad):,} in buffers")
        rows: list[tuple[str, str, str]] = []
        opened: dict[int, str] = {}
        stack: list[tuple[int, str, str, Module]] = [(0, "", "", self)]
        while stack:
            depth, path, name, module = stack.pop()
            kind = f"{'  ' * depth}{name}{': ' if name else ''}{type(module).__name__}"
            if id(module) in opened:
                rows.append((kind, f"= {opened[id(module)] or 'the whole'}", ""))
                continue
            opened[id(module)] = path
            trained: list[str] = []
            buffers: list[str] = []
            own, inner = 0, []
            for full, found in _children(vars(module), path):
                key = full.removeprefix(f"{path}.")
                if isinstance(found, Module):
                    inner.append((depth + 1, full, key, found))
                    continue
                first = names[found]
                tied = "" if first == full else f" = {first}"
                (trained if found.requires_grad else buffers).append(f"{key} {found.shape}{tied}")
                own += found.size if found.requires_grad and not tied else 0
            shapes = ", ".join(trained + [f"[{', '.join(buffers)}]"] * bool(buffers))
            rows.append((kind + _settings(module), shapes, f"{own:,}" if own else ""))
            stack.extend(reversed(inner))
        return ", ".join(total), rows


def _children(attributes: Any, path: str = "") -> Iterator[tuple[str, Module | Tensor]]:
    """(path to it, what) for the tensors and modules in `attributes`, in order, also inside lists,
    tuples and dicts."""
    stack: list[tuple[str, Any]] = [(path, attributes)]
    opened = set()
    while stack:
        name, found = stack.pop()
        if isinstance(found, (Tensor, Module)):
            yield name, found
        elif id(found) not in opened:
            opened.add(id(found))
            items = found.items() if isinstance(found, Mapping) else enumerate(found)
            inside = [
                (f"{name}.{key}" if name else str(key), x)
                for key, x in items
                if isinstance(x, (Tensor, Module, list, tuple, dict))
            ]
            stack.extend(reversed(inside))


def _settings(module: Module) -> str:
    """The numbers and short words among a module's attributes: (p=0.5)."""
    plain = {k: v for k, v in vars(module).items() if isinstance(v, (bool, int, float, str))}
    told = [f"{k}={v!r}" for k, v in plain.items() if k != "training" and len(repr(v)) <= 20]
    return f"({', '.join(told)})" if told else ""


def nearest(name: Any, known: Iterable[str]) -> str:
    """The end of an error message on a wrong name: the known one nearest to it, if one is near."""
    near = difflib.get_close_matches(str(name), known, 1)
    return f" (nearest: {near[0]})" if near else ""


def _host(value: Any) -> np.ndarray:
    """A copy of `value` on the host."""
    value = value.data if isinstance(value, Tensor) else value
    return backend.host(value if backend.is_array(value) else np.asarray(value))
