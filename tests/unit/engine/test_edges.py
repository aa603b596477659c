"""Edges lie where the picture changes, one pixel wide, and faint ones count only where they go on from clear ones."""

import time

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from danqing.engine.edges import canny

Pixels = npt.NDArray[np.uint8]


def halves(left: tuple[int, int, int], right: tuple[int, int, int], side: int = 32) -> Pixels:
    picture = np.empty((side, side, 3), np.uint8)
    picture[:, : side // 2], picture[:, side // 2 :] = left, right
    return picture


def test_a_plain_picture_has_none() -> None:
    assert not canny(np.full((20, 30, 3), 140, np.uint8)).any()


def test_a_step_is_one_line_along_it_up_to_the_rim() -> None:
    for picture in (halves((20, 20, 20), (230, 230, 230)), halves((230, 230, 230), (20, 20, 20))):
        edges = canny(picture)
        assert edges.shape == (32, 32) and edges.dtype == np.uint8 and set(np.unique(edges)) == {0, 255}
        columns = np.flatnonzero(edges.any(0)).tolist()
        assert len(columns) == 1 and columns[0] in (15, 16)
        assert edges[:, columns[0]].all()


def test_lying_and_slanting_steps_too() -> None:
    lying = canny(halves((0, 0, 0), (255, 255, 255)).transpose(1, 0, 2))
    assert len(np.flatnonzero(lying.any(1))) == 1
    rows, columns = np.mgrid[:40, :40]
    for slanting in (np.less(rows + columns, 40), np.less(rows, columns)):
        edges = np.greater(canny(np.where(slanting[..., None], 255, 0).astype(np.uint8).repeat(3, 2)), 0)
        assert all(np.count_nonzero(edges, axis)[2:-2].all() for axis in (0, 1))
        assert edges.sum() <= 2 * 40


def test_two_colours_equally_bright_have_an_edge_between_them() -> None:
    # Given red and a green that a grey picture would show alike
    edges = canny(halves((200, 0, 0), (0, 102, 0)))
    assert edges.any()


def test_a_faint_edge_counts_where_it_goes_on_from_a_clear_one() -> None:
    # Given a step that fades from top to bottom
    picture = np.full((64, 32, 3), 100, np.uint8)
    picture[:, 16:] += np.linspace(70, 28, 64).astype(np.uint8)[:, None, None]
    # Then it is followed below the upper threshold
    assert canny(picture).any(1).all()
    # And its lower part alone is nothing
    assert not canny(picture[40:]).any()


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda s: arrays.arrays(np.uint8, (*s, 3))))
def test_any_picture_of_any_size_has_edges_of_its_own_size_and_the_same_ones_again(picture: Pixels) -> None:
    edges = canny(picture)
    assert edges.shape == picture.shape[:2]
    assert np.isin(edges, (0, 255)).all()
    assert np.array_equal(edges, canny(picture.copy()))


@given(arrays.arrays(np.uint8, (16, 16, 3)))
def test_raising_the_upper_threshold_only_takes_away(picture: Pixels) -> None:
    some, fewer = canny(picture, 40, 80) > 0, canny(picture, 40, 160) > 0
    assert not (fewer & ~some).any()


def test_a_megapixel_takes_no_second_even_where_everything_hangs_together() -> None:
    # Given a photo-like picture, and a maze whose faint edges form one very long piece
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (64, 64, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    start = time.process_time()
    assert canny(coarse).any()
    assert time.process_time() - start < 2  # some 0.3 s of a quick core's time; the machine may be a slow one
