"""Scans are counted as libjpeg meets them, and never too few."""

from pathlib import Path

import pytest
from PIL import Image

from danqing.intake.jpeg_scans import count_scans
from tests.unit.intake.pictures import a_picture, encoded, many_scans, noise

PLAIN = encoded(a_picture(), "JPEG")
PROGRESSIVE = encoded(noise(64, 64), "JPEG", progressive=True)
ORDINARY_SCANS = many_scans(0).count(b"\xff\xda")


def scans_in(tmp_path: Path, content: bytes, most: int = 1000) -> int:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    return count_scans(path, most=most)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    ("content", "scans"),
    [
        (PLAIN, 1),
        (encoded(noise(300, 300), "JPEG", restart_marker_blocks=1), 1),
        (PROGRESSIVE, PROGRESSIVE.count(b"\xff\xda")),
        (encoded(Image.new("CMYK", (20, 20)), "JPEG"), 1),
        (many_scans(40), 40 + ORDINARY_SCANS),
        # What looks like scans in texts, and behind the end, is none
        (PLAIN[:2] + segment(0xE1, b"\xff\xda\0\x08" * 200) + PLAIN[2:], 1),
        (PLAIN + b"\xff\xda\0\x08" * 200, 1),
        # Inside a scan libjpeg passes over these, whatever length seems to follow
        (many_scans(40, filling=b"\xff\x02\xff\xff"), 40 + ORDINARY_SCANS),
        (many_scans(40, filling=b"\xff\xff\xff"), 40 + ORDINARY_SCANS),
        (b"\xff\xd8\xff\xda", 1),
        (b"\xff\xd8\xff", 0),
        (b"\xff\xd8" + b"\xff" * 300_000, 0),
    ],
)
def test_how_many(tmp_path: Path, content: bytes, scans: int) -> None:
    assert scans_in(tmp_path, content) == scans


def test_it_ends_when_there_are_too_many(tmp_path: Path) -> None:
    assert scans_in(tmp_path, many_scans(5000), most=100) == 101
