"""CEOS files that tests write, and their records walked without the code under test."""

import datetime as dt
import struct
from pathlib import Path

import numpy as np
from affine import Affine
from support.descriptions import described

from alos2tut.products import ceos, ceos_layout
from alos2tut.products.sources import FileSource, find_files
from alos2tut.simulation import ceos_writer
from alos2tut.simulation.ceos_description import ProductDescription
from alos2tut.simulation.ceos_writer import write_ceos_product

SCENE = "ALOS2015976960-140909"


LENGTHS = {
    "leader_descriptor": 720,
    "dataset_summary": 4096,
    "map_projection": 1620,
    "platform": 4680,
    "attitude": 16384,
    "radiometric": 9860,
    "quality": 1620,
    "facility_1": 325_000,
    "facility_2": 511_000,
    "facility_3": 3072,
    "facility_4": 728_000,
    "facility_5": 5000,
}


def source_of(path: Path) -> FileSource:
    return FileSource(path.name, path, path.stat().st_size)


def real(level15: Path, start: str) -> FileSource:
    return next(source for name, source in find_files(level15).folders[""].items() if name.startswith(start))


def walked(data: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    """Codes and bytes of all records, walked without the code under test."""
    records = []
    while data:
        _, *codes, length = struct.unpack_from(">IBBBBI", data)
        records.append((tuple(codes), data[:length]))
        data = data[length:]
    return records


def layout_of(kind: str) -> ceos_layout.Layout:
    """All fields of a record, those too that only the writer knows."""
    return {**ceos_layout.RECORDS[kind].layout, **ceos_writer.written_layout(kind)}


def all_fields(source: FileSource, first: str = "leader_descriptor") -> dict[str, dict]:
    """What the records of a leader or a volume directory say in all these fields."""
    found = {}
    for kind, record in ceos.walk_records(source, first):
        name = f"file_pointer_{len(found)}" if kind == "file_pointer" else kind
        found[name] = ceos_layout.unpack(record, layout_of(kind))
    return found


def full_prefix(code: str) -> np.dtype:
    """The prefix of a line with all these fields."""
    return ceos_layout.prefix_dtype(code, ceos_writer.written_layout(f"line {code}"))


def all_prefixes(source: FileSource) -> np.ndarray:
    """What all lines of an image say in all these fields."""
    image = ceos.ImageFile.open(source)
    dtype, data = full_prefix(image.sample_code), source.path.read_bytes()
    return np.ndarray((image.lines,), dtype, data, ceos_layout.DESCRIPTOR_BYTES, (image.record_bytes,))


def bilinear(coefficients: tuple[float, ...], u: float, v: float) -> tuple[float, float]:
    terms = np.array([1, u, v, u * v])
    return float(terms @ coefficients[:4]), float(terms @ coefficients[4:])


def quartic(coefficients: tuple[float, ...], u: float, v: float) -> float:
    return sum(c * u ** (4 - i // 5) * v ** (4 - i % 5) for i, c in enumerate(coefficients))


# --- products to read, and to try other readers on

RANDOM = np.random.default_rng(7)


NORTH_UP = Affine(2.5, 0, 510_000, 0, -2.5, 8_819_000)


ROTATED = Affine.translation(510_000, 8_819_000) * Affine.rotation(12) * Affine.scale(2.5, -2.5)


def describe(product_id: str = "UBSR1.5GUA", shape: tuple[int, int] = (40, 30), **changes) -> ProductDescription:
    values = {
        "scene_id": SCENE,
        "shape": shape,
        "spacing_m": (2.5, 2.5),
        "center_time": dt.datetime(2014, 9, 9, 4, 33, 47, 52_000),
        "incidence_deg": 40.573,
        "heading_deg": -12.5,
        "off_nadir_deg": 36.6,
    }
    if product_id[4:7] == "1.1":
        values |= {"center": (-11.05, -62.53)}
    else:
        values |= {"transform": NORTH_UP, "utm_zone": 20, "south": True}
    return described(product_id, **values | changes)


def pixels_for(description: ProductDescription) -> np.ndarray:
    if description.sample_code == "C*8":
        parts = RANDOM.standard_normal((2, *description.shape))
        return (parts[0] + 1j * parts[1]).astype(np.complex64)
    return RANDOM.integers(0, 65536, description.shape).astype(np.uint16)


def write(folder: Path, description: ProductDescription, *polarizations: str) -> dict[str, np.ndarray]:
    images = {pol: pixels_for(description) for pol in polarizations or ("HH",)}
    write_ceos_product(folder, description, {pol: [dn[:7], dn[7:8], dn[8:]] for pol, dn in images.items()})
    return images


def file_in(folder: Path, start: str) -> FileSource:
    return source_of(next(path for path in sorted(folder.iterdir()) if path.name.startswith(start)))
