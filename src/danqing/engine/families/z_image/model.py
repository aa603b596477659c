"""Z-Image on one device: what the pipelined adapter asks of it."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from torch import Tensor

from danqing.core.capabilities import ModelCard
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.autoencoder_kl import decode
from danqing.engine.families.loading import load_pipeline
from danqing.engine.families.pipelined import PipelinedAdapter, Prompts, Size
from danqing.engine.families.z_image.pipelines import pipeline_for
from danqing.engine.families.z_image.prompts import PromptEncoder
from danqing.engine.input_pictures import Pixels


class ZImage:
    """A `LoadedModel`."""

    def __init__(self, card: ModelCard, options: AdapterOptions) -> None:
        self.parts: Any = load_pipeline(ZImagePipeline, card, options)
        self._encoder = PromptEncoder(self.parts, card.id, options)

    @property
    def tile_side(self) -> int:
        """See `LoadedModel`."""
        side: int = self.parts.vae.tile_sample_min_size
        return side

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """See `LoadedModel`."""
        return self._encoder.encode([order.request for order in orders])

    def noise(self, seed: int, size: Size) -> Tensor:
        """float32 (1, channels, h, w)."""
        width, height = (side // self.parts.vae_scale_factor for side in size)
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn((1, self.parts.transformer.in_channels, height, width), generator=generator)

    def pipeline(self, orders: Sequence[Order], size: Size) -> tuple[Any, dict[str, Any]]:
        """See `LoadedModel`."""
        return pipeline_for(self.parts, orders)

    def decode(self, latents: Tensor, size: Size) -> Pixels:
        """latents: (1, channels, h, w)."""
        return decode(self.parts.vae, latents)


def z_image_adapter(card: ModelCard, options: AdapterOptions) -> PipelinedAdapter:
    """The family's `FamilyAdapter`."""
    return PipelinedAdapter(card, options, load=ZImage)
