"""Pictures to enlarge."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Picture = npt.NDArray[np.uint8]


def drawing(width: int, height: int) -> Picture:
    """Shapes with soft edges and a little noise, like what the sample model makes."""
    picture = Image.new("RGB", (width, height), (60, 120, 220))
    draw = ImageDraw.Draw(picture)
    for step in range(0, max(width, height), 24):
        draw.ellipse(
            (step, step // 2, step + 18, step // 2 + 30), fill=(250, 200 - step % 150, 60), outline=(90, 50, 10)
        )
        draw.line((width - step, 0, step, height), fill=(20, step % 255, 90), width=2)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.6)), float)
    return np.clip(soft + np.random.default_rng(4).normal(0, 2, soft.shape), 0, 255).astype(np.uint8)
