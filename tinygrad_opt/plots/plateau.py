"""The plateau, drawn: losses that fall together and stop at different floors, each on its line of
dots, where it was predicted to."""

from collections.abc import Mapping
from typing import Any

from tinygrad_opt.lab.plateau import EXPERIMENT, Plateau, Run
from tinygrad_opt.plots.style import ACCENT, GRID, INK, axes_of, colour, dressed, label_ends, sheet

SHADES = (1.0, 0.6, 0.35)  # one optimizer at several rates


def plateau_figure(finding: Plateau, ax: Any = None) -> Any:
    """Loss over steps: on the left one optimizer at several rates, on the right with momentum.

    Args:
        finding: of `lab.plateau`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "A weight on a noisy bowl ½w², the mean over many that run side by side; dotted: where "
            "the loss is predicted to stop.",
            plateau_caption(finding), (1, 1), wspace=0.62, right=0.86,
        )  # fmt: skip
    left, right = axes_of("plateau_figure", ax, 2)
    runs = finding.runs
    momenta = {key: run for key, run in runs.items() if key.startswith("mu=")}
    _curves(left, {key: runs[key] for key in ("rate", "half", "quarter", "schedule")})
    dressed(left, "A smaller rate has a lower floor", "loss ½w², without a unit")
    _curves(right, {"rate": runs["rate"], **momenta, "fair": runs["fair"]})
    dressed(right, "At the same α, momentum raises it", "loss ½w², without a unit")
    return left, right


def plateau_caption(finding: Plateau) -> str:
    """What there is to see, in two lines."""
    runs = finding.runs
    rate, half = runs["rate"], runs["half"]
    raised = max((run for key, run in runs.items() if key.startswith("mu=")), key=lambda r: r.mu)
    last = len(rate.loss) // 3
    base = rate.measured(last)
    return (
        f"Every loss falls fast and then stops. Half the rate halves the floor "
        f"({half.measured(last) / base:.2f} of it); the schedule (red) sees the plateau, halves α, "
        f"and leaves it.\nμ = {raised.mu:g} at the same α stops "
        f"{raised.measured(last) / base:.1f} times as high; with α / (1 - μ) kept, it stops where "
        f"SGD does."
    )


def _curves(ax: Any, runs: Mapping[str, Run]) -> None:
    ax.set_yscale("log")
    shades = iter(SHADES)
    ends, colours = [], []
    for key, run in runs.items():
        ink = ACCENT if key == "schedule" else colour(run.optimizer)
        shade = next(shades) if ink == colour("SGD") else 1.0
        ax.plot(run.loss, color=ink, alpha=shade, linewidth=1.4, label=run.name, zorder=3)
        ax.axhline(run.floor, color=ink, linestyle=":", linewidth=1.1, zorder=2,
                   label=f"{run.name}, predicted")  # fmt: skip
        name = run.name.replace("SGD, α from", "α from").replace(", halved on plateaus", ", halved")
        ends.append((len(run.loss) - 1, run.floor, name))
        colours.append(ink)
    ax.set_xlim(0, len(run.loss) - 1)
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    label_ends(ax, ends, colours)


FIGURES = {"plateau": plateau_figure}
