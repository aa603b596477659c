"""The filters, put back by PNG's own rules, and what each kind of row gets."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from danqing.engine.codecs import row_filters
from danqing.engine.codecs.row_filters import NONE, REPEATED_ROWS, SUB, UP, FilteredRows, RepeatedRows, filtered

Picture = npt.NDArray[np.uint8]


def put_back(rgb: Picture) -> Picture:
    """What a reader of the file makes of the rows."""
    width = rgb.shape[1]
    rows = [np.zeros(3 * width, np.uint8)]
    for part in filtered(rgb):
        if isinstance(part, RepeatedRows):
            rows += [rows[-1]] * part.count
            continue
        for line in part.content.copy():
            left = line[1:]
            if line[0] == UP:
                left = left + rows[-1]
            elif line[0] == SUB:
                left = left.reshape(width, 3).cumsum(0, dtype=np.uint8).reshape(-1)
            else:
                assert line[0] == NONE
            rows.append(left)
    return np.array(rows[1:]).reshape(rgb.shape)


def filters_of(rgb: Picture) -> list[int]:
    """One a row."""
    found: list[int] = []
    for part in filtered(rgb):
        found += [UP] * part.count if isinstance(part, RepeatedRows) else part.content[:, 0].tolist()
    return found


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_rows_can_be_put_back(rgb: Picture) -> None:
    assert np.array_equal(put_back(rgb), rgb)


@given(
    st.integers(1, 70),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3 * REPEATED_ROWS)), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_rows_that_repeat_can_be_put_back(width: int, stretches: list[tuple[int, int]], bands: int) -> None:
    # Given rows of four kinds, each so often, in a picture of several bands
    kinds = np.random.default_rng(2).integers(0, 256, (4, width, 3), np.uint8)
    kinds[0] = 0
    kinds[1, :-1] = kinds[2, :-1]  # they differ at their ends only
    rgb = np.concatenate([np.broadcast_to(kinds[kind], (count, width, 3)) for kind, count in stretches])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_filters, "BAND_BYTES", max(1, rgb.nbytes // bands))
        # Then they come back
        assert np.array_equal(put_back(rgb), rgb)


def test_rows_that_repeat_are_only_counted() -> None:
    # Given a long stretch of equal rows between others
    rng = np.random.default_rng(1)
    above, below = rng.integers(0, 256, (2, 10, 64, 3), np.uint8)
    same = np.broadcast_to(rng.integers(0, 256, (1, 64, 3), np.uint8), (2 * REPEATED_ROWS + 2, 64, 3))
    # When they are filtered
    parts = [
        part.count if isinstance(part, RepeatedRows) else len(part.content)
        for part in filtered(np.concatenate((above, same, below)))
    ]
    # Then those that are as the one above are left out, as far as they make whole stretches
    assert parts == [11, 2 * REPEATED_ROWS, 11]


def test_each_row_gets_the_filter_that_leaves_least() -> None:
    rng = np.random.default_rng(3)
    # Given rows that are as the one above, then rows that change slowly, each by itself, then black spots on white
    upright = np.repeat(rng.integers(0, 256, (1, 200, 3), np.uint8), 3, 0)
    slow = rng.integers(-2, 3, (3, 200, 3)).cumsum(1).astype(np.uint8) + rng.integers(0, 256, (3, 1, 3), np.uint8)
    inked = np.where(rng.random((3, 200, 1)) < 0.02, np.uint8(0), np.uint8(255)).repeat(3, 2)
    # Then each kind gets its own
    found = filters_of(np.concatenate((upright, slow, inked)))
    assert found[1:3] == [UP, UP]
    assert found[3:6] == [SUB, SUB, SUB]
    assert found[7:] == [NONE, NONE]


def test_the_cost_tells_flat_rows_from_busy_ones() -> None:
    rng = np.random.default_rng(4)

    def cost(rgb: Picture) -> float:
        (part,) = filtered(rgb)
        assert isinstance(part, FilteredRows)
        return part.cost

    flat = np.repeat(rng.integers(0, 256, (20, 4, 3), np.uint8), 50, 1)
    soft = flat.astype(np.int16) + rng.integers(-1, 2, flat.shape)
    busy = rng.integers(0, 256, flat.shape, np.uint8)
    assert cost(flat) < cost(soft.clip(0, 255).astype(np.uint8)) < cost(busy) < row_filters.MOST_COST
