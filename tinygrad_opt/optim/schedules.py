"""A hyper-parameter over time: a closed-form function of t, the number of steps already taken.

A schedule stands wherever an optimizer takes a number: `Adam(params, lr=cosine(1e-3, steps=1000))`.
Nothing is carried from one step to the next (where most of PyTorch's schedulers multiply the last
value), so any t may be asked for in any order, and a resumed run needs t alone. `OnPlateau` is the
one with a memory, of the losses that it was shown. A function of your own serves as well,
`lr=lambda t: 0.1 / (1 + t) ** 0.5`, but is not saved: it is given again on loading. So is a
`Schedule` of your own, a dataclass. Fields with `init=False` are its memory, which is saved.
"""

import copy
import dataclasses
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import numpy as np

from tinygrad_opt import backend

__all__ = ["Schedule", "constant", "step", "exponential", "inverse_time", "cosine", "warmup",
           "one_cycle", "cyclic", "OnPlateau", "restored", "merged"]  # fmt: skip

# ---- what an argument may be ---------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A finite number with low ≤ number < high (low < number where it is `above`), a `whole` one or
    any; in its place None where it is `optional`, and a schedule where it may be a `function`."""

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False
    optional: bool = False
    function: bool = False

    def __call__(self, what: str, value: Any) -> Any:
        """`value` as a plain Python number, or a TypeError or ValueError that names it `what`."""
        if (self.optional and value is None) or (self.function and callable(value)):
            return value
        kinds = (int, np.integer) if self.whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{what} is a {'whole ' * self.whole}number, not {value!r}")
        if not self.low <= value < self.high or (self.above and value == self.low):
            bracket = "(" if self.above or self.low == -math.inf else "["
            raise ValueError(f"{what} is in {bracket}{self.low:g}, {self.high:g}), not {value}")
        return int(value) if self.whole else float(value)


Amount = Annotated[float, Number()]  # a learning rate, a momentum: finite, 0 or more
Share = Annotated[float, Number(0, 1)]
Steps = Annotated[int, Number(1, whole=True)]
Epochs = Annotated[int, Number(whole=True)]
Default = Annotated[Any, Number(optional=True)]  # an amount; None stands for one worked out


def check_fields(self: Any) -> None:
    """Make plain numbers of a dataclass' arguments, each checked as its annotation says."""
    for f in dataclasses.fields(self):
        if f.init:
            for check in getattr(f.type, "__metadata__", ()):
                value = check(f"{type(self).__name__}: {f.name}", getattr(self, f.name))
                object.__setattr__(self, f.name, value)


# ---- the base ------------------------------------------------------------------------------------


class Schedule:
    """The base of all: immutable, equal by value, printed as the call that makes it."""

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, t: int) -> float:
        """The value for the step after `t` steps, a Python float: schedule(0) is for the first.

        Raises TypeError unless t is an integer, ValueError if it is negative. Growth beyond the
        largest float gives inf.
        """
        t = operator.index(t)
        if t < 0:
            raise ValueError(f"{type(self).__name__}: t counts the steps taken, not {t}")
        try:
            return float(self.at(t))
        except OverflowError:
            return math.inf

    def at(self, t: int) -> float:
        """The formula itself, for t = 0, 1, 2, ..."""
        raise NotImplementedError

    def observe(self, loss: Any) -> None:
        """To be called once an epoch. `OnPlateau` listens, the others need not."""

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint or JSON, of which `restored(state)` makes the same again."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(cast(Any, self))}
        return {"schedule": type(self).__name__} | {k: as_data(v) for k, v in values.items()}


# ---- the formulas --------------------------------------------------------------------------------


@dataclass(frozen=True)
class constant(Schedule):
    """value: the same at every t.

    A bare number means the same. With noisy gradients the loss stops at a floor in proportion to α,
    which is why Robbins and Monro (1951) ask for a falling one.
    """

    value: Amount

    def at(self, t: int) -> float:
        return self.value


@dataclass(frozen=True)
class step(Schedule):
    """initial · factor^⌊t / every⌋: `factor` times as much after every `every` steps.

    He, Zhang, Ren and Sun (2016), with factor 0.1. The loss falls off a cliff at each drop, where
    the noise of the batches shrinks with α, then flattens.
    """

    initial: Amount
    every: Steps
    factor: Amount = 0.1

    def at(self, t: int) -> float:
        return self.initial * self.factor ** (t // self.every)


@dataclass(frozen=True)
class exponential(Schedule):
    """initial · factor^t: the same proportion lost at each step.

    Senior, Heigold, Ranzato and Yang (2013) compare it with others. It halves every
    ln(1/2) / ln(factor) steps: 69 for 0.99. With a factor *above* 1 it is the learning-rate range
    test of Smith (2017): watch where the loss turns up.
    """

    initial: Amount
    factor: Amount

    def at(self, t: int) -> float:
        return self.initial * self.factor**t


@dataclass(frozen=True)
class inverse_time(Schedule):
    """initial / (1 + rate · t): half after 1/rate steps, a third after 2/rate.

    "Search, then converge" (Darken, Moody 1991). Its sum is infinite and that of its squares is
    not: with both, SGD reaches the minimum itself (Robbins, Monro 1951), if slowly.
    """

    initial: Amount
    rate: Amount

    def at(self, t: int) -> float:
        return self.initial / (1 + self.rate * t)


@dataclass(frozen=True)
class cosine(Schedule):
    """final + (initial - final) / 2 · (1 + cos(π t / steps)), and `final` from t = steps on.

    Loshchilov and Hutter (2017), without their restarts. High for long, then falling soon: most of
    the loss' fall comes in the last third. (PyTorch's comes up again after `steps`.)
    """

    initial: Amount
    steps: Steps
    final: Amount = 0.0

    def at(self, t: int) -> float:
        return _cosine(self.initial, self.final, t / self.steps) if t < self.steps else self.final


@dataclass(frozen=True)
class warmup(Schedule):
    """start + (then(steps) - start) · t / steps while t < steps, afterwards then(t).

    `then` is a number or another schedule, which is *not* shifted: it counts t from the beginning
    too, so that `warmup(100, cosine(0.1, steps=1000))` ends at step 1000, and the line meets the
    curve. With start = 0 the first step moves nothing.

    Goyal and others (2017), for large batches; Adam's kin need it while their means are of few
    gradients. The loss begins to fall a little later, and an α near the limit does not blow up.
    """

    steps: Steps
    then: Annotated[float | Callable[[int], float], Number(function=True)]
    start: Amount = 0.0

    def at(self, t: int) -> float:
        if t < self.steps:
            return self.start + (self._then(self.steps) - self.start) * (t / self.steps)
        return self._then(t)

    def _then(self, t: int) -> float:
        return self.then(t) if callable(self.then) else self.then

    def observe(self, loss: Any) -> None:
        """Passed on to the schedule in `then`."""
        if isinstance(self.then, Schedule):
            self.then.observe(loss)


@dataclass(frozen=True)
class one_cycle(Schedule):
    """From `start` up to `peak` by half a cosine, over the share `rise` of the steps, then down to
    `final` by another, reached at t = steps - 1 and kept.

    With T = rise · steps - 1, the turn (0 if that is negative), and c(p) = (1 + cos(π p)) / 2:
    peak + (start - peak) · c(t / T) while t < T, then
    final + (peak - final) · c((t - T) / (steps - 1 - T)).
    The defaults are PyTorch's: start = peak / 25, final = start / 10000.

    Smith and Topin (2018), "super-convergence", with fastai's cosines. The large α in the middle
    keeps out of sharp minima (the loss may rise there), the end settles. Smith (2018) runs the
    momentum against it, which is the same schedule upside down:
    `Momentum(params, lr=one_cycle(0.5, n), mu=one_cycle(0.85, n, start=0.95, final=0.95))`.
    """

    peak: Amount
    steps: Steps
    start: Default = None
    final: Default = None
    rise: Share = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        if self.start is None:
            object.__setattr__(self, "start", self.peak / 25)
        if self.final is None:
            object.__setattr__(self, "final", self.start / 1e4)

    def at(self, t: int) -> float:
        turn, last = max(self.rise * self.steps - 1, 0.0), self.steps - 1
        if t >= last:
            return self.final
        if t < turn:
            return _cosine(self.start, self.peak, t / turn)
        return _cosine(self.peak, self.final, (t - turn) / (last - turn))


@dataclass(frozen=True)
class cyclic(Schedule):
    """A triangle wave: from `low` to `high` in `up` steps, back in `down` (as many as `up` if not
    said), and again.

    With p = t mod (up + down): low + (high - low) · p / up while p ≤ up, then
    low + (high - low) · (up + down - p) / down.

    Smith (2017). The loss rises and falls with it; take the weights at the end of a cycle. `low`
    may lie above `high`, a wave upside down, as μ runs against α: `mu=cyclic(0.9, 0.8, up=500)`.
    """

    low: Amount
    high: Amount
    up: Steps
    down: Annotated[Any, Number(1, whole=True, optional=True)] = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.down is None:
            object.__setattr__(self, "down", self.up)

    def at(self, t: int) -> float:
        p = t % (self.up + self.down)
        height = p / self.up if p <= self.up else (self.up + self.down - p) / self.down
        return self.low + (self.high - self.low) * height


def _cosine(a: float, b: float, p: float) -> float:
    """From a at p = 0 to b at p = 1, level at both ends."""
    return b + (a - b) / 2 * (1 + math.cos(math.pi * p))


LEAST_CHANGE = 1e-8  # of OnPlateau, PyTorch's eps: a smaller fall is not made


@dataclass
class OnPlateau(Schedule):
    """`factor` times as much whenever the loss has not fallen for more than `patience` epochs.

    `observe(loss)` once an epoch; schedule(t) is the current value, whatever t. A loss counts as
    fallen below best · (1 - threshold), best being the last that did (where it is negative, small
    rises pass too: PyTorch's rule). After a fall of the value, `cooldown` epochs are not counted.
    It never goes below `lowest`, nor by less than 1e-8. A NaN or an inf counts as not fallen, so
    that a diverging run is calmed down.

    Krizhevsky, Sutskever and Hinton (2012) did so by hand; PyTorch has it as ReduceLROnPlateau.
    Expect `patience` idle epochs before every fall; noise in the loss delays it.

    Its memory is `value`, `best` (None before the first loss), `bad` (epochs since) and `cooling`
    (epochs of cooldown to come): saved and compared, but not printed.
    """

    initial: Amount
    factor: Share = 0.1
    patience: Epochs = 10
    threshold: Share = 1e-4
    cooldown: Epochs = 0
    lowest: Amount = 0.0
    value: float = field(init=False, repr=False)
    best: float | None = field(init=False, repr=False, default=None)
    bad: int = field(init=False, repr=False, default=0)
    cooling: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        check_fields(self)
        self.value = self.initial
        if self.lowest > self.initial:
            raise ValueError(f"OnPlateau: lowest, {self.lowest}, is above initial, {self.initial}")

    def at(self, t: int) -> float:
        return self.value

    def observe(self, loss: Any) -> None:
        """Take note of an epoch's loss: a number, or a tensor or array of one element."""
        if isinstance(loss, str | bool):
            raise TypeError(f"OnPlateau: the loss is a number, not {loss!r}")
        loss = float(loss)
        best = math.inf if self.best is None else self.best
        if math.isfinite(loss) and loss < best * (1 - self.threshold):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            lower = max(self.value * self.factor, self.lowest)
            if self.value - lower > LEAST_CHANGE:
                self.value = lower
            self.cooling, self.bad = self.cooldown, 0

    def _remember(self, value: Any, best: Any, bad: Any, cooling: Any) -> None:
        self.value = Number(self.lowest)("OnPlateau: value", value)
        if best is not None:
            self.best = Number(-math.inf)("OnPlateau: best", best)
        self.bad = Number(whole=True)("OnPlateau: bad", bad)
        self.cooling = Number(whole=True)("OnPlateau: cooling", cooling)
        if self.value > self.initial:
            raise ValueError(f"OnPlateau: value, {value}, is above initial, {self.initial}")


# ---- to plain data and back ----------------------------------------------------------------------

NAMED: dict[str, type[Any]] = {cls.__name__: cls for cls in (
    constant, step, exponential, inverse_time, cosine, warmup, one_cycle, cyclic, OnPlateau
)}  # fmt: skip


def as_data(value: Any) -> Any:
    """A hyper-parameter as plain data: a number, a schedule's state, a function's bare name."""
    if isinstance(value, Schedule):
        return value.state()
    if callable(value):
        return {"function": getattr(value, "__qualname__", type(value).__name__)}
    return value


def is_function(x: Any) -> bool:
    """Whether x is a function of the user's own."""
    return callable(x) and not isinstance(x, Schedule)


def restored(state: dict[str, Any], here: Any = None) -> Any:
    """The schedule whose `state()` this is. What is your own is not in the state, so it is taken
    from `here`, which stands at the same place now: a function, or a schedule of your own that was
    made with the same values. ValueError, before anything is made, for an unknown name, a key too
    many or too few, a value that it refuses, and for what is your own and not `here`."""
    if not isinstance(state, dict):
        raise ValueError(f"the state of a schedule is a dict, not {state!r}")
    if "function" in state:
        if is_function(here):
            return here
        raise ValueError(f"{state['function']} is your own function, not saved: give it again")
    name = state.get("schedule")
    if (isinstance(here, Schedule) and type(here).__name__ == name
            and type(here) not in NAMED.values()):  # fmt: skip
        return _own(state, here)
    if not isinstance(name, str) or name not in NAMED:
        raise ValueError(f"no schedule is called {name!r}; there are {', '.join(NAMED)}, and one "
                         "of your own is to be given again")  # fmt: skip
    made = dataclasses.fields(NAMED[name])
    _check_keys(state, made)
    try:
        values = {k: restored(v, getattr(here, k, None)) if isinstance(v, dict) else v
                  for k, v in state.items()}  # fmt: skip
        schedule = NAMED[name](**{f.name: values[f.name] for f in made if f.init})
        if isinstance(schedule, OnPlateau):
            schedule._remember(**{f.name: values[f.name] for f in made if not f.init})
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return schedule


def _own(state: dict[str, Any], here: Any) -> Any:
    """A schedule of the user's own: its memory is that of the state (the fields that are not given
    when it is made), and all else must be alike."""
    made = dataclasses.fields(here)
    _check_keys(state, made)
    schedule = copy.copy(here)
    for f in made:
        value, now = state[f.name], getattr(here, f.name)
        if isinstance(now, Schedule) and isinstance(value, dict):
            object.__setattr__(schedule, f.name, restored(value, now))
        elif not f.init:
            if isinstance(now, tuple) and isinstance(value, list):  # as JSON has it
                value = tuple(value)
            object.__setattr__(schedule, f.name, value)
        elif lasting(value) != lasting(as_data(now)):
            raise ValueError(f"{state['schedule']} is a schedule of your own, with {f.name} = "
                             f"{value!r} there and {now!r} here: make it as it was")  # fmt: skip
    return schedule


def _check_keys(state: dict[str, Any], made: Any) -> None:
    keys = ["schedule", *(f.name for f in made)]
    if set(state) != set(keys):
        raise ValueError(f"the state of {state['schedule']} has the keys {keys}, not {list(state)}")


def lasting(state: Any, here: Any = None) -> Any:
    """What was given when making it, in a form to be compared; not what a schedule (`here` is the
    one at that place) has come to remember. A list stands for a tuple or an array, as after JSON,
    and a NaN is like another."""
    if isinstance(state, dict):
        made = dataclasses.fields(cast(Any, here)) if isinstance(here, Schedule) else ()
        memory = {f.name for f in made if not f.init}
        return {key: lasting(part, getattr(here, key, None)) for key, part in state.items()
                if key not in memory}  # fmt: skip
    if isinstance(state, (list, tuple)):
        parts = here if isinstance(here, list) and len(here) == len(state) else [None] * len(state)
        return [lasting(part, at) for part, at in zip(state, parts)]
    if backend.is_array(state):
        return lasting(backend.host(state).tolist())
    if isinstance(state, np.generic):
        return lasting(state.item())
    return "NaN" if isinstance(state, float) and math.isnan(state) else state


def listening(x: Any) -> Any:
    """The schedule with a memory that `x` is or has inside, or None: an OnPlateau, or one of the
    user's own whose dataclass is not frozen."""
    if isinstance(x, warmup):
        return listening(x.then)
    is_one = isinstance(x, Schedule) and not cast(Any, x).__dataclass_params__.frozen
    return x if is_one else None


def merged(current: Any, loaded: Any) -> Any:
    """`loaded`, but a schedule with a memory that stands at the same place in `current` takes its
    content over and stays the object that it was, as does the warmup around it: so the loop which
    holds it goes on being heard, and what several groups share is still one."""
    inner, news = listening(current), listening(loaded)
    if inner is None or type(inner) is not type(news) or type(current) is not type(loaded):
        return loaded
    if isinstance(current, warmup):
        vars(current).update(vars(loaded), then=merged(current.then, loaded.then))
    else:
        vars(current).update(vars(loaded))
    return current


def apart(places: list[tuple[str, Any, Any]]) -> list[str]:
    """What is wrong with (name, schedule here, schedule loaded) of all places: one with a memory
    that several of them share here cannot become several."""
    found: dict[int, tuple[str, Any]] = {}
    problems: list[str] = []
    for name, here, loaded in places:
        inner, news = listening(here), listening(loaded)
        if inner is None or type(inner) is not type(news):
            continue
        first, other = found.setdefault(id(inner), (name, news))
        if lasting(other.state()) != lasting(news.state()):
            problems.append(f"{first} and {name} share one {type(inner).__name__} here, and had "
                            "two there, of different content: make one for each")  # fmt: skip
    return problems
