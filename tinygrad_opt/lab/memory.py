"""What an optimizer remembers of a weight, it remembers of every weight: so many vectors as long as
all of them, counted here in the bytes that are really held.

Every optimizer of the library is made for ten million weights and takes a few steps. What it holds
is told twice: by `optimizer.memory()`, and by Python's tracemalloc, to which NumPy reports every
array that it makes.
"""

import contextlib
import gc
import math
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_opt import backend, optim
from tinygrad_opt.data.checks import whole
from tinygrad_opt.lab import theory
from tinygrad_opt.lab.claims import Claim, Experiment, Finding
from tinygrad_opt.optim import blocked, compiled
from tinygrad_opt.optim.flat import ALIGN
from tinygrad_opt.optim.tensorwise import TensorOptimizer
from tinygrad_opt.tensor import Tensor

FLOAT = 4  # bytes of a float32
MB = 1e6
SMALL = 0.1  # of a vector: what a step may take for a while, whose rule goes block by block

# Who is measured, under the names of `theory.VECTORS`; L-BFGS, whose memory depends on its
# setting, and Adafactor, whose memory depends on the shape, join them in `_makers`.
MAKERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "Momentum": lambda params: optim.Momentum(params, lr=0.1),
    "Nesterov": lambda params: optim.Nesterov(params, lr=0.1),
    "Adagrad": optim.Adagrad,
    "RMSProp": optim.RMSProp,
    "RMSProp, centred, μ=0.9": lambda params: optim.RMSProp(params, centered=True, mu=0.9),
    "Adadelta": optim.Adadelta,
    "Rprop": optim.Rprop,
    "Adam": optim.Adam,
    "AMSGrad": optim.AMSGrad,
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
    "NAdam": optim.NAdam,
    "RAdam": optim.RAdam,
    "Lion": optim.Lion,
    "ASGD": optim.ASGD,
    "ScheduleFree": lambda params: optim.ScheduleFree(params, lr=0.1),
    "ScheduleFree, AdamW": lambda params: optim.ScheduleFree(params, lr=0.1, form="adamw"),
    "LARS": lambda params: optim.LARS(params, lr=0.1),
    "LAMB": optim.LAMB,
    "Muon": optim.Muon,
    "SAM around SGD": lambda params: optim.SAM(optim.SGD(params, lr=0.1)),
    "Lookahead around SGD": lambda params: optim.Lookahead(optim.SGD(params, lr=0.1)),
}


@dataclass
class Held:
    """What one optimizer holds, in bytes of all weights together.

    Attributes:
        name: as in `theory.VECTORS`.
        remembers: what its vectors are, in words.
        vectors: how many of them its paper needs, in vectors as long as the weights.
        base: the weights and their gradients, by tracemalloc.
        held: what is there besides after a few steps, by tracemalloc.
        told: the same by `optimizer.memory()`.
        temporary: the most that the last of these steps took on top, for a moment.
        whole_tensors: its rule sees whole tensors, and computes all before it writes any.
    """

    name: str
    remembers: tuple[str, ...]
    vectors: float
    base: int
    held: int
    told: int
    temporary: int
    whole_tensors: bool


@dataclass
class MemoryFinding(Finding):
    """What optimizers hold.

    Attributes:
        weights: how many there are, float32.
        held: by name, in the order of the library.
        for_a_while: bytes by the occasions of `theory.FOR_A_WHILE`.
    """

    weights: int
    held: dict[str, Held]
    for_a_while: dict[str, int]


def memory(
    matrices: int = 625, rows: int = 64, columns: int = 250, pairs: int = 2, seed: int = 0
) -> MemoryFinding:
    """Make every optimizer for the same weights, one after the other, and see what it holds.

    Args:
        matrices, rows, columns: the weights, float32: by default ten million. rows · columns is a
            multiple of 64, for the library starts each parameter at one.
        pairs: how many L-BFGS remembers, 1 or more (its default is 100).
        seed: of the gradients.

    Raises:
        ValueError: a number out of its range.
    """
    matrices = whole("memory: matrices", matrices, least=1)
    rows, columns = (whole(f"memory: {name}", n, least=1)
                     for name, n in (("rows", rows), ("columns", columns)))  # fmt: skip
    if rows * columns % ALIGN:
        raise ValueError(f"memory: rows · columns is a multiple of {ALIGN}, not {rows * columns}")
    pairs = whole("memory: pairs", pairs, least=1)
    seed = whole("memory: seed", seed)
    draws = np.random.default_rng([seed, 0x6D656D])
    slope = draws.standard_normal((rows, columns), dtype="float32")
    held = {}
    with backend.use("numpy"), _tracing():
        for name, (make, remembers, vectors, steps) in _makers(rows, columns, pairs).items():
            found = measure(make, matrices, slope, steps)
            held[name] = Held(name, remembers, vectors, *found)
        for_a_while = _for_a_while(matrices, slope)
    weights = matrices * rows * columns
    return MemoryFinding(_claims(weights, held, for_a_while), weights, held, for_a_while)


def _makers(
    rows: int, columns: int, pairs: int
) -> dict[str, tuple[Callable[[Any], Any], tuple[str, ...], float, int]]:
    """By name: how it is made, what it remembers, in how many vectors, after how many steps."""
    found: dict = {name: (make, theory.VECTORS[name], len(theory.VECTORS[name]), 1)
                   for name, make in MAKERS.items()}  # fmt: skip
    found["Adafactor"] = (optim.Adafactor, ("mean squares of rows and columns",),
                          theory.adafactor_vectors(rows, columns), 1)  # fmt: skip

    def lbfgs(params: Any) -> Any:
        return optim.LBFGS(params, max_iter=1, history_size=pairs)

    found[f"L-BFGS, {pairs} pairs"] = (
        lbfgs, ("steps", "changes of gradient"),
        theory.lbfgs_vectors(pairs), pairs + 2,
    )  # fmt: skip
    return found


# ---- measuring -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    """Python and NumPy report what they allocate, in here; and no rule is compiled, for what a
    compiler allocates would drown the rest."""
    already, patience = tracemalloc.is_tracing(), compiled.PATIENCE
    if not already:
        tracemalloc.start()
    compiled.PATIENCE = math.inf
    try:
        yield
    finally:
        compiled.PATIENCE = patience
        if not already:
            tracemalloc.stop()


def _arrays() -> int:
    """Bytes of all arrays made while tracing and still there, without the blocks that a rule works
    in: they belong to no optimizer, all that run the rule share them."""
    return sum(
        trace.size for trace in tracemalloc.take_snapshot().traces
        if trace.domain == np.lib.tracemalloc_domain
        and trace.traceback[-1].filename != blocked.__file__
    )  # fmt: skip


def _weights(matrices: int, slope: np.ndarray) -> list[Tensor]:
    return [Tensor(np.full_like(slope, 0.01), requires_grad=True) for _ in range(matrices)]


def _closure(tensors: list[Tensor], slope: np.ndarray) -> Callable[[], Tensor]:
    """The gradients of Σ ½ |w|² + slope · w, written where the optimizer keeps gradients. (A graph
    would take memory of its own, and it is not its memory that is asked for.)"""

    def closure() -> Tensor:
        for t in tensors:
            t.grad = t.data + slope
        return Tensor(0.0)

    return closure


def measure(
    make: Callable[[Any], Any], matrices: int, slope: np.ndarray, steps: int = 1
) -> tuple[int, int, int, int, bool]:
    """Make an optimizer, take a few steps and count; call it while tracing.

    Returns:
        The last five attributes of `Held`: base, held, told, temporary and whole_tensors.
    """
    gc.collect()  # wrappers and what they wrap know each other: freed when somebody looks
    before = _arrays()
    tensors = _weights(matrices, slope)
    closure = _closure(tensors, slope)
    closure()  # each weight has its gradient, also before there is an optimizer
    base = _arrays() - before
    optimizer = make(tensors)
    for _ in range(steps):
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        optimizer.step(closure)
        temporary = tracemalloc.get_traced_memory()[1] - start
    held, told = _arrays() - before - base, sum(optimizer.memory().values())
    own = optimizer
    while not isinstance(own, optim.Optimizer):
        own = own.optimizer
    return base, held, told, temporary, isinstance(own, TensorOptimizer)


def _for_a_while(matrices: int, slope: np.ndarray) -> dict[str, int]:
    """What is held in the midst of something, beyond what was held before it."""
    looks, uphill, evaluated, changed = theory.FOR_A_WHILE
    found = {}

    tensors = _weights(matrices, slope)
    nesterov = optim.Nesterov(tensors, lr=0.1)
    before = _arrays()
    with nesterov.look_ahead():
        found[looks] = _arrays() - before
    del nesterov

    tensors = _weights(matrices, slope)
    sam = optim.SAM(optim.SGD(tensors, lr=0.1))
    gradients, seen = _closure(tensors, slope), []

    def closure() -> Tensor:
        seen.append(_arrays())
        return gradients()

    sam.step(closure)
    found[uphill] = seen[1] - seen[0]
    del sam

    tensors = _weights(matrices, slope)
    free = optim.ScheduleFree(tensors, lr=0.1)
    free.step(_closure(tensors, slope))
    before = _arrays()
    free.eval()
    found[evaluated] = _arrays() - before
    del free

    tensors = _weights(matrices, slope)
    clipped = optim.SGD(tensors, lr=0.1, transforms=[optim.ClipNorm(1.0)])
    before = _arrays()
    clipped.step(_closure(tensors, slope))
    found[changed] = _arrays() - before
    return found


# ---- the claims ----------------------------------------------------------------------------------


def _claims(
    weights: int, held: dict[str, Held], for_a_while: dict[str, int]
) -> list[Claim]:
    vector = theory.held_bytes(1, weights, FLOAT)

    def claim(what: str, vectors: float, found: float, within: float = 0.001) -> Claim:
        """`within` is a share of a vector."""
        return Claim(what, theory.held_bytes(vectors, weights, FLOAT) / MB, found / MB,
                     within * vector / MB, relative=False, unit="MB")  # fmt: skip

    base = [each.base for each in held.values()]
    claims = [claim(f"{weights:,} weights and gradients", 2, max(base, key=lambda b: abs(
        b - 2 * vector)))]  # fmt: skip
    claims += [claim(f"{each.name} remembers", each.vectors, each.held) for each in held.values()]
    claims += [claim(f"more: {occasion}", vectors, for_a_while[occasion])
               for occasion, vectors in theory.FOR_A_WHILE.items()]  # fmt: skip
    apart = max(abs(each.held - each.told) for each in held.values())
    claims.append(claim("memory() minus what was traced, the largest difference", 0, apart))
    blockwise = [each for each in held.values()
                 if not each.whole_tensors and each.name in MAKERS
                 and each.name not in ("Nesterov", "SAM around SGD")]  # fmt: skip
    most = max(blockwise, key=lambda each: each.temporary)
    small = f"below {SMALL:.0%} of a vector"
    claims.append(Claim(
        f"the most that a step of the {len(blockwise)} elementwise ones takes on top", small,
        small if most.temporary < SMALL * vector
        else f"{most.temporary / vector:.1%} of a vector ({most.name})",
    ))  # fmt: skip
    claims += [
        claim(f"a step of {each.name}, which sees whole tensors, takes on top",
              theory.rewritten_vectors(each.vectors), each.temporary, within=0.05)
        for each in held.values() if each.whole_tensors
    ]  # fmt: skip
    return claims


EXPERIMENT = Experiment(
    key="memory",
    title="What an optimizer remembers",
    note="Since we need to calculate the momentum for every parameters of the network(could be 10 "
    "millions or so), it surely is not a Memory Efficient(GPU) technique.",
    formula="bytes = 4 · weights · (2 + vectors), vectors 0 for SGD, 1 for momentum, 2 for Adam",
    run=memory,
)
