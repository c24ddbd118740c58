"""One switch: new arrays are made where it points, old ones stay, and no two backends mix."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import strict_cupy
import torch

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from tinygrad_opt import backend as switch

ROOT = Path(tg.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def back_to_numpy():
    """Whatever a test does to the switch, and however it fails."""
    yield
    switch._current, switch._module = "numpy", np
    switch._generator = None


@pytest.fixture
def cupy(cp):
    """The stand-in, and CuPy on a GPU."""
    return cp


# ---- the switch ----------------------------------------------------------------------------------


def test_numpy_is_the_backend_until_one_says_otherwise():
    assert switch.current() == "numpy"
    assert type(Tensor([1, 2]).data) is np.ndarray


def test_use_switches_for_good_and_as_a_context_for_the_block(cupy):
    with tg.use("cupy"):
        assert switch.current() == "cupy"
        with tg.use("numpy"):
            assert type(Tensor([1.0]).data) is np.ndarray
        assert type(Tensor([1.0]).data) is cupy.ndarray
    assert switch.current() == "numpy"
    tg.use("cupy")
    assert type(Tensor(1.0).data) is cupy.ndarray
    tg.use("numpy")
    assert type(Tensor(1.0).data) is np.ndarray


def test_that_the_gpu_works_is_proven_at_the_switch_and_not_at_every_new_array(standin):
    with tg.use("cupy"), strict_cupy.counting() as counts:
        x = Tensor([1.0, 2.0])
        x.to("cupy")
        tg.backend.to(np.ones(3), "cupy")
    assert (counts.launches, counts.uploads) == (0, 2)


def test_the_block_ends_with_an_exception_too(cupy):
    with pytest.raises(KeyError), tg.use("cupy"):
        raise KeyError
    assert switch.current() == "numpy"


def test_what_is_new_is_made_on_the_current_backend_and_what_is_old_stays(cupy):
    old = Tensor([1.0, 2.0])
    with tg.use("cupy"):
        for data in (1.5, [1, 2], True, np.ones(2), np.float32(3), np.arange(3)):
            assert type(Tensor(data).data) is cupy.ndarray
        assert type((old * 2).data) is np.ndarray
        there = Tensor([3.0])
    assert type(there.data) is cupy.ndarray
    assert type((there * 2).data) is cupy.ndarray
    assert type(Tensor(there.data).data) is cupy.ndarray  # an array of the GPU stays there


def test_the_result_of_an_op_lives_where_its_inputs_do_whatever_the_switch_says(cupy):
    here, there = Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 2.0], requires_grad=True)
    there = there.detach().to("cupy")
    there.requires_grad = True
    for name in ("numpy", "cupy"):
        with tg.use(name):
            for x, kind in ((here, np.ndarray), (there, cupy.ndarray)):
                y = (tg.softmax(x * 2 + 1) ** 2).sum()
                assert type(y.data) is kind
                y.backward()
                assert type(x.grad) is kind
                (h,) = tg.hvp(lambda x: (x * x * x + [1, 2]).sum(), [x], [x.detach()])
                assert type(h) is kind
                unused = tg.grad((x * 2).sum(), x * 1, create_graph=True)
                assert type(unused.data) is kind


@pytest.mark.parametrize("name", ["tpu", "CuPy", "", None, 3])
def test_an_unknown_backend_is_an_error_that_lists_those_there_are(name):
    wanted = r"unknown backend .*: the backends are numpy and cupy"
    with pytest.raises(ValueError, match=wanted):
        tg.use(name)
    with pytest.raises(ValueError, match=wanted):
        Tensor([1.0]).to(name)
    assert switch.current() == "numpy"


# ---- CuPy that is not there, or has no GPU -------------------------------------------------------


def test_without_cupy_the_error_says_which_extra_to_install(no_cupy):
    with pytest.raises(RuntimeError) as error:
        tg.use("cupy")
    assert str(error.value) == (
        'backend "cupy": CuPy is not installed. Install the extra for your CUDA version: '
        'pip install "tinygrad-opt[cuda13]" or pip install "tinygrad-opt[cuda12]" '
        "(never the bare cupy, which builds from source). Python said: No module named 'cupy'"
    )
    assert isinstance(error.value.__cause__, ImportError)
    assert switch.current() == "numpy"


def test_without_cupy_moving_a_tensor_says_the_same(no_cupy):
    x = Tensor([1.0])
    with pytest.raises(RuntimeError, match=r"CuPy is not installed.*tinygrad-opt\[cuda13\]"):
        x.to("cupy")
    assert type(x.data) is np.ndarray


def test_the_extras_that_the_error_names_exist():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extra in ("cuda12", "cuda13"):
        assert f"\n{extra} = [" in project


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"driver": False}, "CUDA driver version is insufficient for CUDA runtime version"),
        ({"headers": False}, "Failed to find CUDA headers"),
    ],
)
def test_with_cupy_but_no_working_gpu_the_error_has_the_driver_s_words(machine, words):
    with strict_cupy.installed(**machine) as cupy:
        for attempt in (lambda: tg.use("cupy"), lambda: Tensor([1.0]).to("cupy")):
            with pytest.raises(RuntimeError) as error:
                attempt()
            text = str(error.value)
            assert f"CuPy {cupy.__version__} is installed, but no kernel runs on a GPU" in text
            assert 'use("numpy")' in text
            assert "The driver said: " in text
            assert text.index(words) > text.index("The driver said: ")
    assert switch.current() == "numpy"


# ---- from outside --------------------------------------------------------------------------------


def run_with(setting, code="print(tg.backend.current())"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TINYGRAD_OPT_BACKEND", None)
    if setting is not None:
        environment["TINYGRAD_OPT_BACKEND"] = setting
    command = [sys.executable, "-c", f"import tinygrad_opt as tg; {code}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("setting", [None, "", "numpy", " NumPy "])
def test_the_environment_variable_may_say_numpy(setting):
    result = run_with(setting)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "numpy", "")


def test_the_environment_variable_may_say_cupy():
    code = "import strict_cupy, sys; strict_cupy.install(); import tinygrad_opt as tg; "
    code += "print(tg.backend.current(), type(tg.Tensor(1.0).data).__module__)"
    environment = {**os.environ, "TINYGRAD_OPT_BACKEND": "cupy"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                            text=True, timeout=60)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["cupy", "cupy"]


def test_an_unknown_backend_in_the_environment_variable_is_an_error_that_names_the_variable():
    result = run_with("tpu")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "unknown backend 'tpu'" in last
    assert "TINYGRAD_OPT_BACKEND" in last


# ---- moving and mixing ---------------------------------------------------------------------------


def test_to_moves_the_data_and_brings_the_gradient_back(cupy):
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    there = x.to("cupy")
    assert type(there.data) is cupy.ndarray
    assert there.dtype == "float64"
    y = (there * there).to("numpy")
    assert type(y.data) is np.ndarray
    y.backward(np.array([1.0, 10.0]))
    assert type(x.grad) is np.ndarray
    assert x.grad.tolist() == [2, 40]


def test_to_has_a_second_derivative(cupy):
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    g = tg.grad((x.to("cupy") ** 3).sum(), x, create_graph=True)
    assert type(g.data) is np.ndarray
    assert tg.grad(g.sum(), x).tolist() == [6, 12]


def test_to_where_it_lives_already_shares_the_data_and_to_elsewhere_copies(cupy):
    x = Tensor([1.0, 2.0])
    assert x.to("numpy").data is x.data
    there = x.to("cupy")
    there.data[0] = 9
    assert x.tolist() == [1, 2]
    assert there.to("cupy").data is there.data
    back = there.numpy()
    back[1] = 7
    assert there.tolist() == [9, 2]


MIXED = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "matmul": lambda a, b: a @ b,
    "maximum": lambda a, b: tg.maximum(a, b),
    "power": lambda a, b: a**b,
    "where": lambda a, b: tg.where(a > 0, a, b),
    "concatenate": lambda a, b: tg.concatenate([a, b]),
    "stack": lambda a, b: tg.stack([a, b]),
    "einsum": lambda a, b: tg.einsum("i,i->", a, b),
    "mse_loss": lambda a, b: tg.mse_loss(a, b),
    "less": lambda a, b: a < b,
    "clip": lambda a, b: tg.clip(a, b.data, None),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixing_backends_is_an_error_that_names_both_and_the_cure(cupy, name):
    here = Tensor([1.0, 2.0], requires_grad=True)
    there = Tensor([3.0, 4.0]).to("cupy")
    for a, b in ((here, there), (there, here)):
        with pytest.raises(TypeError) as error:
            MIXED[name](a, b)
        text = str(error.value)
        assert text.startswith(f"{name}: ")
        for word in ("NumPy", "CuPy", '.to("cupy")', '.to("numpy")'):
            assert word in text


def test_raw_arrays_of_the_other_backend_do_not_mix_either(cupy):
    here, there = Tensor([1.0, 2.0]), Tensor([1.0, 2.0]).to("cupy")
    for mix in (lambda: there * np.ones(2, "float32"), lambda: np.ones(2, "float32") * there,
                lambda: here * there.data, lambda: there.data * here):  # fmt: skip
        with pytest.raises(TypeError, match=r'multiply: .*NumPy.*CuPy.*\.to\("cupy"\)'):
            mix()


@pytest.mark.parametrize("slot", ["data", "grad"])
def test_an_array_of_the_other_backend_cannot_be_assigned(cupy, slot):
    here, there = Tensor([1.0, 2.0]), Tensor([3.0, 4.0]).to("cupy")
    with pytest.raises(TypeError, match=rf'\.{slot} of a numpy tensor .* cupy .*\.to\("numpy"\)'):
        setattr(here, slot, there.data)
    with pytest.raises(TypeError, match=rf'\.{slot} of a cupy tensor .* numpy .*\.to\("cupy"\)'):
        setattr(there, slot, here.data)
    assert (here.tolist(), there.tolist(), here.grad, there.grad) == ([1, 2], [3, 4], None, None)


def test_constants_and_labels_may_come_from_the_host(cupy):
    x = Tensor([[1.0, 2.0], [3.0, 5.0]]).to("cupy")
    for y in (x * 2, x * np.float64(2), x * np.array(2.0), x * np.sqrt(2)):
        assert (type(y.data), y.dtype) == (cupy.ndarray, "float32")
    for labels in ([0, 1], np.array([0, 1]), cupy.asarray([0, 1])):
        assert float(tg.cross_entropy(x, labels)) == pytest.approx(0.72, abs=0.01)
    with pytest.raises(IndexError, match=r"label 2 in row 1 is outside \[0, 2\)"):
        tg.cross_entropy(x, cupy.asarray([0, 2]))  # CuPy itself would wrap it around
    for index in ([0, 7], np.array([0, 7]), cupy.asarray([0, 7]), cupy.asarray([0, -7])):
        with pytest.raises(IndexError, match=r"take: index -?7"):
            x.take(index, axis=0)


def test_a_tensor_on_the_gpu_does_not_become_an_array_of_the_host_by_itself(cupy):
    x = Tensor([1.0, 2.0]).to("cupy")
    with pytest.raises(TypeError, match=r"not copied to the host by itself: use \.numpy\(\)"):
        np.asarray(x)
    assert x.numpy().tolist() == [1, 2]


# ---- what the host knows of integers on the GPU --------------------------------------------------


def test_a_range_is_known_of_the_array_it_was_noted_for_alone_and_forgotten_with_it(cupy):
    x = cupy.asarray([3, 5])
    assert not switch.is_within(x, 0, 100)
    switch.remember_range(x, 3, 5)
    assert switch.is_within(x, 3, 6)
    assert not switch.is_within(x, 4, 6)
    assert not switch.is_within(x, 3, 5)  # the upper end is left out
    assert not switch.is_within(x[:], 0, 100) and not switch.is_within(x + 90, 0, 100)
    before = len(switch._ranges)
    del x
    assert len(switch._ranges) == before - 1


@pytest.mark.parametrize("ask", [
    lambda labels: tg.cross_entropy(Tensor(np.zeros((2, 4), "f4")), labels),
    lambda labels: tg.embedding(labels, Tensor(np.ones((4, 3), "f4"))),
    lambda labels: tg.take(Tensor(np.ones(4, "f4")), labels),
], ids=["cross_entropy", "embedding", "take"])  # fmt: skip
def test_labels_and_indices_of_a_known_range_are_not_waited_for_and_a_wrong_one_is_found(
    ask, cupy, no_sync
):
    with tg.use("cupy"):
        for noted in ([0, 3], [0, 9]):  # what is known may be too much for these two
            labels = cupy.asarray([0, 3])
            switch.remember_range(labels, *noted)
            with contextlib.nullcontext() if noted == [0, 9] else no_sync():
                ask(labels)
        labels = cupy.asarray([0, 4])
        switch.remember_range(labels, 0, 4)
        with pytest.raises(IndexError, match="4"):
            ask(labels)


# ---- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64", "U5", "O", "M8[s]", "float128", "S1", "V4", str])
def test_only_bools_integers_and_floats_of_up_to_64_bits_are_dtypes(dtype):
    with pytest.raises(TypeError, match="is not supported: use float16, float32, float64"):
        switch.check_dtype(dtype)


@pytest.mark.parametrize("dtype", ["foo", None, 3, "float31"])
def test_what_is_no_dtype_at_all_is_refused(dtype):
    with pytest.raises(TypeError, match=r"is not a dtype; try 'float32'"):
        switch.check_dtype(dtype)


def test_a_dtype_of_the_other_byte_order_becomes_the_native_one():
    assert switch.check_dtype(">f4") == np.dtype("float32")
    assert switch.check_dtype(">f4").isnative


# ---- where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("shape", [(3,), (1023,), (1024,), (40, 50)])
def test_the_fast_where_gives_the_same_bits_as_numpy_s(dtype, shape):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    if np.dtype(dtype).kind == "f":
        a.flat[0], a.flat[1], b.flat[0], b.flat[2] = np.nan, -0.0, -np.inf, -0.0
    mask = rng.random(shape) < 0.5
    cases = [(a, b), (a, 0), (a, 0.0), (a, -0.0), (a, False), (a, 1.5), (0, a), (a, b[..., :1])]
    cases += [(a.T.copy().T, b), (a, b.astype("float64"))]
    for one, two in cases:
        found, wanted = switch.where(mask, one, two), np.where(mask, one, two)
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    strided = np.repeat(a, 2, axis=-1)[..., ::2]
    assert switch.where(mask, strided, b).tobytes() == np.where(mask, a, b).tobytes()
    turned = mask[..., ::-1]
    assert switch.where(turned, a, 0).tobytes() == np.where(turned, a, 0).tobytes()
    wider = np.stack([b, b + b])
    assert switch.where(mask, a, wider).tobytes() == np.where(mask, a, wider).tobytes()
    row = mask[:1] if len(shape) > 1 else mask
    assert switch.where(row, a, b).tobytes() == np.where(row, a, b).tobytes()
    assert switch.where(mask, a.flat[0], b).tobytes() == np.where(mask, a.flat[0], b).tobytes()


# ---- erf -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("with_scipy", [True, False])
def test_erf_is_right_with_and_without_scipy(dtype, with_scipy, monkeypatch):
    if with_scipy:
        pytest.importorskip("scipy")
    else:
        monkeypatch.setitem(sys.modules, "scipy.special", None)
    x = np.concatenate([np.linspace(-6, 6, 101), [0.0, -np.inf, np.inf]]).astype(dtype)
    y = switch.erf(x)
    assert y.dtype == dtype
    wanted = torch.erf(torch.tensor(x).double()).numpy()
    np.testing.assert_allclose(y, wanted, rtol=2 * np.finfo(dtype).eps, atol=0)
    assert switch.erf(np.array(0.5, dtype)).shape == ()


# ---- randomness ----------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_on_both_backends(cupy):
    found = []
    for name in ("numpy", "cupy", "numpy"):
        with tg.use(name):
            tg.manual_seed(5)
            found.append(tg.dropout(Tensor(np.ones(100, "float32")), 0.5).numpy())
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    tg.manual_seed(6)
    other = tg.dropout(Tensor(np.ones(100, "float32")), 0.5).numpy()
    assert not np.array_equal(found[0], other)


def test_the_seed_may_be_any_integer_from_0_and_leaves_numpy_s_own_generator_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in (0, 7, np.int64(7), 2**70):
        tg.manual_seed(seed)
        first = switch.generator().random(3)
        tg.manual_seed(seed)
        assert np.array_equal(switch.generator().random(3), first)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True, None, [1]])
def test_a_seed_that_is_no_natural_number_is_refused_and_the_stream_goes_on(seed):
    tg.manual_seed(3)
    switch.generator().random()
    expected = np.random.default_rng(3).random(2)[1]
    with pytest.raises(ValueError, match="manual_seed: the seed is an integer of 0 or more"):
        tg.manual_seed(seed)
    assert switch.generator().random() == expected


def test_a_seed_for_a_while_leaves_the_stream_where_it_was():
    tg.manual_seed(3)
    first = switch.generator().random(2)
    with pytest.raises(ZeroDivisionError), switch.seeded(4):
        inside = switch.generator().random(2)
        raise ZeroDivisionError
    np.testing.assert_array_equal(inside, np.random.default_rng(4).random(2))
    drawn = [*first, *switch.generator().random(2)]
    np.testing.assert_array_equal(drawn, np.random.default_rng(3).random(4))


def test_an_unseeded_process_draws_something_else_each_time():
    code = "print(tg.backend.generator().random())"
    assert run_with(None, code).stdout != run_with(None, code).stdout


# ---- threads -------------------------------------------------------------------------------------


def test_the_switch_is_one_for_all_threads(cupy):
    """Unlike no_grad(): a program runs on one backend."""
    seen = []
    with tg.use("cupy"):
        thread = threading.Thread(target=lambda: seen.append(switch.current()))
        thread.start()
        thread.join(10)
    assert seen == ["cupy"]
