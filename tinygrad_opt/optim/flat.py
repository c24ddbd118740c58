"""All parameters of a group as one vector w, their gradients as one vector g: the textbook's
letters as real objects.

`param.data` and `param.grad` become views into w and g, so that `backward()` adds into g and an
update is one call on whole vectors (one kernel on a GPU), whatever the number of layers.
"""

import math
import weakref
from collections.abc import Iterator, Sequence

from tinygrad_opt.backend import Array, array_module, name_of
from tinygrad_opt.tensor import Tensor, next_index

ALIGN = 64  # elements: each parameter starts on 256 bytes, as a GPU likes it for wide loads


class FlatVector:
    """The tensors of one dtype and backend laid end to end.

    Attributes:
        w, g: the weights and gradients, 1-D arrays of `size` elements (0 between the parameters).
        slots: the vectors that an optimizer keeps beside them, by name, of the same length.
        tensors: the parameters, in order, each at its offset.
        group: the index of the group that they are of.
    """

    def __init__(self, tensors: Sequence[Tensor], slots: Sequence[str], group: int = 0):
        self.group = group
        first = tensors[0]._data
        self.tensors, self.dtype, self.backend = list(tensors), first.dtype, name_of(first)
        self.offsets, end = [], 0
        for t in tensors:
            self.offsets.append(end)
            end += math.ceil(t.size / ALIGN) * ALIGN
        self.size = end
        xp = array_module(first)
        self.w, self.g = xp.zeros(end, self.dtype), xp.zeros(end, self.dtype)
        self.slots = {name: xp.zeros(end, self.dtype) for name in slots}
        shapes = [t.shape for t in tensors]
        self.data_views = [self.view(self.w, n, shape) for n, shape in enumerate(shapes)]
        self.grad_views = [self.view(self.g, n, shape) for n, shape in enumerate(shapes)]
        self._self = weakref.ref(self)
        self.gather()

    def __reduce__(self):
        """Copied or unpickled, it is made anew: the copies of the views would be views no more."""
        return _rebuilt, (self.tensors, self.slots, self.group)

    def view(self, vector: Array, n: int, shape: tuple | None = None) -> Array:
        """The part of `vector` that belongs to the n-th parameter, in its shape."""
        shape = self.data_views[n].shape if shape is None else shape
        start = self.offsets[n]
        return vector[start : start + math.prod(shape)].reshape(shape)

    def __contains__(self, tensor: Tensor) -> bool:
        return any(t is tensor for t in self.tensors)

    def blocks(self, length: int) -> Iterator[tuple[Array, ...]]:
        """(w, g, slots...) a block of `length` elements at a time."""
        vectors = (self.w, self.g, *self.slots.values())
        if self.size <= length:
            yield vectors
            return
        for start in range(0, self.size, length):
            yield tuple(vector[start : start + length] for vector in vectors)

    def gather(self) -> None:
        """Make every parameter a view into w and g, whoever has moved it since.

        A second optimizer on the same parameters takes them into its own vector; when this one
        steps again, it takes them back, with the values they have by then.
        """
        for t, data, grad in zip(self.tensors, self.data_views, self.grad_views):
            if t._data is not data:
                self._check_unchanged(t, data)
                data[...] = t._data
                t._data = data
            t.owned = self._self
            if t._grad is not grad:
                grad[...] = 0 if t._grad is None else t._grad
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

    def stamp(self) -> None:
        """Note that every parameter was written, so that a graph built before is not walked
        after."""
        now = next_index()
        for t in self.tensors:
            t.written = now


def _rebuilt(tensors: list[Tensor], slots: dict[str, Array], group: int) -> FlatVector:
    flat = FlatVector(tensors, tuple(slots), group)
    for name, vector in slots.items():
        flat.slots[name][...] = vector
    return flat
