"""The engine: models on one device, and what finishes their pictures."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import diffusers.utils.logging
import structlog
import torch
import tqdm
import transformers.utils.logging

from danqing import __version__
from danqing.core.adjustments import foreseen_adjustments
from danqing.core.engine_port import Denoised, Observer, Outcome, ReadImage
from danqing.core.errors import DanqingError, EngineFailure, ModelLoadFailure, UnknownModel
from danqing.core.sizes import SizePlan, plan_size, usual_size
from danqing.core.types import ArtifactKind, DeviceStatus, EncodedPicture, GenerationRequest, Mode, RawPicture
from danqing.core.upscaling import CARD
from danqing.engine.attention import AttentionChoice
from danqing.engine.batch_maker import BatchMaker, Pending
from danqing.engine.codecs.png import MEDIA_TYPE, PngText, encode_png
from danqing.engine.codecs.request_texts import request_texts
from danqing.engine.codecs.small import encode_webp
from danqing.engine.device import Device, available_cores, default_cpu_threads
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.freed_memory import keep_freed_memory
from danqing.engine.host_memory import host_memory
from danqing.engine.input_pictures import control_picture, reference_pictures, shown_input, start_picture, whole_input
from danqing.engine.library_errors import translated
from danqing.engine.lora_files import LoraFiles
from danqing.engine.loras import LoraPool
from danqing.engine.masks import keep_masked
from danqing.engine.memory_plan import Peaks
from danqing.engine.picture import finish_picture, pixels_of, raw_picture
from danqing.engine.previews import PreviewingWatcher
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.residency import Residency
from danqing.engine.resident_model import ResidentModel
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.upscaler import Upscaler

PREVIEW_MAX_SIDE = 1024  # pixels

log = structlog.get_logger(__name__)


class ResidentEngine:
    """An `Engine` (see `core/engine_port.py`) over the families' adapters."""

    def __init__(
        self,
        spec: EngineSpec,
        *,
        device: Device,
        families: FamilyRegistry,
        upscaler: Upscaler,
    ) -> None:
        self._spec = spec
        self._device = device
        self._families = families
        self._upscaler = upscaler
        self._cards = {card.id: card for card in spec.cards}
        self._models: dict[str, ResidentModel] = {}
        self._residency: Residency | None = None
        self._maker: BatchMaker | None = None
        self._prompts = PromptCache(max_bytes=spec.prompt_cache_bytes)

    def load(self) -> None:
        """See `Engine`. After a failure nothing is left loaded."""
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        # Else tqdm makes a lock between processes, which is left over when this one ends, and Python complains.
        tqdm.tqdm.set_lock(threading.RLock())  # pyright: ignore[reportUnknownMemberType]
        cpu_threads = None if self._device.is_cuda else self._spec.cpu_threads or default_cpu_threads()
        if cpu_threads is not None:
            torch.set_num_threads(cpu_threads)
            keep_freed_memory()
        options = AdapterOptions(
            device=self._device,
            cpu_offload=self._spec.cpu_offload,
            attention=AttentionChoice(self._device, self._spec.attention, compiled=self._spec.compile is True),
            prompts=self._prompts,
            loras=LoraPool(LoraFiles(self._spec.lora_folder), self._device, max_bytes=self._spec.lora_pool_bytes),
            # On the core beside that; with more of them it would take longer, and perhaps nobody waits for those.
            decode_later=cpu_threads == 1 and available_cores() > 1,
            read_later=self._device.is_cuda,
        )
        self._device.make_current()
        self._device.enforce_limit()
        self._models = {
            card.id: ResidentModel(
                card, options, compile=self._spec.compile, adapter=self._families.adapter_factory(card.family)
            )
            for card in self._spec.cards
        }
        self._residency = Residency(
            self._models,
            capacity_bytes=self._device.capacity_bytes,
            free_bytes=self._device.free_bytes,
            host_free_bytes=(lambda: host_memory().available_bytes) if self._device.has_own_memory else None,
            tidy=self._device.free_unused_memory,
        )
        try:
            self._residency.start(working_bytes=self._usual_working_bytes)
        except EngineFailure:
            self.unload()
            raise
        self._maker = BatchMaker(
            self._models, residency=self._residency, device=self._device, peaks=Peaks(self._spec.peaks_file)
        )

    def _usual_working_bytes(self) -> int:
        """Of a picture as clients get it who say nothing of it."""
        model = next(iter(self._models.values()))
        guided = model.card.defaults.guidance_scale > 0
        return model.adapter.working_bytes(usual_size(model.card), 1, guided=guided, tiled=False, offloaded=False)

    def unload(self) -> None:
        """Gives the models' memory back; `load` may be called again."""
        self._maker = None
        if self._residency is not None:
            self._residency.unload()

    def device(self) -> DeviceStatus:
        """See `Engine`."""
        loaded = tuple(status for model in self._models.values() if (status := model.status()) is not None)
        return replace(
            self._device.status(),
            models=tuple(status.id for status in loaded if status.on_device),
            loaded=loaded,
            prompt_cache_bytes=self._spec.prompt_cache_bytes,
            prompt_cache_hits=self._prompts.hits,
            prompt_cache_misses=self._prompts.misses,
        )

    def denoise(
        self, requests: Sequence[GenerationRequest], *, read_image: ReadImage, observers: Sequence[Observer]
    ) -> Sequence[Outcome]:
        """See `Engine`. A model that is not on the device is brought there first."""
        plan = self._plan(requests[0])
        outcomes: list[Outcome] = [None] * len(requests)
        batch: dict[int, Pending] = {}
        for i, (request, observer) in enumerate(zip(requests, observers, strict=True)):
            if observer.stopped():
                continue
            try:
                with translated("read_inputs", request.model, EngineFailure()):
                    order = self._order(request, plan, read_image)
            except DanqingError as failure:
                outcomes[i] = failure
            else:
                batch[i] = Pending(order, PreviewingWatcher(observer, plan, order.start))
        if batch:
            if self._maker is None:
                raise ModelLoadFailure("The models are not loaded.")
            made = self._maker.make(list(batch.values()), plan.native)
            for i, outcome in zip(batch, made, strict=True):
                outcomes[i] = outcome
        return outcomes

    def _order(self, request: GenerationRequest, plan: SizePlan, read_image: ReadImage) -> Order:
        """With a strength a picture begins with its input, under a ControlNet only below 1; an instruction's inputs are
        looked at as they are.
        """
        begins = request.strength is not None and (request.mode is not Mode.CONTROLNET or request.strength < 1)
        can = self._cards[request.model].capabilities
        instructed = request.mode is Mode.EDIT and can.instruction_edit
        framed = can.reference_scaling is not None and can.reference_scaling.framed
        return Order(
            request=request,
            start=start_picture(request, plan, read_image=read_image) if begins else None,
            control=control_picture(request, plan, read_image=read_image),
            references=reference_pictures(request, read_image=read_image, frame=plan if framed else None)
            if instructed
            else (),
        )

    def finish(self, raw: Denoised, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """See `Engine`. At strength 0 it is the input itself, which so does not pass through the model's size."""
        plan = self._plan(request)
        with translated("finish", request.model, EngineFailure()):
            shown = None
            if request.mask is not None or request.strength == 0:
                shown = shown_input(request, plan.final, read_image=read_image)
            if shown is not None and request.strength == 0:
                return raw_picture(shown.rgb, raw.adjustments)
            made = raw.computed()
            if (made.width, made.height) != plan.native:
                raise EngineFailure("The model made a picture of another size than planned.")
            final = finish_picture(pixels_of(made), plan, self._upscaler)
            if shown is not None and shown.mask is not None:
                final = keep_masked(final, shown.rgb, shown.mask)
        return raw_picture(final, (*made.adjustments, *(self._upscaler.traits.adjustments if plan.enlarge else ())))

    def to_enlarge(self, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """See `Engine`."""
        with translated("read_inputs", request.model, EngineFailure()):
            return raw_picture(whole_input(request, read_image=read_image), ())

    def enlarge(self, picture: RawPicture, *, on_part: Callable[[int, int], None]) -> RawPicture:
        """See `Engine`."""
        upscaler = self._upscaler.traits
        with translated("enlarge", upscaler.name, EngineFailure()):
            enlarged = self._upscaler.enlarge(pixels_of(picture), on_part=on_part)
        return raw_picture(enlarged, tuple(dict.fromkeys((*picture.adjustments, *upscaler.adjustments))))

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        """See `Engine`."""
        plan, rgb = self._plan(request), pixels_of(picture)
        with translated("encode", request.model, EngineFailure()):
            if kind is ArtifactKind.PREVIEW:
                return encode_webp(rgb, max_side=PREVIEW_MAX_SIDE)
            content = encode_png(rgb, self._texts(request, plan, kind, picture) if self._spec.picture_texts else ())
        return EncodedPicture(width=picture.width, height=picture.height, media_type=MEDIA_TYPE, content=content)

    def _texts(
        self, request: GenerationRequest, plan: SizePlan, kind: ArtifactKind, picture: RawPicture
    ) -> Sequence[PngText]:
        card = CARD if request.mode is Mode.UPSCALE else self._cards[request.model]
        adjustments = (*foreseen_adjustments(request, card), *picture.adjustments)
        upscaler = self._upscaler.traits.name
        return request_texts(request, plan, kind, adjustments=adjustments, upscaler=upscaler, version=__version__)

    def _plan(self, request: GenerationRequest) -> SizePlan:
        if request.mode is Mode.UPSCALE:
            size = request.input_images[0].size
            return SizePlan(native=size, final=(request.width, request.height), enlarge=True, crop_only=False)
        if request.model not in self._cards:
            raise UnknownModel(f"This worker has no model {request.model}.", parameter="model")
        return plan_size(self._cards[request.model].capabilities.size_rules, request.width, request.height)
