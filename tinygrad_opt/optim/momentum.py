"""Gradient descent, and gradient descent with a memory: the step's direction is a velocity."""

import contextlib
from collections.abc import Callable
from typing import Any

from tinygrad_opt import backend
from tinygrad_opt.backend import Array
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.forms import named, of_class_or_instance
from tinygrad_opt.optim.gradients import Gradients
from tinygrad_opt.optim.latex import typeset
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import run
from tinygrad_opt.tensor import next_index


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins, Monro 1951): a step against the gradient.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "lr": ...}.
        lr: α, the learning rate: weight change per unit of gradient. Turned up, the loss falls
            faster, until it dangles (swings without shrinking) at α = 2 / (largest curvature), and
            diverges above.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, *, lr):
        w = w - lr * g
        return (w,)

    def __init__(self, params: Any, lr: Any, **common: Any):
        super().__init__(params, {"lr": lr}, **common)


class Momentum(Optimizer):
    """The heavy ball (Polyak 1964), as Sutskever, Martens, Dahl, Hinton (2013) write it: the
    velocity v remembers past gradients, and the weight moves by it.

    An old gradient's part in v shrinks by μ a step, so that about 1 / (1 - μ) of them count: 4, 10
    and 100 for μ = 0.75, 0.9 and 0.99.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "mu": ...}.
        lr: α, the learning rate. Stable up to α · curvature = 2 (1 + μ), for "ema" up to
            2 (1 + μ) / (1 - μ).
        mu: μ in [0, 1), the momentum. Turned up, old gradients last longer: valleys are crossed
            faster, and the noise of small batches is amplified by about 1 / (1 - μ).
        form: which of the three meanings of v. "classical" has α inside the velocity, so that a new
            α acts on new gradients alone; "torch" keeps α outside, so that it acts on all that v
            remembers, and equals "classical" while α is constant; "ema" averages instead of summing
            (v is a mean gradient), and equals "torch" at the learning rate α (1 - μ).
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    slots = ("v",)  # the vectors kept beside w, in the order in which the rules take them

    def classical(w, g, v, *, lr, mu):
        v = mu * v - lr * g
        w = w + v
        return w, v

    def torch(w, g, v, *, lr, mu):
        v = mu * v + g
        w = w - lr * v
        return w, v

    def ema(w, g, v, *, lr, mu):
        v = mu * v + (1 - mu) * g
        w = w - lr * v
        return w, v

    rule = classical
    rules = {"classical": classical, "torch": torch, "ema": ema}

    def __init__(self, params: Any, lr: Any, mu: Any = 0.9, form: str = "classical", **common: Any):
        super().__init__(params, {"lr": lr, "mu": mu}, form=form, **common)


class Nesterov(Optimizer):
    """Nesterov's accelerated gradient (1983), as Sutskever, Martens, Dahl, Hinton (2013) write it:
    momentum whose gradient is taken where the velocity is about to lead.

    In the form "look_ahead" the update is that of `Momentum`; what differs is the place of the
    gradient, and that stands in the training loop:

        with optimizer.look_ahead():  # the weights stand at w + μv in here
            loss = cross_entropy(model(x), y)
            loss.backward()
        optimizer.step()

    or `optimizer.step(closure)`, which does the same. The form "shifted" keeps the look-ahead point
    itself as the weight, as PyTorch does, and needs no second place. With a constant α and μ its
    weights are the look-ahead points of the other form; where α changes they part, for it acts on
    all that v remembers.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts {"params": [...], "mu": ...}.
        lr: α, the learning rate. Stable up to α · curvature = 2 (1 + μ) / (1 + 2μ), which is less
            than plain gradient descent's 2: the look-ahead reacts earlier, and overreacts earlier.
        mu: μ in [0, 1), the momentum, as for `Momentum`.
        form: "look_ahead" or "shifted".
        common: l2, transforms, check_finite; see `Optimizer`.

    Raises:
        RuntimeError: `step()` when the last gradient was not taken inside `look_ahead()`.
    """

    @Rule
    def ahead(w, v, *, mu):
        w = w + mu * v
        return (w,)

    def shifted(w, g, v, *, lr, mu):
        v = mu * v + g
        w = w - lr * (g + mu * v)
        return w, v

    rule = Momentum.rule
    rules = {"look_ahead": Momentum.rule, "shifted": shifted}

    def __init__(self, params: Any, lr: Any, mu: Any = 0.9, form: str = "look_ahead",
                 **common: Any):  # fmt: skip
        super().__init__(params, {"lr": lr, "mu": mu}, form=form, **common)
        self._window = (0, 0)  # when the last look_ahead() began and ended, on the tensors' clock
        self._looking = False

    def _formula(self) -> str:
        if self.form != "look_ahead":
            return super()._formula()
        return f"g at {self.ahead.formula}; {super()._formula()}"

    @of_class_or_instance
    def source(it: Any, form: str | None = None) -> str:
        """The source of the rule; in the form "look_ahead", behind that of the place where the
        gradient is taken."""
        looks = (form or it.form or "look_ahead") == "look_ahead"
        return it.ahead.text * looks + "\n" * looks + named(it, form).text

    @of_class_or_instance
    def latex(it: Any, form: str | None = None) -> str:
        """The rule as LaTeX; in the form "look_ahead", behind the place where the gradient is
        taken."""
        looks = (form or it.form or "look_ahead") == "look_ahead"
        return "\n".join(map(typeset, [it.ahead] * looks + [named(it, form)]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._window = (0, 0)

    def look_ahead(self) -> contextlib.AbstractContextManager:
        """Inside, the weights stand at w + μv; at its end they are w again, to the bit."""
        return self._looking_ahead() if self.form == "look_ahead" else super().look_ahead()

    @contextlib.contextmanager
    def _looking_ahead(self):
        if self._looking:  # a closure that looks ahead itself, say: no second step ahead
            yield
            return
        began = next_index()
        with self._standing_at(self._ahead):
            try:
                self._looking = True
                yield
            finally:
                self._looking = False
        self._window = (began, next_index())

    def _ahead(self, flat: FlatVector) -> Array:
        w = flat.w.copy()
        run(self.ahead, [w, flat.slots["v"]], {"mu": self._scalars(self.groups[flat.group])["mu"]})
        return w

    def _gradients(self) -> Gradients:
        began, ended = self._window
        when = max(flat.graded for flat in self._flat)
        if self.form == "look_ahead" and not began < when < ended:
            raise RuntimeError(
                "Nesterov: the gradient was not taken at the look-ahead point w + mu * v. "
                "Write\n\n    with optimizer.look_ahead():\n        loss(model(x), y).backward()\n"
                "    optimizer.step()\n\nor optimizer.step(closure), or use form='shifted'. "
                "(A gradient clipped by hand afterwards counts as taken there: give transforms=.)"
            )
        return super()._gradients()

    def _explain_note(self, flat: FlatVector, n: int, place: tuple) -> Callable | None:
        if self.form != "look_ahead":
            return None
        vectors = (flat.data_views[n], flat.view(flat.slots["v"], n))
        w, v = (backend.host(x[place].reshape(1)) for x in vectors)
        (there,) = self.ahead(w, v, mu=self._scalars(self.groups[flat.group])["mu"])
        where = self.ahead.formula.removeprefix("w = ")
        return lambda show: f"g was taken at {where} = {show(there[0])}"
