"""A mini-batch adds noise to the gradient without being asked to: its gradient is that of all data
plus a random one with the mean 0, whose strength is known beforehand.

Measured on the digits at fixed weights, where the gradient of every batch can be set against that
of all images. And put to the test: gradient descent on all data with Gaussian noise as strong as
that of batches stops at the same floor as gradient descent on batches.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_opt.autograd import grad
from tinygrad_opt.data import Batches, ClassBalancedBatches, load_digits
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.race import untrained
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import SGD, GaussianNoise, Optimizer
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train import fit

BATCHES = (10, 20, 40, 80, 160, 320, 640)  # B, multiples of the 10 classes
FEW = (10, 80, 640)  # of them, for claims on the other ways of drawing
SHOWN = 40  # the batch size whose gradients the histogram shows
EARLY, LATE = 2, 20  # epochs of training after which the gradients are looked at

TWIN_IMAGES, TWIN_BATCH, TWIN_LR = 1280, 32, 0.1  # 40 batches an epoch
TWIN_STEPS, TWIN_RUNS = 800, 192
SETTLED = 200  # steps, five epochs: all are on their floor by then, 0.9²⁰⁰ of the way is left
FLOOR = 0.03  # a share of a predicted floor: four standard errors of the least sure, the epochs'


# ---- what is found -------------------------------------------------------------------------------


@dataclass
class Spread:
    """The noise of batch gradients over the batch size, in one way of drawing batches.

    Attributes:
        sizes: int64 (n,), B.
        measured: float64 (n,), the root mean square distance of a batch's gradient to the mean of
            all such gradients.
        error: float64 (n,), its standard error.
        predicted: float64 (n,).
    """

    sizes: np.ndarray
    measured: np.ndarray
    error: np.ndarray
    predicted: np.ndarray


@dataclass
class BatchNoise(Finding):
    """The noise of batches and its Gaussian twin.

    Attributes:
        spreads: "replaced" (drawn with replacement), "shuffled" (from `Batches`), "balanced" (from
            `ClassBalancedBatches`).
        along: float64 (draws,), gradients of shuffled batches of `SHOWN` images, along the
            direction of the full one.
        full, deviation: the length of the full gradient, and the predicted standard deviation
            of `along`.
        twins: float64 (TWIN_STEPS + 1,) each, the loss above the lowest, mean of the runs: "drawn",
            "noise", "epochs", "exact" (the full gradient as it is).
        floors: where they are to stop; that of "epochs" at the ends of epochs.
    """

    spreads: dict[str, Spread]
    along: np.ndarray
    full: float
    deviation: float
    twins: dict[str, np.ndarray]
    floors: dict[str, float]


# ---- gradients at fixed weights ------------------------------------------------------------------


class Gradients:
    """The gradients of the race's network at fixed weights: of any batch, as one vector.

    Attributes:
        x, y: the training images, float64, and their labels.
        each: float64 (n, weights), the gradient of every image by itself.
        full: their mean.
    """

    def __init__(self, epochs: int, seed: int):
        (x, y), _ = load_digits()
        self.x, self.y = x.astype("float64"), y
        self.model = untrained(seed).astype("float64")
        optimizer = SGD(list(self.model.named_parameters()), lr=0.1)
        fit(self.model, cross_entropy, optimizer, Batches(self.x, y, 32, seed=seed), epochs,
            progress=False)  # fmt: skip
        self.each = np.stack([self.of(self.x[[i]], y[[i]]) for i in range(len(y))])
        self.full = self.each.mean(axis=0)

    def of(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The gradient of the mean loss of a batch, by the engine."""
        loss = cross_entropy(self.model(x), y)
        return np.concatenate([g.ravel() for g in grad(loss, list(self.model.parameters()))])

    def spread(self) -> float:
        """√(tr Σ), the standard deviation (ddof 0) of the gradient of one image."""
        return _root_mean_square(self.each - self.full)

    def within(self) -> tuple[list[float], list[int]]:
        """The same within each class, and how many images each has."""
        classes = [self.each[self.y == label] for label in np.unique(self.y)]
        spreads = [_root_mean_square(own - own.mean(axis=0)) for own in classes]
        return spreads, [len(own) for own in classes]


def _root_mean_square(rows: np.ndarray) -> float:
    """The root of the mean squared length of the rows."""
    return math.sqrt(np.mean((rows**2).sum(axis=1)))


Draw = Callable[[Gradients, int, int], tuple[np.ndarray, np.ndarray]]  # of size, draw number


def replaced(gradients: Gradients, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng([seed, size]).integers(len(gradients.y), size=size)
    return gradients.x[rows], gradients.y[rows]


def shuffled(gradients: Gradients, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return next(iter(Batches(gradients.x, gradients.y, size, seed=seed)))


def balanced(gradients: Gradients, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return next(iter(ClassBalancedBatches(gradients.x, gradients.y, size, seed=seed)))


def predicted(gradients: Gradients, draw: Draw, size: int) -> float:
    """What theory says of the noise of batches that are drawn in one of these three ways."""
    if draw is balanced:
        spreads, sizes = gradients.within()
        return theory.balanced_noise(spreads, sizes, size // len(sizes))
    count = len(gradients.y) if draw is shuffled else None
    return theory.batch_noise(gradients.spread(), size, count)


def drawn_noise(gradients: Gradients, draw: Draw, size: int, draws: int, seed: int) -> np.ndarray:
    """The gradients of so many batches less the mean that they scatter around: float64 (draws,
    weights). Each batch is the first of an epoch with a seed of its own, so all are independent."""
    full = gradients.full
    if draw is balanced:  # every class counts the same there, also one with fewer images
        y = gradients.y
        full = np.mean([gradients.each[y == label].mean(axis=0) for label in np.unique(y)], axis=0)
    first = (1000 * seed + size) * 100_000  # other seeds for every size: no two share a shuffle
    return np.stack([gradients.of(*draw(gradients, size, first + k)) for k in range(draws)]) - full


def spread_of(noise: np.ndarray) -> tuple[float, float]:
    """The root mean square length of the rows, and its standard error."""
    squares = (noise**2).sum(axis=1)
    root = math.sqrt(squares.mean())
    return root, float(squares.std(ddof=1)) / math.sqrt(len(squares)) / (2 * root)


# ---- the twin ------------------------------------------------------------------------------------


def twins(seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Find the mean of the images by gradient descent on ½‖w - x‖², in four ways: the mean loss
    above the lowest after each step, and where it is predicted to stop."""
    (x, _), _ = load_digits()
    x = x[:TWIN_IMAGES].astype("float64")
    runs, weights = TWIN_RUNS, x.shape[1]
    center = x.mean(axis=0)
    spread = _root_mean_square(x - center)
    std = theory.noise_twin(spread, TWIN_BATCH, weights)
    rng = np.random.default_rng([seed, 0x7477696E])

    def drawn() -> np.ndarray:
        return x[rng.integers(len(x), size=(runs, TWIN_BATCH))]

    def epochs() -> Callable[[], np.ndarray]:
        loaders = [Batches(x, x, TWIN_BATCH, seed=seed * 1_000_000 + run) for run in range(runs)]
        streams = [_endless(loader) for loader in loaders]
        return lambda: np.stack([next(stream) for stream in streams])

    def descend(batch: Callable[[], np.ndarray], transforms: Sequence[Any] = ()) -> np.ndarray:
        w = Tensor(np.zeros((runs, 1, weights)), requires_grad=True)  # a black image each
        optimizer: Optimizer = SGD([("w", w)], lr=TWIN_LR, transforms=list(transforms))
        losses = [_above(w.data, center)]
        for _ in range(TWIN_STEPS):
            images = batch()  # (runs, batch, weights)
            optimizer.zero_grad()
            (((w - images) ** 2).sum() / (2 * images.shape[1])).backward()
            optimizer.step()
            losses.append(_above(w.data, center))
        return np.array(losses)

    def everything() -> np.ndarray:
        # The mean of ½‖w - x‖² over all x is ½‖w - mean‖² and a constant: the gradient is the same.
        return center.reshape(1, 1, weights)

    noise = theory.batch_noise(spread, TWIN_BATCH)
    dealt = theory.batch_noise(spread, TWIN_BATCH, len(x))
    losses = {
        "drawn": descend(drawn),
        "noise": descend(everything, [GaussianNoise(std, seed=seed)]),
        "epochs": descend(epochs()),
        "exact": descend(everything),
    }
    floors = {
        "drawn": theory.floor(TWIN_LR, 1.0, noise),
        "noise": weights * theory.floor(TWIN_LR, 1.0, std),
        "epochs": theory.reshuffled_variance(TWIN_LR, 1.0, dealt, len(x) // TWIN_BATCH) / 2,
    }
    return losses, floors


def _endless(batches: Batches) -> Iterator[np.ndarray]:
    while True:
        for images, _ in batches:
            yield images


def _above(w: np.ndarray, center: np.ndarray) -> float:
    return float(((w - center) ** 2).sum() / (2 * len(w)))


# ---- the experiment ------------------------------------------------------------------------------


def batch_noise(draws: int = 500, seed: int = 0) -> BatchNoise:
    """Measure the noise of batch gradients on the digits, and find its Gaussian twin.

    Args:
        draws: how many batches for each size and way of drawing, 2 or more.
        seed: of the network, the batches and the noise.

    Raises:
        ValueError: a number out of its range.
    """
    draws = whole("batch_noise: draws", draws, least=2)
    seed = whole("batch_noise: seed", seed)
    early = Gradients(EARLY, seed)
    spreads, along = {}, np.empty(0)
    direction = early.full / np.linalg.norm(early.full)
    for draw in (replaced, shuffled, balanced):
        found = []
        for size in BATCHES:
            noise = drawn_noise(early, draw, size, draws, seed)
            found.append((*spread_of(noise), predicted(early, draw, size)))
            if draw is shuffled and size == SHOWN:
                along = (noise + early.full) @ direction
        spreads[draw.__name__] = Spread(np.array(BATCHES), *np.array(found).T)
    full = float(early.full @ direction)
    deviation = theory.batch_noise(float((early.each @ direction).std()), SHOWN, len(early.y))
    late = Gradients(LATE, seed)
    # By then a few hard images make most of the noise, and its strength takes more draws to know.
    quiet = [(spread_of(drawn_noise(late, draw, 80, 2 * draws, seed)), predicted(late, draw, 80))
             for draw in (balanced, shuffled)]  # fmt: skip
    losses, floors = twins(seed)
    claims = [
        *_noise_claims(spreads),
        *_direction_claims(along, full, deviation),
        *_balance_claims(spreads, quiet),
        *_twin_claims(losses, floors),
    ]
    return BatchNoise(claims, spreads, along, full, deviation, losses, floors)


def _noise_claims(spreads: dict[str, Spread]) -> list[Claim]:
    own = spreads["replaced"]  # the others' slopes bend where a batch is no small part of the data
    slope = np.polyfit(np.log(own.sizes), np.log(own.measured), 1)[0]
    claims = [Claim("slope of the noise over B, log axes, with replacement", -0.5, float(slope),
                    within=0.03, relative=False)]  # fmt: skip
    for name, word, few in (
        ("shuffled", "without replacement", BATCHES), ("replaced", "with replacement", FEW),
        ("balanced", "classes balanced", FEW),
    ):  # fmt: skip
        own = spreads[name]
        claims += [
            Claim(f"noise of the gradient, B = {size}, {word}", expected, measured,
                  within=3 * error, relative=False)
            for size, measured, error, expected in zip(
                *(column.tolist() for column in (own.sizes, own.measured, own.error, own.predicted))
            ) if size in few
        ]  # fmt: skip
    return claims


def _direction_claims(along: np.ndarray, full: float, deviation: float) -> list[Claim]:
    """Along the full gradient: the mean is that gradient, and the spread that of single images."""
    spread, error = spread_of((along - full).reshape(-1, 1))
    return [
        Claim(f"mean gradient of batches, B = {SHOWN}, along the full one", full,
              float(along.mean()), within=3 * deviation / math.sqrt(len(along)), relative=False),
        Claim(f"its standard deviation, B = {SHOWN}", deviation,
              spread, within=3 * error, relative=False),
    ]  # fmt: skip


def _balance_claims(
    spreads: dict[str, Spread], late: Sequence[tuple[tuple[float, float], float]]
) -> list[Claim]:
    at = BATCHES.index(80)
    early = [((float(own.measured[at]), float(own.error[at])), float(own.predicted[at]))
             for own in (spreads["balanced"], spreads["shuffled"])]  # fmt: skip
    claims = []
    for epochs, pair in ((EARLY, early), (LATE, late)):
        (a, error_a), (b, error_b) = (measured for measured, _ in pair)
        error = a / b * math.hypot(error_a / a, error_b / b)
        claims.append(Claim(
            f"noise of balanced batches beside random ones, B = 80, epoch {epochs}",
            pair[0][1] / pair[1][1], a / b, within=3 * error, relative=False,
        ))  # fmt: skip
    return claims


def _twin_claims(losses: dict[str, np.ndarray], floors: dict[str, float]) -> list[Claim]:
    epoch = TWIN_IMAGES // TWIN_BATCH
    drawn, noise = (float(losses[name][SETTLED:].mean()) for name in ("drawn", "noise"))
    ends = float(losses["epochs"][SETTLED::epoch].mean())
    return [
        Claim(f"floor of ½‖w - x‖², batches of {TWIN_BATCH}", floors["drawn"], drawn, FLOOR),
        Claim("its floor, all images and Gaussian noise as strong", floors["noise"], noise, FLOOR),
        Claim("the floor on batches, as a multiple of that under noise", 1.0, drawn / noise, FLOOR),
        Claim(f"the floor of batches dealt in epochs of {epoch}, at their ends", floors["epochs"],
              ends, FLOOR),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    key="batch-noise",
    title="A mini-batch is a gradient with noise on it",
    note="We indrectly are doing the Noise introduction to Gradient function. How?",
    formula="std of a batch's gradient = S / √B · √((N - B) / (N - 1)), S² = tr Σ over the images",
    run=batch_noise,
)
