"""The `FamilyAdapter` of every family whose diffusers pipelines call back after each step: a batch to pixels.

What is a family's own, it asks a `LoadedModel`.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import numpy as np
import structlog
import torch

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.families.adapter import (
    AdapterOptions,
    MadePicture,
    ModelMemory,
    Order,
    StepWatcher,
    Unwatched,
)
from danqing.engine.families.denoising import Denoising
from danqing.engine.families.flow import steps_taken
from danqing.engine.families.loaded_model import LoadedModel, Prompts, Size
from danqing.engine.families.placement import (
    HOST,
    Placement,
    device_memory,
    move,
    offload_for_once,
    placement_of,
)
from danqing.engine.families.working_memory import estimate_working_bytes
from danqing.engine.input_pictures import InputPicture

log = structlog.get_logger(__name__)
WARM_UP_GREY = 128


class PipelinedAdapter:
    """A `FamilyAdapter`. Pipeline, scheduler and generator are new for every batch; the loaded parts keep nothing."""

    def __init__(
        self,
        card: ModelCard,
        options: AdapterOptions,
        *,
        load: Callable[[ModelCard, AdapterOptions], LoadedModel],
    ) -> None:
        """load: brings the family's parts into memory; raises ModelLoadFailure or OutOfMemory."""
        self._card = card
        self._options = options
        self._load = load
        self._model: LoadedModel | None = None
        self._memory: tuple[tuple[int, ...], ModelMemory] | None = None  # of these pipelines

    def load(self) -> None:
        """See `FamilyAdapter`."""
        self._model = self._load(self._card, self._options)
        size = self._warm_up_size()
        self.make([_warm_up_order(self._card, size)], size, watchers=[Unwatched()], spare_memory=False)

    def unload(self) -> None:
        """See `FamilyAdapter`."""
        self._model = self._memory = None
        self._options.prompts.clear()
        if self._options.loras is not None:
            self._options.loras.forget(self._card.id)
        self._options.device.free_unused_memory()

    def to_host(self) -> bool:
        """See `FamilyAdapter`."""
        pipelines = self._loaded().pipelines
        if placement_of(pipelines, self._options.device) is not Placement.WHOLE:
            return False
        if self._options.loras is not None:
            self._options.loras.forget(self._card.id)
        self._memory = None
        move(pipelines, HOST)
        return True

    def to_device(self) -> None:
        """See `FamilyAdapter`."""
        self._memory = None
        move(self._loaded().pipelines, self._options.device.torch_device)

    @contextmanager
    def offloaded(self) -> Generator[None]:
        """See `FamilyAdapter`."""
        model = self._loaded()
        self._memory = None
        move(model.pipelines, HOST)
        try:
            offload_for_once(model.parts, model.pipelines, self._options.device)
            yield
        finally:
            for pipeline in model.pipelines:  # the parts may be another pipeline's by now
                pipeline.remove_all_hooks()
            self.to_device()

    def memory(self) -> ModelMemory:
        """See `FamilyAdapter`. Looked at again only where something may have moved: it takes milliseconds."""
        pipelines = self._loaded().pipelines
        known = tuple(id(pipeline) for pipeline in pipelines)
        if self._memory is None or self._memory[0] != known:
            self._memory = known, device_memory(pipelines, self._options.device)
        return self._memory[1]

    def placement(self) -> str:
        """See `FamilyAdapter`."""
        return placement_of(self._loaded().pipelines, self._options.device)

    def working_bytes(self, size: Size, pictures: int, *, guided: bool, tiled: bool) -> int:
        """See `FamilyAdapter`."""
        return estimate_working_bytes(self._loaded().parts, size, pictures, guided=guided, tiled=tiled)

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ModelLoadFailure(f"Model {self._card.id} is not loaded.")
        return self._model

    def make(
        self, orders: Sequence[Order], size: Size, *, watchers: Sequence[StepWatcher], spare_memory: bool
    ) -> Sequence[MadePicture | None]:
        """See `FamilyAdapter`."""
        model = self._loaded()
        if all(watcher.stopped() for watcher in watchers):
            return [None] * len(orders)
        if (unchanged := _unchanged(orders)) is not None:
            return unchanged
        if spare_memory and self._options.loras is not None:
            self._options.loras.forget()
        model.parts.vae.use_tiling = spare_memory
        tiled = spare_memory and max(size) > model.tile_side
        in_tiles = ("decoded in tiles for lack of memory",) if tiled else ()
        with torch.inference_mode(), _handed_back(model):
            prompts = model.encode(orders)
            with self._attention_for(model, prompts):
                denoising = Denoising(model, self._card, orders, size, watchers, self._options.loras)
                latents = denoising.run(prompts)
            of_all = (*denoising.adjustments, *in_tiles)
            return [
                None
                if of_one is None
                else MadePicture(rgb=model.decode(of_one, size), adjustments=(*adjustments, *of_all))
                for of_one, adjustments in zip(latents, prompts.adjustments, strict=True)
            ]

    @contextmanager
    def _attention_for(self, model: LoadedModel, prompts: Prompts) -> Generator[None]:
        """Flash kernels take no mask."""
        flash = self._options.attention
        if flash is None or not prompts.need_mask:
            yield
            return
        model.parts.transformer.set_attention_backend("native")
        try:
            yield
        finally:
            model.parts.transformer.set_attention_backend(flash)

    def _warm_up_size(self) -> Size:
        """The model's usual size on a GPU, where compilers and kernels tune to it; the smallest one on a CPU."""
        rules, defaults = self._card.capabilities.size_rules, self._card.defaults
        if self._options.device.is_cuda:
            return plan_size(rules, defaults.width, defaults.height).native
        return plan_size(rules, 1, 1).native


def _unchanged(orders: Sequence[Order]) -> list[MadePicture | None] | None:
    """The pictures begun with, where the request leaves all of them as they are, for which pipelines do not run."""
    request = orders[0].request
    starts = [order.start for order in orders if order.start is not None]
    if not starts or steps_taken(request.num_inference_steps, request.strength or 0):
        return None
    return [MadePicture(rgb=start.rgb) for start in starts]


@contextmanager
def _handed_back(model: LoadedModel) -> Generator[None]:
    """Offloaded parts leave the device in the end; a batch's own pipeline does not know of them."""
    try:
        yield
    finally:
        model.parts.maybe_free_model_hooks()


def _warm_up_order(card: ModelCard, size: Size) -> Order:
    """The smallest that the model takes: from nothing if it can, else from a grey picture."""
    can = card.capabilities
    mode = Mode.TEXT2IMG if Mode.TEXT2IMG in can.modes else min(can.modes)
    grey = np.full((size[1], size[0], 3), WARM_UP_GREY, np.uint8)
    from_nothing = mode is Mode.TEXT2IMG
    refers = mode is Mode.EDIT and can.instruction_edit
    return Order(
        request=GenerationRequest(
            model=card.id,
            mode=mode,
            prompt="",
            negative_prompt="",
            width=size[0],
            height=size[1],
            num_inference_steps=1,
            guidance_scale=card.defaults.guidance_scale if can.guidance else 0.0,
            seed=0,
            strength=None if from_nothing or refers else 1.0,
        ),
        start=None
        if from_nothing or refers
        else InputPicture(rgb=grey, mask=grey[:, :, 0] if mode is Mode.FILL else None),
        control=grey if mode is Mode.CONTROLNET else None,
        references=(grey,) if refers else (),
    )
