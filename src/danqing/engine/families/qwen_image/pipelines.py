"""diffusers' pipelines for the modes, made anew for every batch over parts that are loaded once.

The loops are those of the base model's pipelines, for edits too: in an edit the transformer looks at further latents
behind those that are denoised, which `Referring` sees to. So sizes of references are the checkpoint's own, an edit with
a mask is made at any size, and a batch is made in one call; diffusers' edit pipelines can do none of that.

All begin with the noise that they are called with as `latents`, in float32. Left alone, those that start from a picture
draw the picture's latents by chance. Prompts are given encoded. `begun`: the packed latents before the first step, once
it is called.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_img2img import QwenImageImg2ImgPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_inpaint import QwenImageInpaintPipeline
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from danqing.engine.families.adapter import Order
from danqing.engine.families.flow import InpaintingUnwaited, new_scheduler
from danqing.engine.families.qwen_image.latents import encode, packed
from danqing.engine.families.qwen_image.references import References, encoded
from danqing.engine.launched import sent

PARTS = ("vae", "text_encoder", "tokenizer", "transformer")

# diffusers is not typed: its pipelines, their parts and what they pass each other are Any.


class _PromptsEncoded:
    """Takes the prompts as they are: the pipelines would cut pictures off with them."""

    def encode_prompt(
        self,
        *,
        prompt_embeds: Tensor,
        prompt_embeds_mask: Tensor,
        **_: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor | None]:
        """prompt_embeds: (N, tokens, width). prompt_embeds_mask: (N, tokens), the host's; None comes back if nothing is
        padded.
        """
        return prompt_embeds, None if prompt_embeds_mask.all() else sent(prompt_embeds_mask, prompt_embeds.device)


class Text2Img(_PromptsEncoded, QwenImagePipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """From nothing but noise."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *others: Any,  # noqa: ANN401
    ) -> Tensor:
        """The latents of the first step."""
        dtype, device, _, noise = others[-4:]
        self.begun: Tensor = noise.to(device, dtype)
        return self.begun


class Img2Img(_PromptsEncoded, QwenImageImg2ImgPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """From a picture, as far as its strength lets it show through the noise."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Tensor,
        timestep: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> Tensor:
        """The latents of the first step. image: (N, 3, H, W), -1 to 1."""
        dtype, device, _, noise = others[-4:]
        picture = packed(encode(self.vae, sent(image, device)))
        self.begun: Tensor = self.scheduler.scale_noise(picture, timestep, noise).to(device, dtype)
        return self.begun


class Fill(_PromptsEncoded, InpaintingUnwaited, QwenImageInpaintPipeline):  # pyright: ignore[reportIncompatibleMethodOverride]
    """As `Img2Img`, and after each step the latents are, as far as the mask is dark, those of the picture again."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        image: Tensor,
        timestep: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The latents of the first step, the noise and the picture in them. image: (N, 3, H, W), -1 to 1."""
        dtype, device, _, noise = others[-4:]
        picture = packed(encode(self.vae, sent(image, device)))
        self.begun: Tensor = self.scheduler.scale_noise(picture, timestep, noise).to(device, dtype)
        return self.begun, noise.to(device, dtype), picture.to(device, dtype)

    def prepare_mask_latents(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        mask: Tensor,
        *others: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """The masks of packed latents, each as bright as the brightest of its pixels: a thin line counts."""
        shrunk = max_pool2d(sent(mask, self.begun.device).to(self.begun.dtype), self.vae_scale_factor)  # (N, 1, h, w)
        return packed(shrunk.repeat(1, self.vae.config.z_dim, 1, 1)), None


class Referring:
    """A transformer that looks at references while it denoises."""

    def __init__(self, transformer: Any, references: Tensor, shapes: Sequence[tuple[int, int, int]]) -> None:  # noqa: ANN401
        """references: packed latents (N, tokens, 4 * channels), one behind the other; shapes: of each, in tokens."""
        self._transformer = transformer
        self._references = references
        self._shapes = list(shapes)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transformer, name)

    def __call__(self, *, hidden_states: Tensor, img_shapes: list[Any], **others: Any) -> tuple[Tensor]:  # noqa: ANN401
        """hidden_states: packed latents. Returns what is foreseen of these alone, as the pipelines call it."""
        seen = torch.cat([hidden_states, self._references.to(hidden_states)], dim=1)
        shapes = [[*own, *self._shapes] for own in img_shapes]
        velocity: Tensor = self._transformer(hidden_states=seen, img_shapes=shapes, **others)[0]
        return (velocity[:, : hidden_states.shape[1]],)


def pipeline_for(
    loaded: Any,  # noqa: ANN401
    orders: Sequence[Order],
    references: References | None,
) -> tuple[Any, dict[str, Any]]:
    """A pipeline of the loaded one's parts but with a scheduler of its own, and what only its mode is called with.

    references: how those of the orders are looked at; None: the model does not look at any.
    """
    parts = {name: getattr(loaded, name) for name in PARTS}
    request, starts = orders[0].request, [order.start for order in orders if order.start is not None]
    parts["scheduler"] = _scheduler(loaded.scheduler, request.num_inference_steps)
    pipeline_class: Any = Text2Img
    inputs: dict[str, Any] = {"true_cfg_scale": request.guidance_scale}
    masks = [start.mask for start in starts if start.mask is not None]
    if starts:
        pipeline_class = Fill if masks else Img2Img
        inputs |= {"image": [Image.fromarray(start.rgb) for start in starts], "strength": request.strength}
    pipeline = pipeline_class(**parts)
    if masks:
        # Not its own, which makes a mask black and white: grey is something of both.
        pipeline.mask_processor = VaeImageProcessor(do_resize=False, do_normalize=False, do_convert_grayscale=True)
        inputs["mask_image"] = [Image.fromarray(mask) for mask in masks]
    if references is not None:
        latents, shapes = encoded(
            loaded.vae, [references.for_latents(order) for order in orders], loaded._execution_device
        )
        pipeline.transformer = Referring(loaded.transformer, latents, shapes)
    return pipeline, inputs


def _scheduler(loaded: Any, num_inference_steps: int) -> Any:  # noqa: ANN401
    """A new one. The last step's noise level is set by stretching from the first one's: not where it is the same."""
    only_one = {"shift_terminal": None} if num_inference_steps == 1 else {}
    return new_scheduler(loaded, **only_one)
