"""What archives are refused, damage that is named, and the cache that compressed ones are unpacked into."""

import fcntl
import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import (
    ARCHIVES,
    FILES,
    IMAGE,
    KINDS,
    PACKED,
    SMALL,
    WRITERS,
    contents,
    only_folder,
    refusal,
    tar_header,
    travelled,
    with_wrong_byte,
    write_tar,
    write_zip,
)
from support.memory import peak_below
from support.properties import examples

from alos2tut.core.cache import clear_cache
from alos2tut.core.errors import Alos2TutError
from alos2tut.products import archives
from alos2tut.products.sources import find_files


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("ALOS2TUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- what is refused


def write_blocks(path: Path, *blocks: bytes) -> Path:
    """A packed tar of these blocks, in whatever way they are wrong."""
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.writelines(blocks)
    return path


def edit_zip(path: Path, files: Mapping[str, bytes], **fields: object) -> Path:
    """A deflated zip whose table of contents states these fields of its first member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, value in fields.items():
            setattr(archive.infolist()[0], name, value)
    return path


UNSAFE = {
    "parent": "../IMG",
    "parent inside": "x/../../IMG",
    "only parent": "..",
    "absolute": "/etc/IMG",
    "drive": "c:IMG",
    "drive and root": "C:/IMG",
}
#: as old tools of Windows write names
WINDOWS = {
    "parent": "..\\IMG",
    "inside": "x\\..\\..\\IMG",
    "absolute": "\\IMG",
    "share": "\\\\host\\IMG",
    "drive": "C:\\IMG",
}


@pytest.mark.parametrize("kind", ARCHIVES[:4])
@pytest.mark.parametrize("name", UNSAFE.values(), ids=UNSAFE)
def test_names_that_lead_out_of_an_archive_are_refused(kind, name, tmp_path):
    assert f"{name!r} is named so that it could lie outside" in refusal(WRITERS[kind](tmp_path, {name: b""}))


@pytest.mark.parametrize("name", WINDOWS.values(), ids=WINDOWS)
def test_names_with_backslashes_that_lead_out_are_refused(name, tmp_path):
    assert "could lie outside" in refusal(write_zip(tmp_path / "a.zip", {name: b""}))
    assert "could lie outside" in refusal(write_tar(tmp_path / "a.tar", {name: b""}))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_backslashes_in_a_zip_are_slashes(method, tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"scene\\{name}": content for name, content in FILES.items()}, method)
    assert contents(path) == {f"scene/{name}": content for name, content in FILES.items()}
    assert "two members 'scene/x'" in refusal(write_zip(tmp_path / "b.zip", {"scene/x": b"", "scene\\x": b""}))


@pytest.mark.parametrize("name", ["x..y", "..x/IMG", "scene/a:b"])
def test_names_that_only_look_so_are_not_refused(name, tmp_path):
    path = write_tar(tmp_path / "a.tar", {name: b""})
    assert len(contents(path)) == 1


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"IMGxLED": b""})
    path.write_bytes(path.read_bytes().replace(b"IMGxLED", b"IMG\0LED"))
    assert "could lie outside" in refusal(path)


TAR_ODDITIES = {
    "symbolic link": (tarfile.SYMTYPE, "a symbolic link"),
    "hard link": (tarfile.LNKTYPE, "a hard link"),
    "character device": (tarfile.CHRTYPE, "a device"),
    "block device": (tarfile.BLKTYPE, "a device"),
    "pipe": (tarfile.FIFOTYPE, "a device"),
    "sparse": (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    "unknown": (b"Z", "of a type (b'Z') that is not known"),
}


@pytest.mark.parametrize("mode", ["w", "w:gz"], ids=["tar", "tar.gz"])
@pytest.mark.parametrize(("kind", "message"), TAR_ODDITIES.values(), ids=TAR_ODDITIES)
def test_members_of_a_tar_that_are_no_plain_files_are_refused(mode, kind, message, tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as archive:
        archive.addfile(tarfile.TarInfo("LED"))
        info = tarfile.TarInfo("IMG")
        info.type, info.linkname = kind, "LED"
        archive.addfile(info)
    assert f"its member 'IMG' is {message}" in refusal(path)


def test_a_sparse_file_of_a_pax_tar_is_refused(tmp_path):
    content = b"1\n0\n4\n".ljust(512, b"\0") + b"data"
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("IMG")
        info.size = len(content)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "4"}
        archive.addfile(info, io.BytesIO(content))
    assert "its member 'IMG' is a sparse file" in refusal(tmp_path / "a.tar")


ZIP_ODDITIES = {
    "symbolic link": ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "a symbolic link"),
    "device": ({"external_attr": (stat.S_IFCHR | 0o600) << 16}, "a device"),
    "encrypted": ({"flag_bits": 0x1}, "encrypted"),
    "strongly encrypted": ({"flag_bits": 0x40}, "encrypted"),
    "lzma": ({"compress_type": zipfile.ZIP_LZMA}, "packed by method 14"),
    "impossible size": ({"file_size": 2**20}, "which is impossible"),
    "terabytes": ({"file_size": 5 * 2**40}, "5,497,558,138,880"),
    "impossible stored size": ({"compress_type": zipfile.ZIP_STORED}, "which is impossible"),
}


@pytest.mark.parametrize(("fields", "message"), ZIP_ODDITIES.values(), ids=ZIP_ODDITIES)
def test_members_of_a_zip_that_are_no_plain_files_are_refused(fields, message, tmp_path):
    said = refusal(edit_zip(tmp_path / "a.zip", {"IMG": bytes(200)}, **fields))
    assert "its member 'IMG' is " in said and message in said


@pytest.mark.parametrize("again", ["IMG", "./IMG"], ids=["same", "dot"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(kind, again, tmp_path):
    path = tmp_path / "a"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("IMG", b"1")
            archive.writestr(again, b"2")
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.addfile(tarfile.TarInfo("IMG"))
            archive.addfile(tarfile.TarInfo(again))
    assert f"it has two members '{again}'" in refusal(path)


@pytest.mark.parametrize("kind", ["stored zip", "tar", "tar.gz"])
@pytest.mark.parametrize("count", [10_000, 10_001])
def test_at_most_ten_thousand_members_are_read(kind, count, tmp_path):
    path = WRITERS[kind](tmp_path, {str(number): b"" for number in range(count)})
    if count == 10_000:
        assert len(only_folder(find_files(path))) == count
    else:
        assert "more than 10,000 members" in refusal(path)


def test_a_zip_whose_members_claim_far_more_than_it_has_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    packed = np.random.default_rng(0).bytes(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("IMG-HH", "IMG-HV"):
            archive.writestr(name, packed)
        for info in archive.infolist():
            info.file_size = 600 * 2**20
    assert "its members claim 1,258,291,200 (up to 'IMG-HV')" in refusal(path)


def test_a_size_that_a_packed_member_does_not_have_is_noticed_and_nothing_is_kept(tmp_path, cache):
    path = edit_zip(tmp_path / "a.zip", {"IMG": IMAGE}, file_size=len(IMAGE) + 9)
    assert "a.zip/IMG: is truncated: 9 bytes are missing" in refusal(path)
    assert list(cache.glob("*/unpacked/files/*")) == []


def test_a_packed_tar_whose_member_claims_gigabytes_is_refused_without_unpacking_it(tmp_path):
    # unpacking would find it truncated
    path = write_blocks(tmp_path / "a.tar.gz", tar_header("IMG", 2**30 + 1), bytes(2**20))
    assert "its members claim 1,073,741,825 (up to 'IMG')" in refusal(path)


def test_no_archive_may_claim_more_than_200_gibibytes(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_header("IMG", 200 * 2**30 + 1))
    os.truncate(path, 201 * 2**30)
    assert "its members claim 214,748,364,801" in refusal(path)


def test_a_member_as_large_as_the_limit_is_let_in(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_header("IMG", 2**30))
    os.truncate(path, 2**30 + 1536)
    assert only_folder(find_files(path))["IMG"].size == 2**30


EXTENSIONS = {
    "pax": tarfile.XHDTYPE,
    "global": tarfile.XGLTYPE,
    "long name": tarfile.GNUTYPE_LONGNAME,
    "long link": tarfile.GNUTYPE_LONGLINK,
}


@pytest.mark.parametrize("kind", EXTENSIONS.values(), ids=EXTENSIONS)
def test_an_extended_header_of_a_tar_cannot_fill_memory(kind, tmp_path):
    path = write_blocks(tmp_path / "a.tar.gz", tar_header("x", 100 * 2**20, kind), *[bytes(2**20)] * 100)
    with peak_below(50 * 2**20):
        assert "an extended header of 104,857,600 bytes" in refusal(path)


def test_extended_headers_without_end_are_refused(tmp_path):
    endless = tar_header("x", 0, tarfile.XHDTYPE) * 100_000
    assert "is damaged or truncated" in refusal(write_blocks(tmp_path / "a.tar.gz", endless))


def test_headers_cannot_fill_memory_together(tmp_path):
    sparse = tarfile.TarInfo("IMG")
    sparse.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the map of the file goes on in the next block, and there again
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
    more = (b"%011o " % 1 * 42).ljust(504, b"\0") + b"\1" + bytes(7)
    path = write_blocks(tmp_path / "a.tar.gz", bytes(header), *[more] * 70_000)
    assert "headers of more than 33,554,432 bytes" in refusal(path)


def test_a_packed_tar_that_goes_on_after_its_end_is_refused(tmp_path):
    blocks = [tar_header("LED", 0), *[bytes(2**20)] * 70]
    assert "it goes on after its end" in refusal(write_blocks(tmp_path / "a.tar.gz", *blocks))


def test_the_table_of_contents_of_a_zip_cannot_fill_memory(tmp_path):
    path = write_zip(tmp_path / "a.zip", SMALL)
    end = bytearray(path.read_bytes()[-22:])
    struct.pack_into("<II", end, 12, 100 * 2**20, 0)
    with open(path, "r+b") as handle:
        handle.truncate(100 * 2**20)
        handle.seek(0, os.SEEK_END)
        handle.write(end)
    with peak_below(10 * 2**20):
        assert "its table of contents claims 104,857,600 bytes" in refusal(path)


# --- damage


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param(tarfile.REGTYPE, "its member 'IMG' has -1,000 bytes", id="file"),
        pytest.param(tarfile.XHDTYPE, "an extended header of -512 bytes", id="extended header"),
        pytest.param(b"Z", "its member 'IMG' has -1,000 bytes", id="unknown"),
    ],
)
def test_a_negative_size_in_a_tar_is_refused(kind, said, tmp_path):
    path = write_blocks(tmp_path / "a.tar.gz", tar_header("IMG", -1000, kind), tar_header("LED", 0), bytes(1024))
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("place", "byte", "said"),
    [
        pytest.param(lambda data: data.index(b"PK\1\2") + 6, 99, "zip file version 9.9", id="a later version"),
        pytest.param(lambda data: data.index(b"PK\3\4", 4), 0, "'LED' is not where the table", id="no local header"),
        pytest.param(lambda data: 29, 0xFF, "'IMG-HH' is not where the table", id="a local header that points outside"),
    ],
)
def test_a_zip_with_a_wrong_byte_is_refused(tmp_path, place, byte, said):
    path = write_zip(tmp_path / "a.zip", SMALL)
    data = bytearray(path.read_bytes())
    data[place(data)] = byte
    path.write_bytes(data)
    assert said in refusal(path)


@pytest.mark.parametrize("offset", [10**6, 2**40, 2**63 + 5, 3], ids=["behind", "far", "beyond numbers", "no header"])
def test_a_member_that_lies_outside_the_zip_is_refused(offset, tmp_path):
    said = refusal(edit_zip(tmp_path / "a.zip", SMALL, header_offset=offset))
    assert "is damaged or truncated" in said or "cannot be read" in said


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_was_cut_is_an_error_or_still_whole(kind, tmp_path):
    path = WRITERS[kind](tmp_path, SMALL)
    whole, expected, errors = path.read_bytes(), contents(path), 0
    for length in sorted({*range(4, len(whole), 37), *range(512, len(whole), 512)}):
        path.write_bytes(whole[:length])
        try:
            found = contents(path)
        except Alos2TutError as error:
            errors += 1
            assert path.name in str(error)
        else:
            # cut so short that it is no archive any more, or only in the blocks after a tar's end
            assert found in (expected, {f"/{path.name}": whole[:length]})
    assert errors > 5


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: WRITERS[kind](tmp_path_factory.mktemp("intact"), SMALL) for kind in ARCHIVES[:4]}


@pytest.mark.parametrize("kind", ARCHIVES[:4])
@examples(150)
@given(data=st.data())
def test_bytes_that_are_wrong_are_never_another_exception(kind, intact, data):
    content = bytearray(intact[kind].read_bytes())
    for _ in range(data.draw(st.integers(1, 4), label="count")):
        content[data.draw(st.integers(0, len(content) - 1), label="place")] = data.draw(
            st.integers(0, 255), label="byte"
        )
    path = intact[kind].with_name("damaged")
    path.write_bytes(content)
    try:
        contents(path)
    except Alos2TutError as error:
        assert "damaged" in str(error)


def test_a_wrong_checksum_is_noticed_and_other_members_are_read(tmp_path, cache):
    path = with_wrong_byte(write_zip(tmp_path / "a.zip", {"a/IMG": IMAGE, "LED": b"leader"}, zipfile.ZIP_DEFLATED))
    found = find_files(path).folders
    for _ in range(2):
        with pytest.raises(Alos2TutError, match=r"a.zip/a/IMG: is damaged or truncated \(.*\). Download it again."):
            travelled(found["a"]["IMG"]).read(0, 1)
        assert found[""]["LED"].read_all() == b"leader"
    assert [path.name for path in cache.glob("*/unpacked/files/**/*") if path.is_file()] == ["LED"]


def test_a_wrong_checksum_of_a_packed_tar_is_noticed_when_it_is_listed(tmp_path):
    path = WRITERS["tar.gz"](tmp_path, FILES)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    assert "is damaged or truncated (CRC check failed" in refusal(path)


def test_a_packed_file_that_is_no_tar_is_an_error(tmp_path):
    assert "is damaged or truncated" in refusal(write_blocks(tmp_path / "IMG.gz", IMAGE))


@pytest.mark.parametrize("kind", PACKED)
def test_an_archive_that_was_replaced_is_an_error(kind, tmp_path):
    file = only_folder(find_files(WRITERS[kind](tmp_path, FILES)))["LED"]
    WRITERS[kind](tmp_path, {"TRL": b"trailer"})
    with pytest.raises(Alos2TutError, match="LED: cannot be read"):
        file.read_all()


# --- the cache


def counted_unpackings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The archives that are unpacked from now on."""
    unpacked, plain = [], archives._unpack
    monkeypatch.setattr(archives, "_unpack", lambda *args: unpacked.append(args[0]) or plain(*args))
    return unpacked


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_archives_are_unpacked_once_others_never(kind, tmp_path, cache, monkeypatch):
    unpacked = counted_unpackings(monkeypatch)
    path = WRITERS[kind](tmp_path, {f"scene/{name}": content for name, content in FILES.items()})
    is_packed = kind in PACKED or "tgz" in kind
    for _ in range(2):
        found = find_files(path / "scene").folders["" if kind == "folder" else "scene"]
        assert {name: travelled(file).read_all() for name, file in found.items()} == FILES
    assert unpacked == ([path] if is_packed else [])
    assert sorted(file.name for file in cache.rglob("scene/*")) == (sorted(FILES) if is_packed else [])
    assert [file for file in tmp_path.iterdir() if file != cache] == [path]


def test_a_zip_is_not_unpacked_to_be_listed(tmp_path, monkeypatch):
    unpacked = counted_unpackings(monkeypatch)
    assert sorted(only_folder(find_files(WRITERS["deflated zip"](tmp_path, FILES)))) == sorted(FILES)
    assert not unpacked


def test_what_is_unpacked_is_known_wherever_the_archive_lies_until_it_changes(tmp_path, cache, monkeypatch):
    unpacked = counted_unpackings(monkeypatch)
    path = WRITERS["tar.gz"](tmp_path, FILES)
    find_files(path)
    link = tmp_path / "elsewhere" / path.name
    link.parent.mkdir()
    link.symlink_to(path)
    find_files(link)
    assert len(unpacked) == 1
    os.utime(path, ns=(0, 0))
    find_files(path)
    assert len(unpacked) == 2


def test_what_has_gone_from_the_cache_is_unpacked_anew(tmp_path, cache):
    file = only_folder(find_files(WRITERS["tar.gz"](tmp_path, FILES)))["LED"]
    assert clear_cache() == sum(map(len, FILES.values()))
    assert [path.name for path in cache.glob("*/*")] == ["lock"]
    assert file.read_all() == b"leader"


def test_clearing_the_cache_harms_nobody_who_waits_for_its_lock(tmp_path, cache, monkeypatch):
    plain = fcntl.flock

    def cleared_meanwhile(file, how):
        if how == fcntl.LOCK_EX:  # it waits, unlike clear_cache itself
            clear_cache()
        plain(file, how)

    monkeypatch.setattr(fcntl, "flock", cleared_meanwhile)
    assert contents(WRITERS["tar.gz"](tmp_path, FILES)).keys() == {f"/{name}" for name in FILES}


@pytest.mark.parametrize("kind", PACKED)
def test_an_archive_that_does_not_fit_is_refused_with_advice(kind, tmp_path, cache, monkeypatch):
    path = WRITERS[kind](tmp_path, FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    said = refusal(path)
    assert "bytes unpacked; 1,000,000 are free" in said and "ALOS2TUT_CACHE" in said
    assert [entry.name for entry in cache.rglob("*") if entry.is_file()] == ["lock"]


def test_several_processes_unpack_an_archive_once(tmp_path, cache):
    path = WRITERS["tar.gz"](tmp_path, FILES)
    code = (
        "import sys; from alos2tut.products import archives; from alos2tut.products.sources import find_files\n"
        "plain = archives._unpack; archives._unpack = lambda *a: print('unpacks') or plain(*a)\n"
        "assert find_files(sys.argv[1]).folders['']['LED'].read_all() == b'leader'"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) for _ in "123"]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0] and "".join(said) == "unpacks\n"
