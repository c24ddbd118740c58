"""Samples of the elementwise ops: shapes, magnitudes, and every pair of shapes that broadcasts."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from op_cases.sample import ALWAYS, ORDERS, THEIRS, between, sample, signed

SHAPES = [(), (1,), (5,), (2, 3), (2, 1, 3), (0,), (2, 0, 3)]
LARGE = (40, 30)  # above 1,024 elements `backend.where` takes its other road

# ---- one argument --------------------------------------------------------------------------------

BOTH, POSITIVE, MIDDLE = signed(0.3, 2), between(0.2, 3), between(0.5, 1.5)
UNARY = {  # op: (where its inputs lie, factors for small and for large inputs, keyword arguments)
    "negative": (BOTH, (1e-6, 1e6), [{}]),
    "exp": (BOTH, (1e-6, 20), [{}]),
    "expm1": (BOTH, (1e-6, 20), [{}]),
    "log": (POSITIVE, (1e-8, 1e8), [{}]),
    "log1p": (between(-0.7, 3), (1e-6,), [{}]),
    "sqrt": (POSITIVE, (1e-8, 1e8), [{}]),
    "square": (BOTH, (1e-6, 1e6), [{}]),
    "abs": (BOTH, (1e-6, 1e6), [{}]),
    "sign": (BOTH, (1e-6, 1e6), [{}]),
    "sin": (BOTH, (1e-6, 30), [{}]),
    "cos": (BOTH, (1e-6, 30), [{}]),
    "tanh": (BOTH, (1e-6, 1e3), [{}]),
    "erf": (BOTH, (1e-6, 1e3), [{}]),
    "sigmoid": (BOTH, (1e-6, 1e3), [{}]),
    "softplus": (BOTH, (1e-6, 1e3), [{}]),
    "logsigmoid": (BOTH, (1e-6, 1e3), [{}]),
    "relu": (BOTH, (1e-6, 1e6), [{}]),
    "leaky_relu": (BOTH, (1e-6, 1e6), [{}, {"negative_slope": 0.3}]),
    "elu": (BOTH, (1e-6, 1e3), [{}, {"alpha": 0.7}]),
    "gelu": (BOTH, (1e-6, 1e3), [{}, {"approximate": "tanh"}]),
    "silu": (BOTH, (1e-6, 1e3), [{}]),
}

THEIRS.update(
    softplus=lambda x: -F.logsigmoid(-x),  # F.softplus is cut off at 20
    logsigmoid=F.logsigmoid, leaky_relu=F.leaky_relu, elu=F.elu, gelu=F.gelu, silu=F.silu,
)  # fmt: skip

for _op, (_draw, _factors, _kwargs) in UNARY.items():
    for _kw in _kwargs:
        for _shape in SHAPES:
            sample(_op, _shape, draw=_draw, **_kw)
        sample(_op, LARGE, draw=_draw, **_kw)
        if _draw is BOTH:
            # where the elu's second derivative jumps
            _hard = ("second order", "second order, float32") if _op == "elu" else ()
            sample(_op, np.array([0.0, 1, -1, 0]), note="at 0", without=_hard, **_kw)
        for _factor in _factors:
            # the sigmoid's second derivative at 1e-6 is a difference that float32 cannot resolve
            _hard = ("second order, float32",) if (_op, _factor) == ("sigmoid", 1e-6) else ()
            sample(_op, (2, 4), draw=_draw, factor=_factor, without=_hard, **_kw)

sample("log1p", (2, 4), draw=between(1e6, 2e6), note="large", without=("float16",))
sample("negative", (2, 3), f=lambda m, x: -x, note="-x")
sample("abs", (2, 3), f=lambda m, x: abs(x), note="abs(x)")
sample("relu", (2, 3), f=lambda m, x: x.relu(), note="method", raw=False)
sample("exp", (2, 3), f=lambda m, x: x.exp().exp(), note="of itself", raw=False)

# ---- clip: its bounds are constants --------------------------------------------------------------

_grid = np.array([[-2.0, -1.0, -0.5], [0.5, 1.0, 2.0]])
THEIRS["clip"] = lambda x, low=None, high=None: torch.clamp(x, low, high)
for _shape in SHAPES:
    sample("clip", _shape, low=-1.0, high=1.0)
sample("clip", LARGE, low=-1.0, high=1.0)
sample("clip", (2, 3), low=-0.5)
sample("clip", (2, 3), high=0.5)
sample("clip", (3, 4), low=-1, high=1, note="integer bounds")
sample("clip", (3, 4), low=0, high=math.inf)
sample("clip", _grid, low=-1.0, high=1.0, note="at the bounds")
sample("clip", _grid, low=0.5, note="at the bound")
sample("clip", _grid, high=-0.5, note="at the bound")
sample("clip", (2, 3), np.array([-1, 0, -2], "i1"), np.array([[1], [2]], "i1"),
       note="bounds arrays", f=lambda m, x, low, high: m.clip(x, low, high))  # fmt: skip

# ---- two arguments: every pair of shapes up to three axes that broadcasts ------------------------


def shapes_within(full: tuple) -> list[tuple]:
    """Every shape that broadcasts to `full`: each trailing axis whole or of length 1."""
    return [
        shape
        for ndim in range(len(full) + 1)
        for shape in itertools.product(*((1, n) for n in full[len(full) - ndim :]))
    ]


PAIRS = list(itertools.product(shapes_within((2, 3, 4)), repeat=2))
EMPTY_PAIRS = [
    (a, b) for a, b in itertools.product(shapes_within((2, 0, 3)), repeat=2) if 0 in a + b
]
BINARY = {"add": BOTH, "subtract": BOTH, "multiply": BOTH, "divide": BOTH, "power": MIDDLE,
          "maximum": BOTH, "minimum": BOTH}  # fmt: skip
THEIRS.update(power=torch.pow, negative=torch.neg)

for _op, _draw in BINARY.items():
    for _a, _b in [((), ()), ((5,), (5,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1), (2, 1, 3))]:
        sample(_op, _a, _b, draw=_draw)
    sample(_op, LARGE, LARGE, draw=_draw)
    sample(_op, (1, 30), LARGE, draw=_draw)
    for _a, _b in PAIRS:
        sample(_op, _a, _b, draw=_draw, checks=(*ORDERS, "mask"), note="pair")
    for _a, _b in EMPTY_PAIRS:
        sample(_op, _a, _b, draw=_draw, checks=ALWAYS, note="empty pair")
    for _c in (1e-5, 1e5) if _op != "power" else ():
        sample(_op, (2, 3), (2, 3), draw=_draw, factor=_c, without=("same tensor",))

_ties = np.array([[1.0, 2, 2], [3, 1, 1]]), np.array([[1.0, 2, 1], [1, 3, 1]])
_small = np.array([1.0, 2, 3])
for _op in ("maximum", "minimum"):
    sample(_op, *_ties, note="ties")
    sample(_op, _ties[0], _small, note="ties")
    sample(_op, _small[:, None], _small, note="ties")
    sample(_op, (2, 3), note="with a number", f=lambda m, x, op=_op: getattr(m, op)(x, 0.5),
           theirs=lambda x, op=_op: getattr(torch, op)(x, x.new_tensor(0.5)))  # fmt: skip

_WITH_NUMBERS = {
    "add": [lambda m, x: x + 2, lambda m, x: 2.5 + x, lambda m, x: x + x],
    "subtract": [lambda m, x: x - 2, lambda m, x: 2.5 - x, lambda m, x: x - x * x],
    "multiply": [lambda m, x: x * 3, lambda m, x: 0.1 * x, lambda m, x: x * x * x],
    "divide": [lambda m, x: x / 3, lambda m, x: 2 / x, lambda m, x: x / (x * x)],
    "power": [lambda m, x: x**2, lambda m, x: x**3, lambda m, x: x**-1, lambda m, x: x**-2.0,
              lambda m, x: x**0, lambda m, x: x**1, lambda m, x: x**4.0],
}  # fmt: skip
for _op, _forms in _WITH_NUMBERS.items():
    for _n, _form in enumerate(_forms):
        for _shape in [(), (3, 4), (2, 0)]:
            sample(_op, _shape, f=_form, note=f"form {_n}")
for _form in (lambda m, x: x**0.5, lambda m, x: x**2.7, lambda m, x: 2**x, lambda m, x: 0.3**x,
              lambda m, x: x**x):  # fmt: skip
    sample("power", (3, 4), f=_form, draw=MIDDLE)
sample("power", (3, 4), np.array([0, 1, 2, 3], "i1"), f=lambda m, x, p: x**p)
sample("power", (3, 1), np.array([-1, 2, -3], "i1"), f=lambda m, x, p: x**p)
sample("power", np.zeros(5), np.array([0.0, 1, 2, 3, 2.5]), checks=(*ALWAYS, "mask"), note="of 0")
sample("power", np.array([-2.0, -1, 3]), np.array([2, 3, 0], "i1"), note="of negatives")
sample("power", (2, 3), (2, 3), f=lambda m, a, p: m.exp(a) ** p, theirs=lambda a, p: a.exp() ** p)

# ---- where: three shapes -------------------------------------------------------------------------

_rng = np.random.default_rng(0)


def _bools(shape: tuple) -> np.ndarray:
    return _rng.random(shape) < 0.5


for _shape in [*SHAPES, LARGE]:
    sample("where", _bools(_shape), _shape, _shape)
for _c, _a, _b in itertools.product(shapes_within((2, 3)), repeat=3):
    sample("where", _bools(_c), _a, _b, checks=(*ORDERS, "mask"), note="triple")
for _a, _b in PAIRS:
    sample("where", _bools((2, 3, 4)), _a, _b, checks=ORDERS, note="pair")
for _a, _b in EMPTY_PAIRS:
    sample("where", _bools((2, 0, 3)), _a, _b, checks=ALWAYS, note="empty pair")
for _c, _a, _b in [(LARGE, (30,), LARGE), (LARGE, (40, 1), ()), ((1, 30), LARGE, LARGE),
                   (LARGE, (2, *LARGE), LARGE), ((1200,), (1, 1200), (2, 1))]:  # fmt: skip
    sample("where", _bools(_c), _a, _b, note="large")
for _shape in [(2, 3), LARGE]:
    sample("where", _bools(_shape), _shape, f=lambda m, c, x: m.where(c, x, 0), note="else 0")
    sample("where", _bools(_shape), _shape, f=lambda m, c, x: m.where(c, x, 1), note="else 1")
    sample("where", _bools(_shape), _shape, f=lambda m, c, x: m.where(c, 0, x), note="0 else")
    sample("where", _bools(_shape), _shape, f=lambda m, c, x: m.where(c, x, 1.5), note="else 1.5")
    sample("where", _shape, f=lambda m, x: m.where(x > 0, x * x, x), note="by its own sign")
