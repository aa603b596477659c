"""Models, pictures and houses as the tests of this dialect need them."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.types import Mode
from tests.dialects.house import House
from tests.fakes.domain import a_card

ALIASES = {"flux1-dev": "default"}
MODES = frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL})
RED = (200, 30, 30)


def a_model(modes: frozenset[Mode] = MODES, **capabilities: Any) -> ModelCard:  # noqa: ANN401 - fields of a dataclass
    """The small model, with pictures to begin with."""
    card = a_card()
    return replace(card, capabilities=replace(card.capabilities, modes=modes, **capabilities))


def a_house(root: Path, **options: Any) -> House:  # noqa: ANN401 - parameters of the house
    """A house that knows the vendor's default model by name, and paints at once."""
    return House(root, **({"automatic": True, "card": a_model(), "aliases": ALIASES} | options))


def a_picture(size: tuple[int, int] = (64, 48), colour: tuple[int, int, int] = RED, file_format: str = "PNG") -> bytes:
    """A file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, file_format)
    return buffer.getvalue()


def text_of(content: bytes) -> str:
    """Base64."""
    return base64.b64encode(content).decode()


def painted(answer: dict[str, Any]) -> Image.Image:
    """The picture of a good answer."""
    assert answer["success"], answer
    return Image.open(io.BytesIO(base64.b64decode(answer["image_base64"], validate=True)))
