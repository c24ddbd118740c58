"""Optimizers around an optimizer: one asks for the gradient on higher ground, one follows slowly
where the other runs ahead."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim import latex
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.optimizer import Optimizer, run
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.transforms import norm_of


class Wrapper:
    """The base of both: whatever is not its own, it asks of the optimizer inside."""

    rule: Rule

    def __init__(self, optimizer: Any):
        if not isinstance(optimizer, (Optimizer, Wrapper)):
            raise TypeError(f"{type(self).__name__} wraps an optimizer, not {optimizer!r}")
        self.optimizer = optimizer

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
        rho: ρ, the length of the climb, over all weights together. Turned up, sharper valleys are
            avoided; too far, and the gradient has little to do with where the weights are.

    Raises:
        RuntimeError: `step()` without a closure.
    """

    @Rule
    def rule(w, g, *, rho, norm):
        w = w + rho * g / (norm + 1e-12)
        return (w,)

    def __init__(self, optimizer: Any, rho: float = 0.05):
        super().__init__(optimizer)
        if not _is_rho(rho):
            raise ValueError(f"SAM: rho is in [0, inf), not {rho!r}")
        self.rho = rho

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Two gradients and one update; the loss comes back as it is at the weights themselves."""
        if closure is None:
            raise RuntimeError(
                "SAM.step(): two gradients are needed, so it wants a closure. Write\n\n"
                "    def closure():\n        optimizer.zero_grad()\n"
                "        loss = criterion(model(x), y)\n        loss.backward()\n"
                "        return loss\n\n    optimizer.step(closure)"
            )
        return self.optimizer.step(lambda: self._twice(closure))

    def _twice(self, closure: Callable[[], Any]) -> Any:
        loss = closure()
        flats = self._flat
        for flat in flats:
            flat.gather()
            if self.check_finite:
                self._check_finite(flat)
        norms = [norm_of(flat.g, array_module(flat.g)) for flat in flats if flat.size]
        if not norms:  # there is not one weight
            return loss
        norm = functools.reduce(array_module(flats[0].g).hypot, norms)
        with self._standing_at(lambda flat: self._climbed(flat, norm)):
            closure()
        return loss

    def _climbed(self, flat: FlatVector, norm: Array) -> Array:
        (w,) = self.rule(flat.w, flat.g, rho=self.rho, norm=norm.astype(flat.dtype))
        return w

    def state_dict(self) -> dict[str, Any]:
        """ρ, and the state of the optimizer inside."""
        return {"optimizer": "SAM", "rho": self.rho, "inside": self.optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave; ValueError, with nothing changed, if it does not
        fit."""
        _check_wrapper("SAM", saved, {"rho": _is_rho})
        self.optimizer.load_state_dict(saved["inside"])
        self.rho = saved["rho"]

    def __repr__(self) -> str:
        return f"SAM({self.optimizer!r}, rho={self.rho:g})"


class Lookahead(Wrapper):
    """Lookahead (Zhang, Lucas, Hinton, Ba 2019): the optimizer inside explores with fast weights
    for k steps; then slow weights go a part α of the way there, and the fast ones start again from
    them. "k steps forward, 1 step back."

    Args:
        optimizer: the one that takes the fast steps. Its velocity and means stay as they are.
        k: how many fast steps. Turned up, it explores further before it is called back.
        alpha: α in (0, 1], how far the slow weights follow. 1 is the optimizer inside alone.
    """

    @Rule
    def rule(w, slow, *, alpha):
        slow = slow + alpha * (w - slow)
        w = slow
        return w, slow

    def __init__(self, optimizer: Any, k: int = 5, alpha: float = 0.5):
        super().__init__(optimizer)
        if not _is_count(k):
            raise ValueError(f"Lookahead: k is an integer of 1 or more, not {k!r}")
        if not _is_share(alpha):
            raise ValueError(f"Lookahead: alpha is in (0, 1], not {alpha!r}")
        self.k, self.alpha = k, alpha
        self._slow = [flat.w.copy() for flat in self._flat]
        self._after.append(self._follow)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of the optimizer inside; every k-th ends at the slow weights."""
        if self.optimizer.t % self.k == 0:  # a round begins, from where the weights are put by then
            for flat, slow in zip(self._flat, self._slow):
                flat.gather()
                slow[...] = flat.w
        return self.optimizer.step(closure)

    def _follow(self) -> None:
        if self.optimizer.t % self.k == 0:
            for flat, slow in zip(self._flat, self._slow):
                run(self.rule, [flat.w, slow], {"alpha": float(self.alpha)})

    def memory(self) -> dict[str, int]:
        """Bytes really held by each slot, those of the optimizer inside included."""
        return {**self.optimizer.memory(), "slow": sum(slow.nbytes for slow in self._slow)}

    def state_dict(self) -> dict[str, Any]:
        """k, α, the slow weights by parameter name, and the state of the optimizer inside."""
        slow = {name: backend.host(flat.view(vector, n))
                for flat, vector in zip(self._flat, self._slow)
                for n, name in enumerate(flat.names)}  # fmt: skip
        return {"optimizer": "Lookahead", "k": self.k, "alpha": self.alpha, "slow": slow,
                "inside": self.optimizer.state_dict()}  # fmt: skip

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict()` gave; ValueError, with nothing changed, if it does not
        fit."""
        _check_wrapper("Lookahead", saved, {"k": _is_count, "alpha": _is_share, "slow": _is_dict})
        mine, there = self.state_dict()["slow"], saved["slow"]
        for name in set(mine) | set(there):
            a, b = (np.asarray(x[name]) if name in x else None for x in (there, mine))
            if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
                raise ValueError(f"this state does not fit Lookahead: the slow weights of {name}")
        self.optimizer.load_state_dict(saved["inside"])
        self.k, self.alpha = saved["k"], saved["alpha"]
        for flat, vector in zip(self._flat, self._slow):
            for n, name in enumerate(flat.names):
                flat.view(vector, n)[...] = backend.to(np.asarray(there[name]), flat.backend)

    def __repr__(self) -> str:
        return f"Lookahead({self.optimizer!r}, k={self.k}, alpha={self.alpha:g})"


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _is_rho(x: Any) -> bool:
    return _is_number(x) and 0 <= x < np.inf


def _is_count(x: Any) -> bool:
    return _is_number(x) and isinstance(x, int) and x >= 1


def _is_share(x: Any) -> bool:
    return _is_number(x) and 0 < x <= 1


def _is_dict(x: Any) -> bool:
    return isinstance(x, dict)


def _check_wrapper(name: str, saved: Any, wanted: dict[str, Callable[[Any], bool]]) -> None:
    if not isinstance(saved, dict) or saved.get("optimizer") != name:
        there = saved.get("optimizer") if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"this state does not fit {name}: it is one of {there}")
    if set(saved) != {"optimizer", "inside", *wanted}:
        raise ValueError(f"this state does not fit {name}: it has the keys {sorted(saved)}")
    for key, is_right in wanted.items():
        if not is_right(saved[key]):
            raise ValueError(f"this state does not fit {name}: {key} is {saved[key]!r}")
