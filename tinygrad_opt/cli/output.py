"""What commands print for people: tables and sentences."""

from collections.abc import Sequence
from typing import Any

LONGEST = 30  # letters of a cell that is not to be folded
NO_BREAK = "\u00a0"  # a space at which no line ends


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The rows on stdout, the first column to the left and the others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for n, heading in enumerate(head):
        longest = max(map(len, heading.split()))
        table.add_column(heading, justify="right" if n else "left", min_width=longest)
    for row in rows:  # headings fold, and whole sentences; names and numbers with units do not
        table.add_row(*(cell.replace(" ", NO_BREAK) if len(cell) <= LONGEST else cell
                        for cell in row))  # fmt: skip
    _console().print(table, markup=False, highlight=False)


def print_text(*texts: str) -> None:
    """Sentences on stdout, folded at the edge of a terminal and nowhere else."""
    console = _console()
    for text in texts:
        console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _console() -> Any:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or pipe has no edge to fold at
        console.width = 120
    return console
