"""What a Module finds in itself, and how it saves, loads, moves and shows that."""

import copy
import pickle

import numpy as np
import pytest
import strict_cupy
import torch

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.optim.flat import FlatVector

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy


def parameter(*shape, value=1.0):
    return tg.Tensor(np.full(shape, value, np.float32), requires_grad=True)


def names_of(module):
    return [name for name, _ in module.named_parameters()]


def owned_by_an_optimizer(module):
    """The two flat vectors, w and g, that an optimizer makes of a module's weights and gradients
    and owns for as long as it lives."""
    return FlatVector(module.parameters(), names_of(module))


class Net(nn.Module):
    def __init__(self):  # without super().__init__()
        self.scale = parameter(10)
        self.body = nn.MLP([64, 32, 10])
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x):
        return self.norm(self.body(x)) * self.scale


NET_PARAMETERS = ["scale", "body.layers.0.weight", "body.layers.0.bias", "body.layers.1.weight",
                  "body.layers.1.bias", "norm.weight", "norm.bias"]  # fmt: skip
NET_STATE = [*NET_PARAMETERS, "norm.running_mean", "norm.running_var"]


# ---- what is found -------------------------------------------------------------------------------


def test_parameters_are_found_in_order_without_calling_the_constructor_of_module():
    net = Net()
    assert names_of(net) == NET_PARAMETERS
    assert net.parameters() == [t for _, t in net.named_parameters()]
    assert net.training is True

    class Polite(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = parameter(2)

    assert names_of(Polite()) == ["w"]


def test_parameters_are_found_in_lists_tuples_and_dicts_at_any_depth():
    class Nested(nn.Module):
        def __init__(self):
            self.a = [parameter(1), (parameter(2), [parameter(3)])]
            self.b = {"x": nn.Linear(2, 2, bias=False), 5: {"y": [parameter(4)]}}
            self.c = parameter(6)
            self.d = ["words", 3, None, np.ones(2), {1, 2}]

    nested = Nested()
    names = ["a.0", "a.1.0", "a.1.1.0", "b.x.weight", "b.5.y.0", "c"]
    assert names_of(nested) == names
    assert [t.size for t in nested.parameters()] == [1, 2, 3, 4, 4, 6]


def test_a_tensor_with_a_gradient_is_a_parameter_and_one_without_a_buffer():
    net = Net()
    net.steps = tg.Tensor(np.array(3))
    net.table = np.ones(3)
    assert names_of(net) == NET_PARAMETERS
    assert list(net.state_dict()) == [*NET_STATE, "steps"]
    net.scale.requires_grad = False
    assert names_of(net) == NET_PARAMETERS[1:]
    assert list(net.state_dict()) == [*NET_STATE, "steps"]
    net.scale.requires_grad = True
    assert names_of(net) == NET_PARAMETERS


def test_what_is_replaced_added_or_deleted_is_seen_at_once():
    net = Net()
    net.body.layers.append(nn.Linear(10, 2))
    assert "body.layers.2.bias" in names_of(net)
    net.body = nn.Linear(64, 10)
    assert "body.weight" in names_of(net)
    del net.norm
    assert names_of(net) == ["scale", "body.weight", "body.bias"]


def test_tied_weights_count_once_under_their_first_name():
    class Tied(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(5, 3)
            self.head.weight = self.embed.weight
            self.again = self.head

    tied = Tied()
    assert names_of(tied) == ["embed.weight", "head.bias"]
    assert len(tied.parameters()) == 2
    assert list(tied.state_dict()) == ["embed.weight", "head.weight", "head.bias"]
    assert tied.modules() == [tied, tied.embed, tied.head]


def test_circles_among_modules_and_lists_do_no_harm():
    modules = [nn.Module() for _ in range(15)]
    for n, module in enumerate(modules):
        module.w = parameter(n + 1)
        module.others = modules
        module.me = module
    modules.append(modules)
    first = modules[0]
    assert len(first.parameters()) == 15
    assert sum(t.size for t in first.parameters()) == 120
    assert len(first.modules()) == 15
    first.load_state_dict(first.state_dict())
    assert not first.eval().others[3].training
    assert repr(first).count("= ") >= 15


def test_a_chain_of_thousands_of_modules_needs_no_recursion():
    top = bottom = nn.Module()
    for _ in range(3000):
        bottom.w, bottom.next = parameter(1), nn.Module()
        bottom = bottom.next
    assert len(top.parameters()) == 3000
    top.eval().to("numpy").astype("float64").zero_grad()
    assert len(repr(top).splitlines()) == 3002


def test_a_result_among_the_attributes_is_refused_with_the_cure():
    class Wrong(nn.Module):
        def __init__(self):
            self.w = parameter(3) * 0.1

    with pytest.raises(ValueError, match=r"w is the result of multiply.*\n?.*Tensor\(array, req"):
        Wrong().parameters()
    with pytest.raises(ValueError, match=r"result\.data"):
        Wrong().state_dict()
    assert "w (3,)" in repr(Wrong())


def test_a_parameter_is_not_replaced_by_what_would_not_be_trained():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear\.weight is a parameter.*assign weight\.data"):
        layer.weight = np.ones((2, 2), np.float32)
    with (
        tg.no_grad(),
        pytest.raises(TypeError, match=r"freeze them, bias\.requires_grad = False"),
    ):
        layer.bias = layer.bias - 0.1
    assert names_of(layer) == ["weight", "bias"]
    layer.weight = parameter(2, 2)
    layer.weight.requires_grad = False
    layer.weight = tg.Tensor(np.ones((2, 2), np.float32))
    layer.bias = None
    assert names_of(layer) == []


def test_a_module_of_the_class_that_instances_would_share_is_refused():
    for value in (nn.Linear(2, 2), parameter(2), [nn.ReLU()], {"a": (parameter(1),)}):
        with pytest.raises(
            TypeError, match=r"Shared\.layer.*write self\.layer.* = \.\.\. in __init__"
        ):
            type("Shared", (nn.Module,), {"layer": value})
    type("Fine", (nn.Module,), {"sizes": [1, 2], "names": {"a": "b"}, "scale": 2.0})


def test_instances_share_nothing():
    one, two = Net(), Net()
    one.eval()
    one.body.layers.pop()
    assert two.training
    assert two.norm.training
    assert names_of(two) == NET_PARAMETERS
    mine = {id(t.data) for t in one.parameters()}
    assert not mine & {id(t.data) for t in two.parameters()}
    assert nn.Module.training is True
    assert Net().training is True


def test_two_tensors_of_one_name_are_refused():
    module = nn.Module()
    module.a = {"b": {"c": parameter(1)}, "b.c": parameter(2)}
    with pytest.raises(ValueError, match=r"two tensors are called 'a\.b\.c'"):
        module.parameters()


def test_calling_a_module_calls_its_forward_with_all_arguments():
    class Scaled(nn.Module):
        def forward(self, x, *, by):
            return x * by

    assert Scaled()(3, by=4) == 12
    with pytest.raises(NotImplementedError, match=r"Module has no method forward\(self, x\)"):
        nn.Module()(3)


@everywhere
def test_a_model_can_be_copied_and_pickled_and_stays_tied():
    net = Net()
    net.tied = net.scale
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.tied is twin.scale
        assert twin.scale is not net.scale
        twin.scale.data += 1
        assert (net.scale.data == 1).all()
        for name, value in net.body.state_dict().items():
            np.testing.assert_array_equal(twin.body.state_dict()[name], value)


# ---- training ------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module_and_give_the_module_back():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), tg.relu))
    assert net.eval() is net
    assert [m.training for m in net.modules()] == [False] * 4
    assert net.train() is net
    assert [m.training for m in net.modules()] == [True] * 4
    assert [m.training for m in net.train(False).modules()] == [False] * 4


def test_zero_grad_sets_zeros_where_there_was_a_gradient(backend):
    net = Net()
    net.zero_grad()
    assert all(t.grad is None for t in net.parameters())
    net.body(backend.array(np.ones((3, 64), np.float32))).sum().backward()
    kept = net.body.layers[0].weight.grad
    assert kept.any()
    net.zero_grad()
    assert net.scale.grad is None
    for t in net.body.parameters():
        assert t.grad.shape == t.shape
        assert not t.grad.any()


def test_zero_grad_keeps_the_views_of_an_optimizer(backend):
    net = Net()
    flat = owned_by_an_optimizer(net)
    for t in net.parameters():
        t.grad[...] = 1
    assert flat.g.any()
    net.zero_grad()
    assert not any(t.grad.any() for t in net.parameters())
    assert not flat.g.any()
    x = backend.array(np.random.default_rng(0).random((3, 64), dtype="f4"))
    net(x).sum(axis=0)[0].backward()
    assert flat.g.any()
    assert all(np.shares_memory(t.grad, flat.g) for t in net.parameters())


# ---- saving and loading --------------------------------------------------------------------------


def test_a_state_dict_holds_copies_on_the_host(backend):
    net = Net()
    state = net.state_dict()
    assert list(state) == NET_STATE
    assert all(type(x) is np.ndarray for x in state.values())
    state["scale"][:] = 5
    assert (backend.host(net.scale.data) == 1).all()


def test_a_state_survives_the_round_trip_and_the_tensors_stay_the_same_objects(backend):
    one, two = Net(), Net()
    one(backend.array(np.random.default_rng(0).random((4, 64), dtype="f4")))
    tensors, state = two.parameters(), one.state_dict()
    two.load_state_dict(state)
    assert two.parameters() == tensors
    state["scale"][:] = 7  # what was loaded is a copy
    for name, value in two.state_dict().items():
        np.testing.assert_array_equal(value, one.state_dict()[name])
    assert all(type(t.data) is backend.xp.ndarray for t in tensors)


def test_tensors_and_arrays_of_other_libraries_load_too(backend):
    module = nn.Linear(2, 2, bias=False)
    for value in (tg.Tensor([[1.0, 2], [3, 4]]), backend.array(np.array([[1, 2], [3, 4]], "f4")),
                  torch.tensor([[1.0, 2], [3, 4]])):  # fmt: skip
        module.load_state_dict({"weight": value})
        assert module.weight.tolist() == [[1, 2], [3, 4]]
        module.weight.data *= 0


@everywhere
def test_loading_lists_every_problem_at_once_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = Net().state_dict()
    state["body.layers.0.weigth"] = state.pop("body.layers.0.weight")
    del state["norm.running_var"]
    state["scale"] = np.ones(11, np.float32)
    state["body.layers.0.bias"] = np.ones(32)
    state["body.layers.1.weight"] = np.ones((10, 32), np.float32)
    state["norm.bias"] = object()
    state["norm.weight"] = [[1.0], [1.0, 2.0]]
    state[7] = np.ones(2)
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    first, *problems = str(caught.value).splitlines()
    assert first == "load_state_dict: 9 problems, and nothing was loaded:"
    text = "\n".join(problems)
    for expected in (
        "missing: body.layers.0.weight\n",
        "missing: norm.running_var\n",
        "unexpected: body.layers.0.weigth (nearest: body.layers.0.weight)\n",
        "scale: shape (11,) for one of (10,)\n",
        "body.layers.0.bias: float64 for float32; use astype on either side\n",
        "body.layers.1.weight: shape (10, 32) for one of (32, 10); PyTorch's is transposed",
        "norm.bias: ",
        "norm.weight: not an array but a list",
        "unexpected: 7",
    ):
        assert expected in text + "\n"
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_one_problem_is_not_called_problems():
    with pytest.raises(ValueError, match=r"load_state_dict: 1 problem, and"):
        nn.Linear(2, 2).load_state_dict({"weight": np.ones((2, 2), np.float32)})
    with pytest.raises(TypeError, match="takes a dict of arrays, not a list"):
        nn.Linear(2, 2).load_state_dict([])


@everywhere
def test_tied_weights_load_from_one_name_and_conflicting_values_are_refused():
    module = nn.Module()
    module.a = module.b = parameter(2)
    module.load_state_dict({"b": np.array([3, 4], np.float32)})
    assert module.a.tolist() == [3, 4]
    module.load_state_dict(dict.fromkeys("ab", np.array([5, np.nan], np.float32)))
    assert module.b.tolist()[0] == 5
    with pytest.raises(ValueError, match="a and b: one tensor, but several values"):
        module.load_state_dict({"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="missing: a"):
        module.load_state_dict({})
    assert module.b.tolist()[0] == 5


def test_loading_writes_through_the_views_of_an_optimizer(backend):
    net = Net()
    flat = owned_by_an_optimizer(net)
    state = {name: value + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    for name, view in zip(flat.names, flat.data_views):
        np.testing.assert_array_equal(backend.host(view), state[name])
    assert all(np.shares_memory(t.data, flat.w) for t in net.parameters())


@everywhere
def test_a_graph_from_before_the_loading_is_not_walked_with_the_new_weights():
    net = nn.Linear(2, 2)
    loss = (net([[1.0, 2.0]]) ** 2).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="edited between forward and backward"):
        loss.backward()


# ---- moving --------------------------------------------------------------------------------------


def test_astype_gives_the_same_tensors_new_arrays_gradients_and_buffers_included(backend):
    net = Net()
    net.steps = tg.Tensor(np.array([3]))
    x = backend.array(np.random.default_rng(0).random((4, 64), dtype="f4"))
    net(x).sum(axis=0)[0].backward()
    tensors, before = net.parameters(), net.state_dict()
    gradient = backend.host(net.scale.grad)
    assert net.astype("float64") is net
    assert net.parameters() == tensors
    assert all(t.dtype == np.float64 and t.grad.dtype == np.float64 for t in tensors)
    np.testing.assert_array_equal(backend.host(net.scale.grad), gradient)
    assert net.norm.running_var.dtype == np.float64
    assert net.steps.dtype == np.int64
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert net(backend.array(np.ones((4, 64)))).dtype == np.float64


@everywhere
def test_astype_takes_float_dtypes_alone():
    net = Net()
    for dtype in ("int64", bool, "complex64", "nonsense"):
        with pytest.raises(TypeError):
            net.astype(dtype)
    assert net.scale.dtype == np.float32


def test_to_moves_all_tensors_there_and_back(backend):
    net = Net().eval()
    net(backend.array(np.ones((4, 64), np.float32))).sum().backward()
    tensors, before = net.parameters(), net.state_dict()
    with tg.use("numpy"):
        assert net.to("numpy") is net
        assert net(np.ones((4, 64), np.float32)).shape == (4, 10)
    for t in tensors:
        assert type(t.data) is type(t.grad) is np.ndarray
    net.to(backend.name)
    for t in (*net.parameters(), net.norm.running_mean):
        assert type(t.data) is backend.xp.ndarray
    assert net.parameters() == tensors
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_an_unknown_or_missing_backend_moves_nothing(no_cupy):
    net = Net()
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        net.to("gpu")
    with pytest.raises(RuntimeError, match=r"CuPy is not installed.*tinygrad-opt\[cuda13\]"):
        net.to("cupy")
    no_gpu = r"no kernel runs on a GPU here.*The driver said: .*CUDA driver version is insuff"
    with strict_cupy.installed(driver=False), pytest.raises(RuntimeError, match=no_gpu):
        net.to("cupy")
    assert all(type(t.data) is np.ndarray for t in (*net.parameters(), net.norm.running_mean))


def test_a_model_that_an_optimizer_holds_is_not_moved(backend):
    net = Net()
    flat = owned_by_an_optimizer(net.body)
    with pytest.raises(
        RuntimeError, match=r'body\.layers\.0\.weight .* model\.astype\("float64"\) f'
    ):
        net.astype("float64")
    assert all(t.dtype == np.float32 for t in net.parameters())
    assert all(np.shares_memory(t.data, flat.w) for t in net.body.parameters())
    assert net.to(backend.name).astype("float32") is net  # nothing to do is no mistake


@everywhere
def test_a_model_whose_optimizer_is_gone_moves_freely_again():
    net = Net()
    optimizer = tg.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="belongs to an optimizer"):
        net.astype("float64")
    del optimizer
    net.astype("float64")
    assert all(t.dtype == "float64" for t in net.parameters())
    assert all(t.owned is None for t in net.parameters())


@everywhere
def test_a_graph_from_before_the_move_is_not_walked_with_the_new_arrays():
    net = nn.Linear(2, 2)
    loss = (net([[1.0, 2.0]]) ** 2).sum()
    net.astype("float64")
    with pytest.raises(RuntimeError, match="edited between forward and backward"):
        loss.backward()


# ---- showing -------------------------------------------------------------------------------------


def test_a_model_shows_as_a_tree_with_shapes_and_counts():
    net = nn.Module()
    net.scale = parameter(1000)
    net.body = nn.MLP([64, 32, 10])
    net.norm = nn.BatchNorm1d(10)
    net.drop = nn.Dropout(0.1)
    *rows, total = repr(net).splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "Module scale (1000,) 1,000",
        "body: MLP(activation='relu')",
        "layers.0: Linear weight (64, 32), bias (32,) 2,080",
        "layers.1: Linear weight (32, 10), bias (10,) 330",
        "norm: BatchNorm1d(momentum=0.1, eps=1e-05) weight (10,), bias (10,), "
        "[running_mean (10,), running_var (10,)] 20",
        "drop: Dropout(p=0.1)",
    ]
    assert [len(row) - len(row.lstrip()) for row in rows] == [0, 2, 4, 4, 2, 2]
    assert len({len(row) for row in rows if row[-1] == "0"}) == 1
    assert total == "3,430 parameters, float32, 20 in buffers"


def test_what_is_tied_shared_or_frozen_shows_as_such_and_counts_once():
    net = nn.Module()
    net.a = nn.Linear(2, 2, bias=False)
    net.b = net.a
    net.c = nn.Embedding(2, 2)
    net.c.weight = net.a.weight
    net.me = net
    net.frozen = tg.Tensor(np.ones(3))
    assert repr(net).splitlines() == [
        "Module          [frozen (3,)]",
        "  a: Linear     weight (2, 2)             4",
        "  b: Linear     = a",
        "  c: Embedding  weight (2, 2) = a.weight",
        "  me: Module    = the whole",
        "4 parameters, float32, 3 in buffers",
    ]


def test_the_settings_shown_are_short_ones_and_not_the_mode():
    net = nn.Dropout(0.25).eval()
    net.count, net.name, net.secret, net.sizes = 3, "a", "x" * 30, [1, 2]
    assert repr(net).splitlines()[0] == "Dropout(p=0.25, count=3, name='a')"


def test_a_module_without_anything_shows_too():
    assert repr(nn.ReLU()) == "ReLU\n0 parameters"


def test_a_notebook_shows_the_same_rows_as_a_table():
    net = Net()
    net.note, net.steps = "<b>", {"<i>": tg.Tensor(np.array(3))}
    shown = net._repr_html_()
    assert shown.count("<tr>") == 5
    assert "weight (64, 32), bias (32,)" in shown
    assert "2,080" in shown
    assert "2,440 parameters" in shown
    assert "note=&#x27;&lt;b&gt;&#x27;" in shown
    assert "[steps.&lt;i&gt; ()]" in shown
    assert "<i>" not in shown
