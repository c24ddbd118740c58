"""`tinygrad-opt limits`, called as a user calls it."""

import json
import sys

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.cli import main
from tinygrad_opt.cli.limits import limited
from tinygrad_opt.lab import CONTESTANTS, theory
from tinygrad_opt.lab.descent import closure_of
from tinygrad_opt.lab.limits import limits

BOWL = """
import tinygrad_opt as tg

w = tg.Tensor([1.0, 1.0], requires_grad=True, dtype="float64")

def make():
    return None, lambda: (w * w * tg.Tensor([1.0, 4.0], dtype="float64")).sum(), MAKE
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test runs in a folder of its own, and leaves what Python has loaded as it was."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def bowl(empty_folder):
    """A function that writes a file with a bowl of curvatures 2 and 8 under an optimizer."""

    def write(optimizer, name="my_bowl.py"):
        (empty_folder / name).write_text(BOWL.replace("MAKE", optimizer), "utf-8")
        return f"{name}:make"

    return write


def printed_rows(printed):
    """The table by method: its numbers, and what is said of the one in use."""
    rows = [line.split("  ") for line in printed.splitlines() if line.startswith("  ")]
    cells = [[cell.strip().replace("\u00a0", " ") for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[1:] for row in cells if len(row) > 1}


def test_it_tells_the_limits_of_the_network_of_the_race_and_writes_nothing(empty_folder, capsys):
    assert main(["limits"]) == 0
    printed, progress = capsys.readouterr()
    (x, y), _ = tg.data.load_digits()
    tg.manual_seed(0)
    model = tg.nn.MLP([64, 32, 10])
    found = limits(model, lambda: tg.cross_entropy(model(x), y),
                   tg.optim.Momentum(model.parameters(), lr=0.2))  # fmt: skip
    assert f"sharpness {found.sharpness:.4g}, the largest curvature over 2,410 weights" in printed
    rows = printed_rows(printed)
    assert len(rows) == 1 + len(theory.LIMITS)
    for name, limit in (("gradient descent", 2.0), ("Nesterov, μ = 0.9", 3.8 / 2.8)):
        assert rows[name] == [f"{limit:.4g}", f"{limit / found.sharpness:.4g}"]
    used = [row[2] for row in rows.values() if len(row) > 2 and "α = " in row[2]]
    assert used == [f"α = 0.2, {100 * found.share:.3g} % of it"]
    assert used[0] == rows["heavy ball, μ = 0.9"][2]
    assert progress == ""
    assert list(empty_folder.iterdir()) == []


def test_training_rate_optimizer_and_seed_count(capsys):
    def sharpness(*arguments):
        assert main(["limits", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    start = sharpness("--optimizer", "sgd", "--lr", "0.5")
    assert (start["method"], start["lr"], start["mu"]) == ("gradient descent", 0.5, 0.0)
    assert (start["optimizer"], start["steps"], start["model"]) == ("SGD", 0, "race")
    trained = sharpness("--optimizer", "sgd", "--lr", "0.5", "--epochs", "2")
    assert trained["steps"] == 2 * 45
    other = sharpness("--optimizer", "sgd", "--lr", "0.5", "--seed", "1")
    assert len({start["sharpness"], trained["sharpness"], other["sharpness"]}) == 3
    nesterov = sharpness("--optimizer", "nesterov")
    assert nesterov["sharpness"] == start["sharpness"]
    assert [row["method"] for row in nesterov["methods"] if row["in_use"]] == ["Nesterov, μ = 0.9"]


def test_adam_is_measured_as_it_divides_after_its_first_epoch(capsys):
    assert main(["limits", "--optimizer", "adam", "--epochs", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["preconditioned"] > data["sharpness"]
    *others, adam = data["methods"]
    assert adam["in_use"]
    assert not any(row["in_use"] for row in others)
    assert adam["max_lr"] == pytest.approx(38 / data["preconditioned"])
    assert others[0]["max_lr"] == pytest.approx(2 / data["sharpness"])


@pytest.mark.parametrize(("optimizer", "name", "limit"), [
    ("tg.optim.SGD([w], lr=0.1)", "gradient descent", 2.0),
    ("tg.optim.Momentum([w], lr=0.1, mu=0.5)", "heavy ball, μ = 0.5", 3.0),
    ("tg.optim.Momentum([w], lr=0.1, mu=0.5, form='ema')", "heavy ball, ema, μ = 0.5", 6.0),
    ("tg.optim.Nesterov([w], lr=0.1, mu=0.5)", "Nesterov, μ = 0.5", 1.5),
])  # fmt: skip
def test_a_model_of_ones_own_is_measured_under_its_optimizer(bowl, optimizer, name, limit, capsys):
    assert main(["limits", "--model", bowl(optimizer)]) == 0
    printed = capsys.readouterr().out
    assert "sharpness 8, the largest curvature over 2 weights; the smallest is 2\n" in printed
    share = 100 * 0.1 * 8 / limit
    used = [f"{limit:.4g}", f"{limit / 8:.4g}", f"α = 0.1, {share:.3g} % of it"]
    assert printed_rows(printed)[name] == used


def test_a_file_elsewhere_finds_what_lies_beside_it_and_a_module_is_found_by_its_name(
    bowl, empty_folder, capsys
):
    bowl("tg.optim.SGD([w], lr=0.1)")
    elsewhere = empty_folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "helper.py").write_text("RATE = 0.2\n", "utf-8")
    (elsewhere / "other.py").write_text(
        "from __future__ import annotations\nimport dataclasses\nimport helper\nimport my_bowl\n"
        "import tinygrad_opt as tg\n\n\n@dataclasses.dataclass\nclass Plan:\n    rate: float\n\n\n"
        "def build():\n"
        "    model, loss, _ = my_bowl.make()\n"
        "    return model, loss, tg.optim.SGD([my_bowl.w], lr=helper.RATE)\n", "utf-8"
    )  # fmt: skip
    for model, rate in (("my_bowl:make", 0.1), ("elsewhere/other.py:build", 0.2)):
        assert main(["limits", "--model", model, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert (data["model"], data["lr"]) == (model, rate)
        assert data["share"] == pytest.approx(rate * 8 / 2)


def test_json_is_strict_where_nothing_limits_the_rate(empty_folder, capsys):
    (empty_folder / "flat.py").write_text(
        "import tinygrad_opt as tg\nw = tg.Tensor([1.0], requires_grad=True)\n"
        "def make():\n    return None, lambda: (3 * w).sum(), tg.optim.SGD([w], lr=0.1)\n", "utf-8"
    )  # fmt: skip
    assert main(["limits", "--model", "flat.py:make", "--json"]) == 0
    printed = capsys.readouterr().out
    data = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (data["sharpness"], data["max_lr"]) == (0.0, None)
    assert main(["limits", "--model", "flat.py:make"]) == 0
    assert "inf" in printed_rows(capsys.readouterr().out)["gradient descent"]


@pytest.mark.parametrize("key", CONTESTANTS)
def test_the_optimizers_of_the_race_that_are_offered_are_those_with_a_limit(key):
    model = tg.nn.Linear(2, 1)
    optimizer = CONTESTANTS[key].make(list(model.named_parameters()), lr=0.01)

    def loss():
        return (model(np.eye(2, dtype="float32")) ** 2).sum()

    optimizer.step(closure_of(optimizer, loss))  # before it, Adam and RMSProp have none
    if key in limited():
        assert limits(model, loss, optimizer).max_lr > 0
    else:
        with pytest.raises(ValueError, match="no limit that a curvature alone decides: its steps"):
            limits(model, loss, optimizer)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--model", "my_bowl.py"], "'my_bowl.py' is not WHERE:WHAT"),
    (["--model", "my_bowl.py:no such"], "is not WHERE:WHAT"),
    (["--model", "missing.py:make"], "there is no file missing.py"),
    (["--model", "missing.module:make"], "there is no module missing.module"),
    (["--model", "my_bowl.py:build"], "my_bowl.py has no function build"),
    (["--model", "my_bowl.py:w"], "my_bowl.py has no function w"),
    (["--model", "my_bowl.py:make", "--lr", "0.1"], "argument --lr: --model brings"),
    (["--model", "..my_bowl:make"], "there is no module ..my_bowl"),
    (["--model", ".:make"], "there is no module ."),
    (["--model", "tinygrad_opt:mse_loss"], "mse_loss() is called without arguments: missing"),
    (["--model", "pair.py:make"], "make() returns (model, loss, optimizer)"),
    (["--model", "adamw.py:make"], "AdamW has no limit that a curvature alone decides"),
    (["--optimizer", "adam"], "this Adam has taken no step"),
    (["--optimizer", "adamw"], "adamw has no limit that a curvature alone decides: its steps are "
     "no fixed multiple of past gradients; there is one for sgd, momentum-0.75, "),
    (["--optimizer", "momentum-0.8"], "invalid choice: 'momentum-0.8'; did you mean"),
    (["--epochs", "-1"], "'-1' is not an integer of 0 or more"),
    (["--lr", "fast"], "'fast' is not a learning rate"),
])  # fmt: skip
def test_what_cannot_be_measured_says_why_and_exits_with_2(
    arguments, message, bowl, empty_folder, capsys
):
    bowl("tg.optim.SGD([w], lr=0.1)")
    bowl("tg.optim.AdamW([w], lr=0.1)", "adamw.py")
    (empty_folder / "pair.py").write_text("def make():\n    return 1, 2\n", "utf-8")
    assert main(["limits", *arguments]) == 2
    printed, errors = capsys.readouterr()
    assert message in errors
    assert printed == ""


def test_a_training_that_diverges_fails_with_1(capsys):
    assert main(["limits", "--optimizer", "sgd", "--lr", "1e30", "--epochs", "1"]) == 1
    printed, errors = capsys.readouterr()
    assert "failed: the loss is nan" in errors
    assert "the learning rate is 1e+30" in errors
    assert printed == ""


def test_without_scipy_it_fails_with_1_and_names_the_extra(monkeypatch, capsys):
    loaded = [name for name in sys.modules if name.partition(".")[0] == "scipy"]
    for name in {"scipy", *loaded}:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["limits"]) == 1
    assert 'pip install "tinygrad-opt[lab]"' in capsys.readouterr().err


def test_an_error_of_ones_own_code_keeps_its_traceback(empty_folder):
    (empty_folder / "broken.py").write_text("def make():\n    return {}['x']\n", "utf-8")
    with pytest.raises(KeyError, match="x"):
        main(["limits", "--model", "broken.py:make"])
    (empty_folder / "needs.py").write_text("import no_such_package\n", "utf-8")
    for model in ("needs.py:make", "needs:make"):
        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            main(["limits", "--model", model])


def test_the_help_has_examples(capsys):
    assert main(["limits", "--help"]) == 0
    assert "tinygrad-opt limits --model my_file.py:make" in capsys.readouterr().out
