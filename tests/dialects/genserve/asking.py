"""Asks a house for a picture, either way, and looks whether the answer has the documented keys."""

import json
import uuid
from pathlib import Path
from typing import Any

from danqing.core.types import Job
from danqing.dialects.genserve.dialect import genserve
from tests.dialects.genserve.seed_document import example
from tests.dialects.house import House

RESULT = example("#### 响应格式")
INVALID = "参数验证失败"


async def post(house: House, body: object, *, status: int = 200, **headers: str) -> dict[str, Any]:
    """The answer to a JSON body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate", content=content, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == status, answer.text
    return checked(answer.json(), status)


async def post_form(house: House, fields: dict[str, Any], *, status: int = 200, **files: Any) -> dict[str, Any]:  # noqa: ANN401
    """The answer to a form. files: content, or (name, content), or a list of these."""
    parts = [
        (name, one if isinstance(one, tuple) else (f"{name}.png", one))
        for name, given in files.items()
        for one in (given if isinstance(given, list) else [given])
    ]
    # A field without a file name is no file, so that forms without files are multipart, too.
    texts = [
        (name, (None, one)) for name, text in fields.items() for one in (text if isinstance(text, list) else [text])
    ]
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate/img2img", files=[*texts, *parts])
    assert answer.status_code == status, answer.text
    return checked(answer.json(), status)


def checked(answer: dict[str, Any], status: int) -> dict[str, Any]:
    """Every answer has exactly the documented keys, in their order."""
    assert list(answer) == list(RESULT)
    uuid.UUID(answer["task_id"])
    assert answer["success"] == (status == 200)
    assert (answer["image_base64"] is None) == (status != 200)
    assert (answer["error"] is None) == (status == 200)
    if status != 200:
        assert (answer["elapsed_time"], answer["gpu_id"]) == (0.0, None)
    return answer


async def made(house: House, body: dict[str, Any]) -> Job:
    return await house.studio.get((await post(house, body))["task_id"])


def staged_files(house: House) -> list[Path]:
    return list(house.artifacts.staging().iterdir())
