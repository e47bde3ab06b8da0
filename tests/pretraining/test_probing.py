"""Probes: known answers, what they learn from and are scored on, what is left out, and what is refused."""

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t
from support.figures import texts
from support.networks import SIGNAL, STATISTICS, TINY
from support.packed import write_packed_dataset

from alos2tut import load_encoder, open_dataset, probe
from alos2tut.cli import main
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning
from alos2tut.dataset.encoding import NO_DATA, Statistics
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, VisionTransformerEncoder, standardize
from alos2tut.networks.weights import save_encoder
from alos2tut.pretraining import probing
from alos2tut.pretraining.probing import (
    RANDOM,
    RAW,
    Probe,
    Score,
    Task,
    balanced_accuracy,
    draw_patches,
    majorities,
    name_encoders,
)
from alos2tut.tutorial.figures import pretraining as figures

VIT = EncoderConfig(kind="vit", patch_size=8, embed_dim=16, depths=(1,), num_heads=(2,))
EVERY = [("patch", "k-NN"), ("patch", "linear"), ("cell", "linear")]


class Seer(VisionTransformerEncoder):
    """Features that are the class: of a place with −4 − 6·class dB, one number is 1 and the others are 0."""

    def forward(self, x, mask=None):
        db = torch.nn.functional.avg_pool2d(x * 6 - 11, 8)
        nearest = ((-4 - db) / 6).round().long().clamp(0, 15)[:, 0]
        return torch.nn.functional.one_hot(nearest, 16).movedim(-1, 1).float()


def ready(encoder):
    encoder.statistics, encoder.signal = STATISTICS, SIGNAL
    return encoder


@pytest.fixture
def seer():
    return ready(Seer(VIT, (32, 32)))


def encoder_file(path: Path, config=VIT, image_px=(32, 32), channels=1, **changes) -> Path:
    kept = {"statistics": STATISTICS, "signal": SIGNAL, "objective": {}, "provenance": {}, "simulated": True}
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_encoder(path, VisionTransformerEncoder(config, image_px, channels), **kept | changes)
    return path


@pytest.fixture
def trained(tmp_path):
    """The folder of a pretraining, as far as probing needs it."""
    return encoder_file(tmp_path / "pretrain-abc" / "encoder.safetensors").parent


def write_ground(path: Path, train: np.ndarray, val: np.ndarray, brightness=None, **changes) -> Path:
    """A dataset of these labels (n, 32, 32), in which a class has −4 − 6·class dB, unless told otherwise."""
    write_packed_dataset(path, n=len(train) + 2, n_held_out=len(val), **changes)
    for store, labels in [("pretrain", np.concatenate([train, train[:2]])), ("val", val)]:
        seen = labels if brightness is None else brightness(labels)
        np.save(path / f"{store}_db.npy", np.round(100 * (-4.0 - 6 * seen)).astype(np.int16)[:, None])
        np.save(path / f"{store}_labels.npy", labels.astype(np.uint8))
    return path


def whole(classes) -> np.ndarray:
    """Patches of one class each."""
    return np.broadcast_to(np.array(classes, np.uint8)[:, None, None], (len(classes), 32, 32)).copy()


def mixed(n: int, seed: int, classes: int = 3) -> np.ndarray:
    """Patches of 8 × 8 pixel cells of random classes."""
    cells = np.random.default_rng(seed).integers(0, classes, (n, 4, 4), dtype=np.uint8)
    return cells.repeat(8, axis=1).repeat(8, axis=2)


# --- known answers


def test_features_that_are_the_class_score_one(tmp_path, seer):
    found = probe(write_ground(tmp_path / "d", whole([0, 1, 2] * 10), whole([2, 0, 1] * 4)), {"seer": seer}, seeds=3)
    assert found.methods == ["seer", RANDOM, RAW]
    assert [(score.method, score.task, score.probe) for score in found.scores[:3]] == [("seer", *j) for j in EVERY]
    for judgement in EVERY:
        score = found.score("seer", *judgement)
        assert score.by_seed == (1.0, 1.0, 1.0) and score.interval.low == 1
        assert found.score(RAW, *judgement).mean == 1  # brightness tells these classes
    assert [task.chance for task in found.tasks] == [1 / 3, 1 / 3]


def test_labels_that_nothing_tells_score_about_chance(tmp_path, seer):
    # brightness of cells has nothing to do with their labels
    path = write_ground(tmp_path / "d", mixed(150, 1), mixed(200, 2), lambda labels: mixed(len(labels), len(labels)))
    found = probe(path, {"seer": seer}, seeds=8)
    spread = math.sqrt(1 / 3 * 2 / 3 / 3200)  # of one score, for 3200 cells
    for method in found.methods:
        score = found.score(method, "cell", "linear")
        assert abs(score.mean - 1 / 3) < 3 * spread
    # cells of 'val' are the same for all seeds, which the interval does not cover; weights that differ make up for it
    score = found.score(RANDOM, "cell", "linear")
    assert score.interval.low < 1 / 3 < score.interval.high < score.mean + 2 * spread


def test_a_majority_is_counted_as_by_hand():
    random = np.random.default_rng(0)
    labels = random.choice(np.array([0, 1, 2, 255], np.uint8), (3, 8, 12), p=[0.2, 0.2, 0.2, 0.4])
    expected = []
    for patch in labels:
        for row, col in ((row, col) for row in range(0, 8, 4) for col in range(0, 12, 4)):
            counts = [int((patch[row : row + 4, col : col + 4] == index).sum()) for index in range(3)]
            expected.append(counts.index(max(counts)) if sum(counts) >= 8 else -1)
    assert -1 in expected and len(set(expected)) == 4
    assert majorities(labels, 4, 3).ravel().tolist() == expected


def test_a_majority_in_doubt():
    half = np.full((1, 4, 4), 255, np.uint8)
    half[0, :2] = 1
    assert majorities(half, 4, 2).tolist() == [[1]]  # just half of it is labelled
    half[0, 0, 0] = 255
    assert majorities(half, 4, 2).tolist() == [[-1]]
    tie = np.array([[[2, 2], [1, 1]]], np.uint8)
    assert majorities(tie, 2, 3).tolist() == [[1]]  # the first of two
    assert majorities(tie, 2, 2).tolist() == [[1]] and majorities(tie, 2, 1).tolist() == [[-1]]  # classes that are none


def test_balanced_accuracy_is_the_mean_recall_of_what_is_there():
    truth, guess = np.array([0, 0, 0, 0, 2, 2]), np.array([0, 0, 0, 1, 2, 7])
    assert balanced_accuracy(truth, guess) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert balanced_accuracy(truth, np.zeros(6, int)) == 0.5


def test_nearest_neighbours_of_raw_statistics_by_hand(tmp_path, seer):
    path = write_packed_dataset(tmp_path / "d", n=50, n_held_out=30, seed=3)
    dataset, seed = open_dataset(path), 4

    def known(split, index):
        features, classes = [], []
        for i in index:
            rows, labels = split.patches[split.rows[i], 0], split.labels[split.rows[i]]
            power = 10 ** (rows[rows != NO_DATA] / 1000.0)
            features.append([10 * math.log10(power.mean()), power.std() / power.mean()])
            classes.append(np.bincount(labels[labels < 3], minlength=3).argmax())
        return np.array(features), np.array(classes)

    train, classes = known(dataset.split("train"), draw_patches(48, 500, seed))
    val, truth = known(dataset.split("val"), range(30))
    mean, spread = train.mean(axis=0), train.std(axis=0)
    near = np.linalg.norm(((val[:, None] - train[None]) / spread), axis=2).argsort(axis=1)[:, :4]  # √24 is 4.9
    guess = np.array([np.bincount(classes[row], minlength=3).argmax() for row in near])
    recalls = [(guess[truth == index] == index).mean() for index in np.unique(truth)]
    assert mean.shape == (2,) and 0 < np.mean(recalls) < 1
    score = probe(path, {"seer": seer}, seeds=[seed]).score(RAW, "patch", "k-NN")
    assert score.by_seed == (pytest.approx(np.mean(recalls)),)


def test_a_rare_class_weighs_as_much_in_the_linear_probe():
    labels = np.array([0] * 1900 + [1] * 100)
    known = np.random.default_rng(0).normal(size=(2000, 1)) + labels[:, None]
    asked = np.array([[-0.5], [0.2], [0.8], [1.5]])
    assert probing.predict("linear", known, labels, asked).tolist() == [0, 0, 1, 1]  # half-way between the two


def test_raw_statistics_leave_out_what_has_no_data():
    rows = torch.tensor([[[[0, 0], [1000, NO_DATA]]]], dtype=torch.int16)
    (found,) = probing.raw_statistics(rows, [2])
    power = np.array([1, 1, 10])
    assert found[0, 0].tolist() == pytest.approx([10 * math.log10(4), power.std() / 4], rel=1e-6)
    assert probing.raw_statistics(torch.full_like(rows, NO_DATA), [2])[0].tolist() == [[[0, 0]]]


def test_a_swin_is_read_at_every_stage_before_merging():
    """The finest map alone knows how its pixels vary: averaged by hand, each map normalised, side by side."""
    torch.manual_seed(0)
    encoder = ready(SwinEncoder(EncoderConfig(**TINY), (32, 32))).eval()
    rows = torch.randint(-2500, 500, (2, 1, 32, 32), dtype=torch.int16)
    with torch.no_grad():
        patch, cell = probing.encoder_features(encoder, rows, [32, 16])
        maps = encoder.features(standardize(rows, STATISTICS)[0], merged=False)
    assert patch.shape == (2, 1, 15 * 24) and cell.shape == (2, 4, 15 * 24)
    expected = []
    for of in (each.double().numpy() for each in maps):
        normed = (of - of.mean(axis=1, keepdims=True)) / np.sqrt(of.var(axis=1, keepdims=True) + 1e-5)
        side = of.shape[-1] // 2
        expected.append(normed[:, :, :side, side:].mean(axis=(2, 3)))
    np.testing.assert_allclose(cell[:, 1], np.concatenate(expected, axis=1), atol=1e-5)
    np.testing.assert_allclose(cell.mean(dim=1), patch[:, 0], atol=1e-5)


def test_an_interval_is_students():
    score = Score("a", "cell", "linear", (0.5, 0.6, 0.4, 0.7))
    assert score.to_text() == "0.550 [0.345, 0.755]"
    low, high = student_t.interval(0.95, 3, loc=0.55, scale=np.std(score.by_seed, ddof=1) / 2)
    assert (score.interval.low, score.interval.high) == (pytest.approx(low), pytest.approx(high))


# --- what is learned from, and scored on


def test_nothing_is_learned_from_val(tmp_path, seer):
    # a class that training lacks cannot be known
    found = probe(write_ground(tmp_path / "d", whole([0, 1] * 10), whole([0, 1, 2] * 6)), {"seer": seer}, seeds=2)
    for score in found.scores:
        if score.method != RANDOM:
            assert score.by_seed == (pytest.approx(2 / 3), pytest.approx(2 / 3))
        assert score.mean < 0.7


def test_test_is_not_read(tmp_path, seer):
    path = write_packed_dataset(tmp_path / "d", n=20, n_held_out=9)
    for name in ("test_db.npy", "test_labels.npy"):
        (path / name).unlink()
    assert probe(path, {"seer": seer}, seeds=2).scores


def test_equal_arguments_give_equal_scores(packed_dataset, seer):
    state = torch.get_rng_state()
    first, again = (probe(packed_dataset, {"seer": seer}, seeds=2) for _ in range(2))
    assert first == again and torch.equal(torch.get_rng_state(), state)
    assert probe(packed_dataset, {"seer": seer}, seeds=2, batch_size=1) == first
    # a seed's scores are its own, whichever stand beside it
    alone = probe(packed_dataset, {"seer": seer}, seeds=[1])
    assert [score.by_seed[0] for score in alone.scores] == [score.by_seed[1] for score in first.scores]


def test_seeds_draw_other_halves():
    halves = [draw_patches(100, 500, seed) for seed in range(5)]
    assert all(len(np.unique(half)) == 50 and (np.diff(half) > 0).all() for half in halves)
    assert len({tuple(half) for half in halves}) == 5
    assert np.array_equal(halves[3], draw_patches(100, 500, 3))
    assert [len(draw_patches(n, most, 0)) for n, most in [(100, 7), (5, 9), (1, 9), (0, 9)]] == [7, 3, 1, 0]


def test_seeds_change_the_training_and_random_weights(tmp_path, trained):
    path = write_packed_dataset(tmp_path / "d", n=40, n_held_out=12)
    found = probe(path, trained, seeds=4)
    for method in (RANDOM, "pretrain-abc"):
        assert len(set(found.score(method, "cell", "linear").by_seed)) > 1
    encoder = ready(load_encoder(trained))
    one, two, same = (probing._random_encoder(encoder, seed).state_dict() for seed in (0, 1, 0))
    name = "vit.patch_embed.proj.weight"
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], two[name])


def test_few_patches_and_few_cells_are_looked_at(tmp_path, seer, monkeypatch):
    monkeypatch.setattr(probing, "CELLS_PER_PATCH", 3)
    path = write_ground(tmp_path / "d", mixed(40, 1), mixed(20, 2))
    found = probe(path, {"seer": seer}, seeds=3, patches=9)
    patch, cell = found.tasks
    assert patch.train == (9, 9) and sum({**patch.val, **patch.few}.values()) == 9
    assert cell.train == (27, 27) and sum(cell.val.values()) == 27
    assert found.score("seer", "cell", "linear").mean == 1  # the cells that were kept have their own features


def test_all_face_the_cells_of_the_coarsest_encoder(tmp_path, seer):
    coarse = encoder_file(tmp_path / "coarse.safetensors", EncoderConfig(**{**vars(VIT), "patch_size": 16}))
    blocks = [mixed(n, seed)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2) for n, seed in [(40, 1), (20, 2)]]
    found = probe(write_ground(tmp_path / "d", *blocks), {"seer": seer, "coarse": coarse}, seeds=2)
    assert (found.tasks[1].side_px, found.tasks[1].size_m) == (16, (80.0, 80.0))
    assert found.score("seer", "cell", "linear").mean == 1


def test_an_encoder_that_is_given_stays_as_it_was(packed_dataset, seer):
    seer.train()
    before = {name: tensor.clone() for name, tensor in seer.state_dict().items()}
    probe(packed_dataset, {"seer": seer}, seeds=1)
    assert seer.training and all(torch.equal(before[name], tensor) for name, tensor in seer.state_dict().items())


# --- what is left out


def test_places_without_data_or_labels_are_left_out(tmp_path, seer):
    path = write_ground(tmp_path / "d", mixed(40, 1), mixed(20, 2))
    db, labels = np.load(path / "val_db.npy"), np.load(path / "val_labels.npy")
    db[0, 0, :8, :5] = NO_DATA  # most of one cell
    db[1, 0, :8, :3] = NO_DATA  # less than half of one
    labels[2, :8, :16] = 255  # two cells
    db[3, 0, :8, 8:12], labels[3, :8, 12:13] = NO_DATA, 255  # half without data, a part of the rest without a label
    labels[4, :17] = 255  # of a patch: two rows of cells, and little of the next
    np.save(path / "val_db.npy", db)
    np.save(path / "val_labels.npy", labels)
    patch, cell = probe(path, {"seer": seer}, seeds=2).tasks
    assert sum(patch.val.values()) == 19 and patch.left_out == {"train": 0, "val": pytest.approx(1 / 20)}
    assert sum(cell.val.values()) == 320 - 1 - 2 - 1 - 8 and cell.left_out["val"] == pytest.approx(12 / 320)


def test_a_task_of_a_single_class_is_told_and_the_other_judged(tmp_path, seer):
    train, val = mixed(30, 1), mixed(12, 2)
    val[:, 8:] = 1
    found = probe(write_ground(tmp_path / "d", train, val), {"seer": seer}, seeds=2)
    assert [task.name for task in found.tasks if task.refused] == ["patch"]
    assert "not judged: 'val' has a single class, class 1" in found.to_text()
    assert {(score.task, score.probe) for score in found.scores} == {("cell", "linear")}


@pytest.mark.parametrize("patches", [0, 1, 2, 3])
def test_a_class_in_fewer_than_three_patches_leaves_the_mean_and_is_named(tmp_path, seer, patches):
    """Class 2 is not trained on, so it is always wrong: it counts from three patches on, however many cells it has."""
    val = whole([0, 1] * 4 + [2] * patches)
    found = probe(write_ground(tmp_path / "d", whole([0, 1] * 10), val), {"seer": seer}, seeds=2)
    in_mean = patches >= 3
    for task in found.tasks:
        assert task.few == ({} if in_mean else {"class 2": patches})
        assert ("class 2" in task.val) == in_mean and task.chance == 1 / (3 if in_mean else 2)
    seen = [score.mean for score in found.scores if score.method == "seer"]
    assert seen == pytest.approx([2 / 3 if in_mean else 1] * 3)
    told = f"not in the mean, for fewer than 3 patches of 'val': class 2 {patches}"
    assert (found.to_text().count(told) == 2) != in_mean
    assert any(told in text for text in texts(figures.probe_scores(found))) != in_mean
    assert found.to_dict()["tasks"][1]["few"] == found.tasks[1].few


def test_methods_are_compared_seed_by_seed():
    """Seeds differ more than methods do: paired, the difference is clear, and says what it covers."""
    luck = np.array([0.4, 0.5, 0.6])
    gains = {"a": [0.04, 0.05, 0.06], "b": 0, RANDOM: 0}
    one, other, random = (Score(name, "cell", "linear", tuple(luck + gain)) for name, gain in gains.items())
    gain = one.minus(other)
    low, high = student_t.interval(0.95, 2, loc=0.05, scale=0.01 / math.sqrt(3))
    assert (gain.value, gain.low, gain.high) == (pytest.approx(0.05), pytest.approx(low), pytest.approx(high))
    assert gain.low > 0 and one.interval.low < 0.3
    assert gain.covers == one.covers == ("training draws",)
    assert one.minus(random).covers == random.covers == ("seeds", "training draws")
    assert one.minus(Score("c", "cell", "linear", (0.1, 0.2, 0.3))).value == pytest.approx(0.35)


def test_differences_are_read_aloud_by_their_intervals():
    gains = {"a": [0.2, 0.2, 0.21], "b": [-0.2, -0.2, -0.21], "c": [-0.1, 0, 0.1], RANDOM: 0, RAW: [-0.4, -0.4, -0.41]}
    scores = tuple(Score(name, "cell", "linear", tuple(np.full(3, 0.5) + gain)) for name, gain in gains.items())
    task = Task("cell", 8, None, (3, 3), {"x": 4}, {}, {}, None)
    read = Probe("d", False, (0, 1, 2), (task,), scores).reading().splitlines()
    assert read[0].endswith(f"{RANDOM}: better in 1, worse in 1, not told apart in 1 of 3 comparisons")
    assert read[1].endswith(f"{RAW}: better in 3, worse in 0, not told apart in 0 of 3 comparisons")


def test_one_seed_has_no_interval(packed_dataset, trained):
    found = probe(packed_dataset, [f"mine={trained}"], seeds=1)
    assert all(score.interval.low is None for score in found.scores)
    assert "no interval" in found.to_text() and "[" not in found.to_text()
    assert found.to_dict()["scores"][0]["low"] is found.to_dict()["differences"][0]["low"] is None


# --- what is refused


def test_what_does_not_fit_is_refused(packed_dataset, trained, tmp_path, seer):
    def refused(match, encoders, **arguments):
        with pytest.raises(Alos2TutError, match=match):
            probe(arguments.pop("dataset", packed_dataset), encoders, **arguments)

    refused("there is no such file", tmp_path / "none.safetensors")
    refused("there is no such file", [trained, f"other={tmp_path}"])
    refused("no dataset", trained, dataset=tmp_path)
    refused("no encoder", [])
    refused("called 'random features'", {RANDOM: trained})
    refused("called ''", [f"={trained}"])
    refused("two encoders are called 'pretrain-abc'", [trained, trained / "encoder.safetensors"])
    refused(r"\(1, 64, 64\), the patches have \(1, 32, 32\)", encoder_file(tmp_path / "64.safetensors", VIT, (64, 64)))
    two = {"statistics": Statistics((-11.0, -18.0), (6.0, 6.0)), "signal": {**SIGNAL, "polarizations": ["HH", "HV"]}}
    refused("polarizations", encoder_file(tmp_path / "2.safetensors", channels=2, **two), allow_other_signal=True)
    refused("quantity", encoder_file(tmp_path / "g.safetensors", signal={**SIGNAL, "quantity": "gamma0"}))
    refused("no statistics", {"bare": VisionTransformerEncoder(VIT, (32, 32))})
    for seeds in (0, [], [1, 1], [-1, 2]):
        refused("seeds are different", trained, seeds=seeds)
    refused("of 9999999999 draws", trained, seeds=9_999_999_999)
    refused("patches=0", trained, patches=0)
    refused("batch_size=0", trained, batch_size=0)


def test_another_signal_and_other_statistics_are_told(packed_dataset, tmp_path):
    gamma = encoder_file(tmp_path / "g.safetensors", signal={**SIGNAL, "quantity": "gamma0"})
    with pytest.warns(Alos2TutWarning, match="quantity gamma0"):
        probe(packed_dataset, gamma, seeds=1, allow_other_signal=True)
    other = encoder_file(tmp_path / "o.safetensors", statistics=Statistics((-9.0,), (6.0,)))
    with pytest.warns(Alos2TutWarning, match="own mean -9.00"):
        probe(packed_dataset, other, seeds=1)


def test_own_statistics_are_those_of_the_dataset(packed_dataset, tmp_path):
    """An encoder of relative power is judged as one that has the dataset's statistics is; others keep theirs."""
    twin = encoder_file(tmp_path / "twin.safetensors", signal={**SIGNAL, "quantity": "relative"})
    away = encoder_file(tmp_path / "away.safetensors", signal={**SIGNAL, "quantity": "relative"},
                        statistics=Statistics((30.0,), (2.0,)))  # fmt: skip
    with pytest.warns(Alos2TutWarning, match="quantity relative"):
        found = probe(packed_dataset, {"twin": twin, "away": away}, seeds=2, allow_other_signal=True, statistics="own")
        scores = {name: [s.by_seed for s in found.scores if s.method == name] for name in ("twin", "away")}
        assert scores["twin"] == scores["away"]
    with pytest.warns(Alos2TutWarning, match="statistics=own would take these"):
        other = probe(packed_dataset, {"away": away}, seeds=2, allow_other_signal=True)
        assert [s.by_seed for s in other.scores if s.method == "away"] != scores["away"]


@pytest.mark.parametrize(
    ("train", "val", "reason"),
    [
        (whole([255] * 9), mixed(5, 1), "'train' .seed 0. has no labelled place"),
        (mixed(9, 1), whole([255] * 5), "'val' has no labelled place"),
        (whole([1] * 9), mixed(5, 1), "'train' .seed 0. has a single class, class 1"),
        (mixed(9, 1), whole([2] * 5), "'val' has a single class, class 2"),
    ],
)
def test_labels_that_judge_nothing_have_no_scores(tmp_path, seer, train, val, reason):
    found = probe(write_ground(tmp_path / "d", train, val, lambda labels: labels % 3), {"seer": seer}, seeds=2)
    assert found.scores == () and found.judgements == []
    text = found.to_text()
    assert text.endswith("Nothing can be judged: label more ground.")
    assert re.search(f"cell: the majority class of .* is not judged: {reason}", text)
    assert "nothing can be judged" in figures.probe_scores(found).axes[0].texts[0].get_text()


# --- names, the command and the figure


def test_names_of_encoders(tmp_path, trained, monkeypatch):
    file = trained / "encoder.safetensors"
    assert name_encoders([trained, f"b={file}", tmp_path / "c.safetensors"]) == {
        "pretrain-abc": str(trained),
        "b": str(file),
        "c": str(tmp_path / "c.safetensors"),
    }
    monkeypatch.chdir(trained)
    assert name_encoders([".", "a=b/c=d"]) == {"pretrain-abc": ".", "a": "b/c=d"}
    (tmp_path / "lr=1").mkdir()
    assert name_encoders([tmp_path / "lr=1"]) == {"lr=1": str(tmp_path / "lr=1")}  # a path that is there is one


def test_the_command(packed_dataset, trained, capsys):
    arguments = ["probe", str(packed_dataset), str(trained), f"again={trained}", "--seeds", "2", "--patches", "3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(arguments) == 0
    text, beside = capsys.readouterr()
    assert beside == ""
    found = probe(packed_dataset, [trained, f"again={trained}"], seeds=2, patches=3)
    assert text == found.to_text() + "\n"
    for told in ("pretrain-abc", "again", RANDOM, RAW, "chance", "40 × 40 m (8 px)", "95 %", "another pretraining"):
        assert told in text
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.to_dict()))


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_figure_shows_every_score(tmp_path, trained, seeds):
    found = probe(write_packed_dataset(tmp_path / "d", n=20, n_held_out=15), trained, seeds=seeds)
    fig = figures.probe_scores(found)
    assert [ax.get_title().split(":")[1].strip() for ax in fig.axes[:3]] == [f"{kind} probe" for _, kind in EVERY]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["pretrain-abc", RANDOM, RAW]
    for ax, (task, kind) in zip(fig.axes[:3], EVERY, strict=True):
        shown = {float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"}
        assert shown == {found.score(method, task, kind).mean for method in found.methods}
    pairs = [("pretrain-abc", RANDOM), ("pretrain-abc", RAW)]
    assert [label.get_text() for label in fig.axes[3].get_yticklabels()] == [" minus ".join(pair) for pair in pairs]
    for ax, judgement in zip(fig.axes[3:], EVERY, strict=True):
        shown = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"]
        assert shown == [found.score(a, *judgement).minus(found.score(b, *judgement)).value for a, b in pairs]
        assert sum(line.get_marker() == "|" for line in ax.lines) >= (2 if seeds > 1 else 0)
    figures.plt.close(fig)
