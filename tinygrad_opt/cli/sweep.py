"""`tinygrad-opt sweep`: a map over α and μ, and with --tune a search for the best pair."""

import argparse
import sys
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.options import Usage, count, finite, folder, one_of, writable
from tinygrad_opt.cli.output import print_table, print_text
from tinygrad_opt.files import write_text

EXAMPLES = """\
examples:
  tinygrad-opt sweep                                 the heavy ball and Nesterov on a bowl
  tinygrad-opt sweep --condition 1000 --steps 2000   a narrower valley
  tinygrad-opt sweep --method ema --rate 1 5 20 50 --mu 0 0.5 0.9
  tinygrad-opt sweep --problem digits --jobs 2       a network instead, a run a cell
  tinygrad-opt sweep --tune 100 --jobs 2 --out mine  search for the best α and μ (extra [tune])
  tinygrad-opt sweep --tune 200 --jobs 2 --out mine  go on with that search
  tinygrad-opt sweep --json > sweep.json             for programs
"""
METHODS = {
    "heavy-ball": "heavy ball", "nesterov": "Nesterov", "ema": "heavy ball, ema",
    "gradient-descent": "gradient descent",
}  # fmt: skip
KINDS = {  # which options belong to what
    "the bowl": ("method", "mu", "rate", "condition", "steps"),
    "the digits": ("method", "mu", "rate", "epochs", "jobs"),
    "a search": ("epochs", "starts", "jobs"),
}


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
    parser = commands.add_parser(
        "sweep", help="map the speed over learning rate and momentum, or search for the best",
        description="Run every pair of a learning rate α and a momentum μ, on a bowl or on real "
        "digits, and draw\nthe map, with the limit that theory predicts. With --tune, search for "
        "the best pair for the\nnetwork that learns the digits; called again with the same --out, "
        "it goes on where it stopped.",
        epilog=EXAMPLES, **layout,
    )  # fmt: skip
    option = parser.add_argument
    option("--problem", type=one_of(("bowl", "digits")), metavar="NAME",
           help="what to run them on: bowl (the default) or digits")
    option("--method", nargs="+", type=one_of(METHODS), metavar="NAME",
           help=f"of {', '.join(METHODS)} (default: heavy-ball nesterov; digits: heavy-ball)")
    option("--mu", nargs="+", type=finite, metavar="MU",
           help="the momenta, two or more in [0, 1) (default: 25 up to 0.99; digits: 11)")
    option("--rate", nargs="+", type=finite, metavar="RATE",
           help="the learning rates, two or more (default: 72 from 0.05 to 6; digits: 19 from 0.01 "
           "to 10); of the bowl in units of 1 / its largest curvature")
    option("--condition", type=finite, metavar="K",
           help="of the bowl, largest over smallest curvature (default: 100)")
    option("--steps", type=count(200), metavar="N", help="of a run on the bowl (default: 500)")
    option("--epochs", type=count(1), metavar="N", help="of a run on the digits (default: 5)")
    option("--tune", type=count(1), metavar="TRIALS",
           help="search for the best pair with so many trials in all, those of earlier calls "
           "included")
    option("--starts", type=count(1), metavar="N", help="runs a trial of the search (default: 3)")
    option("--jobs", type=count(1), metavar="N",
           help="pairs at a time on the digits, each in a process of its own (default: 1)")
    option("--seed", type=count(0), default=0, metavar="N",
           help="of everything that is drawn (default: %(default)s)")
    option("--out", type=Path, default=Path("sweep"),
           help="the folder for the picture, the numbers and the search; nothing is written "
           "outside it (default: %(default)s)")
    option("--json", action="store_true", help="print the numbers as JSON, and nothing else, to "
           "stdout")  # fmt: skip
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt sweep`: a table to stdout, a picture and the numbers to the folder."""
    if arguments.tune is not None:
        if arguments.problem == "bowl":
            raise Usage("argument --problem: --tune searches on the digits")
        kind, act = "a search", _tune
    elif arguments.problem == "digits":
        kind, act = "the digits", _digits
    else:
        kind, act = "the bowl", _bowl
    known = {name for names in KINDS.values() for name in names}
    given = {name: value for name in known
             if (value := getattr(arguments, name)) is not None}  # fmt: skip
    for name in sorted(given.keys() - set(KINDS[kind])):
        fits = " and ".join(other for other, names in KINDS.items() if name in names)
        raise Usage(f"argument --{name}: is for {fits}, not for {kind}")
    for option, keyword in (("method", "methods"), ("mu", "mus"), ("rate", "rates")):
        if option in given:
            given[keyword] = given.pop(option)
    if "methods" in given:
        given["methods"] = [METHODS[word] for word in given["methods"]]
    writable(arguments.out)
    try:
        return act(arguments, given)
    except ValueError as error:
        raise Usage(str(error)) from None
    except (ImportError, RuntimeError, FloatingPointError) as error:
        # Optuna or SciPy, without its extra; a worker that was killed; rates beyond float64
        print(f"error: {error}", file=sys.stderr)
        return 1


def _bowl(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    from tinygrad_opt.lab import claims
    from tinygrad_opt.lab.sweep import sweep

    found = sweep(**given, seed=arguments.seed, progress=None)
    numbers = {"claims": [claims.as_data(claim) for claim in found.claims], **_maps(found)}
    says, head = _written_map(arguments, found, numbers), claims.HEADINGS
    _printed(arguments, numbers, head, claims.table(found.claims), says)
    return 0 if found.holds else 1


def _digits(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    from tinygrad_opt.lab import theory
    from tinygrad_opt.lab.sweep import sweep_digits

    found = sweep_digits(**given, seed=arguments.seed, progress=None)
    numbers = _maps(found)
    says = _written_map(arguments, found, numbers)
    rows = []
    for method, made in found.maps.items():
        for mu, limit, losses in zip(made.mus, made.limits, made.loss):
            lr = made.rates[losses.argmin()]
            rows.append([method, f"{mu:.3g}", f"{lr:.3g}", f"{theory.reach(lr, mu):.3g}",
                         f"{losses.min():.4g}", f"{limit:.3g}"])  # fmt: skip
    head = ("method", "μ", "best α", "α/(1-μ)", "training loss", "limit of a bowl")
    _printed(arguments, numbers, head, rows, says)
    return 0


def _tune(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    from tinygrad_opt.lab.tuning import JOURNAL, tune_momentum
    from tinygrad_opt.plots.style import save
    from tinygrad_opt.plots.tuning import tuning_caption, tuning_figure

    out = arguments.out
    found = tune_momentum(arguments.tune, out, **given, seed=arguments.seed, progress=None)
    numbers = {**vars(found), "trials": [vars(trial) for trial in found.trials],
               "best": vars(found.best)}  # fmt: skip
    paths = [out / "tuning.png", _write(arguments, out / "tuning.json", numbers), out / JOURNAL]
    save(tuning_figure(found)[0], paths[0])
    rows = [
        [f"{trial.mu:.3f}", f"{trial.lr:.3g}", f"{trial.reach:.3g}", f"{trial.loss:.4g}",
         f"{trial.val_loss:.4g}", f"{100 * trial.val_accuracy:.1f} %"]
        for trial in sorted(found.trials, key=lambda trial: trial.loss)[:5]
    ]  # fmt: skip
    head = ("μ", "α", "α/(1-μ)", "training loss", "loss on images held out", "accuracy on them")
    _printed(arguments, numbers, head, rows, [tuning_caption(found), _wrote(paths)])
    return 0


# ---- what is written and printed -----------------------------------------------------------------


def _maps(found: Any) -> dict[str, Any]:
    """The maps as plain data."""
    maps = {}
    for method, made in found.maps.items():
        plain = {name: value.tolist() if hasattr(value, "tolist") else value
                 for name, value in vars(made).items()}  # fmt: skip
        maps[method] = {**plain, "limits": made.limits.tolist()}
    return {"maps": maps}


def _written_map(
    arguments: argparse.Namespace, found: Any, numbers: dict[str, Any]
) -> list[str]:
    """Write the picture and the numbers; what to say of them."""
    from tinygrad_opt.plots.style import save
    from tinygrad_opt.plots.sweep import sweep_caption, sweep_figure

    out = folder(arguments.out)
    paths = [out / "sweep.png", _write(arguments, out / "sweep.json", numbers)]
    save(sweep_figure(found)[0], paths[0])
    return [sweep_caption(found), _wrote(paths)]


def _write(arguments: argparse.Namespace, path: Path, numbers: dict[str, Any]) -> Path:
    """The numbers as strict JSON, with the version and the seed."""
    from tinygrad_opt import __version__
    from tinygrad_opt.report import strict_json

    numbers.update({"version": __version__, "seed": arguments.seed})
    return write_text(path, strict_json(numbers) + "\n")


def _wrote(paths: list[Path]) -> str:
    return "Wrote " + ", ".join(map(str, paths))


def _printed(
    arguments: argparse.Namespace, numbers: dict[str, Any], head: Any, rows: Any, says: list[str]
) -> None:
    from tinygrad_opt.report import strict_json

    if arguments.json:
        print(strict_json(numbers))
    else:
        print_table(head, rows)
        print_text(*says)
