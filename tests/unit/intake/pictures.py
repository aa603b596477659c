"""Files as clients send them, and as nobody should."""

import io
import struct
import zlib

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def a_picture(width: int = 40, height: int = 30) -> Image.Image:
    """Each corner has a colour of its own."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    for colour, at in (((250, 0, 0), (0, 0)), ((0, 250, 0), (width // 2, 0)), ((0, 0, 250), (0, height // 2))):
        image.paste(colour, (*at, at[0] + width // 2, at[1] + height // 2))
    return image


def noise(width: int, height: int) -> Image.Image:
    """Takes a while to encode."""
    return Image.effect_noise((width, height), 90).convert("RGB")


def many_scans(more: int, *, side: int = 40, filling: bytes = b"") -> bytes:
    """A progressive JPEG whose second scan comes so many times more. filling: what each of these ends with."""
    content = encoded(a_picture(side, side), "JPEG", progressive=True)
    start = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    end = content.index(b"\xff\xc4", start)  # the tables of the third
    return content[:end] + (content[start:end] + filling) * more + content[end:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes, before: bytes = b"") -> bytes:
    """Written by hand. rows: as in the format, with a filter byte each."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunks_of(content: bytes) -> list[bytes]:
    """The kinds of a PNG's chunks, each told once."""
    kinds: list[bytes] = []
    at = 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind = content[at + 4 : at + 8]
        if kind not in kinds:
            kinds.append(kind)
        at += length + 12
    return kinds
