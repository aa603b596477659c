"""`size` as clients write it: `auto` or `WIDTHxHEIGHT`. Pure.

OpenAI's own rule (both sides divisible by 16, ratio at most 3:1, at most 3840x2160) is not enforced: what the model can
do decides, which the core checks.
"""

import math
import re

from danqing.core.capabilities import ModelCard
from danqing.core.errors import InvalidRequest

AUTO = "auto"
_SIZE = re.compile(r"([1-9]\d{0,4})\s*[xX×]\s*([1-9]\d{0,4})", re.ASCII)
_STEP = 16  # sides that are chosen for a client are multiples of it


def parse_size(text: str) -> tuple[int, int] | None:
    """(width, height); None for `auto`. Raises InvalidRequest."""
    if text.strip().lower() == AUTO:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"size must be {AUTO} or WIDTHxHEIGHT, 1024x1024 for example.", parameter="size")
    return int(match[1]), int(match[2])


def size_like(image: tuple[int, int], card: ModelCard) -> tuple[int, int]:
    """A size of about the image's shape and of as many pixels as the model's default has, within its sides."""
    scale = math.sqrt(card.defaults.width * card.defaults.height / (image[0] * image[1]))
    side = card.capabilities.side
    width, height = (min(side.maximum, max(side.minimum, round(s * scale / _STEP) * _STEP)) for s in image)
    return width, height
