"""The perturbation, drawn: runs that fall off a ridge, the share that has left by each step on the
curve that was predicted, and the floor that their noise leaves."""

from typing import Any

import numpy as np

from tinygrad_opt.lab.perturbation import EXPERIMENT, Perturbation, reached, saddle
from tinygrad_opt.plots.style import ACCENT, GRID, INK, PAPER, axes_of, colour, dressed, sheet

SEEN = 2.3  # how far from the middle of the saddle the map goes
PALE = 0.45  # half the noise, and the noise with a decay


def perturbation_figure(finding: Perturbation, ax: Any = None) -> Any:
    """The saddle with the runs of all seeds, the share that has left over the steps, and the loss
    in a bowl under the same noise.

    Args:
        finding: of `lab.perturbation`.
        ax: three axes; None makes a page with title and caption.

    Returns:
        The three axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "Gaussian noise on every gradient of SGD: from the ridge of a saddle, out of a dead "
            "neuron, and in a bowl. Dots and stairs: measured; curves: predicted.",
            perturbation_caption(finding), (1, 1.25, 1), width=13, wspace=0.3,
        )  # fmt: skip
    left, middle, right = axes_of("perturbation_figure", ax, 3)
    _map(left, finding)
    _shares(middle, finding)
    _floors(right, finding)
    return left, middle, right


def perturbation_caption(finding: Perturbation) -> str:
    """What there is to see, in two lines."""
    escapes = finding.escapes
    ridge, half, neuron, slow = (reached(escapes[name].crowd, 0.5) for name in
                                 ("ridge", "ridge, half", "neuron", "neuron, half"))  # fmt: skip
    bowl = {name: run.loss[-len(run.loss) // 3 :].mean() for name, run in finding.bowl.items()}
    return (
        f"Without noise nobody ever leaves, with SGD, momentum or Adam. With it half have left the "
        f"ridge by step {ridge:.0f}, and with half the noise by step {half:.0f}; out of the dead\n"
        f"neuron it takes {neuron:.0f} steps and {slow:.0f}, {slow / neuron:.1f} times as many. "
        f"The price is a floor. A decay of {finding.decay:g} has lowered it to "
        f"1/{bowl['constant'] / bowl['decay']:.0f} in the last third of the run."
    )


def _map(ax: Any, finding: Perturbation) -> None:
    side = np.linspace(-SEEN, SEEN, 161)
    x, y = np.meshgrid(side, side)
    levels = np.linspace(-2.4, 2.4, 13)
    ax.contour(x, y, saddle(x, y), levels, colors=GRID, linewidths=1, linestyles="-", zorder=1)
    for path in finding.paths:
        ax.plot(path[:, 0], path[:, 1], color=ACCENT, alpha=0.35, linewidth=0.8, zorder=2)
    ax.plot([-2, 2], [0, 0], color=colour("SGD"), linewidth=1.8, zorder=3, label="without noise")
    ax.plot([0], [0], "o", color=colour("SGD"), markersize=7, zorder=4)
    ax.annotate("without noise:\nhere for ever", (0, 0), (0.62, 1.28), fontsize=9.5, color=INK,
                bbox=PAPER, zorder=5, arrowprops={"arrowstyle": "-", "color": INK, "shrinkB": 5,
                                                  "linewidth": 0.9})  # fmt: skip
    ax.set_xlim(-SEEN, SEEN)
    ax.set_ylim(-SEEN, SEEN)
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel("x, along the ridge", color=INK)
    dressed(ax, f"Off the ridge, {len(finding.paths)} seeds", "y, across it")


def _shares(ax: Any, finding: Perturbation) -> None:
    ax.set_xscale("log")
    ends = []
    for name, escape in finding.escapes.items():
        if name == "ridge, decay":
            continue
        alpha = PALE if name.endswith("half") else 1.0
        steps = np.arange(1, len(escape.predicted))
        ax.plot(steps, 100 * escape.predicted[1:], color=ACCENT, alpha=alpha, linewidth=1.6,
                label=f"{name}, predicted", zorder=3)  # fmt: skip
        first = int(np.argmax(escape.predicted > 0.005))  # before that all dots are on the axis
        few = np.unique(np.geomspace(first, steps[-1], 18).astype(int))
        ax.plot(few, 100 * escape.crowd[few], "o", color=ACCENT, alpha=alpha, markersize=3.6,
                markeredgewidth=0, label=name, zorder=4)  # fmt: skip
        ends.append((steps[-1], 100 * escape.predicted[-1], name, escape.std))
        if escape.seeds is not None:
            ax.step(steps, 100 * escape.seeds[1:], where="mid", color=INK, alpha=0.5,
                    linewidth=0.9, label=f"{name}, seeds", zorder=2)  # fmt: skip
    for x, y, name, std in ends:
        words = f"{name.partition(',')[0]}, σ = {std:g}"
        before = name == "ridge"  # its neighbour, with half the noise, ends close by
        ax.annotate(words, (x, y), (-6 if before else 6, 0), textcoords="offset points",
                    fontsize=9.5, color=INK, va="center", ha="right" if before else "left",
                    bbox=PAPER)  # fmt: skip
    ax.axhline(0, color=colour("SGD"), linewidth=1.8, label="without noise", zorder=3)
    most = 9 * max(x for x, *_ in ends)
    ax.annotate("without noise", (most, 0), (0, 5), textcoords="offset points", fontsize=9.5,
                color=INK, ha="right", va="bottom")  # fmt: skip
    ax.set_xlim(1, most)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("step", color=INK)
    ax.set_ylim(-2, 100)
    ax.grid(axis="y", color=GRID)
    dressed(ax, "How many have left by then", "% of all runs")


def _floors(ax: Any, finding: Perturbation) -> None:
    ax.set_yscale("log")
    words = {"constant": "σ constant", "decay": f"σ² falls as $(1 + t)^{{-{finding.decay:g}}}$"}
    for name, run in finding.bowl.items():
        alpha = 1.0 if name == "constant" else PALE
        steps = np.arange(len(run.loss))
        ax.plot(steps, run.predicted, color=ACCENT, alpha=alpha, linewidth=1.6, zorder=3,
                label=f"{name}, predicted")  # fmt: skip
        few = np.unique(np.linspace(0, steps[-1], 61).astype(int))
        ax.plot(few, run.loss[few], "o", color=ACCENT, alpha=alpha, markersize=3.6,
                markeredgewidth=0, label=name, zorder=4)  # fmt: skip
        at = 6 * len(steps) // 10
        ax.annotate(words[name], (at, run.predicted[at]), (0, 8), textcoords="offset points",
                    fontsize=9.5, color=INK, ha="center", va="bottom", bbox=PAPER)  # fmt: skip
    ax.set_xlim(0, len(steps))
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    dressed(ax, "What the noise costs", "loss of a bowl ½w², mean of many")


FIGURES = {"perturbation": perturbation_figure}
