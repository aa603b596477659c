"""What a mask keeps is kept to the pixel, and what it frees grows in over a few."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from danqing.engine.masks import FEATHER, keep_masked

Pixels = npt.NDArray[np.uint8]
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape)), st.integers(0, 9))
def test_black_keeps_exactly_and_nothing_lies_outside_of_both(mask: Pixels, seed: int) -> None:
    made, kept = np.random.default_rng(seed).integers(0, 256, (2, *mask.shape, 3), np.uint8)
    mixed = keep_masked(made, kept, mask)
    assert np.array_equal(mixed[mask == 0], kept[mask == 0])
    assert (mixed >= np.minimum(made, kept)).all() and (mixed <= np.maximum(made, kept)).all()


def test_all_white_is_all_new_to_the_edges() -> None:
    made, kept = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)
    assert np.array_equal(keep_masked(made, kept, np.full((9, 7), 255, np.uint8)), made)


def test_an_edge_is_soft_on_its_white_side_only() -> None:
    # Given black on the left and white on the right
    mask = np.zeros((8, 20), np.uint8)
    mask[:, 10:] = 255
    # When white is put into black
    row = keep_masked(np.full((8, 20, 3), 255, np.uint8), np.zeros((8, 20, 3), np.uint8), mask)[4, :, 0].tolist()
    # Then it rises over a few pixels, from the first white one on
    assert row[:10] == [0] * 10
    assert row[10 : 10 + FEATHER] == [64, 128, 191]
    assert row[10 + FEATHER :] == [255] * (10 - FEATHER)


def test_grey_is_a_mixture() -> None:
    made, kept = np.full((6, 6, 3), 200, np.uint8), np.full((6, 6, 3), 100, np.uint8)
    mixed = keep_masked(made, kept, np.full((6, 6), 51, np.uint8))
    assert (mixed == 120).all()
