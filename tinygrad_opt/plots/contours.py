"""Three landscapes drawn by their contours, and the ways that optimizers took over them: as a
picture, and moving."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt.files import replacing
from tinygrad_opt.lab.contours import EXPERIMENT, LANDSCAPES, Contours, Landscape
from tinygrad_opt.lab.contours import Path as Way
from tinygrad_opt.plots.style import ACCENT, INK, axes_of, colour, sheet

GROUND = "#FFFFFF", "#B9C5D2"  # low and high
FRAMES = 80  # of the moving picture, at most, besides each of the first steps
TIME, PAUSE = 80, 2000  # milliseconds for a frame, and for the last
LETTER = 0.024  # the width of a letter, as a share of the axes
SIZE = 100  # of the moving picture, in dots an inch


def contours_figure(finding: Contours, ax: Any = None) -> Any:
    """The ways on each landscape from the start (a ring) towards the minimum (a star).

    Args:
        finding: of `lab.contours`.
        ax: three axes; None makes a page with title and caption.

    Returns:
        The three axes, in the order of `LANDSCAPES`.
    """
    axes = _page(finding, contours_caption(finding)) if ax is None else ax
    axes = axes_of("contours_figure", axes, len(LANDSCAPES))
    for each, (key, ways) in zip(axes, finding.paths.items()):
        _ground(each, LANDSCAPES[key])
        for way in ways:
            _line(each, way, way.weights)
        _names(each, LANDSCAPES[key], ways)
        _standings(each, sorted(ways, key=_arrival), finding.steps)
    return tuple(axes)


def contours_caption(finding: Contours) -> str:
    """What there is to see, in two lines."""
    valley, saddle = finding.paths["rosenbrock"], finding.paths["saddle"]
    there = [way for way in valley if way.arrived is not None]
    names = " and ".join(way.name for way in there) or "nobody"
    fastest = min(saddle, key=lambda way: (way.arrived is None, way.arrived))
    return (
        f"In the valley {names} {'reach' if len(there) > 1 else 'reaches'} the minimum in "
        f"{finding.steps} steps; from the ridge of the saddle {fastest.name} is down first.\n"
        "The first step of Adagrad and of Adam has the length α along x and along y, however steep "
        "it is there; that of SGD goes by the slope."
    )


def contours_animation(finding: Contours, path: Path | str) -> None:
    """The race as a GIF of eight seconds, the steps at the beginning slower than at the end.

    The optimizers are listed in the order in which they were given: who wins shows at the end.

    Args:
        finding: of `lab.contours`.
        path: of the file that is written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    axes = _page(finding, "")
    figure = axes[0].figure
    figure.set_dpi(SIZE)
    clock = figure.text(0.022, 0.075, "", fontsize=13, weight="bold", color=INK)
    moving, heads, words = [clock], list[tuple](), list[tuple]()
    for each, (key, ways) in zip(axes, finding.paths.items()):
        moving += _ground(each, LANDSCAPES[key])  # they stay, but the lines go below them
        heads += [(way, *_line(each, way, way.weights[:1])) for way in ways]
        words += zip(ways, _standings(each, ways, 0))
    moving += [artist for _, *line_and_head in heads for artist in line_and_head]
    moving += [text for _, text in words]
    moving.sort(key=lambda artist: artist.zorder)
    for artist in moving:
        artist.set_animated(True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    frames = []
    for step in _moments(finding.steps):
        clock.set_text(f"step {step}")
        for way, line, head in heads:
            line.set_data(*way.weights[: step + 1].T)
            head.set_data(*way.weights[step : step + 1].T)
        for way, text in words:
            text.set_text(_standing(way, step))
        canvas.restore_region(still)
        for artist in moving:
            figure.draw_artist(artist)
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    palette = _palette(frames[-1], [ACCENT, INK, *(colour(way.name) for way, *_ in heads)])
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with replacing(path) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0,
                       duration=[TIME] * (len(frames) - 1) + [PAUSE])  # fmt: skip


def _moments(steps: int) -> list[int]:
    """The steps that are shown: each of the first, then ever fewer."""
    curve = steps * np.linspace(0, 1, FRAMES) ** 2.5
    return sorted({*range(min(steps, 12) + 1), *np.rint(curve).astype(int).tolist()})


def _palette(picture: Any, exact: Sequence[str]) -> Any:
    """An image of the 256 colours of a GIF: those of the picture, and before them the exact ones,
    each full and, for its edges, half white. A star has few pixels: the picture's own choice of
    colours forgets it."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    first = [round(255 * (1 - share + share * part)) for each in dict.fromkeys(exact)
             for share in (1, 0.5) for part in to_rgb(each)]  # fmt: skip
    rest = picture.quantize(128, dither=Image.Dither.NONE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette((first + rest)[: 3 * 256])
    return palette


# ---- parts ---------------------------------------------------------------------------------------


def _page(finding: Contours, caption: str) -> tuple[Any, ...]:
    lowest = f"{finding.rates[0]:g} to {finding.rates[-1]:g}"
    return tuple(sheet(
        EXPERIMENT.title,
        f"{finding.steps} steps from the ring to the star; each optimizer at its own best rate α, "
        f"of {len(finding.rates)} from {lowest}, by {finding.starts} starts near this one.",
        caption, (1, 1, 1), width=11.5, height=6.9, wspace=0.17, left=0.038, right=0.985,
        bottom=2.5,
    ))  # fmt: skip


def _ground(ax: Any, landscape: Landscape) -> list[Any]:
    """The landscape, and on it the marks of its minima and of the start, which are returned."""
    from matplotlib.colors import LinearSegmentedColormap

    left, right, bottom, top = landscape.frame
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
    height = landscape.f(x, y) - landscape.lowest
    levels = np.geomspace(max(height.max() * 1e-5, 1e-3), height.max(), 10)
    grey = LinearSegmentedColormap.from_list("ground", GROUND)
    log = np.log(np.maximum(height, levels[0]))
    ax.contourf(x, y, log, np.log(levels), cmap=grey, extend="both", zorder=0)
    ax.contour(x, y, log, np.log(levels), colors="white", linewidths=0.6, linestyles="solid",
               zorder=1)  # fmt: skip
    marks = []
    for place in landscape.minima:
        marks += ax.plot(*place, marker="*", markersize=12, color=ACCENT, markeredgecolor="white",
                         linestyle="", zorder=9, label="minimum")  # fmt: skip
    marks += ax.plot(*landscape.start, marker="o", markersize=8, markerfacecolor="white",
                     markeredgecolor=INK, markeredgewidth=1.5, linestyle="", zorder=6,
                     label="start")  # fmt: skip
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_title(landscape.name, loc="left", fontsize=11.5, weight="bold", color=INK, pad=22)
    ax.annotate(landscape.formula, (0, 1), (0, 7.5), xycoords="axes fraction",
                textcoords="offset points", fontsize=8.5, color=INK)  # fmt: skip
    ax.spines[:].set_visible(False)
    ax.tick_params(colors=INK, labelsize=8.5, length=0)
    return marks


def _line(ax: Any, way: Way, weights: np.ndarray) -> tuple[Any, Any]:
    """The way so far in the optimizer's colour on a white rim, and where it is."""
    from matplotlib.patheffects import Normal, Stroke

    rim = [Stroke(linewidth=3.4, foreground="white"), Normal()]
    (line,) = ax.plot(*weights.T, color=colour(way.name), linewidth=1.7, label=way.name, zorder=4,
                      path_effects=rim, solid_joinstyle="round")  # fmt: skip
    (head,) = ax.plot(*weights[-1:].T, color=colour(way.name), marker="o", markersize=6,
                      markeredgecolor="white", linestyle="", zorder=7)  # fmt: skip
    return line, head


def _names(ax: Any, landscape: Landscape, ways: Sequence[Way]) -> None:
    """Each way's name beside it, where the other ways and names are farthest."""
    from matplotlib.patheffects import withStroke

    left, right, bottom, top = landscape.frame
    low, size = np.array([left, bottom]), np.array([right - left, top - bottom])
    marks = np.array([landscape.start, *landscape.minima])
    lines = [_along((way.weights - low) / size) for way in ways]
    taken = [(marks - low) / size]
    for n, way in enumerate(ways):
        near = [np.concatenate(taken), np.concatenate([*lines[:n], *lines[n + 1 :], taken[0]])]
        best = -1.0
        for side, above in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            share = np.linspace(0, LETTER * len(way.name), 7)
            words = np.column_stack([side * (0.02 + share), np.full(7, 0.04 * above)])
            words = lines[n][:, None] + words  # (places, 7, 2)
            inside = ((words > 0.02) & (words < 0.98)).all(axis=(1, 2))
            if inside.any():
                to_names, to_lines = (
                    np.hypot(*(words[inside][:, :, None] - each).T).min(axis=(0, 1))
                    for each in near
                )
                gaps = np.minimum(to_names / 3, to_lines)  # over a line a name can be read
                if gaps.max() > best:
                    best, there = gaps.max(), np.flatnonzero(inside)[gaps.argmax()]
                    chosen = (lines[n][there], side, above, words[there])
        if best < 0:
            continue
        here, side, above, words = chosen
        ax.annotate(
            way.name, here, (here[0] + 0.02 * side, here[1] + 0.04 * above), va="center",
            xycoords="axes fraction", ha="left" if side > 0 else "right", fontsize=9, zorder=8,
            weight="bold", color=colour(way.name),
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
        taken.append(words)


def _along(points: np.ndarray) -> np.ndarray:
    """Points at even distances along a way, however long its steps are."""
    points = points[np.isfinite(points).all(axis=1)]
    gone = np.concatenate([[0.0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    at = np.linspace(0, gone[-1], 200)
    return np.column_stack([np.interp(at, gone, column) for column in points.T])


def _standing(way: Way, step: int) -> str:
    if way.arrived is not None and way.arrived <= step:
        return f"in {way.arrived} steps"
    return f"{way.away[step]:.2g} away" if way.away[step] < 1000 else "far away"


def _arrival(way: Way) -> tuple:
    """Who has arrived comes first, the soonest before all; then who is nearest in the end."""
    return way.arrived is None, way.arrived, way.away[-1]


def _standings(ax: Any, ways: Sequence[Way], step: int) -> list[Any]:
    """Below the axes a line for each optimizer: its name, its α and where it is at that step, the
    texts of which are returned."""
    texts = []
    for row, way in enumerate(ways):
        at = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center",
              "fontsize": 9, "color": INK, "annotation_clip": False}  # fmt: skip
        down = -34 - 14.5 * row
        ax.annotate("●", (0, 0), (0, down), **{**at, "color": colour(way.name)})
        ax.annotate(way.name, (0, 0), (13, down), **at)
        ax.annotate(f"α = {way.lr:g}", (0.52, 0), (0, down), **at)
        texts += [ax.annotate(_standing(way, step), (1, 0), (0, down), ha="right", **at)]
    return texts


FIGURES = {"contours": contours_figure}
ANIMATIONS = {"contours": contours_animation}
