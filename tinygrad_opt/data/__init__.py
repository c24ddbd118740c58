"""Data to train on without a download: real digits, toy sets in the plane, mini-batches."""

from tinygrad_opt.data.balanced import ClassBalancedBatches
from tinygrad_opt.data.batches import Batches
from tinygrad_opt.data.digits import load_digits
from tinygrad_opt.data.toy import blobs, moons, spirals

__all__ = ["Batches", "ClassBalancedBatches", "blobs", "load_digits", "moons", "spirals"]
