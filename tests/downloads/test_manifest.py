"""The list of data sets: what it may say, what is refused, and how it is shown."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import alos2tut
from alos2tut import Alos2TutError
from alos2tut.cli import main
from alos2tut.downloads import manifest as manifest_module
from alos2tut.downloads.manifest import _read_entry, list_entries, load_manifest


def test_the_packages_manifest_is_complete():
    entries = load_manifest()
    assert next(iter(entries)) == "simulated_scene"
    samples = {"jaxa_l11_ubs", "jaxa_l11_sf", "jaxa_l15_fuji", "jaxa_l21_flood"}
    assert samples | {"scansar_l22", "mosaic_25m", "hrlulc_japan_v2312", "worldcover_fuji"} <= entries.keys()
    assert "--size-px 4096 5120" in entries["simulated_scene"].steps[0]
    for entry in entries.values():
        assert entry.format and entry.licence and entry.terms and entry.login in (True, False, None), entry.name
        assert entry.attribution or entry.kind == "simulated", entry.name
        assert entry.opens_with or entry.kind in ("labels", "weights"), entry.name
        assert (entry.as_published == "not verified") == bool(entry.files or entry.page), entry.name
        # what needs an account is not fetched by a program
        assert bool(entry.steps) != bool(entry.files) and not (entry.login and entry.files), entry.name
        for file in entry.files:
            assert file.url.startswith("https://") and file.url.endswith(f"/{Path(file.name).name}"), entry.name
            if "raw.githubusercontent.com" in file.url:
                commit = re.search(r"/[0-9a-f]{40}/", file.url)
                assert commit and file.url_is == "derived" and file.sha256 and file.size_bytes, file.name


def test_an_installed_package_has_the_manifest_inside(monkeypatch, tmp_path):
    monkeypatch.setattr(manifest_module, "__file__", str(tmp_path / "site" / "alos2tut" / "downloads" / "manifest.py"))
    inside = tmp_path / "site" / "alos2tut" / "downloads" / "data_manifest.yaml"
    inside.parent.mkdir(parents=True)
    shutil.copy(Path(alos2tut.__file__).parents[1] / "data_manifest.yaml", inside)
    assert load_manifest().keys() == load_manifest(inside).keys()
    # a file that lies above an installed package by chance is not its manifest; above a checkout's it is, where the
    # package's own may be a text file that was to be a link
    (tmp_path / "site" / "data_manifest.yaml").write_text("version: 2\ndatasets: []\n")
    assert load_manifest()
    (tmp_path / "site" / "pyproject.toml").touch()
    inside.write_text("../data_manifest.yaml")
    assert load_manifest() == {}


GOOD = {"name": "a.bin", "url": "https://example.org/a.bin"}
MADE = {"name": "b.tif", "recipe": "sanfrancisco_hv", "of": "a.bin", "pixels_sha256": "0" * 64}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param({"url": "http://example.org/a"}, "url='http://example.org/a': must be an https", id="http"),
        pytest.param({"url": "file:///etc/passwd"}, "must be an https", id="file"),
        pytest.param({"url": "https:///a"}, "must be an https", id="no host"),
        pytest.param({"url": "https://me:secret@example.org/a"}, "must be an https", id="password"),
        pytest.param({"url": "https://example.org/a b\n"}, "must be an https", id="white space"),
        pytest.param({"url": "https://[1/a"}, "must be an https", id="no address"),
        pytest.param({"url": "https://a..b/a"}, "must be an https", id="no host name"),
        pytest.param({"url": "https://example.org:99999/a"}, "must be an https", id="no port"),
        pytest.param({"name": "../a"}, "name='../a': must be a plain file name", id="up"),
        pytest.param({"name": "/etc/a"}, "plain file name", id="absolute"),
        pytest.param({"name": "C:\\a"}, "plain file name", id="drive"),
        pytest.param({"name": ".profile"}, "plain file name", id="hidden"),
        pytest.param({"name": "a\n"}, "plain file name", id="end of line"),
        pytest.param({"name": "a/../../b"}, "plain file name", id="up from a folder"),
        pytest.param({"name": "a/b/c"}, "plain file name", id="folder in a folder"),
        pytest.param({"name": "a//b"}, "plain file name", id="folder without a name"),
        pytest.param({"name": "checksums.json/b"}, "list of checksums", id="list of checksums as a folder"),
        pytest.param({"name": "aux/b"}, "name='aux/b': is a device's name", id="device as a folder"),
        pytest.param({"name": "Checksums.json"}, "list of checksums", id="list of checksums"),
        pytest.param({"name": "a" * 201}, "at most 200", id="long name"),
        pytest.param({"name": "Nul.tif"}, "name='Nul.tif': is a device's name", id="device"),
        pytest.param({"sha256": "abc"}, "sha256='abc': must be 64", id="short checksum"),
        pytest.param({"size_bytes": 0}, "size_bytes=0", id="no size"),
        pytest.param({"size_bytes": True}, "size_bytes=True", id="true as size"),
        pytest.param({"size_bytes": 10**18}, "size_bytes=1000", id="size of nothing on Earth"),
        pytest.param({"md5": "0"}, "unknown key 'md5'", id="unknown key"),
    ],
)
def test_a_bad_file_of_a_manifest_is_named(write_manifest, file, message):
    with pytest.raises(Alos2TutError) as refused:
        load_manifest(write_manifest(GOOD, {**GOOD, "name": "b.bin", **file}))
    assert "entry 1 'some', file 2: " in str(refused.value) and message in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("field", ["name", "title", "used_for", "url"])
def test_what_an_entry_or_its_file_lacks_is_named(tmp_path, field):
    entry = {"name": "some", "title": "t", "used_for": "u", "files": [{"name": "a.bin"}]}
    if field != "url":
        del entry[field], entry["files"]
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"version": 2, "datasets": [entry]}))
    with pytest.raises(Alos2TutError, match=rf"entry 1.*{'file 1' if field == 'url' else ''}: '{field}' is missing"):
        load_manifest(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param({"name": "../some"}, "name='../some': must be of lower-case", id="path as name"),
        pytest.param({"name": "com1"}, "device's name", id="device as name"),
        pytest.param({"name": [["a"] * 9] * 9}, "Input should be a valid string", id="list as name"),
        pytest.param({"title": " "}, "title=' ': must say something", id="empty title"),
        pytest.param({"title": "\x1b[2J"}, r"title='\x1b[2J': must be one line", id="control characters"),
        pytest.param({"title": "\u202e"}, "must be one line", id="text turned round"),
        pytest.param({"licence": "a\nb"}, "must be one line", id="two lines"),
        pytest.param({"login": "yes"}, "login='yes'", id="text as truth"),
        pytest.param({"steps": "register"}, "'steps' is no list", id="steps as text"),
        pytest.param({"steps": [1]}, "steps.0=1", id="a number as step"),
        pytest.param({"as_published": "verified 2026-02-30"}, "must be 'not verified'", id="no date"),
        pytest.param({"as_published": "verified 20260228"}, "must be 'not verified'", id="another date"),
        pytest.param({"files": False}, "'files' is no list", id="files that are none"),
        pytest.param({"licens": "MIT"}, "Did you mean 'licence'?", id="unknown key"),
        pytest.param({"page": "http://example.org"}, "page='http://example.org'", id="open page"),
        pytest.param({"files": []}, "neither 'files' nor 'steps'", id="no way to get it"),
        pytest.param({"files": [GOOD, {**GOOD, "name": "A.BIN"}]}, "'a.bin' is given 2 times", id="one name twice"),
        pytest.param({"makes": [{**MADE, "name": "A.bin"}]}, "'a.bin' is given 2 times", id="made over a file"),
        pytest.param({"makes": [{**MADE, "of": "b.bin"}]}, "makes an image of 'b.bin', which is none", id="of nothing"),
        pytest.param({"makes": [{**MADE, "recipe": "os.system"}]}, "recipe='os.system'", id="unknown recipe"),
        pytest.param({"makes": [{**MADE, "name": "../b"}]}, "plain file name", id="made elsewhere"),
        pytest.param({"makes": ["HV.tif"]}, "'makes' is no list of files", id="a name as recipe"),
    ],
)
def test_a_bad_entry_of_a_manifest_is_named(write_manifest, entry, message):
    with pytest.raises(Alos2TutError) as refused:
        load_manifest(write_manifest(GOOD, **entry))
    assert "entry 1 " in str(refused.value) and message in str(refused.value)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 900


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "[]", "version: 1\ndatasets: []", "version: 2\ndatasets: {}", "version: 2\ndatasets: [5]", "\0"],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(Alos2TutError, match=r"m\.yaml"):
        load_manifest(tmp_path / "m.yaml")


def test_two_entries_of_one_name_are_refused(write_manifest):
    content = yaml.safe_load((path := write_manifest(GOOD)).read_text())
    path.write_text(yaml.safe_dump({"version": 2, "datasets": content["datasets"] * 2}))
    with pytest.raises(Alos2TutError, match=r"'some' is given 2 times"):
        load_manifest(path)


def test_a_manifest_is_not_loaded_from_afar():
    with pytest.raises(Alos2TutError, match=r"is an address"):
        load_manifest("https://example.org/manifest.yaml")
    with pytest.raises(Alos2TutError, match=r"cannot be read"):
        load_manifest("not/there.yaml")


@pytest.mark.parametrize("text", ["datasets: &a [*a]", "datasets: [&a {name: *a}]", "LAUGHS"])
def test_content_without_an_end_is_named_in_a_few_words(tmp_path, text):
    laughs = "".join(f"\n    - &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))
    laughs = f"datasets:\n  - steps:\n    - &x0 [a]{laughs}\n    name: *x8"
    (tmp_path / "m.yaml").write_text(f"version: 2\n{laughs if text == 'LAUGHS' else text}")
    with pytest.raises(Alos2TutError, match=r"m\.yaml.*more than 10,000 values") as refused:
        load_manifest(tmp_path / "m.yaml")
    assert len(str(refused.value)) < 1000


@given(st.text(max_size=20))
def test_no_name_leads_out_of_the_folder(name):
    content = {"name": "some", "title": "t", "used_for": "u", "files": [{**GOOD, "name": name}]}
    try:
        entry = _read_entry(content, "here")
    except Alos2TutError:
        return
    path = Path("/data/some") / entry.files[0].name
    assert Path("/data/some").resolve() in path.resolve().parents and path.resolve().parts[3:] == tuple(name.split("/"))


# --- as it is shown


def test_the_list_is_readable_and_complete(capsys):
    assert main(["fetch", "--list"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 116 and "as published, not verified" in text
    for name in load_manifest():
        assert f"\n{name} " in text
    assert main(["fetch", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(load_manifest())
    assert main(["fetch", "--list", "worldcover_fuji"]) == 0
    assert "CC BY 4.0" in (text := capsys.readouterr().out) and "jaxa_l11" not in text
    assert "(derived from how such files are named)" in text and "notes: codes: 10 trees" in text
    assert "next: alos2tut build-dataset PRODUCT --labels PATH" in text and "SHA-256" not in text


@pytest.mark.parametrize("width", [40, 80, 100, 116, 200])
def test_the_list_fits_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    main(["fetch", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width and max(map(len, lines)) > width - 15
    known = load_manifest()
    assert sum(line in known for line in lines) == (len(known) if width <= 100 else 0)


def test_a_long_licence_does_not_break_the_list(write_manifest):
    entries = load_manifest(write_manifest(GOOD, licence="long " * 50)).values()
    assert max(map(len, list_entries(entries, 80).splitlines())) <= 80


def test_all_that_is_known_of_an_entry_is_shown(capsys, write_manifest):
    file = {**GOOD, "url_is": "reported", "size_bytes": 2_000_000, "sha256": "0" * 64}
    facts = {"steps": ["look"], "login": False, "as_published": "verified 2026-01-31", "opens_with": "open {path}"}
    main(["fetch", "--list", "some", "--manifest", str(write_manifest(file, **facts))])
    assert capsys.readouterr().out.splitlines() == [
        "some: Some data",
        *("  used for: tests", "  kind: sar", "  size: 2 MB", "  account: no", "  terms: not known: ask the source"),
        *("  addresses: verified 2026-01-31", "  next: open PATH", "  1. look", "  file a.bin (2 MB)"),
        *("    https://example.org/a.bin (as third parties report it)", f"    SHA-256 {'0' * 64}"),
    ]


def test_a_known_size_is_exact_and_another_about_right(capsys, write_manifest):
    for facts, expected in [
        ({"files": [{**GOOD, "size_bytes": 1_234_567}]}, " 1.23 MB "),
        ({"size_bytes": 999_600}, " ~1 MB "),
        ({"size_bytes": 12}, " ~12 B "),
        ({"size_bytes": 6_770_000_000}, " ~6.77 GB "),
        ({"size_bytes": 1_500_000_000_000}, " ~1.5 TB "),
        ({}, " ? "),
    ]:
        main(["fetch", "--list", "--manifest", str(write_manifest(**{"steps": ["ask"]} | facts))])
        assert expected in capsys.readouterr().out
