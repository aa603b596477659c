"""Z-Image on one device: prompt to embedding, embedding and seed to latents, latents to pixels."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure, ModelLoadFailure
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.families.adapter import AdapterOptions, MadePicture
from danqing.engine.families.z_image.loading import load_pipeline
from danqing.engine.prompt_cache import PromptKey

MAX_PROMPT_TOKENS = 512  # what Z-Image was trained with, its chat template included


@dataclass(frozen=True)
class _Prepared:
    """positive, negative: (tokens, width) each; negative is None without guidance."""

    positive: Tensor
    negative: Tensor | None
    adjustments: tuple[str, ...]


class ZImageAdapter:
    """A `FamilyAdapter`. Scheduler and generator are new for every request; the pipeline keeps nothing of one."""

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
        self.make(request, size, spare_memory=False, on_step=lambda step, total: None, stopped=lambda: False)

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
        spare_memory: bool,
        on_step: Callable[[int, int], None],
        stopped: Callable[[], bool],
    ) -> MadePicture | None:
        """See `FamilyAdapter`."""
        with torch.inference_mode():
            if stopped():
                return None
            prepared = self._prepare(request)
            latents = self._denoise(request, size, prepared, on_step=on_step, stopped=stopped)
            if latents is None:
                return None
            tiled = spare_memory and max(latents.shape[-2:]) > self._pipeline.vae.tile_latent_min_size
            in_tiles = ("decoded in tiles for lack of memory",) if tiled else ()
            return MadePicture(rgb=self._decode(latents, tiled=tiled), adjustments=(*prepared.adjustments, *in_tiles))

    @property
    def _pipeline(self) -> Any:  # noqa: ANN401  a ZImagePipeline
        if self._loaded is None:
            raise ModelLoadFailure(f"Model {self._card.id} is not loaded.")
        return self._loaded

    def _prepare(self, request: GenerationRequest) -> _Prepared:
        positive, cut = self._embedding(request.prompt)
        adjustments = [f"prompt cut to {MAX_PROMPT_TOKENS} tokens"] if cut else []
        if not request.guidance_scale:
            return _Prepared(positive, None, tuple(adjustments))
        negative, cut = self._embedding(request.negative_prompt)
        if cut:
            adjustments.append(f"negative_prompt cut to {MAX_PROMPT_TOKENS} tokens")
        return _Prepared(positive, negative, tuple(adjustments))

    def _embedding(self, text: str) -> tuple[Tensor, bool]:
        """The text as the transformer reads it, (tokens, width), and whether it was cut.

        Without padding: the text encoder is causal with relative positions, so padding on either side, which the
        pipeline itself adds and takes off again, changes nothing but the time.
        """
        chat: str = self._pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        parts: list[list[int]] = self._pipeline.tokenizer(
            chat, truncation=True, max_length=MAX_PROMPT_TOKENS, return_overflowing_tokens=True
        ).input_ids
        key = PromptKey(model=self._card.id, text=text, max_sequence_length=MAX_PROMPT_TOKENS)
        return self._options.prompts.get(key, lambda: self._encode(parts[0])), len(parts) > 1

    def _encode(self, tokens: list[int]) -> Tensor:
        ids = torch.tensor([tokens], device=self._options.device.torch_device)  # (1, tokens)
        states = self._pipeline.text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        embedding: Tensor = states[-2][0]
        return embedding  # (tokens, width)

    def _denoise(
        self,
        request: GenerationRequest,
        size: tuple[int, int],
        prepared: _Prepared,
        *,
        on_step: Callable[[int, int], None],
        stopped: Callable[[], bool],
    ) -> Tensor | None:
        """Latents (1, channels, h, w), or None once stopped.

        A stop sets the pipeline's own interrupt flag: it leaves the loop before the next step, as an exception would,
        but still hands its offloaded parts back.
        """
        pipeline = self._pipeline
        pipeline.scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
        dropped = False

        def after_step(_: object, index: int, timestep: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            nonlocal dropped
            on_step(index + 1, request.num_inference_steps)
            dropped = pipeline._interrupt = stopped()
            return tensors

        with self._attention_for(prepared):
            latents: Tensor = pipeline(
                width=size[0],
                height=size[1],
                num_inference_steps=request.num_inference_steps,
                guidance_scale=request.guidance_scale,
                # On the CPU for every device, so that a seed means the same noise everywhere.
                generator=torch.Generator("cpu").manual_seed(request.seed),
                prompt_embeds=[prepared.positive],
                negative_prompt_embeds=None if prepared.negative is None else [prepared.negative],
                output_type="latent",
                return_dict=False,
                callback_on_step_end=after_step,
            )[0]
        return None if dropped else latents

    @contextmanager
    def _attention_for(self, prepared: _Prepared) -> Generator[None]:
        """Flash kernels take no mask, and guidance needs one where its two prompts differ in length."""
        flash = self._options.attention
        if flash is None or prepared.negative is None or len(prepared.negative) == len(prepared.positive):
            yield
            return
        self._pipeline.transformer.set_attention_backend("native")
        try:
            yield
        finally:
            self._pipeline.transformer.set_attention_backend(flash)

    def _decode(self, latents: Tensor, *, tiled: bool) -> npt.NDArray[np.uint8]:
        """Latents (1, channels, h, w) to uint8 RGB (H, W, 3). Raises EngineFailure if the model made no numbers."""
        vae = self._pipeline.vae
        vae.use_tiling = tiled
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        image: Tensor = vae.decode(scaled, return_dict=False)[0]  # (1, 3, H, W), -1 to 1
        self._pipeline.maybe_free_model_hooks()
        if not torch.isfinite(image).all():
            raise EngineFailure("The model's result is not a picture (not a number).")
        levels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)  # (1, 3, H, W)
        return levels[0].permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)

    def _warm_up_size(self) -> tuple[int, int]:
        """The model's usual size on a GPU, where compilers and kernels tune to it; the smallest one on a CPU."""
        rules, defaults = self._card.capabilities.size_rules, self._card.defaults
        if self._options.device.is_cuda:
            return plan_size(rules, defaults.width, defaults.height).native
        return plan_size(rules, 1, 1).native
