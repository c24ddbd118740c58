"""The command line, called as a user calls it: what it prints, writes and returns."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tinygrad_opt
from tinygrad_opt.cli import main
from tinygrad_opt.lab import CONTESTANTS, Contestant
from tinygrad_opt.lab import race as race_digits
from tinygrad_opt.optim import SGD

QUICK = ["--epochs", "1", "--batch-size", "256", "--seed", "0"]
FILES = ["race.json", "race.md", "race.png"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder, so that stray files are seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COLUMNS", raising=False)
    return folder


@pytest.fixture
def reckless(monkeypatch):
    monkeypatch.setitem(CONTESTANTS, "reckless", Contestant("reckless", "Reckless", 1e30, SGD))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def run_process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_opt", *arguments], capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(tinygrad_opt.__file__)),
             **environment},
    )  # fmt: skip


# ---- race ----


def test_a_race_writes_its_three_files_into_the_folder_and_nothing_elsewhere(
    empty_folder, tmp_path, capsys
):
    out = tmp_path / "new" / "results"
    assert main(["race", "--optimizers", "sgd", "momentum-0.9", *QUICK, "--out", str(out)]) == 0
    assert files(out) == FILES
    assert files(empty_folder) == []
    assert files(tmp_path) == ["here", "new"]
    printed, progress = capsys.readouterr()
    assert str(out / "race.png") in printed
    assert progress == ""
    assert (out / "race.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_folder_is_race(empty_folder, capsys):
    assert main(["race", "--optimizers", "sgd", *QUICK]) == 0
    assert files(empty_folder) == ["race"]
    assert files(empty_folder / "race") == FILES


def test_json_prints_the_file_race_json_and_nothing_else(empty_folder, capsys):
    assert main(["race", *QUICK[:4], "--seed", "5", "6", "--json"]) == 0
    printed, progress = capsys.readouterr()
    data = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert printed == (empty_folder / "race/race.json").read_text("utf-8")
    assert progress == ""
    assert data["version"] == tinygrad_opt.__version__
    assert (data["epochs"], data["batch_size"], data["seeds"]) == (1, 256, [5, 6])
    assert [row["key"] for row in data["optimizers"]] == list(CONTESTANTS)
    assert [(r["key"], r["seed"]) for r in data["runs"]] == [(k, s) for k in CONTESTANTS
                                                              for s in (5, 6)]  # fmt: skip
    for told, result in zip(data["runs"], race_digits(None, 1, 256, (5, 6))):
        assert told["test_accuracy"] == result.test_accuracy
        assert told["history"]["loss"] == result.history.loss


def test_the_table_holds_the_numbers_of_the_json(empty_folder, capsys):
    assert main(["race", "--optimizers", "sgd", "momentum", *QUICK[:4], "--seed", "0", "1"]) == 0
    printed = capsys.readouterr().out.replace("\u00a0", " ")  # that no line ends there
    data = json.loads((empty_folder / "race/race.json").read_text("utf-8"))
    markdown = (empty_folder / "race/race.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line[:1] == "|"]
    assert rows[0] == ["optimizer", "learning rate", "training loss", "test loss", "test accuracy",
                       "ms a step", "state bytes a weight"]  # fmt: skip
    assert len(rows) == 2 + len(data["optimizers"])
    by_loss = sorted(data["optimizers"], key=lambda row: row["train_loss"])
    for cells, row in zip(rows[2:], by_loss):
        accuracy, deviation = 100 * row["test_accuracy"], 100 * row["test_accuracy_std"]
        expected = [
            row["name"], f"{row['lr']:g}", f"{row['train_loss']:.5f}", f"{row['test_loss']:.4f}",
            f"{accuracy:.1f} ± {deviation:.1f} %", f"{row['step_ms']:.3f}",
            f"{row['state_bytes']:.1f}",
        ]  # fmt: skip
        assert cells == expected
        (line,) = (line for line in printed.splitlines() if line.startswith(f"  {row['name']} "))
        assert line.split() == " ".join(expected).split()
    for words in ("0, 1", "batches of 256", "17 from 0.0001 to 20", "seeds 100 to 104",
                  "85 runs for each"):  # fmt: skip
        assert words in markdown
        assert words in printed or words == "batches of 256"
    assert "race.png" in markdown
    assert data["tuning_seeds"] == [100, 101, 102, 103, 104]


def test_what_sets_an_optimizer_apart_is_said_where_it_races(empty_folder, capsys):
    assert main(["race", "--optimizers", "sgd", "rprop", "lbfgs", *QUICK]) == 0
    printed = capsys.readouterr().out
    markdown = (empty_folder / "race/race.md").read_text("utf-8")
    for text in (printed, markdown):
        assert "Rprop and LBFGS: a step an epoch, from the gradient over all images." in text
        assert CONTESTANTS["lbfgs"].remark in text
        assert "SAM" not in text
    assert main(["race", "--optimizers", "sgd", "sam", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "two gradients a step" in printed
    assert "a step an epoch" not in printed


def test_a_race_in_which_one_diverges_says_so_and_fails_with_1(reckless, empty_folder, capsys):
    assert main(["race", "--optimizers", "sgd", "reckless", *QUICK, "--json"]) == 1
    printed, errors = capsys.readouterr()
    data = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["runs"][1]["train_loss"] is None
    assert "failed: Reckless, seed 0: the loss is" in errors
    assert "learning rate is 1e+30" in errors
    assert files(empty_folder / "race") == FILES
    assert "| Reckless | 1e+30 | diverged |" in (empty_folder / "race/race.md").read_text("utf-8")


def test_a_result_that_cannot_be_written_fails_with_1(empty_folder, capsys):
    (empty_folder / "race/race.png").mkdir(parents=True)
    assert main(["race", "--optimizers", "sgd", *QUICK]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("command", [
    ["race", "--optimizers", "sgd", *QUICK],
    ["sweep", "--mu", "0", "0.9", "--rate", "0.5", "1", "--steps", "200"],
])  # fmt: skip
def test_results_of_before_stay_whole_where_new_ones_cannot_be_written_to_their_end(
    command, monkeypatch, empty_folder, capsys
):
    assert main(command) == 0
    written = sorted(path for path in empty_folder.rglob("*") if path.is_file())
    assert len(written) > 1
    for path in written:
        path.write_bytes(b"of before")

    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == path.name:
            raise OSError(28, "No space left on device", os.fspath(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    for path in written:
        assert main(command) == 1
        told = f"No space left on device: '{path.relative_to(empty_folder)}'"
        assert told in capsys.readouterr().err
        assert path.read_bytes() == b"of before"
    assert written == sorted(path for path in empty_folder.rglob("*") if path.is_file())


def no_file(*arguments, **settings):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("name", ["lab", "race", "sweep"])
def test_a_folder_that_cannot_be_written_is_wrong_usage_before_anything_runs(
    name, monkeypatch, empty_folder, capsys
):
    (empty_folder / "mine").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    assert main([name, "--out", "mine/new"]) == 2
    assert "argument --out: cannot write into mine: Permission denied" in capsys.readouterr().err
    assert files(empty_folder / "mine") == []


# ---- train ----


def test_train_prints_the_epochs_and_writes_nothing(empty_folder, capsys):
    assert main(["train", "--epochs", "2"]) == 0
    printed, errors = capsys.readouterr()
    lines = printed.splitlines()
    assert lines[0] == "Momentum μ=0.9, learning rate 0.2, 2,410 weights"
    assert lines[1] == "History: 2 epochs, 90 steps"
    assert [line.split()[0] for line in lines[2:5]] == ["epoch", "1", "2"]
    assert lines[5].startswith("after the last step: training loss 0.")
    assert errors == ""
    assert files(empty_folder) == []


def test_train_takes_its_settings(capsys):
    told = {}
    for lr in ("0.1", "0.2"):
        arguments = ["--optimizer", "sgd", "--lr", lr, "--batch-size", "100", "--seed", "9"]
        assert main(["train", "--epochs", "1", *arguments, "--json"]) == 0
        told[lr] = json.loads(capsys.readouterr().out)
        assert (told[lr]["lr"], told[lr]["key"], told[lr]["seed"]) == (float(lr), "sgd", 9)
        assert len(told[lr]["history"]["step_loss"]) == math.ceil(1437 / 100)
    first, second = (told[lr]["history"]["step_loss"] for lr in told)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_an_optimizer_is_known_in_any_case(capsys):
    assert main(["train", "--optimizer", "Momentum-0.75", "--epochs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "momentum-0.75"


def test_train_that_diverges_fails_with_1_and_shows_how_far_it_came(capsys):
    assert main(["train", "--optimizer", "sgd", "--lr", "1e30"]) == 1
    printed, errors = capsys.readouterr()
    assert "History: 0 epochs" in printed
    assert errors.startswith("failed: the loss is ")


# ---- usage ----


@pytest.mark.parametrize(("arguments", "text"), [
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["race", "--epochs", "0"], "'0' is not an integer of 1 or more"),
    (["race", "--epochs", "many"], "'many' is not an integer of 1 or more"),
    (["race", "--batch-size", "-1"], "'-1' is not an integer of 1 or more"),
    (["race", "--seed", "-1"], "'-1' is not an integer of 0 or more"),
    (["race", "--seed", "1", "1"], "the same start twice"),
    (["race", "--optimizers", "sgd", "adan"], "no optimizer 'adan' here; did you mean 'adam'?"),
    (["race", "--out", "file/folder"], "argument --out: "),
    (["race", "--out", "file"], "argument --out: "),
    (["train", "--optimizer", "adan"], "invalid choice: 'adan'; did you mean 'adam'?"),
    (["train", "--lr", "nan"], "'nan' is not a learning rate"),
    (["train", "--lr", "-0.1"], "'-0.1' is not a learning rate"),
    (["train", "--lr", "fast"], "'fast' is not a learning rate"),
])  # fmt: skip
def test_wrong_usage_is_explained_on_stderr_with_2(arguments, text, empty_folder, capsys):
    (empty_folder / "file").write_text("here first")
    assert main(arguments) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.startswith("usage: tinygrad-opt")
    assert text in errors
    assert files(empty_folder) == ["file"]


@pytest.mark.parametrize("arguments", [["--help"], ["race", "--help"], ["train", "--help"]])
def test_help_shows_examples_that_parse(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(arguments) == 0
    text = capsys.readouterr().out
    commands = re.findall(r"^  tinygrad-opt (.*?)(?:   .*| > .*)?$", text, re.M)
    assert commands
    for command in commands:
        assert main([*command.split(), "--help"]) == 0


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tinygrad-opt {tinygrad_opt.__version__}\n"


def test_an_interrupt_ends_with_130_and_no_traceback(monkeypatch, capsys):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygrad_opt.train.fit", interrupted)
    monkeypatch.setattr(sys.modules["tinygrad_opt.lab.race"], "fit", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_termination_ends_with_143_as_an_interrupt_does_and_the_handler_is_put_back(
    monkeypatch, capsys
):
    def terminated(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        monkeypatch.setattr(sys.modules["tinygrad_opt.lab.race"], "fit", terminated)
        assert main(["train"]) == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().out == ""


def test_no_color_is_obeyed(monkeypatch, capsys, empty_folder):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["race", "--optimizers", "sgd", *QUICK]) == 0
    captured = capsys.readouterr()
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]", captured.out + captured.err)


# ---- as a process ----


def test_the_package_runs_as_a_module_also_where_there_is_no_greek():
    done = run_process("train", "--epochs", "1", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"Momentum ?=0.9, learning rate 0.2")


def test_where_stdout_is_closed_nothing_is_printed_and_all_is_well(empty_folder):
    path = os.path.dirname(os.path.dirname(tinygrad_opt.__file__))
    command = f'"{sys.executable}" -m tinygrad_opt explain sgd >&-'
    done = subprocess.run(command, shell=True, capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_reader_that_leaves_early_causes_no_traceback(empty_folder):
    command = [sys.executable, "-m", "tinygrad_opt", "race", "--json", *QUICK]
    path = os.path.dirname(os.path.dirname(tinygrad_opt.__file__))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 1
    assert errors == b""


@pytest.fixture
def without_cupy(tmp_path):
    """An environment that asks for CuPy where there is none, and the folder of its modules."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "cupy.py").write_text("raise ModuleNotFoundError(\"No module named 'cupy'\")")
    path = os.pathsep.join([str(modules), os.path.dirname(os.path.dirname(tinygrad_opt.__file__))])
    return {"PYTHONPATH": path, "TINYGRAD_OPT_BACKEND": "cupy"}, modules


@pytest.fixture
def installed_command(tmp_path):
    """The script that pip makes of the entry point in pyproject.toml."""
    project = Path(tinygrad_opt.__file__).parents[1] / "pyproject.toml"
    ((name, entry),) = tomllib.loads(project.read_text("utf-8"))["project"]["scripts"].items()
    module, function = entry.split(":")
    script = tmp_path / name
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return script


@pytest.mark.parametrize("arguments", [[], ["race", "--help"]])
@pytest.mark.parametrize("way", ["-m", "installed"])
def test_a_backend_from_outside_that_does_not_work_is_one_line_and_wrong_usage(
    way, arguments, without_cupy, installed_command
):
    program = ["-m", "tinygrad_opt"] if way == "-m" else [str(installed_command)]
    done = subprocess.run([sys.executable, *program, *arguments], capture_output=True, text=True,
                          timeout=120, env={**os.environ, **without_cupy[0]})  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith('tinygrad-opt: error: TINYGRAD_OPT_BACKEND=cupy: backend "cupy": CuPy')
    assert "CuPy is not installed. Install the extra" in line


def test_an_unknown_backend_from_outside_is_wrong_usage_too():
    done = run_process("race", "--help", TINYGRAD_OPT_BACKEND="tpu")
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(rb"tinygrad-opt: error: \S+=tpu: unknown backend 'tpu': .*\n", done.stderr)


@pytest.mark.parametrize("way", ["-c import~mine", "-m mine", "-m mine tinygrad_opt"])
def test_who_imports_the_package_gets_an_exception_and_not_an_exit(way, without_cupy):
    environment, modules = without_cupy
    (modules / "mine").mkdir()
    (modules / "mine" / "__main__.py").write_text("")
    (modules / "mine" / "__init__.py").write_text(
        "try:\n    import tinygrad_opt\nexcept RuntimeError as error:\n    print(error)\n"
    )
    way = [word.replace("~", " ") for word in way.split()]
    done = subprocess.run([sys.executable, *way], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "TINYGRAD_OPT_BACKEND=cupy" in done.stdout and "CuPy is not installed" in done.stdout


def test_the_command_line_loads_neither_matplotlib_nor_rich_before_they_are_needed():
    code = "import sys; from tinygrad_opt.cli import main; main(['race', '--help']); " \
           "print(sorted({'matplotlib', 'rich', 'scipy'} & set(sys.modules)))"  # fmt: skip
    path = os.path.dirname(os.path.dirname(tinygrad_opt.__file__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# ---- explain -------------------------------------------------------------------------------------


def test_explain_prints_the_steps_of_a_weight_on_a_bowl(capsys):
    assert main(["explain", "momentum", "--steps", "2"]) == 0
    out = capsys.readouterr().out
    assert "v = mu * v - lr * g = 0.9 * (-0.1) - 0.1 * 0.9 = -0.18\n" in out
    assert "w = w + v = 0.9 + (-0.18) = 0.72\n" in out
    assert "step 3" not in out


def test_explain_takes_settings_and_all_digits(capsys):
    argv = ["explain", "RMSProp", "--set", "lr=0.5", "centered=true", "--exact", "--steps", "1"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("RMSProp(lr=0.5, rho=0.99, eps=1e-08, mu=0, form='centered')")
    assert "(1 - 0.99) * (1.0 * 1.0) = 0.010000000000000009" in out


def test_explain_tells_a_weight_of_the_network(capsys):
    argv = ["explain", "sgd", "--parameter", "layers.1.weight", "--index", "4", "2", "--step", "2"]
    assert main(argv) == 0
    assert "layers.1.weight[4, 2], step 2 of SGD" in capsys.readouterr().out


def test_explain_prints_formula_and_source_of_a_form(capsys):
    assert main(["explain", "momentum", "--latex", "--set", "form=ema"]) == 0
    assert r"v &\leftarrow \mu \, v + \left(1 - \mu\right) \, g" in capsys.readouterr().out
    assert main(["explain", "momentum", "--source", "--set", "form=torch"]) == 0
    assert "    v = mu * v + g\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, message",
    [
        (["momentun"], "no optimizer 'momentun' to explain; did you mean 'momentum'?"),
        (["momentum", "--set", "mu=1"], "mu is in [0, 1), not 1.0"),
        (["momentum", "--set", "mu"], "'mu' is not KEY=VALUE"),
        (["momentum", "--set", "form=emma"], "did you mean 'ema'?"),
        (["momentum", "--latex", "--set", "form=emma"], "did you mean 'ema'?"),
        (["sgd", "--parameter", "layers.0.weigth"], "did you mean 'layers.0.weight'?"),
        (["sgd", "--parameter", "layers.0.weight", "--index", "99", "0"], "no element [99, 0]"),
        (["sgd", "--steps", "0"], "'0' is not an integer of 1 or more"),
        (["sgd", "--weight", "nan"], "'nan' is not a finite number"),
        (["sgd", "--set", "lr=1", "lr=2"], "argument --set: lr is there twice"),
        (["sgd", "--set", "lr=1", "--set", "lr=2"], "argument --set: lr is there twice"),
        (["sgd", "--latex", "--source"], "--latex and --source are two things"),
        (["sgd", "--latex", "--steps", "2"], "--steps is for numbers, without --latex"),
        (["sgd", "--source", "--parameter", "x"], "--parameter is for numbers, without --latex"),
        (["sgd", "--parameter", "", "--step", "2"], "no parameter is called ''"),
    ],
)
def test_explain_says_what_is_wrong_and_exits_with_2(argv, message, capsys):
    assert main(["explain", *argv]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_an_overflow_is_told_and_not_warned_of(capsys):
    argv = ["explain", "sgd", "--weight", "1e308", "--curvature", "1e308"]
    assert main(argv) == 1
    assert capsys.readouterr().err.startswith("failed: the gradient of w has 1 NaN or inf")
