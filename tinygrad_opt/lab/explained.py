"""An update with its numbers, for a weight that one can follow in the head, and for one weight of a
network in training: what `tinygrad-opt explain` prints.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_opt import optim
from tinygrad_opt.autograd import grad
from tinygrad_opt.backend import host
from tinygrad_opt.data import Batches, load_digits
from tinygrad_opt.data.checks import number, whole
from tinygrad_opt.lab.race import BATCH_SIZE, untrained
from tinygrad_opt.ops.loss import cross_entropy
from tinygrad_opt.optim.groups import nearest
from tinygrad_opt.tensor import Tensor

RATE = 0.1  # for optimizers that leave the learning rate to their users


def explainable() -> dict[str, type[optim.Optimizer]]:
    """The optimizers whose update of one weight has numbers to tell it by, in lower case."""
    members = (getattr(optim, name) for name in optim.__all__)
    classes = [c for c in members if inspect.isclass(c) and issubclass(c, optim.Optimizer)]
    return {c.__name__.lower(): c for c in classes if hasattr(c, "rule")}


def named(word: str) -> type[optim.Optimizer]:
    """The optimizer called `word`, in any case. ValueError, with the nearest name, if none is."""
    known = explainable()
    name = str(word).lower()
    if name not in known:
        raise ValueError(f"no optimizer {word!r} to explain{nearest(name, known)}")
    return known[name]


def _made(cls: type[Any], params: Any, settings: Mapping[str, Any]) -> optim.Optimizer:
    lr = inspect.signature(cls).parameters["lr"]
    given = {"lr": RATE, **settings} if lr.default is lr.empty else settings
    return cls(params, **given)


def rule_of(word: str, settings: Mapping[str, Any] | None = None) -> optim.Optimizer:
    """The optimizer as those settings make it, with one weight: to be asked for its rule."""
    return _on_weight(named(word), settings or {}, 1.0)


def _on_weight(cls: type[Any], settings: Mapping[str, Any], weight: float) -> optim.Optimizer:
    shape = (1, 1) if cls is optim.Muon else (1,)  # Muon moves matrices alone
    return _made(cls, [("w", Tensor(np.full(shape, weight, "float64"), requires_grad=True))],
                 settings)  # fmt: skip


def _head(optimizer: optim.Optimizer) -> str:
    return repr(optimizer).partition(": ")[0]


def on_a_bowl(
    word: str, settings: Mapping[str, Any] | None = None, *, weight: float = 1.0,
    curvature: float = 1.0, steps: int = 3, digits: int | None = 4,
) -> str:  # fmt: skip
    """The first steps of one weight on the bowl ½ · curvature · w², line by line.

    Args:
        word: the optimizer's name.
        settings: keywords for it; what is missing has its default, a learning rate without one 0.1.
        weight, curvature: where it starts, and how steep the bowl is; float64.
        steps: how many, 1 or more.
        digits: significant digits; None for all that are needed to compute it again, exactly.

    Raises:
        ValueError, TypeError: an unknown name, settings that the optimizer refuses, or a number out
            of its range.
    """
    weight = number("on_a_bowl: weight", weight)
    curvature = number("on_a_bowl: curvature", curvature)
    steps = whole("on_a_bowl: steps", steps, least=1)
    optimizer = _on_weight(named(word), settings or {}, weight)
    (w,) = optimizer.groups[0]["params"]
    times = "" if curvature == 1 else f"{curvature:g} · "
    told = [_head(optimizer), f"one weight on the bowl ½ · {times}w², so that g = {times}w"]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (0.5 * curvature * w * w).sum()
        loss.backward()
        return loss

    place = (0,) * w.ndim
    optimizer.watch("w", place)
    for _ in range(steps):
        optimizer.step(closure)
        told += ["", optimizer.explain("w", place, digits)]
    return "\n".join(told)


def in_training(
    word: str, settings: Mapping[str, Any] | None = None, *, parameter: str = "layers.0.weight",
    index: tuple[int, ...] = (), step: int = 1, seed: int = 0, digits: int | None = 4,
) -> str:  # fmt: skip
    """One step of one weight of the race's network, while it learns the digits; float32.

    Args:
        word, settings, digits: as for `on_a_bowl`.
        parameter, index: which weight; by default that of the largest gradient at the start.
        step: which step, 1 or later, in batches of 32 images.
        seed: of the first weights and of the batches.

    Raises:
        ValueError, TypeError: as for `on_a_bowl`, and a parameter that is not there.
        IndexError: an element that the parameter does not have.
    """
    step, seed = whole("in_training: step", step, least=1), whole("in_training: seed", seed)
    cls = named(word)
    model = untrained(seed)
    params = list(model.named_parameters())
    if cls is optim.Muon:
        params = [(name, t) for name, t in params if t.ndim == 2]
    optimizer = _made(cls, params, settings or {})

    def new_batches() -> Batches:
        return Batches(*load_digits()[0], BATCH_SIZE, seed=seed)

    if not index and parameter in dict(params):
        x, y = next(iter(new_batches()))
        g = grad(cross_entropy(model(x), y), dict(params)[parameter])
        index = tuple(map(int, np.unravel_index(abs(host(g)).argmax(), g.shape)))
    optimizer.watch(parameter, index)
    batches = new_batches()
    while True:
        for x, y in batches:

            def closure(x: Any = x, y: Any = y) -> Tensor:
                optimizer.zero_grad()
                loss = cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
            if optimizer.t == step:
                return f"{_head(optimizer)}\n\n{optimizer.explain(parameter, index, digits)}"
