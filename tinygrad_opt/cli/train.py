"""`tinygrad-opt train`: one run on the digits, epoch by epoch."""

import argparse
import sys
from typing import Any

from tinygrad_opt.cli.options import count, one_of, rate


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
    from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS

    parser = commands.add_parser(
        "train", help="train the network of the race with one optimizer, epoch by epoch",
        description="Train a small network on real digits with one optimizer, and print what "
        "happened\nepoch by epoch. Nothing is written.",
        epilog="examples:\n  tinygrad-opt train\n  tinygrad-opt train --optimizer sgd --lr 0.1 "
        "--epochs 20\n", **layout,
    )  # fmt: skip
    option = parser.add_argument
    option("--optimizer", type=one_of(CONTESTANTS), default="momentum-0.9", metavar="NAME",
           help=f"one of {', '.join(CONTESTANTS)} (default: %(default)s)")
    option("--lr", type=rate, metavar="RATE", help="its learning rate (default: that of the race)")
    option("--epochs", type=count(1), default=10, metavar="N",
           help="times through the training images (default: %(default)s)")
    option("--batch-size", type=count(1), default=BATCH_SIZE, metavar="N",
           help="images a step (default: %(default)s)")
    option("--seed", type=count(0), default=0, metavar="N",
           help="of the first weights and of the batches (default: %(default)s)")
    option("--json", action="store_true",
           help="print numbers for programs, and nothing else, to stdout")  # fmt: skip
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt train`: the history of one run to stdout."""
    from tinygrad_opt.lab.race import CONTESTANTS
    from tinygrad_opt.lab.race import run as run_race
    from tinygrad_opt.report import strict_json

    result = run_race(
        CONTESTANTS[arguments.optimizer], arguments.seed, lr=arguments.lr, epochs=arguments.epochs,
        batch_size=arguments.batch_size, progress=None,
    )  # fmt: skip
    if arguments.json:
        print(strict_json({**vars(result), "history": result.history.as_dict()}))
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
