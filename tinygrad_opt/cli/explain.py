"""`tinygrad-opt explain`: an update line by line, with its numbers."""

import argparse
import sys
from typing import Any

from tinygrad_opt.cli.options import Usage, count, finite, setting


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
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
    option = parser.add_argument
    option("optimizer", metavar="NAME", help="momentum, nesterov, adam, ... in any case")
    option("--set", nargs="+", action="extend", type=setting, default=[], metavar="KEY=VALUE",
           help="its keywords: lr=0.1 mu=0.75 form=ema")
    option("--steps", type=count(1), metavar="N", help="steps on the bowl (default: 3)")
    option("--weight", type=finite, metavar="W",
           help="where the weight on the bowl starts (default: 1)")
    option("--curvature", type=finite, metavar="C", help="of the bowl ½ C w² (default: 1)")
    option("--parameter", metavar="NAME",
           help="instead of the bowl, a parameter of the network of the race: layers.0.weight")
    option("--index", nargs="+", type=int, default=[], metavar="I",
           help="which weight of it (default: that of the largest gradient at the start)")
    option("--step", type=count(1), metavar="N", help="which step of the training (default: 1)")
    option("--seed", type=count(0), metavar="N",
           help="of the first weights and of the batches (default: 0)")
    option("--exact", action="store_true",
           help="all digits, so that each line can be computed again to the last bit")
    option("--latex", action="store_true", help="print the rule as LaTeX instead")
    option("--source", action="store_true", help="print the source of the rule instead")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt explain`: updates with their numbers to stdout."""
    from numpy import errstate

    keys = [key for key, _ in arguments.set]
    if len(set(keys)) < len(keys):
        raise Usage(f"argument --set: {max(keys, key=keys.count)} is there twice")
    try:
        with errstate(all="ignore"):  # an overflow is told, not warned of
            print(told(arguments))
    except (ValueError, TypeError, IndexError) as error:
        raise Usage(str(error)) from None
    except ArithmeticError as error:  # it diverged, or was divided by zero
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


def told(arguments: argparse.Namespace) -> str:
    """What was asked for. Usage for options that do not go together."""
    from tinygrad_opt.lab import explained

    settings = dict(arguments.set)
    digits = None if arguments.exact else 4
    on_a_bowl = given(arguments, "steps", "weight", "curvature")
    in_training = given(arguments, "index", "step", "seed")
    of_network = arguments.parameter is not None
    if arguments.latex or arguments.source:
        if arguments.latex and arguments.source:
            raise Usage("--latex and --source are two things: ask for one of them")
        if of_network or on_a_bowl or in_training:
            name = "parameter" if of_network else min(on_a_bowl | in_training)
            raise Usage(f"--{name} is for numbers, without --latex and --source")
        optimizer = explained.rule_of(arguments.optimizer, settings)
        return (optimizer.latex if arguments.latex else optimizer.source)().rstrip()
    if of_network:
        if on_a_bowl:
            raise Usage(f"--{min(on_a_bowl)} is for the bowl, without --parameter")
        return explained.in_training(arguments.optimizer, settings, digits=digits,
                                     parameter=arguments.parameter, **in_training)  # fmt: skip
    if in_training:
        raise Usage(f"--{min(in_training)} is for a network, with --parameter")
    return explained.on_a_bowl(arguments.optimizer, settings, digits=digits, **on_a_bowl)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    found = {name: getattr(arguments, name) for name in names}
    return {name: tuple(value) if name == "index" else value
            for name, value in found.items() if value not in (None, [])}  # fmt: skip
