"""An example is right when the numbers that it prints are: each is run as its reader runs it, in
another folder, and its output is read."""

import contextlib
import functools
import io
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import strict_cupy

import tinygrad_opt as tg

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))

# What is long on the stand-in for CuPy: its own constant, and a smaller one.
SHORTER = {
    "09_jump_off_the_ridge.py": ("in range(100)", "in range(9)"),
    "11_what_momentum_remembers.py": ("most=10_000", "most=1_000"),
    "16_race_down_a_valley.py": ("STEPS = 400", "STEPS = 40"),
}


def run(name: str, old: str = "", new: str = "") -> tuple[dict, str]:
    """The names that an example leaves behind, and what it prints; with one thing in it replaced,
    if `old` is given."""
    source = (FOLDER / name).read_text("utf-8")
    assert not old or source.count(old) == 1
    names: dict = {"__name__": "__main__"}
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        contextlib.chdir(elsewhere),
        contextlib.redirect_stdout(printed),
    ):
        exec(compile(source.replace(old, new), str(FOLDER / name), "exec"), names)
        written = list(Path(elsewhere).iterdir())
    assert not written, f"{name} writes {written} into the reader's folder"
    return names, printed.getvalue()


once = functools.cache(run)


def numbers(pattern: str, text: str) -> list[float]:
    """What the group of `pattern` matches, everywhere in the text, as numbers."""
    found = [float(match) for match in re.findall(pattern, text)]
    assert found, f"nothing in the output matches {pattern!r}:\n{text}"
    return found


def test_the_examples_are_numbered_without_a_gap():
    assert [name[:3] for name in NAMES] == [f"{n:02}_" for n in range(1, len(NAMES) + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_each_example_prints_in_latin_letters_and_names_itself(name):
    source = (FOLDER / name).read_text("utf-8")
    assert f"python {name}\n" in source.split('"""')[1]
    once(name)[1].encode("cp1252")  # a Windows pipe takes nothing else


@pytest.mark.parametrize("name", NAMES)
def test_each_example_runs_unchanged_on_cupy(name, cp):
    shorter = SHORTER.get(name, ())
    _, expected = once(name, *shorter)
    with tg.use("cupy"), strict_cupy.counting() as counts:
        _, printed = run(name, *shorter)
    if cp is strict_cupy.cupy:
        assert printed == expected  # its sums are NumPy's, and an update has the same bits on both
        assert counts.launches or name.startswith("14_")  # which measures NumPy's memory
    else:
        assert len(printed.splitlines()) == len(expected.splitlines())


def test_01_the_gradient_by_hand_is_exactly_that_of_the_engine():
    names, printed = once("01_two_lines_of_autograd.py")
    assert "loss = 11.8125\n" in printed
    assert "dL/dw   by hand -12.75   by the engine -12.75\n" in printed
    assert "dL/db   by hand -6.0   by the engine -6.0\n" in printed
    assert names["by_hand"] == {"dL/dw": names["w"].grad, "dL/db": names["b"].grad}


def test_01_a_small_step_lowers_the_loss_and_a_large_one_raises_it():
    _, printed = once("01_two_lines_of_autograd.py")
    small, middle, large = numbers(r"learning rate [\d.]+: loss = ([\d.]+)", printed)
    # w = 0.5 + 12.75 α and b = 0.25 + 6 α, put into the mean of (w x + b - t)² by hand
    assert (small, middle, large) == (9.910, 0.301, 647.719)


def test_02_hidden_layers_part_the_spirals_and_a_straight_line_does_not():
    _, printed = once("02_ten_lines_of_training.py")
    line, model = numbers(r"accuracy on new points: ([\d.]+)%", printed)
    assert line < 75
    assert model >= 99
    losses = numbers(r"step +\d+ +loss ([\d.]+)", printed)
    assert losses[0] == pytest.approx(math.log(2), abs=0.05)
    assert losses[4] > 0.6
    assert losses[-1] < 0.02


def test_02_the_picture_has_each_point_on_the_ground_of_its_class():
    _, printed = once("02_ten_lines_of_training.py")
    rows = [row.ljust(46) for row in printed.rsplit("%\n\n")[-1].splitlines()[:-1]]
    assert [len(row) for row in rows] == [46] * 23
    right = wrong = 0
    for row in rows:
        for point, ground in zip(row[::2], row[1::2], strict=True):
            right += point + ground in ("o ", "+·")
            wrong += point + ground in ("o·", "+ ")
    assert right > 100
    assert wrong < right / 20


def test_03_gradcheck_lets_the_right_vjp_pass_and_shows_the_wrong_one_in_a_table():
    names, printed = once("03_check_a_gradient_against_pytorch.py")
    assert "gradcheck: True\n" in printed
    assert "the gradient is tanh(x): True\n" in printed
    table = re.findall(r"\[(\d), (\d)\] +(\S+) +(\S+) +(\S+)\n", printed)
    assert len(table) == 6
    for i, j, engine, *_ in table:
        assert float(engine) == pytest.approx(math.tanh(names["x"][int(i), int(j)]), rel=1e-7)
    assert "6 of 6 elements differ" in printed


def test_03_pytorch_agrees_in_both_precisions_and_where_cosh_overflows():
    pytest.importorskip("torch")
    _, printed = once("03_check_a_gradient_against_pytorch.py")
    for line in ("float64 (2, 3): True", "float32 (2, 3): True", "float32 (2,): True"):
        assert f"match_torch {line}\n" in printed


def test_03_without_pytorch_it_says_so_and_checks_all_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    _, printed = run("03_check_a_gradient_against_pytorch.py")
    assert "not installed" in printed
    assert "match_torch" not in printed
    assert "gradcheck: True\n" in printed
    assert "6 of 6 elements differ" in printed


def test_04_the_derivatives_of_sin_and_the_hessian_are_those_of_their_formulas():
    names, printed = once("04_gradient_of_a_gradient.py")
    pairs = re.findall(r"= ([-+][\d.]+) +by the engine ([-+][\d.]+)", printed)
    assert [float(a) for a, _ in pairs] == pytest.approx(
        [math.cos(0.5), -math.sin(0.5), -math.cos(0.5)], abs=1e-12
    )
    assert all(formula == engine for formula, engine in pairs)
    assert "[[1330.  480.]\n [ 480.  200.]]\nby its formula\n[[1330." in printed
    for point in np.random.default_rng(0).standard_normal((5, 2)):
        a, b = point
        formula = [[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]]
        measured = names["hessian"](names["rosenbrock"], point)
        np.testing.assert_allclose(measured, formula, rtol=1e-12)


def test_04_newtons_method_takes_the_steps_that_the_formulas_give():
    _, printed = once("04_gradient_of_a_gradient.py")
    losses = numbers(r"loss (\S+)", printed)
    p, expected = np.array([-1.2, 1.0]), []
    for _ in range(6):
        a, b = p
        expected.append((1 - a) ** 2 + 100 * (b - a**2) ** 2)
        gradient = [-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)]
        p = p - np.linalg.solve([[1200 * a**2 - 400 * b + 2, -400 * a], [-400 * a, 200]], gradient)
    assert losses[:6] == pytest.approx(expected, rel=1e-3)
    assert max(losses[6:]) < 1e-18  # the tail is rounding


def test_05_each_step_of_the_assignment_reaches_what_it_asks_for():
    names, printed = once("05_digits_as_an_assignment.py")
    (first_loss,) = numbers(r"loss ([\d.]+), ln 10", printed)
    assert first_loss == pytest.approx(math.log(10), abs=0.15)
    assert "gradcheck of 2,410 weights: True\n" in printed
    assert re.search(r"after 200 steps: loss 0\.00\d+, accuracy 100\.0%", printed)
    sgd, momentum, fast_sgd = names["histories"].values()
    assert momentum.val_accuracy[-1] >= 0.95
    assert fast_sgd.val_accuracy[-1] >= 0.95
    # the lesson of the comparison: ten gradients in one are as ten times the learning rate
    assert momentum.loss[-1] < sgd.loss[-1] / 4
    assert fast_sgd.loss[-1] < 2 * momentum.loss[-1]


def test_05_the_table_and_the_confusions_are_those_of_the_models():
    names, printed = once("05_digits_as_an_assignment.py")
    rows = re.findall(r"^ +(\d+)((?: +[\d.]+ +[\d.]+%){3})$", printed, re.M)
    assert [int(epoch) for epoch, _ in rows] == [1, 2, 3, 5, 10, 15]
    for epoch, cells in rows:
        shown = [float(cell.rstrip("%")) for cell in cells.split()]
        for n, history in enumerate(names["histories"].values()):
            loss, _, _, accuracy = history.epochs[int(epoch) - 1]
            assert shown[2 * n] == pytest.approx(loss, abs=5.1e-5)
            assert shown[2 * n + 1] == pytest.approx(100 * accuracy, abs=0.051)
    _, (_, y_test) = tg.data.load_digits()
    confusion = names["confusion"]
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(y_test))
    assert np.trace(confusion) / 360 == names["histories"]["SGD 1.0"].val_accuracy[-1]


def test_18_only_with_all_its_parts_the_run_goes_on_to_the_same_bits():
    names, printed = once("18_stop_and_go_on.py")
    assert "Stopped in step 47. On disk is step 40, 2 batches into epoch 2\n" in printed
    *off, exact, older = numbers(r"(?m)(?:^  model.*  |weights are off by )([\d.e-]+)", printed)
    assert len(off) == 3
    assert min(off) > 0.005
    assert off[0] > 2 * max(off[1:])  # the velocity and the rate are most of it
    assert exact == older == 0
    assert printed.count("every bit is the same") == 1
    assert len(names["whole"]["history"].step_loss) == 76


def test_18_the_damaged_file_is_named_and_the_one_before_it_too():
    _, printed = once("18_stop_and_go_on.py")
    assert "run.ckpt is damaged" in printed
    assert "loaded the checkpoint before it, run.ckpt.previous, of step 38\n" in printed
