"""What a picture may cost."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class IntakeLimits:
    """max_bytes: of the file that a client sends. max_side, max_pixels: of the picture, before any pixel is decoded.

    wall_s, cpu_s: seconds for one picture. memory_bytes: address space of the decoding process; a picture of max_pixels
    needs less than 1 GiB.
    """

    max_bytes: int = 50 * MIB
    max_side: int = 8192
    max_pixels: int = 40_000_000
    wall_s: float = 30.0
    cpu_s: int = 30
    memory_bytes: int = 1536 * MIB
