"""Runs whose whole course is known in closed form: quadratics, a gradient that never changes, and
the example on which Adam fails."""

import numpy as np

from optim_cases.problems import Given, assert_apart, assert_near, check, make, run, tensors
from tinygrad_opt.backend import asarray

RNG = np.random.default_rng(5)
AXES = np.linalg.qr(RNG.standard_normal((3, 3)))[0]  # the eigenvectors of a Hessian, as columns
CURVATURES = np.array([0.3, 2.0, 9.0])
HESSIAN = AXES * CURVATURES @ AXES.T
STEEP = np.array([0.3, -2.0, 5.0, 0.07])  # a gradient that stays


def quadratic(start=(1.0, -2.0, 0.5)) -> Given:
    """½ wᵀHw, whose axes are not those of the weights."""
    return Given(start, lambda w: HESSIAN @ w)


def constant(start=(1.0, -1.0, 2.0, 0.0), gradient=STEEP) -> Given:
    return Given(start, lambda w: gradient)


def slope(curvature: float = 1.0) -> Given:
    """½ λ w² from w = 1."""
    return Given([1.0], lambda w: curvature * w)


# ---- quadratics ----------------------------------------------------------------------------------


@check("SGD")
def gd_on_a_quadratic_shrinks_each_eigenvector_by_one_minus_alpha_lambda(cls):
    course = quadratic()
    for t, w in enumerate(run(cls, course, 60, lr=0.1), start=1):
        assert_near(w, AXES @ ((1 - 0.1 * CURVATURES) ** t * (AXES.T @ course.start)))


# One step of (w, v) along an eigenvector, worked out by hand from the papers.
MATRICES = {
    ("Momentum", "classical"): lambda a, mu, h: [[1 - a * h, mu], [-a * h, mu]],
    ("Momentum", "torch"): lambda a, mu, h: [[1 - a * h, -a * mu], [h, mu]],
    ("Momentum", "ema"): lambda a, mu, h: [[1 - a * (1 - mu) * h, -a * mu], [(1 - mu) * h, mu]],
    ("Nesterov", "look_ahead"): lambda a, mu, h: [[1 - a * h, mu * (1 - a * h)],
                                                  [-a * h, mu * (1 - a * h)]],
    ("Nesterov", "shifted"): lambda a, mu, h: [[1 - a * h * (1 + mu), -a * mu**2], [h, mu]],
}  # fmt: skip


@check("Momentum", "Nesterov")
def momentum_on_a_quadratic_is_a_power_of_a_matrix_along_each_eigenvector(cls):
    course = quadratic()
    for (name, form), matrix in MATRICES.items():
        if name != cls.__name__:
            continue
        for lr, mu in ((0.1, 0.9), (0.03, 0.6)):
            got = run(cls, course, 60, lr=lr, mu=mu, form=form) @ AXES
            for n, (curvature, start) in enumerate(zip(CURVATURES, AXES.T @ course.start)):
                step = np.array(matrix(lr, mu, curvature))
                wanted = [np.linalg.matrix_power(step, t)[0, 0] * start for t in range(1, 61)]
                assert_near(got[:, n], wanted)


@check("Momentum")
def the_heavy_ball_is_a_sum_of_two_powers_of_the_roots_of_its_polynomial(cls):
    """z² - (1 + μ - αλ) z + μ = 0, whatever the form's v is."""
    for form, factor in (("classical", 1.0), ("torch", 1.0), ("ema", 1 / (1 - 0.9))):
        got = run(cls, slope(2.0), 60, lr=0.1 * factor, mu=0.9, form=form)[:, 0]
        roots = np.roots([1, -(1 + 0.9 - 0.2), 0.9]).astype(complex)
        parts = np.linalg.solve([[1, 1], roots], [1.0, 1 - 0.2])
        assert_near(got, [(parts @ roots**t).real for t in range(1, 61)])


LIMITS = {  # the largest stable α · curvature
    ("SGD", None): lambda mu: 2.0,
    ("Momentum", "classical"): lambda mu: 2 * (1 + mu),
    ("Momentum", "torch"): lambda mu: 2 * (1 + mu),
    ("Momentum", "ema"): lambda mu: 2 * (1 + mu) / (1 - mu),
    ("Nesterov", "look_ahead"): lambda mu: 2 * (1 + mu) / (1 + 2 * mu),
    ("Nesterov", "shifted"): lambda mu: 2 * (1 + mu) / (1 + 2 * mu),
}


@check("SGD", "Momentum", "Nesterov")
def a_run_converges_just_below_the_stability_limit_dangles_at_it_and_diverges_just_above(cls):
    for (name, form), limit in LIMITS.items():
        if name != cls.__name__:
            continue
        for mu in (0.5, 0.9) if form else (0.0,):
            given = {"mu": mu, "form": form} if form else {}

            course = Given(np.ones(3), lambda w: np.array([0.99, 1.0, 1.01]) * w)
            below, at, above = run(cls, course, 1200, lr=limit(mu), **given).T
            assert abs(below[-1]) < 1e-3
            assert abs(above[-1]) > 1e2
            assert_near(at[-50:-1], -at[-49:], 1e-9)  # flips for ever, and stays
            assert abs(at[-1]) > 0.05


@check("SGD")
def gd_at_its_limit_flips_between_one_and_minus_one_for_ever(cls):
    got = run(cls, slope(2.0), 100, lr=1.0)[:, 0]
    np.testing.assert_array_equal(got, (-1.0) ** np.arange(1, 101))


# ---- a gradient that never changes ---------------------------------------------------------------

T = np.arange(1, 41)[:, None]


@check("Adam", "AMSGrad", "AdamW", "Adamax")
def every_step_along_a_constant_gradient_is_alpha_g_over_the_size_of_g_plus_epsilon(cls):
    """The first one with it: |Δ| = α |g| / (|g| + ε), whatever β₁ and β₂."""
    course = constant()
    for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.5, 0.7, 0.2)):
        given = {"weight_decay": 0.0} if cls.__name__ == "AdamW" else {}
        got = run(cls, course, 40, lr=0.1, beta1=beta1, beta2=beta2, eps=eps, **given)
        assert_near(got, course.start - T * 0.1 * STEEP / (np.abs(STEEP) + eps))


@check("Adam")
def the_first_step_of_adam_with_epsilon_hat_counts_epsilon_as_much_larger(cls):
    course, root = constant(), np.sqrt(1 - 0.99)
    (got,) = run(cls, course, 1, lr=0.1, beta2=0.99, eps=0.01, form="eps_hat")
    assert_near(got, course.start - 0.1 * STEEP / (np.abs(STEEP) + 0.01 / root))


@check("NAdam")
def nadam_with_its_warm_up_over_is_one_look_ahead_beyond_adam(cls):
    """With μ = β₁ from the start, ĝ = g [(1-β₁)/(1-β₁ᵗ) + β₁ (1-β₁ᵗ)/(1-β₁ᵗ⁺¹)]."""
    b, course = 0.8, constant()
    pull = (1 - b) / (1 - b**T) + b * (1 - b**T) / (1 - b ** (T + 1))
    steps = 0.1 * pull * STEEP / (np.abs(STEEP) + 0.01)
    got = run(cls, course, 40, lr=0.1, beta1=b, eps=0.01, psi=1e6)
    assert_near(got, course.start - np.cumsum(steps, axis=0))


@check("RAdam")
def radam_is_momentum_until_its_variance_can_be_trusted_and_is_then_rectified(cls):
    """Along a constant gradient: αg a step up to ρ = 5, then αrg / (|g| + ε/√(1-β₂ᵗ))."""
    eps, course = 0.01, constant()
    for beta2 in (0.9, 0.75):
        root = np.sqrt(1 - beta2**T)
        most = 2 / (1 - beta2) - 1
        rho = most - 2 * T * beta2**T / (1 - beta2**T)
        assert 0 < np.sum(rho <= 5) < 12
        trusted = np.maximum(rho, 5)
        r = np.sqrt((trusted - 4) / (most - 4) * (trusted - 2) / (most - 2) * most / trusted)
        steps = np.where(rho > 5, r * STEEP / (np.abs(STEEP) + eps / root), STEEP)
        got = run(cls, course, 40, lr=0.1, beta2=beta2, eps=eps)
        assert_near(got, course.start - 0.1 * np.cumsum(steps, axis=0))


@check("RAdam")
def radam_with_a_short_memory_is_momentum_for_ever(cls):
    """At β₂ = 0.6 and 1/3 even the greatest ρ is 4 and 2, where r has no value at all."""
    course = constant()
    for beta2 in (0.0, 1 / 3, 0.5, 0.6):
        got = run(cls, course, 40, lr=0.1, beta2=beta2)
        assert_near(got, course.start - T * 0.1 * STEEP)


@check("Adagrad")
def adagrad_along_a_constant_gradient_moves_by_the_sum_of_one_over_the_roots_of_t(cls):
    course = constant()
    steps = 0.1 * STEEP / (np.abs(STEEP) * np.sqrt(T) + 0.01)
    got = run(cls, course, 40, lr=0.1, eps=0.01)
    assert_near(got, course.start - np.cumsum(steps, axis=0))
    exact = run(cls, course, 40, lr=0.1, eps=0.0)
    assert_near(exact, course.start - 0.1 * np.sign(STEEP) * np.cumsum(1 / np.sqrt(T), axis=0))


@check("RMSProp")
def rmsprop_along_a_constant_gradient_divides_by_a_root_that_fills_up(cls):
    course, filled = constant(), 1 - 0.9**T
    for centered, spread in ((False, filled), (True, filled * 0.9**T)):
        steps = 0.01 * STEEP / (np.abs(STEEP) * np.sqrt(spread) + 0.1)
        got = run(cls, course, 40, lr=0.01, rho=0.9, eps=0.1, centered=centered)
        assert_near(got, course.start - np.cumsum(steps, axis=0))


@check("Adadelta")
def the_first_step_of_adadelta_has_the_size_of_the_root_of_epsilon(cls):
    course, eps = constant(), 1e-4
    (got,) = run(cls, course, 1, rho=0.9, eps=eps)
    assert_near(got, course.start - np.sqrt(eps / (0.1 * STEEP**2 + eps)) * STEEP)


@check("Rprop")
def along_a_constant_gradient_the_steps_of_rprop_grow_by_a_factor_up_to_the_largest(cls):
    course = constant()
    lengths = np.minimum(0.01 * 1.3 ** np.arange(40), 0.7)[:, None]
    got = run(cls, course, 40, up=1.3, largest=0.7)
    assert_near(got, course.start - np.sign(STEEP) * np.cumsum(lengths, axis=0))


@check("Rprop")
def a_gradient_that_flips_each_time_lets_rprop_wait_and_halve_its_step(cls):
    """After a flip the weight waits, and forgets the flip: the step after is taken, unchanged."""
    (w,) = weights = tensors([slope()])
    optimizer = make(cls, weights, lr=0.1, down=0.5, smallest=0.02)
    places = []
    for sign in (1, -1, 1, -1, 1, -1, 1):
        w.grad = asarray(np.array([sign * 3.0]))
        optimizer.step()
        places.append(w.item())
    assert_near(places, 1 - np.cumsum([0.1, 0.0, 0.05, 0.0, 0.025, 0.0, 0.02]))


@check("ASGD")
def the_average_of_asgd_is_the_mean_of_the_weights_since_averaging_began(cls):
    course, t0 = constant(), 5
    (w,) = weights = tensors([course])
    optimizer = make(cls, weights, lr=0.1, lambd=0.3, alpha=0.6, t0=t0)
    place, path = course.start, []
    for t in range(1, 31):
        w.grad = asarray(STEEP)
        optimizer.step()
        eta = 0.1 / (1 + 0.3 * 0.1 * (t - 1)) ** 0.6
        place = place - eta * (STEEP + 0.3 * place)
        path.append(place)
        assert_near(w.numpy(), place)
        with optimizer.averaged():  # PyTorch's count starts it a step late
            assert_near(w.numpy(), np.mean(path[t0 + 1 :], axis=0) if t > t0 + 1 else place)


# ---- the example of Reddi, Kale and Kumar (2018) -------------------------------------------------


def on_an_interval(cls: type, gradients, lr: float, **given: float) -> float:
    """Where the weight ends, put back into [-1, 1] after each step, from 0 on."""
    w, *slots = (asarray(np.zeros(1)) for _ in ("w", *cls.rule.arrays[2:]))
    for t, g in enumerate(gradients, start=1):
        w, *slots = cls.rule(w, asarray(np.array([g])), *slots, t=t, lr=lr, eps=1e-8, **given)
        w = np.clip(w, -1, 1)
    return w.item()


@check("Adam", "AMSGrad")
def adam_goes_to_the_worst_point_of_an_interval_and_amsgrad_to_the_best(cls):
    """A slope of C once in three steps and of -1 in between goes up on the whole, by C - 2: the
    best of [-1, 1] is -1. Adam divides the large step by the root of its own square (theorem 1)."""
    C = 4.0
    end = on_an_interval(cls, [C, -1.0, -1.0] * 700, 0.01, beta1=0.0, beta2=1 / (1 + C**2))
    assert_near(end, 1.0 if cls.__name__ == "Adam" else -1.0, 0.05)


@check("Adam")
def the_forms_of_adam_differ_where_epsilon_counts(cls):
    course = constant()
    forms = [run(cls, course, 5, lr=0.1, eps=0.1, form=form) for form in ("paper", "eps_hat")]
    assert_apart(*forms, least=1e-2)
    forms = [run(cls, course, 5, lr=0.1, eps=0.0, form=form) for form in ("paper", "eps_hat")]
    assert_near(*forms)
