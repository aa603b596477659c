"""Latents as FLUX's transformer takes them: each token is the channels of 2 x 2 of them, row by row."""

from torch import Tensor


def packed(latents: Tensor) -> Tensor:
    """latents: (N, channels, h, w), h and w even. Returns (N, h/2 * w/2, 4 * channels)."""
    count, channels, height, width = latents.shape
    split = latents.reshape(count, channels, height // 2, 2, width // 2, 2)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(count, height // 2 * (width // 2), 4 * channels)


def unpacked(latents: Tensor, size: tuple[int, int]) -> Tensor:
    """latents: (N, w/2 * h/2, 4 * channels). size: (w, h), in latents. Returns (N, channels, h, w)."""
    width, height = size
    count, channels = latents.shape[0], latents.shape[2] // 4
    split = latents.reshape(count, height // 2, width // 2, channels, 2, 2)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height, width)
