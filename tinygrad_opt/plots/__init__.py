"""Figures from recorded data: a function takes what an experiment found, and draws it.

Each draws into the axes given as `ax=`, or into those of a new figure of its own, and returns them;
`ax.figure.savefig("race.png")` makes the picture. ValueError for another number of axes than a
figure has. No window opens, and nothing global changes: pyplot is not used, so neither its backend
nor its current figure is touched.
"""

from tinygrad_opt.plots.race import accuracy_dots, loss_curves, race_caption, race_figure
from tinygrad_opt.plots.style import COLOURS, colour, save, spread

__all__ = [
    "COLOURS", "accuracy_dots", "colour", "loss_curves", "race_caption", "race_figure", "save",
    "spread",
]  # fmt: skip
