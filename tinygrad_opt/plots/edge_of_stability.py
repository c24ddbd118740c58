"""The edge of stability, drawn: sharpness that climbs to its limit and stays, losses that fall all
the same."""

from typing import Any

from tinygrad_opt.lab.edge_of_stability import EXPERIMENT, EdgeOfStability, Run
from tinygrad_opt.plots.style import ACCENT, GRID, INK, axes_of, colour, dressed, label_ends, sheet

SHADES = (1.0, 0.5)  # one optimizer at two rates


def edge_of_stability_figure(finding: EdgeOfStability, ax: Any = None) -> Any:
    """The sharpness over the steps, as a share of each training's limit, and the loss.

    Args:
        finding: of `lab.edge_of_stability`.
        ax: a pair of axes; None makes a page with title and caption.

    Returns:
        The pair of axes: `sharpness_curves` and `loss_curves`.
    """
    if ax is None:
        ax = sheet(
            EXPERIMENT.title,
            "A small tanh network tells even digits from odd ones, trained on all its images at "
            "once; each optimizer has a limit of its own.",
            edge_of_stability_caption(finding), (1.2, 1), wspace=0.2, right=0.81,
        )  # fmt: skip
    left, right = axes_of("edge_of_stability_figure", ax, 2)
    return sharpness_curves(finding, left), loss_curves(finding, right)


def edge_of_stability_caption(finding: EdgeOfStability) -> str:
    """What there is to see, in two lines."""
    starts = [100 * run.sharpness[0] / run.limit for run in finding.runs]
    late = [100 * run.late / run.limit for run in finding.runs]
    bounce = max(finding.runs, key=lambda run: run.sharpness.max() / run.limit)
    above = 100 * bounce.sharpness.max() / bounce.limit
    return (
        f"Every sharpness begins at {min(starts):.0f} to {max(starts):.0f} % of what its α can "
        f"bear, climbs there by itself, and ends at {min(late):.1f} to {max(late):.1f} % of it.\n"
        f"Beyond the limit a bowl would throw it out; the network bounces to flatter ground "
        f"({bounce.name} from {above:.0f} %), and its loss goes on falling."
    )


def sharpness_curves(finding: EdgeOfStability, ax: Any) -> Any:
    """The largest eigenvalue of the Hessian, as a share of the limit of each training."""
    for run, ink, shade in _inked(finding):
        ax.plot(run.steps, run.sharpness / run.limit, color=ink, alpha=shade, linewidth=1.3,
                label=run.name, zorder=3)  # fmt: skip
    ax.axhline(1.0, color=ACCENT, linewidth=1.4, linestyle="--", zorder=4, label="limit")
    last = max(run.steps[-1] for run in finding.runs)
    ax.set_xlim(0, last)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    unit = "largest eigenvalue of the Hessian, as a share of the limit (dashed)"
    return dressed(ax, "Sharpness climbs to the limit", unit)


def loss_curves(finding: EdgeOfStability, ax: Any) -> Any:
    """The training loss on a logarithmic axis, named at its end with the late sharpness."""
    ax.set_yscale("log")
    ends, inks = [], []
    for run, ink, shade in _inked(finding):
        ax.plot(run.loss, color=ink, alpha=shade, linewidth=1.1, label=run.name, zorder=3)
        ends.append((len(run.loss) - 1, run.loss[-1], run.name))
        inks.append(ink)
    ax.set_xlim(0, max(len(run.loss) for run in finding.runs) - 1)
    ax.set_xlabel("step", color=INK)
    ax.grid(axis="y", color=GRID)
    label_ends(ax, ends, inks)
    return dressed(ax, "The loss falls, though not at every step", "mean squared error")


def _inked(finding: EdgeOfStability) -> list[tuple[Run, str, float]]:
    """Each run with its colour and shade."""
    inked, seen = [], dict.fromkeys(colour(run.optimizer) for run in finding.runs)
    shades = {ink: iter(SHADES) for ink in seen}
    for run in finding.runs:
        ink = colour(run.optimizer)
        inked.append((run, ink, next(shades[ink], SHADES[-1])))
    return inked


FIGURES = {"edge-of-stability": edge_of_stability_figure}
