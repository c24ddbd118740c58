"""Samples of the ops that move elements: each spelling, negative axes, repeated and empty picks."""

import numpy as np
import torch
import torch.nn.functional as F

import tinygrad_opt as tg
from op_cases.sample import THEIRS, ints, sample

# ---- PyTorch's spellings -------------------------------------------------------------------------


def _moved(move):
    """PyTorch's form of any op that only moves elements: NumPy moves their numbers, one gathers."""

    def f(x, *others, **kw):
        places = np.arange(x.numel()).reshape(tuple(x.shape))
        places = move(places, *(np.asarray(o) for o in others), **kw)
        return x.reshape(-1)[torch.from_numpy(np.array(places))]

    return f


def _pad(x, pad_width, constant_values=0):
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    return F.pad(x, pairs[::-1].reshape(-1).tolist(), value=constant_values)


THEIRS.update(
    expand_dims=_moved(np.expand_dims), flip=_moved(np.flip), roll=_moved(np.roll), pad=_pad,
    transpose=_moved(np.transpose), squeeze=_moved(np.squeeze), take=_moved(np.take),
    take_along_axis=_moved(np.take_along_axis), flatten=torch.ravel,
    concatenate=torch.cat, stack=torch.stack,
)  # fmt: skip

# ---- another shape -------------------------------------------------------------------------------

for _old, _new in [((), (1,)), ((), (1, 1)), ((1, 1), ()), ((6,), (2, 3)), ((2, 3), (6,)),
                   ((2, 3), (3, -1)), ((2, 3, 4), (4, 6)), ((2, 3, 4), (-1,)), ((0, 3), (3, 0)),
                   ((2, 3), (1, 2, 1, 3)), ((1,), ())]:  # fmt: skip
    sample("reshape", _old, f=lambda m, x, shape: m.reshape(x, shape), shape=_new)
sample("reshape", (2, 6), f=lambda m, x: x.reshape(3, 4), note="several numbers")
sample("reshape", (2, 6), f=lambda m, x: x.reshape(4, -1), note="several numbers")
sample("reshape", (3, 4), f=lambda m, x: x.T.reshape(2, 6), note="of a transpose")
for _shape in [(), (3,), (2, 3), (2, 3, 4), (2, 0)]:
    sample("flatten", _shape)

_ORDERS = {(): [()], (3,): [(0,)], (2, 3): [(1, 0), (0, 1), (-1, 0)], (0, 2): [(1, 0)],
           (2, 3, 4): [(2, 0, 1), (1, 2, 0), (0, 2, 1), (-1, 0, 1)]}  # fmt: skip
for _shape, _orders in _ORDERS.items():
    sample("transpose", _shape)
    for _order in _orders:
        sample("transpose", _shape, f=lambda m, x, axes: m.transpose(x, axes),
               theirs=_moved(np.transpose), axes=_order)  # fmt: skip
sample("transpose", (2, 3, 4), f=lambda m, x: x.transpose(2, 0, 1), note="several numbers",
       theirs=lambda x: x.permute(2, 0, 1))  # fmt: skip
sample("transpose", (2, 3), f=lambda m, x: x.T, note=".T")
for _shape, _a, _b in [((2, 3), 0, 1), ((2, 3), -1, -2), ((2, 3, 4), 0, -1), ((2, 3, 4), 1, 1),
                       ((2, 3, 4), 2, 1), ((0, 2), 0, 1)]:  # fmt: skip
    sample("swapaxes", _shape, f=lambda m, x, a, b: m.swapaxes(x, a, b), a=_a, b=_b)

for _shape, _axis in [((), 0), ((), -1), ((3,), 0), ((3,), 1), ((3,), -1), ((2, 3), 1),
                      ((2, 3), -2), ((2, 3), (0, 1)), ((2, 3), (0, -1)), ((2, 0), 0)]:  # fmt: skip
    sample("expand_dims", _shape, axis=_axis)
for _shape, _axis in [((1,), None), ((1, 3), None), ((1, 3, 1), None), ((1, 3), 0), ((3, 1), -1),
                      ((1, 3, 1), (0, 2)), ((1, 3, 1), (0, -1)), ((2, 3), None),
                      ((0, 1), 1), ((1, 3, 1), 0), ((1, 1), -1)]:  # fmt: skip
    sample("squeeze", _shape, axis=_axis)
for _old, _new in [((), ()), ((), (3,)), ((), (2, 3)), ((1,), (4,)), ((3,), (2, 3)),
                   ((3,), (4, 2, 3)), ((2, 1), (2, 3)), ((1, 3), (2, 3)), ((1, 1), (2, 3)),
                   ((2, 3), (2, 3)), ((2, 1, 3), (2, 4, 3)), ((1,), (0,)), ((1, 3), (0, 3)),
                   ((2, 1), (4, 2, 0))]:  # fmt: skip
    sample("broadcast_to", _old, f=lambda m, x, shape: m.broadcast_to(x, shape), shape=_new)

# ---- another order or place ----------------------------------------------------------------------

for _shape, _axis in [((), None), ((5,), None), ((5,), 0), ((2, 3), None), ((2, 3), 0),
                      ((2, 3), -1), ((2, 3, 4), (0, 2)), ((2, 3, 4), (-1, 1)), ((2, 3, 4), 1),
                      ((0, 2), 0)]:  # fmt: skip
    sample("flip", _shape, axis=_axis)
for _shape, _shift, _axis in [((5,), 2, None), ((5,), -1, 0), ((5,), 7, 0), ((2, 3), 1, None),
                              ((2, 3), 1,
                               1), ((2, 3), -2, -1), ((2, 3), 0, 0), ((3, 4), (1, 2), (0, 1)),
                              ((3, 4), (1, -2),
                               (-1, 0)), ((3, 4), (1, 2), (0, 0)), ((3, 4), 1, (0, 1)),
                              ((0, 2), 1, 0)]:  # fmt: skip
    sample("roll", _shape, shift=_shift, axis=_axis)
for _shape, _widths in [((3,), 1), ((3,), (1, 2)), ((3,), (0, 2)), ((2, 3), 2), ((2, 3), (1, 2)),
                        ((2, 3), ((1, 0), (0, 2))), ((2, 3), ((1,), (2,))), ((2, 3), 0),
                        ((0, 3), 1), ((2, 3, 4), ((0, 1), (2, 0), (1, 1)))]:  # fmt: skip
    sample("pad", _shape, pad_width=_widths)
    sample("pad", _shape, pad_width=_widths, constant_values=2.5)

# ---- several tensors -----------------------------------------------------------------------------

for _shapes, _axis in [([(3,), (2,)], 0), ([(3,)], 0), ([(2, 3), (2, 3)], 0), ([(2, 3), (1, 3)], 0),
                       ([(2, 3), (2, 1), (2, 2)], 1), ([(2, 3), (2, 1)], -1), ([(0, 3), (2, 3)], 0),
                       ([(2, 3, 4), (2, 1, 4), (2, 2, 4)], -2), ([(0,), (0,)], 0)]:  # fmt: skip
    sample("concatenate", *_shapes, f=lambda m, *xs, axis: m.concatenate(xs, axis=axis), axis=_axis)
sample("concatenate", (2, 3), f=lambda m, x: m.concatenate([x, x, x], axis=1), note="thrice")
sample("concatenate", (3,), (3,), f=lambda m, a, b: m.concatenate([a, b, a * b]), note="by default")
for _shapes, _axis in [([()] * 2, 0), ([()] * 2, -1), ([(3,)] * 2, 0), ([(3,)] * 3, 1),
                       ([(2, 3)] * 2, -1), ([(2, 3)] * 2, 1), ([(2, 3)] * 2, -3), ([(0, 2)] * 2, 0),
                       ([(2, 3)], 0)]:  # fmt: skip
    sample("stack", *_shapes, f=lambda m, *xs, axis: m.stack(xs, axis=axis), axis=_axis)
sample("stack", (3,), f=lambda m, x: m.stack([x, x]), note="twice")

for _shape, _where, _axis in [((6,), 3, 0), ((6,), [2, 3], 0), ((6,), [1, 1, 4], 0), ((2, 6), 2, 1),
                              ((2, 6), [1, 3], -1), ((4, 3), 2, 0), ((4, 3), 1, -2),
                              ((6,), [-2], 0), ((6,), [4, 9], 0), ((0, 2), 1, 0),
                              ((2, 3, 4), [3], 2)]:  # fmt: skip

    def _joined(m, x, cuts, axis):
        """All the parts, told apart by their order and by a factor each."""
        split = m.split if m is not torch else torch.tensor_split
        parts = split(x, cuts, axis)
        return m.concatenate([p * (n + 1) for n, p in enumerate(parts)][::-1], axis=axis)

    sample("split", _shape, f=_joined, cuts=_where, axis=_axis)

# ---- picking elements ----------------------------------------------------------------------------

S, E = slice, Ellipsis
_KEYS = {
    (): [(), E, None, (None, E)],
    (5,): [0, -1, S(1, 3), S(None, None, -1), S(None, None, 2), S(-2, None), S(3, 1), E, None,
           (E, None), S(4, None, -2), np.int64(2), [0, 0, 2], [], [[0, 1], [4, 0]], np.int64(-1),
           S(1, 99), (0, E), [True, False, True, True, False], True],
    (3,
     4): [0, (1, 2), (E, 0), (0, E), (S(None), 1), (S(None), None, 2), (None, S(1), E),
          (-1, S(1, 3)), (S(None, None, -1), S(None, None, -2)), [2, 0], (S(None), [0, 0, 3]),
          ([0, 1, 1], [2, 2, 0]), ([[0], [2]], [1, 3]), (1, [0, 0]), ([0, 0], S(1, 3)), (E, [1, 1]),
          ([True, False, True],), (S(0), 1), (S(None), S(2, 2)), ([0, 2], None, [1, 1])],
    (2, 3,
     4): [1, (0, 1, 2), (0, E, 1), (E, [0, 0]), ([1, 0], S(None), [3, 3]), (S(None), [0, 2, 2]),
          ([1, 1], [0, 2]), (S(None), [0, 0], [1, 1]), (1, S(None), [2, 2]), (S(None), 1, [0, 0]),
          (None, E, None), (S(None), [[0, 1], [2, 2]]), ([0, 1], S(0, 2), 1)],
    (0, 3): [S(None), (S(None), 1), (E, [0, 0]), []],
}  # fmt: skip


def _plain(key):
    """A key as NumPy is to read it: lists inside a tuple as arrays, the empty one of integers."""
    if isinstance(key, tuple):
        return tuple(_plain(k) for k in key)
    return np.array(key, dtype=None if key else np.intp) if isinstance(key, list) else key


for _shape, _keys in _KEYS.items():
    for _key in _keys:
        sample("getitem", _shape, f=lambda m, x, key: x[key], key=_key,
               theirs=_moved(lambda places, key: places[_plain(key)]))  # fmt: skip


def _picked(key, shape, *indices):
    sample("getitem", shape, *indices, f=lambda m, x, *i: x[key(*i)], note="arrays",
           theirs=_moved(lambda places, *i: places[key(*i)]))  # fmt: skip


_mask = np.array([[True, False, True, False], [False] * 4, [True, True, False, True]])
_picked(lambda i: i, (5,), ints(3, 3, -1, 0))
_picked(lambda i: i, (3, 4), ints([[0, 2], [2, 2]]))
_picked(lambda i: (S(None), i), (3, 4), ints(1, 1, -4))
_picked(lambda i, j: (i, j), (3, 4), ints(0, 0, 2), ints(1, 1, 3))
_picked(lambda i, j: (i, S(None), j), (2, 3, 4), ints(0, 1, 1), ints(3, 3, 3))
_picked(lambda i, j: (i[:, None], j), (3, 4), ints(0, 2), ints(1, 1, 0))
_picked(lambda i: (E, i), (2, 3, 4), ints(0, 0))
_picked(lambda i: i, (5,), np.array([0, 4, 4], np.uint8))
_picked(lambda i: i, (5,), ints(2))
_picked(lambda c: c, (3, 4), _mask)
_picked(lambda c: c, (3, 4), ~_mask)
_picked(lambda c: c, (3, 4), np.zeros((3, 4), bool))
_picked(lambda c: c, (3, 4), _mask[:, 0])
_picked(lambda c: (S(None), c), (3, 4), _mask[0])
_picked(lambda c: (c, S(1, 3)), (3, 4), _mask[:, 0])
_picked(lambda c, i: (c, i), (3, 4), _mask[:, 0], ints(1, 1))
_picked(lambda c: c, (3, 4, 2), _mask)
sample("getitem", (3, 4), f=lambda m, x: x[x > 0], note="its own sign")
sample("getitem", (5,), f=lambda m, x: x[1:] - x[:-1], note="differences")
sample("getitem", (3, 4), f=lambda m, x: x[1:][:, 2][0], note="of a result")

for _shape, _axis, _indices in [((5,), None, [0, 0, 4]), ((3, 4), None, [0, 11, -1]),
                                ((3, 4), 0, [2, 0]), ((3, 4), 1, [1, 1, 1]), ((3, 4), -1, [-1, 0]),
                                ((3, 4), 0, [[0, 1], [1, 1]]), ((2, 3, 4), 1, [2, 2]),
                                ((2, 3, 4), -2, [[0], [2]]), ((3, 4), 1, 2), ((5,), 0, []),
                                ((3, 4), -1, [3, 2, 1, 0])]:  # fmt: skip
    sample("take", _shape, ints(_indices), axis=_axis)
for _shape, _axis, _indices in [((5,), 0, [0, 0, 4]), ((3, 4), 0, [[0, 1, 2, 0]]),
                                ((3, 4), 1, [[0], [3], [3]]),
                                ((3, 4), -1, [[0, 0], [1, 2], [-1, 3]]),
                                ((3, 4), 0, [[0] * 4, [0] * 4]),
                                ((2, 1, 3), -2, [[[0, 0, 0]] * 2] * 2),
                                ((3, 4), 1, [[2, 2]])]:  # fmt: skip
    sample("take_along_axis", _shape, ints(_indices), axis=_axis)

# ---- another dtype or backend --------------------------------------------------------------------

for _shape in [(), (2, 3), (0,)]:
    for _name in ("float64", "float32"):
        sample("astype", _shape, f=lambda m, x, dtype: x.astype(dtype), dtype=_name, gives=_name,
               theirs=lambda x, dtype: x.to(getattr(torch, dtype)))  # fmt: skip
    sample("to", _shape, f=lambda m, x: m.to(x, tg.backend.current()), theirs=lambda x: x.clone())
