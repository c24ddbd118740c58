"""What the lab found as a folder: one table of claims, a chapter and its pictures an experiment."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_opt.lab import claims
from tinygrad_opt.lab.claims import Experiment, Finding
from tinygrad_opt.plots.style import save

Found = Mapping[str, tuple[Finding, float]]  # by key: what was found, and the seconds it took


def figures(experiment: Experiment) -> dict[str, Callable[..., Any]]:
    """The experiment's figures by the names of their files, each a function of its Finding."""
    name = experiment.run.__module__.rpartition(".")[2]
    return importlib.import_module(f"tinygrad_opt.plots.{name}").FIGURES


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def claims_table(rows: Sequence[Sequence[str]]) -> str:
    """The claims' rows in Markdown."""
    return markdown_table(claims.HEADINGS, rows)
