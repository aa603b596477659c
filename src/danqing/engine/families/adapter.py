"""What the engine needs of a family's code, and what it gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.device import Device
from danqing.engine.input_pictures import InputPicture
from danqing.engine.prompt_cache import PromptCache


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Where and how the model runs. attention: a diffusers backend name, or None for PyTorch's own."""

    device: Device
    compile: bool
    cpu_offload: bool
    attention: str | None
    prompts: PromptCache


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """rgb: uint8 (H, W, 3). adjustments: what was done to honour the request that its caller may want to know."""

    rgb: npt.NDArray[np.uint8]
    adjustments: tuple[str, ...] = ()


class StepWatcher(Protocol):
    """As the port `Observer`, but for previews."""

    def step_done(self, step: int, total_steps: int) -> None:
        """See `Observer`."""
        ...

    def stopped(self) -> bool:
        """See `Observer`."""
        ...

    def wants_preview(self) -> bool:
        """See `Observer`."""
        ...

    def preview_made(self, step: int, total_steps: int, rgb: npt.NDArray[np.uint8]) -> None:
        """rgb: uint8 (H, W, 3), of the size that the model makes."""
        ...


class Unwatched:
    """A `StepWatcher` for pictures that nobody waits for, such as a warm-up's."""

    def step_done(self, step: int, total_steps: int) -> None:
        """Not told to anyone."""

    def stopped(self) -> bool:
        """Never."""
        return False

    def wants_preview(self) -> bool:
        """Never."""
        return False

    def preview_made(self, step: int, total_steps: int, rgb: npt.NDArray[np.uint8]) -> None:
        """Not called."""


class FamilyAdapter(Protocol):
    """One model of a family on one device. One thread, one request at a time; nothing of a request outlives it."""

    def load(self) -> None:
        """Brings the model into memory and runs it once. Raises ModelLoadFailure."""
        ...

    def make(
        self,
        request: GenerationRequest,
        size: tuple[int, int],
        *,
        start: InputPicture | None,
        watcher: StepWatcher,
        spare_memory: bool,
    ) -> MadePicture | None:
        """The picture at `size` (width, height), which the model makes; None once the watcher has stopped it.

        start: of that size, what the picture begins with, and its mask if there is one; None: with nothing. Whether the
        request's mode is fill or edit then makes no difference. spare_memory: memory has run out once already; trade
        time for it, and say so if that changes the picture. Library errors are let through: the engine translates them.
        """
        ...

    def unload(self) -> None:
        """Gives the memory back. Does nothing when nothing is loaded."""
        ...


AdapterFactory = Callable[[ModelCard, AdapterOptions], FamilyAdapter]
