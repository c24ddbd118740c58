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
# Left for those to come: orange #E69F00, green #009E73, vermilion #D55E00, yellow #F0E442.
COLOURS = {
    "SGD": "#000000",
    "Momentum": "#0072B2",
    "Momentum μ=0.75": "#56B4E9",
    "Momentum μ=0.9": "#0072B2",
    "Momentum μ=0.99": "#CC79A7",
}
OTHER = "#777777"
INK = "#333333"
LINE = {"linewidth": 2.0, "solid_capstyle": "round"}


def colour(name: str) -> str:
    """The colour of an optimizer: its own, else its family's (the first word), else grey."""
    return COLOURS.get(name) or COLOURS.get(name.partition(" ")[0]) or OTHER


# ---- the race ------------------------------------------------------------------------------------


def race_figure(results: Sequence[Result], ax: Any = None) -> Any:
    """Training loss and test accuracy of a race, side by side, with a sentence that reads them.

    Args:
        results: from `lab.race`.
        ax: a pair of axes; None makes a figure of 11.5 x 5.4 inches with title and caption.

    Returns:
        The pair of axes, a tuple.

    Raises:
        ValueError: no results, or ax is not a pair.
    """
    _check(results)
    if ax is not None:
        try:
            left, right = ax
        except (TypeError, ValueError):
            raise ValueError("race_figure: ax is a pair of axes, for loss and accuracy") from None
        return loss_curves(results, left), accuracy_curves(results, right)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 5.4), dpi=160, facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.18, 1))
    figure.subplots_adjust(left=0.065, right=0.93, top=0.8, bottom=0.235, wspace=0.52)
    figure.text(0.022, 0.945, "The optimizer race on handwritten digits", fontsize=15,
                weight="bold", color=INK, va="center")  # fmt: skip
    figure.text(0.022, 0.89, "One network, one start, the same batches in the same order; each "
                "optimizer at its own best learning rate α.", fontsize=10.5, color=INK,
                va="center")  # fmt: skip
    loss_curves(results, left)
    accuracy_curves(results, right)
    figure.text(0.022, 0.105, caption(results), fontsize=9.5, color=INK, va="top", linespacing=1.45)
    return left, right


def loss_curves(results: Sequence[Result], ax: Any = None) -> Any:
    """The mean training loss of each epoch on a logarithmic axis, named at the line's end.

    A line is the median over the seeds, its band goes from the lowest to the highest of them. A run
    that failed is drawn thin up to its last whole epoch, with a cross there.
    """
    _check(results)
    ax = _axes(ax)
    ax.set_yscale("log")
    ends = _draw(ax, results, lambda history: history.loss)
    rates = {result.name: f"{result.name}   α = {result.lr:g}" for result in results}
    _label_ends(ax, [(x, y, rates[name], colour(name)) for name, x, y in ends])
    return _dressed(ax, "Training loss", "nats, mean over the epoch")


def accuracy_curves(results: Sequence[Result], ax: Any = None) -> Any:
    """The share of test images classified rightly after each epoch, in percent; lines, bands and
    crosses as in `loss_curves`. Where some epochs are far below the rest, the axis starts at the
    level that nine tenths of them reach."""
    _check(results)
    ax = _axes(ax)
    ends = _draw(ax, results, lambda history: [100 * a for a in history.val_accuracy])
    values = sorted(value for line in ax.get_lines() for value in line.get_ydata())
    if values:
        floor = values[len(values) // 10]
        room = max(1.0, 0.15 * (values[-1] - floor))
        ax.set_ylim(floor - room, min(100.0, values[-1] + room))
    _label_ends(ax, [(x, y, f"{y:.1f} %", colour(name)) for name, x, y in ends])
    return _dressed(ax, "Test accuracy", "% of the test images, after the epoch")


def caption(results: Sequence[Result]) -> str:
    """What there is to see, in two lines, worked out from the results."""
    _check(results)
    runs: dict[str, list[Result]] = {}
    for result in results:
        if not result.failure:
            runs.setdefault(result.name, []).append(result)
    if not runs:
        return "Every run diverged: these learning rates are too high for this race."
    loss = {name: statistics.fmean(r.train_loss for r in own) for name, own in runs.items()}
    accuracy = {name: [100 * r.test_accuracy for r in own] for name, own in runs.items()}
    mean = {name: statistics.fmean(values) for name, values in accuracy.items()}
    best, worst = min(loss, key=lambda name: loss[name]), max(loss, key=lambda name: loss[name])
    epochs = max(len(result.history.loss) for result in results)
    first = f"After {epochs} epochs {best} has the lowest training loss, {loss[best]:.2g} nats"
    if worst != best:
        first += f"; the highest, {loss[worst] / loss[best]:.2g} times that, has {worst}"
    second = f"On images it never saw, {best} is right in {mean[best]:.1f} %"
    if worst != best:
        apart = max(mean.values()) - min(mean.values())
        second = f"On the test images the optimizers are {apart:.1f} percentage points apart"
    if all(len(values) > 1 for values in accuracy.values()):
        within = max(max(values) - min(values) for values in accuracy.values())
        second += f"; starts of one optimizer differ by up to {within:.1f}"
        second += ". Lines: median of the starts, bands: lowest to highest"
    return f"{first}.\n{second}."


# ---- how it is drawn -----------------------------------------------------------------------------


def _check(results: Sequence[Result]) -> None:
    if not results:
        raise ValueError("there are no results to draw")


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=160, facecolor="white")
    figure.subplots_adjust(left=0.11, right=0.7, top=0.88, bottom=0.13)
    return figure.add_subplot()


def _draw(ax: Any, results: Sequence[Result], read: Any) -> list[tuple[str, int, float]]:
    """One line a name; (name, x, y) of where each ends."""
    ends = []
    for name in dict.fromkeys(result.name for result in results):
        own = [result for result in results if result.name == name]
        curves = [read(result.history) for result in own if not result.failure]
        if curves:
            columns = list(zip(*curves))
            epochs = range(1, len(columns) + 1)
            middle = [statistics.median(column) for column in columns]
            ax.plot(epochs, middle, color=colour(name), label=name, zorder=3, **LINE)
            if len(curves) > 1:
                ax.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns],
                                color=colour(name), alpha=0.16, linewidth=0)  # fmt: skip
            ends.append((name, len(columns), middle[-1]))
        for result in own:
            if result.failure and (values := read(result.history)):
                ax.plot(range(1, len(values) + 1), values, color=colour(name), linewidth=1,
                        marker="X", markevery=[-1], label=f"{name} diverged")  # fmt: skip
                if not curves:
                    ends.append((name, len(values), values[-1]))
    return ends


def _label_ends(ax: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """A label beside the axes for each (x, y, text, colour), moved apart where they would overlap,
    with a fine line from the end of the curve."""
    size = 9.5
    ax.margins(x=0.02)
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    height = ax.get_position().height * ax.figure.get_figheight() * 72  # points
    there = [float(to_axes.transform((x, y))[1]) for x, y, _, _ in ends]
    for (x, y, text, shade), place in zip(ends, spread(there, 1.5 * size / height)):
        ax.annotate(
            text, (x, y), (1.045, place), textcoords="axes fraction", va="center", color=INK,
            fontsize=size, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": shade, "linewidth": 1.0, "shrinkA": 1,
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
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=11, weight="bold", color=INK, pad=20)
    ax.text(0, 1.03, unit, transform=ax.transAxes, fontsize=9, color=INK)
    ax.set_xlabel("epoch", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(colors=INK, labelsize=9)
    ax.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax
