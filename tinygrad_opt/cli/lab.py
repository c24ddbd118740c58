"""`tinygrad-opt lab`: what the notes say, predicted and measured, in one table and a folder of
pictures."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from tinygrad_opt.cli.options import Usage, count, writable
from tinygrad_opt.cli.output import print_table, print_text

EXAMPLES = """\
examples:
  tinygrad-opt lab                         all of it, results in the folder lab/
  tinygrad-opt lab plateau momentum        these experiments alone
  tinygrad-opt lab --list                  which there are
  tinygrad-opt lab --seed 7 --out results
  tinygrad-opt lab plateau --json          for programs
"""


def add(commands: Any, layout: dict) -> None:
    """The parser of this command."""
    parser = commands.add_parser(
        "lab", help="predict and measure what the course notes say",
        description="Run the experiments on what a course says of learning rates, plateaus, "
        "noise and momentum.\nEach predicts numbers with a formula and measures them; the table "
        "says which claims hold.\nIf one fails, the exit code is 1.",
        epilog=EXAMPLES, **layout,
    )  # fmt: skip
    option = parser.add_argument
    option("experiments", nargs="*", metavar="NAME", help="which (default: all)")
    option("--list", action="store_true", help="say which experiments there are, and end")
    option("--seed", type=count(0), default=0, metavar="N",
           help="of everything that is drawn (default: %(default)s)")
    option("--jobs", type=count(1), default=os.cpu_count() or 1, metavar="N",
           help="experiments at a time (default: one for each core, %(default)s here)")
    option("--out", type=Path, default=Path("lab"),
           help="the folder for report.md, claims.json and the pictures; nothing is written "
           "outside it (default: %(default)s)")
    option("--json", action="store_true", help="print claims.json, and nothing else, to stdout")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """`tinygrad-opt lab`: the claims to stdout, the report and its pictures to the folder."""
    from tinygrad_opt import report
    from tinygrad_opt.lab import claims, experiments

    try:
        chosen = experiments.chosen_experiments(arguments.experiments or None)
    except ValueError as error:
        raise Usage(str(error)) from None
    if arguments.list:
        for key, experiment in chosen.items():
            print(f"{key:18} {experiment.title}")
        return 0
    out = writable(arguments.out)
    try:
        found = experiments.run(chosen, arguments.seed, arguments.jobs, progress=None)
    except (ImportError, RuntimeError, FloatingPointError) as error:
        # a package without its extra; a worker that was killed; a run that diverged
        print(f"error: {error}", file=sys.stderr)
        return 1
    paths = report.write(found, out, arguments.seed)
    if arguments.json:
        print(report.as_json(found, arguments.seed), end="")
    else:
        for key, (finding, seconds) in found.items():
            print_text(f"{chosen[key].title}   ({key}, {seconds:.1f} s)")
            print_table(claims.HEADINGS, claims.table(finding.claims))
        print_text(report.verdict(found), f"Wrote {len(paths)} files into {out}, first "
                   f"{out / 'report.md'}")  # fmt: skip
    return 0 if all(finding.holds for finding, _ in found.values()) else 1
