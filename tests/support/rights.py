"""A process that may not do everything, whoever runs the tests."""

import os
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
