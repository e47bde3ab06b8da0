"""Comparisons over starts, budgets and seeds."""

import json
import math
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch
from scipy import stats
from support.networks import TINY
from support.packed import write_blocks, write_packed_dataset

from alos2tut.cli import main
from alos2tut.configs import load_config
from alos2tut.core.errors import Alos2TutError
from alos2tut.evaluation import comparison
from alos2tut.evaluation.comparison import (
    compare,
    compared,
    comparison_table,
    fitting_budgets,
    labels_for,
    read_comparison,
)
from alos2tut.evaluation.ground import scores_by_block
from alos2tut.metrics import block_scores, t_interval
from alos2tut.pretraining.stage import pretrain
from alos2tut.tutorial.figures.finetuning import label_efficiency


def run(start, budget, seed, miou, **iou):
    return {"start": start, "budget": budget, "seed": seed, "miou": miou, "macc": miou, "pixel_accuracy": miou,
            "iou": iou or {"water": miou}, "report": "r",
            "on_ground": block_scores(np.array(
                [[[int(1000 * miou) + b, 0], [1000, 0], [1000, 0]] for b in range(4)]))}  # fmt: skip


def test_intervals_are_students():
    values = [0.31, 0.35, 0.33, 0.40]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    assert t_interval([0.1, 0.9]) == [0, 1] and t_interval([-0.4, 0.4], least=-1) == [-1, 1]  # 12.7 × 0.4 beside 0.5, 0
    assert t_interval([0.3]) is None and t_interval([0.3, None]) is None


def test_labels_that_a_score_is_worth():
    curve = [(10, 0.2), (100, 0.4), (1000, 0.5)]
    assert labels_for(0.3, curve) == pytest.approx(10**1.5)
    assert labels_for(0.5, curve) == pytest.approx(1000) and labels_for(0.4, curve) == pytest.approx(100)
    assert labels_for(0.19, curve) is None and labels_for(0.51, curve) is None
    assert labels_for(0.3, [(10, None), (20, 0.2), (40, 0.4)]) == pytest.approx(20 * math.sqrt(2))


def test_starts_are_compared_seed_by_seed():
    """Seeds differ more than starts do: paired, the difference is clear all the same."""
    runs = [run("random", 10, seed, 0.2 + 0.1 * seed, water=0.5, forest=None) for seed in range(3)]
    runs += [run("random", 40, seed, 0.4 + 0.1 * seed, water=0.5, forest=0.1) for seed in range(3)]
    gains = [0.05, 0.06, 0.07]
    runs += [run("mim", 10, seed, 0.2 + 0.1 * seed + gains[seed], water=0.6, forest=0.2) for seed in range(3)]
    runs += [run("mim", 40, seed, 0.4 + 0.1 * seed, water=0.5, forest=0.1) for seed in range(3)]
    entries = {(e["start"], e["budget"]): e for e in compared(runs, ["random", "mim"], [10, 40], 40)}
    few = entries["mim", 10]
    assert few["mean"]["miou"] == pytest.approx(0.36)
    assert few["difference"]["miou"]["mean"] == pytest.approx(0.06)
    low, high = few["difference"]["miou"]["interval"]
    assert 0 < low < 0.06 < high and few["interval"]["miou"][0] < 0.3 - 0.01
    assert few["same_as"] == pytest.approx(10 * 4 ** ((0.36 - 0.3) / 0.2))
    assert few["iou_difference"]["water"]["mean"] == pytest.approx(0.1)
    assert few["iou_difference"]["forest"] == {"mean": None, "interval": None, "ground": None}
    assert few["covers"] == ("seeds", "training draws") and entries["mim", 40]["covers"] == ("seeds",)
    # of the accuracy on the blocks, which differ in nothing but that gain
    assert few["difference"]["pixel_accuracy"]["ground"] == pytest.approx([0.06, 0.06])
    assert few["ground"]["pixel_accuracy"][0] < 0.3615 < few["ground"]["pixel_accuracy"][1]
    assert entries["mim", 40]["difference"]["miou"]["mean"] == 0
    content = {
        "first": "random",
        "seeds": [0, 1, 2],
        "blocks": 4,
        "in_one_block": ["rice"],
        "starts": list(entries.values()),
    }
    table = comparison_table(content).splitlines()
    assert len(table) == 8 and table[3].count("+0.060 [+") == 2 and table[3].endswith("15 labels")
    assert "+" not in table[1]
    assert "95 % intervals over 3 seeds; they cover seeds and training draws, not ground" in table[5]
    assert table[6] == "95 % intervals over 4 blocks of ground; they cover ground, not seeds or training draws"
    assert table[7] == "in a single block, so without one over ground: rice"
    few_blocks = comparison_table({**content, "seeds": [0], "blocks": 2}).splitlines()
    assert few_blocks[5] == "one seed: no intervals over seeds"
    assert few_blocks[6] == "no intervals over ground: fewer than 3 blocks of ground have a label: 2"


@pytest.fixture(scope="module")
def start(packed_dataset, tmp_path_factory):
    work = tmp_path_factory.mktemp("pretrained")
    settings = {"dataset": str(packed_dataset), "work_dir": str(work), "encoder": TINY, "mask_unit_px": 8}
    return pretrain(load_config("pretrain", "quick", steps=2, batch_size=2, **settings))


def settings(dataset, work):
    return load_config("finetune", "quick", dataset=str(dataset), work_dir=str(work), steps=2, batch_size=2,
                       validate_every=2, decoder_width=8)  # fmt: skip


def test_a_comparison_runs_reuses_and_grows(start, packed_dataset, tmp_path):
    config, wanted = (
        settings(packed_dataset, tmp_path),
        {"starts": {"random": None, "mim": start}, "budgets": (4, "all")},
    )
    two = load_config("compare", seeds=2, workers=1, **wanted)
    folder = compare(config, two)
    content = read_comparison(folder)
    entries = {(e["start"], e["budget"]): e for e in content["starts"]}
    assert list(entries) == [("random", 4), ("random", 10), ("mim", 4), ("mim", 10)]
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("finetune-*/segmenter.safetensors")}
    assert len(trained) == 8 == len(list(tmp_path.glob("evaluate-*")))
    for path in trained:
        encoder = json.loads((path.parent / "run.json").read_text())["settings"]["encoder"]
        assert encoder["embed_dim"] == 24  # random weights have the architecture of the file
    assert compare(config, two) == folder
    larger = compare(config, load_config("compare", seeds=3, workers=1, **wanted))
    assert larger != folder and len(list(tmp_path.glob("finetune-*"))) == 12
    assert all(path.stat().st_mtime_ns == before for path, before in trained.items())
    assert [(floor["budget"], [run["seed"] for run in floor["runs"]]) for floor in content["floor"]] == [
        (4, [0, 1]), (10, [0, 1])
    ]  # fmt: skip
    assert len(list(tmp_path.glob("floor-*"))) == 6
    for entry in content["starts"]:
        (floor,) = (one for one in content["floor"] if one["budget"] == entry["budget"])
        above = [a["miou"] - b["miou"] for a, b in zip(entry["runs"], floor["runs"], strict=True)]
        assert entry["above_floor"]["miou"]["mean"] == pytest.approx(np.mean(above))
        low, high = entry["above_floor"]["miou"]["interval"]
        assert low <= np.mean(above) <= high
    table = comparison_table(content)
    assert "minus floor" in table and table.count("\nfloor ") == 2 and "\nfloor: a random forest of 4 trees" in table
    assert all(axis.get_xlabel() == "labelled patches" for axis in label_efficiency(content).axes)
    mim, random = entries["mim", 10], entries["random", 10]
    gains = [a["miou"] - b["miou"] for a, b in zip(mim["runs"], random["runs"], strict=True)]
    assert mim["difference"]["miou"]["mean"] == pytest.approx(np.mean(gains))
    assert str(tmp_path) not in (folder / "comparison.json").read_text()


def test_every_class_has_its_own_interval_over_ground(start, tmp_path):
    """Classes in the legend's order, which is not that of a file's sorted keys."""
    names = ["water", "forest", "bare"]
    classes = [{"name": name, "color": [0, 0, code], "codes": [code]} for code, name in enumerate(names, 1)]
    legend = {"name": "toy", "source": "made up", "classes": classes, "ignored": [0]}
    dataset = write_blocks(tmp_path / "dataset", legend=legend)
    wanted = load_config("compare", starts={"random": None, "mim": start}, budgets=("all",), seeds=1, workers=1)
    content = read_comparison(compare(settings(dataset, tmp_path), wanted))
    random, mim = content["starts"]
    reports = [tmp_path / entry["runs"][0]["report"] / "report.json" for entry in (mim, random)]
    scores = [json.loads(path.read_text())["models"]["segmenter"] for path in reports]
    mine, its = (scores_by_block(model, 3)["per_class"] for model in scores)
    differences = {name: one.minus(other) for name, one, other in zip(names, mine, its, strict=True)}
    assert content["classes"] == names != sorted(names)
    assert len({str(found["interval"]) for found in differences.values()}) == 3
    for name, found in differences.items():
        assert mim["iou_difference"][name]["ground"] == found["interval"], name


@pytest.mark.parametrize(("asked", "fitting"), [((4, 9, 10, 99, "all"), (4, 9, "all")), ((99,), ("all",))])
def test_of_a_profiles_budgets_those_count_for_which_there_are_patches(packed_dataset, asked, fitting):
    assert fitting_budgets(load_config("compare", budgets=asked), packed_dataset).budgets == fitting


def test_the_command(start, packed_dataset, tmp_path, capsys):
    command = [
        "compare",
        str(packed_dataset),
        "--work-dir",
        str(tmp_path),
        "--start",
        "random",
        "--start",
        f"mim={start}",
    ]
    command += [
        "--workers",
        "1",
        "--set",
        "steps=1",
        "--set",
        "batch_size=2",
        "--validate-every",
        "1",
        "--decoder-width",
        "8",
    ]
    assert main([*command, "--seed", "3", "--budgets", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mim ") for line in lines) and "one seed: no intervals over seeds" in lines
    assert read_comparison(lines[-1])["seeds"] == [3]
    for wrong, named in [
        (["--budgets", "some"], "--budgets='some': "),
        (["--start", "mim"], "--start: a name is given twice"),
        (["--budgets", "99"], "a budget of 99 patches, of which there are 10"),
        (["--seeds", "0"], "--seeds='0'"),
    ]:
        assert main([*command, *wrong]) == 2
        assert named in capsys.readouterr().err


def test_nothing_to_compare(start, packed_dataset, tmp_path):
    config = settings(packed_dataset, tmp_path)
    for changes in ({"seeds": 0}, {"starts": {}}, *({"budgets": b} for b in ((), (4, 4), (10, "all"), (4, 11)))):
        with pytest.raises(Alos2TutError, match="compare"):
            compare(config, load_config("compare", workers=1, **changes))
    with pytest.raises(Alos2TutError, match=r"comparison\.json"):
        read_comparison(tmp_path)
    other = settings(write_packed_dataset(tmp_path / "other", quantity="gamma0"), tmp_path)
    with pytest.raises(Alos2TutError, match="gamma0"):
        compare(other, load_config("compare", starts={"mim": start}, budgets=("all",), workers=1))


class Later(Executor):
    """Does all in the end, the last first; of so many tasks it breaks."""

    def __init__(self, lasts: int = 99):
        self.lasts, self.threads = lasts, []

    def submit(self, function, *arguments):
        future = Future()
        if len(self.threads) < self.lasts:
            torch.set_num_threads(3)  # what a worker has by itself
            future.set_result(function(*arguments))
            self.threads.append(torch.get_num_threads())
        else:
            future.set_exception(BrokenProcessPool("killed"))
        return future


def test_runs_are_the_same_on_any_executor_and_stay_when_it_breaks(start, packed_dataset, tmp_path, monkeypatch):
    computed_on = []
    train = comparison.finetune
    monkeypatch.setattr(
        comparison, "finetune", lambda *a, **k: computed_on.append(torch.get_num_threads()) or train(*a, **k)
    )
    wanted = load_config("compare", starts={"random": None, "mim": start}, budgets=(4,), seeds=1, workers=1)
    before = torch.get_num_threads()
    try:
        here = compare(settings(packed_dataset, tmp_path / "here"), wanted)
        config = settings(packed_dataset, tmp_path / "there")
        with pytest.raises(Alos2TutError, match=r"executor: .* not done: mim, 4 labels, seed 0; floor, .* stays done"):
            compare(config, wanted, executor=Later(1))
        [kept] = (tmp_path / "there").glob("finetune-*/segmenter.safetensors")
        made = kept.stat().st_mtime_ns
        there = compare(config, wanted, executor=Later())
    finally:
        torch.set_num_threads(before)
    assert set(computed_on) == {1} and kept.stat().st_mtime_ns == made
    assert (here.name, (here / "comparison.json").read_bytes()) == (
        there.name,
        (there / "comparison.json").read_bytes(),
    )


def test_a_run_that_fails_is_named_and_threads_are_refused(start, packed_dataset, tmp_path, monkeypatch):
    train, wanted = comparison.finetune, load_config("compare", budgets=(4, 5), seeds=1, workers=1)

    def fails(config, **_):
        if config.budget == 5:
            raise Alos2TutError("the loss is no number", where="loss", remedy="Lower lr.")
        return train(config, quiet=True)

    monkeypatch.setattr(comparison, "finetune", fails)
    with pytest.raises(Alos2TutError, match=r"^random, 5 labels, seed 0: loss: the loss is no number\. Lower lr\.$"):
        compare(settings(packed_dataset, tmp_path), wanted)
    assert len(list(tmp_path.glob("finetune-*/segmenter.safetensors"))) == 1
    with ThreadPoolExecutor(1) as threads, pytest.raises(Alos2TutError, match="threads share"):
        compare(settings(packed_dataset, tmp_path), wanted, executor=threads)


@pytest.mark.soak
def test_processes_make_what_this_one_makes(start, packed_dataset, tmp_path):
    folders = []
    for workers in (1, 2):
        starts = {"random": None, "mim": start}
        # other processes would grow the floor's trees in full, unlike this one
        wanted = load_config("compare", starts=starts, budgets=(4,), seeds=1, workers=workers, floor=False)
        folders.append(compare(settings(packed_dataset, tmp_path / str(workers)), wanted))
    assert len({(folder.name, (folder / "comparison.json").read_bytes()) for folder in folders}) == 1
