"""Real-ESRGAN (`realesr-animevideov3`, x4) on the CPU, by ncnn.

Runs on one thread by default: rounding then depends on nothing but the picture, and the denoiser keeps its cores.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

import ncnn
import numpy as np
import numpy.typing as npt

from danqing.core.errors import EngineFailure, ModelLoadFailure

SCALE = 4
CONTEXT = 18  # pixels around a tile that its result depends on: one for each of the network's 3x3 convolutions
BORDER = 8  # mirrored pixels around the picture, so that the network's zero padding does not show at its edges
TILE = 128  # larger ones spill out of the processor's caches, smaller ones compute more context than picture
WEIGHTS = "realesr-animevideov3-x4"


OnPart = Callable[[int, int], None]  # part, parts: after each part, 1 ≤ part ≤ parts


def _unheard(part: int, parts: int) -> None:
    """Nobody listens."""


class Upscaler(Protocol):
    """Enlarges pictures four times each way."""

    def enlarge(self, rgb: npt.NDArray[np.uint8], *, on_part: OnPart = _unheard) -> npt.NDArray[np.uint8]:
        """rgb: uint8 (H, W, 3). Returns uint8 (4H, 4W, 3); equal input, equal output. Raises EngineFailure."""
        ...


@dataclass(frozen=True)
class _Span:
    """Along one axis: pixels [start, stop) of the picture are made from [read_start, read_stop) of the framed one."""

    start: int
    stop: int
    read_start: int
    read_stop: int

    @property
    def made(self) -> slice:
        """Where the enlarged pixels lie in the enlarged picture."""
        return slice(self.start * SCALE, self.stop * SCALE)

    @property
    def kept(self) -> slice:
        """Where they lie in what was made from the pixels read."""
        before = self.start + BORDER - self.read_start
        return slice(before * SCALE, (before + self.stop - self.start) * SCALE)


def _spans(length: int, tile: int) -> Iterator[_Span]:
    """Of nearly equal length, at most `tile` each."""
    count = math.ceil(length / tile)
    for index in range(count):
        start, stop = index * length // count, (index + 1) * length // count
        around = start + BORDER - CONTEXT, stop + BORDER + CONTEXT
        yield _Span(start, stop, max(0, around[0]), min(length + 2 * BORDER, around[1]))


class RealEsrgan:
    """An `Upscaler`. Beside both pictures, memory use is bounded by the tile. Threads may share it: every tile has an
    extractor of its own, and the net is only read.
    """

    def __init__(self, *, weights: Path | None = None, threads: int = 1, tile: int = TILE) -> None:
        """weights: folder of the .param and .bin file; None is the bundled one. tile: longest side, not enlarged.

        Raises ModelLoadFailure.
        """
        folder = weights or Path(str(resources.files("danqing.engine") / "checkpoints" / "real_esrgan"))
        self._tile = tile
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        for load, suffix in ((self._net.load_param, ".param"), (self._net.load_model, ".bin")):
            file = folder / f"{WEIGHTS}{suffix}"
            if not file.is_file() or load(str(file)) != 0:
                raise ModelLoadFailure("The upscaler's weights are missing or damaged.")

    def enlarge(self, rgb: npt.NDArray[np.uint8], *, on_part: OnPart = _unheard) -> npt.NDArray[np.uint8]:
        """See `Upscaler`. Blocking; holds no lock of Python's while the network runs."""
        height, width, _ = rgb.shape
        framed = np.pad(rgb, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="symmetric")
        enlarged = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
        tiles = list(itertools.product(_spans(height, self._tile), _spans(width, self._tile)))
        for part, (row, column) in enumerate(tiles, 1):
            made = self._run(framed[row.read_start : row.read_stop, column.read_start : column.read_stop])
            enlarged[row.made, column.made] = made[row.kept, column.kept]
            on_part(part, len(tiles))
        return enlarged

    def _run(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """One tile, uint8 (h, w, 3) → uint8 (4h, 4w, 3)."""
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32) / 255.0  # (3, h, w), 0 to 1
        extractor = self._net.create_extractor()
        extractor.input("data", ncnn.Mat(planes))
        status, output = extractor.extract("output")
        if status != 0:
            raise EngineFailure("The picture could not be enlarged.")
        scaled = np.array(output) * 255.0  # (3, 4h, 4w)
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8).transpose(1, 2, 0)
