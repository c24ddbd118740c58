"""A sample is an op at one set of inputs and keyword arguments, said once for ours and for PyTorch.

Where both libraries agree on a name, one lambda serves both: `f(m, *inputs)` is called with m =
tinygrad_opt and m = torch. Float inputs are differentiated; integer and bool arrays are constants.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import tinygrad_opt as tg

torch.set_num_threads(1)

ALWAYS = ("float64", "float32")  # the checks of a sample that is one of very many
ORDERS = (*ALWAYS, "second order")
EVERY = (
    *ORDERS, "float16", "jacobian", "second order, float32", "mask", "second order, mask", "layout",
    "used twice", "same tensor", "mixed dtypes",
)  # fmt: skip


def signed(low: float, high: float) -> Callable:
    """Values of both signs, their magnitudes in [low, high]: away from kinks at 0."""
    return lambda rng, shape: rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


def between(low: float, high: float) -> Callable:
    return lambda rng, shape: rng.uniform(low, high, shape)


def spaced(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Values of [-2, 2] of which no two are close: differences that do not cancel."""
    n = int(np.prod(shape))
    return rng.permutation(np.linspace(-2, 2, n) + rng.uniform(0, 0.5, n) / (n + 1)).reshape(shape)


DEFAULT = signed(0.3, 2)


def ints(*values: Any) -> np.ndarray:
    """Indices or labels: a constant of the sample."""
    return np.array(values[0] if len(values) == 1 else values, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Sample:
    """One line of the table; `checks` names the kinds of comparison that it takes part in."""

    op: str
    label: str
    ours: Callable
    theirs: Callable
    inputs: tuple[np.ndarray, ...]
    checks: frozenset[str]
    gives: str | None  # the dtype of the result, where it is not that of the inputs
    rtol: float  # relative tolerance, where more than that of the dtype is needed
    raw: bool  # whether `ours` takes raw arrays too
    scale: float  # the size of the terms that a gradient is the sum of

    @property
    def floats(self) -> list[int]:
        """The places of the inputs that are differentiated."""
        return [n for n, x in enumerate(self.inputs) if x.dtype.kind == "f"]

    @property
    def seed(self) -> int:
        return zlib.crc32(f"{self.op} {self.label}".encode())

    @property
    def many(self) -> bool:
        """Whether it is one of very many, and so asked for the first few kinds alone."""
        return "layout" not in self.checks

    def __str__(self) -> str:
        return f"{self.op} {self.label}"


SAMPLES: dict[str, list[Sample]] = {}
THEIRS: dict[str, Callable] = {}  # PyTorch's form of an op that it names or calls otherwise


def sample(
    op: str,
    *inputs: Any,
    f: Callable | None = None,
    theirs: Callable | None = None,
    draw: Callable = DEFAULT,
    checks: tuple[str, ...] = EVERY,
    without: tuple[str, ...] = (),
    gives: str | None = None,
    rtol: float = 0.0,
    raw: bool = True,
    scale: float = 1.0,
    factor: float | None = None,
    note: str = "",
    **kwargs: Any,
) -> None:
    """Add one sample of `op` to the table.

    inputs: a shape (its values come from `draw`), or an array that is taken as it is.
    f: f(m, *inputs, **kwargs), called with m = tinygrad_opt and m = torch; by default `m.<op>`.
    theirs: PyTorch's form, theirs(*inputs, **kwargs), where it is not f(torch, ...).
    factor: multiplies what is drawn, for small and large magnitudes.
    """
    if factor is not None:
        note, scale, without = f"x {factor:g}", 0.0, (*without, "float16")
    known = SAMPLES.setdefault(op, [])
    shapes = " ".join(str(x if isinstance(x, tuple) else x.shape) for x in inputs)
    words = [f"#{len(known)}", shapes, note, *(f"{k}={v!r}" for k, v in kwargs.items())]
    label = " ".join(filter(None, words))
    rng = np.random.default_rng(zlib.crc32(f"{op} {label}".encode()))
    values = tuple(
        np.asarray(draw(rng, x) * (factor or 1.0)) if isinstance(x, tuple) else x for x in inputs
    )
    call = f or (lambda m, *xs, **kw: getattr(m, op)(*xs, **kw))
    other = theirs or (f and (lambda *xs, **kw: f(torch, *xs, **kw))) or THEIRS.get(op)
    other = other or getattr(torch, op)
    kinds = frozenset(checks) - set(without)
    known.append(
        Sample(
            op=op,
            label=label,
            ours=lambda *xs: call(tg, *xs, **kwargs),
            theirs=lambda *xs: other(*xs, **kwargs),
            inputs=values,
            checks=kinds,
            gives=gives,
            rtol=rtol,
            raw=raw,
            scale=scale,
        )
    )
