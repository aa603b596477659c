"""Enlarges a picture part by part, so that memory is bounded by the part, and no seam shows where two of them meet."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from danqing.engine.upscale.upscaler import SCALE, OnPart, Pixels, unheard

BORDER = 8  # mirrored pixels around a picture: the networks' zero padding then does not show at its edges
MOST_CONTEXT = 48  # pixels; what lies further away hardly changes a result, however far a network reaches


def context_of(reach: int) -> int:
    """reach: pixels to each side that a network's result depends on. Returns `Tiling.context`."""
    return min(reach, MOST_CONTEXT)


def cpu_tile(context: int) -> int:
    """The longest side of a part on a CPU. Larger ones spill out of its caches; smaller ones are mostly context.

    With its context it is no longer than 192: ncnn then takes 2.5 GiB for RRDBNet; with 288 it took more than 4.
    """
    return min(128, 192 - 2 * context)


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """In pixels of the picture that is enlarged.

    tile: longest side of a part. context: around a part, that is enlarged with it and thrown away; as many as the
    network's result depends on, or so many that what lies beyond does not show. border: around the whole picture,
    mirrored, so that what a network makes of the edge of its input does not show.
    """

    tile: int
    context: int
    border: int


@dataclass(frozen=True)
class _Span:
    """Along one axis: pixels [start, stop) of the picture are made from [read_start, read_stop) of the framed one."""

    start: int
    stop: int
    read_start: int
    read_stop: int
    border: int

    @property
    def made(self) -> slice:
        """Where the enlarged pixels lie in the enlarged picture."""
        return slice(self.start * SCALE, self.stop * SCALE)

    @property
    def kept(self) -> slice:
        """Where they lie in what was made from the pixels read."""
        before = self.start + self.border - self.read_start
        return slice(before * SCALE, (before + self.stop - self.start) * SCALE)


def enlarge_in_tiles(
    rgb: Pixels, enlarge: Callable[[Pixels], Pixels], tiling: Tiling, *, on_part: OnPart = unheard
) -> Pixels:
    """rgb: uint8 (H, W, 3). enlarge: uint8 (h, w, 3) → (4h, 4w, 3), of a part. Returns uint8 (4H, 4W, 3).

    Raises what `enlarge` and `on_part` raise.
    """
    height, width, _ = rgb.shape
    around = (tiling.border, tiling.border)
    framed = np.pad(rgb, (around, around, (0, 0)), mode="symmetric")
    enlarged = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
    tiles = list(itertools.product(_spans(height, tiling), _spans(width, tiling)))
    for part, (row, column) in enumerate(tiles, 1):
        made = enlarge(framed[row.read_start : row.read_stop, column.read_start : column.read_stop])
        enlarged[row.made, column.made] = made[row.kept, column.kept]
        on_part(part, len(tiles))
    return enlarged


def _spans(length: int, tiling: Tiling) -> Iterator[_Span]:
    """Of nearly equal length, at most `tiling.tile` each."""
    count = math.ceil(length / tiling.tile)
    for index in range(count):
        start, stop = index * length // count, (index + 1) * length // count
        first, last = start + tiling.border - tiling.context, stop + tiling.border + tiling.context
        yield _Span(start, stop, max(0, first), min(length + 2 * tiling.border, last), tiling.border)
