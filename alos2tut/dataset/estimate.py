"""What building a dataset would give, and cost, from a look at a part."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.public import public
from ..core.tables import bytes_text, duration_text
from .archive import Archive
from .builder import patch_bytes
from .config import DatasetConfig
from .encoding import encode_db
from .plan import Plan, planned, surveyed
from .selection import choose, report_absent
from .store import SPLITS, STORES
from .survey import PatchGrid, PatchTable

#: what a dry run looks at: every so many pixels, or the next smaller divisor of the patch
_DRY_STEP = 16


@dataclass(frozen=True)
class DatasetEstimate:
    """What :func:`build_dataset` would make, estimated from a part of the pixels.

    Attributes:
        patches: by list.
        class_pixels: in all lists, by class.
        balance: as in ``dataset.json``.
        size_bytes: of the stores.
        hours: of work, with so many ``workers``.
    """

    archive: Archive
    patches: Mapping[str, int]
    class_pixels: Mapping[str, int]
    balance: Mapping[str, Any]
    size_bytes: int
    hours: float
    workers: int

    def to_text(self) -> str:
        """As a few lines for reading."""
        total = max(sum(self.class_pixels.values()), 1)
        shares = ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in self.class_pixels.items())
        dropped = ", ".join(f"{n} {reason}" for reason, n in self.balance["dropped"].items() if n)
        lines = [
            self.archive.to_text(),
            f"patches    {', '.join(f'{split} {n}' for split, n in self.patches.items())}",
            f"dropped    {dropped or 'none'}",
            f"classes    {shares}",
            f"disk       {bytes_text(self.size_bytes)}",
            f"time       {duration_text(3600 * self.hours)} by {self.workers} worker{'s' if self.workers > 1 else ''}",
            "These are estimates, and lists of few patches may come out otherwise; nothing was written.",
        ]
        return "\n".join(lines)


@public
def estimate_dataset(
    config: DatasetConfig, *, executor: Executor | None = None, progress: bool | None = None
) -> DatasetEstimate:
    """What a dataset would hold, from a look at every few pixels; nothing is written.

    Args:
        config, executor, progress: as for :func:`build_dataset`.

    Returns:
        Patches, classes, bytes, and hours by the pace at which a row of patches could be cut here and now.

    Raises:
        Alos2TutError: as :func:`build_dataset`, as far as it shows without looking at every pixel.
    """
    # which divides the patches' side, too
    step = max(d for d in range(1, _DRY_STEP + 1) if (config.stride_px or config.patch_px) % d == 0)
    with planned(config, executor, progress) as (plan, workers):
        plan, table = surveyed(plan, workers, step)
    choice = choose(table, plan.config, plan.legend)
    report_absent(choice, plan.config)
    stored = np.concatenate([choice.lists[store] for store in STORES])
    counts = table.counts[stored].sum(axis=0)
    look, cut = _seconds_per_row(plan, int(table.product[stored[0]]))
    seconds = look * _rows(table) + cut * _rows(table.take(np.sort(stored)))
    return DatasetEstimate(
        archive=plan.archive,
        patches={split: len(choice.lists[split]) for split in SPLITS},
        class_pixels=dict(zip(choice.names, counts.tolist(), strict=True)),
        balance=choice.balance(),
        size_bytes=len(stored) * patch_bytes(plan),
        hours=seconds / plan.workers / 3600,
        workers=plan.workers,
    )


def _rows(table: PatchTable) -> int:
    """Rows of patches, over all products, of which any is named."""
    return int(np.count_nonzero(np.diff(table.product) | np.diff(table.row))) + 1


def _seconds_per_row(plan: Plan, number: int) -> tuple[float, float]:
    """Time to look at, and to cut, the middle row of patches of a product."""
    job = next(job for job in plan.jobs() if job.number == number)
    grid = PatchGrid.of(job)
    row, cols = grid.starts[0][len(grid.starts[0]) // 2], grid.width
    window = grid.window(row, cols)
    with job.label_map() as labels:
        begun = time.perf_counter()
        grid.seen(window)
        grid.classes(labels, row, cols)
        looked = time.perf_counter()
        encode_db(grid.read_db(window))
        grid.classes(labels, row, cols)
        return looked - begun, time.perf_counter() - looked
