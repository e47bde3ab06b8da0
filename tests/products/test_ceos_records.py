"""The records of CEOS files: every field against real headers."""

from pathlib import Path

import pytest
import yaml
from support.ceos import LENGTHS, SCENE, all_fields, layout_of, real, walked

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
        beginnings = {
            name: list(value[:8]) if isinstance(value, tuple) else value[:80] if isinstance(value, str) else value
            for name, value in fields.items()
        }
        assert beginnings == FACTS[record]


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


def test_real_volume_directory(level15):
    source = real(level15, "VOL")
    names = ["volume_descriptor", *(f"file_pointer_{n}" for n in range(1, 5)), "text"]
    assert list(all_fields(source, "volume_descriptor")) == list(ceos.read_volume(source)) == names
    records = [(ceos_layout.RECORDS[name.rstrip("_1234")].codes, 360) for name in names]
    assert [(codes, len(record)) for codes, record in walked(source.path.read_bytes())] == records


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
