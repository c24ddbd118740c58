"""The command `tinygrad-opt`: each subcommand is one parser and one function, and prints what the
library worked out.

Results go to stdout, progress and errors to stderr. Exit codes: 0 fine, 1 failed (a run diverged, a
file could not be written), 2 wrong usage, 130 interrupted, 143 terminated.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_opt.cli import explain, lab, limits, race, sweep, train
from tinygrad_opt.cli.options import Usage

EXAMPLES = """\
examples:
  tinygrad-opt race                            all optimizers, results in the folder race/
  tinygrad-opt train --optimizer sgd --lr 0.1  one run, epoch by epoch
  tinygrad-opt explain momentum                an update, line by line, with its numbers
  tinygrad-opt limits                          the largest stable learning rate of a network
  tinygrad-opt sweep                           every pair of μ and α, and where they diverge
  tinygrad-opt lab                             what the notes say, predicted and measured
  tinygrad-opt race --help                     more of each command
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process) and give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without a μ shows a ? in its place
            stream.reconfigure(errors="replace")
    parser, commands = _parser()
    try:
        arguments = parser.parse_args(argv)
        with _terminable():
            code = arguments.command(arguments)
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
        return code
    except Usage as error:
        commands.choices[arguments.name].print_usage(sys.stderr)
        print(f"tinygrad-opt {arguments.name}: error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # argparse has printed what it had to say, or SIGTERM came
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


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that its workers and its locks go with it."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
    for command in (race, train, explain, limits, sweep, lab):
        command.add(commands, layout)
    return parser, commands
