"""What a client can say, well or badly, over a real WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from danqing.core.capabilities import MAX_PROMPT_CHARS
from danqing.core.errors import OutOfMemory
from danqing.core.events import StateChanged
from danqing.core.types import ArtifactKind, WorkerState
from danqing.dialects.live.connection import MAX_FOLLOWED, TOO_MANY
from danqing.dialects.live.translate_in import MAX_MESSAGE_CHARS
from tests.dialects.house import House
from tests.dialects.live.running import SMALL, Talker, a_house, create_job, running, until
from tests.fakes.domain import LOST, a_card

TYPES = "create_job, get_status, cancel_job, get_client_jobs"


@pytest.fixture
async def house(tmp_path: Path) -> House:
    card = a_card()
    can = replace(card.capabilities, max_prompt_chars=MAX_PROMPT_CHARS)
    return a_house(tmp_path, card=replace(card, capabilities=can))


@pytest.fixture
async def client(house: House) -> AsyncIterator[Talker]:
    async with running(house) as server, server.talk("anna") as talker:
        yield talker


def job(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return create_job() | changes


def params(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return job(params={"prompt": "a pizza"} | changes)


DIGITS = "1" + "0" * 5000


def with_digits(name: str) -> str:
    """A message whose param has more digits than Python converts."""
    return json.dumps(params(**{name: "…"}) | {"request_id": 7}).replace('"\\u2026"', DIGITS)


MALFORMED = [
    ("no JSON", "The message is not valid JSON.", None),
    ("", "The message is not valid JSON.", None),
    ('{"type": "get_status"', "The message is not valid JSON.", None),
    ('{"type": NaN}', "The message is not valid JSON.", None),
    ('{"request_id": "\\ud800"}', f"type is required: {TYPES}.", None),
    ('{"type": "\\ud800", "request_id": "r"}', f'Unknown type "\\ud800"; there is {TYPES}.', "r"),
    ('{"type": "get_client_jobs", "request_id": "\\ud800"}', "request_id is not valid Unicode text.", None),
    (params(prompt="half an emoji \ud83d"), "prompt is not valid Unicode text.", "req-001"),
    ("[" * 50_000, "The message is not valid JSON.", None),
    ('{"a":' * 50_000, "The message is not valid JSON.", None),
    ("[]", "The message must be a JSON object.", None),
    ("null", "The message must be a JSON object.", None),
    ('"create_job"', "The message must be a JSON object.", None),
    ("{}", f"type is required: {TYPES}.", None),
    ({"request_id": "r"}, f"type is required: {TYPES}.", "r"),
    ({"type": "dance", "request_id": "r"}, f'Unknown type "dance"; there is {TYPES}.', "r"),
    ({"type": ["create_job"]}, f'Unknown type ["create_job"]; there is {TYPES}.', None),
    ({"type": "create_job", "request_id": "r"}, 'task_type is required: "text_to_image".', "r"),
    (job(task_type="video"), 'Unknown task_type "video"; there is "text_to_image".', "req-001"),
    (job(task_type=1), 'Unknown task_type 1; there is "text_to_image".', "req-001"),
    (job(request_id=True), "request_id must be a text or an integer.", None),
    (job(request_id=5.0), "request_id must be a text or an integer.", None),
    (job(request_id=["r"]), "request_id must be a text or an integer.", None),
    (job(request_id=2**63), "request_id must be at most 9223372036854775807.", None),
    (job(request_id=-(2**63)), "request_id must be at least -9223372036854775807.", None),
    (job(request_id=5, task_type=1), 'Unknown task_type 1; there is "text_to_image".', 5),
    ({"type": "get_status", "job_id": "nobody's", "request_id": 0}, "Job not found.", 0),
    ({"type": "get_status", "job_id": "nobody's", "request_id": ""}, "Job not found.", ""),
    ({"type": "get_status", "job_id": 5, "request_id": ""}, "job_id must be a text.", ""),
    (job(request_id="r" * 257), "request_id must have at most 256 characters.", "r" * 257),
    (job(previews="yes"), "previews must be true or false.", "req-001"),
    ({**job(), "params": None}, "params must be a JSON object.", "req-001"),
    ({**job(), "params": ["a pizza"]}, "params must be a JSON object.", "req-001"),
    ({k: v for k, v in job().items() if k != "params"}, "params is required.", "req-001"),
    (job(params={}), "params.prompt is required.", "req-001"),
    (params(prompt=None), "params.prompt must be a text.", "req-001"),
    (params(prompt=5), "params.prompt must be a text.", "req-001"),
    (params(prompt=""), "prompt is required and must not be empty.", "req-001"),
    (params(prompt=" \n"), "prompt is required and must not be empty.", "req-001"),
    (params(prompt="x" * 32_001), "prompt must have at most 32000 characters.", "req-001"),
    (params(width="1024"), "params.width must be an integer.", "req-001"),
    (params(width=True), "params.width must be an integer.", "req-001"),
    (params(width=512.0), "params.width must be an integer.", "req-001"),
    (params(width=63), "width must be between 64 and 2048.", "req-001"),
    (params(height=2049), "height must be between 64 and 2048.", "req-001"),
    (params(height=10**30), "height must be between 64 and 2048.", "req-001"),
    (params(steps=0), "steps must be between 1 and 50.", "req-001"),
    (params(steps=51), "steps must be between 1 and 50.", "req-001"),
    (params(guidance_scale="1"), "params.guidance_scale must be a number.", "req-001"),
    (params(guidance_scale=True), "params.guidance_scale must be a number.", "req-001"),
    (params(guidance_scale=-0.1), "guidance_scale must be between 0 and 100.", "req-001"),
    (
        '{"type": "create_job", "task_type": "text_to_image", "params": {"prompt": "p", "guidance_scale": 1e999}}',
        "guidance_scale must be between 0 and 100.",
        None,
    ),
    (params(guidance_scale=10**400), "params.guidance_scale is out of range.", "req-001"),
    (params(guidance_scale=-(10**400)), "params.guidance_scale is out of range.", "req-001"),
    (with_digits("guidance_scale"), "params.guidance_scale is out of range.", 7),
    (with_digits("seed"), "seed must be between 0 and 9223372036854775807.", 7),
    (with_digits("width"), "width must be between 64 and 2048.", 7),
    (
        f'{{"type": "get_client_jobs", "request_id": -{DIGITS}}}',
        "request_id must be at least -9223372036854775807.",
        None,
    ),
    (f'{{"type": {DIGITS}, "request_id": 7}}', f"Unknown type 1{'0' * 59}…; there is {TYPES}.", 7),
    (f'{{"request_id": 7, "type": "dance", "x": {DIGITS}', "The message is not valid JSON.", None),
    (params(seed=-1), "seed must be between 0 and 9223372036854775807.", "req-001"),
    (params(seed=2**63), "seed must be between 0 and 9223372036854775807.", "req-001"),
    (params(seed="42"), "params.seed must be an integer.", "req-001"),
    (params(model_type="fp16"), "params.model_type must be one of 'uint4' or 'int8'.", "req-001"),
    ({"type": "get_status", "request_id": "r"}, "job_id is required.", "r"),
    ({"type": "get_status", "job_id": 5}, "job_id must be a text.", None),
    ({"type": "get_status", "job_id": "abc123..."}, "Job not found.", None),
    ({"type": "get_status", "job_id": "f" * 64}, "Job not found.", None),
    ({"type": "get_status", "job_id": "f" * 8}, "Job not found.", None),
    ({"type": "cancel_job", "job_id": "F" * 64, "request_id": "r"}, "Job not found.", "r"),
    ({"type": "cancel_job", "job_id": "%", "request_id": "r"}, "Job not found.", "r"),
]


async def test_whatever_is_wrong_is_told_and_the_connection_stays(client: Talker) -> None:
    for message, said, request_id in MALFORMED:
        answer = await client.ask(message)
        assert answer == {"type": "error", "message": said, "request_id": request_id}, str(message)[:200]

    assert (await client.ask(create_job()))["status"] == "pending"


async def test_binary_and_huge_frames_are_refused_and_the_connection_stays(client: Talker) -> None:
    await client.socket.send(b'{"type": "get_client_jobs"}')
    binary = await client.hear()
    huge = await client.ask(json.dumps({"type": "get_client_jobs", "x": "x" * MAX_MESSAGE_CHARS}))

    assert binary == {"type": "error", "message": "Messages must be JSON in text frames.", "request_id": None}
    assert huge["message"] == f"The message is too large; the limit is {MAX_MESSAGE_CHARS} characters."
    assert await client.is_silent()


async def test_what_is_not_known_is_ignored(client: Talker) -> None:
    plain = await client.ask(create_job())
    more = await client.ask(create_job(negative_prompt="x", foo={"a": [1]}) | {"bar": 1})

    assert plain["job_id"] == more["job_id"]


@pytest.mark.parametrize(
    "prompt",
    ["一只戴墨镜的猫", "🍕" * 32_000, "../../../etc/passwd", "x" * 32_000, "\x01\u202e<script>", 'a\nb\t"c\\'],
)
async def test_any_prompt_gets_its_picture_under_a_safe_name(tmp_path: Path, prompt: str) -> None:
    card = a_card()
    card = replace(card, capabilities=replace(card.capabilities, max_prompt_chars=MAX_PROMPT_CHARS))
    async with running(a_house(tmp_path, card=card, automatic=True)) as server, server.talk() as client:
        await client.say(create_job(prompt))
        done = (await client.hear_until("completed"))[-1]

        for name in (done["result"]["filename"], done["result"]["upscaled_filename"]):
            async with httpx2.AsyncClient(trust_env=False) as web:
                answer = await web.get(f"{server.url}/api/image/{name}")
            assert answer.status_code == 200
            assert answer.content.startswith(b"\x89PNG")


async def test_each_param_changes_the_job_and_equal_ones_do_not(client: Talker) -> None:
    ids = [
        (await client.ask(params(**(SMALL | change))))["job_id"]
        for change in (
            {},
            {"width": 72},
            {"height": 72},
            {"steps": 4},
            {"guidance_scale": 1.5},
            {"seed": 43},
            {"guidance_scale": 0},
            {"model_type": "int8"},
            {"seed": 42},
        )
    ]

    # An integer is a number; both model types are the one model that is served here
    assert len(set(ids)) == 6
    assert ids[0] == ids[6] == ids[7] == ids[8]
    assert all(len(job_id) == 64 for job_id in ids)


async def test_an_equal_request_joins_the_running_job(house: House, client: Talker) -> None:
    first = await client.ask(create_job(request_id="r1"))
    (running_job,) = await house.store.unfinished()
    await house.painter.start(running_job.id)
    assert (await client.hear())["status"] == "processing"

    second = await client.ask(create_job(request_id="r2"))
    await house.painter.finish(running_job.id)
    heard = await client.hear_until("completed")
    heard.append(await client.hear())

    # Then it is told as it is, at once, and from then on under both ids; steps once
    assert (second["job_id"], second["status"], second["request_id"]) == (first["job_id"], "processing", "r2")
    told = [(m.get("status") or "step", m.get("request_id")) for m in heard]
    assert told == [
        ("generated", "r1"),
        ("generated", "r2"),
        ("step", None),
        ("step", None),
        ("completed", "r1"),
        ("completed", "r2"),
    ]
    assert (await house.studio.queue_status()).total == 1


async def test_a_request_id_may_be_a_counter_and_is_told_as_it_came(house: House, client: Talker) -> None:
    # Given one that was asked for with a number, and with the text of that number
    first = await client.ask(create_job() | {"request_id": 1})
    await client.ask(create_job() | {"request_id": "1"})
    (only,) = await house.store.unfinished()
    await house.painter.start(only.id)
    await house.painter.finish(only.id)
    heard = [first, *await client.hear_until("completed"), await client.hear()]

    assert [m["request_id"] for m in heard if "request_id" in m] == [1, 1, "1", 1, "1", 1, "1"]
    for message in ({"type": "get_status", "job_id": first["job_id"]}, {"type": "get_client_jobs"}):
        assert (await client.ask(message | {"request_id": 0}))["request_id"] == 0


async def test_a_stored_result_is_told_at_once(house: House, client: Talker) -> None:
    await client.ask(create_job(request_id="r1"))
    (only,) = await house.store.unfinished()
    await house.painter.start(only.id)
    await house.painter.finish(only.id)
    done = (await client.hear_until("completed"))[-1]

    again = await client.ask(create_job(request_id="r2"))

    assert again == {**done, "request_id": "r2"}
    assert await client.is_silent()


async def test_a_result_whose_file_somebody_removed_is_made_again_once(house: House) -> None:
    async with running(house) as server, server.talk("anna") as anna, server.talk("ben") as ben:
        await anna.ask(create_job())
        (only,) = await house.store.unfinished()
        await house.painter.start(only.id)
        await house.painter.finish(only.id)
        done = (await anna.hear_until("completed"))[-1]
        stored = (await house.store.get(only.id)).artifact(ArtifactKind.UPSCALED)
        assert stored is not None
        house.artifacts.remove(stored.name)

        # When two ask at the same moment, and one of them once more
        answers = [*await asyncio.gather(anna.ask(create_job()), ben.ask(create_job()))]
        answers.append(await anna.ask(create_job(request_id="r2")))

    assert [(each["status"], each["job_id"]) for each in answers] == [("pending", done["job_id"])] * 3
    assert (await house.studio.queue_status()).pending == 1


async def test_after_a_failed_or_cancelled_job_a_new_one_is_made(house: House, client: Talker) -> None:
    house.painter.failure = OutOfMemory()
    first = await client.ask(create_job())
    (only,) = await house.store.unfinished()
    await house.painter.start(only.id)
    await house.painter.fail(only.id)
    failed = (await client.hear_until("failed"))[-1]
    assert failed["error"] == "Out of device memory; try a smaller size."

    second = await client.ask(create_job(request_id="r2"))
    assert (second["status"], second["job_id"]) == ("pending", first["job_id"])

    # Then a cancel reaches the newest of that id, and is told to whoever asked and to whoever watches
    await client.say({"type": "cancel_job", "job_id": first["job_id"], "request_id": "c"})
    heard = [await client.hear(), await client.hear()]
    assert {(m["status"], m["request_id"]) for m in heard} == {("cancelled", "c"), ("cancelled", "r2")}

    third = await client.ask(create_job(request_id="r3"))
    assert third["status"] == "pending"
    assert (await house.studio.queue_status()).total == 3

    # Then the list tells the newest of them once
    jobs = (await client.ask({"type": "get_client_jobs", "request_id": "l"}))["jobs"]
    assert [(j["job_id"], j["status"], j["result"]) for j in jobs] == [(first["job_id"], "pending", None)]


async def test_the_original_of_a_job_whose_enlarging_failed_can_be_fetched(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    house.painter.failure = OutOfMemory()
    async with running(house) as server, server.talk("anna") as client:
        await client.ask(create_job())
        (only,) = await house.store.unfinished()
        await house.painter.start(only.id)
        await house.painter.generate(only.id)
        await house.painter.fail(only.id)
        failed = (await client.hear_until("failed"))[-1]
        (listed,) = (await client.ask({"type": "get_client_jobs"}))["jobs"]
        async with httpx2.AsyncClient(trust_env=False) as web:
            answer = await web.get(f"{server.url}/api/image/{failed['result']['filename']}")

    assert failed["result"].keys() == {"filename", "path", "adjustments"}
    assert listed["result"] == failed["result"]
    assert answer.status_code == 200


async def test_only_pending_and_processing_jobs_can_be_cancelled(house: House, client: Talker) -> None:
    job_id = (await client.ask(create_job()))["job_id"]
    (only,) = await house.store.unfinished()
    await house.painter.start(only.id)
    await client.hear_until("processing")
    await house.painter.generate(only.id)
    await client.hear_until("generated")

    refused = await client.ask({"type": "cancel_job", "job_id": job_id, "request_id": "c"})

    message = "Only a pending or processing job can be cancelled."
    assert refused == {"type": "error", "message": message, "request_id": "c"}


async def test_a_full_queue_is_told(tmp_path: Path) -> None:
    async with running(a_house(tmp_path, max_queue_size=2)) as server, server.talk() as client:
        answers = [await client.ask(create_job(f"pizza {n}", request_id=str(n))) for n in range(4)]
        joined = await client.ask(create_job("pizza 0", request_id="again"))

    assert [a.get("status") for a in answers] == ["pending", "pending", None, None]
    full = {"type": "error", "message": "The queue is full; try again later.", "request_id": "3"}
    assert answers[3] == full
    assert joined["status"] == "pending"  # an equal request needs no room


async def test_a_job_waits_for_a_model_that_is_still_loading(tmp_path: Path) -> None:
    async with running(a_house(tmp_path, state=WorkerState.STARTING)) as server, server.talk() as client:
        assert (await client.ask(create_job()))["status"] == "pending"


async def test_a_model_that_does_not_load_and_an_unknown_one_are_told(tmp_path: Path) -> None:
    async with running(a_house(tmp_path, state=WorkerState.BROKEN)) as server, server.talk() as client:
        broken = await client.ask(create_job())
    async with running(House(tmp_path)) as server, server.talk() as client:
        unknown = await client.ask(create_job(model_type="int8"))

    assert broken["message"] == "The model is not ready; try again later."
    assert unknown["message"] == "This server has no model of that model_type."


async def test_a_connection_follows_a_bounded_number_of_jobs(client: Talker) -> None:
    for number in range(MAX_FOLLOWED):
        await client.say(create_job(request_id=str(number)))
        await client.hear()

    refused = await client.ask(create_job(request_id="one more"))

    assert refused == {"type": "error", "message": TOO_MANY, "request_id": "one more"}


async def test_client_jobs_need_a_client_id(tmp_path: Path) -> None:
    async with running(a_house(tmp_path)) as server:
        for client_id in (None, ""):
            async with server.talk(client_id) as client:
                answer = await client.ask({"type": "get_client_jobs", "request_id": "r"})
                assert answer["type"] == "error"
                assert "client_id" in answer["message"]


async def test_client_jobs_are_the_clients_own_newest_first(tmp_path: Path) -> None:
    async with running(a_house(tmp_path)) as server, server.talk("anna 🐟") as anna, server.talk("ben") as ben:
        ids = [(await anna.ask(create_job(f"pizza {n}")))["job_id"] for n in range(3)]
        await ben.ask(create_job("another"))
        jobs = (await anna.ask({"type": "get_client_jobs"}))["jobs"]

    assert [job["job_id"] for job in jobs] == ids[::-1]
    assert all(isinstance(job["created_at"], float) for job in jobs)


@pytest.mark.parametrize("told", ["processing", "completed"])
@pytest.mark.parametrize("asked", ["get_client_jobs", "get_status"])
async def test_an_answer_is_no_older_than_what_was_told_while_the_store_was_read(
    house: House, client: Talker, monkeypatch: pytest.MonkeyPatch, asked: str, told: str
) -> None:
    is_list = asked == "get_client_jobs"
    target, name = (house.services.subscriptions, "jobs") if is_list else (house.services.studio, "with_fingerprint")
    read, look, answer = getattr(target, name), asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        jobs = await read(*arguments, **options)
        look.set()
        await answer.wait()
        return jobs

    # Given a look that has found a job as it was
    first = await client.ask(create_job())
    (only,) = await house.store.unfinished()
    monkeypatch.setattr(target, name, slow)
    await client.say({"type": asked, "job_id": first["job_id"], "request_id": "r"})
    await look.wait()
    # When the client is told more of it before it is answered
    await house.painter.start(only.id)
    if told == "completed":
        await house.painter.finish(only.id)
    await client.hear_until(told)
    answer.set()
    heard = await client.hear()

    assert (heard["jobs"][0] if is_list else heard)["status"] == told
    assert heard["request_id"] == "r"
    if told == "completed":
        assert await client.is_silent()


@pytest.mark.parametrize("place", ["message", "params"])
async def test_previews_come_with_the_steps_when_asked_for(tmp_path: Path, place: str) -> None:
    house = a_house(tmp_path, automatic=True)
    house.painter.begin.clear()
    asked = params(**SMALL, previews=True) if place == "params" else params(**SMALL) | {"previews": True}
    async with running(house) as server, server.talk() as plain, server.talk() as curious:
        await curious.ask(asked)
        await plain.ask(params(**SMALL))
        house.painter.begin.set()
        seen = [m for m in await curious.hear_until("completed") if m["type"] == "job_progress"]
        unseen = [m for m in await plain.hear_until("completed") if m["type"] == "job_progress"]

    # Then every step but the last shows one to whoever asked, and to nobody else
    assert ["preview" in m for m in seen] == [True, True, False, False, False]
    assert seen[0]["preview"].startswith("data:image/jpeg;base64,")
    assert not any("preview" in m for m in unseen)


async def test_previews_may_be_asked_for_later(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=True)
    house.painter.begin.clear()
    async with running(house) as server, server.talk() as client:
        await client.ask(create_job(request_id="r1"))
        await client.ask(create_job(request_id="r2", previews=True))
        await until(lambda: bool(house.painter.previews_wanted))
        house.painter.begin.set()
        steps = [m for m in await client.hear_until("completed") if m["type"] == "job_progress"]

    assert [s["progress"]["current_step"] for s in steps] == [1, 2, 3, 1, 2]
    assert ["preview" in s for s in steps] == [True, True, False, False, False]


async def test_a_lost_worker_is_told_as_it_is(house: House, client: Talker) -> None:
    await client.ask(create_job())
    (only,) = await house.store.unfinished()
    await house.painter.start(only.id)
    given_back = await house.store.give_back(only.id, 1, LOST, datetime.now(UTC))
    assert given_back is not None
    house.events.publish(StateChanged(job=given_back))
    await house.painter.start(only.id)
    await house.painter.finish(only.id)

    told = [m["status"] for m in await client.hear_until("completed") if m["type"] == "job_status"]
    assert told == ["processing", "pending", "processing", "generated", "completed"]
