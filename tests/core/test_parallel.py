"""Jobs on executors: results in order, few in flight, nothing started in vain."""

import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alos2tut import Alos2TutError
from alos2tut.core.artifacts import make_folder
from alos2tut.core.parallel import (
    alone_in,
    as_completed,
    cores,
    folder_lock,
    map_in_order,
    process_pool,
    resumable_folder,
)


@pytest.mark.parametrize("workers", [None, 1, 4])
def test_results_come_in_the_order_of_the_jobs(workers):
    def slow_first(job: int) -> int:
        time.sleep(0.02 if job == 0 else 0)
        return job * job

    executor = None if workers is None else ThreadPoolExecutor(workers)
    assert list(map_in_order(executor, slow_first, range(30))) == [job * job for job in range(30)]


def test_jobs_are_taken_only_as_they_are_needed():
    taken = []

    def jobs():
        for job in range(100):
            taken.append(job)
            yield job

    with ThreadPoolExecutor(2) as executor:
        results = map_in_order(executor, operator.neg, jobs(), ahead=3)
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
    results = map_in_order(executor, work, range(50), ahead=8)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    may_go_on.set()
    if executor:
        executor.shutdown()
    assert len(started) <= 4


@pytest.mark.parametrize("workers", [None, 3])
def test_a_slow_job_keeps_nobody_waiting(workers):
    def work(job: int) -> int:
        time.sleep(0.1 if job == 0 else 0)
        return -job

    executor = None if workers is None else ThreadPoolExecutor(workers)
    found = list(as_completed(executor, work, range(20)))
    assert sorted(found) == [(job, -job) for job in range(20)]
    assert (found[0] == (0, 0)) is (workers is None)


def test_an_error_of_any_job_is_raised_and_the_rest_given_up():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError):
        list(as_completed(executor, lambda job: 1 // job, range(100)))


def test_a_process_that_dies_is_told():
    with pytest.raises(Alos2TutError, match="ended before its work did"), process_pool(2) as pool:
        list(as_completed(pool, os._exit, [3]))


#: a user's script without a guard, whose own functions go to the workers
SCRIPT = """
import os, sys, warnings
print("begins")
from alos2tut import Alos2TutError
from alos2tut.core.errors import warn
from alos2tut.core.parallel import as_completed, map_in_order, process_pool
def work(job):
    warn(f"job {job}")
    if job > 1:
        raise Alos2TutError("is too large", where="job", remedy="Take less.")
    return (job, os.getpid(), os.environ["OMP_NUM_THREADS"], "torch" in sys.modules)
warnings.simplefilter("always")
with process_pool(2) as pool, warnings.catch_warnings(record=True) as caught:
    for run in map_in_order, as_completed:
        assert {str(found) for found in run(pool, work, [0, 1])} and len(caught) == 2, caught
        assert {str(one.message) for one in caught} == {"job 0", "job 1"}
        caught.clear()
    found = list(map_in_order(pool, work, [0, 1]))
    assert [(job, *rest) for job, _, *rest in found] == [(0, "3", False), (1, "3", False)]
    assert os.getpid() not in {pid for _, pid, *_ in found}
try:
    with process_pool(2) as pool, warnings.catch_warnings(record=True) as caught:
        list(as_completed(pool, work, [2]))
except Alos2TutError as error:
    assert [str(one.message) for one in caught] == ["job 2"]
    assert str(error) == "job: is too large. Take less." and error.where == "job"
    print("ends")
"""


@pytest.mark.parametrize("way", ["file", "stdin", "-c"])
def test_a_script_needs_no_guard(tmp_path, way):
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = {"file": [str(tmp_path / "script.py")], "stdin": ["-"], "-c": ["-c", SCRIPT]}[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=SCRIPT if way == "stdin" else "",
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "3"},
    )
    assert done.stdout.split() == ["begins", "ends"], done.stderr


def test_interrupted_work_is_stopped_at_once():
    with pytest.raises(KeyboardInterrupt), process_pool(2) as pool:
        workers = [pool.submit(os.getpid).result()]
        sleeping = [pool.submit(time.sleep, 600) for _ in range(8)]
        while not sleeping[0].running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_processes_do_not_outlive_a_parent_that_is_killed(tmp_path):
    program = """
import os, signal, sys, time
from alos2tut.core.parallel import process_pool
with process_pool(2) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(killed.stdout.readline())
    killed.wait()
    for _ in range(200):
        if not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split(")")[1][:3]:
            break
        time.sleep(0.05)
    else:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker lives on")


def test_only_one_at_a_time(tmp_path):
    with folder_lock(tmp_path), pytest.raises(Alos2TutError, match="another process"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass


def test_a_lock_says_whose_it_is_and_is_not_kept_by_processes_that_were_forked(tmp_path):
    with folder_lock(tmp_path):
        with pytest.raises(Alos2TutError, match=rf"process {os.getpid()} on "), folder_lock(tmp_path):
            pass
        ours, its = socket.socketpair()
        if not (child := os.fork()):
            ours.close()
            its.send(b".")
            its.recv(1)
            os._exit(0)
        ours.recv(1)
    with ours, its, folder_lock(tmp_path):
        ours.send(b".")
        os.waitpid(child, 0)


def test_a_lock_that_is_removed_keeps_nobody_out_of_the_one_made_after_it(tmp_path):
    holds, done = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with folder_lock(tmp_path, wait=True):
            holds.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as executor:
        with folder_lock(tmp_path):
            waiting = executor.submit(wait_for_it)
            time.sleep(0.05)
            (tmp_path / "lock").unlink()
        assert holds.wait(10)
        with pytest.raises(Alos2TutError, match="another process"), folder_lock(tmp_path):
            pass
        done.set()
        waiting.result()


def test_a_run_alone_clears_what_killed_ones_left_and_leaves_no_trace(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    for holder in (folder / ".a.json.abcdefgh.tmp", folder / "checkpoints" / ".step-1.ckpt.12345678.tmp"):
        make_folder(holder)
    (folder / "checkpoints" / "mine.tmp").touch()
    with alone_in(folder):
        assert names_in(folder) == {"checkpoints", "lock"} and names_in(folder / "checkpoints") == {"mine.tmp"}
        with pytest.raises(Alos2TutError, match="another process"), alone_in(folder):
            pass
        # the first process locks for all
        monkeypatch.setenv("RANK", "1")
        with alone_in(folder):
            pass
        monkeypatch.setenv("RANK", "")  # as if it were not set
    with alone_in(folder):
        assert names_in(folder) == {"checkpoints", "lock"}
    assert names_in(folder) == {"checkpoints"}
    with pytest.raises(KeyError), alone_in(tmp_path / "failed"):
        raise KeyError
    assert names_in(tmp_path) == {"run"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stop_work(target: Path, made_from: object = "this") -> set[str]:
    """Begin or go on with work that fails; what was there before."""
    with pytest.raises(KeyboardInterrupt), resumable_folder(target, made_from, ["part-*", "cut"]) as folder:
        before = names_in(folder) - {"lock"}
        (folder / "cut").mkdir(exist_ok=True)
        (folder / "cut" / ".x.tmp").touch()
        (folder / "part-1").touch()
        raise KeyboardInterrupt
    return before


@pytest.mark.parametrize("damage", ["", "{", '"that"', None])
def test_stopped_work_goes_on_if_it_is_the_same(tmp_path, damage):
    target, folder = tmp_path / "map.tif", tmp_path / "map.tif.partial"
    assert stop_work(target) == {"made_from.json"}
    (folder / ".part-2.abcdefgh.tmp").mkdir()
    (folder / "mine").touch()
    if damage is None:
        assert stop_work(target) == {"made_from.json", "part-1", "cut", "mine", ".part-2.abcdefgh.tmp"}
    else:
        (folder / "made_from.json").write_text(damage)
        assert stop_work(target) == {"made_from.json", "mine"}
    with resumable_folder(target, "this", ["part-*", "cut"]):
        pass
    # what somebody else put there stays
    assert names_in(folder) == {"mine"}


def test_work_that_is_done_or_left_nothing_leaves_no_folder(tmp_path):
    target = tmp_path / "map.tif"
    stop_work(target, made_from=None)
    assert stop_work(target, made_from=None) == {"made_from.json"}
    with resumable_folder(target, None, ["part-*", "cut"]):
        pass
    assert not names_in(tmp_path)
    with pytest.raises(KeyboardInterrupt), resumable_folder(target, "this", ["part-*"]):
        raise KeyboardInterrupt
    assert not names_in(tmp_path)


def test_one_worker_is_this_process_and_several_are_others():
    with process_pool(1) as alone:
        assert alone is None
    with process_pool(2) as pool:
        assert list(map_in_order(pool, operator.neg, [1, 2, 3])) == [-1, -2, -3]
    assert cores() >= 1
