"""Work in another process that may be killed, or hold no more than so much on the disk."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

from support.datasets import build
from support.rights import files_of_at_most

from alos2tut import Alos2TutError
from alos2tut.dataset import builder, plan

#: Forked off one that has loaded what is needed and done nothing: GDAL holds locks and threads that a fork of a process
#: that has read rasters waits for without end.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["support.processes", "rasterio", "alos2tut.dataset.builder"])


def exit_code(function: Callable[..., None], *arguments: object) -> int:
    """How another process ended, negative if by a signal, which called this function of a module of helpers."""
    process = _PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(120)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{function.__name__} did not end")
    return process.exitcode


def build_killed_at(call: int, name: str, settings: dict[str, object]) -> None:
    """Build until a function of the builder's is called for so many times."""
    module = plan if name == "survey_product" else builder
    calls, real = itertools.count(1), getattr(module, name)

    def counted(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(module, name, counted)
    build(**settings)


def build_on_full_disk(size: int, settings: dict[str, object], told: Path) -> None:
    """Build where no file may grow beyond so many bytes; the error's text goes to a file."""
    try:
        with files_of_at_most(size):
            build(**settings)
    except Alos2TutError as error:
        told.write_text(str(error))
