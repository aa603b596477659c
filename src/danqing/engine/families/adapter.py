"""What the engine needs of a family's code, and what it gives it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest, ModelStatus
from danqing.engine.attention import AttentionChoice
from danqing.engine.device import Device
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.loras import LoraPool
from danqing.engine.memory_plan import Way
from danqing.engine.prompt_cache import PromptCache


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Where and how the model runs. attention: None is PyTorch's own. loras: of all models; None: there are none.

    decode_later: pictures may be decoded while the next ones are denoised, by another thread than calls `make`.
    read_later: the device may still be at them when `make` returns, and begins with the next ones without a pause.
    """

    device: Device
    cpu_offload: bool
    attention: AttentionChoice | None
    prompts: PromptCache
    compile: bool = False
    loras: LoraPool | None = None
    decode_later: bool = False
    read_later: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture to be made, and what it is made from, at the size that the model makes.

    start: what the picture begins with, and its mask if there is one; None: nothing but noise. Whether the request's
    mode is img2img, fill or edit makes no difference to how a start is used. control: the map of a ControlNet, uint8
    (H, W, 3). references: pictures of any size that an instruction speaks of, each uint8 (h, w, 3).
    """

    request: GenerationRequest
    start: InputPicture | None = None
    control: Pixels | None = None
    references: tuple[Pixels, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """rgb: uint8 (H, W, 3). adjustments: what was done to honour the request that its caller may want to know."""

    rgb: npt.NDArray[np.uint8]
    adjustments: tuple[str, ...] = ()

    def decoded(self) -> "MadePicture":
        """Itself; see `UndecodedPicture`."""
        return self


@dataclass(frozen=True, kw_only=True)
class UndecodedPicture:
    """A `MadePicture` to be. decode: makes it or waits for it, in any thread; raises what `FamilyAdapter.make` would.

    adjustments: that are known already.
    """

    decode: Callable[[], MadePicture]
    adjustments: tuple[str, ...] = ()

    def decoded(self) -> MadePicture:
        """Raises as `decode` does."""
        return self.decode()


@dataclass(frozen=True, kw_only=True)
class ModelMemory:
    """Bytes of a loaded model's weights. total: wherever they are. held: on the device between pictures; running: on it
    at most while one is made; leanest: so, if it is `offloaded`, None where that brings nothing. parts: of each network
    by itself, with what several share.
    """

    total: int
    held: int
    running: int
    leanest: int | None
    parts: Mapping[str, int] = field(default_factory=dict[str, int])

    def ways(self, *, host_free_bytes: int) -> list[Way]:
        """How pictures can be made, from the most memory to the least. host_free_bytes: to which weights can go."""
        ways = [Way.PLAIN, Way.TILED]
        return ways if self.leanest is None or self.held > host_free_bytes else [*ways, Way.OFFLOADED]


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
        """rgb: uint8 (h, w, 3), of the shape that the model makes but of any size."""
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
    """One model of a family on one device. One thread, one batch at a time; nothing of a request outlives it."""

    def load(self) -> None:
        """Brings the model into memory and runs it once. Raises ModelLoadFailure."""
        ...

    def make(
        self,
        orders: Sequence[Order],
        size: tuple[int, int],
        *,
        watchers: Sequence[StepWatcher],
        spare_memory: bool,
    ) -> Sequence[MadePicture | UndecodedPicture | None]:
        """One picture an order, at `size` (width, height), which the model makes; None where its watcher stopped it.

        orders: at least one; those of a batch differ in nothing but prompts, seeds and the contents of their pictures.
        Each picture is, to rounding, the one that is made alone. watchers: one an order, told of its picture alone.
        spare_memory: memory has run out once already; trade time for it, and say so if that changes the picture.
        Library errors are let through: the engine translates them.
        """
        ...

    def unload(self) -> None:
        """Gives the memory back. Does nothing when nothing is loaded."""
        ...

    def to_host(self) -> bool:
        """All weights leave the device for the host's memory; False, and nothing is done, where they are not simply on
        one device. Nothing but `to_device` and `unload` may be called then.
        """
        ...

    def to_device(self) -> None:
        """And back."""
        ...

    def offloaded(self) -> AbstractContextManager[None]:
        """While it lasts, only the part that runs is on the device. For a model whose `leanest` memory is not None."""
        ...

    def memory(self) -> ModelMemory:
        """Of what is loaded now, companions included."""
        ...

    def status(self) -> ModelStatus:
        """How it is run now, on the device."""
        ...

    def working_bytes(self, size: tuple[int, int], pictures: int, *, guided: bool, tiled: bool, offloaded: bool) -> int:
        """About what `make` takes beside the weights that are there (`running`, or if it is offloaded `leanest`).

        tiled: with spare_memory.
        """
        ...


AdapterFactory = Callable[[ModelCard, AdapterOptions], FamilyAdapter]
