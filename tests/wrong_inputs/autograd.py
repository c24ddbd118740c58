"""Mistakes in making and editing tensors, in differentiating, in the switch and the seed."""

import numpy as np
import torch

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from wrong_inputs.base import R, T, V, assign, here, recorded, shapes, table, unrecorded


def twice(y):
    y.backward()
    y.backward()


def edited(w):
    y = w.fresh * w.fresh
    w.fresh.data += 1
    y.sum().backward()


# w.x (2, 3), w.y (4, 5), w.v (3,), w.s (), w.c (2, 3, 4), w.e (0, 3), w.z (4, 3), w.p (4,) and
# w.q (4, 1) are float32 and require gradients; w.i (2, 3) is int64, w.u (2,) uint8, w.b (2,) bool.

table(
    "creating",
    ("Tensor of nothing", lambda w: Tensor(None), T, r"^cannot make an array from a NoneType"),
    ("Tensor of text", lambda w: Tensor("abc"), T, r"^cannot make an array from a str"),
    ("Tensor of a dict", lambda w: Tensor({1: 2}), T, r"^cannot make an array from a dict"),
    ("Tensor of a range", lambda w: Tensor(range(3)), T, r"^cannot make an array from a range"),
    ("Tensor of a complex", lambda w: Tensor(1j), T, r"^cannot make an array from a complex"),
    ("Tensor of bytes", lambda w: Tensor(b"ab"), T, r"^cannot make an array from a bytes"),
    ("Tensor of words", lambda w: Tensor(["a"]), T, r"list of <U1: numbers are wanted"),
    ("Tensor of Nones", lambda w: Tensor([None]), T, r"list of object: numbers are wanted"),
    ("Tensor of a ragged list", lambda w: Tensor([[1], [2, 3]]), V, r"no rectangular"),
    ("Tensor of a Tensor", lambda w: Tensor(w.x), T, r"cut the graph unseen.*detach\(\)"),
    ("Tensor of Tensors", lambda w: Tensor([w.s, w.s]), T, r"cut the graph unseen.*tg\.stack"),
    ("Tensor of complex array", lambda w: Tensor(np.ones(2, "c8")), T, r"complex64 is not supp"),
    ("Tensor of words array", lambda w: Tensor(np.array(["a"])), T, r"dtype <U1 is not supported"),
    ("Tensor of dates", lambda w: Tensor(np.array(["2020"], "M8")),
     T, r"datetime64.* not supported"),
    ("Tensor of objects", lambda w: Tensor(np.array([{}])), T, r"dtype object is not supported"),
    ("Tensor of a masked array", lambda w: Tensor(np.ma.ones(2)), T, r"lose its mask.*\.filled\("),
    ("Tensor of torch's", lambda w: Tensor(torch.ones(2)), T, r"tg\.from_dlpack\(x\)"),
    ("no such dtype", lambda w: Tensor(1.0, dtype="float31"), T, r"'float31' is not a dtype; try"),
    ("complex dtype", lambda w: Tensor(1.0, dtype="c8"),
     T, r"complex64 is not supported: use float"),
    ("text dtype", lambda w: Tensor(1.0, dtype=str), T, r"is not supported: use float16, float32"),
    ("integers require grad", lambda w: Tensor(np.arange(3), True), T, r"int64 .* write 1\.0 inst"),
    ("bools require grad", lambda w: Tensor([True], True), T, r"bool data .*give dtype='float32'"),
    ("dtype int requires grad", lambda w: Tensor(1.0, True, "int8"),
     T, r"int8 data cannot require"),
    ("a dtype as requires_grad", lambda w: Tensor(1.0, "float64"), T, r"requires_grad.*'float64'"),
    ("requires_grad set on integers", recorded("w.i.requires_grad = True"),
     T, r"int64 data cannot"),
    ("from_dlpack of a number", lambda w: tg.from_dlpack(3), T, r"from_dlpack: .*int"),
    ("from_dlpack of complex", lambda w: tg.from_dlpack(torch.ones(2) * 1j),
     T, r"complex64 is not"),
)  # fmt: skip

table(
    "autograd",
    ("backward of several", lambda w: (w.x * 2).backward(), R,
     r"^backward from shape \(2, 3\) needs a cotangent.*\.mean\(\) or \.sum\(\)"),
    ("backward of a constant", lambda w: Tensor(1.0).backward(), R,
     r"^nothing below this tensor requires a gradient.*requires_grad=True"),
    ("backward of a detached", lambda w: w.x.sum().detach().backward(), R, r"without detach\(\)"),
    ("backward of a comparison", lambda w: (w.x > 0).sum().backward(), R, r"^nothing below this"),
    ("backward of an argmax", lambda w: w.x.argmax().backward(), R, r"^nothing below this tensor"),
    ("backward of integers", lambda w: w.x.astype("int64").sum().backward(), R, r"^nothing below"),
    ("backward twice", lambda w: twice((w.fresh + w.fresh).sum()), R,
     r"^the graph through \w+ was already walked.*run the forward pass again.*retain_graph=True"),
    ("backward of a leaf of several", lambda w: w.x.backward(), R, r"shape \(2, 3\) needs a cot"),
    ("backward of edited data", edited,
     R, r"input of multiply was edited between forward and back"),
    ("cotangent transposed", lambda w: (w.x * 2).backward(np.ones((3, 2))), V,
     r"^a cotangent of shape \(3, 2\) for a result of shape \(2, 3\)$"),
    ("cotangent a number", lambda w: (w.x * 2).backward(1.0),
     V, r"shape \(\) for a result of shape"),
    ("cotangent a row", lambda w: (w.x * 2).backward(w.v),
     V, r"shape \(3,\) for a result of shape"),
    ("cotangent of a scalar", lambda w: w.x.sum().backward([1, 2]),
     V, r"shape \(2,\) for a result of"),
    ("cotangent complex", lambda w: (w.x * 2).backward(w.x.data.astype("c8")), T, r"complex64"),
    ("cotangent text", lambda w: (w.x * 2).sum().backward("a"),
     T, r"cotangent = 'a': .* from a str"),
    ("grad cotangent", lambda w: tg.grad(w.x * 2, w.x, np.ones(3)),
     V, r"shape \(3,\) for a result"),
    ("grad of several", lambda w: tg.grad(w.x * 2, w.x), R, r"shape \(2, 3\) needs a cotangent"),
    ("grad of a number", lambda w: tg.grad(1.0, w.x),
     T, r"only a Tensor has a graph.* not a float"),
    ("grad of an array", lambda w: tg.grad(np.ones(1), w.x), T, r"only a Tensor.* not a ndarray"),
    ("grad of a function", lambda w: tg.grad(lambda x: x, w.x),
     T, r"only a Tensor.* not a function"),
    ("grad of a constant", lambda w: tg.grad(Tensor(1.0), w.x), R, r"^nothing below this tensor"),
    ("grad by a constant", lambda w: tg.grad(w.x.sum(), w.x.detach()), R,
     r"(?s)^grad: Tensor\(.* does not require a gradient.*requires_grad=True"),
    ("grad by a number", lambda w: tg.grad(w.x.sum(), 3.0),
     T, r"^grad: xs is a Tensor or a list .*3\.0"),
    ("grad by a list of numbers", lambda w: tg.grad(w.x.sum(), [3]),
     T, r"^grad: xs is a Tensor or"),
    ("grad by None", lambda w: tg.grad(w.x.sum(), None), T, r"^grad: xs is a Tensor.*None"),
    ("grad by an array", lambda w: tg.grad(w.x.sum(), w.x.data),
     T, r"^grad: xs is a Tensor or a li"),
    ("hvp of a single tensor", lambda w: tg.hvp(lambda x: x.sum(), w.x, [w.x]),
     V, r"^hvp: xs and vs"),
    ("hvp of two lengths", lambda w: tg.hvp(lambda x: x.sum(), [w.x], []),
     V, r"^hvp: xs and vs are"),
    ("hvp of several", lambda w: tg.hvp(lambda x: x * x, [w.x], [w.x]), R, r"needs a cotangent"),
    ("hvp of another shape", lambda w: tg.hvp(lambda x: (x * x).sum(), [w.x], [w.v]), V,
     r"shape \(3,\) for a result of shape \(2, 3\)"),
    ("hvp of a number", lambda w: tg.hvp(lambda x: 1.0, [w.x], [w.x]), T, r"only a Tensor"),
    ("hvp at integers", lambda w: tg.hvp(lambda x: x.sum(), [w.i], [w.i]),
     T, r"int64 data cannot req"),
    ("+= on a leaf", recorded("w.x += 1"),
     R, r"w \+= \.\.\. on a leaf.*\n    with tg\.no_grad\(\):\n"),
    ("-= on a leaf", recorded("w.x -= 0.1 * w.x.grad"), R, r"w -= .*\n    with tg\.no_grad\(\):\n"),
    ("-= of another shape", unrecorded("w.x -= here(np.ones((5, 2, 3), 'f4'))"),
     V, r"\(2, 3\).*\(5, 2, 3\)"),
    ("-= of float64", unrecorded("w.x -= here(np.ones((2, 3)))"),
     T, r"float32 and would be assigned float64"),
    ("-= that does not broadcast", unrecorded("w.x -= w.y"), V, shapes("subtract", (2, 3), (4, 5))),
    ("/= on integers", recorded("w.i /= 2"), T, r"int64 and would be assigned float64"),
    ("data of another shape", assign("data", lambda w: w.y),
     V, r"\.data has shape \(2, 3\).*\(4, 5\)"),
    ("data of float64", assign("data", lambda w: here(np.ones((2, 3)))),
     T, r"\.data is float32 .* float64.*astype"),
    ("data None", assign("data", None), T, r"\.data .*NoneType"),
    ("data of a scalar None", lambda w: setattr(w.s, "data", None), T, r"\.data .*NoneType"),
    ("data text", assign("data", "abc"), (T, V), r"\.data .*str"),
    ("grad of another shape", assign("grad", [1, 2]), V, r"\.grad has shape \(2, 3\) .* \(2,\)"),
    ("grad of float64", assign("grad", lambda w: here(np.ones((2, 3)))),
     T, r"\.grad is float32 .* float64.*astype"),
    ("grad of integers", assign("grad", lambda w: w.i), T, r"\.grad is float32 .* int64"),
    ("shape", assign("shape", (3, 2)), AttributeError, r"shape"),
    ("a misspelt attribute", assign("gard", None), AttributeError, r"'Tensor' .*'gard'"),
    ("exported with its graph", lambda w: w.x.__dlpack__(), BufferError, r"tensor\.detach\(\)"),
    ("unknown backend", lambda w: tg.use("tpu"),
     V, r"unknown backend 'tpu': the backends are numpy"),
    ("backend None", lambda w: tg.use(None), V, r"unknown backend None"),
    ("seed below 0", lambda w: tg.manual_seed(-1),
     V, r"^manual_seed: .*integer of 0 or more, not -1"),
    ("seed a float", lambda w: tg.manual_seed(1.5), V, r"^manual_seed: .*not 1\.5"),
    ("seed a bool", lambda w: tg.manual_seed(True), V, r"^manual_seed: .*not True"),
    ("seed text", lambda w: tg.manual_seed("a"), V, r"^manual_seed: .*not 'a'"),
    ("seed None", lambda w: tg.manual_seed(None), V, r"^manual_seed: .*not None"),
)  # fmt: skip
