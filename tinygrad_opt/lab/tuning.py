"""μ is tuned for the task at hand, together with α: a search that goes on where it stopped.

It looks over log α/(1-μ) and log (1-μ). With those two letters, one does not depend on the other:
α/(1-μ) is how far a gradient moves the weights in all, and its best value hardly changes with μ,
while the best α does, by a factor of a hundred between μ = 0 and 0.99. A search that takes them one
by one, as this one does (TPE; Bergstra and others 2011), then looks in the right places.

The test images have no say in it: the network learns from four fifths of the training images, and
is tried on the last fifth.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.data import Batches, load_digits
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.race import BATCH_SIZE, untrained
from tinygrad_opt.lab.workers import mapping
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import Momentum, Optimizer
from tinygrad_opt.train import Bar, evaluate, fit

EPOCHS = 5
STARTS = 3
REACH = "alpha/(1-mu)"
FRICTION = "1-mu"
SPACE = {REACH: (0.03, 30.0), FRICTION: (0.01, 1.0)}
JOURNAL = "search.journal"
MISSING = (
    "the search for μ needs Optuna, which is not installed: pip install 'tinygrad-opt[tune]'"
)


# ---- one run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What the network of the race learnt in a few epochs.

    Attributes:
        loss: the mean cross-entropy, in nats, over the images that it learnt from, after the last
            step; inf where the run diverged.
        val_loss, val_accuracy: over the training images that were held out; inf and 0 there.
    """

    loss: float
    val_loss: float
    val_accuracy: float


def split() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The training images and labels in two, always the same: four fifths to learn from, and a
    fifth held out."""
    (x, y), _ = load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    held_out, kept = np.split(order, [len(x) // 5])
    return (x[kept], y[kept]), (x[held_out], y[held_out])


def learn(make: Callable[[Any], Optimizer], epochs: int, seed: int) -> Outcome:
    """Train the network of the race, from the start `seed`, with the optimizer that `make` makes of
    its parameters."""
    kept, held_out = split()
    model = untrained(seed)
    with np.errstate(all="ignore"):  # a divergence is told in the outcome, not in warnings
        try:
            batches = Batches(*kept, BATCH_SIZE, seed=seed)
            fit(model, cross_entropy, make(list(model.named_parameters())), batches, epochs,
                progress=False)  # fmt: skip
            loss, _ = evaluate(model, cross_entropy, *kept)
            val_loss, val_accuracy = evaluate(model, cross_entropy, *held_out)
        except FloatingPointError:
            return Outcome(math.inf, math.inf, 0.0)
    if not math.isfinite(loss + val_loss):
        return Outcome(math.inf, math.inf, 0.0)
    assert val_accuracy is not None
    return Outcome(loss, val_loss, val_accuracy)


def _try(task: tuple[float, float, int, int, int]) -> Outcome:
    """α and μ from several starts, in the mean."""
    lr, mu, epochs, starts, seed = task
    seen = [learn(lambda params: Momentum(params, lr, mu), epochs, 1000 * seed + start)
            for start in range(starts)]  # fmt: skip
    return Outcome(*(float(np.mean([getattr(one, name) for one in seen]))
                     for name in ("loss", "val_loss", "val_accuracy")))  # fmt: skip


# ---- the search ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One pair of α and μ that was tried.

    Attributes:
        lr, mu: α and μ.
        loss, val_loss, val_accuracy: as in `Outcome`, the means over the starts.
    """

    lr: float
    mu: float
    loss: float
    val_loss: float
    val_accuracy: float

    @property
    def reach(self) -> float:
        """α / (1 - μ): how far a unit of gradient moves a weight in all."""
        return theory.reach(self.lr, self.mu)


@dataclass
class Tuning:
    """What a search found.

    Attributes:
        trials: in the order in which they were asked for, those of earlier calls too.
        epochs, starts, seed: as they were given.
    """

    trials: list[Trial]
    epochs: int
    starts: int
    seed: int

    @property
    def best(self) -> Trial:
        """The trial of the lowest training loss."""
        return min(self.trials, key=lambda trial: trial.loss)


def tune_momentum(
    trials: int, folder: Path | str, *, epochs: int = EPOCHS, starts: int = STARTS, seed: int = 0,
    jobs: int = 1, progress: bool | None = False,
) -> Tuning:  # fmt: skip
    """Search for the α and μ with which the network of the race learns the digits best: with the
    lowest training loss after a few epochs.

    What was tried is kept in the folder after every batch of `jobs` trials. Another call goes on
    there, up to `trials` in all; if there are as many already, it tells what they found. A search
    that is resumed tries what one without a break would have tried. Which pairs are tried depends
    on the seed and on `jobs`: the pairs of one batch do not yet know of each other's losses. One
    search at a time to a folder.

    Args:
        trials: how many pairs in all, 1 or more.
        folder: where the search is kept, as `search.journal`; made if it is not there.
        epochs: of each run, 1 or more.
        starts: how many runs a pair, each from other weights; their mean counts.
        seed: of the search and of the starts, 0 or more.
        jobs: how many pairs at a time, each in a process of its own. From a script, more than one
            wants the lines `if __name__ == "__main__":` around the call.
        progress: a bar: True, False, or None as for `fit`.

    Raises:
        ImportError: Optuna, the extra [tune], is not installed.
        ValueError: a number out of its range; a folder with a search of other epochs, starts or
            seed.
    """
    wanted = whole("tune_momentum: trials", trials, least=1)
    jobs = whole("tune_momentum: jobs", jobs, least=1)
    settings = {
        "epochs": whole("tune_momentum: epochs", epochs, least=1),
        "starts": whole("tune_momentum: starts", starts, least=1),
        "seed": whole("tune_momentum: seed", seed),
    }
    optuna = _optuna()
    with _quiet(optuna):
        study = _study(optuna, Path(folder), settings)
        done = len(_complete(optuna, study))
        with Bar(progress, "searching", max(0, wanted - done)) as bar, mapping(jobs) as run:
            while done < wanted:
                asked = _asked(optuna, study, min(jobs, wanted - done), done, seed)
                tasks = [(*_pair(trial.params), epochs, starts, seed) for trial in asked]
                for trial, outcome in zip(asked, run(_try, tasks)):
                    trial.set_user_attr("val_loss", outcome.val_loss)
                    trial.set_user_attr("val_accuracy", outcome.val_accuracy)
                    study.tell(trial, outcome.loss)
                    done += 1
                    bar.advance(1, lambda: f"lowest loss {study.best_value:.4g}")
        found = [Trial(*_pair(trial.params), trial.value, **trial.user_attrs)
                 for trial in _complete(optuna, study)]  # fmt: skip
    return Tuning(found, **settings)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(MISSING) from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without Optuna's lines on stderr; as they were afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _study(optuna: Any, folder: Path, settings: dict[str, int]) -> Any:
    """The search that is kept in the folder, or a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    _cut(path)
    journal = optuna.storages.journal
    # Not the default lock, a symbolic link, which Windows grants to administrators alone.
    backend = journal.JournalFileBackend(str(path), journal.JournalFileOpenLock(str(path)))
    kept = {"study_name": "momentum", "storage": journal.JournalStorage(backend)}
    try:
        study = optuna.load_study(**kept)
    except KeyError:
        study = optuna.create_study(**kept)
    before = study.user_attrs.get("settings", settings)
    for name, value in settings.items():
        if before[name] != value:
            raise ValueError(
                f"tune_momentum: {folder} holds a search with {name}={before[name]}, and this one "
                f"has {name}={value}: take another folder, or {name}={before[name]}"
            )
    if not study.user_attrs:
        study.set_user_attr("settings", settings)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # it was broken off
    return study


def _cut(path: Path) -> None:
    """Take off what a process that was killed left of its last line. ValueError, and nothing is
    taken off, where the other lines are no search."""
    if path.exists():
        text = path.read_bytes()
        whole_lines = text[: text.rfind(b"\n") + 1]
        for number, line in enumerate(whole_lines.splitlines() or [text], 1):
            first_is_cut = not whole_lines and text[:1] in (b"", b"{")
            if not first_is_cut and not _is_entry(line):
                raise ValueError(
                    f"tune_momentum: {path} is no search that can be gone on with: line {number} "
                    f"is {line[:40]!r}; take another folder, or move that file away"
                )
        if whole_lines != text:
            os.truncate(path, len(whole_lines))


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _complete(optuna: Any, study: Any) -> list[Any]:
    return study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])


def _asked(optuna: Any, study: Any, count: int, done: int, seed: int) -> list[Any]:
    """The pairs to try next. What is drawn depends on how many were done, not on when this process
    began, so that a search does not see where it was broken off."""
    draw = int(np.random.default_rng([seed, 0x74756E65, done]).integers(2**31))
    study.sampler = optuna.samplers.TPESampler(seed=draw, constant_liar=True)
    space = {name: optuna.distributions.FloatDistribution(*ends, log=True)
             for name, ends in SPACE.items()}  # fmt: skip
    return [study.ask(space) for _ in range(count)]


def _pair(params: dict[str, float]) -> tuple[float, float]:
    """α and μ."""
    return params[REACH] * params[FRICTION], 1 - params[FRICTION]
