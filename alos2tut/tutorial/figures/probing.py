"""The figure of a probe: how far each representation gets, beside what needs no learning."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ...plotting import BLUE, GREY, ORANGE, VERMILION
from ...pretraining.probing import RANDOM, RAW, Probe


def probe_scores(probe: Probe) -> Figure:
    """Balanced accuracy of every method, a panel for each task and probe, with 95 % intervals and each seed's score."""
    judged, methods = probe.judgements, probe.methods
    if not judged:
        fig, ax = plt.subplots(figsize=(7, 1.6))
        reasons = "\n".join(f"{task.name}: {task.refused}" for task in probe.tasks)
        ax.text(0.5, 0.5, f"nothing can be judged\n{reasons}", ha="center", va="center")
        ax.axis("off")
        return fig
    fig, axes = plt.subplots(1, len(judged), figsize=(4.1 * len(judged), 1.5 + 0.4 * len(methods)), sharey=True)
    for ax, (task, kind) in zip(np.atleast_1d(axes), judged, strict=True):
        for row, method in enumerate(methods):
            score = probe.score(method, task.name, kind)
            color = {RANDOM: GREY, RAW: ORANGE}.get(method, BLUE)
            ax.plot(score.by_seed, np.full(len(score.by_seed), row + 0.25), "|", color=color, markersize=7)
            ax.errorbar(score.mean, row, xerr=score.half_width, fmt="o", color=color, capsize=4)
        ax.axvline(task.chance, color=VERMILION, linestyle="--", linewidth=1)
        ax.annotate(
            "chance",
            (task.chance, 1),
            (3, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=VERMILION,
            va="top",
            fontsize=8.5,
        )
        size = " × ".join(f"{side:g}" for side in task.size_m)
        ax.set(title=f"{task.name} of {size} m: {kind} probe", xlabel="balanced accuracy on 'val'", xlim=(0, 1))
        ax.set(yticks=range(len(methods)), yticklabels=methods, ylim=(len(methods) - 0.4, -0.6))
        ax.grid(axis="x", alpha=0.3)
    if probe.simulated:
        fig.suptitle("simulated data", fontsize=9, color=GREY)
    return fig
