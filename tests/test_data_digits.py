"""The embedded digits are the real ones, undamaged, in one split for everyone."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from tinygrad_opt.data import digits, load_digits

# Of scikit-learn's copy, pixels 0 to 16: the sum over all images of a zero, of a one, ...
CLASS_SUMS = [56415, 57007, 55566, 56151, 56239, 55915, 56336, 54289, 57408, 56392]


def test_the_split_is_1437_and_360_with_the_documented_shapes_and_dtypes():
    (x_train, y_train), (x_test, y_test) = load_digits()
    assert x_train.shape == (1437, 64) and y_train.shape == (1437,)
    assert x_test.shape == (360, 64) and y_test.shape == (360,)
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64


def test_every_class_is_split_in_proportion_by_largest_remainder():
    (_, y_train), (_, y_test) = load_digits()
    total = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert np.bincount(y_test).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    assert (np.bincount(y_train) + np.bincount(y_test)).tolist() == total.tolist()
    assert np.abs(np.bincount(y_test) - total * 360 / 1797).max() < 1


def test_pixels_are_exact_sixteenths_that_use_the_whole_range_from_0_to_1():
    (x_train, _), (x_test, _) = load_digits()
    for x in (x_train, x_test):
        assert np.array_equal(np.unique(x * 16), np.arange(17))


def test_the_pixels_sum_to_the_known_totals():
    (x_train, y_train), (x_test, y_test) = load_digits()
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    sums = (16 * x.astype(np.float64)).sum(axis=1)
    assert sums.sum() == 561718
    assert [int(sums[y == k].sum()) for k in range(10)] == CLASS_SUMS


def test_every_image_occurs_once():
    (x_train, _), (x_test, _) = load_digits()
    assert len(np.unique(np.concatenate([x_train, x_test]), axis=0)) == 1797


def test_the_mean_image_of_the_zeros_is_a_ring_around_an_empty_centre():
    # A wrong pixel order (transposed, mirrored bits) keeps the sums and loses this.
    (x, y), _ = load_digits()
    zero, one = (x[y == k].mean(axis=0).reshape(8, 8) for k in (0, 1))
    assert zero[3:5, 3:5].max() < 0.25 < 0.5 < zero[3:5, [2, 5]].min()
    assert one[2:6, 3:5].min() > 0.6
    seven = x[y == 7].mean(axis=0).reshape(8, 8)
    assert seven[0, 2:7].mean() > 0.5 > seven[7, 4:].mean()


def test_the_order_of_the_classes_is_mixed():
    (_, y_train), (_, y_test) = load_digits()
    for y in (y_train, y_test):
        for start in range(0, len(y) - 64, 64):
            assert len(set(y[start : start + 64].tolist())) >= 8


def test_every_call_returns_fresh_writable_arrays():
    first, second = load_digits(), load_digits()
    for a, b in zip(sum(first, ()), sum(second, ()), strict=True):
        assert a.flags.writeable and a.flags.c_contiguous and not np.shares_memory(a, b)
    first[0][0][:] = 7
    assert np.array_equal(load_digits()[0][0], second[0][0])


def test_one_flipped_bit_in_the_file_is_an_error_that_names_it(tmp_path, monkeypatch):
    content = bytearray(resources.files("tinygrad_opt.data").joinpath(digits.FILE).read_bytes())
    content[5000] ^= 1
    (tmp_path / digits.FILE).write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"digits\.npy is damaged \(73,805 bytes, .*install"):
        load_digits()


def test_the_file_is_small_and_its_licence_lies_beside_it():
    folder = resources.files("tinygrad_opt.data")
    content = folder.joinpath(digits.FILE).read_bytes()
    assert len(content) < 100_000
    assert hashlib.sha256(content).hexdigest() == digits.SHA256
    licence = folder.joinpath("digits.LICENSE.md").read_text(encoding="utf-8")
    for fact in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49", "Changes we made"):
        assert fact in licence
