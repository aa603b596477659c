"""The requests that well-known clients make, field for field, and what each of them reads of the answer."""

import base64
from pathlib import Path
from typing import Any

import pytest

from danqing.http.keys import Keys
from tests.dialects.openai.parts import GREEN, editing_house, files, png, talking

GENERATIONS = {
    "open-webui": {
        "model": "dall-e-2",
        "prompt": "a cat",
        "n": 1,
        "size": "512x512",
        "response_format": "b64_json",
    },
    "open-webui, gpt-image": {"model": "gpt-image-1", "prompt": "a cat", "n": 1},
    "n8n": {
        "prompt": "a cat",
        "model": "dall-e-3",
        "quality": "standard",
        "size": "1024x1024",
        "style": "vivid",
        "response_format": "b64_json",
    },
    "librechat": {
        "model": "gpt-image-1",
        "prompt": "a cat",
        "n": 1,
        "quality": "auto",
        "size": "auto",
        "background": "auto",
        "output_format": "png",
        "output_compression": 100,
    },
}
EDITS: dict[str, tuple[dict[str, str], list[Any]]] = {
    "open-webui, one": (
        {"prompt": "a hat", "model": "gpt-image-1", "n": "1", "size": "512x512", "response_format": "b64_json"},
        files(image=png()),
    ),
    "open-webui, many": (
        {"prompt": "a hat", "model": "gpt-image-1", "background": "auto", "response_format": "b64_json"},
        files(image__=[png(), png(GREEN)]),
    ),
    "n8n": (
        {
            "model": "gpt-image-1",
            "prompt": "a hat",
            "n": "1",
            "size": "1024x1024",
            "quality": "auto",
            "output_format": "png",
            "background": "auto",
            "input_fidelity": "low",
        },
        files(image__=[png()]),
    ),
    "librechat": (
        {"model": "gpt-image-1", "prompt": "a hat", "quality": "auto", "size": "auto"},
        files(image__=[png(), png(GREEN)]),
    ),
}


@pytest.mark.parametrize("client_name", GENERATIONS)
async def test_generations(tmp_path: Path, client_name: str) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post(
            "/v1/images/generations?api-version=2025-04-01-preview", json=GENERATIONS[client_name]
        )

    assert answer.status_code == 200, answer.text
    assert all(base64.b64decode(datum["b64_json"]).startswith(b"\x89PNG") for datum in answer.json()["data"])


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
async def test_langchain_reads_addresses_that_it_has_not_asked_for(tmp_path: Path, model: str) -> None:
    body = {"prompt": "a cat", "n": 1, "size": "1024x1024", "model": model, "quality": "standard"}

    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json=body)
        (datum,) = answer.json()["data"]
        picture = await client.get(datum["url"])

    assert picture.content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ({}, "b64_json"),
        ({"model": "gpt-image-1"}, "b64_json"),
        ({"model": "tiny"}, "b64_json"),
        ({"model": "dall-e-3", "response_format": "b64_json"}, "b64_json"),
        ({"model": "dall-e-3", "response_format": None}, "url"),
        ({"model": "gpt-image-1", "response_format": "url"}, "url"),
    ],
)
async def test_only_who_names_a_model_of_dall_e_gets_addresses_unasked(
    tmp_path: Path, said: dict[str, str], answered: str
) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "a cat", "size": "64x64", **said})
        stream = await client.post(
            "/v1/images/generations", json={"prompt": "a cat", "size": "64x64", "model": "dall-e-3", "stream": True}
        )

    (datum,) = answer.json()["data"]
    assert set(datum) - {"adjustments"} == {answered}
    assert stream.text.startswith("event: image_generation.completed")


async def test_edits_and_variations_of_dall_e_2_are_addresses_too(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        for path, prompt in (("edits", {"prompt": "a hat"}), ("variations", {})):
            data = {"model": "dall-e-2", "size": "128x128", **prompt}
            answer = await client.post(f"/v1/images/{path}", files=files(image=png()), data=data)
            assert "url" in answer.json()["data"][0], answer.text


@pytest.mark.parametrize("client_name", EDITS)
async def test_edits(tmp_path: Path, client_name: str) -> None:
    data, sent = EDITS[client_name]

    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits?api-version=", data=data, files=sent)

    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 1
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")


async def test_open_webui_fetches_addresses_with_its_key(tmp_path: Path) -> None:
    house = editing_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"k"})))
    key = {"Authorization": "Bearer k"}

    async with talking(house) as client:
        body = {"model": "dall-e-2", "prompt": "a cat", "n": 1, "response_format": "url"}
        answer = await client.post("/v1/images/generations", json=body, headers=key)
        picture = await client.get(answer.json()["data"][0]["url"], headers=key)

    assert picture.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/images/generations", {"json": {"prompt": "a cat", "size": "5x5"}}),
        ("/v1/images/edits", {"data": {"prompt": "a hat", "size": "5x5"}, "files": files(image=png())}),
        ("/v1/images/edits", {"data": {"prompt": "a hat", "size": "5x5"}, "files": files(image__=[png(), png()])}),
    ],
)
async def test_open_webui_reads_the_message_of_an_error(tmp_path: Path, path: str, content: dict[str, Any]) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post(path, **content)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "width must be between 64 and 2048."
