"""A race has winners that nobody predicts; that it is fair, and that everyone in it learns, one can
predict.

This is the race of `lab.race` as an experiment: from the same weights and on the same batches, in
the number of steps that the budget allows, with what each optimizer needs to remember. Who comes
first is in the figure. One order alone follows from theory: at its best rate, momentum is faster
than gradient descent at its own (Polyak 1964).
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinygrad_opt.data import load_digits
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS, EPOCHS, SIZES, Result, race, untrained
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim.flat import ALIGN
from tinygrad_opt.train import evaluate

STARTS = 2
FLOAT = 4  # bytes of a float32
NEAR_CHANCE = 0.15  # nats, in the mean over the starts
LEARNT = 0.1  # of the loss of guessing: who ends above has not learned
PAIRS = 100  # that L-BFGS remembers, if it takes so many steps
# Who is faster than SGD, each at its best rate. μ = 0.99 is not among them: a velocity of 100
# gradients adds up the noise of 100 batches, and from some starts it ends higher.
FASTER = ("momentum-0.75", "momentum-0.9", "nesterov")


@dataclass
class DigitsRace(Finding):
    """The race.

    Attributes:
        results: of every contestant from every start, as `lab.race` gives them.
        untrained: float a start, the loss over all training images before the first step, in nats.
    """

    results: list[Result]
    untrained: list[float]


def digits_race(
    optimizers: Iterable[str] | None = None, epochs: int = EPOCHS, starts: int = STARTS,
    seed: int = 0,
) -> DigitsRace:  # fmt: skip
    """Race over the handwritten digits, and check the race.

    Args:
        optimizers, epochs: as for `lab.race`; None means all.
        starts: from how many first weights, 1 or more.
        seed: of the first start; the others have the seeds that follow.

    Raises:
        ValueError: nobody by that name; a number out of its range.
    """
    starts = whole("digits_race: starts", starts, least=1)
    seed = whole("digits_race: seed", seed)
    seeds = range(seed, seed + starts)
    results = race(optimizers, epochs, seeds=seeds)
    images, labels = load_digits()[0]
    losses = [evaluate(untrained(each), cross_entropy, images, labels)[0] for each in seeds]
    return DigitsRace(_claims(results, losses, len(images), epochs), results, losses)


# ---- the claims ----------------------------------------------------------------------------------


def _claims(
    results: Sequence[Result], untrained: Sequence[float], images: int, epochs: int
) -> list[Claim]:
    chance = theory.chance_loss(SIZES[-1])
    good = [result for result in results if not result.failure]
    starts = f"mean of {len(untrained)} starts" if len(untrained) > 1 else "one start"
    return [
        Claim(f"the loss before the first step, {starts}", chance, statistics.fmean(untrained),
              NEAR_CHANCE, relative=False, unit="nats"),
        *_same_start(results),
        *_budget(good, images, epochs),
        _memory(good),
        Claim(f"runs that diverge, of {len(results)}", 0, len(results) - len(good)),
        Claim(f"runs that end above {LEARNT:g} ln {SIZES[-1]}, of {len(results)}", 0,
              sum(not result.train_loss < LEARNT * chance for result in results)),
        *_momentum_helps(good),
    ]  # fmt: skip


def _same_start(results: Sequence[Result]) -> list[Claim]:
    """What the first step of each contestant saw: from the same weights, the same batch."""
    claims = []
    for full_batch, seen in ((False, "the first batch"), (True, "all images at once")):
        firsts: dict[int, list[float]] = {}
        for result in results:
            if CONTESTANTS[result.key].full_batch == full_batch and result.history.steps:
                firsts.setdefault(result.seed, []).append(result.history.loss_at(0))
        if firsts:
            many = max(map(len, firsts.values()))
            apart = max(max(losses) - min(losses) for losses in firsts.values())
            claims.append(Claim(
                f"the loss of {seen} under {many} optimizers, largest difference", 0, apart,
                unit="nats",
            ))  # fmt: skip
    return claims


def _budget(good: Sequence[Result], images: int, epochs: int) -> list[Claim]:
    """Steps of a run, and gradients a step; of those that should have the same, the one that is
    the farthest from it."""
    claims = []
    for full_batch, what in ((False, f"batches of {BATCH_SIZE}"), (True, "all images at once")):
        runs = [r for r in good if CONTESTANTS[r.key].full_batch == full_batch]
        if runs:
            batch = images if full_batch else BATCH_SIZE
            steps = theory.training_steps(images, batch, epochs)
            claims.append(Claim(f"steps of a run on {what}", steps,
                                _farthest(steps, [r.history.steps for r in runs])))  # fmt: skip
    taken: dict[int, list[Result]] = {}
    for result in good:
        each = math.prod(theory.GRADIENTS.get(kind, 1) for kind in kinds(result))
        taken.setdefault(each, []).append(result)
    for each, runs in taken.items():
        names = dict.fromkeys(result.name for result in runs)
        who = " and ".join(names) if each > 1 else f"{len(names)} optimizers"
        found = _farthest(each, [result.gradients / result.history.steps for result in runs])
        claims.append(Claim(f"gradients a step, {who}", each, found))
    return claims


def _memory(good: Sequence[Result]) -> Claim:
    apart = [abs(result.state_bytes * result.weights - state_bytes(result)) for result in good]
    names = {result.name for result in good}
    return Claim(f"bytes held beside the weights, {len(names)} optimizers, largest difference "
                 "from what theirs are to hold", 0, max(map(round, apart), default=0),
                 unit="bytes")  # fmt: skip


def _momentum_helps(good: Sequence[Result]) -> list[Claim]:
    losses: dict[str, list[float]] = {}
    for result in good:
        losses.setdefault(result.key, []).append(result.train_loss)
    loss = {key: statistics.median(values) for key, values in losses.items()}
    return [
        Claim(f"training loss at the end, {CONTESTANTS[key].name} against SGD, each at its best α",
              "lower", "lower" if loss[key] < loss["sgd"] else "not lower")
        for key in FASTER if {key, "sgd"} <= set(loss)
    ]  # fmt: skip


def _farthest(expected: float, found: Iterable[float]) -> float:
    return max(found, key=lambda value: abs(value - expected))


# ---- what each is to hold ------------------------------------------------------------------------


def kinds(result: Result) -> list[str]:
    """The optimizers that a contestant consists of: "SAM" and "Momentum"."""
    return [part.split()[0] for part in result.name.split(" + ")]


def state_bytes(result: Result) -> int:
    """What the contestant is to hold by its papers, each vector of a parameter padded to 64."""
    shapes = [shape for ends in itertools.pairwise(SIZES) for shape in (ends, ends[1:])]
    return FLOAT * round(sum(_floats(result, shape) for shape in shapes))


def _floats(result: Result, shape: tuple[int, ...]) -> float:
    """Of a parameter of that shape: a matrix, or a bias."""
    size, matrix = math.prod(shape), len(shape) == 2
    names = kinds(result)
    if names[0] == "Muon":
        names = names[:1] if matrix else names[1:]
    if names[0] == "Adafactor":  # keeps its own arrays, which nothing pads
        return size * (theory.adafactor_vectors(*shape) if matrix else 1)
    if names[0] == "LBFGS":
        vectors = theory.lbfgs_vectors(min(result.history.steps - 1, PAIRS))
    else:
        known = (name if name in theory.VECTORS else f"{name} around SGD" for name in names)
        vectors = sum(len(theory.VECTORS[name]) for name in known)
    return vectors * math.ceil(size / ALIGN) * ALIGN


EXPERIMENT = Experiment(
    key="race",
    title="The race of all optimizers",
    note="We use Adaptive LR, used by Adam, Adagrad(which also uses diff. alpha for diff. weights)",
    formula="the loss begins at ln 10 and takes epochs · ⌈n / batch⌉ steps, the same ones for all; "
    "4 bytes a weight for each vector remembered",
    run=digits_race,
)
