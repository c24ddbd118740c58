"""What all tests share: one fixture that runs a test on every backend of this machine.

    def test_something(backend):
        x = tg.Tensor(backend.array(np.ones(3)))
        ...
        backend.host(x.data)

"cupy-standin" is the strict stand-in of tests/strict_cupy, so that the CuPy path is tested on every
machine; "cuda" is real CuPy on a real GPU, and skipped elsewhere.
"""

import contextlib
import functools
import importlib.util
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
import strict_cupy

import tinygrad_opt as tg

# Derandomised: a test that fails for one reader fails for all. The fixture `backend` is the same
# for every example, so that sharing it among them is no mistake.
hypothesis.settings.register_profile(
    "tinygrad_opt",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tinygrad_opt")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Where the stand-in finds no compiler for a kernel, its test is skipped, with that reason."""
    try:
        return (yield)
    except strict_cupy.NoCompiler as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Backend:
    """A backend under test, current while the test runs.

    `name` is what `tg.use` and `tensor.to` call it, `xp` its module (numpy, CuPy or the stand-in).
    """

    name: str
    xp: ModuleType

    def array(self, host: Any) -> Any:
        """A NumPy array or list as an array of this backend, with its dtype."""
        return self.xp.asarray(host)

    def host(self, x: Any) -> np.ndarray:
        """An array of this backend as a NumPy array; TypeError for anything else."""
        if type(x) is not self.xp.ndarray:
            raise TypeError(f"expected a {self.xp.__name__}.ndarray, got a {type(x)}")
        return x if self.xp is np else self.xp.asnumpy(x)


@pytest.fixture(params=["numpy", "cupy-standin", pytest.param("cuda", marks=pytest.mark.cuda)])
def backend(request):
    """NumPy, the stand-in for CuPy, and CuPy on a GPU, one after the other."""
    if request.param == "numpy":
        with tg.use("numpy"):
            yield Backend("numpy", np)
    elif request.param == "cupy-standin":
        with strict_cupy.installed() as cupy, tg.use("cupy"):
            yield Backend("cupy", cupy)
    else:
        cupy = request.getfixturevalue("real_cupy")
        with tg.use("cupy"):
            yield Backend("cupy", cupy)


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=pytest.mark.cuda)])
def cp(request):
    """The stand-in and CuPy on a GPU, to be asked the same questions."""
    if request.param == "cuda":
        yield request.getfixturevalue("real_cupy")
    else:
        yield request.getfixturevalue("standin")


@pytest.fixture
def standin():
    """The stand-in, in the place of CuPy while the test runs."""
    with strict_cupy.installed() as cupy:
        yield cupy


@pytest.fixture
def no_cupy(monkeypatch):
    """Python's own error where a package is missing, also where CuPy happens to be installed."""
    for name in [n for n in sys.modules if n.partition(".")[0] in ("cupy", "cupyx")]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.partition(".")[0] in ("cupy", "cupyx"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])


@pytest.fixture
def no_sync(cp):
    """`with no_sync():` forbids to wait for the GPU inside the block, on the stand-in and on CuPy;
    what waits raises cupyx.DeviceSynchronized."""
    if cp is strict_cupy.cupy:
        return strict_cupy.no_sync
    import cupyx

    @contextlib.contextmanager
    def quietly():
        # It warns that it will be removed.
        with warnings.catch_warnings(action="ignore"), cupyx.allow_synchronize(False):
            yield

    return quietly


@pytest.fixture
def real_cupy():
    """Real CuPy on a real GPU; skips the test where one of them is missing."""
    cupy, missing = _real_cupy()
    if cupy is None:
        pytest.skip(missing)
    return cupy


@functools.cache
def _real_cupy() -> tuple[ModuleType | None, str]:
    """CuPy, proved by a kernel that has run, or else None and what is missing."""
    if sys.modules.get("cupy") is strict_cupy.cupy:
        raise RuntimeError("ask for real CuPy outside of strict_cupy.installed()")
    if importlib.util.find_spec("cupy") is None:
        return None, "needs CuPy and an NVIDIA GPU; CuPy is not installed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cupy
        cupy.zeros(1) + 1
    except Exception as error:
        return None, f"needs an NVIDIA GPU; CuPy says: {error}"
    return cupy, ""
