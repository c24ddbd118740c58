"""The optimizers that see a tensor, or all of them, as a whole, and those around another optimizer:
in other words than their own."""

import numpy as np

from optim_cases.problems import (
    Given,
    Recorded,
    Smooth,
    assert_near,
    check,
    make,
    run,
    tensors,
    trajectory,
)
from optim_cases.statements import STEPS, each, falling, norm, remembered, walked

CURVATURES = np.array([0.5, 3.0, 20.0])


def orthogonalised(x: np.ndarray, coefficients: tuple, steps: int, eps: float) -> np.ndarray:
    """What Newton-Schulz steps do, said by the singular values: each goes through a polynomial."""
    a, b, c = coefficients
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = s / max(float(np.sqrt(np.sum(s**2))), eps)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


@check("Muon")
def muon_moves_along_the_singular_vectors_each_as_far_as_a_polynomial_of_its_value_says(cls):
    coefficients = (3.4445, -4.775, 2.0315)
    for shape in ((3, 4), (6, 2)):
        course = Recorded(shape, seed=7, steps=STEPS)
        for nesterov, steps, eps in ((True, 5, 1e-7), (False, 3, 4.0)):
            mean = (1 - 0.8) * remembered(0.8, course.gradients)
            asked = (1 - 0.8) * course.gradients + 0.8 * mean if nesterov else mean
            moves = np.array([orthogonalised(u, coefficients, steps, eps) for u in asked])
            got = run(cls, course, STEPS, lr=falling, momentum=0.8, weight_decay=0.3,
                      nesterov=nesterov, ns_steps=steps, eps=eps)  # fmt: skip
            rates = np.array([falling(t) for t in range(STEPS)])
            longer = np.sqrt(max(1.0, shape[0] / shape[1]))
            assert_near(got, walked(each(rates * longer, moves), 1 - 0.3 * rates, course.start))


@check("Muon")
def the_step_of_muon_is_nearly_the_orthogonal_matrix_nearest_to_the_gradient(cls):
    """u vᵀ of the singular value decomposition. With the cubic 1.5 s - 0.5 s³, which converges,
    it is so to rounding; with the fast polynomial of five steps, the singular values are 0.7 to
    1.2."""
    course = Recorded((3, 4), seed=7, steps=1)
    u, _, vt = np.linalg.svd(course.gradients[0], full_matrices=False)
    numbers = {"lr": 0.1, "weight_decay": 0.0}
    exact = run(cls, course, 1, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=40, **numbers)[0]
    assert_near(course.start - exact, 0.1 * u @ vt)
    fast = (course.start - run(cls, course, 1, **numbers)[0]) / 0.1
    stretched = np.diag(u.T @ fast @ vt.T)
    assert_near(fast, (u * stretched) @ vt)
    assert stretched.min() > 0.65
    assert stretched.max() < 1.25


def adafactor(course: Recorded, lr, power: float, eps: tuple, d: float, decay: float):
    """V as an explicit mean over the past squares, whose weights are shares that were left over;
    of a matrix, the product of its row and column means, over the mean of all."""
    w, path = course.start, []
    for t in range(1, STEPS + 1):
        share = np.arange(1.0, t + 1) ** power
        weights = [share[k] * np.prod(1 - share[k + 1 :]) for k in range(t)]
        V = np.tensordot(weights, course.gradients[:t] ** 2, axes=1)
        if V.ndim > 1:
            rows, columns = V.mean(axis=-1)[..., :, None], V.mean(axis=-2)[..., None, :]
            V = rows * columns / np.maximum(V.mean(axis=(-2, -1))[..., None, None], eps[0])
        U = course.gradients[t - 1] / np.maximum(np.sqrt(V), eps[0])
        U = U * min(1.0, d * np.sqrt(U.size) / norm(U))
        size = max(eps[1], norm(w) / np.sqrt(w.size))
        rate = min(lr(t - 1), t**-0.5)
        w = w - lr(t - 1) * decay * w - rate * size * U
        path.append(w)
    return np.array(path)


@check("Adafactor")
def adafactor_divides_by_the_product_of_row_and_column_means_over_the_past(cls):
    for shape in ((3, 4), (5,), (2, 3, 2)):
        course = Recorded(shape, seed=7, steps=STEPS)
        for lr, *numbers in (
            (falling, -0.8, (1e-3, 1e-3), 1.0, 0.0),
            (falling, -0.5, (0.7, 2.0), 0.6, 0.5),
            (lambda t: 0.2, -0.8, (1e-3, 1e-3), 1.0, 0.3),  # above 1/√t from t = 25 on
        ):
            names = ("beta2_decay", "eps", "d", "weight_decay")
            got = run(cls, course, STEPS, lr=lr, **dict(zip(names, numbers)))
            assert_near(got, adafactor(course, lr, *numbers))


@check("Adafactor")
def of_a_gradient_of_rank_one_adafactor_forgets_nothing(cls):
    """V is its square exactly, so that every weight moves by α times the tensor's size."""
    gradient = np.outer([1.0, -2.0, 0.5], [3.0, 0.1, -1.0, 2.0])
    start = np.full((3, 4), 2.0)
    (step,) = run(cls, Given(start, lambda w: gradient), 1, lr=0.1)
    assert_near(step, start - 0.1 * 2.0 * np.sign(gradient))


@check("Adafactor")
def the_rate_of_adafactor_is_at_most_one_over_the_root_of_t(cls):
    start = np.full(4, 2.0)
    path = run(cls, Given(start, np.ones_like), 30, lr=0.3, eps=(None, 1e-9))
    sizes = np.concatenate([start[None], path[:-1]])
    t = np.arange(1, 31)[:, None]
    assert_near(sizes - path, np.minimum(0.3, 1 / np.sqrt(t)) * np.abs(sizes))


# ---- around an optimizer -------------------------------------------------------------------------


@check("SAM")
def sam_descends_by_the_gradient_a_step_uphill_over_all_weights_together(cls):
    runs = [Smooth((3, 4), seed=1), Smooth((5,), seed=2)]
    weights = tensors(runs)
    groups = [{"params": [w]} for w in weights]
    got = trajectory(make(cls, groups, rho=0.3), weights, runs, STEPS)
    places, pulls = [course.start for course in runs], [[], []]
    for t in range(STEPS):
        uphill = [course.gradient(w, t) for course, w in zip(runs, places)]
        length = norm(np.concatenate([g.ravel() for g in uphill]))
        for n, (course, w, g) in enumerate(zip(runs, places, uphill)):
            pulls[n].append(course.gradient(w + 0.3 / length * g, t))
            past = sum(0.8 ** (t - k) * pull for k, pull in enumerate(pulls[n]))
            places[n] = w - 0.03 * past
            assert_near(got[n][t], places[n])


@check("SAM")
def around_sgd_on_a_quadratic_sam_is_gd_with_a_curvature_that_the_climb_raises(cls):
    """g(w + ρ g/‖g‖) = A w + ρ A² w/‖A w‖: descent of ½wᵀAw with A + ρA²/‖Aw‖ in A's place."""
    course = Given([1.0, -2.0, 0.5], lambda w: CURVATURES * w)
    got = run(cls, course, 40, rho=0.1, inside={"lr": 0.01, "mu": 0.0})
    w = course.start
    for point in got:
        raised = CURVATURES + 0.1 * CURVATURES**2 / norm(CURVATURES * w)
        w = (1 - 0.01 * raised) * w
        assert_near(point, w)


def heavy_ball(lr: float, mu: float, curvature: float) -> np.ndarray:
    return np.array([[1 - lr * curvature, mu], [-lr * curvature, mu]])  # of (w, v)


@check("Lookahead")
def lookahead_on_a_quadratic_is_a_product_of_matrices(cls):
    """k steps of the heavy ball, and w pulled back to where it was before them, by 1 - α."""
    for k, alpha, mu in ((5, 0.5, 0.0), (3, 0.2, 0.8), (1, 0.7, 0.5), (4, 1.0, 0.5)):
        course = Given([1.0, -2.0, 0.5], lambda w: CURVATURES * w)
        got = run(cls, course, 40, k=k, alpha=alpha, inside={"lr": 0.02, "mu": mu})
        for n, curvature in enumerate(CURVATURES):
            step = heavy_ball(0.02, mu, curvature)
            slow = np.array([course.start[n], 0.0])
            fast = slow
            for t in range(40):
                fast = step @ fast
                if (t + 1) % k == 0:
                    slow = fast = np.array([(1 - alpha) * slow[0] + alpha * fast[0], fast[1]])
                assert_near(got[t, n], fast[0])


@check("Lookahead")
def the_slow_weights_of_lookahead_around_gd_shrink_by_a_power_in_closed_form(cls):
    """(1 - α + α(1 - ηλ)^k)^n after n rounds."""
    course = Given([1.0, -2.0, 0.5], lambda w: CURVATURES * w)
    got = run(cls, course, 40, k=4, alpha=0.3, inside={"lr": 0.02, "mu": 0.0})
    for n in range(1, 11):
        factor = 1 - 0.3 + 0.3 * (1 - 0.02 * CURVATURES) ** 4
        assert_near(got[4 * n - 1], factor**n * course.start)
