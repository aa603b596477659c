"""PNG encoding: Danqing's encoder beside Pillow's default, on the same pixels in the same run."""

import io
import statistics
import time

import numpy as np
from PIL import Image, ImageFilter

from danqing.engine.codecs.png import encode_png


def scenes(side: int) -> dict[str, np.ndarray]:
    """Two kinds of content, uint8 (side, side, 3): flat artwork, and a photo-like mosaic with sensor noise."""
    rng = np.random.default_rng(5)
    flat = Image.new("RGB", (side, side), (38, 96, 224))
    for _ in range(12):
        extent = int(rng.integers(side // 8, side // 3))
        left, top = (int(v) for v in rng.integers(0, side - extent, 2))
        flat.paste(tuple(int(c) for c in rng.integers(0, 256, 3)), (left, top, left + extent, top + extent))
    blobs = Image.fromarray(rng.integers(0, 256, (side // 32, side // 32, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(blobs, np.int16) + rng.integers(-1, 2, (side, side, 3))
    return {
        "artwork": np.asarray(flat.filter(ImageFilter.GaussianBlur(1.5))).copy(),
        "photo": noisy.clip(0, 255).astype(np.uint8),
    }


def pillow_default(rgb: np.ndarray) -> bytes:
    """What most servers do."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def measure(rounds: int, side: int = 1024) -> dict[str, float]:
    """Milliseconds of both, and how many times faster and larger ours is; for each kind of content."""
    figures: dict[str, float] = {"rounds": rounds, "side": side}
    for name, rgb in scenes(side).items():
        ours, theirs = [], []
        for _ in range(rounds):
            for took, encode in ((theirs, pillow_default), (ours, lambda picture: encode_png(picture, ()))):
                started = time.perf_counter()
                encode(rgb)
                took.append((time.perf_counter() - started) * 1e3)
        figures[f"{name}_pillow_ms"] = round(statistics.median(theirs), 2)
        figures[f"{name}_danqing_ms"] = round(statistics.median(ours), 2)
        figures[f"{name}_times_faster"] = round(statistics.median(theirs) / statistics.median(ours), 1)
        figures[f"{name}_size_ratio"] = round(len(encode_png(rgb, ())) / len(pillow_default(rgb)), 3)
    return figures


if __name__ == "__main__":
    print(measure(5))
