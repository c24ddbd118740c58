"""Processes for work that goes side by side: one BLAS thread each, and none outlives its parent."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes. What has not begun when the block ends, by an error or an
    interrupt, is dropped."""
    context = multiprocessing.get_context("spawn")  # threads and fork do not go together
    with _one_thread(), ProcessPoolExecutor(jobs, context, _end_with_parent) as pool:
        try:
            yield pool
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


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
