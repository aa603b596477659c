"""The engine: models loaded once and kept on one device, and what finishes their pictures."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import diffusers.utils.logging
import structlog
import torch
import tqdm
import transformers.utils.logging

from danqing import __version__
from danqing.core.adjustments import foreseen_adjustments
from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Observer, ReadImage
from danqing.core.errors import EngineFailure, ModelLoadFailure, OutOfMemory, UnknownModel
from danqing.core.sizes import SizePlan, plan_size
from danqing.core.types import ArtifactKind, DeviceStatus, EncodedPicture, GenerationRequest, Mode, RawPicture
from danqing.engine.codecs.png import MEDIA_TYPE, encode_png
from danqing.engine.codecs.request_texts import request_texts
from danqing.engine.codecs.small import encode_webp
from danqing.engine.device import Device, choose_attention, default_cpu_threads, is_out_of_memory
from danqing.engine.families.adapter import AdapterOptions, FamilyAdapter, MadePicture, Order
from danqing.engine.families.registry import FamilyRegistry
from danqing.engine.input_pictures import control_picture, reference_pictures, shown_input, start_picture
from danqing.engine.masks import keep_masked
from danqing.engine.picture import finish_picture, pixels_of, raw_picture
from danqing.engine.previews import PreviewingWatcher
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.spec import EngineSpec
from danqing.engine.upscale.real_esrgan import Upscaler

# What torch and diffusers raise; anything else comes from the caller's callbacks and is theirs.
LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, MemoryError)
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
        self._adapters: dict[str, FamilyAdapter] = {}

    def load(self) -> None:
        """See `Engine`. After a failure nothing is left loaded."""
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        # Else tqdm makes a lock between processes, which is left over when this one ends, and Python complains.
        tqdm.tqdm.set_lock(threading.RLock())  # pyright: ignore[reportUnknownMemberType]
        if not self._device.is_cuda:
            torch.set_num_threads(self._spec.cpu_threads or default_cpu_threads())
        options = AdapterOptions(
            device=self._device,
            compile=self._spec.compile,
            cpu_offload=self._spec.cpu_offload,
            attention=choose_attention(self._device, self._spec.attention),
            prompts=PromptCache(max_bytes=self._spec.prompt_cache_bytes),
        )
        try:
            for card in self._spec.cards:
                self._load(card, options)
        except EngineFailure:
            self.unload()
            raise

    def _load(self, card: ModelCard, options: AdapterOptions) -> None:
        started = time.monotonic()
        adapter = self._families.adapter_factory(card.family)(card, options)
        self._adapters[card.id] = adapter
        with _translated("load", card.id, ModelLoadFailure(f"Model {card.id} makes no picture.")):
            adapter.load()
        log.info(
            "model_loaded",
            model=card.id,
            device=str(self._device.torch_device),
            dtype=str(self._device.dtype),
            attention=options.attention or "native",
            seconds=round(time.monotonic() - started, 2),
        )

    def unload(self) -> None:
        """Gives the models' memory back; `load` may be called again."""
        while self._adapters:
            self._adapters.popitem()[1].unload()

    def device(self) -> DeviceStatus:
        """See `Engine`."""
        return self._device.status()

    def denoise(self, request: GenerationRequest, *, read_image: ReadImage, observer: Observer) -> RawPicture | None:
        """See `Engine`. When memory runs out, everything unused is freed and the request is tried once more."""
        plan = self._plan(request)
        if observer.stopped():
            return None
        with _translated("read_inputs", request.model, EngineFailure()):
            order = self._order(request, plan, read_image)
        watcher = PreviewingWatcher(observer, plan, order.start)

        def make(spare_memory: bool) -> MadePicture | None:
            adapter = self._adapters[request.model]
            (made,) = adapter.make([order], plan.native, watchers=[watcher], spare_memory=spare_memory)
            return made

        with _translated("denoise", request.model, EngineFailure()):
            made = self._try_twice(make, request.model)
        if made is None:
            return None
        adjustments = (*(order.start.adjustments if order.start else ()), *made.adjustments)
        return raw_picture(made.rgb, adjustments)

    def _order(self, request: GenerationRequest, plan: SizePlan, read_image: ReadImage) -> Order:
        """With a strength a picture begins with its input, under a ControlNet only below 1; an instruction's inputs are
        looked at as they are.
        """
        begins = request.strength is not None and (request.mode is not Mode.CONTROLNET or request.strength < 1)
        instructed = request.mode is Mode.EDIT and self._cards[request.model].capabilities.instruction_edit
        return Order(
            request=request,
            start=start_picture(request, plan, read_image=read_image) if begins else None,
            control=control_picture(request, plan, read_image=read_image),
            references=reference_pictures(request, read_image=read_image) if instructed else (),
        )

    def finish(self, raw: RawPicture, request: GenerationRequest, *, read_image: ReadImage) -> RawPicture:
        """See `Engine`. At strength 0 it is the input itself, which so does not pass through the model's size."""
        plan = self._plan(request)
        if (raw.width, raw.height) != plan.native:
            raise EngineFailure("The model made a picture of another size than planned.")
        with _translated("finish", request.model, EngineFailure()):
            shown = None
            if request.mask is not None or request.strength == 0:
                shown = shown_input(request, plan.final, read_image=read_image)
            if shown is not None and request.strength == 0:
                return raw_picture(shown.rgb, raw.adjustments)
            final = finish_picture(pixels_of(raw), plan, self._upscaler)
            if shown is not None and shown.mask is not None:
                final = keep_masked(final, shown.rgb, shown.mask)
        return raw_picture(final, raw.adjustments)

    def enlarge(self, picture: RawPicture, *, on_part: Callable[[int, int], None]) -> RawPicture:
        """See `Engine`."""
        with _translated("enlarge", "real_esrgan", EngineFailure()):
            return raw_picture(self._upscaler.enlarge(pixels_of(picture), on_part=on_part), picture.adjustments)

    def encode(self, picture: RawPicture, request: GenerationRequest, kind: ArtifactKind) -> EncodedPicture:
        """See `Engine`."""
        plan, rgb = self._plan(request), pixels_of(picture)
        with _translated("encode", request.model, EngineFailure()):
            if kind is ArtifactKind.PREVIEW:
                return encode_webp(rgb, max_side=PREVIEW_MAX_SIDE)
            adjustments = (*foreseen_adjustments(request, self._cards[request.model]), *picture.adjustments)
            texts = request_texts(request, plan, kind, adjustments=adjustments, version=__version__)
            content = encode_png(rgb, texts)
        return EncodedPicture(width=picture.width, height=picture.height, media_type=MEDIA_TYPE, content=content)

    def _plan(self, request: GenerationRequest) -> SizePlan:
        if request.model not in self._cards:
            raise UnknownModel(f"This worker has no model {request.model}.", parameter="model")
        return plan_size(self._cards[request.model].capabilities.size_rules, request.width, request.height)

    def _try_twice(self, make: Callable[[bool], MadePicture | None], model: str) -> MadePicture | None:
        try:
            return make(False)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            log.warning("out_of_memory_trying_again", model=model)
        # Only here, where the error is gone and with it the frames that held the failed try's tensors.
        self._device.free_unused_memory()
        return make(True)


@contextmanager
def _translated(stage: str, model: str, failure: EngineFailure) -> Generator[None]:
    try:
        yield
    except LIBRARY_ERRORS as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory from exc
        log.error("engine_failure", stage=stage, model=model, exc_info=True)
        raise failure from exc
