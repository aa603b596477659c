"""What a picture may cost."""

from dataclasses import dataclass

from danqing.core.images import MAX_IMAGE_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class IntakeLimits:
    """max_bytes: of the file that a client sends. max_side, max_pixels: of the picture, before any pixel is decoded.

    max_scans: of a JPEG; each goes over the whole picture, for a few bytes. Ordinary files have ten or so.
    wall_s, cpu_s: seconds for one picture; as long may it keep others waiting. memory_bytes: address space of the
    decoding process; a picture of max_pixels needs less than 1 GiB.
    """

    max_bytes: int = MAX_IMAGE_BYTES
    max_side: int = 8192
    max_pixels: int = 40_000_000
    max_scans: int = 100
    wall_s: float = 15.0
    cpu_s: int = 10
    memory_bytes: int = 1536 * MIB
