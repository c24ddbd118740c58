"""What the options of the commands take, each checked with a sentence of its own."""

import argparse
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Usage(Exception):
    """What was asked for cannot be done: told with the usage, exit code 2."""


def count(least: int) -> Any:
    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of {least} or more")
        return value

    return integer


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate: a number, 0 or more")
    return value


def finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def one_of(known: Iterable[str]) -> Any:
    """One of these words, in any case."""

    def word(text: str) -> str:
        from tinygrad_opt.optim.groups import nearest

        if text.lower() not in known:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {text!r}{nearest(text.lower(), known)}"
            )
        return text.lower()

    return word


def setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as mu=0.75")
    words = {"true": True, "false": False, "none": None}
    try:
        return key, words[value.lower()] if value.lower() in words else float(value)
    except ValueError:
        return key, value


def writable(out: Path) -> Path:
    """The folder for results, or Usage if nothing can be written there: told before hours of work.
    Nothing is made yet."""
    there = next(path for path in (out, *out.parents, Path()) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            return out
    except OSError as error:
        raise Usage(f"argument --out: cannot write into {there}: {error.strerror}") from None


def folder(out: Path) -> Path:
    """The folder for results, made if it is not there; Usage if nothing can be written there."""
    writable(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Usage(f"argument --out: {error}") from None
    return out
