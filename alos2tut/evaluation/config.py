"""Settings of scoring and of comparisons."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ..core.config import Count, CText, LaterPathText, PathText, Seed, Workers, settings


@settings
class CompareConfig:
    """Starts, label budgets and seeds of a comparison: see :func:`alos2tut.evaluation.comparison.compare`."""

    starts: dict[CText, PathText | None] = Field(
        default_factory=lambda: dict[str, str | None](random=None), min_length=1
    )
    """Encoder files or pretraining folders by name, or ``bundled`` (it came with the package), the one to compare with
    first; None: random weights, of the architecture of the first file."""
    budgets: tuple[Count | Literal["all"], ...] = Field((100, 1_000, 10_000, "all"), min_length=1)
    """Numbers of labelled patches, or ``all`` there are."""
    seeds: int = Field(default=3, ge=1, le=1000)
    """How many seeds; two at least give intervals."""
    seed: Seed = 0
    """The first of them."""
    score_batch_size: Count = 32
    """Patches at work at once when scoring."""
    floor: bool = True
    """Score a random forest on the same patches beside each run; see :func:`alos2tut.evaluation.baseline`."""
    workers: Workers = 0
    """Processes that share the runs, which compute on one thread each; 0: as many as there are cores, on a GPU one. 1:
    this one, which alone is told to stop by signals."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""

    @model_validator(mode="after")
    def _budgets_differ(self) -> CompareConfig:
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError(f"a budget stands twice in budgets={list(self.budgets)}")
        return self


@settings
class EvaluateConfig:
    """Scores on a split that training never saw: see :func:`alos2tut.evaluate`."""

    #: what counts for an artifact's key only where it is not the default: keys are older than these settings
    KEYED_IF_SET: ClassVar[frozenset[str]] = frozenset({"floor"})

    dataset: LaterPathText = ""
    """The dataset's folder."""
    segmenter: LaterPathText = ""
    """The ``segmenter.safetensors`` to score, or its fine-tuning's folder, or ``bundled``: it came with the package."""
    baseline: PathText | None = None
    """Another one to compare with: the same network from random initialisation."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when a segmenter was trained on another quantity, polarisation or pixel size."""
    split: Literal["test", "val"] = "test"
    """List to score."""
    batch_size: Count = 32
    """Patches at work at once; on a CPU several forward passes share them out."""
    floor: bool = True
    """Score a random forest on the same patches beside; see :func:`alos2tut.evaluation.baseline`."""
    seed: Seed = 0
    """Equal seeds give equal results."""
