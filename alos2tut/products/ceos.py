"""The CEOS files of ALOS-2 products: the layout once, as tables, and how they are read.

A CEOS file is a sequence of records, each with a 12-byte header that states its length. Numbers in the ASCII records
are right-justified text. Positions are 1-based, as in JAXA's "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product
format description" (rev. F). Those of the volume, leader and trailer files and of the image descriptor were checked on
a real Level 1.5 product; those of the line prefixes are as described there, no real line was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..core.errors import Alos2TutError
from .ceos_layout import (
    _FACILITY_CODES,
    DESCRIPTOR_BYTES,
    FACILITY,
    HEADER,
    IMAGE_DESCRIPTOR,
    PREFIX_BYTES,
    RECORDS,
    SAMPLE_DTYPES,
    TRAILER_DESCRIPTOR,
    prefix_dtype,
    unpack,
)
from .sources import FileSource

#: a real leader has 1.6 MB, in a dozen records
LARGEST_LEADER_BYTES = 64 * 2**20
_MOST_RECORDS = 1000
_LARGEST_SUMMARY_BYTES = 2**20
#: no satellite sees so far: ALOS-4 states centimetres (GMTSAR, preproc/ALOS_preproc/ALOS_pre_process_SLC)
_FARTHEST_M = 10_000_000


def read_leader(source: FileSource) -> dict[str, dict[str, Any]]:
    """The records of a leader file that we know, by their names in :data:`RECORDS`; absent ones are left out.

    They are found by walking their headers: their number varies between levels. Of several of a kind the first counts.

    Raises:
        Alos2TutError: a file that is no leader, larger than 64 MiB, or with a record that does not fit into it.
    """
    return _known_records(source, "leader_descriptor")


def read_volume(source: FileSource) -> dict[str, dict[str, Any]]:
    """The records of a volume directory: ``volume_descriptor``, ``file_pointer_1`` …, ``text``.

    Raises:
        Alos2TutError: as :func:`read_leader`.
    """
    return _known_records(source, "volume_descriptor")


def read_trailer(source: FileSource) -> dict[str, dict[str, Any]]:
    """The trailer's descriptor, as ``trailer_descriptor``; what follows it are small images without headers.

    Raises:
        Alos2TutError: no trailer, or fewer bytes than its first image needs.
    """
    fields = unpack(_descriptor(source, "trailer_descriptor", "trailer"), TRAILER_DESCRIPTOR)
    if fields["images"] and fields["image_bytes"]:
        _check_length(source, DESCRIPTOR_BYTES + fields["image_bytes"], "its first image")
    return {"trailer_descriptor": fields}


def read_image_descriptor(source: FileSource) -> dict[str, Any]:
    """The fields of an image file's descriptor alone, unchecked; the lines may be missing.

    Raises:
        Alos2TutError: no CEOS image file.
    """
    return unpack(_descriptor(source, "image_descriptor", "image"), IMAGE_DESCRIPTOR)


def read_summary(source: FileSource) -> dict[str, str]:
    """``summary.txt``: lines of the form ``Key="value"``.

    Raises:
        Alos2TutError: bytes that are no UTF-8 text, or not a line of that form; more than 1 MiB (a real one has 2 kB).
    """
    try:
        text = source.read_all(limit=_LARGEST_SUMMARY_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Alos2TutError(f"is no UTF-8 text (byte {error.start:,})", where=source.where) from None
    pairs = [line.partition("=") for line in text.splitlines()]
    if "\0" in text or not any(equals for _, equals, _ in pairs):
        raise Alos2TutError('holds no lines of the form Key="value"', where=source.where)
    return {key.strip(): value.strip().strip('"') for key, equals, value in pairs if equals}


def _descriptor(source: FileSource, kind: str, what: str) -> bytes:
    head = source.read(0, DESCRIPTOR_BYTES)
    if len(head) < DESCRIPTOR_BYTES or tuple(head[4:8]) != RECORDS[kind].codes:
        raise Alos2TutError(f"does not begin with a CEOS {what} descriptor", where=source.where)
    return head


def _known_records(source: FileSource, first: str) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for name, record in walk_records(source, first):
        if name is None:
            continue
        fields = unpack(record, RECORDS[name].layout)
        if name == "file_pointer":
            name = f"file_pointer_{sum(known.startswith('file_pointer_') for known in records) + 1}"
        records.setdefault(name, fields)
    return records


def walk_records(source: FileSource, first: str) -> Iterator[tuple[str | None, bytes]]:
    """All records of a leader file or a volume directory, in their order.

    Args:
        source: the file.
        first: the kind of record it must begin with, ``leader_descriptor`` or ``volume_descriptor``.

    Yields:
        The record's name in :data:`RECORDS`, None if it is not there, and its bytes, header included.

    Raises:
        Alos2TutError: a file that begins otherwise, is larger than 64 MiB, has more than 1000 records, or one that
            does not fit into it.
    """
    data = source.read_all(limit=LARGEST_LEADER_BYTES)
    if len(data) < HEADER.size or tuple(data[4:8]) != RECORDS[first].codes:
        what = first.removesuffix("_descriptor")
        raise Alos2TutError(f"does not begin like a CEOS {what} file", where=source.where)
    position = count = 0
    while position < len(data):
        left = len(data) - position
        _, *codes, length = HEADER.unpack_from(data, position) if left >= HEADER.size else (0, 0, 0, 0, 0, HEADER.size)
        count += 1
        problem = None
        if count > _MOST_RECORDS:
            problem = f"is damaged: it has more than {_MOST_RECORDS} records"
        elif length < HEADER.size:
            problem = f"is damaged: the record at byte {position} states a length of {length} bytes"
        elif length > left:
            problem = f"is truncated: the record at byte {position} states {length} bytes, {left} are left"
        if problem:
            raise Alos2TutError(problem, where=source.where, remedy="Download the product again.")
        record = data[position : position + length]
        yield _name_of(tuple(codes), record), record
        position += length


def _name_of(codes: tuple[int, ...], record: bytes) -> str | None:
    if codes == _FACILITY_CODES:
        name = f"facility_{unpack(record, FACILITY)['sequence']}"
        return name if name in RECORDS else None
    return next((name for name, known in RECORDS.items() if known.codes == codes), None)


def _check_length(source: FileSource, expected: int, needed_by: str) -> None:
    if source.size < expected:
        raise Alos2TutError(
            f"is truncated: {expected - source.size} of {expected} bytes are missing ({needed_by})",
            where=source.where,
            remedy="Download the product again.",
        )


@dataclass(frozen=True)
class ImageFile:
    """A CEOS image file whose sizes were checked; pixels stay on disk until they are asked for.

    ``sample_code`` is ``IU2`` (16-bit amplitudes: Levels 1.5, 2.1) or ``C*8`` (complex numbers: Level 1.1).
    """

    source: FileSource
    lines: int
    pixels: int
    record_bytes: int
    prefix_bytes: int
    suffix_bytes: int
    sample_code: str
    software: str | None

    @classmethod
    def open(cls, source: FileSource) -> ImageFile:
        """Read and check the descriptor.

        Raises:
            Alos2TutError: no image descriptor, another sample type, sizes that contradict each other, or fewer bytes
                than the descriptor promises.
        """
        fields = read_image_descriptor(source)
        if fields["sample_code"] not in SAMPLE_DTYPES:
            raise Alos2TutError(
                f"the descriptor's sample_code is {fields['sample_code']}, neither IU2 (16-bit amplitudes) nor C*8 "
                "(complex numbers)",
                where=source.where,
            )
        sizes = {name: fields[name] for name in ("lines", "pixels", "record_bytes", "prefix_bytes")}
        missing = [name for name, value in sizes.items() if not value or value < 0]
        if missing:
            raise Alos2TutError(f"the descriptor's {missing[0]} is missing or not positive", where=source.where)
        image = cls(
            source,
            **sizes,
            suffix_bytes=fields["suffix_bytes"] or 0,
            sample_code=fields["sample_code"],
            software=fields["software"],
        )
        image._check_sizes(fields["data_bytes"])
        return image

    def _check_sizes(self, data_bytes: int | None) -> None:
        least = PREFIX_BYTES[self.sample_code]
        needed = self.dtype.itemsize * self.pixels
        if self.prefix_bytes < least:
            problem = f"the descriptor's prefix_bytes is {self.prefix_bytes}, a line's prefix has {least}"
        elif self.suffix_bytes < 0:
            problem = f"the descriptor's suffix_bytes is {self.suffix_bytes}"
        elif data_bytes is not None and data_bytes < needed:
            problem = f"the descriptor's data_bytes is {data_bytes}, but its {self.pixels} pixels need {needed}"
        elif self.record_bytes < self.prefix_bytes + needed + self.suffix_bytes:
            problem = (
                f"the descriptor's record_bytes is {self.record_bytes}; a line cannot hold {self.prefix_bytes} + "
                f"{self.dtype.itemsize} × {self.pixels} bytes"
            )
        else:
            expected = DESCRIPTOR_BYTES + self.lines * self.record_bytes
            _check_length(self.source, expected, f"{self.lines} lines × {self.record_bytes} bytes after the descriptor")
            return
        raise Alos2TutError(problem, where=self.source.where)

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels."""
        return self.lines, self.pixels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a pixel as it lies in the file: big-endian, ``>u2`` or ``>c8``."""
        return SAMPLE_DTYPES[self.sample_code]

    def slant_range_m(
        self, rows: slice, cols: NDArray[Any], range_spacing_m: float | None = None
    ) -> NDArray[np.float64]:
        """Metres to pixels of consecutive lines as these state them, (rows, columns).

        Args:
            rows: lines, from 0 on.
            cols: column numbers.
            range_spacing_m: of Level 1.1, whose lines state the range of the first pixel only.
        """
        stated = self.prefixes(np.arange(rows.start, rows.stop))["slant_range_m"].astype(np.float64)
        stated[stated > _FARTHEST_M] *= 0.01
        if stated.ndim == 1:
            return np.asarray(stated[:, None] + cols[None, :] * (range_spacing_m or 0.0))
        return geometry.along_line(stated, cols, self.pixels)

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """The pixels of a window in consecutive pieces of ``step`` lines; the last one may be shorter.

        They are 0, which is no data, where a line says that it is invalid, or fills it from the left or the right.

        Each piece may be a view of a buffer that the next one overwrites: be done with it, or copy it. Memory holds
        one piece, or twice as much.

        Args:
            rows: lines, from 0 on; within the image.
            cols: pixels, likewise.
            step: lines in a piece, at least 1.

        Yields:
            (lines, pixels) of :attr:`dtype`: big-endian.

        Raises:
            Alos2TutError: the file cannot be read, or it ends early.
        """
        is_wide = 2 * (cols.stop - cols.start) * self.dtype.itemsize >= self.record_bytes
        return (self._whole_lines if is_wide else self._parts_of_lines)(rows, cols, min(step, rows.stop - rows.start))

    def _parts_of_lines(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """What is wanted of each line. A memory map is little faster, but a file cut meanwhile ends the process."""
        pixels = np.empty((step, cols.stop - cols.start), dtype=self.dtype)
        start = DESCRIPTOR_BYTES + self.prefix_bytes + cols.start * self.dtype.itemsize
        fills = self._fills
        new = rows.start + np.flatnonzero(fills[rows, 0] < 0)
        if new.size:
            fills[new] = self.fills(self.prefixes(new))
        with self.source.opened() as file:
            for first in range(rows.start, rows.stop, step):
                lines = np.arange(first, min(first + step, rows.stop))
                file.read_rows(pixels[: len(lines)].view(np.uint8), start + lines * self.record_bytes)
                yield self._cleared(pixels[: len(lines)], fills[lines], cols)

    def _whole_lines(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        buffer = np.empty((step, self.record_bytes), dtype=np.uint8)
        strides = (self.record_bytes, self.dtype.itemsize)
        pixels: NDArray[Any] = np.ndarray((step, self.pixels), self.dtype, buffer, self.prefix_bytes, strides)
        prefixes: NDArray[Any] = np.ndarray(step, prefix_dtype(self.sample_code), buffer, 0, strides[:1])
        # whether they are 0 does not depend on the order of their bytes, which takes time
        marks = [prefixes[name].view("u4") for name in self._marks(prefixes)]
        with self.source.opened() as file:
            for first in range(rows.start, rows.stop, step):
                count = min(step, rows.stop - first)
                file.readinto(buffer[:count], DESCRIPTOR_BYTES + first * self.record_bytes)
                strip = pixels[:count, cols]
                if any(mark[:count].any() for mark in marks):
                    fills = self._fills[first : first + count] = self.fills(prefixes[:count])
                    strip = self._cleared(strip, fills, cols)
                yield strip

    @staticmethod
    def _marks(prefixes: NDArray[Any]) -> list[str]:
        """Fields of lines by which these say that some of their pixels are no data, if they are not 0."""
        return [name for name in ("left_fill", "right_fill", "invalid") if name in (prefixes.dtype.names or ())]

    @cached_property
    def _fills(self) -> NDArray[np.int64]:
        """As :meth:`fills`, of all lines; −1 for those that were not looked at yet."""
        return np.full((self.lines, 2), -1, np.int64)

    def fills(self, prefixes: NDArray[Any]) -> NDArray[np.int64]:
        """Pixels without data at the left and the right end of lines, (lines, 2), by what stands before their pixels.

        An invalid line (Level 1.1; those of other levels have no such flag) has none but these. Counts that cannot be
        are not believed: more than there are pixels, or as many beside pixels of data. Nor are flags but 0 and 1.
        """
        fills = np.stack([prefixes["left_fill"], prefixes["right_fill"]], axis=1).astype(np.int64)
        total = fills.sum(axis=1)
        fills[(total > self.pixels) | ((total == self.pixels) & (prefixes["data_pixels"] > 0))] = 0
        if "invalid" in (prefixes.dtype.names or ()):
            fills[prefixes["invalid"] == 1] = self.pixels, 0
        return fills

    def _cleared(self, pixels: NDArray[Any], fills: NDArray[np.int64], cols: slice) -> NDArray[Any]:
        """Pixels of lines, 0 where their ``fills`` say that there is no data."""
        if fills.any():
            places = np.arange(cols.start, cols.stop)
            pixels[(places < fills[:, :1]) | (places >= self.pixels - fills[:, 1:])] = 0
        return pixels

    def oddities(self, rows: NDArray[np.integer[Any]]) -> dict[str, str]:
        """What lines say of their own data that is out of the ordinary, by kind in words; rows as of :meth:`prefixes`.

        Raises:
            Alos2TutError: the file cannot be read, or it ends early.
        """
        lines, odd = self.prefixes(rows), {}
        count = np.count_nonzero
        flags = lines["invalid"] if "invalid" in (lines.dtype.names or ()) else np.zeros(len(lines), np.int64)
        if flags.any():
            unknown = np.unique(flags[flags > 1]).tolist()
            more = f"; flags {unknown[:5]} mean nothing and are passed over" if unknown else ""
            odd["valid lines"] = f"{count(flags == 1):,} of {len(lines):,} lines looked at say they are invalid{more}"
        left, data, right = (lines[name].astype(np.int64) for name in ("left_fill", "data_pixels", "right_fill"))
        if wrong := count((data > 0) & (data != self.pixels) & (left + data + right != self.pixels)):
            odd["pixels of lines"] = f"{wrong:,} of {len(lines):,} lines looked at have not {self.pixels:,} pixels"
        fills = self.fills(lines)
        some = np.flatnonzero(fills.any(axis=1) & (flags != 1))[:64]
        nonzero = 0
        for index in some.tolist():
            row = int(rows[index])
            [stored] = self._stored(row)
            nonzero += int(count(stored[: fills[index, 0]]) + count(stored[self.pixels - fills[index, 1] :]))
        if nonzero:
            odd["fill of lines"] = (
                f"{nonzero:,} pixels that by their {len(some)} lines are fill are not 0; they count as no data"
            )
        return odd

    def _stored(self, row: int) -> NDArray[Any]:
        """A line's pixels, (1, pixels), whatever it says of them."""
        pixels = np.empty((1, self.pixels), dtype=self.dtype)
        start = DESCRIPTOR_BYTES + self.prefix_bytes + row * self.record_bytes
        with self.source.opened() as file:
            file.readinto(pixels, start)
        return pixels

    def prefixes(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
        """What stands before the pixels of these lines.

        Args:
            rows: numbers of lines in the image, from 0 on, in any order.

        Returns:
            A structured array, one element per line, in native byte order. Its fields are those of
            :func:`prefix_dtype`; ``latitudes``, ``longitudes`` and other angles in millionths of a degree.

        Raises:
            Alos2TutError: the file cannot be read, or it ends early.
        """
        wanted, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        dtype = prefix_dtype(self.sample_code)
        raw = np.empty((len(wanted), dtype.itemsize), dtype=np.uint8)
        with self.source.opened() as file:
            file.read_rows(raw, DESCRIPTOR_BYTES + wanted * self.record_bytes)
        found = raw[places].reshape(-1).view(dtype)
        return found.astype([(name, dtype[name].newbyteorder("=")) for name in dtype.names or ()])
