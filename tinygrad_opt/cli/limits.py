"""`tinygrad-opt limits`: how sharp a loss is, and how large a learning rate it allows."""

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.options import Usage, count, one_of, rate
from tinygrad_opt.cli.output import print_table, print_text

EXAMPLES = """\
examples:
  tinygrad-opt limits                                  the network of the race, untrained
  tinygrad-opt limits --optimizer sgd --lr 1 --epochs 5
  tinygrad-opt limits --model my_file.py:make          a model of your own
  tinygrad-opt limits --model my_file.py:make --json   for programs

where my_file.py has a function that gives the three that `tg.lab.limits` takes:

  def make():
      model = tg.nn.MLP([2, 16, 1])
      optimizer = tg.optim.Nesterov(model.parameters(), lr=0.1)
      return model, lambda: tg.mse_loss(model(x), y), optimizer
"""
HEADINGS = ("method", "α · sharpness", "largest stable α", "in use")
FAMILIES = ("sgd", "momentum", "nesterov", "rmsprop", "adam")  # that a curvature limits
MU = 0.9  # of the other methods, where the one in use has no momentum


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
    from tinygrad_opt.lab.race import CONTESTANTS

    parser = commands.add_parser(
        "limits", help="measure the sharpness of a loss, and the learning rate that it allows",
        description="Measure the sharpness of a loss, the largest eigenvalue of its Hessian, and "
        "say up\nto which learning rate each method is stable there: of the network of the race on "
        "its\ntraining images, or of a model of your own. Nothing is written.",
        epilog=EXAMPLES, **layout,
    )  # fmt: skip
    option = parser.add_argument
    option("--model", metavar="WHERE:WHAT",
           help="a function of yours that returns (model, loss, optimizer), in a file or a module: "
           "my_file.py:make, package.module:make")
    option("--optimizer", type=one_of(CONTESTANTS), metavar="NAME",
           help=f"of the network of the race: {', '.join(limited())}, those that have a limit "
           "(default: momentum-0.9)")
    option("--lr", type=rate, metavar="RATE", help="its learning rate (default: that of the race)")
    option("--epochs", type=count(0), metavar="N",
           help="train so long before measuring (default: 0)")
    option("--seed", type=count(0), metavar="N",
           help="of the first weights and of the batches (default: 0)")
    option("--json", action="store_true",
           help="print numbers for programs, and nothing else, to stdout")  # fmt: skip
    parser.set_defaults(command=run)


def limited() -> list[str]:
    """The contestants of the race that have a limit."""
    from tinygrad_opt.lab.race import CONTESTANTS

    return [key for key in CONTESTANTS if key.partition("-")[0] in FAMILIES]


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt limits`: sharpness and learning rates to stdout."""
    from tinygrad_opt.lab.limits import limits

    own = [name for name in ("optimizer", "lr", "epochs", "seed")
           if getattr(arguments, name) is not None]  # fmt: skip
    if arguments.model and own:
        raise Usage(f"argument --{own[0]}: --model brings an optimizer of its own, as trained as "
                    "it likes")  # fmt: skip
    if arguments.optimizer and arguments.optimizer not in limited():
        raise Usage(f"argument --optimizer: {arguments.optimizer} has no limit that a curvature "
                    "alone decides: its steps are no fixed multiple of past gradients; there is "
                    f"one for {', '.join(limited())}")  # fmt: skip
    if arguments.model:
        model, loss, optimizer = given(arguments.model)
    else:
        try:
            model, loss, optimizer = built_in(arguments)
        except FloatingPointError as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    try:
        found = limits(model, loss, optimizer, both_ends=True)
    except Exception as error:
        if not str(error).startswith("limits: "):
            raise  # of the user's own code, with its traceback
        if isinstance(error, (TypeError, ValueError)):
            raise Usage(str(error)) from None
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        from tinygrad_opt.report import strict_json

        print(strict_json(as_data(found, optimizer, arguments)))
    else:
        print_limits(found, optimizer)
    return 0


# ---- what is measured ----------------------------------------------------------------------------


def built_in(arguments: argparse.Namespace) -> tuple[Any, Callable, Any]:
    """The network of the race, trained as asked, the loss of all training images, its optimizer."""
    import numpy as np

    from tinygrad_opt.backend import manual_seed
    from tinygrad_opt.data import Batches, load_digits
    from tinygrad_opt.lab.race import BATCH_SIZE, CONTESTANTS, SIZES
    from tinygrad_opt.nn import MLP
    from tinygrad_opt.ops.loss import cross_entropy
    from tinygrad_opt.train import fit

    contestant = CONTESTANTS[arguments.optimizer or "momentum-0.9"]
    seed = arguments.seed or 0
    train, _ = load_digits()
    manual_seed(seed)
    model = MLP(list(SIZES))
    optimizer = contestant.make(
        model.named_parameters(), lr=contestant.lr if arguments.lr is None else arguments.lr
    )
    with np.errstate(all="ignore"):  # a divergence is told, not warned of
        fit(model, cross_entropy, optimizer, Batches(*train, BATCH_SIZE, seed=seed),
            arguments.epochs or 0)  # fmt: skip
    return model, lambda: cross_entropy(model(train[0]), train[1]), optimizer


def given(path: str) -> tuple[Any, Callable, Any]:
    """What the user's function returns. Usage where there is none, or where it is not three."""
    where, _, name = path.rpartition(":")
    if not where or not name.isidentifier():
        raise Usage(f"argument --model: {path!r} is not WHERE:WHAT, such as "
                    "my_file.py:make")  # fmt: skip
    make = getattr(loaded(where), name, None)
    if not callable(make):
        raise Usage(f"argument --model: {where} has no function {name}")
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise Usage(f"argument --model: {name}() is called without arguments: {error}") from None
    except ValueError:  # written in C, it does not say
        pass
    made = make()
    if not isinstance(made, tuple) or len(made) != 3 or not callable(made[1]):
        raise Usage(f"argument --model: {name}() returns (model, loss, optimizer), the loss being "
                    "a function without arguments")  # fmt: skip
    return made


def loaded(where: str) -> Any:
    """The module in a file, or by its name; what it imports is also looked for beside it."""
    path = Path(where)
    if path.suffix != ".py":
        sys.path.insert(0, str(Path.cwd()))
        try:
            named = all(word.isidentifier() for word in where.split("."))
            if named and importlib.util.find_spec(where) is not None:
                return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if not where.startswith(f"{error.name}"):
                raise  # one that the module itself imports
        raise Usage(f"argument --model: there is no module {where}; a file ends in .py")
    if not path.is_file():
        raise Usage(f"argument --model: there is no file {where}")
    sys.path.insert(0, str(path.parent.resolve()))
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    ours = sys.modules.setdefault(path.stem, module) is module  # dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if ours:
            del sys.modules[path.stem]
        raise
    return module


# ---- what is told --------------------------------------------------------------------------------


def table(found: Any, optimizer: Any) -> list[tuple[str, float, float, bool]]:
    """Each method with the α · sharpness that it can bear, the α that follows, and whether it is
    the one in use."""
    from tinygrad_opt.lab import theory

    mu = found.mu or MU
    adaptive = found.preconditioned != found.sharpness
    rows = []
    for method in theory.LIMITS:
        limit = theory.stability_limit(method, mu)
        largest = limit / found.sharpness if found.sharpness > 0 else float("inf")
        name = method if method == "gradient descent" else f"{method}, μ = {mu:g}"
        rows.append((name, limit, largest, method == found.method and not adaptive))
    if adaptive:  # its steps meet another sharpness than those of the others
        name, limit = type(optimizer).__name__, theory.stability_limit(found.method, found.mu)
        rows.append((f"{name}, with steps as they are", limit, found.max_lr, True))
    return rows


def print_limits(found: Any, optimizer: Any) -> None:
    print_text(f"sharpness {found.sharpness:.4g}, the largest curvature over {found.weights:,} "
               f"weights; the smallest is {found.smallest:.4g}")  # fmt: skip
    if found.preconditioned != found.sharpness:
        print_text(f"as the steps of {type(optimizer).__name__} meet it: "
                   f"{found.preconditioned:.4g}")  # fmt: skip
    print_table(HEADINGS, [
        [name, f"{limit:.4g}", f"{largest:.4g}",
         f"α = {found.lr:g}, {100 * found.share:.3g} % of it" if used else ""]
        for name, limit, largest, used in table(found, optimizer)
    ])  # fmt: skip
    print_text("This is what holds here, on a bowl of this curvature. A network above its limit "
               "need not diverge:\nit may bounce to flatter ground. And training moves the "
               "sharpness towards the limit by itself.")  # fmt: skip


def as_data(found: Any, optimizer: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it as plain data."""
    from tinygrad_opt import __version__

    numbers = {name: value for name, value in vars(found).items() if name != "direction"}
    return {
        "version": __version__, "model": arguments.model or "race",
        "optimizer": type(optimizer).__name__, "steps": optimizer.t, **numbers,
        "share": found.share,
        "methods": [
            {"method": name, "limit": limit, "max_lr": largest, "in_use": used}
            for name, limit, largest, used in table(found, optimizer)
        ],
    }  # fmt: skip
