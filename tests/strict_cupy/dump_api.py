"""Writes api.json: every public name of the installed CuPy, with its parameters. It needs no GPU.

    cd tests && python -m strict_cupy.dump_api      (in an environment that has the CuPy wheel)

The stand-in and the scan of tests/test_xp_names.py both read the list, so neither needs CuPy.
"""

import ast
import inspect
import json
import re
import types
from pathlib import Path

LISTED = (  # a parent before its children
    "cupy",
    "cupy.linalg",
    "cupy.random",
    "cupy.cuda",
    "cupy.cuda.runtime",
    "cupyx",
    "cupyx.scipy",
    "cupyx.scipy.special",
    "cupy.ndarray",
    "cupy.ufunc",
    "cupy.cuda.Device",
    "cupy.cuda.Event",
    "cupy.cuda.Stream",
    "cupy.random.Generator",
)


def describe(thing, ufunc: type) -> str:
    """What api.json says of one name: `ufunc`, `class`, `module`, `value`, or its parameters in
    parentheses (`(?)` where CuPy does not tell them)."""
    if isinstance(thing, ufunc):
        return "ufunc"
    if inspect.isclass(thing):
        return "class"
    if inspect.ismodule(thing):
        return "module"
    if not callable(thing):
        return "value"
    return f"({parameters(thing)})"


def parameters(function) -> str:
    """The parameters of `function` as a lambda lists them, with `...` for each default that is not
    a plain literal."""
    try:
        listed = inspect.signature(function).parameters.values()
    except ValueError:  # compiled code: Cython writes the signature into the docstring
        return from_docstring(function.__doc__ or "")
    plain = [p.replace(annotation=p.empty, default=default_of(p)) for p in listed]
    signature = inspect.Signature([p for p in plain if p.name != "self"])
    return str(signature)[1:-1].replace("Ellipsis", "...")


def default_of(parameter: inspect.Parameter):
    missing = parameter.default is parameter.empty
    return parameter.empty if missing else literal(repr(parameter.default))


def literal(written):
    """The value of a literal (its text or its syntax tree), `...` of anything else."""
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return ...


def from_docstring(doc: str) -> str:
    signature = re.match(r"[\w.]+\((.*)\)", doc)
    if not signature:
        return "?"
    untyped = re.sub(r"(?:[\w.]+ )+(\w+ *(?:[,=]|$))", r"\1", signature[1])
    listed = ast.parse(f"lambda {untyped}: None", mode="eval").body.args
    listed.args = [a for a in listed.args if a.arg != "self"]
    for defaults in (listed.defaults, listed.kw_defaults):
        defaults[:] = [d and ast.Constant(literal(d)) for d in defaults]
    return ast.unparse(listed)


def public_names(space) -> dict[str, str]:
    import cupy

    names = (name for name in dir(space) if not name.startswith("_"))
    if isinstance(space, types.ModuleType):
        return {name: describe(getattr(space, name), cupy.ufunc) for name in names}
    # Attributes of a class are described without an instance, which would need a GPU.
    return {name: describe(inspect.getattr_static(space, name), cupy.ufunc) for name in names}


def main() -> None:
    import cupy
    import cupyx.scipy.special

    api = {"version": cupy.__version__}
    for path in LISTED:
        space = {"cupy": cupy, "cupyx": cupyx}[path.split(".")[0]]
        for name in path.split(".")[1:]:
            space = getattr(space, name)
        api[path] = public_names(space)
        parent, _, name = path.rpartition(".")
        if parent:  # some modules load names so late that dir() does not show them
            api[parent][name] = describe(space, cupy.ufunc)
    text = json.dumps(api, indent=0, sort_keys=True)
    Path(__file__).with_name("api.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
