"""A search for α and μ, drawn: every pair that was tried, and how the lowest loss came down."""

from typing import Any

import numpy as np

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.tuning import FRICTION, REACH, SPACE, Tuning
from tinygrad_opt.plots.style import ACCENT, GRID, INK, axes_of, dressed, sheet

SHOWN = (0.0, 0.5, 0.75, 0.9, 0.97, 0.99)  # μ, where the axis is labelled
COLOURS = "viridis_r"  # dark is a high loss


def tuning_figure(found: Tuning, ax: Any = None) -> Any:
    """The pairs over α / (1 - μ) and μ, coloured by their loss; and the losses in their order.

    Args:
        found: of `lab.tuning.tune_momentum`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes.
    """
    if ax is None:
        ax = sheet(
            "A search for α and μ",
            f"The network of the race after {found.epochs} epoch{'s' * (found.epochs > 1)}, the "
            f"mean of {found.starts} start{'s' * (found.starts > 1)}. Every dot is a pair that was "
            "tried; the star is the best.",
            tuning_caption(found), (1.25, 1), wspace=0.34,
        )  # fmt: skip
    left, right = axes_of("tuning_figure", ax, 2)
    return tried_pairs(found, left), losses_in_order(found, right)


def tried_pairs(found: Tuning, ax: Any) -> Any:
    """Every pair as a dot; a cross where it diverged."""
    from matplotlib.colors import LogNorm

    good = [trial for trial in found.trials if np.isfinite(trial.loss)]
    lost = [trial for trial in found.trials if not np.isfinite(trial.loss)]
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(0.9 * SPACE[REACH][0], 1.1 * SPACE[REACH][1])
    ax.set_ylim(0.93 / SPACE[FRICTION][1], 1.08 / SPACE[FRICTION][0])
    if lost:
        ax.scatter(*_places(lost), marker="x", s=34, color="#999999", linewidth=1.2,
                   label="diverged", zorder=2)  # fmt: skip
    if good:
        losses = [trial.loss for trial in good]
        dots = ax.scatter(*_places(good), c=losses, cmap=COLOURS, s=40, zorder=3, label="tried",
                          norm=LogNorm(min(losses), max(max(losses), 1.01 * min(losses))),
                          edgecolor="white", linewidth=0.5)  # fmt: skip
        ax.plot(*_places([found.best]), "*", markersize=15, markerfacecolor="white",
                markeredgecolor=INK, zorder=4, label="the best")  # fmt: skip
        bar = ax.figure.colorbar(dots, cax=ax.inset_axes([1.03, 0, 0.03, 1]))
        bar.outline.set_visible(False)
        low, high = dots.get_clim()
        ticks = [digit * 10.0**n for n in range(-6, 3) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
        bar.ax.invert_yaxis()  # what is good is up
        bar.ax.tick_params(colors=INK, labelsize=9)
        bar.ax.set_title("training\nloss, nats", loc="left", fontsize=9, color=INK, pad=6)
    ax.set_yticks([theory.effective_memory(mu) for mu in SHOWN], [f"{mu:g}" for mu in SHOWN])
    ax.minorticks_off()
    ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    ax.set_xlabel("α / (1 - μ)", color=INK)
    ax.grid(color=GRID)
    return dressed(ax, "What was tried", "momentum μ")


def _places(trials: Any) -> tuple[list[float], list[float]]:
    memories = [theory.effective_memory(trial.mu) for trial in trials]
    return [trial.reach for trial in trials], memories


def losses_in_order(found: Tuning, ax: Any) -> Any:
    """The loss of each trial as a dot, and the lowest so far as a line."""
    losses = np.array([trial.loss for trial in found.trials])
    numbers = np.arange(1, len(losses) + 1)
    seen = np.isfinite(losses)
    ax.set_yscale("log")
    if seen.any():
        ax.set_ylim(0.7 * losses[seen].min(), 1.4 * losses[seen].max())
    ax.set_xlim(0, 1.03 * len(losses))
    ax.plot(numbers[seen], losses[seen], "o", color="#9AA5B1", markersize=4.5, label="a trial",
            zorder=2)  # fmt: skip
    lowest = np.minimum.accumulate(losses)
    ax.plot(numbers, lowest, drawstyle="steps-post", color=ACCENT, linewidth=1.8, zorder=3,
            label="the lowest so far")  # fmt: skip
    if np.isfinite(lowest[-1]):
        ax.annotate("the lowest so far", (numbers[-1], lowest[-1]), (0, -14),
                    textcoords="offset points", ha="right", fontsize=9.5, color=ACCENT)  # fmt: skip
    ax.set_xlabel("trial", color=INK)
    ax.grid(axis="y", color=GRID)
    return dressed(ax, "How it went", "training loss, nats")


def tuning_caption(found: Tuning) -> str:
    """What there is to see, in two lines."""
    best = found.best
    if not np.isfinite(best.loss):
        return "Every pair that was tried diverged."
    near = [trial.mu for trial in found.trials if trial.loss <= 1.5 * best.loss]
    reach = [trial.reach for trial in found.trials if trial.loss <= 1.5 * best.loss]
    return (
        f"The best of {len(found.trials):,} is μ = {best.mu:.2f} with α = {best.lr:.2g}: "
        f"{best.loss:.2g} nats, and {100 * best.val_accuracy:.1f} % of the images held out.\n"
        f"Losses up to half as much again: {len(near):,} of them, with μ from {min(near):.2f} to "
        f"{max(near):.2f} and α/(1-μ) from {min(reach):.2g} to {max(reach):.2g}."
    )


FIGURES = {"tuning": tuning_figure}
