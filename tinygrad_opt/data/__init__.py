"""Data to train on without a download: real digits, toy sets in the plane, mini-batches; and files
of MNIST's format, read and written."""

from tinygrad_opt.data.balanced import ClassBalancedBatches
from tinygrad_opt.data.batches import Batches
from tinygrad_opt.data.digits import load_digits
from tinygrad_opt.data.idx import read_idx, write_idx
from tinygrad_opt.data.toy import blobs, moons, spirals

__all__ = [
    "Batches", "ClassBalancedBatches", "blobs", "load_digits", "moons", "read_idx", "spirals",
    "write_idx",
]  # fmt: skip
