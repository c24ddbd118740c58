"""Mistakes that numbers alone do not show: where a NaN was born, and data edited too early."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

rng = np.random.default_rng(12)


def leaf(values, dtype="float64"):
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- detect_anomaly ------------------------------------------------------------------------------


def line_of(marker):
    """This file's line that ends in the comment `# marker`."""
    with open(__file__, encoding="utf-8") as file:
        (line,) = (n for n, text in enumerate(file, 1) if text.rstrip().endswith(f"# {marker}"))
    return rf"test_anomaly\.py:{line}\b"


FORWARD = {
    "log": lambda x: tg.log(x),
    "divide": lambda x: 1 / x,
    "power": lambda x: x**-1,
    "exp": lambda x: tg.exp(x + 1000),
    "sqrt": lambda x: (x - 1).sqrt(),
    "multiply": lambda x: (x + 1e200) * 1e200,
    "matmul": lambda x: (x + 1e200) @ (x + 1e200),
    "log_softmax": lambda x: tg.cross_entropy(((x - 0.5) * 1e308 * 3).reshape(1, 2), [0]),
}


@everywhere
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FORWARD)
def test_anomaly_mode_names_the_op_that_made_the_first_nan_or_inf(name):
    x = leaf([0.0, 1.0])
    message = rf"^{name} made .*test_anomaly\.py:\d+"
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=message):
        FORWARD[name](x)


@everywhere
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomaly_mode_names_the_user_s_line_forward_and_backward():
    x = leaf([0.0, 4.0])
    with tg.detect_anomaly():
        with pytest.raises(FloatingPointError, match=line_of("here the log")):
            tg.log(x).sum()  # here the log
        root = tg.sqrt(x)  # here the root
        loss = (root * 2).sum()
        wanted = r"VJP of sqrt.*" + line_of("here the root")
        with pytest.raises(FloatingPointError, match=wanted):
            loss.backward()
        with pytest.raises(FloatingPointError, match=wanted):
            tg.grad(loss, x)
        with pytest.raises(FloatingPointError, match=wanted):
            tg.grad(loss, x, create_graph=True)
    assert x.grad is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_script_beside_the_package_with_a_like_name_is_the_user_s():
    """tinygrad_opt_notes/script.py begins like tinygrad_opt/, and is not in it."""
    path = f"{Path(tg.__file__).parent}_notes{os.sep}script.py"
    code = compile("\n\ntg.log(x)\n", path, "exec")
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"_notes.script\.py:3$"):
        exec(code, {"tg": tg, "x": leaf([0.0])})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomaly_mode_accuses_the_op_that_began_it_and_not_those_that_pass_it_on(backend):
    x = leaf([np.nan, 1.0])
    with tg.detect_anomaly():
        y = tg.exp(x) * 2 + 1  # NaN in, NaN out
        assert np.isnan(backend.host(y.data)[0])
        with tg.no_grad(), pytest.raises(FloatingPointError, match=r"^log made"):
            tg.log(x.detach()[1:] * 0)  # also where nothing is recorded


def test_anomaly_mode_is_silent_on_a_healthy_network(backend):
    x = Tensor(backend.array(rng.standard_normal((4, 3))), requires_grad=True)
    with tg.detect_anomaly():
        loss = tg.cross_entropy(tg.relu(x @ x.T), [0, 1, 2, 3]) + x.norm() + x[0, 0] ** 2
        loss.backward(retain_graph=True)
        tg.grad(loss, x, create_graph=True)
    assert np.isfinite(backend.host(x.grad)).all()


@pytest.mark.parametrize("victim", ["input 0", "the result"])
def test_anomaly_mode_catches_an_edit_through_an_alias(backend, victim):
    array = backend.array(np.array([1.0, 2.0]))
    x = Tensor(array, requires_grad=True)
    with tg.detect_anomaly():
        y = tg.exp(x)  # here the alias
        alias = array if victim == "input 0" else y.data[:1]
        alias[0] = 7
        wanted = rf"{victim} of exp \(called at .*{line_of('here the alias')}\) was edited"
        with pytest.raises(RuntimeError, match=wanted):
            y.backward([1, 1])
        with pytest.raises(RuntimeError, match=wanted):
            tg.grad(y, x, [1, 1])
    assert x.grad is None


def test_anomaly_mode_catches_an_edit_of_an_index_array(backend):
    x, rows = leaf([1.0, 2.0, 3.0]), backend.array(np.array([0, 1]))
    for key in (rows, (rows,)):
        rows[0] = 0
        with tg.detect_anomaly():
            y = x[key].sum()
        rows[0] = 2
        with pytest.raises(RuntimeError, match=r"input 1 of getitem .* was edited"):
            y.backward()
    assert x.grad is None


@everywhere
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anomaly_mode_names_the_argument_whose_vjp_failed_where_a_tensor_is_given_twice():
    @tg.primitive
    def times(a, b):
        return a * b

    times.defvjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a / 0)
    x = leaf([1.0, 2.0])
    with tg.detect_anomaly():
        y = times(x, x).sum()
        for create_graph in (False, True):
            with pytest.raises(FloatingPointError, match="the VJP of times for argument 1 made"):
                tg.grad(y, x, create_graph=create_graph)


def test_a_graph_recorded_in_anomaly_mode_is_checked_wherever_it_is_walked(backend):
    array = backend.array(np.array([1.0, 2.0]))
    x = Tensor(array, requires_grad=True)
    with tg.detect_anomaly():
        loss = (x * x).sum()
    array += 1
    with pytest.raises(RuntimeError, match="edited"):
        loss.backward()
    array -= 1  # put back as it was, the gradient is right again
    loss.backward()
    assert x.grad.tolist() == [2, 4]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("edited", ["the array of then", "the array of today"])
def test_an_edit_of_an_input_that_an_optimizer_has_moved_since_is_noticed(
    backend, edited, create_graph
):
    """The walk takes the array of then, with `create_graph` the one of today."""
    array = backend.array(np.array([1.0, 2.0]))
    w = Tensor(array, requires_grad=True)
    with tg.detect_anomaly():
        loss = (w * w).sum()
    tg.optim.SGD([w], lr=0.1)
    assert w.data is not array
    tg.grad(loss, w, create_graph=create_graph)
    (array if edited == "the array of then" else w.data)[...] = 50
    with pytest.raises(RuntimeError, match=r"input 0 of multiply .* was edited"):
        tg.grad(loss, w, create_graph=create_graph)


def test_anomaly_mode_changes_no_number(backend):
    a = rng.standard_normal((3, 4)).astype("float32")
    found = []
    for mode in (tg.detect_anomaly, contextlib.nullcontext):
        x = Tensor(backend.array(a), requires_grad=True)
        with mode():
            tg.log_softmax(x).std().backward()
        found.append(backend.host(x.grad))
    assert np.array_equal(*found)


# ---- edits ---------------------------------------------------------------------------------------


@everywhere
def test_an_edit_of_the_very_result_that_is_walked_is_refused():
    """exp keeps its result for its derivative, and nobody else uses it here."""
    x = leaf([1.0, 2.0])
    y = tg.exp(x)
    y.data = [0.0, 0.0]
    with pytest.raises(RuntimeError, match="the data of the result of exp was edited"):
        y.backward([1, 1])
    assert x.grad is None


@everywhere
def test_an_edit_after_the_backward_or_before_the_forward_is_fine():
    x = leaf([1.0, 2.0])
    for step in range(3):
        (x * x).sum().backward()
        with tg.no_grad():
            x -= 0.25 * x.grad
        x.grad = None
        assert x.tolist() == [0.5 ** (step + 1), 2 * 0.5 ** (step + 1)]


@everywhere
def test_the_message_about_an_edit_says_what_to_do():
    x = leaf([1.0, 2.0])
    y = x * x
    x.data = [3.0, 4.0]
    with pytest.raises(RuntimeError) as error:
        y.sum().backward()
    assert str(error.value) == (
        "the data of an input of multiply was edited between forward and backward: the gradient "
        "would be that of other numbers. Edit before the forward pass or after backward()"
    )


@everywhere
def test_an_edit_outside_the_walked_part_of_the_graph_disturbs_nothing():
    x, other = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y, unused = x * x, other * x
    other.data = [0.0, 0.0]
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]
    assert unused.shape == (2,)
