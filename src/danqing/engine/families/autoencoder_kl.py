"""Pixels to latents and back, by an `AutoencoderKL` as Z-Image and FLUX have it: shifted, then scaled."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from danqing.core.errors import EngineFailure
from danqing.core.sentences import says


def encode(vae: Any, image: Tensor) -> Tensor:  # noqa: ANN401  an AutoencoderKL; diffusers is not typed
    """image: (N, 3, H, W), -1 to 1. Returns float32 (N, channels, h, w): the middle of what the autoencoder proposes.

    The pipelines draw from that by chance, in the number format of the weights.
    """
    proposed = vae.encode(image.to(vae.dtype)).latent_dist.mode()
    latents: Tensor = (proposed.float() - vae.config.shift_factor) * vae.config.scaling_factor
    return latents  # (N, channels, h, w)


def decode(vae: Any, latents: Tensor) -> npt.NDArray[np.uint8]:  # noqa: ANN401
    """latents: (1, channels, h, w). Returns uint8 RGB (H, W, 3). Raises EngineFailure if the model made no numbers."""
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return levels(vae.decode(scaled, return_dict=False)[0])


def levels(image: Tensor) -> npt.NDArray[np.uint8]:
    """image: (1, 3, H, W), -1 to 1. Returns uint8 RGB (H, W, 3). Raises EngineFailure if these are no numbers."""
    if not torch.isfinite(image).all():
        raise EngineFailure(says("not_a_number"))
    pixels = ((image.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)  # (1, 3, H, W)
    return pixels[0].permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)
