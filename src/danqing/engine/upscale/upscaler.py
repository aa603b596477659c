"""What enlarges pictures, whatever it is made of. Knows no network and imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SCALE = 4

Pixels = npt.NDArray[np.uint8]  # (H, W, 3), RGB
OnPart = Callable[[int, int], None]  # part, parts: after each part, 1 ≤ part ≤ parts


def unheard(part: int, parts: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class UpscalerTraits:
    """name: as picture files tell it. margin: pixels around a part of a picture that its enlargement depends on.

    adjustments: as in `Job`, for every picture that it enlarges.
    """

    name: str
    margin: int
    adjustments: tuple[str, ...] = ()


class Upscaler(Protocol):
    """Enlarges pictures four times each way. Threads may share it."""

    @property
    def traits(self) -> UpscalerTraits:
        """The same as long as it lives."""
        ...

    def enlarge(self, rgb: Pixels, *, on_part: OnPart = unheard) -> Pixels:
        """rgb: uint8 (H, W, 3). Returns uint8 (4H, 4W, 3); equal input, equal output. Raises EngineFailure, or what
        torch raises.
        """
        ...
