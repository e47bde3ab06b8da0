import copy
import json

import evidence
import evidence_runs
import evidence_tables
import numpy as np
import pytest
from evidence_runs import Place, bench, check_frozen, freeze, open_runs, read_csv, scene_hashes, work, write_run
from evidence_tables import (
    Estimate,
    Scores,
    crossed,
    error_of_seeds,
    estimate,
    final_tables,
    holm,
    load,
    real_table,
    write_page,
)
from scipy import stats

from alos2tut import Alos2TutError, load_config
from alos2tut.core.parallel import alone_in
from alos2tut.metrics import BlockScore


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_runs, "_PATIENCE", 0.0)
    return Place(tmp_path / "work", tmp_path / "scenes", tmp_path / "runs")


def a_spec(name, **values):
    return {"group": "final", "name": name, "kind": "finetune", "start": None, "benchmark": 1, "recipe": 1} | values


class Done:
    """Counts what is done; what fails, or stops the process, is told by name."""

    def __init__(self, fails=(), stops=()):
        self.names, self.fails, self.stops = [], fails, stops

    def __call__(self, spec, place):
        self.names.append(spec["name"])
        if spec["name"] in self.stops:
            raise KeyboardInterrupt
        if spec["name"] in self.fails:
            raise Alos2TutError("cannot be")
        return {"miou": 0.5}


# --- runs


def test_each_run_is_done_once_and_one_that_was_stopped_goes_on(place):
    plan, do = [a_spec(name) for name in "abc"], Done(stops="b")
    with pytest.raises(KeyboardInterrupt):
        work(lambda: plan, place, do)
    again = Done()
    assert work(lambda: plan, place, again) == []
    assert do.names + again.names == ["a", "b", "b", "c"]
    found = {name: json.loads((place.runs / "final" / f"{name}.json").read_text()) for name in "abc"}
    assert [found[name]["resumed"] for name in "abc"] == [False, True, False]
    assert found["a"]["spec"] == plan[0]
    assert found["a"]["miou"] == 0.5
    assert {"command", "commit", "machine", "cpu_s"} <= set(found["a"])
    assert "evidence.py final --only a" in found["a"]["command"]


def test_a_run_that_fails_is_told_and_the_others_are_done(place, capsys):
    do = Done(fails="a")
    assert work(lambda: [a_spec(name) for name in "ab"], place, do) == ["a"]
    assert do.names == ["a", "b"]
    assert "a FAILED: cannot be" in capsys.readouterr().err
    assert not (place.runs / "final" / "a.json").exists()


def test_a_run_that_somebody_else_is_at_is_passed_over(place):
    lock, names = alone_in(place.work / "queue" / "a"), []

    def do(spec, where):
        names.append(spec["name"])
        if spec["name"] == "b":
            lock.__exit__(None, None, None)
        return {}

    lock.__enter__()
    assert work(lambda: [a_spec(name) for name in "ab"], place, do) == []
    assert names == ["b", "a"]


def test_a_plan_is_asked_again_after_each_run(place):
    """So that of a search those are run at length that did best when run shortly."""
    plan, do = [a_spec("a")], Done()

    def grows():
        return [*plan, a_spec("b")] if (place.runs / "final" / "a.json").exists() else plan

    work(grows, place, do)
    assert do.names == ["a", "b"]


def test_a_pretraining_that_is_missing_here_comes_before_the_first_run_that_needs_it(place):
    start = a_spec("p", kind="pretrain", group="pretraining")
    plan = [a_spec("a", start=start), a_spec("b", start=start)]
    assert [spec["name"] for spec in open_runs(plan, place)] == ["p", "a", "b"]
    folder = place.work / "pretrain-0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    place.encoder(start).parent.mkdir()
    place.encoder(start).write_text(json.dumps({"spec": start, "folder": folder.name}))
    assert [spec["name"] for spec in open_runs(plan, place)] == ["a", "b"]


def test_other_settings_of_the_same_version_are_refused(place):
    work(lambda: [a_spec("a", settings={"steps": 1})], place, Done())
    with pytest.raises(Alos2TutError, match=r"a\.json.*other settings.*Raise recipe\.final"):
        work(lambda: [a_spec("a", settings={"steps": 2})], place, Done())


def test_results_of_another_version_are_kept_apart(place):
    specs = [a_spec("a"), a_spec("b", recipe=2), a_spec("c", benchmark=2)]
    work(lambda: specs, place, Done())
    mine, others = load(place.runs, "final")
    assert [run["spec"]["name"] for run in mine] == ["a"]
    assert [run["spec"]["name"] for run in others] == ["b", "c"]
    assert load(place.runs, "search") == ([], [])


def test_a_frozen_scene_with_another_byte_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "dev0"
    (folder / "labels").mkdir(parents=True)
    (folder / "IMG-HH-1").write_bytes(b"image")
    (folder / "labels" / "a.tif").write_bytes(b"labels")
    frozen = {"frozen": {"scenes": {"dev0": scene_hashes(folder)}}}
    monkeypatch.setattr(evidence_runs, "bench", lambda: frozen)
    check_frozen("scenes", "dev0", scene_hashes(folder), folder)
    (folder / "labels" / "a.tif").write_bytes(b"label5")
    with pytest.raises(Alos2TutError, match=r"dev0.*is not what was frozen"):
        check_frozen("scenes", "dev0", scene_hashes(folder), folder)
    with pytest.raises(Alos2TutError, match="dev1 is not frozen"):
        check_frozen("scenes", "dev1", {}, folder)


def test_what_another_process_freezes_meanwhile_stays(place, tmp_path, monkeypatch):
    settings = tmp_path / "evidence.yaml"
    settings.write_text("benchmark: 1\n")

    def made(name, place):
        check_frozen("datasets", name, "mine", tmp_path)
        settings.write_text("benchmark: 1\n\n" + evidence_runs._MARK + "frozen: {datasets: {another: its}}\n")

    monkeypatch.setattr(evidence_runs, "SETTINGS", settings)
    monkeypatch.setattr(evidence_runs, "dataset", made)
    bench.cache_clear()
    try:
        assert freeze(place, ["one"]) == ["datasets one", "floor definition"]
        assert bench()["frozen"]["datasets"] == {"another": "its", "one": "mine"}
        # what was frozen before is not written anew
        monkeypatch.setattr(evidence_runs, "dataset", lambda name, place: None)
        monkeypatch.setattr(evidence_runs, "atomic_path", None)
        assert freeze(place, ["one"]) == []
    finally:
        bench.cache_clear()


def test_all_that_is_planned_has_settings_that_there_are_and_a_name_of_its_own(place):
    stages = {"pretrain": "pretrain", "finetune": "finetune"}
    tried = set()
    for group in evidence.PLANS:
        plan = evidence.plan(group, [], place)
        assert len({spec["name"] for spec in plan}) == len(plan)
        for spec in (*plan, *(spec["start"] for spec in plan if spec["start"])):
            key = json.dumps(spec.get("settings"))
            if spec["kind"] in stages and (spec["kind"], key) not in tried:
                tried.add((spec["kind"], key))
                load_config(stages[spec["kind"]], "paper", **spec["settings"])
    assert len(tried) > 5


def test_the_primary_comparison_crosses_seeds_with_draws_and_comes_first(place):
    final, plan = bench()["final"], evidence.plan("final", [], place)
    labels = final["primary"]["labels"]
    for method in ("random", "chosen"):
        mine = {(spec["seed"], spec["draw"]) for spec in plan if (spec["method"], spec["labels"]) == (method, labels)}
        assert {(seed, draw) for seed in range(final["seeds"]) for draw in range(final["draws"][labels])} <= mine
    first = next(index for index, spec in enumerate(plan) if spec["labels"] != labels)
    assert {spec["method"] for spec in plan[:first]} == {"floor", "random", "chosen"}
    asked = [spec["name"] for spec in evidence.plan("final", ["chosen_standard_64_draw1_seed*"], place)]
    assert asked == [f"chosen_standard_64_draw1_seed{seed}_r{final_version()}" for seed in range(final["seeds"])]


def final_version():
    return bench()["recipe"]["final"]


def test_more_seeds_of_another_pretraining_are_crossed_with_the_draws_of_the_primary_comparison(place):
    final = bench()["final"]
    labels, of = final["primary"]["labels"], "multiscale_8000"
    seeds, draws = final["others"][of]["seeds"], final["draws"][labels]
    mine = [spec for spec in evidence.final_plan(place) if spec["method"] == of]
    cells = [(spec["seed"], spec["draw"]) for spec in mine if spec["labels"] == labels]
    assert cells == [(seed, draw) for seed in range(seeds) for draw in range(draws)]
    assert {spec["start"]["seed"] for spec in mine} == set(range(seeds))
    # where they are not crossed they take turns
    assert all(spec["seed"] == spec["draw"] % seeds for spec in mine if spec["labels"] != labels)


def test_the_command_in_a_pretrainings_file_does_that_pretraining(place):
    starts = [spec["start"] for group in ("final", "real") for spec in evidence.plan(group, [], place) if spec["start"]]
    made = {start["name"]: start for start in starts if start["kind"] == "pretrain"}
    assert {start["group"] for start in made.values()} == {"pretraining", "real"}
    assert {"shifted", "standard", "real"} == {start["level"] for start in made.values()}
    assert max(start["seed"] for start in made.values()) == bench()["final"]["seeds"] - 1
    for group in ("pretraining", "real"):
        mine = [name for name in made if made[name]["group"] == group]
        assert [made[spec["name"]] == spec for spec in evidence.plan(group, mine, place)] == [True] * len(mine)


def test_a_start_on_real_ground_has_seen_no_ground_that_it_is_scored_on(place):
    real, plan = bench()["real"], evidence.plan("real", [], place)
    grounds, known = evidence_runs.real_datasets(), set()
    for spec in plan:
        assert spec["train"] == spec["test"] == f"{spec['scene']}_fold{spec['fold']}"
        assert grounds[spec["test"]]["fold"] == spec["fold"]
        start, other = spec["start"], {"sanfrancisco": "flevoland", "flevoland": "sanfrancisco"}[spec["scene"]]
        assert start is None or start["kind"] == "pretrain"
        seen = {"simulation": "pool", "longer": "pool", "other": f"{other}_whole", "own": spec["test"]}
        assert (start and start["train"]) == seen.get(spec["method"])
        known.add((spec["method"], spec["scene"], spec["labels"], spec["draw"], spec["fold"]))
    assert len(known) == len(plan) == 6 * 4 * (3 + 1 + 3 + 3 + 1)
    assert [spec["method"] for spec in plan[:3]] == ["floor", "random", "simulation"]
    assert {spec["scene"] for spec in plan[:48]} == {"sanfrancisco"}
    assert "fold" not in real["whole"]


def test_nothing_is_tuned_on_real_ground(place):
    for spec in evidence.plan("real", [], place):
        if spec["kind"] == "finetune":
            name = "random" if spec["method"] == "random" else "chosen"
            simulated = evidence.final_run(name, {4: 16, 16: 16, "all": 64}[spec["labels"]], spec["draw"])
            assert spec["settings"] == simulated["settings"] | {"statistics": "own"}
        start = spec["start"]
        if start is not None:
            real = bench()["real"]
            name = real["longer"] if spec["method"] == "longer" else real["pretraining"]["name"]
            assert start["settings"] == evidence.pretraining(name, 0)["settings"]


def test_scenes_that_are_not_there_are_named_with_what_brings_them(place):
    with pytest.raises(Alos2TutError, match=r"airsar_flevoland.*is missing.*alos2tut fetch airsar_flevoland;"):
        evidence_runs.dataset_settings("flevoland_fold0", place)


def test_the_best_of_a_search_are_run_at_length(place, monkeypatch):
    settings = copy.deepcopy(bench())
    settings["search"] |= {"draws": [0], "starts": {"none": None}, "kept": 2}
    settings["search"]["configurations"] = {name: {"dropout": d} for name, d in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    settings["search"]["all_labels"] = {"d": {"dropout": 0.4}}
    monkeypatch.setattr(evidence, "bench", lambda: settings)
    scores = {"a": 0.2, "b": 0.1, "c": 0.3, "d": 0.0}
    work(lambda: evidence.search_plan(place), place, lambda spec, _: {"val_miou": scores[spec["config"]]})
    done = sorted(path.stem.rpartition("_draw")[0] for path in (place.runs / "search").glob("*.json"))
    assert done == ["none_a_third", "none_a_whole", "none_b_third", "none_c_third", "none_c_whole", "none_d_all"]
    (last,) = (place.runs / "search").glob("none_d_all_*.json")
    assert json.loads(last.read_text())["spec"]["labels"] == "all"


def test_validation_scores_by_step_are_read_from_metrics(tmp_path):
    (tmp_path / "m.csv").write_text("step,loss,val_miou\n1,2.0,\n2,1.5,0.25\n")
    assert read_csv(tmp_path / "m.csv", "val_miou") == [[2, 0.25]]


# --- what a mean is worth


def test_a_crossed_mean_has_the_variance_of_the_two_way_analysis():
    table = np.random.default_rng(0).normal(size=(5, 10)) + np.arange(5)[:, None] + np.arange(10)
    found = crossed(table)
    # the same by sums of squares of a least-squares fit with dummy variables
    y, rows, cols = table.ravel(), *(index.ravel() for index in np.indices(table.shape))

    def residual(*factors):
        x = np.column_stack([np.ones(y.size), *(np.eye(5 if f is rows else 10)[f] for f in factors)])
        return float(np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2))

    error = residual(rows, cols)
    of_rows, of_cols, of_error = (residual(cols) - error) / 4, (residual(rows) - error) / 9, error / 36
    total = of_rows + of_cols - of_error
    assert found.value == pytest.approx(table.mean())
    assert found.variance == pytest.approx(total / 50)
    assert found.freedom == pytest.approx(total**2 / (of_rows**2 / 4 + of_cols**2 / 9 + of_error**2 / 36))


@pytest.mark.parametrize("spread", [0, 1, 3])
def test_seeds_of_what_is_subtracted_widen_an_interval_until_it_holds_the_truth(spread):
    rng, held, narrow = np.random.default_rng(4), 0, 0
    for _ in range(800):
        draws = rng.normal(size=10)  # cancel out
        mine = draws + rng.normal(size=(1, 10))
        its = draws + spread * rng.normal(size=(5, 1)) + rng.normal(size=(5, 10))
        alone = crossed(mine - its.mean(axis=0))
        intervals = [of.interval() for of in (alone, alone.with_error_of(error_of_seeds(its)))]
        narrow, held = (count + (low < 0 < high) for count, (low, high) in zip((narrow, held), intervals, strict=True))
    assert held / 800 > 0.92 and narrow / 800 < (0.97 if spread == 0 else 0.8 if spread == 1 else 0.5)


def test_the_error_of_seeds_is_none_of_one_and_all_that_there_is_of_one_draw():
    values = np.random.default_rng(1).normal(size=7)
    for table in (values[None], np.tile(values, (3, 1))):
        assert error_of_seeds(table).variance == pytest.approx(0, abs=1e-30)
    assert error_of_seeds(values[:, None]).variance == pytest.approx(stats.sem(values) ** 2)


def test_without_second_margin_a_mean_has_students_interval():
    values = np.random.default_rng(1).normal(size=7)
    expected = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert crossed(values[None]).interval() == pytest.approx(list(expected))
    assert crossed(values[:, None]).p_value() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert crossed(values[:1][None]).interval() is None


@pytest.mark.parametrize("spreads", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0.3, 1, 2)])
def test_intervals_of_crossed_means_hold_the_truth_as_often_as_they_say(spreads):
    rng, of = np.random.default_rng(2), spreads
    held = 0
    for _ in range(800):
        table = of[0] * rng.normal(size=(5, 1)) + of[1] * rng.normal(size=(1, 10)) + of[2] * rng.normal(size=(5, 10))
        low, high = crossed(table).interval()
        held += low <= 0 <= high
    # binomial error of 800: 0.008
    assert 0.925 < held / 800 < 0.985


def test_errors_of_two_sources_add_up():
    both = Estimate(0.1, 4.0, 4).with_error_of(Estimate(0.1, 1.0, 9))
    assert both.variance == 5
    assert both.freedom == pytest.approx(25 / (16 / 4 + 1 / 9))
    assert Estimate(0.1, 4.0, 4).with_error_of(Estimate(0.1)).interval() is None


def test_p_values_are_corrected_as_holm_does():
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_error_over_ground_is_that_of_block_scores():
    one, two = (BlockScore(v, np.random.default_rng(n).normal(size=9) / 100, 8.0) for n, v in enumerate((0.5, 0.4)))
    assert evidence_tables.over_ground(one, two).interval() == pytest.approx(one.minus(two)["interval"])


# --- tables


def final_runs(place):
    """Chosen is better by 0.1 of the pixels than random, which is better by 0.1 than the floor."""
    rng = np.random.default_rng(0)
    right = {"floor": 0.3, "random": 0.4, "chosen": 0.5, "ceiling": 0.7}

    def do(spec):
        share = right[spec["method"]] + 0.01 * rng.normal() + 0.02 * (spec["labels"] == 64)
        reference = rng.integers(800, 1200, (12, 3))
        hits = (reference * (share + 0.02 * rng.normal(size=(12, 3)))).astype(int)
        counts = np.stack([hits, reference, reference], axis=1)
        return {"by_block": counts.tolist(), "miou": 0.0, "patches": 640}

    facts = {"machine": {"cpu": "a CPU", "torch": "2.6"}, "commit": "0", "cpu_s": 1.0}
    (place.runs / "final").mkdir(parents=True)
    for spec in evidence.plan("final", ["[frc]*_standard_64_*", "[frc]*_standard_16_*", "ceiling*"], place):
        if spec["method"] in right:
            write_run(place.result(spec), {"spec": spec} | facts | do(spec))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    place = Place(folder / "work", folder / "scenes", folder / "runs")
    final_runs(place)
    return place.runs


def test_tables_come_from_the_files_alone(runs):
    tables = final_tables(load(runs, "final")[0])
    assert "5 seeds × 10 draws" in tables["primary"]
    assert "12 blocks of test ground" in tables["primary"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables["differences"].splitlines()[2:]]
    chosen = next(row for row in rows if row[0].startswith("chosen") and row[2] == "64")
    assert chosen[4] == "primary"
    gain = float(chosen[3].split()[0])
    # IoU of h right of n, all else wrong, is h / (2n - h)
    assert gain == pytest.approx(0.52 / 1.48 - 0.42 / 1.58, abs=0.01)
    others = [row for row in rows if row[4] != "primary"]
    assert all(0 <= float(row[4].removeprefix("< ")) <= 1 for row in others)
    assert "%" in chosen[6]


def test_what_has_one_seed_is_subtracted_from_every_seed(runs):
    scores = Scores(load(runs, "final")[0])
    found = scores.difference("chosen", "floor", 64)
    values = {
        (seed, draw): score.value - scores.of("floor", 64)[0, draw].value
        for (seed, draw), score in scores.of("chosen", 64).items()
    }
    assert len(values) == 50
    assert found is not None and found[0] == estimate(values)


def test_seeds_that_have_no_counterpart_are_in_the_interval(runs, monkeypatch):
    scores = Scores(load(runs, "final")[0])
    mine = {key: score for key, score in scores.of("chosen", 64).items() if key[0] < 2}
    scores.by_place["two seeds", "standard", 64] = mine
    table = np.array([[scores.of("chosen", 64)[seed, draw].value for draw in range(10)] for seed in range(5)])
    same, asked = crossed(table[:2] - table.mean(axis=0)), []
    monkeypatch.setattr(evidence_tables, "error_of_seeds", lambda of: (asked.append(of), Estimate(0.0, 1.0, 4))[1])
    found = scores.difference("two seeds", "chosen", 64)
    assert found is not None and found[0].value == pytest.approx(same.value)
    assert found[0].variance == pytest.approx(same.variance + 1)
    np.testing.assert_array_equal(asked, [table])


def test_pretrainings_are_compared_with_each_other_where_both_were_run(runs, monkeypatch):
    changed = copy.deepcopy(bench())
    changed["final"]["pairs"] = [["chosen", "random"], ["chosen", "of which there is no run"]]
    monkeypatch.setattr(evidence_tables, "bench", lambda: changed)
    _, _, *rows = evidence_tables.pair_table(Scores(load(runs, "final")[0])).splitlines()
    both = final_tables(load(runs, "final")[0])["primary"].splitlines()[-1].split("|")[2].strip()
    assert rows == [f"| chosen (multiscale) − random | {both} |"]


def test_all_pairs_of_pretrainings_are_of_methods_that_there_are():
    final = bench()["final"]
    assert {name for pair in final["pairs"] for name in pair} <= {"chosen", "random", *final["others"]}


def test_the_page_is_rewritten_between_its_markers_only(runs, tmp_path):
    parts = ("primary", "scores", "differences", "pairs", "search", "before", "pretraining", "real", "runs")
    page = tmp_path / "results.md"
    page.write_text(
        "# Title\n" + "\n".join(f"words\n<!-- evidence:{n} -->\nold\n<!-- /evidence:{n} -->" for n in parts)
    )
    write_page(runs, page)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("# Title\nwords\n<!-- evidence:primary -->\n**")
    assert (tmp_path / "results_curves.png").stat().st_size > 1000
    write_page(runs, page)
    assert page.read_text() == text
    page.write_text(text.replace("<!-- /evidence:scores -->", ""))
    with pytest.raises(Alos2TutError, match="evidence:scores"):
        write_page(runs, page)


def test_folds_of_a_real_scene_are_one_score(place):
    rng, right = np.random.default_rng(0), {"floor": 0.4, "random": 0.5, "simulation": 0.6}
    runs = []
    for spec in evidence.plan("real", ["sanfrancisco_*_16_*", "flevoland_random_16_draw0_fold[012]"], place):
        if spec["method"] in right:
            # the folds differ in size: their mean is not the score of all ground
            reference = rng.integers(800, 1200, (4 + 3 * spec["fold"], 3)) * (1 + spec["fold"])
            hits = (reference * (right[spec["method"]] + 0.1 * spec["fold"])).astype(int)
            runs.append({"spec": spec, "by_block": np.stack([hits, reference, reference], axis=1).tolist()})
    rng.shuffle(runs)
    table = real_table(runs)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:-2]]
    assert [row[2:4] for row in rows] == [
        ["floor", "3"], ["random", "3"], ["pretrained on simulated ground", "3"]
    ]  # fmt: skip
    for row, method in zip(rows, right, strict=True):
        scores = []
        for draw in range(3):
            mine = [run for run in runs if run["spec"]["method"] == method and run["spec"]["draw"] == draw]
            counts = [run["by_block"] for run in mine if run["spec"]["scene"] == "sanfrancisco"]
            hits, reference, predicted = np.concatenate(counts).sum(axis=0)
            scores.append(np.mean(hits / (reference + predicted - hits)))
        assert float(row[4].split()[0]) == pytest.approx(np.mean(scores), abs=6e-4)
    gain = float(rows[2][4].split()[0]) - float(rows[1][4].split()[0])
    assert float(rows[2][5].split()[0]) == pytest.approx(gain, abs=2e-3)
    assert rows[0][6] == rows[1][5] == "–"
    assert "folds are not all there: 3." in table.splitlines()[-1]
