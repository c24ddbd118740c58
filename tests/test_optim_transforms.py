"""Each gradient transform against its formula, on every backend, alone and over several parts.

The parts are made here as an optimizer makes them: parameters laid end to end, zeros in between.
"""

import dataclasses
import json
import math
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import strict_cupy
import torch

from tinygrad_opt.optim import transforms
from tinygrad_opt.optim.schedules import OnPlateau, cosine, exponential, inverse_time
from tinygrad_opt.optim.transforms import (
    L2,
    Centralize,
    ClipNorm,
    ClipValue,
    GaussianNoise,
    Transform,
    restored,
)

inf, nan = math.inf, math.nan
SHAPES = [(3, 4), (5,), (), (2, 3, 4), (0, 3), (65,)]
EXAMPLES = [
    GaussianNoise(0.1),
    GaussianNoise(0.1, mean=-0.2, decay=0.55, seed=3),
    GaussianNoise(cosine(0.1, 100)),
    ClipNorm(1.0),
    ClipNorm(exponential(5.0, 0.9)),
    ClipValue(0.5),
    L2(0.01),
    Centralize(),
]
every_example = pytest.mark.parametrize("transform", EXAMPLES, ids=repr)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@dataclasses.dataclass
class Part:
    """What an optimizer shows to its transforms, with a padding of up to seven elements."""

    w: Any
    g: Any
    xp: ModuleType
    shapes: list

    def views(self):
        found, start = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            cut = slice(start, start + size)
            found.append((self.w[cut].reshape(shape), self.g[cut].reshape(shape)))
            start += padded(size)
        return found


def padded(size):
    return -(-size // 8) * 8


def part(gradients, backend=None, weights=None, dtype="float64"):
    xp = np if backend is None else backend.xp
    size = sum(padded(np.size(g)) for g in gradients)
    made = Part(xp.zeros(size, dtype), xp.zeros(size, dtype), xp, [np.shape(g) for g in gradients])
    given = [np.ones_like(g) for g in gradients] if weights is None else weights
    for (w, g), old_w, old_g in zip(made.views(), given, gradients):
        w[...] = xp.asarray(np.asarray(old_w, dtype))
        g[...] = xp.asarray(np.asarray(old_g, dtype))
    return made


def host(array):
    return array if type(array) is np.ndarray else array.get()


def gradients_of(*parts):
    return [host(g).copy() for p in parts for _, g in p.views()]


def normals(shapes=SHAPES, seed=0, scale=1.0, dtype="float64"):
    draw = np.random.default_rng(seed)
    return [(scale * draw.standard_normal(shape)).astype(dtype) for shape in shapes]


# ---- what all promise ----------------------------------------------------------------------------


@every_example
def test_a_transform_edits_g_alone_keeps_its_dtype_and_leaves_the_padding_zero(
    transform, backend, dtype
):
    p = part(normals(), backend, normals(seed=1), dtype)
    w, g, before = host(p.w).copy(), p.g, gradients_of(p)
    transform([p], 3)
    assert p.g is g
    assert g.dtype == dtype
    np.testing.assert_array_equal(host(p.w), w)
    filled = part([np.ones(shape) for shape in SHAPES])
    np.testing.assert_array_equal(host(g)[filled.g == 0], 0)
    assert any((a != b).any() for a, b in zip(before, gradients_of(p)))  # and it did something


@every_example
def test_numpy_and_cupy_agree(transform, backend, dtype):
    """The noise bit for bit: it is drawn on the host for both."""
    here, there = part(normals(), None, None, dtype), part(normals(), backend, None, dtype)
    transform([here], 3)
    transform([there], 3)
    eps = 0 if isinstance(transform, GaussianNoise | ClipValue) else 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(host(there.g), here.g, rtol=eps, atol=eps)


@every_example
def test_nobody_waits_for_the_gpu(transform, standin):
    parts = [part(normals(), SimpleNamespace(xp=standin)) for _ in range(2)]
    with strict_cupy.no_sync():
        transform(parts, 3)


@every_example
def test_how_the_parameters_are_parted_does_not_matter(transform):
    gs, ws = normals(), normals(seed=1)
    together, apart = part(gs, None, ws), [part(gs[:2], None, ws[:2]), part(gs[2:], None, ws[2:])]
    transform([together], 3)
    transform(apart, 3)
    for a, b in zip(gradients_of(together), gradients_of(*apart)):
        np.testing.assert_allclose(a, b, rtol=1e-15)


@every_example
def test_no_parts_and_empty_parameters_are_no_trouble(transform, backend):
    transform([], 0)
    transform([part([np.zeros((0, 3))], backend)], 0)
    transform([part([np.zeros((0, 3))], backend), part(normals(), backend)], 0)


def test_the_base_does_nothing_by_itself():
    with pytest.raises(NotImplementedError):
        Transform()([], 0)


def test_a_transform_of_your_own_is_one_call():
    @dataclasses.dataclass
    class Scale(Transform):
        by: float

        def __call__(self, parts, t):
            (by,) = self.now(t)
            for p in parts:
                p.g[...] = by * p.g

    p = part([np.array([1.0, -3.0])])
    Scale(2.0)([p], 0)
    Scale(exponential(1.0, 0.5))([p], 1)
    np.testing.assert_array_equal(gradients_of(p), [[1.0, -3.0]])
    assert Scale(2.0).state() == {"transform": "Scale", "by": 2.0}


# ---- GaussianNoise -------------------------------------------------------------------------------


def noise(transform, t, shapes=((40_000,),), dtype="float64"):
    """The noise alone: what becomes of gradients of 0."""
    p = part([np.zeros(shape) for shape in shapes], None, None, dtype)
    transform([p], t)
    return gradients_of(p)


@pytest.mark.parametrize("t", [0, 1, 9, 1000])
@pytest.mark.parametrize("std, mean, decay", [(0.5, 0.0, 0.0), (2.0, -0.3, 0.55), (1.0, 3.0, 2.0)])
def test_the_noise_has_the_mean_and_std_that_neelakantan_wants(std, mean, decay, t, dtype):
    (drawn,) = noise(GaussianNoise(std, mean, decay), t, dtype=dtype)
    drawn = drawn.astype("float64")
    n, sigma = drawn.size, math.sqrt(std**2 / (1 + t) ** decay)
    assert abs(drawn.mean() - mean) < 4 * sigma / math.sqrt(n)
    assert abs(drawn.std(ddof=1) - sigma) < 4 * sigma / math.sqrt(2 * n)
    z = (drawn - mean) / sigma
    assert abs((z**3).mean()) < 4 * math.sqrt(6 / n)  # no skew,
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(24 / n)  # and the tails of a Gaussian


def test_the_decay_scales_the_same_draw_exactly():
    for t in (0, 1, 7, 500):
        (plain,), (decayed,) = noise(GaussianNoise(0.5), t), noise(GaussianNoise(0.5, 0, 0.55), t)
        np.testing.assert_allclose(decayed, plain / (1 + t) ** 0.275, rtol=1e-14)


def test_the_noise_is_added_and_rounded_once(backend, dtype):
    gs = normals(dtype=dtype)
    p, drawn = part(gs, backend, None, dtype), noise(GaussianNoise(0.1, 0.2), 5, SHAPES)
    GaussianNoise(0.1, 0.2)([p], 5)
    for got, g, n in zip(gradients_of(p), gs, drawn):
        np.testing.assert_array_equal(got, g + n.astype(dtype))


def test_the_noise_of_a_step_is_the_same_whenever_and_however_often_it_is_asked_for():
    transform = GaussianNoise(0.1, seed=4)
    first = [noise(transform, t)[0] for t in range(6)]
    np.random.default_rng().standard_normal(3)
    for t in (5, 0, 3, 3, 1):
        np.testing.assert_array_equal(noise(transform, t)[0], first[t])
        np.testing.assert_array_equal(noise(GaussianNoise(0.1, seed=4), t)[0], first[t])


def independent(a, b):
    return abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size)


def test_steps_seeds_and_parameters_have_noise_of_their_own():
    shapes = [(200, 100)] * 3
    drawn: list = []
    for seed in (0, 1, 2**40):
        for t in (0, 1, 2):
            drawn += noise(GaussianNoise(1.0, seed=seed), t, shapes)
    for n, a in enumerate(drawn):
        for b in drawn[:n]:
            assert independent(a, b)


def test_the_noise_is_not_that_of_others_who_use_the_same_seed():
    (drawn,) = noise(GaussianNoise(1.0, seed=7), 0, [(10_000,)])
    for others in (7, [7, 0], [7, 0, 0], np.random.SeedSequence(7, spawn_key=(0, 0))):
        assert independent(drawn, np.random.default_rng(others).standard_normal(10_000))


def test_a_parameters_noise_depends_on_its_place_and_not_on_the_others_sizes():
    _, a = noise(GaussianNoise(1.0), 2, [(3, 4), (5,)])
    _, b = noise(GaussianNoise(1.0), 2, [(30, 40), (5,)])
    np.testing.assert_array_equal(a, b)


def test_the_std_may_be_a_schedule():
    transform = GaussianNoise(inverse_time(0.5, rate=1.0), decay=0.0)
    for t in (0, 1, 4):
        (got,), (plain,) = noise(transform, t), noise(GaussianNoise(0.5), t)
        np.testing.assert_allclose(got, plain / (1 + t), rtol=1e-14)
    (shifted,) = noise(GaussianNoise(0.0, mean=lambda t: -1.5 * t), 2, [(7,)])
    np.testing.assert_array_equal(shifted, -3.0)


# ---- ClipNorm ------------------------------------------------------------------------------------


def norm_of(gs):
    return math.sqrt(math.fsum(float(x) ** 2 for g in gs for x in np.ravel(g)))


@pytest.mark.parametrize("limit", [0.1, 1.0, 5.0, 100.0])
def test_clip_norm_is_torchs_up_to_the_millionth_that_torch_adds(limit, backend, dtype):
    gs = normals(dtype=dtype)
    theirs = [torch.zeros(g.shape, dtype=getattr(torch, dtype)) for g in gs]
    for p, g in zip(theirs, gs):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(theirs, limit)
    parts = [part(gs[:3], backend, None, dtype), part(gs[3:], backend, None, dtype)]
    ClipNorm(limit)(parts, 0)
    eps = 1e-6 / norm_of(gs)
    for got, p in zip(gradients_of(*parts), theirs):
        np.testing.assert_allclose(got, p.grad.numpy(), rtol=eps + 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 7.0])
def test_clip_norm_is_the_papers_formula(limit, backend, dtype):
    gs = normals(dtype=dtype, scale=3.0)
    parts = [part(gs[:2], backend, None, dtype), part(gs[2:], backend, None, dtype)]
    ClipNorm(limit)(parts, 0)
    scale = min(1.0, limit / norm_of(gs))
    assert scale < 1
    for got, g in zip(gradients_of(*parts), gs):
        np.testing.assert_allclose(got, g * scale, rtol=2 * np.finfo(dtype).eps)
    assert norm_of(gradients_of(*parts)) == pytest.approx(limit, rel=4 * float(np.finfo(dtype).eps))


def test_below_the_limit_nothing_changes_and_at_ten_times_it_the_rest_is_a_tenth(backend, dtype):
    g = np.array([3.0, 4.0], dtype)
    for limit, wanted in [(5.0, g), (5.0001, g), (50.0, g), (0.5, g / 10)]:
        p = part([g], backend, None, dtype)
        ClipNorm(limit)([p], 0)
        rtol = 0 if wanted is g else 2 * np.finfo(dtype).eps
        np.testing.assert_allclose(gradients_of(p)[0], wanted, rtol=rtol)


def test_a_gradient_of_zero_stays_zero(backend, dtype):
    p = part([np.zeros(5), np.zeros((2, 2))], backend, None, dtype)
    ClipNorm(1.0)([p], 0)
    np.testing.assert_array_equal(host(p.g), 0)
    other = part([np.array([3.0, 4.0])], backend, None, dtype)
    ClipNorm(0.5)([p, other], 0)  # and keeps no other from being clipped
    np.testing.assert_array_equal(host(p.g), 0)
    np.testing.assert_allclose(gradients_of(other)[0], [0.3, 0.4], rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "dtype, size",
    [("float16", 3e4), ("float32", 3e38), ("float64", 1e200), ("float64", 9e307)],
)
def test_a_huge_gradient_is_clipped_and_not_lost(dtype, size, backend):
    """Its squares overflow; 1 / 3e38 is no normal float32."""
    gs = [np.array([size, -size / 2], dtype), np.array([[-size / 4]], dtype)]
    parts = [part([g], backend, None, dtype) for g in gs]
    ClipNorm(1.0)(parts, 0)
    wanted = np.array([1, -0.5, -0.25]) / math.sqrt(1 + 1 / 4 + 1 / 16)
    got = np.concatenate([g.ravel() for g in gradients_of(*parts)])
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype, size", [("float32", 1e-30), ("float64", 1e-200)])
def test_a_tiny_gradient_is_clipped_by_a_tinier_limit(dtype, size, backend):
    """Its squares are 0 to the machine."""
    p = part([np.array([size * 3, -size * 4], dtype)], backend, None, dtype)
    ClipNorm(size / 2)([p], 0)
    wanted = size * np.array([0.3, -0.4])
    np.testing.assert_allclose(gradients_of(p)[0], wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_gradient_that_is_not_finite_is_left_for_the_finite_check_to_name(bad, backend, dtype):
    """PyTorch makes NaN of every gradient, and so hides whose it was."""
    gs = [np.array([30.0, 40.0]), np.array([1.0, bad])]
    p, other = part(gs, backend, None, dtype), part([np.array([7.0])], backend, None, dtype)
    ClipNorm(1.0)([p, other], 0)
    for got, g in zip(gradients_of(p, other), [*gs, np.array([7.0])]):
        np.testing.assert_array_equal(got, g)


def test_one_norm_serves_parts_on_the_host_and_on_the_gpu(backend):
    gs = [np.array([3.0, 0.0]), np.array([4.0])]
    parts = [part(gs[:1]), part(gs[1:], backend)]
    ClipNorm(1.0)(parts, 0)
    for got, g in zip(gradients_of(*parts), gs):
        np.testing.assert_allclose(got, g / 5, rtol=1e-15)


def test_one_norm_serves_parts_of_several_dtypes(backend):
    gs = [np.array([3.0, 0.0]), np.array([4.0])]
    parts = [part(gs[:1], backend, None, "float32"), part(gs[1:], backend, None, "float64")]
    ClipNorm(1.0)(parts, 0)
    assert [str(p.g.dtype) for p in parts] == ["float32", "float64"]
    for got, g, eps in zip(gradients_of(*parts), gs, (1e-7, 1e-15)):
        np.testing.assert_allclose(got, g / 5, rtol=eps)


# ---- ClipValue, L2 -------------------------------------------------------------------------------


def test_clip_value_is_torchs(backend, dtype):
    gs = [*normals(dtype=dtype), np.array([inf, -inf, nan, 0.5, -0.5], dtype)]
    theirs = [torch.zeros(g.shape, dtype=getattr(torch, dtype)) for g in gs]
    for p, g in zip(theirs, gs):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    ours = part(gs, backend, None, dtype)
    ClipValue(0.5)([ours], 0)
    for got, p in zip(gradients_of(ours), theirs):
        np.testing.assert_array_equal(got, p.grad.numpy())


def test_a_limit_above_all_float32_is_no_limit_to_them(backend):
    p = part([np.array([3e38, -1.0])], backend, None, "float32")
    ClipValue(1e300)([p], 0)
    np.testing.assert_array_equal(gradients_of(p)[0], np.array([3e38, -1.0], "float32"))


def test_l2_adds_its_multiple_of_the_weights_in_every_part(backend, dtype):
    gs, ws = normals(dtype=dtype), normals(seed=1, dtype=dtype)
    parts = [part(gs[:2], backend, ws[:2], dtype), part(gs[2:], backend, ws[2:], dtype)]
    L2(0.25)(parts, 0)
    for got, g, w in zip(gradients_of(*parts), gs, ws):
        np.testing.assert_array_equal(got, g + w / 4)


# ---- Centralize ----------------------------------------------------------------------------------


def test_centralize_takes_each_outputs_mean_away_and_leaves_vectors_alone(backend, dtype):
    gs = normals([(30, 4), (5, 6, 7), (9,), ()], dtype=dtype)
    p = part(gs, backend, None, dtype)
    Centralize()([p], 0)
    matrix, cube, vector, scalar = gradients_of(p)
    eps = 8 * np.finfo(dtype).eps
    for n in range(4):  # column n belongs to output n of x @ weight
        wanted = gs[0][:, n] - math.fsum(gs[0][:, n]) / 30
        np.testing.assert_allclose(matrix[:, n], wanted, rtol=eps, atol=eps)
    for n in range(7):
        wanted = gs[1][:, :, n] - math.fsum(gs[1][:, :, n].ravel()) / 30
        np.testing.assert_allclose(cube[:, :, n], wanted, rtol=eps, atol=eps)
    np.testing.assert_array_equal(vector, gs[2])
    np.testing.assert_array_equal(scalar, gs[3])


def test_the_means_of_the_weights_of_an_output_stay_where_they_are_under_centralize():
    p = part(normals([(30, 4)]))
    Centralize()([p], 0)
    np.testing.assert_allclose((1.0 - 0.5 * gradients_of(p)[0]).mean(axis=0), 1.0, rtol=1e-15)


# ---- order ---------------------------------------------------------------------------------------


def test_in_order_means_that_what_comes_first_is_seen_by_the_next():
    one, other = part([np.array([0.3, -0.4])]), part([np.array([0.3, -0.4])])
    for transform in (L2(10.0), ClipNorm(1.0)):
        transform([one], 0)
    for transform in (ClipNorm(1.0), L2(10.0)):
        transform([other], 0)
    np.testing.assert_allclose(norm_of(gradients_of(one)), 1.0)
    np.testing.assert_array_equal(gradients_of(other)[0], [10.3, 9.6])


# ---- numbers: checked, changed, scheduled --------------------------------------------------------


@pytest.mark.parametrize(
    "make, names",
    [
        (lambda: GaussianNoise(-0.1), "GaussianNoise: std"),
        (lambda: GaussianNoise(nan), "GaussianNoise: std"),
        (lambda: GaussianNoise("0.1"), "GaussianNoise: std"),
        (lambda: GaussianNoise(0.1, inf), "GaussianNoise: mean"),
        (lambda: GaussianNoise(0.1, nan), "GaussianNoise: mean"),
        (lambda: GaussianNoise(0.1, 0, -1), "GaussianNoise: decay"),
        (lambda: GaussianNoise(0.1, seed=-1), "GaussianNoise: seed"),
        (lambda: GaussianNoise(0.1, seed=0.5), "GaussianNoise: seed"),
        (lambda: GaussianNoise(0.1, seed=True), "GaussianNoise: seed"),
        (lambda: ClipNorm(0), "ClipNorm: limit"),
        (lambda: ClipNorm(-1.0), "ClipNorm: limit"),
        (lambda: ClipNorm(nan), "ClipNorm: limit"),
        (lambda: ClipNorm(inf), "ClipNorm: limit"),
        (lambda: ClipNorm(None), "ClipNorm: limit"),
        (lambda: ClipValue(0.0), "ClipValue: limit"),
        (lambda: ClipValue(nan), "ClipValue: limit"),
        (lambda: L2(-0.1), "L2: l2"),
        (lambda: L2(True), "L2: l2"),
    ],
)
def test_a_wrong_argument_is_named_when_the_transform_is_made(make, names):
    with pytest.raises((TypeError, ValueError), match=names):
        make()


@pytest.mark.parametrize("bad", [nan, -1.0, inf, "1", None, True, np.ones(2), lambda t: abs])
@pytest.mark.parametrize(
    "transform, name",
    [
        (GaussianNoise(1.0), "std"),
        (GaussianNoise(1.0), "decay"),
        (ClipNorm(1.0), "limit"),
        (ClipValue(1.0), "limit"),
        (L2(1.0), "l2"),
    ],
)
def test_a_wrong_number_of_a_schedule_or_an_edit_is_named_with_nothing_changed(
    transform, name, bad
):
    p = part(normals())
    before = p.g.copy()
    for value in (bad, lambda t: bad):
        edited = dataclasses.replace(transform)
        setattr(edited, name, value)
        with pytest.raises((TypeError, ValueError), match=f"{type(edited).__name__}: {name}"):
            edited([p], 0)
        np.testing.assert_array_equal(p.g, before)


def test_an_attribute_may_be_changed_between_steps():
    p, transform = part([np.array([3.0, 4.0])]), ClipNorm(5.0)
    transform([p], 0)
    transform.limit = 0.5
    transform([p], 1)
    np.testing.assert_allclose(gradients_of(p)[0], [0.3, 0.4], rtol=1e-15)


@pytest.mark.parametrize("make, name", [(ClipNorm, "limit"), (ClipValue, "limit"), (L2, "l2")])
def test_every_number_may_be_a_schedule(make, name, dtype):
    """One that gives an np.float64 leaves float32 arithmetic what it is."""
    for schedule in (exponential(0.5, 0.6), lambda t: np.float64(0.5) * 0.6**t):
        one, other = (part(normals(), None, normals(seed=1), dtype) for _ in range(2))
        make(schedule)([one], 3)
        make(0.5 * 0.6**3)([other], 3)
        np.testing.assert_array_equal(one.g, other.g)


# ---- saved, restored, shown ----------------------------------------------------------------------


@every_example
def test_a_transform_goes_through_json_and_comes_back_equal(transform):
    back = restored(json.loads(json.dumps(transform.state(), allow_nan=False)))
    assert type(back) is type(transform)
    assert back == transform
    one, other = part(normals()), part(normals())
    transform([one], 3)
    back([other], 3)
    np.testing.assert_array_equal(one.g, other.g)


@every_example
def test_repr_is_the_call_that_makes_it(transform):
    names = vars(transforms) | {"cosine": cosine, "exponential": exponential}
    assert eval(repr(transform), names) == transform


def test_equality_is_by_kind_and_every_number():
    for n, one in enumerate(EXAMPLES):
        for m, other in enumerate(EXAMPLES):
            assert (one == other) is (n == m)
    assert ClipNorm(1) == ClipNorm(1.0)
    assert GaussianNoise(0.1, seed=1) != GaussianNoise(0.1)


def test_the_state_is_the_name_and_the_numbers():
    assert GaussianNoise(np.float32(0.5)).state() == {
        "transform": "GaussianNoise", "std": 0.5, "mean": 0.0, "decay": 0.0, "seed": 0
    }  # fmt: skip
    assert ClipNorm(cosine(1, 100)).state()["limit"] == cosine(1, 100).state()
    assert Centralize().state() == {"transform": "Centralize"}
    plateau = OnPlateau(0.1, patience=0)
    for _ in range(2):
        plateau.observe(1.0)
    assert restored(GaussianNoise(plateau).state()).std == plateau


@pytest.mark.parametrize(
    "state, says",
    [
        (None, "is a dict"),
        ({}, "no transform is called None"),
        ({"transform": "ClipNrom", "limit": 1.0}, "no transform is called 'ClipNrom'"),
        ({"transform": "Transform"}, "no transform is called"),
        ({"transform": ["L2"], "l2": 1.0}, "no transform is called"),
        ({"transform": "ClipNorm"}, "limit"),
        ({"transform": "ClipNorm", "limit": 1.0, "eps": 1e-6}, "eps"),
        ({"transform": "ClipNorm", "limit": "1"}, "ClipNorm: limit"),
        ({"transform": "ClipNorm", "limit": 10**400}, "too large"),
        ({"transform": "ClipNorm", "limit": 0}, "ClipNorm: limit"),
        ({"transform": "ClipNorm", "limit": {"schedule": "cosin"}}, "'cosin'"),
        (ClipNorm(lambda t: 1.0).state(), "<lambda> is your own function"),
    ],
)
def test_a_wrong_state_is_refused_and_says_why(state, says):
    with pytest.raises(ValueError, match=says):
        restored(state)
