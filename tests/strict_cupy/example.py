"""The arrays that the tests of the stand-in calculate with, by the short names of their tables."""

import copy
import math
import operator
import pickle
from typing import Any

import numpy as np


def names_for(cp) -> dict[str, Any]:
    """n and ni are on the host; x, y, k (integers), i (indices) and s (0-d) are arrays of `cp`."""
    n = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    ni = np.array([0, 1, 1])
    return {
        "cp": cp, "np": np, "copy": copy, "math": math, "operator": operator, "pickle": pickle,
        "n": n, "ni": ni,
        "x": cp.asarray(n.copy()), "y": cp.asarray(n.copy()),
        "k": cp.asarray(np.arange(6).reshape(2, 3)), "i": cp.asarray(ni),
        "s": cp.asarray(np.float32(2)),
    }  # fmt: skip
