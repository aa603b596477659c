"""What `danqing generate` asks for and gets, whichever way the picture is made."""

from collections.abc import Callable
from dataclasses import dataclass

from danqing.core.types import Lora


@dataclass(frozen=True, kw_only=True)
class PictureOrder:
    """The options that were given; None leaves the choice to the model."""

    prompt: str
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    seed: int | None = None
    loras: tuple[Lora, ...] = ()
    step_cache: float | None = None


@dataclass(frozen=True, kw_only=True)
class FinishedPicture:
    """content: the PNG file. adjustments: what was done to reach the size asked for, for people."""

    content: bytes
    seed: int
    adjustments: tuple[str, ...]


# Told what is going on now, and how much of the steps is done, 0 to 100.
Report = Callable[[str, int], None]
