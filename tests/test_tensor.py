"""A Tensor is an array that remembers how it was made, and behaves like an array otherwise."""

import copy
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import tinygrad_opt as tg
from tinygrad_opt import Tensor

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

rng = np.random.default_rng(3)


def leaf(values, dtype="float32"):
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- what becomes of the data --------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, "float32", ()), (1.5, "float32", ()), ([1, 2], "float32", (2,)),
        ((1, 2.5), "float32", (2,)), ([[1, 2], [3, 4]], "float32", (2, 2)), ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)), (True, "bool", ()), ([True, False], "bool", (2,)),
        ([True, 2], "float32", (2,)), ([np.float64(1.5)], "float32", (1,)),
        (np.float64(1.5), "float64", ()), (np.float16(1.5), "float16", ()),
        (np.arange(3), "int64", (3,)), (np.ones((2, 3), "float16"), "float16", (2, 3)),
        (np.zeros((2, 0)), "float64", (2, 0)), (np.ones(2, ">f4"), "float32", (2,)),
        (np.array(True), "bool", ()), (np.uint8(200), "uint8", ()),
    ],
)  # fmt: skip
def test_python_numbers_become_float32_and_arrays_keep_their_dtype(data, dtype, shape):
    x = Tensor(data)
    assert (x.dtype, x.shape) == (dtype, shape)
    assert (x.ndim, x.size) == (len(shape), math.prod(shape))
    assert x.dtype.isnative
    assert np.array_equal(x.numpy(), np.asarray(data))


@everywhere
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8", "bool"])
def test_a_given_dtype_overrides(dtype):
    for data in (1, [0, 1], np.array([0.0, 1.0])):
        assert Tensor(data, dtype=dtype).dtype == dtype
        assert Tensor(data, dtype=np.dtype(dtype)).dtype == dtype


def test_a_numpy_array_is_shared_and_not_copied():
    array = np.array([1.0, 2.0])
    x = Tensor(array)
    array[0] = 7
    assert np.shares_memory(x.data, array)
    assert x.tolist() == [7, 2]


@everywhere
def test_an_array_of_the_other_byte_order_is_read_rightly():
    assert Tensor(np.array([1, 256], ">i4")).tolist() == [1, 256]


def test_a_tensor_cannot_be_subclassed():
    with pytest.raises(TypeError, match=r"cannot be subclassed.*nn\.Module"):

        class Variable(Tensor):
            pass


# ---- data and grad -------------------------------------------------------------------------------


def test_grad_is_none_until_a_backward_and_then_an_array_like_the_data(backend):
    x = Tensor(backend.array(np.ones((2, 3), "float32")), requires_grad=True)
    assert x.grad is None
    (x * 3).sum().backward()
    assert type(x.grad) is type(x.data)
    assert (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)
    assert backend.host(x.grad).tolist() == [[3, 3, 3], [3, 3, 3]]


@everywhere
def test_only_leaves_keep_a_gradient():
    x = leaf([1, 2])
    y = x * 2
    y.sum().backward()
    assert y.grad is None
    assert (x.is_leaf, y.is_leaf) == (True, False)


def test_an_assigned_gradient_is_a_copy_and_none_removes_it(backend):
    x = Tensor(backend.array(np.zeros(2, "float32")), requires_grad=True)
    mine = backend.array(np.array([1, 2], "float32"))
    x.grad = mine
    x.grad *= 10
    assert backend.host(x.grad).tolist() == [10, 20]
    assert backend.host(mine).tolist() == [1, 2]
    (x * 1).sum().backward()
    assert backend.host(x.grad).tolist() == [11, 21]
    x.grad = None
    assert x.grad is None


@everywhere
def test_numbers_lists_and_tensors_can_be_assigned_in_the_dtype_that_is_there():
    x = leaf([1, 2])
    x.data = [3, 4]
    assert (x.tolist(), x.dtype) == ([3, 4], "float32")
    x.grad = [0.5, 0.25]
    assert (x.grad.tolist(), x.grad.dtype) == ([0.5, 0.25], "float32")
    x.data = leaf([5, 6])
    assert x.tolist() == [5, 6]
    scalar = leaf(1)
    scalar.data = 2.5
    assert float(scalar) == 2.5


@pytest.mark.parametrize("slot", ["data", "grad"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([[1, 2], [3, 4]], ValueError, r"has shape \(2,\) and would be assigned \(2, 2\)"),
        (np.ones(1, "float32"), ValueError, r"has shape \(2,\) and would be assigned \(1,\)"),
        (1.0, ValueError, r"has shape \(2,\) and would be assigned \(\)"),
        (np.ones(2), TypeError, r"is float32 and would be assigned float64.*astype\('float32'\)"),
        (np.ones(2, int), TypeError, r"is float32 and would be assigned int64"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_assigned(backend, slot, value, error, message):
    x = leaf([1, 2])
    x.grad = [3, 4]
    with pytest.raises(error, match=rf"\.{slot} {message}"):
        setattr(x, slot, backend.array(value) if isinstance(value, np.ndarray) else value)
    assert (x.tolist(), x.grad.tolist()) == ([1, 2], [3, 4])


@everywhere
def test_a_tensor_that_an_optimizer_holds_is_not_frozen_under_it():
    x = leaf([1.0, 2.0])
    optimizer = tg.optim.SGD([x], lr=0.1)
    assert x.in_use
    with pytest.raises(RuntimeError, match=r"an optimizer holds this tensor .* freeze first"):
        x.requires_grad = False
    assert x.requires_grad
    del optimizer
    assert not x.in_use
    x.requires_grad = False
    assert not x.requires_grad


def test_an_optimizer_that_is_gone_lets_its_tensors_go(backend):
    x = leaf([1.0, 2.0])
    optimizer = tg.optim.SGD([x], lr=0.1)
    data = x.data
    x.data, x.grad = backend.array(np.array([3.0, 4.0], "float32")), None
    assert (x.data is data, x.grad.tolist()) == (True, [0, 0])  # its views stay in place
    del optimizer
    new = backend.array(np.array([5.0, 6.0], "float32"))
    x.data, x.grad = new, None
    assert (x.data is new, x.grad) == (True, None)


def test_detach_shares_the_data_and_knows_nothing_of_the_graph(backend):
    x = Tensor(backend.array(np.array([1.0, 2.0])), requires_grad=True)
    y = (x * 2).detach()
    assert (y.requires_grad, y.is_leaf, y.grad) == (False, True, None)
    shared = x.detach()
    assert shared.data is x.data
    (x * x.detach()).sum().backward()
    assert backend.host(x.grad).tolist() == [1, 2]


def test_numpy_is_a_copy_on_the_host(backend):
    x = Tensor(backend.array(np.array([1.0, 2.0])), requires_grad=True)
    array = x.numpy()
    assert type(array) is np.ndarray
    array[0] = 9
    assert backend.host(x.data).tolist() == [1, 2]


def test_asarray_shares_the_memory_but_never_cuts_a_graph():
    x = Tensor(np.array([1.0, 2.0]))
    assert np.asarray(x) is x.data
    assert np.array(x) is not x.data
    assert np.asarray(x, "float32").dtype == "float32"
    with pytest.raises(TypeError, match=r"cut the graph unseen.*\.numpy\(\).*tg\.stack"):
        np.asarray(leaf([1, 2]))
    with pytest.raises(TypeError, match=r"tg\.stack"):
        Tensor([leaf(1), leaf(2)])


# ---- as a Python number, sequence or text --------------------------------------------------------


def test_a_single_element_is_a_python_number(backend):
    x = Tensor(backend.array(np.array([[2.5]], "float32")))
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    assert type(x.item()) is float
    assert type(Tensor(backend.array(np.array(3))).item()) is int
    assert type(Tensor(backend.array(np.array(True))).item()) is bool
    assert not Tensor(backend.array(np.array([0.0])))
    assert math.sqrt(Tensor(4.0)) == 2
    assert f"{x:.3f} {x:>8.1e}" == "2.500  2.5e+00"


def test_len_iteration_and_membership_are_those_of_the_first_axis(backend):
    x = Tensor(backend.array(np.array([[1.0, 2], [3, 4], [5, 6]])), requires_grad=True)
    assert len(x) == 3
    rows = list(x)
    assert [backend.host(r.data).tolist() for r in rows] == [[1, 2], [3, 4], [5, 6]]
    (rows[1] * 2 + rows[2]).sum().backward()
    assert backend.host(x.grad).tolist() == [[0, 0], [2, 2], [1, 1]]
    a, b = x[0]
    assert (float(a), float(b)) == (1, 2)
    assert 5.0 in Tensor([4.0, 5.0])
    assert 6.0 not in Tensor([4.0, 5.0])
    with pytest.raises(TypeError, match="0-d"):
        list(a)


@everywhere
def test_a_tensor_is_a_dictionary_key_by_identity():
    x, y = leaf([1, 2]), leaf([1, 2])
    names = {x: "x", y: "y"}
    assert (names[x], names[y], len({x, x, y})) == ("x", "y", 2)


# ---- copies --------------------------------------------------------------------------------------


def unpickled(x):
    return pickle.loads(pickle.dumps(x))


@everywhere
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, unpickled])
def test_a_copied_or_pickled_leaf_is_alike_and_apart(clone):
    x = leaf([[1, 2], [3, 4]], "float64")
    x.grad = [[5, 6], [7, 8]]
    y = clone(x)
    assert (y.tolist(), y.grad.tolist()) == (x.tolist(), x.grad.tolist())
    assert (y.dtype, y.requires_grad, y.is_leaf) == (x.dtype, True, True)
    y.data[...] = 0
    y.grad[...] = 0
    assert (x.tolist(), x.grad.tolist()) == ([[1, 2], [3, 4]], [[5, 6], [7, 8]])
    (x * 2 + y).sum().backward()  # and it is a node of its own
    assert (x.grad.tolist(), y.grad.tolist()) == ([[7, 8], [9, 10]], [[1, 1], [1, 1]])


@everywhere
def test_a_deepcopy_keeps_what_was_shared_shared():
    x = leaf([1, 2])
    a, b = copy.deepcopy([x, x])
    assert a is b


@everywhere
def test_a_result_is_not_copied_with_its_graph():
    for clone in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"result of multiply: detach\(\)"):
            clone(leaf([1, 2]) * 2)


# ---- other libraries -----------------------------------------------------------------------------


def test_dlpack_shares_memory_with_torch_both_ways():
    x = Tensor([1, 2, 3])
    t = torch.from_dlpack(x)
    t[0] = 7
    assert x.tolist() == [7, 2, 3]
    back = tg.from_dlpack(t)
    assert (type(back), back.dtype, back.requires_grad) == (Tensor, "float32", False)
    t[1] = 8
    assert back.tolist() == [7, 8, 3]


@everywhere
def test_dlpack_shares_memory_with_numpy_both_ways():
    """Also where another backend is current."""
    array = np.arange(6.0).reshape(2, 3).T
    x = tg.from_dlpack(array)
    assert (x.shape, x.dtype) == ((3, 2), "float64")
    array[0, 0] = 9
    assert x.tolist()[0] == [9, 3]
    assert np.shares_memory(np.from_dlpack(x), array)


@pytest.mark.cuda
def test_dlpack_shares_memory_with_cupy_both_ways(real_cupy):
    """Also where NumPy is current."""
    array = real_cupy.arange(6.0).reshape(2, 3).T
    x = tg.from_dlpack(array)
    assert (type(x.data), x.shape) == (real_cupy.ndarray, (3, 2))
    array[0, 0] = 9
    assert x.tolist()[0] == [9, 3]
    assert real_cupy.from_dlpack(x).data.ptr == array.data.ptr


def test_dlpack_does_not_cut_a_graph():
    with pytest.raises(BufferError, match=r"tensor\.detach\(\)"):
        torch.from_dlpack(leaf([1, 2]))
    with pytest.raises(TypeError, match=r"got a Tensor: take it over with tg\.from_dlpack"):
        Tensor(torch.ones(2))


# ---- operators -----------------------------------------------------------------------------------

OTHERS = {
    "number": lambda backend: 3,
    "array": lambda backend: backend.array(np.array([3.0, 5.0])),
    "list": lambda backend: [3, 5],
    "tensor": lambda backend: Tensor([3, 5]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_operators_work_from_both_sides_with_numbers_arrays_lists_and_tensors(backend, other):
    other = other(backend)
    a, b = np.array([1.5, -2.0]), 3.0 if type(other) is int else np.array([3.0, 5.0])
    x = leaf(a, "float64")
    pairs = [
        (x + other, a + b), (other + x, b + a), (x - other, a - b), (other - x, b - a),
        (x * other, a * b), (other * x, b * a), (x / other, a / b), (other / x, b / a),
        (-x, -a), (abs(x), abs(a)), (abs(x) ** other, abs(a) ** b), (other ** x, b**a),
    ]  # fmt: skip
    for y, wanted in pairs:
        assert type(y) is Tensor
        assert y.requires_grad
        np.testing.assert_allclose(backend.host(y.data), wanted, rtol=1e-15)


def test_comparisons_give_bools_without_a_gradient(backend):
    x = Tensor(backend.array(np.array([1.0, 2, 3])), requires_grad=True)
    cases = [
        (x < 2, [1, 0, 0]), (x <= 2, [1, 1, 0]), (x > 2, [0, 0, 1]), (x >= 2, [0, 1, 1]),
        (x == 2, [0, 1, 0]), (x != 2, [1, 0, 1]), (~(x > 2), [1, 1, 0]),
        ((x > 1) & (x < 3), [0, 1, 0]), ((x < 2) | (x > 2), [1, 0, 1]), (True & (x > 2), [0, 0, 1]),
        (x == x.detach(), [1, 1, 1]), (x.detach() * 2 < x + 1.5, [1, 0, 0]),
    ]  # fmt: skip
    for y, wanted in cases:
        assert (type(y), y.dtype, y.requires_grad) == (Tensor, "bool", False)
        assert backend.host(y.data).tolist() == wanted


@everywhere
def test_boolean_operators_are_logical_and_not_bitwise():
    """1 and 2 are both true; their bits have nothing in common."""
    a, b = Tensor(np.array([1, 0, 4])), Tensor(np.array([2, 3, 0]))
    assert np.logical_and(a, b).tolist() == [True, False, False]
    assert tg.logical_and(a, b).tolist() == [True, False, False]
    assert tg.logical_or(a, b).tolist() == [True, True, True]
    assert tg.logical_not(a).tolist() == [False, True, False]


def test_in_place_operators_under_no_grad_edit_the_data(backend):
    x = Tensor(backend.array(np.array([1.0, 2], "float32")), requires_grad=True)
    same, array = x, x.data
    with tg.no_grad():
        x += 3
        x *= 2.0
        x -= backend.array(np.array([1, 1], "float32"))
        x /= 2
    assert x is same
    assert backend.host(x.data).tolist() == [3.5, 4.5]
    assert (x.requires_grad, x.is_leaf, x.dtype) == (True, True, "float32")
    assert array.shape == (2,)


@everywhere
@pytest.mark.parametrize("symbol", ["+=", "-=", "*=", "/="])
def test_an_in_place_operator_on_a_recorded_leaf_is_an_error_that_shows_the_cure(symbol):
    x = leaf([1, 2])
    with pytest.raises(RuntimeError, match=r"with tg\.no_grad\(\):\n        w \S= \.\.\.") as e:
        exec(f"x {symbol} 2", {"x": x})
    assert f"w {symbol} ..." in str(e.value)
    assert x.tolist() == [1, 2]


@everywhere
def test_an_in_place_operator_on_a_result_is_a_new_op():
    x = leaf([1, 2])
    y = first = x * 3
    y += x
    y *= 2
    assert y is not first
    assert first.tolist() == [3, 6]
    y.sum().backward()
    assert x.grad.tolist() == [8, 8]


@everywhere
def test_a_buffer_meeting_a_recorded_tensor_in_place_becomes_a_result():
    total, x = Tensor(0.0), leaf([1, 2])
    total += x.sum()
    total.backward()
    assert x.grad.tolist() == [1, 1]
    plain = before = Tensor([1.0, 2.0])
    plain += 1  # without a gradient anywhere it stays the same tensor
    assert plain is before


def test_an_in_place_operator_changes_neither_shape_nor_dtype(backend):
    x = leaf([1, 2])
    with tg.no_grad():
        with pytest.raises(ValueError, match=r"shape \(2,\) and would be assigned \(3, 2\)"):
            x += backend.array(np.ones((3, 2), "float32"))
        with pytest.raises(TypeError, match="float32 and would be assigned float64"):
            x += backend.array(np.ones(2))
    assert x.tolist() == [1, 2]


def test_items_are_set_under_no_grad_and_read_anywhere(backend):
    x = Tensor(backend.array(np.zeros((2, 3))), requires_grad=True)
    with tg.no_grad():
        x[0, 1] = 5
        x[1] = Tensor(backend.array(np.array([1.0, 2, 3])))
        x[x > 4] = -1
        x[:, 2] = backend.array(np.array([8.0, 9]))
    assert backend.host(x.data).tolist() == [[0, -1, 8], [1, 2, 9]]
    with pytest.raises(RuntimeError, match=r"not recorded: use tg\.where.*no_grad"):
        x[0] = 1
    y = Tensor(backend.array(np.zeros(2)))
    y[0] = 3
    with pytest.raises(RuntimeError, match="not recorded"):
        y[1] = x[0, 0]
    assert backend.host(y.data).tolist() == [3, 0]


# ---- methods and NumPy's functions ---------------------------------------------------------------


@everywhere
def test_every_method_is_the_op_of_the_same_name():
    a = rng.uniform(0.1, 0.9, (2, 3))
    x = Tensor(a)
    calls = {
        "reshape": (3, 2), "transpose": (1, 0), "swapaxes": (0, 1), "expand_dims": (0,),
        "broadcast_to": ((4, 2, 3),), "clip": (0.2, 0.7), "astype": ("float32",), "roll": (1,),
        "maximum": (0.5,), "minimum": (0.5,), "pad": (1,), "take": ([0, 2],), "to": ("numpy",),
        "take_along_axis": (np.array([[0], [1]]), 1), "flip": (0,),
    }  # fmt: skip
    methods = [name for name in tg.OPS if name in dir(Tensor)]
    assert len(methods) > 45
    for name in methods:
        arguments = calls.get(name, ())
        one = getattr(x, name)(*arguments)
        two = getattr(tg, name)(x, *arguments)
        assert np.array_equal(one.numpy(), two.numpy()), name


@everywhere
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "call",
    [
        lambda f, x: f.exp(x), lambda f, x: f.sum(x, axis=0), lambda f, x: f.mean(x),
        lambda f, x: f.max(x, axis=1, keepdims=True), lambda f, x: f.where(x > 0.5, x, 0.0),
        lambda f, x: f.clip(x, 0.2, 0.8), lambda f, x: f.concatenate([x, x], axis=1),
        lambda f, x: f.stack([x, x]), lambda f, x: f.reshape(x, (3, 2)), lambda f, x: f.negative(x),
        lambda f, x: f.std(x), lambda f, x: f.sqrt(x), lambda f, x: f.power(x, 2),
        lambda f, x: f.maximum(x, 0.5), lambda f, x: f.absolute(x), lambda f, x: f.square(x),
        lambda f, x: f.einsum("ij,kj->ik", x, x), lambda f, x: f.matmul(x, x.T),
        lambda f, x: f.expand_dims(x, 0), lambda f, x: f.flip(x, 1), lambda f, x: f.cumsum(x, 0),
        lambda f, x: f.pad(x, 1), lambda f, x: f.prod(x, axis=-1), lambda f, x: f.amax(x, axis=0),
        lambda f, x: f.broadcast_to(x, (2, 2, 3)), lambda f, x: f.take(x, [0, 1], axis=1),
        lambda f, x: f.split(x, 3, axis=1)[1], lambda f, x: f.log1p(x), lambda f, x: f.transpose(x),
    ],
)  # fmt: skip
def test_a_function_of_numpy_on_a_tensor_is_the_op_with_numpy_s_arguments(call, dtype):
    a = rng.uniform(0.1, 0.9, (2, 3)).astype(dtype)
    x = leaf(a, dtype)
    y = call(np, x)
    assert type(y) is Tensor
    assert y.requires_grad
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), call(np, a), rtol=1e-6)


@everywhere
def test_a_function_that_is_no_op_says_so():
    for f in (np.median, np.fft.fft, np.log2, np.linalg.norm, np.add.reduce):
        with pytest.raises(TypeError, match=r"is not an op of tensors: .* tensor\.numpy\(\)"):
            f(leaf([1.0, 2.0]))


def test_type_checkers_know_every_method():
    """The stubs under TYPE_CHECKING in tensor.py name each method that ops/ attaches."""
    source = Path(tg.tensor.__file__).read_text("utf-8")
    stubs = source.partition("if TYPE_CHECKING:  # what")[2].partition("\ndef ")[0]
    attached = {name for name in tg.OPS if hasattr(Tensor, name)}
    assert attached - set(stubs.replace("=", " ").split()) == set()
