"""diffusers' pipelines for the modes, made anew for every batch over parts that are loaded once.

All begin with the noise that they are called with as `latents`, drawn in float32. Left alone, those that start from a
picture draw it in the number format of the weights, and the picture's latents by chance. Latents are packed, see
`latents.py`. Prompts are given encoded. `begun`: the latents before the first step, once it is called.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux_controlnet import FluxControlNetPipeline
from diffusers.pipelines.flux.pipeline_flux_controlnet_image_to_image import FluxControlNetImg2ImgPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from diffusers.pipelines.flux.pipeline_flux_img2img import FluxImg2ImgPipeline
from diffusers.pipelines.flux.pipeline_flux_inpaint import FluxInpaintPipeline
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from danqing.engine.families.adapter import Order
from danqing.engine.families.autoencoder_kl import encode
from danqing.engine.families.flow import InpaintingUnwaited, new_scheduler
from danqing.engine.families.flux.latents import packed
from danqing.engine.families.placement import HOST
from danqing.engine.input_pictures import Pixels
from danqing.engine.launched import sent

# diffusers is not typed: its pipelines, their parts and what they pass each other are Any.
FOR_PICTURE_PROMPTS = (
    "image_encoder",
    "feature_extractor",
)  # parts that not every pipeline knows of; none is asked for


class _PromptsEncoded:
    """Takes the prompts as they are; the places of their tokens are made on the device, for which it is not waited."""

    text_encoder: Any

    def encode_prompt(
        self,
        *,
        prompt_embeds: Tensor,
        pooled_prompt_embeds: Tensor,
        device: torch.device,
        **_: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor, Tensor]:
        """prompt_embeds: (N, tokens, width). pooled_prompt_embeds: (N, width). The places are (tokens, 3)."""
        places = torch.zeros(prompt_embeds.shape[1], 3, device=device, dtype=self.text_encoder.dtype)
        return prompt_embeds, pooled_prompt_embeds, places


class _FromNoise(_PromptsEncoded):
    begun: Tensor

    def prepare_latents(self, *given: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """The latents of the first step, and where each token is, (tokens, 3)."""
        count, _, height, width, number_format, device, _, noise = given
        self.begun = noise.to(device, number_format)
        return self.begun, _places(self, count, height, width, self.begun)


class _FromPicture(_PromptsEncoded):
    begun: Tensor

    def prepare_latents(self, image: Tensor, timestep: Tensor, *given: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        """As above. image: (N, 3, H, W), -1 to 1."""
        self.begun, _, _, places = _begin(self, image, timestep, *given)
        return self.begun, places


class Text2Img(_FromNoise, FluxPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """From nothing but noise."""


class Controlled(_FromNoise, FluxControlNetPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """From nothing but noise; where things are, a map says."""


class Img2Img(_FromPicture, FluxImg2ImgPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """From a picture, as far as its strength lets it show through the noise."""


class ControlledImg2Img(_FromPicture, FluxControlNetImg2ImgPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """As `Img2Img`; where things are, a map says."""


class Fill(_FromPicture, FluxFillPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """As `Img2Img`, with a transformer that sees the mask, and the picture but for what the mask leaves out."""


class Inpaint(_PromptsEncoded, InpaintingUnwaited, FluxInpaintPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """As `Img2Img`, and after each step the latents are, as far as the mask is dark, those of the picture again."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Tensor,
        timestep: Tensor,
        *given: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `Img2Img`; between the two, the noise and the picture in the latents."""
        begun = _begin(self, image, timestep, *given)
        self.begun: Tensor = begun[0]
        return begun

    def prepare_mask_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        mask: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """The masks of the latents, packed, each as bright as the brightest of its pixels: a thin line counts."""
        shrunk = max_pool2d(sent(mask, self.begun.device).to(self.begun.dtype), self.vae_scale_factor)  # (N, 1, h, w)
        return packed(shrunk.repeat(1, self.latent_channels, 1, 1)), None


class _WithoutChance:
    """Stands for an `AutoencoderKL` in pipelines that draw from what it proposes: they get the middle of that."""

    def __init__(self, vae: Any) -> None:  # noqa: ANN401
        self._vae = vae
        self.config = vae.config
        self.dtype: torch.dtype = vae.dtype

    def encode(self, image: Tensor) -> SimpleNamespace:
        """image: (N, 3, H, W), -1 to 1."""
        middle: Tensor = self._vae.encode(image).latent_dist.mode()

        def drawn(*_: object) -> Tensor:
            return middle

        return SimpleNamespace(latent_dist=SimpleNamespace(mode=drawn, sample=drawn))


def pipeline_for(parts: Any, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """A pipeline of these parts but with a scheduler of its own, and what only its mode is called with.

    parts: a FluxPipeline; for orders with a control map a FluxControlNetPipeline; for those with a mask a
    FluxFillPipeline, or a FluxPipeline that inpaints.
    """
    request = orders[0].request
    own = {name: part for name, part in parts.components.items() if name not in FOR_PICTURE_PROMPTS}
    own["scheduler"] = new_scheduler(parts.scheduler)
    own["vae"] = _WithoutChance(parts.vae)
    inputs: dict[str, Any] = {"guidance_scale": request.guidance_scale}
    starts = [order.start for order in orders if order.start is not None]
    if starts:
        inputs |= {"image": [Image.fromarray(start.rgb) for start in starts], "strength": request.strength}
    if maps := [order.control for order in orders if order.control is not None]:
        inputs["control_image"] = [Image.fromarray(of_one) for of_one in maps]
        return (ControlledImg2Img if starts else Controlled)(**own), inputs
    if not starts:
        return Text2Img(**own), inputs
    masks = [start.mask for start in starts if start.mask is not None]
    if not masks:
        return Img2Img(**own), inputs
    if isinstance(parts, FluxFillPipeline):
        return Fill(**own), inputs | {"mask_image": [Image.fromarray(_hard(mask)) for mask in masks]}
    pipeline: Any = Inpaint(**own)
    # Not its own, which makes a mask black and white: grey is something of both.
    pipeline.mask_processor = VaeImageProcessor(do_resize=False, do_normalize=False, do_convert_grayscale=True)
    return pipeline, inputs | {"mask_image": [Image.fromarray(mask) for mask in masks]}


def _hard(mask: Pixels) -> Pixels:
    """White wherever something is made anew, as the transformer knows masks. Grey mixes the picture in afterwards."""
    return np.where(mask > 0, np.uint8(255), np.uint8(0))


def _begin(
    pipeline: Any,  # noqa: ANN401
    image: Tensor,
    timestep: Tensor,
    *given: Any,  # noqa: ANN401
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The latents of the first step, the noise and the picture in them, and where each token is.

    Computed in float32, returned in the number format of the weights.
    """
    count, _, height, width, number_format, _, _, noise = given
    picture = packed(encode(pipeline.vae, sent(image, noise.device)))  # (N, tokens, 4 * channels)
    begun = pipeline.scheduler.scale_noise(picture, timestep, noise).to(number_format)
    places = _places(pipeline, count, height, width, begun)
    return begun, noise.to(number_format), picture.to(number_format), places


def _places(pipeline: Any, count: int, height: int, width: int, latents: Tensor) -> Tensor:  # noqa: ANN401
    """(tokens, 3), in the latents' number format and on their device. height, width: pixels."""
    rows, columns = (side // (2 * pipeline.vae_scale_factor) for side in (height, width))
    return sent(pipeline._prepare_latent_image_ids(count, rows, columns, HOST, latents.dtype), latents.device)
