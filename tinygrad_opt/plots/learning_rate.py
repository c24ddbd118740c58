"""The learning rate, drawn: a ball that falls, dangles or climbs in its bowl, steps that shrink or
grow to either side of a limit, and the limits themselves, predicted and measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_opt.lab.descent import FATES
from tinygrad_opt.lab.learning_rate import EXPERIMENT, FACTORS, Edge, LearningRate, Path
from tinygrad_opt.lab.theory import stability_limit
from tinygrad_opt.plots.style import ACCENT, GRID, INK, PAPER, axes_of, colour, dressed, sheet

SHOWN = 8  # steps of a path
FLOOR, CEILING = 1e-4, 1e4


FORMULAS = {
    "gradient descent": "2",
    "heavy ball": "2 (1 + μ)",
    "heavy ball, ema": "2 (1 + μ) / (1 - μ)",
    "Nesterov": "2 (1 + μ) / (1 + 2μ)",
}


def learning_rate_figure(finding: LearningRate, ax: Any = None) -> Any:
    """The paths in the bowl, the lengths of the steps around each limit, and the limits.

    Args:
        finding: of `lab.learning_rate`.
        ax: three axes; None makes a page with title and caption.

    Returns:
        The three axes: `bowl`, `fans` and `limit_dots`.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "Left: gradient descent in a bowl of curvature 2. Middle and right: four methods, in "
            "the same colours, each at and around its own limit.",
            learning_rate_caption(finding), (1, 1, 1.15), width=13, wspace=0.34, left=0.04,
        )  # fmt: skip
    left, middle, right = axes_of("learning_rate_figure", ax, 3)
    return bowl(finding.paths, left), fans(finding.edges, middle), limit_dots(finding.edges, right)


def learning_rate_caption(finding: LearningRate) -> str:
    """What there is to see, in two lines."""
    (dangling,) = (path for path in finding.paths if path.lr == 1)
    largest = max(abs(edge.measured / edge.predicted - 1) for edge in finding.edges)
    return (
        f"Without a learning rate (α = 1, red) the weight jumps from side to side for ever: after "
        f"{len(dangling.loss) - 1:,} steps the loss is {dangling.loss[-1]:g}, as at the start.\n"
        f"1 % of α decides between converging and diverging, and the curvature decides where:"
        f" found by running, the largest stable α is {_percent(largest)} or less from its formula."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1g} %"


def bowl(paths: Sequence[Path], ax: Any) -> Any:
    """The loss against the weight, and the first steps of each path on it."""
    reach = max(np.abs(path.w[: SHOWN + 1]).max() for path in paths)
    w = np.linspace(-1.12 * reach, 1.12 * reach, 200)
    ax.plot(w, w**2, color="#BBBBBB", linewidth=1.4, zorder=1, label="loss")
    for path in paths:
        ink = ACCENT if path.lr == 1 else colour("SGD")
        places, losses = path.w[: SHOWN + 1], path.loss[: SHOWN + 1]
        ax.plot(places, losses, color=ink, linewidth=1.4, marker="o", markersize=4, zorder=3,
                label=f"α = {path.lr:g}")  # fmt: skip
        n = 1 if losses[1] < losses[0] else int(np.argmax(places))  # on the right of the bowl
        word = FATES[int(np.sign(losses[1] - losses[0])) + 1]
        ax.annotate(f"α = {path.lr:g} {word}", (places[n], losses[n]), (9, -4), fontsize=9.5,
                    textcoords="offset points", va="center", color=ink, zorder=4)  # fmt: skip
    ax.set_xlim(-1.25 * reach, 2.2 * reach)
    ax.set_ylim(bottom=-0.04 * reach**2)
    ax.set_xlabel("weight w", color=INK)
    ax.grid(axis="y", color=GRID)
    return dressed(ax, "Loss against weight", f"loss w², the first {SHOWN} steps from w = 1")


def fans(edges: Sequence[Edge], ax: Any) -> Any:
    """How far the weights move in each step at 0.99, 1 and 1.01 of the limit, on the quadratic."""
    ax.set_yscale("log")
    for edge in edges:
        if edge.problem == "quadratic":
            for factor, moves in edge.moves.items():
                shown = np.where(np.isfinite(moves) & (moves > 0), moves, np.nan)
                ax.plot(shown / moves[0], color=colour(edge.optimizer), linewidth=1.4, zorder=3,
                        linestyle="--" if edge.method.endswith("ema") else "-",
                        label=f"{edge.name}, {factor:g}")  # fmt: skip
    steps = len(edges[0].moves[1.0])
    ax.set_xlim(0, steps)
    ax.set_ylim(FLOOR, CEILING)
    plain = edges[0].moves
    for factor, word in zip(FACTORS, FATES):  # beside the end of the first method's line
        y = np.clip(plain[factor][-1] / plain[factor][0], 3 * FLOOR, CEILING / 3)
        ax.annotate(f"{factor:g} × limit:\n{word}", (steps, y), (6, 0), va="center",
                    textcoords="offset points", fontsize=9.5, color=INK,
                    annotation_clip=False)  # fmt: skip
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    return dressed(ax, "1 % decides", "length of a step, as a share of the first")


def limit_dots(edges: Sequence[Edge], ax: Any) -> Any:
    """The largest stable α · λ of each method: a bar where it is predicted, a dot where it was
    measured on the quadratic, a ring for the linear model."""
    ax.set_xscale("log")
    methods = list(dict.fromkeys(edge.method for edge in edges))
    for edge in edges:
        row, ink = methods.index(edge.method), colour(edge.optimizer)
        quadratic = edge.problem == "quadratic"
        ax.plot(edge.measured * edge.sharpness, row + (0.0 if quadratic else 0.16), marker="o",
                markersize=7, color=ink, markerfacecolor=ink if quadratic else "white",
                linestyle="none", zorder=4, label=f"{edge.name}, {edge.problem}")  # fmt: skip
        if quadratic:
            limit = stability_limit(edge.method, edge.mu)
            formula = FORMULAS[edge.method]
            shown = f"{formula} = {limit:.4g}" if edge.mu else formula
            ax.plot([limit] * 2, [row - 0.17, row + 0.33], color=ACCENT, linewidth=1.6, zorder=2,
                    label=f"{edge.name}, predicted")  # fmt: skip
            ax.text(0, row - 0.33, f"{edge.name}:  {shown}",
                    transform=ax.get_yaxis_transform(), fontsize=9.5, color=INK, va="center",
                    bbox=PAPER)  # fmt: skip
    ax.set_xlim(1, 60)
    ticks = (1, 2, 5, 10, 20, 50)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks([])
    ax.set_ylim(len(methods) - 0.4, -0.6)
    ax.set_xlabel("α · largest curvature", color=INK)
    ax.grid(axis="x", color=GRID)
    dressed(ax, "The largest stable α", "red: predicted; dot: on a quadratic, ring: a linear model")
    ax.spines["left"].set_visible(False)
    return ax


FIGURES = {"learning-rate": learning_rate_figure}
