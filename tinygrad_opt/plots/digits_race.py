"""The race as the lab draws it: the figure of every race, of the runs that its claims are about."""

from typing import Any

from tinygrad_opt.lab.digits_race import DigitsRace
from tinygrad_opt.plots.race import race_figure


def digits_race_figure(finding: DigitsRace, ax: Any = None) -> Any:
    """Training loss and test accuracy of all contestants.

    Args:
        finding: of `lab.digits_race`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes of `plots.race_figure`.
    """
    return race_figure(finding.results, ax)


FIGURES = {"race": digits_race_figure}
