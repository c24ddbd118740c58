"""What is done to the gradient before the rule sees it, in order.

    Momentum(params, lr=0.1, transforms=[ClipNorm(1.0), GaussianNoise(0.1, decay=0.55)])

`param.grad` stays what `backward()` made it. The order counts: noise before a clip is clipped too.
Each number may be a schedule, a function of t, the number of steps already taken.

A transform of your own is a dataclass. Where each weight's gradient is changed by itself, it says
how in a rule, a straight line from w, g and its numbers to the new g (`rule.py` tells what one may
say). Where all transforms behind it do so too, these lines run in the update itself:

    @dataclass
    class Scale(Transform):
        by: float

        def rule(w, g, *, by):
            g = by * g
            return (g,)

Any other edits the vectors of gradients in place, which are a scratch copy:

    @dataclass
    class Normalize(Transform):
        def __call__(self, parts, t):
            for part in parts:
                part.g /= part.xp.abs(part.g).max()

Either way, 0 between the parameters, where the vectors are padded with zeros, must stay 0.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np

from tinygrad_opt.backend import Array
from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import coupled, run
from tinygrad_opt.optim.schedules import Number, as_data, check_fields

__all__ = ["Transform", "GaussianNoise", "ClipNorm", "ClipValue", "L2", "Centralize", "restored"]

STREAM = 0x6E6F697365  # "noise": sets these draws apart from all others made from the same seed

Amount = Annotated[float | Callable[[int], float], Number(function=True)]
Real = Annotated[float | Callable[[int], float], Number(low=-np.inf, function=True)]
Limit = Annotated[float | Callable[[int], float], Number(above=True, function=True)]


class Part(Protocol):
    """The parameters of one group and dtype, laid end to end, and a copy of their gradients."""

    @property
    def w(self) -> Array:
        """The weights, 1-D; only to be read."""

    @property
    def g(self) -> Array:
        """The scratch copy of the gradients, 1-D and of the same dtype, to be edited in place."""

    @property
    def xp(self) -> Any:
        """The module, numpy or cupy, that both belong to."""

    def views(self) -> Sequence[tuple[Array, Array]]:
        """(weights, gradient) of each parameter, in its own shape, views into w and g."""


@dataclass
class Transform:
    """The base of all: equal by value, printed as the call that makes it. Its numbers are
    attributes that may be changed at any time; they are checked when made and at every step.

    Attributes:
        rule: of an elementwise transform, the straight line that it is; else None.
    """

    rule: ClassVar[Any] = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        """The rule of a new class is read and checked as the class is defined."""
        super().__init_subclass__(**keywords)
        if isinstance(vars(cls).get("rule"), types.FunctionType):
            cls.rule = Rule(vars(cls)["rule"])
        if isinstance(vars(cls).get("rule"), Rule):
            _check_rule(cls.rule)

    def __post_init__(self) -> None:
        check_fields(self)
        fields = {f.name for f in dataclasses.fields(self)}
        if isinstance(self.rule, Rule) and (unknown := {*self.rule.scalars} - fields):
            raise TypeError(f"rule {self.rule.name} takes {min(unknown)}, which is none of the "
                            f"fields of {type(self).__name__}")  # fmt: skip

    def __call__(self, parts: Sequence[Part], t: int) -> None:
        """Edit the `g` of all parts, the whole model's, in place.

        `t` is the number of steps already taken. TypeError or ValueError, with nothing edited, for
        a number out of its range, whether a schedule gave it or an attribute was set to it.
        """
        if not isinstance(self.rule, Rule):
            raise NotImplementedError
        scalars = self.scalars(t)
        for part in parts:
            run(self.rule, [part.w, part.g], scalars)

    def scalars(self, t: int) -> dict[str, Any]:
        """The numbers that the rule takes, by name, for step t; errors as for a call."""
        numbers = dict(zip((f.name for f in dataclasses.fields(self)), self.now(t)))
        return {name: numbers[name] for name in self.rule.scalars}

    def now(self, t: int) -> list[Any]:
        """The numbers in the order of the arguments, schedules asked for t, all checked."""
        values = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            value = value(t) if callable(value) else value
            for check in getattr(f.type, "__metadata__", ()):
                check = dataclasses.replace(check, function=False)
                value = check(f"{type(self).__name__}: {f.name}", value)
            values.append(value)
        return values

    def state(self) -> dict[str, Any]:
        """The transform as plain data for a checkpoint or for JSON: its name under "transform", and
        its numbers. `restored(state)` is the way back. None of them remembers anything else."""
        values = {f.name: as_data(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"transform": type(self).__name__} | values


def _check_rule(rule: Rule) -> None:
    if rule.arrays != ("w", "g") or rule.results != ("g",):
        raise rule.refused(rule.tree.args, "the rule of a transform takes w and g and returns "
                           "(g,): it remembers nothing")  # fmt: skip
    if "w" in (line.name for line in rule.lines):
        raise rule.refused(rule.tree.args, "a transform changes g alone: w is only to be read")
    if rule.carried:
        raise rule.refused(rule.tree.args, f"a transform remembers nothing: {min(rule.carried)} "
                           "cannot be carried from step to step")  # fmt: skip


def is_elementwise(transform: Any) -> bool:
    """Whether its rule is all that it does: a `__call__` of its own may do anything."""
    return (isinstance(transform, Transform) and isinstance(transform.rule, Rule)
            and type(transform).__call__ is Transform.__call__)  # fmt: skip


@dataclass
class GaussianNoise(Transform):
    """g ← g + N(mean, σ²) with σ = std · (1 + t)^(-decay / 2), drawn anew for each weight and step.

    Neelakantan and others (2015), whose σ² = η / (1 + t)^γ is std = √η (η of 0.01, 0.3 or 1) and
    decay = γ = 0.55. It shakes a run out of bad starts and flat places; the loss then stops at a
    floor in proportion to σ² (and to α), which a decay lowers.

    The noise of a step is a function of (seed, t, the parameter's place in the order) alone, and is
    drawn on the host in float64: a resumed run gets the same, and so does a GPU. Two of these in
    one run want two seeds, or their noise is the same.

    Args:
        std, mean: in units of the gradient; std is 0 or more.
        decay: γ, 0 or more: how fast the variance falls with t. 0 for a constant one.
        seed: a whole number of 0 or more.
    """

    std: Amount
    mean: Real = 0.0
    decay: Amount = 0.0
    seed: Annotated[int, Number(whole=True)] = 0

    def __call__(self, parts: Sequence[Part], t: int) -> None:
        std, mean, decay, seed = self.now(t)
        std *= (1 + t) ** (-decay / 2)
        gradients = [(g, part.xp) for part in parts for _, g in part.views()]
        for n, (g, xp) in enumerate(gradients):  # not part.g: its padding stays 0
            stream = np.random.SeedSequence(seed, spawn_key=(STREAM, t, n))
            noise = mean + std * np.random.default_rng(stream).standard_normal(g.shape)
            g += xp.asarray(noise.astype(g.dtype))


@dataclass
class ClipNorm(Transform):
    """g ← g · min(1, limit / ‖g‖), ‖g‖ being one Euclidean norm over all gradients of the model.

    Pascanu, Mikolov and Bengio (2013), exactly: PyTorch and others add 1e-6 to the norm. The
    direction stays, and a step off a cliff is no longer than limit · α. Turned down, it acts on
    most steps, and makes of gradient descent one with steps of a fixed length.

    The norm is taken in float64 and cannot overflow on the way; on a GPU it stays there, and nobody
    waits. Where it is NaN or inf, g stays as it is, so that the check that follows finds out which
    parameter's gradient is to blame. (PyTorch makes a NaN of every gradient.)

    Args:
        limit: above 0, in units of the gradient's norm.
    """

    limit: Limit

    def __call__(self, parts: Sequence[Part], t: int) -> None:
        (limit,) = self.now(t)
        parts = [part for part in parts if part.g.size]
        if not parts:
            return
        xp = parts[0].xp
        with np.errstate(all="ignore"):  # limit / 0 is inf here, and min(1, inf) is what is meant
            norms = [norm_of(part.g, part.xp) for part in parts]
            mixed = any(part.xp is not xp for part in parts)
            if mixed:  # some on the host and some on the GPU: they meet as Python floats
                xp, norms = np, [float(norm) for norm in norms]
            norm = functools.reduce(xp.hypot, norms)
            scale = xp.where(xp.isfinite(norm), xp.minimum(1.0, limit / norm), 1.0)
        if xp is np and scale == 1:
            return
        for part in parts:
            g = part.g
            g *= float(scale) if mixed else scale  # a float64: it may be too small for float32


def norm_of(g: Array, xp: Any) -> Array:
    """‖g‖ as a float64, on the device where g is. The largest |g| is taken out of the squares, so
    that they neither overflow nor vanish."""
    peak = xp.maximum(g.max(), -g.min()).astype(xp.float64)
    peak = xp.where(peak > 0, peak, 1.0)
    unit = g / peak  # float64, as peak is
    return peak * xp.sqrt((unit * unit).sum())


@dataclass
class ClipValue(Transform):
    """g ← min(max(g, -limit), limit), each weight's by itself.

    Unlike `ClipNorm` it turns the direction towards the diagonal; turned far down, it leaves little
    more than the signs. An inf becomes the limit, a NaN stays (as in PyTorch's clip_grad_value_).

    Args:
        limit: above 0, in units of the gradient.
    """

    limit: Limit

    def rule(w, g, *, limit):
        g = np.minimum(np.maximum(g, -limit), limit)
        return (g,)


@dataclass
class L2(Transform):
    """g ← g + l2 · w, the gradient of the penalty ½ · l2 · ‖w‖² (Hoerl, Kennard 1970: ridge).

    The optimizers' own `l2` does the same after all transforms; this one stands where you put it,
    before a clip for example, and serves all groups. Turned up, weights shrink, the more so the
    less the loss needs them. Under Adam it is no weight decay (Loshchilov, Hutter 2019): `AdamW`.

    Args:
        l2: λ, 0 or more, in units of gradient per weight.
    """

    l2: Amount

    rule = coupled


@dataclass
class Centralize(Transform):
    """g ← g - its mean over all axes but the last, for each parameter of two or more axes.

    Yong, Huang, Hua and Zhang (2020). The last axis is that of the outputs, as in the weight
    (n_in, n_out) of `Linear`: each output's column of gradients comes to have the mean 0, and so
    the mean of its weights never changes. (In PyTorch's layout, (n_out, n_in), it is the first.)
    Vectors, such as biases, are left alone. A mild regulariser, that lets α be a little larger.
    """

    def __call__(self, parts: Sequence[Part], t: int) -> None:
        for part in parts:
            for _, g in part.views():
                if g.ndim > 1 and g.size:
                    g -= g.mean(axis=tuple(range(g.ndim - 1)), keepdims=True)


NAMED: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (GaussianNoise, ClipNorm, ClipValue, L2, Centralize)
}


def restored(state: dict[str, Any]) -> Transform:
    """The transform whose `state()` this is. ValueError, before anything is made, for an unknown
    name, a key too many or too few, a number that it refuses, and for a function of your own."""
    if not isinstance(state, dict):
        raise ValueError(f"the state of a transform is a dict, not {state!r}")
    name = state.get("transform")
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(
            f"no transform is called {name!r}; there are {', '.join(NAMED)}, and one of your own "
            "is to be given again"
        )
    keys = ["transform", *(f.name for f in dataclasses.fields(NAMED[name]))]
    if set(state) != set(keys):
        raise ValueError(f"the state of {name} has the keys {keys}, not {list(state)}")
    try:
        return NAMED[name](**{
            key: schedules.restored(state[key]) if isinstance(state[key], dict) else state[key]
            for key in keys[1:]
        })  # fmt: skip
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
