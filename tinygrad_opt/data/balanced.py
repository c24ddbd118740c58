"""Classes in turn: a window of batches holds every class equally often, however rare a class is.

An epoch ends with its rarest class. What it leaves out of the common ones comes in the next.
"""

from math import gcd
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array
from tinygrad_opt.data.batches import Batches
from tinygrad_opt.data.checks import whole


class ClassBalancedBatches(Batches):
    """Mini-batches of which each `window` consecutive ones hold every class equally often.

    1,000 classes in batches of 250: four consecutive batches hold every class exactly once, and one
    update from their mean gradient counts no class more than another.

        batches = ClassBalancedBatches(x, y, batch_size=250, window=4)
        fit(model, cross_entropy, optimizer, batches, epochs=10, accumulate=4)

    Windows begin at the batches 0, window, 2 * window, ... of an epoch, and an epoch is made of
    whole ones. Each window has a random order of its own in which the classes come round, again and
    again, so that its batches too are as even as they can be: the counts of two classes in a batch
    differ by one at most, and by none where batch_size is a multiple of the number of classes.

    An epoch has as many windows as the rarest class can fill; no sample comes twice. From a class
    of n samples it takes k, the same k for every class, and n - k are left out. They are others in
    every epoch: the class is dealt out in random order over ceil(n / k) epochs, in which each of
    its samples comes at least once (and at most twice), and is then shuffled anew. So no data are
    lost, but it takes the common classes several epochs to show them all.

    Others balance otherwise: PyTorch's WeightedRandomSampler draws with replacement, so that a
    batch is even on average only and rare samples come many times; scikit-learn's
    class_weight="balanced" takes every sample once and weighs its loss instead.

    Args:
        x: the samples, one a row, of shape (n, ...), as for `Batches`.
        y: their classes, (n,): integers or bools of any values, two different ones or more.
        batch_size: samples a batch. window * batch_size is a multiple of the number of classes.
        window: how many consecutive batches hold every class equally often.
        seed: an integer, 0 or more. One seed, one sequence of epochs.

    Attributes:
        classes: the different values of y, ascending, as they were when the batches were made.
        epoch, x, y: as in `Batches`.

    Raises:
        ValueError: what `Batches` refuses; y of another shape than (n,), one-hot rows among them,
            or of a single class; a window that is no integer of 1 or more, that the classes do not
            divide, or that takes more samples of a class than there are (both with the numbers and
            the nearest settings that work).
        TypeError: what `Batches` refuses; labels that are floats.
    """

    settings = (*Batches.settings, "window")

    def __init__(self, x: Any, y: Any, batch_size: int, window: int = 1, seed: int = 0):
        super().__init__(x, y, batch_size, seed)
        name = type(self).__name__
        self.window = whole(f"{name}: window", window, least=1)
        _check_labels(name, self.y)
        self.classes, sizes = np.unique(self.y, return_counts=True)
        if len(self.classes) == 1:
            raise ValueError(
                f"{name}: all of y is class {self.classes[0]}, which leaves nothing to balance: "
                "use Batches, or look at how y was cut"
            )
        # A sort that is not stable would give other rows on another machine.
        self._rows = np.split(np.argsort(self.y, kind="stable"), np.cumsum(sizes)[:-1])
        self._per_window()

    def __len__(self) -> int:
        """Batches an epoch: those of as many whole windows as the rarest class can fill."""
        return min(map(len, self._rows)) // self._per_window() * self.window

    def order(self, epoch: int) -> np.ndarray:
        """The rows of x and y in the order of that epoch, int64 (len(self) * batch_size,)."""
        rng = np.random.default_rng([self.seed, self._number(epoch)])
        each, windows, classes = self._per_window(), len(self) // self.window, len(self.classes)
        rows = np.stack([self._dealt(c, epoch, each * windows) for c in range(classes)])
        # Two epochs of a deal may share rows, in the same order: those are to meet others.
        rows = rng.permuted(rows, axis=1).reshape(classes, windows, each)
        # Every run of len(classes) samples holds each class once, and a batch, a cut of such runs,
        # holds each floor or ceil(batch_size / len(classes)) times.
        turns = rng.permuted(np.tile(np.arange(classes), (windows, 1)), axis=1)
        window, time, _ = np.ogrid[:windows, :each, :1]
        return rows[turns[:, None, :], window, time].ravel()

    def _dealt(self, c: int, epoch: int, k: int) -> np.ndarray:
        """The k rows of class c that are due in that epoch, none twice."""
        rows = self._rows[c]
        deal, turn = divmod(epoch, -(-len(rows) // k))
        # Seeds that differ by a 0 at the end are one and the same to NumPy, hence c + 1.
        shuffled = np.random.default_rng([self.seed, deal, c + 1]).permutation(rows)
        return shuffled.take(np.arange(turn * k, (turn + 1) * k), mode="wrap")

    def _per_window(self) -> int:
        """How often a window holds each class. ValueError unless that is a number it can hold."""
        classes, size, window = len(self.classes), self.batch_size, self.window
        rarest = min(range(classes), key=lambda c: len(self._rows[c]))
        fewest = len(self._rows[rarest])
        each, rest = divmod(window * size, classes)
        total = f"{window:,} batch{'es' * (window > 1)} of {size:,} = {window * size:,} samples"
        if rest:
            wrong = (
                f"{classes:,} classes do not fit equally into {total}: "
                f"{window * size:,} / {classes:,} is no whole number"
            )
        elif each > fewest:
            label = self.classes[rarest]
            wrong = f"{total} hold {each:,} of each class, but class {label} has only {fewest:,}"
        else:
            return each
        cures = (
            f"batch_size={s} with window={w} holds each {_times(s * w // classes)}"
            for s, w in _settings(classes, size, window, fewest)
        )
        raise ValueError(f"{type(self).__name__}: {wrong}; {'; '.join(cures)}")

    def __repr__(self) -> str:
        return (
            f"{super().__repr__()[:-1]}, window={self.window} holds each of "
            f"{len(self.classes):,} classes {_times(self._per_window())})"
        )


def _check_labels(name: str, y: Array) -> None:
    if y.ndim != 1:
        raise ValueError(
            f"{name}: y of shape {y.shape}: labels are one integer a sample, (n,); one-hot rows "
            "become labels by y.argmax(axis=1)"
        )
    if y.dtype.kind == "f":
        raise TypeError(
            f"{name}: y is {y.dtype}, but labels are integers: use y.astype('int64') if its values "
            "are classes, and Batches if they are numbers to be predicted"
        )


# ---- settings that work --------------------------------------------------------------------------


def _settings(classes: int, size: int, window: int, fewest: int) -> list[tuple[int, int]]:
    """The nearest (batch_size, window) that hold each class equally often, `fewest` times at most:
    other sizes for this window, and other windows for this size."""
    most = classes * fewest  # samples in the largest window that every class can fill
    sizes = _multiples(size, classes // gcd(classes, window), most // window)
    windows = _multiples(window, classes // gcd(classes, size), most // size)
    found = [(s, window) for s in sizes] + [(size, w) for w in windows]
    if not found:
        s = max(s for s in range(1, min(size, classes) + 1) if classes % s == 0)
        found = [(s, classes // s)]
    return found


def _multiples(value: int, step: int, most: int) -> list[int]:
    """The multiples of step next to value, one below and one above, from 1 to `most`."""
    below = min(value, most) // step * step
    return [k for k in (below, below + step) if 0 < k <= most]


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")
