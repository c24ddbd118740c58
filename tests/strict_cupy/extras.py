"""The few names of `cupyx`, CuPy's package of what NumPy does not have."""

import contextlib

import numpy as np

import strict_cupy
from strict_cupy import device
from strict_cupy.device import DeviceSynchronized

__all__ = [
    "DeviceSynchronized", "allow_synchronize", "empty_pinned", "scatter_add", "zeros_pinned",
]  # fmt: skip


@contextlib.contextmanager
def allow_synchronize(allow):
    before, device.may_wait = device.may_wait, allow
    try:
        yield
    finally:
        device.may_wait = before


def scatter_add(a, slices, value):
    strict_cupy.cupy.add.at(a, slices, value)


def empty_pinned(shape, dtype=float, order="C"):
    device.allocate()
    return np.empty(shape, dtype, order)


def zeros_pinned(shape, dtype=float, order="C"):
    device.allocate()
    return np.zeros(shape, dtype, order)
