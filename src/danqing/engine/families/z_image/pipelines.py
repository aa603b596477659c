"""diffusers' pipelines for the modes, made anew for every batch over parts that are loaded once.

All begin with the noise that they are called with as `latents`, in float32. Left alone, the two that start from a
picture draw it in the number format of the weights: bfloat16 noise lacks its tails, and a seed means another one. They
also draw the picture's latents by chance, and `ZImageInpaintPipeline` encodes a second picture that it never uses.
Prompts are given encoded. `begun`: the latents (N, channels, h, w) before the first step, once it is called.
"""

from collections.abc import Sequence
from typing import Any

from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image_img2img import ZImageImg2ImgPipeline
from diffusers.pipelines.z_image.pipeline_z_image_inpaint import ZImageInpaintPipeline
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import Order
from danqing.engine.families.autoencoder_kl import encode

# diffusers is not typed: its pipelines, their parts and what they pass each other are Any.


class Text2Img(ZImagePipeline):
    """From nothing but noise."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *others: Any,  # noqa: ANN401
    ) -> Tensor:
        """The latents of the first step."""
        self.begun: Tensor = others[-1]
        return self.begun


class Img2Img(ZImageImg2ImgPipeline):
    """From a picture, as far as its strength lets it show through the noise."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Tensor,
        timestep: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> Tensor:
        """The latents of the first step. image: (N, 3, H, W), -1 to 1."""
        noise = others[-1]
        picture = encode(self.vae, image.to(noise.device))
        self.begun: Tensor = self.scheduler.scale_noise(picture, timestep, noise)
        return self.begun


class Fill(ZImageInpaintPipeline):
    """As `Img2Img`, and after each step the latents are, as far as the mask is dark, those of the picture again."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Tensor,
        timestep: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The latents of the first step, the noise and the picture in them. image: (N, 3, H, W), -1 to 1."""
        noise = others[-1]
        picture = encode(self.vae, image.to(noise.device))
        self.begun: Tensor = self.scheduler.scale_noise(picture, timestep, noise)
        return self.begun, noise, picture

    def prepare_mask_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        mask: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """The masks (N, 1, h, w) of latents, each as bright as the brightest of its pixels: a thin line counts."""
        return max_pool2d(mask.to(self.begun.device), self.vae_scale_factor), None


def pipeline_for(loaded: Any, orders: Sequence[Order]) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401
    """A pipeline of the loaded one's parts but with a scheduler of its own, and what only its mode is called with."""
    parts = loaded.components | {"scheduler": loaded.scheduler.from_config(loaded.scheduler.config)}
    request, starts = orders[0].request, [order.start for order in orders if order.start is not None]
    inputs: dict[str, Any] = {"guidance_scale": request.guidance_scale, **_pipelines_own(request)}
    if not starts:
        return Text2Img(**parts), inputs
    inputs |= {"image": [Image.fromarray(start.rgb) for start in starts], "strength": request.strength}
    masks = [start.mask for start in starts if start.mask is not None]
    if not masks:
        return Img2Img(**parts), inputs
    pipeline: Any = Fill(**parts)
    # Not its own, which makes a mask black and white: grey is something of both.
    pipeline.mask_processor = VaeImageProcessor(do_resize=False, do_normalize=False, do_convert_grayscale=True)
    return pipeline, inputs | {"mask_image": [Image.fromarray(mask) for mask in masks]}


def _pipelines_own(request: GenerationRequest) -> dict[str, float]:
    """What the request says of the pipeline's own parameters; the rest is left to it."""
    said = {"cfg_normalization": request.cfg_normalization, "cfg_truncation": request.cfg_truncation}
    return {name: value for name, value in said.items() if value is not None}
