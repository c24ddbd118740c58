"""Anyone with scikit-learn can make the embedded file again, to the last byte."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from tinygrad_opt.data import digits, load_digits, make_digits


def test_building_the_file_again_gives_the_embedded_bytes():
    pytest.importorskip("sklearn")
    embedded = resources.files("tinygrad_opt.data").joinpath(digits.FILE).read_bytes()
    assert make_digits.build() == embedded


def test_the_embedded_images_are_scikit_learns_in_another_order():
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, labels = datasets.load_digits(return_X_y=True)
    (x_train, y_train), (x_test, y_test) = load_digits()
    ours = np.column_stack([np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])])
    theirs = np.column_stack([pixels / 16, labels])
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_main_writes_the_file_beside_the_script_and_prints_its_checksum(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(make_digits, "build", lambda: b"some content")
    monkeypatch.setattr(make_digits, "__file__", str(tmp_path / "make_digits.py"))
    make_digits.main()
    assert (tmp_path / digits.FILE).read_bytes() == b"some content"
    assert hashlib.sha256(b"some content").hexdigest() in capsys.readouterr().out


def test_shares_are_rounded_by_largest_remainder_and_keep_the_order_of_the_rows(monkeypatch):
    # 10 rows, 4 of them for the test: shares 4 * (5, 3, 2) / 10 = 2.0, 1.2, 0.8 -> 2, 1, 1.
    monkeypatch.setattr(make_digits, "N_TRAIN", 6)
    labels = np.array([0, 1, 0, 2, 1, 0, 0, 2, 1, 0])
    rows = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert make_digits.train_first(rows, labels).tolist() == [5, 4, 3, 2, 1, 0, 9, 8, 7, 6]


def test_a_tie_of_remainders_goes_to_the_lower_class(monkeypatch):
    monkeypatch.setattr(make_digits, "N_TRAIN", 5)
    labels = np.array([1, 1, 1, 0, 0, 0])  # shares of the one test row: 0.5 and 0.5
    assert make_digits.train_first(np.arange(6), labels).tolist() == [0, 1, 2, 4, 5, 3]
