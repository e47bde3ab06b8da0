"""The five notebooks on data of one's own, called as README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import rasterio
from support.notebooks import ROOT, main_report, one, run_all

from alos2tut import load_legend


def readme_call(name: str) -> list[str]:
    """The arguments of a call that README shows for one's own data, or for a tile of the mosaic."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {name}-call -->\s*```sh\n(.+?)```\s*<!-- /{name}-call -->", text, flags=re.DOTALL)[1]
    words = shlex.split(block.replace("\\\n", " "))
    return words[words.index("notebooks/run_all.py") + 1 :]


def test_the_readme_example_is_simulated_and_has_a_legend_that_opens(tmp_path: Path) -> None:
    arguments = readme_call("own-data")
    values = dict(zip(arguments[3::3], arguments[4::3], strict=True))
    assert arguments[:2] == ["--work-dir", "work"]
    assert values == {"product": "myscene", "labels": "myscene/labels", "legend": "four.yaml"}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ".venv/bin/alos2tut simulate myscene --seed 1\n" in text
    (tmp_path / "four.yaml").write_text(re.search(r"<<END\n(.+?)END\n", text, flags=re.DOTALL)[1], encoding="utf-8")
    legend = load_legend(tmp_path / "four.yaml")
    assert legend.names == ["water", "built-up", "open land", "forest"]
    assert sorted(code for of in legend.classes for code in of.codes) == list(range(1, 15))


def test_the_readme_call_runs_on_a_real_mosaic_window(mosaic: Path, tmp_path: Path) -> None:
    """Plumbing only: land is 0.7 % of this window, and what comes of it is said first."""
    arguments = readme_call("mosaic")
    place = {"product": str(mosaic), "labels": str(mosaic / "crop_N23W161_20_mask_F02DAR.tif"), "legend": "water_land"}
    for name, value in place.items():
        arguments[arguments.index(name) + 1] = value
    at = arguments.index("overrides") + 1
    arguments[at] += "; pretrain.steps=12; finetune.steps=12; finetune.validate_every=6"
    run_all(tmp_path / "work", tmp_path, *[a for a in arguments if a not in ("--work-dir", "work")])
    report = main_report(tmp_path / "work")
    assert report["classes"] == ["water", "land"] and not report["simulated"]
    codes = {headline["code"] for headline in report["headlines"] if headline["model"] == "segmenter"}
    assert codes >= {"never-predicted", "not-above-most-frequent"}
    with (
        rasterio.open(one(tmp_path / "work", "map-*/landcover.tif")) as raster,
        rasterio.open(mosaic / "crop_N23W161_20_sl_HH_F02DAR.tif") as source,
    ):
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
        assert ((raster.read(1) == 255) == (source.read(1) <= 1)).all()
