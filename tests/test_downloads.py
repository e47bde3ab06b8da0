"""Fetching data: from a server on this machine, which sends what it should, and what it should not."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import alos2tut
from alos2tut import Alos2TutError, Alos2TutWarning, downloads, fetch, open_product
from alos2tut.cli import main

Answer = Callable[[BaseHTTPRequestHandler], None]

CONTENT = bytes(range(256)) * 8000
OTHER = CONTENT[::-1]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- the server and what it answers


def sends(content: bytes, *, status: int = 200, stated: int | None = None, **headers: str) -> Answer:
    """Content, and a Content-Length that may be another one."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if stated is None else stated))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def sends_chunks(*pieces: bytes, ends: bool = True) -> Answer:
    """Content of a length that is not stated beforehand."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for piece in pieces:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if ends:
            request.wfile.write(b"0\r\n\r\n")

    return answer


def sends_until_it_closes(content: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)

    return answer


def says_nothing(request: BaseHTTPRequestHandler) -> None:
    """The connection is closed without an answer."""
    request.close_connection = True


def in_turn(*answers: Answer) -> Answer:
    waiting = iter(answers)
    return lambda request: next(waiting)(request)


class Server:
    """What it answers, by path, and what it was asked for."""

    def __init__(self, base: str):
        self.base = base
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            state.asked.append(name)
            state.answers.get(name, sends(b"not here", status=404))(self)

        def end_headers(self) -> None:
            self.send_header("Connection", "close")
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    state = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def stay_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"the tests do not look up {host}")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(downloads, "_WAITS_S", (0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., Path]:
    def write(*files: dict[str, Any], **changes: Any) -> Path:
        entry = {"name": "some", "title": "Some data", "used_for": "tests", "files": list(files), **changes}
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump({"version": 2, "datasets": [entry]}))
        return path

    return write


@pytest.fixture
def one(server: Server, write_manifest: Callable[..., Path]) -> Callable[..., Path]:
    """A manifest of one file ``a.bin``, of which more may be said."""
    return lambda **facts: write_manifest({"name": "a.bin", "url": server.url("a.bin"), **facts})


def names(folder: Path) -> list[str]:
    """All that lies below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refusal(manifest: Path, folder: Path) -> str:
    with pytest.raises(Alos2TutError) as refused:
        fetch("some", folder, manifest=manifest)
    return str(refused.value)


# --- what arrives


def test_a_file_is_fetched_once_and_its_checksum_recorded(server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    place = fetch("some", tmp_path / "data", manifest=one())
    assert place == tmp_path / "data" / "some" and (place / "a.bin").read_bytes() == CONTENT
    record = {"sha256": sha256(CONTENT), "bytes": len(CONTENT), "url": server.url("a.bin")}
    assert json.loads((place / "checksums.json").read_text()) == {"a.bin": record}
    assert fetch("some", tmp_path / "data", manifest=one()) == place
    assert server.asked == ["a.bin"] and names(place) == ["a.bin", "checksums.json"]


def test_a_published_checksum_needs_no_record(server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    place = fetch("some", tmp_path, manifest=one(sha256=sha256(CONTENT), size_bytes=len(CONTENT)))
    assert names(place) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_a_fetched_file_as_any_other(server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    (tmp_path / "plain").touch()
    mode = (fetch("some", tmp_path, manifest=one()) / "a.bin").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sends_chunks(CONTENT[:1000], CONTENT[1000:]), id="in chunks"),
        pytest.param(in_turn(sends(CONTENT[:50], stated=len(CONTENT)), sends(CONTENT)), id="broken off once"),
        pytest.param(in_turn(says_nothing, sends(b"", status=503), sends(CONTENT)), id="two kinds of failure"),
    ],
)
def test_a_file_arrives_whole_in_the_end(server, one, tmp_path, answer):
    server.answers["a.bin"] = answer
    assert (fetch("some", tmp_path, manifest=one()) / "a.bin").read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_taken_and_recorded(server, one, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").write_bytes(CONTENT)
    place = fetch("some", tmp_path, manifest=one(size_bytes=len(CONTENT)))
    assert server.asked == []
    assert json.loads((place / "checksums.json").read_text())["a.bin"]["sha256"] == sha256(CONTENT)


def test_what_is_missing_of_several_files_is_fetched(server, write_manifest, tmp_path):
    parts = [{"name": name, "url": server.url(name)} for name in ("a.bin", "b.bin", "c.bin")]
    manifest = write_manifest(*parts)
    server.answers |= {"a.bin": sends(CONTENT), "c.bin": sends(OTHER)}
    assert "b.bin" in refusal(manifest, tmp_path)
    assert names(tmp_path / "some") == ["a.bin", "checksums.json"]
    server.answers["b.bin"] = sends(b"b")
    place = fetch("some", tmp_path, manifest=manifest)
    assert server.asked == ["a.bin", "b.bin", "b.bin", "c.bin"]
    assert [(place / name).read_bytes() for name in ("a.bin", "b.bin", "c.bin")] == [CONTENT, b"b", OTHER]
    assert json.loads((place / "checksums.json").read_text()).keys() == {"a.bin", "b.bin", "c.bin"}


def test_a_redirect_is_followed(server, one, tmp_path):
    server.answers["a.bin"] = sends(b"", status=302, Location="/there.bin")
    server.answers["there.bin"] = sends(CONTENT)
    assert (fetch("some", tmp_path, manifest=one()) / "a.bin").read_bytes() == CONTENT


def test_a_redirect_does_not_leave_https(tmp_path):
    entry = downloads.load_manifest()["jaxa_l15_fuji"]
    transfer = downloads._Transfer(entry.files[0], tmp_path / "a", entry, show=False)
    transfer._check_redirect("https://example.org/a", "https://example.com/b")
    with pytest.raises(Alos2TutError, match=r"leads on to 'http://127\.0\.0\.1/b'"):
        transfer._check_redirect("https://example.org/a", "http://127.0.0.1/b")


def test_two_at_once_do_not_disturb_each_other(server, one, tmp_path):
    manifest, both = one(), threading.Barrier(2)

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:1000])
        both.wait(10)
        request.wfile.write(CONTENT[1000:])

    server.answers["a.bin"] = slowly
    with ThreadPoolExecutor(2) as pool:
        places = list(pool.map(lambda _: fetch("some", tmp_path, manifest=manifest), range(2)))
    assert places == [tmp_path / "some"] * 2 and server.asked == ["a.bin", "a.bin"]
    assert (places[0] / "a.bin").read_bytes() == CONTENT and names(places[0]) == ["a.bin", "checksums.json"]


# --- what does not


@pytest.mark.parametrize(
    ("answer", "tries", "message"),
    [
        pytest.param(
            sends(CONTENT[:70_000], stated=len(CONTENT)), 3, "broke off after about 65536 of", id="ends early"
        ),
        pytest.param(sends_chunks(CONTENT[:3000], ends=False), 3, "broke off after about", id="chunks without an end"),
        pytest.param(says_nothing, 3, "cannot be reached", id="no answer"),
        pytest.param(sends(b"", status=500), 3, "answered 500", id="500"),
        pytest.param(sends(b"", status=404), 1, "no such file", id="404"),
        pytest.param(sends(b"", status=401), 1, "an account is needed", id="401"),
        pytest.param(sends(b"", status=403), 1, "an account is needed", id="403"),
        pytest.param(sends(b"", status=400), 1, "answered 400", id="400"),
        pytest.param(sends(b"", status=204), 1, "answered 204", id="no content"),
        pytest.param(sends(b"<html>Log in", Content_Type="text/html; charset=utf-8"), 1, "web page", id="web page"),
        pytest.param(sends(b"", status=302, Location="ftp://127.0.0.1/a.bin"), 1, "leads on to 'ftp:", id="to ftp"),
        pytest.param(sends(b"", status=302, Location="http://example.org/a"), 1, "no https", id="to open http"),
        pytest.param(sends(b"", status=302, Location="https://[/a"), 1, "leads on to 'https://[/a'", id="to nowhere"),
        pytest.param(sends(b"", status=302, Location="/a.bin"), 31, "without an end", id="in a circle"),
    ],
)
@pytest.mark.parametrize("older", [False, True], ids=["first", "over an older file"])
def test_a_failed_transfer_leaves_everything_as_it_was(server, write_manifest, tmp_path, answer, tries, message, older):
    parts = [{"name": name, "url": server.url(name)} for name in ("older.bin", "a.bin")]
    manifest = write_manifest(*(parts if older else parts[1:]))
    server.answers |= {"older.bin": sends(OTHER), "a.bin": answer}
    error = refusal(manifest, tmp_path)
    assert error.startswith("some: ") and message in error and server.url("a.bin") in error
    assert server.asked.count("a.bin") == tries
    assert names(tmp_path / "some") == (["checksums.json", "older.bin"] if older else [])


@pytest.mark.parametrize(
    ("answer", "tries", "message"),
    [
        pytest.param(sends(CONTENT), 1, f"has {len(CONTENT)} bytes, the manifest says 3000", id="stated beforehand"),
        pytest.param(sends_chunks(*[CONTENT] * 3), 1, "more than the 3000 bytes", id="more than expected"),
        pytest.param(sends_chunks(CONTENT[:100]), 3, "broke off after about 100 of 3000", id="less than expected"),
        pytest.param(sends_until_it_closes(CONTENT[:100]), 3, "broke off after about 100 of 3000", id="closed early"),
    ],
)
def test_another_size_than_published_is_refused(server, one, tmp_path, answer, tries, message):
    server.answers["a.bin"] = answer
    assert message in refusal(one(size_bytes=3000), tmp_path)
    assert len(server.asked) == tries and names(tmp_path / "some") == []


def test_another_checksum_than_published_is_refused(server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    error = refusal(one(sha256=sha256(OTHER)), tmp_path)
    assert sha256(CONTENT) in error and sha256(OTHER) in error and "the manifest" in error
    assert names(tmp_path / "some") == [] and server.asked == ["a.bin"]


def test_the_recorded_checksum_protects_from_a_server_that_changed(server, one, tmp_path):
    manifest = one()
    server.answers["a.bin"] = sends(CONTENT)
    place = fetch("some", tmp_path, manifest=manifest)
    record = (place / "checksums.json").read_bytes()
    (place / "a.bin").unlink()
    server.answers["a.bin"] = sends(OTHER)
    error = refusal(manifest, tmp_path)
    assert sha256(CONTENT) in error and sha256(OTHER) in error and "delete the entry 'a.bin'" in error
    assert names(place) == ["checksums.json"] and (place / "checksums.json").read_bytes() == record
    # as the error says
    (place / "checksums.json").write_text("{}")
    assert (fetch("some", tmp_path, manifest=manifest) / "a.bin").read_bytes() == OTHER


@pytest.mark.parametrize("published", [False, True], ids=["recorded", "published"])
def test_a_file_that_was_altered_is_named_and_kept(server, one, tmp_path, published):
    manifest = one(sha256=sha256(CONTENT)) if published else one()
    server.answers["a.bin"] = sends(CONTENT)
    place = fetch("some", tmp_path, manifest=manifest)
    (place / "a.bin").write_bytes(OTHER)
    error = refusal(manifest, tmp_path)
    assert str(place / "a.bin") in error and sha256(CONTENT) in error and sha256(OTHER) in error
    assert (place / "a.bin").read_bytes() == OTHER and server.asked == ["a.bin"]


def test_a_file_there_of_another_size_than_published_is_named(one, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").write_bytes(b"part")
    assert "has 4 bytes, the manifest says 9" in refusal(one(size_bytes=9), tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"a.bin": 1}', '{"a.bin": {"sha256": 5}}'])
def test_a_broken_list_of_checksums_is_named(server, one, tmp_path, content):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").write_bytes(CONTENT)
    (tmp_path / "some" / "checksums.json").write_text(content)
    assert "checksums.json" in refusal(one(), tmp_path)


@pytest.mark.parametrize("known", [{"size_bytes": len(CONTENT)}, {}], ids=["from the manifest", "from the server"])
def test_a_full_disk_is_seen_beforehand(server, one, tmp_path, monkeypatch, known):
    server.answers["a.bin"] = sends(CONTENT)
    full = shutil.disk_usage(tmp_path)._replace(free=2**28 + len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    error = refusal(one(**known), tmp_path)
    assert "2.05 MB are needed" in error and "another disk" in error
    assert server.asked == ([] if known else ["a.bin"]) and names(tmp_path / "some") == []


def test_a_file_of_unknown_length_does_not_fill_the_disk(server, one, tmp_path, monkeypatch):
    server.answers["a.bin"] = sends_chunks(*[CONTENT] * 3)
    usage, free = shutil.disk_usage(tmp_path), iter([2**40, 2**40, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=next(free)))
    monkeypatch.setattr(downloads, "_PIECE_BYTES", len(CONTENT))
    assert "are needed" in refusal(one(), tmp_path)
    assert names(tmp_path / "some") == []


def test_a_length_that_nobody_states_is_warned_of(server, one, tmp_path):
    server.answers["a.bin"] = sends_until_it_closes(CONTENT)
    with pytest.warns(Alos2TutWarning, match=r"whether it is whole is not known"):
        fetch("some", tmp_path, manifest=one())


def test_an_interrupt_leaves_nothing_half_done(server, one, tmp_path, monkeypatch):
    def interrupted(self: Any, piece: bytes) -> None:
        self._output.write(piece[:10])
        raise KeyboardInterrupt

    server.answers["a.bin"] = sends(CONTENT)
    monkeypatch.setattr(downloads._Transfer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("some", tmp_path, manifest=one())
    assert names(tmp_path / "some") == []


def test_a_server_that_is_down_is_named(write_manifest, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    manifest = write_manifest({"name": "a.bin", "url": f"http://127.0.0.1:{port}/a.bin"})
    assert f"http://127.0.0.1:{port}/a.bin: 127.0.0.1 cannot be reached" in refusal(manifest, tmp_path)


def test_a_name_that_no_server_has_is_named(write_manifest, tmp_path):
    manifest = write_manifest({"name": "a.bin", "url": "https://nowhere.invalid/a.bin"})
    error = refusal(manifest, tmp_path)
    assert "nowhere.invalid cannot be reached" in error and "offline" in error


def test_a_server_that_hangs_is_left(server, one, tmp_path, monkeypatch):
    done = threading.Event()

    def hangs(request: BaseHTTPRequestHandler) -> None:
        done.wait(10)
        request.close_connection = True

    server.answers["a.bin"] = hangs
    monkeypatch.setattr(downloads, "_TIMEOUT_S", (0.1, 0.1))
    assert "did not answer in time" in refusal(one(), tmp_path)
    done.set()


def test_a_folder_that_cannot_be_made_is_named(one, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be made" in refusal(one(), tmp_path / "file")


def forbid(path: Path, mode: int, access: int) -> None:
    """Take a permission away; the test is skipped where it counts for nothing, as for an administrator."""
    path.chmod(mode)
    if os.access(path, access):
        pytest.skip("nothing is forbidden to this user")


def test_a_file_that_may_not_be_read_is_named(one, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").touch()
    forbid(tmp_path / "some" / "a.bin", 0o000, os.R_OK)
    assert "cannot be read" in refusal(one(), tmp_path)


def test_a_folder_without_permission_is_named(server, one, tmp_path):
    (tmp_path / "some").mkdir()
    forbid(tmp_path / "some", 0o500, os.W_OK)
    assert "cannot write here" in refusal(one(), tmp_path)


def test_a_folder_in_the_way_of_a_file_is_named(one, tmp_path):
    (tmp_path / "some" / "a.bin").mkdir(parents=True)
    assert "in the way" in refusal(one(), tmp_path)


def test_a_bar_is_shown_only_where_somebody_watches(server, one, tmp_path, capsys):
    server.answers["a.bin"] = sends(CONTENT)
    fetch("some", tmp_path / "1", manifest=one())
    assert capsys.readouterr() == ("", "")
    fetch("some", tmp_path / "2", manifest=one(), progress=True)
    assert "a.bin: 100%" in capsys.readouterr().err


def test_a_fetched_archive_opens_where_it_lies(server, write_manifest, tmp_path, small_scene):
    archive = tmp_path / "product.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in small_scene.glob("*"):
            if path.is_file():
                opened.write(path, path.name)
    server.answers["p.zip"] = sends(archive.read_bytes())
    place = fetch("some", tmp_path, manifest=write_manifest({"name": "p.zip", "url": server.url("p.zip")}))
    assert open_product(place / "p.zip").shape == (512, 640)


# --- the manifest


def test_the_packages_manifest_is_complete():
    entries = downloads.load_manifest()
    assert next(iter(entries)) == "simulated_scene"
    samples = {"jaxa_l11_ubs", "jaxa_l11_sf", "jaxa_l15_fuji", "jaxa_l21_flood"}
    assert samples | {"scansar_l22", "mosaic_25m", "hrlulc_japan_v2312", "worldcover_fuji"} <= entries.keys()
    for entry in entries.values():
        assert entry.format and entry.licence and entry.terms and entry.login in (True, False, None), entry.name
        assert entry.attribution or entry.kind == "simulated", entry.name
        assert entry.opens_with or entry.kind in ("labels", "weights"), entry.name
        assert (entry.as_published == "not verified") == bool(entry.files or entry.page), entry.name
        # what needs an account is not fetched by a program
        assert bool(entry.steps) != bool(entry.files) and not (entry.login and entry.files), entry.name
        for file in entry.files:
            assert file.url.startswith("https://") and file.url.endswith(f"/{file.name}"), entry.name


def test_an_installed_package_has_the_manifest_inside(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "__file__", str(tmp_path / "site" / "alos2tut" / "downloads.py"))
    inside = tmp_path / "site" / "alos2tut" / "data_manifest.yaml"
    inside.parent.mkdir(parents=True)
    shutil.copy(Path(alos2tut.__file__).parents[1] / "data_manifest.yaml", inside)
    assert downloads.load_manifest().keys() == downloads.load_manifest(inside).keys()
    # a link that a checkout on Windows made a text file of does not come first
    inside.write_text("../data_manifest.yaml")
    (tmp_path / "site" / "data_manifest.yaml").write_text("version: 2\ndatasets: []\n")
    assert downloads.load_manifest() == {}


GOOD = {"name": "a.bin", "url": "https://example.org/a.bin"}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param({"url": "http://example.org/a"}, "url='http://example.org/a': must be an https", id="http"),
        pytest.param({"url": "file:///etc/passwd"}, "must be an https", id="file"),
        pytest.param({"url": "ftp://example.org/a"}, "must be an https", id="ftp"),
        pytest.param({"url": "https:///a"}, "must be an https", id="no host"),
        pytest.param({"url": "https://me:secret@example.org/a"}, "must be an https", id="password"),
        pytest.param({"url": "https://example.org/a b\n"}, "must be an https", id="white space"),
        pytest.param({"url": "https://[1/a"}, "must be an https", id="no address"),
        pytest.param({"url": "https://a..b/a"}, "must be an https", id="no host name"),
        pytest.param({"url": "https://example.org:99999/a"}, "must be an https", id="no port"),
        pytest.param({"name": "../a"}, "name='../a': must be a plain file name", id="up"),
        pytest.param({"name": "/etc/a"}, "plain file name", id="absolute"),
        pytest.param({"name": "C:\\a"}, "plain file name", id="drive"),
        pytest.param({"name": ".."}, "plain file name", id="dots"),
        pytest.param({"name": ".profile"}, "plain file name", id="hidden"),
        pytest.param({"name": "a\n"}, "plain file name", id="end of line"),
        pytest.param({"name": "Checksums.json"}, "list of checksums", id="list of checksums"),
        pytest.param({"sha256": "abc"}, "sha256='abc': must be 64", id="short checksum"),
        pytest.param({"sha256": 5}, "sha256=5: Input should be a valid string", id="number as checksum"),
        pytest.param({"size_bytes": 0}, "size_bytes=0", id="no size"),
        pytest.param({"md5": "0"}, "unknown key 'md5'", id="unknown key"),
        pytest.param({"url_is": "guessed"}, "url_is='guessed'", id="unknown word"),
    ],
)
def test_a_bad_file_of_a_manifest_is_named(write_manifest, file, message):
    with pytest.raises(Alos2TutError) as refused:
        downloads.load_manifest(write_manifest(GOOD, {**GOOD, "name": "b.bin", **file}))
    assert "entry 1 'some', file 2: " in str(refused.value) and message in str(refused.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param({"name": "../some"}, "name='../some': must be of lower-case", id="path as name"),
        pytest.param({"title": " "}, "title=' ': must say something", id="empty title"),
        pytest.param({"licens": "MIT"}, "Did you mean 'licence'?", id="unknown key"),
        pytest.param({"kind": "radar"}, "kind='radar'", id="unknown kind"),
        pytest.param({"page": "http://example.org"}, "page='http://example.org'", id="open page"),
        pytest.param({"as_published": "checked"}, "must be 'not verified'", id="unknown state"),
        pytest.param({"files": []}, "neither 'files' nor 'steps'", id="no way to get it"),
        pytest.param({"files": "a.bin"}, "'files' is no list", id="files as text"),
        pytest.param({"files": [GOOD, {**GOOD, "name": "A.BIN"}]}, "'a.bin' is given 2 times", id="one name twice"),
    ],
)
def test_a_bad_entry_of_a_manifest_is_named(write_manifest, entry, message):
    with pytest.raises(Alos2TutError) as refused:
        downloads.load_manifest(write_manifest(GOOD, **entry))
    assert "entry 1 '" in str(refused.value) and message in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "[]", "version: 1\ndatasets: []", "version: 2\ndatasets: {}", "version: 2\ndatasets: [5]", "\0"],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(Alos2TutError, match=r"m\.yaml"):
        downloads.load_manifest(tmp_path / "m.yaml")


def test_two_entries_of_one_name_are_refused(write_manifest):
    content = yaml.safe_load((path := write_manifest(GOOD)).read_text())
    path.write_text(yaml.safe_dump({"version": 2, "datasets": content["datasets"] * 2}))
    with pytest.raises(Alos2TutError, match=r"'some' is given 2 times"):
        downloads.load_manifest(path)


def test_a_manifest_is_not_loaded_from_afar():
    with pytest.raises(Alos2TutError, match=r"is an address"):
        downloads.load_manifest("https://example.org/manifest.yaml")
    with pytest.raises(Alos2TutError, match=r"cannot be read"):
        downloads.load_manifest("not/there.yaml")


@given(st.text(max_size=20))
def test_no_name_leads_out_of_the_folder(name):
    content = {"name": "some", "title": "t", "used_for": "u", "files": [{**GOOD, "name": name}]}
    try:
        entry = downloads._entry(content, "here")
    except Alos2TutError:
        return
    path = Path("/data/some") / entry.files[0].name
    assert path.resolve().parent == Path("/data/some").resolve() and path.name == name


# --- the command


def test_the_list_is_readable_and_complete(capsys):
    assert main(["fetch", "--list"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120 and "not verified" in text
    for name in downloads.load_manifest():
        assert f"\n{name} " in text
    assert main(["fetch", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(downloads.load_manifest())
    assert main(["fetch", "--list", "worldcover_fuji"]) == 0
    assert "CC BY 4.0" in (text := capsys.readouterr().out) and "jaxa_l11" not in text


def test_a_known_size_is_exact_and_another_about_right(capsys, write_manifest):
    for facts, expected in [
        ({"files": [{**GOOD, "size_bytes": 1_234_567}]}, " 1.23 MB "),
        ({"size_bytes": 999_600}, " ~1 MB "),
        ({"size_bytes": 12}, " ~12 B "),
        ({"size_bytes": 6_770_000_000}, " ~6.77 GB "),
        ({}, " ? "),
    ]:
        main(["fetch", "--list", "--manifest", str(write_manifest(**{"steps": ["ask"]} | facts))])
        assert expected in capsys.readouterr().out


def test_the_command_fetches_and_says_what_comes_next(capsys, server, one, tmp_path, write_manifest):
    server.answers["a.bin"] = sends(CONTENT)
    facts = {
        "licence": "open",
        "terms": "be kind",
        "attribution": "© somebody",
        "opens_with": "alos2tut info {path}",
        "notes": "small",
    }
    manifest = write_manifest({"name": "a.bin", "url": server.url("a.bin")}, **facts)
    assert main(["fetch", "some", "--folder", str(tmp_path / "d"), "--manifest", str(manifest)]) == 0
    place = tmp_path / "d" / "some"
    expected = [
        "licence: open",
        "terms: be kind",
        "attribution: © somebody",
        "notes: small",
        f"next: alos2tut info {place / 'a.bin'}",
    ]
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(place), *(f"  {line}" for line in expected)] and err == ""


def test_what_is_got_by_hand_is_listed_step_by_step(capsys):
    assert main(["fetch", "hrlulc_japan_v2312"]) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[0] == "alos2tut: hrlulc_japan_v2312: is not fetched by a program. By hand:"
    assert [line[:5] for line in lines[1:4]] == ["  1. ", "  2. ", "  3. "]
    assert any(line.startswith("  page: https://www.eorc.jaxa.jp/") for line in lines)
    with pytest.raises(downloads.NeedsHands, match=r"alos2tut simulate data/simulated_scene"):
        fetch("simulated_scene")


def test_a_closed_door_gives_the_steps(capsys, server, write_manifest, tmp_path):
    server.answers["a.bin"] = sends(b"", status=401)
    file = {"name": "a.bin", "url": server.url("a.bin")}
    manifest = write_manifest(file, steps=["register"], page="https://example.org/register", terms="theirs")
    assert main(["fetch", "some", "--folder", str(tmp_path), "--manifest", str(manifest)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "(401): an account is needed" in lines[0]
    assert lines[1:] == ["  1. register", "  page: https://example.org/register", "  terms: theirs"]


def test_an_unknown_name_is_answered_with_the_nearest(capsys):
    for arguments in [["fetch", "jaxa_fuji"], ["fetch", "--list", "jaxa_fuji"]]:
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert "unknown data set 'jaxa_fuji'. Did you mean 'jaxa_l15_fuji'?" in err and err.count("\n") == 1
    assert main(["fetch"]) == 2 and "--list" in capsys.readouterr().err


def test_an_interrupted_fetch_goes_on_later(capsys, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "fetch", stop)
    assert main(["fetch", "jaxa_l15_fuji"]) == 130
    assert "goes on with the files that are missing" in capsys.readouterr().err


def test_downloads_load_nothing_heavy():
    code = "import sys, alos2tut.downloads; print({'torch', 'rasterio', 'scipy', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
