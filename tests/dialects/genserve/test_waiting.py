"""A request is answered with its picture: not for ever, not for a client that left, and in the order of priority."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from danqing.core.images import MAX_IMAGE_BYTES
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.dialects.genserve.dialect import MAX_BODY_BYTES, genserve
from danqing.http.dialect import DialectOptions
from tests.dialects.genserve.parts import a_house, a_picture, painted
from tests.dialects.house import House, served

DEADLINE_S = 60.0


def jobs(house: House) -> list[Job]:
    return house.store.matching(lambda _: True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_who_waits_too_long_is_answered_408_and_his_job_is_cancelled(tmp_path: Path, way: str) -> None:
    # Given a server on which nothing is made
    house = a_house(tmp_path, automatic=False, options=DialectOptions(request_timeout_s=1.0))

    async with house.client(genserve()) as client:
        if way == "JSON":
            answer = await client.post("/generate", json={"prompt": "p"})
        else:
            answer = await client.post(
                "/generate/img2img",
                data={"prompt": "p", "mode": "img2img", "model_id": "tiny"},
                files={"input_image": a_picture()},
            )

    body, (job,) = answer.json(), jobs(house)
    assert answer.status_code == 408
    assert (body["success"], body["task_id"]) == (False, job.id)
    assert (body["model_id"], body["mode"]) == (("flux1-dev", "text2img") if way == "JSON" else ("tiny", "img2img"))
    assert body["error"].startswith("请求超时: ")
    assert job.state is JobState.CANCELLED


async def test_a_job_that_somebody_cancels_is_told_as_cancelled(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=False)

    async with house.client(genserve()) as client, asyncio.TaskGroup() as group:
        asking = group.create_task(client.post("/generate", json={"prompt": "p"}))
        await until(lambda: bool(jobs(house)))
        await house.studio.cancel(jobs(house)[0].id)
        answer = await asking

    assert answer.status_code == 503
    assert answer.json()["error"].startswith("任务已取消")


async def test_the_picture_comes_with_the_answer_once_it_is_made(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=False)

    async with house.client(genserve()) as client, asyncio.TaskGroup() as group:
        asking = group.create_task(client.post("/generate", json={"prompt": "p", "width": 64, "height": 64}))
        await until(lambda: bool(jobs(house)))
        (job,) = jobs(house)
        status = (await client.get("/status")).json()
        await house.painter.start(job.id)
        await house.painter.finish(job.id)
        answer = (await asking).json()

    assert status["concurrent_manager"]["global_queue_size"] == 1
    assert answer["task_id"] == job.id
    assert painted(answer).size == (64, 64)


async def test_higher_priority_first_and_among_equals_first_come_first_served(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=False, options=DialectOptions(request_timeout_s=1000))
    prompts = {"a": 0, "b": 5, "c": -1, "d": 5, "e": None, "f": 2**31 - 1}

    async with house.client(genserve()) as client:
        waiting: list[asyncio.Task[Any]] = []
        for number, (prompt, priority) in enumerate(prompts.items(), start=1):
            body = {"prompt": prompt, "priority": priority}
            waiting.append(asyncio.create_task(client.post("/generate", json=body)))
            await until(lambda accepted=number: len(jobs(house)) == accepted)
        order = [job.request.prompt for job in await house.store.unfinished()]
        for job in jobs(house):
            await house.studio.cancel(job.id)
        await asyncio.gather(*waiting)

    assert order == ["f", "b", "d", "a", "e", "c"]


async def test_a_more_urgent_request_moves_an_equal_one_that_waits_forward_and_both_get_its_picture(
    tmp_path: Path,
) -> None:
    house = a_house(tmp_path, automatic=False)
    small = {"width": 64, "height": 64}

    async with house.client(genserve()) as client, asyncio.TaskGroup() as group:
        asking: list[asyncio.Task[Any]] = []
        for number, (prompt, priority) in enumerate({"a": -1, "b": 3, "c": 7}.items(), start=1):
            body = {"prompt": prompt, "priority": priority, **small}
            asking.append(group.create_task(client.post("/generate", json=body)))
            await until(lambda accepted=number: len(jobs(house)) == accepted)
        first = jobs(house)[0]
        asking.append(group.create_task(client.post("/generate", json={"prompt": "a", "priority": 5, **small})))
        await until(lambda: jobs(house)[0].priority == 5)
        order = [job.request.prompt for job in await house.store.unfinished()]
        for job in jobs(house):
            await house.painter.start(job.id)
            await house.painter.finish(job.id)
        answers = [(await each).json() for each in asking]

    assert order == ["c", "a", "b"]
    assert [answer["task_id"] == first.id for answer in answers] == [True, False, False, True]
    assert answers[3]["image_base64"] == answers[0]["image_base64"]


@pytest.fixture
def houses() -> list[House]:
    return []


@pytest.fixture
def url(tmp_path: Path, houses: list[House]) -> Iterator[str]:
    """A real server on which nothing is made."""

    def house() -> House:
        houses.append(a_house(tmp_path, automatic=False))
        return houses[0]

    with served(house, [genserve()]) as address:
        yield address


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_S)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_job_of_a_client_that_hangs_up_is_cancelled(url: str, houses: list[House]) -> None:
    body = json.dumps({"prompt": "p"}).encode()
    head = (
        f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connected(url) as client:
        client.sendall(head.encode() + body)
        eventually(lambda: [job.state for job in jobs(houses[0])] == [JobState.PENDING])

    eventually(lambda: [job.state for job in jobs(houses[0])] == [JobState.CANCELLED])


def test_a_client_that_hangs_up_in_the_middle_of_its_file_leaves_nothing(url: str, houses: list[House]) -> None:
    head = (
        "POST /generate/img2img HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="input_image"; filename="a.png"\r\n\r\n'
    )
    with connected(url) as client:
        client.sendall(head.encode() + b"x" * 3_000_000)

    # Then the server still answers, and holds nothing of it
    with connected(url) as client:
        client.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert jobs(houses[0]) == []
    assert list(houses[0].artifacts.staging().iterdir()) == []


def test_a_body_beyond_all_measure_is_refused_by_its_length(url: str) -> None:
    with connected(url) as client:
        client.sendall(
            f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode()
        )
        answer = client.recv(4096).decode()

    assert answer.startswith("HTTP/1.1 413")
    assert "请求体过大" in answer


def test_three_pictures_of_the_largest_size_fit_either_way() -> None:
    assert 3 * (MAX_IMAGE_BYTES * 4 // 3 + 4) + 100_000 < MAX_BODY_BYTES


async def test_a_file_above_fifty_mebibytes_is_refused(tmp_path: Path) -> None:
    house = a_house(tmp_path)

    async with house.client(genserve()) as client:
        answer = await client.post(
            "/generate/img2img",
            data={"prompt": "p", "mode": "img2img"},
            files={"input_image": bytes(MAX_IMAGE_BYTES + 1)},
        )

    assert answer.status_code == 400
    assert "input_image is larger than 50 MiB" in answer.json()["error"]
    assert list(house.artifacts.staging().iterdir()) == []
