"""What optimizers hold, drawn: a bar an optimizer, on the base of the weights and gradients that
all need, a piece for each vector that it remembers."""

from typing import Any

from tinygrad_opt.lab.memory import EXPERIMENT, FLOAT, MB, Held, MemoryFinding
from tinygrad_opt.plots.style import GRID, INK, axes_of, colour, dressed, sheet

BASE = "#D9D9D9"  # weights and gradients: no optimizer's
NOTED = {"Nesterov": "Nesterov, while it looks ahead", "ScheduleFree": "ScheduleFree, after eval()",
         "SAM around SGD": "SAM, while it stands uphill"}  # fmt: skip


def memory_figure(finding: MemoryFinding, ax: Any = None) -> Any:
    """Bytes a weight under each optimizer, sorted, and above them the megabytes of all weights.

    Args:
        finding: of `lab.memory`.
        ax: axes; None makes a page with title and caption.

    Returns:
        The axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            f"Bytes held for {finding.weights:,} weights (float32) after a few steps, as traced. "
            "Grey: weights and gradients; dashed: for a while only.",
            memory_caption(finding), height=2.9 + 0.25 * len(finding.held), left=0.19,
            right=0.97,
        )  # fmt: skip
    (ax,) = axes_of("memory_figure", ax, 1)
    rows = sorted(finding.held.values(), key=lambda each: each.held)
    for y, each in enumerate(rows):
        _bar(ax, y, each, finding)
    ax.set_yticks(range(len(rows)), [each.name for each in rows])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.3 * max(each.base + each.held for each in rows) / finding.weights)
    ax.set_xlabel("bytes a weight", color=INK)
    ax.grid(axis="x", color=GRID)
    dressed(ax, "", "")
    ax.spines["left"].set_visible(False)
    scale = finding.weights / MB
    top = ax.secondary_xaxis("top", functions=(lambda x: x * scale, lambda x: x / scale))
    top.set_xlabel(f"MB for {finding.weights:,} weights", color=INK)
    top.tick_params(colors=INK, labelsize=9.5)
    top.spines["top"].set_visible(False)
    return ax


def _bar(ax: Any, y: int, each: Held, finding: MemoryFinding) -> None:
    base, held = each.base / finding.weights, each.held / finding.weights
    ax.barh(y, base, 0.72, color=BASE, zorder=2)
    ink, left = colour(each.name.partition(",")[0].replace("-", "")), base
    while held - (left - base) > 1e-3:  # the white edge parts the vectors
        wide = min(FLOAT, base + held - left)
        ax.barh(y, wide, 0.72, left=left, color=ink, edgecolor="white", zorder=2,
                linewidth=1.2 if wide > 0.5 else 0)  # fmt: skip
        left += wide
    if occasion := NOTED.get(each.name):
        extra = finding.for_a_while[occasion] / finding.weights
        ax.barh(y, extra, 0.6, left=left, color="none", edgecolor=ink, linestyle="--",
                linewidth=1.2, zorder=2)  # fmt: skip
        left += extra
    words = ", ".join(each.remembers) or "nothing"
    if occasion:
        words += f"; {occasion.partition(', ')[2]} one vector more"
    ax.text(left + 0.25, y, words, va="center", fontsize=9, color=INK, zorder=3,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


def memory_caption(finding: MemoryFinding) -> str:
    """What there is to see, in two lines."""
    adam, momentum = (finding.held[name] for name in ("Adam", "Momentum"))
    share = adam.held / (adam.base + adam.held)
    small = max(each.temporary for each in finding.held.values()
                if not each.whole_tensors and each.vectors == 2)  # fmt: skip
    return (
        f"Momentum adds {momentum.held / MB:.0f} MB to the {momentum.base / MB:.0f} MB of weights "
        f"and gradients, Adam {adam.held / MB:.0f} MB: {100 * share:.0f} % of a training with Adam "
        f"is its memory.\nA step of an elementwise rule with two vectors takes at most "
        f"{small / MB:.1f} MB on top, for it goes block by block. All of it lasts only as long as "
        "the training."
    )


FIGURES = {"memory": memory_figure}
