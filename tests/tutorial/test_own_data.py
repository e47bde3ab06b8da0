"""The five notebooks on data of one's own, called as docs/own_data.md says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nbformat
import rasterio
from support.notebooks import ROOT, main_report, one, run_all

from alos2tut import load_legend, open_dataset
from alos2tut.mapping.files import MapFile


def page_block(name: str) -> str:
    """The commands that docs/own_data.md shows between two marks."""
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- {name}-call -->\s*```sh\n(.+?)```\s*<!-- /{name}-call -->", text, flags=re.DOTALL)[1]


def page_call(name: str) -> list[str]:
    """The arguments of the notebooks there."""
    words = shlex.split(page_block(name).replace("\\\n", " "), comments=True)
    return words[words.index("notebooks/run_all.py") + 1 :]


def test_the_example_runs_on_real_labelled_radar(airsar: Path, tmp_path: Path) -> None:
    """As it stands, beside the folder that fetch fills, but for the profile: the path of an image on no map."""
    work = tmp_path / "work"
    run_all(work, airsar.parent, "--profile", "smoke", *page_call("own-data"))
    for path in (work / "notebooks").glob("*.ipynb"):
        outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
        assert "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr") == "", path.name
        assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    report = main_report(work)
    assert report["classes"] == ["bare soil", "mountain", "water", "urban", "vegetation"] and not report["simulated"]
    assert report["models"].keys() == {"segmenter", "baseline", "floor"}
    labelled = sum(open_dataset(one(work, "dataset-*")).content["splits"]["test"]["class_pixels"].values())
    assert {sum(map(sum, model["confusion_matrix"])) for model in report["models"].values()} == {labelled}
    mapped = MapFile.open(one(work, "map-*/landcover.tif"))
    assert (mapped.shape, mapped.grid.crs, mapped.tags["FRAME"]) == ((900, 1024), None, "image")


def test_the_merged_legend_of_the_page_opens_and_its_example_is_simulated(tmp_path: Path) -> None:
    block, arguments = page_block("merged-legend"), page_call("merged-legend")
    values = dict(zip(arguments[1::3], arguments[2::3], strict=True))
    assert values == {"product": "myscene", "labels": "myscene/labels", "legend": "four.yaml"}
    assert block.startswith(".venv/bin/alos2tut simulate myscene --seed 1\n")
    (tmp_path / "four.yaml").write_text(re.search(r"<<END\n(.+?)END\n", block, flags=re.DOTALL)[1], encoding="utf-8")
    legend = load_legend(tmp_path / "four.yaml")
    assert legend.names == ["water", "built-up", "open land", "forest"]
    assert sorted(code for of in legend.classes for code in of.codes) == list(range(1, 15))


def test_the_call_runs_on_a_real_mosaic_window(mosaic: Path, tmp_path: Path) -> None:
    """Plumbing only: land is 0.7 % of this window, and what comes of it is said first; the last notebook trains."""
    arguments = page_call("mosaic")
    place = {"product": str(mosaic), "labels": str(mosaic / "crop_N23W161_20_mask_F02DAR.tif"), "legend": "water_land"}
    for name, value in place.items():
        arguments[arguments.index(name) + 1] = value
    at = arguments.index("overrides") + 1
    arguments[at] += "; pretrain.steps=12; finetune.steps=12; finetune.validate_every=6"
    arguments = [argument for argument in arguments if argument not in ("--work-dir", "work")]
    run_all(tmp_path / "work", tmp_path, *arguments, "--only", "01", "02", "05")
    report = main_report(tmp_path / "work")
    assert report["classes"] == ["water", "land"] and not report["simulated"]
    codes = {headline["code"] for headline in report["headlines"] if headline["model"] == "segmenter"}
    assert "not-above-floor" in codes
    with (
        rasterio.open(one(tmp_path / "work", "map-*/landcover.tif")) as raster,
        rasterio.open(mosaic / "crop_N23W161_20_sl_HH_F02DAR.tif") as source,
    ):
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
        assert ((raster.read(1) == 255) == (source.read(1) <= 1)).all()
