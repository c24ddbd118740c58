"""No module of tinygrad_opt asks CuPy for a name or a parameter that it does not have.

The code says `xp.NAME` where xp is NumPy or CuPy. A name that NumPy alone has may pass all tests
without a GPU and fail on the first run with one, so the source itself is searched, against the list
of CuPy's names in strict_cupy/api.json; the examples and the Python of the docs are, too. Whether a
method of an array takes what it is given, the stand-in checks as it runs; here are found the
keywords alone that NumPy's methods have and CuPy's lack.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from strict_cupy.api import EINSUM_KEYWORDS, SPACES, UFUNC_KEYWORDS, UFUNC_METHODS, kind, signature

import tinygrad_opt
from tinygrad_opt.optim.grammar import FUNCTIONS

PACKAGE = Path(tinygrad_opt.__file__).parent

MODULE_NAMES = {"xp": "cupy", "cp": "cupy", "cupy": "cupy", "cupyx": "cupyx"}
ONLY_NUMPYS = {"where", "initial", "correction", "subok", "casting", "min", "max"}
MODULE_MAKERS = {"array_module", "module_of", "get_array_module"}


def mistakes(source: str) -> list[str]:
    """What CuPy would refuse in `source`, as "line: what"."""
    tree = ast.parse(source)
    finder = _Finder(MODULE_NAMES | dict(_aliases(tree)))
    finder.visit(tree)
    return finder.found


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that the source itself gives to CuPy's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from ((name, "cupy") for name in _modules_among(target, node.value))
        elif isinstance(node, ast.Import):
            yield from ((a.asname, a.name) for a in node.names if a.asname and a.name in SPACES)


def _modules_among(target: ast.AST, value: ast.AST) -> Iterator[str]:
    """The names of a target, `a` or `a, b`, to which a module is assigned."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for part, its in zip(target.elts, value.elts, strict=False):
            yield from _modules_among(part, its)
    elif isinstance(target, ast.Name) and _makes_a_module(value):
        yield target.id


def _makes_a_module(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "attr", getattr(node.func, "id", None)) in MODULE_MAKERS


def place_of(names: list[str]) -> tuple[str, str] | None:
    """Where api.json lists the last of a chain of names, as (module or class, name); None where the
    chain leaves the list. LookupError for a name that CuPy does not have."""
    space, place = names[0], None
    for n, name in enumerate(names[1:], 1):
        if space not in SPACES or name.startswith("_"):
            return None
        if kind(space, name) is None:
            raise LookupError(f"{'.'.join(names[:n])} has no {name}")
        if space == "cupy.ufunc" and names[n - 1] not in UFUNC_METHODS.get(name, names):
            raise LookupError(f"{'.'.join(names[: n + 1])} raises NotImplementedError")
        place = space, name
        space = "cupy.ufunc" if kind(space, name) == "ufunc" else f"{space}.{name}"
    return place


class _Finder(ast.NodeVisitor):
    def __init__(self, modules: dict[str, str]):
        self.modules = modules
        self.found: list[str] = []

    def report(self, node: ast.AST, what: object) -> None:
        self.found.append(f"{node.lineno}: {what}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if node.module in SPACES and kind(node.module, alias.name) is None:
                self.report(node, f"{node.module} has no {alias.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names = self.chain(node)
        if names is None:
            return self.generic_visit(node)
        try:
            place_of(names)
        except LookupError as error:
            self.report(node, error)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        names = self.chain(node.func)
        try:
            place = place_of(names) if names else None
        except LookupError:
            return  # reported as an attribute
        if place is not None:
            self.check_arguments(node, *place)
        elif names is None and isinstance(node.func, ast.Attribute):
            self.check_method(node, node.func.attr)

    def check_method(self, node: ast.Call, name: str) -> None:
        """`x.sum(where=m)`: x may be an array, and then it may be CuPy's. (NumPy's own functions,
        called as np.sum, are for arrays on the host.)"""
        on_the_host = getattr(node.func.value, "id", None) in ("np", "numpy")
        if on_the_host or kind("cupy.ndarray", name) != "function":
            return
        for k in node.keywords:
            if k.arg in ONLY_NUMPYS and k.arg not in signature("cupy.ndarray", name).parameters:
                self.report(node, f"cupy.ndarray.{name} has no parameter {k.arg}")

    def chain(self, node: ast.AST) -> list[str] | None:
        """["cupy", "linalg", "norm"] for `xp.linalg.norm`, None for what is not CuPy's."""
        if isinstance(node, ast.Name) and node.id in self.modules:
            return [self.modules[node.id]]
        if _makes_a_module(node):
            return ["cupy"]
        if not isinstance(node, ast.Attribute):
            return None
        if node.attr == "xp":  # as in part.xp
            return ["cupy"]
        names = self.chain(node.value)
        return names and [*names, node.attr]

    def check_arguments(self, node: ast.Call, space: str, name: str) -> None:
        keywords = [k.arg for k in node.keywords if k.arg]
        allowed = None
        if kind(space, name) == "ufunc":
            allowed = UFUNC_KEYWORDS
        elif (space, name) == ("cupy", "einsum"):
            allowed = EINSUM_KEYWORDS
        if allowed is not None:
            for wrong in sorted({*keywords} - allowed):
                self.report(node, f"{space}.{name} has no parameter {wrong}")
        elif kind(space, name) == "function" and SPACES[space][name] != "(?)":
            given = [] if any(isinstance(a, ast.Starred) for a in node.args) else node.args
            try:
                signature(space, name).bind_partial(*given, **dict.fromkeys(keywords))
            except TypeError as error:
                self.report(node, f"{space}.{name}: {error}")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.as_posix()
                         .removeprefix(PACKAGE.as_posix() + "/"))  # fmt: skip
def test_cupy_has_every_name_and_parameter_that_the_module_uses(path):
    assert mistakes(path.read_text("utf-8")) == []


@pytest.mark.parametrize("folder", ["examples", "docs"])
def test_cupy_has_every_name_and_parameter_that_the_reader_sees(folder):
    for path in sorted((PACKAGE.parent / folder).rglob("*.*")):
        if path.suffix == ".py":
            assert mistakes(path.read_text("utf-8")) == [], path.name
        elif path.suffix == ".md":
            fences = re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
            assert [m for fence in fences for m in mistakes(fence)] == [], path.name


def test_cupy_has_every_function_that_a_rule_may_call():
    names = set(FUNCTIONS) | {"maximum", "minimum", "where"}
    assert [name for name in names if kind("cupy", name) is None] == []


MISTAKES = [
    ("xp.errstate()", "cupy has no errstate"),
    ("cp.scatter_add(x, i, 1)", "cupy has no scatter_add"),
    ("cupy.vecdot(a, b)", "cupy has no vecdot"),
    ("xp.linalg.vector_norm(x)", "cupy.linalg has no vector_norm"),
    ("xp.random.Generator.normal", "cupy.random.Generator has no normal"),
    ("cupy.cuda.runtime.getDevices()", "cupy.cuda.runtime has no getDevices"),
    ("cupyx.scipy.special.softplus(x)", "cupyx.scipy.special has no softplus"),
    ("from cupyx.scipy.special import erf, softplus", "cupyx.scipy.special has no softplus"),
    ("from cupy import nditer", "cupy has no nditer"),
    ("import cupy.linalg as la; la.vector_norm(x)", "cupy.linalg has no vector_norm"),
    ("array_module(x).unstack(x)", "cupy has no unstack"),
    ("backend.array_module(x).unstack(x)", "cupy has no unstack"),
    ("m = array_module(x); m.unstack(x)", "cupy has no unstack"),
    ("n, m = norm(x), array_module(x); m.unstack(x)", "cupy has no unstack"),
    ("part.xp.unstack(x)", "cupy has no unstack"),
    ("self.part.xp.linalg.vector_norm(x)", "cupy.linalg has no vector_norm"),
    ("part.xp.clip(x, 0, 1, where=m)", "cupy.clip: got an unexpected keyword argument 'where'"),
    ("x.sum(axis=0, where=m)", "cupy.ndarray.sum has no parameter where"),
    ("(x - y).max(initial=0)", "cupy.ndarray.max has no parameter initial"),
    ("x[0].std(correction=1)", "cupy.ndarray.std has no parameter correction"),
    ("f = lambda x: [xp.insert(x, 0, 1)]", "cupy has no insert"),
    ("def f(g=xp.nditer): pass", "cupy has no nditer"),
    ("xp.maximum.reduce(x)", "cupy.maximum.reduce raises NotImplementedError"),
    ("xp.multiply.at(x, i, 2)", "cupy.multiply.at raises NotImplementedError"),
    ("xp.add.identity", "cupy.add has no identity"),
    ("xp.exp(x, where=m)", "cupy.exp has no parameter where"),
    ("xp.add(x, y, order='C')", "cupy.add has no parameter order"),
    ("xp.add.reduce(x, where=m)", "cupy.ufunc.reduce: got an unexpected keyword argument 'where'"),
    ("xp.sum(x, where=m)", "cupy.sum: got an unexpected keyword argument 'where'"),
    ("xp.clip(x, min=0)", "cupy.clip: got an unexpected keyword argument 'min'"),
    ("xp.clip(x, 0, 1, y, 5)", "cupy.clip: too many positional arguments"),
    ("xp.clip(x, 0, a_min=1)", "cupy.clip: multiple values for argument 'a_min'"),
    ("xp.zeros(3, device='cpu')", "cupy.zeros: got an unexpected keyword argument 'device'"),
    ("xp.einsum('ij->i', x, out=y)", "cupy.einsum has no parameter out"),
    ("xp.linalg.norm(x, where=m)", "cupy.linalg.norm: got an unexpected keyword argument 'where'"),
]


@pytest.mark.parametrize(("planted", "found"), MISTAKES, ids=[p for p, _ in MISTAKES])
def test_a_planted_mistake_is_found_with_its_line(tmp_path, planted, found):
    path = tmp_path / "planted.py"
    path.write_text(f"import numpy as np\n\n{planted}\n")
    assert mistakes(path.read_text()) == [f"3: {found}"]


@pytest.mark.parametrize(
    "correct",
    [
        "xp.exp(x, out=y, dtype=d, casting='safe')",
        "xp.sum(x, axis=1, keepdims=True).sum(axis=0)",
        "xp.linalg.norm(x, axis=1)",
        "xp.add.at(x, i, 1); xp.add.reduce(x, axis=(0, 1), keepdims=True)",
        "xp.maximum.at(x, i, 1); xp.subtract.outer(x, y)",
        "xp.einsum('ij->i', *xs, optimize=True)",
        "xp.pad(x, 1, constant_values=2)",
        "xp.stack(*arguments, **options)",
        "xp.__name__, xp.float32(1).itemsize, xp.ndarray.sum",
        "cupy.cuda.runtime.getDeviceCount()",
        "from cupyx.scipy.special import erf",
        "np.errstate(); np.maximum.reduce(x); np.sum(x, where=m)",
        "tg.sum(x); errstate(); other.errstate",
        "part.xp.sign(x).sum(axis=0); x.clip(min=0); model.fit(where=m); x.std(ddof=1)",
        "xp, n = np, 3; xp.linalg.norm(x)",
    ],
)
def test_what_cupy_has_is_no_mistake(correct):
    assert mistakes(correct) == []
