"""PNG's row filters by NumPy: each row by the one after which least is left to compress.

Rows that repeat the one above them are only counted: what they are filtered to is known. Without Python's lock.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

NONE, SUB, UP = 0, 1, 2  # PNG's numbers of "as it is", "minus the pixel to the left", "minus the pixel above"
BAND_BYTES = 4 * 1024 * 1024  # of pixels filtered at a time: bounds the memory, whatever the picture's size
REPEATED_ROWS = 16  # fewer in a row are not worth leaving out
FEW_ROWS = 4  # are not worth comparing
PIXEL = 3  # bytes
SAMPLE_PIXELS, SAMPLES = 16, 8  # a row's filter is chosen by so many places of so many pixels each
MOST_COST = 15  # of a byte. SAMPLES times it fits into a byte
PEEK_BYTES = 192  # that are compared first: where rows differ they mostly do so there


@dataclass(frozen=True, kw_only=True)
class FilteredRows:
    """content: uint8 (h, 1 + 3W), each row after its filter's number. cost: of a byte on average, 0 to MOST_COST."""

    content: Bytes
    cost: float


@dataclass(frozen=True, kw_only=True)
class RepeatedRows:
    """count: of rows that are as the one above them, a multiple of REPEATED_ROWS. Each is UP and zeros."""

    count: int


def filtered(rgb: Bytes) -> Iterator[FilteredRows | RepeatedRows]:
    """rgb: uint8 (H, W, 3). All rows, from the top. A content is overwritten when the next one is asked for."""
    height, width, _ = rgb.shape
    line = width * PIXEL
    band = max(1, BAND_BYTES // line)
    above = np.zeros((1, line), np.uint8)
    buffer = np.empty((min(band, height), 1 + line), np.uint8)
    for start in range(0, height, band):
        rows = np.ascontiguousarray(rgb[start : start + band]).reshape(-1, line)
        yield from _band(rows, above, buffer)
        above = rows[-1:]


def _band(rows: Bytes, above: Bytes, buffer: Bytes) -> Iterator[FilteredRows | RepeatedRows]:
    """rows: (h, 3W). above: (1, 3W), the row over the first. buffer: (h or more, 1 + 3W)."""
    same = _same(rows, above)
    filters, costs = _choose(rows, above, of=np.flatnonzero(~same))
    done = 0
    for begin, end in (*_repeats(same), (len(rows), len(rows))):
        if begin > done:
            content = buffer[: begin - done]
            _filter(rows, done, begin, above, filters, content)
            yield FilteredRows(content=content, cost=float(costs[done:begin].mean()))
        if end > begin:
            yield RepeatedRows(count=end - begin)
        done = end


def _same(rows: Bytes, above: Bytes) -> npt.NDArray[np.bool_]:
    """Whether a row is as the one above it: (h,). False, too, where only few in a row begin alike."""
    same = np.empty(len(rows), np.bool_)
    same[0] = np.array_equal(rows[0], above[0])
    same[1:] = (rows[1:, :PEEK_BYTES] == rows[:-1, :PEEK_BYTES]).all(1)
    wide = rows.view(np.uint64) if rows.shape[1] % 8 == 0 else rows
    for begin, end in _runs(same):
        if same[begin] and end - begin < FEW_ROWS:
            same[begin:end] = False
        elif same[begin]:
            first = max(begin, 1)
            same[first:end] = (wide[first:end] == wide[first - 1 : end - 1]).all(1)
    return same


def _repeats(same: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and after last of the rows that are left out."""
    for begin, end in _runs(same):
        count = (end - begin) // REPEATED_ROWS * REPEATED_ROWS
        if same[begin] and count:
            yield begin, begin + count


def _runs(values: npt.NDArray[np.generic]) -> list[tuple[int, int]]:
    """First and after last of each stretch of equal values. values: (n,), at least one."""
    bounds = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return list(pairwise(bounds))


def _filter(rows: Bytes, first: int, last: int, above: Bytes, filters: Bytes, out: Bytes) -> None:
    """Rows from first until before last. filters: of all rows. out: (last - first, 1 + 3W)."""
    out[:, 0] = filters[first:last]
    for begin, end in _runs(out[:, 0]):
        some, left = rows[first + begin : first + end], out[begin:end, 1:]
        if out[begin, 0] == NONE:
            left[:] = some
        elif out[begin, 0] == SUB:
            left[:, :PIXEL] = some[:, :PIXEL]
            np.subtract(some[:, PIXEL:], some[:, :-PIXEL], out=left[:, PIXEL:])
        elif first + begin:
            np.subtract(some, rows[first + begin - 1 : first + end - 1], out=left)
        else:
            np.subtract(some[:1], above, out=left[:1])
            np.subtract(some[1:], some[:-1], out=left[1:])


def _choose(rows: Bytes, above: Bytes, *, of: npt.NDArray[np.intp]) -> tuple[Bytes, npt.NDArray[np.float64]]:
    """Of each row its filter and the cost of a byte after it, both (h,): by a sample.

    of: which are to be looked at; the others get UP, which costs them nothing. UP it is, too, where several cost the
    same.
    """
    filters, costs = np.full(len(rows), UP, np.uint8), np.zeros(len(rows))
    if not len(of):
        return filters, costs
    places = _places(rows)
    sample = _by_place(places[of])  # (places, k, bytes)
    over = _by_place(places[of - 1])
    if of[0] == 0:
        over[:, 0] = _places(above)[0]
    sub = np.zeros_like(sample)
    np.subtract(sample.reshape(-1)[PIXEL:], sample.reshape(-1)[:-PIXEL], out=sub.reshape(-1)[PIXEL:])
    most = np.full_like(sample, MOST_COST)
    of_each = np.stack([_cost(left, most) for left in (sample - over, sub, sample)])  # (3, k)
    filters[of] = np.array((UP, SUB, NONE), np.uint8)[of_each.argmin(0)]
    costs[of] = of_each.min(0) * len(of) / sample.size
    return filters, costs


def _places(rows: Bytes) -> Bytes:
    """Where a row is looked at: (h, places, bytes)."""
    size = min(SAMPLE_PIXELS * PIXEL, rows.shape[1])
    places = rows.shape[1] // size
    return rows[:, : places * size].reshape(len(rows), places, size)[:, :: -(-places // SAMPLES)]


def _by_place(places: Bytes) -> Bytes:
    """(h, places, bytes) to (places, h, bytes), over which NumPy sums several times as fast."""
    return np.ascontiguousarray(places.transpose(1, 0, 2))


def _cost(left: Bytes, most: Bytes) -> npt.NDArray[np.int64]:
    """How much work what a filter leaves of the sample is to compress: (h,). most: MOST_COST, in the same shape, as
    NumPy is twenty times as slow with a single one.

    A byte that repeats the one a pixel before costs nothing, another one what it is, as a signed number without the
    sign. The first two pixels of a place do not count: what is before them is not in the sample.
    """
    cost = np.minimum(left, np.negative(left))
    np.minimum(cost, most, out=cost)
    flat, of_flat = cost.reshape(-1), left.reshape(-1)
    flat[PIXEL:] *= (of_flat[PIXEL:] != of_flat[:-PIXEL]).view(np.uint8)
    of_places = cost.sum(0, dtype=np.uint8)  # (h, bytes)
    return of_places[:, 2 * PIXEL :].sum(1, dtype=np.int64)
