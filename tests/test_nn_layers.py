"""Each layer against PyTorch's: values, gradients under random cotangents, float32 and float64; its
starting weights; and what it says to wrong input."""

import math

import numpy as np
import pytest
import torch

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.data import load_digits
from tinygrad_opt.testing import gradcheck, match_torch

everywhere = pytest.mark.usefixtures("backend")  # NumPy, the stand-in for CuPy, and CuPy

RNG = np.random.default_rng(30)
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
F = torch.nn.functional


def normal(*shape, dtype):
    return RNG.normal(size=shape).astype(dtype)


def with_tensors(layer, *names):
    """`layer` as a function of its input and of the tensors called `names`."""

    def f(x, *tensors):
        for name, tensor in zip(names, tensors, strict=True):
            setattr(layer, name, tensor)
        return layer(x)

    return f


# ---- Linear --------------------------------------------------------------------------------------


@everywhere
@DTYPES
@pytest.mark.parametrize("shape", [(5, 4), (4,), (2, 3, 4), (0, 4)])
def test_linear_is_torchs_with_the_weight_transposed(shape, dtype):
    x, w, b = normal(*shape, dtype=dtype), normal(4, 3, dtype=dtype), normal(3, dtype=dtype)
    f = with_tensors(nn.Linear(4, 3), "weight", "bias")
    assert match_torch(f, lambda x, w, b: F.linear(x, w.T, b), x, w, b, order=2)
    f = with_tensors(nn.Linear(4, 3, bias=False), "weight")
    assert match_torch(f, lambda x, w: F.linear(x, w.T), x, w, order=2)


@everywhere
def test_linear_computes_x_times_weight_plus_bias():
    layer = nn.Linear(2, 3)
    layer.weight.data = [[1, 2, 3], [4, 5, 6]]
    layer.bias.data = [10, 20, 30]
    y = layer([[1.0, 0.0], [0.0, 2.0]])
    assert y.tolist() == [[11, 22, 33], [18, 30, 42]]
    assert y.op.__name__ == "linear"


def test_a_linear_layer_begins_with_he_uniform_weights_and_a_bias_of_zeros(backend):
    tg.manual_seed(0)
    layer = nn.Linear(40, 30)
    tg.manual_seed(0)
    drawn = backend.host(nn.he_uniform((40, 30)))
    np.testing.assert_array_equal(backend.host(layer.weight.data), drawn)
    assert layer.bias.tolist() == [0] * 30
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert nn.Linear(2, 3, bias=False).bias is None


@pytest.mark.parametrize("name", ["he_uniform", "he_normal", "xavier_uniform", "xavier_normal"])
def test_the_initialiser_of_a_linear_layer_has_a_name_or_is_a_function(backend, name):
    weights = []
    for init in (name, getattr(nn, name)):
        tg.manual_seed(1)
        weights.append(backend.host(nn.Linear(4, 5, init=init).weight.data))
    np.testing.assert_array_equal(*weights)
    tg.manual_seed(1)
    np.testing.assert_array_equal(weights[0], backend.host(getattr(nn, name)((4, 5))))


@everywhere
def test_the_weights_are_float32_whatever_the_initialiser_gives():
    weight = nn.Linear(2, 3, init=lambda shape: np.full(shape, 0.1)).weight
    assert weight.dtype == np.float32
    assert weight.requires_grad
    given = tg.Tensor(np.ones((2, 3), np.float32))
    assert nn.Linear(2, 3, init=lambda shape: given).weight.tolist() == [[1] * 3] * 2


def test_linear_says_what_is_wrong_with_its_sizes_and_initialiser():
    with pytest.raises(ValueError, match=r"n_in is an integer of 1 or more, not 0"):
        nn.Linear(0, 3)
    with pytest.raises(TypeError, match=r"n_out is an integer, not 3\.0"):
        nn.Linear(2, 3.0)
    with pytest.raises(TypeError, match=r"n_in is an integer, not True"):
        nn.Linear(True, 3)
    with pytest.raises(ValueError, match=r"not 'he_unifrom' \(nearest: he_uniform\)"):
        nn.Linear(2, 3, init="he_unifrom")
    with pytest.raises(ValueError, match=r"init gave \(3, 2\) instead of \(2, 3\)"):
        nn.Linear(2, 3, init=lambda shape: np.zeros(shape[::-1]))


def test_a_wrong_input_width_names_the_layer_and_both_numbers(backend):
    layer = nn.Linear(64, 32)
    with pytest.raises(ValueError, match=r"Linear\(64, 32\).*\(5, 63\) has 63 .* instead of 64$"):
        layer(backend.array(np.zeros((5, 63), np.float32)))
    with pytest.raises(ValueError, match=r"shape \(\) has no features .* instead of 64$"):
        layer(tg.Tensor(1.0))
    with pytest.raises(ValueError, match=r"flatten each sample with x.reshape\(len\(x\), 64\)"):
        layer(backend.array(np.zeros((5, 8, 8), np.float32)))


# ---- activations, dropout ------------------------------------------------------------------------


@everywhere
@DTYPES
@pytest.mark.parametrize(
    "layer, twin",
    [
        (nn.ReLU(), torch.nn.ReLU()),
        (nn.Tanh(), torch.nn.Tanh()),
        (nn.Sigmoid(), torch.nn.Sigmoid()),
        (nn.GELU(), torch.nn.GELU()),
        (nn.GELU(approximate="tanh"), torch.nn.GELU(approximate="tanh")),
    ],
    ids=["relu", "tanh", "sigmoid", "gelu", "gelu tanh"],
)
def test_activations_are_torchs(layer, twin, dtype):
    assert layer.parameters() == []
    assert match_torch(layer, twin, normal(4, 5, dtype=dtype), order=2)


def test_gelu_knows_its_two_forms():
    with pytest.raises(ValueError, match="not 'tahn'"):
        nn.GELU("tahn")


@DTYPES
def test_dropout_drops_the_share_p_and_keeps_the_mean(backend, dtype):
    tg.manual_seed(2)
    x = tg.Tensor(np.full((200, 500), 2.0, dtype), requires_grad=True)
    layer = nn.Dropout(0.25)
    y = layer(x)
    assert y.dtype == dtype
    kept = backend.host(y.data)
    dropped = kept == 0
    assert dropped.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / x.size))
    np.testing.assert_allclose(kept[~dropped], 2 / 0.75, rtol=1e-6)
    assert not np.array_equal(dropped, backend.host(layer(x).data) == 0)
    g = normal(200, 500, dtype=dtype)
    y.backward(backend.array(g))
    np.testing.assert_allclose(backend.host(x.grad), np.where(dropped, 0, g / 0.75), rtol=1e-6)


def test_dropout_passes_everything_in_evaluation_and_with_p_0(backend):
    x = tg.Tensor(normal(4, 5, dtype="float32"))
    for layer in (nn.Dropout(0.5).eval(), nn.Dropout(0.0)):
        np.testing.assert_array_equal(backend.host(layer(x).data), x.numpy())


def test_the_seed_decides_what_dropout_drops_on_every_backend_the_same(backend):
    x, layer = tg.Tensor(np.ones(100)), nn.Dropout()
    tg.manual_seed(3)
    first = backend.host(layer(x).data)
    tg.manual_seed(3)
    np.testing.assert_array_equal(backend.host(layer(x).data), first)
    with tg.use("numpy"):
        tg.manual_seed(3)
        np.testing.assert_array_equal(layer(tg.Tensor(np.ones(100))).data, first)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match="Dropout: p is a probability"):
        nn.Dropout(p)


# ---- normalisation -------------------------------------------------------------------------------


@everywhere
@DTYPES
@pytest.mark.parametrize("shape, axes", [((5, 4), 4), ((2, 3, 4), 4), ((2, 3, 4), (3, 4))])
def test_layer_norm_is_torchs(shape, axes, dtype):
    lengths = axes if isinstance(axes, tuple) else (axes,)
    x = normal(*shape, dtype=dtype)
    w, b = normal(*lengths, dtype=dtype), normal(*lengths, dtype=dtype)
    layer = nn.LayerNorm(axes, eps=1e-3)
    assert (layer.weight.data == 1).all()
    assert (layer.bias.data == 0).all()
    assert layer.weight.shape == layer.bias.shape == lengths
    f = with_tensors(layer, "weight", "bias")
    assert match_torch(
        f, lambda x, w, b: F.layer_norm(x, lengths, w, b, 1e-3), x, w, b, order=2,
        rtol=1e-4 if dtype == "float32" else None,
    )  # fmt: skip


def test_layer_norm_refuses_what_would_broadcast(backend):
    for shape in ((5, 1), (4, 5), (), (1,)):
        with pytest.raises(ValueError, match=r"LayerNorm\(\(4,\)\)"):
            nn.LayerNorm(4)(backend.array(np.ones(shape, np.float32)))


@pytest.mark.parametrize("layer", [nn.LayerNorm, nn.BatchNorm1d])
def test_norms_refuse_wrong_sizes_and_eps(layer):
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"{layer.__name__}.* not {size}"):
            layer(size)
    with pytest.raises(TypeError, match=f"{layer.__name__}.* is an integer"):
        layer("4")
    for eps in (0, -1e-5, float("nan")):
        with pytest.raises(ValueError, match=f"{layer.__name__}: eps"):
            layer(4, eps=eps)
    with pytest.raises(ValueError, match="names no axis"):
        nn.LayerNorm(())


@DTYPES
def test_batch_norm_is_torchs_in_training_and_in_evaluation(backend, dtype):
    tolerance = 1e-4 if dtype == "float32" else None
    x, w, b = normal(7, 3, dtype=dtype), normal(3, dtype=dtype), normal(3, dtype=dtype)
    mean, var = normal(3, dtype=dtype), np.exp(normal(3, dtype=dtype))
    for training in (True, False):
        layer = nn.BatchNorm1d(3, eps=1e-3).astype(dtype).train(training)
        layer.running_mean.data, layer.running_var.data = map(backend.array, (mean, var))
        assert match_torch(
            with_tensors(layer, "weight", "bias"),
            lambda x, w, b, training=training: F.batch_norm(
                x, torch.tensor(mean), torch.tensor(var), w, b, training, 0.1, 1e-3
            ),
            x, w, b, order=2, rtol=tolerance,
        )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, 0.7])
def test_running_statistics_follow_as_torchs_do(backend, momentum, dtype):
    ours = nn.BatchNorm1d(3, momentum=momentum).astype(dtype)
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum).to(getattr(torch, dtype))
    tensors = ours.running_mean, ours.running_var
    for n in (5, 2, 8):
        x = 3 + 2 * normal(n, 3, dtype=dtype)
        ours(tg.Tensor(x))
        theirs(torch.tensor(x))
    assert (ours.running_mean, ours.running_var) == tensors
    for name in ("running_mean", "running_var"):
        mine = backend.host(getattr(ours, name).data)
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, getattr(theirs, name).numpy(), rtol=1e-5)
    before = ours.state_dict()
    ours.eval()(tg.Tensor(x))
    theirs.eval()
    y, wanted = backend.host(ours(tg.Tensor(x)).data), theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-6)
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_running_statistics_are_buffers_and_keep_their_dtype_whatever_comes_in(backend):
    layer = nn.BatchNorm1d(2)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert sorted(layer.state_dict()) == ["bias", "running_mean", "running_var", "weight"]
    layer(backend.array(np.arange(6.0).reshape(3, 2)))
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    np.testing.assert_allclose(backend.host(layer.running_mean.data), [0.2, 0.3], rtol=1e-6)


def test_a_batch_of_one_has_no_variance_and_changes_nothing(backend):
    layer = nn.BatchNorm1d(2)
    before = layer.state_dict()
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"a batch of {n} has no variance"):
            layer(backend.array(np.ones((n, 2), np.float32)))
    for shape in ((4, 3), (4,), (4, 1), (4, 2, 2)):
        with pytest.raises(ValueError, match=r"BatchNorm1d\(2\): .* instead of \(N, 2\)"):
            layer(backend.array(np.ones(shape, np.float32)))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert layer.eval()(backend.array(np.ones((1, 2), np.float32))).shape == (1, 2)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_momentum_outside_0_to_1_is_refused(momentum):
    with pytest.raises(ValueError, match="BatchNorm1d: momentum"):
        nn.BatchNorm1d(2, momentum=momentum)


# ---- Embedding -----------------------------------------------------------------------------------


@everywhere
@DTYPES
@pytest.mark.parametrize("indices", [[0, 2, 2, 1], [[0, 1], [4, 4]], [], 3])
def test_embedding_is_torchs_also_for_repeated_indices(indices, dtype):
    indices = np.array(indices, dtype=np.int64)
    layer = nn.Embedding(5, 3)

    def f(w, i):
        layer.weight = w
        return layer(i)

    twin = lambda w, i: F.embedding(i, w)
    assert match_torch(f, twin, normal(5, 3, dtype=dtype), indices, order=2)


def test_an_embedding_begins_standard_normal_and_takes_lists_and_tensors(backend):
    tg.manual_seed(4)
    layer = nn.Embedding(400, 100)
    w = backend.host(layer.weight.data)
    assert w.shape == (400, 100)
    assert w.dtype == np.float32
    assert layer.weight.requires_grad
    assert w.std() == pytest.approx(1, rel=5 / np.sqrt(2 * w.size))
    for indices in ([1, 399], tg.Tensor(np.array([1, 399])), np.array([1, 399], np.uint16)):
        np.testing.assert_array_equal(backend.host(layer(indices).data), w[[1, 399]])


@everywhere
@pytest.mark.parametrize("indices", [[5], [0, -1], [[0], [99]]])
def test_an_index_outside_the_table_is_an_index_error_and_names_it(indices):
    worst = np.array(indices).flat[-1]
    with pytest.raises(IndexError, match=f"index {worst} is out"):
        nn.Embedding(5, 3)(indices)


@everywhere
def test_indices_that_are_not_integers_are_refused():
    with pytest.raises(TypeError, match="integers"):
        nn.Embedding(5, 3)([0.0, 1.0])
    with pytest.raises(ValueError, match="Embedding: n "):
        nn.Embedding(0, 3)


# ---- Sequential and MLP --------------------------------------------------------------------------


def test_sequential_runs_modules_and_functions_in_order(backend):
    model = nn.Sequential(nn.Linear(2, 3), tg.exp, nn.Linear(3, 1), nn.Sigmoid())
    x = backend.array(normal(4, 2, dtype="float32"))
    one, _, two, _ = model.layers
    by_hand = tg.sigmoid(two(tg.exp(one(x))))
    np.testing.assert_array_equal(backend.host(model(x).data), backend.host(by_hand.data))
    names = [name for name, _ in model.named_parameters()]
    assert names == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
    assert nn.Sequential()(x) is x


def test_sequential_refuses_a_list_a_class_and_a_number():
    with pytest.raises(TypeError, match=r"layer 0 is a list.*unpack a list with \*"):
        nn.Sequential([nn.ReLU(), nn.Tanh()])
    with pytest.raises(TypeError, match=r"layer 1 is the class ReLU"):
        nn.Sequential(nn.Linear(2, 3), nn.ReLU)
    with pytest.raises(TypeError, match=r"layer 1 is a int"):
        nn.Sequential(nn.ReLU(), 3)


ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": F.gelu}


@everywhere
@DTYPES
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_mlp_is_torchs_in_value_and_in_every_gradient(activation, dtype):
    model = nn.MLP([4, 6, 5, 3], activation=activation)
    shapes = [t.shape for t in model.parameters()]

    def f(x, *tensors):
        for n, layer in enumerate(model.layers):
            layer.weight, layer.bias = tensors[2 * n : 2 * n + 2]
        return model(x)

    def twin(x, w1, b1, w2, b2, w3, b3):
        act = ACTIVATIONS[activation]
        return act(act(x @ w1 + b1) @ w2 + b2) @ w3 + b3

    arrays = [normal(*shape, dtype=dtype) for shape in shapes]
    x = normal(7, 4, dtype=dtype)
    assert match_torch(f, twin, x, *arrays, order=2, rtol=1e-4 if dtype == "float32" else None)


def test_the_linear_layers_of_an_mlp_are_called_layers_0_and_on():
    model = nn.MLP([64, 32, 10])
    shapes = {name: t.shape for name, t in model.named_parameters()}
    assert shapes == {
        "layers.0.weight": (64, 32),
        "layers.0.bias": (32,),
        "layers.1.weight": (32, 10),
        "layers.1.bias": (10,),
    }
    assert all(t.dtype == np.float32 for t in model.parameters())
    assert len(nn.MLP((64, np.int64(10))).layers) == 1


def test_an_mlp_whose_layers_are_tied_has_its_activations_still(backend):
    model = nn.MLP([3, 3, 3, 3])
    one = model.layers[0]
    model.layers = [one, one, one]
    x = backend.array(normal(4, 3, dtype="float32"))
    by_hand = one(tg.relu(one(tg.relu(one(x)))))
    np.testing.assert_array_equal(backend.host(model(x).data), backend.host(by_hand.data))
    assert len(model.parameters()) == 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_initialiser_of_an_mlp_fits_its_activation(activation):
    tg.manual_seed(5)
    model = nn.MLP([400, 300, 200], activation)
    hidden, last = (layer.weight.data for layer in model.layers)
    he = activation in ("relu", "gelu")
    assert hidden.var() == pytest.approx(2 / 400 if he else 2 / 700, rel=0.02)
    assert last.var() == pytest.approx(0.25 / 300, rel=0.02)
    assert all((layer.bias.data == 0).all() for layer in model.layers)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [[64, 10], [64, 32, 10], [64, 128, 10], [64, 64, 64, 64, 10]])
def test_the_first_loss_on_digits_is_that_of_ten_equal_scores(activation, sizes):
    (x, labels), _ = load_digits()
    for seed in range(5):
        tg.manual_seed(seed)
        loss = tg.cross_entropy(nn.MLP(sizes, activation)(x), labels)
        assert loss.item() == pytest.approx(math.log(10), rel=0.06)


def test_a_signal_keeps_its_size_through_twenty_layers():
    tg.manual_seed(6)
    x = normal(50, 200, dtype="float32")
    for activation, low, high in (("relu", 0.3, 3), ("tanh", 0.05, 1)):
        model = nn.MLP([200] * 21 + [10], activation)
        before_last = nn.Sequential(
            *(f for layer in model.layers[:-1] for f in (layer, getattr(tg, activation)))
        )(x)
        assert low < float(np.sqrt((before_last.data**2).mean())) < high


def test_mlp_says_what_is_wrong_with_its_arguments():
    with pytest.raises(ValueError, match=r"MLP: \[64\] names fewer than two widths"):
        nn.MLP([64])
    with pytest.raises(
        TypeError, match=r"MLP takes a list of widths, MLP\(\[64, 32, 10\]\), not 64"
    ):
        nn.MLP(64, 10)
    with pytest.raises(TypeError, match=r"MLP: a width is an integer, not 32\.5"):
        nn.MLP([64, 32.5, 10])
    with pytest.raises(ValueError, match=r"MLP: a width is an integer of 1 or more, not 0"):
        nn.MLP([64, 0, 10])
    with pytest.raises(ValueError, match=r"tanh, sigmoid, gelu, not 'rleu' \(nearest: relu\)"):
        nn.MLP([64, 10], activation="rleu")
    with pytest.raises(ValueError, match=r"activation is one of relu"):
        nn.MLP([64, 10], activation=tg.relu)


# ---- all of them ---------------------------------------------------------------------------------

EVERY = {
    "Linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "Linear without bias": (lambda: nn.Linear(4, 3, bias=False), (5, 4)),
    "ReLU": (nn.ReLU, (5, 4)),
    "Tanh": (nn.Tanh, (5, 4)),
    "Sigmoid": (nn.Sigmoid, (5, 4)),
    "GELU": (nn.GELU, (5, 4)),
    "Dropout": (nn.Dropout, (5, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (5, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "BatchNorm1d, evaluating": (lambda: nn.BatchNorm1d(4).eval(), (5, 4)),
    "MLP": (lambda: nn.MLP([4, 6, 3], "tanh"), (5, 4)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh()), (5, 4)),
}
LAYERS = pytest.mark.parametrize("name", EVERY)


@LAYERS
@DTYPES
def test_a_layer_keeps_the_dtype_in_value_and_gradient_on_every_backend(name, dtype, backend):
    make, shape = EVERY[name]
    host = normal(*shape, dtype=dtype)
    layer = make().astype(dtype)
    x = tg.Tensor(backend.array(host), requires_grad=True)
    tg.manual_seed(7)
    y = layer(x)
    y.backward(backend.array(normal(*y.shape, dtype=dtype)))
    for array in (y.data, x.grad, *(t.data for t in layer.parameters())):
        assert type(array) is backend.xp.ndarray
        assert array.dtype == dtype
    assert all(t.grad.dtype == dtype for t in layer.parameters())
    with tg.use("numpy"):
        tg.manual_seed(7)
        twin = make().astype(dtype)
        twin.load_state_dict(layer.state_dict())
        layer.to("numpy")
        tg.manual_seed(7)
        expected = twin.train(layer.training)(tg.Tensor(host))
    np.testing.assert_allclose(backend.host(y.data), expected.data, rtol=1e-5, atol=1e-6)


@LAYERS
def test_the_gradients_of_a_layer_pass_gradcheck(name):
    make, shape = EVERY[name]
    layer = make().astype("float64")
    if name == "Dropout":
        layer.eval()
    names = [n for n, _ in layer.named_parameters()]

    def f(x, *tensors):
        for place, tensor in zip(names, tensors, strict=True):
            *way, last = place.split(".")
            owner = layer
            for step in way:
                owner = owner[int(step)] if step.isdigit() else getattr(owner, step)
            setattr(owner, last, tensor)
        return layer(x)

    arrays = [t.data for t in layer.parameters()]
    assert gradcheck(f, RNG.normal(size=shape), *arrays)


@LAYERS
def test_a_layer_takes_raw_arrays_and_nested_lists_alike(backend, name):
    make, shape = EVERY[name]
    x = normal(*shape, dtype="float32")
    layer = make().eval()
    expected = backend.host(layer(tg.Tensor(x)).data)
    for given in (backend.array(x), x.tolist()):
        y = layer(given)
        found = backend.host(y.data if isinstance(y, tg.Tensor) else y)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
