"""Kernels written in C run on the stand-in as they run on a GPU."""

import re

import numpy as np
import pytest
from strict_cupy.example import names_for


@pytest.fixture
def kernel(cp):
    return cp.ElementwiseKernel


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_kernel_computes_elementwise_in_the_dtype_of_its_arrays(cp, kernel, dtype):
    adam = kernel(
        "T w, T g, T v, T lr, T beta, T one_minus_beta", "T w_out, T v_out",
        "const T v_ = beta * v + one_minus_beta * g * g;"
        "w_out = w - lr * g / (sqrt(v_) + T(1e-8)); v_out = v_",
        "adam", options=("--fmad=false",),
    )  # fmt: skip
    w, g, v = np.random.default_rng(0).uniform(0.1, 1, (3, 1000)).astype(dtype)
    new_w, new_v = adam(*map(cp.asarray, (w, g, v)), 0.1, 0.9, 1 - 0.9)
    expected_v = 0.9 * v + (1 - 0.9) * g * g
    np.testing.assert_array_equal(new_v.get(), expected_v, strict=True)
    expected_w = w - 0.1 * g / (np.sqrt(expected_v) + 1e-8)
    np.testing.assert_array_equal(new_w.get(), expected_w, strict=True)


def test_a_kernel_works_in_place_and_an_early_write_is_seen(cp, kernel):
    x, y = cp.ones(4), cp.ones(4)
    early = kernel("T x, T y", "T a, T b", "a = x + y; b = x", "early")
    early(x, y, x, y)
    assert x.tolist() == y.tolist() == [2.0] * 4


def test_a_kernel_broadcasts_reads_raw_arrays_and_knows_its_index(cp, kernel):
    x = cp.asarray(np.arange(6, dtype="f4").reshape(2, 3))
    raw = kernel("T x, T row, raw T h", "T y", "y = x * row + h[1] * i", "raw_")
    y = raw(x.T, cp.asarray([1.0, 2.0], dtype="f4"), cp.asarray([7.0, 10.0], dtype="f4"))
    expected = x.get().T * [1, 2] + 10 * np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(y.get(), expected)


def test_a_kernel_may_write_into_an_array_of_another_size(cp, kernel):
    found = cp.full((), -1, "i8")
    find = kernel("T x, int64 n", "raw int64 found", "if (x == n) found[0] = i", "find")
    find(cp.asarray(np.arange(5.0)), 3, found)
    assert int(found) == 3


@pytest.mark.parametrize(
    "body", ["max(x, T(3))", "max(T(3), x)", "min(x, T(3))", "min(T(3), x)", "fmax(x, T(3))"]
)
def test_max_and_min_of_a_kernel_drop_nan(cp, kernel, body):
    y = kernel("T x", "T y", f"y = {body}", "drops")(cp.asarray([1.0, 5.0, np.nan]))
    numpys = np.fmax if "max" in body else np.fmin
    assert y.tolist() == numpys([1.0, 5.0, np.nan], 3).tolist()


KERNEL_REFUSES = [
    ("add(x)", TypeError, "Wrong number of arguments for 'add'. It must be either 2 or 3"),
    ("add(x, n)", TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    ("add(x, None)", TypeError, "Unsupported type <class 'NoneType'>"),
    ("add(x, k)", TypeError, "Type is mismatched. y int64 float32 T"),
    ("add(x, y, k)", TypeError, "Type is mismatched"),
    ("add(x, y, x[:1])", ValueError, "Out shape is mismatched"),
    ("add(2.0, 3.0)", ValueError, "Loop size is undecided."),
    ("add(x, y, size=3)", ValueError, "Specified 'size' can be used only if all"),
    ("add(x, y, foo=1)", TypeError, "Wrong arguments {'foo': 1}"),
    ("cp.ElementwiseKernel('T x', 'T i', 'i = x')", ValueError, "Can not use 'i' as a parameter"),
    ("cp.ElementwiseKernel('T x', 'T y', 'y = x', '<lambda>')(x)", ValueError, "<lambda>"),
    ("cp.ElementwiseKernel('T x', 'T y', 'y = x', 'k', option=())(x)", TypeError,
     "got an unexpected keyword argument 'option'"),
    ("cp.ElementwiseKernel('T x', 'T y', 'y = x', 'k', options=['-G'])(x)", TypeError,
     "unhashable type: 'list'"),
]


@pytest.mark.parametrize(
    ("code", "error", "message"), KERNEL_REFUSES, ids=[c for c, _, _ in KERNEL_REFUSES]
)
def test_a_kernel_refuses(cp, kernel, code, error, message):
    names = names_for(cp) | {"add": kernel("T x, T y", "T z", "z = x + y", "add")}
    with pytest.raises(error, match=re.escape(message)):
        exec(code, names)
