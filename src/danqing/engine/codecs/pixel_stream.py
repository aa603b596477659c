"""Filtered rows to a zlib stream: by ISA-L's igzip what is busy, by zlib-ng what is flat.

igzip is several times as fast, but makes of long runs twice as many bytes as need be.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from isal import isal_zlib
from zlib_ng import zlib_ng

from danqing.engine.codecs.row_filters import REPEATED_ROWS, UP, FilteredRows, RepeatedRows

ZLIB_HEADER = b"\x78\x01"
LAST_BLOCK = b"\x03\x00"  # of deflate: an empty one
RAW = -15  # deflate without a frame, looking back as far as possible
BUSY_LEVEL = 2  # of igzip's 0 to 3; 3 is slower and no smaller on filtered pictures
FLAT_LEVEL = 3  # of zlib-ng's 0 to 9
FLAT = 0.15  # cost of a byte up to which rows are flat
MANY_ROWS = 4 * REPEATED_ROWS  # repeated ones, compressed at once where there are so many
ADLER_PRIME = 65521


class PixelStream:
    """Takes a picture's rows from the top; for one picture."""

    def __init__(self, width: int) -> None:
        """width: pixels."""
        self._line = 1 + 3 * width
        self._parts = [ZLIB_HEADER]
        self._check = 1
        self._compressor: _Compressor | None = None
        self._flat = False
        self._repeats: dict[int, bytes] = {}  # what so many repeated rows are compressed to

    def add(self, rows: Iterable[FilteredRows | RepeatedRows]) -> None:
        """Compresses them."""
        for each in rows:
            if isinstance(each, RepeatedRows):
                self._add_repeated(each.count)
            else:
                self._add_filtered(each)

    def end(self) -> Sequence[bytes]:
        """The whole stream, in parts: together they are nearly as large as the file, and are not to be copied twice."""
        self._flush()
        return (*self._parts, LAST_BLOCK, struct.pack(">I", self._check))

    def _add_filtered(self, rows: FilteredRows) -> None:
        flat = rows.cost <= FLAT
        if self._compressor is None or flat is not self._flat:
            self._flush()
            self._compressor, self._flat = _compressor(flat), flat
        self._parts.append(self._compressor.compress(rows.content.data))
        self._check = isal_zlib.adler32(rows.content.data, self._check)  # pyright: ignore[reportUnknownMemberType]

    def _add_repeated(self, count: int) -> None:
        """Deflate allows it: what was flushed, and refers to nothing before it, may stand anywhere."""
        self._flush()
        rest = count
        for rows in (MANY_ROWS, REPEATED_ROWS):
            times, rest = divmod(rest, rows)
            if times:
                self._parts.append(self._repeated(rows) * times)
        self._check = _check_of_repeated(self._check, count, self._line)

    def _repeated(self, count: int) -> bytes:
        if count not in self._repeats:
            rows = np.zeros((count, self._line), np.uint8)
            rows[:, 0] = UP
            compressor = _compressor(flat=True)
            self._repeats[count] = compressor.compress(rows.data) + compressor.flush(zlib_ng.Z_SYNC_FLUSH)
        return self._repeats[count]

    def _flush(self) -> None:
        """To a whole byte; what comes next does not refer to what was before."""
        if self._compressor is not None:
            self._parts.append(self._compressor.flush(zlib_ng.Z_SYNC_FLUSH))
            self._compressor = None


class _Compressor(Protocol):
    """As the standard library's, whose numbers both know."""

    def compress(self, data: memoryview, /) -> bytes: ...
    def flush(self, mode: int, /) -> bytes: ...


def _compressor(flat: bool) -> _Compressor:
    if flat:
        return zlib_ng.compressobj(FLAT_LEVEL, zlib_ng.DEFLATED, RAW)  # pyright: ignore[reportUnknownMemberType]
    return isal_zlib.compressobj(BUSY_LEVEL, isal_zlib.DEFLATED, RAW)  # pyright: ignore[reportUnknownMemberType]


def _check_of_repeated(check: int, count: int, line: int) -> int:
    """Adler-32 goes on from check over so many lines of UP and zeros: each adds UP to the first sum, and that then
    `line` times to the second.
    """
    first, second = check & 0xFFFF, check >> 16
    second += line * (count * first + UP * count * (count + 1) // 2)
    return (second % ADLER_PRIME) << 16 | (first + UP * count) % ADLER_PRIME
