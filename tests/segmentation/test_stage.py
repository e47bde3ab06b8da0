"""The decoder, the loss, the scores and fine-tuning."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.networks import TINY, metrics, training
from support.packed import restate_files, write_packed_dataset

from alos2tut.core.config import settings_for_key
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning, Stopped
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.metrics import scores_from_confusion
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.decoders import DECODERS
from alos2tut.networks.encoders import SwinEncoder, parameter_groups, standardize
from alos2tut.networks.inference import confusion_matrix
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import load_encoder, load_segmenter
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.stage import pretrain
from alos2tut.segmentation import frozen
from alos2tut.segmentation import stage as segmentation
from alos2tut.segmentation.budgets import budgeted_patches, covering_order, pixels_by_patch
from alos2tut.segmentation.config import FinetuneConfig
from alos2tut.segmentation.losses import segmentation_losses
from alos2tut.segmentation.stage import _initial_segmenter, finetune, training_class_weights
from alos2tut.training.batches import Batch
from alos2tut.training.run import initial_encoder

CONFIG = FinetuneConfig()


def _settings(dataset, work, **values):
    values = {"steps": 4, "batch_size": 3, "validate_every": 2, "decoder_width": 16, **values}
    return training("finetune", dataset, work, **values)


# --- decoder


@pytest.mark.parametrize(
    ("width", "groups"), [(8, {1}), (24, {1}), (32, {4}), (38, {2}), (128, {16}), pytest.param(256, {16}, id="paper")]
)
def test_groups_of_a_narrow_decoder_keep_eight_channels(width, groups):
    with torch.device("meta"):
        encoder = SwinEncoder(EncoderConfig(embed_dim=16, depths=(1, 1, 1, 1)), (256, 256))
        decoder = DECODERS["paper"](encoder, 2, width=width, dropout=0.0)
    norms = [module.num_groups for module in decoder.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert set(norms) == groups and len(norms) == 14 and decoder.factors == [2, 2]


# --- loss


def dice_focal(*arguments):
    loss, reported = segmentation_losses(*arguments)
    assert torch.equal(loss.detach(), reported)
    return loss


def test_focal_by_hand():
    config = replace(CONFIG, dice_share=0.0, alpha_scale=0.4, focal_gamma=3.0)
    logits = torch.randn(2, 3, 4, 4)
    labels = torch.randint(0, 3, (2, 4, 4), dtype=torch.uint8)
    labels[0, 0] = 255
    weights = torch.tensor([0.2, 0.3, 0.5])
    expected = []
    for b, r, c in np.argwhere(labels.numpy() != 255):
        true = int(labels[b, r, c])
        p = torch.softmax(logits[b, :, r, c], dim=0)[true]
        expected.append(-weights[true] * 0.4 * (1 - p) ** 3 * torch.log(p))
    torch.testing.assert_close(dice_focal(logits, labels, weights, config), torch.stack(expected).mean())


def test_dice_by_hand():
    """Only classes present in an image count there; an image without labels does not count."""
    config = replace(CONFIG, dice_share=1.0)
    logits = torch.randn(3, 3, 2, 2)
    labels = torch.tensor([[[0, 1], [1, 255]], [[2, 2], [2, 2]], [[255, 255], [255, 255]]], dtype=torch.uint8)
    p = torch.softmax(logits, dim=1)
    seen = p[0].flatten(1)[:, :3]
    first = (1 - 2 * seen[0, 0] / (seen[0].sum() + 1), 1 - 2 * seen[1, 1:].sum() / (seen[1].sum() + 2))
    second = 1 - 2 * p[1, 2].sum() / (p[1, 2].sum() + 4)
    expected = (sum(first) / 2 + second) / 2
    torch.testing.assert_close(dice_focal(logits, labels, torch.ones(3), config), expected)


def test_shares_add_up():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4), dtype=torch.uint8)
    dice, focal, mixed = (
        dice_focal(logits, labels, torch.ones(3), replace(CONFIG, dice_share=s)) for s in (1.0, 0.0, 0.3)
    )
    torch.testing.assert_close(mixed, 0.3 * dice + 0.7 * focal)


def test_nothing_labelled_is_zero_and_no_nan():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = dice_focal(logits, torch.full((2, 4, 4), 255, dtype=torch.uint8), torch.ones(3), CONFIG)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_ignored_pixels_have_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    dice_focal(logits, torch.tensor([[[0, 255], [2, 1]]], dtype=torch.uint8), torch.ones(3), CONFIG).backward()
    assert (logits.grad[0, :, 0, 1] == 0).all() and (logits.grad[0, :, 0, 0] != 0).all()


def test_dice_is_that_of_another_library():
    """Where definitions agree: one image, every class in it; ignored pixels left out by both."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    logits, labels = torch.randn(1, 4, 16, 16), torch.arange(256).view(1, 16, 16) % 4
    labels[0, :3, :5] = 255
    other = smp.losses.DiceLoss("multiclass", ignore_index=255)(logits, labels)
    ours = dice_focal(logits, labels.to(torch.uint8), torch.ones(4), replace(CONFIG, dice_share=1.0))
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def test_cross_entropy_is_torchs():
    config = replace(CONFIG, loss="cross_entropy")
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[1, :2] = 255
    weights = torch.tensor([0.2, 0.3, 0.5])
    loss, reported = segmentation_losses(logits, labels.to(torch.uint8), weights, config)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, weights, ignore_index=255))
    assert loss == reported
    nothing = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    assert segmentation_losses(logits, nothing, weights, config)[0] == 0


# --- fine-tuning


@pytest.fixture(scope="module")
def finished(packed_dataset, tmp_path_factory):
    return finetune(_settings(packed_dataset, tmp_path_factory.mktemp("work"), steps=20, validate_every=5))


def test_finetune_leaves_its_results(finished, packed_dataset):
    run = json.loads((finished / "run.json").read_text())
    assert finished.name.startswith("finetune-") and run["init"] == "random"
    rows = metrics(finished)
    validated = {int(row["step"]): float(row["val_miou"]) for row in rows if row["val_miou"]}
    assert list(validated) == [5, 10, 15, 20] and len(rows) == 20
    assert run["val"]["miou"] == max(validated.values()) == validated[run["best_step"]]
    # classes differ in brightness: with labels that lie elsewhere it is not learned, and a constant has 0.14
    assert run["val"]["miou"] > 0.5
    segmenter = load_segmenter(finished / "segmenter.safetensors")
    matrix = confusion_matrix(segmenter, open_dataset(packed_dataset).split("val"), 3)
    assert scores_from_confusion(matrix) == run["val"]
    text = (finished / "run.json").read_text()
    assert str(packed_dataset) not in text and "dataset" in run["made_from"]


def test_confusion_matrix_counts_reference_by_row(finished, packed_dataset):
    segmenter = load_segmenter(finished / "segmenter.safetensors")
    split = open_dataset(packed_dataset).split("val")
    rows, labels = split.gather([0, 1, 2, 3])
    predicted = segmenter(standardize(torch.from_numpy(rows), segmenter.statistics)[0]).argmax(1).numpy()
    expected = np.zeros((3, 3), dtype=np.int64)
    for reference, prediction in zip(labels.ravel(), predicted.ravel(), strict=True):
        if reference != 255:
            expected[reference, prediction] += 1
    assert (confusion_matrix(segmenter, split, 3) == expected).all()


def test_processes_without_a_group_each_count_the_whole_list(finished, packed_dataset, monkeypatch):
    segmenter, split = load_segmenter(finished), open_dataset(packed_dataset).split("val")
    alone = confusion_matrix(segmenter, split, 3)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (confusion_matrix(segmenter, split, 3) == alone).all()


def test_complete_finetuning_is_reused(packed_dataset, tmp_path, capsys):
    config = _settings(packed_dataset, tmp_path, steps=1)
    stage = finetune(config)
    capsys.readouterr()
    assert finetune(config) == stage and capsys.readouterr().out == f"reusing {stage}\n"


@pytest.mark.parametrize("mode", ["full", "frozen", "linear_probe"])
def test_what_each_mode_trains(mode, packed_dataset, tmp_path):
    config = _settings(packed_dataset, tmp_path, mode=mode, lr=3e-3, drop_path=0.3)
    started = initial_encoder(config, open_dataset(packed_dataset)).state_dict()
    stage = finetune(config)
    segmenter = load_segmenter(stage)
    assert segmenter.decoder_kind == ("linear" if mode == "linear_probe" else "paper")
    changed = {
        name for name, weights in segmenter.encoder.state_dict().items() if not torch.equal(weights, started[name])
    }
    assert bool(changed) == (mode == "full")
    # frozen numbers are counted, too
    counted = json.loads((stage / "run.json").read_text())["parameters"]["encoder"]
    assert counted == sum(p.numel() for p in segmenter.encoder.parameters())
    network = _initial_segmenter(
        config, open_dataset(packed_dataset), initial_encoder(config, open_dataset(packed_dataset))
    )
    assert network.training and network.decoder.training and network.encoder.training == (mode == "full")


@pytest.mark.parametrize("decoder", ["refined", "linear", "pixel"])
def test_other_decoders_come_back(decoder, packed_dataset, tmp_path):
    segmenter = load_segmenter(finetune(_settings(packed_dataset, tmp_path, decoder=decoder)))
    assert segmenter.decoder_kind == decoder
    assert segmenter(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 32, 32)


def test_a_vit_is_fine_tuned(packed_dataset, tmp_path):
    vit = {"kind": "vit", "patch_size": 8, "embed_dim": 16, "depths": [4], "num_heads": [2]}
    stage = pretrain(training("pretrain", packed_dataset, tmp_path, encoder=vit, steps=1, batch_size=2))
    segmenter = load_segmenter(finetune(_settings(packed_dataset, tmp_path, init=str(stage), layer_decay=0.5)))
    assert segmenter.encoder.config.kind == "vit"


@pytest.mark.parametrize(("name", "value"), [("encoder_lr", 0.3), ("budget_draw", "covering"), ("mirror", False)])
def test_what_is_not_set_has_no_part_in_the_key(name, value, packed_dataset, tmp_path):
    config = _settings(packed_dataset, tmp_path)
    assert name not in settings_for_key(config)
    assert settings_for_key(replace(config, **{name: value}))[name] == value


# --- a frozen encoder


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("decoder", ["pixel", "paper"])
def test_a_frozen_encoder_sees_each_patch_once(decoder, mirror, packed_dataset, tmp_path, monkeypatch):
    """What was kept is what it would see again, mirrored or not, in whatever company."""
    dataset = open_dataset(packed_dataset)
    values = {"mode": "frozen", "decoder": decoder, "mirror": mirror, "loss_pixels": 16, "batch_size": 4}
    config = _settings(packed_dataset, tmp_path, **values)
    network = _initial_segmenter(config, dataset, initial_encoder(config, dataset))
    training_of = segmentation._Finetuning(network, config, torch.ones(3), 4, np.arange(10))
    rows, labels = map(torch.from_numpy, dataset.split("train").gather(np.arange(4)))
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    batch = Batch(0, np.arange(4), rows, labels, np.arange(4))
    twice = [training_of.losses(batch, flips, torch.Generator())[1]["loss"] for _ in range(2)]
    seen = []
    monkeypatch.setattr(network.encoder, "features", lambda *args, **kwargs: seen.append(args))
    twice.append(training_of.losses(batch, flips, torch.Generator())[1]["loss"])
    assert not seen and (decoder == "paper" or twice[0] != twice[1] or not network.training)
    monkeypatch.undo()
    network.eval()
    kept = training_of.losses(batch, flips, torch.Generator())[1]["loss"]
    training_of.frozen = None
    torch.testing.assert_close(kept, training_of.losses(batch, flips, torch.Generator())[1]["loss"])
    other = replace(config, mirror=not mirror)
    training_of.config = other
    assert training_of.losses(batch, flips, torch.Generator())[1]["loss"] != kept


def test_maps_are_kept_only_of_an_encoder_and_patches_that_stay(packed_dataset, tmp_path, monkeypatch):
    dataset = open_dataset(packed_dataset)

    def store(**values):
        config = _settings(packed_dataset, tmp_path, **values)
        network = _initial_segmenter(config, dataset, initial_encoder(config, dataset))
        return segmentation._Finetuning(network, config, torch.ones(3), 4, np.arange(10)).frozen

    assert store(mode="frozen") and store(mode="linear_probe")
    assert not store()
    monkeypatch.setattr(frozen, "_MOST_BYTES", 2**20)
    assert not store(mode="frozen") and store(mode="frozen", mirror=False)


def test_a_resumed_frozen_training_is_the_same(packed_dataset, tmp_path):
    values = {"mode": "frozen", "decoder": "pixel", "loss_pixels": 16, "steps": 4, "checkpoint_every": 2}
    whole = finetune(_settings(packed_dataset, tmp_path / "whole", **values))
    with pytest.raises(Stopped):
        finetune(_settings(packed_dataset, tmp_path / "parts", **values, stop_after_minutes=1e-9))
    parts = finetune(_settings(packed_dataset, tmp_path / "parts", **values))
    assert (parts / "segmenter.safetensors").read_bytes() == (whole / "segmenter.safetensors").read_bytes()


# --- budgets


def test_budgets_are_nested_and_drawn_by_seed(packed_dataset, tmp_path):
    dataset = open_dataset(packed_dataset)
    drawn = {
        (seed, n): set(budgeted_patches(_settings(packed_dataset, tmp_path, budget=n, seed=seed), dataset).tolist())
        for seed in (0, 1)
        for n in (2, 5, 10)
    }
    for seed in (0, 1):
        assert drawn[seed, 2] < drawn[seed, 5] < drawn[seed, 10] == set(range(10))
    assert drawn[0, 5] != drawn[1, 5]


def _with_rare_classes(path):
    """Ten patches to train on, of which one has class 1 and another, alone, class 2."""
    dataset = write_packed_dataset(path)
    labels = np.zeros((12, 32, 32), dtype=np.uint8)
    labels[3, :2], labels[7, 5, 5], labels[11] = 1, 2, 2
    np.save(dataset / "pretrain_labels.npy", labels)
    restate_files(dataset)
    return dataset


def test_an_oracle_covers_every_class(tmp_path):
    folder = _with_rare_classes(tmp_path / "dataset")
    dataset = open_dataset(folder)
    by_patch = pixels_by_patch(dataset.split("train"), np.arange(10), 3)
    assert by_patch.shape == (10, 3) and by_patch[3].tolist() == [960, 64, 0] and by_patch[7, 2] == 1
    for seed in range(5):
        config = _settings(folder, tmp_path, budget_draw="covering", seed=seed)
        drawn = [set(budgeted_patches(replace(config, budget=n), dataset).tolist()) for n in range(1, 11)]
        assert all(len(one) == n for n, one in enumerate(drawn, 1)) and all(map(set.issubset, drawn, drawn[1:]))
        # the rarest class first; two patches have all three
        assert drawn[0] == {7} and drawn[1] == {3, 7}
        # the others in the order of the random draw
        order = [next(iter(b - a)) for a, b in pairwise([set(), *drawn])]
        plain = [replace(config, budget_draw="random", budget=n) for n in range(1, 11)]
        plain = [set(budgeted_patches(one, dataset).tolist()) for one in plain]
        random = [next(iter(b - a)) for a, b in pairwise([set(), *plain])]
        assert order[2:] == [one for one in random if one not in (3, 7)]


def test_the_covering_patch_is_drawn():
    pixels = np.array([[9, 0], [9, 3], [9, 1], [9, 2]])
    firsts = {int(covering_order(np.random.default_rng(seed).permutation(4), pixels)[0]) for seed in range(30)}
    assert firsts == {1, 2, 3}


@pytest.mark.parametrize(("draw", "lacking"), [("random", 2), ("covering", 1)])
def test_what_a_budget_lacks_is_told(draw, lacking, tmp_path):
    config = _settings(_with_rare_classes(tmp_path / "dataset"), tmp_path, steps=1, budget=1, budget_draw=draw)
    with pytest.warns(Alos2TutWarning, match=rf"without a pixel: class {lacking} \(train\)"):
        finetune(config)


def test_only_the_budget_is_learned_from(packed_dataset, tmp_path):
    """Labels of other patches may be anything: weights, loss and class weights stay as they are."""
    config = _settings(packed_dataset, tmp_path, budget=4)
    first = finetune(config)
    paid = budgeted_patches(config, open_dataset(packed_dataset))
    other = write_packed_dataset(tmp_path / "other")
    labels, rows = (np.load(other / f"pretrain_{kind}.npy") for kind in ("labels", "db"))
    unpaid = [i for i in range(12) if i not in paid]
    labels[unpaid], rows[unpaid] = 0, -1000
    np.save(other / "pretrain_labels.npy", labels)
    np.save(other / "pretrain_db.npy", rows)
    restate_files(other)
    second = finetune(replace(config, dataset=str(other)))
    assert (second / "metrics.csv").read_text() == (first / "metrics.csv").read_text()
    run = json.loads((first / "run.json").read_text())
    counts = np.bincount(np.load(packed_dataset / "pretrain_labels.npy")[paid].ravel(), minlength=256)[:3]
    assert run["patches"] == 4
    np.testing.assert_allclose(run["class_weights"], (1 - counts / counts.sum()) / 2, atol=1e-6)


def test_budgets_and_labels_that_are_not_there(packed_dataset, tmp_path):
    with pytest.raises(Alos2TutError, match=r"train\.csv: a budget of 11 patches, of which there are 10"):
        finetune(_settings(packed_dataset, tmp_path / "work", budget=11))
    unlabelled = write_packed_dataset(tmp_path / "dataset")
    labels = np.load(unlabelled / "pretrain_labels.npy")
    np.save(unlabelled / "pretrain_labels.npy", np.full_like(labels, 255))
    restate_files(unlabelled)
    with pytest.raises(Alos2TutError, match=r"train\.csv: none of 5 patches has a label"):
        finetune(_settings(unlabelled, tmp_path / "work", budget=5))
    (unlabelled / "train.csv").write_text("Year,Row,West,South,East,North\n")
    restate_files(unlabelled)
    with pytest.raises(Alos2TutError, match=r"train\.csv: the list of patches to train on is empty.*more ground"):
        finetune(_settings(unlabelled, tmp_path / "work"))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("weighting", "expected"), [("none", [1, 1, 1]), ("tempered", None), ("frequency", None)])
def test_class_weights(weighting, expected, packed_dataset, tmp_path):
    config, dataset = _settings(packed_dataset, tmp_path, class_weighting=weighting), open_dataset(packed_dataset)
    weights = training_class_weights(config, dataset, np.arange(10))
    share = np.bincount(np.load(packed_dataset / "pretrain_labels.npy")[:10].ravel(), minlength=256)[:3]
    share = share / share.sum()
    if weighting == "tempered":
        expected = share**-0.5 / (share**-0.5).sum()
    elif weighting == "frequency":
        expected = (1 - share) / 2
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_a_class_that_is_alone_has_a_weight(tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset")
    np.save(dataset / "pretrain_labels.npy", np.zeros((12, 32, 32), dtype=np.uint8))
    restate_files(dataset)
    config = _settings(dataset, tmp_path, budget=3)
    weights = training_class_weights(config, open_dataset(dataset), np.arange(3))
    assert (weights == 1).all()


def test_patience_ends_training_and_the_best_stays(packed_dataset, tmp_path):
    """Nothing gets better with a learning rate of next to nothing: after two more validations it ends."""
    config = _settings(packed_dataset, tmp_path, steps=40, validate_every=2, patience=2, lr=1e-12, warmup_fraction=0.0)
    stage = finetune(config)
    run = json.loads((stage / "run.json").read_text())
    assert (run["best_step"], run["last_step"]) == (2, 6)
    assert int(metrics(stage)[-1]["step"]) == 6


def test_a_training_that_found_its_end_leaves_no_checkpoint_to_go_on_from(packed_dataset, tmp_path, monkeypatch):
    """Killed between its last step and its results, it finds the same end again."""
    values = {"steps": 40, "validate_every": 2, "patience": 2, "lr": 1e-12, "warmup_fraction": 0.0}
    straight = finetune(_settings(packed_dataset, tmp_path / "straight", **values))
    config = _settings(packed_dataset, tmp_path / "killed", checkpoint_every=2, **values)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(segmentation, "_write_results", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        finetune(config)
    folder = next((tmp_path / "killed").iterdir())
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-0000002.ckpt", "step-0000004.ckpt"]
    again = finetune(config)
    for name in ("run.json", "metrics.csv", "segmenter.safetensors"):
        assert (again / name).read_bytes() == (straight / name).read_bytes(), name


def test_test_split_is_never_opened(packed_dataset, tmp_path):
    copy = write_packed_dataset(tmp_path / "dataset")
    for file in ("test_db.npy", "test_labels.npy"):
        (copy / file).unlink()
    finetune(_settings(copy, tmp_path, steps=1))


def test_from_pretrained_weights(packed_dataset, tmp_path):
    stage = pretrain(training("pretrain", packed_dataset, tmp_path, steps=1, batch_size=2))
    other = write_packed_dataset(tmp_path / "other", seed=1, statistics={"mean_db": [-9.0], "std_db": [5.0]})
    # the settings name another architecture: that of the file counts
    config = _settings(other, tmp_path, steps=1, init=str(stage), encoder={**TINY, "depths": [1, 1, 2, 1]})
    with pytest.warns(Alos2TutWarning, match="weights' own mean"):
        result = finetune(config)
    segmenter = load_segmenter(result / "segmenter.safetensors")
    assert segmenter.statistics == Statistics((-11.0,), (6.0,)) and segmenter.encoder.config.depths == (1, 1, 1, 1)
    assert json.loads((result / "run.json").read_text())["init"] == "file"
    with pytest.warns(Alos2TutWarning):
        assert finetune(replace(config, init=str(stage / "encoder.safetensors"))) == result

    for changes, named in [({"polarizations": ["HV"]}, "polarizations"), ({"spacing_m": [10.0, 10.0]}, "spacing_m")]:
        wrong = write_packed_dataset(tmp_path / named, **changes)
        with pytest.raises(Alos2TutError, match=named):
            finetune(_settings(wrong, tmp_path, init=str(stage)))
    allowed = _settings(wrong, tmp_path, steps=1, init=str(stage), allow_other_signal=True)
    with pytest.warns(Alos2TutWarning, match="trained on spacing_m"):
        assert load_segmenter(finetune(allowed)).signal["spacing_m"] == [10.0, 10.0]
    with pytest.raises(Alos2TutError, match="patches of 32 × 32 px, the dataset's are 64 × 64"):
        finetune(_settings(write_packed_dataset(tmp_path / "large", patch_px=64), tmp_path, init=str(stage)))
    with pytest.raises(Alos2TutError, match="no such file"):
        finetune(_settings(packed_dataset, tmp_path, init=str(tmp_path / "nowhere.safetensors")))


def test_data_of_another_polarisation_may_be_standardised_by_their_own(packed_dataset, tmp_path, monkeypatch):
    """What the network is given has the spread of the dataset's own statistics, and the file says whose they are."""
    stage = pretrain(training("pretrain", packed_dataset, tmp_path, steps=1, batch_size=2))
    own = {"mean_db": [-9.0], "std_db": [4.0]}
    dataset = write_packed_dataset(tmp_path / "hv", polarizations=["HV"], statistics=own)
    values = {"steps": 2, "init": str(stage), "statistics": "own"}
    with pytest.raises(Alos2TutError, match=r"polarizations.*statistics=own"):
        finetune(_settings(dataset, tmp_path, **values))
    config = _settings(dataset, tmp_path, allow_other_signal=True, **values)
    given, forward = [], Segmenter.forward
    monkeypatch.setattr(Segmenter, "forward", lambda self, x: given.append(x) or forward(self, x))
    with pytest.warns(Alos2TutWarning, match="polarizations"):
        folder = finetune(config)
    [patch] = open_dataset(dataset).split("val").gather_rows([0])
    expected = np.where(patch == -32768, 0, (patch / 100 + 9.0) / 4.0)
    assert any(x.shape[0] > 0 and np.allclose(x[0].numpy(), expected, atol=1e-5) for x in given)
    segmenter = load_segmenter(folder)
    assert segmenter.statistics == Statistics((-9.0,), (4.0,)) and segmenter.signal["polarizations"] == ["HV"]
    assert segmenter.header["statistics_from"] == "own"
    matrix = confusion_matrix(segmenter, open_dataset(dataset).split("val"), 3)
    assert scores_from_confusion(matrix) == json.loads((folder / "run.json").read_text())["val"]
    with pytest.warns(Alos2TutWarning):
        travelled = finetune(replace(config, statistics="encoder"))
    assert travelled != folder and "statistics_from" not in load_segmenter(travelled).header
    # the key of a training that does not name it is as before
    assert "statistics" not in json.loads((travelled / "run.json").read_text())["settings"]
    # pretraining goes on in the same way, and what goes on from there has no exception of its own
    with pytest.warns(Alos2TutWarning):
        going_on = replace(training("pretrain", dataset, tmp_path, steps=1, batch_size=2), init=str(stage),
                           statistics="own", allow_other_signal=True)  # fmt: skip
        second = load_encoder(pretrain(going_on))
        third = finetune(_settings(dataset, tmp_path, steps=1, init=str(pretrain(going_on))))
    assert second.statistics == Statistics((-9.0,), (4.0,)) and second.header["statistics_from"] == "own"
    assert load_segmenter(third).statistics == second.statistics
    assert "statistics_from" not in load_segmenter(third).header
    with pytest.raises(Alos2TutError, match="nothing calls for it"):
        finetune(_settings(write_packed_dataset(tmp_path / "o", statistics=own), tmp_path, **values))


def test_validation_without_labels_is_refused(tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset")
    np.save(dataset / "val_labels.npy", np.full((4, 32, 32), 255, dtype=np.uint8))
    restate_files(dataset)
    with pytest.raises(Alos2TutError, match="no labelled pixel"):
        finetune(_settings(dataset, tmp_path))


@pytest.mark.parametrize(("store", "name"), [("pretrain", "train"), ("val", "val")])
def test_a_label_beyond_the_legend_is_refused_before_training(store, name, tmp_path, monkeypatch):
    dataset = write_packed_dataset(tmp_path / "dataset")
    labels = np.load(dataset / f"{store}_labels.npy")
    split = open_dataset(dataset).split(name)
    assert split.check_labels(3) and not split.check_labels(3, np.array([], np.int64))
    labels[split.rows[1], 5, 6] = 200
    np.save(dataset / f"{store}_labels.npy", labels)
    restate_files(dataset)
    monkeypatch.setattr(segmentation, "fit", lambda *_, **__: pytest.fail("has begun"))
    patch = split.table[1].get("FileName") or "in row 1"
    with pytest.raises(Alos2TutError, match=f"list '{name}': the patch {patch} has the label 200, which is no class"):
        finetune(_settings(dataset, tmp_path))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
     torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")],
    ids=["NumPy", "CPU", "GPU"],
)  # fmt: skip
def test_too_little_memory_says_what_to_lower(error, packed_dataset, tmp_path, monkeypatch):
    def forward(*_):
        raise error

    monkeypatch.setattr("alos2tut.networks.segmenter.Segmenter.forward", forward)
    with pytest.raises(Alos2TutError, match=r"memory does not suffice.*batch_size.*accumulate.*gradient_checkpointing"):
        finetune(_settings(packed_dataset, tmp_path))


def test_a_batch_that_no_machine_holds_is_refused_before_it_is_asked_for(packed_dataset, tmp_path):
    for config in (_settings(packed_dataset, tmp_path), training("pretrain", packed_dataset, tmp_path)):
        with pytest.raises(Alos2TutError, match=r"batch_size: 2,?147,?483,?647 patches at once take .* GiB"):
            {"FinetuneConfig": finetune, "PretrainConfig": pretrain}[type(config).__name__](
                replace(config, batch_size=2**31 - 1)
            )
    assert not list(tmp_path.glob("*-*"))


def test_paper_defaults():
    assert (CONFIG.dice_share, CONFIG.focal_gamma, CONFIG.alpha_scale, CONFIG.layer_decay) == (0.5, 2.0, 0.5, 0.8)
    assert PretrainConfig().weighting == "sar"


def test_frozen_in_fine_tuning(packed_dataset, tmp_path):
    config, dataset = _settings(packed_dataset, tmp_path), open_dataset(packed_dataset)
    network = _initial_segmenter(config, dataset, initial_encoder(config, dataset))
    network(torch.randn(2, 1, 32, 32)).sum().backward()
    trained = {id(p) for group in parameter_groups(network, 0.05) for p in group["params"]}
    assert all((p.grad is None) == (id(p) not in trained) for p in network.parameters())
