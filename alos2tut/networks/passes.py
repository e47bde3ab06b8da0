"""Forward passes of many batches: on a CPU several are at work at once, each on threads of its own.

Small operations do not keep all threads busy; passes side by side do, and take less time than one after the other on
all threads. What a pass gives depends on the threads that it has to itself: one, where there are fewer than eight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TypeVar

import torch

from ..core.parallel import map_in_order

Job = TypeVar("Job")
Result = TypeVar("Result")

#: passes on a CPU that share out a batch, so that they need hardly more memory than one of all of it
_AT_ONCE = 4


def pass_size(batch_size: int, device: torch.device) -> int:
    """Samples of one forward pass, at least one, where about a batch may be at work at once."""
    return math.ceil(batch_size / _AT_ONCE) if device.type == "cpu" else batch_size


def passes(
    function: Callable[[Job], Result], jobs: Iterable[Job], device: torch.device, *, side_by_side: bool = True
) -> Iterator[Result]:
    """``function`` of each job, in their order, without gradients.

    Args:
        function: what a forward pass does. Contexts of the caller, as of mixed precision, are not those of its threads.
        jobs: of :func:`pass_size` samples each.
        device: where the network is.
        side_by_side: call it from several threads at once; else in this one.

    Yields:
        Results; what a job raises is raised in its place, and those that have not begun are given up. Meanwhile this
        thread computes on one of torch's threads.
    """
    with _threads(device) if side_by_side else nullcontext() as executor:
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
        with ThreadPoolExecutor(workers, initializer=_take, initargs=(threads // workers,)) as executor:
            yield executor
    finally:
        torch.set_num_threads(threads)


def _take(threads: int) -> None:
    """Let a thread compute on so many of torch's."""
    # a thread takes the number that any thread set last when it first asks, or computes: not after it was set here
    torch.get_num_threads()
    torch.set_num_threads(threads)
