"""Runs of the notebooks, and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_all(work_dir: Path, cwd: Path, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "notebooks" / "run_all.py"), "--work-dir", str(work_dir), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def one(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, (pattern, found)
    return found[0]


def main_report(work: Path) -> dict:
    """The report that scores both starts side by side; comparisons leave others, of one model each."""
    reports = [json.loads(path.read_text()) for path in work.glob("evaluate-*/report.json")]
    both = [report for report in reports if "baseline" in report["models"]]
    assert len(both) == 1
    return both[0]
