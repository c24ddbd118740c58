"""What the bounds of a rule promise: where they say that all is finite, nothing is NaN or inf."""

import itertools
import math

import numpy as np
import pytest

from tinygrad_opt.optim import L2, ClipValue, Momentum, Rule
from tinygrad_opt.optim.bounds import surely_finite
from tinygrad_opt.optim.fused import Fused

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
SIZES = (0.0, 1e-300, 1e-200, 1e-40, 1e-25, 1e-3, 1.0, 1e15, 1e30, 1e38, 1e150, 1e300)


@Rule
def scaled(w, g, *, a, b):
    g = a * g
    g = b * g
    return (g,)


@Rule
def tangled(w, g, *, a, b):
    far = np.abs(g - a * w) * -b
    g = np.maximum(far, w * w) - -g
    return (g,)


def norms_of(arrays):
    return [float(np.vdot(x, x)) for x in arrays]


def result(rule, arrays, scalars):
    with np.errstate(all="ignore"):
        (g,) = rule(*arrays, **scalars)
    return g


@both_dtypes
@pytest.mark.parametrize("rule", [scaled, tangled], ids=lambda rule: rule.name)
def test_what_is_said_to_be_finite_is(rule, dtype):
    said = 0
    with np.errstate(all="ignore"):
        for g, w, a, b in itertools.product(SIZES, SIZES, SIZES, SIZES):
            arrays = [np.array([x, -x, 0.0, x / 2], dtype) for x in (w, g)]
            norms = norms_of(arrays)
            if all(map(math.isfinite, norms)):
                scalars = {"a": -a, "b": b}
                if surely_finite(rule, norms, scalars, np.dtype(dtype)):
                    said += 1
                    assert np.isfinite(result(rule, arrays, scalars)).all(), (g, w, a, b)
    assert said > 1000


@both_dtypes
def test_ordinary_gradients_need_no_second_look(dtype):
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal(1000).astype(dtype) for _ in "wg"]
    rule, scalars = Fused((ClipValue.rule, L2.rule, ClipValue.rule),
                          ({"limit": 0.5}, {"l2": 0.1}, {"limit": 1e30})).alone()  # fmt: skip
    assert surely_finite(rule, norms_of(arrays), scalars, np.dtype(dtype))
    assert surely_finite(Momentum.rule, [*norms_of(arrays), 1.0], {"lr": 0.1, "mu": 0.9},
                         np.dtype(dtype))  # fmt: skip


@both_dtypes
def test_a_factor_that_makes_an_inf_is_no_bound_though_the_next_is_tiny(dtype):
    scalars = {"a": 1e30 if dtype == "float32" else 1e300, "b": 1e-300}
    assert not surely_finite(scaled, [1.0, 1e20], scalars, np.dtype(dtype))
    assert surely_finite(scaled, [1.0, 1e-20], {"a": 1e-3, "b": 1e-3}, np.dtype(dtype))


def test_a_number_beyond_float32_is_an_inf_there_however_small_what_it_meets():
    g = np.array([1e-30], "float32")
    assert np.vdot(g, g) == 0
    assert np.isinf(result(scaled, [g, g], {"a": 1e39, "b": 1.0}))
    assert not surely_finite(scaled, [0.0, 0.0], {"a": 1e39, "b": 1.0}, np.dtype("float32"))
    assert surely_finite(scaled, [0.0, 0.0], {"a": 1e39, "b": 1.0}, np.dtype("float64"))


@pytest.mark.parametrize("unknown", [
    "g / w", "np.sqrt(g)", "np.sign(g)", "np.where(g < w, g, 2 * w)", "np.where(a > 1, g, w)",
    "g**2",
])  # fmt: skip
def test_of_all_else_nothing_is_said(unknown, tmp_path):
    text = f"def made(w, g, *, a):\n    g = w + {unknown} + 0 * a\n    return (g,)\n"
    (tmp_path / "made.py").write_text(text)
    space = {"np": np}
    exec(compile(text, tmp_path / "made.py", "exec"), space)
    rule = Rule(space["made"])
    assert not surely_finite(rule, [1.0, 1.0], {"a": 1.0}, np.dtype("float64"))
