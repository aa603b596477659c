"""How the tests of the studio ask: one client of the dialect's own app, as one caller."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.types import Mode
from danqing.dialects.studio.dialect import studio
from danqing.http.keys import Keys
from tests.dialects.house import House
from tests.fakes.domain import a_card

ADMIN, ANNE, BOB = "admin-key", "client-key-1", "client-key-2"
KEYS = Keys(enabled=True, ordinary=frozenset({ANNE, BOB}), admin=ADMIN)

File = tuple[str, tuple[str, bytes, str]]


def all_modes() -> ModelCard:
    """A model that has every mode and understands instructions."""
    card = a_card()
    can = replace(card.capabilities, modes=frozenset(Mode) - {Mode.UPSCALE}, instruction_edit=True, max_input_images=3)
    return replace(card, capabilities=can, loras=("ink",))


def a_picture(width: int = 32, height: int = 32, colour: str = "red") -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def a_file(name: str, content: bytes | None = None) -> File:
    """A part of a form."""
    return name, (f"{name}.png", a_picture() if content is None else content, "image/png")


async def ask(
    house: House,
    method: str,
    path: str,
    *,
    key: str | None = None,
    **options: Any,  # noqa: ANN401 - httpx2's
) -> httpx2.Response:
    """One request."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with house.client(studio(), alone=True) as client:
        return await client.request(method, path, headers=headers | options.pop("headers", {}), **options)


async def submit(
    house: House,
    *,
    key: str | None = None,
    files: Sequence[File] = (),
    headers: dict[str, str] | None = None,
    **fields: Any,  # noqa: ANN401 - JSON
) -> httpx2.Response:
    """The answer to a batch."""
    request = {"prompt": "a cat", "width": 96, "height": 64, "num_inference_steps": 2} | fields
    parts = [("request", (None, json.dumps(request).encode(), "application/json")), *files]
    return await ask(house, "POST", "/studio/batches", key=key, files=parts, headers=headers or {})


async def submitted(house: House, *, key: str | None = None, files: Sequence[File] = (), **fields: Any) -> Any:  # noqa: ANN401 - JSON
    """The jobs of a batch that was taken."""
    answer = await submit(house, key=key, files=files, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()["jobs"]


async def paint(house: House, job_id: str) -> None:
    """From pending to completed."""
    await house.painter.start(job_id)
    await house.painter.finish(job_id)
