"""Optimizers, each written once as a rule: a few lines of plain Python in the field's own
letters."""

from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.adam import Adam, Adamax, AdamW, AMSGrad, Lion, NAdam, RAdam
from tinygrad_opt.optim.adaptive import Adadelta, Adagrad, RMSProp, Rprop
from tinygrad_opt.optim.averaging import ASGD, ScheduleFree
from tinygrad_opt.optim.groups import without_decay
from tinygrad_opt.optim.layerwise import LAMB, LARS
from tinygrad_opt.optim.lbfgs import LBFGS
from tinygrad_opt.optim.matrices import Adafactor, Muon
from tinygrad_opt.optim.momentum import SGD, Momentum, Nesterov
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.tensorwise import TensorOptimizer as TensorOptimizer
from tinygrad_opt.optim.transforms import (
    L2,
    Centralize,
    ClipNorm,
    ClipValue,
    GaussianNoise,
    Transform,
)
from tinygrad_opt.optim.wrappers import SAM, Lookahead

__all__ = [
    "Optimizer", "Rule", "SGD", "Momentum", "Nesterov", "Adagrad", "RMSProp",
    "Adadelta", "Adam",
    "AMSGrad", "AdamW", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD", "Lion", "LAMB", "LARS",
    "Adafactor", "Muon", "LBFGS", "ScheduleFree", "SAM", "Lookahead",
    "GaussianNoise", "ClipNorm", "ClipValue", "L2", "Centralize", "Transform",
    "schedules", "without_decay",
]  # fmt: skip
