"""Networks as plain Python objects: a module's tensors are its attributes, and its code is
`forward`.

    class Net(nn.Module):
        def __init__(self):
            self.hidden = nn.Linear(64, 32)
            self.scores = nn.Linear(32, 10)

        def forward(self, x):
            return self.scores(tg.relu(self.hidden(x)))
"""

from tinygrad_opt.nn.init import he_normal, he_uniform, xavier_normal, xavier_uniform
from tinygrad_opt.nn.layers import (
    GELU,
    MLP,
    BatchNorm1d,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from tinygrad_opt.nn.module import Module

__all__ = [
    "Module", "Linear", "Sequential", "MLP", "ReLU", "Tanh", "Sigmoid", "GELU", "Dropout",
    "LayerNorm", "BatchNorm1d", "Embedding", "xavier_uniform", "xavier_normal", "he_uniform",
    "he_normal",
]  # fmt: skip
