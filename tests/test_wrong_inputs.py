"""What a user is told for a wrong input: the op, the shapes or dtypes and the cure, before any
state has changed. These are the tests of refusals.py and arguments.py.

The mistakes and the messages stand in tests/wrong_inputs. After each, the tensors involved, the
graph that was there before, the switch, the modes and the random stream are as they were, on every
backend.
"""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from wrong_inputs import WRONG

import tinygrad_opt as tg
from tinygrad_opt import Tensor, autograd
from tinygrad_opt import backend as switch

# What only the author of the code would understand, or what belongs to a library below.
JARGON = re.compile(
    r"\b_[a-z]\w*|lifted|<locals>|<lambda>|ufunc|remapped|tuple index out of range|at 0x|vjp"
    r"|has no attribute '(ndim|shape|dtype|size)'|object is not (iterable|subscriptable)"
)


def some_tensors():
    rng = np.random.default_rng(0)
    shape_of = {"x": (2, 3), "y": (4, 5), "v": (3,), "s": (), "c": (2, 3, 4), "e": (0, 3),
                "z": (4, 3), "p": (4,), "q": (4, 1), "fresh": (2,)}  # fmt: skip
    w = SimpleNamespace()
    for name, shape in shape_of.items():
        t = Tensor(np.asarray(rng.standard_normal(shape), "float32"), requires_grad=True)
        t.grad = switch.asarray(np.asarray(rng.standard_normal(shape), "float32"))
        setattr(w, name, t)
    w.i, w.b = Tensor(np.arange(6).reshape(2, 3)), Tensor([True, False])
    w.u = Tensor(np.array([1, 200], "uint8"))
    return w


def state(w):
    tensors = {
        name: (t.dtype, t.shape, t.requires_grad, t.data.tobytes(),
               None if t.grad is None else t.grad.tobytes())
        for name, t in vars(w).items() if name != "fresh"
    }  # fmt: skip
    modes = switch.current(), autograd.is_recording(), switch.generator().bit_generator.state
    return tensors, modes


def check_refused(f, error, message):
    """AssertionError unless the mistake is refused in these words and nothing else has happened."""
    tg.manual_seed(0)
    w = some_tensors()
    leaves = [t for t in vars(w).values() if t.requires_grad and t is not w.fresh]
    graph = sum((t * t).sum() for t in leaves)
    before = state(w)
    with pytest.raises(error, match=message) as caught:
        f(w)
    assert not JARGON.search(str(caught.value)), f"jargon: {caught.value}"
    assert state(w) == before
    graph.backward()  # no refused edit counts as one


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("f", "error", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_is_refused_in_plain_words_and_changes_nothing(f, error, message):
    check_refused(f, error, message)


def test_the_table_is_long_and_covers_every_op():
    assert len(WRONG) >= 250
    source = " ".join(message for _, _, message in WRONG.values())
    # The rest take one argument, elementwise: they share the fate of exp.
    alike = """abs cos erf expm1 flatten log log1p logical_not logsigmoid negative relu sigmoid sign
    silu sin softplus sqrt square tanh astype to greater_equal less_equal logical_or""".split()
    assert [op for op in tg.OPS if op not in source and op not in alike] == []
