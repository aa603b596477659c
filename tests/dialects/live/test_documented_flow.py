"""The document's messages: those of a client are taken as they stand, those of the server have its order and shape."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from danqing.dialects.live.schemas import CLIENT_MESSAGES
from danqing.dialects.live.translate_in import to_message
from tests.dialects.live.running import a_house, running
from tests.dialects.live.seed_document import (
    CANCEL_JOB,
    CLIENT_JOBS,
    CREATE_JOB,
    GET_CLIENT_JOBS,
    GET_STATUS,
    HEALTH,
    PUSHED,
    SEED,
    TEXT,
)

PAGE = Path(__file__).parents[3] / "docs" / "dialects" / "live.md"
STEPS = CREATE_JOB["params"]["steps"]


def shape(value: object) -> object:
    """Names and kinds of JSON values; adjustments, which are ours, left out."""
    if isinstance(value, Mapping):
        return {key: shape(inner) for key, inner in value.items() if key != "adjustments"}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def without_id(message: Any) -> Any:  # noqa: ANN401 - JSON
    return {key: value for key, value in message.items() if key not in ("job_id", "result")}


def fetched(address: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(address, timeout=60)


def test_the_document_is_the_vendors_to_the_byte() -> None:
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == (
        "3b4e769a1209d8ff6401fadc13abcbd2bcabd7b39f2fda7a2551d79c16d82e33"
    )


def test_our_page_shows_messages_of_a_client_that_have_nothing_which_is_ignored() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    said = [block for block in blocks if json.loads(block)["type"] in CLIENT_MESSAGES]

    assert said
    for block in said:
        assert to_message(block).model_dump(exclude_unset=True) == json.loads(block)


async def test_the_five_messages_come_in_the_documented_order_and_shape(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=True)
    house.painter.begin.clear()
    async with running(house) as server, server.talk("my-client-001") as client:
        heard = [await client.ask(CREATE_JOB)]
        house.painter.begin.set()
        heard += await client.hear_until("completed")

        # Then states and steps come one after the other
        told = [message.get("status") or message["progress"]["stage"] for message in heard]
        assert told == [
            "pending",
            "processing",
            *["generating"] * STEPS,
            "generated",
            "upscaling",
            "upscaling",
            "completed",
        ]

        # Then each is as the document shows it, to the order of its fields
        generating = [m for m in heard if m["type"] == "job_progress" and m["progress"]["stage"] == "generating"]
        examples = [heard[0], heard[1], generating[3], heard[-4], heard[-1]]
        for message, documented in zip(examples, PUSHED, strict=True):
            assert shape(message) == shape(documented)
            assert list(message) == list(documented)
            assert without_id(message).keys() == without_id(documented).keys()
        for number in (0, 1, 3, 4):
            assert without_id(examples[number]) == without_id(PUSHED[number])
        assert list(generating[3]["progress"]) == list(PUSHED[2]["progress"])
        assert [m["progress"]["current_step"] for m in generating] == list(range(1, STEPS + 1))
        assert generating[3]["progress"]["percentage"] == PUSHED[2]["progress"]["percentage"] == 44

        # Then the file names are those of the document but for the day and the eight digits
        job_id, result = heard[0]["job_id"], heard[-1]["result"]
        assert re.fullmatch("[0-9a-f]{64}", job_id)
        name = PUSHED[4]["result"]["filename"].replace("abc12345", job_id[:8])
        assert re.sub(r"^\d{8}", "20260204", result["filename"]) == name
        assert result["path"] == f"outputs/{result['filename']}"
        assert result["upscaled_filename"] == result["filename"].replace(".png", "-upscaled.png")
        assert heard[-4]["result"]["local_path"] == result["path"]

        # Then both pictures can be fetched
        for file, side in ((result["filename"], 1024), (result["upscaled_filename"], 4096)):
            answer = await asyncio.to_thread(fetched, f"{server.url}/api/image/{file}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.content[16:24] == side.to_bytes(4, "big") * 2


async def test_the_other_messages(tmp_path: Path) -> None:
    async with running(a_house(tmp_path, automatic=True)) as server, server.talk("my-client-001") as client:
        await client.say(CREATE_JOB)
        job_id = (await client.hear_until("completed"))[0]["job_id"]

        # A status is told as it was pushed
        status = await client.ask({**GET_STATUS, "job_id": job_id})
        assert (status["type"], status["status"], status["request_id"]) == ("job_status", "completed", "req-002")
        assert shape(status) == shape(PUSHED[4])

        # A completed job cannot be cancelled
        refused = await client.ask({**CANCEL_JOB, "job_id": job_id})
        assert (refused["type"], refused["request_id"]) == ("error", "req-003")

        # The jobs of the client
        jobs = await client.ask(GET_CLIENT_JOBS)
        assert shape(jobs) == shape(CLIENT_JOBS)
        assert list(jobs) == list(CLIENT_JOBS)
        assert list(jobs["jobs"][0]) == list(CLIENT_JOBS["jobs"][0])
        assert [job["job_id"] for job in jobs["jobs"]] == [job_id]
        assert jobs["jobs"][0]["result"] == status["result"]


async def test_health(tmp_path: Path) -> None:
    async with running(a_house(tmp_path)) as server:
        answer = await asyncio.to_thread(fetched, f"{server.url}/api/health")

    assert (answer.status_code, answer.json()) == (200, HEALTH)


def test_the_documents_defaults_and_kinds_are_ours() -> None:
    # Given the rows of the document's table of parameters
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\S+) \|", TEXT, re.MULTILINE)

    assert rows == [
        ("prompt", "string", "**必填**"),
        ("width", "int", "1024"),
        ("height", "int", "1024"),
        ("steps", "int", "9"),
        ("guidance_scale", "float", "0.0"),
        ("seed", "int", "42"),
        ("model_type", "string", '"uint4"'),
    ]


async def test_what_is_not_said_is_the_documents_default(tmp_path: Path) -> None:
    # Given a job that says everything, as the document's, and one that says the prompt only
    async with running(a_house(tmp_path)) as server, server.talk() as client:
        whole = await client.ask(CREATE_JOB)
        brief = await client.ask({**CREATE_JOB, "params": {"prompt": CREATE_JOB["params"]["prompt"]}})
        nulls = dict.fromkeys(CREATE_JOB["params"]) | {"prompt": CREATE_JOB["params"]["prompt"]}
        null = await client.ask({**CREATE_JOB, "params": nulls})

    # Then they ask for the same
    assert whole["job_id"] == brief["job_id"] == null["job_id"]
