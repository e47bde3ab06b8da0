"""The records of CEOS files: every field against real headers."""

import json
from pathlib import Path

import pytest
import yaml
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from support.ceos import LENGTHS, SCENE, all_fields, bilinear, layout_of, real, walked

from alos2tut import Alos2TutError, open_product
from alos2tut.products import ceos, ceos_layout
from alos2tut.simulation import ceos_writer

#: what the real headers say, by record and field
FACTS = yaml.safe_load(Path(__file__).with_name("level15_records.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("record", FACTS)
def test_real_records_say_what_is_known(level15, record):
    if record == "image_descriptor":
        heads = [real(level15, f"IMG-{pol}").read(0, 720) for pol in ("HH", "HV")]
        found = [ceos_layout.unpack(head, layout_of(record)) for head in heads]
    else:
        found = [(all_fields(real(level15, "LED")) | all_fields(real(level15, "VOL"), "volume_descriptor"))[record]]
    for fields in found:
        shown = {name: value for name, value in fields.items() if not name.startswith("coefficients")}
        assert json.loads(json.dumps(shown)) == FACTS[record]


def test_real_image_without_lines_is_truncated(level15):
    for use in (lambda: ceos.ImageFile.open(real(level15, "IMG-HH")), lambda: open_product(level15)):
        with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated: 341291052 of 341291772 .*13161 lines × 25932"):
            use()


def test_real_leader_records_in_walking_order(level15):
    source = real(level15, "LED")
    records = walked(source.path.read_bytes())
    assert [len(record) for _, record in records] == list(LENGTHS.values())
    assert [codes for codes, _ in records] == [ceos_layout.RECORDS[name].codes for name in LENGTHS]
    assert [codes[1] for codes, _ in records] == [192, 10, 20, 30, 40, 50, 60, *[200] * 5]
    assert {name: ceos_layout.RECORDS[name].length for name in LENGTHS} == LENGTHS
    assert list(ceos.read_leader(source)) == list(LENGTHS)
    met = list(ceos.walk_records(source, "leader_descriptor"))
    assert [(name, len(record)) for name, record in met] == list(LENGTHS.items())
    assert [record for _, record in met] == [record for _, record in records]


def test_real_leader_descriptor_counts(level15):
    fields = all_fields(real(level15, "LED"))["leader_descriptor"]
    assert fields["software"] == "002.012" and fields["file_name"] == "AL2 SARCSARL"
    for name, length in list(LENGTHS.items())[1:]:
        assert (fields[f"{name}_count"], fields[f"{name}_bytes"]) == (1, length), name


#: line and pixel of the corners, from 1 on
CORNER_PIXELS = {
    "top_left": (1, 1),
    "top_right": (1, 12870),
    "bottom_right": (13161, 12870),
    "bottom_left": (13161, 1),
}


def test_real_corners_are_pixel_centres(level15):
    found = all_fields(real(level15, "LED"))["map_projection"]
    east = found["top_right_easting_km"] - found["top_left_easting_km"]
    south = found["top_left_northing_km"] - found["bottom_left_northing_km"]
    assert 1000 * east / found["pixel_spacing_m"] == pytest.approx(found["pixels"] - 1, abs=1e-3)
    assert 1000 * south / found["line_spacing_m"] == pytest.approx(found["lines"] - 1, abs=1e-3)
    utm = CRS.from_epsg(32720)
    for corner in CORNER_PIXELS:
        x, y = 1000 * found[f"{corner}_easting_km"], 1000 * found[f"{corner}_northing_km"]
        [longitude], [latitude] = reproject_points(utm, CRS.from_epsg(4326), [x], [y])
        assert longitude == pytest.approx(found[f"{corner}_longitude_deg"], abs=2e-7)
        assert latitude == pytest.approx(found[f"{corner}_latitude_deg"], abs=2e-7)


@pytest.mark.parametrize("corner", CORNER_PIXELS)
def test_real_bilinear_coefficients_reproduce_the_corners(level15, corner):
    found = all_fields(real(level15, "LED"))["map_projection"]
    place = (found[f"{corner}_longitude_deg"], found[f"{corner}_latitude_deg"])
    assert bilinear(found["coefficients_a"], *CORNER_PIXELS[corner]) == pytest.approx(place, abs=1e-6)
    assert bilinear(found["coefficients_b"], *place) == pytest.approx(CORNER_PIXELS[corner], abs=5e-3)


def test_real_volume_directory(level15):
    source = real(level15, "VOL")
    assert [(codes, len(record)) for codes, record in walked(source.path.read_bytes())] == [
        ((192, 192, 18, 18), 360),
        *[((219, 192, 18, 18), 360)] * 4,
        ((18, 192, 18, 18), 360),
    ]
    found = all_fields(source, "volume_descriptor")
    assert (
        list(found)
        == list(ceos.read_volume(source))
        == ["volume_descriptor", *(f"file_pointer_{n}" for n in range(1, 5)), "text"]
    )
    volume = found["volume_descriptor"]
    assert (volume["created_date"], volume["created_time"]) == ("20150320", "08095250")
    assert (volume["software"], volume["agency"], volume["facility"]) == ("002.012", "JAXA", "EICS")
    assert (volume["pointers"], volume["texts"], volume["volumes"]) == (4, 1, (1, 1, 1, 1))
    pointers = [found[f"file_pointer_{n}"] for n in range(1, 5)]
    assert [p["class_code"] for p in pointers] == ["SARL", "IMOP", "IMOP", "SART"]
    assert [p["records"] for p in pointers] == [12, 13162, 13162, 2]
    assert [p["longest_bytes"] for p in pointers] == [728_000, 25_932, 25_932, 1_321_776]
    assert {(p["first_bytes"], p["data_code"], p["length_code"]) for p in pointers} == {(720, "MBAA", "VARE")}


def test_real_trailer(level15):
    source = real(level15, "TRL")
    fields = ceos.read_trailer(source)["trailer_descriptor"]
    assert (fields["images"], fields["image_bytes"]) == (1, 1_321_776)
    assert (fields["image_columns"], fields["image_rows"], fields["image_sample_bytes"]) == (804, 822, 2)
    assert source.size == 720 + 804 * 822 * 2


def test_real_summary(level15):
    found = ceos.read_summary(real(level15, "summary.txt"))
    assert len(found) == 62
    assert found["Scs_SceneID"] == SCENE and found["Pds_UTM_ZoneNo"] == "20" and found["Pdi_NoOfLines_0"] == "13161"
    assert found["Odi_SiteDateTime"] == "PROCESS:JAPAN-JAXA-ALOS2-EICS  20150320 080952"
    assert found["Img_ImageSceneLeftTopLatitude"] == "-10.812" and found["Ach_PRF_Check"] == ""


#: parts of real records, 1-based and inclusive, that fields cannot give back: what is not read, and NAN
NOT_GIVEN_BACK = {
    "image_descriptor": [(297, 400)],
    "leader_descriptor": [(241, 252), (265, 420)],
    "trailer_descriptor": [(181, 490)],
    "map_projection": [(125, 140), (477, 480)],
    "attitude": [(17, 16384)],
    **{f"facility_{n}": [(17, LENGTHS[f"facility_{n}"])] for n in range(1, 5)},
}


@pytest.mark.parametrize("file", ["VOL", "LED", "IMG-HH", "IMG-HV", "TRL"])
def test_real_records_are_written_as_they_were_read(level15, file):
    """Every byte of the real headers that no field gives is listed: no field is forgotten, shifted or cut."""
    data = real(level15, file).path.read_bytes()
    names = {record.codes: name for name, record in ceos_layout.RECORDS.items()}
    for number, (codes, record) in enumerate(walked(data[:720] if file == "TRL" else data), start=1):
        name = names[codes]
        if name.startswith("facility_"):
            name = f"facility_{number - 7}"
        fields = ceos_layout.unpack(record, layout_of(name))
        again = bytearray(ceos_writer.pack(name, number, fields, length=len(record)))
        for start, end in NOT_GIVEN_BACK.get(name, ()):
            again[start - 1 : end] = record[start - 1 : end]
        assert bytes(again) == record, name
