"""Run the five notebooks headless and say where everything lies.

``make tutorial`` calls this. Each notebook is executed by papermill with the same parameters; what one makes, the next
finds. Executed notebooks go to ``<work-dir>/notebooks``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
NAMES = ("01_read_and_inspect", "02_build_dataset", "03_pretrain", "04_finetune", "05_evaluate_and_map")


def run(name: str, out_dir: Path, parameters: dict[str, str]) -> float:
    """Execute one notebook; returns seconds."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alos2tut-") as sockets:
        # kernels talk over private socket files where the system has them, not over TCP, of which they would warn
        private = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")} if os.name == "posix" else {}
        papermill.execute_notebook(
            HERE / f"{name}.ipynb",
            out_dir / f"{name}.ipynb",
            parameters=parameters,
            cwd=HERE,
            kernel_name="python3",
            progress_bar=False,
            config=Config({"KernelManager": private}),
        )
    return time.monotonic() - begun


def seen_from_here(name: str, value: str) -> str:
    """A parameter's value; one that is a path from where the command was typed, absolute: kernels work elsewhere."""
    is_path = (name in ("product", "labels") and Path(value).exists()) or (name == "legend" and Path(value).is_file())
    return str(Path(value).resolve()) if is_path else value


def main() -> int:
    """Run all, then print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", help="quick, laptop or paper")
    parser.add_argument("--work-dir", type=Path, default=HERE.parent / "work", help="where results live")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter")
    options = parser.parse_args()
    # kernels must find this environment's interpreter, wherever the command was typed
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    work_dir = options.work_dir.resolve()
    out_dir = work_dir / "notebooks"
    out_dir.mkdir(parents=True, exist_ok=True)
    parameters = {
        "profile": options.profile,
        "work_dir": str(work_dir),
        **{name: seen_from_here(name, value) for name, value in options.p},
    }
    seconds = {}
    for name in NAMES:
        print(f"{name} …", flush=True)
        try:
            seconds[name] = run(name, out_dir, parameters)
        except PapermillExecutionError as error:
            print(f"{name} stopped. {error.ename}: {error.evalue}", file=sys.stderr)
            print(f"Where, shows {out_dir / name}.ipynb", file=sys.stderr)
            return 1
    (out_dir / "times.json").write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    print_summary(work_dir, seconds)
    return 0


def print_summary(work_dir: Path, seconds: dict[str, float]) -> None:
    """Times, then the results by kind, newest first where there are several."""
    print("\nnotebook                  minutes")
    for name, value in seconds.items():
        print(f"{name:<24} {value / 60:8.1f}")
    print(f"{'all five':<24} {sum(seconds.values()) / 60:8.1f}\n")
    kinds = {
        "executed notebooks": "notebooks/*.ipynb",
        "figures": "figures/*.png",
        "encoder": "pretrain-*/encoder.safetensors",
        "segmenters": "finetune-*/segmenter.safetensors",
        "report": "evaluate-*/report.json",
        "map": "map-*/landcover.tif",
    }
    for kind, pattern in kinds.items():
        found = sorted(work_dir.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
        where = found[0].parent if len(found) > 1 and kind in ("executed notebooks", "figures") else None
        for path in [where] if where else found:
            print(f"{kind:<20} {path}")


if __name__ == "__main__":
    sys.exit(main())
