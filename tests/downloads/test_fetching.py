"""The list of data sets, and fetching them from a server on this machine, which sends what it should, or should not."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alos2tut import Alos2TutError, Alos2TutWarning, fetch
from alos2tut.cli import main
from alos2tut.downloads import fetching as downloads
from alos2tut.downloads import manifest as manifest_module
from alos2tut.downloads.manifest import load_manifest

Answer = Callable[[BaseHTTPRequestHandler], None]

CONTENT = bytes(range(256)) * 8000
OTHER = CONTENT[::-1]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- the server and what it answers


def sends(*pieces: bytes, status: int = 200, stated: int | str | None = "", **headers: str) -> Answer:
    """Pieces of content, and a Content-Length that may be another one, or (None) missing."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if stated is not None:
            request.send_header("Content-Length", str(stated or sum(map(len, pieces))))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        for piece in pieces:
            request.wfile.write(piece)

    return answer


def sends_chunks(*pieces: bytes, ends: bool = True) -> Answer:
    """Content of a length that is not stated beforehand."""
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return sends(*chunks, *[b"0\r\n\r\n"] * ends, stated=None, Transfer_Encoding="chunked")


def says_nothing(request: BaseHTTPRequestHandler) -> None:
    """The connection is closed without an answer."""
    request.close_connection = True


def says_nonsense(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"garbage\r\n\r\n")


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


@pytest.fixture
def one(server: Server, write_manifest: Callable[..., Path]) -> Callable[..., Path]:
    """A manifest of one file ``a.bin``, of which more may be said, or of the data set."""

    def write(**facts: Any) -> Path:
        of_file = {key: facts.pop(key) for key in ("url_is", "size_bytes", "sha256") if key in facts}
        return write_manifest({"name": "a.bin", "url": server.url("a.bin"), **of_file}, **facts)

    return write


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
    # others may read it as any other file
    (tmp_path / "plain").touch()
    assert (place / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


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


def test_a_file_may_lie_in_a_folder_of_the_data_set(server, write_manifest, tmp_path):
    parts = [{"name": name, "url": server.url(Path(name).name)} for name in ("T3/a.bin", "b.bin")]
    server.answers |= {"a.bin": sends(CONTENT), "b.bin": sends(OTHER)}
    place = fetch("some", tmp_path, manifest=(manifest := write_manifest(*parts)))
    assert (
        names(place) == ["T3", "T3/a.bin", "b.bin", "checksums.json"] and (place / "T3/a.bin").read_bytes() == CONTENT
    )
    fetch("some", tmp_path, manifest=manifest)
    assert server.asked == ["a.bin", "b.bin"]


def test_a_redirect_is_followed_and_what_comes_with_it_not_read(server, one, tmp_path):
    sent = 0

    def floods(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(302)
        request.send_header("Location", "/over there.bin")
        request.send_header("Content-Length", str(2**30))
        request.end_headers()
        with contextlib.suppress(OSError):
            while sent < 2**30:
                sent += request.wfile.write(CONTENT)

    server.answers |= {"a.bin": floods, "over%20there.bin": sends(CONTENT)}
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
    manifest = write_manifest(*({"name": name, "url": server.url(name)} for name in ("a.bin", "b.bin")))
    server.answers |= {"a.bin": sends(CONTENT), "b.bin": sends(b"b")}
    place = fetch("some", tmp_path, manifest=manifest)
    for name in ("a.bin", "b.bin", "checksums.json"):
        (left := place / f".{name}.12345678.tmp").mkdir()
        (left / name).touch()
        os.utime(left / name, (0, 0))
        os.utime(left, (0, 0))
    (place / ".a.bin.87654321.tmp").mkdir()
    fetch("some", tmp_path, manifest=manifest)
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
        pytest.param(sends(CONTENT[:70_000], stated=2**20), 3, "broke off after about 65536 of", id="ends early"),
        pytest.param(sends_chunks(CONTENT[:3000], ends=False), 3, "broke off after about", id="chunks without an end"),
        pytest.param(says_nothing, 3, "cannot be reached", id="no answer"),
        pytest.param(says_nonsense, 3, "gives no proper answer", id="garbage"),
        pytest.param(sends(b"", status=500), 3, "answered 500", id="500"),
        pytest.param(sends(b"", status=404), 1, "no such file", id="404"),
        pytest.param(sends(b"", status=401), 1, "an account is needed", id="401"),
        pytest.param(sends(b"", status=400), 1, "answered 400", id="400"),
        pytest.param(sends(b"", status=204), 1, "answered 204", id="no content"),
        pytest.param(sends(b"Log in", Content_Type="Text/HTML; charset=utf-8"), 1, "web page", id="web page"),
        pytest.param(sends(b"\xef\xbb\xbf\r\n<!DOCTYPE Html><p>"), 1, "web page", id="web page that is not said"),
        pytest.param(sends_chunks(b"<H", b"TML lang=ja>"), 1, "web page", id="web page in pieces"),
        pytest.param(sends(b""), 1, "sent an empty file", id="empty"),
        pytest.param(sends_chunks(), 1, "sent an empty file", id="empty in chunks"),
        pytest.param(sends(CONTENT, Content_Encoding="GZip"), 1, "encoded ('GZip')", id="gzip"),
        pytest.param(sends(CONTENT, Content_Encoding="br"), 1, "encoded ('br')", id="brotli"),
        pytest.param(sends(CONTENT, stated=None), 1, "State its size or SHA-256", id="no length"),
        pytest.param(sends(CONTENT, stated=None, Transfer_Encoding="gzip"), 1, "State its size", id="no chunks"),
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
        pytest.param(sends(CONTENT[:100], stated=None), 3, "broke off after about 100 of 3000", id="closed early"),
    ],
)
def test_another_size_than_published_is_refused(server, one, tmp_path, answer, tries, message):
    server.answers["a.bin"] = answer
    assert message in refusal(one(size_bytes=3000), tmp_path)
    assert len(server.asked) == tries and names(tmp_path / "some") == []


@pytest.mark.parametrize("facts", [{"size_bytes": len(CONTENT)}, {"sha256": sha256(CONTENT)}], ids=["size", "hash"])
def test_a_length_that_only_the_manifest_states_will_do(server, one, tmp_path, facts):
    server.answers["a.bin"] = sends(CONTENT, stated=None)
    place = fetch("some", tmp_path, manifest=one(**facts))
    assert (place / "a.bin").read_bytes() == CONTENT
    # a published checksum needs no record
    assert names(place) == ["a.bin", *["checksums.json"] * ("sha256" not in facts)]


def test_a_web_page_may_be_what_is_wanted(server, write_manifest, tmp_path):
    server.answers["a.HTML"] = sends(b"<html>", Content_Type="text/html")
    manifest = write_manifest({"name": "a.HTML", "url": server.url("a.HTML")})
    assert (fetch("some", tmp_path, manifest=manifest) / "a.HTML").read_bytes() == b"<html>"


def test_another_checksum_than_published_is_refused(server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    error = refusal(one(sha256=sha256(OTHER)), tmp_path)
    assert f"has the SHA-256 {sha256(CONTENT)}, but the manifest says {sha256(OTHER)}" in error
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


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{", id="cut"),
        pytest.param("[]", id="a list"),
        pytest.param('{"a.bin": 1}', id="a number"),
        pytest.param('{"b": {"sha256": "x", "bytes": 1}}', id="no checksum"),
        pytest.param(json.dumps({"b": {"sha256": "0" * 64, "bytes": "1"}}), id="no size"),
    ],
)
def test_a_broken_list_of_checksums_is_named_before_anything_is_downloaded(server, one, tmp_path, content):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "checksums.json").write_text(content, encoding="latin-1")
    assert re.search(r"checksums\.json: .*Delete it", error := refusal(one(), tmp_path)), error
    assert server.asked == []


@pytest.mark.parametrize(
    ("present", "message"),
    [
        pytest.param({"some/a.bin": b"part"}, "a.bin: has 4 bytes, the manifest says 9", id="another size"),
        pytest.param({"some/a.bin": None}, "a.bin: is in the way of a file", id="folder as file"),
        pytest.param({"some/checksums.json": None}, "checksums.json: cannot be read", id="folder as list"),
        pytest.param({"some": b""}, "some: the folder cannot be made", id="file as folder"),
    ],
)
def test_what_is_in_the_way_is_named_before_anything_is_downloaded(server, one, tmp_path, present, message):
    for name, content in present.items():
        path = tmp_path / name
        if content is None:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    assert message in refusal(one(size_bytes=9), tmp_path)
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


def test_a_server_that_is_down_or_nowhere_is_named(write_manifest, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for url, host in ((f"http://127.0.0.1:{port}/a.bin", "127.0.0.1"), ("https://no.invalid/a.bin", "no.invalid")):
        error = refusal(write_manifest({"name": "a.bin", "url": url}), tmp_path)
        assert f"{url}: {host} cannot be reached" in error and "offline" in error


def test_a_server_that_hangs_is_left(server, one, tmp_path, monkeypatch):
    done = threading.Event()

    def hangs(request: BaseHTTPRequestHandler) -> None:
        done.wait(10)
        request.close_connection = True

    server.answers["a.bin"] = hangs
    monkeypatch.setattr(downloads, "_TIMEOUT_S", (0.1, 0.1))
    assert "did not answer in time" in refusal(one(), tmp_path)
    done.set()


def test_a_file_in_a_folder_that_may_not_be_written_to_is_taken(one, tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").write_bytes(CONTENT)

    def refuse(path: Path, _: object) -> None:
        raise Alos2TutError("cannot write here (Read-only file system)", where=path.parent)

    monkeypatch.setattr(downloads, "write_json", refuse)
    with pytest.warns(Alos2TutWarning, match=r"a\.bin is taken as it is: .*Read-only"):
        assert fetch("some", tmp_path, manifest=one()) == tmp_path / "some"


@pytest.mark.parametrize(("owner", "function"), [(Path, "exists"), (Path, "stat"), (downloads, "sha256_file")])
def test_a_file_that_cannot_be_looked_at_is_named(one, tmp_path, monkeypatch, owner, function):
    manifest, real = one(), getattr(owner, function)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.bin").touch()

    def refuse(path: Path, **options: Any) -> Any:
        if path.name == "a.bin":
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(owner, function, refuse)
    assert "a.bin: cannot be read (Permission denied)" in refusal(manifest, tmp_path)


def test_a_bar_is_shown_only_where_somebody_watches_and_has_room(server, write_manifest, tmp_path, capsys):
    name = f"{'long' * 40}_HH_SLP.tif"
    server.answers[name] = in_turn(sends(CONTENT), sends(b"", status=503), sends(CONTENT))
    manifest = write_manifest({"name": name, "url": server.url(name)})
    fetch("some", tmp_path / "1", manifest=manifest)
    assert capsys.readouterr() == ("", "")
    fetch("some", tmp_path / "2", manifest=manifest, progress=True)
    err = capsys.readouterr().err
    assert re.search(r"(^|\r)\.\.\.\w{10}_HH_SLP\.tif: 100%", err)
    assert "the server answered 503; next try in 0 s\n" in err


@pytest.mark.parametrize("arguments", [(5,), ([],), ("jaxa_l15_fuji", 5), ("jaxa_l15_fuji", "\0")])
def test_arguments_of_a_wrong_type_are_named(arguments):
    with pytest.raises(Alos2TutError, match=r"name=(5|\[\]) is not a text|folder=5 is not|folder: is no path"):
        fetch(*arguments)
    with pytest.raises(Alos2TutError, match=r"file=5 is not a text or a path"):
        load_manifest(5)


# --- the command


def test_the_command_fetches_and_says_what_comes_next(capsys, server, one, tmp_path):
    server.answers["a.bin"] = sends(CONTENT)
    facts = {"licence": "open", "terms": "be kind", "attribution": "© somebody", "notes": "small"}
    manifest = one(**facts, opens_with="alos2tut info {path}")
    assert main(["fetch", "some", "--folder", str(tmp_path / "d"), "--manifest", str(manifest)]) == 0
    place = tmp_path / "d" / "some"
    expected = [f"  {key}: {value}" for key, value in facts.items()]
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(place), *expected, f"  next: alos2tut info {place / 'a.bin'}"] and err == ""


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
    terms, known = "  terms: not known: ask the source", ["  notes: heavy", "  next: alos2tut info PATH"]
    assert capsys.readouterr().err.splitlines()[1:] == ["  1. ask", terms, *known]


@pytest.mark.parametrize(
    ("status", "login", "reason"),
    [
        (403, False, "(403): the address is old or derived, or an account is needed. What is known of it:"),
        (403, None, "(403): an account is needed, or the address is old. What is known of it:"),
        (401, False, "(401): an account is needed, or the address is old. What is known of it:"),
    ],
)
def test_a_closed_door_without_steps_gives_what_is_known(server, one, tmp_path, status, login, reason):
    server.answers["a.bin"] = sends(b"", status=status)
    error = refusal(one(login=login), tmp_path)
    assert reason in error and "By hand" not in error


@pytest.mark.parametrize("state", [None, "verified 2026-01-31"])
@pytest.mark.parametrize(("origin", "words"), manifest_module.ORIGINS.items(), ids=manifest_module.ORIGINS)
def test_an_address_that_is_gone_is_named_with_its_origin(one, tmp_path, state, origin, words):
    manifest = one(url_is=origin, as_published=state) if state else one(url_is=origin)
    assert f"The address is {words}, {state or 'not verified'}. " in refusal(manifest, tmp_path)


def test_a_closed_door_gives_the_steps(capsys, server, one, tmp_path):
    server.answers["a.bin"] = sends(b"", status=401)
    manifest = one(steps=["register"], page="https://example.org/register", terms="theirs")
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


def test_an_interrupted_fetch_starts_its_file_anew(capsys, monkeypatch):
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "fetch_entry", stop)
    assert main(["fetch", "jaxa_l15_fuji"]) == 130
    assert "starts this file anew" in capsys.readouterr().err
