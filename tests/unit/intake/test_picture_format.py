"""The first bytes tell what a file is."""

import pytest

from danqing.intake.picture_format import picture_format
from tests.unit.intake.pictures import a_picture, encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_taken(kind: str) -> None:
    assert picture_format(encoded(a_picture(), kind)[:16]) == kind


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "PDF", "EPS"])
def test_what_is_not(kind: str) -> None:
    assert picture_format(encoded(a_picture(), kind)[:16]) is None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PNG",
        b"\x89PNG\n\x1a\n",
        b"\xff\xd8",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"RIFF",
        b"<svg xmlns=",
        b" \xff\xd8\xff",
    ],
)
def test_beginnings_of_nothing(head: bytes) -> None:
    assert picture_format(head) is None
