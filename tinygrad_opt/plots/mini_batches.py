"""Mini-batches, drawn: which classes four batches hold, a cell a class; how far their gradients are
from that of all images; and what a mean does before an update, and what it does after one."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from tinygrad_opt.lab.mini_batches import Gradients, MiniBatches
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

# Tol's muted colours (2021), apart for every kind of colour vision; a batch each, in turn.
BATCHES = (
    "#332288", "#44AA99", "#DDCC77", "#CC6677", "#88CCEE", "#117733", "#AA4499", "#999933",
)  # fmt: skip
EMPTY = "#EFEFEF"
GREYS = ("#C8C8C8", "#8A8A8A")  # random batches: one of them, a window of them
GAP = 0.14  # between two cells, in cells
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def mini_batches_figure(finding: MiniBatches, ax: Any = None) -> Any:
    """The classes that a window of random batches holds, those that one of class-balanced batches
    holds, and how far the gradients of both are from that of all images.

    Args:
        finding: of `lab.mini_batches`.
        ax: three axes; None makes a page with title and caption.

    Returns:
        The three axes.
    """
    random, even = finding.gradients["random"], finding.gradients["balanced"]
    window, batch = even.labels.shape
    if ax is None:
        ax = sheet(
            f"{_word(window).capitalize()} batches of {batch:,} for {window * batch:,} classes",
            "Each cell is a class, in the colour of the batch that holds it. A class that comes "
            "several times has its cell divided.",
            mini_batches_caption(finding), (1, 1, 2.1), wspace=0.1, height=6.6, left=0.022,
        )  # fmt: skip
    left, middle, right = axes_of("mini_batches_figure", ax, 3)
    _mosaic(left, random, "At random")
    _mosaic(middle, even, "Class-balanced")
    _errors(right, random, even)
    return left, middle, right


def mini_batches_caption(finding: MiniBatches) -> str:
    """What there is to see, in two lines."""
    random, even = finding.gradients["random"], finding.gradients["balanced"]
    window, batch = even.labels.shape
    quieter = (random.of_windows**2).mean() / (even.of_windows**2).mean()
    return (
        f"{_word(window).capitalize()} random batches lack {random.missing.mean():.0f} of the "
        f"{window * batch:,} classes, on average; class-balanced ones hold each once. The "
        f"variance of their mean gradient\nis {quieter:.0f} times smaller: what is left is how far "
        "images of one class differ. Dotted: predicted."
    )


def _mosaic(ax: Any, found: Gradients, title: str) -> None:
    """The classes of the first window, row by row in the order of their numbers."""
    from matplotlib.collections import PolyCollection

    classes = found.labels.size
    across = math.ceil(math.sqrt(classes * 25 / 40))
    down = math.ceil(classes / across)
    holders: list[list[int]] = [[] for _ in range(classes)]
    for batch, labels in enumerate(found.labels):
        for c in labels:
            holders[c].append(batch)
    cells, inks = [], []
    for c, held in enumerate(holders):
        y, x = divmod(c, across)
        width = (1 - GAP) / max(1, len(held))
        for i, ink in enumerate([BATCHES[b % len(BATCHES)] for b in held] or [EMPTY]):
            cells.append(_box(x + i * width, y, width, 1 - GAP))
            inks.append(ink)
    ax.add_collection(PolyCollection(cells, facecolors=inks, linewidths=0))
    word = "batch " if len(found.labels) <= 4 else ""
    below = ax.get_xaxis_transform()
    for batch in range(len(found.labels)):
        place = across * (batch / len(found.labels) + 0.02)
        ax.scatter(place, -0.035, marker="s", s=40, color=BATCHES[batch % len(BATCHES)],
                   linewidth=0, transform=below, clip_on=False)  # fmt: skip
        ax.annotate(f"{word}{batch + 1}", (place, -0.035), (6, 0), xycoords=below, va="center",
                    textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    missing = sum(not held for held in holders)
    several = sum(len(held) > 1 for held in holders)
    dressed(ax, title, f"{missing:,} missing, {several:,} more than once"
            if missing else "every class once")  # fmt: skip
    ax.set_aspect("equal", anchor="NW")
    ax.set(xlim=(0, across), ylim=(down, 0), xticks=[], yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)


def _box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _errors(ax: Any, random: Gradients, even: Gradients) -> None:
    """Histograms of the errors of the gradient, all features together, with the normal curves of
    the standard deviations predicted."""
    window, batch = even.labels.shape
    reach = 3.2 * random.batch_std
    x = np.linspace(-reach, reach, 801)
    several = _word(window)
    for errors, std, ink, name, at, place in (
        (random.errors, random.batch_std, GREYS[0], f"one random batch of {batch:,}", 1.35, 0.28),
        (random.of_windows, random.window_std, GREYS[1], f"{several} random batches", 1, 0.5),
        (even.of_windows, even.window_std, ACCENT, f"{several} class-balanced batches", 0.7, 0.8),
    ):
        edges = np.linspace(-4, 4, 41) * std
        heights, _ = np.histogram(errors, edges, density=True)
        ax.stairs(heights, edges, fill=True, color=ink, alpha=0.85, label=name, zorder=2)
        bell = NormalDist(0, std).pdf
        ax.plot(x, list(map(bell, x)), color=INK, linestyle=":", linewidth=1.3, zorder=3,
                label=f"{name}, predicted")  # fmt: skip
        measured = math.sqrt((errors**2).mean())
        ax.annotate(
            f"{name}\nstd {measured:.3g}, predicted {std:.3g}",
            (at * std, bell(at * std)), (0.63, place),
            textcoords="axes fraction", va="center", fontsize=9.5, color=INK,
            arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 1.2, "shrinkA": 2,
                        "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip
    ax.set_xlim(-reach, reach)
    ax.set_ylim(bottom=0)
    ax.set_yticks([])
    ax.set_xlabel("error of one component of the gradient", color=INK)
    dressed(ax, "How far the mean gradient is from that of all images", "density")
    ax.spines["left"].set_visible(False)


# ---- before the update, or after it --------------------------------------------------------------


def smoothing_figure(finding: MiniBatches, ax: Any = None) -> Any:
    """The loss over the batches, and one weight, of three runs over the same batches: plain, with
    the reported loss averaged, and with an update from the mean gradient of a window.

    Args:
        finding: of `lab.mini_batches`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes.
    """
    k = finding.window
    if ax is None:
        ax = sheet(
            f"A mean of {_word(k)}, before the update or after it",
            "One softmax model, one start, the same class-balanced batches in the same order, the "
            "same learning rate.",
            smoothing_caption(finding), (1.1, 1), wspace=0.5, right=0.86,
        )  # fmt: skip
    left, right = axes_of("smoothing_figure", ax, 2)
    _losses(left, finding)
    _paths(right, finding)
    return left, right


def smoothing_caption(finding: MiniBatches) -> str:
    """What there is to see, in two lines."""
    k, training = finding.window, finding.training
    updates = [training[word].history.steps for word in ("plain", "accumulate")]
    same = np.array_equal(training["plain"].weights, training["smooth"].weights)
    return (
        f"smooth={k} averages the losses after {_word(k)} updates: a calmer curve, and "
        f"{'not a bit of any weight changes' if same else 'OTHER WEIGHTS, which is a mistake'}.\n"
        f"accumulate={k} averages the gradients before one update: other weights, {updates[1]} "
        f"updates instead of {updates[0]}, each that of {k * _batch(finding):,} images at once."
    )


def _losses(ax: Any, finding: MiniBatches) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    k = finding.window
    plain, smooth, accumulate = (
        np.array(finding.training[word].history.step_loss)
        for word in ("plain", "smooth", "accumulate")
    )
    batches = np.arange(1, len(plain) + 1)
    black = colour("SGD")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.plot(batches, plain, color=black, alpha=0.4, linewidth=1, label="plain", zorder=2)
    ax.plot(batches, smooth, color=black, linewidth=2, label=f"smooth={k}", zorder=3)
    ax.plot(batches, np.repeat(accumulate, k), color=ACCENT, linewidth=1.8, drawstyle="steps-mid",
            label=f"accumulate={k}", zorder=3)  # fmt: skip
    _dress(ax, finding, "The reported loss", "nats")
    names = ("plain", f"smooth={k}", f"accumulate={k}")
    ends = [(len(plain), run[-1], name) for run, name in zip((plain, smooth, accumulate), names)]
    label_ends(ax, ends, [OTHER, black, ACCENT])


def _paths(ax: Any, finding: MiniBatches) -> None:
    k = finding.window
    plain, smooth, accumulate = (
        finding.training[word].path for word in ("plain", "smooth", "accumulate")
    )
    batches = np.arange(1, len(plain) + 1)
    black = colour("SGD")
    ax.plot(batches, plain, color=black, alpha=0.4, linewidth=1, label="plain", zorder=2)
    ax.plot(batches, smooth, color=black, linestyle="", marker="o", markersize=2.6,
            label=f"smooth={k}", zorder=3)  # fmt: skip
    ax.plot(batches, accumulate, color=ACCENT, linewidth=1.8, drawstyle="steps-mid", zorder=3,
            label=f"accumulate={k}")  # fmt: skip
    _dress(ax, finding, "One of the weights", "as each batch finds it, without a unit")
    names = ("plain (line)", f"smooth={k} (dots)", f"accumulate={k}")
    ends = [(len(plain), run[-1], name) for run, name in zip((plain, smooth, accumulate), names)]
    label_ends(ax, ends, [OTHER, black, ACCENT])


def _dress(ax: Any, finding: MiniBatches, title: str, unit: str) -> None:
    ax.set_xlim(1, len(finding.training["plain"].path))
    ax.set_xlabel(f"batch of {_batch(finding):,}", color=INK)
    ax.grid(axis="y", color=GRID)
    dressed(ax, title, unit)


def _batch(finding: MiniBatches) -> int:
    return finding.gradients["balanced"].labels.shape[1]


def _word(number: int) -> str:
    return WORDS[number] if number < len(WORDS) else f"{number:,}"


FIGURES = {"mini-batches": mini_batches_figure, "accumulate-or-smooth": smoothing_figure}
