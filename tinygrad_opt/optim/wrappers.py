"""Optimizers around an optimizer: one asks for the gradient on higher ground, one follows slowly
where the other runs ahead."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim import latex, schedules
from tinygrad_opt.optim.averaging import ScheduleFree
from tinygrad_opt.optim.checks import check_closure, closure_wanted
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.lbfgs import LBFGS
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import run
from tinygrad_opt.optim.transforms import norm_of


class Wrapper:
    """The base of both: whatever is not its own, it asks of the optimizer inside."""

    rule: Rule
    own: frozenset[str] = frozenset()  # the attributes that are not those of the optimizer inside

    def __init__(self, optimizer: Any):
        if not isinstance(optimizer, (Optimizer, Wrapper)):
            name = type(self).__name__
            raise TypeError(f"{name} wraps an optimizer, not a {type(optimizer).__name__}: write "
                            f"{name}(Momentum(params, lr=0.1))")  # fmt: skip
        self.optimizer = optimizer

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "optimizer" or name in self.own:
            object.__setattr__(self, name, value)
        else:
            setattr(self.optimizer, name, value)

    def eval(self) -> Any:
        """Make the weights those to measure with, as the optimizer inside has it."""
        self.optimizer.eval()
        return self

    def train(self) -> Any:
        """Make the weights those to train with, after `eval()`."""
        self.optimizer.train()
        return self

    def _now(self, name: str, is_right: Callable[[Any], bool], wanted: str, value: Any) -> float:
        """A number of the wrapper for the coming step: a schedule asked, its range checked."""
        value = value(self.optimizer.t) if callable(value) else value
        if not is_right(value):
            raise ValueError(f"{type(self).__name__}: {name} is {wanted}, not {value!r}")
        return float(value)

    def __getattr__(self, name: str) -> Any:
        if name == "optimizer" or name.startswith("__"):  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def zero_grad(self) -> None:
        """Fill every gradient with zeros, for the next `backward()` to add to."""
        self.optimizer.zero_grad()

    def look_ahead(self) -> contextlib.AbstractContextManager:
        """Where the gradient is to be taken, as the optimizer inside has it."""
        return self.optimizer.look_ahead()

    observe = Optimizer.observe

    def _given(self) -> list[Any]:
        return [*vars(self).values(), *self.optimizer._given()]

    @classmethod
    def source(cls) -> str:
        """The source of the wrapper's own rule."""
        return cls.rule.text

    @classmethod
    def latex(cls) -> str:
        """The wrapper's own rule as LaTeX."""
        return latex.typeset(cls.rule)

    def compile(self) -> Any:
        """Compile the rule of the optimizer inside; see `Optimizer.compile`."""
        self.optimizer.compile()
        return self


class SAM(Wrapper):
    """Sharpness-aware minimization (Foret et al. 2021): the gradient is taken where the loss is
    highest nearby, a step of length ρ uphill, so that what is descended into is wide.

    Each step takes two gradients, so it wants a closure:

        optimizer = SAM(Momentum(model.parameters(), lr=0.1), rho=0.05)
        optimizer.step(closure)  # closure: zero_grad, forward, backward, return the loss

    Args:
        optimizer: the one that takes the step, from the weights as they were.
        rho: ρ, the length of the climb, over all weights together: a number or a schedule. Turned
            up, sharper valleys are avoided; too far, and the gradient has little to do with where
            the weights are.

    Raises:
        RuntimeError: `step()` without a closure.
    """

    @Rule
    def rule(w, g, *, rho, norm):
        w = w + rho * g / (norm + 1e-12)
        return (w,)

    own = frozenset({"rho"})

    def __init__(self, optimizer: Any, rho: Any = 0.05):
        super().__init__(optimizer)
        self._now("rho", _is_rho, "in [0, inf)", rho)
        self.rho = rho

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Two gradients and one update; the loss comes back as it is at the weights themselves."""
        if closure is None:
            raise closure_wanted("SAM", "two gradients are needed")
        check_closure("SAM", closure)
        rho = self._now("rho", _is_rho, "in [0, inf)", self.rho)
        return self.optimizer.step(lambda: self._twice(closure, rho))

    def _twice(self, closure: Callable[[], Any], rho: float) -> Any:
        loss = closure()
        flats = self._flat
        for flat in flats:
            flat.gather()
            if self.check_finite:
                self.finite.look(flat, flat.g, self.t)
        norms = [norm_of(flat.g, array_module(flat.g)) for flat in flats if flat.size]
        if not norms:  # there is not one weight
            return loss
        norm = functools.reduce(array_module(flats[0].g).hypot, norms)

        def climbed(flat: FlatVector) -> Array:
            return self.rule(flat.w, flat.g, rho=rho, norm=norm.astype(flat.dtype))[0]

        with self._standing_at(climbed):
            closure()
        return loss

    def explain(self, name: str, index: Any = (), digits: int | None = None) -> str:
        """The last step of a watched weight, as the optimizer inside took it; see
        `Optimizer.explain`. RuntimeError before `step(closure)`: the gradient that counts is taken
        in there."""
        if not self.optimizer._explained.is_over(self.optimizer):
            raise RuntimeError(
                f"SAM.explain(): the gradient that counts is taken inside step(closure): call "
                f"watch({name!r}, {index!r}) before it, and explain() after it"
            )
        formula = self.rule.formula.replace("norm", "(the norm of all gradients)", 1)
        head, rest = self.optimizer.explain(name, index, digits).split("\n", 1)
        return f"{head}, inside SAM\ng was taken at {formula}\n{rest}"

    def state_dict(self) -> dict[str, Any]:
        """ρ, and the state of the optimizer inside."""
        return {"optimizer": "SAM", "rho": schedules.as_data(self.rho),
                "inside": self.optimizer.state_dict()}  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave; ValueError, with nothing changed, if it does not
        fit."""
        restored = _checked_state("SAM", saved, {"rho": (_is_rho, self.rho)})
        self.optimizer.load_state_dict(saved["inside"])
        self.rho = schedules.merged(self.rho, restored["rho"])

    def __repr__(self) -> str:
        return f"SAM({self.optimizer!r}, rho={self.rho})"


class Lookahead(Wrapper):
    """Lookahead (Zhang, Lucas, Hinton, Ba 2019): the optimizer inside explores with fast weights
    for k steps; then slow weights go a part α of the way there, and the fast ones start again from
    them. "k steps forward, 1 step back."

    Args:
        optimizer: the one that takes the fast steps. Its velocity and means stay as they are.
        k: how many fast steps. Turned up, it explores further before it is called back.
        alpha: α in (0, 1], how far the slow weights follow, a number or a schedule. 1 is the
            optimizer inside alone.

    Raises:
        TypeError: around `ScheduleFree` or `LBFGS`, which remember where the weights were.
    """

    @Rule
    def rule(w, slow, *, alpha):
        slow = slow + alpha * (w - slow)
        w = slow
        return w, slow

    own = frozenset({"k", "alpha", "_slow", "_share"})

    def __init__(self, optimizer: Any, k: int = 5, alpha: Any = 0.5):
        super().__init__(optimizer)
        inside = optimizer
        while isinstance(inside, Wrapper):
            inside = inside.optimizer
        if isinstance(inside, (ScheduleFree, LBFGS)):
            raise TypeError(
                f"Lookahead: {type(inside).__name__} remembers where it was, and the slow weights "
                "would move it unseen"
            )
        self._now("k", _is_count, "an integer of 1 or more", k)
        self._share = self._now("alpha", _is_share, "in (0, 1]", alpha)
        self.k, self.alpha = int(k), alpha
        self._slow = [flat.w.copy() for flat in self._flat]
        self._after.append(self._follow)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of the optimizer inside; every k-th ends at the slow weights."""
        self._share = self._now("alpha", _is_share, "in (0, 1]", self.alpha)
        if self.optimizer.t % self.k == 0:  # a round begins, from where the weights are put by then
            for flat, slow in zip(self._flat, self._slow):
                flat.gather()
                slow[...] = flat.w
        return self.optimizer.step(closure)

    def _follow(self) -> None:
        if self.optimizer.t % self.k == 0:
            for flat, slow in zip(self._flat, self._slow):
                run(self.rule, [flat.w, slow], {"alpha": self._share})

    def explain(self, name: str, index: Any = (), digits: int | None = None) -> str:
        """The step of the optimizer inside, as `Optimizer.explain` tells it; and whether the weight
        is then pulled to the slow one."""
        told, t = self.optimizer.explain(name, index, digits), self.optimizer.t
        over = self.optimizer._explained.is_over(self.optimizer)
        if (t if over else t + 1) % self.k:
            return told
        return f"{told}\nand then Lookahead, for its {self.k} steps are done: {self.rule.formula}"

    def memory(self) -> dict[str, int]:
        """Bytes really held by each slot, those of the optimizer inside included."""
        held = self.optimizer.memory()
        held["slow"] = held.get("slow", 0) + sum(slow.nbytes for slow in self._slow)
        return held

    def state_dict(self) -> dict[str, Any]:
        """k, α, the slow weights by parameter name, and the state of the optimizer inside."""
        slow = {name: backend.host(flat.view(vector, n))
                for flat, vector in zip(self._flat, self._slow)
                for n, name in enumerate(flat.names)}  # fmt: skip
        return {"optimizer": "Lookahead", "k": self.k, "alpha": schedules.as_data(self.alpha),
                "slow": slow, "inside": self.optimizer.state_dict()}  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave; ValueError, with nothing changed, if it does not
        fit."""
        restored = _checked_state("Lookahead", saved, {
            "k": (_is_count, self.k), "alpha": (_is_share, self.alpha), "slow": (_is_dict, {}),
        })  # fmt: skip
        mine, there = self.state_dict()["slow"], saved["slow"]
        for name in set(mine) | set(there):
            a, b = (np.asarray(x[name]) if name in x else None for x in (there, mine))
            if (a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype)
                    or not np.isfinite(a).all()):  # fmt: skip
                raise ValueError(f"this state does not fit Lookahead: the slow weights of {name}")
        self.optimizer.load_state_dict(saved["inside"])
        self.k = restored["k"]
        self.alpha = schedules.merged(self.alpha, restored["alpha"])
        for flat, vector in zip(self._flat, self._slow):
            for n, name in enumerate(flat.names):
                flat.view(vector, n)[...] = backend.to(np.asarray(there[name]), flat.backend)

    def __repr__(self) -> str:
        return f"Lookahead({self.optimizer!r}, k={self.k}, alpha={self.alpha})"


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)


def _is_rho(x: Any) -> bool:
    return _is_number(x) and bool(0 <= x < np.inf)


def _is_count(x: Any) -> bool:
    return _is_number(x) and isinstance(x, (int, np.integer)) and bool(x >= 1)


def _is_share(x: Any) -> bool:
    return _is_number(x) and bool(0 < x <= 1)


def _is_dict(x: Any) -> bool:
    return isinstance(x, dict)


def _checked_state(
    name: str, saved: Any, wanted: dict[str, tuple[Callable[[Any], bool], Any]]
) -> dict[str, Any]:
    """What a state holds under the wanted keys, schedules restored. ValueError for what is none, or
    is not right; a function of the user's own must be there already, in place of the old one."""
    if not isinstance(saved, dict) or saved.get("optimizer") != name:
        there = saved.get("optimizer") if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"this state does not fit {name}: it is one of {there}")
    if set(saved) != {"optimizer", "inside", *wanted}:
        raise ValueError(f"this state does not fit {name}: it has the keys {sorted(saved)}")
    found = {}
    for key, (is_right, here) in wanted.items():
        value = saved[key]
        if isinstance(value, dict) and key != "slow":
            value = schedules.restored(value, here)
        if not callable(value) and not is_right(value):
            raise ValueError(f"this state does not fit {name}: {key} is {value!r}")
        found[key] = value
    return found
