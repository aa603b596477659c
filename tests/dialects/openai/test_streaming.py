"""Server-sent events: how many, in which order, with what in them, and what happens when a client leaves."""

import asyncio
import base64
import gc
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.types import Message

from danqing.core.clock import utc_now
from danqing.core.errors import OutOfMemory
from danqing.core.open_picture import OpenPicture
from danqing.core.studio import new_job_id
from danqing.dialects.openai import streaming
from danqing.dialects.openai.dialect import openai
from danqing.http.dialect import DialectOptions
from tests.dialects.house import House
from tests.dialects.openai.parts import editing_house, files, png, talking


def patient(house: House) -> House:
    """Its painter begins with a job once somebody wants previews of it, so that none is missed."""
    house.painter.is_patient = True
    return house


def events(body: str) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of each; comments are left out."""
    told: list[tuple[str, dict[str, Any]]] = []
    for block in body.split("\n\n"):
        if not block or block.startswith(":"):
            continue
        event, data = block.split("\n")
        assert event.startswith("event: ")
        assert data.startswith("data: ")
        told.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


def shown(data: dict[str, Any]) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))) as image:
        image.load()
        return image.format, image.size


async def streamed(house: House, **body: Any) -> list[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - JSON
    async with talking(house) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p", "stream": True, **body})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


@pytest.mark.parametrize("partial_images", [1, 2, 3])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_exactly_as_many_partial_images_as_asked_for(
    tmp_path: Path, partial_images: int, output_format: str
) -> None:
    house = patient(editing_house(tmp_path))

    told = await streamed(house, partial_images=partial_images, output_format=output_format, size="160x96")

    kinds = ["image_generation.partial_image"] * partial_images + ["image_generation.completed"]
    assert [event for event, _ in told] == kinds == [data["type"] for _, data in told]
    assert [data["partial_image_index"] for _, data in told[:-1]] == list(range(partial_images))
    for _, data in told:
        assert shown(data) == (output_format.upper(), (160, 96))
        assert {"b64_json", "background", "created_at", "output_format", "quality", "size", "type"} <= set(data)
        assert (data["size"], data["output_format"], data["background"]) == ("160x96", output_format, "opaque")
    assert told[-1][1]["usage"]["generated_images"] == 1


async def test_fewer_steps_give_fewer(tmp_path: Path) -> None:
    told = await streamed(patient(editing_house(tmp_path)), partial_images=3, num_inference_steps=2)

    assert [event for event, _ in told] == ["image_generation.partial_image", "image_generation.completed"]


@pytest.mark.parametrize("body", [{}, {"partial_images": 0}, {"partial_images": None}])
async def test_without_partial_images_there_is_one_event(tmp_path: Path, body: dict[str, Any]) -> None:
    house = editing_house(tmp_path)

    told = await streamed(house, **body)

    assert [event for event, _ in told] == ["image_generation.completed"]
    assert house.painter.previews_wanted == set()
    assert "image_index" not in told[0][1]


async def test_several_pictures_are_told_apart(tmp_path: Path) -> None:
    told = await streamed(patient(editing_house(tmp_path)), n=2, partial_images=1)

    for index in (0, 1):
        own = [(event, data) for event, data in told if data["image_index"] == index]
        assert own[-1][0] == "image_generation.completed"
    assert sum(event == "image_generation.completed" for event, _ in told) == 2


async def test_an_edit_streams_too(tmp_path: Path) -> None:
    house = patient(editing_house(tmp_path))

    async with talking(house) as client:
        answer = await client.post(
            "/v1/images/edits",
            files=files(image=png()),
            data={"prompt": "p", "stream": "true", "partial_images": "2", "quality": "low"},
        )

    told = events(answer.text)
    assert [event for event, _ in told] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert told[-1][1]["usage"]["input_images"] == 1
    assert told[-1][1]["quality"] == "low"
    assert "quality ignored" in answer.headers["X-Danqing-Warning"]


async def test_what_is_wrong_from_the_start_is_an_ordinary_error(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p", "stream": True, "size": "1x1"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")


async def test_a_failure_on_the_way_is_an_event(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    house.painter.failure = OutOfMemory()

    told = await streamed(house)

    ((event, data),) = told
    assert event == "error"
    assert data["error"]["code"] == "GENERATION_ERROR"
    assert data["error"]["message"].startswith("Image generation failed: Out of device memory")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, None),
        ({"user": "ann"}, "ann"),
        ({"user": "ann", "safety_identifier": "a1"}, "a1"),
        ({"user": "ann", "safety_identifier": ""}, "ann"),
    ],
)
async def test_whom_it_is_for_is_told_again(tmp_path: Path, said: dict[str, str], told: str | None) -> None:
    _, data = (await streamed(editing_house(tmp_path), size="64x64", **said))[-1]
    assert data.get("safety_identifier") == told


async def test_a_stream_that_takes_too_long_ends_with_an_error_and_its_jobs(tmp_path: Path) -> None:
    house = editing_house(tmp_path, automatic=False, options=DialectOptions(request_timeout_s=0.05))

    told = await streamed(house, n=2)

    assert [event for event, _ in told] == ["error"]
    assert (await house.studio.queue_status()).cancelled == 2


SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/images/generations",
    "raw_path": b"/v1/images/generations",
    "query_string": b"",
    "headers": [(b"host", b"danqing.test")],
    "scheme": "http",
    "server": ("danqing.test", 80),
    "client": ("127.0.0.1", 5),
    "root_path": "",
    "http_version": "1.1",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
}


async def test_a_silent_stream_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a job that is not made
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    job_id = new_job_id()
    house = editing_house(tmp_path, automatic=False, new_id=lambda: job_id)
    app = house.app(openai(), alone=True)
    inbox: list[Message] = [{"type": "http.request", "body": b'{"prompt": "p", "stream": true}', "more_body": False}]
    told: list[bytes] = []

    async def receive() -> Message:
        if not inbox:
            await asyncio.Event().wait()
        return inbox.pop()

    async def send(message: Message) -> None:
        told.append(message.get("body", b""))
        if len(told) == 2:  # after the head
            await house.studio.cancel(job_id)

    # When the first thing has been told, and the job is cancelled, so that the stream ends
    await asyncio.wait_for(app(SCOPE, receive, send), 20)

    # Then that was a comment
    assert told[1] == b": still at work\n\n"
    assert [event for event, _ in events(b"".join(told).decode())] == ["error"]


async def test_a_job_that_is_removed_before_its_end_was_told_ends_its_stream(tmp_path: Path) -> None:
    job_id = new_job_id()
    house = editing_house(tmp_path, automatic=False, new_id=lambda: job_id)
    telling = asyncio.ensure_future(streamed(house, partial_images=1))
    async with asyncio.timeout(20):
        while job_id not in house.painter.previews_wanted:  # noqa: ASYNC110 - it is not told
            await asyncio.sleep(0.01)
        await house.store.cancel(job_id, utc_now())
        await house.services.removal.remove(job_id)
        house.events.close()  # as far as this job goes
        ((event, data),) = await telling
    assert (event, data["error"]["code"]) == ("error", "NOT_FOUND")


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_a_client_that_takes_nothing_leaves_too(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client that stays, but reads no more than some messages of the answer
    monkeypatch.setattr(streaming, "SEND_TIMEOUT_S", 0.05)
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.01)
    house = editing_house(tmp_path, automatic=False, options=DialectOptions(request_timeout_s=0.2))
    app = house.app(openai(), alone=True)
    body = json.dumps({"prompt": "p", "stream": True, "n": 3}).encode()
    inbox: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not inbox:
            await asyncio.Event().wait()
        return inbox.pop()

    async def send(message: Message) -> None:
        if len(sent) == taken:
            await asyncio.Event().wait()
        sent.append(message)

    await asyncio.wait_for(app(SCOPE, receive, send), 20)

    assert len(sent) == taken
    assert (await house.studio.queue_status()).cancelled == 3


async def test_a_client_that_leaves_takes_its_jobs_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given a client that hangs up once the answer has begun
    gc.collect()  # what other tests have left is told before
    caplog.clear()
    house = editing_house(tmp_path, automatic=False)
    app = house.app(openai(), alone=True)
    begun, sent = asyncio.Event(), []
    body = json.dumps({"prompt": "p", "stream": True, "n": 3}).encode()
    inbox: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if inbox:
            return inbox.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        begun.set()

    await asyncio.wait_for(app(SCOPE, receive, send), 20)

    assert [message["type"] for message in sent] == ["http.response.start"]
    assert (await house.studio.queue_status()).cancelled == 3
    # And no task is left behind to complain
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_an_unforeseen_fault_ends_the_stream_without_telling(tmp_path: Path) -> None:
    # Given a picture that is gone when it is read
    house = editing_house(tmp_path)

    async def gone(name: str) -> OpenPicture:
        raise ValueError(f"secret {house.artifacts.location(name)}")

    house.services = replace(house.services, artifacts=house.artifacts)
    house.artifacts.open = gone

    ((event, data),) = await streamed(house)

    assert (event, data["error"]["code"]) == ("error", "INTERNAL_ERROR")
    assert "secret" not in data["error"]["message"]
