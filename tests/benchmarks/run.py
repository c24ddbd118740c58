"""Every CPU benchmark in one command and one table: `make bench`.

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
    table = Table(title="tinygrad_opt beside PyTorch eager")
    for column in ("work", "BLAS threads", "ours", "PyTorch", "ratio", "wanted", "by hand"):
        table.add_column(column, justify="left" if column == "work" else "right")
    versions = {}
    for threads in THREADS:
        with console.status(f"measuring with {threads} BLAS threads"):
            result = json.loads(run([str(HERE / "overhead.py")], threads))
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
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    console.print(
        f"{date.today()}, Python {platform.python_version()}, {named}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
