"""One loop trains with every optimizer: each step hands it a closure that computes loss and
gradient, and where and how often to call that is the optimizer's own business.

    history = fit(model, cross_entropy, optimizer, batches, epochs=10, validation=(x_test, y_test))
    print(history)
"""

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import detect_anomaly, no_grad
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.checkpoint import save as save_checkpoint
from tinygrad_opt.checkpoint import try_out
from tinygrad_opt.data.batches import Batches
from tinygrad_opt.data.checks import look_for_sorted_classes, samples, whole
from tinygrad_opt.nn import Module
from tinygrad_opt.tensor import Tensor

CHUNK = 1024  # samples at once where nothing is trained
REDRAW = 0.25  # seconds between two drawings of the progress bar, each of which reads one loss


class Seen(NamedTuple):
    """A batch as the loop saw it; on a GPU, loss and hits stay there until somebody reads them."""

    loss: Any  # mean over the batch
    samples: int
    hits: Any  # how many of them were classified rightly, or None where there are no classes


def _mean_loss(parts: Iterable[Seen]) -> float:
    """The mean over all samples, which a mean of unequal batches' means is not."""
    parts = list(parts)
    total = sum(part.samples for part in parts)
    return math.fsum(part.loss * (part.samples / total) for part in parts)


def _accuracy(parts: Iterable[Seen]) -> float | None:
    parts = list(parts)
    if any(part.hits is None for part in parts):
        return None
    return int(sum(part.hits for part in parts)) / sum(part.samples for part in parts)


# ---- what a run looked like ----------------------------------------------------------------------


class Epoch(NamedTuple):
    """The four figures of one epoch; None where there was nothing to measure."""

    loss: float
    accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None


class History:
    """What a run looked like: one value an epoch, and one a step.

    Attributes:
        loss: a float an epoch, the mean over the samples of its batches, each as it was seen
            (before the update that it led to).
        accuracy: likewise, the share of samples whose largest score is that of their label; empty
            where the targets are not integer labels (N,) of scores (N, C).
        val_loss, val_accuracy: of the validation data at the end of each epoch; empty without.
            An epoch that lacks what others have holds None.
        steps: how many steps there were.
        step_loss: a float a step, those of an unfinished epoch included.
        step_seconds: a float a step, from the forward pass to the end of the update. (On CuPy, the
            time until the work was handed to the GPU.)
        epochs: the four figures together, a named tuple an epoch.
        smooth: over how many consecutive steps, weighted by samples, each value of `step_loss` is
            averaged: that step and the smooth - 1 before it. This is a way of reading: nothing
            recorded is lost, and it may be assigned at any time.
    """

    def __init__(self, smooth: int = 1):
        self.smooth = smooth
        self.epochs: list[Epoch] = []
        self.step_seconds: list[float] = []
        self._steps: list[list[Seen]] = []  # the batches of each step; several if accumulated
        self._settled = 0  # steps whose numbers have been read from their device

    loss = property(lambda self: self._column("loss"))
    accuracy = property(lambda self: self._column("accuracy"))
    val_loss = property(lambda self: self._column("val_loss"))
    val_accuracy = property(lambda self: self._column("val_accuracy"))

    @property
    def steps(self) -> int:
        return len(self._steps)

    @property
    def smooth(self) -> int:
        return self._smooth

    @smooth.setter
    def smooth(self, steps: int) -> None:
        self._smooth = whole("History: smooth", steps, least=1)

    @property
    def step_loss(self) -> list[float]:
        return [self.loss_at(step) for step in range(self.steps)]

    def loss_at(self, step: int) -> float:
        """`step_loss[step]`, without working out the others. On CuPy this waits for the GPU."""
        self._settle()
        first = max(0, step - self.smooth + 1)
        return _mean_loss(itertools.chain(*self._steps[first : step + 1]))

    def as_dict(self) -> dict[str, Any]:
        """All of it as lists of Python numbers, ready for `json.dumps`."""
        names = "loss accuracy val_loss val_accuracy step_loss step_seconds smooth".split()
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data and arrays with a number a batch or a step, for a checkpoint."""
        self._settle()
        parts = list(itertools.chain(*self._steps))
        return {
            "smooth": self.smooth,
            "epochs": [list(epoch) for epoch in self.epochs],
            "step_seconds": np.array(self.step_seconds, "float64"),
            "step_batches": np.array([len(parts) for parts in self._steps], "int64"),
            "loss": np.array([part.loss for part in parts], "float64"),
            "samples": np.array([part.samples for part in parts], "int64"),
            "hits": np.array([-1 if part.hits is None else part.hits for part in parts], "int64"),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Become the history that `state_dict()` was taken of. ValueError, with nothing changed,
        for what is none."""
        fresh = History()
        try:
            rows = zip(*(saved[name].tolist() for name in ("loss", "samples", "hits")), strict=True)
            parts = iter([Seen(loss, n, None if hits < 0 else hits) for loss, n, hits in rows])
            fresh.smooth = saved["smooth"]
            fresh.epochs = [Epoch(*values) for values in saved["epochs"]]
            fresh.step_seconds = saved["step_seconds"].tolist()
            fresh._steps = [[next(parts) for _ in range(n)] for n in saved["step_batches"].tolist()]
            fresh._settled = len(fresh._steps)
            if next(parts, None) or len(fresh.step_seconds) != fresh.steps:
                raise ValueError("its numbers of steps differ")
        except Exception as error:
            raise ValueError(f"this is no state of a History: {error!r}") from error
        vars(self).update(vars(fresh))

    def __repr__(self) -> str:
        count = f"History: {len(self.epochs)} epochs, {self.steps} steps"
        names = [name for name in Epoch._fields if self._column(name)]
        rows = [f"{n:5}" + "".join(_cell(getattr(epoch, name), name) for name in names)
                for n, epoch in enumerate(self.epochs, 1)]  # fmt: skip
        if len(rows) > 12:
            rows[5:-5] = ["  ..."]
        head = ["epoch" + "".join(f"{name:>14}" for name in names)] if rows else []
        return "\n".join([count, *head, *rows])

    def _column(self, name: str) -> list[Any]:
        values = [getattr(epoch, name) for epoch in self.epochs]
        return [] if all(value is None for value in values) else values

    def _add(self, parts: list[Seen], seconds: float) -> None:
        self._steps.append(parts)
        self.step_seconds.append(seconds)

    def _last(self, batches: int) -> int:
        """How many of the last steps have seen so many batches."""
        steps = 0
        while batches > 0 and steps < self.steps:
            steps += 1
            batches -= len(self._steps[-steps])
        return steps

    def _close_epoch(self, first: int, val_loss: float | None, val_accuracy: float | None) -> None:
        """The steps from `first` on were an epoch."""
        self._settle()
        parts = list(itertools.chain(*self._steps[first:]))
        self.epochs.append(Epoch(_mean_loss(parts), _accuracy(parts), val_loss, val_accuracy))

    def _settle(self) -> None:
        """Bring what was recorded since last time to the host, in one go."""
        news = self._steps[self._settled :]
        losses = iter(_numbers([part.loss for parts in news for part in parts]))
        hits = iter(_numbers([part.hits for parts in news for part in parts
                              if part.hits is not None]))  # fmt: skip
        for parts in news:
            parts[:] = [Seen(next(losses), n, None if hit is None else next(hits))
                        for _, n, hit in parts]  # fmt: skip
        self._settled = len(self._steps)


def _cell(value: float | None, name: str) -> str:
    if value is None:
        return f"{'-':>14}"
    return f"{value:14.2%}" if name.endswith("accuracy") else f"{value:14.4g}"


def _numbers(scalars: list[Array]) -> list:
    """0-d arrays as Python numbers: one wait for the GPU, however many there are."""
    return backend.host(array_module(scalars[0]).stack(scalars)).tolist() if scalars else []


# ---- the loop ------------------------------------------------------------------------------------


def fit(
    model: Callable[[Any], Tensor],
    loss: Callable[[Tensor, Any], Tensor],
    optimizer: Any,
    batches: Iterable[tuple[Any, Any]],
    epochs: int,
    accumulate: int = 1,
    smooth: int = 1,
    validation: tuple[Any, Any] | None = None,
    *,
    history: History | None = None,
    progress: bool | None = None,
    label: str = "training",
    checkpoint: Path | str | None = None,
    every: int | None = None,
) -> History:
    """Train `model` in place, and tell how it went.

    A step is `optimizer.step(closure)`, where the closure zeroes the gradients, runs model and loss
    forward, and walks backward. Without accumulation that is, bit for bit,

        for x, y in batches:
            optimizer.zero_grad()
            with optimizer.look_ahead():
                loss(model(x), y).backward()
            optimizer.step()

    Args:
        model: a Module, or any function from a batch's x to a prediction.
        loss: from (prediction, y) to one number, the *mean* over the samples.
        optimizer: of tg.optim, over parameters of the model. It is told the loss of each epoch
            (the validation loss, if there is one), for schedules that wait for a plateau.
        batches: (x, y) pairs, one sample a row: a `Batches`, a list, anything that can be iterated
            once an epoch.
        epochs: how many, 0 or more; one that a checkpoint was taken in the midst of is the first of
            them, and goes on there.
        accumulate: one update from so many consecutive batches: the gradient is that of all their
            samples together, also where the batches differ in size. What is left at the end of an
            epoch (7 batches, accumulate=3: one) makes a smaller update of its own.
        smooth: average the *reported* loss of a step over so many consecutive steps. It changes
            what `History.step_loss` says and nothing else; the weights move after every batch.
        validation: (x, y) arrays, evaluated at the end of each epoch in evaluation mode, without
            recording, and at most 1,024 samples at once.
        history: go on with this one (of an earlier call, or one of your own, which then is there
            after an interrupt too) instead of a new one. Its `smooth` becomes the one given here.
        progress: True for a progress bar on stderr, False for none, None for one where stderr is a
            terminal. It reads the loss four times a second at most.
        label: what stands before the bar.
        checkpoint: a file, "run.ckpt": at the end of each epoch, model, optimizer, batches (which
            are a `Batches` then), history and the seeded generator are saved there. After
            `tg.checkpoint.load` of the five, `fit` goes on to the same bits as if it had not
            stopped. Before the first step it is tried whether all that can be written and would be
            loaded again, in the time that one save and one load take.
        every: save after so many steps, too.

    Returns:
        The History. The model ends in the mode, training or evaluation, in which it came; in
        between, a model that came in evaluation mode is switched to training as a whole.

    Raises:
        FloatingPointError: a loss or gradient that is NaN or infinite, telling the step, the last
            finite loss, the learning rate and the op; weights and optimizer are as they were before
            that step. (On CuPy, which is not waited for, it comes at the end of the epoch, tells
            the step and the learning rate, and the weights have moved on.) With `checkpoint`, also
            a slot of the optimizer that is NaN or infinite when it is to be saved.
        ValueError: a count out of its range; an optimizer that holds none of the model's
            parameters; validation or batches that are not pairs; no batches; `every` without
            `checkpoint`.
        TypeError: a loss that is not one number; an iterator for several epochs; with `checkpoint`,
            a model that is no Module or batches that are no `Batches`, and before the first step
            whatever `tg.checkpoint.save` refuses.
        CheckpointError: what would be saved could not be loaded again, before the first step.
        OSError: the checkpoint cannot be written; the run stands where it was to be saved.

    An interrupt (Ctrl-C) passes through. Between the updates it leaves the weights of the last
    whole step; in the midst of one, of a large model, a part of them may have moved already.
    """
    epochs = whole("fit: epochs", epochs)
    accumulate = whole("fit: accumulate", accumulate, least=1)
    smooth = whole("fit: smooth", smooth, least=1)
    if epochs > 1 and isinstance(batches, Iterator):
        raise TypeError(
            f"fit: batches is an iterator ({type(batches).__name__}), used up after one of the "
            f"{epochs} epochs: pass a Batches, or a list of (x, y) pairs"
        )
    _check_optimizer(optimizer)
    _check_owner(model, optimizer)
    every = _checked_every(checkpoint, every, model, batches)
    if isinstance(batches, Batches) and not batches.shuffle:
        look_for_sorted_classes(batches.y, batches.batch_size)
    held_out = None if validation is None else _held_out(validation)
    history = History() if history is None else history
    history.smooth = smooth
    done = batches.done if isinstance(batches, Batches) else 0
    total = len(batches) * epochs - done if isinstance(batches, Sized) else None
    before = len(history.epochs)  # of the history that is gone on with
    number = before + 1
    kept = {"model": model, "optimizer": optimizer, "batches": batches, "history": history}
    if checkpoint is not None:
        try_out(checkpoint, **kept)

    def is_due() -> bool:
        if not every or history.steps % every:
            return False
        return isinstance(batches, Batches) and batches.position[1] > 0  # else its end saves

    def save() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, **kept)

    def note() -> str:
        return f"epoch {number}/{before + epochs}  loss {history.loss_at(history.steps - 1):.4g}"

    with _mode(model, training=True), Bar(progress, label, total) as bar:
        for number in range(before + 1, before + epochs + 1):
            # The first epoch may have begun before a checkpoint was loaded.
            first = history.steps - (history._last(done) if number == before + 1 else 0)
            pairs = iter(batches)
            while group := [_pair(item) for item in itertools.islice(pairs, accumulate)]:
                started = time.perf_counter()
                try:
                    parts = _step(model, loss, optimizer, group)
                except FloatingPointError as error:
                    raise FloatingPointError(_told(error, history, optimizer, number)) from error
                history._add(parts, time.perf_counter() - started)
                bar.advance(len(group), note)
                if is_due():
                    _check_late(history, first, optimizer)
                    save()
            if history.steps == first:
                raise ValueError(f"fit: epoch {number} has no batches")
            val = (None, None) if held_out is None else _validated(model, loss, optimizer, held_out)
            history._close_epoch(first, *val)
            _check_late(history, first, optimizer)
            optimizer.observe(history.epochs[-1].loss if held_out is None else val[0])
            save()
    return history


def _step(model: Callable, loss: Callable, optimizer: Any, group: list[tuple]) -> list[Seen]:
    """One update from the mean gradient over all samples of a group of batches."""
    sizes = [len(x) for x, _ in group]
    calls: list[list[Seen]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        parts, mean = [], None
        for (x, y), n in zip(group, sizes):
            prediction = model(x)
            value = loss(prediction, y)
            _check_loss(value, model, loss, x, y)
            share = n / sum(sizes)
            (value if len(group) == 1 else value * share).backward()
            parts.append(Seen(value.data.reshape(()), n, _hits(prediction, y)))
            part = value.detach() * share
            mean = part if mean is None else mean + part
        calls.append(parts)
        return mean  # type: ignore[return-value]

    optimizer.step(closure)
    return calls[0]  # of several calls, the first is the one for the weights as they stood


def _validated(
    model: Callable, loss: Callable, optimizer: Any, held_out: tuple[Array, Array]
) -> tuple[float, float | None]:
    optimizer.eval()
    try:
        return _evaluated(model, loss, *held_out)
    finally:
        optimizer.train()


def evaluate(
    model: Callable[[Any], Tensor], loss: Callable[[Tensor, Any], Tensor], x: Any, y: Any
) -> tuple[float, float | None]:
    """The mean loss over all samples, and the share classified rightly.

    Args:
        model, loss: as for `fit`; the model is in evaluation mode meanwhile, nothing is recorded.
        x, y: arrays, one sample a row, seen 1,024 rows at a time.

    Returns:
        (loss, accuracy); accuracy is None unless y are integer labels (N,) of scores (N, C).

    Raises:
        ValueError: x and y of different length, none at all, or NaN among them.
    """
    return _evaluated(model, loss, *_held_out((x, y)))


def _evaluated(model: Callable, loss: Callable, x: Array, y: Array) -> tuple[float, float | None]:
    parts = []
    with _mode(model, training=False), no_grad():
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            prediction = model(x[rows])
            value = loss(prediction, y[rows]).item()
            parts.append(Seen(value, len(x[rows]), _hits(prediction, y[rows])))
    return _mean_loss(parts), _accuracy(parts)


def _hits(prediction: Any, y: Any) -> Any:
    """How many rows of scores (N, C) are largest at their integer label, as a 0-d array; else
    None."""
    labels = y.data if isinstance(y, Tensor) else y if backend.is_array(y) else np.asarray(y)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or prediction.ndim != 2:
        return None
    scores = prediction.data if isinstance(prediction, Tensor) else prediction
    return (scores.argmax(axis=1) == backend.to(labels, backend.name_of(scores))).sum()


@contextlib.contextmanager
def _mode(model: Any, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode; each of its modules as it was afterwards.

    A model that trains already is left alone, so that a part of it that was frozen by `eval()`
    stays frozen.
    """
    modules = list(model.modules()) if isinstance(model, Module) else []
    before = [module.training for module in modules]
    if modules and not (training and model.training):
        model.train() if training else model.eval()
    try:
        yield
    finally:
        for module, flag in zip(modules, before):
            module.training = flag


# ---- what can be wrong ---------------------------------------------------------------------------


def _check_optimizer(optimizer: Any) -> None:
    if not hasattr(optimizer, "groups") or not callable(getattr(optimizer, "step", None)):
        raise TypeError("fit(model, loss, optimizer, batches, epochs): the optimizer is one of "
                        f"tg.optim, not a {type(optimizer).__name__}")  # fmt: skip


def _check_owner(model: Any, optimizer: Any) -> None:
    if not isinstance(model, Module):
        return
    theirs = {id(t) for group in optimizer.groups for t in group["params"]}
    if not any(id(t) in theirs for t in model.parameters()):
        raise ValueError(
            f"fit: {type(optimizer).__name__} holds none of the parameters of this "
            f"{type(model).__name__}: make it from model.parameters() or model.named_parameters(), "
            "after any model.to() or model.astype()"
        )


def _checked_every(checkpoint: Any, every: Any, model: Any, batches: Any) -> int:
    """After how many steps to save, 0 for none."""
    if checkpoint is None:
        if every is not None:
            raise ValueError('fit: every is for checkpoints: say checkpoint="run.ckpt", too')
        return 0
    if not isinstance(model, Module):
        raise TypeError(f"fit: a checkpoint is of a Module, not of a {type(model).__name__}")
    if not isinstance(batches, Batches):
        raise TypeError(
            f"fit: a checkpoint says where in the data it was taken, which a Batches knows and a "
            f"{type(batches).__name__} does not: pass a tg.data.Batches"
        )
    return 0 if every is None else whole("fit: every", every, least=1)


def _pair(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        what = f"{len(item)} parts" if isinstance(item, (tuple, list)) else type(item).__name__
        raise ValueError(f"fit: each batch is a pair (x, y), not {what}")
    return item[0], item[1]


def _held_out(validation: Any) -> tuple[Array, Array]:
    """Samples and targets, checked, on the current backend."""
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        what = type(validation).__name__
        raise ValueError(f"validation is a pair (x, y) of arrays, not {what}")
    x, y = samples("validation: x", validation[0]), samples("validation: y", validation[1])
    if len(x) != len(y):
        raise ValueError(f"validation: x has {len(x)} samples, y has {len(y)}: each x needs its y")
    return backend.asarray(x), backend.asarray(y)


def _check_loss(value: Any, model: Callable, loss: Callable, x: Any, y: Any) -> None:
    if not isinstance(value, Tensor) or value.size != 1:
        what = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"fit: loss(prediction, y) is one number, the mean of a batch, not {what}")
    # A loss on a GPU is not waited for here: its NaN reaches the gradient, which step() checks.
    if backend.name_of(value.data) == "numpy" and not math.isfinite(value.item()):
        raise FloatingPointError(f"the loss is {value.item()}: {_culprit(model, loss, x, y)}")


def _check_late(history: History, first: int, optimizer: Any) -> None:
    """What is told of a GPU's numbers when they are read, for steps from `first` on."""
    try:
        _check_recorded(history, first)
        optimizer.raise_if_not_finite()
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; {_rates(optimizer)} by now") from error


def _check_recorded(history: History, first: int) -> None:
    """What `_check_loss` left to later, for steps from `first` on: only a GPU can be late here."""
    history._settle()
    for step in range(first, history.steps):
        if not math.isfinite(_mean_loss(history._steps[step])):
            raise FloatingPointError(
                f"the loss of step {step} (the first is 0) was not finite. A GPU's losses are read "
                "at the end of the epoch, so the weights have moved on since"
            )


def _culprit(model: Callable, loss: Callable, x: Any, y: Any) -> str:
    """The op that first made a NaN or inf, and the line that called it, found by running again."""
    try:
        with np.errstate(all="ignore"), no_grad(), detect_anomaly():
            loss(model(x), y)
    except FloatingPointError as error:
        return str(error)
    return "no op makes it of finite numbers, so it stands in the weights or in the batch"


def _told(error: FloatingPointError, history: History, optimizer: Any, number: int) -> str:
    """What went wrong, when, after what, at which learning rate."""
    last = "there was no loss before"
    if history.steps:
        last = f"the last finite loss was {history.loss_at(history.steps - 1):.6g}"
    return (
        f"{error}. This was step {optimizer.t} (the first is 0), in epoch {number}; {last}; "
        f"{_rates(optimizer)}. Weights and optimizer are as they were before this step"
    )


def _rates(optimizer: Any) -> str:
    """At which learning rates the coming step would go, one for all groups or several."""
    rates = [group["lr"] for group in optimizer.groups]
    rates = [rate(optimizer.t) if callable(rate) else rate for rate in rates]
    return "the learning rate is " + ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))


# ---- the progress bar ----------------------------------------------------------------------------


class Bar:
    """A progress bar on stderr. It has no thread of its own: it is drawn between two steps, and
    only then is the note beside it worked out (which on a GPU waits for a loss).

    Args:
        shown: True, False, or None for "where stderr is a terminal".
        label: what stands before the bar.
        total: how far it goes; None if nobody knows.
    """

    def __init__(self, shown: bool | None, label: str, total: int | None):
        self.done, self.due = 0, 0.0
        self.note: Callable[[], str] | None = None
        self.bar: Any = None
        if shown is None:
            shown = sys.stderr is not None and sys.stderr.isatty()
        if shown and total != 0:
            self.bar = _make_bar()
            self.task = self.bar.add_task(label, total=total, note="")

    def __enter__(self) -> "Bar":
        if self.bar is not None:
            self.bar.start()
        return self

    def advance(self, by: int, note: Callable[[], str]) -> None:
        self.done, self.note = self.done + by, note
        if self.bar is not None and time.monotonic() >= self.due:
            self._draw()
            self.due = time.monotonic() + REDRAW

    def _draw(self) -> None:
        note = "" if self.note is None else self.note()
        self.bar.update(self.task, completed=self.done, note=note)
        self.bar.refresh()

    def __exit__(self, *exc_info) -> None:
        if self.bar is not None:
            self._draw()
            self.bar.stop()


def _make_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    label, note = (TextColumn(f"{{task.{name}}}", markup=False)
                   for name in ("description", "fields[note]"))  # fmt: skip
    return Progress(label, BarColumn(), note, TimeRemainingColumn(),
                    console=Console(stderr=True), auto_refresh=False)  # fmt: skip
