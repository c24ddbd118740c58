"""tinygrad_opt: the optimizer you can read is the optimizer that runs.

    import tinygrad_opt as tg

`tg.Tensor` and every op (`tg.exp`, `tg.matmul`, `tg.cross_entropy`, ...) live here; modules in
`tg.nn`, optimizers in `tg.optim`, data sets in `tg.data`, the training loop in `tg.train`, saving
and resuming in `tg.checkpoint`, and the checks of gradients in `tg.testing`.
"""

import builtins
import importlib
import os
import sys
from typing import Any

from tinygrad_opt import backend
from tinygrad_opt.autograd import detect_anomaly, grad, hvp, no_grad, primitive
from tinygrad_opt.backend import manual_seed, use
from tinygrad_opt.ops import OPS, from_dlpack
from tinygrad_opt.tensor import Tensor

__version__ = "0.1.0"

_MODULES = ("checkpoint", "data", "lab", "nn", "optim", "plots", "suspicions", "testing", "train")


def __getattr__(name: str) -> Any:
    """The floors above, imported when first named, so that `import tinygrad_opt` stays quick."""
    if name in _MODULES:
        return importlib.import_module(f"tinygrad_opt.{name}")
    raise AttributeError(f"module 'tinygrad_opt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


def _is_the_command() -> bool:
    """Whether Python runs `tinygrad-opt` or `python -m tinygrad_opt`, and imports the package for
    that; its name stands before its arguments, where `sys.argv` has the path, or as yet "-m"."""
    program = sys.orig_argv[-len(sys.argv) :][:1]
    names = [os.path.basename(name).removesuffix(".exe") for name in program]
    return names in (["tinygrad-opt"], ["tinygrad_opt"], ["-mtinygrad_opt"])


globals().update(OPS)
try:
    backend.use_environment()
except (RuntimeError, ValueError) as error:
    if not _is_the_command():
        raise
    # Wrong usage, before `main` could be imported to tell of it.
    print(f"tinygrad-opt: error: {error}", file=sys.stderr)
    sys.exit(2)

__all__ = [
    "Tensor", "backend", "detect_anomaly", "from_dlpack", "grad", "hvp", "manual_seed", "no_grad",
    "primitive", "use", *_MODULES, *(name for name in OPS if not hasattr(builtins, name)),
]  # fmt: skip
