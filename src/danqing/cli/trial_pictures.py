"""Pictures for trying a server with: a small scene, its mask, and one that no format makes smaller."""

import io
import random

from PIL import Image, ImageDraw

SKY, GRASS, SUN = (120, 180, 235), (70, 140, 60), (250, 210, 60)


def scene(side: int) -> bytes:
    """A PNG of side x side pixels: a sun above grass."""
    picture = Image.new("RGB", (side, side), SKY)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, side * 2 // 3, side, side), fill=GRASS)
    draw.ellipse((side // 4, side // 8, side * 3 // 4, side * 5 // 8), fill=SUN)
    return _png(picture)


def scene_mask(side: int) -> bytes:
    """Its mask: white where the sun is, and to be made anew; black elsewhere."""
    mask = Image.new("RGB", (side, side), (0, 0, 0))
    ImageDraw.Draw(mask).ellipse((side // 4, side // 8, side * 3 // 4, side * 5 // 8), fill=(255, 255, 255))
    return _png(mask)


def scene_edges(side: int) -> bytes:
    """What a Canny filter would make of it."""
    edges = Image.new("RGB", (side, side), (0, 0, 0))
    draw = ImageDraw.Draw(edges)
    draw.line((0, side * 2 // 3, side, side * 2 // 3), fill=(255, 255, 255))
    draw.ellipse((side // 4, side // 8, side * 3 // 4, side * 5 // 8), outline=(255, 255, 255))
    return _png(edges)


def noise(side: int) -> bytes:
    """A PNG of about three bytes a pixel, as a photograph without losses has at most. Always the same."""
    return _png(Image.frombytes("RGB", (side, side), random.Random(side).randbytes(3 * side * side)))


def size_of(picture: bytes) -> tuple[int, int] | None:
    """(width, height) of a whole PNG; None if it is none."""
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG",)) as image:
            image.load()
            return image.size
    except (OSError, ValueError, SyntaxError):
        return None


def keeps(picture: bytes, original: bytes, mask: bytes) -> bool:
    """Whether picture is original wherever mask is black. All three are RGB PNGs of one size."""
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in (picture, original, mask)]
    kept = images[2].convert("L").point([255] + 255 * [0])
    nothing = Image.new("RGB", kept.size)
    return Image.composite(images[0], nothing, kept).tobytes() == Image.composite(images[1], nothing, kept).tobytes()


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()
