"""Pictures as nobody should send them, made when they are needed."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from tests.unit.intake.pictures import a_picture, chunk, encoded, many_scans, noise, png

MIB = 1024 * 1024
TAKEN = "taken"
NOT_TAKEN = "is not a PNG, JPEG or WebP image."
DAMAGED = "is damaged or incomplete."
TOO_LARGE = "is too large: at most 8192 pixels a side, and 40 megapixels in all."
TOO_LONG = "is larger than 50 MiB"


@dataclass(frozen=True)
class Picture:
    """answer: TAKEN, or what is said about it."""

    name: str
    make: Callable[[], bytes]
    answer: str


def _png(image: Image.Image | None = None, **options: object) -> bytes:
    return encoded(image or a_picture(), "PNG", **options)


def _jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    return encoded(image or a_picture(), "JPEG", **options)


def _webp(**options: object) -> bytes:
    return encoded(a_picture(), "WEBP", **options)


def _packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(megabytes)) + packer.flush()


def _png_with(before: bytes, rows: bytes | None = None) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes(14)) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _headed(width: int, height: int) -> bytes:
    return png(width, height, bits=8, colour=2, rows=b"")


def _wide_jpeg() -> bytes:
    """Says 65,535 pixels each way in its header."""
    content = bytearray(_jpeg())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


def _wrong_checksum() -> bytes:
    content = bytearray(_png())
    content[40] ^= 0xFF
    return bytes(content)


def _animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (40, 30), (shade, 0, 0)) for shade in range(0, 250, 25)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _jpeg(exif=exif.tobytes())


def _broken_exif() -> bytes:
    content = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x03\xff\xff\xff\xff" * 30
    return _jpeg()[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + _jpeg()[2:]


def _many_segments() -> bytes:
    segment = b"\xff\xfe\xff\xff" + bytes(65533)
    return _jpeg()[:2] + segment * 100 + _jpeg()[2:]


def _palette() -> bytes:
    return encoded(a_picture().quantize(8), "PNG", transparency=0)


def _grey16() -> bytes:
    return encoded(Image.new("I;16", (40, 30), 40_000), "PNG")


def _rgb16() -> bytes:
    return png(2, 2, bits=16, colour=2, rows=(b"\0" + bytes(range(12))) * 2)


def _bomb_in_jpeg_tables() -> bytes:
    """Huffman tables again and again."""
    content = _jpeg()
    at = content.index(b"\xff\xc4")
    length = int.from_bytes(content[at + 2 : at + 4], "big") + 2
    return content[:at] + content[at : at + length] * 2000 + content[at:]


PICTURES = [
    Picture("SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", NOT_TAKEN),
    Picture("SVG with a script", lambda: b"<?xml version='1.0'?><svg onload='alert(1)'><script/></svg>", NOT_TAKEN),
    Picture("SVG that reads a file", lambda: b"<svg><image href='file:///etc/passwd'/></svg>", NOT_TAKEN),
    Picture("HTML", lambda: b"<!doctype html><script>alert(1)</script>", NOT_TAKEN),
    Picture("plain text", lambda: b"a picture, honestly", NOT_TAKEN),
    Picture("GIF", lambda: encoded(a_picture(), "GIF"), NOT_TAKEN),
    Picture("animated GIF", lambda: _animated("GIF"), NOT_TAKEN),
    Picture("BMP", lambda: encoded(a_picture(), "BMP"), NOT_TAKEN),
    Picture("TIFF", lambda: encoded(a_picture(), "TIFF"), NOT_TAKEN),
    Picture("ICO", lambda: encoded(a_picture(32, 32), "ICO"), NOT_TAKEN),
    Picture("PSD", lambda: b"8BPS\0\1" + bytes(200), NOT_TAKEN),
    Picture("EPS", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NOT_TAKEN),
    Picture("PDF", lambda: b"%PDF-1.7\n" + bytes(200), NOT_TAKEN),
    Picture("JPEG 2000", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), NOT_TAKEN),
    Picture("AVIF", lambda: b"\0\0\0\x20ftypavif" + bytes(200), NOT_TAKEN),
    Picture("FITS", lambda: b"SIMPLE  =                    T" + bytes(200), NOT_TAKEN),
    Picture("gzip bomb", lambda: b"\x1f\x8b\x08" + _packed(8), NOT_TAKEN),
    Picture("GIF that goes on as PNG", lambda: b"GIF89a" + _png(), NOT_TAKEN),
    Picture("WAV in WebP's container", lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(200), NOT_TAKEN),
    Picture("PNG's first eight bytes", lambda: b"\x89PNG\r\n\x1a\n", DAMAGED),
    Picture("JPEG's first four bytes", lambda: b"\xff\xd8\xff\xe0", DAMAGED),
    Picture("WebP's first bytes", lambda: b"RIFF\x10\0\0\0WEBPVP8 ", DAMAGED),
    Picture("PNG cut short", lambda: _png()[:-60], DAMAGED),
    Picture("JPEG cut short", lambda: _jpeg()[:-200], DAMAGED),
    Picture("WebP cut short", lambda: _webp()[:-20], DAMAGED),
    Picture("PNG with a wrong checksum", _wrong_checksum, DAMAGED),
    Picture("PNG's beginning before a JPEG", lambda: b"\x89PNG\r\n\x1a\n" + _jpeg(), DAMAGED),
    Picture("JPEG's beginning before a PNG", lambda: b"\xff\xd8\xff" + _png(), DAMAGED),
    Picture("PNG of no width", lambda: _headed(0, 10), DAMAGED),
    Picture("PNG that promises 32 megapixels and has none", lambda: _headed(8192, 4096), DAMAGED),
    Picture("PNG of 2³¹-1 pixels each way", lambda: _headed(2**31 - 1, 2**31 - 1), TOO_LARGE),
    Picture("PNG of 60,000 pixels each way", lambda: _headed(60_000, 60_000), TOO_LARGE),
    Picture("PNG, 8,193 pixels wide", lambda: _headed(8193, 1), TOO_LARGE),
    Picture("PNG of 64 megapixels, all there", lambda: encoded(Image.new("1", (8000, 8000)), "PNG"), TOO_LARGE),
    Picture("JPEG of 65,535 pixels each way", _wide_jpeg, TOO_LARGE),
    Picture("WebP, 9,000 pixels wide", lambda: encoded(Image.new("L", (9000, 9)), "WEBP"), TOO_LARGE),
    Picture("JPEG of 1,500 scans", lambda: many_scans(1500), "has more than 100 scans"),
    Picture("PNG that unpacks to 256 MB for four pixels", lambda: _png_with(b"", _packed(256)), TAKEN),
    Picture("PNG with a text of 256 MB", lambda: _png_with(chunk(b"zTXt", b"p\0\0" + _packed(256))), DAMAGED),
    Picture("PNG with a profile of 256 MB", lambda: _png_with(chunk(b"iCCP", b"p\0\0" + _packed(256))), DAMAGED),
    Picture("JPEG with 6 MB of comments", _many_segments, TAKEN),
    Picture("JPEG with 2,000 tables", _bomb_in_jpeg_tables, TAKEN),
    Picture("PNG with a ZIP behind it", lambda: _png() + b"PK\3\4" + bytes(500), TAKEN),
    Picture("PNG with HTML behind it", lambda: _png() + b"<script>alert(1)</script>", TAKEN),
    Picture("JPEG with a program in a comment", lambda: _jpeg(comment=b"<?php system($_GET['c']); ?>"), TAKEN),
    Picture("16 bits of grey", _grey16, TAKEN),
    Picture("16 bits a colour", _rgb16, TAKEN),
    Picture("CMYK", lambda: encoded(a_picture().convert("CMYK"), "JPEG"), TAKEN),
    Picture("palette with a transparent colour", _palette, TAKEN),
    Picture("animated PNG", lambda: _animated("PNG"), TAKEN),
    Picture("animated WebP", lambda: _animated("WEBP"), TAKEN),
    Picture("JPEG turned by Exif", lambda: _turned(6), TAKEN),
    Picture("JPEG turned in a way that there is not", lambda: _turned(99), TAKEN),
    Picture("JPEG with broken Exif", _broken_exif, TAKEN),
    Picture("one pixel", lambda: _png(Image.new("RGB", (1, 1))), TAKEN),
    Picture("noise of 4 megapixels", lambda: _jpeg(noise(2000, 2000), quality=10), TAKEN),
    Picture("51 MiB behind a PNG", lambda: _png() + bytes(51 * MIB), TOO_LONG),
]

GOOD = _png()
GOOD_TEXT = base64.b64encode(GOOD).decode()


def opened(content: bytes) -> Image.Image:
    """A picture that came back."""
    return Image.open(io.BytesIO(content), formats=("PNG",))
