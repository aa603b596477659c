"""The pictures that an instruction speaks of, at the sizes in which the model looks at them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from danqing.core.capabilities import ReferenceScaling, Scaling
from danqing.core.errors import EngineFailure
from danqing.engine.families.adapter import Order
from danqing.engine.families.loaded_model import Size
from danqing.engine.families.qwen_image.latents import encode, packed
from danqing.engine.launched import sent

MOST_ELONGATED = 200  # times as long as wide; Qwen2-VL's image processor refuses more


class References:
    """What becomes of references under one model's rules."""

    def __init__(self, scaling: ReferenceScaling) -> None:
        self._scaling = scaling

    def for_prompt(self, order: Order) -> list[Image.Image]:
        """As the text encoder looks at them. Raises EngineFailure for one that it does not take."""
        scaled = [_scaled(picture, self._scaling.prompt) for picture in _pictures(order)]
        if any(max(picture.size) > MOST_ELONGATED * min(picture.size) for picture in scaled):
            raise EngineFailure("An input image is too long and narrow for the model.")
        return scaled

    def for_latents(self, order: Order) -> list[Image.Image]:
        """As the transformer looks at them. A picture that is filled is its own reference, and stays as it is."""
        pictures = _pictures(order)
        return pictures if order.start is not None else [_scaled(each, self._scaling.latents) for each in pictures]


def encoded(
    vae: Any,  # noqa: ANN401  an AutoencoderKLQwenImage
    pictures: Sequence[Sequence[Image.Image]],
    device: torch.device,
) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """pictures: of each order, with the same sizes in all of them. device: where they are encoded.

    Returns their packed latents one behind the other, float32 (orders, tokens, 4 * channels), and of each the frames,
    rows and columns of its tokens.
    """
    processor = VaeImageProcessor(do_resize=False)
    of_orders = [
        torch.cat([packed(encode(vae, sent(processor.preprocess(picture), device))) for picture in of_one], dim=1)
        for of_one in pictures
    ]
    step = vae.spatial_compression_ratio * 2
    return torch.cat(of_orders), [(1, picture.height // step, picture.width // step) for picture in pictures[0]]


def scaled_size(size: Size, scaling: Scaling) -> Size:
    """As diffusers' edit pipelines count it."""
    ratio = size[0] / size[1]
    width = math.sqrt(scaling.pixels * ratio)
    step = scaling.multiple_of
    return max(step, round(width / step) * step), max(step, round(width / ratio / step) * step)


def _pictures(order: Order) -> list[Image.Image]:
    rgbs = order.references if order.start is None else (order.start.rgb,)
    return [Image.fromarray(rgb) for rgb in rgbs]


def _scaled(picture: Image.Image, scaling: Scaling) -> Image.Image:
    return picture.resize(scaled_size(picture.size, scaling), Image.Resampling.LANCZOS)
