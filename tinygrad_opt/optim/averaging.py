"""Optimizers that keep an average of the weights beside the weights, for the mean of a path through
a valley lies deeper in it than the path's end."""

import contextlib
from typing import Any

import numpy as np

from tinygrad_opt.backend import Array
from tinygrad_opt.optim.atomic import uninterrupted
from tinygrad_opt.optim.flat import FlatVector
from tinygrad_opt.optim.gradients import Gradients
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.rule import Rule
from tinygrad_opt.optim.running import run
from tinygrad_opt.tensor import next_index


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak, Juditsky 1992), with the schedule of Bottou
    (2010): SGD with a slowly falling rate η, and the mean `ax` of the weights from step t0 on.

    The weights themselves are SGD's; inside `with optimizer.averaged():` they are `ax`.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the rate η of the first step.
        lambd: λ_d, the decay of w, and of η = α / (1 + λ_d α t)^alpha. Turned up, η falls sooner.
        alpha: the power of that decay, 0.75.
        t0: how many steps to take before averaging; until then `ax` is w.
        common: l2, transforms, check_finite; see `Optimizer`.
    """

    def rule(w, g, ax, *, t, lr, lambd, alpha, t0):
        eta = lr / (1 + lambd * lr * (t - 1)) ** alpha
        w = (1 - lambd * eta) * w - eta * g
        ax = ax + (w - ax) / max(1, t - 1 - t0)
        return w, ax

    ranges = {"lambd": (0.0, np.inf), "alpha": (0.0, np.inf), "t0": (0.0, np.inf)}

    def __init__(self, params: Any, lr: Any = 0.01, lambd: Any = 1e-4, alpha: Any = 0.75,
                 t0: Any = 1e6, **common: Any):  # fmt: skip
        hyper = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0}
        super().__init__(params, hyper, **common)

    def averaged(self) -> contextlib.AbstractContextManager:
        """Inside, the weights are their mean `ax`; at its end they are what they were."""
        return self._standing_at(lambda flat: flat.slots["ax"] if self.t else flat.w.copy())


class ScheduleFree(Optimizer):
    """Schedule-free learning (Defazio et al. 2024): a constant rate with the results of a falling
    one, because what is evaluated is an average x of the iterates z, and the gradient is taken at
    y, between the two.

    While training the weights are y. Call `eval()` before measuring, which makes them x, and
    `train()` before the next step.

    Args:
        params: tensors, (name, tensor) pairs, or group dicts.
        lr: α, the learning rate of z. Of a schedule, each iterate counts in x by the square of the
            largest rate so far.
        beta: β in [0.001, 1), how near y is to x. Turned up, the gradient is taken nearer to the
            mean. As x is read back from y, the rule keeps the β that made y.
        beta2, eps: of the form "adamw", as for `AdamW`.
        weight_decay: λ, taken at y.
        form: "sgd", or "adamw" with Adam's division by the root of v.
        common: l2, transforms, check_finite; see `Optimizer`.

    Raises:
        RuntimeError: `step()` while the weights are x.
    """

    def sgd(w, g, z, *, lr, beta, weight_decay, lr_max=0.0, weight_sum=0.0, beta_old=1.0):
        lr_max = max(lr_max, lr)
        weight_sum = weight_sum + lr_max**2
        c = lr_max**2 / max(weight_sum, 1e-300)
        x = (w - (1 - beta_old) * z) / beta_old
        z = z - lr * (g + weight_decay * w)
        x = (1 - c) * x + c * z
        w = (1 - beta) * z + beta * x
        beta_old = beta
        return w, z

    def adamw(w, g, z, v, *, t, lr, beta, beta2, eps, weight_decay, lr_max=0.0, weight_sum=0.0,
              beta_old=1.0):  # fmt: skip
        lr_max = max(lr_max, lr)
        weight_sum = weight_sum + lr_max**2
        c = lr_max**2 / max(weight_sum, 1e-300)
        x = (w - (1 - beta_old) * z) / beta_old
        v = beta2 * v + (1 - beta2) * g**2
        v_hat = v / (1 - beta2**t)
        z = z - lr * (g / (np.sqrt(v_hat) + eps) + weight_decay * w)
        x = (1 - c) * x + c * z
        w = (1 - beta) * z + beta * x
        beta_old = beta
        return w, z, v

    @Rule
    def average(w, z, *, beta):
        w = (w - (1 - beta) * z) / beta
        return (w,)

    rule = sgd
    rules = {"sgd": sgd, "adamw": adamw}
    ranges = {"beta": (1e-3, 1.0)}

    def __init__(self, params: Any, lr: Any, beta: Any = 0.9, beta2: Any = 0.999, eps: Any = 1e-8,
                 weight_decay: Any = 0.0, form: str = "sgd", **common: Any):  # fmt: skip
        hyper = {"lr": lr, "beta": beta, "weight_decay": weight_decay}
        if form == "adamw":
            hyper |= {"beta2": beta2, "eps": eps}
        self._training: list[Array] | None = None  # y, while the weights are x
        self._evaluated = 0  # when they became x, on the clock of tensors
        super().__init__(params, hyper, form=form, **common)

    def _make_slots(self, flat: FlatVector, values: dict[str, float]) -> None:
        super()._make_slots(flat, values)
        flat.slots["z"][...] = flat.w

    def _gradients(self) -> Gradients:
        if self._training is not None:
            raise RuntimeError(
                "ScheduleFree: the weights are the average x, where no gradient is taken: call "
                "optimizer.train() first, and optimizer.eval() to measure again"
            )
        gradients = super()._gradients()
        if self.t == 0:  # once more, for weights may have been loaded since
            for flat in self._flat:
                flat.slots["z"][...] = flat.w
        return gradients

    def eval(self) -> "ScheduleFree":
        """Make the weights the average x, to measure or to keep. Twice is as good as once."""
        if self._training is None:
            for flat in self._flat:
                flat.gather()
            averages = [self._average(flat) for flat in self._flat]
            training = [flat.w.copy() for flat in self._flat]
            with uninterrupted():
                self._move(averages)
                self._training, self._evaluated = training, next_index()
        return self

    def train(self) -> "ScheduleFree":
        """Make the weights y again, to the bit. RuntimeError if they were assigned since `eval()`,
        and then they stay so."""
        if self._training is not None:
            training, self._training = self._training, None
            if any(t.written > self._evaluated for flat in self._flat for t in flat.tensors):
                raise RuntimeError(
                    "ScheduleFree.train(): the weights were assigned while they were the average "
                    "x. They stay as assigned, and training would go on from them with what the "
                    "optimizer remembers of others: load its state too, or make a new one"
                )
            with uninterrupted():
                self._move(training)
        return self

    def _average(self, flat: FlatVector) -> Array:
        w, beta = flat.w.copy(), self._carried[flat.group]["beta_old"]  # the β that made y
        run(self.average, [w, flat.slots["z"]], {"beta": beta})
        return w

    def state_dict(self) -> dict[str, Any]:
        if self._training is not None:
            raise RuntimeError(
                "ScheduleFree.state_dict(): the weights are the average x, and training goes on "
                "from y: save between optimizer.train() and optimizer.eval()"
            )
        return super().state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        if self._training is not None:
            raise RuntimeError(
                "ScheduleFree.load_state_dict(): the weights are the average x, and what is loaded "
                "belongs to y: call optimizer.train() first, then load the weights and this"
            )
        super().load_state_dict(saved)
