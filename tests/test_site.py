"""The built site, which `make site` leaves: it is whole, and works without a network."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

SITE = Path(os.environ.get("SITE") or Path(__file__).resolve().parents[1] / "work" / "site")
if not (SITE / "index.html").is_file():
    pytest.skip("no site was built", allow_module_level=True)
#: what a browser loads by itself, by element and attribute
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
#: links that load nothing
POINTERS = {"canonical", "next", "prev", "search", "index", "author"}


class Loaded(HTMLParser):
    """The addresses that a page loads, and its pictures without a text alternative."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if not (tag == "link" and known.get("rel") in POINTERS):
            self.addresses += [known[key] or "" for element, key in LOADED if element == tag and key in known]
        if tag == "img" and not (known.get("alt") or "").strip():
            self.silent.append(known.get("src") or "")


def pages() -> list[Path]:
    return sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)


@pytest.fixture(scope="module")
def loaded() -> dict[Path, Loaded]:
    parsed = {}
    for path in pages():
        parsed[path] = Loaded()
        parsed[path].feed(path.read_text(encoding="utf-8"))
    return parsed


def test_the_pages_are_there(loaded):
    names = {path.relative_to(SITE).as_posix() for path in loaded}
    wanted = {
        "index",
        "install",
        "own_data",
        "data",
        "glossary",
        "troubleshooting",
        "results",
        "changelog",
        "cite",
        "ja",
    }
    wanted |= {"api", "api/alos2tut/index", "search", "notebooks/01_read_and_inspect", "notebooks/05_evaluate_and_map"}
    assert {f"{name}.html" for name in wanted} <= names


def test_no_page_loads_anything_from_elsewhere(loaded):
    """Nor do style sheets; what a page loads lies in the site."""
    foreign = {path.name: [a for a in page.addresses if re.match("(https?:)?//", a)] for path, page in loaded.items()}
    assert {name: found for name, found in foreign.items() if found} == {}
    for path, page in loaded.items():
        local = [re.sub("[?#].*", "", a) for a in page.addresses if not a.startswith("data:")]
        assert [a for a in local if a and not (path.parent / a).exists()] == [], path.name
    for style in SITE.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import )\s*[\"']?(?:https?:)?//[^)\"']+", text) == [], style.name


def test_every_picture_has_a_text_alternative(loaded):
    assert {path.name: page.silent for path, page in loaded.items() if page.silent} == {}


def test_no_state_of_widgets_is_left():
    assert [path.name for path in pages() if "widget-state+json" in path.read_text(encoding="utf-8")] == []
