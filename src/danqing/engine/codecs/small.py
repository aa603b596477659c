"""Small copies of pictures for looking at: JPEG while one is made, WebP of a finished one."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from danqing.core.types import EncodedPicture

QUALITY = 80  # of 100
REDUCING_GAP = 2.0  # how many times too large a picture may be made by averaging, before LANCZOS; as Pillow's thumbnail
WEBP_METHOD = 2  # 0 to 6; from here on a little smaller for much more time


def encode_jpeg(rgb: npt.NDArray[np.uint8], *, max_side: int) -> EncodedPicture:
    """rgb: uint8 (H, W, 3), made smaller where a side has more than max_side pixels. Equal input, equal bytes."""
    image, file = _shrunk(rgb, max_side), io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return EncodedPicture(width=image.width, height=image.height, media_type="image/jpeg", content=file.getvalue())


def encode_webp(rgb: npt.NDArray[np.uint8], *, max_side: int) -> EncodedPicture:
    """As `encode_jpeg`."""
    image, file = _shrunk(rgb, max_side), io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=WEBP_METHOD)
    return EncodedPicture(width=image.width, height=image.height, media_type="image/webp", content=file.getvalue())


def _shrunk(rgb: npt.NDArray[np.uint8], max_side: int) -> Image.Image:
    image = Image.fromarray(rgb)
    shrink = max_side / max(image.size)
    if shrink >= 1:
        return image
    width, height = (max(1, round(side * shrink)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
