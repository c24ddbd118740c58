"""One rule, four ways to run it on raw bits: the author's function, NumPy calls in blocks, the loop
that Numba compiles, and the CUDA kernel's source on the stand-in; and the life of a compiled loop.
"""

import functools
import math
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import strict_cupy

import tinygrad_opt as tg
from tinygrad_opt.optim import ClipValue, Momentum, Optimizer, blocked, compiled, cuda
from tinygrad_opt.optim.fused import chained
from tinygrad_opt.optim.running import coupled
from tinygrad_opt.optim.wrappers import SAM, Lookahead

numba = pytest.importorskip("numba")

RULES = {rule.name: rule for cls in vars(tg.optim).values()
         if isinstance(cls, type) and issubclass(cls, Optimizer) and cls.elementwise
         for rule in (*cls.rules.values(), vars(cls).get("rule")) if rule is not None}  # fmt: skip
RULES |= {rule.name: rule for rule in (
    coupled, tg.optim.Nesterov.ahead, tg.optim.ScheduleFree.average, Lookahead.rule, SAM.rule,
    ClipValue.rule,
)}  # fmt: skip
SCALARS = {
    "lr": 0.0123, "mu": 0.9, "l2": 0.03, "t": 5, "eps": 1e-8, "beta": 0.9, "beta1": 0.9,
    "beta2": 0.999, "weight_decay": 0.01, "rho": 0.95, "psi": 0.004, "P": 0.7, "alpha": 0.75,
    "lambd": 1e-4, "t0": 1.0, "up": 1.2, "down": 0.5, "smallest": 1e-6, "largest": 50.0,
    "lr_decay": 0.1, "lr_max": 0.011, "beta_old": 0.8, "weight_sum": 3e-4, "norm": 1.7,
    "limit": 0.8, "limit_2": 0.3, "l2_2": 0.07,
}  # fmt: skip
# Small ones take the author's function, the others blocks, whose buffers have 32,768 elements.
SIZES = [1, 2, 7, 63, 64, 65, 1000, 16384, 16385, 32768 + 1, 100_003]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled loops go to a folder of this run, never to the user's."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_OPT_CACHE", str(folder))
        yield folder


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A cache of one test's own, and no loop that another has left."""
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "_loops", {})
    return tmp_path


def awkward(size, dtype, seed):
    """Numbers of all sizes, and every fifth one of those at which implementations part."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(size) * 10.0 ** draw.choice([0, 0, 0, -20, 20, -42], size)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0]
    with np.errstate(over="ignore", under="ignore"):
        return np.where(draw.random(size) < 0.2, draw.choice(special, size), x).astype(dtype)


def assert_same_bits(got, wanted, what):
    assert got.dtype == wanted.dtype, what
    bits = f"u{got.dtype.itemsize}"
    same = (got.view(bits) == wanted.view(bits)) | (np.isnan(got) & np.isnan(wanted))
    assert same.all(), (what, np.flatnonzero(~same)[:3], got[~same][:3], wanted[~same][:3])


def plainly(rule, arrays, scalars):
    """The author's function on the whole arrays: what all others are measured against."""
    with np.errstate(all="ignore"):
        new = rule(*[a.copy() for a in arrays], **scalars)
    return {name: np.asarray(x) for name, x in zip(rule.results, new)}


def by_kernel(cupy, rule, arrays, scalars, hoisted):
    there = [cupy.asarray(a) for a in arrays]
    cuda.launch(rule, there, hoisted)
    for a, b in zip(arrays, there):
        a[...] = cupy.asnumpy(b)


def on_the_standin(*given):
    with strict_cupy.installed() as cupy:
        by_kernel(cupy, *given)


def check(rule, dtype, sizes, numbers=awkward, **ways):
    scalars = {s: SCALARS[s] for s in rule.scalars}
    hoisted, _ = rule.lowered.host(**scalars)
    for size in sizes:
        arrays = [numbers(size, dtype, seed) for seed in range(len(rule.arrays))]
        wanted = plainly(rule, arrays, scalars)
        for way, run in ways.items():
            got = [a.copy() for a in arrays]
            run(got, scalars, hoisted)
            for a, old, new in zip(rule.arrays, arrays, got):
                assert_same_bits(new, wanted.get(a, old), (way, size, a))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_same_bits_in_every_reading_at_every_size(name, dtype, monkeypatch):
    monkeypatch.setattr(compiled, "PATIENCE", math.inf)  # at first, it stays as it is
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rule, loop = RULES[name], compiled.Loop(RULES[name], np.dtype(dtype))
    loop.compile()
    blocks = blocked.blockwise(rule, np.dtype(dtype))
    check(rule, dtype, SIZES, compiled=loop, blocks=lambda a, _, h: blocks(a, h),
          at_first=compiled.Loop(rule, np.dtype(dtype)),
          cuda=functools.partial(on_the_standin, rule))  # fmt: skip


def without_subnormals(size, dtype, seed):
    """Awkward numbers, but none so small that a product of two is: CuPy makes 0 of those."""
    x = awkward(size, dtype, seed)
    with np.errstate(invalid="ignore"):
        return np.where(abs(x) < 1e-9, 0, x)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_s_kernel_gives_the_same_bits_on_a_gpu(name, dtype, real_cupy):
    kernel = functools.partial(by_kernel, real_cupy, RULES[name])
    check(RULES[name], dtype, [1, 65, 100_003], without_subnormals, kernel=kernel)


@pytest.mark.parametrize("name", [n for n, r in RULES.items() if {"g", "lr"} <= {*r.names}])
def test_every_rule_with_l2_before_it_does_too(name, monkeypatch):
    """The loop's text is run by Python here: that Numba does what it says is tested above."""
    monkeypatch.setattr(compiled, "PATIENCE", math.inf)
    rule, space = RULES[name].after(coupled), {}
    exec(compiled.source(rule, np.dtype("float32")).replace("@jit\n", ""), space)

    def by_python(arrays, scalars, hoisted):
        with np.errstate(all="ignore"):
            space["update"](0, len(arrays[0]), *arrays, *hoisted)

    loop = compiled.Loop(rule, np.dtype("float32"))
    check(rule, "float32", [1, 65, 300], text=by_python, at_first=loop)
    check(rule, "float32", [40_000], at_first=loop)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["Momentum.classical", "Adam.paper", "Rprop.rule", "SGD.rule"])
def test_so_does_a_rule_with_transforms_before_it(name, dtype, monkeypatch):
    monkeypatch.setattr(compiled, "PATIENCE", math.inf)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    transforms = (ClipValue.rule, coupled, ClipValue.rule)
    rule, _ = chained(transforms, RULES[name].after(coupled))
    assert {"limit", "l2_2", "limit_2", "l2"} <= set(rule.scalars)
    loop = compiled.Loop(rule, np.dtype(dtype))
    loop.compile()
    blocks = blocked.blockwise(rule, np.dtype(dtype))
    check(rule, dtype, [1, 65, 16385, 100_003], compiled=loop, blocks=lambda a, _, h: blocks(a, h),
          at_first=compiled.Loop(rule, np.dtype(dtype)),
          cuda=functools.partial(on_the_standin, rule))  # fmt: skip


def test_every_elementwise_rule_of_the_package_is_among_them():
    assert len(RULES) >= 30
    assert {"Adam.paper", "RMSProp.centered_momentum_inside", "Rprop.rule", "ScheduleFree.adamw",
            "Lion.rule", "Nesterov.shifted", "coupled", "ClipValue.rule"} <= set(RULES)  # fmt: skip
    needed = {s for rule in RULES.values() for s in rule.scalars}
    assert needed <= set(SCALARS)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_large_vector_split_among_threads_gives_the_same_bits(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    rule, size = tg.optim.Adam.rule, 1_000_003
    scalars = {s: SCALARS[s] for s in rule.scalars}
    arrays = [awkward(size, "float32", seed) for seed in range(4)]
    wanted, ran = plainly(rule, arrays, scalars), set()
    loop = compiled.Loop(rule, np.dtype("float32"))
    loop.compile()
    update, two, arrived = loop.update, threading.Event(), set()

    def noted(start, stop, *rest):
        ran.add((threading.get_ident(), start, stop))
        arrived.add(threading.get_ident())
        if len(arrived) > 1:
            two.set()
        two.wait(30)  # else one might have done all before another woke up
        update(start, stop, *rest)

    loop.update = noted
    loop(arrays, scalars, rule.lowered.host(**scalars)[0])
    for name, new in wanted.items():
        assert_same_bits(arrays[rule.arrays.index(name)], new, name)
    bounds = sorted((start, stop) for _, start, stop in ran)
    assert len(bounds) == -(-size // compiled.CHUNK)
    assert (bounds[0][0], bounds[-1][1]) == (0, size)
    assert all(a[1] == b[0] for a, b in zip(bounds, bounds[1:]))  # each element once
    assert len({ident for ident, *_ in ran}) > 1


def test_ints_and_conditions_among_the_scalars_do_not_compile_the_loop_a_second_time(alone):
    rule = tg.optim.RAdam.rule
    loop = compiled.Loop(rule, np.dtype("float32"))
    loop.compile()
    for t in (1, 2, 50):
        scalars = {s: SCALARS[s] for s in rule.scalars} | {"t": t, "lr": 1}
        loop([np.ones(8, "float32") for _ in rule.arrays], scalars,
             rule.lowered.host(**scalars)[0])  # fmt: skip
    assert len(loop.update.signatures) == 1


# ---- the life of a loop --------------------------------------------------------------------------


def ran(steps, *, size=20_000, make=Momentum, watching=lambda n: None, **keywords):
    """Weights and slots after some steps on fixed gradients."""
    w = tg.Tensor(np.linspace(-1, 1, size, dtype="float32"), requires_grad=True)
    optimizer = make([w], lr=0.1, **keywords)
    for n in range(steps):
        w.grad = np.cos(np.arange(size, dtype="float32") * (n + 1))
        optimizer.step()
        watching(n)
    return w.numpy(), optimizer.state_dict()["slots"]["0"]


def test_a_run_changes_over_to_the_compiled_loop_and_nobody_can_tell(alone, monkeypatch):
    def is_compiled():
        return [loop.update is not compiled._not_compiled for loop in compiled._loops.values()]

    monkeypatch.setattr(compiled, "PATIENCE", math.inf)
    wanted = ran(6, make=tg.optim.Adam)
    assert is_compiled() == [False]
    monkeypatch.setattr(compiled, "_loops", {})
    monkeypatch.setattr(compiled, "PATIENCE", 0.0)
    seen = []
    got = ran(6, make=tg.optim.Adam, watching=lambda n: seen.append(is_compiled()))
    assert seen == [[False], *[[True]] * 5]
    assert_same_bits(got[0], wanted[0], "w")
    for slot in wanted[1]:
        assert_same_bits(got[1][slot], wanted[1][slot], slot)


def test_without_numba_rules_run_all_the_same_and_compile_names_the_extra(alone, monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: False)
    monkeypatch.setattr(compiled, "PATIENCE", 0.0)
    w, _ = ran(3)
    assert np.isfinite(w).all()
    optimizer = Momentum([tg.Tensor(np.ones(3), requires_grad=True)], lr=0.1)
    with pytest.raises(RuntimeError, match=r'Momentum.*pip install "tinygrad-opt\[fast\]"'):
        optimizer.compile()


def test_a_numba_that_does_not_work_is_reported_once_and_the_run_goes_on(alone, monkeypatch):
    def broken(self):
        raise ImportError("Numba needs NumPy 1.99 or less")

    wanted, _ = ran(4)
    monkeypatch.setattr(compiled, "_loops", {})
    monkeypatch.setattr(compiled, "PATIENCE", 0.0)
    monkeypatch.setattr(compiled.Loop, "compile", broken)
    with pytest.warns(RuntimeWarning, match="goes on without: .*NumPy 1.99") as caught:
        got, _ = ran(4)
    assert len(caught) == 1
    np.testing.assert_array_equal(got, wanted)
    monkeypatch.setattr(compiled, "_loops", {})
    ran(4)  # where warnings are errors (here), it is no error in the midst of an update either


def test_what_cannot_be_compiled_says_why():
    half = tg.Tensor(np.ones(3, "float16"), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"SGD\.rule cannot be compiled: .* not in float16"):
        tg.optim.SGD([half], lr=0.1).compile()
    matrix = tg.Tensor(np.ones((3, 3)), requires_grad=True)
    with pytest.raises(RuntimeError, match="Muon works on whole tensors"):
        tg.optim.Muon([matrix], lr=0.1).compile()
    with pytest.raises(TypeError, match=r"rule LAMB\.rule works on whole tensors"):
        tg.optim.LAMB.rule.lowered
    loop = compiled.Loop(tg.optim.LAMB.rule, np.dtype("float64"))
    with pytest.raises(RuntimeError, match="it works on whole tensors"):
        loop.compile()


def test_half_precision_runs_plainly(alone, monkeypatch):
    monkeypatch.setattr(compiled, "PATIENCE", 0.0)
    w = tg.Tensor(np.ones(40_000, "float16"), requires_grad=True)
    optimizer = Momentum([w], lr=0.5, mu=0.5)
    for _ in range(3):
        w.grad = np.full(40_000, 0.25, "float16")
        optimizer.step()
    assert w.dtype == "float16"
    assert (w.numpy() == w.numpy()[0]).all()


def test_eps_of_zero_neither_warns_nor_lets_the_padding_reach_a_weight(alone, monkeypatch):
    """0 / 0 stands between the parameters then; what reads whole vectors must not see it."""

    def run(patience, eps=0.0, **keywords):
        monkeypatch.setattr(compiled, "_loops", {})
        monkeypatch.setattr(compiled, "PATIENCE", patience)
        ws = [tg.Tensor(np.full(n, 1.5), requires_grad=True) for n in (3, 65, 1)]
        optimizer = tg.optim.Adam(ws, lr=0.1, eps=eps, **keywords)
        for _ in range(4):
            for w in ws:
                w.grad = np.linspace(0.5, 1.0, w.size)
            optimizer.step()
        return np.concatenate([w.numpy() for w in ws])

    plain = run(math.inf)
    assert_same_bits(run(math.inf, 1e-300), plain, "an ε that is lost in all but 0 / 0")
    assert_same_bits(run(0.0), plain, "compiled")
    transforms = [tg.optim.L2(0.1), tg.optim.ClipNorm(0.5)]
    clipped = run(math.inf, transforms=transforms, l2=0.01)
    same = run(math.inf, 1e-300, transforms=transforms, l2=0.01)
    assert_same_bits(clipped, same, "an ε that is lost, clipped")
    assert_same_bits(run(0.0, transforms=transforms, l2=0.01), clipped, "compiled, clipped")


@pytest.mark.parametrize("way", ["plain", "compiled"])
@pytest.mark.parametrize("make", [tg.optim.Adam, tg.optim.Rprop, Momentum])
def test_no_temporary_is_larger_than_a_block(alone, monkeypatch, make, way):
    monkeypatch.setattr(compiled, "PATIENCE", math.inf)
    size = 4_000_000
    w = tg.Tensor(np.ones(size, "float32"), requires_grad=True)
    optimizer = make([w], lr=0.1)
    w.grad = np.ones(size, "float32")
    if way == "compiled":
        optimizer.compile()
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * blocked.BLOCK * 4  # a few blocks; the vector itself has 16 MB


# ---- what stays on disk --------------------------------------------------------------------------

SCRIPT = """
import hashlib, sys
import numpy as np
import tinygrad_opt as tg
from tinygrad_opt.optim import compiled
w = tg.Tensor(np.linspace(-1, 1, 1000, dtype="float32"), requires_grad=True)
optimizer = tg.optim.Momentum([w], lr=0.1).compile()
for n in range(3):
    w.grad = np.cos(np.arange(1000, dtype="float32") * n)
    optimizer.step()
(loop,) = compiled._loops.values()
stats = getattr(loop.update, "stats", None)
print(hashlib.sha256(w.numpy()).hexdigest(), sum(stats.cache_hits.values()))
"""


def start(folder):
    environment = {**os.environ, "TINYGRAD_OPT_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-W", "error", "-c", SCRIPT], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def finished(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result, hits = out.split()
    return result, int(hits)


def test_two_processes_at_once_do_not_clash_and_a_third_loads_what_they_compiled(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    (first, _), (second, _) = map(finished, both)
    third, hits = finished(start(tmp_path))
    assert first == second == third
    assert hits == 1
    names = sorted(p.suffix for p in tmp_path.rglob("*") if p.is_file())
    assert ".tmp" not in names
    assert names.count(".py") == 1


def fresh_loop():
    """A loop that has to look at what is on disk, as in a new process."""
    loop = compiled.Loop(tg.optim.SGD.rule, np.dtype("float64"))
    sys.modules.pop(compiled._path(compiled.source(loop.rule, loop.dtype)).stem, None)
    loop.compile()
    w = np.array([1.0, 2.0])
    loop([w, np.array([0.5, 0.5])], {"lr": 0.1}, (0.1,))
    np.testing.assert_array_equal(w, [1.0 - 0.1 * 0.5, 2.0 - 0.1 * 0.5])
    return sum(loop.update.stats.cache_hits.values())


@pytest.mark.parametrize("suffix", [".py", ".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" + b])
def test_a_damaged_file_in_the_cache_is_made_anew(alone, suffix, damage):
    assert fresh_loop() == 0
    assert fresh_loop() == 1
    for path in alone.rglob(f"*{suffix}"):
        path.write_bytes(damage(path.read_bytes()))
    fresh_loop()
    assert fresh_loop() == 1  # and what is there now is good


def test_a_cache_that_nobody_can_write_to_is_done_without(alone, monkeypatch):
    (alone / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", str(alone / "file" / "deeper"))
    assert fresh_loop() == 0
    assert [p.name for p in alone.iterdir()] == ["file"]


def test_the_cache_is_where_the_environment_says_else_where_the_user_keeps_caches(monkeypatch):
    monkeypatch.setenv("TINYGRAD_OPT_CACHE", "/somewhere")
    assert str(compiled.folder()) == "/somewhere"
    monkeypatch.delenv("TINYGRAD_OPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setattr(sys, "platform", "linux")
    assert str(compiled.folder()) == "/caches/tinygrad_opt"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_threads_work_in_the_child_too(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    size = 2 * compiled.SHARE
    wanted = ran(2, size=size, watching=lambda n: compiled.loop(
        Momentum.rule, np.dtype("float32")).compile())[0]  # fmt: skip
    assert compiled._executor is not None
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            ok = np.array_equal(ran(2, size=size)[0], wanted)
            os.write(writer, b"1" if ok else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    os.waitpid(child, 0)
