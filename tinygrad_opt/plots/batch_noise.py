"""The noise of batches, drawn: how their gradients scatter around the full one, how the scatter
shrinks with the batch, and a Gaussian as strong that does to the loss what batches do."""

from statistics import NormalDist
from typing import Any

import numpy as np

from tinygrad_opt.lab.batch_noise import (
    EXPERIMENT,
    SETTLED,
    SHOWN,
    TWIN_BATCH,
    TWIN_IMAGES,
    BatchNoise,
)
from tinygrad_opt.plots.style import (
    ACCENT,
    GRID,
    INK,
    OTHER,
    axes_of,
    colour,
    dressed,
    label_ends,
    sheet,
)

SAMPLED = {"replaced": "with replacement", "shuffled": "each once", "balanced": "classes balanced"}
INKS = {"replaced": OTHER, "shuffled": INK, "balanced": ACCENT}
RUNS = {"drawn": INK, "noise": ACCENT, "epochs": OTHER}


def batch_noise_figure(finding: BatchNoise, ax: Any = None) -> Any:
    """Gradients of batches along the full one, the noise over the batch size, and the loss under
    batches and under Gaussian noise.

    Args:
        finding: of `lab.batch_noise`.
        ax: three axes; None makes a page with title and caption.

    Returns:
        The three axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "Gradients of a small network on handwritten digits at fixed weights, and the mean of "
            "these digits found by SGD. Dots and bars: measured; lines: predicted.",
            batch_noise_caption(finding), (1, 1.2, 1.1), width=13, wspace=0.3, left=0.03,
            right=0.885,
        )  # fmt: skip
    left, middle, right = axes_of("batch_noise_figure", ax, 3)
    _scatter(left, finding)
    _sizes(middle, finding)
    _twins(right, finding)
    return left, middle, right


def batch_noise_caption(finding: BatchNoise) -> str:
    """What there is to see, in two lines."""
    shuffled, balanced = (finding.spreads[name].measured for name in ("shuffled", "balanced"))
    drawn, noise = (finding.twins[name][SETTLED:].mean() for name in ("drawn", "noise"))
    ends = finding.twins["epochs"][SETTLED :: TWIN_IMAGES // TWIN_BATCH].mean()
    return (
        f"A batch's gradient is the full one plus noise, which falls as 1 / √B. Where batches hold "
        f"all classes equally, it is {balanced[0] / shuffled[0]:.2f} times as strong (B = 10).\n"
        f"Gaussian noise as strong on the full gradient stops at the same floor ({noise:.2g}, "
        f"batches {drawn:.2g}). Dealt in epochs, part of the noise cancels: {ends / drawn:.2f} of "
        f"that floor at their ends."
    )


def _scatter(ax: Any, finding: BatchNoise) -> None:
    along, full, deviation = finding.along, finding.full, finding.deviation
    ax.hist(along, bins=22, density=True, color=OTHER, alpha=0.45, label="batches", zorder=2)
    x = np.linspace(full - 4 * deviation, full + 4 * deviation, 200)
    bell = np.array([NormalDist(full, deviation).pdf(place) for place in x])
    ax.plot(x, bell, color=ACCENT, linewidth=1.8, label="predicted", zorder=3)
    ax.axvline(full, color=INK, linewidth=1.6, label="full gradient", zorder=4)
    ax.annotate("full\ngradient", (full, 1.12 * bell.max()), (5, 0), textcoords="offset points",
                fontsize=9.5, color=INK, va="center")  # fmt: skip
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(0, 1.22 * bell.max())
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("gradient along the full one", color=INK)
    dressed(ax, f"{len(along)} batches of {SHOWN}", "how often")


def _sizes(ax: Any, finding: BatchNoise) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    for name, spread in finding.spreads.items():
        ax.plot(spread.sizes, spread.predicted, color=INKS[name], linewidth=1.5, zorder=2,
                label=f"{name}, predicted")  # fmt: skip
        ax.errorbar(spread.sizes, spread.measured, 3 * spread.error, fmt="o", color=INKS[name],
                    markersize=4.5, linewidth=1, label=name, zorder=3)  # fmt: skip
        x, y = spread.sizes[-1], spread.predicted[-1]
        ax.annotate(SAMPLED[name], (x, y), (7, 0), textcoords="offset points", fontsize=9.5,
                    color=INK, va="center")  # fmt: skip
    sizes = finding.spreads["shuffled"].sizes
    ax.set_xlim(0.8 * sizes[0], 6 * sizes[-1])
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel("batch size B", color=INK)
    ax.grid(axis="y", color=GRID)
    dressed(ax, "The larger the batch, the quieter", "standard deviation of the gradient")


def _twins(ax: Any, finding: BatchNoise) -> None:
    ax.set_yscale("log")
    ends, inks = [], []
    for name, words in (
        ("epochs", "batches in epochs"), ("drawn", f"batches of {TWIN_BATCH}"),
        ("noise", "Gaussian noise"), ("exact", "no noise"),
    ):  # fmt: skip
        ink = colour("SGD") if name == "exact" else RUNS[name]
        losses = finding.twins[name][: SETTLED + 1]
        ax.plot(losses, color=ink, linewidth=1.3, label=words)
        if name != "exact":
            ends.append((SETTLED, losses[-1], words))
            inks.append(ink)
    floor = finding.floors["drawn"]
    ax.axhline(floor, color=INK, linestyle=":", linewidth=1.1, label="predicted floor", zorder=4)
    ax.set_xlim(0, SETTLED)
    ax.set_ylim(floor / 8, 2 * finding.twins["drawn"][0])
    below = int(np.argmax(finding.twins["exact"] < floor / 5))
    ax.annotate("no noise", (below, finding.twins["exact"][below]), (7, 0), fontsize=9.5,
                textcoords="offset points", color=INK, va="center")  # fmt: skip
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    label_ends(ax, ends, inks)
    dressed(ax, "Batches and their Gaussian twin", "loss ½‖w - x‖² above the lowest, mean of many")


FIGURES = {"batch-noise": batch_noise_figure}
