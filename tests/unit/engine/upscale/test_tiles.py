"""Parts and their context, with arithmetic in place of a network."""

import numpy as np
import pytest

from danqing.engine.upscale.tiles import Tiling, enlarge_in_tiles
from tests.unit.engine.upscale.drawings import Picture


class Blurring:
    """Each pixel it makes depends on all within `reach` of it; beyond its input it sees black, as a network does."""

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.largest = 0

    def __call__(self, rgb: Picture) -> Picture:
        self.largest = max(self.largest, *rgb.shape[:2])
        made = np.pad(rgb.astype(np.int64), ((self.reach, self.reach), (self.reach, self.reach), (0, 0)))
        for axis in (0, 1):
            made = np.lib.stride_tricks.sliding_window_view(made, 2 * self.reach + 1, axis).sum(-1)
        return (made // 7 % 256).astype(np.uint8).repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize("size", [(1, 1), (50, 7), (64, 64), (131, 90)], ids=str)
@pytest.mark.parametrize("border", [0, 6])
def test_parts_together_are_the_whole(size: tuple[int, int], border: int) -> None:
    # Given noise, which hides nothing
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole = enlarge_in_tiles(rgb, Blurring(5), Tiling(tile=1000, context=5, border=border))
    # When it is enlarged in parts, then no byte differs, and no part was larger than promised
    blurring = Blurring(5)
    parts = enlarge_in_tiles(rgb, blurring, Tiling(tile=32, context=5, border=border))
    assert np.array_equal(parts, whole)
    assert blurring.largest <= 32 + 2 * 5


def test_with_less_context_than_the_network_reaches_seams_would_show() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = enlarge_in_tiles(rgb, Blurring(5), Tiling(tile=1000, context=4, border=0))
    assert not np.array_equal(enlarge_in_tiles(rgb, Blurring(5), Tiling(tile=32, context=4, border=0)), whole)


def test_parts_are_told_in_turn_and_a_listener_may_stop_it() -> None:
    parts: list[tuple[int, int]] = []

    def stop_at_3(part: int, of: int) -> None:
        parts.append((part, of))
        if part == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        enlarge_in_tiles(
            np.zeros((70, 100, 3), np.uint8),
            Blurring(1),
            Tiling(tile=40, context=1, border=0),
            on_part=stop_at_3,
        )
    assert parts == [(1, 6), (2, 6), (3, 6)]
