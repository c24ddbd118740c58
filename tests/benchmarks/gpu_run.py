"""`make gpu`: the tests that want a GPU, then the GPU benchmarks, in one command and one table.

It installs nothing and needs no network: CuPy, PyTorch and pytest are those of the Python that runs
it (`make gpu PYTHON=/path/to/python`). What it prints it also writes into gpu/benchmarks.md, from
where figures go into docs/benchmarks.md by hand; beside it lie the tests' whole output and the
figures as JSON lines. The nearly 5,000 tests take 4 minutes on 16 cores, longer on fewer; tests and
benchmarks have a time limit each, and what was known by then is told. The exit status is 0 only if
tests ran, none was skipped, and all went well.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from tinygrad_opt import backend

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TESTS, BENCHMARKS = 1800, 180  # seconds at most
# Of tests at once: each has its own share of the GPU's memory, and the host does most of the work.
PROCESSES = max(1, min(14, (os.cpu_count() or 1) - 2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="a folder for its findings")
    parser.add_argument("--tests", default="", help="pytest's -k: only some tests; 'none' for none")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of tests at once")
    given, passed_on = parser.parse_known_args()  # the rest is for gpu.py: --weights, --rounds, ...
    try:
        backend.module_of("cupy")
    except RuntimeError as error:
        print(f"make gpu: {error}", file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    told, well = [], True
    if given.tests != "none":
        result, well = tests(given.out / "tests.log", given.tests, given.processes)
        told += ["## Tests", "", result, ""]
    figures = benchmarks(given.out / "figures.jsonl", passed_on)
    told += tables(figures)
    failed = [f for f in figures if f["kind"] == "failed"]
    text = "\n".join([f"# On a GPU, {date.today()}", "", measured_with(figures), "", *told])
    (given.out / "benchmarks.md").write_text(text + "\n", "utf-8")
    print(f"\n{text}\n\nwritten to {given.out / 'benchmarks.md'}")
    return 0 if well and not failed else 1


# ---- the tests -----------------------------------------------------------------------------------


def tests(log: Path, only: str, processes: int) -> tuple[str, bool]:
    """What the tests marked `cuda` came to, and whether that is well."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-q", "--tb=short", "-rfEs",
               "--continue-on-collection-errors", "-p", "no:cacheprovider",
               "-W", "default"]  # a newer NumPy or CuPy may warn of what is no fault of ours
    if only:
        command += ["-k", only]
    if processes > 1 and importlib.util.find_spec("xdist"):
        command += ["--numprocesses", str(processes), "--dist", "worksteal"]
    print(f"the tests marked cuda, {TESTS} seconds at most; their output goes to {log} ...")
    start = time.monotonic()
    text, ended = run(command, log, TESTS)
    seconds = time.monotonic() - start
    counted = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", last_line(text))}
    bad = [line for line in text.splitlines() if re.match("(FAILED|ERROR|SKIPPED) ", line)]
    names = ("passed", "failed", "error", "errors", "skipped")
    said = ", ".join(f"{counted[name]} {name}" for name in names if name in counted)
    result = f"{said or 'no result'} in {seconds:.0f} s"
    if not ended:
        result = f"stopped after {TESTS} s, at the line `{last_line(text)}`"
    elif "collected" in text and not counted:
        result += f": `{last_line(text)}`"
    well = ended and counted.get("passed", 0) > 0 and not bad
    return "\n".join([result, *(f"- `{line}`" for line in bad[:40])]), well


def run(command: list[str], log: Path, limit: float) -> tuple[str, bool]:
    """What the command has printed, also written to `log`, and whether it ended by itself."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8", errors="replace") as file:
        try:
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=limit, cwd=ROOT,
                           env=env)  # fmt: skip
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
    return log.read_text("utf-8", errors="replace"), ended


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


# ---- the benchmarks ------------------------------------------------------------------------------


def benchmarks(log: Path, arguments: list[str]) -> list[dict]:
    """The figures of gpu.py as far as it came, and as the last one what went wrong, if it did."""
    print(f"the benchmarks, {BENCHMARKS} seconds at most ...")
    text, ended = run([sys.executable, str(HERE / "gpu.py"), *arguments], log, BENCHMARKS)
    lines = text.splitlines()
    figures = [json.loads(line) for line in lines if line.startswith('{"kind"')]
    if not ended:
        figures.append({"kind": "failed", "what": "all", "why": f"stopped after {BENCHMARKS} s"})
    elif not figures or figures[-1]["kind"] != "end":
        figures.append({"kind": "failed", "what": "all", "why": "\n".join(lines[-8:])})
    return figures


def tables(figures: list[dict]) -> list[str]:
    updates = [f for f in figures if f["kind"] == "update"]
    steps = [f for f in figures if f["kind"] == "step"]
    lines = []
    if updates:
        lines += [
            f"## The update alone, {updates[0]['weights']:,} float32 weights", "",
            "Milliseconds, medians by CUDA events. The share is that of a device copy's bytes a "
            "second, in the same run; the step adds the check for NaN and inf.", "",
            "| rule | bytes a weight | update | copy, TB/s | share of copy | step | PyTorch's | "
            "ours / PyTorch's |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]  # fmt: skip
        lines += [
            f"| {f['name']} | {f['moved']} | {ms(f['seconds'])} | {f['copied'] / 1e12:.2f} | "
            f"{f['share']:.1%} | {ms(f['step'])} | "
            + (f"{ms(f['theirs'])} ({f['beside']}) | {f['ratio']:.2f} |" if f["theirs"] else " | |")
            for f in updates
        ]
        lines.append("")
    if steps:
        lines += [
            "## A training step of 784-1024-1024-10, batch 256, float32", "",
            "Milliseconds a step, beside PyTorch eager; the host's part is the time until the step "
            "was handed to the GPU.", "",
            "| optimizer | ours | of it the host | PyTorch | ours / PyTorch's |",
            "|---|---:|---:|---:|---:|",
        ]  # fmt: skip
        lines += [
            f"| {f['name']} | {ms(f['seconds'])} | {ms(f['host'])} | "
            + (f"{ms(f['theirs'])} | {f['ratio']:.2f} |" if f["theirs"] else " | |")
            for f in steps
        ]
        lines.append("")
    for f in figures:
        if f["kind"] == "alone":
            lines += [f"Nothing of PyTorch's stands beside this, for it says: `{f['why']}`", ""]
        if f["kind"] == "failed":
            lines += [f"**{f['what']} failed:** `{f['why'].strip()}`", ""]
    return lines


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def measured_with(figures: list[dict]) -> str:
    found = next((f for f in figures if f["kind"] == "versions"), {})
    parts = [f"{name} {value}" for name, value in found.items() if name != "kind"]
    return ", ".join([*parts, f"Python {platform.python_version()}", platform.platform()])


if __name__ == "__main__":
    sys.exit(main())
