"""Every error of the core, of the HTTP layer and of jobs, in the vendor's shape and in OpenAI's."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message

from danqing.core.errors import (
    BodyTooSlow,
    DanqingError,
    InternalError,
    InvalidRequest,
    OutOfMemory,
    RequestTimeout,
    UnknownModel,
    WorkerLost,
)
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.types import JobFailure, RequestDraft, WorkerState
from danqing.dialects.openai.errors import CORE_ERRORS, GenerationFailed, failure_of, problem_of, render_error
from danqing.http.dialect import DialectOptions
from danqing.http.errors import BodyTooLarge
from danqing.http.keys import Keys
from tests.dialects.openai.parts import editing_house, files, png, talking
from tests.dialects.openai.seed_document import error_codes, example
from tests.fakes.domain import a_job

OPENAI_CLIENT = {"X-Stainless-Lang": "python"}


def family(kind: type[DanqingError]) -> Iterator[type[DanqingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


async def sent(response: Response, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body as a client at that path gets them."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await response({"type": "http", "path": path, "headers": raw}, receive, send)
    start, body = messages[0], b"".join(message.get("body", b"") for message in messages[1:])
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(told["content-length"]) == len(body)
    return start["status"], told, json.loads(body)


@pytest.mark.parametrize("kind", list(family(DanqingError)))
async def test_every_core_error_is_told_in_both_shapes(kind: type[DanqingError]) -> None:
    response = render_error(kind("what went wrong"))

    status, _, vendors = await sent(response, "/v1/images/edits", {})
    _, _, openais = await sent(response, "/v1/images/edits", OPENAI_CLIENT)

    assert set(vendors) == {"error", "message"}
    assert vendors["message"]
    assert set(openais) == {"error"}
    assert set(openais["error"]) == {"message", "type", "param", "code"}
    assert openais["error"]["message"] == vendors["message"]
    if vendors["error"] in error_codes() and not issubclass(kind, UnknownModel):
        assert error_codes()[vendors["error"]] == status


@pytest.mark.parametrize(
    "kind", [k for k in family(InternalError) if problem_of(k("x")).code == "INTERNAL_ERROR"] or [InternalError]
)
async def test_faults_of_the_server_tell_nothing(kind: type[DanqingError]) -> None:
    _, _, told = await sent(render_error(kind("secret of a library")), "/v1/images/edits", {})

    assert told == {"error": "INTERNAL_ERROR", "message": "Internal server error"}


@pytest.mark.parametrize("kind", [k for k in family(DanqingError) if not issubclass(k, InvalidRequest | InternalError)])
def test_errors_that_clients_can_act_on_are_in_the_table_or_have_a_near_ancestor(kind: type[DanqingError]) -> None:
    assert any(ancestor in CORE_ERRORS for ancestor in kind.__mro__[:2])


def test_the_documents_codes_have_its_statuses() -> None:
    told = {problem.code: problem.status for problem in CORE_ERRORS.values() if problem.openai_code is None}

    assert {code: told[code] for code in error_codes()} == error_codes()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HTTPException(400, detail="secret of a library"), 400, "INVALID_INPUT"),
        (HTTPException(404), 404, "NOT_FOUND"),
        (HTTPException(405), 405, "METHOD_NOT_ALLOWED"),
        (HTTPException(418), 418, "INVALID_INPUT"),
        (BodyTooLarge(256 * 2**20), 413, "INVALID_INPUT"),
        (ValueError("secret of a library"), 500, "INTERNAL_ERROR"),
    ],
)
async def test_errors_of_the_http_layer(error: Exception, status: int, code: str) -> None:
    got, _, told = await sent(render_error(error), "/v1/images/edits", {})

    assert (got, told["error"]) == (status, code)
    assert "secret" not in told["message"]
    assert "256 MiB" in told["message"] or not isinstance(error, BodyTooLarge)


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (OutOfMemory(), False),
        (GenerationFailed("x"), False),
        (GenerationFailed("x", may_retry=True), True),
        (WorkerLost(), True),
        (RequestTimeout(), False),
        (BodyTooSlow(), True),
        (InvalidRequest(), False),
        (ValueError(), True),
    ],
)
async def test_what_fails_again_in_the_same_way_says_so(error: Exception, retry: bool) -> None:
    _, headers, _ = await sent(render_error(error), "/v1/images/edits", {})

    assert headers.get("x-should-retry") == (None if retry else "false")


def test_why_a_job_failed() -> None:
    # Given a job that its device's memory could not hold
    job = a_job(state=JobState.FAILED, failure=JobFailure(code="out_of_memory", message="Out of device memory."))

    problem = problem_of(failure_of(job))

    assert (problem.code, problem.message) == ("GENERATION_ERROR", "Image generation failed: Out of device memory.")
    assert problem.message.startswith(example("500 - 服务器错误:")["message"].removesuffix("..."))
    assert "cancelled" in problem_of(failure_of(replace(job, state=JobState.CANCELLED, failure=None))).message


@pytest.mark.parametrize(
    ("path", "headers", "openais"),
    [
        ("/v1/images/edits", {}, False),
        ("/ready", {}, False),
        ("/v1/images/edits", {"X-Stainless-Lang": "js"}, True),
        ("/v1/images/edits", {"User-Agent": "OpenAI/Python 3.54.0"}, True),
        ("/v1/images/edits", {"User-Agent": "AsyncOpenAI/Python 3.54.0"}, True),
        ("/v1/images/edits", {"Content-Type": "application/json; charset=utf-8"}, True),
        ("/v1/images/edits", {"Content-Type": "multipart/form-data; boundary=x"}, False),
        ("/ready", {"Content-Type": "application/json"}, False),
        ("/v1/images/generations", {}, True),
        ("/v1/models/x", {}, True),
    ],
)
async def test_who_gets_which_shape(path: str, headers: dict[str, str], openais: bool) -> None:
    _, _, told = await sent(render_error(InvalidRequest()), path, headers)

    assert isinstance(told["error"], dict) is openais


async def test_unauthorized_as_documented(tmp_path: Path) -> None:
    house = editing_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"your-secret-key"})))

    async with talking(house) as client:
        answer = await client.post("/v1/images/edits", files=files(images=png()), data={"prompt": "p"})
        wrong = await client.get("/v1/models", headers={"Authorization": "Bearer other"})

    assert (answer.status_code, answer.json()) == (401, example("401 - 未授权:"))
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="danqing", charset="UTF-8", Bearer realm="danqing"'
    assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="danqing"'
    assert wrong.json()["error"]["code"] == "UNAUTHORIZED"


async def test_an_edit_as_json_is_refused_in_openais_shape_before_it_is_read(tmp_path: Path) -> None:
    house = editing_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"your-secret-key"})))

    async with talking(house) as client:
        unknown = await client.post("/v1/images/edits", json={"prompt": "p"})
        headers = {"Authorization": "Bearer your-secret-key", "Content-Length": str(2**30)}
        large = await client.post("/v1/images/edits", json={"prompt": "p"}, headers=headers)

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert unknown.headers["WWW-Authenticate"] == 'Bearer realm="danqing"'
    assert (large.status_code, large.json()["error"]["code"]) == (413, "INVALID_INPUT")


@pytest.mark.parametrize("auth", [("user", "your-secret-key"), "Bearer your-secret-key"])
async def test_basic_and_bearer_let_in(tmp_path: Path, auth: tuple[str, str] | str) -> None:
    house = editing_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"your-secret-key"})))
    given: dict[str, Any] = {"headers": {"Authorization": auth}} if isinstance(auth, str) else {"auth": auth}

    async with talking(house) as client:
        assert (await client.get("/v1/models", **given)).status_code == 200


async def test_image_is_required_as_documented(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        bodies: list[dict[str, Any]] = [{"data": {"prompt": "p"}}, {"json": {"prompt": "p"}}, {}]
        for content in bodies:
            answer = await client.post("/v1/images/edits", **content)

            assert (answer.status_code, answer.json()) == (400, example("400 - 无效输入:"))


async def test_openais_form_gets_openais_shape(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits", files=files(image=png()), data={"prompt": "p", "n": "11"})

    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "n must be at most 10.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "INVALID_INPUT",
    }


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "Prompt is required"),
        ({"prompt": "  "}, "prompt", "Prompt is required"),
        ({"prompt": 5}, "prompt", "prompt must be a string."),
        ({"prompt": "p", "n": "2"}, "n", "n must be an integer."),
        ({"prompt": "p", "n": 0}, "n", "n must be at least 1."),
        ({"prompt": "p", "n": 1.5}, "n", "n must be an integer."),
        ({"prompt": "p", "stream": "yes"}, "stream", "stream must be true or false."),
        ({"prompt": "p", "partial_images": 4, "stream": True}, "partial_images", "partial_images must be at most 3."),
        ({"prompt": "p", "partial_images": 1}, "partial_images", "partial_images needs stream."),
        ({"prompt": "p", "output_compression": 101}, "output_compression", "output_compression must be at most 100."),
        ({"prompt": "p", "output_compression": 5}, "output_compression", "output_compression is for jpeg and webp."),
        ({"prompt": "p", "size": "big"}, "size", "size must be auto or WIDTHxHEIGHT, 1024x1024 for example."),
        ({"prompt": "p", "size": "10x10"}, "size", "width must be between 64 and 2048."),
        ({"prompt": "p", "seed": -1}, "seed", "seed must be at least 0."),
        ({"prompt": "p", "seed": 2**63}, "seed", None),
        ({"prompt": "p", "guidance_scale": "x"}, "guidance_scale", "guidance_scale must be a number."),
        ({"prompt": "p", "num_inference_steps": 51}, "num_inference_steps", None),
        (
            {"prompt": "p", "background": "transparent"},
            "background",
            "Not supported: background; no model here makes transparent pictures.",
        ),
        ({"prompt": "p", "quality": "superb"}, "quality", None),
        (
            {"prompt": "p", "response_format": "url", "stream": True},
            "response_format",
            "A stream carries b64_json only.",
        ),
        ({"prompt": "x" * 2001}, "prompt", "prompt must have at most 2000 characters."),
        ([], None, "The request body must be a JSON object."),
    ],
)
async def test_what_is_wrong_with_a_generation(
    tmp_path: Path, body: object, param: str | None, message: str | None
) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", content=json.dumps(body))

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("INVALID_INPUT", "invalid_request_error")
    assert error["param"] == param
    assert message is None or error["message"] == message


@pytest.mark.parametrize(
    "body", ["", "{", "nonsense", '{"prompt": "\\ud83d"}', "[" * 100_000, '{"prompt": NaN}', b"\xff\xfe"]
)
async def test_bodies_that_are_no_json(tmp_path: Path, body: str | bytes) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", content=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")


async def test_a_generation_of_two_megabytes_is_refused(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "x" * 2**21})

    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "The request is larger than the 1 MiB that are taken."


async def test_an_unknown_model(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p", "model": "midjourney"})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["param"] == "model"


async def test_a_model_that_is_not_ready_and_a_full_queue(tmp_path: Path) -> None:
    starting = editing_house(tmp_path / "1", state=WorkerState.STARTING)
    full = editing_house(tmp_path / "2", automatic=False, max_queue_size=2)

    async with talking(starting) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "MODEL_NOT_READY")
        assert answer.json()["error"]["message"] == "Model is not ready yet"
        assert answer.headers["Retry-After"] == "5"

    async with talking(full) as client:
        await full.studio.submit(Order(draft=RequestDraft(prompt="before")))
        answer = await client.post("/v1/images/generations", json={"prompt": "p", "n": 2})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "QUEUE_FULL")
        assert answer.json()["error"]["type"] == "rate_limit_error"
        assert int(answer.headers["Retry-After"]) > 0
        assert (await full.studio.queue_status()).pending == 1  # not the first of the two


async def test_more_pictures_than_the_queue_ever_holds(tmp_path: Path) -> None:
    house = editing_house(tmp_path, max_queue_size=5)

    async with talking(house) as client:
        of_text = await client.post("/v1/images/generations", json={"prompt": "p", "n": 6})
        data = {"prompt": "p", "n": "2"}
        of_pictures = await client.post("/v1/images/edits", files=files(images=[png()] * 3), data=data)
        fewer = await client.post("/v1/images/edits", files=files(images=[png()] * 2), data=data)

    # Then it says how many there may be, and does not ask to try again
    assert of_text.status_code == of_pictures.status_code == 400
    assert of_text.json()["error"] == {
        "message": "At most 5 pictures in one request.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "INVALID_INPUT",
    }
    assert of_pictures.json() == {"error": "INVALID_INPUT", "message": "At most 5 pictures in one request."}
    assert of_text.headers["x-should-retry"] == of_pictures.headers["x-should-retry"] == "false"
    assert len(fewer.json()["data"]) == 4
    assert (await house.studio.queue_status()).total == 4


async def test_a_body_that_does_not_come_in_time(tmp_path: Path) -> None:
    # Given a client that falls silent before its edit is whole
    house = editing_house(tmp_path, options=DialectOptions(request_timeout_s=0.05))

    async def body() -> AsyncIterator[bytes]:
        yield b'{"prompt": "p", "images": ['
        await asyncio.Event().wait()

    async with talking(house) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/v1/images/edits", content=body(), headers=headers)

    # Then it is told that this was the body, and may try again
    assert answer.status_code == 408
    assert answer.json()["error"] == {
        "message": "The request's body did not come in time; send it again.",
        "type": "invalid_request_error",
        "param": None,
        "code": "REQUEST_TIMEOUT",
    }
    assert "x-should-retry" not in answer.headers
    assert (await house.studio.queue_status()).total == 0


async def test_a_failed_generation(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    house.painter.failure = OutOfMemory()

    async with talking(house) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p"})

    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "GENERATION_ERROR"
    assert answer.json()["error"]["message"].startswith("Image generation failed: Out of device memory")


async def test_a_failure_is_told_before_the_other_pictures_are_made(tmp_path: Path) -> None:
    # Given a request for three pictures, of which none is made yet
    house = editing_house(tmp_path, automatic=False)
    house.painter.failure = OutOfMemory()

    async with talking(house) as client:
        asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "p", "n": 3}))
        async with asyncio.timeout(30):
            while (await house.studio.queue_status()).pending < 3:  # noqa: ASYNC110 - a store tells nobody
                await asyncio.sleep(0.01)
        # When the first one fails
        (batch,) = await house.services.gallery.newest(limit=1)
        await house.painter.start(batch.jobs[0].id)
        await house.painter.fail(batch.jobs[0].id)
        async with asyncio.timeout(30):
            answer = await asked

    # Then that is the answer, and the others are made for nobody
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "GENERATION_ERROR")
    status = await house.studio.queue_status()
    assert (status.failed, status.cancelled) == (1, 2)


async def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        for method, path, status in [("GET", "/v1/images/edits", 405), ("POST", "/v1/images/nothing", 404)]:
            answer: httpx2.Response = await client.request(method, path)

            assert answer.status_code == status
            assert isinstance(answer.json()["error"], str | dict)
