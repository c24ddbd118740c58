"""tinygrad_opt: the optimizer you can read is the optimizer that runs.

    import tinygrad_opt as tg

`tg.Tensor` and every op (`tg.exp`, `tg.matmul`, `tg.cross_entropy`, ...) live here; modules in
`tg.nn`, optimizers in `tg.optim`, data sets in `tg.data`, the training loop in `tg.train`, and the
checks of gradients in `tg.testing`.
"""

from typing import TYPE_CHECKING, Any

from tinygrad_opt import backend
from tinygrad_opt.autograd import detect_anomaly, grad, hvp, no_grad, primitive
from tinygrad_opt.backend import manual_seed, use
from tinygrad_opt.ops import OPS, from_dlpack
from tinygrad_opt.tensor import Tensor

__version__ = "0.1.0"

globals().update(OPS)
if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...  # the ops, for type checkers


backend.use_environment()

__all__ = [
    "Tensor", "backend", "detect_anomaly", "from_dlpack", "grad", "hvp", "manual_seed", "no_grad",
    "primitive", "use", *OPS,
]  # fmt: skip
