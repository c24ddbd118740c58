"""A stand-in for CuPy on machines without a GPU: NumPy inside, CuPy's refusals outside.

Code that runs on it runs on CuPy, as far as arrays go: its arrays never turn into NumPy arrays by
themselves and never meet one, results are 0-d arrays instead of scalars, and only the names and
parameters of CuPy `api.VERSION` exist. What is refused and what is allowed is listed case by case
in tests/test_strict_cupy*.py, which ask real CuPy the same questions where there is a GPU. An
`ElementwiseKernel` runs, too, where there is a C++ compiler.

    with strict_cupy.installed() as cupy:        # sys.modules["cupy"], ["cupyx"] and so on
        x = cupy.asarray(np.ones(3))
        with strict_cupy.no_sync():
            y = x * 2                            # float(y), y.get(), y[y > 0], print(y) would raise
        with strict_cupy.counting() as counts:
            y.sum()
        assert counts.launches == 1

Where it differs:

* Numbers come from NumPy, and so do the last bits of a sum, an exp or a tanh.
* It refuses NumPy arrays where CuPy quietly copies them over (`cupy.diff(numpy_array)`; as indices
  they may still come), a 0-d array as the bound of a slice, and `k ** -1` of integers, which gives
  zeros on CuPy. A stream's `synchronize` counts as waiting.
* It does not notice the waits inside `repeat` by an array, `linspace` between arrays, and weighted
  `average`.
* `__dlpack_device__` says CPU, and there is no `__cuda_array_interface__`: other libraries can find
  the memory only where it is. `x.base` equals the array that x views, but is another object.
"""

import contextlib
import sys
from collections.abc import Iterator

from strict_cupy import device
from strict_cupy.arrays import ndarray
from strict_cupy.device import Counts, CUDARuntimeError, DeviceSynchronized
from strict_cupy.extras import allow_synchronize
from strict_cupy.kernels import NoCompiler
from strict_cupy.modules import ALL, cupy, cupyx

__all__ = [
    "CUDARuntimeError", "Counts", "DeviceSynchronized", "NoCompiler", "counting", "cupy", "cupyx",
    "install", "installed", "ndarray", "no_sync",
]  # fmt: skip


def install() -> None:
    """Let `import cupy` give the stand-in from here on, for the rest of the process."""
    sys.modules.update({module.__name__: module for module in ALL})


@contextlib.contextmanager
def installed(*, driver: bool = True, headers: bool = True) -> Iterator:
    """Let `import cupy` give the stand-in inside the block.

    `driver=False` plays a machine with CuPy but without a GPU: `is_available()` says no, and each
    allocation raises CUDARuntimeError. `headers=False` plays one with a GPU but without the CUDA
    headers: memory can be had, the first kernel raises.
    """
    names = {module.__name__ for module in ALL}
    before = {name: module for name, module in sys.modules.items() if name in names}
    machine = device.has_driver, device.has_headers
    install()
    device.has_driver, device.has_headers = driver, headers
    try:
        yield cupy
    finally:
        device.has_driver, device.has_headers = machine
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """What the GPU is asked to do inside the block."""
    outside, device.counts = device.counts, Counts()
    try:
        yield device.counts
    finally:
        outside.include(device.counts)
        device.counts = outside


def no_sync() -> contextlib.AbstractContextManager[None]:
    """Forbid to wait for the GPU inside the block: what waits raises DeviceSynchronized."""
    return allow_synchronize(False)
