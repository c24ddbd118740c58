"""Momentum, drawn: how long a gradient is remembered, and how many steps a valley takes that way.
"""

import math
from typing import Any

import numpy as np

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.momentum import EXPERIMENT, METHODS, MomentumFinding
from tinygrad_opt.plots.style import GRID, INK, PAPER, axes_of, colour, dressed, label_ends, sheet

VALLEYS = np.geomspace(2, 1e6, 120)  # κ, at which lines are drawn


def momentum_figure(finding: MomentumFinding, ax: Any = None) -> Any:
    """What is left of a gradient as it ages; and the steps a digit takes over the condition number,
    each method at its best and momentum with one μ for all.

    Args:
        finding: of `lab.momentum`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "Left: one unit of gradient, followed through a run. Right: bowls whose curvatures go "
            "from 1 to κ. Lines: predicted; dots and bands: measured.",
            momentum_caption(finding), (1, 1.15), wspace=0.16, right=0.84,
        )  # fmt: skip
    left, right = axes_of("momentum_figure", ax, 2)
    return memory_curves(finding, left), valley_lines(finding, right)


def memory_curves(finding: MomentumFinding, ax: Any) -> Any:
    """The share of a gradient that is left in the velocity, over its age in steps."""
    longest = max(map(theory.half_life, finding.memories))
    ages = np.geomspace(1, max(100, 8 * longest), 300)
    for row, (mu, memory) in enumerate(finding.memories.items()):
        ink = colour(f"Momentum μ={mu:g}")
        ax.plot(ages, [theory.old_gradient(mu, age) for age in ages], color=ink, linewidth=1.2,
                zorder=2, label=f"μ = {mu:g}, predicted")  # fmt: skip
        seen = np.unique(np.geomspace(1, ages[-1], 26).round().astype(int))
        seen = seen[seen < len(memory.left)]
        ax.plot(seen, memory.left[seen], "o", color=ink, markersize=4.5, zorder=3,
                label=f"μ = {mu:g}")  # fmt: skip
        ax.text(
            0.99, 0.88 - 0.065 * row, f"μ = {mu:g}: {steps(memory.half_life)}", color=ink,
            fontsize=10, ha="right", weight="bold", transform=ax.transAxes, bbox=PAPER,
        )  # fmt: skip
    ax.axhline(0.5, color="#999999", linewidth=0.9, linestyle=":", zorder=1)
    ax.text(0.99, 0.945, "half of it is left after", color=INK, fontsize=9.5, ha="right",
            transform=ax.transAxes, bbox=PAPER)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(ages[0] * 0.93, ages[-1])
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("age of the gradient, in steps", color=INK)
    ax.grid(axis="y", color=GRID)
    return dressed(ax, "How long a gradient lasts", "share of it in the velocity")


def valley_lines(finding: MomentumFinding, ax: Any) -> Any:
    """Steps for one decimal digit over κ: each method at its best, a dot where it was measured, and
    broad lines, all measured, for momentum with one μ whatever the valley."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ends, inks = [], []
    for mu, band in finding.bands.items():
        if not mu:
            continue
        name = f"Momentum μ={mu:g}"
        paces = [pace(band.rate(condition)) for condition in VALLEYS]
        ax.plot(VALLEYS, paces, color=colour(name), linewidth=4.5, alpha=0.4, zorder=2,
                label=name, solid_capstyle="round")  # fmt: skip
        ends.append((VALLEYS[-1], paces[-1], f"always μ = {mu:g}"))
        inks.append(colour(name))
    for name, (_, best) in METHODS.items():
        dashed = "--" if name != name.partition(" ")[0] else "-"
        paces = [pace(best(condition)[2]) for condition in VALLEYS]
        ax.plot(VALLEYS, paces, dashed, color=colour(name), linewidth=1.3, zorder=3,
                label=f"{name}, predicted")  # fmt: skip
        own = [run for run in finding.tuned if run.name == name]
        ax.plot(
            [run.condition for run in own], [pace(run.measured) for run in own], "o",
            color=colour(name), markersize=5, zorder=4, label=f"{name} at its best",
        )  # fmt: skip
        ends.append((VALLEYS[-1], paces[-1], f"{name}{' at its best' if dashed == '-' else ''}"))
        inks.append(colour(name))
    ax.set_xlim(VALLEYS[0], VALLEYS[-1])
    ax.set_xlabel("condition number κ, largest over smallest curvature", color=INK)
    ax.grid(color=GRID)
    label_ends(ax, ends, inks)
    return dressed(ax, "How many steps a valley takes", "steps a decimal digit of the error")


def pace(rate: float) -> float:
    """Steps in which the error shrinks to a tenth, where each multiplies it by `rate`."""
    return math.inf if rate >= 1 else 0.0 if rate <= 0 else -1 / math.log10(rate)


def momentum_caption(finding: MomentumFinding) -> str:
    """What there is to see, in two lines."""
    mus = sorted(finding.memories)
    low, high = finding.memories[mus[0]], finding.memories[mus[-1]]
    mu = mus[len(mus) // 2]
    condition = finding.bands[mu].condition
    sgd, ball = (min((run for run in finding.tuned if run.name == name),
                     key=lambda run: abs(math.log(run.condition / condition)))
                 for name in ("SGD", "Momentum"))  # fmt: skip
    return (
        f"Under μ = {low.mu:g} half of a gradient is gone after {steps(low.half_life)}, under "
        f"μ = {high.mu:g} after {high.half_life:.3g}. Each μ touches the best line at one κ: "
        f"μ = {mu:g} where κ is about {condition:,.0f}.\nTo the left of it a smaller μ is faster, "
        f"to the right a larger one. At κ = {ball.condition:,g} the heavy ball at its best takes "
        f"{pace(ball.measured):.0f} steps a digit, SGD {pace(sgd.measured):,.0f}."
    )


def steps(count: float) -> str:
    """The number with its noun."""
    told = f"{count:.3g}"
    return f"{told} step{'s' * (told != '1')}"


FIGURES = {"momentum": momentum_figure}
