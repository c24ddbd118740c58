"""A rule as one compiled loop on the CPU (by Numba, the extra `[fast]`), equal to the plain rule
bit for bit: so a run may change over from one to the other when that pays, and nobody can tell.

Compiling takes about a second, once: the result stays on disk. A short run should not pay for it,
and a long one should not do without. So each rule runs plainly, in blocks that fit the cache, until
that has taken as long as compiling would; this way a run takes at most twice what it would have
taken had it known its length (the "ski rental" of online algorithms; Karlin et al. 1988).
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np

from tinygrad_opt.optim.blocked import blockwise
from tinygrad_opt.optim.rule import Rule

SMALL = 16384  # elements up to which the author's own function is called, as it stands
PATIENCE = 0.6  # seconds: about what importing Numba and compiling one rule take
SHARE = 250_000  # elements a thread, at least: waking one takes as long as updating some 20,000
CHUNK = 131_072  # elements that a thread takes at a time, at least; none shares a cache line

_LOOP = '''\
"""Made by tinygrad_opt: the rule {name} as one loop over {dtype}. It may be deleted."""

import numba
import numpy as np

T = np.{dtype}
jit = numba.njit(error_model="numpy", nogil=True, cache=True)


@jit
def np_sqrt(x):
    return np.sqrt(x)


@jit
def np_abs(x):
    return abs(x)


@jit
def np_sign(x):
    return T(1) if x > T(0) else (T(-1) if x < T(0) else (T(0) if x == T(0) else x))


@jit
def np_square(x):
    return x * x


@jit
def np_maximum(a, b):
    return a if a > b or a != a else b


@jit
def np_minimum(a, b):
    return a if a < b or a != a else b


@jit
def np_where(condition, a, b):
    return a if condition else b


@jit
def np_not(condition):
    return not condition


@jit
def update({arguments}):
{body}
'''


def source(rule: Rule, dtype: np.dtype) -> str:
    """The module that Numba compiles: `update(start, stop, *arrays, *scalars)` over a part of the
    arrays, in place."""
    lowered = rule.lowered
    arrays, results = ([lowered.names[a] for a in names] for names in (rule.arrays, rule.results))
    arguments = ["_start", "_stop", *(f"_in_{a}" for a in arrays),
                 *(f"_double{n}" for n in range(lowered.count))]  # fmt: skip
    body = [f"    s{n} = T(_double{n})" for n in range(lowered.count)]
    # As slices, for of an index from 0 on the compiler knows that it is not negative, and only
    # then does it use the processor's vector instructions.
    body += [f"    _in_{a} = _in_{a}[_start:_stop]" for a in arrays]
    body += ["    for _i in range(_stop - _start):"]
    body += [f"        {a} = _in_{a}[_i]" for a in arrays]
    body += [f"        {name} = {text}" for name, text, _ in lowered.lines]
    body += [f"        _in_{r}[_i] = {r}" for r in results]
    return _LOOP.format(name=rule.name, dtype=dtype.name, arguments=", ".join(arguments),
                        body="\n".join(body))  # fmt: skip


# ---- compiling -----------------------------------------------------------------------------------


def available() -> bool:
    """Whether Numba is installed; it is not imported to find out."""
    return importlib.util.find_spec("numba") is not None


def folder() -> Path:
    """Where compiled rules are kept between runs: TINYGRAD_OPT_CACHE, or the user's cache."""
    if chosen := os.environ.get("TINYGRAD_OPT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    try:
        return Path(base).expanduser() / "tinygrad_opt"
    except RuntimeError:  # nobody's home, as in some containers
        return Path(tempfile.gettempdir()) / "tinygrad_opt"


def _path(text: str) -> Path:
    return folder() / f"rule_{hashlib.sha256(text.encode()).hexdigest()[:20]}.py"


def _module(text: str) -> ModuleType:
    """`text` as a module. Numba keeps on disk what comes from a file, so it is put into one, named
    after its content; where no file can be written, it is compiled for this process alone."""
    path = _path(text)
    try:
        if not path.exists() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "wb", dir=path.parent, suffix=".tmp", delete=False
            ) as file:
                file.write(text.encode())
            os.replace(file.name, path)  # another process sees all of it or nothing
    except OSError:
        return _module_of_this_process(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # Numba looks its functions up by their module's name
    spec.loader.exec_module(module)
    return module


def _module_of_this_process(text: str) -> ModuleType:
    module = ModuleType(_path(text).stem)
    exec(text.replace("cache=True", "cache=False"), module.__dict__)
    return module


def _remove(text: str) -> None:
    """Remove what was made of `text` before, as far as it can be."""
    path = _path(text)
    for file in (path, *path.parent.glob(f"__pycache__/{path.stem}*")):
        with contextlib.suppress(OSError):
            file.unlink()


class Loop:
    """One rule over the arrays of one dtype: plain until compiling pays, compiled from then on."""

    def __init__(self, rule: Rule, dtype: np.dtype):
        self.rule, self.dtype, self.spent = rule, dtype, 0.0
        self.update: Callable[..., None] = _not_compiled
        self.places = [rule.arrays.index(name) for name in rule.results]
        self.aliases = any(isinstance(line.expression, ast.Name) for line in rule.lines)
        # Numba knows no arithmetic of half precision on the CPU.
        self.compilable = rule.elementwise and dtype.itemsize > 2 and available()

    def __call__(self, arrays: Sequence[np.ndarray], scalars: dict[str, float],
                 hoisted: Sequence[float]) -> None:  # fmt: skip
        """Update the arrays in place. All have one length and lie densely in memory."""
        if self.update is _not_compiled and self.compilable and self.spent > PATIENCE:
            self._compile_if_possible()
        if self.update is not _not_compiled:
            self._compiled(arrays, hoisted)
            return
        start = time.perf_counter()
        if len(arrays[0]) <= SMALL:
            self._plain(arrays, scalars)
        else:
            self._blocks(arrays, hoisted)
        self.spent += time.perf_counter() - start

    def _compile_if_possible(self) -> None:
        try:
            self.compile()
        except Exception as error:  # a Numba that does not fit this NumPy, say
            self.compilable = False
            with contextlib.suppress(RuntimeWarning):  # as an error it would leave half an update
                warnings.warn(f"rule {self.rule.name} cannot be compiled and goes on without: "
                              f"{error!r}", RuntimeWarning, stacklevel=2)  # fmt: skip

    def compile(self) -> None:
        """Compile now, or load what an earlier run has compiled. RuntimeError without Numba."""
        if self.update is not _not_compiled:
            return
        if not self.compilable:
            why = ("it works on whole tensors" if not self.rule.elementwise else
                   f"Numba computes in float32 and float64, not in {self.dtype}"
                   if self.dtype.itemsize <= 2 else
                   'Numba is not installed: pip install "tinygrad-opt[fast]"')  # fmt: skip
            raise RuntimeError(f"rule {self.rule.name} cannot be compiled: {why}")
        text = source(self.rule, self.dtype)
        try:
            self.update = self._warm(_module(text))
        except Exception:  # what is on disk may be cut short, or the folder be nobody's to write to
            _remove(text)
            try:
                self.update = self._warm(_module(text))
            except Exception:
                self.update = self._warm(_module_of_this_process(text))

    def _warm(self, module: ModuleType) -> Callable[..., None]:
        nothing = np.zeros(0, self.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Numba's, on what this machine lacks for its cache
            module.update(0, 0, *[nothing] * len(self.rule.arrays),
                          *[kind() for kind in self.rule.lowered.types])  # fmt: skip
        return module.update

    def _plain(self, arrays: Sequence[np.ndarray], scalars: dict[str, float]) -> None:
        with np.errstate(all="ignore"):  # as silent as the compiled loop
            new = self.rule(*arrays, **scalars)
        # `before = w` returns the array that the new w is about to be written to.
        if self.aliases:
            new = tuple(x.copy() if any(x is a for a in arrays) else x for x in new)
        for place, value in zip(self.places, new):
            arrays[place][...] = value

    @functools.cached_property
    def _blocks(self) -> Callable[[Sequence[np.ndarray], Sequence[float]], None]:
        return blockwise(self.rule, self.dtype)

    def _compiled(self, arrays: Sequence[np.ndarray], hoisted: Sequence[float]) -> None:
        size = len(arrays[0])
        shares = size // SHARE
        helpers = min(threads(), shares) - 1 if shares > 1 else 0
        if helpers < 1:
            self.update(0, size, *arrays, *hoisted)
            return
        piece = max(CHUNK, size // (8 * helpers + 8) // 64 * 64)
        starts = iter(range(0, size, piece))

        def work() -> None:
            for start in starts:  # whoever is free takes the next: a core may be busy elsewhere
                self.update(start, min(start + piece, size), *arrays, *hoisted)

        waiting = [_pool().submit(work) for _ in range(helpers)]
        work()
        for share in waiting:
            if not share.cancel():  # it has begun
                share.result()


def _not_compiled(*arguments: object) -> None:
    raise NotImplementedError


_loops: dict[tuple[Rule, np.dtype], Loop] = {}


def loop(rule: Rule, dtype: np.dtype) -> Loop:
    """The loop of this rule and dtype: one for all optimizers that use the rule."""
    found = _loops.get((rule, dtype))
    if found is None:
        found = _loops[rule, dtype] = Loop(rule, dtype)
    return found


# ---- a few sleeping threads ----------------------------------------------------------------------
# Numba's own parallel loops leave threads spinning, and the matrix products after the update then
# share the cores with them: a step of 20 ms took 31. These threads sleep until they are called.

_executor: ThreadPoolExecutor | None = None


def threads() -> int:
    """How many threads an update of many weights uses: OMP_NUM_THREADS if it is set, else the
    cores that this process may use; at most 8, for memory is the limit soon after."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen):
        return min(int(chosen), 8)
    return min(_cores(), 8)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool() -> ThreadPoolExecutor:
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(7, thread_name_prefix="tinygrad_opt")
    return _executor


def _forget_threads() -> None:
    global _executor
    _executor = None


if hasattr(os, "register_at_fork"):  # a forked child has the pool but not its threads
    os.register_at_fork(after_in_child=_forget_threads)
