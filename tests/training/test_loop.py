"""What both trainings share: batches, randomness, learning rates, resuming."""

import json
import math
import os
import pickle
import shutil
import signal
import warnings
import zipfile
from dataclasses import replace
from itertools import chain, islice, pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from support.networks import MIXED, TINY, metrics
from support.networks import training as settings_of
from support.rights import files_of_at_most

from alos2tut.cli import main
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning, Stopped
from alos2tut.core.parallel import folder_lock
from alos2tut.dataset.store import batch_indices
from alos2tut.networks.distributed import ratios_over_processes
from alos2tut.pretraining import stage as pretraining
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.stage import plan_pretraining, pretrain
from alos2tut.segmentation.config import FinetuneConfig
from alos2tut.segmentation.stage import finetune
from alos2tut.training import batches, callbacks
from alos2tut.training import loop as training
from alos2tut.training.batches import (
    EndlessBatches,
    PatchRows,
    batch_generator,
    derived_seed,
    draw_flips,
    draw_speckle,
    flip,
    speckled,
)
from alos2tut.training.callbacks import StepCallback, checkpoints_in, latest_checkpoint
from alos2tut.training.module import learning_rate, number_of_steps

# --- batches


def test_batches_are_those_of_batch_indices_from_where_it_is_told():
    sampler = EndlessBatches(10, 4, seed=3, first=lambda: 5)
    for micro_batch, batch in zip(range(5, 12), sampler, strict=False):
        assert [index for _, _, index in batch] == batch_indices(10, 4, 3, micro_batch).tolist()
        assert [(m, p) for m, p, _ in batch] == [(micro_batch, p) for p in range(4)]


def test_every_sample_once_before_any_twice():
    seen = [index for batch in islice(EndlessBatches(10, 5, 0, lambda: 0), 4) for _, _, index in batch]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and seen[:10] != seen[10:]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_batch(world):
    whole = list(islice(EndlessBatches(10, 5, 0, lambda: 2), 3))
    shares = [list(islice(EndlessBatches(10, 5, 0, lambda: 2, rank, world), 3)) for rank in range(world)]
    assert [list(chain(*batches)) for batches in zip(*shares, strict=True)] == whole


@pytest.mark.parametrize(("batch_size", "world"), [(8, 2), (5, 2), (7, 3)])
def test_pairs_stay_in_one_process(batch_size, world):
    """The i-th of a batch and the i-th from its end; reversing a share is reversing the batch."""
    shares = [EndlessBatches(20, batch_size, 0, lambda: 0, rank, world, paired=True).positions for rank in range(world)]
    assert sorted(np.concatenate(shares)) == list(range(batch_size))
    for share in shares:
        assert (share[::-1] == batch_size - 1 - share).all()


def test_first_is_asked_when_iteration_starts():
    start = 0
    sampler = EndlessBatches(10, 2, 0, lambda: start)
    start = 7
    assert next(iter(sampler))[0][0] == 7


def test_rows_are_gathered_and_not_pickled(packed_dataset):
    rows = PatchRows(packed_dataset, "train")
    batch = rows.__getitems__([(7, 0, 3), (7, 1, 0)])
    assert batch.micro_batch == 7 and batch.positions.tolist() == [0, 1]
    assert batch.rows.dtype == torch.int16 and batch.labels.dtype == torch.uint8
    assert (batch.rows[0].numpy() == np.load(packed_dataset / "pretrain_db.npy")[3]).all()
    copied = pickle.loads(pickle.dumps(rows))
    assert len(pickle.dumps(rows)) < 500 and torch.equal(copied.__getitems__([(7, 0, 3)]).rows[0], batch.rows[0])


# --- randomness


def test_draws_depend_on_seed_and_micro_batch():
    draws = {key: tuple(draw_flips(32, batch_generator(*key)).flatten().tolist()) for key in [(0, 0), (0, 1), (1, 0)]}
    assert len(set(draws.values())) == 3
    assert torch.equal(draw_flips(32, batch_generator(0, 1)), draw_flips(32, batch_generator(0, 1)))
    seeds = [derived_seed(0, purpose, key) for purpose in batches.PURPOSES for key in range(50)]
    assert len(set(seeds)) == len(seeds)


def test_flips_mirror_images_and_labels_alike():
    images, labels = torch.randn(4, 2, 3, 5), torch.randint(0, 9, (4, 3, 5))
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    for values in (images, labels):
        flipped = flip(values, flips)
        assert torch.equal(flipped[0], values[0])
        assert torch.equal(flipped[1], values[1].flip(-1))
        assert torch.equal(flipped[2], values[2].flip(-2))
        assert torch.equal(flipped[3], values[3].flip(-1, -2))


@pytest.mark.parametrize("looks", [1.0, 4.0])
def test_speckle_multiplies_power(looks):
    """Its mean is 1 and its variance 1/L; a missing pixel stays missing."""
    rows = torch.full((2, 1, 200, 200), -1234, dtype=torch.int16)
    rows[1, 0, :5] = -32768
    speckle = draw_speckle(tuple(rows.shape), looks, batch_generator(0, 3, "speckle"))
    noisy = speckled(rows, speckle)
    assert (noisy[1, 0, :5] == -32768).all()
    power = 10 ** (noisy[0].double() / 1000)
    assert float(power.mean()) == pytest.approx(10**-1.234, rel=0.03)
    assert float(power.var() / power.mean() ** 2) == pytest.approx(1 / looks, rel=0.05)
    torch.testing.assert_close(power / 10**-1.234, speckle[0].double(), rtol=1e-4, atol=1e-9)
    again = draw_speckle(tuple(rows.shape), looks, batch_generator(0, 3, "speckle"))
    assert torch.equal(again, speckle) and not torch.equal(again[0], again[1])
    # nothing at all is still a number that could be stored
    assert speckled(rows[:1], torch.zeros(1, 1, 200, 200)).min() == -32767


# --- learning rate


def test_pretraining_schedule():
    config = PretrainConfig(lr=1e-3, warmup_fraction=0.1, warmup_lr=1e-5, lr_drops=(0.5, 0.9))
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 1e-5 and rates[5] == pytest.approx(1e-5 + (1e-3 - 1e-5) / 2)
    assert rates[10] == rates[49] == 1e-3
    assert rates[50] == rates[89] == pytest.approx(1e-4) and rates[99] == pytest.approx(1e-5)


def test_finetuning_schedule():
    config = FinetuneConfig(lr=1e-3, warmup_fraction=0.2, min_lr=1e-5)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates[20] == 1e-3 and rates[60] == pytest.approx((1e-3 + 1e-5) / 2) and rates[100] == pytest.approx(1e-5)
    assert all(a > b for a, b in pairwise(rates[20:]))


def test_base_lr_scales_with_samples_per_step():
    config = PretrainConfig(base_lr=1e-4, batch_size=256, accumulate=4, warmup_fraction=0, warmup_lr=0)
    assert learning_rate(config, 0, 10) == pytest.approx(2e-4)
    assert learning_rate(replace(config, lr=3e-4), 0, 10) == 3e-4
    warm = replace(config, warmup_fraction=0.5, warmup_lr=1e-6)
    assert learning_rate(warm, 0, 10) == pytest.approx(2e-6)


def test_steps_from_epochs():
    config = PretrainConfig(epochs=3, batch_size=4, accumulate=2)
    assert number_of_steps(config, 17) == 7 and number_of_steps(replace(config, steps=5), 17) == 5
    assert number_of_steps(replace(config, epochs=0.001), 1) == 1


def test_ratios_alone_are_plain_ratios():
    numerator = torch.tensor(6.0, requires_grad=True)
    parts = {"loss": (numerator, torch.tensor(4.0)), "other": (torch.tensor(0.0), torch.tensor(0.0))}
    losses, reported = ratios_over_processes(parts, at_least=1.0)
    assert losses["loss"] == reported["loss"] == 1.5
    assert losses["loss"].requires_grad and not reported["loss"].requires_grad
    assert losses["other"] == reported["other"] == 0


class _Spy(StepCallback):
    """Looks at, or breaks, training at one step."""

    seen: ClassVar[list] = []
    at: ClassVar[int] = 0

    def __init__(self, *_):
        pass

    def on_step(self, trainer, module, step):
        if step == self.at:
            type(self).seen = [(group["lr"], group["lr_scale"]) for group in trainer.optimizers[0].param_groups]
            raise RuntimeError("stopped here")


def _settings(stage, dataset, work, **values):
    values = {"steps": 6, "accumulate": 2, "batch_size": 2, "checkpoint_every": 1, **values}
    return settings_of(stage, dataset, work, **values)


def _stop_after(monkeypatch, step):
    monkeypatch.setattr(_Spy, "at", step)
    monkeypatch.setattr(training, "Progress", _Spy)


def test_layer_decay_reaches_the_optimiser_at_a_step(packed_dataset, tmp_path, monkeypatch):
    config = _settings("finetune", packed_dataset, tmp_path, layer_decay=0.5, warmup_fraction=0.0)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped here"):
        _stop_after(patch, 4)
        finetune(config)
    lr = learning_rate(config, 3, 6)
    assert lr != learning_rate(config, 0, 6)
    # four blocks and what comes before and after them
    assert {scale for _, scale in _Spy.seen} == {0.5**halvings for halvings in range(6)}
    assert all(found == pytest.approx(lr * scale) for found, scale in _Spy.seen)


# --- resuming


@pytest.mark.parametrize(
    ("stage", "run", "weights", "extra"),
    [
        ("pretrain", pretrain, "encoder.safetensors", {"drop_path": 0.3}),
        ("pretrain", pretrain, "encoder.safetensors", {"drop_path": 0.3, "objective": "mixmae", "encoder": MIXED}),
        ("finetune", finetune, "segmenter.safetensors", {"drop_path": 0.3, "dropout": 0.5, "validate_every": 2}),
    ],
)
def test_interrupted_equals_uninterrupted(stage, run, weights, extra, packed_dataset, tmp_path, monkeypatch, capsys):
    straight = run(_settings(stage, packed_dataset, tmp_path / "straight", **extra))
    config = _settings(stage, packed_dataset, tmp_path / "resumed", **extra)
    for step in (3, 5):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped here"):
            _stop_after(patch, step)
            run(config)
    folder = next((tmp_path / "resumed").iterdir())
    assert [p.name for p in checkpoints_in(folder / "checkpoints")] == ["step-0000004.ckpt", "step-0000005.ckpt"]
    assert not (folder / "run.json").exists()
    capsys.readouterr()
    resumed = run(config)
    assert "resumed after 5" in capsys.readouterr().out
    for name in (weights, "metrics.csv", "run.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name
    assert [int(row["step"]) for row in metrics(resumed)] == [1, 2, 3, 4, 5, 6]


def test_two_trainings_of_the_same_do_not_write_into_each_other(packed_dataset, tmp_path):
    config = _settings("pretrain", packed_dataset, tmp_path)
    folder = plan_pretraining(config).folder
    with folder_lock(folder), pytest.raises(Alos2TutError, match=r"another process is working here \(process \d+ on"):
        pretrain(config)
    assert [path.name for path in folder.iterdir()] == ["lock"]
    # as of a process that was killed while it wrote a checkpoint
    (folder / "checkpoints" / ".step-0000002.ckpt.abcdefgh.tmp").mkdir(parents=True)
    names = {path.name for path in pretrain(config).iterdir()}
    results = {"encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv", "run.json"}
    assert names - {"tensorboard"} == results


def test_damaged_checkpoint_falls_back_to_the_one_before(packed_dataset, tmp_path, monkeypatch, capsys):
    straight = pretrain(_settings("pretrain", packed_dataset, tmp_path / "straight"))
    config = _settings("pretrain", packed_dataset, tmp_path / "damaged")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        _stop_after(patch, 4)
        pretrain(config)
    older, newest = checkpoints_in(next((tmp_path / "damaged").iterdir()) / "checkpoints")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    capsys.readouterr()
    with pytest.warns(Alos2TutWarning, match=r"step-0000004\.ckpt: the resume checkpoint is damaged"):
        resumed = pretrain(config)
    assert f"resumed after {int(older.stem[5:])}" in capsys.readouterr().out
    assert (resumed / "encoder.safetensors").read_bytes() == (straight / "encoder.safetensors").read_bytes()


def test_no_whole_checkpoint_starts_over(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "step-0000001.ckpt").write_bytes(b"PK")
    (tmp_path / "step-2.ckpt.part").write_bytes(b"")
    with pytest.warns(Alos2TutWarning, match="damaged"):
        assert latest_checkpoint(tmp_path) is None


def test_loader_workers_change_nothing(packed_dataset, tmp_path):
    alone = pretrain(_settings("pretrain", packed_dataset, tmp_path / "0", steps=2))
    helped = pretrain(_settings("pretrain", packed_dataset, tmp_path / "1", steps=2, loader_workers=1))
    assert (alone / "encoder.safetensors").read_bytes() == (helped / "encoder.safetensors").read_bytes()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_no_number_stops(what, packed_dataset, tmp_path, monkeypatch):
    """Before a checkpoint is written; the message names the step, the patches and the last good checkpoint."""
    config = _settings("pretrain", packed_dataset, tmp_path)
    whole = pretraining.Pretraining.losses

    def spoiled(self, batch, *others):
        loss, reported = whole(self, batch, *others)
        if batch.micro_batch == 7 and what == "gradient":
            loss = loss * math.inf
        elif batch.micro_batch == 7:
            loss, reported = loss * math.nan, {name: value * math.nan for name, value in reported.items()}
        return loss, reported

    with monkeypatch.context() as patch, pytest.raises(Alos2TutError) as caught:
        patch.setattr(pretraining.Pretraining, "losses", spoiled)
        pretrain(config)
    step_4 = [int(i) for micro_batch in (6, 7) for i in batch_indices(12, 2, config.seed, micro_batch)]
    patches = ", ".join(f"row {i}" for i in step_4)
    assert f"the {what} became nan at step 4, of the patches {patches} (all" in str(caught.value)
    assert "the last good checkpoint: step-0000003.ckpt" in str(caught.value)
    stage = caught.value.where
    failed = json.loads((stage / "failed.json").read_text())
    assert failed["patches"] == [f"row {i}" for i in step_4] and failed["step"] == 4
    assert [p.name for p in checkpoints_in(stage / "checkpoints")] == ["step-0000002.ckpt", "step-0000003.ckpt"]
    # what was good goes on, and ends as if nothing had happened
    straight = pretrain(_settings("pretrain", packed_dataset, tmp_path / "straight"))
    resumed = pretrain(config)
    assert (resumed / "encoder.safetensors").read_bytes() == (straight / "encoder.safetensors").read_bytes()
    assert not (resumed / "failed.json").exists()


def test_nothing_printed_but_two_lines_and_no_warning(packed_dataset, tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pretrain(_settings("pretrain", packed_dataset, tmp_path, steps=2))
    out, err = capfd.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == ["pretrain: 2 steps", "pretrain: step 2 of 2"]
    assert err == ""


# --- stopping


def _tell(signals):
    """A callback that sends this process a signal at each of these steps."""

    class Tells(StepCallback):
        def __init__(self, *_):
            pass

        def on_step(self, trainer, module, step):
            if step in signals:
                os.kill(os.getpid(), signals[step])

    return Tells


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_cleanly(number, packed_dataset, tmp_path, monkeypatch):
    straight = pretrain(_settings("pretrain", packed_dataset, tmp_path / "straight", drop_path=0.3))
    config = _settings("pretrain", packed_dataset, tmp_path / "told", drop_path=0.3, checkpoint_every=100)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=f"after step 4 of 6 .{number.name}."):
        patch.setattr(training, "Progress", _tell({3: number}))
        pretrain(config)
    assert signal.getsignal(number) == before
    stage = tmp_path / "told" / straight.name
    told = json.loads((stage / "stopped.json").read_text())
    assert told == {"step": 4, "steps": 6, "reason": number.name}
    assert [p.name for p in checkpoints_in(stage / "checkpoints")] == ["step-0000004.ckpt"]
    assert plan_pretraining(config).state == f"4 of 6 steps are done; stopped: {number.name}"
    assert pretrain(config) == stage and not (stage / "stopped.json").exists()
    for name in ("encoder.safetensors", "metrics.csv", "run.json", "reconstructions.npz"):
        assert (stage / name).read_bytes() == (straight / name).read_bytes(), name


def test_the_clock_stops_cleanly_and_the_command_says_so(packed_dataset, tmp_path, capsys, monkeypatch):
    settings = ["mask_unit_px=8", f"encoder={json.dumps(TINY)}", "batch_size=2", "steps=6", "stop_after_minutes=1e-9"]
    command = ["pretrain", str(packed_dataset), "--work-dir", str(tmp_path)]
    for setting in settings:
        command += ["--set", setting]
    assert main(command) == 75
    said = capsys.readouterr()
    assert "stopped after step 1 of 6 (stop_after_minutes=1e-09); run again to go on" in said.err
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # torchrun would take another status for a failure
    assert main(command) == 0
    assert "stopped after step 2 of 6" in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(packed_dataset, tmp_path, monkeypatch):
    config = _settings("pretrain", packed_dataset, tmp_path)
    other = replace(config, encoder=replace(config.encoder, embed_dim=16))
    for settings in (config, other):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            _stop_after(patch, 3)
            pretrain(settings)
    mine, theirs = (plan_pretraining(settings).folder / "checkpoints" for settings in (config, other))
    shutil.rmtree(mine)
    shutil.move(theirs, mine)
    with pytest.raises(Alos2TutError, match=r"ckpt: is a checkpoint of another architecture: 'network\.decoder\.0\."):
        pretrain(config)


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ("run",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"state_dict": _Hostile()}, "posix.mkdir"), ({"state_dict": {}}, "callbacks"), ([1], "list"), ({}, "state_dict")],
    ids=["code", "no training", "list", "empty"],
)
def test_a_resume_checkpoint_that_is_none_is_refused(packed_dataset, tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    config = _settings("pretrain", packed_dataset, tmp_path)
    folder = plan_pretraining(config).folder / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(content, folder / "step-0000001.ckpt")
    with pytest.raises(Alos2TutError, match=rf"0001\.ckpt: is damaged, or no resume.*{reason}.*nothing in it was run"):
        pretrain(config)
    assert not (tmp_path / "run").exists()


def test_a_compressed_resume_checkpoint_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "step-0000001.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(2**20))
    with pytest.warns(Alos2TutWarning, match="is damaged"):
        assert latest_checkpoint(tmp_path) is None


def test_ctrl_c_is_an_exception_and_not_the_end(packed_dataset, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    config = _settings("pretrain", packed_dataset, tmp_path, steps=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks.Progress, "on_step", interrupt)
        pretrain(config)
    assert (pretrain(config) / "run.json").is_file()


def test_the_users_random_state_is_left_alone(packed_dataset, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finetune(_settings("finetune", packed_dataset, tmp_path, steps=1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("room", "file"), [(20, "tensorboard"), (300, "tensorboard"), (4000, "step-0000002.ckpt")])
def test_a_full_disk_is_told_and_training_goes_on_when_there_is_room(packed_dataset, tmp_path, room, file):
    config = settings_of("pretrain", packed_dataset, tmp_path, steps=60, batch_size=2, checkpoint_every=2)
    with files_of_at_most(room), pytest.raises(Alos2TutError, match=rf"{file}: could not be written .*free disk space"):
        pretrain(config)
    [folder] = tmp_path.iterdir()
    assert not list(folder.rglob("*.safetensors")) and not list(folder.rglob("*.ckpt"))
    assert len(metrics(pretrain(replace(config, steps=2)))) == 2
