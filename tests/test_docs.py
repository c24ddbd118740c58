"""A page of documentation is a program: its code is run, its printed output compared, its commands
and links looked up, so that what a page says cannot come to differ from what the library does."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import linecache
import os
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_lab_claims import recorded

import tinygrad_opt as tg
from tinygrad_opt import cli, lab, report
from tinygrad_opt.lab import claims
from tinygrad_opt.optim import latex
from tinygrad_opt.optim.transforms import Transform
from tinygrad_opt.optim.wrappers import Wrapper

ROOT = Path(__file__).parents[1]
NOTES = sorted((ROOT / "docs" / "notes").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *NOTES]
pages = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)


class Block(NamedTuple):
    """A fenced block: its language, text and first line, and the text that follows its fence."""

    language: str
    text: str
    line: int
    after: str


def blocks(markdown: str) -> list[Block]:
    fences = list(re.finditer(r"^```(\w*)\n(.*?)^```$", markdown, re.M | re.S))
    ends = [fence.start() for fence in fences[1:]] + [len(markdown)]
    assert markdown.count("\n```") + markdown.startswith("```") == 2 * len(fences)
    return [
        Block(*fence.groups(), markdown.count("\n", 0, fence.start()) + 1,
              markdown[fence.end() : end])
        for fence, end in zip(fences, ends, strict=True)
    ]  # fmt: skip


def run(markdown: str, name: str = "page") -> dict:
    """Run all Python of a page in one namespace, comparing what each block prints with the `text`
    block that follows it (`...` there stands for anything). The namespace comes back."""
    names: dict = {"__name__": name}
    for block, shown, printed in outputs(markdown, name, names):
        expected = shown.text if shown else ""
        where = f"{name}, line {block.line}"
        assert matches(expected, printed), f"{where} prints\n{printed}\nand not\n{expected}"
    return names


def outputs(markdown: str, name: str, names: dict) -> Iterator[tuple[Block, Block | None, str]]:
    """Run the Python of a page: each block, the `text` block that shows its output, if there is
    one, and what it printed."""
    found = blocks(markdown)
    # A rule is read from its source, which Python finds here for a page as it does for a notebook.
    linecache.cache[name] = (len(markdown), None, markdown.splitlines(keepends=True), name)
    for n, block in enumerate(found):
        where = f"{name}, line {block.line}"
        known = block.language in ("python", "text", "sh", "math")
        assert known, f"{where}: a fence without a language"
        if block.language == "text":
            before = found[n - 1] if n else None
            shown = before and before.language == "python" and not before.after.strip()
            assert shown, f"{where}: a text block is the output of the python block before it"
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * block.line + block.text, name, "exec"), names)
        follows = n + 1 < len(found) and found[n + 1].language == "text"
        yield (
            block,
            found[n + 1] if follows and not block.after.strip() else None,
            printed.getvalue(),
        )


def matches(expected: str, printed: str) -> bool:
    """Whether a page shows what was printed: `...` stands for anything, and a number after the word
    "about" may be 2 % off, since long trainings depend on how a processor rounds."""
    roughly = re.compile(r"(?<=about )[\d.]+")
    shown, got = (list(map(float, roughly.findall(text))) for text in (expected, printed))
    if len(shown) != len(got) or not np.allclose(shown, got, rtol=0.02, atol=0):
        return False
    expected, printed = (roughly.sub("#", text) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


# ---- the code on the pages -----------------------------------------------------------------------


@pages
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    markdown = page.read_text("utf-8")
    if re.search("^import torch", markdown, re.M):
        pytest.importorskip("torch")
    if ".compile()" in markdown:
        pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    run(markdown, page.name)
    assert not list(tmp_path.iterdir()), "the code of a page writes no files"


PRINTS_2 = "```python\nprint(1 + 1)\n```\n"


def test_a_block_whose_output_is_shown_passes():
    run(PRINTS_2 + "\n```text\n2\n```\n")
    run("```python\nx = 1\n```\nprose\n```python\nprint(x, id(x))\n```\n```text\n1 ...\n```\n")
    run("```python\nprint('about 98%')\n```\n```text\nabout 97%\n```\n")


@pytest.mark.parametrize("wrong", [
    PRINTS_2,  # prints, and shows nothing
    PRINTS_2 + "```text\n3\n```\n",
    "```python\nprint('about 98%')\n```\n```text\nabout 91%\n```\n",
    PRINTS_2 + "prose between\n```text\n2\n```\n",
    "```python\nx = 1\n```\n```text\n1\n```\n",  # shows, and prints nothing
    "```text\n2\n```\n",
    "```\nx = 1\n```\n",
    "```python\nx = 1\n",  # never closed
    "```python\nassert 1 + 1 == 3\n```\n",
])  # fmt: skip
def test_a_wrong_block_fails(wrong):
    with pytest.raises(AssertionError):
        run(wrong)


def test_an_error_in_a_block_names_its_line_on_the_page():
    with pytest.raises(ZeroDivisionError) as error:
        run("a\n\n```python\nx = 1\ny = 1 / 0\n```\n")
    assert error.traceback[-1].lineno + 1 == 5


def test_a_page_may_define_an_optimizer_whose_source_is_its_own():
    rule = "    def rule(w, g, *, lr):\n        w = w - lr * g\n        return (w,)\n"
    page = "```python\nfrom tinygrad_opt.optim import Optimizer\nclass Own(Optimizer):\n" + rule
    assert run(page + "```\n")["Own"].source() == textwrap.dedent(rule)


# ---- the rules on the pages ----------------------------------------------------------------------
# No update rule of a page is written by hand (theory is, on the pages of the notes). Below
# <!-- rule: Momentum torch --> stand the formula and the source of that rule; `python
# tests/test_docs.py` writes them there anew, and every output that is not as the page shows it.
# Then read the difference: it says what has changed. What follows them begins with what the rule
# remembers: "One float a weight: `v`."

RULE = re.compile(
    r"^<!-- rule: (.+?) -->\n(\n```math\n.*?^```\n\n```python\n.*?^```\n)?", re.M | re.S
)


def rule_of(words: str) -> tuple[type, tg.optim.Rule]:
    """The optimizer and the rule that "Momentum torch" means, or "SGD", or "Nesterov ahead"."""
    name, _, form = words.partition(" ")
    optimizer = getattr(tg.optim, name)
    rules = getattr(optimizer, "rules", {})
    return optimizer, rules.get(form) or getattr(optimizer, form or "rule")


def with_rules(markdown: str) -> str:
    """The page with the formulas and sources as they are now."""

    def written(found: re.Match) -> str:
        rule = rule_of(found[1])[1]
        return (f"<!-- rule: {found[1]} -->\n\n```math\n{latex.typeset(rule)}\n```\n\n"
                f"```python\n{rule.text}```\n")  # fmt: skip

    return RULE.sub(written, markdown)


@pages
def test_every_formula_of_a_page_is_made_from_the_rule_that_stands_below_it(page):
    markdown = page.read_text("utf-8")
    assert with_rules(markdown) == markdown, "python tests/test_docs.py writes the rules anew"
    rest = blocks(RULE.sub("", markdown))
    for n, block in enumerate(rest):  # what is left may be what the code before has printed
        printed = n and rest[n - 1].language == "text" and rest[n - 1].text == block.text
        theory = page in NOTES and r"\leftarrow" not in block.text
        assert block.language != "math" or printed or theory, f"a rule by hand: {block.text}"
    assert "$$" not in markdown


def test_an_outdated_formula_and_an_outdated_source_are_noticed():
    page = with_rules("<!-- rule: Momentum torch -->\n")
    assert r"v &\leftarrow \mu \, v + g" in page
    assert "v = mu * v + g" in page
    assert with_rules(page) == page
    for old, new in ((r"\mu", r"\nu"), ("mu * v", "mu*v")):
        assert with_rules(page.replace(old, new)) == page != page.replace(old, new)


@pages
def test_a_page_names_what_each_rule_remembers_and_every_letter_of_it(page):
    markdown = page.read_text("utf-8")
    for found in RULE.finditer(markdown):
        optimizer, rule = rule_of(found[1])
        for name in (*rule.arrays[2:], *rule.scalars):
            assert f"`{name}`" in markdown, f"{page.name}: what is {name} of {found[1]}?"
        if issubclass(optimizer, (Wrapper, Transform)) or rule.arrays[:2] != ("w", "g"):
            continue
        what = ("No floats a weight.", "One float a weight: {}.", "Two floats a weight: {}, {}.",
                "Three floats a weight: {}, {}, {}.")  # fmt: skip
        says = what[len(rule.arrays) - 2].format(*(f"`{slot}`" for slot in rule.arrays[2:]))
        if optimizer is tg.optim.Adafactor and found[1].endswith("matrix"):
            says = "n + m floats for n · m weights: `R`, `C`."
        assert markdown[found.end() :].lstrip().startswith(says), f"{found[1]}: {says}"


def test_every_rule_of_the_library_stands_on_a_page():
    shown = [rule_of(found[1])[1] for page in PAGES
             for found in RULE.finditer(page.read_text("utf-8"))]  # fmt: skip
    for name in tg.optim.__all__:
        optimizer = getattr(tg.optim, name)
        if isinstance(getattr(optimizer, "rule", None), tg.optim.Rule):
            assert optimizer.rule in shown, name
            for form, rule in getattr(optimizer, "rules", {}).items():
                # RMSProp's eight forms: that ε moves into the root is shown once.
                assert rule in shown or form.endswith(", eps inside"), f"{name}: {form}"


def test_github_typesets_every_formula():
    for page in PAGES:
        assert r"\operatorname" not in page.read_text("utf-8"), (
            "refused since 2023: \\mathrm serves"
        )


def test_the_table_of_all_optimizers_has_each_with_the_memory_that_it_holds():
    index = (ROOT / "docs" / "all_optimizers.md").read_text("utf-8")
    _, *rows = rows_of(re.search(r"^\| optimizer \|.*?\n\n", index, re.M | re.S)[0])
    listed = {re.match(r"\[(\w+)\]", row[0])[1]: row[2] for row in rows}
    is_one = [name for name in tg.optim.__all__ if hasattr(getattr(tg.optim, name), "step")]
    assert set(listed) == set(is_one) - {"Optimizer", "schedules"}
    for name, says in listed.items():
        w = tg.Tensor(np.ones((1000, 1000), "float32"), requires_grad=True)
        kind, inside = getattr(tg.optim, name), tg.optim.SGD([w], lr=0.1)
        optimizer = kind(inside) if issubclass(kind, Wrapper) else kind([w], lr=0.1)
        floats = sum(optimizer.memory().values()) / w.data.nbytes
        assert float(says.split()[0]) == (2 if name == "LBFGS" else pytest.approx(floats, rel=0.01))


# ---- the claims on the pages ---------------------------------------------------------------------
# Below <!-- claims: plateau --> stands the table of docs/lab, which the command `tinygrad-opt lab
# --out docs/lab` writes; `python tests/test_docs.py` copies it from there, and
# tests/test_lab_claims.py measures all of it again.

CLAIMS = re.compile(r"^<!-- claims: (\S+) -->\n.*?^<!-- end of claims -->$", re.M | re.S)


def with_claims(markdown: str) -> str:
    """The page with the claims as docs/lab has them; "all" means those of every experiment, each
    under its title, which leads to its page."""

    def written(found: re.Match) -> str:
        head = [*claims.HEADINGS]
        rows = []
        for key, made in recorded().items():
            if found[1] in (key, "all"):
                title = lab.experiments.experiments()[key].title
                if found[1] == "all":
                    rows.append([f"**[{title}](docs/notes/{key}.md)**", *[""] * (len(head) - 1)])
                rows += claims.table(made)
        assert rows, f"no experiment {found[1]}"
        table = report.markdown_table(head, rows)
        return f"<!-- claims: {found[1]} -->\n\n{table}\n\n<!-- end of claims -->"

    return CLAIMS.sub(written, markdown)


@pages
def test_the_claims_of_a_page_are_those_that_the_lab_has_recorded(page):
    markdown = page.read_text("utf-8")
    assert with_claims(markdown) == markdown, "python tests/test_docs.py copies them anew"


def test_each_experiment_has_a_page_with_the_words_of_the_notes_its_claims_and_its_pictures():
    for key, experiment in lab.experiments.experiments().items():
        markdown = (ROOT / "docs" / "notes" / f"{key}.md").read_text("utf-8")
        assert markdown.startswith(f"# {experiment.title}\n")
        assert f"<!-- claims: {key} -->" in markdown
        assert f"tinygrad-opt lab {key}" in markdown
        quoted = " ".join(re.sub("^> ?", "", markdown, flags=re.M).split())
        for sentence in experiment.note.splitlines():
            assert " ".join(sentence.split()) in quoted, f"{key}: {sentence}"
        for kind, end in (("FIGURES", "png"), ("ANIMATIONS", "gif")):
            for stem in report.figures(experiment, kind):
                assert f"(../lab/{stem}.{end})" in markdown
    assert "<!-- claims: all -->" in PAGES[0].read_text("utf-8")


# ---- commands and links --------------------------------------------------------------------------


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z ]+):(?!=)", text, re.M)[0].split()) | {
        target for line in re.findall(r"^([a-z][a-z ]*):(?!=)", text, re.M)
        for target in line.split()
    }  # fmt: skip


def check_command(line: str) -> None:
    """AssertionError unless the shell command `line` exists, with its options and files."""
    words = shlex.split(line.replace("\\", "/"), comments=True)  # as Windows has them
    while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
        words.pop(0)
    if not words:
        return
    command, *rest = words
    if command == "make":
        targets = {word for word in rest if "=" not in word}
        assert targets <= make_targets(), f"{line}: no such target"
    elif command == "tinygrad-opt":
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                cli._parser()[0].parse_args(rest)
            except SystemExit as stop:
                assert stop.code == 0, f"{line}: {said.getvalue()}"
    elif command in ("pip", "python", "python3", "py"):
        if rest[:2] in (["-m", "venv"], ["-m", "pytest"]) or rest[:3] == ["-3", "-m", "venv"]:
            return
        if command != "pip":
            assert (ROOT / rest[0]).is_file(), f"{line}: no such file"
            return
        assert rest[0] == "install", line
        for word in rest[1:]:
            named = re.fullmatch(r"(?:\.|tinygrad-opt)?\[([\w,]+)\]", word)
            if named:
                unknown = set(named[1].split(",")) - extras()
                assert not unknown, f"{line}: no extra {unknown}"
            else:
                assert word in ("-c", "-e") or (ROOT / word).exists(), f"{line}: what is {word}?"
    else:
        known = command in ("git", "cd", "pytest", "source", ".")
        assert known or command.startswith(".venv/"), f"{line}: what is {command}?"


def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return set(project["optional-dependencies"])


@pages
def test_every_command_of_a_page_exists(page):
    markdown = page.read_text("utf-8")
    in_fences = [line for block in blocks(markdown) if block.language == "sh"
                 for line in block.text.splitlines()]  # fmt: skip
    prose = re.sub(r"^```.*?^```$", "", markdown, flags=re.M | re.S)
    in_prose = re.findall(r"`((?:make|tinygrad-opt|pip install|python) [^`]+)`", prose)
    for line in (*in_fences, *in_prose):
        check_command(line)
    if page == PAGES[0]:
        assert len(in_fences) > 5


@pytest.mark.parametrize("line", [
    "make dmeo", "tinygrad-opt rice", "tinygrad-opt race --colour", "python examples/00.py",
    'pip install -e ".[devel]"', "pip install -c .ci/constraint.txt -e .", "sudo make demo",
])  # fmt: skip
def test_a_command_that_does_not_exist_is_noticed(line):
    with pytest.raises(AssertionError):
        check_command(line)


@pages
def test_every_link_and_named_file_is_there_and_no_picture_is_large(page):
    markdown = page.read_text("utf-8")
    prose = re.sub(r"^```.*?^```$", "", markdown, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose):
        if not target.startswith("http"):
            path = page.parent / target
            assert path.exists(), f"{page.name} links to {target}"
            assert path.suffix != ".png" or path.stat().st_size <= 200_000
            assert path.suffix != ".gif" or path.stat().st_size <= 3_000_000
    for name in re.findall(r"`((?:[\w.]+/)+[\w.]*)`", markdown):
        places = (ROOT, ROOT / "tinygrad_opt")
        assert any((place / name).exists() for place in places), f"{page.name} names {name}"


def test_every_page_of_the_docs_and_every_example_is_linked_from_the_readme():
    readme = PAGES[0].read_text("utf-8")
    for path in (*PAGES[1:], *sorted((ROOT / "examples").glob("*.py"))):
        assert f"({path.relative_to(ROOT).as_posix()})" in readme


# ---- the README ----------------------------------------------------------------------------------


def test_the_rule_in_the_readme_is_the_one_that_runs():
    readme = PAGES[0].read_text("utf-8")
    rule = textwrap.dedent(inspect.getsource(tg.optim.Momentum.rule))
    assert f"```python\n{rule}```\n" in readme
    beside = rows_of(re.search(r"^\| in the papers \|.*?\n\n", readme, re.M | re.S)[0])[1:]
    assert [code.strip("`") for _, code in beside] == [
        line.strip() for line in rule.splitlines()[1:-1]
    ]


def rows_of(table: str) -> list[list[str]]:
    lines = [line.strip("| ") for line in table.strip().splitlines()]
    return [[cell.strip() for cell in line.split("|")] for line in lines if set(line) - set("-:| ")]


RACE = re.compile(r"^\| optimizer \| learning rate \|.*?(?=\n\n)", re.M | re.S)
# Other processors round otherwise, which 1,350 steps magnify. With four of OpenBLAS's kernels
# (OPENBLAS_CORETYPE), the final losses on the training images agreed to 1.5 %, but for these.
CHAOTIC = {"momentum-0.75", "momentum-0.99", "lookahead", "sam", "rmsprop", "nadam", "adafactor"}


def rows_of_the_race(markdown: str) -> list[list[str]]:
    """The head and the rows of the table of the race."""
    return rows_of(RACE.search(markdown)[0])


def is_of(row: list[str], runs: list[lab.Result]) -> bool:
    """Whether a row of the table is what the race, run here, has to say of its optimizer; the time
    of a step is that of the machine."""
    (now,) = cli.race.rows(runs)
    name, rate, train_loss, test_loss, accuracy, _, state = row
    if [name, rate, state] != [now[0], now[1], now[-1]]:
        return False
    if runs[0].key not in CHAOTIC and float(train_loss) != pytest.approx(float(now[2]), rel=0.03):
        return False
    for told, part in ((train_loss, "train_loss"), (test_loss, "test_loss")):
        losses = [getattr(run, part) for run in runs]  # of any of the starts
        if not 0.8 * min(losses) < float(told) < 1.25 * max(losses):
            return False
    return float(accuracy.split()[0]) == pytest.approx(float(now[4].split()[0]), abs=0.8)


def with_race(markdown: str) -> str:
    """The page with the rows of the race as they are now, where they are no longer what they were,
    and the others as they stand."""
    if not RACE.search(markdown):
        return markdown
    head, *rows = rows_of_the_race(markdown)
    shown = {row[0]: row for row in rows}
    made = []
    for key, contestant in lab.CONTESTANTS.items():
        runs = lab.race([key])
        row = shown.get(contestant.name)
        made.append(row if row and is_of(row, runs) else cli.race.rows(runs)[0])
    made.sort(key=lambda row: float(row[2]))
    return RACE.sub(lambda _: report.markdown_table(head, made), markdown, count=1)


def test_the_race_in_the_readme_has_a_row_for_each_contestant_the_lowest_loss_first():
    head, *rows = rows_of_the_race(PAGES[0].read_text("utf-8"))
    assert head == list(cli.race.HEADINGS)
    assert sorted(row[0] for row in rows) == sorted(c.name for c in lab.CONTESTANTS.values())
    losses = [float(row[2]) for row in rows]
    assert losses == sorted(losses)


@pytest.mark.parametrize("key", lab.CONTESTANTS)
def test_a_row_of_the_race_in_the_readme_is_the_race_that_is_run(key):
    rows = rows_of_the_race(PAGES[0].read_text("utf-8"))[1:]
    (row,) = (row for row in rows if row[0] == lab.CONTESTANTS[key].name)
    runs = lab.race([key])
    assert is_of(row, runs), f"python tests/test_docs.py writes it anew: {cli.race.rows(runs)[0]}"


def test_a_stale_row_of_the_race_is_noticed_and_written_anew(monkeypatch):
    short = {key: lab.CONTESTANTS[key] for key in ("sgd", "adam")}
    monkeypatch.setattr(lab, "CONTESTANTS", short)
    runs = {key: lab.race([key], epochs=1, seeds=(0,)) for key in short}
    monkeypatch.setattr(lab, "race", lambda keys: runs[keys[0]])
    right = sorted((cli.race.rows(own)[0] for own in runs.values()), key=lambda row: row[2])
    page = f"# Race\n\n{report.markdown_table(cli.race.HEADINGS, right)}\n\nRead it.\n"
    assert with_race(page) == page
    for row in right:
        loss, slower = row[2], page.replace(f" {row[5]} ", " 9.999 ")
        assert with_race(slower) == slower
        for stale in (f"{1.04 * float(loss):.5f}", f"{0.96 * float(loss):.5f}"):
            assert with_race(page.replace(loss, stale)) == page
    gone = "\n".join(line for line in page.splitlines() if "Adam" not in line) + "\n"
    assert with_race(gone) == page
    other = "| optimizer | memory |\n| --- | ---: |\n| SGD | 0 |\n\n"
    assert with_race(other) == other


# ---- the table of conventions --------------------------------------------------------------------

NAN, INF = np.nan, np.inf


def in_torch(expression: str):
    import torch
    from torch.nn import functional as F

    def zeros(x):
        return torch.zeros_like(x)

    return {
        "tg.relu(x)": torch.relu,
        "tg.maximum(x, 0)": lambda x: torch.maximum(x, zeros(x)),
        "tg.leaky_relu(x)": F.leaky_relu,
        "tg.elu(x)": F.elu,
        "tg.abs(x)": torch.abs,
        "tg.clip(x, 0, 1)": lambda x: x.clamp(0, 1),
        "x.max()": lambda x: x.max(),
        "x.max(axis=0)": lambda x: x.max(dim=0).values,
        "tg.huber_loss(x, [0.0])": lambda x: F.huber_loss(x, zeros(x)),
        "tg.sqrt(x)": torch.sqrt,
        "x.norm()": lambda x: x.norm(),
        "x.norm(ord=1)": lambda x: x.norm(p=1),
        "tg.sqrt((x * x).sum())": lambda x: (x * x).sum().sqrt(),
        "x.std()": lambda x: x.std(correction=0),
        "x ** 0": lambda x: x**0,
        "x ** x": lambda x: x**x,
        "0.0 ** x": lambda x: 0.0**x,
        "x.prod()": lambda x: x.prod(),
        "x.logsumexp()": lambda x: x.logsumexp(0),
        "tg.log(tg.sigmoid(x))": lambda x: x.sigmoid().log(),
        "tg.logsigmoid(x)": F.logsigmoid,
        "tg.bce_with_logits(x, [0.0, 1.0])": lambda x: F.binary_cross_entropy_with_logits(
            x, torch.tensor([0.0, 1.0], dtype=x.dtype)
        ),
        "x[[0, 0, 1]]": lambda x: x[[0, 0, 1]],
        "tg.where(x > 0, tg.sqrt(x), 0)": lambda x: torch.where(x > 0, x.sqrt(), 0.0),
        "tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1)), 0)": lambda x: torch.where(
            x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0
        ),
    }[expression]


def in_jax(expression: str):
    import jax
    from jax import numpy as jnp

    return {
        "tg.relu(x)": jax.nn.relu,
        "tg.maximum(x, 0)": lambda x: jnp.maximum(x, 0),
        "tg.leaky_relu(x)": jax.nn.leaky_relu,
        "tg.elu(x)": jax.nn.elu,
        "tg.abs(x)": jnp.abs,
        "tg.clip(x, 0, 1)": lambda x: jnp.clip(x, 0, 1),
        "x.max()": jnp.max,
        "x.max(axis=0)": lambda x: x.max(axis=0),
        "tg.huber_loss(x, [0.0])": None,
        "tg.sqrt(x)": jnp.sqrt,
        "x.norm()": jnp.linalg.norm,
        "x.norm(ord=1)": lambda x: jnp.linalg.norm(x, ord=1),
        "tg.sqrt((x * x).sum())": lambda x: jnp.sqrt((x * x).sum()),
        "x.std()": jnp.std,
        "x ** 0": lambda x: x**0,
        "x ** x": lambda x: x**x,
        "0.0 ** x": lambda x: 0.0**x,
        "x.prod()": jnp.prod,
        "x.logsumexp()": jax.nn.logsumexp,
        "tg.log(tg.sigmoid(x))": lambda x: jnp.log(jax.nn.sigmoid(x)),
        "tg.logsigmoid(x)": jax.nn.log_sigmoid,
        "tg.bce_with_logits(x, [0.0, 1.0])": None,
        "x[[0, 0, 1]]": lambda x: x[jnp.array([0, 0, 1])],
        "tg.where(x > 0, tg.sqrt(x), 0)": lambda x: jnp.where(x > 0, jnp.sqrt(x), 0),
        "tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1)), 0)": lambda x: jnp.where(
            x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0
        ),
    }[expression]


def conventions() -> list[list[str]]:
    page = (ROOT / "docs" / "conventions.md").read_text("utf-8")
    table = re.search(r"^\| expression \|.*?\n\n", page, re.M | re.S)[0]
    return rows_of(table.replace("`", ""))[1:]


def vector(cell: str) -> np.ndarray:
    return np.array([float(number) for number in cell.split(",")])


CONVENTIONS = [pytest.param(*row[:5], id=f"{row[0]} at {row[1]}") for row in conventions()]


def test_the_table_of_conventions_has_the_ties_kinks_and_zeros():
    assert len(CONVENTIONS) >= 25


@pytest.mark.parametrize(("expression", "at", "here", "torch_", "jax_"), CONVENTIONS)
def test_a_line_of_the_table_says_what_the_engine_does(expression, at, here, torch_, jax_):
    for dtype in ("float64", "float32"):
        x = tg.Tensor(vector(at), requires_grad=True, dtype=dtype)
        with np.errstate(all="ignore"):
            y = eval(expression, {"tg": tg, "x": x})
            y.backward(np.ones(y.shape))
        np.testing.assert_allclose(x.grad, vector(here), rtol=1e-6)


@pytest.mark.parametrize(("expression", "at", "here", "torch_", "jax_"), CONVENTIONS)
def test_a_line_of_the_table_says_what_pytorch_does(expression, at, here, torch_, jax_):
    torch = pytest.importorskip("torch")
    x = torch.tensor(vector(at), requires_grad=True)
    y = in_torch(expression)(x)
    y.backward(torch.ones_like(y))
    np.testing.assert_allclose(x.grad.numpy(), vector(torch_), rtol=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize(("expression", "at", "here", "torch_", "jax_"), CONVENTIONS)
def test_a_line_of_the_table_says_what_jax_does(expression, at, here, torch_, jax_, monkeypatch):
    monkeypatch.setitem(os.environ, "JAX_PLATFORMS", "cpu")
    import jax

    f = in_jax(expression)
    assert (f is None) == (jax_ == "")
    if f is not None:
        y, vjp = jax.vjp(f, jax.numpy.array(vector(at), dtype="float32"))
        (gradient,) = vjp(jax.numpy.ones_like(y))
        np.testing.assert_allclose(gradient, vector(jax_), rtol=1e-6)


def rewritten(markdown: str, name: str) -> str:
    """The page with its rules as they are now, and the outputs that have changed as they are."""
    markdown = with_race(with_claims(with_rules(markdown)))
    lines = markdown.splitlines(keepends=True)
    for _, shown, printed in reversed(list(outputs(markdown, name, {"__name__": name}))):
        if shown and not matches(shown.text, printed):
            lines[shown.line : shown.line + shown.text.count("\n")] = [printed]
    copy = r"^(```text\n(\\begin.*?)^```\n\n```math\n).*?^```$"  # a formula just printed
    return re.sub(copy, lambda m: f"{m[1]}{m[2]}```", "".join(lines), flags=re.M | re.S)


def test_a_changed_output_is_written_anew_and_one_that_matches_is_left():
    page = PRINTS_2 + "```text\n{}\n```\nprose\n" + PRINTS_2 + "\n```text\n{}\n```\n"
    assert rewritten(page.format("1\n1", "..."), "page") == page.format("2", "...")


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page.read_text("utf-8"), page.name), "utf-8")
