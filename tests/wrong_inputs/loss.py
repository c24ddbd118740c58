"""Mistakes in losses and in parts of networks."""

import re

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import Tensor
from wrong_inputs.base import I, T, V, axis, nan, same_shape, table

# w.x (2, 3), w.y (4, 5), w.v (3,), w.s (), w.c (2, 3, 4), w.e (0, 3), w.z (4, 3), w.p (4,) and
# w.q (4, 1) are float32 and require gradients; w.i (2, 3) is int64, w.u (2,) uint8, w.b (2,) bool.

table(
    "losses",
    ("label too large", lambda w: tg.cross_entropy(w.z, [0, 1, 2, 3]), I,
     r"^cross_entropy: label 3 in row 3 is outside \[0, 3\), the 3 classes of the logits$"),
    ("label below 0", lambda w: tg.cross_entropy(w.z, [0, -1, 2, 0]), I,
     r"^cross_entropy: label -1 in row 1 is outside \[0, 3\)"),
    ("label below 0, 8 bits", lambda w: tg.cross_entropy(w.z, np.array([0, -128, 2, 0], "i1")), I,
     r"^cross_entropy: label -128 in row 1 is outside"),
    ("labels of another byte order", lambda w: tg.cross_entropy(w.z, np.array([0, 1, 9, 0], ">i4")),
     I, r"^cross_entropy: label 9 in row 2 is outside"),
    ("labels float", lambda w: tg.cross_entropy(w.z, [0.0, 1, 2, 0]), T,
     r"^cross_entropy: labels are integers, not float64: use labels\.astype\('int64'\)"),
    ("labels a float Tensor", lambda w: tg.cross_entropy(w.z, Tensor([0, 1, 2, 0])), T,
     r"^cross_entropy: labels are integers, not float32: use labels\.astype"),
    ("labels bool", lambda w: tg.cross_entropy(w.z, np.ones(4, bool)), T, r"integers, not bool"),
    ("labels one-hot", lambda w: tg.cross_entropy(w.z, np.eye(4, 3)), T,
     r"^cross_entropy: .*look one-hot: use labels\.argmax\(axis=1\)"),
    ("labels one-hot of ints", lambda w: tg.cross_entropy(w.z, np.eye(4, 3, dtype=int)), T,
     r"one-hot: use labels\.argmax"),
    ("labels one too few", lambda w: tg.cross_entropy(w.z, [0, 1, 2]), V,
     r"^cross_entropy: 4 rows of logits, but labels of shape \(3,\)"),
    ("labels a column", lambda w: tg.cross_entropy(w.z, [[0], [1], [2], [0]]), V,
     r"labels of shape \(4, 1\)"),
    ("mse of labels", lambda w: tg.mse_loss(w.z, w.p), V,
     r"^mse_loss: .*\(4, 3\) and the target \(4,\).*integer labels .*cross_entropy"),
    ("labels ragged", lambda w: tg.cross_entropy(w.z, [[0], [1, 2]]), IndexError,
     r"^cross_entropy: the list of indices is not rectangular"),
    ("labels one number", lambda w: tg.cross_entropy(w.z, 1), V, r"labels of shape \(\)"),
    ("logits a vector", lambda w: tg.cross_entropy(w.p, [0, 1, 2, 0]), V,
     r"^cross_entropy: logits are \(N, C\) scores, not of shape \(4,\)"),
    ("logits a stack", lambda w: tg.cross_entropy(w.c, [0, 1]), V, r"not of shape \(2, 3, 4\)"),
    ("cross_entropy of nothing", lambda w: tg.cross_entropy(w.e, []), V, r"the batch is empty"),
    *((f"{op.__name__} (N, 1) against (N,)", lambda w, op=op: op(w.q, w.p.detach() * 0 + 1), V,
       same_shape(op.__name__, (4, 1), (4,)) + r"; make the target target\[:, None\], or the pred")
      for op in (tg.mse_loss, tg.huber_loss, tg.hinge_loss, tg.bce_with_logits)),
    *((f"{op.__name__} (N,) against (N, 1)", lambda w, op=op: op(w.p, w.q.detach() * 0 + 1), V,
       same_shape(op.__name__, (4,), (4, 1)))
      for op in (tg.mse_loss, tg.huber_loss, tg.hinge_loss, tg.bce_with_logits)),
    *((f"{op.__name__} of nothing", lambda w, op=op: op(w.e, np.ones((0, 3))), V,
       f"^{op.__name__}: the batch is empty")
      for op in (tg.mse_loss, tg.huber_loss, tg.hinge_loss, tg.bce_with_logits)),
    ("mse against a number", lambda w: tg.mse_loss(w.p, 1.0), V, same_shape("mse_loss", (4,), ())),
    ("mse against a short list", lambda w: tg.mse_loss(w.p, [1, 2]), V,
     same_shape("mse_loss", (4,), (2,))),
    ("mse against None", lambda w: tg.mse_loss(w.p, None), T, r"^mse_loss: .*NoneType"),
    ("mse against text", lambda w: tg.mse_loss(w.p, "a"), T, r"^mse_loss: .*str"),
    ("huber with delta 0", lambda w: tg.huber_loss(w.p, w.p, 0),
     V, r"^huber_loss: delta is above 0"),
    ("huber below 0", lambda w: tg.huber_loss(w.p, w.p, -1.0), V, r"^huber_loss: .*not -1\.0"),
    ("huber NaN", lambda w: tg.huber_loss(w.p, w.p, nan), V, r"^huber_loss: .*above 0, not nan"),
    ("huber text", lambda w: tg.huber_loss(w.p, w.p, "a"),
     (T, V), r"^huber_loss: .*above 0, not 'a'"),
    ("hinge with 0 and 1", lambda w: tg.hinge_loss(w.p, [0, 1, 0, 1]), V,
     r"^hinge_loss: targets are -1 or 1; from 0 and 1, make them with 2 \* t - 1"),
    ("bce of None", lambda w: tg.bce_with_logits(w.p, None), T, r"^bce_with_logits: wants a Tens"),
    ("hinge of text", lambda w: tg.hinge_loss(w.p, "a"), T, r"^hinge_loss: wants a Tensor"),
    ("bce above 1", lambda w: tg.bce_with_logits(w.p, [0, 1, 2, 1]),
     V, r"^bce_with_logits: targets"),
    ("bce below 0", lambda w: tg.bce_with_logits(w.p, [-1, 1, 0, 1]), V, r"\[0, 1\]"),
    ("bce NaN", lambda w: tg.bce_with_logits(w.p, [nan, 1, 0, 1]), V, r"^bce_with_logits: targets"),
    *((f"dropout with p = {p}", lambda w, p=p: tg.dropout(w.x, p), V,
       rf"^dropout: p is a probability in \[0, 1\), not {re.escape(repr(p))}$")
      for p in (1.0, 1.5, -0.1, nan, "a", None)),
    ("dropout of integers", lambda w: tg.dropout(w.i, 0.5), T, r"^dropout: .*not int64"),
    ("dropout of a number", lambda w: tg.dropout(3.0, 0.5), T, r"^dropout: .*float"),
    ("layer_norm weight", lambda w: tg.layer_norm(w.x, w.p),
     V, r"^layer_norm: weight \(4,\) does not"),
    ("layer_norm bias", lambda w: tg.layer_norm(w.x, w.v, w.p),
     V, r"^layer_norm: bias \(4,\) does n"),
    ("layer_norm axis", lambda w: tg.layer_norm(w.x, axis=2), V, axis("layer_norm")),
    ("layer_norm of a scalar", lambda w: tg.layer_norm(w.s), V, axis("layer_norm", -1, 0)),
    ("layer_norm eps", lambda w: tg.layer_norm(w.x, eps=-1.0), V, r"^layer_norm: eps .*-1\.0"),
    ("layer_norm of no features", lambda w: tg.layer_norm(w.e.T), V, r"^layer_norm: "),
)  # fmt: skip
