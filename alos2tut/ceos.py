"""The CEOS files of ALOS-2 products: the layout once, as tables, used to read and to write.

A CEOS file is a sequence of records, each with a 12-byte header that states its length. Numbers in the ASCII records
are right-justified text. Positions are 1-based, as in JAXA's "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product
format description" (rev. F); they were checked on a real Level 1.5 product.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Alos2TutError

#: field → (first byte, format); formats: A text, I whole number, F number, with width (and decimals when written)
Layout = Mapping[str, tuple[int, str]]

HEADER = struct.Struct(">IBBBBI")
DESCRIPTOR_BYTES = 720

#: bytes of the prefix before the pixels of a line, by the pixels' type
PREFIX_BYTES = {"IU2": 192, "C*8": 544}

IMAGE_DESCRIPTOR: Layout = {
    "software": (33, "A12"),
    "file_number": (45, "I4"),
    "file_name": (49, "A16"),
    "formats": (65, "A48"),
    "line_records": (181, "I6"),
    "record_bytes": (187, "I6"),
    "bits_per_sample": (217, "I4"),
    "samples_per_group": (221, "I4"),
    "bytes_per_group": (225, "I4"),
    "channels": (233, "I4"),
    "lines": (237, "I8"),
    "left_border": (245, "I4"),
    "pixels": (249, "I8"),
    "right_border": (257, "I4"),
    "top_border": (261, "I4"),
    "bottom_border": (265, "I4"),
    "interleaving": (269, "A4"),
    "records_per_line": (273, "I2"),
    "channel_records_per_line": (275, "I2"),
    "prefix_bytes": (277, "I4"),
    "data_bytes": (281, "I8"),
    "suffix_bytes": (289, "I4"),
    "locators": (297, "A104"),
    "sample_format": (401, "A28"),
    "sample_code": (429, "A4"),
    "left_fill_bits": (433, "I4"),
    "right_fill_bits": (437, "I4"),
    "maximum": (441, "I8"),
}
LEADER_DESCRIPTOR: Layout = {
    "software": (33, "A12"),
    "file_number": (45, "I4"),
    "file_name": (49, "A16"),
    "formats": (65, "A48"),
    "summary_count": (181, "I6"),
    "summary_bytes": (187, "I6"),
    "projection_count": (193, "I6"),
    "projection_bytes": (199, "I6"),
    "platform_count": (205, "I6"),
    "platform_bytes": (211, "I6"),
    "attitude_count": (217, "I6"),
    "attitude_bytes": (223, "I6"),
    "radiometric_count": (229, "I6"),
    "radiometric_bytes": (235, "I6"),
    "quality_count": (253, "I6"),
    "quality_bytes": (259, "I6"),
}
DATASET_SUMMARY: Layout = {
    "sequence": (13, "I4"),
    "scene_id": (21, "A32"),
    "center_time": (69, "A32"),
    "center_latitude_deg": (117, "F16.7"),
    "center_longitude_deg": (133, "F16.7"),
    "heading_deg": (149, "F16.7"),
    "ellipsoid": (165, "A16"),
    "semi_major_km": (181, "F16.7"),
    "semi_minor_km": (197, "F16.7"),
    "center_line": (325, "I8"),
    "center_pixel": (333, "I8"),
    "mission": (397, "A16"),
    "sensor": (413, "A32"),
    "orbit": (445, "I8"),
    "incidence_deg": (485, "F8.3"),
    "wavelength_m": (501, "F16.9"),
    "level": (1095, "A16"),
    "product_type": (1111, "A32"),
    "azimuth_looks": (1175, "F16.7"),
    "range_looks": (1191, "F16.7"),
    "range_resolution_m": (1351, "F16.7"),
    "azimuth_resolution_m": (1367, "F16.7"),
    "orbit_direction": (1535, "A8"),
    "line_spacing_m": (1687, "F16.7"),
    "pixel_spacing_m": (1703, "F16.7"),
    "off_nadir_deg": (1839, "F16.7"),
    "beam": (1855, "I4"),
}
MAP_PROJECTION: Layout = {
    "descriptor": (29, "A32"),
    "pixels": (61, "I16"),
    "lines": (77, "I16"),
    "line_spacing_m": (93, "F16.7"),
    "pixel_spacing_m": (109, "F16.7"),
    "projection": (413, "A32"),
    "projection_name": (445, "A32"),
    "utm_zone": (477, "A4"),
    "false_easting_m": (481, "F16.5"),
    "false_northing_m": (497, "F16.5"),
    **{
        # corners are the centres of the corner pixels, in the order TL, TR, BR, BL
        f"{corner}_{axis}": (start + 32 * i + 16 * j, "F16.7")
        for start, axes in ((945, ("northing_km", "easting_km")), (1073, ("latitude_deg", "longitude_deg")))
        for i, corner in enumerate(("top_left", "top_right", "bottom_right", "bottom_left"))
        for j, axis in enumerate(axes)
    },
}
RADIOMETRIC: Layout = {
    "sequence": (13, "I4"),
    "channels": (17, "I4"),
    "calibration_factor_db": (21, "F16.7"),
}
VOLUME_DESCRIPTOR: Layout = {
    "standard": (17, "A12"),
    "software": (33, "A12"),
    "volume_id": (61, "A16"),
    "volume_set": (77, "A16"),
    "pointers": (161, "I4"),
    "records": (165, "I4"),
}
FILE_POINTER: Layout = {
    "file_number": (17, "I4"),
    "file_name": (21, "A16"),
    "file_class": (37, "A28"),
    "class_code": (65, "A4"),
    "data_type": (69, "A28"),
    "data_code": (97, "A4"),
    "records": (101, "I8"),
    "first_bytes": (109, "I8"),
    "longest_bytes": (117, "I8"),
    "length_type": (125, "A12"),
    "length_code": (137, "A4"),
}
TEXT: Layout = {"product": (17, "A40"), "process": (57, "A60"), "tape": (117, "A40"), "scene": (157, "A40")}

#: (subtype 1, type, subtype 2, subtype 3) in record headers, and the record's length
RECORDS: dict[str, tuple[tuple[int, int, int, int], Layout, int]] = {
    "image_descriptor": ((50, 192, 18, 18), IMAGE_DESCRIPTOR, DESCRIPTOR_BYTES),
    "leader_descriptor": ((11, 192, 18, 18), LEADER_DESCRIPTOR, DESCRIPTOR_BYTES),
    "trailer_descriptor": ((63, 192, 18, 18), {"software": (33, "A12"), "file_name": (49, "A16")}, DESCRIPTOR_BYTES),
    "volume_descriptor": ((192, 192, 18, 18), VOLUME_DESCRIPTOR, 360),
    "file_pointer": ((219, 192, 18, 18), FILE_POINTER, 360),
    "text": ((18, 192, 18, 18), TEXT, 360),
    "dataset_summary": ((18, 10, 18, 20), DATASET_SUMMARY, 4096),
    "map_projection": ((18, 20, 18, 20), MAP_PROJECTION, 1620),
    "platform": ((18, 30, 18, 20), {}, 4680),
    "attitude": ((18, 40, 18, 20), {}, 16384),
    "radiometric": ((18, 50, 18, 20), RADIOMETRIC, 9860),
    "quality": ((18, 60, 18, 20), {}, 1620),
}
#: sequence, subtypes and length of every line's header, then the fields that say where the line lies
LINE_HEADER_TYPE = (50, 11, 18, 20)
_LINE_FIELDS: dict[str, tuple[int, str]] = {
    "sequence": (1, ">u4"),
    "type": (5, "4u1"),
    "length": (9, ">u4"),
    "line": (13, ">u4"),
    "index": (17, ">u4"),
    "left_fill": (21, ">u4"),
    "data_pixels": (25, ">u4"),
    "right_fill": (29, ">u4"),
    "year": (37, ">u4"),
    "day_of_year": (41, ">u4"),
    "millisecond": (45, ">u4"),
    "channel": (49, ">u2"),
    "transmitted": (53, ">u2"),
    "received": (55, ">u2"),
    # signed: southern and western angles are negative; millionths of a degree, at the first, centre and last pixel
    "latitudes": (133, "3>i4"),
    "longitudes": (145, "3>i4"),
}


def unpack(record: bytes, layout: Layout) -> dict[str, Any]:
    """Fields of an ASCII record; a blank, cut or unreadable one is None.

    Args:
        record: the record's bytes, header included.
        layout: the record's fields.
    """
    values: dict[str, Any] = {}
    for name, (start, form) in layout.items():
        width = int(form[1:].split(".")[0])
        text = record[start - 1 : start - 1 + width].decode("ascii", errors="replace").strip()
        values[name] = _converted(text, form[0])
    return values


def _converted(text: str, kind: str) -> Any:
    if not text:
        return None
    if kind == "A":
        return text
    try:
        value = int(text) if kind == "I" else float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def pack(kind: str, sequence: int, values: Mapping[str, Any], *, length: int | None = None) -> bytes:
    """A record of :data:`RECORDS` with these fields; everything else is blank.

    Raises:
        ValueError: a value that does not fit its field.
    """
    codes, layout, standard = RECORDS[kind]
    length = length or standard
    record = bytearray(b" " * length)
    record[:12] = HEADER.pack(sequence, *codes, length)
    if kind.endswith("descriptor"):
        record[12:14] = b"A "
        record[16:28] = b"CEOS-SAR    "
        record[28:32] = b" A A"
    for name, value in values.items():
        start, form = layout[name]
        width, _, decimals = form[1:].partition(".")
        align = "<" if form[0] == "A" else ">"
        text = f"{value:{align}{width}{f'.{decimals}f' if form[0] == 'F' else ''}}"
        if len(text) > int(width):
            raise ValueError(f"{value!r} does not fit {name} ({form})")
        record[start - 1 : start - 1 + int(width)] = text.encode("ascii")
    return bytes(record)


def read_leader(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a leader file that we know, by name; those that are absent are left out.

    Records are found by walking their headers, never at fixed places: their number varies between levels.

    Raises:
        Alos2TutError: a file that is no leader, or one that ends inside a record.
    """
    data = path.read_bytes()
    names = {codes: name for name, (codes, _, _) in RECORDS.items()}
    records: dict[str, dict[str, Any]] = {}
    position = 0
    while position + HEADER.size <= len(data):
        _, *codes, length = HEADER.unpack_from(data, position)
        name = names.get(tuple(codes))
        if position == 0 and name != "leader_descriptor":
            raise Alos2TutError("does not begin like a CEOS leader file", where=path)
        if length < HEADER.size or position + length > len(data):
            raise Alos2TutError(
                f"is truncated: the record at byte {position} states {length} bytes, {len(data) - position} are left",
                where=path,
                remedy="Download the product again.",
            )
        if name is not None and name not in records:
            records[name] = unpack(data[position : position + length], RECORDS[name][1])
        position += length
    if not records:
        raise Alos2TutError("is empty or no CEOS leader file", where=path)
    return records


def line_dtype(pixels: int, record_bytes: int, prefix_bytes: int = PREFIX_BYTES["IU2"]) -> np.dtype[Any]:
    """One line record of a Level 1.5 or 2.1 image as a NumPy structure; ``dn`` holds the pixels."""
    fields = {**_LINE_FIELDS, "dn": (prefix_bytes + 1, f"({pixels},)>u2")}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for _, form in fields.values()],
            "offsets": [start - 1 for start, _ in fields.values()],
            "itemsize": record_bytes,
        }
    )


@dataclass(frozen=True)
class ImageFile:
    """A CEOS image file whose sizes were checked; pixels are mapped, not loaded."""

    path: Path
    lines: int
    pixels: int
    record_bytes: int
    prefix_bytes: int
    software: str | None

    @classmethod
    def open(cls, path: Path) -> ImageFile:
        """Read and check the descriptor.

        Raises:
            Alos2TutError: no image descriptor, another sample type, sizes that contradict each other, or fewer bytes
                than the descriptor promises.
        """
        try:
            with open(path, "rb") as handle:
                head = handle.read(DESCRIPTOR_BYTES)
        except OSError as error:
            raise Alos2TutError(f"cannot be read ({error.strerror})", where=path) from None
        if len(head) < DESCRIPTOR_BYTES or tuple(head[4:8]) != RECORDS["image_descriptor"][0]:
            raise Alos2TutError("does not begin with a CEOS image descriptor", where=path)
        fields = unpack(head, IMAGE_DESCRIPTOR)
        if fields["sample_code"] != "IU2":
            raise Alos2TutError(
                f"holds samples of type {fields['sample_code']}, not 16-bit amplitudes (IU2)",
                where=path,
                remedy="Levels 1.5 and 2.1 are read; complex Level 1.1 is not.",
            )
        sizes = {name: fields[name] for name in ("lines", "pixels", "record_bytes", "prefix_bytes")}
        missing = [name for name, value in sizes.items() if not value or value < 0]
        if missing:
            raise Alos2TutError(f"the descriptor's {missing[0]} is missing or not positive", where=path)
        image = cls(path, **sizes, software=fields["software"])
        image._check_sizes()
        return image

    def _check_sizes(self) -> None:
        if self.prefix_bytes < PREFIX_BYTES["IU2"]:
            raise Alos2TutError(
                f"the descriptor's prefix_bytes is {self.prefix_bytes}, a line's prefix has {PREFIX_BYTES['IU2']}",
                where=self.path,
            )
        if self.record_bytes < self.prefix_bytes + 2 * self.pixels:
            raise Alos2TutError(
                f"a line of {self.record_bytes} bytes cannot hold {self.prefix_bytes} + 2 × {self.pixels} bytes",
                where=self.path,
            )
        expected, actual = DESCRIPTOR_BYTES + self.lines * self.record_bytes, self.path.stat().st_size
        if actual < expected:
            raise Alos2TutError(
                f"is truncated: {expected - actual} of {expected} bytes are missing "
                f"({self.lines} lines × {self.record_bytes} bytes after the descriptor)",
                where=self.path,
                remedy="Download the product again.",
            )

    def records(self) -> NDArray[Any]:
        """All line records, (lines,) of :func:`line_dtype`, mapped."""
        dtype = line_dtype(self.pixels, self.record_bytes, self.prefix_bytes)
        return np.memmap(self.path, dtype=dtype, mode="r", offset=DESCRIPTOR_BYTES, shape=(self.lines,))

    def read(self, rows: slice, cols: slice) -> NDArray[np.uint16]:
        """Digital numbers of a window, uint16 in native byte order."""
        return self.records()["dn"][rows, cols].astype(np.uint16)


def read_summary(path: Path) -> dict[str, str]:
    """``summary.txt``: lines of the form ``Key="value"``."""
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key.strip(): value.strip().strip('"') for key, equals, value in pairs if equals}
