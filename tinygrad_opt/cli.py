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
        try:
            code = arguments.command(arguments)
            sys.stdout.flush()
            return code
        except Usage as error:
            commands.choices[arguments.name].error(str(error))
    except SystemExit as stop:  # argparse has printed what it had to say
        return int(stop.code or 0)
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
    commands = parser.add_subparsers(title="commands", dest="name", required=True, metavar="COMMAND")
    for add in (_add_race, _add_train):
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


COLUMNS = {
    "optimizer": "left", "learning rate α": "right", "training loss, nats": "right",
    "test loss, nats": "right", "test accuracy, %": "right", "time a step, ms": "right",
    "state, bytes a weight": "right",
}  # fmt: skip


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
            figures = [f"{row['train_loss']:.5f}", f"{row['test_loss']:.4f}", accuracy]
        name = row["name"]
        if 0 < row["failed"] < row["runs"]:
            name += f" ({row['failed']} of {row['runs']} diverged)"
        rows.append([name, f"{row['lr']:g}", *figures, f"{row['step_ms']:.3f}",
                     f"{row['state_bytes']:.1f}"])  # fmt: skip
    return rows


def _race_notes(results: Sequence[Any], arguments: argparse.Namespace) -> list[str]:
    """What the figures of the table mean, a sentence or two each."""
    from tinygrad_opt.lab import race as lab
    from tinygrad_opt.data import load_digits

    (x_train, _), (x_test, _) = load_digits()
    sizes = "-".join(map(str, lab.SIZES))
    return [
        f"Network: a ReLU network {sizes} ({results[0].weights:,} weights), from the same start and "
        f"on the same batches of {arguments.batch_size} for each optimizer; {arguments.epochs} "
        f"epochs of {len(x_train):,} images, {len(x_test)} test images.",
    ]


def _print_race(results, arguments):
    pass
