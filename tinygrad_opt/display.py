"""How a tensor shows itself: with its values where they are few, else with what tells of them."""

from typing import Any

import numpy as np

from tinygrad_opt import backend

SMALL = 20  # up to this many values, all are shown


def shown(t: Any) -> str:
    """`Tensor([0.5, 1.0], requires_grad=True)`; of a large one the shape, dtype, mean, standard
    deviation and range. Waits for the GPU on CuPy."""
    x = t.data
    if x.size <= SMALL:
        listed = np.array2string(backend.host(x), separator=", ", prefix="Tensor(")
        facts = [listed] if x.size else [f"[], shape={x.shape}"]
    else:
        facts = [f"shape={x.shape}"]
    if x.dtype != backend.DEFAULT_FLOAT or x.size > SMALL:
        facts.append(f"dtype={x.dtype}")
    if x.size > SMALL and x.dtype.kind == "f":
        values = backend.host(x).astype("float64")
        with np.errstate(all="ignore"):
            mean, std, low, high = values.mean(), values.std(), values.min(), values.max()
        facts.append(f"mean={mean:.4g}, std={std:.4g}, range=[{low:.4g}, {high:.4g}]")
    elif x.size > SMALL:
        facts.append(f"range=[{x.min().item()}, {x.max().item()}]")
    if backend.name_of(x) != "numpy":
        facts.append(f"backend={backend.name_of(x)}")
    if t.op is not None:
        facts.append(f"op={t.op.__name__}")
    elif t.requires_grad:
        facts.append("requires_grad=True")
    return f"Tensor({', '.join(facts)})"
