"""What is known of gradient descent without running it: every formula of the lab, typed once.

The letters are the field's: α the learning rate, μ the momentum, λ a curvature (an eigenvalue of
the Hessian), L the largest and m the smallest, κ = L / m the condition number. The setting of most
is the quadratic ½ λ w², on which each direction of the Hessian goes its own way.
"""

import cmath
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist

from tinygrad_opt.optim import SGD, Momentum, Nesterov, Optimizer
from tinygrad_opt.optim.groups import nearest

# ---- stability -----------------------------------------------------------------------------------

# The largest α λ at which the rule does not diverge. The two roots z of its characteristic
# polynomial on ½ λ w² must stay inside the unit circle (Jury 1964): heavy ball
# z² - (1 + μ - αλ) z + μ, Nesterov z² - (1 + μ)(1 - αλ) z + μ (1 - αλ). At the limit z = -1.
LIMITS: dict[str, Callable[[float], float]] = {
    "gradient descent": lambda mu: 2.0,
    "heavy ball": lambda mu: 2 * (1 + mu),  # Polyak 1964
    "heavy ball, ema": lambda mu: 2 * (1 + mu) / (1 - mu),
    "Nesterov": lambda mu: 2 * (1 + mu) / (1 + 2 * mu),  # Cohen and others 2021 have it too
}


def stability_limit(method: str, mu: float = 0.0) -> float:
    """The largest α · λ that does not diverge, of one of `LIMITS`; without a unit.

    ValueError for a method that is not there.
    """
    if method not in LIMITS:
        raise ValueError(f"no stability limit of {method!r}{nearest(method, LIMITS)}")
    return LIMITS[method](mu)


def loss_change(lr: float, curvature: float, gradient: float) -> float:
    """ΔL = -α g² (1 - α λ / 2): what a step of gradient descent does to ½ λ w², where g = λ w. To
    first order any loss falls by α g²; the curvature takes back α λ / 2 of it, all at α λ = 2."""
    return -lr * gradient**2 * (1 - lr * curvature / 2)


def method_of(optimizer: Optimizer) -> str:
    """Which of `LIMITS` the optimizer's rule obeys.

    ValueError for one whose steps are no fixed multiple of the gradients, such as Adam.
    """
    if type(optimizer) is SGD:
        return "gradient descent"
    if type(optimizer) is Momentum:
        return "heavy ball, ema" if optimizer.form == "ema" else "heavy ball"
    if type(optimizer) is Nesterov:
        return "Nesterov"
    raise ValueError(
        f"{type(optimizer).__name__} has no limit that a curvature alone decides: its steps are no "
        "fixed multiple of past gradients. There is one for SGD, Momentum and Nesterov"
    )


# ---- speed ---------------------------------------------------------------------------------------

def best_step(smallest: float, largest: float) -> tuple[float, float]:
    """α and the rate (κ - 1) / (κ + 1), by which each step shrinks the error, of gradient descent
    at its best for curvatures from `smallest` to `largest`."""
    return 2 / (smallest + largest), (largest - smallest) / (largest + smallest)


def best_heavy_ball(smallest: float, largest: float) -> tuple[float, float, float]:
    """α, μ and the rate (√κ - 1) / (√κ + 1) of the heavy ball at its best (Polyak 1964)."""
    low, high = math.sqrt(smallest), math.sqrt(largest)
    rate = (high - low) / (high + low)
    return (2 / (low + high)) ** 2, rate**2, rate


def standard_nesterov(smallest: float, largest: float) -> tuple[float, float, float]:
    """α = 1 / L, μ and the rate 1 - 1 / √κ of Nesterov's method as it is usually set."""
    root = math.sqrt(largest / smallest)
    return 1 / largest, (root - 1) / (root + 1), 1 - 1 / root


def best_nesterov(smallest: float, largest: float) -> tuple[float, float, float]:
    """α = 4 / (3L + m), μ and the rate 1 - 2 / √(3κ + 1) of Nesterov's method at its best
    (Lessard, Recht, Packard 2016)."""
    root = math.sqrt(3 * largest / smallest + 1)
    return 4 / (3 * largest + smallest), (root - 2) / (root + 2), 1 - 2 / root


def condition_for(mu: float) -> float:
    """κ, the condition number for which μ is the heavy ball's best: ((1 + √μ) / (1 - √μ))²."""
    root = math.sqrt(mu)
    return ((1 + root) / (1 - root)) ** 2


# What a step does to a direction is z² - b z + c with these b and c of (αλ, μ); its roots are what
# the error is multiplied by. The limits above are where the larger of them reaches 1 in size.
CHARACTERISTIC: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "gradient descent": lambda step, mu: (1 - step, 0.0),
    "heavy ball": lambda step, mu: (1 + mu - step, mu),
    "heavy ball, ema": lambda step, mu: (1 + mu - (1 - mu) * step, mu),
    "Nesterov": lambda step, mu: ((1 + mu) * (1 - step), mu * (1 - step)),
}


def convergence_rate(method: str, lr: float, mu: float, curvatures: Iterable[float]) -> float:
    """By how much each step shrinks the error in the end, of one of `LIMITS`: the largest root in
    size over all directions of the bowl, above 1 where it diverges.

    On a double root, as at the best settings below, the error is t · rateᵗ: slower for ever, by
    less and less. ValueError for a method that is not there.
    """
    stability_limit(method, mu)  # knows the names
    sizes = [0.0]
    for curvature in curvatures:
        b, c = CHARACTERISTIC[method](lr * curvature, mu)
        root = cmath.sqrt(b * b - 4 * c)
        sizes += [abs(b + root) / 2, abs(b - root) / 2]
    return max(sizes)


def curvatures_of_squares(jacobian: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The smallest and the largest curvature of Σ r² of two weights where all residuals r are 0:
    the eigenvalues of 2 JᵀJ, J having a row (∂r/∂x, ∂r/∂y) for each r (Gauss 1809)."""
    xx, xy, yy = (2 * sum(row[i] * row[j] for row in jacobian) for i, j in ((0, 0), (0, 1), (1, 1)))
    middle, apart = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    return middle - apart, middle + apart


# ---- memory --------------------------------------------------------------------------------------


def effective_memory(mu: float) -> float:
    """1 / (1 - μ) = Σ μᵏ: how many gradients count in a velocity."""
    return 1 / (1 - mu)


def reach(lr: float, mu: float) -> float:
    """α / (1 - μ): how far one unit of gradient moves a weight in all."""
    return lr / (1 - mu)


def fair_rate(lr: float, mu: float) -> float:
    """α (1 - μ): the rate with which momentum reaches as far as gradient descent does with α."""
    return lr * (1 - mu)


def old_gradient(mu: float, age: float) -> float:
    """μᵏ: what is left in a velocity of a gradient k = `age` steps old."""
    return mu**age


def half_life(mu: float) -> float:
    """ln ½ / ln μ: after how many steps half of a gradient is left in a velocity."""
    return math.log(0.5) / math.log(mu)


# ---- noise ---------------------------------------------------------------------------------------


def stationary_variance(lr: float, curvature: float, noise: float, mu: float = 0.0) -> float:
    """The variance of w, long after the start, where each gradient λ w has noise of the standard
    deviation `noise` on it: α s² (1 + μ) / (λ (1 - μ) (2 (1 + μ) - α λ)).

    Mandt, Hoffman, Blei 2017 have the limit of small α. Without momentum it is α s² / (λ (2 - αλ)).
    """
    left = stability_limit("heavy ball", mu) - lr * curvature
    return lr * noise**2 * (1 + mu) / (curvature * (1 - mu) * left)


def floor(lr: float, curvature: float, noise: float, mu: float = 0.0) -> float:
    """The loss ½ λ Var(w) at which a constant learning rate stops: the plateau."""
    return curvature * stationary_variance(lr, curvature, noise, mu) / 2


def batch_noise(spread: float, batch: int, samples: int | None = None) -> float:
    """The standard deviation of the mean of a batch of samples whose own is `spread` (that of the
    population, ddof 0): S / √B, and without replacement from N times √((N - B) / (N - 1))."""
    left = 1.0 if samples is None else (samples - batch) / (samples - 1)
    return spread * math.sqrt(left / batch)


def balanced_noise(spreads: Sequence[float], sizes: Sequence[int], each: int) -> float:
    """The standard deviation of the mean of a batch that holds `each` samples of every class,
    without replacement: √(Σ n_c²) / C, n_c the batch noise of class c by itself (Neyman 1934).

    `spreads` are the standard deviations within the classes (ddof 0), `sizes` how many samples each
    has. What lies between the classes is gone, since a batch can no longer hold too many of one.
    """
    within = [batch_noise(s, each, n) for s, n in zip(spreads, sizes, strict=True)]
    return math.hypot(*within) / len(within)


def two_stage_noise(between: float, within: float, batch: int, classes: int) -> float:
    """The same of a batch that takes some of the classes, and of each of them one sample:
    √(n_b² + n_w²), the batch noises of the classes' means, without replacement, and of samples
    around theirs (Neyman 1934). `between` is the standard deviation of the means (ddof 0)."""
    return math.hypot(batch_noise(between, batch, classes), batch_noise(within, batch))


def missing_classes(classes: int, each: int, drawn: int) -> float:
    """How many classes of `each` samples are expected to be absent from `drawn` random ones, drawn
    without replacement: C · (N - n choose B) / (N choose B); near C / e where B = C (the occupancy
    problem, Feller 1950)."""
    samples = classes * each
    absent = (max(0, samples - drawn - i) / (samples - i) for i in range(each))
    return classes * math.prod(absent)


def ragged_excess(full: int, batch: int, last: int) -> float:
    """1 / k - m / n: what the mean of the k means of `full` batches and a smaller last one, of m of
    the n samples, gives that one beyond its share."""
    return 1 / (full + 1) - last / (full * batch + last)


def noise_twin(spread: float, batch: int, weights: int, samples: int | None = None) -> float:
    """The standard deviation, of each of `weights` weights, of the Gaussian noise that is as strong
    as that of batches: √(tr Σ_B / d) (Mandt, Hoffman, Blei 2017), `spread` being √(tr Σ), the
    standard deviation of the gradient of a single sample."""
    return batch_noise(spread, batch, samples) / math.sqrt(weights)


def reshuffled_variance(lr: float, curvature: float, noise: float, batches: int) -> float:
    """The variance of w at the ends of epochs, long after the start, where the noise of an epoch's
    `batches` gradients adds up to zero, since each sample is dealt once.

    A step's noise is then correlated with any other's by -1 / (n - 1), and an epoch adds
    α² s² n / (n - 1) · (Σ aᵢ² - (Σ aᵢ)² / n), where aᵢ = (1 - αλ)ⁱ is what i steps leave of it.
    """
    left = [(1 - lr * curvature) ** i for i in range(batches)]
    scatter = math.fsum(a * a for a in left) - math.fsum(left) ** 2 / batches
    added = (lr * noise) ** 2 * scatter * batches / (batches - 1)
    return added / (1 - (1 - lr * curvature) ** (2 * batches))


# ---- escape --------------------------------------------------------------------------------------


def noisy_variance(
    lr: float, curvature: float, noise: float, steps: int, decay: float = 0.0
) -> float:
    """The variance of w so many steps after it stood at one place, each gradient λ w having noise
    of the standard deviation s (1 + t)^(-decay / 2) on it: α² s² Σ (1 + t)^(-decay) q^(steps-1-t),
    q = (1 - αλ)².

    Without decay that is a geometric series, α² s² (q^steps - 1) / (q - 1). It explodes on the
    ridge of a saddle (λ < 0), is a random walk on flat ground (λ = 0: α² s² · steps), and ends at
    `stationary_variance` in a bowl.
    """
    q = (1 - lr * curvature) ** 2
    total = math.fsum((1 + t) ** -decay * q ** (steps - 1 - t) for t in range(steps))
    return (lr * noise) ** 2 * total


def beyond(distance: float, variance: float) -> float:
    """How probably |w| > distance, of a Gaussian w around 0: erfc(distance / √(2 Var))."""
    return math.erfc(distance / math.sqrt(2 * variance)) if variance else 0.0


def ridge_time(
    lr: float, curvature: float, noise: float, distance: float, share: float = 0.5
) -> float:
    """The steps after which the share of all runs that started on the ridge of -½ λ w² is further
    than `distance` from it: ln(1 + (q - 1) (distance / (z α s))²) / ln q, q = (1 + αλ)², where
    |N(0, 1)| exceeds z with the probability `share`.

    The noise is in the logarithm: a tenth of it costs ln 10 / ln(1 + αλ) more steps, no more.
    """
    q = (1 + lr * curvature) ** 2
    return math.log(1 + (q - 1) * (distance / (_two_sided(share) * lr * noise)) ** 2) / math.log(q)


# A walk is seen at whole steps alone, and has not quite crossed a line when a Brownian motion has.
# It is as if the line were this many standard deviations of a step further away: -ζ(½) / √(2π).
OVERSHOOT = 0.5825971579390107  # Siegmund 1979


def crossed(lr: float, noise: float, distance: float, steps: int) -> float:
    """How probably a walk on flat ground, a step N(0, α² s²), has within so many steps been further
    than `distance` to one side: erfc((distance / (α s) + 0.5826) / √(2 steps)), twice the
    probability that it is there now (the reflection principle, Bachelier 1900)."""
    return beyond(distance / (lr * noise) + OVERSHOOT, steps)


def crossing_time(lr: float, noise: float, distance: float, share: float = 0.5) -> float:
    """The steps after which the share of all walks has crossed, ((distance / (α s) + 0.5826) / z)²
    with z as in `ridge_time`. Half the noise takes four times as long."""
    return ((distance / (lr * noise) + OVERSHOOT) / _two_sided(share)) ** 2


def _two_sided(share: float) -> float:
    """z, which |N(0, 1)| exceeds with the probability `share`."""
    return NormalDist().inv_cdf(1 - share / 2)


# ---- a rate for every weight ---------------------------------------------------------------------


def running_mean(before: float, now: float, beta: float, steps: float) -> float:
    """βᵏ · before + (1 - βᵏ) · now: a running mean that stood at `before`, k = `steps` after what
    it is the mean of has become `now`. From 0 it is too small by 1 - βᵏ, which Adam's bias
    correction divides by (Kingma, Ba 2015, section 3)."""
    return beta**steps * before + (1 - beta**steps) * now


# Of two features whose gradients have one size when they are there, the one that is there half as
# often has √2 times the rate: half as many squares are in its sum (Duchi, Hazan, Singer 2011).
ADAGRAD_POWER = -0.5


def adagrad_rate(lr: float, gradient: float, t: float) -> float:
    """α / (|g| √t): Adagrad's rate after t steps of one and the same gradient, ε = 0."""
    return lr / (abs(gradient) * math.sqrt(t))


def rmsprop_rate(lr: float, gradient: float, rho: float, t: float = math.inf) -> float:
    """α / (|g| √(1 - ρᵗ)): RMSProp's rate after t steps of one and the same gradient, ε = 0. In the
    long run α / |g|, so that each step has the length α."""
    return lr / math.sqrt(running_mean(0.0, gradient**2, rho, t))


def rate_after_change(
    lr: float, before: float, now: float, beta: float, t: int, since: int, corrected: bool = False
) -> float:
    """α over the root of the mean square at step t, `since` steps after the gradient became `now`,
    which was `before` all the time, ε = 0: RMSProp's rate, and `corrected` Adam's."""
    square = running_mean(0.0, before**2, beta, t - since)
    square = running_mean(square, now**2, beta, since)
    return lr / math.sqrt(square / running_mean(0.0, 1.0, beta, t) if corrected else square)


def recovery(rho: float) -> float:
    """1 / √ρ: by what RMSProp's rate of a weight grows each step that its gradient is 0."""
    return 1 / math.sqrt(rho)


def adam_step(lr: float, gradient: float, eps: float) -> float:
    """α |g| / (|g| + ε): the length of Adam's first step, and of every one as long as the gradient
    stays what it is."""
    return lr * abs(gradient) / (abs(gradient) + eps)


def uncorrected_adam_step(lr: float, beta1: float, beta2: float, t: float = 1) -> float:
    """α (1 - β₁ᵗ) / √(1 - β₂ᵗ): the same at step t without the bias correction, ε = 0."""
    return lr * running_mean(0.0, 1.0, beta1, t) / math.sqrt(running_mean(0.0, 1.0, beta2, t))


# ---- what is held --------------------------------------------------------------------------------

# What each optimizer has to remember of every weight from one step to the next, as its paper (see
# its class) has it: so many vectors as long as the weights.
VECTORS: dict[str, tuple[str, ...]] = {
    "SGD": (),
    "Momentum": ("velocity",),
    "Nesterov": ("velocity",),
    "Adagrad": ("sum of squares",),
    "RMSProp": ("mean square",),
    "RMSProp, centred, μ=0.9": ("mean square", "mean", "velocity"),
    "Adadelta": ("mean square", "mean square of steps"),
    "Rprop": ("step size", "last gradient"),
    "Adam": ("mean", "mean square"),
    "AMSGrad": ("mean", "mean square", "largest mean square"),
    "AdamW": ("mean", "mean square"),
    "Adamax": ("mean", "largest gradient"),
    "NAdam": ("mean", "mean square"),
    "RAdam": ("mean", "mean square"),
    "Lion": ("mean",),
    "ASGD": ("mean of the path",),
    "ScheduleFree": ("iterate",),
    "ScheduleFree, AdamW": ("iterate", "mean square"),
    "LARS": ("velocity",),
    "LAMB": ("mean", "mean square"),
    "Muon": ("mean",),
    "SAM around SGD": (),
    "Lookahead around SGD": ("slow weights",),
}

# And what is held for a while only: the weights to come back to, where a gradient is taken or a
# loss measured elsewhere; and the copy of g that transforms change which are not elementwise (those
# run in the update).
FOR_A_WHILE: dict[str, int] = {
    "Nesterov, while it looks ahead": 1,
    "SAM, while it stands uphill": 1,
    "ScheduleFree, after eval()": 1,
    "any with ClipNorm or another of whole gradients": 1,
}


def adafactor_vectors(rows: int, columns: int) -> float:
    """(n + m) / (n m): what Adafactor keeps of a matrix, a mean square a row and a column, as a
    share of a vector as long as the weights (Shazeer, Stern 2018)."""
    return (rows + columns) / (rows * columns)


def lbfgs_vectors(pairs: int) -> int:
    """2 · pairs + 2: the steps and the changes of gradient that L-BFGS keeps (Nocedal 1980), and of
    the last iteration the step and the gradient, of which the next pair is made."""
    return 2 * pairs + 2


def held_bytes(vectors: float, weights: int, itemsize: int = 4) -> float:
    """Bytes of so many vectors of `weights` numbers; a float32 has 4."""
    return vectors * weights * itemsize


def rewritten_vectors(vectors: float) -> float:
    """1 + vectors: what a step makes anew that is computed for all tensors before any is written,
    so that an error leaves all as they were: the weights and all that is remembered."""
    return 1 + vectors


# ---- a training run ------------------------------------------------------------------------------

# How many gradients a step takes, where it is not one.
GRADIENTS: dict[str, int] = {"SAM": 2}  # Foret and others 2021


def chance_loss(classes: int) -> float:
    """ln C: the cross-entropy, in nats, of who thinks all classes equally probable (Shannon 1948).
    An untrained network comes near; scores of the variance s² cost about s² / 2 more."""
    return math.log(classes)


def training_steps(samples: int, batch: int, epochs: int) -> int:
    """epochs · ⌈N / B⌉: the last batch of an epoch may be a smaller one."""
    return epochs * math.ceil(samples / batch)
