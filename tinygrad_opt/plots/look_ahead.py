"""The look-ahead, drawn: two paths down one valley, each step taken apart into what momentum keeps
and what the gradient adds, with a ring where the gradient was taken."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.look_ahead import (
    DAMPED,
    EXPERIMENT,
    METHODS,
    MUS,
    LookAhead,
    Path,
    bowl,
    fitted_rate,
)
from tinygrad_opt.plots.style import ACCENT, GRID, INK, axes_of, colour, dressed, label_ends, sheet

SHOWN = (1, 4, 8)  # the steps that are taken apart
FAINT = 1e-4  # of its first size: where a swing is drawn no further
NAMES = {"Momentum": "Heavy ball", "Nesterov": "Nesterov"}


# ---- the paths -----------------------------------------------------------------------------------


def look_ahead_figure(finding: LookAhead, ax: Any = None) -> Any:
    """Both paths over the contours of the valley, in equal scales, a few steps taken apart.

    Args:
        finding: of `lab.look_ahead`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes: the heavy ball's and Nesterov's.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            f"One valley, ½ (x² + {finding.condition:g} y²), one start, α = {finding.lr:g} and "
            f"μ = {finding.mu:g} for both. Ring: where the gradient of a step was taken.",
            look_ahead_caption(finding), (1, 1), wspace=0.14, left=0.045, height=5.2,
        )  # fmt: skip
    left, right = axes_of("look_ahead_figure", ax, 2)
    for each, name in ((left, "Momentum"), (right, "Nesterov")):
        path = finding.paths[name]
        _valley(each, finding)
        each.plot(*path.weights.T, color=colour(name), linewidth=1.3, marker="o", markersize=3,
                  zorder=3, label=NAMES[name])  # fmt: skip
        _taken_apart(each, path)
    dressed(left, "Heavy ball: the slope where it stands", "y; a dot is a step")
    dressed(right, "Nesterov: the slope where it is about to be", "y; a dot is a step")
    return left, right


def look_ahead_caption(finding: LookAhead) -> str:
    """What there is to see, in two lines."""
    swings = {name: _crossings(finding.paths[name]) for name in NAMES}
    left = {name: bowl(finding.paths[name].weights[-1], finding.curvatures) for name in NAMES}
    steps = len(finding.paths["Momentum"].taken)
    return (
        "Each step is a velocity kept (thin arrow) and a push by the gradient (red arrow). "
        "Nesterov's push answers to the place that the velocity leads to.\n"
        f"In {steps} steps the heavy ball crosses the valley floor {swings['Momentum']} times, "
        f"Nesterov {swings['Nesterov']} times, and its loss ends at "
        f"{left['Nesterov'] / left['Momentum']:.2g} of the heavy ball's."
    )


def _crossings(path: Path, over: float = 0.01) -> int:
    """How often the weights cross the floor of the valley, swings below `over` left out."""
    sides = np.sign(path.weights[np.abs(path.weights[:, 1]) > over, 1])
    return int((sides[1:] != sides[:-1]).sum())


def _valley(ax: Any, finding: LookAhead) -> None:
    points = np.concatenate([finding.paths[name].weights for name in NAMES])
    (low_x, low_y), (high_x, high_y) = points.min(axis=0), points.max(axis=0)
    x = np.linspace(low_x - 0.5, high_x + 0.5, 121)
    y = np.linspace(low_y - 0.45, high_y + 0.45, 121)
    loss = bowl(np.stack(np.meshgrid(x, y), axis=-1), finding.curvatures)
    ax.contour(x, y, loss, levels=np.geomspace(0.05, 1.0, 9) * loss.max(), colors="#C8C8C8",
               linewidths=0.8, zorder=1)  # fmt: skip
    ax.plot(0, 0, marker="+", color=INK, markersize=9, zorder=2)
    ax.set_aspect("equal")
    ax.set_xlabel("x", color=INK)


def _taken_apart(ax: Any, path: Path, steps: Sequence[int] = SHOWN) -> None:
    """The parts of a few steps: the velocity kept, the gradient's push, and where it was taken."""
    for t in steps:
        if t >= len(path.taken):
            break
        here, kept, pushed = path.weights[t], path.kept[t], path.pushed[t]
        for start, part, ink, wide in ((here, kept, INK, 1.0), (here + kept, pushed, ACCENT, 1.8)):
            ax.annotate("", start + part, start, zorder=4, arrowprops={
                "arrowstyle": "-|>", "color": ink, "linewidth": wide, "shrinkA": 0, "shrinkB": 0,
                "mutation_scale": 9,
            })  # fmt: skip
        if t == steps[1]:  # once, for all
            for middle, word, side in ((here + kept / 2, "μv", -14),
                                       (here + kept + pushed / 2, "-αg", 9)):  # fmt: skip
                ax.annotate(word, middle, (side, -5), textcoords="offset points", fontsize=9.5,
                            color=INK, zorder=6)  # fmt: skip
    rings = path.taken[[t for t in steps if t < len(path.taken)]]
    ax.plot(*rings.T, linestyle="", marker="o", markersize=9, markerfacecolor="none",
            markeredgecolor=ACCENT, markeredgewidth=1.4, zorder=5,
            label="gradient taken")  # fmt: skip


# ---- the limits ----------------------------------------------------------------------------------


def limit_figure(finding: LookAhead, ax: Any = None) -> Any:
    """What the look-ahead costs and what it is good for: the largest stable αλ over μ, and how fast
    a swing dies out.

    Args:
        finding: of `lab.look_ahead`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes: limits and swings.
    """
    if ax is None:
        ax = sheet(
            "The look-ahead calms, and is upset sooner",
            "Left, lines: the limit as predicted, dots: as found by runs that converge or diverge. "
            f"Right: a weight on a bowl, μ = {finding.mu:g}.",
            limit_caption(finding), (1, 1.35), wspace=0.62, right=0.98,
        )  # fmt: skip
    left, right = axes_of("limit_figure", ax, 2)
    mus = np.linspace(0, 0.999, 200)
    ends = []
    for name, label in (("SGD", "gradient descent"), ("Momentum", "heavy ball"),
                        ("Nesterov", "Nesterov")):  # fmt: skip
        limits = [theory.stability_limit(METHODS[name][1], mu) for mu in mus]
        left.plot(mus, limits, color=colour(name), linewidth=1.6, label=f"{label}, predicted")
        left.plot(MUS, finding.limits[name], color=colour(name), linestyle="", marker="o",
                  label=f"{label}, found", clip_on=False, zorder=4)  # fmt: skip
        ends.append((mus[-1], limits[-1], label))
    left.set_xlim(0, 1)
    left.set_ylim(0, 4.3)
    left.set_xlabel("momentum μ", color=INK)
    left.grid(axis="y", color=GRID)
    label_ends(left, ends, [colour(name) for name in ("SGD", "Momentum", "Nesterov")])
    dressed(left, "The largest stable step", "αλ, learning rate times curvature")

    right.set_yscale("log")
    for (name, step), sizes in finding.sizes.items():
        small = np.flatnonzero(sizes < FAINT * sizes[0])
        shown = sizes[: small[0] + 1 if len(small) else len(sizes)]
        right.plot(shown, color=colour(name), linewidth=1.6, zorder=3,
                   linestyle="-" if step == DAMPED[0] else (0, (2.5, 1.2)),
                   label=f"{NAMES[name]}, αλ = {step:g}:  × {fitted_rate(sizes):.3f} a step")
    right.legend(loc="upper right", frameon=False, fontsize=9.5, labelcolor=INK, handlelength=2.6,
                 borderaxespad=0)  # fmt: skip
    right.set_ylim(top=8)
    right.set_xlabel("step", color=INK)
    right.grid(axis="y", color=GRID)
    dressed(right, "How a swing dies out", "size of (w, next w), without a unit")
    return left, right


def limit_caption(finding: LookAhead) -> str:
    """What there is to see, in two lines."""
    n = MUS.index(0.9)
    found = {name: finding.limits[name][n] for name in ("SGD", "Momentum", "Nesterov")}
    rates = {name: fitted_rate(finding.sizes[name, DAMPED[1]]) for name in NAMES}
    return (
        f"At μ = 0.9 Nesterov runs away above αλ = {found['Nesterov']:.3f}; gradient descent bears "
        f"{found['SGD']:.2f}, the heavy ball {found['Momentum']:.2f}.\n"
        f"Below it, it is the calmer one: at αλ = {DAMPED[1]:g} a step leaves "
        f"{rates['Nesterov']:.2f} of a swing, and {rates['Momentum']:.2f} without the look-ahead."
    )


FIGURES = {"look-ahead": look_ahead_figure, "look-ahead-limit": limit_figure}
