"""What the lab found as a folder: one table of claims, a chapter an experiment, and its pictures.

    report.write(lab.run(jobs=2), Path("lab"))

writes `report.md`, `claims.json`, a PNG a figure, and a GIF where something moves.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.files import write_text
from tinygrad_opt.lab import claims
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.lab.experiments import chosen_experiments, experiments
from tinygrad_opt.plots.style import save

Found = Mapping[str, tuple[Finding, float]]  # by key: what was found, and the seconds it took


def figures(experiment: Experiment, kind: str = "FIGURES") -> dict[str, Callable[..., Any]]:
    """The experiment's figures by the names of their files, each a function of its Finding; with
    the kind "ANIMATIONS" those that move, functions of the Finding and a path."""
    name = experiment.run.__module__.rpartition(".")[2]
    return getattr(importlib.import_module(f"tinygrad_opt.plots.{name}"), kind, {})


def write(found: Found, out: Path | str, seed: int = 0) -> list[Path]:
    """Write the folder `out`, which is made if it is not there, and give the paths of its files.
    A file that is there already is replaced by all of the new one, or stays.

    ValueError, before anything is written, for a key that no experiment has.
    """
    known, out = chosen_experiments(found), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    # First, so that they are not lost should a picture fail.
    paths = [write_text(out / "claims.json", as_json(found, seed))]
    for key, (finding, _) in found.items():
        for stem, draw in figures(known[key]).items():
            ax = draw(finding)
            paths.append(out / f"{stem}.png")
            save(ax[0] if isinstance(ax, Sequence | np.ndarray) else ax, paths[-1])
        for stem, animate in figures(known[key], "ANIMATIONS").items():
            paths.append(out / f"{stem}.gif")
            animate(finding, paths[-1])
    return [*paths, write_text(out / "report.md", markdown(found, seed))]  # it shows them all


def as_json(found: Found, seed: int) -> str:
    """The claims as JSON, which has no NaN: null stands for it."""
    from tinygrad_opt import __version__

    return strict_json({
        "version": __version__,
        "seed": seed,
        "claims": {key: [claims.as_data(claim) for claim in finding.claims]
                   for key, (finding, _) in found.items()},
    }) + "\n"  # fmt: skip


def strict_json(data: Any) -> str:
    """JSON in which null stands for NaN and infinities."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(plain(data), allow_nan=False, indent=1)


# ---- Markdown ------------------------------------------------------------------------------------


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown, the first column to the left and the others to the right."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---", *["---:"] * (len(head) - 1)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def claims_table(made: Sequence[Claim]) -> str:
    """Predicted and measured, a line a claim."""
    return markdown_table(claims.HEADINGS, claims.table(made))


def verdict(found: Found) -> str:
    """How many claims there are, and which fail."""
    made = [claim for finding, _ in found.values() for claim in finding.claims]
    failed = [claim.what for claim in made if not claim.holds]
    if not failed:
        return f"All {len(made)} claims hold."
    return f"{len(failed)} of {len(made)} claims FAIL: " + "; ".join(failed) + "."


def markdown(found: Found, seed: int) -> str:
    """The report: the table of all claims, then a chapter an experiment."""
    from tinygrad_opt import __version__

    known = experiments()
    chapters = [chapter(known[key], finding) for key, (finding, _) in found.items()]
    every = [claim for finding, _ in found.values() for claim in finding.claims]
    seconds = sum(seconds for _, seconds in found.values())
    return (
        f"# What the notes say, predicted and measured\n\n{verdict(found)}\n\n"
        f"{claims_table(every)}\n\n"
        f"Made by tinygrad-opt {__version__} with NumPy {np.__version__} on the backend "
        f"{backend.current()}, seed {seed}; {seconds:.0f} seconds of work.\n\n"
        + "\n".join(chapters)
    )


def chapter(experiment: Experiment, finding: Finding) -> str:
    """The note, what follows from it, the claims and the pictures."""
    shown = "".join(
        f"![{alternative(draw)}]({stem}.{end})\n\n"
        for kind, end in (("FIGURES", "png"), ("ANIMATIONS", "gif"))
        for stem, draw in figures(experiment, kind).items()
    )
    note = experiment.note.replace("\n", "\n> ")
    return (
        f"## {experiment.title}\n\n> {note}\n\n{experiment.formula}\n\n"
        f"{claims_table(finding.claims)}\n\n{shown}"
    )


def alternative(draw: Callable[..., Any]) -> str:
    """What a picture shows, for who does not see it: how its function's docstring begins."""
    return " ".join((inspect.getdoc(draw) or "").partition("\n\n")[0].split())
