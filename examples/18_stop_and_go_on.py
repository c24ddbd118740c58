"""A run that is stopped and goes on is the run that was not stopped, if nothing of it is forgotten.

The weights alone are not the run. Beside them there are the velocity and where the learning rate
stands on its way down, where in the data it was, and where the dropout's dice. A checkpoint holds
all of them, and here the run goes on without one after the other.

One part more may end further off than one fewer: a small difference grows from step to step, and
where it grows to is chance. "All parts" alone is special. The history, which the weights do not
depend on, is loaded each time, for the epochs that are to go are counted by it.

    python 18_stop_and_go_on.py
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import tinygrad_opt as tg

EPOCHS, STOP = 4, 47
(x, y), _ = tg.data.load_digits()
x, y = x[:600], y[:600]


def parts(seed=0):
    """A run that has not begun, by the names that a checkpoint has for its parts."""
    tg.manual_seed(seed)
    hidden = [tg.nn.Linear(64, 32), tg.nn.ReLU(), tg.nn.Dropout(0.2)]
    model = tg.nn.Sequential(*hidden, tg.nn.Linear(32, 10))
    rate = tg.optim.schedules.cosine(0.05, steps=76)
    optimizer = tg.optim.Momentum(model.named_parameters(), lr=rate, mu=0.9)
    batches = tg.data.Batches(x, y, batch_size=32, seed=1)  # 19 of them an epoch
    return {"model": model, "optimizer": optimizer, "batches": batches,
            "history": tg.train.History()}  # fmt: skip


def train(run, loss=tg.cross_entropy, **settings):
    """Go on until there have been EPOCHS epochs; the weights."""
    epochs = EPOCHS - len(run["history"].epochs)
    tg.train.fit(loss=loss, epochs=epochs, progress=False, **run, **settings)
    return np.concatenate([w.ravel() for w in run["model"].state_dict().values()])


whole = parts()
weights = train(whole)
print(f"Not stopped: loss {whole['history'].loss[-1]:.4f} in the last epoch\n")

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "run.ckpt"
run = parts()


def pull_the_plug(prediction, labels):
    if run["history"].steps == STOP:
        raise KeyboardInterrupt
    return tg.cross_entropy(prediction, labels)


try:
    train(run, pull_the_plug, checkpoint=path, every=10)
except KeyboardInterrupt:
    saved = parts()
    step = tg.checkpoint.load(path, **saved).step
    epoch, done = saved["batches"].position
    print(f"Stopped in step {STOP}. On disk is step {step}, {done} batches into epoch {epoch}\n")

print("Gone on with                                   weights at the end are off by")
for names in (
    ["model", "history"],
    ["model", "history", "optimizer"],
    ["model", "history", "optimizer", "batches"],
    ["model", "history", "optimizer", "batches", "random"],
):
    run = parts(seed=7)
    asked = {name: run[name] for name in names if name != "random"}
    tg.checkpoint.load(path, random="random" in names, **asked)
    off = np.abs(train(run) - weights).max()
    told = ", ".join(name for name in names if name != "history")
    print(f"  {told:<45}{off:.3g}{' (every bit is the same)' if off == 0 else ''}")

print("\nOne bit of the file turns over. The checkpoint before it is whole:")
data = bytearray(path.read_bytes())
data[len(data) // 2] ^= 1
path.write_bytes(data)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    run = parts(seed=7)
    tg.checkpoint.load(path, **run)
print(f"  {seen[0].message}")
print(f"  and from there the weights are off by {np.abs(train(run) - weights).max():.3g}")
folder.cleanup()
