"""Every vector that an optimizer remembers is as long as all weights: four bytes more for each.

A network of two million weights under six optimizers. What each holds is asked of the optimizer,
and counted by tracemalloc, to which NumPy reports every array.

    python 14_what_an_optimizer_remembers.py
"""

import tracemalloc

import numpy as np

import tinygrad_opt as tg

tg.use("numpy")  # tracemalloc does not see the memory of a GPU

optimizers = {
    "SGD": lambda params: tg.optim.SGD(params, lr=0.1),
    "Momentum": lambda params: tg.optim.Momentum(params, lr=0.1),
    "RMSProp": tg.optim.RMSProp,
    "Adam": tg.optim.Adam,
    "AMSGrad": tg.optim.AMSGrad,
    "Adafactor": tg.optim.Adafactor,
}

print(f"{'':<11}{'says':>10}{'holds':>10}   bytes a weight, with weight and gradient")
for name, make in optimizers.items():
    tracemalloc.start()
    model = tg.nn.MLP([784, 1024, 1024, 256], activation="relu")
    weights = sum(t.size for t in model.parameters())
    optimizer = make(model.parameters())
    says = sum(optimizer.memory().values())
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)  # Python's objects left out
    found = tracemalloc.take_snapshot().filter_traces([arrays]).traces
    holds = sum(trace.size for trace in found) - 2 * 4 * weights  # less weights and gradients
    tracemalloc.stop()
    if name == "Adam":
        bytes_of_adam = holds / weights
    print(f"{name:<11}{says / 1e6:>7.2f} MB{holds / 1e6:>7.2f} MB   {8 + says / weights:.2f}")

print(f"\n{weights:,} weights in float32: {4 * weights / 1e6:.2f} MB, and so are the gradients")
for count in (10**7, 10**9, 7 * 10**9):
    print(f"{count:13,} weights: {8 * count / 1e9:g} GB, and with Adam "
          f"{(8 + bytes_of_adam) * count / 1e9:.3g} GB")  # fmt: skip

print("\nNesterov needs one vector more, but only while it looks ahead:")
w = tg.Tensor(np.zeros(1_000_000, "float32"), requires_grad=True)
optimizer = tg.optim.Nesterov([w], lr=0.1)
with optimizer.look_ahead():
    pass  # the first time, the rule makes itself a block to work in, which stays
tracemalloc.start()
with optimizer.look_ahead():
    inside, _ = tracemalloc.get_traced_memory()
after, _ = tracemalloc.get_traced_memory()
tracemalloc.stop()
print(f"inside look_ahead() {inside / 1e6:.1f} MB more, after it {after / 1e6:.1f} MB")
