"""`tinygrad-opt race`: one network under each optimizer, as a table and a picture."""

import argparse
import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.options import Usage, count, folder
from tinygrad_opt.cli.output import print_table, print_text
from tinygrad_opt.files import write_text

EXAMPLES = """\
examples:
  tinygrad-opt race                            all optimizers, results in the folder race/
  tinygrad-opt race --optimizers sgd momentum  these, "momentum" being all of its kind
  tinygrad-opt race --seed 7 --epochs 10 --out results
  tinygrad-opt race --json > race.json         for programs
"""


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
    from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS, EPOCHS, SEEDS

    parser = commands.add_parser(
        "race", help="train one network with each optimizer, and compare",
        description="Train the same network on the same batches of real digits with each "
        "optimizer,\nand show who gets how far: a table, and a picture in the folder OUT.",
        epilog=textwrap.fill("optimizers: " + ", ".join(CONTESTANTS), 80) + "\n\n" + EXAMPLES,
        **layout,
    )  # fmt: skip
    option = parser.add_argument
    option("--optimizers", nargs="+", metavar="NAME", help="who runs (default: all)")
    option("--epochs", type=count(1), default=EPOCHS, metavar="N",
           help="times through the training images (default: %(default)s)")
    option("--batch-size", type=count(1), default=BATCH_SIZE, metavar="N",
           help="images a step (default: %(default)s)")
    option("--seed", nargs="+", type=count(0), default=list(SEEDS), metavar="N",
           help=f"starts, one or more (default: {' '.join(map(str, SEEDS))})")
    option("--out", type=Path, default=Path("race"),
           help="the folder for race.png, race.md and race.json; nothing is written outside it "
           "(default: %(default)s)")
    option("--json", action="store_true",
           help="print race.json, and nothing else, to stdout")  # fmt: skip
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt race`: the table to stdout, the picture, table and numbers to the folder."""
    from tinygrad_opt.lab.race import chosen, race
    from tinygrad_opt.plots import race_figure, save

    seeds, out = arguments.seed, arguments.out
    if len(set(seeds)) < len(seeds):
        raise Usage("argument --seed: the same start twice says nothing new")
    try:
        chosen(arguments.optimizers)
    except ValueError as error:
        raise Usage(f"argument --optimizers: {error}") from None
    folder(out)

    results = race(arguments.optimizers, arguments.epochs, arguments.batch_size, seeds,
                   progress=None)  # fmt: skip
    numbers = as_json(results, arguments)
    write_text(out / "race.json", numbers + "\n")
    write_text(out / "race.md", as_markdown(results, arguments))
    save(race_figure(results)[0], out / "race.png")
    if arguments.json:
        print(numbers)
    else:
        print_race(results, arguments)
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


def rows(results: Sequence[Any]) -> list[list[str]]:
    """The cells under `HEADINGS`, the lowest training loss first and those without one last."""
    from tinygrad_opt.lab.race import summary

    def loss(row: dict[str, Any]) -> float:
        return math.inf if row["train_loss"] is None else row["train_loss"]

    cells = []
    for row in sorted(summary(results), key=loss):
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
        cells.append([name, f"{row['lr']:g}", *figures, f"{row['step_ms']:.3f}",
                     f"{row['state_bytes']:.1f}"])  # fmt: skip
    return cells


def notes_on(results: Sequence[Any], arguments: argparse.Namespace) -> dict[str, str]:
    """What the figures of the table mean, by subject."""
    import numpy as np

    from tinygrad_opt import __version__, backend
    from tinygrad_opt.data import load_digits
    from tinygrad_opt.lab.race import (
        BATCH_SIZE,
        CONTESTANTS,
        EPOCHS,
        RATES,
        SIZES,
        TUNING_SEEDS,
    )

    (x_train, _), (x_test, _) = load_digits()
    spread = "over them, losses are medians and accuracies means ± standard deviations"
    racing = [CONTESTANTS[key] for key in dict.fromkeys(result.key for result in results)]
    whole = " and ".join(each.name.removesuffix(" full batch") for each in racing
                         if each.full_batch)  # fmt: skip
    notes = {
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
        f"{TUNING_SEEDS[0]} to {TUNING_SEEDS[-1]}): {len(RATES) * len(TUNING_SEEDS)} runs "
        "for each. The test images had no say in it.",
        "settings": "All else is as by default, unless the name says otherwise. "
        + " ".join(each.remark for each in racing if each.remark),
        "full batch": f"{whole}: a step an epoch, from the gradient over all images. The images "
        "seen are as many as for the others, the steps far fewer.",
        "cost": "Time: the median step on this machine, forward, backward and update. State: what "
        "the optimizer really holds beside the weights, padding included; a float32 is 4 bytes.",
        "version": f"Made by tinygrad-opt {__version__} with NumPy {np.__version__} on the backend "
        f"{backend.current()}.",
    }
    if not whole:
        del notes["full batch"]
    return notes


def as_json(results: Sequence[Any], arguments: argparse.Namespace) -> str:
    from tinygrad_opt import __version__
    from tinygrad_opt.lab.race import RATES, SIZES, TUNING_SEEDS, summary
    from tinygrad_opt.report import strict_json

    columns = "loss", "accuracy", "val_loss", "val_accuracy"
    runs = [
        {**{key: value for key, value in vars(result).items() if key != "history"},
         "history": {name: getattr(result.history, name) for name in columns}}
        for result in results
    ]  # fmt: skip
    return strict_json({
        "version": __version__, "sizes": SIZES, "epochs": arguments.epochs,
        "batch_size": arguments.batch_size, "seeds": arguments.seed, "rates": RATES,
        "tuning_seeds": TUNING_SEEDS,
        "optimizers": summary(results), "runs": runs,
    })  # fmt: skip


def as_markdown(results: Sequence[Any], arguments: argparse.Namespace) -> str:
    from tinygrad_opt.plots import race_caption
    from tinygrad_opt.report import markdown_table

    table = markdown_table(HEADINGS, rows(results))
    notes = "\n".join(f"- {note}" for note in notes_on(results, arguments).values())
    says = race_caption(results)
    alternative = "Training loss and test accuracy of each optimizer over the epochs"
    return f"# The optimizer race\n\n{table}\n\n![{alternative}](race.png)\n\n{says}\n\n{notes}\n"


def print_race(results: Sequence[Any], arguments: argparse.Namespace) -> None:
    from tinygrad_opt.plots import race_caption

    print_table(HEADINGS, rows(results))
    notes = notes_on(results, arguments)
    subjects = ("starts", "learning rate", "settings", "full batch")
    print_text(race_caption(results), *(notes[each] for each in subjects if each in notes))
