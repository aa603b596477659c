"""A fast PNG encoder for 8-bit RGB: the file around the pixels.

At 1024x1024 seven to thirteen (flat artwork) and forty to fifty (photos) times as fast as Pillow's default, by
processor, for files up to a quarter larger.
All that takes long runs without Python's lock. Knows nothing of what the texts mean.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from danqing.engine.codecs.pixel_stream import PixelStream
from danqing.engine.codecs.row_filters import filtered

MEDIA_TYPE = "image/png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class PngText:
    """A text inside the file. keyword: 1 to 79 Latin-1 characters. text: anything but NUL.

    utf8: always write it as an iTXt chunk; otherwise as the older tEXt where the text is Latin-1.
    """

    keyword: str
    text: str
    utf8: bool = False


def encode_png(rgb: npt.NDArray[np.uint8], texts: Iterable[PngText]) -> bytes:
    """rgb: uint8 (H, W, 3). The same input gives the same bytes. Raises ValueError for anything else."""
    height, width, channels = rgb.shape
    if rgb.dtype != np.uint8 or channels != 3 or not (height and width):
        raise ValueError("expected uint8 RGB of at least one pixel")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, colour type RGB, not interlaced
    pixels = PixelStream(width)
    pixels.add(filtered(rgb))
    return b"".join(
        (
            SIGNATURE,
            *_chunk(b"IHDR", header),
            *(part for text in texts for part in _text_chunk(text)),
            *_chunk(b"IDAT", *pixels.end()),
            *_chunk(b"IEND"),
        )
    )


def _chunk(kind: bytes, *content: bytes) -> Iterable[bytes]:
    """In parts. content: likewise."""
    check = 0
    for part in (kind, *content):
        check = isal_zlib.crc32(part, check)  # pyright: ignore[reportUnknownMemberType]
    return struct.pack(">I", sum(map(len, content))), kind, *content, struct.pack(">I", check)


def _text_chunk(text: PngText) -> Iterable[bytes]:
    if not 1 <= len(text.keyword) <= 79 or "\0" in text.keyword + text.text:
        raise ValueError("a PNG text needs a keyword of 1 to 79 characters and no NUL")
    name = text.keyword.encode("latin-1") + b"\0"
    if not text.utf8 and all(ord(character) < 256 for character in text.text):
        return _chunk(b"tEXt", name + text.text.encode("latin-1"))
    return _chunk(b"iTXt", name + b"\0\0\0\0" + text.text.encode())  # not compressed, no language, no other keyword
