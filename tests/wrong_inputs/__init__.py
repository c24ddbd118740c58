"""The table of wrong inputs: over three hundred mistakes, and what a user is told about each."""

from wrong_inputs import autograd, loss, ops, shape
from wrong_inputs.base import NOT_YET_ON_CUPY, WRONG

__all__ = ["NOT_YET_ON_CUPY", "WRONG", "autograd", "loss", "ops", "shape"]
