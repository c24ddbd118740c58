"""L-BFGS: Newton's method without the Hessian, which is guessed from how the gradient changed over
the last steps.

A step s changed the gradient by y, so the Hessian maps s to y. From the last few such pairs the
inverse Hessian times any vector follows by two loops, without ever forming a matrix.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array, array_module
from tinygrad_opt.optim.atomic import uninterrupted
from tinygrad_opt.optim.checks import check_closure, closure_wanted
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.linesearch import Point, strong_wolfe
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.running import coupled
from tinygrad_opt.optim.state import load

CURVATURE = 1e-10  # a pair with yᵀs below this says nothing of the curvature, and is left out
ROUNDING = 4  # ε of the dtype: by how much of its size two losses may differ by rounding alone


def dot(a: Array, b: Array) -> float:
    """The inner product, on the host: a line search decides by it. On CuPy this waits."""
    return float(array_module(a).vdot(a, b))


def inverse_hessian_times(g: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """H g by the two loops of Nocedal (1980): `pairs` of (s, y), the oldest first.

    Before any pair, H is the identity; then it starts from that scaled by sᵀy / yᵀy of the newest
    pair, its size along the last step.
    """
    q = g
    taken = []
    for s, y in reversed(pairs):
        a = dot(s, q) / dot(y, s)
        q = q - a * y
        taken.append(a)
    if pairs:
        s, y = pairs[-1]
        q = q * (dot(s, y) / dot(y, y))
    for (s, y), a in zip(pairs, reversed(taken)):
        b = dot(y, q) / dot(y, s)
        q = q + (a - b) * s
    return q


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal 1980; Liu, Nocedal 1989), for full batches and smooth losses.

    One `step(closure)` makes up to `max_iter` iterations, so the closure is called many times; it
    zeroes the gradients, computes loss and gradient, and returns the loss.

    Args:
        params: tensors or (name, tensor) pairs of one dtype, as one group.
        lr: α, the length of a step relative to Newton's; with a line search, the first to be tried.
        max_iter: iterations a step, at most.
        max_eval: calls of the closure a step, at most (None: max_iter · 5 / 4).
        tolerance_grad: done when no gradient is larger.
        tolerance_change: done when neither a weight nor the loss changes by more.
        history_size: how many pairs to remember, two vectors each. Turned up, the curvature is
            known in more directions.
        line_search_fn: "strong_wolfe" looks along each direction for a point where the loss fell
            enough, by its slopes where rounding hides the fall (Hager, Zhang 2005), and its slope
            is flat enough (c₁ = 1e-4, c₂ = 0.9); None takes the step α.
        common: l2 (which joins the loss, too) and check_finite; see `Optimizer`.

    Raises:
        RuntimeError: `step()` without a closure.
        ValueError: several groups or dtypes, transforms (a changed gradient is not that of the
            loss), a count or tolerance out of its range.
        FloatingPointError: a loss or gradient that is not finite where the step began; during a
            line search such a point counts as too far. Weights and memory are as before then.
    """

    elementwise = False

    def __init__(self, params: Any, lr: Any = 1.0, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9,
                 history_size: int = 100, line_search_fn: str | None = None,
                 **common: Any):  # fmt: skip
        if common.get("transforms"):
            raise ValueError("LBFGS takes no transforms: changed gradients are not of the loss")
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(
                f"LBFGS: line_search_fn is 'strong_wolfe' or None, not {line_search_fn!r}"
            )
        for name, count in (("max_iter", max_iter), ("max_eval", max_eval),
                            ("history_size", history_size)):  # fmt: skip
            if name == "max_eval" and count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"LBFGS: {name} is an integer of 1 or more, not {count!r}")
        for name, bound in (("tolerance_grad", tolerance_grad),
                            ("tolerance_change", tolerance_change)):  # fmt: skip
            number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
            if not number or not 0 <= bound < math.inf:
                raise ValueError(f"LBFGS: {name} is in [0, inf), not {bound!r}")
        max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        self.max_iter, self.max_eval, self.history_size = max_iter, max_eval, history_size
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.line_search_fn = line_search_fn
        super().__init__(params, {"lr": lr}, **common)
        if len(self._flat) != 1:
            raise ValueError("LBFGS: all parameters in one group and of one dtype, for the inner "
                             "products are over all of them")  # fmt: skip

    def _rules(self) -> list:
        return []

    def _check_parameter(self, name: str, t: Any) -> None:
        if t.dtype.itemsize < 4:
            raise TypeError(f"LBFGS: parameter {name!r} is {t.dtype}, too short for inner products")

    def _make_slots(self, flat: FlatVector, values: dict[str, float]) -> None:
        pass  # the memory grows with the first steps

    # ---- a step ------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to `max_iter` iterations; the loss comes back as it was before the first of them."""
        if closure is None:
            raise closure_wanted("LBFGS", "it asks for the loss at several points")
        check_closure("LBFGS", closure)
        self._check_standing()
        (flat,) = self._flat
        flat.gather()
        (scalars,) = self.values()
        w, slots, t = flat.w.copy(), dict(flat.slots), self.t
        try:
            self._standing = 1  # no step within a step
            loss = self._iterate(flat, closure, scalars["lr"], scalars["l2"])
        except BaseException:
            with uninterrupted():
                self._move([w])
                flat.slots, self.t = slots, t
            raise
        finally:
            self._standing = 0
        return loss

    def _iterate(self, flat: FlatVector, closure: Callable, lr: float, l2: float) -> Any:
        calls = []

        def value_and_gradient() -> tuple[float, Array]:
            calls.append(closure())
            if calls[-1] is None:
                raise TypeError("LBFGS: the closure returns the loss, this one returned None")
            flat.gather()
            value, g = float(calls[-1]), flat.g.copy()
            if l2:
                value = value + 0.5 * l2 * dot(flat.w, flat.w)
                (g,) = coupled(flat.w, g, l2=l2)
            return value, g

        f, g = value_and_gradient()
        if self.check_finite:
            self._check_start(flat, f)
        for n in range(self.max_iter):
            if self._largest(g) <= self.tolerance_grad:
                break
            self._remember(flat, g)
            d = -inverse_hessian_times(g, self._pairs(flat))
            slope = dot(g, d)
            if slope > -self.tolerance_change:  # flat, or no descent by what rounding has left
                break
            first = not self._pairs(flat)
            length = lr * min(1.0, 1.0 / float(abs(g).sum())) if first else lr
            before = f
            if self.line_search_fn:
                length, f, g = self._search(flat, value_and_gradient, d, length, f, slope, g)
            else:
                self._move([flat.w + length * d])
                flat.slots["step"] = length * d
                if n + 1 == self.max_iter or len(calls) >= self.max_eval:
                    break  # the next step() begins with the gradient from here
                f, g = value_and_gradient()
                if self.check_finite:
                    self._check_start(flat, f)
            if len(calls) >= self.max_eval:
                break
            moved = length * self._largest(d)
            if min(moved, abs(f - before)) <= self.tolerance_change:
                break
        with uninterrupted():
            self._finish()
        return calls[0]

    def _check_start(self, flat: FlatVector, f: float) -> None:
        """FloatingPointError where an iteration would start from a loss or gradient that is NaN."""
        self.finite.look(flat, flat.g, self.t, wait=True)
        if not math.isfinite(f):
            raise FloatingPointError(f"LBFGS has come to a point where the loss is {f}")

    def _search(self, flat: FlatVector, value_and_gradient: Callable, d: Array, length: float,
                f: float, slope: float, g: Array) -> tuple[float, float, Array]:  # fmt: skip
        start, eps = flat.w.copy(), float(np.finfo(flat.dtype).eps)

        def point(length: float, f: float, slope: float, g: Array) -> Point:
            return Point(length, f, slope, g, rounding=ROUNDING * eps * abs(f))

        def at(length: float) -> Point:
            self._move([start + length * d])
            f, g = value_and_gradient()
            return point(length, f, dot(g, d), g)

        found = strong_wolfe(at, point(0.0, f, slope, g), length,
                             tolerance=self.tolerance_change / self._largest(d))  # fmt: skip
        self._move([start + found.length * d])
        flat.slots["step"] = found.length * d
        return found.length, found.f, found.g

    def _largest(self, x: Array) -> float:
        return float(abs(x).max()) if x.size else 0.0

    # ---- what it remembers -------------------------------------------------

    def _remember(self, flat: FlatVector, g: Array) -> None:
        """Turn the last step and the change of the gradient along it into a pair."""
        slots = flat.slots
        if "step" in slots:
            s, y = slots["step"], g - slots["gradient"]
            if dot(y, s) > CURVATURE:
                pairs = [*self._pairs(flat), (s, y)][-self.history_size :]
                for n, (s, y) in enumerate(pairs):
                    slots[f"s{n}"], slots[f"y{n}"] = s, y
            del slots["step"]
        slots["gradient"] = g

    def _pairs(self, flat: FlatVector) -> list[tuple[Array, Array]]:
        slots, n, pairs = flat.slots, 0, []
        while f"s{n}" in slots:
            pairs.append((slots[f"s{n}"], slots[f"y{n}"]))
            n += 1
        return pairs

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """As for every optimizer; how many pairs there are is as the state says."""
        (flat,) = self._flat
        before, names = flat.slots, self._saved_slots(saved)
        flat.slots = {}
        for name in names:
            flat.add_slot(name)
        try:
            load(self, saved)
        except BaseException:
            flat.slots = before
            raise

    def _saved_slots(self, saved: Any) -> list[str]:
        """The slots that a state holds, as far as they are slots of L-BFGS."""
        try:
            names = set(next(iter(saved["slots"].values())))
        except (TypeError, KeyError, AttributeError, StopIteration):
            return []
        pairs = [f"{letter}{n}" for n in range(self.history_size) for letter in "sy"]
        return [name for name in ("gradient", "step", *pairs) if name in names]

    # ---- shown -------------------------------------------------------------

    @classmethod
    def source(cls, form: str | None = None) -> str:
        """The source of the two loops."""
        return inspect.getsource(inverse_hessian_times)

    @classmethod
    def latex(cls, form: str | None = None) -> str:
        """TypeError: the update is two loops, not a formula; see `source()`."""
        raise TypeError("LBFGS is two loops over its memory, not one formula: see LBFGS.source()")

    def explain(self, name: str, index: Any = (), digits: int | None = None) -> str:
        """TypeError: a weight's update depends on all weights and gradients of many steps."""
        raise TypeError(
            "LBFGS.explain(): the update of one weight is made of inner products over all weights "
            "and many steps; there are no numbers of one weight to tell it by"
        )

    watch = explain  # type: ignore[assignment]

    def compile(self) -> Any:
        """RuntimeError: only elementwise rules are compiled."""
        raise RuntimeError("LBFGS works on inner products over all weights: it is not compiled")

    def __repr__(self) -> str:
        count = sum(t.size for t in self.groups[0]["params"])
        search = f", line_search_fn={self.line_search_fn!r}" if self.line_search_fn else ""
        return (f"LBFGS(lr={self.groups[0]['lr']}, max_iter={self.max_iter}, history_size="
                f"{self.history_size}{search}): w = w - lr * H(g)  "
                f"[{count:,} weights, t={self.t}]")  # fmt: skip
