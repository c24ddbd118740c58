"""Processes for work that goes side by side: one BLAS thread each, and none outlives its parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes. When the block ends by an error or an interrupt, they end too,
    also in the midst of their work."""
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    with _one_thread(), ProcessPoolExecutor(jobs, context, _begin) as pool:
        try:
            with _interrupts_wait():
                for _ in range(jobs):  # so they start now, deaf to Ctrl-C from the first moment
                    pool.submit(int)
            yield pool
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def mapping(jobs: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` that works in so many processes; for one, in this one."""
    if jobs == 1:
        yield map
        return
    with workers(jobs) as pool:
        yield pool.map


@contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS thread for the processes that start in here: they are as many as there are cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """What starts in here inherits that Ctrl-C is held back; here it comes at the end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Ctrl-C goes to the whole group of processes: it is the parent that ends its workers. And one
    whose parent was killed would wait for its next task for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
