"""What real CuPy has: its public names and their parameters, read from api.json.

The file is written by dump_api.py from the wheel of one CuPy version, `VERSION`.
"""

import functools
import inspect
import json
from pathlib import Path

_listed = json.loads(Path(__file__).with_name("api.json").read_text())

VERSION: str = _listed.pop("version")
SPACES: dict[str, dict[str, str]] = _listed

# The rest of NumPy's are missing: where=, order=, subok=, signature=.
UFUNC_KEYWORDS = frozenset({"out", "dtype", "casting"})

# Every ufunc has these methods; of all ufuncs but these, they raise NotImplementedError.
UFUNC_METHODS = {
    "at": {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"},
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
}

# The signature of einsum says **kwargs and takes these.
EINSUM_KEYWORDS = frozenset({"dtype", "optimize"})


def kind(space: str, name: str) -> str | None:
    """ "ufunc", "class", "module", "value" or "function"; None where CuPy has no such name."""
    entry = SPACES[space].get(name)
    return "function" if entry is not None and entry.startswith("(") else entry


@functools.cache
def signature(space: str, name: str) -> inspect.Signature:
    """The parameters of a function or method of real CuPy."""
    return inspect.signature(eval(f"lambda {SPACES[space][name][1:-1]}: None"))
