"""Pretraining that is killed, anywhere and again and again, ends with the bits of one that was not."""

import json
import subprocess
import sys

import pytest
from support.networks import TINY

#: Forks runs from one process that has loaded everything, and kills each, workers included, some steps further on.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from alos2tut.configs import load_config
from alos2tut.pretraining.stage import plan_pretraining, pretrain

torch.set_num_threads(1)
work, settings, kills = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
draw = random.Random(0)

def run(folder, workers):
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    try:
        pretrain(load_config("pretrain", "quick", work_dir=str(work / folder), loader_workers=workers, **settings))
    except BaseException as error:
        print(type(error), error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

def ended(pid, flags=0):
    found, status = os.waitpid(pid, flags)
    assert not found or status == 0 or os.WIFSIGNALED(status), status
    return bool(found)

ended(run("straight", 0))
stage = next((work / "straight").iterdir()).name
metrics, done, resumed = work / "killed" / stage / "metrics.csv", 0, set()
for kill in range(kills):
    done += draw.randint(1, 3)
    pid = run("killed", kill % 3)
    while not (metrics.is_file() and metrics.read_bytes().count(b"\\n") > done):
        assert not ended(pid, os.WNOHANG), "it ended before it could be killed"
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.1))
    assert not ended(pid, os.WNOHANG), "it ended before it could be killed"
    os.killpg(pid, signal.SIGKILL)
    ended(pid)
    resumed |= {path.name for path in (work / "killed" / stage / "checkpoints").glob("step-*.ckpt")}
ended(run("killed", 0))
print(json.dumps({"stage": stage, "checkpoints": len(resumed)}))
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_again_and_again_ends_with_the_same_bits(kills, packed_dataset, tmp_path):
    """With accumulation and stochastic depth, and loader workers from none to two, another number after each kill."""
    settings = {
        "dataset": str(packed_dataset),
        "encoder": TINY,
        "mask_unit_px": 8,
        "batch_size": 2,
        "accumulate": 2,
        "steps": 8 + 4 * kills,
        "drop_path": 0.3,
        "checkpoint_every": 2,
    }
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    command = [sys.executable, str(script), str(tmp_path), json.dumps(settings), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["checkpoints"] > kills / 2  # runs went on from checkpoints, not from the beginning
    straight, killed = (tmp_path / name / facts["stage"] for name in ("straight", "killed"))
    names = ["encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv", "run.json"]
    for name in names:
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), name
