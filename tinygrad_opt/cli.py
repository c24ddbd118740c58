"""The command `tinygrad-opt`: each subcommand is one parser and one function, and prints what the
library worked out.

Results go to stdout, progress and errors to stderr. Exit codes: 0 fine, 1 failed (a run diverged, a
file could not be written), 2 wrong usage, 130 interrupted.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  tinygrad-opt race                            all optimizers, results in the folder race/
  tinygrad-opt race --optimizers sgd momentum  these, "momentum" being all of its kind
  tinygrad-opt race --seed 7 --epochs 10 --out results
  tinygrad-opt race --json > race.json         for programs
  tinygrad-opt train --optimizer sgd --lr 0.1  one run, epoch by epoch
  tinygrad-opt explain momentum                an update, line by line, with its numbers
"""


class Usage(Exception):
    """What was asked for cannot be done: told with the usage, exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process) and give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without a μ shows a ? in its place
            stream.reconfigure(errors="replace")
    parser, commands = _parser()
    try:
        arguments = parser.parse_args(argv)
        code = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except Usage as error:
        commands.choices[arguments.name].print_usage(sys.stderr)
        print(f"tinygrad-opt {arguments.name}: error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # argparse has printed what it had to say
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> tuple[argparse.ArgumentParser, Any]:
    from tinygrad_opt import __version__

    layout: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        "tinygrad-opt", description="Optimizers you can read, and experiments with them.",
        epilog=EXAMPLES, **layout,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"tinygrad-opt {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="name", required=True, metavar="COMMAND"
    )
    for add in (_add_race, _add_train, _add_explain):
        add(commands, layout)
    return parser, commands


def _count(least: int) -> Any:
    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of {least} or more")
        return value

    return integer


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate: a number, 0 or more")
    return value


# ---- race ----------------------------------------------------------------------------------------


def _add_race(commands: Any, layout: dict) -> None:
    from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS, EPOCHS, SEEDS

    parser = commands.add_parser(
        "race", help="train one network with each optimizer, and compare",
        description="Train the same network on the same batches of real digits with each "
        "optimizer,\nand show who gets how far: a table, and a picture in the folder OUT.",
        epilog="optimizers: " + ", ".join(CONTESTANTS) + "\n\n" + EXAMPLES, **layout,
    )  # fmt: skip
    add = parser.add_argument
    add("--optimizers", nargs="+", metavar="NAME", help="who runs (default: all)")
    add("--epochs", type=_count(1), default=EPOCHS, metavar="N",
        help="times through the training images (default: %(default)s)")
    add("--batch-size", type=_count(1), default=BATCH_SIZE, metavar="N",
        help="images a step (default: %(default)s)")
    add("--seed", nargs="+", type=_count(0), default=list(SEEDS), metavar="N",
        help=f"starts, one or more (default: {' '.join(map(str, SEEDS))})")
    add("--out", type=Path, default=Path("race"),
        help="the folder for race.png, race.md and race.json; nothing is written outside it "
        "(default: %(default)s)")
    add("--json", action="store_true",
        help="print race.json, and nothing else, to stdout")  # fmt: skip
    parser.set_defaults(command=run_race)


def run_race(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt race`: the table to stdout, the picture, table and numbers to the folder."""
    from tinygrad_opt.lab.race import chosen, race
    from tinygrad_opt.plots import race_figure

    seeds, out = arguments.seed, arguments.out
    if len(set(seeds)) < len(seeds):
        raise Usage("argument --seed: the same start twice says nothing new")
    try:
        chosen(arguments.optimizers)
    except ValueError as error:
        raise Usage(f"argument --optimizers: {error}") from None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Usage(f"argument --out: {error}") from None

    results = race(arguments.optimizers, arguments.epochs, arguments.batch_size, seeds,
                   progress=None)  # fmt: skip
    numbers = _race_json(results, arguments)
    (out / "race.json").write_text(numbers + "\n", "utf-8")
    (out / "race.md").write_text(_race_markdown(results, arguments), "utf-8")
    race_figure(results)[0].figure.savefig(out / "race.png")
    if arguments.json:
        print(numbers)
    else:
        _print_race(results, arguments)
        print("Wrote " + ", ".join(str(out / f"race.{end}") for end in ("png", "md", "json")))
    failures = {f"{result.name}, seed {result.seed}: {result.failure}"
                for result in results if result.failure}  # fmt: skip
    for failure in sorted(failures):
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


HEADINGS = (
    "optimizer", "learning rate", "training loss", "test loss", "test accuracy", "ms a step",
    "state bytes a weight",
)  # fmt: skip


def _race_rows(results: Sequence[Any]) -> list[list[str]]:
    from tinygrad_opt.lab.race import summary

    rows = []
    for row in summary(results):
        if row["train_loss"] is None:
            figures = ["diverged"] * 3
        else:
            accuracy = f"{100 * row['test_accuracy']:.1f}"
            if row["test_accuracy_std"] is not None:
                accuracy += f" ± {100 * row['test_accuracy_std']:.1f}"
            accuracy += " %"
            figures = [f"{row['train_loss']:.5f}", f"{row['test_loss']:.4f}", accuracy]
        name = row["name"]
        if 0 < row["failed"] < row["runs"]:
            name += f" ({row['failed']} of {row['runs']} diverged)"
        rows.append([name, f"{row['lr']:g}", *figures, f"{row['step_ms']:.3f}",
                     f"{row['state_bytes']:.1f}"])  # fmt: skip
    return rows


def _race_notes(results: Sequence[Any], arguments: argparse.Namespace) -> dict[str, str]:
    """What the figures of the table mean, by subject."""
    import numpy as np

    from tinygrad_opt import __version__, backend
    from tinygrad_opt.data import load_digits
    from tinygrad_opt.lab.race import BATCH_SIZE, EPOCHS, RATES, SIZES, TUNING_SEEDS

    (x_train, _), (x_test, _) = load_digits()
    spread = "over them, losses are medians and accuracies means ± standard deviations"
    return {
        "network": f"Network: {'-'.join(map(str, SIZES))}, ReLU, {results[0].weights:,} weights in "
        f"float32. From each start, all optimizers get the same first weights and the same batches "
        f"of {arguments.batch_size}, {arguments.epochs} epochs long.",
        "starts": f"Starts (seeds): {', '.join(map(str, arguments.seed))}"
        + (f"; {spread}." if len(arguments.seed) > 1 else "."),
        "data": f"Data: {len(x_train):,} training and {len(x_test)} test images; one test image is "
        f"{100 / len(x_test):.2f} %. Losses are cross-entropies in nats, means over all images "
        "after the last step.",
        "learning rate": f"Learning rates: for each optimizer the one, of {len(RATES)} from "
        f"{RATES[0]:g} to {RATES[-1]:g}, with the lowest training loss after {EPOCHS} epochs of "
        f"batches of {BATCH_SIZE}, in the mean over {len(TUNING_SEEDS)} other starts (seeds "
        f"{TUNING_SEEDS[0]} to {TUNING_SEEDS[-1]}). The test images had no say in it.",
        "cost": "Time: the median step on this machine, forward, backward and update. State: what "
        "the optimizer really holds beside the weights, padding included; a float32 is 4 bytes.",
        "version": f"Made by tinygrad-opt {__version__} with NumPy {np.__version__} on the backend "
        f"{backend.current()}.",
    }


def _race_json(results: Sequence[Any], arguments: argparse.Namespace) -> str:
    from tinygrad_opt import __version__
    from tinygrad_opt.lab.race import SIZES, summary

    columns = "loss", "accuracy", "val_loss", "val_accuracy"
    runs = [
        {**{key: value for key, value in vars(result).items() if key != "history"},
         "history": {name: getattr(result.history, name) for name in columns}}
        for result in results
    ]  # fmt: skip
    return _json({
        "version": __version__, "sizes": SIZES, "epochs": arguments.epochs,
        "batch_size": arguments.batch_size, "seeds": arguments.seed,
        "optimizers": summary(results), "runs": runs,
    })  # fmt: skip


def _json(data: Any) -> str:
    """Strict JSON, which has no NaN: null stands for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(data), allow_nan=False, indent=1)


def _race_markdown(results: Sequence[Any], arguments: argparse.Namespace) -> str:
    from tinygrad_opt.plots import caption

    rows = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *_race_rows(results)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "\n".join(f"- {note}" for note in _race_notes(results, arguments).values())
    says = caption(results)
    alternative = "Training loss and test accuracy of each optimizer over the epochs"
    return f"# The optimizer race\n\n{table}\n\n![{alternative}](race.png)\n\n{says}\n\n{notes}\n"


def _print_race(results: Sequence[Any], arguments: argparse.Namespace) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from tinygrad_opt.plots import caption

    table = Table(box=SIMPLE_HEAD)
    for n, heading in enumerate(HEADINGS):
        longest = max(map(len, heading.split()))
        table.add_column(heading, justify="right" if n else "left", no_wrap=not n,
                         min_width=longest)  # fmt: skip
    for row in _race_rows(results):
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file or pipe has no edge to fold at
        console.width = 120
    console.print(table, markup=False, highlight=False)
    for text in (caption(results), _race_notes(results, arguments)["learning rate"]):
        console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


# ---- train ---------------------------------------------------------------------------------------


def _add_train(commands: Any, layout: dict) -> None:
    from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS

    parser = commands.add_parser(
        "train", help="train the network of the race with one optimizer, epoch by epoch",
        description="Train a small network on real digits with one optimizer, and print what "
        "happened\nepoch by epoch. Nothing is written.",
        epilog="examples:\n  tinygrad-opt train\n  tinygrad-opt train --optimizer sgd --lr 0.1 "
        "--epochs 20\n", **layout,
    )  # fmt: skip
    add = parser.add_argument
    add("--optimizer", choices=CONTESTANTS, default="momentum-0.9", metavar="NAME",
        help=f"one of {', '.join(CONTESTANTS)} (default: %(default)s)")
    add("--lr", type=_rate, metavar="RATE", help="its learning rate (default: that of the race)")
    add("--epochs", type=_count(1), default=10, metavar="N",
        help="times through the training images (default: %(default)s)")
    add("--batch-size", type=_count(1), default=BATCH_SIZE, metavar="N",
        help="images a step (default: %(default)s)")
    add("--seed", type=_count(0), default=0, metavar="N",
        help="of the first weights and of the batches (default: %(default)s)")
    add("--json", action="store_true",
        help="print numbers for programs, and nothing else, to stdout")  # fmt: skip
    parser.set_defaults(command=run_train)


def run_train(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt train`: the history of one run to stdout."""
    from tinygrad_opt.lab.race import CONTESTANTS, run

    result = run(
        CONTESTANTS[arguments.optimizer], arguments.seed, lr=arguments.lr, epochs=arguments.epochs,
        batch_size=arguments.batch_size, progress=None,
    )  # fmt: skip
    if arguments.json:
        print(_json({**vars(result), "history": result.history.as_dict()}))
    else:
        print(f"{result.name}, learning rate {result.lr:g}, {result.weights:,} weights")
        print(result.history)
    if result.failure:
        print(f"failed: {result.failure}", file=sys.stderr)
        return 1
    if not arguments.json:
        print(f"after the last step: training loss {result.train_loss:.4g}, test loss "
              f"{result.test_loss:.4g}, test accuracy {result.test_accuracy:.2%}")  # fmt: skip
    return 0


# ---- explain -------------------------------------------------------------------------------------


def _add_explain(commands: Any, layout: dict) -> None:
    parser = commands.add_parser(
        "explain", help="show an optimizer's update line by line, with its numbers",
        description="Show what an optimizer does to one weight, line by line, with the numbers "
        "put in:\na weight on a bowl, or (with --parameter) one of a network that learns the "
        "digits.\nThe lines are the source of the rule that runs. Nothing is written.",
        epilog="examples:\n  tinygrad-opt explain momentum\n  tinygrad-opt explain adam --steps 2 "
        "--set lr=0.1 beta1=0.8\n  tinygrad-opt explain momentum --set form=torch --exact\n"
        "  tinygrad-opt explain rmsprop --parameter layers.0.weight --index 20 3 --step 50\n"
        "  tinygrad-opt explain nadam --latex\n", **layout,
    )  # fmt: skip
    add = parser.add_argument
    add("optimizer", metavar="NAME", help="momentum, nesterov, adam, ... in any case")
    add("--set", nargs="+", type=_setting, default=[], metavar="KEY=VALUE",
        help="its keywords: lr=0.1 mu=0.75 form=ema")
    add("--steps", type=_count(1), metavar="N", help="steps on the bowl (default: 3)")
    add("--weight", type=_finite, metavar="W",
        help="where the weight on the bowl starts (default: 1)")
    add("--curvature", type=_finite, metavar="C", help="of the bowl ½ C w² (default: 1)")
    add("--parameter", metavar="NAME",
        help="instead of the bowl, a parameter of the network of the race, such as layers.0.weight")
    add("--index", nargs="+", type=int, default=[], metavar="I",
        help="which weight of it (default: that of the largest gradient at the start)")
    add("--step", type=_count(1), metavar="N", help="which step of the training (default: 1)")
    add("--seed", type=_count(0), metavar="N",
        help="of the first weights and of the batches (default: 0)")
    add("--exact", action="store_true",
        help="all digits, so that each line can be computed again to the last bit")
    add("--latex", action="store_true", help="print the rule as LaTeX instead")
    add("--source", action="store_true", help="print the source of the rule instead")
    parser.set_defaults(command=run_explain)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as mu=0.75")
    words = {"true": True, "false": False, "none": None}
    try:
        return key, words[value.lower()] if value.lower() in words else float(value)
    except ValueError:
        return key, value


def run_explain(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt explain`: updates with their numbers to stdout."""
    from tinygrad_opt.lab import explained

    settings = dict(arguments.set)
    digits = None if arguments.exact else 4
    on_a_bowl = _given(arguments, "steps", "weight", "curvature")
    in_training = _given(arguments, "index", "step", "seed")
    try:
        if arguments.latex or arguments.source:
            optimizer = explained.rule_of(arguments.optimizer, settings)
            print((optimizer.latex if arguments.latex else optimizer.source)().rstrip())
        elif arguments.parameter:
            if on_a_bowl:
                raise Usage(f"--{min(on_a_bowl)} is for the bowl, without --parameter")
            print(explained.in_training(arguments.optimizer, settings, digits=digits,
                                        parameter=arguments.parameter, **in_training))  # fmt: skip
        else:
            if in_training:
                raise Usage(f"--{min(in_training)} is for a network, with --parameter")
            print(explained.on_a_bowl(arguments.optimizer, settings, digits=digits, **on_a_bowl))
    except (ValueError, TypeError, IndexError) as error:
        raise Usage(str(error)) from None
    except ArithmeticError as error:  # it diverged, or was divided by zero
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    found = {name: getattr(arguments, name) for name in names}
    return {name: tuple(value) if name == "index" else value
            for name, value in found.items() if value not in (None, [])}  # fmt: skip
