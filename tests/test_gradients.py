"""Every op against PyTorch: value and gradients of every sample, in every dtype, order, mask and
layout, under a random cotangent, on every backend.

The samples are lines of the table in op_cases/, the checks stand in op_cases/checks.py and
op_cases/manners.py. A case is one sample in one check; each test here runs all those of one op and
one kind. What is asked of the suite itself stands in test_planted_vjps.py.
"""

import itertools

import numpy as np
import pytest
from op_cases import EVERY, SAMPLES
from op_cases.checks import cases, compare_each, failures, here
from op_cases.manners import MANNERS
from op_cases.reference import reference, second_reference

import tinygrad_opt as tg

DESIGN = """
    exp log log1p expm1 sqrt square abs sign sin cos tanh sigmoid relu leaky_relu elu gelu silu
    softplus maximum minimum where clip sum mean prod var std max min argmax logsumexp norm cumsum
    matmul einsum reshape transpose swapaxes expand_dims squeeze broadcast_to concatenate stack
    split flip roll pad getitem take take_along_axis softmax log_softmax cross_entropy
    bce_with_logits mse_loss huber_loss hinge_loss layer_norm dropout embedding add subtract
    multiply divide negative power
""".split()
DIFFERENTIABLE = [op for op in SAMPLES if any(s.checks for s in SAMPLES[op])]
OTHERS = [op for op in SAMPLES if op not in DIFFERENTIABLE]
OF_EACH_OP = ("float64", "float32", "float16", "second order", "second order, float32", "jacobian",
              "used twice")  # fmt: skip
OF_TWO_ARGUMENTS = ("mask", "second order, mask", "same tensor", "mixed dtypes")


def every_case() -> dict[str, list[tuple]]:
    """The cases of each kind, without those whose result or gradient has no element."""
    return {
        kind: [
            (sample, check, arguments)
            for op in DIFFERENTIABLE
            for sample, check, arguments in cases(op, kind)
            if reference(sample, "float64").value.size
            and all(sample.inputs[n].size for n in sample.floats)
        ]
        for kind in EVERY
    }


# ---- the matrix is whole -------------------------------------------------------------------------


def test_every_op_has_samples_and_every_op_of_the_design_is_there():
    assert set(DESIGN) <= set(tg.OPS), set(DESIGN) - set(tg.OPS)
    assert set(SAMPLES) == set(tg.OPS)
    assert set(DESIGN) - set(DIFFERENTIABLE) == {"argmax"}


def test_the_matrix_has_thirty_thousand_different_cases(record_property):
    """Of which more than the 5,000 that were the aim stay without the layouts, the masks and the
    shape pairs of the binary ops."""
    every = every_case()
    for kind, found in every.items():
        record_property(kind, len(found))
    all_of_them = [(kind, *case) for kind, found in every.items() for case in found]
    assert len({(k, str(s), c, a) for k, s, c, a in all_of_them}) == len(all_of_them) >= 30_000
    few = [s for kind, s, *_ in all_of_them if kind not in ("layout", "mask") and not s.many]
    assert len(few) >= 5_000


@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_no_op_is_left_out_of_a_kind_of_check(op):
    wanted = list(OF_EACH_OP)
    if any(len(s.floats) > 1 for s in SAMPLES[op]):
        wanted += OF_TWO_ARGUMENTS
        if op in ("linear", "hinge_loss"):  # shapes that differ; a margin of 1, the kink
            wanted.remove("same tensor")
    missing = [kind for kind in wanted if not any(cases(op, kind))]
    assert not missing, f"{op} has no case of {missing}"


# ---- the matrix ----------------------------------------------------------------------------------

OPS_AND_KINDS = [
    (op, kind) for op, kind in itertools.product(DIFFERENTIABLE, EVERY) if any(cases(op, kind))
]


def said(wrong: list[str]) -> str:
    return f"{len(wrong)} wrong:\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize(("op", "kind"), OPS_AND_KINDS)
def test_values_and_gradients_are_those_of_torch(backend, op, kind):
    """On a GPU, where every op is a launch, second orders and masks do without the shape pairs of
    the binary ops."""
    wrong = list(failures(op, (kind,), briefly=backend.name != "numpy"))
    assert not wrong, said(wrong)


@pytest.mark.parametrize("manner", ["memory", "recording", "edges"])
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_memory_and_recording_are_as_promised(backend, op, manner):
    for sample in SAMPLES[op]:
        if sample.checks and (backend.name == "numpy" or not sample.many):
            MANNERS[manner](sample)


@pytest.mark.parametrize("manner", ["each VJP", "repetition"])
@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_dtypes_and_bits_are_as_promised(op, manner):
    """On NumPy: the tests' own walk is written for it, and a GPU adds up what meets at one index
    in any order."""
    for sample in SAMPLES[op]:
        if sample.checks:
            MANNERS[manner](sample)


@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_the_hessian_vector_product_is_that_of_torch(backend, op):
    for sample in SAMPLES[op]:
        if "second order, mask" not in sample.checks or "second order" not in sample.checks:
            continue
        there = reference(sample, "float64")
        second = second_reference(sample, "float64", tuple(sample.floats))
        inputs, weights = [here(x) for x in there.inputs], here(there.cotangent)
        xs = [tg.Tensor(inputs[n], requires_grad=True) for n in sample.floats]

        def weighted_sum(*xs, sample=sample, inputs=inputs, weights=weights):
            floats = iter(xs)
            args = [next(floats) if n in sample.floats else x for n, x in enumerate(inputs)]
            return (sample.ours(*args) * weights).sum()

        found = tg.hvp(weighted_sum, xs, [here(v) for v in second.directions])
        leaves = dict(zip(sample.floats, xs, strict=True))
        compare_each(sample, leaves, found, second.gradients[:-1], "Hessian-vector product")


@pytest.mark.parametrize("op", OTHERS)
def test_ops_without_a_derivative_have_the_value_of_torch_and_no_graph(backend, op):
    for sample in SAMPLES[op]:
        xs = [tg.Tensor(x, requires_grad=True) for x in sample.inputs]
        y = sample.ours(*xs)
        theirs = reference(sample, "float64").value
        assert not y.requires_grad and y.op is None
        assert y.dtype == theirs.dtype and np.array_equal(backend.host(y.data), theirs), sample
        raw = sample.ours(*map(backend.array, sample.inputs))
        assert tg.backend.name_of(raw) == backend.name
        assert np.array_equal(tg.backend.host(raw), theirs), sample
