"""JSON bodies with pictures in them are large: how long they are kept, and what happens when there is no room."""

import asyncio
import io
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from danqing.core.errors import InvalidImage, TooBusy
from danqing.core.images import StagedImage
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.dialects.genserve.dialect import genserve
from danqing.dialects.genserve.schemas import GenerateForm, GenerateRequest
from danqing.http.body_budget import BodyBudget
from tests.dialects.genserve.asking import INVALID, checked, post, staged_files
from tests.dialects.genserve.parts import a_house, a_picture, text_of
from tests.fakes.intake import PlainIntake

DEADLINE_S = 60.0
MEBIBYTE = 1024 * 1024


def a_large_picture() -> bytes:
    """Some hundred kilobytes."""
    noise = Image.frombytes("RGB", (300, 300), os.urandom(300 * 300 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG")
    return file.getvalue()


class WaitingIntake(PlainIntake):
    """Begins when it may."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - as its parent
        super().__init__(*args)
        self.may_begin = asyncio.Event()
        self.waiting: list[str] = []

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        self.waiting.append(owner)
        await self.may_begin.wait()
        return await super().stage(content, parameter=parameter, owner=owner, as_mask=as_mask)


class NoIntake(PlainIntake):
    """Refuses a file without reading it."""

    async def stage(
        self, content: bytes | Path, *, parameter: str, owner: str = "", as_mask: bool = False
    ) -> StagedImage:
        assert isinstance(content, Path)
        assert (await asyncio.to_thread(content.stat)).st_size == 45 * MEBIBYTE
        raise InvalidImage(f"{parameter} is not taken.", parameter=parameter)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_pictures_of_a_body_lie_on_the_disk_until_they_are_staged_and_no_longer(tmp_path: Path) -> None:
    # Given a request whose picture waits for its turn
    house = a_house(tmp_path, automatic=False)
    intake = WaitingIntake(house.artifacts)
    house.services = replace(house.services, intake=intake)
    picture = a_large_picture()
    body = {"prompt": "p", "mode": "img2img", "input_image": text_of(picture)}

    async with house.client(genserve()) as client:
        asking = asyncio.create_task(client.post("/generate", json=body))
        await until(lambda: bool(intake.waiting))
        (file,) = staged_files(house)
        assert file.read_bytes() == picture

        # Then it is gone while the job waits
        intake.may_begin.set()
        await until(lambda: bool(house.store.matching(lambda _: True)))
        await until(lambda: staged_files(house) == [])
        (job,) = house.store.matching(lambda _: True)
        assert job.state is JobState.PENDING
        assert intake.waiting == [job.owner]
        await house.studio.cancel(job.id)
        await asking


async def test_a_body_of_sixty_megabytes_takes_a_few_in_memory(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"prompt": "p", "mode": "img2img", "input_image": "'
        for _ in range(60):
            yield b"iVBORw0K" * (MEBIBYTE // 8)
        yield b'"}'

    house = a_house(tmp_path)
    house.services = replace(house.services, intake=NoIntake(house.artifacts))
    async with house.client(genserve()) as client:
        assert (await client.post("/generate", json={"prompt": "p"})).status_code == 200  # what is made once is made
        tracemalloc.start()
        try:
            answer = await client.post("/generate", content=pieces(), headers={"Content-Type": "application/json"})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert checked(answer.json(), 400)["error"] == f"{INVALID}: input_image is not taken."
    assert peak < 12 * MEBIBYTE


async def test_a_large_body_is_refused_while_there_is_no_room_and_a_small_one_is_taken(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    house.services = replace(house.services, bodies=BodyBudget(100_000))
    large = {"prompt": "p", "mode": "img2img", "input_image": text_of(a_large_picture())}

    async with house.client(genserve(), alone=True) as client:
        refused = await client.post("/generate", json=large)
        taken = await client.post("/generate", json={"prompt": "p"})

    assert refused.status_code == 503
    assert checked(refused.json(), 503)["error"] == f"服务未就绪: {TooBusy.default_message}"
    assert int(refused.headers["Retry-After"]) > 0
    assert taken.status_code == 200
    assert (staged_files(house), house.services.bodies.held_bytes) == ([], 0)


async def test_bodies_are_parsed_outside_the_event_loop(tmp_path: Path, monkeypatch: Any) -> None:  # noqa: ANN401
    loops: list[bool] = []
    parsed = json.loads

    def looking(text: str) -> object:
        try:
            asyncio.get_running_loop()
            loops.append(True)
        except RuntimeError:
            loops.append(False)
        return parsed(text)

    async with a_house(tmp_path).client(genserve()) as client:
        monkeypatch.setattr("danqing.http.json_pictures.json.loads", looking)
        answer = await client.post("/generate", json={"prompt": "p"})
        monkeypatch.undo()
        assert answer.status_code == 200
    assert loops == [False]


async def test_of_a_picture_that_is_sent_twice_the_later_one_counts(tmp_path: Path) -> None:
    house, picture = a_house(tmp_path), text_of(a_picture())
    for first, second, status in ((picture, "AAAA", 400), ("AAAA", picture, 200)):
        body = f'{{"prompt": "p", "mode": "img2img", "input_image": "{first}", "input_image": "{second}"}}'
        await post(house, body.encode(), status=status)
    body = f'{{"prompt": "p", "mode": "img2img", "input_image": "{picture}", "input_image": 5}}'
    assert "input_image must be a string" in (await post(house, body.encode(), status=400))["error"]
    many = ", ".join(['"input_image": "AAAA"'] * 100)
    assert "more than 6 pictures" in (await post(house, f"{{{many}}}".encode(), status=400))["error"]
    assert staged_files(house) == []


async def test_bodies_in_other_encodings_of_unicode_are_read(tmp_path: Path) -> None:
    async with a_house(tmp_path).client(genserve()) as client:
        for encoding in ("utf-8-sig", "utf-16", "utf-32-le"):
            answer = await client.post(
                "/generate",
                content=json.dumps({"prompt": "一只猫"}, ensure_ascii=False).encode(encoding),
                headers={"Content-Type": "application/json; charset=x"},
            )
            assert answer.status_code == 200, encoding


async def test_the_bodies_are_in_the_openapi_document(tmp_path: Path) -> None:
    async with a_house(tmp_path).client(genserve(), alone=True) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]

    for path, kind, model in (
        ("/generate", "application/json", GenerateRequest),
        ("/generate/img2img", "multipart/form-data", GenerateForm),
    ):
        body = paths[path]["post"]["requestBody"]
        assert body["required"] is True
        assert list(body["content"]) == [kind]
        schema = body["content"][kind]["schema"]
        assert list(schema["properties"]) == list(model.model_fields)
        assert (schema["required"], schema["examples"][0]["seed"]) == (["prompt"], 42)


async def test_one_who_waits_too_long_for_his_picture_to_be_checked_is_told_so(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    options = replace(house.services.options, request_timeout_s=1.0)
    house.services = replace(house.services, intake=WaitingIntake(house.artifacts), options=options)

    async with house.client(genserve()) as client:
        answers = [
            await client.post(
                "/generate", json={"prompt": "p", "mode": "img2img", "input_image": text_of(a_picture())}
            ),
            await client.post(
                "/generate/img2img",
                data={"prompt": "p", "mode": "img2img"},
                files={"input_image": a_picture()},
            ),
        ]

    for answer in answers:
        assert answer.status_code == 408
        assert checked(answer.json(), 408)["mode"] == "img2img"
    assert (await house.studio.queue_status()).total == 0
    assert staged_files(house) == []


@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_who_waits_for_his_picture_takes_no_room_from_those_who_send_theirs(tmp_path: Path, way: str) -> None:
    # Given room for two or three uploads at once
    house = a_house(tmp_path, automatic=False)
    house.services = replace(house.services, bodies=BodyBudget(3 * MEBIBYTE, 3 * MEBIBYTE))
    fields, picture, waiting = {"prompt": "p", "mode": "img2img"}, a_large_picture(), list[asyncio.Task[Any]]()

    def jobs() -> list[Job]:
        return house.store.matching(lambda _: True)

    def all_wait() -> bool:
        return len(jobs()) == len(waiting) and house.services.bodies.held_bytes == 0

    async with house.client(genserve()) as client, asyncio.TaskGroup() as group:
        # When eight are accepted, and none of their pictures is made yet
        for number in range(8):
            asked = (
                client.post("/generate", json={**fields, "seed": number, "input_image": text_of(picture)})
                if way == "JSON"
                else client.post(
                    "/generate/img2img", data={**fields, "seed": str(number)}, files={"input_image": picture}
                )
            )
            waiting.append(group.create_task(asked))
            await until(lambda: waiting[-1].done() or all_wait())
        for job in jobs():
            await house.studio.cancel(job.id)

    # Then none was refused: all of them had a task, which was cancelled here
    assert {task.result().json()["error"].partition(":")[0] for task in waiting} == {"任务已取消"}
    assert len(jobs()) == 8
