"""Progress of long work: a bar where somebody watches, silence where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def is_interactive() -> bool:
    """Whether somebody watches: a terminal, or a notebook in a browser (not one that papermill or nbclient runs)."""
    if sys.stderr.isatty():
        return True
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    # a front end that can ask its user for input says so with each cell; a batch runner cannot
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def progress_bar(
    work: Iterable[T], label: str, unit: str, *, total: int | None = None, show: bool | None = None
) -> Iterable[T]:
    """``work``, with a bar around it where it is shown.

    Args:
        work: what is done one by one.
        label: shown before the bar.
        unit: one piece of work.
        total: number of pieces, if ``work`` does not know it.
        show: None: only where somebody watches.
    """
    if not (is_interactive() if show is None else show):
        return work
    from tqdm.auto import tqdm

    bar: Iterable[T] = tqdm(work, desc=label, unit=unit, total=total, dynamic_ncols=True)
    return bar
