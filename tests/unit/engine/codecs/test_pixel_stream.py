"""The compressed rows are a zlib stream that every reader takes."""

import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.engine.codecs.pixel_stream import FLAT, MANY_ROWS, PixelStream
from danqing.engine.codecs.row_filters import REPEATED_ROWS, UP, FilteredRows, RepeatedRows

WIDTH = 50  # pixels


def busy_rows(count: int) -> FilteredRows:
    """Noise."""
    content = np.random.default_rng(count).integers(0, 256, (count, 1 + 3 * WIDTH), np.uint8)
    return FilteredRows(content=content, cost=12.0)


def flat_rows(count: int) -> FilteredRows:
    """Zeros with something between."""
    content = np.zeros((count, 1 + 3 * WIDTH), np.uint8)
    content[:, 20:23] = 9
    return FilteredRows(content=content, cost=FLAT / 2)


def plain(part: FilteredRows | RepeatedRows) -> bytes:
    """The bytes that it stands for."""
    if isinstance(part, FilteredRows):
        return part.content.tobytes()
    return (bytes([UP]) + bytes(3 * WIDTH)) * part.count


@given(
    st.lists(
        st.one_of(
            st.integers(1, 30).map(busy_rows),
            st.integers(1, 30).map(flat_rows),
            st.sampled_from((1, 2, 7, 900)).map(lambda times: RepeatedRows(count=times * REPEATED_ROWS)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_parts_of_all_kinds_in_any_order_come_back(parts: list[FilteredRows | RepeatedRows]) -> None:
    # When parts are compressed
    stream = PixelStream(WIDTH)
    stream.add(parts)
    # Then a reader, which also compares the check sum, gets them back, and nothing is left over
    reader = zlib.decompressobj()
    assert reader.decompress(b"".join(stream.end())) + reader.flush() == b"".join(plain(part) for part in parts)
    assert reader.eof and not reader.unused_data


def test_a_part_may_change_once_it_was_added() -> None:
    # Given a part that was added, and the same array with other rows in it
    stream, part = PixelStream(WIDTH), flat_rows(5)
    stream.add([part])
    expected = plain(part)
    part.content[:] = 1
    # Then the stream has the first ones
    assert zlib.decompress(b"".join(stream.end())) == expected


@pytest.mark.parametrize("rows", [flat_rows(2000), RepeatedRows(count=2048)], ids=["flat", "repeated"])
def test_long_runs_take_few_bytes(rows: FilteredRows | RepeatedRows) -> None:
    stream = PixelStream(WIDTH)
    stream.add([rows])
    assert sum(map(len, stream.end())) < len(plain(rows)) / 100


def test_each_repeated_stretch_costs_the_same() -> None:
    # Given ever longer stretches
    sizes: list[int] = []
    for times in (1, 2, 3, 4):
        stream = PixelStream(WIDTH)
        stream.add([RepeatedRows(count=times * MANY_ROWS)])
        sizes.append(sum(map(len, stream.end())))
    # Then each adds what was compressed once
    assert len({after - before for before, after in pairwise(sizes)}) == 1
