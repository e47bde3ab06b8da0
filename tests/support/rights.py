"""A process that may not do everything, whoever runs the tests."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

_NOBODY = 65534


@contextmanager
def no_rights() -> Iterator[None]:
    """Be a user like any other for a while, whom permissions bind; modules must have been imported before."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full; Python has no signal for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
