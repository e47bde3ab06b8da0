"""Two processes learn and score what one does: all trainings in one launch, and a scoring."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.networks import MIXED, TINY, metrics
from support.packed import restate_files, write_blocks, write_packed_dataset

from alos2tut.cli import main
from alos2tut.configs import load_config
from alos2tut.dataset.store import open_dataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import save_segmenter
from alos2tut.pretraining.stage import pretrain
from alos2tut.segmentation.stage import finetune

STAGES = {"pretrain": pretrain, "finetune": finetune}
TRAININGS = {
    # half the batch each, with unequal amounts of missing data in the patches
    "simmim": ("pretrain", {"steps": 20, "batch_size": 4, "encoder": TINY, "mask_unit_px": 8}),
    # pairs stay together, and a batch of 5 has an image paired with itself
    "mixmae": ("pretrain", {"steps": 20, "batch_size": 5, "encoder": MIXED, "objective": "mixmae"}),
    # unequal shares (3 and 2 of 5 samples), with accumulation, and a validation list shared out
    "finetune": (
        "finetune",
        {"steps": 3, "batch_size": 5, "accumulate": 2, "encoder": TINY, "validate_every": 1, "dropout": 0.0},
    ),
    # pixels drawn for a whole batch are shared out; some of the encoder has no gradient to wait for
    "full": (
        "finetune",
        {"steps": 4, "batch_size": 5, "encoder": TINY, "validate_every": 2, "dropout": 0.0, "mode": "full",
         "encoder_lr": 0.3, "mirror": True, "lr": 1e-3},
    ),
}  # fmt: skip

SCRIPT = """
import json, sys
from alos2tut.configs import load_config
from alos2tut.pretraining.stage import pretrain
from alos2tut.segmentation.stage import finetune

for stage, settings in json.loads(sys.argv[2]):
    run = {"pretrain": pretrain, "finetune": finetune}[stage]
    run(load_config(stage, "quick", work_dir=sys.argv[1], devices=2, **settings))
"""


def words(folder):
    """Lists that neither batches nor processes divide, and a segmenter scored on them, as a command."""
    dataset, model = folder.parent / "blocks", folder.parent / "segmenter.safetensors"
    # a floor of other processes has all of its trees, unlike one of this
    options = ["--baseline", model, "--no-floor", "--set", "batch_size=2", "--work-dir", folder]
    return ["evaluate", *map(str, [dataset, model, *options])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of what one process does, and of what two have done."""
    root = tmp_path_factory.mktemp("processes")
    one, two = root / "one", root / "two"
    two.mkdir()
    dataset = write_packed_dataset(root / "dataset", n=14)
    rows = np.load(dataset / "pretrain_db.npy")
    for patch in range(0, 14, 3):
        rows[patch, :, : 4 + 2 * patch] = -32768
    np.save(dataset / "pretrain_db.npy", rows)
    restate_files(dataset)
    blocks = open_dataset(write_blocks(root / "blocks"))
    torch.manual_seed(0)
    encoder = SwinEncoder(EncoderConfig(**TINY), (32, 32))
    segmenter = Segmenter(encoder, blocks.legend, blocks.statistics, blocks.signal, width=16)
    save_segmenter(root / "segmenter.safetensors", segmenter, provenance={"made_from": {}}, simulated=True)
    trainings = [(stage, settings_of(stage, settings, dataset)) for stage, settings in TRAININGS.values()]
    (root / "trainings.py").write_text(SCRIPT)
    launched(root / "trainings.py", two, json.dumps(trainings))
    return one, two


def launched(*command):
    """What two processes say."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, *map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_of(stage, settings, dataset):
    return {**settings, "dataset": str(dataset), "checkpoint_every": 2, "precision": "32-true"}


@pytest.mark.parametrize("case", TRAININGS)
def test_two_processes_learn_what_one_does(case, folders):
    stage, settings = TRAININGS[case]
    settings = settings_of(stage, settings, folders[0].parent / "dataset")
    alone = STAGES[stage](load_config(stage, "quick", work_dir=str(folders[0]), **settings))
    runs = (alone, folders[1] / alone.name)
    one, two = map(metrics, runs)
    assert len(one) == len(two) == settings["steps"]
    names = ("loss", "grad_norm", *(("mae_db",) if stage == "pretrain" else ()))
    for row, same in zip(one, two, strict=True):
        for name in names:
            assert float(row[name]) == pytest.approx(float(same[name]), rel=1e-5), (name, row["step"])
        if row.get("val_miou"):
            assert float(row["val_miou"]) == pytest.approx(float(same["val_miou"]), abs=5e-3)
    if stage == "pretrain":
        assert float(one[-1]["loss"]) < float(one[0]["loss"])
    else:
        pixels = [json.loads((run / "run.json").read_text())["val"]["pixels"] for run in runs]
        assert pixels[0] == pixels[1] == 4 * (32 * 32 - 15)


def test_two_processes_write_the_report_that_one_does(folders, capsys):
    """Byte for byte; only the first of them says so."""
    assert main(words(folders[0])) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"^segmenter +\w+ +0\.\d{3} \[0\.", said, re.MULTILINE)) == 1
    assert launched("-m", "alos2tut", *words(folders[1])) == said.replace(str(folders[0]), str(folders[1]))
    one, two = (next(folder.glob("evaluate-*/report.json")).read_bytes() for folder in folders)
    assert one == two
    assert json.loads(one)["models"]["segmenter"]["pixels"] == 5 * (32 * 32 - 15)
