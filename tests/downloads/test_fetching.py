"""The list of data sets, and fetching them from a server on this machine, which sends what it should, or should not."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
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
from alos2tut import Alos2TutError, Alos2TutWarning, fetch, load_config, load_legend, open_product
from alos2tut.cli import main
from alos2tut.downloads import fetching as downloads
from alos2tut.downloads import manifest as manifest_module
from alos2tut.downloads.manifest import _read_entry, list_entries, load_manifest

Answer = Callable[[BaseHTTPRequestHandler], None]

CONTENT = bytes(range(256)) * 8000
OTHER = CONTENT[::-1]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- the server and what it answers


def sends(content: bytes, *, status: int = 200, stated: int | str | None = None, **headers: str) -> Answer:
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


def sends_until_it_closes(content: bytes, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
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
    monkeypatch.setenv("COLUMNS", "116")
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
    server.answers["a.bin"] = sends(b"", status=302, Location="/over there.bin")
    server.answers["over%20there.bin"] = sends(CONTENT)
    assert (fetch("some", tmp_path, manifest=one()) / "a.bin").read_bytes() == CONTENT


def test_what_comes_with_a_redirect_is_not_read(server, one, tmp_path):
    sent = 0

    def floods(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(302)
        request.send_header("Location", "/there.bin")
        request.send_header("Content-Length", str(2**30))
        request.end_headers()
        with contextlib.suppress(OSError):
            while sent < 2**30:
                sent += request.wfile.write(CONTENT)

    server.answers |= {"a.bin": floods, "there.bin": sends(CONTENT)}
    assert (fetch("some", tmp_path, manifest=one()) / "a.bin").read_bytes() == CONTENT
    # what lies in the buffers of the sockets
    assert sent < 2**26


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_plain_http_passes_by_a_proxy(server, one, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    server.answers |= {"a.bin": sends(b"", status=302, Location="/b.bin"), "b.bin": sends(CONTENT)}
    fetch("some", tmp_path, manifest=one())
    assert server.asked == ["a.bin", "b.bin"]


def test_what_a_killed_fetch_left_is_removed(server, write_manifest, tmp_path):
    parts = [{"name": name, "url": server.url(name)} for name in ("a.bin", "b.bin")]
    server.answers |= {"a.bin": sends(CONTENT), "b.bin": sends(b"b")}
    place = fetch("some", tmp_path, manifest=write_manifest(*parts))
    for name in ("a.bin", "b.bin", "checksums.json"):
        (place / f".{name}.12345678.tmp").mkdir()
        (place / f".{name}.12345678.tmp" / name).touch()
        for left in ([place / f".{name}.12345678.tmp" / name], [place / f".{name}.12345678.tmp"]):
            os.utime(left[0], (0, 0))
    (place / ".a.bin.87654321.tmp").mkdir()
    fetch("some", tmp_path, manifest=write_manifest(*parts))
    assert names(place) == [".a.bin.87654321.tmp", "a.bin", "b.bin", "checksums.json"]


def test_a_redirect_does_not_leave_https(tmp_path):
    entry = load_manifest()["jaxa_l15_fuji"]
    expected = downloads._Records(tmp_path).expect(entry.files[0])
    transfer = downloads._Transfer(entry.files[0], tmp_path / "a", entry, expected, show=False)
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
        pytest.param(sends(b"Log in", Content_Type="Text/HTML; charset=utf-8"), 1, "web page", id="web page"),
        pytest.param(sends(b"\xef\xbb\xbf\r\n<!DOCTYPE Html><p>"), 1, "web page", id="web page that is not said"),
        pytest.param(sends_chunks(b"<H", b"TML lang=ja>"), 1, "web page", id="web page in pieces"),
        pytest.param(sends(b""), 1, "sent an empty file", id="empty"),
        pytest.param(sends_chunks(), 1, "sent an empty file", id="empty in chunks"),
        pytest.param(sends(CONTENT, Content_Encoding="GZip"), 1, "encoded ('GZip')", id="gzip"),
        pytest.param(sends(CONTENT, Content_Encoding="br"), 1, "encoded ('br')", id="brotli"),
        pytest.param(sends_until_it_closes(CONTENT), 1, "State its size or SHA-256", id="no length"),
        pytest.param(sends_until_it_closes(CONTENT, Transfer_Encoding="gzip"), 1, "State its size", id="no chunks"),
        pytest.param(sends(CONTENT, stated="-5"), 1, "no proper length of the file: '-5'", id="negative length"),
        pytest.param(sends(CONTENT, stated="5, 5"), 1, "no proper length of the file: '5, 5'", id="length twice"),
        pytest.param(sends(CONTENT, stated="9" * 19), 1, "no proper length", id="long length"),
        pytest.param(sends(CONTENT, stated="5, 6"), 1, "makes no sense", id="two lengths"),
        pytest.param(sends(b"", status=302, Location=""), 1, "leads on to ''", id="to no address"),
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


@pytest.mark.parametrize("facts", [{"size_bytes": len(CONTENT)}, {"sha256": sha256(CONTENT)}], ids=["size", "hash"])
def test_a_length_that_only_the_manifest_states_will_do(server, one, tmp_path, facts):
    server.answers["a.bin"] = sends_until_it_closes(CONTENT)
    assert (fetch("some", tmp_path, manifest=one(**facts)) / "a.bin").read_bytes() == CONTENT


def test_a_web_page_may_be_what_is_wanted(server, write_manifest, tmp_path):
    server.answers["a.HTML"] = sends(b"<html>", Content_Type="text/html")
    manifest = write_manifest({"name": "a.HTML", "url": server.url("a.HTML")})
    assert (fetch("some", tmp_path, manifest=manifest) / "a.HTML").read_bytes() == b"<html>"


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
    server.answers["a.bin"] = sends(OTHER + b"more")
    error = refusal(manifest, tmp_path)
    assert f"has {len(OTHER) + 4} bytes, {place / 'checksums.json'} says {len(CONTENT)}" in error
    assert "delete the entry 'a.bin'" in error
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


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", '{"a.bin": 1}', '{"a.bin": {"sha256": 5}}', "[" * 100_000, "\xff"),
        *('{"b": {"sha256": "x", "bytes": 1}}', json.dumps({"b": {"sha256": "0" * 64, "bytes": "1"}})),
    ],
    ids=[*("cut", "a list", "a number", "no text", "deep", "binary"), "no checksum", "no size"],
)
def test_a_broken_list_of_checksums_is_named_before_anything_is_downloaded(server, one, tmp_path, content):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "checksums.json").write_text(content, encoding="latin-1")
    assert re.search(r"checksums\.json: .*Delete it", error := refusal(one(), tmp_path)), error
    assert server.asked == []


def test_a_list_of_checksums_that_cannot_be_read_is_named(server, one, tmp_path):
    (tmp_path / "some" / "checksums.json").mkdir(parents=True)
    assert "checksums.json: cannot be read" in refusal(one(), tmp_path)
    assert server.asked == []


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


def test_an_answer_that_is_none_is_named(server, one, tmp_path):
    server.answers["a.bin"] = lambda request: request.wfile.write(b"garbage\r\n\r\n")
    assert "or gives no proper answer" in refusal(one(), tmp_path)


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


def test_a_file_in_a_folder_that_may_not_be_written_to_is_taken(one, tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").write_bytes(CONTENT)

    def refuse(path: Path, _: object) -> None:
        raise Alos2TutError("cannot write here (Read-only file system)", where=path.parent)

    monkeypatch.setattr(downloads, "write_json", refuse)
    with pytest.warns(Alos2TutWarning, match=r"a\.bin is taken as it is: .*Read-only"):
        assert fetch("some", tmp_path, manifest=one()) == tmp_path / "some"


@pytest.mark.parametrize("method", ["exists", "stat"])
def test_a_file_that_cannot_be_looked_at_is_named(one, tmp_path, monkeypatch, method):
    manifest, real = one(), getattr(Path, method)

    def refuse(path: Path, **options: Any) -> Any:
        if path.name == "a.bin":
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, method, refuse)
    assert "a.bin: cannot be read (Permission denied)" in refusal(manifest, tmp_path)


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
    server.answers["a.bin"] = in_turn(sends(b"", status=503), sends(CONTENT))
    fetch("some", tmp_path / "2", manifest=one(), progress=True)
    err = capsys.readouterr().err
    assert "a.bin: 100%" in err and "the server answered 503; next try in 0 s\n" in err


def test_a_long_name_leaves_room_for_its_bar(capsys, server, write_manifest, tmp_path):
    name = f"{'long' * 40}_HH_SLP.tif"
    server.answers[name] = sends(CONTENT)
    fetch("some", tmp_path, manifest=write_manifest({"name": name, "url": server.url(name)}), progress=True)
    assert re.search(r"(^|\r)\.\.\.\w{10}_HH_SLP\.tif: 100%", capsys.readouterr().err)


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
            assert file.url.startswith("https://") and file.url.endswith(f"/{file.name}"), entry.name


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
        pytest.param({"name": "a" * 201}, "at most 200", id="long name"),
        pytest.param({"name": "a" * 10**5}, "at most 200", id="very long name"),
        pytest.param({"name": "Nul.tif"}, "name='Nul.tif': is a device's name", id="device"),
        pytest.param({"name": "lpt1"}, "device", id="another device"),
        pytest.param({"sha256": "abc"}, "sha256='abc': must be 64", id="short checksum"),
        pytest.param({"sha256": 5}, "sha256=5: Input should be a valid string", id="number as checksum"),
        pytest.param({"size_bytes": 0}, "size_bytes=0", id="no size"),
        pytest.param({"size_bytes": True}, "size_bytes=True", id="true as size"),
        pytest.param({"size_bytes": "5"}, "size_bytes='5'", id="text as size"),
        pytest.param({"size_bytes": 5.0}, "size_bytes=5.0", id="fraction as size"),
        pytest.param({"size_bytes": 10**18}, "size_bytes=1000", id="size of nothing on Earth"),
        pytest.param({"md5": "0"}, "unknown key 'md5'", id="unknown key"),
        pytest.param({"url_is": "guessed"}, "url_is='guessed'", id="unknown word"),
    ],
)
def test_a_bad_file_of_a_manifest_is_named(write_manifest, file, message):
    with pytest.raises(Alos2TutError) as refused:
        load_manifest(write_manifest(GOOD, {**GOOD, "name": "b.bin", **file}))
    assert "entry 1 'some', file 2: " in str(refused.value) and message in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("field", ["name", "url"])
def test_what_a_file_lacks_is_named(write_manifest, field):
    file = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(Alos2TutError, match=rf"entry 1 'some', file 1: '{field}' is missing"):
        load_manifest(write_manifest(file))


@pytest.mark.parametrize("field", ["name", "title", "used_for"])
def test_what_an_entry_lacks_is_named(tmp_path, field):
    entry = {"name": "some", "title": "t", "used_for": "u", "steps": ["ask"]}
    del entry[field]
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"version": 2, "datasets": [entry]}))
    with pytest.raises(Alos2TutError, match=rf"entry 1.*: '{field}' is missing"):
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
        load_manifest(write_manifest(GOOD, **entry))
    assert "entry 1 " in str(refused.value) and message in str(refused.value)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 900


def test_a_date_of_verification_is_read(write_manifest):
    assert load_manifest(write_manifest(GOOD, as_published="verified 2028-02-29"))["some"].as_published[-2:] == "29"


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


YAML_READERS = {
    "manifest": load_manifest,
    "settings": lambda path: load_config("pretrain", file=path),
    "legend": load_legend,
}


@pytest.mark.parametrize("read", YAML_READERS.values(), ids=YAML_READERS)
@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: !!bool x",
            "a: !!int ''",
            "a: !!timestamp x",
            "a: 2026-99-99",
            "[" * 1000,
            "a: \ud800",
            "a: !!python/none x",
        ),
        *("{[a]: 1}", "a: 1\nb: 2\na: 3", "- {a: 1, 'a': 2}", "<<: 5", "a: *b", "a: \0"),
    ],
    ids=[
        *("no truth", "no number", "no time", "no date", "deep", "half a character", "code"),
        *("list as key", "key twice", "key twice within", "no merge", "no anchor", "zero"),
    ],
)
def test_hostile_yaml_is_refused_in_a_few_words(tmp_path, read, text):
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(Alos2TutError, match=r"m\.yaml: .*not valid YAML") as refused:
        read(path)
    assert len(str(refused.value)) < 400 + len(str(path))


def test_keys_that_a_merge_replaces_are_not_double(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("encoder: &a {embed_dim: 8}\nbetas: [0.5, 0.5]\n")
    assert load_config("pretrain", file=path).encoder.embed_dim == 8
    path.write_text("encoder: {<<: {embed_dim: 8, mlp_ratio: 2}, embed_dim: 16}\n")
    assert load_config("pretrain", file=path).encoder.embed_dim == 16


@pytest.mark.parametrize("text", ["datasets: &a [*a]", "datasets: [&a {name: *a}]", "LAUGHS"])
def test_content_without_an_end_is_named_in_a_few_words(tmp_path, text):
    laughs = "".join(f"\n    - &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))
    laughs = f"datasets:\n  - steps:\n    - &x0 [a]{laughs}\n    name: *x8"
    (tmp_path / "m.yaml").write_text(f"version: 2\n{laughs if text == 'LAUGHS' else text}")
    with pytest.raises(Alos2TutError, match=r"entry 1") as refused:
        load_manifest(tmp_path / "m.yaml")
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("arguments", [(5,), (None,), ([],), ("jaxa_l15_fuji", 5), ("jaxa_l15_fuji", "\0")])
def test_arguments_of_a_wrong_type_are_named(arguments):
    with pytest.raises(Alos2TutError, match=r"unknown data set|folder: is no path"):
        fetch(*arguments)
    with pytest.raises(Alos2TutError, match=r"manifest: is no path: 5"):
        load_manifest(5)


@given(st.text(max_size=20))
def test_no_name_leads_out_of_the_folder(name):
    content = {"name": "some", "title": "t", "used_for": "u", "files": [{**GOOD, "name": name}]}
    try:
        entry = _read_entry(content, "here")
    except Alos2TutError:
        return
    path = Path("/data/some") / entry.files[0].name
    assert path.resolve().parent == Path("/data/some").resolve() and path.name == name


# --- the command


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
    with pytest.raises(downloads.ManualDownload, match=r"alos2tut simulate data/simulated_scene"):
        fetch("simulated_scene")


def test_steps_by_hand_come_with_what_to_know_and_do_next(capsys, write_manifest):
    manifest = write_manifest(steps=["ask"], notes="heavy", opens_with="alos2tut info {path}")
    assert main(["fetch", "some", "--manifest", str(manifest)]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  1. ask",
        "  terms: not known: ask the source",
        "  notes: heavy",
        "  next: alos2tut info PATH",
    ]


@pytest.mark.parametrize(
    ("status", "login", "reason"),
    [
        (403, False, "(403): the address is old or derived, or an account is needed. What is known of it:"),
        (403, None, "(403): an account is needed, or the address is old. What is known of it:"),
        (401, False, "(401): an account is needed, or the address is old. What is known of it:"),
    ],
)
def test_a_closed_door_without_steps_gives_what_is_known(server, one, write_manifest, tmp_path, status, login, reason):
    server.answers["a.bin"] = sends(b"", status=status)
    manifest = write_manifest({"name": "a.bin", "url": server.url("a.bin")}, login=login)
    error = refusal(manifest, tmp_path)
    assert reason in error and "By hand" not in error


@pytest.mark.parametrize("state", [None, "verified 2026-01-31"])
@pytest.mark.parametrize(("origin", "words"), manifest_module.ORIGINS.items(), ids=manifest_module.ORIGINS)
def test_an_address_that_is_gone_is_told_with_where_it_is_from(server, write_manifest, tmp_path, state, origin, words):
    file = {"name": "a.bin", "url": server.url("a.bin"), "url_is": origin}
    changes = {"as_published": state} if state else {}
    assert f"The address is {words}, {state or 'not verified'}. " in refusal(write_manifest(file, **changes), tmp_path)


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


def test_json_is_of_the_list_only(capsys):
    for arguments in (["fetch", "--json"], ["fetch", "--json", "simulated_scene"]):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("alos2tut: --json: goes with --list only")


def test_an_interrupted_fetch_starts_its_file_anew(capsys, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "fetch_entry", stop)
    assert main(["fetch", "jaxa_l15_fuji"]) == 130
    assert "starts this file anew" in capsys.readouterr().err
