"""Formats, qualities and what the files tell of their making."""

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from danqing.dialects.openai.picture_files import PictureFile, parse_name
from danqing.dialects.openai.pictures import converted, fitted
from danqing.dialects.openai.schemas import OutputFormat

TEXT = "戴墨镜的猫 🐱\nSteps: 9, Seed: 42"


def stored(text: str = TEXT) -> bytes:
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    about = PngInfo()
    about.add_itxt("parameters", text)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=about)
    return file.getvalue()


def test_png_is_handed_over_as_it_is() -> None:
    assert converted(stored(), "png", 100) == stored()


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_other_formats_tell_how_the_picture_was_made(output_format: OutputFormat) -> None:
    with Image.open(io.BytesIO(converted(stored(), output_format, 90))) as image:
        assert (image.format, image.size) == (output_format.upper(), (64, 48))
        comment = image.getexif().get_ifd(0x8769)[0x9286]

    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == TEXT


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_less_quality_is_a_smaller_file(output_format: OutputFormat) -> None:
    best, middle, worst = (len(converted(stored(""), output_format, quality)) for quality in (100, 50, 0))

    assert best > middle > worst


def test_a_text_too_long_for_exif_is_left_out() -> None:
    with Image.open(io.BytesIO(converted(stored("x" * 40_000), "jpeg", 90))) as image:
        assert not image.getexif().get_ifd(0x8769)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_preview_is_brought_to_the_size_of_its_picture(output_format: OutputFormat) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (10, 200, 10)).save(file, "JPEG")

    with Image.open(io.BytesIO(fitted(file.getvalue(), (160, 96), output_format, 80))) as image:
        assert (image.format, image.size) == (output_format.upper(), (160, 96))


ID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    "file",
    [
        PictureFile(job_id=ID, output_format="png"),
        PictureFile(job_id=ID, output_format="jpeg", compression=0),
        PictureFile(job_id=ID, output_format="webp", compression=100),
        PictureFile(job_id=ID, output_format="webp", compression=73),
    ],
)
def test_names_are_read_back(file: PictureFile) -> None:
    assert parse_name(file.name) == file


@pytest.mark.parametrize(
    "name", ["", "x.png", f"{ID}", f"{ID}.jpeg", f"{ID}-101.webp", f"{ID}-07.webp", f"{ID}-5.png", f"../{ID}.png"]
)
def test_other_names_are_none_of_ours(name: str) -> None:
    assert parse_name(name) is None
