"""FLUX on one device: what the pipelined adapter asks of it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.types import Mode
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.autoencoder_kl import decode, encode
from danqing.engine.families.flux.companions import with_companion
from danqing.engine.families.flux.latents import packed, unpacked
from danqing.engine.families.flux.pipelines import pipeline_for
from danqing.engine.families.flux.prompts import PromptEncoder
from danqing.engine.families.loaded_model import Prompts, Size
from danqing.engine.families.loading import load_pipeline
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.placement import offload_parts
from danqing.engine.families.preview_decoder import choose_preview
from danqing.engine.launched import Levels


class Flux:
    """A `LoadedModel`."""

    def __init__(self, card: ModelCard, options: AdapterOptions) -> None:
        self._card = card
        self._options = options
        self.parts: Any = load_pipeline(FluxPipeline, card, options)
        _check_tokenizers(self.parts, card)
        self._alone = self.parts
        self._with: dict[Mode, Any] = {}  # the companion of that mode
        self._encoder = PromptEncoder(
            self.parts, card.id, options, max_tokens=card.capabilities.sequence_length.maximum
        )
        vae = self.parts.vae
        self._preview = choose_preview(
            card,
            options,
            channels=vae.config.latent_channels,
            encode=partial(encode, vae),
            decode=partial(decode, vae),
        )

    @property
    def pipelines(self) -> Sequence[Any]:
        """See `LoadedModel`."""
        return (self._alone, *self._with.values())

    @property
    def tile_side(self) -> int:
        """See `LoadedModel`."""
        side: int = self.parts.vae.tile_sample_min_size
        return side

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """See `LoadedModel`."""
        return self._encoder.encode([order.request for order in orders])

    def noise(self, seed: int, size: Size) -> Tensor:
        """float32 (1, tokens, 4 * channels): drawn as an image of latents, then packed."""
        channels: int = self.parts.vae.config.latent_channels
        width, height = (side // self.parts.vae_scale_factor for side in size)
        generator = torch.Generator("cpu").manual_seed(seed)
        return packed(torch.randn((1, channels, height, width), generator=generator))

    def pipeline(self, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:
        """See `LoadedModel`. Loads a companion for the first orders that need it."""
        self._bring(self._companion_of(orders[0]))
        pipeline, inputs = pipeline_for(self.parts, orders)
        if orders[0].control is not None:
            inputs["controlnet_conditioning_scale"] = self._conditioning_scale(orders[0])
        return pipeline, inputs

    def decoding(self, latents: Tensor, size: Size) -> Callable[[Any], Levels]:
        """latents: (1, tokens, 4 * channels)."""
        image = self._as_image(latents, size)
        return lambda vae: decode(vae, image)

    def preview(self, latents: Tensor, size: Size) -> Levels:
        """latents: (1, tokens, 4 * channels)."""
        return self._preview(self._as_image(latents, size))

    def _as_image(self, latents: Tensor, size: Size) -> Tensor:
        width, height = (side // self.parts.vae_scale_factor for side in size)
        return unpacked(latents, (width, height))

    def _companion_of(self, order: Order) -> Mode | None:
        """The mode whose companion makes the picture; None: the model alone does."""
        if order.control is not None:
            return Mode.CONTROLNET
        masked = order.start is not None and order.start.mask is not None
        return Mode.FILL if masked and self._card.companion(Mode.FILL) else None

    def _bring(self, mode: Mode | None) -> None:
        if mode is not None and mode not in self._with:
            self._with[mode] = with_companion(self._alone, mode, self._card, self._options)
        parts = self._alone if mode is None else self._with[mode]
        if parts is self.parts:
            return
        self.parts = parts
        if self._options.cpu_offload and self._options.device.is_cuda:
            # What brings parts to the device belongs to one pipeline at a time.
            offload_parts(self.parts, self._options.device)

    def _conditioning_scale(self, order: Order) -> float:
        companion = self._card.companion(Mode.CONTROLNET)
        for scale in (order.request.controlnet_conditioning_scale, companion and companion.conditioning_scale):
            if scale is not None:
                return scale
        return 1.0


def _check_tokenizers(parts: Any, card: ModelCard) -> None:  # noqa: ANN401
    """Raises ModelLoadFailure for ones that are not those of the encoders: where files are missing they come empty."""
    for tokenizer, encoder in ((parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2)):
        words: int = encoder.config.vocab_size
        if not words // 2 < len(tokenizer) <= words:
            raise ModelLoadFailure(f"Model {card.id}: a tokenizer is missing, or of another kind.")


def flux_adapter(card: ModelCard, options: AdapterOptions) -> PipelinedAdapter:
    """The family's `FamilyAdapter`."""
    return PipelinedAdapter(card, options, load=Flux)
