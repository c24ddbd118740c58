"""The table of wrong inputs: over three hundred mistakes, and what a user is told about each."""

from wrong_inputs import autograd, loss, ops, shape
from wrong_inputs.base import WRONG

__all__ = ["WRONG", "autograd", "loss", "ops", "shape"]
