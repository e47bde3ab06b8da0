"""Jobs on executors: results in order, few in flight, nothing started in vain."""

import operator
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from alos2tut.parallel import cores, in_order, process_pool


@pytest.mark.parametrize("workers", [None, 1, 4])
def test_results_come_in_the_order_of_the_jobs(workers):
    def slow_first(job: int) -> int:
        time.sleep(0.02 if job == 0 else 0)
        return job * job

    executor = None if workers is None else ThreadPoolExecutor(workers)
    assert list(in_order(executor, slow_first, range(30))) == [job * job for job in range(30)]


def test_jobs_are_taken_only_as_they_are_needed():
    taken = []

    def jobs():
        for job in range(100):
            taken.append(job)
            yield job

    with ThreadPoolExecutor(2) as executor:
        results = in_order(executor, operator.neg, jobs(), ahead=3)
        assert next(results) == 0 and len(taken) == 4
        assert next(results) == -1 and len(taken) == 5


@pytest.mark.parametrize("pooled", [False, True])
def test_an_error_comes_in_its_place_and_the_rest_is_given_up(pooled):
    started, may_go_on = [], threading.Event()

    def work(job: int) -> int:
        started.append(job)
        if job == 2:
            raise ValueError("two")
        if job > 2:
            may_go_on.wait(5)
        return job

    executor = ThreadPoolExecutor(1) if pooled else None
    results = in_order(executor, work, range(50), ahead=8)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    may_go_on.set()
    if executor:
        executor.shutdown()
    assert len(started) <= 4


def test_anything_that_submits_is_an_executor():
    class Immediate:
        def submit(self, function, job):
            future = Future()
            future.set_result(function(job))
            return future

    assert list(in_order(Immediate(), operator.neg, [1, 2])) == [-1, -2]


def test_one_worker_is_this_process_and_several_are_others():
    with process_pool(1) as alone:
        assert alone is None
    with process_pool(2) as pool:
        assert list(in_order(pool, operator.neg, [1, 2, 3])) == [-1, -2, -3]
    assert cores() >= 1
