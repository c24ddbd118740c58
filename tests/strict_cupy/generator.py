"""`cupy.random` with the few distributions that its Generator has (no normal, permutation, shuffle
or choice), and other numbers than NumPy's for the same seed.
"""

from typing import Any

import numpy as np

from strict_cupy import api, device
from strict_cupy.arrays import wrap


class Generator:
    def __init__(self, host_generator: np.random.Generator):
        self._host = host_generator


def default_rng(seed: Any = None) -> Generator:
    device.allocate()
    entropy = seed if seed is None else [0xC0FFEE, *np.atleast_1d(seed)]
    return Generator(np.random.default_rng(entropy))


def _distribution(name: str):
    def draw(self, *args, **kwargs):
        device.launch()
        return wrap(np.asarray(getattr(self._host, name)(*args, **kwargs)))

    return draw


for _name in api.SPACES["cupy.random.Generator"]:
    setattr(Generator, _name, _distribution(_name))
