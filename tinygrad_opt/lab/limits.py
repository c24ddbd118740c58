"""The largest curvature of a loss decides how large the learning rate can be: both, of your model.

    limits = tg.lab.limits(model, lambda: tg.cross_entropy(model(x), y), optimizer)
    limits.sharpness, limits.max_lr

The Hessian is never formed. Its product with a vector is the VJP of the gradient (Pearlmutter
1994), and the method of Lanczos (1950) finds its largest eigenvalue from a few dozen products.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_opt import backend
from tinygrad_opt.autograd import grad, walk
from tinygrad_opt.backend import array_module
from tinygrad_opt.lab import theory
from tinygrad_opt.nn import Module
from tinygrad_opt.ops.shape import concatenate
from tinygrad_opt.optim import Adam, Optimizer, RMSProp
from tinygrad_opt.tensor import Tensor

DENSE = 32  # up to this many weights the Hessian is formed, column by column, and NumPy solves it
FAINT = 1e-8  # of the root of a second moment: a gradient that leaves it as it is


@dataclass(frozen=True, repr=False)
class Limits:
    """How curved a loss is, and the learning rate that this allows.

    Attributes:
        sharpness: the largest eigenvalue of the Hessian of the loss (of what the optimizer
            minimizes: with `l2`, ½ l2 |w|² is in it), over the weights that the optimizer moves.
            Largest in value, not in size: where the loss curves down more than up, power iteration
            would find a negative one, which limits no learning rate.
        smallest: the smallest eigenvalue, below 0 where the loss curves down; None if not asked.
        preconditioned: the sharpness as the steps meet it, where they are not equally long in all
            directions (groups with rates of their own, Adam, RMSProp): the largest eigenvalue of
            P⁻½ H P⁻½, P dividing the gradient. Otherwise the sharpness itself, but for Nesterov's
            look-ahead with `l2`, which is taken before it looks and so counts 1 / (1 + 2μ).
        method: which of `lab.theory.LIMITS` the rule obeys.
        mu: its momentum, β₁ for Adam.
        lr: the learning rate in use; of several groups, the largest.
        max_lr: the largest that is stable on a bowl of this curvature: the method's limit, divided
            by `preconditioned`. inf where the loss curves up nowhere. (Groups that have a smaller
            one than `lr` keep their proportion.)
        accuracy: how far the eigenvalues may be off, as a share of themselves.
        weights: how many there are.
        direction: float64 (weights,), the unit eigenvector of the sharpness, the tensors of the
            optimizer end to end. The next call may start from it.
    """

    sharpness: float
    smallest: float | None
    preconditioned: float
    method: str
    mu: float
    lr: float
    max_lr: float
    accuracy: float
    weights: int
    direction: np.ndarray = field(compare=False)

    @property
    def share(self) -> float:
        """lr / max_lr: above 1, the loss diverges or bounces to flatter ground."""
        return self.lr / self.max_lr

    def __repr__(self) -> str:
        over = f"{self.weights:,} weight{'s' * (self.weights > 1)}"
        lines = [f"Limits: sharpness {self.sharpness:.4g}, the largest curvature over {over}"]
        if self.smallest is not None:
            lines[0] += f"; the smallest is {self.smallest:.4g}"
        curvature = self.preconditioned
        if curvature != self.sharpness:
            lines.append(f"as the steps of this optimizer meet it: {curvature:.4g}")
        mu = f" at μ = {self.mu:g}" if self.mu else ""
        if math.isinf(self.max_lr):
            lines.append(f"{self.method}{mu}: nothing curves up here, so nothing limits lr")
        else:
            limit = theory.stability_limit(self.method, self.mu)
            lines.append(
                f"{self.method}{mu}: stable up to lr = {limit:.4g} / {curvature:.4g} = "
                f"{self.max_lr:.4g}; lr = {self.lr:g} is {100 * self.share:.3g} % of that"
            )
        return "\n".join(lines)


def limits(
    model: Any,
    loss: Callable[[], Tensor],
    optimizer: Optimizer,
    *,
    both_ends: bool = False,
    start: np.ndarray | None = None,
    accuracy: float | None = None,
) -> Limits:
    """The sharpness of the loss where the weights stand, and the learning rate that it allows.

    Nothing is changed: no weight, gradient, graph or slot, no buffer of the model, no draw from the
    library's generator. The model is measured in its mode. In training mode, Dropout draws one mask
    for all of it and BatchNorm1d uses the batch; `model.eval()` gives the network without them.

    A sharpness says what happens *here*, and of a bowl. A network above its limit need not
    diverge: it may bounce to flatter ground, where the limit is higher. Kinks (ReLU) have no
    curvature.

    Args:
        model: the Module that the optimizer trains (or the function, or None: then nothing in it
            can be put back).
        loss: takes nothing and gives the loss over *all* the data, a Tensor of one element; it does
            not walk backward.
        optimizer: SGD, Momentum, Nesterov, Adam or RMSProp. Groups may differ in lr and l2. Of Adam
            and RMSProp the second moment is held as it is now (Cohen and others 2022).
        both_ends: find the smallest eigenvalue too, for as much work again.
        start: a vector (weights,) to start from, such as the direction found a few steps ago.
        accuracy: of the eigenvalues, as a share of themselves, in (0, 1). By default the root of
            the dtype's ε: 1.5e-8 in float64, 3.5e-4 in float32, whose products are no more exact.

    Raises:
        ValueError: an optimizer whose limit is not decided by a curvature (Adam before its first
            step among them), or that holds nothing of the model or of the loss; transforms; groups
            that differ in μ, β or ε; a loss that has walked backward; a start of another length
            or without a direction.
        TypeError: a loss that is no function, or gives no Tensor of one element.
        FloatingPointError: a loss or a product that is NaN or infinite.
        ImportError: SciPy, the extra [lab], is not installed and there are more than 32 weights.
        RuntimeError: the method of Lanczos does not settle to this accuracy.
    """
    if not hasattr(optimizer, "groups"):
        raise TypeError(f"limits: an optimizer of tg.optim, not a {type(optimizer).__name__}")
    if not callable(loss):
        raise TypeError(f"limits: loss is a function without arguments, lambda: ..., not a "
                        f"{type(loss).__name__}")  # fmt: skip
    tensors = [t for group in optimizer.groups for t in group["params"]]
    if isinstance(model, Module) and not set(tensors) & set(model.parameters()):
        raise ValueError(
            f"limits: {type(optimizer).__name__} holds none of the parameters of this "
            f"{type(model).__name__}: make it from model.parameters()"
        )
    method, mu, rates, l2 = _as_theory_sees(optimizer)
    met = l2 / (1 + 2 * mu) if method == "Nesterov" and optimizer.form == "look_ahead" else l2
    if accuracy is None:
        accuracy = max(math.sqrt(np.finfo(t.dtype).eps) for t in tensors)
    if not isinstance(accuracy, (int, float, np.number)) or not 0 < accuracy < 1:
        raise ValueError(f"limits: accuracy is a share between 0 and 1, not {accuracy!r}")
    size = sum(t.size for t in tensors)
    if not size:
        name = type(optimizer).__name__
        raise ValueError(f"limits: {name} holds no weights: all tensors are empty")
    if start is not None:
        if np.asarray(start).dtype.kind not in "iuf":
            raise TypeError(f"limits: start is a vector of real numbers, not {start!r}")
        if np.shape(start) != (size,):
            raise ValueError(
                f"limits: start has shape {np.shape(start)}, and there are {size} weights"
            )
        if not 0 < np.linalg.norm(start) < np.inf:
            raise ValueError("limits: start is a vector of finite numbers, not all of them 0")
    with _undisturbed(model):
        product = _hessian(loss, tensors)

    def curved(v: np.ndarray, l2: Any = l2, stretch: Any = 1.0) -> np.ndarray:
        v = stretch * v
        return stretch * (product(v) + l2 * v)

    find = functools.partial(_largest, size=size, start=start, accuracy=accuracy)
    sharpness, direction = find(curved)
    smallest = 0.0 - find(lambda v: -curved(v))[0] if both_ends else None  # and never -0.0
    lr = max(group["lr"] for group in optimizer.values())
    stretches = np.sqrt(rates / (lr or 1.0))
    preconditioned = sharpness
    if (stretches != 1).any() or (met != l2).any():
        preconditioned, _ = find(lambda v: curved(v, met, stretches))
    limit = theory.stability_limit(method, mu)
    return Limits(
        sharpness, smallest, preconditioned, method, mu, lr,
        limit / preconditioned if preconditioned > 0 else math.inf, accuracy, size, direction,
    )  # fmt: skip


# ---- the optimizer -------------------------------------------------------------------------------


def _as_theory_sees(optimizer: Optimizer) -> tuple[str, float, np.ndarray, np.ndarray]:
    """Its method of `theory.LIMITS`, its μ, and for each weight its learning rate and l2."""
    name = type(optimizer).__name__
    adaptive = type(optimizer) in (Adam, RMSProp)
    if adaptive:
        method = "heavy ball, ema" if type(optimizer) is Adam else "heavy ball"
    else:
        try:
            method = theory.method_of(optimizer)
        except ValueError as error:
            raise ValueError(f"limits: {error}, and for Adam and RMSProp as they are") from None
    if optimizer.transforms:
        raise ValueError(
            f"limits: this {name} has transforms, {optimizer.transforms}: what they make of a "
            "gradient, no curvature decides. Measure with one without them"
        )
    groups = optimizer.values()
    if not any(group["lr"] for group in groups):  # nothing moves: as steps of one size would
        groups = [{**group, "lr": 1.0} for group in groups]
    for key in groups[0].keys() - {"lr", "l2"}:
        if len(found := {group[key] for group in groups}) > 1:
            raise ValueError(
                f"limits: the groups of this {name} have different {key} ({sorted(found)}), and so "
                "no limit in common: measure each with an optimizer of its own"
            )
    mu = groups[0].get("beta1" if type(optimizer) is Adam else "mu", 0.0)
    sizes = [sum(t.size for t in group["params"]) for group in optimizer.groups]
    rates, l2 = (np.repeat([group[key] for group in groups], sizes) for key in ("lr", "l2"))
    return method, mu, rates * _divided(optimizer) if adaptive else rates, l2


def _divided(optimizer: Optimizer) -> np.ndarray:
    """1 / P for each weight, P being what the rule divides a mean gradient by.

    The rule itself is asked: by how much does a gradient so faint that the second moment stays
    what it is move a weight?
    """
    if not optimizer.t:
        raise ValueError(
            f"limits: this {type(optimizer).__name__} has taken no step, so it does not know yet "
            "what to divide gradients by: call limits() after some training"
        )
    hyper = {**optimizer.values()[0], "lr": 1.0, "t": optimizer.t}
    decay = hyper["beta2"] if "beta2" in hyper else hyper["rho"]
    held = {"v": "v", "s": "s", "m": "m"} if type(optimizer) is RMSProp else {"v": "v"}
    state = optimizer.state_dict()["slots"]
    parts = []
    for name in (name for group in optimizer.groups for name in group["names"]):
        slots = {slot: x.astype("float64").ravel() for slot, x in state[name].items()}
        second = slots["v" if "v" in slots else "s"]
        g = FAINT * np.sqrt(second) + np.finfo("float32").tiny
        rule = optimizer.rule if optimizer.form is None else optimizer.rules[optimizer.form]
        before = [slots[s] / decay if s in held else 0 * second for s in rule.arrays[2:]]
        moved, *_ = rule(0 * second, g, *before, **{k: hyper[k] for k in rule.scalars})
        parts.append(-moved / g)
    return np.concatenate(parts) / (1 - hyper.get("beta1", 0.0))


# ---- the Hessian ---------------------------------------------------------------------------------


def _hessian(loss: Callable[[], Tensor], tensors: Sequence[Tensor]) -> Callable:
    """v ↦ H v, on float64 vectors of the host.

    The loss and its gradient are computed once, and recorded; each product is one walk. So what is
    drawn at random, a dropout mask say, is the same for all.
    """
    value = loss()
    if not isinstance(value, Tensor) or value.size != 1:
        what = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"limits: loss() gives the full-batch loss, one element, not {what}")
    if not math.isfinite(value.item()):
        raise FloatingPointError(f"limits: the loss is {value.item()}")
    if value.op is not None and value.inputs is None:
        raise ValueError("limits: loss() gives the loss alone, without a walk backward()")
    one = array_module(value.data).ones_like(value.data)
    reached = walk(value, one)[0] if value.requires_grad else {}
    if not reached.keys() & set(tensors):
        raise ValueError(
            "limits: the loss depends on none of the weights of this optimizer (or was computed "
            "inside no_grad())"
        )
    gradients = grad(value, list(tensors), create_graph=True)
    gradient = concatenate([g.reshape(-1) for g in gradients])

    def product(v: np.ndarray) -> np.ndarray:
        if not gradient.requires_grad:  # the loss is linear
            return np.zeros(len(v))
        home = backend.name_of(gradient.data)
        cotangent = backend.to(v.astype(gradient.dtype), home)
        found = [backend.host(x).ravel() for x in grad(gradient, list(tensors), cotangent)]
        result = np.concatenate(found).astype("float64", copy=False)
        if not np.isfinite(result).all():
            raise FloatingPointError("limits: the Hessian has NaN or infinite elements here")
        return result

    return product


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """What a forward pass may change besides its result, afterwards as it was: buffers, such as
    running means, and the generator."""
    inside = model._walk() if isinstance(model, Module) else ()
    buffers = [(t, t._data, t.numpy(), t.written)
               for _, t in inside if isinstance(t, Tensor) and not t.requires_grad]  # fmt: skip
    generator = backend.generator()
    drawn = generator.bit_generator.state
    try:
        yield
    finally:
        generator.bit_generator.state = drawn
        for t, data, values, written in buffers:
            data[...] = backend.to(values, backend.name_of(data))
            t._data, t.written = data, written


# ---- its largest eigenvalue ----------------------------------------------------------------------


def _largest(
    product: Callable, size: int, start: np.ndarray | None, accuracy: float
) -> tuple[float, np.ndarray]:
    """The eigenvalue that is largest in value, and its unit eigenvector."""
    if size <= DENSE:
        full = np.stack([product(unit) for unit in np.eye(size)])
        values, vectors = np.linalg.eigh(full)
        return float(values[-1]), vectors[:, -1]
    try:
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
    except ImportError as error:
        raise ImportError(
            f'limits: more than {DENSE} weights take SciPy: pip install "tinygrad-opt[lab]"'
        ) from error
    first = np.random.default_rng(0).standard_normal(size)
    first /= np.linalg.norm(first)
    if not product(first).any():  # a matrix of zeros, which ARPACK does not take
        return 0.0, first
    if start is not None:  # with a little of everything, should the top have changed places
        first = start / np.linalg.norm(start) + 0.01 * first
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    try:
        basis = 20 if start is None else 8  # vectors: from near the top, few are enough
        values, vectors = eigsh(operator, 1, which="LA", v0=first, ncv=basis, tol=accuracy)
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"limits: Lanczos did not settle to {accuracy:.1g} of the eigenvalue: ask for less, "
            "accuracy=1e-3 say"
        ) from error
    return float(values[0]), vectors[:, 0]
