"""What becomes of pictures that can be used. All by way of the decoding process."""

import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps, PngImagePlugin

from danqing.core.images import StagedImage
from danqing.intake.sandboxed import SandboxedIntake
from tests.unit.intake.pictures import a_picture, chunk, chunks_of, encoded, png


def pixels(image: StagedImage) -> list[object]:
    with Image.open(image.path, formats=("PNG",)) as opened:
        return list(opened.get_flattened_data())


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_becomes_a_plain_png(
    intake: SandboxedIntake, tmp_path: Path, staged_files: Callable[[], list[Path]], kind: str, as_file: bool
) -> None:
    content = encoded(a_picture(), kind)
    sent = tmp_path / "sent"
    sent.write_bytes(content)

    staged = await intake.stage(sent if as_file else content, parameter="image")

    assert (staged.width, staged.height, staged.has_alpha) == (40, 30, False)
    assert staged.sha256 == hashlib.sha256(staged.path.read_bytes()).hexdigest()
    assert staged_files() == [staged.path]
    assert sent.read_bytes() == content
    with Image.open(staged.path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (40, 30))
        for at in ((5, 5), (35, 5), (5, 25), (35, 25)):
            wanted, got = a_picture().getpixel(at), image.getpixel(at)
            assert isinstance(wanted, tuple) and isinstance(got, tuple)
            assert all(abs(a - b) < 25 for a, b in zip(wanted, got, strict=True))


async def test_equal_pictures_are_equal_bytes(intake: SandboxedIntake) -> None:
    one = await intake.stage(encoded(a_picture(), "PNG"), parameter="image")
    two = await intake.stage(encoded(a_picture(), "PNG", compress_level=9), parameter="image")

    assert one.sha256 == two.sha256 and one.path != two.path


def trns(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


RED, GREEN = (250, 0, 0), (0, 250, 0)
PALETTE = chunk(b"PLTE", bytes([*RED, *GREEN]))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(2, 1, bits=8, colour=3, rows=b"\0\0\1", before=PALETTE), [RED, GREEN]),
        (
            png(2, 1, bits=8, colour=3, rows=b"\0\0\1", before=PALETTE + chunk(b"tRNS", b"\xff\x80")),
            [(*RED, 255), (*GREEN, 128)],
        ),
        (png(2, 1, bits=8, colour=3, rows=b"\0\0\1", before=PALETTE + chunk(b"tRNS", b"\xff\xff")), [RED, GREEN]),
        (png(2, 1, bits=8, colour=3, rows=b"\0\0\0", before=PALETTE + chunk(b"tRNS", b"\xff\x00")), [RED, RED]),
        (png(2, 1, bits=1, colour=0, rows=b"\0\x80"), [(255,) * 3, (0,) * 3]),
        (png(2, 1, bits=1, colour=0, rows=b"\0\x80", before=trns(0)), [(255,) * 4, (0,) * 4]),
        (png(2, 1, bits=8, colour=0, rows=b"\0\x07\xff"), [(7,) * 3, (255,) * 3]),
        (png(2, 1, bits=8, colour=0, rows=b"\0\x07\xff", before=trns(7)), [(7, 7, 7, 0), (255,) * 4]),
        (png(2, 1, bits=8, colour=4, rows=b"\0\x07\xff\x09\x80"), [(7, 7, 7, 255), (9, 9, 9, 128)]),
        (png(2, 1, bits=8, colour=4, rows=b"\0\x07\xff\x09\xff"), [(7,) * 3, (9,) * 3]),
        (png(2, 1, bits=16, colour=0, rows=b"\0\x80\x80\xff\xff"), [(128,) * 3, (255,) * 3]),
        (png(2, 1, bits=16, colour=0, rows=b"\0\x01\x01\x00\x00"), [(1,) * 3, (0,) * 3]),
        (
            png(2, 1, bits=16, colour=0, rows=b"\0\x80\x80\xff\xff", before=trns(0x8080)),
            [(128, 128, 128, 0), (255,) * 4],
        ),
        (png(2, 1, bits=16, colour=0, rows=b"\0\x80\x80\xff\xff", before=trns(3)), [(128,) * 3, (255,) * 3]),
        (png(1, 1, bits=16, colour=2, rows=b"\0\xff\xff\x80\x80\x00\x00"), [(255, 128, 0)]),
        (png(1, 1, bits=8, colour=2, rows=b"\0\x01\x02\x03", before=trns(1, 2, 3)), [(1, 2, 3, 0)]),
        (png(1, 1, bits=8, colour=6, rows=b"\0\x01\x02\x03\x00"), [(1, 2, 3, 0)]),
        (png(1, 1, bits=8, colour=6, rows=b"\0\x01\x02\x03\xff"), [(1, 2, 3)]),
    ],
)
async def test_every_kind_of_pixel(intake: SandboxedIntake, content: bytes, expected: list[tuple[int, ...]]) -> None:
    staged = await intake.stage(content, parameter="image")

    assert pixels(staged) == expected
    assert staged.has_alpha == (len(expected[0]) == 4)


@pytest.mark.parametrize(("mode", "tolerance"), [("L", 3), ("CMYK", 12)])
async def test_jpegs_of_other_colours(intake: SandboxedIntake, mode: str, tolerance: int) -> None:
    sent = Image.new("RGB", (16, 16), (200, 200, 200)).convert(mode)

    staged = await intake.stage(encoded(sent, "JPEG", quality=95), parameter="image")

    assert not staged.has_alpha
    first = pixels(staged)[0]
    assert isinstance(first, tuple) and all(abs(value - 200) <= tolerance for value in first)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_pictures_are_set_upright(intake: SandboxedIntake, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    sent = encoded(a_picture(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(sent)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")

    staged = await intake.stage(sent, parameter="image")

    assert (staged.width, staged.height) == upright.size
    assert pixels(staged) == list(upright.get_flattened_data())


async def test_broken_exif_data_is_no_reason_to_refuse(intake: SandboxedIntake) -> None:
    sent = encoded(a_picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffnonsense")

    assert (await intake.stage(sent, parameter="image")).width == 40


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_only_pixels_survive(intake: SandboxedIntake, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET place"
    options: dict[str, object] = {"exif": exif, "icc_profile": b"SECRET profile" * 20, "xmp": b"<x>SECRET</x>"}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", "SECRET prompt")
        options = {"exif": exif, "icc_profile": b"SECRET profile" * 20, "pnginfo": text}
    sent = encoded(a_picture(), kind, **options) + b"PK\x03\x04SECRET archive<script>"

    staged = await intake.stage(sent, parameter="image")

    content = staged.path.read_bytes()
    assert chunks_of(content) == [b"IHDR", b"IDAT", b"IEND"]
    assert b"SECRET" not in content


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_of_an_animation_the_first_picture_is_taken(intake: SandboxedIntake, kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), GREEN)
    sent = encoded(first, kind, save_all=True, append_images=[second], duration=100, lossless=True)

    staged = await intake.stage(sent, parameter="image")

    assert set(pixels(staged)) == {RED}


async def test_discarded_pictures_are_gone(intake: SandboxedIntake, staged_files: Callable[[], list[Path]]) -> None:
    staged = [await intake.stage(encoded(a_picture(), "PNG"), parameter="image") for _ in range(2)]

    await intake.discard(staged)
    await intake.discard(staged)  # as good as once

    assert staged_files() == []


GREY_ALPHA = png(3, 1, bits=8, colour=4, rows=b"\0\xff\xff\xff\x80\xff\x00")  # white: opaque, half of it, transparent


@pytest.mark.parametrize(
    ("content", "levels"),
    [
        (GREY_ALPHA, [255, 128, 0]),
        (png(2, 1, bits=8, colour=6, rows=b"\0\xff\xff\xff\xff\xff\xff\xff\x00"), [255, 0]),
        (png(2, 1, bits=8, colour=0, rows=b"\0\x07\xff", before=trns(255)), [7, 0]),
        (png(2, 1, bits=1, colour=0, rows=b"\0\x80", before=trns(0)), [255, 0]),
        (png(2, 1, bits=8, colour=0, rows=b"\0\x07\xf8"), [7, 248]),  # a soft mask keeps its levels
    ],
)
async def test_what_is_transparent_in_a_mask_whose_brightness_counts_is_black(
    intake: SandboxedIntake, content: bytes, levels: list[int]
) -> None:
    staged = await intake.stage(content, parameter="mask_image", as_mask=True)

    assert pixels(staged) == [(level,) * 3 for level in levels]
    assert not staged.has_alpha
