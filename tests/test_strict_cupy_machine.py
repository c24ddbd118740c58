"""The machine that the stand-in plays: what waits for its GPU, what is counted, what is broken, and
how it takes the place of CuPy.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strict_cupy
from strict_cupy.example import names_for

# ---- waiting for the GPU -------------------------------------------------------------------------

WAITS = [
    "float(s)", "int(s)", "bool(s)", "s.item()", "x.get()", "cp.asnumpy(x)", "x.tolist()", "str(x)",
    "f'{s}'", "if_not = not s", "x[x > 2]", "x[x > 2] = 0", "cp.where(x > 2)", "x.nonzero()",
    "cp.argwhere(x)", "cp.flatnonzero(x)", "cp.bincount(i)", "x.fill(s)", "pickle.dumps(x)",
    "math.sqrt(s)", "cp.cuda.Device().synchronize()",
]  # fmt: skip

DOES_NOT_WAIT = [
    "x + x", "x @ x.T", "x.sum()", "cp.where(x > 2, x, 0)", "cp.isfinite(x).all()", "x[i]", "x[0]",
    "x[ni]", "x[...] = 1", "x[0] = s", "cp.asarray(n)", "x.set(n)", "cp.add.at(x, i, 1)",
    "cp.take_along_axis(x, k, 1)", "cp.linalg.norm(x)", "cp.allclose(x, y)", "cp.array_equal(x, y)",
    "cp.concatenate([x, x])", "cp.pad(x, 1)", "copy.deepcopy(x)", "len(x), x.shape", "x == None",
    "cp.clip(x, s, 4)", "cp.count_nonzero(x)", "cp.einsum('ij,kj->ik', x, x)", "x.argmax()",
]  # fmt: skip


@pytest.mark.parametrize("code", WAITS)
def test_is_noticed_to_wait_for_the_gpu(cp, no_sync, code):
    import cupyx

    names = names_for(cp)
    with pytest.raises(cupyx.DeviceSynchronized, match="synchronization was detected"), no_sync():
        exec(code, names)


@pytest.mark.parametrize("code", DOES_NOT_WAIT)
def test_does_not_wait_for_the_gpu(cp, no_sync, code):
    names = names_for(cp)
    with no_sync():
        exec(code, names)


def test_waiting_is_allowed_again_after_the_block(standin):
    with pytest.raises(strict_cupy.DeviceSynchronized), strict_cupy.no_sync():
        float(standin.ones(()))
    assert float(standin.ones(())) == 1.0


COUNTED = [
    ("x + x", (1, 0, 0)),
    ("x += x", (1, 0, 0)),
    ("np.sqrt(x)", (1, 0, 0)),
    ("x.sum() / x.size", (2, 0, 0)),
    ("cp.where(x > 2, x, 0)", (2, 0, 0)),
    ("x @ x.T", (1, 0, 0)),
    ("x.reshape(-1).T[0].squeeze()", (0, 0, 0)),
    ("x.shape, x.dtype, len(x)", (0, 0, 0)),
    ("cp.asarray(n)", (0, 1, 0)),
    ("x.set(n)", (0, 1, 0)),
    ("x[ni]", (1, 1, 0)),
    ("x[i]", (1, 0, 0)),
    ("x[0]", (0, 0, 0)),
    ("x[0] = 1", (1, 0, 0)),
    ("float(x.sum())", (1, 0, 1)),
    ("x.get()", (0, 0, 1)),
    ("x[x > 2]", (2, 0, 1)),
    ("print(s)", (0, 0, 1)),
]


@pytest.mark.parametrize(("code", "counts"), COUNTED, ids=[c for c, _ in COUNTED])
def test_counts_launches_uploads_and_synchronisations(standin, code, counts):
    names = names_for(standin)
    with strict_cupy.counting() as seen:
        exec(code, names)
    assert (seen.launches, seen.uploads, seen.synchronisations) == counts


def test_counting_can_be_nested_and_ends_with_its_block(standin):
    x = standin.ones(3)
    with strict_cupy.counting() as outer:
        x + 1
        with strict_cupy.counting() as inner:
            x + 1
        x + 1
    x + 1
    assert (inner.launches, outer.launches) == (1, 3)


# ---- machines on which CuPy does not work --------------------------------------------------------


DRIVER_SAYS = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)


def test_without_a_driver_every_allocation_raises_what_the_driver_says():
    with strict_cupy.installed(driver=False) as cupy:
        assert not cupy.is_available()
        assert not cupy.cuda.is_available()
        error, says = cupy.cuda.runtime.CUDARuntimeError, re.escape(DRIVER_SAYS)
        for call in (
            lambda: cupy.zeros(1),
            lambda: cupy.asarray(np.ones(3)),
            lambda: cupy.array([1.0]),
            lambda: cupy.exp(1.0),
            lambda: cupy.ndarray(3),
            lambda: cupy.random.default_rng(0),
            lambda: cupy.cuda.Device(),
            lambda: cupy.cuda.Stream(),
            lambda: cupy.cuda.runtime.getDeviceCount(),
        ):
            with pytest.raises(error, match=says):
                call()
        assert cupy.get_array_module(np.ones(3)) is np
        np.testing.assert_array_equal(cupy.asnumpy(np.ones(3)), np.ones(3))


def test_without_cuda_headers_memory_can_be_had_but_no_kernel_runs():
    with strict_cupy.installed(headers=False) as cupy:
        assert cupy.is_available()
        ones = cupy.asarray(np.ones(1))
        with pytest.raises(RuntimeError, match="Failed to find CUDA headers"):
            ones + 1


def test_the_machine_works_again_after_the_block():
    with strict_cupy.installed(driver=False), strict_cupy.installed() as cupy:
        assert cupy.is_available()
        cupy.zeros(1)
    with strict_cupy.installed() as cupy:
        cupy.zeros(1)


# ---- installing it -------------------------------------------------------------------------------


def test_installed_gives_import_cupy_inside_the_block_alone(monkeypatch):
    elsewhere = object()
    monkeypatch.setitem(sys.modules, "cupyx", elsewhere)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with strict_cupy.installed() as standin:
        import cupy
        import cupy.linalg
        from cupy import ndarray
        from cupyx.scipy.special import erf

        assert cupy is standin and ndarray is strict_cupy.ndarray and callable(erf)
    assert "cupy" not in sys.modules and "cupy.linalg" not in sys.modules
    assert sys.modules["cupyx"] is elsewhere


def test_install_lasts_for_the_process():
    code = "import strict_cupy; strict_cupy.install(); import cupy; print(cupy.__version__)"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=Path(__file__).parent)
    assert printed.decode().strip() == strict_cupy.api.VERSION


def test_the_names_are_those_of_cupy_and_no_other():
    for module in strict_cupy.modules.ALL:
        listed = set(strict_cupy.api.SPACES[module.__name__])
        own = {name for name in vars(module) if not name.startswith("_")}
        assert own <= listed
        assert set(dir(module)) == listed
    attributes = {name for name in dir(strict_cupy.ndarray) if not name.startswith("_")}
    assert attributes == set(strict_cupy.api.SPACES["cupy.ndarray"])


def test_what_the_stand_in_does_not_model_says_so(standin):
    for missing in (
        lambda: standin.fuse,
        lambda: standin.ones(3).flat,
        lambda: standin.apply_along_axis,
        lambda: standin.ones(3).argmax(None, None, None),
        lambda: standin.argmax(standin.ones(3), None, "i4"),
    ):
        with pytest.raises(NotImplementedError, match="the stand-in does not model"):
            missing()


def test_dlpack_hands_the_memory_to_torch_and_back(standin):
    torch = pytest.importorskip("torch")
    x = standin.ones(3, dtype="f4")
    tensor = torch.from_dlpack(x)
    tensor[0] = 5
    back = standin.from_dlpack(tensor)
    assert type(back) is standin.ndarray
    assert float(x[0]) == float(back[0]) == 5.0
