"""Makes a PNG of ours from a file of a stranger. Runs in the decoding process only, which `child.py` has confined.

Only pixels survive: no text, profile, Exif data or thumbnail, nor anything that hides behind the picture's end.
"""

import warnings
from array import array
from pathlib import Path

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from danqing.intake.jpeg_scans import count_scans
from danqing.intake.limits import IntakeLimits
from danqing.intake.verdict import Verdict

_PLUGINS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin)  # imported now: later there may be no memory for it
_ORIENTATION = 0x0112  # Exif
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refused(Exception):
    """The picture cannot be used."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def rebuild(source: Path, target: Path, *, picture_format: str, limits: IntakeLimits, as_mask: bool = False) -> None:
    """Writes target as an upright RGB PNG, or RGBA if some pixel is not opaque. Of an animation the first picture.

    as_mask: RGB whatever comes, what is transparent black.

    Raises Refused, or MemoryError.
    """
    try:
        picture = _read(source, picture_format, limits)
        if as_mask and picture.mode == "RGBA":
            picture = _on_black(picture)
    except (Refused, MemoryError):
        raise
    except (PermissionError, FileNotFoundError) as exc:  # not of the picture's doing
        raise Refused(Verdict.NOT_STORED) from exc
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise Refused(Verdict.TOO_LARGE) from exc
    except Exception as exc:  # decoders raise whatever comes to their minds
        raise Refused(Verdict.DAMAGED) from exc
    picture.info = {}
    try:
        picture.save(target, "PNG", compress_level=1)
    except OSError as exc:
        raise Refused(Verdict.NOT_STORED) from exc


def _read(source: Path, picture_format: str, limits: IntakeLimits) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=(picture_format,)) as opened:
            width, height = opened.size
            if max(width, height) > limits.max_side or width * height > limits.max_pixels:
                raise Refused(Verdict.TOO_LARGE)
            if picture_format == "JPEG" and count_scans(source, most=limits.max_scans) > limits.max_scans:
                raise Refused(Verdict.TOO_MANY_SCANS)
            opened.load()
            turn = _turn(opened)
            picture = _plain(opened)
    return picture if turn is None else picture.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright. Exif data that cannot be read is common, and no reason to refuse a picture."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:
        return None


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        return _plain_grey16(image)
    if image.has_transparency_data:
        return _without_idle_alpha(image.convert("RGBA"))
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _plain_grey16(image: Image.Image) -> Image.Image:
    grey = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    see_through = image.info.get("transparency")
    if not isinstance(see_through, int):
        return grey.convert("RGB")
    values = array("H", image.convert("I;16").tobytes())
    alpha = Image.frombytes("L", image.size, bytes(0 if value == see_through else 255 for value in values))
    picture = grey.convert("RGBA")
    picture.putalpha(alpha)
    return _without_idle_alpha(picture)


def _on_black(picture: Image.Image) -> Image.Image:
    below = Image.new("RGB", picture.size)
    below.paste(picture, mask=picture.getchannel("A"))
    return below


def _without_idle_alpha(picture: Image.Image) -> Image.Image:
    lowest, _ = picture.getchannel("A").getextrema()
    return picture.convert("RGB") if lowest == 255 else picture
