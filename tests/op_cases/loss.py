"""Samples of the losses and of what networks are made of between them."""

import numpy as np
import torch
import torch.nn.functional as F

import tinygrad_opt as tg
from op_cases.sample import THEIRS, between, ints, sample, spaced

SECOND = ("second order", "second order, float32")

# ---- losses --------------------------------------------------------------------------------------

THEIRS.update(
    cross_entropy=F.cross_entropy, bce_with_logits=F.binary_cross_entropy_with_logits,
    mse_loss=F.mse_loss, huber_loss=F.huber_loss,
    hinge_loss=lambda x, target: torch.relu(1 - x * target).mean(),
)  # fmt: skip

for _n, _classes, _labels in [(1, 3, [2]), (4, 3, [0, 2, 1, 2]), (5, 2, [0, 1, 0, 1, 1]),
                              (3, 1, [0] * 3), (2, 10, [9, 0])]:  # fmt: skip
    sample("cross_entropy", (_n, _classes), ints(_labels))
for _kind in ("int32", "int16", "uint8"):
    sample("cross_entropy", (3, 4), ints(1, 0, 3).astype(_kind), note=_kind,
           theirs=lambda x, labels: F.cross_entropy(x, labels.long()))  # fmt: skip
sample("cross_entropy", (3, 4), f=lambda m, x: m.cross_entropy(x, [1, 0, 3]), note="a list",
       theirs=lambda x: F.cross_entropy(x, torch.tensor([1, 0, 3])))  # fmt: skip
for _c in (1e-3, 1e2):
    sample("cross_entropy", (3, 4), ints(1, 0, 3), factor=_c, without=("second order, float32",))
sample("cross_entropy", (40, 30), np.arange(40) % 30)

_PAIRED = [(), (1,), (5,), (3, 1), (2, 3), (2, 1, 3), (40, 30)]
for _shape in _PAIRED:
    sample("mse_loss", _shape, _shape)
    sample("huber_loss", _shape, _shape)
    sample("huber_loss", _shape, _shape, delta=0.3)
    sample("bce_with_logits", _shape, _shape, draw=between(0.1, 0.9))
sample("huber_loss", (3, 4), (3, 4), delta=20, note="all near")
sample("huber_loss", (3, 4), (3, 4), delta=1e-3, note="all far")
for _op in ("mse_loss", "huber_loss"):
    sample(_op, (3, 4), f=lambda m, x, op=_op: getattr(m, op)(x, [[0.5] * 4] * 3), note="a list",
           without=("float16",),  # the list becomes float32
           theirs=lambda x, op=_op: THEIRS[op](x, torch.full_like(x, 0.5)))  # fmt: skip
    for _c in (1e-4, 1e4):
        sample(_op, (3, 4), (3, 4), factor=_c)

_rng = np.random.default_rng(1)
for _shape in _PAIRED:
    _signs = np.asarray(_rng.choice([-1.0, 1.0], _shape))
    sample("hinge_loss", _shape, _signs, without=("same tensor",), note="signs")
    sample("bce_with_logits", np.asarray(3 * _rng.standard_normal(_shape)), (_signs + 1) / 2,
           note="bits", without=("same tensor",))  # fmt: skip
sample("hinge_loss", (3, 4), np.ones((3, 4), "i1"))
sample("bce_with_logits", np.array([-1000.0, 1000, -30, 30]), np.array([0.5, 0.5, 1, 0]),
       note="far out", without=("same tensor", "float16"))  # fmt: skip

# ---- parts of networks ---------------------------------------------------------------------------


def _layer_norm(x, weight=None, bias=None, eps=1e-5, axis=-1):
    n = len(axis) if isinstance(axis, tuple) else 1
    return F.layer_norm(x, x.shape[x.ndim - n :], weight, bias, eps)


THEIRS.update(layer_norm=_layer_norm, embedding=F.embedding)
for _shape in [(5,), (2, 3), (2, 3, 4), (0, 3), (20, 30)]:
    sample("layer_norm", _shape, draw=spaced)
    sample("layer_norm", _shape, _shape[-1:], _shape[-1:], draw=spaced)
    sample("layer_norm", _shape, _shape[-1:], draw=spaced)
sample("layer_norm", (2, 3, 4), (3, 4), (3, 4), axis=(-2, -1), draw=spaced)
sample("layer_norm", (2, 3, 4), (3, 4), (3, 4), axis=(1, 2), eps=0.1, draw=spaced)
sample("layer_norm", (2, 3), eps=0.5, draw=spaced)
sample("layer_norm", (2, 3), (3,), note="bias alone", draw=spaced,
       f=lambda m, x, b: m.layer_norm(x, None, b),
       theirs=lambda x, b: _layer_norm(x) + b)  # fmt: skip
for _c in (1e-4, 1e4):
    sample("layer_norm", (3, 4), factor=_c)


def _dropout(m, x, **how):
    tg.manual_seed(7)
    return m.dropout(x, **how)


def _masked(x, p=0.5, training=True):
    """PyTorch's x times the mask that ours makes of ones from the same seed."""
    if p == 0 or not training:
        return x * 1
    mask = _dropout(tg, np.ones(tuple(x.shape)), p=p)
    assert np.isin(mask, [0, 1 / (1 - p)]).all()
    return x * torch.from_numpy(np.asarray(mask))


for _shape in [(), (5,), (2, 3), (2, 0), (40, 30)]:
    for _p in (0, 0.3, 0.9):
        sample("dropout", _shape, f=_dropout, theirs=_masked, p=_p)
sample("dropout", (20, 30), f=_dropout, theirs=_masked, note="by default")
sample("dropout", (2, 3), f=_dropout, theirs=_masked, p=0.5, training=False)

for _shape, _indices in [((5, 3), [0, 4, 4]), ((5, 3), [[0, 1], [1, 1]]), ((5, 3), 2),
                         ((1, 2), [0, 0]), ((4, 1), []), ((30, 40), [7] * 20)]:  # fmt: skip
    # PyTorch's double backward fails for no indices at all
    sample("embedding", ints(_indices), _shape, without=() if _indices != [] else SECOND)
