"""Rates, drawn: a heat map of all weights over time, one weight whose gradient falls, Adam's first
steps, and the example in which Adam goes the wrong way."""

from typing import Any

import numpy as np

from tinygrad_opt.lab import theory
from tinygrad_opt.lab.adaptive_rates import BETA1, BETA2, EXPERIMENT, RULES, AdaptiveRates
from tinygrad_opt.plots.style import (
    ACCENT,
    GRID,
    INK,
    PAPER,
    axes_of,
    colour,
    dressed,
    label_ends,
    sheet,
)

UNSEEN = "#F2F2F2"  # a weight whose feature was not there yet


# ---- the heat map --------------------------------------------------------------------------------


def rates_figure(finding: AdaptiveRates, ax: Any = None) -> Any:
    """The rate of every weight (up: the frequent ones) over the steps (to the right), a panel an
    optimizer, in one logarithmic scale of colours.

    Args:
        finding: of `lab.adaptive_rates`.
        ax: four axes, three panels and one for the scale; None makes a page with title and
            caption.

    Returns:
        The four axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "A linear model that sees one sample a step. Each row is a weight; the feature of the "
            "lowest is there once in 200 samples.",
            rates_caption(finding), (1, 1, 1, 0.05), wspace=0.16, left=0.09, right=0.93,
        )  # fmt: skip
    axes = axes_of("rates_figure", ax, 4)
    *panels, scale = axes
    shades, norm = _shades(finding)
    rows = np.arange(len(finding.often) + 1)
    for n, (each, (name, run)) in enumerate(zip(panels, finding.learnt.items(), strict=True)):
        steps = np.arange(len(run.rates) + 1)
        mesh = each.pcolormesh(steps, rows, run.rates.T, norm=norm, cmap=shades, rasterized=True)
        each.set_facecolor(UNSEEN)
        each.invert_yaxis()
        often = (1.0, 0.1, 0.01)
        places = np.interp(np.log(often), np.log(finding.often[::-1]), rows[:-1][::-1] + 0.5)
        each.set_yticks(places, ["always", "1 in 10", "1 in 100"] if not n else [])
        each.set_xlabel("step", color=INK)
        dressed(each, f"{name}, α = {run.lr:g}", "" if n else "how often the feature is there")
    page = scale.figure
    bar = page.colorbar(mesh, cax=scale)
    bar.set_label("rate: weight change per unit of gradient", color=INK)
    bar.outline.set_visible(False)
    scale.tick_params(colors=INK, labelsize=9.5)
    return tuple(axes)


def _shades(finding: AdaptiveRates) -> tuple[Any, Any]:
    """The colours, and the scale: all but the most extreme rates fit in."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    rates = np.concatenate([run.rates.ravel() for run in finding.learnt.values()])
    low, high = np.nanquantile(rates, (0.005, 0.995))
    return colormaps["viridis"].with_extremes(bad=UNSEEN), LogNorm(low, high)


def rates_caption(finding: AdaptiveRates) -> str:
    """What there is to see, in two lines."""
    often, last = finding.often, {name: run.rates[-1] for name, run in finding.learnt.items()}
    seen = np.isfinite(last["Adagrad"])
    rare, common = seen & (often < 0.03), seen & (often > 0.3)
    times = np.median(last["Adagrad"][rare]) / np.median(last["Adagrad"][common])
    return (
        f"Adagrad: every row darkens, for a rate only ever shrinks; rare features keep "
        f"{times:.1f} times the rate of frequent ones.\n"
        "RMSProp forgets, and Adam more slowly: a row brightens until its feature comes again, and "
        "darkens then. Pale: not there yet."
    )


# ---- one gradient, known -------------------------------------------------------------------------


def response_figure(finding: AdaptiveRates, ax: Any = None) -> Any:
    """The rate of one weight when its gradient falls a hundredfold, and the length of Adam's first
    steps; formulas dotted.

    Args:
        finding: of `lab.adaptive_rates`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes.
    """
    if ax is None:
        ax = sheet(
            "Who remembers, and for how long",
            "One weight whose gradient is known. Lines: by how it moves; dots: by formula.",
            response_caption(finding), (1.1, 1), wspace=0.5, left=0.07, right=0.97,
        )  # fmt: skip
    left, right = axes_of("response_figure", ax, 2)
    left.set_yscale("log")
    ends = []
    for name in RULES:
        rates, steps = finding.responses[name], np.arange(1, len(finding.gradients) + 1)
        left.plot(steps, rates, color=colour(name), linewidth=1.8, label=name, zorder=3)
        left.plot(steps[::50], finding.predicted[name][::50], color=INK, linestyle="", marker=".",
                  markersize=4, label=f"{name}, predicted", zorder=4)  # fmt: skip
        ends.append((float(steps[-1]), float(rates[-1]), name))
    falls = int((finding.gradients == finding.gradients[0]).sum())
    left.axvline(falls, color=ACCENT, linewidth=1, linestyle=":", zorder=1)
    left.text(falls + 6, 0.98, f"here the gradient falls\nto {finding.gradients[-1]:g} of what it "
              "was", color=ACCENT, fontsize=9, va="top", transform=left.get_xaxis_transform(),
              bbox=PAPER)  # fmt: skip
    left.set_xlim(0, len(finding.gradients))
    left.set_xlabel("step", color=INK)
    left.grid(axis="y", color=GRID)
    label_ends(left, ends)
    dressed(left, "A rate that recovers, or does not", "weight change per unit of gradient")

    right.set_xscale("log")
    for word, style in (("corrected", "-"), ("uncorrected", (0, (4, 1.5)))):
        lengths = finding.first_steps[word]
        right.plot(np.arange(1, len(lengths) + 1), lengths, color=colour("Adam"), linewidth=1.8,
                   linestyle=style, label=word, zorder=3)  # fmt: skip
    at = np.unique(np.geomspace(1, len(lengths), 12).astype(int))
    right.plot(at, [theory.uncorrected_adam_step(1.0, BETA1, BETA2, t) for t in at], color=INK,
               linestyle="", marker=".", markersize=4, label="uncorrected, predicted", zorder=4)
    top = int(np.argmax(lengths))
    right.text(1.1, 1.15, "with the bias correction: α from the first step on", fontsize=9.5,
               color=INK, va="bottom", bbox=PAPER)  # fmt: skip
    right.text(top + 1, lengths[top] + 0.15, "without", fontsize=9.5, color=INK, ha="center",
               va="bottom")  # fmt: skip
    right.set_xlim(1, len(lengths))
    right.set_ylim(0, lengths[top] + 0.9)
    right.set_xlabel("step", color=INK)
    right.grid(axis="y", color=GRID)
    dressed(right, "What Adam's bias correction corrects", "length of a step, in units of α")
    return left, right


def response_caption(finding: AdaptiveRates) -> str:
    """What there is to see, in two lines."""
    falls = int((finding.gradients == finding.gradients[0]).sum())
    grown = {name: rates[-1] / rates[falls - 1] for name, rates in finding.responses.items()}
    lengths = finding.first_steps["uncorrected"]
    return (
        f"{len(finding.gradients) - falls:,} steps after the fall RMSProp's rate is "
        f"{grown['RMSProp']:.0f} times what it was, Adam's {grown['Adam']:.2g} times, Adagrad's "
        f"{grown['Adagrad']:.2f} times: what it has added up stays.\n"
        f"Without its correction Adam's first step is {lengths[0]:.2f} α long, and step "
        f"{np.argmax(lengths) + 1} is {lengths.max():.2f} α: a jump before it knows anything."
    )


# ---- where Adam fails ----------------------------------------------------------------------------


def stuck_figure(finding: AdaptiveRates, ax: Any = None) -> Any:
    """The weight of Adam and of AMSGrad where a rare large gradient points the right way.

    Args:
        finding: of `lab.adaptive_rates`.
        ax: axes; None makes a page with title and caption.

    Returns:
        The axes.
    """
    if ax is None:
        ax = sheet(
            "An example in which Adam goes the wrong way",
            "Gradient 1010 once in 101 steps and -10 in all others, on [-1, 1] (Reddi, Kale, Kumar "
            "2018): on average it is +0.1, so -1 is best.",
            stuck_caption(finding), left=0.06, right=0.86,
        )  # fmt: skip
    (ax,) = axes_of("stuck_figure", ax, 1)
    ends = []
    for name, path in finding.stuck.items():
        means = path.reshape(-1, 101, path.shape[1]).mean(axis=1)  # of each cycle
        cycles = np.arange(1, len(means) + 1)
        for n, start in enumerate(means.T):
            ax.plot(cycles, start, color=colour(name), linewidth=1.8, zorder=3,
                    label=name if not n else f"{name}, start {n + 1}")  # fmt: skip
        ends.append((float(cycles[-1]), float(means[-1].mean()), name))
    for y, word in ((1, "+1, the worst weight"), (-1, "-1, the best")):
        ax.axhline(y, color="#999999", linewidth=0.9, linestyle=":", zorder=1)
        ax.text(0.99, y, word, color=INK, fontsize=9.5, ha="right", va="center", bbox=PAPER,
                transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_xlim(0, len(means))
    ax.set_ylim(-1.15, 1.15)
    ax.set_xlabel("cycles of 101 steps", color=INK)
    ax.grid(axis="y", color=GRID)
    label_ends(ax, ends)
    return dressed(ax, "Three starts each", "the weight, mean over a cycle")


def stuck_caption(finding: AdaptiveRates) -> str:
    """What there is to see, in two lines."""
    last = {name: path[-101:].mean() for name, path in finding.stuck.items()}
    return (
        f"Adam ends at {last['Adam']:+.2f} from every start: by the time the large gradient has "
        "been forgotten, the small ones get a large rate.\n"
        "AMSGrad remembers the largest mean square for ever, and ends at "
        f"{last['AMSGrad']:+.2f} on average."
    )


FIGURES = {
    "adaptive-rates": rates_figure,
    "adaptive-rates-response": response_figure,
    "adaptive-rates-stuck": stuck_figure,
}
