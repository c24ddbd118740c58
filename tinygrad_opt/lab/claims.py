"""A claim is a number that a formula predicts and a run measures, and how far apart the two may be:
what the lab's experiments come to, and what its one table is made of."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

HEADINGS = ("claim", "predicted", "measured", "error", "verdict")


@dataclass(frozen=True)
class Claim:
    """One thing predicted and measured.

    Attributes:
        what: of what, in words and with its numbers: "largest stable α, SGD, curvature 2".
        predicted: by a formula: a number, or a word ("diverges").
        measured: by a run, in the same unit.
        within: how far from the prediction the measurement may be: 0 for words, and for numbers
            that are to be equal.
        relative: `within` is a share of the prediction (0.01 is 1 %); otherwise it has the unit
            of the numbers.
        unit: of both numbers; empty if they have none.
    """

    what: str
    predicted: float | str
    measured: float | str
    within: float = 0.0
    relative: bool = True
    unit: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.predicted, str) != isinstance(self.measured, str):
            raise TypeError(f"{self.what}: {self.predicted!r} and {self.measured!r} do not compare")
        for name in ("predicted", "measured", "within"):  # NumPy's scalars would not go into JSON
            if not isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, float(value))
        object.__setattr__(self, "relative", bool(self.relative))
        if not self.within >= 0:
            raise ValueError(f"{self.what}: within is a tolerance of 0 or more, not {self.within}")
        if self.relative and self.within and not self.predicted:
            raise ValueError(f"{self.what}: a share of 0 is 0: give an absolute tolerance")

    @property
    def error(self) -> float | None:
        """How far apart the numbers are: as `within` is, a share of the prediction, or in their
        unit. NaN if one of them is. None for words."""
        if isinstance(self.predicted, str) or isinstance(self.measured, str):
            return None
        apart = abs(self.measured - self.predicted)
        if self.measured == self.predicted:  # also where both are infinite, or 0
            return 0.0
        return apart / abs(self.predicted) if self.relative and self.within else apart

    @property
    def holds(self) -> bool:
        """Whether the measurement is as near as it has to be."""
        if self.error is None:
            return self.measured == self.predicted
        return self.error <= self.within  # False for NaN

    def row(self) -> list[str]:
        """The claim as a line of the table, under `HEADINGS`."""
        unit = f" {self.unit}" if self.unit else ""
        values = [value if isinstance(value, str) else number(value) + unit
                  for value in (self.predicted, self.measured)]  # fmt: skip
        if self.error is None:
            apart = ""
        elif self.relative and self.within:
            apart = f"{_percent(self.error)} of {_percent(self.within)}"
        elif self.within:
            apart = f"{_short(self.error)} of {_short(self.within)}"
        else:
            apart = "equal" if self.holds else _short(self.error)
        return [self.what, *values, apart, "holds" if self.holds else "FAILS"]


def number(value: float) -> str:
    """Four significant digits, whole numbers with their thousands apart."""
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.4g}"


def _short(value: float) -> str:
    return f"{value:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


@dataclass
class Finding:
    """What an experiment found. Each experiment derives a class of its own from it, with the
    recorded data that its figure draws.

    Attributes:
        claims: what was predicted and what was measured.
    """

    claims: list[Claim]

    @property
    def holds(self) -> bool:
        """Whether all of its claims hold."""
        return all(claim.holds for claim in self.claims)


@dataclass(frozen=True)
class Experiment:
    """A sentence of the notes made an experiment.

    Attributes:
        key: what one types: "plateau".
        title: what it is about, as a heading.
        note: the sentence of the notes, word for word.
        formula: what follows from it, in a line of Unicode.
        run: `run(seed=0)` does it and gives its Finding.
        needs: a package that it cannot do without, beside NumPy; empty if there is none.
    """

    key: str
    title: str
    note: str
    formula: str
    run: Callable[..., Finding]
    needs: str = ""


def table(claims: Sequence[Claim]) -> list[list[str]]:
    """The rows of the claims, under `HEADINGS`."""
    return [claim.row() for claim in claims]


def as_data(claim: Claim) -> dict[str, Any]:
    """The claim as plain data for JSON, its error and verdict with it."""
    return {**vars(claim), "error": claim.error, "holds": claim.holds}
