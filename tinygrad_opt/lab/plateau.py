"""With a constant learning rate the loss stops at a floor that noise and rate decide, and not the
data: it falls again when the rate does.

Every batch has its own best weight c, and so its own bowl ½ λ (w - c)². Their mean is best at 0,
but each step is drawn to the c of its batch. The weights never come to rest: they wander around 0,
the wider the larger α.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_opt.data.checks import number, numbers, whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.optim import SGD, Momentum, Optimizer
from tinygrad_opt.optim.schedules import OnPlateau
from tinygrad_opt.tensor import Tensor

CURVATURE = 1.0  # λ
NOISE = 1.0  # s, the standard deviation of a batch's gradient
START = 3.0
EPOCH = 50  # steps after which the schedule hears of the loss
WITHIN = 0.02  # a share of the prediction: four standard errors and more


@dataclass
class Run:
    """The loss over the steps under one optimizer.

    Attributes:
        name: who ran, with α and μ.
        optimizer: the name under which figures colour it.
        lr, mu: α (of the first step, under a schedule) and μ.
        loss: float64 (steps,), the mean of ½ λ w² over all replicas before each step.
        rates: float64 (steps,), α of each step.
        floor: where the loss is predicted to stop.
    """

    name: str
    optimizer: str
    lr: float
    mu: float
    loss: np.ndarray
    rates: np.ndarray
    floor: float

    def measured(self, steps: int) -> float:
        """The mean loss of the last `steps` steps."""
        return float(self.loss[-steps:].mean())


@dataclass
class Plateau(Finding):
    """Where the loss stopped; `runs` by what they show: "rate", "half", "quarter", "mu=0.75",
    "mu=0.9", "fair" (the α/(1-μ) of "rate"), "schedule"."""

    runs: dict[str, Run]


def plateau(
    lr: float = 0.1, mus: Sequence[float] = (0.75, 0.9), steps: int = 600, replicas: int = 16_384,
    seed: int = 0,
) -> Plateau:  # fmt: skip
    """Run to the floor: at α, α/2 and α/4, with momentum at the same α and at the same α/(1-μ), and
    under a schedule that halves α whenever the loss has stopped falling.

    Args:
        lr: α, above 0 and stable: below 2 / λ, λ being 1.
        mus: the momenta μ to compare, in (0, 1).
        steps: of each run, 200 or more; the floor is the mean over the last third.
        replicas: how many weights run side by side, each on batches of its own, 1 or more.
        seed: of the batches, which are the same for all runs.

    Raises:
        ValueError: a number out of its range.
    """
    steps = whole("plateau: steps", steps, least=200)
    replicas = whole("plateau: replicas", replicas, least=1)
    seed = whole("plateau: seed", seed)
    lr = number("plateau: lr", lr, 0, theory.stability_limit("gradient descent") / CURVATURE)
    mus = numbers("plateau: mus", mus, 0, 1)
    if not mus:
        raise ValueError("plateau: mus are at least one momentum")

    def run(name: str, optimizer: str, rate: Any, mu: float, make: Callable) -> Run:
        return _run(name, optimizer, rate, mu, make, steps, replicas, seed)

    runs = {
        word: run(f"SGD, α = {lr / by:g}", "SGD", lr / by, 0.0, SGD)
        for word, by in (("rate", 1), ("half", 2), ("quarter", 4))
    }
    for mu in mus:
        def momentum(w: Any, lr: Any, mu: float = mu) -> Optimizer:
            return Momentum(w, lr, mu)

        name = f"Momentum μ={mu:g}"
        runs[f"mu={mu:g}"] = run(f"μ = {mu:g}, α = {lr:g}", name, lr, mu, momentum)
    fair = theory.fair_rate(lr, mus[-1])
    runs["fair"] = run(f"μ = {mus[-1]:g}, α = {fair:g}", name, fair, mus[-1], momentum)
    schedule = OnPlateau(lr, factor=0.5, patience=1, threshold=0.02)
    runs["schedule"] = run(f"SGD, α from {lr:g}, halved on plateaus", "SGD", schedule, 0.0, SGD)
    return Plateau(_claims(runs, mus, steps // 3), runs)


def _run(
    name: str, optimizer: str, rate: Any, mu: float, make: Callable[..., Optimizer], steps: int,
    replicas: int, seed: int,
) -> Run:  # fmt: skip
    w = Tensor(np.full(replicas, START), requires_grad=True)
    stepper = make([("w", w)], rate)
    draws = np.random.default_rng([seed, 0x706C6174])
    losses, rates = np.empty(steps), np.empty(steps)
    for t in range(steps):
        best = draws.normal(0.0, NOISE / CURVATURE, replicas)  # the c of this batch
        losses[t] = CURVATURE / 2 * np.square(w.data).mean()
        rates[t] = stepper.values()[0]["lr"]
        stepper.zero_grad()
        (CURVATURE / 2 * (w - best) ** 2).sum().backward()  # each replica on a bowl of its own
        stepper.step()
        if (t + 1) % EPOCH == 0:
            stepper.observe(losses[t + 1 - EPOCH : t + 1].mean())
    floor = theory.floor(rates[-1], CURVATURE, NOISE, mu)
    return Run(name, optimizer, rates[0], mu, losses, rates, floor)


def _claims(runs: dict[str, Run], mus: Sequence[float], last: int) -> list[Claim]:
    claims = [
        Claim(f"floor of the loss, {run.name}", run.floor, run.measured(last), within=WITHIN)
        for key, run in runs.items() if key != "schedule"
    ]  # fmt: skip
    schedule = runs["schedule"]
    settled = int((schedule.rates == schedule.rates[-1]).sum())
    claims.append(Claim(
        f"floor of the loss, {schedule.name}, at last {schedule.rates[-1]:g}",
        schedule.floor, schedule.measured(max(1, settled // 2)), within=WITHIN,
    ))  # fmt: skip
    half, raised = runs["half"], runs[f"mu={mus[-1]:g}"]
    for word, other in (
        (f"halving α to {half.lr:g} multiplies the floor by", half),
        (f"μ = {raised.mu:g} at the same α multiplies the floor by", raised),
    ):
        base = runs["rate"]
        claims.append(Claim(word, other.floor / base.floor,
                            other.measured(last) / base.measured(last), within=WITHIN))  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="plateau",
    title="A constant learning rate ends on a plateau",
    note="Constant LR causes plateau on Loss function(Simple SGD)",
    formula="loss → ½ α s² (1 + μ) / ((1 - μ) (2 (1 + μ) - αλ)), s the noise of a batch's gradient",
    run=plateau,
)
