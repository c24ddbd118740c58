"""All parameters of a group as one vector w, their gradients as one vector g: the textbook's
letters as real objects.

`param.data` and `param.grad` become views into w and g, so that `backward()` adds into g and an
update is one call on whole vectors (one kernel on a GPU), whatever the number of layers.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module, name_of
from tinygrad_opt.tensor import Tensor, next_index

ALIGN = 64  # elements: each parameter starts on 256 bytes, as a GPU likes it for wide loads


class FlatVector:
    """The tensors of one dtype and backend laid end to end.

    Attributes:
        w, g: the weights and gradients, 1-D arrays of `size` elements (0 between the parameters).
        slots: the vectors that an optimizer keeps beside them, by name, of the same length.
        loose: what it keeps in other shapes than the parameters', a dict of arrays for each.
        tensors, names: the parameters, in order, each at its offset.
        group: the index of the group that they are of.
        stepped: when a step was taken from g, on the clock of tensors; 0 when the next gradient is
            under way.
        mixed: the tensors whose gradient was added to one that a step was taken from.
    """

    def __init__(self, tensors: Sequence[Tensor], names: Sequence[str], group: int = 0):
        self.group, self.stepped = group, 0
        self.mixed: set[Tensor] = set()
        first = tensors[0]._data
        self.tensors, self.names = list(tensors), list(names)
        self.dtype, self.backend = first.dtype, name_of(first)
        self.offsets, end = [], 0
        for t in tensors:
            self.offsets.append(end)
            end += math.ceil(t.size / ALIGN) * ALIGN
        self.size = end
        xp = array_module(first)
        self.w, self.g = (aligned_zeros(end, self.dtype, xp) for _ in "wg")
        self.slots: dict[str, Array] = {}
        self.loose: list[dict[str, Array]] = [{} for _ in tensors]
        self._scratch: Array = None
        self._between: Array = None  # the indices of the padding
        self._filled: Array = None
        shapes = [t.shape for t in tensors]
        self.data_views = [self.view(self.w, n, shape) for n, shape in enumerate(shapes)]
        self.grad_views = [self.view(self.g, n, shape) for n, shape in enumerate(shapes)]
        self._self = weakref.ref(self)
        self.gather()

    def __reduce__(self):
        """Copied or unpickled, it is made anew: the copies of the views would be views no more."""
        return _rebuilt, (self.tensors, self.names, self.group, self.slots, self.loose)

    def add_slot(self, name: str, value: float = 0.0) -> None:
        """A new vector beside w, with `value` wherever there is a weight."""
        vector = aligned_zeros(self.size, self.dtype, array_module(self.w))
        self.slots[name] = vector
        if value:
            for n in range(len(self.tensors)):
                self.view(vector, n)[...] = value

    def view(self, vector: Array, n: int, shape: tuple | None = None) -> Array:
        """The part of `vector` that belongs to the n-th parameter, in its shape."""
        shape = self.data_views[n].shape if shape is None else shape
        start = self.offsets[n]
        return vector[start : start + math.prod(shape)].reshape(shape)

    def state_of(self, n: int) -> dict[str, Array]:
        """The slots of the n-th parameter, by name: arrays that can be written to."""
        return {name: self.view(vector, n) for name, vector in self.slots.items()} | self.loose[n]

    def scratch(self) -> Array:
        """A copy of g that transforms may change.

        They may also read w, whose padding is made 0 again: with ε = 0, a rule leaves 0 / 0 there.
        """
        if self._scratch is None:
            xp = array_module(self.g)
            self._scratch = xp.empty_like(self.g)
            inside = np.zeros(self.size, bool)
            for t, start in zip(self.tensors, self.offsets):
                inside[start : start + t.size] = True
            self._between = xp.asarray(np.flatnonzero(~inside))
        self._scratch[...] = self.g
        self.w[self._between] = 0
        return self._scratch

    def filled(self) -> Array:
        """How many of every ALIGN elements are a parameter's, as uint8, where w lives. They are the
        first ones; the others are padding."""
        if self._filled is None:
            counts = np.zeros(self.size // ALIGN, "uint8")
            for t, start in zip(self.tensors, self.offsets):
                inside = counts[start // ALIGN :][: math.ceil(t.size / ALIGN)]
                inside[:] = ALIGN
                inside[-1:] -= np.uint8(-t.size % ALIGN)
            self._filled = array_module(self.w).asarray(counts)
        return self._filled

    def gather(self) -> None:
        """Make every parameter a view into w and g, whoever has moved it since, and g as it reads:
        0 where it was cleared.

        A second optimizer on the same parameters takes them into its own vector; when this one
        steps again, it takes them back, with the values they have by then.
        """
        for t, data, grad in zip(self.tensors, self.data_views, self.grad_views):
            if t._data is not data:
                self._check_unchanged(t, data)
                data[...] = t._data
                t._data = data
            t.owned = self._self
            if t._grad is not grad or t.cleared:
                now = t.grad
                if now is not grad:
                    grad[...] = 0 if now is None else now
                    t._grad = grad

    def _check_unchanged(self, t: Tensor, data: Array) -> None:
        now, then = (
            (t.shape, str(t.dtype), name_of(t._data)),
            (data.shape, str(self.dtype), self.backend),
        )
        if now != then:
            raise RuntimeError(
                f"a parameter was {then} when this optimizer was made and is {now} now: make a new "
                "optimizer after model.to() or model.astype()"
            )

    def clear(self) -> None:
        """Make every gradient 0: as they read, for the zeros are written when somebody looks."""
        self.gather()
        self.stepped = 0
        self.mixed.clear()
        for t in self.tensors:
            t.cleared = True

    def note_if_spent(self, t: Tensor) -> None:
        """Note that something is added to the gradient of t, if a step was taken from that and it
        is not 0. (On a GPU nobody waits to see.)"""
        if self.stepped > t.graded and (self.backend != "numpy" or t._grad.any()):
            self.mixed.add(t)

    def stamp(self) -> None:
        """Note that every parameter was written, so that a graph built before is not walked
        after."""
        now = next_index()
        for t in self.tensors:
            t.written = now

    @property
    def graded(self) -> int:
        """When a gradient of any of them last changed, on the clock of tensors."""
        return max(t.graded for t in self.tensors)


def aligned_zeros(size: int, dtype: np.dtype, xp: Any) -> Array:
    """Zeros that begin on 256 bytes, for wide loads: NumPy's begin on any 16."""
    if xp is not np:
        return xp.zeros(size, dtype)
    room = np.zeros(size * dtype.itemsize + 255, np.uint8)
    start = -room.ctypes.data % 256
    return room[start : start + size * dtype.itemsize].view(dtype)


def flat_vectors(tensors: Iterable[Tensor], names: Iterable[str], group: int) -> list[FlatVector]:
    """One flat vector for each dtype and backend among the tensors of a group."""
    kinds: dict[tuple, list[tuple[Tensor, str]]] = {}
    for t, name in zip(tensors, names):
        kinds.setdefault((t.dtype, name_of(t._data)), []).append((t, name))
    make: Callable[..., Any] = FlatVector
    return [make(*zip(*same), group) for same in kinds.values()]


def _rebuilt(tensors: list[Tensor], names: list[str], group: int, slots: dict[str, Array],
             loose: list[dict[str, Array]]) -> FlatVector:  # fmt: skip
    flat = FlatVector(tensors, names, group)
    flat.slots, flat.loose = slots, loose
    return flat
