"""Forward passes of many batches: on a CPU several are at work at once, each on threads of its own.

Small operations do not keep all threads busy; passes side by side do, and take less time than one after the other on
all threads. What a pass gives depends on the threads that it has to itself: one, where there are no more than four.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from ..core.parallel import map_in_order

Job = TypeVar("Job")
Result = TypeVar("Result")

#: passes on a CPU that share out a batch, so that they need no more memory than one of all of it
_AT_ONCE = 4


def pass_size(batch_size: int, device: torch.device) -> int:
    """Samples of one forward pass, where no more than a batch may be at work at once."""
    return math.ceil(batch_size / _AT_ONCE) if device.type == "cpu" else batch_size


def passes(function: Callable[[Job], Result], jobs: Iterable[Job], device: torch.device) -> Iterator[Result]:
    """``function`` of each job, in their order, without gradients.

    Args:
        function: what a forward pass does, called from several threads at once.
        jobs: of :func:`pass_size` samples each.
        device: where the network is.

    Yields:
        Results; what a job raises is raised in its place, and those that have not begun are given up. Meanwhile this
        thread computes on one of torch's threads.
    """
    with _threads(device) as executor:
        yield from map_in_order(executor, partial(_without_gradients, function), jobs, ahead=_AT_ONCE)


def _without_gradients(function: Callable[[Job], Result], job: Job) -> Result:
    # which counts for one thread
    with torch.no_grad():
        return function(job)


@contextmanager
def _threads(device: torch.device) -> Iterator[Executor | None]:
    """Threads for one pass each, which share torch's threads of this one; None where one is all there is."""
    threads = torch.get_num_threads()
    workers = min(threads, _AT_ONCE) if device.type == "cpu" else 1
    if workers == 1:
        yield None
        return
    # what is set in a thread counts for all that begin later
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as executor:
            yield executor
    finally:
        torch.set_num_threads(threads)
