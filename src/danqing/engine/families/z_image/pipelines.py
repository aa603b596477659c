"""diffusers' pipelines for the modes, made anew for every batch over parts that are loaded once.

All begin with the noise that they are called with as `latents`, in float32. Left alone, the two that start from a
picture draw it in the number format of the weights: bfloat16 noise lacks its tails, and a seed means another one. They
also draw the picture's latents by chance, and `ZImageInpaintPipeline` encodes a second picture that it never uses. The
one with a ControlNet knows of no picture to begin with.

Prompts are given encoded. `begun`: the latents (N, channels, h, w) before the first step, once it is called.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, cast

from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image_controlnet import (
    ZImageControlNetPipeline,
    calculate_shift,  # pyright: ignore[reportUnknownVariableType]
    get_default_z_image_sigmas,
)
from diffusers.pipelines.z_image.pipeline_z_image_img2img import ZImageImg2ImgPipeline
from diffusers.pipelines.z_image.pipeline_z_image_inpaint import ZImageInpaintPipeline
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import Order
from danqing.engine.families.autoencoder_kl import encode
from danqing.engine.families.flow import Sending, TimestepsOfHost, UnwaitedScheduler, new_scheduler, steps_taken
from danqing.engine.families.placement import comes_in_layers
from danqing.engine.families.z_image.controlnets import COMPONENT
from danqing.engine.families.z_image.text_once import TextOnce
from danqing.engine.launched import sent

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
        picture = encode(self.vae, sent(image, noise.device))
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
        picture = encode(self.vae, sent(image, noise.device))
        self.begun: Tensor = self.scheduler.scale_noise(picture, timestep, noise)
        return self.begun, noise, picture

    def prepare_mask_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        mask: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """The masks (N, 1, h, w) of latents, each as bright as the brightest of its pixels: a thin line counts."""
        return max_pool2d(sent(mask, self.begun.device), self.vae_scale_factor), None


class Controlled(ZImageControlNetPipeline):
    """From noise, or from a picture as `Img2Img`; where things are, a map says. Called with the `sigmas` to be taken.

    pictures: to begin with; none: nothing but noise.
    """

    pictures: Sequence[Image.Image] = ()
    sigmas: Sequence[float] = ()

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *others: Any,  # noqa: ANN401
    ) -> Tensor:
        """The latents of the first step."""
        noise = others[-1]
        self.begun: Tensor = noise
        if self.pictures:
            pixels = self.image_processor.preprocess(list(self.pictures))  # (N, 3, H, W), -1 to 1
            scheduler, first = self._scheduler_at_start(noise)
            self.begun = scheduler.scale_noise(encode(self.vae, sent(pixels, noise.device)), first, noise)
        return self.begun

    def _scheduler_at_start(self, latents: Tensor) -> tuple[Any, Tensor]:
        """A scheduler as it will be set, and its first timestep (1,); the pipeline sets its own only afterwards."""
        asked, height, width = self.scheduler.config, *latents.shape[2:]
        mu = cast(Any, calculate_shift)(
            height // 2 * (width // 2),
            asked.get("base_image_seq_len", 256),
            asked.get("max_image_seq_len", 4096),
            asked.get("base_shift", 0.5),
            asked.get("max_shift", 1.15),
        )
        scheduler = copy(self.scheduler)
        scheduler.set_timesteps(sigmas=list(self.sigmas), mu=mu, device=latents.device)
        return scheduler, scheduler.timesteps[:1]


def pipeline_for(
    loaded: Any,  # noqa: ANN401
    orders: Sequence[Order],
    *,
    conditioning_scale: float | None = None,
) -> tuple[Any, dict[str, Any]]:
    """A pipeline of the loaded one's parts but with a scheduler of its own, and what only its mode is called with.

    Orders with a control map need a ControlNet among the parts. conditioning_scale: as in `Companion`.
    """
    request, starts = orders[0].request, [order.start for order in orders if order.start is not None]
    controls = [order.control for order in orders if order.control is not None]
    # From a picture diffusers asks for each step's number; so it does under a ControlNet, which asks for more itself.
    kind = TimestepsOfHost if starts and not controls else UnwaitedScheduler
    parts = loaded.components | {"scheduler": new_scheduler(loaded.scheduler, made_by=kind)}
    inputs: dict[str, Any] = {"guidance_scale": request.guidance_scale, **_pipelines_own(request)}
    if controls:
        controlled: Any = Controlled(**parts)
        controlled.pictures = [Image.fromarray(start.rgb) for start in starts]
        controlled.sigmas = _sigmas(request)
        inputs |= {"control_image": [Image.fromarray(control) for control in controls], "sigmas": controlled.sigmas}
        said = request.controlnet_conditioning_scale
        scale = conditioning_scale if said is None else said
        return controlled, inputs if scale is None else inputs | {"controlnet_conditioning_scale": scale}
    parts.pop(COMPONENT, None)
    if not comes_in_layers(parts["transformer"]):  # each of which calls the next one to the device
        parts["transformer"] = TextOnce(parts["transformer"])
    if not starts:
        return Text2Img(**parts), inputs
    parts["transformer"] = Sending(parts["transformer"])
    inputs |= {"image": [Image.fromarray(start.rgb) for start in starts], "strength": request.strength}
    masks = [start.mask for start in starts if start.mask is not None]
    if not masks:
        return Img2Img(**parts), inputs
    pipeline: Any = Fill(**parts)
    # Not its own, which makes a mask black and white: grey is something of both.
    pipeline.mask_processor = VaeImageProcessor(do_resize=False, do_normalize=False, do_convert_grayscale=True)
    return pipeline, inputs | {"mask_image": [Image.fromarray(mask) for mask in masks]}


def _sigmas(request: GenerationRequest) -> list[float]:
    """The noise levels of the steps that the strength leaves, before the scheduler shifts them."""
    steps = request.num_inference_steps
    strength = 1.0 if request.strength is None else request.strength
    return get_default_z_image_sigmas(steps)[steps - steps_taken(steps, strength) :]


def _pipelines_own(request: GenerationRequest) -> dict[str, float | None]:
    """What the request says of the pipeline's own parameters; the rest is left to it.

    A truncation at 1, which it has by itself, leaves guidance out of no step. It gets none then: else it would ask the
    device for the timesteps.
    """
    said = {} if request.cfg_normalization is None else {"cfg_normalization": request.cfg_normalization}
    truncation = request.cfg_truncation
    return {**said, "cfg_truncation": None if truncation is None or truncation >= 1 else truncation}
