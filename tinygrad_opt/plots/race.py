"""The race, drawn: who gets how far down, and what that is worth on images never seen."""

import statistics
from collections.abc import Sequence
from typing import Any

from tinygrad_opt.lab.race import Result
from tinygrad_opt.plots.style import (
    GRID,
    INK,
    PAPER,
    colour,
    dressed,
    figure,
    label_ends,
    sheet,
)


def race_figure(results: Sequence[Result], ax: Any = None) -> Any:
    """Training loss and test accuracy of a race side by side, with sentences that read them.

    Args:
        results: from `lab.race`.
        ax: a pair of axes; None makes a figure with title and caption, 11.5 inches wide and as
            high as its optimizers need.

    Returns:
        The pair of axes: `loss_curves` and `accuracy_dots`.

    Raises:
        ValueError: no results, or ax is not a pair.
    """
    _check(results)
    if ax is not None:
        try:
            left, right = ax
        except (TypeError, ValueError):
            raise ValueError("race_figure: ax is a pair of axes, for loss and accuracy") from None
        return loss_curves(results, left), accuracy_dots(results, right)
    height = max(5.6, 2.6 + 0.64 * len(_by_name(results)))  # inches: a row of dots an optimizer
    left, right = sheet(
        "The optimizer race on handwritten digits",
        "One network, the same start, the same batches in the same order; each optimizer at its "
        "own best learning rate α.", race_caption(results), (1.45, 1), height=height,
    )  # fmt: skip
    return loss_curves(results, left), accuracy_dots(results, right)


def loss_curves(results: Sequence[Result], ax: Any = None) -> Any:
    """The mean training loss of each epoch on a logarithmic axis, named at the line's end.

    A line is the median over the seeds, its band goes from the lowest to the highest of them. A run
    that failed is drawn thin up to its last whole epoch, with a cross there.
    """
    from matplotlib.ticker import MaxNLocator

    _check(results)
    ax = figure(7, 4.6, right=0.73).add_subplot() if ax is None else ax
    ax.set_yscale("log")
    ends: list[tuple[float, float, str]] = []
    for name, runs in _by_name(results).items():
        curves = [run.history.loss for run in runs if not run.failure]
        if curves:
            columns = list(zip(*curves))
            epochs = range(1, len(columns) + 1)
            middle = [statistics.median(column) for column in columns]
            ax.plot(epochs, middle, color=colour(name), label=name, linewidth=2, zorder=3)
            ends.append((len(columns), middle[-1], name))
        if len(curves) > 1:
            ax.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns],
                            color=colour(name), alpha=0.14, linewidth=0)  # fmt: skip
        for run in runs:
            if run.failure and (values := run.history.loss):
                ax.plot(range(1, len(values) + 1), values, color=colour(name), linewidth=1,
                        marker="X", markevery=[-1], label=f"{name} diverged")  # fmt: skip
                if not curves:
                    ends.append((len(values), values[-1], name))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlim(left=0)
    ax.set_xlabel("epoch", color=INK)
    ax.grid(axis="y", color=GRID)
    label_ends(ax, ends)
    many = any(len(runs) > 1 for runs in _by_name(results).values())
    return dressed(ax, "Training loss", "nats, mean over the epoch"
                    + ("; line: median start, band: all starts" if many else ""))  # fmt: skip


def accuracy_dots(results: Sequence[Result], ax: Any = None) -> Any:
    """The share of test images classified rightly after the last step, in percent: a row an
    optimizer, a dot a start (equal ones stacked), and a bar with its number at their mean."""
    _check(results)
    ax = figure(7, 4.6).add_subplot() if ax is None else ax
    rows = _by_name(results)
    for y, (name, runs) in enumerate(rows.items()):
        values = [100 * run.test_accuracy for run in runs if not run.failure]
        heights = [y + 0.07 - 0.14 * values[:i].count(value) for i, value in enumerate(values)]
        ax.scatter(values, heights, s=42, color=colour(name), alpha=0.75, linewidth=0, label=name,
                   zorder=3)  # fmt: skip
        if values:
            mean = statistics.fmean(values)
            if len(values) > 1:
                ax.plot([mean] * 2, [y - 0.2, y + 0.2], color=colour(name), linewidth=2, zorder=2)
            ax.annotate(f"{mean:.1f}", (mean, y + 0.2), (0, -3), textcoords="offset points",
                        ha="center", va="top", fontsize=9, color=INK, bbox=PAPER)  # fmt: skip
        else:
            ax.text(0.5, y, "diverged", ha="center", va="center", fontsize=9, color=INK,
                    transform=ax.get_yaxis_transform())  # fmt: skip
        ax.text(0, y - 0.42, f"{name},  α = {runs[0].lr:g}", fontsize=9.5, color=INK, va="center",
                transform=ax.get_yaxis_transform(), bbox=PAPER)  # fmt: skip
    ax.set_yticks([])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.grid(axis="x", color=GRID)
    ax.spines["left"].set_visible(False)
    many = any(len(runs) > 1 for runs in rows.values())
    return dressed(ax, "Test accuracy", "% of the test images"
                    + ("; dot: one start, bar: mean" if many else ""))  # fmt: skip


def race_caption(results: Sequence[Result]) -> str:
    """What there is to see, in two lines, worked out from the results."""
    _check(results)
    runs = _by_name([result for result in results if not result.failure])
    if not runs:
        return "Every run diverged: these learning rates are too high for this race."
    loss = {name: statistics.median(run.train_loss for run in own) for name, own in runs.items()}
    accuracy = {name: [100 * run.test_accuracy for run in own] for name, own in runs.items()}
    mean = {name: statistics.fmean(values) for name, values in accuracy.items()}
    best, worst = min(loss, key=lambda name: loss[name]), max(loss, key=lambda name: loss[name])
    epochs = max(len(result.history.loss) for result in results)
    starts = max(len(own) for own in runs.values())
    time = f"After {epochs} epoch{'s' * (epochs > 1)}"
    first = f"{time} {best} has the lowest training loss, {loss[best]:.2g} nats"
    second = f"On images it never saw, {best} is right in {mean[best]:.1f} %"
    if worst != best:
        first += f"; {worst} has the highest, {loss[worst] / loss[best]:.2g} times that"
        apart = max(mean.values()) - min(mean.values())
        second = f"On the test images the optimizers are {apart:.1f} percentage points apart"
    if starts > 1:
        first += f" (medians of {starts} starts)"
        within = max(max(values) - min(values) for values in accuracy.values())
        second += f"; starts of one and the same optimizer differ by up to {within:.1f}"
    return f"{first}.\n{second}."


def _check(results: Sequence[Result]) -> None:
    if not results:
        raise ValueError("there are no results to draw")


def _by_name(results: Sequence[Result]) -> dict[str, list[Result]]:
    runs: dict[str, list[Result]] = {}
    for result in results:
        runs.setdefault(result.name, []).append(result)
    return runs
