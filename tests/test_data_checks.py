"""Bad data is refused when it is handed over, by name, with the row that is to blame."""

import re

import numpy as np
import pytest

from tinygrad_opt.data.checks import number, numbers, samples, whole, words
from tinygrad_opt.tensor import Tensor


def test_whole_gives_a_python_int_of_every_kind_of_integer():
    for value in (3, np.int64(3), np.uint8(3)):
        assert whole("k", value, least=3) == 3 and type(whole("k", value)) is int


@pytest.mark.parametrize("value", [2, -1, 3.0, "3", None, True, float("nan"), np.float64(4)])
def test_whole_refuses_all_else_and_names_it(value):
    with pytest.raises(ValueError, match="k is an integer of 3 or more, not "):
        whole("k", value, least=3)


def test_number_gives_a_python_float_of_every_kind_of_number():
    for value in (2, 2.0, np.int64(2), np.float32(2)):
        assert number("x", value) == 2 and type(number("x", value)) is float


@pytest.mark.parametrize(("ends", "inside"), [
    ("()", [1.5]), ("[)", [1, 1.5]), ("(]", [1.5, 2]), ("[]", [1, 1.5, 2]),
])  # fmt: skip
def test_number_keeps_its_ends_as_its_brackets_say(ends, inside):
    for value in (0.9, 1, 1.5, 2, 2.1):
        if value in inside:
            assert number("x", value, 1, 2, ends) == value
        else:
            with pytest.raises(ValueError, match=re.escape(f"{ends[0]}1, 2{ends[1]}, not {value}")):
                number("x", value, 1, 2, ends)


@pytest.mark.parametrize(
    "value", ["3", None, True, 1j, [1.0], np.ones(1), float("nan"), float("inf"), -float("inf")]
)
def test_number_refuses_all_else_and_names_it(value):
    with pytest.raises(ValueError, match=r"x is a number in \(-inf, inf\), not "):
        number("x", value)


def test_numbers_names_the_one_that_is_wrong_and_what_is_no_list():
    assert numbers("xs", (1, np.float32(0.5)), 0) == [1.0, 0.5]
    assert numbers("xs", np.array([1, 2])) == [1.0, 2.0]
    assert numbers("xs", iter([])) == []
    with pytest.raises(ValueError, match=r"xs\[1\] is a number in \(0, inf\), not 0"):
        numbers("xs", [1, 0, -1], 0)
    for wrong in (3, "12"):
        told = re.escape(f"xs is a list of numbers, such as [{wrong!r}], not {wrong!r}")
        with pytest.raises(ValueError, match=told):
            numbers("xs", wrong)
    for wrong in (None, np.array(1.0)):
        with pytest.raises(ValueError, match="xs is a list of numbers, not "):
            numbers("xs", wrong)


def test_words_are_a_list_of_them_and_not_the_letters_of_one():
    assert words("names", ("sgd", "adam")) == ["sgd", "adam"]
    with pytest.raises(ValueError, match=r"names is a list of words, such as \['sgd'\], not 'sgd'"):
        words("names", "sgd")
    with pytest.raises(ValueError, match=r"names\[1\] is a word, not 2"):
        words("names", ["sgd", 2])
    with pytest.raises(ValueError, match="names is a list of words, not None"):
        words("names", None)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1.5, 2.0], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ((1, 2.5), "float32"),
        ([True, False], "bool"),
        (np.ones(2, "float16"), "float16"),
        (np.ones(2, "float64"), "float64"),
        (np.ones(2, "uint8"), "uint8"),
        (np.ones(2, ">f4"), "float32"),
        (Tensor(np.ones((2, 3))), "float64"),
        (Tensor([1.0, 2.0], requires_grad=True), "float32"),
    ],
    ids=lambda v: None if isinstance(v, str) else type(v).__name__,
)
def test_lists_become_float32_or_int64_and_arrays_keep_their_dtype(data, dtype):
    rows = samples("x", data)
    assert type(rows) is np.ndarray and rows.dtype == np.dtype(dtype) and rows.dtype.isnative
    expected = data.numpy() if isinstance(data, Tensor) else data
    assert np.array_equal(rows, expected)


def test_a_c_contiguous_array_is_not_copied_and_edits_through_its_owner_are_seen():
    x = np.zeros((4, 2), np.float32)
    rows = samples("x", x)
    x[1, 1] = 5
    assert rows[1, 1] == 5
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1
    assert x.flags.writeable


@pytest.mark.parametrize("x", [np.eye(2, 3).T, np.arange(8)[::2], np.ones((3, 4))[:, 1:]])
def test_rows_that_do_not_lie_one_after_another_are_copied_once_into_c_order(x):
    rows = samples("x", x)
    assert rows.flags.c_contiguous and np.array_equal(rows, x)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2, 2), (3, 0)])
def test_samples_may_have_any_number_of_dimensions(shape):
    assert samples("x", np.zeros(shape)).shape == shape


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 2)])
@pytest.mark.parametrize(("bad", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_the_first_row_that_is_not_finite_is_named(dtype, shape, bad, word):
    x = np.zeros(shape, dtype)
    x[(3, *[-1] * (x.ndim - 1))] = bad
    x[4] = np.nan
    count = 1 + x[4].size
    with pytest.raises(ValueError, match=rf"x holds {word} in row 3, the first of {count} values"):
        samples("x", x)


def test_a_float_too_large_for_float32_is_reported_as_the_infinity_it_would_become():
    with pytest.raises(ValueError, match="y holds inf in row 1"):
        samples("y", [1.0, 1e39])
    assert samples("y", np.array([1.0, 1e39])).dtype == np.float64


@pytest.mark.parametrize(
    "data",
    [["a", "b"], np.array(["a"]), np.array([1, None]), None, "text", [2**70], np.ones(2, complex),
     np.array(["2024-01-01"], "datetime64[D]"), {1: 2}, np.ma.array([1.0, 2.0], mask=[0, 1])],
)  # fmt: skip
def test_what_are_no_real_numbers_is_a_type_error_that_names_the_argument(data):
    with pytest.raises(TypeError, match=r"^x: .*(not supported|lose its mask)"):
        samples("x", data)


def test_a_ragged_list_is_refused():
    with pytest.raises(ValueError, match="x: the nested list is ragged"):
        samples("x", [[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("data", [[], np.zeros((0, 3)), 3.0, np.array(2), Tensor(1.0)])
def test_no_samples_and_a_lone_number_are_refused_with_their_shape(data):
    with pytest.raises(ValueError, match=r"x of shape \(.*\) holds no samples"):
        samples("x", data)
