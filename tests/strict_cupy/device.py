"""The GPU that the stand-in pretends to have: whether it works, whether waiting for it is allowed,
and how often it was asked.

CuPy starts kernels without waiting for them; only what brings numbers back to the host waits. The
stand-in cannot show the time that this saves, so it counts, and on demand forbids, the waits.
"""

from dataclasses import dataclass

NO_DRIVER = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
NO_HEADERS = (
    "Failed to find CUDA headers. Please install CUDA toolkit headers "
    "(e.g., pip install cupy-cuda12x[ctk]) or specify CUDA_PATH environment variable."
)


class CUDARuntimeError(RuntimeError):
    """What every allocation raises on a machine without a GPU or its driver."""


class DeviceSynchronized(RuntimeError):
    """What waiting for the GPU raises inside `no_sync()`."""


@dataclass
class Counts:
    """What the GPU was asked to do.

    `launches` is the number of calls that start work on it (one kernel or more each), `uploads` the
    number of copies from the host, `synchronisations` the number of waits for a result.
    """

    launches: int = 0
    uploads: int = 0
    synchronisations: int = 0

    def include(self, part: "Counts") -> None:
        self.launches += part.launches
        self.uploads += part.uploads
        self.synchronisations += part.synchronisations


counts = Counts()
has_driver = True
has_headers = True
may_wait = True


def allocate() -> None:
    """Before memory is taken: CuPy asks the driver for the first time."""
    if not has_driver:
        raise CUDARuntimeError(NO_DRIVER)


def launch() -> None:
    """Before a kernel starts: CuPy compiles it, for which it needs the CUDA headers."""
    if not (has_driver and has_headers):
        allocate()
        raise RuntimeError(NO_HEADERS)
    counts.launches += 1


def upload() -> None:
    """Before a copy from the host, which does not wait."""
    allocate()
    counts.uploads += 1


def synchronise() -> None:
    """Before the host waits for the GPU."""
    if not may_wait:
        raise DeviceSynchronized("Device synchronization was detected while disallowed.")
    counts.synchronisations += 1
