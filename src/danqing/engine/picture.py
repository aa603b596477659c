"""Pixels as arrays and as the core's pictures; and from the size that the model made to the one that was asked for."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from danqing.core.sizes import SizePlan
from danqing.core.types import RawPicture
from danqing.engine.upscale.upscaler import SCALE, Upscaler

LANCZOS_REACH = 3  # pixels around a part that its enlargement by Lanczos depends on
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def pixels_of(picture: RawPicture) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3), not to be written to."""
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def raw_picture(rgb: npt.NDArray[np.uint8], adjustments: tuple[str, ...]) -> RawPicture:
    """rgb: uint8 (H, W, 3)."""
    height, width, _ = rgb.shape
    return RawPicture(width=width, height=height, rgb=rgb.tobytes(), adjustments=adjustments)


def finish_picture(rgb: npt.NDArray[np.uint8], plan: SizePlan, upscaler: Upscaler) -> npt.NDArray[np.uint8]:
    """rgb: uint8 (H, W, 3) of size `plan.native`. Returns uint8 (H, W, 3) of size `plan.final`, contiguous.

    The largest centred part that has the final shape is kept: enlarged where the plan says so, then scaled by Lanczos.
    No part is stretched, and nothing is enlarged that does not show: the result is that of enlarging the whole.
    """
    if plan.crop_only:
        return centre(rgb, plan.final)
    box = _kept(plan)
    if plan.enlarge:
        left, top, right, bottom = _around(box, plan.native, upscaler.traits.margin + LANCZOS_REACH)
        rgb = upscaler.enlarge(rgb[top:bottom, left:right])
        box = _enlarged(box, left, top)
    return np.array(Image.fromarray(rgb).resize(plan.final, Image.Resampling.LANCZOS, box=box))


def centre(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The middle of rgb, uint8 (H, W, 3), of that (width, height): contiguous."""
    width, height = size
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


def _kept(plan: SizePlan) -> Box:
    """Where `plan.kept` lies in the native picture, in fractions of pixels."""
    width, height = plan.native
    part_width, part_height = min(width, plan.final[0] / plan.scale), min(height, plan.final[1] / plan.scale)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return left, top, left + part_width, top + part_height


def _enlarged(box: Box, left: int, top: int) -> Box:
    """The same place in the enlarged picture, of which (left, top) is the corner."""
    return SCALE * (box[0] - left), SCALE * (box[1] - top), SCALE * (box[2] - left), SCALE * (box[3] - top)


def _around(box: Box, size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """The box and whole pixels around it, within the picture."""
    left, top, right, bottom = box
    return (
        max(0, math.floor(left) - margin),
        max(0, math.floor(top) - margin),
        min(size[0], math.ceil(right) + margin),
        min(size[1], math.ceil(bottom) + margin),
    )
