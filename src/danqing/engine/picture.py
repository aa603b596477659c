"""Brings a picture from the size the model made to the size that was asked for."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from danqing.core.sizes import SizePlan
from danqing.engine.upscale.real_esrgan import Upscaler


def finish_picture(rgb: npt.NDArray[np.uint8], plan: SizePlan, upscaler: Upscaler) -> npt.NDArray[np.uint8]:
    """rgb: uint8 (H, W, 3) of size `plan.native`. Returns uint8 (H, W, 3) of size `plan.final`, contiguous.

    Enlarged where the plan says so, then scaled by Lanczos to cover the final size, and cut to it around the centre.
    """
    if plan.crop_only:
        return _centre(rgb, plan.final)
    if plan.enlarge:
        rgb = upscaler.enlarge(rgb)
    return _cover(rgb, plan.final)


def _centre(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    width, height = size
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


def _cover(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Scales the largest centred part of the picture that has the final shape; no part of it is stretched."""
    height, width, _ = rgb.shape
    scale = max(size[0] / width, size[1] / height)
    part_width, part_height = min(width, size[0] / scale), min(height, size[1] / scale)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    box = (left, top, left + part_width, top + part_height)
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, box=box))
