"""Products of ALOS and ALOS-4, made of those of ALOS-2 that tests write, by what readers of real ones say of these."""

import struct
from pathlib import Path

import numpy as np
from support.packagings import image_of, leader_of, write_field

#: by satellite: how leaders call it, bytes before pixels at Level 1.1, units of the slant range in a metre there
KINDS = {"ALOS": ("ALOS", 412, 1), "ALOS4": ("ALOS4", 800, 100)}
#: identities in the place of that of Levels 1.1, 1.5 and 2.1 of ALOS-2, descending
ALOS_11, ALOS_15 = "ALPSRP237752900-H1.1__D", "ALPSRP237752900-H1.5_UD"
ALOS4_11 = "ALOS40182900181018UWD-RD0107-1.1__-"
ALOS4_15, ALOS4_21 = "ALOS40182900181018FWDPRD0105-1.5GU-", "ALOS40182900181018UWDPRD0107-2.1GU-"


def turned_into(folder: Path, identity: str) -> Path:
    """Make a product of ALOS-2 in a folder one of this name, with the records and lines of its satellite."""
    old = leader_of(folder).name.removeprefix("LED-")
    mission, prefix_bytes, per_metre = KINDS["ALOS4" if identity.startswith("ALOS4") else "ALOS"]
    for path in [*folder.iterdir()]:
        path.rename(folder / path.name.replace(old, identity))
    scene, _, product = identity.rpartition("-") if mission == "ALOS" else (identity[:28], "-", identity[29:])
    summary = folder / "summary.txt"
    text = summary.read_text().replace(old, identity).replace(old[:21], scene).replace(old[22:], product)
    summary.write_text(text.replace('Lbi_Satellite="ALOS2"', f'Lbi_Satellite="{mission}"'))
    leader = leader_of(folder)
    data = bytearray(leader.read_bytes())
    data[720 + 396 : 720 + 412] = mission.ljust(16).encode()
    data[720 + 20 : 720 + 52] = scene.ljust(32).encode()
    leader.write_bytes(data)
    is_slc = "1.1" in product
    if mission == "ALOS4":
        summary.rename(folder / f"summary-{identity}.txt")
        for name in ("orbit_direction", *(("line_spacing_m", "pixel_spacing_m") if is_slc else ())):
            write_field(leader, "dataset_summary", name, "")
    if is_slc:
        for image in folder.glob("IMG-*"):
            _put_prefixes(image, prefix_bytes, per_metre)
    return folder


def _put_prefixes(image: Path, prefix_bytes: int, per_metre: int) -> None:
    """Cut or fill what stands before the pixels of lines, which the tests write with 544 bytes."""
    data = image.read_bytes()
    old_bytes = int(data[186:192])
    lines = np.frombuffer(data, np.uint8, offset=720).reshape(-1, old_bytes)
    kept = min(544, prefix_bytes)
    prefixes = np.zeros((len(lines), prefix_bytes), np.uint8)
    prefixes[:, :kept] = lines[:, :kept]
    record_bytes = old_bytes - 544 + prefix_bytes
    prefixes[:, 8:12] = np.frombuffer(struct.pack(">I", record_bytes), np.uint8)
    ranges = prefixes[:, 116:120].copy().view(">u4") * per_metre
    prefixes[:, 116:120] = ranges.astype(">u4").view(np.uint8)
    head = bytearray(data[:720])
    head[186:192], head[276:280] = f"{record_bytes:6d}".encode(), f"{prefix_bytes:4d}".encode()
    image.write_bytes(bytes(head) + np.concatenate([prefixes, lines[:, 544:]], axis=1).tobytes())
    volume = next(image.parent.glob("VOL-*"))
    volume.write_bytes(volume.read_bytes().replace(f"{old_bytes:8d}".encode(), f"{record_bytes:8d}".encode()))


def pixels_of(folder: Path, polarization: str, kind: str) -> np.ndarray:
    """Pixels of an image by its own descriptor's lines, read by NumPy alone."""
    data = image_of(folder, polarization).read_bytes()
    lines, record_bytes, prefix = int(data[236:244]), int(data[186:192]), int(data[276:280])
    records = np.frombuffer(data, np.uint8, offset=720).reshape(lines, record_bytes)
    return np.ascontiguousarray(records[:, prefix:]).view(kind)
