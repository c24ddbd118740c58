"""Four batches of 250 hold each of 1,000 classes once, and one update from their mean gradient is
the update of 1,000 samples: quieter than a random one, since no class is missing or comes twice.

The notes take the mean of the losses. Before the update, that is the mean of the gradients, and it
changes the weights (`accumulate=4`). Of losses that were each followed by an update of their own it
is a smoother curve, and nothing else (`smooth=4`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_opt.data import Batches, ClassBalancedBatches
from tinygrad_opt.data.checks import number, whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.nn import Linear
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim import SGD
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train import History, fit

Pairs = list[tuple[np.ndarray, np.ndarray]]
FEATURES = 16  # of an image
BETWEEN, WITHIN = 2.0, 0.5  # standard deviations: of the classes' means, of the images around them
EXACT = 1e-12  # equal but for the rounding of float64


@dataclass
class Gradients:
    """What the batches of some epochs said of the gradient, and what all images say.

    Attributes:
        errors: float64 (epochs, windows, window, features), the gradient of each batch less that of
            all images. A mean over the third axis is that of the windows.
        labels: int64 (window, batch_size), the classes in the first window of all.
        missing: int64 (epochs, windows), how many classes a window lacks.
        twice: int64 (epochs, windows), how many come in it more than once.
        most: the largest number of different classes in one batch.
        batch_std, window_std: the standard deviations of an error that the theory predicts.
    """

    errors: np.ndarray
    labels: np.ndarray
    missing: np.ndarray
    twice: np.ndarray
    most: int
    batch_std: float
    window_std: float

    @property
    def of_windows(self) -> np.ndarray:
        """The errors of the windows' mean gradients, float64 (epochs, windows, features)."""
        return self.errors.mean(axis=2)


@dataclass
class Training:
    """An epoch of a softmax model on the class-balanced batches.

    Attributes:
        history: of `fit`.
        weights: float64 (features * classes + classes,), weights and biases at the end.
        path: float64 (batches,), one of the weights as each batch found it.
    """

    history: History
    weights: np.ndarray
    path: np.ndarray


@dataclass
class MiniBatches(Finding):
    """The batches that were compared, "random" and "balanced", and an epoch of training under each
    reading of the notes: "plain", "smooth" and "accumulate"."""

    gradients: dict[str, Gradients]
    training: dict[str, Training]
    window: int


def class_images(
    classes: int, each: int, between: float = BETWEEN, within: float = WITHIN, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images of many classes, as plain as can be: a mean a class, and noise around it.

    Args:
        classes, each: how many classes, and how many images of each.
        between: the standard deviation of the means, and
        within: of the images around theirs, both in every one of the 16 features.
        seed: of both.

    Returns:
        x, float64 (classes * each, 16), and their labels y, int64, from 0 up.
    """
    draws = np.random.default_rng([seed, 0x696D6167])
    means = draws.normal(0.0, between, (classes, 1, FEATURES))
    images = means + draws.normal(0.0, within, (classes, each, FEATURES))
    return images.reshape(-1, FEATURES), np.repeat(np.arange(classes), each)


def mini_batches(
    classes: int = 1000, batch_size: int = 250, each: int = 20, epochs: int = 60, lr: float = 10.0,
    seed: int = 0,
) -> MiniBatches:  # fmt: skip
    """Compare random batches with class-balanced ones, and `accumulate` with `smooth`.

    Args:
        classes: how many, 4 or more.
        batch_size: samples a batch, 2 or more, a divisor of the classes and fewer than they are;
            as many consecutive batches as hold the classes are a window.
        each: images a class, 2 or more.
        epochs: over which the noise of the gradient is measured, 2 or more.
        lr: the learning rate α of the softmax model, above 0.
        seed: of images and batches.

    Raises:
        ValueError: a number out of its range.
    """
    classes = whole("mini_batches: classes", classes, least=4)
    batch_size = whole("mini_batches: batch_size", batch_size, least=2)
    each = whole("mini_batches: each", each, least=2)
    epochs = whole("mini_batches: epochs", epochs, least=2)
    seed = whole("mini_batches: seed", seed)
    if classes % batch_size or batch_size == classes:
        raise ValueError(
            f"mini_batches: batch_size divides the {classes:,} classes and is less, not "
            f"{batch_size}: only then do several batches hold each class once"
        )
    lr = number("mini_batches: lr", lr, low=0)
    window = classes // batch_size
    x, y = class_images(classes, each, seed=seed)
    balanced = ClassBalancedBatches(x, y, batch_size, window, seed)
    gradients = {
        "random": _gradients(Batches(x, y, batch_size, seed), classes, window, epochs),
        "balanced": _gradients(balanced, classes, window, epochs),
    }
    _predict(gradients, x.reshape(classes, each, FEATURES), window)
    balanced.epoch = 0
    pairs = list(balanced)

    def model() -> Linear:
        return _softmax(classes, seed)

    training = {
        "plain": _trained(pairs, model(), lr),
        "smooth": _trained(pairs, model(), lr, smooth=window),
        "accumulate": _trained(pairs, model(), lr, accumulate=window),
    }
    claims = [
        *_claims_of_classes(gradients, classes, each),
        *_claims_of_noise(gradients, window, classes),
        *_claims_of_accumulation(pairs[:window], model, lr),
        *_claims_of_training(training, window),
    ]
    return MiniBatches(claims, gradients, training, window)


# ---- the gradient of many batches ----------------------------------------------------------------


def _gradients(batches: Batches, classes: int, window: int, epochs: int) -> Gradients:
    """The gradient of the mean of ½ |w - x|², which w = the mean image makes 0: its noise is that
    of the images, and the same at every w."""
    w = Tensor(np.zeros(FEATURES), requires_grad=True)

    def gradient(x: Any) -> np.ndarray:
        w.grad = None
        (((w - x) ** 2).sum(axis=1).mean() / 2).backward()
        return w.grad

    whole_gradient = gradient(batches.x)
    errors, counts = [], []
    for _ in range(epochs):
        for x, y in batches:
            errors.append(gradient(x) - whole_gradient)
            counts.append(np.bincount(y, minlength=classes))
    held = np.reshape(counts, (epochs, -1, window, classes))
    windows = held.sum(axis=2)
    return Gradients(
        errors=np.reshape(errors, (epochs, -1, window, FEATURES)),
        labels=batches.y[batches.order(0)].reshape(-1, batches.batch_size)[:window],
        missing=(windows == 0).sum(axis=2), twice=(windows > 1).sum(axis=2),
        most=int((held > 0).sum(axis=3).max()), batch_std=math.nan, window_std=math.nan,
    )  # fmt: skip


def _predict(gradients: dict[str, Gradients], images: np.ndarray, window: int) -> None:
    """Enter the standard deviations that the spread of the images predicts."""
    classes, each, _ = images.shape
    batch, samples = classes // window, classes * each
    within = math.sqrt(images.var(axis=1).mean())
    between = math.sqrt(images.mean(axis=1).var(axis=0).mean())
    spread = math.hypot(within, between)
    random, even = gradients["random"], gradients["balanced"]
    random.batch_std = theory.batch_noise(spread, batch, samples)
    random.window_std = theory.batch_noise(spread, classes, samples)
    even.batch_std = theory.two_stage_noise(between, within, batch, classes)
    even.window_std = theory.balanced_noise([within] * classes, [each] * classes, 1)


def _claims_of_classes(gradients: dict[str, Gradients], classes: int, each: int) -> list[Claim]:
    random, even = gradients["random"], gradients["balanced"]
    window, batch = even.labels.shape
    mean, error = _mean(random.missing)
    lacking = int(((even.missing > 0) | (even.twice > 0)).sum())
    return [
        Claim(f"windows of {window} class-balanced batches of {batch} without each class once, of "
              f"{even.missing.size:,}", 0, lacking),
        Claim(f"most different classes in any of those batches, of {classes:,}", batch, even.most),
        Claim(f"classes that {window} random batches lack",
              theory.missing_classes(classes, each, classes), mean, 3 * error, relative=False),
    ]  # fmt: skip


def _claims_of_noise(gradients: dict[str, Gradients], window: int, samples: int) -> list[Claim]:
    random, even = gradients["random"], gradients["balanced"]
    one = f"batch of {samples // window}"
    claims = []
    for what, std, errors in (
        (f"one random {one}", random.batch_std, random.errors),
        (f"{window} random ones", random.window_std, random.of_windows),
        (f"one class-balanced {one}", even.batch_std, even.errors),
        (f"{window} class-balanced ones", even.window_std, even.of_windows),
    ):
        mean, error = _mean(errors**2)
        claims.append(Claim(f"variance of the mean gradient, {what}", std**2, mean, 3 * error,
                            relative=False))  # fmt: skip
    ratio, error = _ratio(random.of_windows**2, random.errors**2)
    claims.append(Claim(f"variance of {window} random batches over that of one",
                        (random.window_std / random.batch_std) ** 2, ratio, 3 * error,
                        relative=False))  # fmt: skip
    return claims


def _mean(values: np.ndarray) -> tuple[float, float]:
    """The mean of an array whose rows are epochs, and its standard error: the batches of an epoch
    share out the same images, so that only whole epochs are independent."""
    rows = values.reshape(len(values), -1).mean(axis=1)
    return float(rows.mean()), float(rows.std(ddof=1) / math.sqrt(len(rows)))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> tuple[float, float]:
    """The ratio of two such means and its standard error, by the delta method."""
    over, under = _mean(top)[0], _mean(bottom)[0]
    a, b = (values.reshape(len(values), -1).mean(axis=1) for values in (top, bottom))
    return over / under, _mean((a - over / under * b) / under)[1]


# ---- one update, one curve -----------------------------------------------------------------------


def _softmax(classes: int, seed: int) -> Linear:
    """A softmax model in float64, the same one for every run."""
    draws = np.random.default_rng([seed, 0x736F6674])
    model = Linear(FEATURES, classes, init=lambda shape: draws.normal(0.0, 0.1, shape))
    model.astype("float64")
    return model


def _weights(model: Linear) -> np.ndarray:
    return np.concatenate([p.data.ravel() for p in model.parameters()])


def _claims_of_accumulation(pairs: Pairs, model_of: Callable[[], Linear], lr: float) -> list[Claim]:
    """What one update from several batches is, and what it is not, by the updates themselves."""

    def update(group: Pairs) -> np.ndarray:
        """Of `fit`, one update from all batches of the group."""
        model = model_of()
        before = _weights(model)
        fit(model, cross_entropy, SGD(model.parameters(), lr), group, epochs=1,
            accumulate=len(group), progress=False)  # fmt: skip
        return _weights(model) - before

    def of_the_mean(group: Pairs) -> np.ndarray:
        """The update from the mean of the batches' losses, as the notes have it."""
        model = model_of()
        before = _weights(model)
        stepper = SGD(model.parameters(), lr)
        losses = [cross_entropy(model(x), y) for x, y in group]
        (sum(losses[1:], losses[0]) / len(losses)).backward()
        stepper.step()
        return _weights(model) - before

    def together(group: Pairs) -> Pairs:
        x, y = (np.concatenate(parts) for parts in zip(*group))
        return [(x, y)]

    def equal(what: str, measured: np.ndarray, true: np.ndarray) -> Claim:
        apart = float(np.abs(measured - true).max() / np.abs(true).max())
        return Claim(what, 0.0, apart, EXACT, relative=False)

    k, size = len(pairs), len(pairs[0][0])
    last = max(1, 2 * size // 5)
    ragged = [*pairs[:-1], (pairs[-1][0][:last], pairs[-1][1][:last])]
    one, uneven = update(together(pairs)), update(together(ragged))
    # What the mean of the means adds is a multiple of this: the last batch against the others.
    pull = update(ragged[-1:]) - update(together(ragged[:-1]))
    excess = float((of_the_mean(ragged) - uneven) @ pull / (pull @ pull))
    return [
        equal(f"update of accumulate={k}, less that of {k * size:,} samples at once, as a share",
              update(pairs), one),
        equal(f"update from the mean of {k} losses, less that of accumulate={k}, as a share",
              of_the_mean(pairs), update(pairs)),
        Claim(f"what the mean of {k} means gives a last batch of {last} beyond its share",
              theory.ragged_excess(k - 1, size, last), excess, EXACT, relative=False),
        equal(f"update of accumulate={k} with that last batch, less that of all "
              f"{sum(len(x) for x, _ in ragged):,} samples at once, as a share",
              update(ragged), uneven),
    ]  # fmt: skip


def _trained(pairs: Pairs, model: Linear, lr: float, **how: int) -> Training:
    x, y = pairs[0]
    watched = int(np.abs(x[0]).argmax()), int(y[0])  # a weight that the first image moves far
    path = []

    def seen(images: Any) -> Tensor:
        path.append(model.weight.data[watched])
        return model(images)

    history = fit(seen, cross_entropy, SGD(model.parameters(), lr), pairs, epochs=1,
                  progress=False, **how)  # type: ignore[arg-type]  # fmt: skip
    return Training(history, _weights(model), np.array(path))


def _claims_of_training(training: dict[str, Training], window: int) -> list[Claim]:
    plain, smooth = training["plain"], training["smooth"]
    raw, shown = np.array(plain.history.step_loss), np.array(smooth.history.step_loss)
    means = [raw[max(0, t + 1 - window) : t + 1].mean() for t in range(len(raw))]
    differ = int((plain.weights.view(np.int64) != smooth.weights.view(np.int64)).sum())
    return [
        Claim(f"weights that smooth={window} changes in any bit, of {len(plain.weights):,}",
              0, differ),
        Claim(f"loss reported by smooth={window}, less the mean of the last {window} losses", 0.0,
              float(np.abs(shown - means).max()), EXACT, relative=False),
        Claim(f"updates in {len(raw)} batches with accumulate={window}", len(raw) // window,
              training["accumulate"].history.steps),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    key="mini-batches",
    title="Four batches, one update",
    note="Hence it make sense to have a uniform random distribution of classes in a batch. E.g. "
    "for ImageNet dataset that has 1000 classes, we can't have a Batch size of "
    "1000(computationally inefficient), but we can have FOUR consecutive batches of size 250, and "
    "then use SGD to calculate the MEAN of the losses of the Mini-Batch. Then, we use this Loss "
    "value to calculate the Weights of all the images in that Batch.",
    formula="Var(mean gradient of B samples) = (within + between) / B at random, within / B if "
    "each class comes equally often",
    run=mini_batches,
)
