"""Processes for work that goes side by side: one BLAS thread each, and none outlives its parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes. When the block ends by an error or an interrupt, they end too,
    also in the midst of their work; and so they do when this process is killed."""
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    gate, (ear, line) = context.Semaphore(0), context.Pipe(duplex=False)
    with ear, line, ProcessPoolExecutor(jobs, context, _begin, (ear, gate)) as pool:
        try:
            with _one_thread(), _interrupts_wait():
                for _ in range(jobs):  # one starts for each task, as long as none is idle
                    pool.submit(int)
            for _ in range(jobs):
                gate.release()
            yield pool
        except BaseException:
            line.close()
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
    """What starts in here inherits that Ctrl-C is held back, until it is deaf to it by itself; here
    it comes at the end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(ear: Connection, gate: Any) -> None:
    """In a worker: it ends with the line to its parent, and works when all others have started.

    Ctrl-C goes to the whole group of processes, of which the parent alone answers it. Nothing is
    ever said on the line: it breaks, when the parent hangs up or is no more.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:
        wait([ear])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    gate.acquire()
