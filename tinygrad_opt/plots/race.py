"""The race, drawn: who gets how far down, and what that is worth on images never seen."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from tinygrad_opt.lab.race import Result
from tinygrad_opt.plots.style import (
    GRID,
    INK,
    PAPER,
    axes_of,
    colour,
    dressed,
    figure,
    label_ends,
    sheet,
)

CROWD = 8  # more lines than this, and their bands would hide each other


def race_figure(results: Sequence[Result], ax: Any = None) -> Any:
    """Training loss and test accuracy of a race side by side, with sentences that read them.

    On a page of its own each optimizer has a row, the highest loss on top: from the end of its
    curve a line leads to its name, and beside that stand its dots.

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
        left, right = axes_of("race_figure", ax, 2)
        return loss_curves(results, left), accuracy_dots(results, right)
    height = max(5.6, 2.64 + 0.26 * len(_standing(results)))  # inches: a row an optimizer
    left, right = sheet(
        "The optimizer race on handwritten digits",
        "One network, the same start, the same batches in the same order; each optimizer at its "
        "own best learning rate α.", race_caption(results), (1.25, 1), height=height, wspace=0.52,
        right=0.87,
    )  # fmt: skip
    loss_curves(results, left, in_rows=True)
    return left, accuracy_dots(results, right, names=False)


def loss_curves(results: Sequence[Result], ax: Any = None, in_rows: bool = False) -> Any:
    """The training loss over the epochs on a logarithmic axis, named at the line's end.

    A line goes through the mean loss of each epoch, in its middle, to a dot: the loss over all
    images after the last step. It is the median over the seeds; where there are few optimizers, its
    band goes from the lowest to the highest of them. A run that failed is drawn thin up to its last
    whole epoch, with a cross there. `in_rows` puts the names at even distances instead of as near
    to the lines as can be.
    """
    from matplotlib.ticker import MaxNLocator

    ax = figure(7, 4.6, right=0.73).add_subplot() if ax is None else ax
    (ax,) = axes_of("loss_curves", ax, 1)
    ax.set_yscale("log")
    standing = _standing(results)
    ends: dict[str, tuple[float, float]] = {}
    for name, runs in standing.items():
        curves = [[*run.history.loss, run.train_loss] for run in runs if not run.failure]
        if curves:
            columns = list(zip(*curves))
            last = len(columns) - 1
            epochs = [*(epoch + 0.5 for epoch in range(last)), last]
            middle = [statistics.median(column) for column in columns]
            ax.plot(epochs, middle, color=colour(name), label=name, linewidth=1.6, zorder=3,
                    marker="o", markersize=4, markevery=[-1])  # fmt: skip
            ends[name] = (last, middle[-1])
        if len(curves) > 1 and len(standing) <= CROWD:
            ax.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns],
                            color=colour(name), alpha=0.14, linewidth=0)  # fmt: skip
        for run in runs:
            if run.failure and (values := run.history.loss):
                epochs = [epoch + 0.5 for epoch in range(len(values))]
                ax.plot(epochs, values, color=colour(name), linewidth=1, marker="X",
                        markevery=[-1], label=f"{name} diverged")  # fmt: skip
                ends.setdefault(name, (len(values) - 0.5, values[-1]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlim(left=0)
    ax.set_xlabel("epoch", color=INK)
    ax.grid(axis="y", color=GRID)
    rows = list(standing)
    places = [1 - (rows.index(name) + 0.5) / len(rows) for name in ends] if in_rows else None
    label_ends(ax, [(*end, name) for name, end in ends.items()], places=places)
    many = any(len(runs) > 1 for runs in standing.values())
    shown = "; line: median start" + ", band: all starts" * (len(standing) <= CROWD)
    return dressed(ax, "Training loss", "nats; dot: after the last step" + shown * many)


def accuracy_dots(results: Sequence[Result], ax: Any = None, names: bool = True) -> Any:
    """The share of test images classified rightly after the last step, in percent: a row an
    optimizer, in the order of their training losses, a dot a start (equal ones stacked), a bar at
    their mean, and beside it that mean and α. `names` names the rows."""
    ax = figure(7, 4.6, right=0.8).add_subplot() if ax is None else ax
    (ax,) = axes_of("accuracy_dots", ax, 1)
    rows = _standing(results)
    tall = min(0.36, 0.03 * len(rows))
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9, "color": INK}
    for y, (name, runs) in enumerate(rows.items()):
        values = [100 * run.test_accuracy for run in runs if not run.failure]
        heights = [y - 0.17 * values[:i].count(value) + 0.085 * (values.count(value) - 1)
                   for i, value in enumerate(values)]  # fmt: skip
        ax.scatter(values, heights, s=26, color=colour(name), alpha=0.8, linewidth=0, label=name,
                   zorder=3)  # fmt: skip
        if values:
            mean = statistics.fmean(values)
            if len(values) > 1:
                ax.plot([mean] * 2, [y - tall, y + tall], color=colour(name), linewidth=2, zorder=2)
            ax.text(1.10, y, f"{mean:.1f}", ha="right", **beside)
        else:
            ax.text(0.5, y, "diverged", ha="center", bbox=PAPER, **beside)
        ax.text(1.26, y, f"{runs[0].lr:g}", ha="right", **beside)
    for x, heading in ((1.10, "mean"), (1.26, "α")):
        ax.annotate(heading, (x, 1), (0, 7.5), xycoords="axes fraction", ha="right",
                    textcoords="offset points", fontsize=9, color=INK)  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows) if names else [""] * len(rows))
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.margins(x=0.08)
    ax.grid(color=GRID)
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
        times = loss[worst] / loss[best]
        first += f"; {worst} has the highest, {times:{'.2g' if times < 10 else '.0f'}} times that"
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


def _standing(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs by name, the highest median of the final losses first, before it who has none."""
    _check(results)
    runs = _by_name(results)

    def loss(name: str) -> float:
        good = [run.train_loss for run in runs[name] if not run.failure]
        return -statistics.median(good) if good else -math.inf

    return {name: runs[name] for name in sorted(runs, key=loss)}


def _by_name(results: Sequence[Result]) -> dict[str, list[Result]]:
    runs: dict[str, list[Result]] = {}
    for result in results:
        runs.setdefault(result.name, []).append(result)
    return runs
