"""Forward passes side by side: in order, on threads of their own, and given up when one fails or nobody asks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from alos2tut.networks.passes import pass_size, passes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads_of_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def torch_threads_of_another() -> int:
    with ThreadPoolExecutor(1) as another:
        return another.submit(torch.get_num_threads).result()


@pytest.mark.parametrize(("threads", "workers", "of_each"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (9, 4, 2)])
def test_passes_share_the_threads_and_come_in_order(threads, workers, of_each):
    torch.set_num_threads(threads)
    together = threading.Barrier(workers, timeout=20)

    def function(job):
        if job < workers:
            together.wait()  # as many are at work at once
        return job, threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()

    found = list(passes(function, range(50), CPU))
    assert [job for job, *_ in found] == list(range(50))
    assert len({thread for _, thread, _, _ in found}) == workers
    assert {(of, grad) for _, _, of, grad in found} == {(of_each, False)}
    assert torch.get_num_threads() == torch_threads_of_another() == threads
    assert torch.is_grad_enabled()


def test_what_fails_or_is_not_asked_for_ends_the_rest():
    torch.set_num_threads(2)
    begun, alive = [], set(threading.enumerate())

    def failing(job):
        begun.append(job)
        if job == 3:
            raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        list(passes(failing, range(100), CPU))
    assert len(begun) < 20 and torch.get_num_threads() == torch_threads_of_another() == 2
    asked = passes(lambda job: job, range(100), CPU)
    assert next(asked) == 0
    asked.close()
    assert torch.get_num_threads() == torch_threads_of_another() == 2
    assert set(threading.enumerate()) <= alive


def test_a_thread_keeps_to_its_share_whatever_is_set_meanwhile():
    torch.set_num_threads(2)
    begun, is_set = threading.Event(), threading.Event()

    def function(job):
        begun.set()
        is_set.wait(20)
        torch.zeros(1000, 1000).exp()  # which is parallel work
        return torch.get_num_threads()

    def set_meanwhile():
        begun.wait(20)
        torch.set_num_threads(2)
        is_set.set()

    with ThreadPoolExecutor(1) as other:
        other.submit(set_meanwhile)
        assert list(passes(function, range(4), CPU)) == [1] * 4


def test_passes_of_a_cpu_share_out_a_batch():
    assert [pass_size(batch, CPU) for batch in (1, 3, 4, 8, 10)] == [1, 1, 1, 2, 3]
    assert pass_size(8, torch.device("cuda")) == 8
