"""Stored pictures in the format that a client asks for. Reads our own PNG and JPEG files only; everything is blocking.

PNG is handed over as it is stored. JPEG and WebP keep the text that tells how the picture was made, as an EXIF comment.
"""

import io

from PIL import Image, ImageOps

from danqing.dialects.openai.schemas import OutputFormat

STORED_AS: OutputFormat = "png"
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MAX_COMMENT_BYTES = 60_000  # EXIF in JPEG ends at 64 KiB
_FULL_COLOUR_QUALITY = 90  # of JPEG; from there on colours are stored at full resolution
_SHRINK_BOTH_WAYS = 2


def converted(png: bytes, output_format: OutputFormat, compression: int) -> bytes:
    """A stored original. compression: 0 to 100, as OpenAI has it: 100 is the best quality."""
    if output_format == STORED_AS:
        return png
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        image.load()
        text = image.info.get("parameters")
        return _encoded(image.convert("RGB"), output_format, compression, _comment(text))


def fitted(jpeg: bytes, size: tuple[int, int], output_format: OutputFormat, compression: int) -> bytes:
    """A preview at the size of the picture that it is a preview of."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        picture = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC)
    return _encoded(picture, output_format, compression, None)


def _comment(text: object) -> Image.Exif | None:
    """The text as EXIF has it: `UNICODE`, then UTF-16."""
    if not isinstance(text, str):
        return None
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    if len(comment) > _MAX_COMMENT_BYTES:
        return None
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
    return exif


def _encoded(image: Image.Image, output_format: OutputFormat, compression: int, exif: Image.Exif | None) -> bytes:
    file = io.BytesIO()
    about = {} if exif is None else {"exif": exif}
    match output_format:
        case "jpeg":
            coarse = 0 if compression >= _FULL_COLOUR_QUALITY else _SHRINK_BOTH_WAYS
            image.save(file, "JPEG", quality=compression, subsampling=coarse, **about)
        case "webp":
            image.save(file, "WEBP", quality=compression, **about)
        case "png":
            image.save(file, "PNG", compress_level=1)
    return file.getvalue()
