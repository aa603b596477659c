"""A house that edits, pictures to edit, and what comes back."""

import base64
import io
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from danqing.core.capabilities import Capabilities, ModelCard, TrainedSizes
from danqing.core.types import Mode
from danqing.dialects.openai.dialect import openai
from tests.dialects.house import House, served
from tests.fakes.domain import a_card

ALIASES = {"gpt-image-*": "default", "chatgpt-image-latest": "default", "dall-e-*": "default"}
RED, GREEN = (200, 30, 30), (30, 160, 40)


def editing_card(**changes: Any) -> ModelCard:  # noqa: ANN401 - fields of the capabilities
    """A small model that does everything but a control image."""
    card = a_card()
    can: Capabilities = replace(
        card.capabilities,
        modes=frozenset({Mode.TEXT2IMG, Mode.IMG2IMG, Mode.FILL, Mode.EDIT}),
        size_rules=TrainedSizes(sizes=((128, 128), (64, 64))),
        max_prompt_chars=2000,
        max_input_images=16,
        **changes,
    )
    return replace(card, capabilities=can, defaults=replace(card.defaults, width=128, height=128))


def editing_house(root: Path, *, automatic: bool = True, **options: Any) -> House:  # noqa: ANN401 - of House
    """Its default size is 128x128, so that pictures are made quickly."""
    options.setdefault("card", editing_card())
    return House(root, automatic=automatic, aliases=ALIASES, **options)


@asynccontextmanager
async def talking(house: House) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of the house on the dialect's own port."""
    async with house.client(openai(), alone=True) as client:
        yield client


@contextmanager
def served_house(root: Path, **options: Any) -> Iterator[str]:  # noqa: ANN401 - of House
    """The address of the shared port."""
    with served(lambda: editing_house(root, **options), [openai()]) as url:
        yield url


def png(colour: tuple[int, ...] = RED, size: tuple[int, int] = (96, 64), *, mode: str = "RGB") -> bytes:
    """A flat picture."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def mask(size: tuple[int, int] = (96, 64)) -> bytes:
    """Opaque on the left, transparent on the right."""
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def opened(datum: dict[str, Any]) -> Image.Image:
    """The picture of one entry of `data`."""
    image = Image.open(io.BytesIO(base64.b64decode(datum["b64_json"])))
    image.load()
    return image


def colour_of(image: Image.Image) -> tuple[int, ...]:
    """In the middle."""
    pixel = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


def files(**named: bytes | list[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """For a form; a list repeats the field. `image__` stands for `image[]`."""
    return [
        (name.replace("__", "[]"), ("a.png", content, "image/png"))
        for name, contents in named.items()
        for content in (contents if isinstance(contents, list) else [contents])
    ]
