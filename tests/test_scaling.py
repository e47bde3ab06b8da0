"""What the page on growth says is what was measured."""

import json
import shutil

import pytest
import scaling

from alos2tut import Alos2TutError

PAGE, RESULTS = scaling.DOCS / "scaling.md", scaling.DOCS / "scaling.json"


def test_a_slope_is_the_power_of_growth():
    assert scaling.slope([1, 4, 16], [3, 6, 12]) == pytest.approx(0.5)


def test_the_page_has_the_tables_of_its_results(tmp_path):
    page = shutil.copy(PAGE, tmp_path / "scaling.md")
    scaling.write_tables(page, RESULTS)
    assert page.read_text() == PAGE.read_text()
    found = json.loads(RESULTS.read_text())
    found["products"]["64"][0]["own_cpu_s"] *= 2
    (tmp_path / "other.json").write_text(json.dumps(found))
    scaling.write_tables(page, tmp_path / "other.json")
    assert page.read_text() != PAGE.read_text()


def test_a_page_without_markers_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(Alos2TutError, match="lacks the markers of 'machine'"):
        scaling.write_tables(page, RESULTS)
