"""Work on many things at once, on any executor, with results in order and few of them waiting."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_order(
    executor: Executor | None, function: Callable[[Job], Result], jobs: Iterable[Job], *, ahead: int = 8
) -> Iterator[Result]:
    """``function`` of each job, in the order of the jobs.

    Args:
        executor: who does the work (of the standard library, Dask or MPI); None: this thread.
        function: of one job; for executors of other processes both must be picklable.
        jobs: taken one by one, only as they are needed.
        ahead: jobs that are handed over before the result of the first is waited for.

    Yields:
        Results; what a job raises is raised in its place, and jobs that have not begun are given up.
    """
    if executor is None:
        yield from map(function, jobs)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(executor.submit(function, job))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def process_pool(workers: int) -> Iterator[Executor | None]:
    """Processes of our own that end with the block; None, which means this thread, for a single worker.

    They are started afresh rather than forked: readers work with threads, which do not survive a fork.
    """
    if workers <= 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
