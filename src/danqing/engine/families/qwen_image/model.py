"""Qwen-Image, and Qwen-Image-Edit, on one device: what the pipelined adapter asks of it."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import QwenImageEditPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from torch import Tensor
from transformers import Qwen2VLImageProcessorPil

from danqing.core.capabilities import ModelCard
from danqing.core.errors import ModelLoadFailure
from danqing.core.sentences import says
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.loaded_model import Prompts, Size
from danqing.engine.families.loading import is_local, load_pipeline, translated_loading
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.preview_decoder import choose_preview
from danqing.engine.families.qwen_image.capabilities import PROCESSOR
from danqing.engine.families.qwen_image.latents import decode, encode, noise, unpacked
from danqing.engine.families.qwen_image.pipelines import pipeline_for
from danqing.engine.families.qwen_image.prompts import PromptEncoder
from danqing.engine.families.qwen_image.references import References
from danqing.engine.launched import Levels

PIPELINES: tuple[Any, ...] = (QwenImagePipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline)


class QwenImage:
    """A `LoadedModel`."""

    def __init__(self, card: ModelCard, options: AdapterOptions) -> None:
        scaling = card.capabilities.reference_scaling
        self._references = References(scaling) if scaling else None
        # The checkpoint's own processor would ask for torchvision, for videos that nobody sends.
        without = {"processor": None} if scaling else {}
        self.parts: Any = load_pipeline(_pipeline_class(card), card, options, **without)
        _check_tokenizer(self.parts.tokenizer, card)
        image_processor = _load_image_processor(card) if scaling else None
        self._encoder = PromptEncoder(self.parts, image_processor, self._references, card.id, options)
        vae = self.parts.vae
        self._preview = choose_preview(
            card, options, channels=vae.config.z_dim, encode=partial(encode, vae), decode=partial(decode, vae)
        )

    @property
    def pipelines(self) -> Sequence[Any]:
        """See `LoadedModel`."""
        return (self.parts,)

    @property
    def tile_side(self) -> int:
        """See `LoadedModel`."""
        side: int = self.parts.vae.tile_sample_min_height
        return side

    def encode(self, orders: Sequence[Order]) -> Prompts:
        """See `LoadedModel`."""
        prompts = self._encoder.encode(orders)
        if not self._references or not self.parts.vae.use_tiling:
            return prompts
        tiled = [
            (says("encoded_in_tiles"),)
            if any(max(picture.size) > self.tile_side for picture in self._references.for_latents(order))
            else ()
            for order in orders
        ]
        both = zip(prompts.adjustments, tiled, strict=True)
        return dataclasses.replace(prompts, adjustments=tuple((*said, *more) for said, more in both))

    def noise(self, seed: int, size: Size) -> Tensor:
        """float32 (1, tokens, 4 * channels)."""
        return noise(self.parts.vae, seed, size)

    def pipeline(self, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:
        """See `LoadedModel`."""
        return pipeline_for(self.parts, orders, self._references)

    def decoding(self, latents: Tensor, size: Size) -> Callable[[Any], Levels]:
        """latents: packed."""
        image = unpacked(self.parts.vae, latents, size)
        return lambda vae: decode(vae, image)

    def preview(self, latents: Tensor, size: Size) -> Levels:
        """latents: packed."""
        return self._preview(unpacked(self.parts.vae, latents, size))


def qwen_image_adapter(card: ModelCard, options: AdapterOptions) -> PipelinedAdapter:
    """The family's `FamilyAdapter`."""
    return PipelinedAdapter(card, options, load=QwenImage)


def _pipeline_class(card: ModelCard) -> Any:  # noqa: ANN401
    """As the checkpoint names it. Raises ModelLoadFailure for one of another family."""
    source: Any = DiffusionPipeline  # not fully typed
    with translated_loading(card):
        index = source.load_config(card.source, revision=card.revision, local_files_only=is_local(card))
        return {each.__name__: each for each in PIPELINES}[index["_class_name"]]


def _load_image_processor(card: ModelCard) -> Any:  # noqa: ANN401
    """By Pillow even where torchvision is installed, which would make other pictures of the same request."""
    source: Any = Qwen2VLImageProcessorPil  # not fully typed
    with translated_loading(card):
        return source.from_pretrained(
            card.source, subfolder=PROCESSOR, revision=card.revision, local_files_only=is_local(card)
        )


def _check_tokenizer(tokenizer: Any, card: ModelCard) -> None:  # noqa: ANN401
    """Of a folder without files transformers makes one that knows no words."""
    if not tokenizer("a").input_ids:
        raise ModelLoadFailure(f"Model {card.id}: its tokenizer is missing.")
