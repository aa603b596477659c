"""Pixels to latents and back, by Z-Image's autoencoder; and what the latents of a step say of the finished picture."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danqing.core.errors import EngineFailure


def encode(vae: Any, image: Tensor) -> Tensor:  # noqa: ANN401  an AutoencoderKL; diffusers is not typed
    """image: (1, 3, H, W), -1 to 1. Returns float32 (1, channels, h, w): the middle of what the autoencoder proposes.

    The pipelines draw from that by chance, in the number format of the weights.
    """
    proposed = vae.encode(image.to(vae.dtype)).latent_dist.mode()
    latents: Tensor = (proposed.float() - vae.config.shift_factor) * vae.config.scaling_factor
    return latents  # (1, channels, h, w)


def decode(vae: Any, latents: Tensor) -> npt.NDArray[np.uint8]:  # noqa: ANN401
    """latents: (1, channels, h, w). Returns uint8 RGB (H, W, 3). Raises EngineFailure if the model made no numbers."""
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    image: Tensor = vae.decode(scaled, return_dict=False)[0]  # (1, 3, H, W), -1 to 1
    if not torch.isfinite(image).all():
        raise EngineFailure("The model's result is not a picture (not a number).")
    levels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)  # (1, 3, H, W)
    return levels[0].permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)


def foreseen(before: Tensor, after: Tensor, scheduler: Any) -> Tensor:  # noqa: ANN401  a FlowMatchEulerDiscreteScheduler
    """Where the step that the scheduler just made, from the latents before to those after, leads in the end.

    It goes along a straight line; where a mask keeps something, both lie on the one from the noise to what is kept.
    """
    sigma_before, sigma_after = scheduler.sigmas[scheduler.step_index - 1], scheduler.sigmas[scheduler.step_index]
    velocity = (before - after) / (sigma_before - sigma_after)
    return after - sigma_after * velocity  # (1, channels, h, w)
