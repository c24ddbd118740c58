"""How a figure is drawn: every optimizer in one colour wherever it is drawn, its name at the end of
its line, a title that says the subject and a sentence below that says what to see."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.files import replacing

# A hue for each family, a lightness for each of its members. Those that one compares most have the
# colours of Okabe and Ito (2008), which are apart for every kind of colour vision; twenty-five
# cannot all be, so that every line bears its name.
COLOURS = {
    "SGD": "#000000",
    "Momentum": "#0072B2",
    "Momentum μ=0.75": "#56B4E9",
    "Momentum μ=0.9": "#0072B2",
    "Momentum μ=0.99": "#0B3C78",
    "Nesterov": "#009E73",
    # averages and wrappers: olive
    "ASGD": "#9ECC5C",
    "ScheduleFree": "#608913",
    "Lookahead": "#86AE64",
    "SAM": "#595300",
    # a rate for each weight: yellow to brown
    "Adagrad": "#85611C",
    "RMSProp": "#E69F00",
    "Adadelta": "#E5C287",
    "Rprop": "#C48A2D",
    # Adam and its kin: red
    "Adam": "#D55E00",
    "AMSGrad": "#FFA7B4",
    "AdamW": "#9F2C40",
    "Adamax": "#6C3326",
    "NAdam": "#64001D",
    "RAdam": "#E46D8D",
    "Lion": "#AA5A54",
    # whole tensors: violet
    "LARS": "#C692BE",
    "LAMB": "#A574A9",
    "Adafactor": "#4D2F5D",
    "Muon": "#513999",
    "LBFGS": "#68578C",
}
OTHER = "#777777"
ACCENT = "#882255"  # for what is no optimizer: a schedule, a limit, a prediction
INK = "#333333"
GRID = "#E6E6E6"
BENT = "arc,angleA=180,armA=7,rad=0"  # level where it leaves the name
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # behind words, over the grid


def colour(name: str) -> str:
    """The colour of an optimizer: its own, else its family's (the first word), else grey."""
    return COLOURS.get(name) or COLOURS.get(name.partition(" ")[0]) or OTHER


# ---- the sheet -----------------------------------------------------------------------------------


def figure(width: float, height: float, right: float = 0.96) -> Any:
    """An empty figure of that size in inches, which belongs to no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, facecolor="white")
    figure.subplots_adjust(left=0.11, right=right, top=0.86, bottom=0.12)
    return figure


def sheet(
    title: str, says: str, caption: str, columns: Sequence[float] = (1,), *, width: float = 11.5,
    height: float = 5.6, wspace: float = 0.44, left: float = 0.06, right: float = 0.97,
    bottom: float = 1.32,
) -> list[Any]:  # fmt: skip
    """Axes side by side on a page of their own.

    Args:
        title: the subject, in bold at the top.
        says: under it, in a sentence, what is drawn.
        caption: below the axes, what there is to see; at most two lines.
        columns: the widths of the axes in proportion.
        width, height: of the page, in inches.
        wspace, left, right: the room between the axes and beside them, as in `subplots_adjust`.
        bottom: the room below the axes, in inches.
    """
    page = figure(width, height)
    axes = page.subplots(1, len(columns), width_ratios=columns, squeeze=False)[0]
    page.subplots_adjust(left=left, right=right, top=1 - 1.32 / height, bottom=bottom / height,
                         wspace=wspace)  # fmt: skip
    texts: tuple[tuple[float, str, dict], ...] = (
        (height - 0.28, title, {"fontsize": 15, "weight": "bold"}),
        (height - 0.59, says, {"fontsize": 10.5}),
        (0.48, caption, {"fontsize": 10.5, "linespacing": 1.5}),
    )
    for y, text, style in texts:
        page.text(0.25 / width, y / height, text, color=INK, va="center", **style)
    return list(axes)


def axes_of(figure: str, ax: Any, count: int) -> list[Any]:
    """What a figure was given as `ax`, one by one. ValueError, naming the figure, unless they are
    so many axes: one alone, or some in a list, tuple or array."""
    found = np.ravel(np.array(ax, dtype=object)).tolist()
    strange = [each for each in found if not hasattr(each, "get_position")]
    if strange or len(found) != count:
        given = repr(strange[0]) if strange else len(found)
        raise ValueError(f"{figure}: ax is {count} axes, not {given}")
    return found


def save(ax: Any, path: Path | str) -> None:
    """The figure of these axes as a PNG of 256 colours, which is a third of the size of all; a
    picture that is there already is replaced by all of it or stays."""
    import io

    from PIL import Image

    drawn = io.BytesIO()
    ax.figure.savefig(drawn, format="png")
    with Image.open(drawn) as picture, replacing(path) as file:
        picture.convert("RGB").quantize(256).save(file, "PNG", optimize=True)


# ---- axes ----------------------------------------------------------------------------------------


def dressed(ax: Any, title: str, unit: str) -> Any:
    """The axes with their title, with what is up the y axis under it, and without a box."""
    ax.set_title(title, loc="left", fontsize=11.5, weight="bold", color=INK, pad=22)
    ax.annotate(unit, (0, 1), (0, 7.5), xycoords="axes fraction", textcoords="offset points",
                fontsize=9.5, color=INK)  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(colors=INK, labelsize=9.5)
    ax.set_axisbelow(True)
    return ax


def label_ends(
    ax: Any, ends: Sequence[tuple[float, float, str]], colours: Sequence[str] | None = None,
    places: Sequence[float] | None = None,
) -> None:  # fmt: skip
    """The name of each line that ends at (x, y) beside the axes, with a fine line that leads there;
    the names are moved apart where they would overlap. `colours` are those of the optimizers whose
    names they are, and `places`, in shares of the axes' height, as near as can be, unless given."""
    size = 9.5
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    height = ax.get_position().height * ax.figure.get_figheight() * 72  # points
    if places is None:
        there = [float(to_axes.transform((x, y))[1]) for x, y, _ in ends]
        places = spread(there, 1.5 * size / height)
    colours = colours or [colour(name) for _, _, name in ends]
    for (x, y, name), ink, place in zip(ends, colours, places):
        ax.annotate(
            name, (x, y), (1.05, place), textcoords="axes fraction", va="center", color=INK,
            fontsize=size, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 1.2, "shrinkA": 1,
                        "shrinkB": 0, "relpos": (0, 0.5), "connectionstyle": BENT},
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
