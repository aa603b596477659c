"""Z-Image on one device: a request, and the picture that it starts from, to pixels."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.device import is_out_of_memory
from danqing.engine.families.adapter import AdapterOptions, MadePicture, StepWatcher, Unwatched
from danqing.engine.families.z_image.latents import decode, foreseen
from danqing.engine.families.z_image.loading import load_pipeline
from danqing.engine.families.z_image.pipelines import pipeline_for, steps_taken
from danqing.engine.families.z_image.prompts import PromptEncoder, Prompts
from danqing.engine.input_pictures import InputPicture

log = structlog.get_logger(__name__)


class ZImageAdapter:
    """A `FamilyAdapter`. Pipeline, scheduler and generator are new for every request; the loaded parts keep nothing."""

    def __init__(self, card: ModelCard, options: AdapterOptions) -> None:
        self._card = card
        self._options = options
        self._loaded: Any = None  # a ZImagePipeline, or None; diffusers is not typed

    def load(self) -> None:
        """See `FamilyAdapter`."""
        self._loaded = load_pipeline(self._card, self._options)
        size = self._warm_up_size()
        request = GenerationRequest(
            model=self._card.id,
            mode=Mode.TEXT2IMG,
            prompt="",
            negative_prompt="",
            width=size[0],
            height=size[1],
            num_inference_steps=1,
            guidance_scale=0.0,
            seed=0,
        )
        self.make(request, size, start=None, watcher=Unwatched(), spare_memory=False)

    def unload(self) -> None:
        """See `FamilyAdapter`."""
        self._loaded = None
        self._options.prompts.clear()
        self._options.device.free_unused_memory()

    def make(
        self,
        request: GenerationRequest,
        size: tuple[int, int],
        *,
        start: InputPicture | None,
        watcher: StepWatcher,
        spare_memory: bool,
    ) -> MadePicture | None:
        """See `FamilyAdapter`."""
        if self._loaded is None:
            raise ModelLoadFailure(f"Model {self._card.id} is not loaded.")
        if watcher.stopped():
            return None
        if start is not None and not steps_taken(request.num_inference_steps, request.strength or 0):
            return MadePicture(rgb=start.rgb)
        vae = self._loaded.vae
        vae.use_tiling = spare_memory
        tiled = spare_memory and max(size) > vae.tile_sample_min_size
        with torch.inference_mode(), self._handed_back():
            prompts = PromptEncoder(self._loaded, self._card.id, self._options).encode(request)
            with self._attention_for(prompts):
                latents = self._denoise(request, size, start, prompts, watcher)
            if latents is None:
                return None
            in_tiles = ("decoded in tiles for lack of memory",) if tiled else ()
            return MadePicture(rgb=decode(vae, latents), adjustments=(*prompts.adjustments, *in_tiles))

    def _denoise(
        self,
        request: GenerationRequest,
        size: tuple[int, int],
        start: InputPicture | None,
        prompts: Prompts,
        watcher: StepWatcher,
    ) -> Tensor | None:
        """Latents (1, channels, h, w), or None once stopped: the pipeline's own flag makes it leave out the rest."""
        pipeline, inputs = pipeline_for(self._loaded, start, request.strength)
        dropped = False
        before: Tensor | None = None

        def after_step(_: object, index: int, timestep: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            nonlocal dropped, before
            step, total_steps, latents = index + 1, pipeline.num_timesteps, tensors["latents"]
            if step < total_steps and watcher.wants_preview():
                shown = self._preview(
                    foreseen(pipeline.begun if before is None else before, latents, pipeline.scheduler)
                )
                if shown is not None:
                    watcher.preview_made(step, total_steps, shown)
            before = latents
            watcher.step_done(step, total_steps)
            dropped = pipeline._interrupt = watcher.stopped()
            return tensors

        latents: Tensor = pipeline(
            width=size[0],
            height=size[1],
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            latents=self._noise(request.seed, size),
            prompt_embeds=[prompts.positive],
            negative_prompt_embeds=None if prompts.negative is None else [prompts.negative],
            output_type="latent",
            return_dict=False,
            callback_on_step_end=after_step,
            **_pipelines_own(request),
            **inputs,
        )[0]
        return None if dropped else latents

    def _noise(self, seed: int, size: tuple[int, int]) -> Tensor:
        """float32 (1, channels, h, w). Drawn on the CPU for every device, so that a seed means the same everywhere."""
        width, height = (side // self._loaded.vae_scale_factor for side in size)
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn((1, self._loaded.transformer.in_channels, height, width), generator=generator)
        return noise.to(self._options.device.torch_device)

    def _preview(self, latents: Tensor) -> npt.NDArray[np.uint8] | None:
        """None where it fails: that is no reason to lose the picture itself."""
        try:
            return decode(self._loaded.vae, latents)
        except EngineFailure:
            return None
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            log.warning("no_memory_for_preview", model=self._card.id)
            return None

    @contextmanager
    def _handed_back(self) -> Generator[None]:
        """Offloaded parts leave the device in the end; the request's own pipelines do not know of them."""
        try:
            yield
        finally:
            self._loaded.maybe_free_model_hooks()

    @contextmanager
    def _attention_for(self, prompts: Prompts) -> Generator[None]:
        """Flash kernels take no mask, and guidance needs one where its two prompts differ in length."""
        flash = self._options.attention
        if flash is None or not prompts.differ_in_length:
            yield
            return
        self._loaded.transformer.set_attention_backend("native")
        try:
            yield
        finally:
            self._loaded.transformer.set_attention_backend(flash)

    def _warm_up_size(self) -> tuple[int, int]:
        """The model's usual size on a GPU, where compilers and kernels tune to it; the smallest one on a CPU."""
        rules, defaults = self._card.capabilities.size_rules, self._card.defaults
        if self._options.device.is_cuda:
            return plan_size(rules, defaults.width, defaults.height).native
        return plan_size(rules, 1, 1).native


def _pipelines_own(request: GenerationRequest) -> dict[str, float]:
    """What the request says of the pipeline's own parameters; the rest is left to it."""
    said = {"cfg_normalization": request.cfg_normalization, "cfg_truncation": request.cfg_truncation}
    return {name: value for name, value in said.items() if value is not None}
