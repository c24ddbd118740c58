"""What the bounds of a rule promise: where they say that all is finite, nothing is NaN or inf, on
whichever backend the rule runs and its norms are taken."""

import itertools
import math

import numpy as np
import pytest

from tinygrad_opt.backend import array_module, asarray, host
from tinygrad_opt.optim import L2, ClipValue, Momentum, Rule
from tinygrad_opt.optim.bounds import surely_finite
from tinygrad_opt.optim.fused import Fused
from tinygrad_opt.optim.running import run

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

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
    return [float(array_module(x).vdot(x, x)) for x in map(asarray, arrays)]


def result(rule, arrays, scalars):
    """The new g, computed where updates are on the current backend."""
    w, g = (asarray(np.array(x)) for x in arrays)
    with np.errstate(all="ignore"):
        run(rule, [w, g], scalars)
    return host(g)


@everywhere
@both_dtypes
@pytest.mark.parametrize("rule", [scaled, tangled], ids=lambda rule: rule.name)
def test_what_is_said_to_be_finite_is(rule, dtype):
    said = 0
    with np.errstate(all="ignore"):
        vectors = [np.array([x, -x, 0.0, x / 2], dtype) for x in SIZES]
        norms = norms_of(vectors)
    finite = [n for n, norm in enumerate(norms) if math.isfinite(norm)]
    pairs = list(itertools.product(finite, finite))  # of w and g, all of them in one update
    arrays = [np.concatenate([vectors[pair[n]] for pair in pairs]) for n in range(2)]
    for a, b in itertools.product(SIZES, SIZES):
        scalars = {"a": -a, "b": b}
        results = np.isfinite(result(rule, arrays, scalars)).reshape(len(pairs), 4).all(axis=1)
        for (w, g), is_finite in zip(pairs, results):
            if surely_finite(rule, [norms[w], norms[g]], scalars, np.dtype(dtype)):
                said += 1
                assert is_finite, (SIZES[w], SIZES[g], a, b)
    assert said > 1000


@everywhere
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


@everywhere
def test_a_number_beyond_float32_is_an_inf_there_however_small_what_it_meets():
    g = np.array([1e-30], "float32")
    assert norms_of([g]) == [0.0]
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
