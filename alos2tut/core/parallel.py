"""Work on many things at once, on any executor; and on one thing by one process only, which may be gone on with."""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO, TypeVar

from .artifacts import make_folder, read_json, remove_stale_holders, write_json
from .environment import process_number
from .errors import Alos2TutError, Alos2TutWarning, system_errors_named, warn

try:
    import fcntl
except ImportError:  # Windows has none: there nobody is kept out
    fcntl = None  # type: ignore[assignment]

Job = TypeVar("Job")
Result = TypeVar("Result")

#: says in a resumable folder what the work there is made from
_MARK = "made_from.json"
#: jobs that wait in an executor: enough to keep some hundred workers busy
_WAITING = 512


def map_in_order(
    executor: Executor | None, function: Callable[[Job], Result], jobs: Iterable[Job], *, ahead: int = 8
) -> Iterator[Result]:
    """``function`` of each job, in the order of the jobs, few of which are ahead of the one that is waited for.

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
    waiting: deque[Future[tuple[Any, list[str]]]] = deque()
    try:
        for job in jobs:
            waiting.append(executor.submit(_recorded, function, job, os.getpid()))
            if len(waiting) > ahead:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()


def as_completed(
    executor: Executor | None, function: Callable[[Job], Result], jobs: Iterable[Job]
) -> Iterator[tuple[Job, Result]]:
    """Each job and ``function`` of it, as they are done: one slow job keeps no worker waiting.

    Args:
        executor, function, jobs: as for :func:`map_in_order`.

    Yields:
        Jobs with their results; what a job raises is raised, and jobs that have not begun are given up.
    """
    if executor is None:
        for job in jobs:
            yield job, function(job)
        return
    running: dict[Future[tuple[Any, list[str]]], Job] = {}

    def done() -> Iterator[tuple[Job, Result]]:
        ended = wait(running, return_when=FIRST_COMPLETED).done
        # an error ends it all: what succeeded by then comes first
        for future in sorted(ended, key=lambda future: future.exception() is not None):
            yield running.pop(future), _result(future)

    try:
        for job in jobs:
            running[executor.submit(_recorded, function, job, os.getpid())] = job
            while len(running) >= _WAITING:
                yield from done()
        while running:
            yield from done()
    finally:
        for future in running:
            future.cancel()


def _recorded(function: Callable[[Job], Result], job: Job, parent: int) -> tuple[Any, list[str]]:
    """A job's result or error and, of another process than the parent, our warnings; threads share theirs."""
    if os.getpid() == parent or threading.current_thread() is not threading.main_thread():
        return function(job), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Alos2TutWarning)
        try:
            result: Any = function(job)
        except Alos2TutError as error:
            result = error
    return result, [str(one.message) for one in caught if issubclass(one.category, Alos2TutWarning)]


def _result(future: Future[tuple[Any, list[str]]]) -> Any:
    """A job's result, or its error raised; what it warned of is warned of here."""
    result, messages = future.result()
    for message in messages:
        warn(message)
    if isinstance(result, Alos2TutError):
        raise result
    return result


@contextmanager
def process_pool(workers: int) -> Iterator[Executor | None]:
    """Processes of our own that end with the block, or with this process however it ends.

    They are started afresh, as readers work with threads, which do not survive a fork; and without the caller's
    ``__main__``, so that a script needs no guard. If the block fails they are stopped at once.

    Args:
        workers: how many; 1: None is given, which means this thread.

    Raises:
        Alos2TutError: a process ended before its work did.
    """
    if workers <= 1:
        yield None
        return
    from loky.process_executor import ProcessPoolExecutor

    # what is mapped of large products is no leak of memory, by which workers would be restarted
    env = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
    reader, writer = multiprocessing.Pipe(duplex=False)
    is_done = False
    with reader, writer:
        pool = ProcessPoolExecutor(workers, initializer=_end_with_parent, initargs=(reader,), env=env)
        try:
            yield pool
            is_done = True
        except BrokenProcessPool:
            raise Alos2TutError(
                "a process ended before its work did: the system stopped it, or it could not start",
                where="workers",
                remedy="Take fewer workers if memory is short, or set workers=1.",
            ) from None
        finally:
            pool.shutdown(kill_workers=not is_done)


def _end_with_parent(reader: Connection) -> None:
    """Leave interrupting to the parent, and do not outlive it: it may have been killed without a word to us."""

    def wait_for_its_end() -> None:
        # nothing is ever sent: the pipe ends with the process that holds its other end
        with suppress(EOFError, OSError):
            reader.recv_bytes()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait_for_its_end, daemon=True).start()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: what this process has locked; one that is forked off it, as to load patches, would keep the lock when it dies
_locked: set[TextIO] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: [file.close() for file in _locked])


@contextmanager
def folder_lock(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a folder, and keep other processes, as far as the file system lets us, from working in it, too.

    The system takes the lock from a process that is killed. Between machines it holds where the file system they share
    has locks (NFS; Lustre if it is mounted with ``flock``). It is the file ``lock``, which may be removed in the end.

    Raises:
        Alos2TutError: somebody else is at it, unless that is to be waited for.
    """
    with _locked_file(folder, wait) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        _locked.add(file)
        try:
            yield
        finally:
            _locked.discard(file)
            file.truncate(0)


def _locked_file(folder: Path, wait: bool) -> TextIO:
    while True:
        make_folder(folder)
        with system_errors_named(folder, "cannot be worked in"):
            file = open(folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            with file:
                file.seek(0)
                problem = f"another process is working here ({file.read(200) or 'it does not say which'})"
            raise Alos2TutError(problem, where=folder, remedy="Wait until it is done, or stop it.") from None
        except OSError:
            return file  # a file system without locks
        # whoever was at work may have removed the file in the end, and somebody else have made it anew
        with suppress(OSError):
            if fcntl is None or os.path.samestat(os.fstat(file.fileno()), (folder / "lock").stat()):
                return file
        file.close()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder of results; what a killed one was writing there is removed.

    Of the processes that ``torchrun`` started the first one locks it for all. A folder with nothing in it goes.

    Raises:
        Alos2TutError: another run is at work there.
    """
    if process_number("RANK"):
        make_folder(folder)
        yield
        return
    with folder_lock(folder):
        for place in (folder, *folder.glob("*/")):
            remove_stale_holders(place / "*", seconds=0)
        try:
            yield
        finally:
            # on a system that keeps open files, or without permission, they stay
            with suppress(OSError):
                (folder / "lock").unlink()
                folder.rmdir()


def partial_path(target: Path) -> Path:
    """The folder in which work on ``target`` is kept until it is whole."""
    return target.with_name(f"{target.name}.partial")


@contextmanager
def resumable_folder(target: Path, made_from: Any, kept: Sequence[str]) -> Iterator[Path]:
    """The folder ``<target>.partial``, locked, in which stopped work goes on; it is removed when the block succeeds.

    A block that fails leaves the folder if there is anything in it to go on with.

    Args:
        target: file or folder that is worked on.
        made_from: JSON content that tells this work from any other, of which nothing stays; None: begin anew.
        kept: patterns of what the work keeps in the folder. Nothing else is removed.

    Raises:
        Alos2TutError: another process is working in it, or nothing can be written there.
    """
    folder = partial_path(target)
    with folder_lock(folder):
        mark = None
        with suppress(Alos2TutError):  # damaged or missing: other work
            mark = read_json(folder / _MARK)
        if made_from is None or mark != made_from:
            _empty(folder, kept)
            write_json(folder / _MARK, made_from)
        is_done = False
        try:
            yield folder
            is_done = True
        finally:
            if is_done or not _found(folder, kept):
                _empty(folder, kept)
                # something else that lies there stays
                with suppress(OSError):
                    (folder / "lock").unlink()
                    folder.rmdir()


def _found(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _empty(folder: Path, kept: Sequence[str]) -> None:
    """Remove what is kept in a folder, and what a killed process was writing; the mark first."""
    (folder / _MARK).unlink(missing_ok=True)
    for path in _found(folder, [*kept, ".*.tmp"]):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
