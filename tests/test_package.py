"""The package as a whole: what importing it costs, who imports whom, what an install brings."""

import ast
import builtins
import functools
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import tinygrad_opt

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tinygrad_opt"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A module may import from its own floor and from those below it. The root package stands just
# under the commands: they may say `import tinygrad_opt as tg`, nothing else in here may.
FLOORS = {
    "backend": 0, "files": 0, "refusals": 0, "suspicions": 0, "display": 0,
    "tensor": 1, "arguments": 1, "anomaly": 1, "autograd": 1,
    "ops": 2,
    "nn": 3, "testing": 3,
    "optim": 4,
    "data": 5,
    "train": 6, "checkpoint": 6,
    "lab": 7,
    "plots": 8, "report": 8,
    "cli": 9, "__main__": 9,
}  # fmt: skip
ROOT_FLOOR = 8.5

OPTIONAL = [
    "cupy", "cupyx", "matplotlib", "mpi4py", "numba", "optuna", "rich", "safetensors", "scipy",
    "torch",
]  # fmt: skip


def read_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read_pins():
    """Name to version, for each line of the constraints that is not a comment."""
    pins = {}
    for line in (ROOT / ".ci/constraints.txt").read_text("utf-8").splitlines():
        if line := line.partition("#")[0].strip():
            name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
            pins[canonicalize_name(name)] = Version(version)
    return pins


def requirements(*extras):
    """The core requirements and those of the extras, an extra that names extras unfolded."""
    project = read_project()
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    found = []
    for requirement in map(Requirement, lines):
        if canonicalize_name(requirement.name) == project["name"]:
            found += requirements(*requirement.extras)
        else:
            found.append(requirement)
    return found


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def floor_of(module):
    part = module.split(".")[1:2]
    return FLOORS[part[0]] if part else ROOT_FLOOR


def imported_modules(tree, module, is_package):
    """The modules of this package that the statements in `tree` import, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, node.module] if node.module else parents)
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if name in MODULES else base for name in submodules]
        else:
            continue
        for target in targets:
            if target in MODULES and target != module:
                yield target, node.lineno


def outside_type_checking(nodes):
    """The statements, less those that only a type checker reads."""
    kept = []
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            kept += node.orelse
        else:
            kept.append(node)
    return kept


def at_module_level(node):
    """The statements that run when the module is imported: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_module_level(child)


@functools.cache
def imports_of(module, lazy_too):
    path = MODULES[module]
    tree = ast.parse(path.read_text("utf-8"))
    tree.body = outside_type_checking(tree.body)
    if not lazy_too:
        statements = [
            node for node in at_module_level(tree) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        tree = ast.Module(statements, [])
    return list(imported_modules(tree, module, path.name == "__init__.py"))


def count_code_lines(path):
    """Lines that hold code: no blank ones, comments or docstrings."""
    with tokenize.open(path) as file:
        text = file.read()
    lines = set()
    skipped = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def run_python(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_importing_the_package_asks_for_numpy_and_nothing_else_optional():
    # A finder in front of all others sees also the attempts that an `except ImportError` hides,
    # and those for packages that are not installed here.
    code = """
import json, sys
asked = []
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            asked.append(name)
sys.meta_path.insert(0, Watch)
import tinygrad_opt
print(json.dumps([asked, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
    result = run_python(code, *OPTIONAL)
    assert result.returncode == 0, result.stderr
    asked, loaded = json.loads(result.stdout)
    assert asked == []
    assert set(loaded).isdisjoint(OPTIONAL)
    assert "numpy" in loaded


def test_a_star_import_brings_every_op_but_hides_no_builtin():
    names: dict = {}
    exec("from tinygrad_opt import *", names)
    assert {"Tensor", "exp", "matmul", "cross_entropy", "nn", "optim"} <= set(names)
    assert {name for name in dir(builtins) if not name.startswith("_")}.isdisjoint(names)
    hidden = set(tinygrad_opt.ops.OPS) - set(names)
    assert hidden == {"abs", "max", "min", "sum"}


def test_the_package_is_found_also_in_the_folder_above_a_checkout_of_its_name(tmp_path):
    """There the checkout's folder looks like an empty namespace package. That is found before an
    import hook is asked, but a real package anywhere on the path goes before it."""
    checkout = tmp_path / "tinygrad_opt"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, checkout / "tinygrad_opt", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    code = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    built = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (path_file,) = (n for n in archive.namelist() if n.startswith("__editable__"))
        assert path_file.endswith(".pth")
        assert Path(archive.read(path_file).decode().strip()) == checkout


def test_the_version_is_the_installed_one():
    try:
        installed = importlib.metadata.version("tinygrad-opt")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tinygrad-opt runs from its folder here and is not installed")
    assert tinygrad_opt.__version__ == installed


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.M) == [tinygrad_opt.__version__]


def test_the_script_entry_leads_to_a_function_of_the_command_line():
    module, _, name = read_project()["scripts"]["tinygrad-opt"].partition(":")
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_a_wheel_holds_every_module_the_type_marker_the_data_and_the_license(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    out.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, source / "tinygrad_opt", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(out)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr

    (wheel,) = out.glob("*.whl")
    assert wheel.name == f"tinygrad_opt-{tinygrad_opt.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (name for name in held if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    there = [path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()]
    expected = {name for name in there if not re.search(r"/\.|/__pycache__/", name)}
    assert "tinygrad_opt/py.typed" in expected
    assert any(re.match(r"tinygrad_opt/data/digits\.(?!py)", name) for name in expected)
    assert {name for name in held if ".dist-info/" not in name} == expected
    assert any(name.endswith("/LICENSE") for name in held)
    assert "License-Expression: MIT" in text
    assert "Requires-Python: >=3.11" in text


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_module_opens_with_a_docstring_of_at_least_one_whole_sentence(path):
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring, f"{path.name} has no docstring"
    paragraph = docstring.split("\n\n")[0].rstrip()
    assert len(paragraph.split()) >= 3
    assert paragraph[-1] in ".:!?", f"the first paragraph does not end: {paragraph!r}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_module_is_too_long_or_too_wide_to_read(path):
    assert path.name != "utils.py", "a module is named for its subject"
    lines = path.read_text("utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 100] == []
    assert count_code_lines(path) <= 400


def test_every_module_stands_on_a_floor():
    assert {name.split(".")[1] for name in MODULES if "." in name} <= set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward_only(module):
    upward = [
        f"line {line}: {module} imports {target}"
        for target, line in imports_of(module, lazy_too=False)
        if floor_of(target) > floor_of(module)
    ]
    assert upward == []


def test_no_circle_of_imports_exists_even_through_imports_inside_functions():
    state = {}  # absent: not seen, "open": on the present path, "done": leads into no circle

    def visit(module, path):
        assert state.get(module) != "open", " -> ".join([*path[path.index(module) :], module])
        if module not in state:
            state[module] = "open"
            for target, _ in imports_of(module, lazy_too=True):
                visit(target, [*path, module])
            state[module] = "done"

    for module in MODULES:
        visit(module, [])
    assert set(state.values()) == {"done"}


def test_the_core_needs_four_packages_and_each_range_is_closed_at_both_ends():
    assert [r.name for r in requirements()] == ["numpy", "matplotlib", "rich", "safetensors"]
    for requirement in requirements("dev", "cuda12", "cuda13"):
        operators = {part.operator for part in requirement.specifier}
        assert {">=", "<"} <= operators <= {">=", "<", "!="}, str(requirement)


def test_numpy_2_is_taken_from_its_first_release_and_numpy_1_and_3_are_not():
    (numpy,) = (r for r in requirements() if r.name == "numpy")
    accepted = [v for v in ("1.26.4", "2.0.0", "2.4.6", "2.9.0", "3.0.0") if v in numpy.specifier]
    assert accepted == ["2.0.0", "2.4.6", "2.9.0"]


def test_no_extra_builds_cupy_from_source_and_only_the_cuda_extras_bring_cupy():
    extras = read_project()["optional-dependencies"]
    assert set(extras) == {"fast", "lab", "tune", "cuda12", "cuda13", "dev"}
    for extra in extras:
        brought = [r.name for r in requirements(extra) if "cupy" in r.name]
        assert brought == ([f"cupy-{extra}x"] if extra in ("cuda12", "cuda13") else [])


def test_the_constraints_pin_every_dependency_inside_its_range():
    pins = read_pins()
    wanted = {canonicalize_name(r.name): r.specifier for r in requirements("dev")}
    assert wanted.keys() <= pins.keys()
    assert [name for name, range_ in wanted.items() if pins[name] not in range_] == []
    assert pins["torch"] == Version("2.13.0")


def needed_at_the_pins(name, pins, seen):
    """Adds to `seen` what a package needs on this machine, and what that needs, and so on.

    Only a package that is installed at its pinned version can tell what the pinned version needs.
    """
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    if pins.get(name) != Version(Version(installed.version).public):
        return
    for requirement in map(Requirement, installed.requires or []):
        needed = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and needed not in seen:
            seen.add(needed)
            needed_at_the_pins(needed, pins, seen)


def test_the_constraints_pin_what_the_pinned_packages_need_but_no_cuda_library():
    cuda = re.compile("nvidia|cuda|cupy|triton")
    pins, needed = read_pins(), set()
    for requirement in requirements("dev"):
        needed_at_the_pins(canonicalize_name(requirement.name), pins, needed)
    assert {name for name in needed - pins.keys() if not cuda.match(name)} == set()
    assert {name for name in pins if cuda.match(name)} == set()


def test_the_readme_the_makefile_and_ci_agree_on_the_two_commands():
    readme = (ROOT / "README.md").read_text("utf-8")
    called = re.findall(r"^make (\w+)", (ROOT / ".ci/run").read_text("utf-8"), re.M)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert called[-1] == "test", "CI ends with the tests, so that their summary is its last line"
    assert set(called) <= set(targets)
    for command in ("demo", "test"):
        assert command in called
        assert f"make {command}" in readme
