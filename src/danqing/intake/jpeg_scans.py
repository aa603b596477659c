"""Counts the scans of a JPEG without decoding it: each costs a pass over all pixels, and may be a few bytes long.

Reads the markers as libjpeg does, and where the two could differ finds more scans rather than fewer.
"""

import mmap
import re
from pathlib import Path

# The end of the image, and all that a length follows. Not: 0xFF 0x00, a byte of a scan; restarts, which belong to one;
# what is below 0xC0, which libjpeg passes over inside a scan and refuses elsewhere; 0xFF 0xFF, which is filling.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_END_OF_IMAGE = 0xD9
_START_OF_SCAN = 0xDA


def count_scans(path: Path, *, most: int) -> int:
    """Stops counting above most. Raises OSError, or ValueError for an empty file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _count(content, most)


def _count(content: mmap.mmap, most: int) -> int:
    scans = at = 0
    while scans <= most and (found := _MARKER.search(content, at)):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        at += max(2, int.from_bytes(content[at : at + 2], "big"))  # the length counts itself
    return scans
