"""A learning rate for every weight: it is divided by what the weight's own gradients were, and the
rates of frequent and of rare features part.

Adagrad divides by all gradients so far, RMSProp and Adam by the recent ones. So a weight whose
feature is rare keeps a large rate under Adagrad, and gets one back under the two others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.effective_rate import effective_rate
from tinygrad_opt.optim import Adagrad, Adam, AMSGrad, Momentum, Optimizer, RMSProp
from tinygrad_opt.tensor import Tensor

# ---- what an experiment finds --------------------------------------------------------------------


@dataclass
class Rates:
    """The rates of all weights while one optimizer learns.

    Attributes:
        name: the optimizer.
        lr: its α.
        rates: float64 (steps, weights), after each step; NaN as long as a weight's feature was
            never there.
        loss: float64 (steps,), of each batch.
        apart: the largest difference between -Δw and rate times what the rule follows, as a share
            of the largest -Δw.
        apart_from_g: the same with the gradient in place of the mean, for Adam.
    """

    name: str
    lr: float
    rates: np.ndarray
    loss: np.ndarray
    apart: float
    apart_from_g: float


@dataclass
class AdaptiveRates(Finding):
    """Rates seen and predicted.

    Attributes:
        often: float64 (weights,), how often the feature of each weight is there, falling.
        learnt: by optimizer, the rates while it learns.
        gradients: float64 (steps,), one weight's gradient: 1, and then `FAINT`.
        responses: by optimizer, float64 (steps,): the rate of that weight, by how it moves.
        predicted: the same by formula.
        first_steps: by "corrected" and "uncorrected", float64 (steps,): the lengths of Adam's steps
            in units of α.
        stuck: by optimizer, float64 (steps, starts): the weight in the example of Reddi and others.
    """

    often: np.ndarray
    learnt: dict[str, Rates]
    gradients: np.ndarray
    responses: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]
    first_steps: dict[str, np.ndarray]
    stuck: dict[str, np.ndarray]


RULES: dict[str, Callable[..., Optimizer]] = {"Adagrad": Adagrad, "RMSProp": RMSProp, "Adam": Adam}
RATES = {"Adagrad": 0.3, "RMSProp": 0.01, "Adam": 0.01}  # α of each while it learns
RHO, BETA1, BETA2 = 0.99, 0.9, 0.999  # the defaults of RMSProp and Adam
RAREST = 1 / 200
FAINT = 0.01  # what the gradient of 1 falls to
STARTS = (-1.0, 0.0, 1.0)


def adaptive_rates(
    weights: int = 48, steps: int = 800, replicas: int = 20_000, seed: int = 0
) -> AdaptiveRates:
    """Watch the rates of weights whose features are frequent and rare, of one whose gradient falls
    a hundredfold, and of Adam in its first steps and in an example where it goes the wrong way.

    Args:
        weights: how many features, 8 or more; each is there in a sample as often as the next one
            times a constant, from always down to once in 200.
        steps: of learning, 100 or more.
        replicas: how many runs Adam's mean m is averaged over, 100 or more.
        seed: of all that is drawn.

    Raises:
        ValueError: a number out of its range.
    """
    weights = whole("adaptive_rates: weights", weights, least=8)
    steps = whole("adaptive_rates: steps", steps, least=100)
    replicas = whole("adaptive_rates: replicas", replicas, least=100)
    seed = whole("adaptive_rates: seed", seed)
    often = np.geomspace(1.0, RAREST, weights)
    learnt = {name: learn(name, often, steps, seed) for name in RULES}
    gradients = np.where(np.arange(1200) < 200, 1.0, FAINT)
    responses = {name: respond(name, gradients) for name in RULES}
    predicted = {name: _predicted(name, gradients) for name in RULES}
    first = {word: first_steps(corrected) for word, corrected in
             (("corrected", True), ("uncorrected", False))}  # fmt: skip
    stuck = {make.__name__: wander(make) for make in (Adam, AMSGrad)}
    claims = [
        *_of_learning(learnt, often, frequency_power(often, seed)),
        *_of_responses(responses, predicted), *_of_first_steps(first),
        *_of_the_mean(replicas, seed), *_of_scale(seed), *_of_wandering(stuck),
    ]  # fmt: skip
    return AdaptiveRates(claims, often, learnt, gradients, responses, predicted, first, stuck)


# ---- frequent and rare features ------------------------------------------------------------------


def learn(name: str, often: np.ndarray, steps: int, seed: int) -> Rates:
    """A linear model of features that are there (as +1 or -1) more and less often, one sample a
    step, and the rates of its weights."""
    draws = np.random.default_rng([seed, 0x72617465])
    target = 0.3 * draws.standard_normal(len(often))
    w = Tensor(np.zeros(len(often)), requires_grad=True)
    optimizer = RULES[name]([("w", w)], lr=RATES[name])
    rates, moved, seen = (np.empty((steps, len(often))) for _ in range(3))
    loss = np.empty(steps)
    for t in range(steps):
        x = draws.choice([-1.0, 1.0], len(often)) * (draws.random(len(often)) < often)
        y = x @ target + draws.choice([-1.0, 1.0])  # noise, so that gradients do not die out
        before = w.numpy().copy()
        optimizer.zero_grad()
        error = 0.5 * ((w * x).sum() - y) ** 2
        error.backward()
        assert w.grad is not None
        seen[t], loss[t] = w.grad, error.item()
        optimizer.step()
        rates[t], moved[t] = effective_rate(optimizer, "w"), before - w.data
    follows = seen
    if name == "Adam":
        follows = np.stack([_mean_so_far(seen[: t + 1], BETA1) for t in range(steps)])
    largest = np.abs(moved).max()
    apart, from_g = (float(np.abs(rates * x - moved).max() / largest) for x in (follows, seen))
    there = np.logical_or.accumulate(seen != 0, axis=0)
    return Rates(name, RATES[name], np.where(there, rates, np.nan), loss, apart, from_g)


def frequency_power(often: np.ndarray, seed: int, models: int = 100, steps: int = 800) -> float:
    """The power of a feature's frequency that Adagrad's rate of its weight comes to: the slope of
    its logarithm, the mean of many such models side by side, among the features that are there 20
    times or more. What there is to learn is faint beside the noise, so that the gradients of all
    features have one size."""
    draws = np.random.default_rng([seed, 0x706F7765])
    shape = models, len(often)
    target = 0.1 * draws.standard_normal(shape)
    w = Tensor(np.zeros(shape), requires_grad=True)
    optimizer = Adagrad([("w", w)], lr=0.1)
    for _ in range(steps):
        x = draws.choice([-1.0, 1.0], shape) * (draws.random(shape) < often)
        y = (x * target).sum(axis=1) + draws.choice([-1.0, 1.0], models)
        optimizer.zero_grad()
        (0.5 * ((w * x).sum(axis=1) - y) ** 2).sum().backward()
        optimizer.step()
    common = often * steps >= 20
    rates = np.log(effective_rate(optimizer, "w")[:, common]).mean(axis=0)
    return float(np.polyfit(np.log(often[common]), rates, 1)[0])


def _mean_so_far(gradients: np.ndarray, beta: float) -> np.ndarray:
    """The mean of all gradients so far, each step older counting β times as much: as a sum over all
    of them, and not as the rule works it out, from step to step."""
    weights = beta ** np.arange(len(gradients))[::-1]
    return weights @ gradients / weights.sum()


def _of_learning(learnt: dict[str, Rates], often: np.ndarray, power: float) -> list[Claim]:
    claims = [
        Claim(f"{name}: largest difference of -Δw and rate · {'m̂' if name == 'Adam' else 'g'}, as "
              "a share of the largest step", 0.0, run.apart, 1e-12, relative=False)
        for name, run in learnt.items()
    ]  # fmt: skip
    claims.append(Claim("Adam: -Δw and rate · g", "differ",
                        "differ" if learnt["Adam"].apart_from_g > 1e-3 else "agree"))  # fmt: skip
    w = Tensor(np.ones(1), requires_grad=True)
    momentum = Momentum([("w", w)], lr=0.1)
    moves = []
    for g in (1.0, 0.0):  # the second gradient is 0: a rate times it would be no step
        before = w.item()
        w.grad = np.array([g])
        momentum.step()
        moves.append(before - w.item())
    claims.append(Claim("Momentum, where g = 0 after a step: the weight", "moves on",
                        "moves on" if moves[1] else "rests"))  # fmt: skip
    claims.append(Claim("Adagrad: the rate over the frequency of the feature, as a power of it",
                        theory.ADAGRAD_POWER, power, 0.01, relative=False))  # fmt: skip
    run = learnt["RMSProp"]
    idle = (run.rates[1:] / run.rates[:-1])[:, often < 0.1]  # of the rare: most gradients are 0
    claims.append(Claim("RMSProp: the rate of an absent feature grows a step by",
                        theory.recovery(RHO), float(np.nanmedian(idle)), 1e-6))  # fmt: skip
    return claims


# ---- one gradient, known -------------------------------------------------------------------------


def respond(name: str, gradients: np.ndarray, lr: float = 0.01) -> np.ndarray:
    """The rate of a weight with these gradients, one a step, told by how it moves: -Δw over the
    gradient, for Adam over the mean of gradients; ε = 0."""
    w = Tensor(np.zeros(1), requires_grad=True)
    optimizer = RULES[name]([("w", w)], lr=lr, eps=0.0)
    rates = np.empty(len(gradients))
    for t, g in enumerate(gradients):
        before = w.item()
        w.grad = np.array([g])
        optimizer.step()
        follows = _mean_so_far(gradients[: t + 1], BETA1) if name == "Adam" else g
        rates[t] = (before - w.item()) / follows
    return rates


def _predicted(name: str, gradients: np.ndarray, lr: float = 0.01) -> np.ndarray:
    """The same by formula, for a gradient that changes once."""
    first, then = map(float, gradients[[0, -1]])
    changed = int((gradients == first).sum())
    rates = []
    for t in range(1, len(gradients) + 1):
        since = max(0, t - changed)
        if name == "Adagrad":
            squares = (t - since) * first**2 + since * then**2
            rates.append(theory.adagrad_rate(lr, 1.0, squares))
        else:
            beta = BETA2 if name == "Adam" else RHO
            rates.append(theory.rate_after_change(lr, first, then, beta, t, since,
                                                  corrected=name == "Adam"))  # fmt: skip
    return np.array(rates)


def _of_responses(
    responses: dict[str, np.ndarray], predicted: dict[str, np.ndarray]
) -> list[Claim]:
    claims = [
        Claim(f"{name}: largest relative difference of the rate from its formula, |g| = 1 and then "
              f"{FAINT:g}", 0.0, float(np.abs(responses[name] / predicted[name] - 1).max()), 1e-9,
              relative=False)
        for name in RULES
    ]  # fmt: skip
    for g in (100.0, FAINT):
        gradients = np.full(1000, g)
        adagrad, rmsprop = respond("Adagrad", gradients), respond("RMSProp", gradients)
        told = f"|g| = {g:g}, α = 0.01"
        claims += [
            Claim(f"Adagrad: rate after 1,000 steps of {told}: α / (|g| √t)",
                  theory.adagrad_rate(0.01, g, 1000), float(adagrad[-1]), 1e-9),
            Claim(f"RMSProp: rate after 1 / (1 - ρ) = 100 steps of {told}",
                  theory.rmsprop_rate(0.01, g, RHO, 100), float(rmsprop[99]), 1e-9),
            Claim(f"RMSProp: rate in the long run of {told}: α / |g|",
                  theory.rmsprop_rate(0.01, g, RHO), float(rmsprop[-1]), 1e-3),
        ]  # fmt: skip
    return claims


# ---- Adam at the start ---------------------------------------------------------------------------


def first_steps(corrected: bool, steps: int = 400) -> np.ndarray:
    """The lengths of Adam's steps in units of α under one and the same gradient, ε = 0.

    Uncorrected is the same rule where it does no longer correct: it is told that a million steps
    are taken, and starts with m = v = 0 all the same.
    """
    w = Tensor(np.zeros(1), requires_grad=True)
    optimizer = Adam([("w", w)], lr=1.0, eps=0.0)
    if not corrected:
        optimizer.load_state_dict({**optimizer.state_dict(), "t": 10**6})
    lengths = np.empty(steps)
    for t in range(steps):
        before = w.item()
        w.grad = np.ones(1)
        optimizer.step()
        lengths[t] = abs(w.item() - before)
    return lengths


def _of_first_steps(first: dict[str, np.ndarray]) -> list[Claim]:
    g = np.array([1e-10, 1e-8, 1e-4, 1.0, 1e3])
    w = Tensor(np.zeros(len(g)), requires_grad=True)
    optimizer = Adam([w], lr=0.001, eps=1e-8)
    w.grad = g
    optimizer.step()
    claims = [
        Claim(f"Adam, first step, |g| = {each:g}, α = 0.001, ε = 1e-8",
              theory.adam_step(0.001, each, 1e-8), float(length), 1e-9)
        for each, length in zip(g, np.abs(w.data))
    ]  # fmt: skip
    without = [theory.uncorrected_adam_step(1.0, BETA1, BETA2, t)
               for t in range(1, len(first["uncorrected"]) + 1)]  # fmt: skip
    found = first["uncorrected"]
    claims += [
        Claim("Adam, first step without bias correction, in α", without[0], float(found[0]), 1e-9),
        Claim("the longest such step, in α", max(without), float(found.max()), 1e-9),
        Claim("and when it is taken: step", float(np.argmax(without) + 1),
              float(np.argmax(found) + 1)),
        Claim("Adam, the longest step with bias correction, in α", 1.0,
              float(first["corrected"].max()), 1e-9),
    ]  # fmt: skip
    return claims


def _of_the_mean(replicas: int, seed: int) -> list[Claim]:
    """m is too small at first, by 1 - β₁ᵗ, if the gradients keep their distribution."""
    draws = np.random.default_rng([seed, 0x6D65616E])
    w = Tensor(np.zeros(replicas), requires_grad=True)
    optimizer = Adam([("w", w)], lr=0.001)
    claims = []
    for t in range(1, 31):
        w.grad = draws.normal(1.0, 2.0, replicas)
        optimizer.step()
        if t in (1, 5, 30):
            m = optimizer.state_dict()["slots"]["w"]["m"]
            claims.append(Claim(
                f"Adam: mean of m after {t} step{'s' * (t > 1)} of gradients of mean 1 and std 2 "
                "(within 3 standard errors)", theory.running_mean(0.0, 1.0, BETA1, t),
                float(m.mean()), 3 * float(m.std()) / replicas**0.5, relative=False,
            ))  # fmt: skip
    return claims


# ---- the scale of the loss, and where Adam fails -------------------------------------------------


def _of_scale(seed: int) -> list[Claim]:
    """A loss in other units is the same loss: with ε = 0, none of the three notices."""
    draws = np.random.default_rng([seed, 0x7363616C])
    x, noise = draws.standard_normal((64, 6)), draws.standard_normal(64)
    y = x @ draws.standard_normal(6) + noise
    claims = []
    for name, make in RULES.items():
        paths = []
        for scale in (1.0, 1000.0):
            w = Tensor(np.zeros(6), requires_grad=True)
            optimizer = make([w], lr=0.02, eps=0.0)
            for _ in range(50):
                optimizer.zero_grad()
                (scale * ((x @ w - y) ** 2).mean()).backward()
                optimizer.step()
            paths.append(w.numpy().copy())
        apart = float(np.abs(paths[0] - paths[1]).max())
        claims.append(Claim(f"{name}, ε = 0: distance of the ends when the loss is 1,000 times as "
                            "large", 0.0, apart, 1e-10, relative=False))  # fmt: skip
    return claims


def wander(make: Callable[..., Optimizer], cycles: int = 180) -> np.ndarray:
    """The example of Reddi, Kale, Kumar (2018): the gradient is 1010 once in 101 steps, and -10 in
    all others, on [-1, 1]. On average it is 10 / 101, so the best weight is -1. After each step the
    weight is put back into the interval, as in the paper; (101 · cycles, starts)."""
    w = Tensor(np.array(STARTS), requires_grad=True)
    optimizer = make([w], lr=0.1, beta1=0.9, beta2=0.99)
    path = np.empty((101 * cycles, len(STARTS)))
    for t in range(1, len(path) + 1):
        w.grad = np.full(len(STARTS), 1010.0 if t % 101 == 1 else -10.0)
        optimizer.step()
        w.data = path[t - 1] = np.clip(w.data, -1.0, 1.0)
    return path


def _of_wandering(stuck: dict[str, np.ndarray]) -> list[Claim]:
    claims = []
    for name, end in (("Adam", "near +1, the worst"), ("AMSGrad", "near -1, the best")):
        last = stuck[name][-101:].mean(axis=0)
        where = ("near +1, the worst" if (last > 0.5).all() else
                 "near -1, the best" if (last < -0.5).all() else "in between")  # fmt: skip
        claims.append(Claim(f"{name}, β₂ = 0.99, where a rare gradient of 1010 outweighs a hundred "
                            "of -10: ends", end, where))  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="adaptive-rates",
    title="A learning rate for every weight",
    note="We use Adaptive LR, used by Adam, Adagrad(which also uses diff. alpha for diff. weights)",
    formula="Δw = -rate · g, rate = α / √(Σ g²) for Adagrad, α / √(mean of g²) for RMSProp",
    run=adaptive_rates,
)
