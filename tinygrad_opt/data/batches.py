"""An epoch is a permutation cut into batches, and the permutation follows from (seed, epoch) alone.

So there is no generator state to save. Training that stopped after s batches of epoch k goes on
with `batches.epoch, batches.done = k, s`, and the k-th epoch is the same one on every machine and
backend.
"""

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array
from tinygrad_opt.data.checks import Range, integer_range, samples, whole


class Batches:
    """Mini-batches: each iteration is one epoch of `(x, y)` pairs, every sample exactly once.

        batches = Batches(x, y, batch_size=32)
        for epoch in range(10):
            for x_batch, y_batch in batches: ...

    Args:
        x, y: the samples and their targets, one a row: x of shape (n, ...), y of shape (n, ...).
            Arrays and tensors keep their dtype, lists become float32 or int64.
        batch_size: samples a batch. Where n is no multiple of it, the last batch is smaller.
        seed: an integer, 0 or more. One seed, one sequence of epochs.
        shuffle: False gives the samples in their own order, in every epoch.
        drop_last: leave out the smaller last batch (with shuffle, other samples every epoch).

    Attributes:
        epoch: the number of the epoch that the next iteration runs through, 0 first. It grows by
            one when an iteration begins, so a loop that is left early is followed by the next
            epoch, and two loops at once are two different epochs.
        done: how many batches of that epoch the next iteration leaves out, as an earlier run has
            seen them; 0, and 0 again when an iteration begins. To resume after s batches of epoch
            k, assign `batches.epoch, batches.done = k, s`; `position` tells what to assign.
        x, y: read-only views. A C-contiguous NumPy array is not copied, so later edits of it are
            seen on NumPy; a GPU gets its one copy when its first epoch begins.

    The pairs are raw arrays of their own (never views of the data), C-contiguous, on the backend
    that is current when the epoch begins.

    Raises:
        ValueError: x and y of different length; no samples; NaN or infinity (naming the row);
            a batch_size, seed or epoch that is no integer or too small; batch_size > n with
            drop_last.
        TypeError: a dtype that is neither bool, integer nor real floating point.
    """

    # What the order follows from, and a state is compared by.
    settings: ClassVar[tuple[str, ...]] = ("batch_size", "seed", "shuffle", "drop_last")

    def __init__(
        self,
        x: Any,
        y: Any,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ):
        name = type(self).__name__
        self.x, self.y = samples(f"{name}: x", x), samples(f"{name}: y", y)
        n = len(self.x)
        if len(self.y) != n:
            raise ValueError(f"{name}: x has {n} samples, y has {len(self.y)}: each x needs its y")
        self.batch_size = whole(f"{name}: batch_size", batch_size, least=1)
        if drop_last and self.batch_size > n:
            raise ValueError(
                f"{name}: {n} samples // batch_size {batch_size} = 0 batches an epoch: "
                "take a smaller batch_size, or drop_last=False"
            )
        self.seed = whole(f"{name}: seed", seed)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self._epoch = self._done = 0
        self._loops: list[list[int]] = []  # the iterations under way: their epoch, batches out
        self._copies: dict[str, tuple[Array, Array, Range, Range]] = {}

    @property
    def epoch(self) -> int:
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch, self._loops = self._number(number), []

    @property
    def done(self) -> int:
        return self._done

    @done.setter
    def done(self, number: int) -> None:
        number = whole(f"{type(self).__name__}: done", number)
        if number >= len(self):
            raise ValueError(f"{type(self).__name__}: done is less than the {len(self)} batches of "
                             f"an epoch, not {number}")  # fmt: skip
        self._done, self._loops = number, []

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, done) from which another run goes on after the batches given out so far.

        Inside a loop, the batch at hand counts as done: ask after its step. After the last batch of
        an epoch, and after a loop that was left early, it is the next epoch, (epoch, 0). Of two
        loops at once it is that of the one begun last, and when that is over, of the other.
        """
        epoch, done = self._loops[-1] if self._loops else (self.epoch, self.done)
        return (epoch, done) if done < len(self) else (epoch + 1, 0)

    def _number(self, epoch: int) -> int:
        return whole(f"{type(self).__name__}: epoch", epoch)

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def order(self, epoch: int) -> np.ndarray:
        """The rows of x and y in the order of that epoch, int64 (n,), on the host.

        Another way to sample overrides this and `__len__`: batch k takes the rows
        `order(epoch)[k * batch_size : (k + 1) * batch_size]`.
        """
        epoch = self._number(epoch)
        if not self.shuffle:
            return np.arange(len(self.x))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.x))

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        x, y, of_x, of_y = self._here()
        epoch, done = self.epoch, self.done
        order = backend.asarray(self.order(epoch))
        self._epoch, self._done = epoch + 1, 0
        size = self.batch_size
        cuts = (order[k * size : (k + 1) * size] for k in range(done, len(self)))
        pairs = ((_taken(x, rows, of_x), _taken(y, rows, of_y)) for rows in cuts)
        loop = self._counted(pairs, [epoch, done])
        next(loop)  # its body begins here, not at the first batch: the epoch is taken, and counts
        return loop  # type: ignore[return-value]

    def _counted(self, pairs: Iterator, given: list[int]) -> Iterator[tuple[Array, Array] | None]:
        self._loops = [*self._loops, given]
        try:
            yield None
            for pair in pairs:
                given[1] += 1
                yield pair
        finally:
            self._loops = [loop for loop in self._loops if loop is not given]

    def _here(self) -> tuple[Array, Array, Range, Range]:
        """x and y on the current backend, copied there once, and on a GPU the ranges of both: that
        labels are classes and indices in a table is checked against them, and nobody waits."""
        name = backend.current()
        if name not in self._copies:
            known = map(integer_range, (self.x, self.y)) if name != "numpy" else (None, None)
            self._copies[name] = backend.asarray(self.x), backend.asarray(self.y), *known
        return self._copies[name]

    def state_dict(self) -> dict[str, Any]:
        """The position as plain data, and what it depends on: the settings, and the size and dtype
        of the data. The data themselves are not in it."""
        settings = {name: getattr(self, name) for name in self.settings}
        epoch, done = self.position
        return {"kind": type(self).__name__, "x": f"{self.x.dtype} {self.x.shape}",
                "y": f"{self.y.dtype} {self.y.shape}", **settings,
                "epoch": epoch, "done": done}  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `state_dict()` was taken. ValueError, with nothing changed, listing all that
        differs: kind, settings, size or dtype of the data."""
        mine = self.state_dict()
        if not isinstance(saved, dict) or set(saved) != set(mine):
            what = sorted(saved) if isinstance(saved, dict) else type(saved).__name__
            raise ValueError(f"a state of {type(self).__name__} has {sorted(mine)}, not {what}")
        found = [f"{key} is {saved[key]!r} there, {here!r} here" for key, here in mine.items()
                 if key not in ("epoch", "done") and saved[key] != here]  # fmt: skip
        twin = copy.copy(self)
        for key in ("epoch", "done"):
            try:
                setattr(twin, key, saved[key])
            except ValueError as error:
                found.append(str(error))
        if found:
            head = f"this state does not fit {type(self).__name__}:"
            raise ValueError("\n- ".join([head, *found]))
        self.epoch, self.done = saved["epoch"], saved["done"]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(x {self.x.dtype} {self.x.shape}, "
            f"y {self.y.dtype} {self.y.shape}, "
            f"batch_size={self.batch_size}, seed={self.seed}: {len(self)} batches an epoch)"
        )


def _taken(data: Array, rows: Array, known: Range) -> Array:
    # take() is three times as fast as data[rows], but would copy what is not C-contiguous.
    part = data.take(rows, axis=0)
    if known:
        backend.remember_range(part, *known)
    return part
