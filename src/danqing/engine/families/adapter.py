"""What the engine needs of a family's code, and what it gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.device import Device
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
        spare_memory: bool,
        on_step: Callable[[int, int], None],
        stopped: Callable[[], bool],
    ) -> MadePicture | None:
        """The picture at `size` (width, height), which the model makes; None once stopped() is true.

        spare_memory: memory has run out once already; trade time for it, and say so if that changes the picture.
        on_step and stopped as in the port `Engine`. Library errors are let through: the engine translates them.
        """
        ...

    def unload(self) -> None:
        """Gives the memory back. Does nothing when nothing is loaded."""
        ...


AdapterFactory = Callable[[ModelCard, AdapterOptions], FamilyAdapter]
