"""The `FamilyAdapter` of every family whose diffusers pipelines call back after each step: a batch to pixels.

What is a family's own, it asks a `LoadedModel`.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import structlog
import torch
from torch import Tensor

from danqing import collector
from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.sentences import says
from danqing.core.sizes import plan_size, usual_size
from danqing.core.types import GenerationRequest, ModelStatus
from danqing.engine.attention import NATIVE
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import (
    AdapterOptions,
    MadePicture,
    ModelMemory,
    Order,
    StepWatcher,
    UndecodedPicture,
    Unwatched,
)
from danqing.engine.families.decoding import decoded, on_its_way, serves_threads, undecoded
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
from danqing.engine.families.step_cache import StepCache
from danqing.engine.families.transformer_attention import kernel_of, with_masks
from danqing.engine.families.vae_format import VaeFormat, set_vae_format
from danqing.engine.families.warm_up import size_of_batches, warm_up_batches, warm_up_order
from danqing.engine.families.working_memory import estimate_work
from danqing.engine.host_memory import host_memory
from danqing.engine.memory_plan import Way

log = structlog.get_logger(__name__)


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
        self._vae_format = VaeFormat()

    def load(self) -> None:
        """See `FamilyAdapter`."""
        model = self._model = self._load(self._card, self._options)
        self._vae_format = set_vae_format(
            model.parts.vae,
            self._options.device,
            whole=self.placement() is Placement.WHOLE,
            compiled_for=usual_size(self._card) if self._options.compile else None,
        )
        if self._options.compile:
            collector.go_on()  # it takes minutes, and makes cycles by the thousand
        self._warm_up()
        if self._options.compile:
            self._warm_up_batches()

    def _warm_up(self) -> None:
        """In the first way for which there is memory, as pictures are made later."""
        size = self._warm_up_size()
        order = warm_up_order(self._card, size)
        ways = self.memory().ways(host_free_bytes=host_memory().available_bytes)
        for way in ways:
            try:
                with self.offloaded() if way is Way.OFFLOADED else nullcontext():
                    (made,) = self.make([order], size, watchers=[Unwatched()], spare_memory=way is not Way.PLAIN)
                    if made is not None:
                        made.decoded()
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc) or way is ways[-1]:
                    raise
                log.warning("out_of_memory_warming_up", model=self._card.id, way=str(way))
            else:
                return
            # Only here, where the error is gone and with it the frames that held the failed try's tensors.
            self._options.device.free_unused_memory()

    def _warm_up_batches(self) -> None:
        """Several pictures together, with texts of equal and of different length, are compiled apart from one alone."""
        size = size_of_batches(self._card)
        try:
            for batch in warm_up_batches(self._card, size):
                for made in self.make(batch, size, watchers=[Unwatched()] * len(batch), spare_memory=False):
                    if made is not None:
                        made.decoded()
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            log.warning("no_memory_to_compile_batches", model=self._card.id)
        self._options.device.free_unused_memory()

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

    def placement(self) -> Placement:
        """What is in force now."""
        return placement_of(self._loaded().pipelines, self._options.device)

    def status(self) -> ModelStatus:
        """See `FamilyAdapter`."""
        return ModelStatus(
            id=self._card.id,
            placement=self.placement().value,
            precision=self._card.precision,
            dtype=str(self._options.device.dtype).removeprefix("torch."),
            attention=kernel_of(self._loaded().parts, self._card, self._options) or NATIVE,
            compiled=self._options.compile,
            vae=str(self._vae_format),
            step_cache=self._card.capabilities.step_cache,
        )

    def working_bytes(self, size: Size, pictures: int, *, guided: bool, tiled: bool, offloaded: bool) -> int:
        """See `FamilyAdapter`."""
        work, memory = estimate_work(self._loaded().parts, size, pictures, guided=guided, tiled=tiled), self.memory()
        if offloaded or (memory.running and not memory.held):
            return work.beside_largest(memory.parts)
        return work.most

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise ModelLoadFailure(f"Model {self._card.id} is not loaded.")
        return self._model

    def make(
        self, orders: Sequence[Order], size: Size, *, watchers: Sequence[StepWatcher], spare_memory: bool
    ) -> Sequence[MadePicture | UndecodedPicture | None]:
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
        in_tiles = (says("decoded_in_tiles"),) if tiled else ()
        with torch.inference_mode(), _handed_back(model):
            prompts = model.encode(orders)
            with self._attention_for(model, prompts):
                step_cache, not_used = self._step_cache(orders[0].request)
                denoising = Denoising(model, self._card, orders, size, watchers, self._options.loras, step_cache)
                latents = denoising.run(prompts)
            of_all = (*denoising.adjustments, *not_used, *in_tiles)
            return [
                None if of_one is None else self._picture(of_one, size, (*adjustments, *of_all), later=not spare_memory)
                for of_one, adjustments in zip(latents, prompts.adjustments, strict=True)
            ]

    def _picture(
        self, latents: Tensor, size: Size, adjustments: tuple[str, ...], *, later: bool
    ) -> MadePicture | UndecodedPicture:
        model, options = self._loaded(), self._options
        if later and options.decode_later and not options.compile and serves_threads(model.parts.vae):
            work = estimate_work(model.parts, size, 1, guided=False, tiled=False).decoding
            return undecoded(model, latents, size, adjustments, ended=options.device.side_work.expect(work))
        if later and options.read_later:
            return on_its_way(model, latents, size, adjustments)
        return decoded(model, latents, size, adjustments)

    def _step_cache(self, request: GenerationRequest) -> tuple[StepCache | None, tuple[str, ...]]:
        """The one that is asked for; or none, and why that is so.

        Where each layer calls the next one to the device, none may be left out.
        """
        if request.step_cache is None:
            return None, ()
        if self.placement() is Placement.GROUPS:
            return None, (says("no_step_cache"),)
        return StepCache(request.step_cache), ()

    def _attention_for(self, model: LoadedModel, prompts: Prompts) -> AbstractContextManager[None]:
        return with_masks(model.parts, self._card, self._options) if prompts.need_mask else nullcontext()

    def _warm_up_size(self) -> Size:
        """The model's usual size on a GPU, where compilers and kernels tune to it; the smallest one on a CPU."""
        if self._options.device.is_cuda:
            return usual_size(self._card)
        return plan_size(self._card.capabilities.size_rules, 1, 1).native


def _unchanged(orders: Sequence[Order]) -> list[MadePicture | UndecodedPicture | None] | None:
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
