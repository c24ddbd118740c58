"""Optimizers, each written once as a rule: a few lines of plain Python in the field's own
letters."""

from tinygrad_opt.optim.momentum import SGD, Momentum
from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["SGD", "Momentum", "Optimizer"]
