"""A training step and its twin in PyTorch, for the benchmarks that measure one beside the other:
the same lines over the same weights."""

import numpy as np


def step_of(model, criterion, optimizer, x, y):
    """A training step, ours or PyTorch's: forward, loss, backward, update. It returns the loss."""

    def step():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def twin(model):
    """PyTorch's copy of a `tg.nn.MLP` with relu, on the CPU: the same layers and weights."""
    import torch  # not everywhere, and only here
    from torch import nn

    layers = []
    for layer in model.layers:
        copy = nn.Linear(*layer.weight.shape)
        copy.weight.data = torch.tensor(np.ascontiguousarray(layer.weight.numpy().T))
        copy.bias.data = torch.tensor(layer.bias.numpy())
        layers += [copy, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def check_same_work(ours, theirs):
    """AssertionError if the losses of the first three steps differ: the one is not the other."""
    for n in range(3):
        a, b = ours().item(), theirs().item()
        assert abs(a - b) < 1e-4 * abs(b), f"not the same work: losses {a} and {b} in step {n}"
