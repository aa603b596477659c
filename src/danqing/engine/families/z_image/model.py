"""Z-Image on one device: what the pipelined adapter asks of it."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.core.types import Mode
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.autoencoder_kl import decode, encode
from danqing.engine.families.compiling import compile_layers
from danqing.engine.families.loaded_model import Prompts, Size
from danqing.engine.families.loading import load_pipeline
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.preview_decoder import choose_preview
from danqing.engine.families.z_image.controlnets import COMPONENT, with_controlnet
from danqing.engine.families.z_image.pipelines import pipeline_for
from danqing.engine.families.z_image.prompts import PromptEncoder
from danqing.engine.launched import Levels


class ZImage:
    """A `LoadedModel`."""

    def __init__(self, card: ModelCard, options: AdapterOptions) -> None:
        self.parts: Any = load_pipeline(ZImagePipeline, card, options)
        self._encoder = PromptEncoder(self.parts, card.id, options)
        if options.compile:
            compile_layers(self._encoder.layers)
        self._card = card
        self._options = options
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
        return (self.parts,)

    @property
    def tile_side(self) -> int:
        """See `LoadedModel`."""
        side: int = self.parts.vae.tile_sample_min_size
        return side

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """See `LoadedModel`."""
        prompts = self._encoder.encode([order.request for order in orders])
        # The ControlNet gives a mask even where nothing is padded, to the refiners too that it shares.
        return dataclasses.replace(prompts, need_mask=prompts.need_mask or orders[0].control is not None)

    def noise(self, seed: int, size: Size) -> Tensor:
        """float32 (1, channels, h, w)."""
        width, height = (side // self.parts.vae_scale_factor for side in size)
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn((1, self.parts.transformer.in_channels, height, width), generator=generator)

    def pipeline(self, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:
        """See `LoadedModel`. Loads the ControlNet for the first orders that need it."""
        if orders[0].control is not None and COMPONENT not in self.parts.components:
            self.parts = with_controlnet(self.parts, self._card, self._options)
        companion = self._card.companion(Mode.CONTROLNET)
        return pipeline_for(self.parts, orders, conditioning_scale=companion.conditioning_scale if companion else None)

    def decoding(self, latents: Tensor, size: Size) -> Callable[[Any], Levels]:
        """latents: (1, channels, h, w)."""
        return lambda vae: decode(vae, latents)

    def preview(self, latents: Tensor, size: Size) -> Levels:
        """latents: (1, channels, h, w)."""
        return self._preview(latents)


def z_image_adapter(card: ModelCard, options: AdapterOptions) -> PipelinedAdapter:
    """The family's `FamilyAdapter`."""
    return PipelinedAdapter(card, options, load=ZImage)
