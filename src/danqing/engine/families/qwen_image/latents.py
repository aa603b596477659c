"""Pixels to latents and back, by an `AutoencoderKLQwenImage`, whose pictures are videos of one frame; and the noise.

The transformer takes packed latents, (N, tokens, 4 * channels): each token is a patch of 2 x 2.
"""

from typing import Any

import torch
from torch import Tensor

from danqing.engine.families.loaded_model import Size
from danqing.engine.launched import Levels, levels, sent

# diffusers is not typed: an AutoencoderKLQwenImage is Any.


def noise(vae: Any, seed: int, size: Size) -> Tensor:  # noqa: ANN401
    """float32 (1, tokens, 4 * channels), drawn on the CPU."""
    width, height = (side // vae.spatial_compression_ratio for side in size)
    generator = torch.Generator("cpu").manual_seed(seed)
    return packed(torch.randn((1, vae.config.z_dim, height, width), generator=generator))


def encode(vae: Any, image: Tensor) -> Tensor:  # noqa: ANN401
    """image: (N, 3, H, W), -1 to 1, where it is computed. Returns float32 (N, channels, h, w): the middle of what the
    autoencoder proposes.
    """
    proposed = vae.encode(image.to(vae.dtype)[:, :, None]).latent_dist.mode()[:, :, 0]  # (N, channels, h, w)
    mean, std = _statistics(vae, proposed)
    return (proposed.float() - mean) / std


def decode(vae: Any, latents: Tensor) -> Levels:  # noqa: ANN401
    """latents: (1, channels, h, w)."""
    mean, std = _statistics(vae, latents)
    scaled = (latents.float() * std + mean).to(vae.dtype)[:, :, None]  # (1, channels, 1, h, w)
    return levels(vae.decode(scaled, return_dict=False)[0][:, :, 0])


def packed(latents: Tensor) -> Tensor:
    """latents: (N, channels, h, w), h and w even."""
    count, channels, height, width = latents.shape
    patches = latents.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(count, height // 2 * (width // 2), channels * 4)


def unpacked(vae: Any, latents: Tensor, size: Size) -> Tensor:  # noqa: ANN401
    """latents: packed, of pictures of that size. Returns (N, channels, h, w)."""
    width, height = (side // vae.spatial_compression_ratio for side in size)
    tokens = latents.reshape(len(latents), height // 2, width // 2, -1, 2, 2)
    return tokens.permute(0, 3, 1, 4, 2, 5).reshape(len(latents), -1, height, width)


def _statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Mean and standard deviation of each channel, float32 (channels, 1, 1)."""
    of_channels = (vae.config.latents_mean, vae.config.latents_std)
    mean, std = (sent(torch.tensor(each), like.device).view(-1, 1, 1) for each in of_channels)
    return mean, std
