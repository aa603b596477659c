"""Pixels to latents and back, by an `AutoencoderKL` as Z-Image and FLUX have it: shifted, then scaled."""

from typing import Any

from torch import Tensor

from danqing.engine.launched import Levels, levels


def encode(vae: Any, image: Tensor) -> Tensor:  # noqa: ANN401  an AutoencoderKL; diffusers is not typed
    """image: (N, 3, H, W), -1 to 1. Returns float32 (N, channels, h, w): the middle of what the autoencoder proposes.

    The pipelines draw from that by chance, in the number format of the weights.
    """
    proposed = vae.encode(image.to(vae.dtype)).latent_dist.mode()
    latents: Tensor = (proposed.float() - vae.config.shift_factor) * vae.config.scaling_factor
    return latents  # (N, channels, h, w)


def decode(vae: Any, latents: Tensor) -> Levels:  # noqa: ANN401
    """latents: (1, channels, h, w)."""
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    return levels(vae.decode(scaled, return_dict=False)[0])
