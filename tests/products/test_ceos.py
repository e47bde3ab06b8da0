"""Reading CEOS files: windows and prefixes against plain NumPy, sizes that lie, leaders that are not as expected."""

import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ceos import LENGTHS, RANDOM, describe, file_in, source_of, walked, write
from support.memory import peak_below
from support.products import write_ceos
from support.properties import examples

from alos2tut import Alos2TutError, Alos2TutWarning, open_product, verify_product
from alos2tut.products import ceos, ceos_layout
from alos2tut.products.sources import FileSource, find_files
from alos2tut.simulation import ceos_writer
from alos2tut.simulation.ceos_writer import write_ceos_product


def packings(path: Path) -> list[FileSource]:
    """The file as it is, and inside zips: stored at an odd place, and deflated."""
    sources = [source_of(path)]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = path.with_name(f"{path.name}.{method}.zip")
        with zipfile.ZipFile(archive, "w", method) as target:
            target.writestr("odd.txt", b"x" * 11)
            target.write(path, f"inner/{path.name}")
        sources.append(find_files(archive).folders["inner"][path.name])
    assert [source.container for source in sources] == [None, "zip", None]
    return sources


def patched(path: Path, start: int, text: bytes) -> FileSource:
    """The file with other bytes at a place, 1-based."""
    data = bytearray(path.read_bytes())
    data[start - 1 : start - 1 + len(text)] = text
    path.write_bytes(data)
    return source_of(path)


# --- pixels


@st.composite
def windows(draw) -> tuple[tuple[int, int], slice, slice, int]:
    # the wide ones have more bytes of pixels than of prefix, so that whole lines are read
    shape = draw(st.integers(1, 60)), draw(st.one_of(st.integers(1, 70), st.integers(150, 400)))
    rows, cols = (sorted((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1)))) for n in shape)
    return shape, slice(rows[0], rows[1] + 1), slice(cols[0], cols[1] + 1), draw(st.integers(1, 70))


@examples(40)
@given(window=windows(), is_slc=st.booleans(), extra=st.integers(0, 9), suffix=st.integers(0, 9))
def test_strips_are_what_numpy_reads(tmp_path_factory, window, is_slc, extra, suffix):
    shape, rows, cols, step = window
    code, kind = ("C*8", ">c8") if is_slc else ("IU2", ">u2")
    prefix = ceos_layout.PREFIX_BYTES[code] + extra
    record_bytes = prefix + np.dtype(kind).itemsize * shape[1] + suffix
    body = RANDOM.integers(0, 256, (shape[0], record_bytes)).astype(np.uint8)
    wanted = np.frombuffer(body[:, prefix : record_bytes - suffix].tobytes(), kind).reshape(shape)[rows, cols]
    sizes = {"lines": shape[0], "pixels": shape[1], "record_bytes": record_bytes, "prefix_bytes": prefix}
    sizes |= {"suffix_bytes": suffix, "sample_code": code}
    path = tmp_path_factory.mktemp("strips") / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, sizes) + body.tobytes())
    for source in packings(path):
        image = ceos.ImageFile.open(source)
        assert (image.shape, image.dtype) == (shape, np.dtype(kind))
        pieces = [piece.copy() for piece in image.strips(rows, cols, step)]
        assert {piece.dtype for piece in pieces} == {np.dtype(kind)}
        assert [len(piece) for piece in pieces[:-1]] == [step] * (len(pieces) - 1)
        assert b"".join(piece.tobytes() for piece in pieces) == wanted.tobytes()


def test_a_step_beyond_the_image_costs_nothing(tmp_path):
    image = write(tmp_path, describe())["HH"]
    for source in packings(file_in(tmp_path, "IMG").path):
        for cols in (slice(0, 30), slice(3, 5)):
            [piece] = ceos.ImageFile.open(source).strips(slice(0, 40), cols, 10**15)
            assert np.array_equal(piece, image[:, cols])


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """16 MB of pixels."""
    folder = tmp_path_factory.mktemp("large")
    description = describe(shape=(2000, 4000))
    strips = (np.full((100, 4000), n, dtype=np.uint16) for n in range(20))
    # the leader has 1.6 MB
    with peak_below(10e6):
        write_ceos_product(folder, description, {"HH": strips})
    return file_in(folder, "IMG").path


def test_lines_of_little_but_filling_cost_no_more_than_their_pixels(tmp_path):
    sizes = {"lines": 200, "pixels": 1, "record_bytes": 999_999, "prefix_bytes": 192, "sample_code": "IU2"}
    path = tmp_path / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, sizes))
    with open(path, "r+b") as handle:
        handle.truncate(720 + 200 * 999_999)
    image = ceos.ImageFile.open(source_of(path))
    with peak_below(1e6):
        list(image.strips(slice(0, 200), slice(0, 1), 200))


@pytest.mark.parametrize("packing", [0, 1, 2], ids=["plain", "stored", "deflated"])
@pytest.mark.parametrize(
    ("cols", "step", "limit"),
    [
        pytest.param(slice(0, 4000), 100, 4e6, id="whole lines"),
        # two thousand whole lines would be 16 MB
        pytest.param(slice(7, 17), 2000, 7e6, id="a narrow window"),
    ],
)
def test_memory_holds_a_piece_not_the_image(large, packing, cols, step, limit):
    image = ceos.ImageFile.open(packings(large)[packing])
    with peak_below(limit):
        for first, piece in zip(range(0, 2000, step), image.strips(slice(0, 2000), cols, step), strict=True):
            assert piece[0, 0] == first // 100 and piece[-1, -1] == (first + step - 1) // 100


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(tmp_path):
    """A memory map would end the process."""
    write(tmp_path, describe())
    source = file_in(tmp_path, "IMG")
    image = ceos.ImageFile.open(source)
    with open(source.path, "r+b") as handle:
        # the pixels of the last line, and the end of its prefix
        handle.truncate(source.size - 70)
    for cols in (slice(0, 30), slice(0, 2)):
        with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated"):
            list(image.strips(slice(0, 40), cols, 10))
    with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated"):
        image.prefixes([39])


# --- sizes that lie


@pytest.mark.parametrize(
    ("start", "text", "problem"),
    [
        pytest.param(237, b"       0", "descriptor's lines is missing or not positive", id="no lines"),
        pytest.param(237, b"      -5", "descriptor's lines is missing or not positive", id="negative lines"),
        pytest.param(237, b"    4O  ", "descriptor's lines is missing", id="letter in lines"),
        pytest.param(237, b"99999999", r"truncated: .* bytes are missing \(99999999 lines ×", id="too many lines"),
        pytest.param(249, b"       0", "descriptor's pixels is missing or not positive", id="no pixels"),
        pytest.param(249, b"        ", "descriptor's pixels is missing", id="blank pixels"),
        pytest.param(249, b"99999999", "descriptor's data_bytes is 60, but its 99999999 pixels", id="too many pixels"),
        pytest.param(249, b"      31", "descriptor's data_bytes is 60, but its 31 pixels", id="one pixel too many"),
        pytest.param(281, b"        ", None, id="data bytes not stated"),
        pytest.param(187, b"999999", r"truncated: .* \(40 lines × 999999 bytes", id="long lines"),
        pytest.param(187, b"   251", "descriptor's record_bytes is 251; a line cannot hold 192", id="short lines"),
        pytest.param(187, b"    -1", "descriptor's record_bytes is missing or not positive", id="negative line length"),
        pytest.param(277, b" 191", "descriptor's prefix_bytes is 191, a line's prefix has 192", id="short prefix"),
        pytest.param(277, b" 193", "descriptor's record_bytes is 252; a line cannot hold 193", id="long prefix"),
        pytest.param(289, b"   1", "descriptor's record_bytes is 252; a line cannot", id="suffix beyond the line"),
        pytest.param(289, b"  -1", "descriptor's suffix_bytes is -1", id="negative suffix"),
        pytest.param(429, b"C*8 ", "prefix_bytes is 192, a line's prefix has 412", id="complex of amplitude size"),
        pytest.param(429, b"C*4 ", r"descriptor's sample_code is C\*4, neither IU2", id="another sample type"),
        pytest.param(429, b"    ", "descriptor's sample_code is None", id="no sample type"),
        pytest.param(5, b"\x0b", "does not begin with a CEOS image descriptor", id="a leader's header"),
    ],
)
def test_sizes_that_lie_are_refused_before_anything_is_loaded(tmp_path, start, text, problem):
    write(tmp_path, describe())
    source = patched(file_in(tmp_path, "IMG").path, start, text)
    if problem is None:
        assert ceos.ImageFile.open(source).shape == (40, 30)
        return
    with peak_below(1e6):
        with pytest.raises(Alos2TutError, match=problem) as caught:
            ceos.ImageFile.open(source)
        assert str(caught.value).startswith(str(source.path))


@pytest.mark.parametrize("kept", [0, 5, 719])
def test_images_without_a_descriptor_are_refused(tmp_path, kept):
    path = tmp_path / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, {})[:kept])
    for read in (ceos.ImageFile.open, ceos.read_image_descriptor):
        with pytest.raises(Alos2TutError, match="does not begin with a CEOS image descriptor"):
            read(source_of(path))


def test_bytes_after_the_last_line_do_not_matter(tmp_path):
    image = write(tmp_path, describe())["HH"]
    path = file_in(tmp_path, "IMG").path
    path.write_bytes(path.read_bytes() + b"tail")
    [piece] = ceos.ImageFile.open(source_of(path)).strips(slice(0, 40), slice(0, 30), 40)
    assert np.array_equal(piece, image)


# --- prefixes


@pytest.mark.parametrize("product_id", ["UBSR1.5GUA", "UBSR1.1__A"])
def test_prefixes_are_the_same_in_all_packings_and_orders(tmp_path, product_id):
    write(tmp_path, describe(product_id))
    rows = [0, 39, 3, 3, 17]
    found = [ceos.ImageFile.open(source).prefixes(rows) for source in packings(file_in(tmp_path, "IMG").path)]
    assert found[0]["line"].tolist() == [1, 40, 4, 4, 18]
    assert found[0]["sequence"].tolist() == [2, 41, 5, 5, 19]
    assert all(found[0].dtype[name].isnative for name in found[0].dtype.names)
    for other in found[1:]:
        assert other.tobytes() == found[0].tobytes()
    assert len(ceos.ImageFile.open(file_in(tmp_path, "IMG")).prefixes([])) == 0


# --- leaders that are not as expected


@pytest.fixture
def leader(tmp_path) -> FileSource:
    write(tmp_path, describe())
    return file_in(tmp_path, "LED")


def rewritten(leader: FileSource, records: list[bytes]) -> FileSource:
    leader.path.write_bytes(b"".join(records))
    return source_of(leader.path)


def test_records_are_found_wherever_they_lie(leader):
    whole = ceos.read_leader(leader)
    descriptor, *records = [record for _, record in walked(leader.path.read_bytes())]
    unknown = struct.pack(">IBBBBI", 2, 18, 51, 18, 20, 500) + b"7" * 488
    shuffled = [unknown, *reversed(records), unknown]
    assert ceos.read_leader(rewritten(leader, [descriptor, *shuffled])) == whole


def test_absent_records_are_left_out(leader):
    whole = ceos.read_leader(leader)
    records = [record for codes, record in walked(leader.path.read_bytes()) if codes[1] != 20]
    found = ceos.read_leader(rewritten(leader, records))
    assert found == {name: fields for name, fields in whole.items() if name != "map_projection"}
    assert found["radiometric"]["calibration_factor_db"] == -83


def test_the_first_of_two_records_counts(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    second = ceos_writer.pack("radiometric", 99, {"calibration_factor_db": -12.0})
    assert ceos.read_leader(rewritten(leader, [*records, second]))["radiometric"]["calibration_factor_db"] == -83


def test_level_11_has_no_map_projection(tmp_path):
    write(tmp_path, describe("UBSR1.1__A"))
    source = file_in(tmp_path, "LED")
    found = ceos.read_leader(source)
    assert list(found) == [name for name in LENGTHS if name != "map_projection"]
    descriptor = found["leader_descriptor"]
    assert (descriptor["map_projection_count"], descriptor["map_projection_bytes"]) == (0, 0)
    files = [file_in(tmp_path, kind).read(48, 16) for kind in ("LED", "IMG")]
    assert files == [b"AL2 SARBSARL    ", b"AL2 SARBIMOP    "]
    # the factor lies 1,620 bytes earlier than in Level 1.5
    assert source.read(27_500 - 1620 + 20, 16) == b"     -83.0000000"


@pytest.mark.parametrize("number", [b"   6", b"   0", b"    ", b"five"])
def test_facility_records_of_no_known_number_are_skipped(leader, number):
    whole = ceos.read_leader(leader)
    records = [record for _, record in walked(leader.path.read_bytes())]
    records[-1] = records[-1][:12] + number + records[-1][16:]
    del whole["facility_5"]
    assert ceos.read_leader(rewritten(leader, records)) == whole


def test_records_shorter_than_their_fields_give_none(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    cut = bytearray(records[2][:500])
    cut[8:12] = struct.pack(">I", 500)
    found = ceos.read_leader(rewritten(leader, [*records[:2], bytes(cut), *records[3:]]))["map_projection"]
    assert found["utm_zone"] == "20" and found["false_northing_m"] is None and found["coefficients_a"] is None


@pytest.mark.parametrize("kept", [1, 11, 12, 719, 721, 731, 4815, 40_000])
def test_truncated_leaders_are_refused(leader, kept):
    leader.path.write_bytes(leader.path.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match=r"LED-.*(truncated|does not begin)"):
        ceos.read_leader(source_of(leader.path))


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 5, 0, 11, 4097, 4095])
def test_record_lengths_that_lie_are_refused(leader, length):
    source = patched(leader.path, 720 + 9, struct.pack(">I", length))

    problem = f"damaged.*byte 720 states a length of {length} bytes" if length < 12 else "truncated"
    with peak_below(8e6), pytest.raises(Alos2TutError, match=f"LED-.*{problem}"):
        ceos.read_leader(source)


def test_a_leader_of_nothing_but_headers_is_refused(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    many = struct.pack(">IBBBBI", 2, 18, 51, 18, 20, 12) * 5000
    with pytest.raises(Alos2TutError, match="more than 1000 records"):
        ceos.read_leader(rewritten(leader, [*records, many]))


def test_a_huge_leader_is_refused_unread(leader):
    with open(leader.path, "r+b") as handle:
        handle.truncate(64 * 2**20 + 1)
    with peak_below(1e6):
        for read in (ceos.read_leader, ceos.read_volume):
            with pytest.raises(Alos2TutError, match=r"LED-.*67,108,865 bytes"):
                read(source_of(leader.path))


@pytest.mark.parametrize("read", [ceos.read_leader, ceos.read_volume, ceos.read_trailer, ceos.read_image_descriptor])
def test_other_files_are_refused(tmp_path, read):
    path = tmp_path / "LED-x"
    for content in (b"", b"\x89PNG" + bytes(2000), bytes(5)):
        path.write_bytes(content)
        with pytest.raises(Alos2TutError, match="LED-x: does not begin"):
            read(source_of(path))


def test_a_trailer_without_its_image_is_truncated(tmp_path):
    path = tmp_path / "TRL"
    path.write_bytes(ceos_writer.pack("trailer_descriptor", 1, {"images": 1, "image_bytes": 1000}) + bytes(999))
    with pytest.raises(Alos2TutError, match=r"TRL: is truncated: 1 of 1720 bytes"):
        ceos.read_trailer(source_of(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("    -83.0000000 ", -83.0, id="as JAXA writes"),
        pytest.param("-8.3E+01", -83.0, id="scientific"),
        pytest.param("-8.3D+01", -83.0, id="Fortran"),
        pytest.param("-83", -83.0, id="whole"),
        pytest.param("", None, id="blank"),
        pytest.param("\0" * 16, None, id="zero bytes"),
        pytest.param("NAN", None, id="not a number"),
        pytest.param("inf", None, id="infinite"),
        pytest.param("1E999", None, id="too large"),
        pytest.param("8_3", None, id="underscore"),
        pytest.param("-83.O", None, id="letter"),
        pytest.param("****************", None, id="overflow"),
    ],
)
def test_numbers_that_are_none_are_none(leader, text, value):
    position = leader.path.read_bytes().index(b"     -83.0000000") + 1
    found = ceos.read_leader(patched(leader.path, position, text.encode().ljust(16)))
    assert found["radiometric"]["calibration_factor_db"] == value


@examples(150)
@given(data=st.data())
def test_damaged_leaders_give_errors_or_fields(leader, data):
    whole = bytearray(leader.path.read_bytes()[:38_980])
    try:
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(whole) - 5))
            whole[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
        copy = leader.path.with_name("LED-copy")
        copy.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        ceos.read_leader(source_of(copy))
    except Alos2TutError as error:
        assert "LED-copy" in str(error)


# --- summary.txt


def test_summaries_are_read_as_users_have_them(tmp_path):
    path = tmp_path / "summary.txt"
    path.write_bytes(b'\xef\xbb\xbfScs_SceneID="A=B"\r\n Pds_X = "1"\r\nno pair\r\nBare=2\n\xe6\x97\xa5="x"\n')
    found = ceos.read_summary(source_of(path))
    assert (found["Scs_SceneID"], found["Pds_X"], found["Bare"]) == ("A=B", "1", "2")
    assert len(found) == 4
    path.write_bytes(path.read_bytes() + b'\xff="x"\n')
    with pytest.raises(Alos2TutError, match=r"summary\.txt: is no UTF-8 text \(byte 57\)"):
        ceos.read_summary(source_of(path))


def test_a_huge_summary_is_refused(tmp_path):
    path = tmp_path / "summary.txt"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(Alos2TutError, match=r"summary.txt: has 1,048,577 bytes"):
        ceos.read_summary(source_of(path))


# --- what lines say of their own pixels


def stated(folder: Path, changes: dict[int, dict[int, int]]) -> Path:
    """A product whose lines state other numbers, {line: {first byte, from 1 on: number}}."""
    [path] = folder.glob("IMG-*")
    fields, data = ceos.read_image_descriptor(source_of(path)), bytearray(path.read_bytes())
    for line, numbers in changes.items():
        for start, value in numbers.items():
            at = 720 + line * fields["record_bytes"] + start - 1
            data[at : at + 4] = value.to_bytes(4, "big")
    path.write_bytes(bytes(data))
    return folder


LEFT, DATA, RIGHT, INVALID = 21, 25, 29, 97


def test_invalid_lines_of_level_11_are_no_data_and_other_flags_are_told_not_obeyed(tmp_path):
    slc = np.full((40, 30), 3 + 4j, np.complex64)
    flags = {line: {INVALID: 1} for line in (7, 8, 9, 30)} | {20: {INVALID: 2}, 21: {INVALID: 2**31}}
    folder = stated(write_ceos(tmp_path / "a", {"HH": slc}, "UBSR1.1__D"), flags)
    with pytest.warns(
        Alos2TutWarning, match=r"4 of 40 lines looked at say they are invalid; flags \[2, 2147483648\] mean"
    ):
        product = open_product(folder)
    hidden = np.zeros(slc.shape, bool)
    hidden[[7, 8, 9, 30]] = True
    np.testing.assert_array_equal(np.isnan(product.read_power()), hidden)
    np.testing.assert_array_equal(np.isnan(product.read_dn((5, 3, 10, 4))), hidden[5:15, 3:7])
    np.testing.assert_array_equal(product.read_slc(), np.where(hidden, 0, slc))
    # half of a block is enough: lines 8, 9 are no block of two, line 7 is half of one
    np.testing.assert_array_equal(np.isnan(product.read_db(looks=(2, 1)))[:, 0], np.isin(np.arange(20), [4]))
    [check] = [c for c in verify_product(folder).checks if c.name == "valid lines and pixels"]
    assert check.verdict == "differs" and "4 of 40 lines" in check.values["lines"]


@pytest.mark.parametrize("level", ["UBSR2.1GUD", "UBSR1.1__D"])
def test_pixels_that_fill_lines_are_no_data_in_any_window(tmp_path, level):
    shape = (50, 400)
    pixels = np.full(shape, 100, np.complex64 if "1.1" in level else np.uint16)
    draw = np.random.default_rng(0)
    left, right = draw.integers(0, 200, (2, 50)) * (draw.random((2, 50)) < 0.7)
    changes = {
        n: {LEFT: int(a), DATA: int(400 - a - b), RIGHT: int(b)}
        for n, (a, b) in enumerate(zip(left, right, strict=True))
    }
    left[[3, 4, 5, 6]], right[[3, 4, 5, 6]] = (400, 0, 0, 60), 0
    # a line that is all fill; as many beside data, or more than there are, cannot be; data that count the fill
    changes |= {
        3: {LEFT: 400, DATA: 0, RIGHT: 0},
        4: {LEFT: 400, DATA: 400, RIGHT: 0},
        5: {LEFT: 2**32 - 1, DATA: 1, RIGHT: 7},
    }
    changes |= {6: {LEFT: 60, DATA: 400, RIGHT: 0}}
    folder = stated(write_ceos(tmp_path / "a", {"HH": pixels}, level), changes)
    hidden = (np.arange(400) < left[:, None]) | (np.arange(400) >= 400 - right[:, None])
    filled = np.count_nonzero(hidden.any(axis=1))
    with pytest.warns(Alos2TutWarning, match=rf"pixels that by their {filled} lines are fill are not 0") as told:
        product = open_product(folder)
    assert any("1 of 50 lines looked at have not 400 pixels" in str(w.message) for w in told)
    for window in (None, (11, 300, 20, 90), (0, 20, 50, 30), (3, 0, 1, 400), (2, 390, 4, 10), (11, 300, 20, 90)):
        rows, part = (
            (slice(None), slice(None))
            if window is None
            else (slice(window[0], window[0] + window[2]), slice(window[1], window[1] + window[3]))
        )
        np.testing.assert_array_equal(np.isnan(product.read_db(window)), hidden[rows, part])
    blocks = np.concatenate([values for _, values in product.blocks("dn", rows=7)])
    np.testing.assert_array_equal(np.isnan(blocks), hidden)
    checks = {c.name: c.verdict for c in verify_product(folder).checks if c.subject == "image HH"}
    assert checks["valid lines and pixels"] == checks["pixels"] == "differs"


def test_fill_that_is_zero_contradicts_nothing(tmp_path):
    pixels = np.full((8, 40), 9, np.uint16)
    pixels[:, :5] = 0
    folder = stated(write_ceos(tmp_path / "a", {"HH": pixels}), {line: {LEFT: 5, DATA: 35} for line in range(8)})
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        np.testing.assert_array_equal(np.isnan(open_product(folder).read_dn()), pixels == 0)
    checks = {c.name: c.verdict for c in verify_product(folder).checks if c.subject == "image HH"}
    assert checks["valid lines and pixels"] == checks["pixels"] == "agrees"


def test_lines_are_looked_at_once(tmp_path, monkeypatch):
    product = open_product(write_ceos(tmp_path / "a", {"HH": np.full((50, 400), 7, np.uint16)}))
    asked, once = [], ceos.ImageFile.prefixes
    monkeypatch.setattr(ceos.ImageFile, "prefixes", lambda self, rows: asked.extend(rows) or once(self, rows))
    for window in ((10, 0, 20, 9), (10, 300, 20, 9), (5, 0, 30, 9), (0, 0, 50, 400)):
        product.read_dn(window)
    assert sorted(asked) == list(range(5, 35))
