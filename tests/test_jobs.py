"""The scripts in jobs/, with commands on PATH that only pretend: who is called, and what becomes of the job."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from alos2tut.configs import load_config
from alos2tut.dataset.store import open_dataset

JOBS = Path(__file__).resolve().parents[1] / "jobs"
SCRIPTS = sorted(path for path in JOBS.iterdir() if path.suffix in (".slurm", ".pbs"))

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which("bash") or not shutil.which("pkill"),
    reason="the scripts are for clusters, which have Linux, bash and pkill",
)

#: Each writes down how it was called, under its own name; then does what follows.
COMMANDS = {
    "alos2tut": """
        if [ "$OUTCOME" = refused ]; then echo "alos2tut: batch_size: no" >&2; exit 2; fi
        printf 'folder         %s\\nstate          new\\n' "$STAGE"
    """,
    # what is left of the options is the command; as by the real ones, signals reach it
    **dict.fromkeys(("srun", "mpirun"), 'echo $$ >"$CALLS/step"; while [ "$1" != bash ]; do shift; done; exec "$@"'),
    "nvidia-smi": "echo 'GPU 0: a'; echo 'GPU 1: b'",
    "scontrol": "",
    "qsub": 'echo "$DATA|$SETTINGS|$VENV" >>"$CALLS/qsub"',
    "torchrun": """
        env | grep ^OMP_NUM_THREADS= >"$CALLS/threads"
        while [ "$1" != pretrain ]; do shift; done
        cp -a "$2" "$CALLS/seen"
        case "$OUTCOME" in
            complete) touch "$STAGE/run.json" ;;
            stopped) touch "$STAGE/stopped.json" ;;
            failed) touch "$STAGE/stopped.json"; exit 3 ;;
            nothing) ;;
            waits) "$PYTHON" -S -c "$WORKER" & wait $! ;;
        esac
    """,
}

#: A training process, which listens to SIGUSR1 alone
WORKER = """
import os, pathlib, signal, sys
stage = pathlib.Path(os.environ["STAGE"])
def stop(*_):
    (stage / "stopped.json").touch()
    sys.exit(0)
signal.signal(signal.SIGUSR1, stop)
(stage / "trains").touch()
signal.pause()
"""


class Cluster:
    """A folder with a space in its name, and what pretends to be a scheduler."""

    def __init__(self, root: Path, dataset: Path) -> None:
        self.root, self.stage, self.calls, self.disk = (root / n for n in (".", "a stage", "calls", "own disk"))
        for folder in (root / "bin", root / "venv" / "bin", self.stage, self.calls, self.disk):
            folder.mkdir(parents=True)
        (root / "venv" / "bin" / "activate").touch()
        (root / "nodes").write_text("a\na\n")
        shutil.copytree(dataset, root / "data set")
        shutil.copytree(JOBS, root / "jobs")
        for name, does in COMMANDS.items():
            command = root / "bin" / name
            # arguments are told apart by bars
            command.write_text(f'#!/bin/bash\n(IFS="|"; echo "$*" >>"$CALLS/{name}")\n{does}')
            command.chmod(0o755)

    def start(self, script: str, outcome: str, **variables: str) -> subprocess.Popen[str]:
        data, settings = "data set", "jobs/pretrain.yaml"
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            **{"PYTHON": sys.executable, "WORKER": WORKER, "OUTCOME": outcome, "VENV": "venv"},
            **{"STAGE": str(self.stage), "CALLS": str(self.calls)},
            **{"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "4", "SLURM_GPUS_ON_NODE": "2"},
            **{"PBS_O_WORKDIR": str(self.root), "PBS_JOBID": "17.server", "PBS_NODEFILE": str(self.root / "nodes")},
            **{"SLURM_TMPDIR": str(self.disk), "PBS_LOCALDIR": str(self.disk)},
            **({"DATA": data, "SETTINGS": settings} if script.endswith(".pbs") else {}),
            **variables,
        }
        arguments = [data, settings] if script.endswith(".slurm") else []
        command = ["bash", f"jobs/{script}", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=environment, **pipes)

    def run(self, script: str, outcome: str, **variables: str) -> int:
        """The exit status."""
        job = self.start(script, outcome, **variables)
        print(job.communicate(timeout=60)[0])  # pytest shows it where a test fails
        return job.returncode

    def called(self, name: str) -> list[str]:
        """A line for each call of a command."""
        return (self.calls / name).read_text().splitlines() if (self.calls / name).exists() else []

    @property
    def queued(self) -> list[str]:
        """How the job was put back into the queue."""
        return self.called("scontrol") + self.called("qsub")


@pytest.fixture
def cluster(tmp_path, packed_dataset):
    return Cluster(tmp_path / "a cluster", packed_dataset)


both = pytest.mark.parametrize("script", ["pretrain.slurm", "pretrain.pbs"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_every_script(script):
    read = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr


def test_the_settings_of_pretraining_are_the_papers():
    config = load_config("pretrain", "paper", file=JOBS / "pretrain.yaml")
    assert config == load_config("pretrain", "paper", work_dir=config.work_dir)


@both
def test_a_complete_training_is_the_end(cluster, script):
    assert cluster.run(script, "complete") == 0
    assert cluster.queued == []
    assert len(cluster.called("torchrun")) == 1
    # and is not begun again
    assert cluster.run(script, "failed") == 0
    assert len(cluster.called("torchrun")) == 1


@both
def test_a_training_that_was_stopped_is_queued_again(cluster, script):
    assert cluster.run(script, "stopped") == 0
    if script.endswith(".slurm"):
        assert cluster.queued == ["requeue|17"]
    else:
        values = f"data set|jobs/pretrain.yaml|{cluster.root / 'venv'}"
        assert cluster.queued == ["-v|DATA,SETTINGS,VENV|jobs/pretrain.pbs", values]


@both
@pytest.mark.parametrize(("outcome", "status"), [("failed", 3), ("nothing", 1)])
def test_a_failure_is_told_and_not_repeated(cluster, script, outcome, status):
    assert cluster.run(script, outcome) == status
    assert cluster.queued == []


@both
def test_a_mistake_in_the_settings_ends_the_job_before_training(cluster, script):
    assert cluster.run(script, "refused") == 2
    assert cluster.called("torchrun") == cluster.called("srun") == cluster.queued == []
    asked = "pretrain|data set|--profile|paper|--config|jobs/pretrain.yaml|--dry-run"
    assert cluster.called("alos2tut") == [asked]


@both
def test_each_node_trains_on_its_own_copy_with_a_process_per_gpu(cluster, script):
    (cluster.root / "nodes").write_text("b\na\na\nb\n")
    assert cluster.run(script, "complete") == 0
    words = cluster.called("torchrun")[0].split("|")
    options = dict(itertools.pairwise(words))
    assert (options["--nnodes"], options["--nproc-per-node"], options["--rdzv-id"]) == ("2", "2", "17")
    assert options["--config"] == "jobs/pretrain.yaml" and options["--profile"] == "paper"
    # 24 hours, less a quarter of one and what starting took
    assert words[-1] in ("stop_after_minutes=1424", "stop_after_minutes=1425")
    assert int(cluster.called("threads")[0].partition("=")[2]) >= 1
    assert Path(options["pretrain"]).parent == cluster.disk
    assert list(cluster.disk.iterdir()) == []  # it was removed
    seen, whole = open_dataset(cluster.calls / "seen"), open_dataset(cluster.root / "data set")
    assert seen.fingerprint == whole.fingerprint
    for split in ("pretrain", "val"):
        np.testing.assert_array_equal(seen.split(split).gather_rows([1, 0]), whole.split(split).gather_rows([1, 0]))
    assert not (cluster.calls / "seen" / "test_db.npy").exists()


@both
@pytest.mark.parametrize("disk", ["", "/nowhere", "/proc"])
def test_without_a_disk_of_its_own_a_node_reads_the_dataset_where_it_lies(cluster, script, disk):
    assert cluster.run(script, "complete", SLURM_TMPDIR=disk, PBS_LOCALDIR=disk, TMPDIR="") == 0
    assert f"|pretrain|{cluster.root / 'data set'}|" in cluster.called("torchrun")[0]


@both
@pytest.mark.parametrize(
    ("to", "number", "status", "queued"),
    [
        ("job", signal.SIGUSR1, 0, True),  # the time is nearly over
        ("job", signal.SIGTERM, 143, False),  # cancelled, as PBS does it,
        ("step", signal.SIGTERM, 143, False),  # and Slurm
    ],
)
def test_a_signal_reaches_the_training_processes_alone(cluster, script, to, number, status, queued):
    """They save what they have; the job goes on later unless it was cancelled."""
    (cluster.root / "nodes").write_text("a\nb\n")
    job = cluster.start(script, "waits")
    until = time.monotonic() + 30
    while not (cluster.stage / "trains").exists():
        assert job.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.kill(job.pid if to == "job" else int(cluster.called("step")[0]), number)
    print(job.communicate(timeout=60)[0])
    assert (cluster.stage / "stopped.json").exists()
    assert job.returncode == status
    assert bool(cluster.queued) == queued
    assert list(cluster.disk.iterdir()) == []
