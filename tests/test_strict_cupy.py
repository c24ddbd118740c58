"""The stand-in answers as CuPy does: every line of the tables is a piece of code and its answer.

Where there is a GPU, real CuPy is asked the same questions, so the tables are facts about CuPy 14.2
and not merely about the stand-in. The arrays are those of strict_cupy/example.py.
"""

import math
import re

import numpy as np
import pytest
from strict_cupy.example import names_for

# Each gives the array that NumPy gives, 0-d for a scalar, on the GPU and with NumPy's dtype.
AS_NUMPY = """
x + 1; 2.0 - x; x / 0; x ** 2; x // 2; x % 2; -x; +x; abs(x); ~k; k << 1; k & 3; 7 ^ k; x @ x.T
x * np.float64(2); np.float64(2) * x; np.float32(2) - x; x * np.int64(2); s * 2.0; x * s; 1 / s
x == y; x != 3; x < 3; 3 >= x; x == None; None != x; np.float32(3) > x; True & (x > 2)
x.sum(); x.sum(axis=1, keepdims=True); x.sum((0, 1)); x.sum(dtype='f8'); k.sum(); (x > 2).sum()
x.mean(); k.mean(); x.max(0); x.min(axis=1); x.argmax(); x.argmax(1); x.argmin(axis=0); x.prod()
x.std(ddof=1); x.var(axis=0); x.any(); x.all(axis=1); x.cumsum(axis=1); x.cumprod(); x.trace()
x.reshape(3, 2); x.reshape((3, 2)); x.reshape(-1); x.reshape(3, 2, order='F'); x.ravel(); x.T
x.transpose(); x.transpose(1, 0); x.swapaxes(0, 1); x[None].squeeze(0); x.flatten(); x.mT; x.copy()
x.astype('f8'); x.astype('i4'); x.astype(bool); x.astype('f2') + 1; x.view('i4'); x.round(1)
x.clip(2, 4); x.clip(min=2); x.repeat(2, axis=0); x.take(i); x.diagonal(); x.conj(); x.real
x[0]; x[0, 0]; x[1:5]; x[..., 0]; x[None]; x[::-1]; x[()]; x[...]; x[np.int64(1)]; x[True]; x[[]]
x[i]; x[ni]; x[[0, 1]]; x[i, 0]; x[0, i]; x[i, i]; x[:, i]; x[-i]; x[k[0, 1]]; x[np.array(1)]
x[x > 2]; x[n > 2]; x[x[:, 0] > 2]; x[x[:, 0] > 2, 0]; x[[True, False]]; x[i, ..., None]
cp.exp(x); cp.exp(1.0); cp.add(x, y); cp.add(x, y, dtype='f8'); cp.maximum(x, 3); cp.log(0 * x)
cp.maximum(x, np.nan); cp.minimum(x, s); cp.fmax(x, np.nan); cp.isfinite(x); cp.sign(x - 3)
cp.logical_and(x > 2, x < 5); cp.floor(k); cp.power(x, 0.5); cp.hypot(x, x); cp.log1p(x); cp.tanh(s)
cp.sum(x); cp.mean(x, axis=0); cp.max(x); cp.any(x > 5); cp.argmax(x, axis=1); cp.cumsum(x, axis=1)
cp.where(x > 2, x, 0); cp.where(x > 2, x, 0.5); cp.where(x > 2, s, x); cp.where(s > 1, s, 0)
cp.where(np.bool(True), x, 0); cp.where(k, x, 0)
cp.clip(x, 2, 4); cp.clip(x, s, 4)
cp.dot(x, x.T); x.dot(x.T); cp.dot(s, x); cp.matmul(x, x.T); cp.vdot(x, x); cp.outer(x, x)
cp.einsum('ij->i', x); cp.einsum('ij,kj->ik', x, x, optimize=True); cp.tensordot(x, x.T, axes=1)
cp.concatenate([x, x], axis=1); cp.stack([x, x]); cp.vstack([x, x]); cp.broadcast_to(x, (2, 2, 3))
cp.expand_dims(x, (0, 1)); cp.moveaxis(x, 0, 1); cp.flip(x, 1); cp.roll(x, 1, axis=1); cp.tile(x, 2)
cp.pad(x, 1); cp.pad(x, 1, constant_values=2); cp.pad(x, np.array([[1, 2], [0, 3]]))
cp.tril(x); cp.diff(x); cp.trace(x); cp.nan_to_num(x)
cp.take(x, i, axis=0); cp.take(x, ni); cp.take_along_axis(x, k % 2, 1); cp.array_equal(x, y)
cp.allclose(x, y); cp.isclose(x, y); cp.count_nonzero(x > 2); cp.linalg.norm(x)
cp.linalg.norm(x, axis=1); cp.linalg.norm(x, 1, axis=1, keepdims=True)
cp.zeros(3); cp.zeros((2, 3), dtype='f4'); cp.ones(3, 'i4'); cp.full(3, 2.5, dtype='f4')
cp.arange(3); cp.arange(0, 3, 1, 'f4'); cp.linspace(0, 1, 3); cp.eye(2, dtype='f4'); cp.identity(2)
cp.zeros_like(x); cp.ones_like(x, dtype='i4'); cp.full_like(x, 3); cp.zeros_like(x.T)
cp.asarray(n); cp.asarray(n, 'f8'); cp.asarray([1, 2]); cp.asarray(2.0); cp.asarray(True)
cp.asarray([n, n]); cp.asarray(range(3)); cp.asarray(np.float32(3)); cp.array(n, ndmin=3)
cp.ascontiguousarray(x.T); cp.ascontiguousarray(s); cp.copy(x)
cp.add.reduce(x); cp.add.reduce(x, axis=(0, 1), keepdims=True); cp.multiply.reduce(x, axis=None)
cp.add.accumulate(x); cp.add.outer(x, x)
np.sqrt(x); np.sum(x); np.mean(x, axis=0); np.where(x > 2, x, 0); np.einsum('ij->i', x)
np.zeros_like(x); np.linalg.norm(x); np.concatenate([x, x]); np.clip(x, 2, 3); np.argmax(x)
np.matmul(x, x.T); np.add.reduce(x); np.expand_dims(x, 0); np.allclose(x, y); np.reshape(x, (3, 2))
pickle.loads(pickle.dumps(x)); copy.deepcopy(x); copy.copy(x); sum(x); max(x[0])
"""


def same_array(actual, expected, cp):
    assert type(actual) is cp.ndarray
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actual.get(), expected, rtol=1e-6)


@pytest.mark.parametrize("code", re.split("; |\n", AS_NUMPY.strip()))
def test_gives_what_numpy_gives_as_an_array_of_the_gpu(cp, code):
    with np.errstate(all="ignore"):
        expected = np.asarray(eval(code, names_for(np)))
    same_array(eval(code, names_for(cp)), expected, cp)


# Each leaves in x what NumPy leaves there.
CHANGES = [
    "x += 1",
    "x *= y",
    "x -= s",
    "x /= 2",
    "x **= 2",
    "x.fill(3)",
    "x.fill(s)",
    "x[...] = 1",
    "x[...] = np.float64(3)",
    "x[...] = np.array(3.0)",
    "x[0] = s",
    "x[0, 0] = 7",
    "x[i] = 0",
    "x[:, 0] = x[:, 1]",
    "x[i] = n[0]",
    "x[x > 2] = 0",
    "x[n > 2] = 0",
    "x[x > 3] *= 2",
    "x[0] += x[1]",
    "v = x[0]; v += 1",
    "v = x.T; v[0] = 9",
    "v = x.reshape(-1); v[0] = 9",
    "cp.add(x, y, x)",
    "cp.add(x, y, out=x)",
    "np.exp(x, out=x)",
    "cp.add.at(x, i, 1.0)",
    "cp.add.at(x, (slice(None), i), 1.0)",
    "np.add.at(x, i, 1.0)",
    "cp.maximum.at(x, i, 2.5)",
    "cp.copyto(x, 2.0)",
    "cp.matmul(x, x.T, out=x[:, :2])",
]  # fmt: skip


@pytest.mark.parametrize("code", CHANGES)
def test_changes_the_array_as_numpy_changes_it(cp, code):
    there, here = names_for(cp), names_for(np)
    exec(code, here)
    exec(code, there)
    same_array(there["x"], here["x"], cp)


# Each pair: what CuPy does, and what is meant by it in NumPy.
OTHERWISE = [
    ("x[i + 6]", "x[i]"),
    ("x[:, i - 9]", "x[:, i]"),
    ("x[[0, 7]]", "x[[0, 1]]"),
    ("x[None, i + 6]", "x[None, i]"),
    ("x[..., i + 9, None]", "x[..., i, None]"),
    ("x[i * 3, i + 30]", "x[i, i]"),
    ("cp.take(x, [0, 9], axis=1)", "cp.take(x, [0, 0], axis=1)"),
    ("x.take(i + 60)", "x.take(i)"),
    ("cp.take_along_axis(x, k + 30, 1)", "cp.take_along_axis(x, k % 3, 1)"),
    ("x[i + 6] = 9; x", "x[i] = 9; x"),
    ("cp.add.at(x, i + 6, 1.0); x", "cp.add.at(x, i, 1.0); x"),
    ("cp.put_along_axis(x, k + 30, 9, 1); x", "cp.put_along_axis(x, k % 3, 9, 1); x"),
    ("x.set(2 * n); x", "2 * x"),
    ("x.shape = (3, 2); x", "x.reshape(3, 2)"),
    ("cp.asarray([s, s])", "np.stack([s, s])"),
    ("cp.asarray([[x, x]])", "np.stack([x, x])[None]"),
    ("cp.from_dlpack(x)", "x"),
    ("cp.array(x, copy=False)", "x"),
    ("cp.asarray(n.astype('>f4'))", "x"),
    ("x @= x.T; x", "x @ x.T"),
    ("v = x[0, 0]; v[...] = 9; x", "x[0, 0] = 9; x"),
]



def result_of(code, names):
    """The value of the expression after the last semicolon, once what comes before has run."""
    statements, _, last = code.rpartition("; ")
    exec(statements, names)
    return eval(last, names)


@pytest.mark.parametrize(("code", "meant"), OTHERWISE, ids=[c for c, _ in OTHERWISE])
def test_gives_an_array_that_numpy_writes_in_another_way(cp, code, meant):
    same_array(result_of(code, names_for(cp)), result_of(meant, names_for(np)), cp)


TRUE = [
    "isinstance(x, cp.ndarray) and not isinstance(x, np.ndarray)",
    "type(x[0, 0]) is cp.ndarray and type(x.sum()) is cp.ndarray",
    "type(x).__module__ == 'cupy' and type(x).__name__ == 'ndarray'",
    "(x.shape, x.ndim, x.size, x.nbytes, x.itemsize) == ((2, 3), 2, 6, 24, 4)",
    "x.strides == (12, 4) and x.dtype == np.float32 and len(x) == 2",
    "float(s) == 2.0 and int(s) == 2 and bool(s) and complex(s) == 2",
    "s.item() == 2.0 and type(s.item()) is float",
    "math.sqrt(s) == math.sqrt(2) and f'{s:.2f}' == '2.00' and str(s) == '2.0'",
    "repr(x) == repr(n) and f'{x}' == str(n)",
    "x.tolist() == n.tolist() and x.tobytes() == n.tobytes()",
    "type(x.get()) is np.ndarray and type(cp.asnumpy(x)) is np.ndarray",
    "x.get() is not x.get() and x.get(out=n) is n",
    "type(cp.asnumpy(s)) is np.ndarray and cp.asnumpy(n) is n",
    "cp.asarray(x) is x and cp.array(x) is not x",
    "x.astype('f4', copy=False) is x and x.astype('f4') is not x",
    "cp.add(x, x, out=x) is x and cp.clip(x, 0, 1, out=x) is x",
    "cp.get_array_module(x) is cp and cp.get_array_module(n) is np",
    "cp.get_array_module(n, x) is cp and cp.get_array_module(1.0) is np",
    "[type(row) for row in x] == [cp.ndarray] * 2",
    "x in [x] and 3.0 in x[0]",
    "all(type(part) is cp.ndarray for part in divmod(x, 2))",
    "all(type(part) is cp.ndarray for part in cp.split(x, 3, axis=1))",
    "all(type(part) is cp.ndarray for part in cp.broadcast_arrays(x, s))",
    "all(type(index) is cp.ndarray for index in cp.where(x > 2))",
    "type(cp.sum(n)) is np.float32 and type(cp.reshape(n, -1)) is np.ndarray",
    "cp.ndim(x) == 2 and cp.shape(x) == (2, 3) and np.size(x) == 6",
    "cp.result_type(x, 1.0) == 'f4' and cp.result_type(x, np.float64(1)) == 'f8'",
    "cp.isscalar(1.0) and not cp.isscalar(s) and not np.isscalar(s)",
    "cp.float32 is np.float32 and cp.bool_ is np.bool_ and cp.newaxis is None",
    "cp.pi == np.pi and cp.finfo('f4').eps == np.finfo('f4').eps",
    "isinstance(cp.add, cp.ufunc) and cp.add.nin == 2 and cp.add.__name__ == 'cupy_add'",
    "cp.linalg.LinAlgError is np.linalg.LinAlgError",
    "x.flags.c_contiguous and x.T.flags.f_contiguous and not x.T.flags['C_CONTIGUOUS']",
    "(x.T + 1).flags.c_contiguous and cp.exp(x.T).flags.c_contiguous",
    "(x.T == x.T).flags.c_contiguous and x.T.copy().flags.c_contiguous",
    "x.T[i].flags.c_contiguous and x[:, i].flags.c_contiguous",
    "x.T.astype('f8').flags.f_contiguous and cp.zeros_like(x.T).flags.f_contiguous",
    "cp.may_share_memory(x, x[1:]) and not cp.may_share_memory(x, x.copy())",
    "x.data.ptr == x[:1].data.ptr and x.data.ptr != x.copy().data.ptr",
    "x.base is None and x[1:].base is not None",
    "x.device == cp.cuda.Device(0) and x.device.id == 0",
    "cp.is_available() and cp.cuda.is_available() and cp.cuda.runtime.getDeviceCount() >= 1",
    "cp.cuda.Device().synchronize() is None and cp.cuda.Stream.null.synchronize() is None",
    "issubclass(cp.cuda.runtime.CUDARuntimeError, RuntimeError)",
    "cp.ndarray((2, 3), 'f4').shape == (2, 3) and cp.empty_like(x).dtype == x.dtype",
    "x.__array_priority__ == 100 and hasattr(x, '__dlpack__')",
]


@pytest.mark.parametrize("claim", TRUE)
def test_is_true(cp, claim):
    assert eval(claim, names_for(cp))


def test_the_generator_draws_from_few_distributions_and_other_numbers_than_numpy(cp):
    draws = cp.random.default_rng(3).random(5)
    assert type(draws) is cp.ndarray
    assert not np.allclose(draws.get(), np.random.default_rng(3).random(5))
    assert cp.random.default_rng(3).standard_normal((2, 2), dtype=np.float32).dtype == np.float32


def test_erf_of_cupyx_keeps_the_dtype_and_refuses_numpy_arrays(cp):
    from cupyx.scipy.special import erf

    for dtype in ("f4", "f8"):
        y = erf(cp.asarray([-1.0, 0.0, 0.5]).astype(dtype))
        assert y.dtype == dtype
        np.testing.assert_allclose(y.get(), [math.erf(v) for v in (-1, 0, 0.5)], rtol=1e-6)
    with pytest.raises(TypeError, match="Unsupported type"):
        erf(np.ones(3))


class Traced:
    """What an automatic differentiator is to an array: a class with operators of its own."""

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return f"traced {ufunc.__name__}"

    def __radd__(self, other):
        return "reflected"


class OptedOut(Traced):
    __array_ufunc__ = None


class Ahead:
    __array_priority__ = 200

    def __radd__(self, other):
        return "reflected"


@pytest.mark.parametrize(
    ("other", "answer"),
    [(Traced(), "traced add"), (OptedOut(), "reflected"), (Ahead(), "reflected")],
)
def test_an_operator_leaves_foreign_operands_to_their_class(cp, other, answer):
    assert cp.ones(3) + other == answer


def test_a_ufunc_of_cupy_refuses_foreign_operands(cp):
    with pytest.raises(TypeError, match="Unsupported type"):
        cp.add(cp.ones(3), Traced())
