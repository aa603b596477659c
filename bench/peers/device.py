"""The device of every service that is compared: it takes as long as it is told, for one picture at a time."""

import io
import os
import time
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

SIDE = int(os.environ.get("PEER_SIDE", "64"))
FLAT_SIDE = 64  # pixels up to which pictures are flat
STEPS = int(os.environ.get("PEER_STEPS", "4"))
DELAY_S = float(os.environ.get("PEER_DELAY_S", "0.02"))
NOTED_IN = os.environ.get("PEER_STEPS_NOTED_IN")  # a file: when each step ended, by the machine's monotonic clock


def make(seed: int, on_step: Callable[[int, int], None] = lambda step, total: None) -> Image.Image:
    """A picture, after STEPS steps that take DELAY_S together."""
    for step in range(1, STEPS + 1):
        if DELAY_S:
            time.sleep(DELAY_S / STEPS)
        if NOTED_IN is not None:
            note(NOTED_IN)
        on_step(step, STEPS)
    if SIDE <= FLAT_SIDE:
        return Image.new("RGB", (SIDE, SIDE), (seed % 256, 96, 160))
    return photo()


@lru_cache
def photo() -> Image.Image:
    """Photo-like: soft blobs with a sensor's noise."""
    import numpy as np

    rng = np.random.default_rng(5)
    blobs = Image.fromarray(rng.integers(0, 256, (SIDE // 32, SIDE // 32, 3), np.uint8))
    soft = np.asarray(blobs.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((soft + rng.integers(-1, 2, soft.shape)).clip(0, 255).astype(np.uint8))


def note(file: str) -> None:
    """This moment."""
    with open(file, "a") as noted:
        noted.write(f"{time.monotonic()}\n")


def png_of(picture: Image.Image) -> bytes:
    """As most servers write it."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
