"""Figures from recorded data: every optimizer in one colour wherever it is drawn, its name at the
end of its line.

Each function draws into the axes given as `ax=`, or into those of a new figure of its own, and
returns them; `ax.figure.savefig("race.png")` makes the picture. No window opens, and nothing global
changes: pyplot is not used, so neither its backend nor its current figure is touched.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from tinygrad_opt.lab.race import Result

# Okabe and Ito (2008): apart for every kind of colour vision, and in grey by their lightness.
# Left for those to come: yellow #F0E442.
COLOURS = {
    "SGD": "#000000",
    "Momentum": "#0072B2",
    "Momentum μ=0.75": "#56B4E9",
    "Momentum μ=0.9": "#0072B2",
    "Momentum μ=0.99": "#CC79A7",
    "Nesterov μ=0.9": "#009E73",
    "RMSProp ρ=0.95": "#E69F00",
    "Adam": "#D55E00",
}
OTHER = "#777777"
INK = "#333333"
GRID = "#E6E6E6"
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # behind words, over the grid


def colour(name: str) -> str:
    """The colour of an optimizer: its own, else its family's (the first word), else grey."""
    return COLOURS.get(name) or COLOURS.get(name.partition(" ")[0]) or OTHER


# ---- the race ------------------------------------------------------------------------------------


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
    figure = _figure(11.5, height)
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    figure.subplots_adjust(left=0.06, right=0.97, top=1 - 1.32 / height, bottom=1.32 / height,
                           wspace=0.44)  # fmt: skip
    texts: tuple[tuple[float, str, dict], ...] = (
        (height - 0.28, "The optimizer race on handwritten digits",
         {"fontsize": 15, "weight": "bold"}),
        (height - 0.59, "One network, the same start, the same batches in the same order; each "
         "optimizer at its own best learning rate α.", {"fontsize": 10.5}),
        (0.48, caption(results), {"fontsize": 10.5, "linespacing": 1.5}),
    )  # fmt: skip
    for y, text, style in texts:
        figure.text(0.022, y / height, text, color=INK, va="center", **style)
    return loss_curves(results, left), accuracy_dots(results, right)


def loss_curves(results: Sequence[Result], ax: Any = None) -> Any:
    """The mean training loss of each epoch on a logarithmic axis, named at the line's end.

    A line is the median over the seeds, its band goes from the lowest to the highest of them. A run
    that failed is drawn thin up to its last whole epoch, with a cross there.
    """
    from matplotlib.ticker import MaxNLocator

    _check(results)
    ax = _figure(7, 4.6, right=0.73).add_subplot() if ax is None else ax
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
    _label_ends(ax, ends)
    many = any(len(runs) > 1 for runs in _by_name(results).values())
    return _dressed(ax, "Training loss", "nats, mean over the epoch"
                    + ("; line: median start, band: all starts" if many else ""))  # fmt: skip


def accuracy_dots(results: Sequence[Result], ax: Any = None) -> Any:
    """The share of test images classified rightly after the last step, in percent: a row an
    optimizer, a dot a start (equal ones stacked), and a bar with its number at their mean."""
    _check(results)
    ax = _figure(7, 4.6).add_subplot() if ax is None else ax
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
    return _dressed(ax, "Test accuracy", "% of the test images"
                    + ("; dot: one start, bar: mean" if many else ""))  # fmt: skip


def caption(results: Sequence[Result]) -> str:
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


# ---- how it is drawn -----------------------------------------------------------------------------


def _check(results: Sequence[Result]) -> None:
    if not results:
        raise ValueError("there are no results to draw")


def _by_name(results: Sequence[Result]) -> dict[str, list[Result]]:
    runs: dict[str, list[Result]] = {}
    for result in results:
        runs.setdefault(result.name, []).append(result)
    return runs


def _figure(width: float, height: float, right: float = 0.96) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, facecolor="white")
    figure.subplots_adjust(left=0.11, right=right, top=0.86, bottom=0.12)
    return figure


def _label_ends(ax: Any, ends: list[tuple[float, float, str]]) -> None:
    """The name of each line that ends at (x, y) beside the axes, with a fine line that leads there;
    the names are moved apart where they would overlap."""
    size = 9.5
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    height = ax.get_position().height * ax.figure.get_figheight() * 72  # points
    there = [float(to_axes.transform((x, y))[1]) for x, y, _ in ends]
    for (x, y, name), place in zip(ends, spread(there, 1.5 * size / height)):
        ax.annotate(
            name, (x, y), (1.05, place), textcoords="axes fraction", va="center", color=INK,
            fontsize=size, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour(name), "linewidth": 1.2, "shrinkA": 1,
                        "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The numbers nearest to `places` (in the sum of squares) that keep their order and are at
    least `gap` apart.

    Take gap · rank off each, and "apart" becomes "not falling": the isotonic regression, which
    pooling adjacent violators solves (Ayer et al. 1955).
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    pools: list[list[float]] = []  # each [mean, size]
    for rank, i in enumerate(order):
        pools.append([places[i] - gap * rank, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, size = pools.pop()
            before, count = pools[-1]
            pools[-1] = [(before * count + mean * size) / (count + size), count + size]
    level = [mean for mean, size in pools for _ in range(int(size))]
    placed = [0.0] * len(places)
    for rank, i in enumerate(order):
        placed[i] = level[rank] + gap * rank
    return placed


def _dressed(ax: Any, title: str, unit: str) -> Any:
    ax.set_title(title, loc="left", fontsize=11.5, weight="bold", color=INK, pad=22)
    ax.text(0, 1.035, unit, transform=ax.transAxes, fontsize=9.5, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(colors=INK, labelsize=9.5)
    ax.set_axisbelow(True)
    return ax
