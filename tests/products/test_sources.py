"""Finding delivered files in folders and archives, and reading them: the same bytes everywhere."""

import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.archives import (
    ARCHIVES,
    FILES,
    IMAGE,
    KINDS,
    PACKED,
    SMALL,
    UNPACKED,
    WRITERS,
    contents,
    only_folder,
    padded,
    refusal,
    tar_header,
    travelled,
    write_folder,
    write_zip,
)

from alos2tut.core.errors import Alos2TutError
from alos2tut.products.sources import find_files

# --- finding


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_delivery_gives_the_same_bytes(kind, tmp_path):
    delivery = find_files(WRITERS[kind](tmp_path, FILES))
    assert {name: file.read_all() for name, file in only_folder(delivery).items()} == FILES


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_dot_before_every_name_is_left_out(kind, tmp_path):
    path = WRITERS[kind](tmp_path, {"./LED": b"leader", "./scene/IMG": b"image"})
    assert contents(path) == {"/LED": b"leader", "scene/IMG": b"image"}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_sorted_and_no_file_is_named_by_a_folder_or_archive(kind, tmp_path):
    path = WRITERS[kind](tmp_path, dict(reversed(FILES.items())))
    delivery = find_files(str(path))
    assert list(delivery.folders) == [""] and list(delivery.folders[""]) == sorted(FILES)
    assert (delivery.path, delivery.named) == (path, None)
    assert delivery.archive == (None if kind == "folder" else path)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_members_are_grouped_by_their_folders(kind, tmp_path):
    files = {"b/IMG": b"1", "a b/c/IMG": b"2", "a b/IMG": b"3", "IMG": b"4", "a b-c/IMG": b"5"}
    delivery = find_files(WRITERS[kind](tmp_path, files))
    assert list(delivery.folders) == ["", "a b", "a b-c", "a b/c", "b"]
    assert [folder["IMG"].read_all() for folder in delivery.folders.values()] == [b"4", b"3", b"5", b"2", b"1"]


def test_a_folder_names_its_folders_and_leaves_them_out(tmp_path):
    delivery = find_files(write_folder(tmp_path, {"IMG": b"1", "z/IMG": b"2", "a/IMG": b"3"}))
    assert (list(delivery.folders), list(delivery.folders[""])) == ([""], ["IMG"])
    assert delivery.subfolders == ("a", "z")


def test_a_file_brings_its_folder_along(tmp_path):
    path = write_folder(tmp_path, FILES) / "LED"
    delivery = find_files(path)
    assert (delivery.path, delivery.named, list(delivery.folders[""])) == (path, "LED", sorted(FILES))


def test_a_file_of_the_folder_one_is_in_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(write_folder(tmp_path, FILES))
    assert find_files("LED").folders[""]["IMG-HH"].read(0, 5) == IMAGE[:5]


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("folder", ["", "scene/", "./", "./a b/"], ids=["top", "folder", "dot", "dot and folder"])
def test_a_path_leads_to_a_file_inside_an_archive(kind, folder, tmp_path):
    files = {f"{folder}{name}": content for name, content in FILES.items()} | {"other/VOL": b"", f"{folder}x/VOL": b""}
    path = WRITERS[kind](tmp_path, files) / folder / "LED"
    delivery = find_files(path)
    assert (delivery.path, delivery.named, list(only_folder(delivery))) == (path, "LED", sorted(FILES))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_path_leads_to_a_folder_inside_an_archive(kind, tmp_path):
    files = {"a/IMG": b"1", "a/b/IMG": b"2", "ab/IMG": b"3", "IMG": b"4"}
    delivery = find_files(WRITERS[kind](tmp_path, files) / "a")
    assert (list(delivery.folders), delivery.named) == (["a", "a/b"], None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_macos_adds_is_left_out(kind, tmp_path):
    rubbish = {"__MACOSX/x/._IMG": b"", "x/__MACOSX/IMG": b"", "._IMG": b"", "x/._IMG": b"", ".DS_Store": b""}
    path = WRITERS[kind](tmp_path, {**rubbish, "x/IMG": b"", "LED": b""})
    names = [name for files in find_files(path).folders.values() for name in files]
    assert names == (["LED"] if kind == "folder" else ["LED", "IMG"])


def test_a_file_is_opened_by_any_name_that_the_user_gives(tmp_path):
    assert list(find_files(write_folder(tmp_path, {"._IMG": b"1", "._LED": b"2"}) / "._IMG").folders[""]) == ["._IMG"]


@pytest.mark.parametrize("kind", ["stored zip", "tar.gz"])
def test_an_empty_archive_has_no_folders(kind, tmp_path):
    assert find_files(WRITERS[kind](tmp_path, {})).folders == {}


def test_an_archive_is_known_by_its_content_not_by_its_name(tmp_path):
    delivery = find_files(write_folder(tmp_path, {"IMG.zip": IMAGE, "LED.tar.gz": b"leader"}) / "IMG.zip")
    assert (delivery.archive, delivery.named, list(delivery.folders[""])) == (
        None,
        "IMG.zip",
        ["IMG.zip", "LED.tar.gz"],
    )


def test_folders_of_a_zip_are_no_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("scene")
        archive.writestr("scene/LED", b"leader")
    assert contents(tmp_path / "a.zip") == {"scene/LED": b"leader"}


@pytest.mark.parametrize("size", [0, 700], ids=["empty", "with a size that means nothing"])
def test_folders_of_a_tar_are_no_files(size, tmp_path):
    blocks = [tar_header("scene", size, tarfile.DIRTYPE), tar_header("scene/LED", 6), padded(b"leader"), bytes(1024)]
    (tmp_path / "a.tar").write_bytes(b"".join(blocks))
    assert contents(tmp_path / "a.tar") == {"scene/LED": b"leader"}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_long_names_of_a_tar_are_read(form, tmp_path):
    name = f"{'é' * 120}/{'I' * 180}"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        archive.addfile(tarfile.TarInfo(name))
    assert list(contents(tmp_path / "a.tar")) == [name]


def test_the_size_in_an_extended_header_goes_before_that_of_the_header(tmp_path):
    record = b"12 size=700\n"
    blocks = [tar_header("x", len(record), tarfile.XHDTYPE), padded(record), tar_header("IMG", 0), padded(IMAGE[:700])]
    (tmp_path / "a.tar").write_bytes(b"".join(blocks) + bytes(1024))
    assert contents(tmp_path / "a.tar") == {"/IMG": IMAGE[:700]}


def test_only_whole_keywords_of_extended_headers_count(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("IMG")
        info.pax_headers = {"pathology": "x", "comment": "path=y", "size2": "700", "SCHILY.size": "7"}
        archive.addfile(info)
    assert contents(tmp_path / "a.tar") == {"/IMG": b""}


def test_what_is_said_of_links_is_not_taken_for_the_next_file(tmp_path):
    record = b"12 size=700\n"
    blocks = [tar_header("x", len(record), tarfile.GNUTYPE_LONGLINK), padded(record), tar_header("LED", 6)]
    (tmp_path / "a.tar").write_bytes(b"".join([*blocks, padded(b"leader"), bytes(1024)]))
    assert contents(tmp_path / "a.tar") == {"/LED": b"leader"}


def test_a_size_that_is_said_of_all_files_is_refused(tmp_path):
    record = b"12 size=700\n"
    blocks = [tar_header("x", len(record), tarfile.XGLTYPE), padded(record), tar_header("LED", 6), padded(b"leader")]
    (tmp_path / "a.tar").write_bytes(b"".join(blocks) + bytes(1024))
    assert "its member 'LED' has 700 bytes" in refusal(tmp_path / "a.tar")


def test_names_that_are_not_unicode_are_read_all_the_same(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("ü/IMG"))
        archive.addfile(tarfile.TarInfo(f"{'ü' * 150}/LED"))
    assert list(contents(tmp_path / "a.tar")) == [
        "\N{REPLACEMENT CHARACTER}/IMG",
        "\N{REPLACEMENT CHARACTER}" * 150 + "/LED",
    ]


# --- reading


@pytest.mark.parametrize("kind", KINDS)
def test_read_gives_fewer_bytes_only_where_the_file_ends(kind, tmp_path):
    file = only_folder(find_files(WRITERS[kind](tmp_path, FILES)))["IMG-HH"]
    for start, length in [(0, 720), (1_200_000, 5), (len(IMAGE) - 3, 9), (len(IMAGE), 1), (len(IMAGE) + 5, 1), (3, 0)]:
        assert file.read(start, length) == IMAGE[start : start + length]


def test_buffers_of_any_type_and_shape_are_filled(tmp_path):
    lines = np.empty((2, 3), ">u2")
    with only_folder(find_files(write_folder(tmp_path, FILES)))["IMG-HH"].opened() as file:
        file.readinto(lines, 1)
        file.readinto(np.empty((0, 3), ">u2"), 0)
    np.testing.assert_array_equal(lines.ravel(), np.frombuffer(IMAGE[1:], ">u2", 6))


@pytest.mark.parametrize("error", [ValueError("mine"), OSError("mine")], ids=["value", "system"])
def test_errors_of_those_who_read_are_left_as_they_are(error, tmp_path):
    file = only_folder(find_files(write_folder(tmp_path, FILES)))["LED"]
    with pytest.raises(type(error), match=r"^mine$"), file.opened():
        raise error


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_read_from_their_places(kind, tmp_path):
    """In any order, side by side, overlapping and with gaps."""
    source = travelled(only_folder(find_files(WRITERS[kind](tmp_path, FILES)))["IMG-HH"])
    rows = np.zeros((6, 9), np.uint8)
    places = np.array([len(IMAGE) - 9, 7, 16, 100, 1_200_000, 1_200_004])
    with source.opened() as file:
        file.read_rows(rows[:2], places[:2])
        file.read_rows(rows[:0], places[:0])
        file.read_rows(rows[2:], places[2:])
    assert [row.tobytes() for row in rows] == [IMAGE[place : place + 9] for place in places]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "read",
    [
        lambda file: file.readinto(bytearray(9), 695),
        lambda file: file.read_rows(np.empty((2, 9), np.uint8), np.array([695, 0])),
    ],
    ids=["readinto", "rows"],
)
def test_reading_beyond_the_end_is_an_error_that_counts_the_missing_bytes(kind, read, tmp_path):
    source = only_folder(find_files(WRITERS[kind](tmp_path, SMALL)))["IMG-HH"]
    with pytest.raises(Alos2TutError, match=r"IMG-HH.* is truncated: 4 bytes are missing"), source.opened() as file:
        read(file)


@pytest.mark.parametrize("kind", ["folder", "stored zip", "tar.gz"])
def test_a_relative_path_means_the_same_file_from_every_folder(kind, tmp_path, monkeypatch):
    path = WRITERS[kind](tmp_path, SMALL)
    (tmp_path / "elsewhere").mkdir()
    WRITERS[kind](tmp_path / "elsewhere", {"IMG-HH": b"another image", "LED": b"another leader"})
    monkeypatch.chdir(tmp_path)
    found = [find_files(Path(path.name)), find_files(Path(path.name) / "LED")]
    assert [delivery.path for delivery in found] == [Path(path.name), Path(path.name) / "LED"]
    monkeypatch.chdir(tmp_path / "elsewhere")
    for delivery in found:
        read = {name: travelled(file).read_all() for name, file in only_folder(delivery).items()}
        assert read == SMALL
        assert delivery.archive in (None, path)


def test_a_whole_file_is_read_up_to_a_limit(tmp_path):
    file = only_folder(find_files(write_folder(tmp_path, FILES)))["LED"]
    assert file.read_all(limit=6) == b"leader"
    with pytest.raises(Alos2TutError, match="LED: has 6 bytes, at most 5"):
        file.read_all(limit=5)


def test_where_names_the_file_or_the_archive_and_its_member(tmp_path):
    files = {"scene/LED": b"leader"}
    assert find_files(write_folder(tmp_path, files) / "scene").folders[""]["LED"].where == f"{tmp_path}/scene/LED"
    archive = write_zip(tmp_path / "a.zip", files)
    assert only_folder(find_files(archive))["LED"].where == f"{archive}/scene/LED"


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("folder", ["", "a folder/", "./b/"], ids=["top", "space", "dot"])
def test_gdal_opens_a_raster_where_it_lies(kind, folder, tmp_path):
    pixels = np.arange(2000, dtype=np.uint16).reshape(1, 40, 50)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": 40, "width": 50}
    with rasterio.open(tmp_path / "t.tif", "w", **profile, transform=rasterio.Affine.scale(2, -2)) as raster:
        raster.write(pixels)
    place = tmp_path / "my data"
    place.mkdir()
    path = WRITERS[kind](place, {f"{folder}t.tif": (tmp_path / "t.tif").read_bytes()})
    if kind == "folder":
        path = path / folder
    source = only_folder(find_files(path))["t.tif"]
    with rasterio.open(source.gdal_path) as raster:
        np.testing.assert_array_equal(raster.read(), pixels)
    assert len(list(place.iterdir())) == 1


MISSING = {
    "nothing": "nothing",
    "below nothing": "no/thing",
    "below a file": "LED/x",
    "in a zip": "a.zip/LED/x",
    "part of a name": "a.zip/LE",
}


@pytest.mark.parametrize("name", MISSING.values(), ids=MISSING)
def test_what_is_not_there_is_an_error_that_names_it(name, tmp_path):
    write_zip(write_folder(tmp_path, FILES) / "a.zip", FILES)
    with pytest.raises(Alos2TutError, match=f"{name}: there is no such file or folder"):
        find_files(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Alos2TutError, match="pipe: is neither a file nor a folder"):
        find_files(tmp_path / "pipe")


def test_a_name_that_the_system_refuses_is_an_error_of_ours():
    with pytest.raises(Alos2TutError, match="cannot be read"):
        find_files("/" + "x" * 5000)


@pytest.mark.parametrize("kind", UNPACKED)
@pytest.mark.parametrize("use", ["read", "rows"])
def test_a_file_that_has_become_shorter_is_an_error(kind, use, tmp_path):
    file = only_folder(find_files(WRITERS[kind](tmp_path, {"IMG": IMAGE})))["IMG"]
    os.truncate(file.path, file.offset + 1000)
    with pytest.raises(Alos2TutError, match=r"IMG: is truncated"), file.opened() as opened:
        if use == "read":
            opened.readinto(bytearray(len(IMAGE)), 0)
        else:
            opened.read_rows(np.empty((2, 600), np.uint8), np.array([0, 700]))


@pytest.mark.parametrize("kind", ["folder", *PACKED])
def test_a_file_that_has_gone_is_an_error(kind, tmp_path):
    file = travelled(only_folder(find_files(WRITERS[kind](tmp_path, FILES)))["LED"])
    file.path.unlink()
    with pytest.raises(Alos2TutError, match=r"LED: cannot be read \(No such file"):
        file.read_all()
