"""Every CPU benchmark in one command: `make bench`, or one of them, `make bench ARGS=rules`.

Each runs in processes of its own, for NumPy fixes the number of BLAS threads as it starts. Nothing
here is a test: a time on a shared machine proves nothing; a ratio in one run tells something.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
THREADS = sorted({1, os.cpu_count() or 1})
IMPORT = """
import time; import numpy
start = time.perf_counter(); import tinygrad_opt; print(time.perf_counter() - start)
"""


def run(code: list[str], threads: int) -> str:
    env = {f"{lib}_NUM_THREADS": str(threads) for lib in ("OMP", "OPENBLAS", "MKL")}
    env = {**os.environ, **env}
    return subprocess.run([sys.executable, *code], env=env, check=True, text=True,
                          stdout=subprocess.PIPE).stdout  # fmt: skip


def main() -> None:
    console = Console(width=120)
    for name in sys.argv[1:] or ("overhead", "rules"):
        {"overhead": overhead, "rules": rules}[name](console)


def measured(console: Console, script: str, threads: int) -> dict:
    with console.status(f"{script} with {threads} threads"):
        return json.loads(run([str(HERE / script)], threads))


def overhead(console: Console) -> None:
    table = Table(title="tinygrad_opt beside PyTorch eager")
    for column in ("work", "BLAS threads", "ours", "PyTorch", "ratio", "wanted", "by hand"):
        table.add_column(column, justify="left" if column == "work" else "right")
    versions = {}
    for threads in THREADS:
        result = measured(console, "overhead.py", threads)
        versions = result["versions"]
        for row in result["rows"]:
            ours, theirs, *by_hand = row["seconds"]
            table.add_row(
                row["what"], str(threads), f"{ours * 1e6:,.1f} µs", f"{theirs * 1e6:,.1f} µs",
                f"{ours / theirs:.2f}", f"≤ {row['wanted']}",
                f"{by_hand[0] / theirs:.2f}" if by_hand else "",
            )  # fmt: skip
    console.print(table)
    console.print("by hand: the ratio of the same arithmetic in bare NumPy, without any engine")
    seconds = min(float(run(["-c", IMPORT], 1)) for _ in range(5))
    console.print(f"import tinygrad_opt, beyond NumPy: {seconds * 1e3:.0f} ms (wanted: under 200)")
    told(console, versions)


def rules(console: Console) -> None:
    table = Table(title="one update of float32 weights beside PyTorch's")
    for column in ("rule", "weights", "threads", "way", "update", "step", "PyTorch", "its way",
                   "ratio", "wanted"):  # fmt: skip
        text = column in ("rule", "way", "its way")
        table.add_column(column, justify="left" if text else "right")
    steps = Table(title="a whole step of 784-1024-1024-10, batch 256, with Adam")
    for column in ("threads", "update", "ms"):
        steps.add_column(column, justify="right")
    versions = {}
    for threads in THREADS:
        result = measured(console, "rules.py", threads)
        versions = result["versions"]
        for row in result["rows"]:
            update, step, *theirs = row["seconds"]
            beside = [f"{theirs[0] * 1e3:.3f}", row["beside"], f"{update / theirs[0]:.2f}",
                      f"≤ {row['wanted']}"] if theirs else ["", "has none", "", ""]  # fmt: skip
            way = "compiled" if row["fast"] else "NumPy"
            table.add_row(row["rule"], f"{row['size']:,}", str(threads), way,
                          f"{update * 1e3:.3f}", f"{step * 1e3:.3f}", *beside)  # fmt: skip
        for way, seconds in result["inside a step"].items():
            steps.add_row(str(threads), way, f"{seconds * 1e3:.2f}")
    console.print(table)
    console.print("milliseconds; update: the rule alone; step: with the check for NaN and inf")
    console.print(steps)
    told(console, versions)


def told(console: Console, versions: dict) -> None:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    console.print(
        f"{date.today()}, Python {platform.python_version()}, {named}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
