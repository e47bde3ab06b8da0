"""Damage of any kind: a product that can be read, or an error of ours."""

import json
import math
import random
import re
import shutil
import struct
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
from support.packagings import PACKAGINGS, without_records
from support.products import ARCHIVES, archived

from alos2tut import Alos2TutError, open_product
from alos2tut.products import ceos_layout

# --- damage of any kind: a product that can be read, or our own error

#: what is damaged, and as what it is delivered; archives are damaged as a whole
FAMILIES = {
    "CEOS 1.1": ["CEOS 1.1", "CEOS 1.1 ScanSAR"],
    "CEOS 1.5": ["CEOS 1.5 G", "CEOS 1.5 R"],
    "CEOS 2.1": ["CEOS 2.1", "CEOS 2.1 south west"],
    "GeoTIFF": ["GeoTIFF 1.1", "GeoTIFF 2.1", "GeoTIFF 2.1 big"],
    "Level 2.2": ["2.2"],
    "mosaic": ["mosaic", "mosaic ENVI", "forest map"],
    "zip": ["CEOS 2.1", "GeoTIFF 2.1", "mosaic ENVI"],
    "tar": ["CEOS 2.1", "GeoTIFF 2.1", "mosaic ENVI"],
}


_ODD_TEXTS = [
    "",
    *["0", "-1", "1", "61", "nan", "inf", "1e308", "-1e308", "1e-300", "1_0"],
    "9" * 16,
    "*" * 9,
    "\0",
    "\xff",
]


_ODD_NUMBERS = [0, 1, 2, 3, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One place of a file is changed, or its length."""
    data = bytearray(content)
    # what matters lies near the beginning or the end
    near = draw.choice([100, 1000, len(data) + 1])
    place = min(draw.randrange(near) if draw.random() < 0.8 else len(data) - draw.randrange(near), len(data) - 1)
    place, length = max(place, 0), draw.choice([1, 4, 100, 3000])
    kind = draw.choice(
        ["flip", "digit", "number", "number", "field", "field", "field", "cut", "grow", "zero", "repeat"]
    )
    if kind == "field":
        return _with_odd_field(data, draw) or _with_odd_text(data, draw)
    if kind == "cut":
        return bytes(draw.choice([data[:place], data[:place] + data[place + length :], data[: len(data) - length]]))
    if kind == "grow":
        return bytes(data[:place] + bytes(length) + data[place:])
    if kind == "repeat":
        return bytes(data[: place + length] + data[place:])
    if kind == "zero":
        data[place : place + length] = bytes(len(data[place : place + length]))
    elif kind == "number" and len(data) > 16:
        form = draw.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
        size = struct.calcsize(form)
        at = min(place, len(data) - size) & ~1
        struct.pack_into(form, data, at, draw.choice(_ODD_NUMBERS) % 256**size)
    elif data:
        data[place] = draw.randrange(256) if kind == "flip" else ord(draw.choice("0123456789 -.eE+<>&"))
    return bytes(data)


def _with_odd_field(data: bytearray, draw: random.Random) -> bytes | None:
    """With an odd text in a field of a CEOS record, if there is one."""
    known = (record for record in ceos_layout.RECORDS.values() if record.layout)
    there = [record for record in known if data.find(bytes(record.codes)) > 3]
    if not there or bytes(data[:4]) == b"<?xm":
        return None
    record = draw.choice(there)
    start, form = draw.choice(list(record.layout.values()))
    width = ceos_layout.parse_form(form).width
    at = data.find(bytes(record.codes)) - 4 + start - 1
    text = draw.choice([*_ODD_TEXTS, "9" * width])[:width].rjust(width).encode("latin-1")
    return bytes(data[:at] + text + data[at + width :])


def _with_odd_text(data: bytearray, draw: random.Random) -> bytes:
    """With another number somewhere in a text."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data)))
    if not numbers:
        return bytes(data)
    found = draw.choice(numbers)
    return bytes(data[: found.start()] + draw.choice(_ODD_TEXTS).encode("latin-1") + data[found.end() :])


def with_damaged_files(files: dict[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """One to four of a product's files are damaged; now and then one is missing, renamed or another's."""
    files = dict(files)
    for _ in range(draw.randint(1, 4)):
        name, other = draw.choice(list(files)), draw.choice(list(files))
        kind = draw.random()
        if kind > 0.06:
            files[name] = damaged(files[name], draw)
        elif kind > 0.04:
            files[name] = files[other]
        elif kind > 0.02:
            at = draw.randrange(len(name))
            files[name[:at] + draw.choice("HV0189.-_AD") + name[at + 1 :]] = files.pop(name)
        elif len(files) > 1:
            del files[name]
    return files


def write_damaged(family: str, intact: list[dict[str, bytes]], folder: Path, draw: random.Random) -> Path:
    """A damaged product of a family in a new folder; what to open."""
    files, inside = draw.choice(intact), folder / "product"
    if family not in ("zip", "tar"):
        files = with_damaged_files(files, draw)
    inside.mkdir(parents=True)
    for name, content in files.items():
        (inside / name).write_bytes(content)
    if family not in ("zip", "tar"):
        return inside
    archive = archived(inside, folder / draw.choice([name for name in ARCHIVES if family in name]), inner="inner")
    content = archive.read_bytes()
    for _ in range(draw.randint(1, 3)):
        content = damaged(content, draw)
    archive.write_bytes(content)
    return archive


def outcome(path: Path) -> str:
    """Whether a product is "read", all of it, or "refused"."""
    try:
        product = open_product(path)
        json.dumps(product.to_dict(), allow_nan=False)
        assert product._repr_html_() and repr(product)
        for polarization in product.polarizations:
            assert product.read_db(looks=2, polarization=polarization).size == math.prod(
                -(-side // 2) for side in product.shape
            )
        for layer in product.layers:
            assert product.read_layer(layer).shape == product.shape
        if product.polarizations and product.incidence_source:
            product.read_power(quantity="gamma0" if product.quantity == "sigma0" else "sigma0")
    except Alos2TutError:
        return "refused"
    return "read"


def open_damaged(family: str, cases: int, seed: int) -> tuple[Counter[str], float, float]:
    """Open damaged products of a family, in a process of its own.

    Returns the outcomes, the seconds that the slowest took, and the process's largest memory in MB.
    """
    outcomes, slowest = Counter[str](), 0.0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as holder:
        intact = []
        for n, packaging in enumerate(FAMILIES[family]):
            folder = PACKAGINGS[packaging](Path(holder) / f"intact{n}")
            for leader in folder.glob("LED-*"):
                # a megabyte that nobody reads
                without_records(leader, "facility_1")
            intact.append({path.name: path.read_bytes() for path in folder.iterdir()})
        for case in range(cases):
            folder, started = Path(holder) / "damaged", time.monotonic()
            try:
                outcomes[outcome(write_damaged(family, intact, folder, random.Random(f"{seed}-{case}")))] += 1
            except Exception as error:
                raise AssertionError(f"{family}, seed {seed}, case {case}: {error!r}") from error
            shutil.rmtree(folder)
            slowest = max(slowest, time.monotonic() - started)
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return outcomes, slowest, int(peak[1]) / 1000 if peak else 0.0


@pytest.fixture(scope="module")
def process() -> Iterator[Pool]:
    """Another process: one that hangs or fills memory is noticed, and ended."""
    with get_context("spawn").Pool(1) as pool:
        yield pool


def check_damaged(process: Pool, family: str, cases: int, seed: int) -> None:
    outcomes, slowest, peak_mb = process.apply_async(open_damaged, (family, cases, seed)).get(timeout=60 + cases)
    # damage that matters and damage that does not both occur; of a zip so small all checksums are compared
    assert outcomes["refused"] > cases / 20 and (family == "zip" or outcomes["read"] > cases / 20)
    assert slowest < 20 and peak_mb < 500


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_products_are_read_or_refused(process, family):
    check_damaged(process, family, cases=38, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_many_damaged_products_are_read_or_refused(process, family):
    check_damaged(process, family, cases=1250, seed=2)
