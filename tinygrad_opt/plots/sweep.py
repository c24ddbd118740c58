"""The sweep, drawn: a map over α and μ, measured in every cell, and on it the predicted coast."""

from typing import Any

import numpy as np

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.sweep import EXPERIMENT, Map, Sweep
from tinygrad_opt.plots.momentum import pace
from tinygrad_opt.plots.style import ACCENT, INK, axes_of, dressed, sheet

SHOWN = (0.0, 0.5, 0.75, 0.9, 0.97, 0.99)  # μ, where the axis is labelled
LAND = "#E7E2DB"  # where it diverges
COLOURS = "viridis_r"  # dark is slow, or a high loss


def sweep_figure(finding: Sweep, ax: Any = None) -> Any:
    """A map for each method over α and μ, and the first once more over α / (1 - μ).

    Args:
        finding: of `lab.sweep` or `lab.sweep.sweep_digits`.
        ax: axes, one for each method and one more; None makes a page with title and caption.

    Returns:
        The axes, a list.

    Raises:
        ValueError: another number of axes.
    """
    maps = list(finding.maps.values())
    if ax is None:
        bowl = maps[0].problem == "bowl"
        ax = sheet(
            EXPERIMENT.title + ("" if bowl else ", on handwritten digits"),
            f"A bowl with κ = {maps[0].condition:,g}: how fast each pair of α and μ is. Every cell "
            "is a run; the line is where it was predicted to diverge." if bowl else
            "Every cell is a run of the race's network; the line is the limit of a bowl as sharp "
            "as its loss was at first.",
            sweep_caption(finding), [1] * (len(maps) + 1), width=4.2 * (len(maps) + 1) + 1.4,
            height=5.8, wspace=0.16, left=0.05, right=0.99,
        )  # fmt: skip
        _make_room(ax)
    axes = axes_of("sweep_figure", ax, len(maps) + 1)
    values = np.concatenate([shown(made)[~made.diverged] for made in maps])
    values = values[(values > 0) & np.isfinite(values)]  # what a logarithm can show
    low, high = (values.min(), values.max()) if len(values) else (1.0, 10.0)
    high = max(high, 1.01 * low)
    for made, place in zip(maps, axes):
        draw_map(made, place, (low, high))
        dressed(place, made.method[0].upper() + made.method[1:], "momentum μ")
    mesh = draw_map(maps[0], axes[-1], (low, high), fair=True)
    dressed(axes[-1], f"{maps[0].method[0].upper()}{maps[0].method[1:]}, at equal α/(1-μ)",
            "momentum μ")  # fmt: skip
    _bar(axes, mesh, maps[0])
    return axes


def shown(made: Map) -> np.ndarray:
    """What colours a cell: steps a decimal digit of the error, or the training loss in nats."""
    return made.loss if made.shrink is None else np.vectorize(pace)(made.shrink)


def draw_map(made: Map, ax: Any, ends: tuple[float, float], fair: bool = False) -> Any:
    """The cells of one map, the curve and the fastest cell; over α, or α / (1 - μ) if `fair`.
    Gives the mesh, for a colour bar."""
    from matplotlib.colors import ListedColormap, LogNorm

    memories = np.array([theory.effective_memory(mu) for mu in made.mus])
    rates, memory = _edges(made.rates), _edges(memories)
    x = np.broadcast_to(rates, (len(memory), len(rates)))
    y = np.broadcast_to(memory[:, None], x.shape)
    middles = np.sqrt(memory[1:] * memory[:-1])
    limits, (row, column) = made.limits, made.best
    best = made.rates[column]
    if fair:  # each row moves to the right by its memory
        x, limits, best = x * y, limits * memories, best * memories[row]
    ax.pcolormesh(x, y, np.ma.masked_array(made.diverged, ~made.diverged),
                  cmap=ListedColormap([LAND]))  # fmt: skip
    cells = np.ma.masked_array(shown(made), made.diverged)
    mesh = ax.pcolormesh(x, y, cells, cmap=COLOURS, norm=LogNorm(*ends))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.plot(limits, middles, color="white", linewidth=4, zorder=3)  # a rim, seen on every colour
    ax.plot(limits, middles, color=ACCENT, linewidth=2, zorder=4, label="predicted limit")
    ax.plot(best, middles[row], "*", markersize=15, markerfacecolor="white",
            markeredgecolor=INK, zorder=5, label="the best cell")  # fmt: skip
    ticks = [mu for mu in SHOWN if made.mus[0] <= mu <= made.mus[-1] + 1e-9]
    ax.set_yticks([theory.effective_memory(mu) for mu in ticks], [f"{mu:g}" for mu in ticks])
    ax.minorticks_off()
    ax.set_ylim(memory[0], memory[-1])
    ax.set_xlim(x.min(), x.max())
    decades = [10.0**n for n in range(-6, 7) if x.min() <= 10.0**n <= x.max()]
    ax.set_xticks(decades, [f"{tick:g}" for tick in decades])
    of = " of the largest curvature" if made.problem == "bowl" else ""
    ax.set_xlabel(("α / (1 - μ)" if fair else "learning rate α")
                  + (", in units of 1/L" if of else ""), color=INK)  # fmt: skip
    if not fair and made.diverged.any():
        height = 0.035 if made.problem == "bowl" else 0.95  # there is most of it
        ax.text(0.98, height, "diverges", transform=ax.transAxes, ha="right", va="center",
                fontsize=9.5, color=INK, zorder=5)  # fmt: skip
    return mesh


def _edges(middles: np.ndarray) -> np.ndarray:
    """The borders of cells around positive numbers, on a logarithmic axis."""
    log = np.log(middles)
    inner = (log[1:] + log[:-1]) / 2
    return np.exp([2 * log[0] - inner[0], *inner, 2 * log[-1] - inner[-1]])


def _make_room(axes: list[Any]) -> None:
    """For the colour bar, to the right of the last axes."""
    axes[0].figure.subplots_adjust(right=0.91)


def _bar(axes: list[Any], mesh: Any, made: Map) -> None:
    last = axes[-1]
    beside = last.inset_axes([1.05, 0, 0.045, 1])
    bar = last.figure.colorbar(mesh, cax=beside)
    bar.outline.set_visible(False)
    low, high = mesh.get_clim()
    ticks = [digit * 10.0**n for n in range(-6, 7) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    bar.set_ticks(ticks, labels=[f"{tick:,g}" for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    beside.tick_params(colors=INK, labelsize=9)
    unit = "training\nloss, nats" if made.shrink is None else "steps a decimal\ndigit of the error"
    beside.set_title(unit, loc="left", fontsize=9, color=INK, pad=6)
    beside.invert_yaxis()  # what is good is up


def sweep_caption(finding: Sweep) -> str:
    """What there is to see, in two lines."""
    made = next(iter(finding.maps.values()))
    row, column = made.best
    mu, lr = made.mus[row], made.rates[column]
    fair = (
        "On the right, over α/(1-μ), the colours of small rates stand upright: there μ makes no "
        "difference."
    )
    if made.shrink is not None:
        assert made.condition is not None
        best_lr, best_mu, _ = theory.best_heavy_ball(1 / made.condition, 1.0)
        predicted = (f" (predicted: {best_mu:.2f} and {best_lr:.2f})"
                     if made.method == "heavy ball" else "")  # fmt: skip
        wrong = sum(made.wrong_side()[0] for made in finding.maps.values())
        judged = sum(made.wrong_side()[1] for made in finding.maps.values())
        return (
            f"Of {judged:,} cells more than 3 % from the line, {wrong} are on the wrong side of "
            f"it. The fastest, the star, has μ = {mu:.2f} and α = {lr:.2f}{predicted}: "
            f"{100 * lr / made.limits[row]:.0f} % of its limit.\n{fair}"
        )
    edge = [made.rates[np.argmin(losses)] for losses in made.loss]
    wrong, judged = made.wrong_side()
    return (
        f"The lowest loss, the star, is {made.loss[row, column]:.2g} nats, at μ = {mu:.2f} and "
        f"α = {lr:.2g}. The best α falls from {edge[0]:.2g} at μ = {made.mus[0]:g} to "
        f"{edge[-1]:.2g} at μ = {made.mus[-1]:.2f}.\nOf a network the line is only a guide: "
        f"{wrong} of {judged} cells are on its wrong side. Over α/(1-μ), on the right, the good "
        "rates stand upright."
    )


FIGURES = {"sweep": sweep_figure}
