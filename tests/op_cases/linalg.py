"""Samples of the products: 1-D, matrix, batched and broadcast ones, and einsum's whole grammar."""

import itertools

from op_cases.sample import ORDERS, THEIRS, sample

# ---- matmul --------------------------------------------------------------------------------------

for _a, _b in [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((1, 1), (1, 1)),
               ((5, 2, 3),
                (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)),
               ((4, 1, 2, 3),
                (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((4, 5, 2, 3), (3,)),
               ((3,),
                (4, 5, 3, 2)), ((1,), (1, 3)), ((3, 1), (1,)), ((2, 0), (0, 3)), ((0, 3), (3, 2)),
               ((2, 3),
                (3, 0)), ((0,), (0,)), ((2, 0), (0,)), ((0, 2, 3), (3, 4)), ((3, 3), (3, 3)),
               ((20, 30), (30, 10))]:  # fmt: skip
    sample("matmul", _a, _b)
    sample("matmul", _a, _b, f=lambda m, a, b: a @ b, note="@")
_BATCH = [(), (1,), (3,), (1, 1), (1, 3), (2, 1), (2, 3)]
for _i, _j in itertools.product(_BATCH, repeat=2):
    sample("matmul", (*_i, 2, 3), (*_j, 3, 4), checks=(*ORDERS, "mask"), note="batches")
    sample("matmul", (*_i, 2, 3), (*_j, 3, 1), checks=ORDERS, note="batches")
sample("matmul", (3, 3), f=lambda m, x: x @ x, note="x @ x")
sample("matmul", (3, 4), f=lambda m, x: x @ x.T, note="x @ x.T")
sample("matmul", (2, 3, 4), f=lambda m, x: x @ m.swapaxes(x, -1, -2), note="batched x @ x.T")

# ---- linear --------------------------------------------------------------------------------------

THEIRS["linear"] = lambda x, weight, bias: x @ weight + bias
for _x in [(4, 3), (1, 3), (3,), (2, 4, 3), (0, 3)]:
    sample("linear", _x, (3, 2), (2,))
    sample("linear", _x, (3, 1), (1,))
sample("linear", (20, 30), (30, 10), (10,))

# ---- einsum --------------------------------------------------------------------------------------

LENGTHS = {"i": 2, "j": 3, "k": 4, "l": 2, "b": 2, "h": 2, "q": 3, "d": 4, "n": 3, "a": 2}
EINSUM = """
    ij,jk->ik ij,jk ij->ji ij-> ij->i ij->j ij,ij-> ij,ij->ij ij,kj->ik ij,kj->ki i,j->ij i,j i,i->
    i,i ij,j->i ij,i->j ij,j->ij bij,bjk->bik bij,jk->bik ij,bjk->bki ijk->k ijk->ki ijk,ijk->j
    ijk-> i-> i->i ij->ij ij,jk,kl->il i,i,i-> i,i,i->i ij,jk,ki-> i,j,k->kji ba ab ii ii-> ii->i
    iii-> iii->i iij->j iij->ij iij->i iji->j iji->ji iij ii,ij->j ii,i->i ii,ii-> ii,ii->i
    ij,ii->j ijj,j->i bhqd,bhnd->bhqn bhqn,bhnd->bqhd i,ii->i
""".split()
for _subscripts in EINSUM:
    _terms = _subscripts.split("->")[0].split(",")
    sample("einsum", *(tuple(LENGTHS[c] for c in t) for t in _terms), subscripts=_subscripts,
           f=lambda m, *xs, subscripts: m.einsum(subscripts, *xs))  # fmt: skip
for _subscripts, *_shapes in [("...ij,...jk->...ik", (2, 3), (3, 4)),
                              ("...ij,...jk->...ik", (5, 2, 3), (5, 3, 4)),
                              ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
                              ("...ij,...jk->...ik", (1, 2, 3), (5, 3, 4)),
                              ("...ij,...jk->...ik", (4, 1, 2, 3), (5, 3, 4)),
                              ("...ij,...jk", (5, 2, 3), (3, 4)), ("...i->...", (2, 3)),
                              ("...i->i...", (4, 2, 3)), ("i...->...i", (2, 3, 4)),
                              ("...->...", (2, 3)), ("...i,...i->...", (4, 3), (3,)),
                              ("...i,i->...", (4, 2, 3), (3,)), ("...,...->...", (3,), (2, 3)),
                              ("...ii->...", (2, 3, 3)), ("...ii->...i", (2, 3, 3)),
                              ("i...i->...", (3, 2, 3)), ("...i->", (2, 3)),
                              ("...ij->...", (2, 3, 4)), ("i...j,j->i...", (2, 3, 4), (4,)),
                              ("...,i->i", (), (3,)), ("...,...->", (2, 3), (2, 3)),
                              ("ij,jk->ik", (2, 1), (3, 4)), ("ij,ij->ij", (2, 1), (1, 3)),
                              ("i,i->", (1,), (4,)), ("ij,jk->ik", (2, 0), (0, 3)),
                              ("ij->i", (0, 3)), ("ij->j", (0, 3)),
                              (" i j , j k -> i k ", (2, 3), (3, 4)), (",->", (), ()), ("->", ()),
                              ("i,->i", (3,), ())]:  # fmt: skip
    sample("einsum", *_shapes, f=lambda m, *xs, subscripts: m.einsum(subscripts, *xs),
           subscripts=_subscripts)  # fmt: skip
sample("einsum", (3, 3), f=lambda m, x: m.einsum("ij,jk->ik", x, x), note="the same operand")
sample("einsum", (3,), f=lambda m, x: m.einsum("i,i,i->", x, x, x), note="the same operand")
