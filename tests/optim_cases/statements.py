"""The optimizers that PyTorch lacks, against the same mathematics in another form: sums over all
past gradients with their weights, instead of the recursions that make those sums."""

from typing import Any

import numpy as np

from optim_cases.problems import (
    Recorded,
    Smooth,
    advance,
    assert_near,
    check,
    make,
    run,
    tensors,
)
from tinygrad_opt.backend import asarray

STEPS = 120
COURSE = Recorded((3, 4), seed=7, steps=STEPS)
G, START = COURSE.gradients, COURSE.start


def falling(t: int) -> float:
    """A learning rate that changes each step, so that it shows where in the rule it stands."""
    return 0.05 / (1 + 0.1 * t)


RATES = np.array([falling(t) for t in range(STEPS)])


def powers(decay: float) -> np.ndarray:
    """The matrix of decay^(t - k) for k ≤ t: times the past, it is the sum that a decay makes."""
    t = np.arange(STEPS)
    age = t[:, None] - t[None, :]
    return np.where(age >= 0, decay ** np.maximum(age, 0), 0.0)


def remembered(decay: float, past: np.ndarray) -> np.ndarray:
    """Σ_k decay^(t - k) past_k, for each t."""
    return np.einsum("tk,k...->t...", powers(decay), past)


def mean_so_far(decay: float, past: np.ndarray) -> np.ndarray:
    """The mean of the past with weights decay^(t - k): what bias correction is for."""
    weights = powers(decay)
    return np.einsum("tk,k...->t...", weights / weights.sum(axis=1, keepdims=True), past)


def each(rates: Any, x: np.ndarray) -> np.ndarray:
    """Each step's x times its rate."""
    return np.asarray(rates).reshape(-1, *[1] * (x.ndim - 1)) * x


def walked(steps: np.ndarray, kept: Any = 1.0, start: np.ndarray = START) -> np.ndarray:
    """From the start by -steps; of all that was before, a part `kept` stays at each."""
    kept = np.broadcast_to(kept, len(steps))
    since = np.array([[np.prod(kept[k + 1 : t + 1]) if k <= t else 0.0 for k in range(len(steps))]
                      for t in range(len(steps))])  # fmt: skip
    return each(np.cumprod(kept), np.broadcast_to(start, steps.shape)) - np.einsum(
        "tk,k...->t...", since, steps
    )


@check("Momentum")
def classical_momentum_sums_the_past_gradients_each_with_the_rate_of_its_own_time(cls):
    for mu in (0.6, 0.95):
        velocity = -remembered(mu, each(RATES, G))
        assert_near(run(cls, COURSE, STEPS, lr=falling, mu=mu), walked(-velocity))
        # Added up, each gradient has moved the weight by a geometric series of its own.
        last = sum(-falling(k) * G[k] * (1 - mu ** (STEPS - k)) / (1 - mu) for k in range(STEPS))
        assert_near(run(cls, COURSE, STEPS, lr=falling, mu=mu)[-1], START + last)


@check("Momentum")
def torch_momentum_multiplies_all_that_it_remembers_by_the_rate_of_now(cls):
    wanted = walked(each(RATES, remembered(0.8, G)))
    assert_near(run(cls, COURSE, STEPS, lr=falling, mu=0.8, form="torch"), wanted)


@check("Momentum")
def averaged_momentum_weights_the_past_by_one_minus_mu_times_powers_of_mu(cls):
    wanted = walked(each(RATES, (1 - 0.8) * remembered(0.8, G)))
    assert_near(run(cls, COURSE, STEPS, lr=falling, mu=0.8, form="ema"), wanted)


@check("Momentum", "SGD", "RMSProp", "LARS", "Lion")
def a_penalty_on_the_weights_is_their_multiple_added_to_the_gradient(cls):
    class Penalised(Smooth):
        def gradient(self, w, t):
            return super().gradient(w, t) + 0.3 * w

    plain = run(cls, Penalised((3, 4)), 60, lr=0.01)
    assert_near(run(cls, Smooth((3, 4)), 60, lr=0.01, l2=0.3), plain)


def accelerated(course: Smooth, mu: float, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nesterov's method without a velocity, as two sequences of points: y beyond x on the line from
    the x before, and the next x downhill of y. Gives x after, and y before, each step."""
    xs, ys, before = [course.start], [], course.start
    for t, rate in enumerate(rates):
        ys.append(xs[-1] + mu * (xs[-1] - before))
        before = xs[-1]
        xs.append(ys[-1] - rate * course.gradient(ys[-1], t))
    ys.append(xs[-1] + mu * (xs[-1] - before))
    return np.array(xs[1:]), np.array(ys)


@check("Nesterov")
def nesterov_is_the_method_of_two_sequences_of_points(cls):
    for rates in (np.full(STEPS, 0.03), RATES):
        course = Smooth((3, 4))
        wanted, _ = accelerated(course, 0.9, rates)
        assert_near(run(cls, course, STEPS, lr=lambda t: rates[t], mu=0.9), wanted)  # noqa: B023


@check("Nesterov")
def the_shifted_weights_are_the_points_where_the_other_form_takes_its_gradients(cls):
    course = Smooth((3, 4))
    _, wanted = accelerated(course, 0.9, np.full(STEPS, 0.03))
    got = run(cls, course, STEPS, lr=0.03, mu=0.9, form="shifted")
    assert_near(got, wanted[1:], 1e-13)


@check("RMSProp")
def rmsprop_with_epsilon_inside_or_outside_divides_by_a_sum_over_the_past(cls):
    rho, eps = 0.9, 0.01
    square, mean = ((1 - rho) * remembered(rho, x) for x in (G**2, G))
    for centered in (False, True):
        spread = square - centered * mean**2
        for inside in (False, True):
            divided = G / (np.sqrt(spread + eps) if inside else np.sqrt(spread) + eps)
            for mu in (0.0, 0.7):
                got = run(cls, COURSE, STEPS, lr=falling, rho=rho, eps=eps, mu=mu,
                          centered=centered, eps_inside=inside)  # fmt: skip
                assert_near(got, walked(each(RATES, remembered(mu, divided))))


def adam_directions(beta1: float, beta2: float, eps: float) -> np.ndarray:
    return mean_so_far(beta1, G) / (np.sqrt(mean_so_far(beta2, G**2)) + eps)


@check("Adam")
def adam_divides_the_weighted_mean_gradient_by_the_root_of_the_weighted_mean_square(cls):
    for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.6, 0.95, 0.1), (0.0, 0.9, 1e-3)):
        got = run(cls, COURSE, STEPS, lr=falling, beta1=beta1, beta2=beta2, eps=eps)
        assert_near(got, walked(each(RATES, adam_directions(beta1, beta2, eps))))


@check("Adam")
def the_epsilon_hat_of_adam_is_epsilon_over_the_root_of_the_correction(cls):
    """α √(1-β₂ᵗ)/(1-β₁ᵗ) · m/(√v + ε̂) is α m̂/(√v̂ + ε̂/√(1-β₂ᵗ)): Adam, ε another each step."""
    beta1, beta2, eps = 0.8, 0.98, 0.01
    t = np.arange(1, STEPS + 1)
    wide = each(eps / np.sqrt(1 - beta2**t), np.ones_like(G))
    wanted = mean_so_far(beta1, G) / (np.sqrt(mean_so_far(beta2, G**2)) + wide)
    got = run(cls, COURSE, STEPS, lr=falling, beta1=beta1, beta2=beta2, eps=eps, form="eps_hat")
    assert_near(got, walked(each(RATES, wanted)))


@check("AMSGrad")
def amsgrad_divides_by_the_largest_raw_mean_square_so_far(cls):
    beta1, beta2, eps, t = 0.8, 0.9, 1e-3, np.arange(1, STEPS + 1)
    raw = np.maximum.accumulate((1 - beta2) * remembered(beta2, G**2))
    root = np.sqrt(each(1 / (1 - beta2**t), raw)) + eps
    got = run(cls, COURSE, STEPS, lr=falling, beta1=beta1, beta2=beta2, eps=eps)
    assert_near(got, walked(each(RATES, mean_so_far(beta1, G) / root)))


@check("AdamW")
def adamw_is_adam_on_weights_that_shrink(cls):
    for decay in (0.02, 0.9):
        got = run(cls, COURSE, STEPS, lr=falling, beta1=0.8, beta2=0.98, eps=1e-3,
                  weight_decay=decay)  # fmt: skip
        steps = each(RATES, adam_directions(0.8, 0.98, 1e-3))
        assert_near(got, walked(steps, kept=1 - RATES * decay))


@check("Adagrad")
def adagrad_divides_by_the_root_of_the_sum_of_all_squares(cls):
    root = np.sqrt(0.3 + np.cumsum(G**2, axis=0)) + 0.01
    rates = RATES / (1 + 0.05 * np.arange(STEPS))
    got = run(cls, COURSE, STEPS, lr=falling, eps=0.01, initial=0.3, lr_decay=0.05)
    assert_near(got, walked(each(rates, G / root)))


@check("Lion")
def lion_takes_the_sign_of_a_sum_over_the_past_and_forgets_it_at_another_speed(cls):
    for beta1, beta2, decay in ((0.9, 0.99, 0.0), (0.5, 0.8, 0.4)):
        votes = np.empty_like(G)
        for t in range(STEPS):
            old = sum((1 - beta2) * beta2 ** (t - 1 - k) * G[k] for k in range(t))
            votes[t] = np.sign(beta1 * old + (1 - beta1) * G[t])
        got = run(cls, COURSE, STEPS, lr=falling, beta1=beta1, beta2=beta2, weight_decay=decay)
        assert_near(got, walked(each(RATES, votes), kept=1 - RATES * decay))


def norm(x: np.ndarray) -> float:
    return float(np.sqrt(np.sum(x**2)))


@check("LAMB")
def a_step_of_lamb_has_the_length_of_the_tensor_times_the_rate(cls):
    decay = 0.2
    adam = adam_directions(0.8, 0.98, 1e-3)
    path = np.concatenate(
        [START[None], run(cls, COURSE, STEPS, lr=falling, beta1=0.8, beta2=0.98, eps=1e-3,
                          weight_decay=decay)])  # fmt: skip
    for t, (w, new) in enumerate(zip(path, path[1:])):
        step, direction = w - new, adam[t] + decay * w
        assert_near(norm(step), falling(t) * norm(w))
        assert_near(step * norm(direction), norm(step) * direction)


@check("LARS")
def lars_remembers_steps_that_are_each_a_share_of_the_tensor(cls):
    for mu, decay in ((0.0, 0.0), (0.7, 0.3)):
        path = run(cls, COURSE, STEPS, lr=falling, mu=mu, weight_decay=decay, eta=0.1)
        before = np.concatenate([START[None], path[:-1]])
        shares = np.array([
            falling(t) * 0.1 * norm(w) / (norm(g) + decay * norm(w)) * (g + decay * w)
            for t, (w, g) in enumerate(zip(before, G))
        ])  # fmt: skip
        assert_near(path, walked(remembered(mu, shares)))


@check("LAMB", "LARS")
def the_trust_ratio_is_one_where_the_tensor_or_its_step_is_zero(cls):
    (w,) = weights = tensors([Recorded((3, 4))])
    keywords = {"weight_decay": 0.0, **({"mu": 0.0, "eta": 0.1} if cls.__name__ == "LARS" else {})}
    optimizer = make(cls, weights, lr=0.5, **keywords)
    w.data = asarray(np.zeros((3, 4)))
    w.grad = asarray(np.full((3, 4), 2.0))
    optimizer.step()
    assert_near(w.numpy(), np.full((3, 4), -0.1 if cls.__name__ == "LARS" else -0.5), 1e-6)
    (w,) = weights = tensors([Recorded((3, 4))])
    before = w.numpy()
    make(cls, weights, lr=0.5, **keywords).step()
    np.testing.assert_array_equal(w.numpy(), before)


def schedule_free(course: Any, rate, beta, decay: float, adam: tuple | None) -> np.ndarray:
    """The weights y and averages x after each step: x is the explicit mean of all z so far, each
    weighted with the square of the largest rate up to then."""
    zs, weights, gradients, w, ys, xs = [], [], [], course.start, [], []
    z = course.start
    for t in range(STEPS):
        gradients.append(course.gradient(w, t))
        direction = gradients[-1]
        if adam:
            ages = adam[0] ** np.arange(t, -1.0, -1.0)
            square = np.tensordot(ages / ages.sum(), np.array(gradients) ** 2, axes=1)
            direction = direction / (np.sqrt(square) + adam[1])
        z = z - rate(t) * (direction + decay * w)
        zs.append(z)
        weights.append(max(rate(k) for k in range(t + 1)) ** 2)
        x = np.average(zs, axis=0, weights=weights)
        w = (1 - beta(t)) * z + beta(t) * x
        ys.append(w)
        xs.append(x)
    return np.array([ys, xs])


def rising(t: int) -> float:
    return 0.05 * min(1.0, (t + 1) / 20) / (1 + max(0, t - 60) / 20)


@check("ScheduleFree")
def schedule_free_evaluates_the_explicit_mean_of_all_iterates_z(cls):
    numbers = {"beta2": 0.95, "eps": 1e-3}
    for form, adam in (("sgd", None), ("adamw", (0.95, 1e-3))):
        for beta, decay in ((lambda t: 0.9, 0.0), (lambda t: 0.6 + 0.3 / (1 + t), 0.2)):
            for course in (COURSE, Smooth((3, 4))):
                (w,) = weights = tensors([course])
                given = {"form": form, **(numbers if adam else {})}
                optimizer = make(cls, weights, lr=rising, beta=beta, weight_decay=decay, **given)
                got = []
                for t in range(STEPS):
                    advance(optimizer, weights, [course], t)
                    got.append([w.numpy(), optimizer.eval() and w.numpy()])
                    optimizer.train()
                wanted = schedule_free(course, rising, beta, decay, adam)
                assert_near(np.swapaxes(got, 0, 1), wanted)
