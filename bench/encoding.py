"""PNG and WebP: Danqing's encoders beside Pillow's default and its quickest PNG, on the same pixels in the same run."""

import io
import time
from collections.abc import Callable

import numpy as np
from comparison import AHEAD, Findings, Goal, over_rounds
from PIL import Image, ImageFilter

from danqing.engine.codecs.png import encode_png
from danqing.engine.codecs.small import encode_webp

MOST_BYTES = 1.25  # beside Pillow's
PREVIEW_MAX_SIDE = 1024
Encode = Callable[[np.ndarray], bytes]


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


def pillow_quickest(rgb: np.ndarray) -> bytes:
    """What a careful server does; level 0 would be the pixels as they are."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def timed(encode: Encode, rgb: np.ndarray) -> tuple[float, int]:
    """Milliseconds, and bytes."""
    started = time.perf_counter()
    content = encode(rgb)
    return (time.perf_counter() - started) * 1e3, len(content)


def danqing_png(rgb: np.ndarray) -> bytes:
    """Without texts, which Pillow would not write either."""
    return encode_png(rgb, ())


def pillow_webp(rgb: np.ndarray) -> bytes:
    """As it comes: quality 80, method 4; of the size that a preview has."""
    buffer, image = io.BytesIO(), Image.fromarray(rgb)
    image.thumbnail((PREVIEW_MAX_SIDE, PREVIEW_MAX_SIDE), Image.Resampling.LANCZOS)
    image.save(buffer, "WEBP")
    return buffer.getvalue()


def quickest_webp(rgb: np.ndarray) -> bytes:
    """libwebp's method 0 on so many of the pixels as a preview has."""
    buffer, step = io.BytesIO(), max(1, len(rgb) // PREVIEW_MAX_SIDE)
    Image.fromarray(np.ascontiguousarray(rgb[::step, ::step])).save(buffer, "WEBP", method=0)
    return buffer.getvalue()


def danqing_webp(rgb: np.ndarray) -> bytes:
    """A finished picture's preview."""
    return encode_webp(rgb, max_side=PREVIEW_MAX_SIDE).content


def beside(
    found: Findings, what: str, rgb: np.ndarray, ours: Encode, theirs: Encode, *, rounds: int, goal: Goal
) -> float:
    """Both ways in turn, and how large the file is beside Pillow's. Pillow's milliseconds."""
    own, other = zip(*[(timed(ours, rgb), timed(theirs, rgb)) for _ in range(rounds)], strict=True)
    mine, pillows = (over_rounds([each[0] for each in some]) for some in (own, other))
    found.compare(what, mine, "Pillow's default", pillows, "ms", better="less", goal=goal)
    size = Goal(bound=MOST_BYTES, kind="at most")
    found.figure(f"{what}: bytes, of Pillow's", own[0][1] / other[0][1], "", goal=size)
    return pillows.value


def beside_quickest(found: Findings, what: str, rgb: np.ndarray, *, rounds: int) -> None:
    """PNG only: both ways in turn."""
    own, other = zip(*[(timed(danqing_png, rgb), timed(pillow_quickest, rgb)) for _ in range(rounds)], strict=True)
    mine, quickest = (over_rounds([each[0] for each in some]) for some in (own, other))
    found.compare(what, mine, "Pillow, compress_level=1", quickest, "ms", better="less", goal=AHEAD)
    found.figure(f"{what}: bytes, of Pillow's with compress_level=1", own[0][1] / other[0][1], "")


def measure(quick: bool) -> dict[str, object]:
    """Each kind of content in each size."""
    found = Findings()
    for side, goal, rounds in ((1024, 10.0, 5), (4096, 20.0, 2)):
        number, bound = 1 if quick else rounds, Goal(bound=goal, kind="at least")
        for name, rgb in scenes(side).items():
            what = f"PNG of {name}, {side}x{side}"
            beside(found, what, rgb, danqing_png, pillow_default, rounds=number, goal=bound)
            beside_quickest(found, what, rgb, rounds=number)
    for side, goal, rounds in ((1024, 10.0, 5), (4096, 20.0, 2)):
        number, bound = 1 if quick else rounds, Goal(bound=goal, kind="at least")
        for name, rgb in scenes(side).items():
            what = f"WebP preview of {name}, {side}x{side}"
            pillow_ms = beside(found, what, rgb, danqing_webp, pillow_webp, rounds=number, goal=bound)
            most = pillow_ms / over_rounds([timed(quickest_webp, rgb)[0] for _ in range(number)]).value
            found.figure(f"{what}: the most that libwebp can do, in times Pillow's default", most, "")
    found.notes.append(
        "Pillow's WebP is libwebp, and so is ours: no setting of it comes near ten times its default, as the figures "
        "of its quickest one show. Photos are photo-like pictures."
    )
    return found.as_dict()


if __name__ == "__main__":
    from report import told

    print("\n".join(told(measure(quick=False))))
