"""`POST /v1/images/generations` and what goes with it, without a network."""

import asyncio
import io
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from structlog.testing import capture_logs

from danqing.core.capabilities import MAX_PROMPT_CHARS
from danqing.core.orders import Order
from danqing.core.types import GenerationRequest, Job, Mode, PoolStatus, RequestDraft, WorkerState
from danqing.dialects.openai import delivery
from danqing.dialects.openai.dialect import openai
from danqing.dialects.openai.pictures import converted
from danqing.dialects.openai.schemas import OutputFormat
from danqing.http.dialect import DialectOptions
from danqing.http.encoding import ADDRESSES_AT_ONCE, ANSWERED_AT_ONCE, MOST_WAITING_OF_ONE
from danqing.http.keys import Keys
from tests.dialects.house import House
from tests.dialects.openai.parts import editing_card, editing_house, opened, talking
from tests.dialects.openai.seed_document import example
from tests.fakes.painter import COLOUR


async def generated(client: httpx2.AsyncClient, **body: Any) -> httpx2.Response:  # noqa: ANN401 - JSON
    answer = await client.post("/v1/images/generations", json={"prompt": "a beautiful landscape", **body})
    assert answer.status_code == 200, answer.text
    return answer


async def jobs_of(house: House) -> list[Job]:
    """Every job, in the order of acceptance."""
    batches = await house.services.gallery.newest(limit=100)
    return [job for batch in reversed(batches) for job in batch.jobs]


async def requests_of(house: House) -> list[GenerationRequest]:
    """Every job's request, in the order of acceptance."""
    return [job.request for job in await jobs_of(house)]


async def test_one_picture_as_the_document_shows_it(tmp_path: Path) -> None:
    # Given the document's answer
    documented = example('  -H "Authorization: Basic')

    async with talking(editing_house(tmp_path)) as client:
        answer = (await generated(client, size="160x96")).json()

    # Then ours has all its keys, and OpenAI's
    assert set(documented) <= set(answer)
    assert set(documented["usage"]) <= set(answer["usage"])
    assert {"background", "output_format", "quality", "size"} <= set(answer)
    (datum,) = answer["data"]
    picture = opened(datum)
    assert (picture.format, picture.size) == ("PNG", (160, 96))
    assert (answer["size"], answer["output_format"], answer["background"]) == ("160x96", "png", "opaque")
    assert answer["usage"]["input_images"] == 0
    assert answer["usage"]["generated_images"] == 1
    assert answer["usage"]["processing_time_seconds"] >= 0


async def test_tokens_are_counted_by_the_documented_rule(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        usage = (await generated(client, prompt="五个字十五字节", n=2, size="100x64")).json()["usage"]

    # Seven signs of three bytes; four by two patches
    assert usage["input_tokens_details"] == {"image_tokens": 0, "text_tokens": 2 * 6}
    assert usage["output_tokens_details"] == {"image_tokens": 2 * 8, "text_tokens": 0}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == 28


async def test_the_model_decides_what_is_not_said(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        for body in ({}, {"size": "auto"}, {"size": None, "n": None, "model": None}, {"model": ""}):
            assert (await generated(client, **body)).json()["size"] == "128x128"

    assert {(r.mode, r.num_inference_steps, r.guidance_scale) for r in await requests_of(house)} == {
        (Mode.TEXT2IMG, 9, 0.0)
    }


async def test_extensions_reach_the_engine(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        await generated(
            client, seed=7, n=3, num_inference_steps=4, guidance_scale=2, negative_prompt="rain", model="dall-e-3"
        )

    requests = await requests_of(house)
    assert [request.seed for request in requests] == [7, 8, 9]
    assert {(r.num_inference_steps, r.guidance_scale, r.negative_prompt, r.model) for r in requests} == {
        (4, 2.0, "rain", "tiny")
    }
    # And they are one entry of the history
    (batch,) = await house.services.gallery.newest(limit=10)
    assert (batch.size, [job.batch_index for job in batch.jobs]) == (3, [0, 1, 2])


@pytest.mark.parametrize("written", [json.dumps, partial(json.dumps, ensure_ascii=False)])
async def test_a_prompt_of_openais_length(tmp_path: Path, written: Callable[[object], str]) -> None:
    # Given a model that takes what those here take
    card = editing_card()
    card = replace(card, capabilities=replace(card.capabilities, max_prompt_chars=MAX_PROMPT_CHARS))
    house = editing_house(tmp_path, card=card)

    # When a prompt has 32,000 characters, however they are written, and another one has one more
    async with talking(house) as client:
        whole, more = [
            await client.post("/v1/images/generations", content=written({"prompt": "🍕" * length}))
            for length in (32_000, 32_001)
        ]

    # Then that one alone is refused, and says why
    assert whole.status_code == 200, whole.text
    assert [request.prompt for request in await requests_of(house)] == ["🍕" * 32_000]
    assert more.status_code == 400
    assert more.json()["error"]["message"] == "prompt must have at most 32000 characters."


async def test_without_a_seed_variants_differ(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        await generated(client, n=3)

    assert len({request.seed for request in await requests_of(house)}) == 3


@pytest.mark.parametrize(
    ("output_format", "compression"), [("png", None), ("png", 100), ("jpeg", 60), ("jpeg", None), ("webp", 0)]
)
async def test_formats(tmp_path: Path, output_format: str, compression: int | None) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = (await generated(client, output_format=output_format, output_compression=compression)).json()

    assert opened(answer["data"][0]).format == output_format.upper()
    assert answer["output_format"] == output_format


async def test_addresses_instead_of_pictures(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        for output_format in ("png", "jpeg", "webp"):
            answer = await generated(client, response_format="url", output_format=output_format, n=2)
            data = answer.json()["data"]
            assert [set(datum) - {"adjustments"} for datum in data] == [{"url"}, {"url"}]

            picture = await client.get(data[1]["url"])

            assert data[1]["url"].startswith("http://danqing.test/v1/files/images/")
            assert picture.headers["content-type"] == f"image/{output_format}"
            with Image.open(io.BytesIO(picture.content)) as image:
                assert (image.format, image.size) == (output_format.upper(), (128, 128))


async def test_addresses_are_where_the_operator_says_that_clients_find_the_server(tmp_path: Path) -> None:
    house = editing_house(tmp_path, options=DialectOptions(public_url="https://studio.example/images/"))

    async with talking(house) as client:
        (datum,) = (await generated(client, response_format="url")).json()["data"]

        assert datum["url"].startswith("https://studio.example/images/v1/files/images/")
        assert (await client.get(datum["url"].removeprefix("https://studio.example/images"))).status_code == 200


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_a_picture_by_address_has_a_name_and_a_tag(tmp_path: Path, output_format: str) -> None:
    async with talking(editing_house(tmp_path)) as client:
        (datum,) = (await generated(client, response_format="url", output_format=output_format)).json()["data"]
        first, again = [await client.get(datum["url"]) for _ in range(2)]

    name = datum["url"].rpartition("/")[2]
    assert first.headers["content-disposition"] == f'inline; filename="{name}"'
    assert first.headers["etag"] == again.headers["etag"]
    assert first.headers["etag"].strip('"')


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
async def test_a_picture_by_address_is_encoded_once(tmp_path: Path, output_format: str) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = await generated(client, response_format="url", output_format=output_format, seed=1)
        address = answer.json()["data"][0]["url"]
        first = await client.get(address)

        # When the file that it was encoded from is not there any more
        (job,) = await jobs_of(house)
        house.artifacts.remove(f"{job.id}.png")

        # Then it is there all the same, for those only who may see it
        assert (await client.get(address)).content == first.content
        assert (await client.get(address.replace("-100.", "-99."))).status_code == 404


async def test_many_addresses_of_one_picture_at_once_hold_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a picture that is asked for in more qualities at once than may wait, none of which is done
    may_end = threading.Event()
    asked_at_once = 1 + ADDRESSES_AT_ONCE + MOST_WAITING_OF_ONE

    def slow(png: bytes, output_format: OutputFormat, compression: int) -> bytes:
        assert compression == 100 or may_end.wait(60)
        return converted(png, output_format, compression)

    monkeypatch.setattr(delivery, "converted", slow)
    house = editing_house(tmp_path)
    async with talking(house) as client:
        await generated(client, n=2)
        job, other = await jobs_of(house)
        folder = f"/v1/files/images/{job.id}"
        addresses = [
            f"/v1/files/images/{each.id}-{at}.{kind}"
            for each in (job, other)
            for kind in ("webp", "jpeg")
            for at in range(100)
        ]
        asking = [asyncio.create_task(client.get(address)) for address in addresses[:asked_at_once]]
        twice = asyncio.create_task(client.get(f"{folder}-0.webp"))
        try:
            async with asyncio.timeout(30):
                # Then one too many is told to come again, and others get theirs
                (refused,), _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                assert (refused.result().status_code, refused.result().headers["retry-after"]) == (503, "5")
                assert (await client.get(f"{folder}.png")).status_code == 200
                assert opened((await generated(client, output_format="webp")).json()["data"][0]).format == "WEBP"
        finally:
            may_end.set()
        answers = [await each for each in (*asking, twice)]
        assert Counter(answer.status_code for answer in answers) == {200: asked_at_once, 503: 1}


async def test_who_waits_for_his_picture_to_be_encoded_waits_no_longer_than_for_one_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given as many answers as are encoded at once, none of which is done
    may_end, began = threading.Event(), threading.Semaphore(0)

    def slow(png: bytes, output_format: OutputFormat, compression: int) -> bytes:
        began.release()
        assert may_end.wait(60)
        return converted(png, output_format, compression)

    monkeypatch.setattr(delivery, "converted", slow)
    house = editing_house(tmp_path, options=DialectOptions(request_timeout_s=2.0))
    body = {"prompt": "a heron", "output_format": "webp"}
    async with talking(house) as client:
        first = [asyncio.create_task(client.post("/v1/images/generations", json=body)) for _ in range(ANSWERED_AT_ONCE)]
        try:
            for _ in first:
                assert await asyncio.to_thread(began.acquire, timeout=60)
            # When another one waits behind them, then he is told so in time
            async with asyncio.timeout(30):
                answer = await client.post("/v1/images/generations", json=body)
        finally:
            may_end.set()
            await asyncio.gather(*first)
    assert answer.status_code == 500
    assert "was not ready in time" in answer.json()["error"]["message"]


async def test_addresses_work_without_a_key_until_they_are_changed(tmp_path: Path) -> None:
    # Given a server that asks for keys, and two callers
    keys = Keys(enabled=True, ordinary=frozenset({"alice", "bob"}), admin="root")
    house = editing_house(tmp_path, keys=keys)
    alice, bob, root = ({"Authorization": f"Bearer {name}"} for name in ("alice", "bob", "root"))

    async with talking(house) as client:
        body = {"prompt": "p", "response_format": "url", "output_format": "webp", "output_compression": 80}
        answer = await client.post("/v1/images/generations", json=body, headers=alice)
        signed = answer.json()["data"][0]["url"]
        bare = signed.partition("?")[0]

        # Then the signed address opens the picture for anybody, the bare one for its owner and the administrator
        assert (await client.get(signed)).status_code == 200
        assert (await client.get(signed, headers=bob)).status_code == 200
        assert (await client.get(bare, headers=alice)).status_code == 200
        assert (await client.get(bare, headers=root)).status_code == 200
        assert (await client.get(bare, headers=bob)).status_code == 404
        assert (await client.get(bare)).status_code == 404
        # And another quality of it is another address
        assert (await client.get(signed.replace("-80.webp", "-81.webp"))).status_code == 404
        assert (await client.get(signed[:-1])).status_code == 404


@pytest.mark.parametrize(
    "name", ["nothing", "550e8400-e29b-41d4-a716-446655440000.png", "../../etc/passwd", "%2e%2e%2fx.png"]
)
async def test_pictures_that_there_are_not(tmp_path: Path, name: str) -> None:
    async with talking(editing_house(tmp_path)) as client:
        assert (await client.get(f"/v1/files/images/{name}")).status_code == 404


async def test_a_picture_that_is_not_ready_is_not_there(tmp_path: Path) -> None:
    house = editing_house(tmp_path, automatic=False)
    job = await house.studio.submit(Order(draft=RequestDraft(prompt="p")))

    async with talking(house) as client:
        assert (await client.get(f"/v1/files/images/{job.id}.png")).status_code == 404


async def test_what_is_ignored_is_told(tmp_path: Path) -> None:
    body = {"quality": "hd", "style": "vivid", "user": "u-1", "moderation": "low", "sampler": "euler", "size": "auto"}

    async with talking(editing_house(tmp_path)) as client:
        answer = await generated(client, **body)
        plain = await generated(client, quality="auto", background="auto", moderation="auto")

    warning = answer.headers["X-Danqing-Warning"]
    for name in ("quality", "style", "user", "moderation", "sampler"):
        assert f"{name} ignored: " in warning
    assert "size" not in warning
    assert "X-Danqing-Warning" not in plain.headers
    assert answer.json()["quality"] == "high"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, None),
        ({"user": "ann"}, "ann"),
        ({"user": "ann", "safety_identifier": "a1"}, "a1"),
        ({"user": "", "safety_identifier": None}, None),
    ],
)
async def test_whom_it_is_for_is_told_again(tmp_path: Path, said: dict[str, str], told: str | None) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = (await generated(client, size="64x64", **said)).json()

    assert answer.get("safety_identifier") == told
    assert ("safety_identifier" in answer) == (told is not None)


async def test_adjustments_are_told_with_their_picture(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        (datum,) = (await generated(client, size="256x256")).json()["data"]

    assert datum["adjustments"] == ["made at 128x128 and enlarged by Real-ESRGAN to 256x256"]


async def test_health_and_readiness_as_documented(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path / "1")) as client:
        health, ready = await client.get("/health"), await client.get("/ready")
    assert (health.status_code, ready.status_code) == (200, 200)
    for answer, heading in ((health.json(), "检查服务是否正在运行。"), (ready.json(), "检查服务是否已加载模型")):
        documented = example(heading)
        assert list(answer) == list(documented)
        assert len(answer["timestamp"]) == len(documented["timestamp"])
        assert {k: v for k, v in answer.items() if k not in ("timestamp", "version")} == {
            k: v for k, v in documented.items() if k not in ("timestamp", "version")
        }


async def test_not_ready_as_documented(tmp_path: Path) -> None:
    # Given a server that still loads its model, and one that is being stopped
    starting, stopping = editing_house(tmp_path / "1", state=WorkerState.STARTING), editing_house(tmp_path / "2")
    stopping.studio.stop_accepting()

    for house in (starting, stopping):
        async with talking(house) as client:
            answer = await client.get("/ready")

            assert (answer.status_code, answer.json()) == (503, example("**错误响应** (503):"))


async def test_ready_without_a_worker_where_workers_are_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = editing_house(tmp_path)
    monkeypatch.setattr(house.painter, "status", lambda: PoolStatus(elsewhere=True))

    async with talking(house) as client:
        answer = await client.get("/ready")

    assert (answer.status_code, answer.json()["model_loaded"]) == (200, False)


async def test_readiness_needs_no_key(tmp_path: Path) -> None:
    house = editing_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"k"})))

    async with talking(house) as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401


async def test_models_and_their_other_names(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        listed = (await client.get("/v1/models")).json()
        one = await client.get("/v1/models/dall-e-2")
        unlisted = await client.get("/v1/models/gpt-image-9")
        unknown = await client.get("/v1/models/some/thing")
        upscaler = await client.get("/v1/models/upscaler")

    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]][:2] == ["tiny", "gpt-image-1"]
    assert {entry["root"] for entry in listed["data"]} == {"tiny"}
    assert all(set(entry) == {"id", "object", "created", "owned_by", "root"} for entry in listed["data"])
    assert one.json() in listed["data"]
    assert unlisted.json()["root"] == "tiny"
    for answer in (unknown, upscaler):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_without_aliases_only_the_model_itself_is_listed(tmp_path: Path) -> None:
    house = House(tmp_path, card=editing_card())

    async with house.client(openai(), alone=True) as client:
        assert [entry["id"] for entry in (await client.get("/v1/models")).json()["data"]] == ["tiny"]


async def test_a_request_that_takes_too_long_ends_and_so_do_its_jobs(tmp_path: Path) -> None:
    house = editing_house(tmp_path, automatic=False, options=DialectOptions(request_timeout_s=0.05))

    async with talking(house) as client:
        answer = await client.post("/v1/images/generations", json={"prompt": "p", "n": 2})

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "GENERATION_ERROR")
    assert answer.headers["x-should-retry"] == "false"
    assert (await house.studio.queue_status()).cancelled == 2


@pytest.mark.parametrize("log_prompts", [False, True])
async def test_what_is_made_is_logged_and_the_prompt_only_where_the_operator_wants_it(
    tmp_path: Path, log_prompts: bool
) -> None:
    house = editing_house(tmp_path, options=DialectOptions(log_prompts=log_prompts))
    with capture_logs() as lines:
        async with talking(house) as client:
            await generated(client, prompt="x" * 500, n=2)

    told = {line["event"]: line for line in lines}
    assert told["image_generation_requested"].get("prompt") == ("x" * 80 if log_prompts else None)
    assert told["image_generation_requested"]["n"] == 2
    assert told["image_generation_completed"]["generated"] == 2
    assert told["image_generation_completed"]["seconds"] >= 0


async def test_the_painter_paints_from_the_prompt(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = (await generated(client)).json()

    assert opened(answer["data"][0]).getpixel((5, 5)) == COLOUR
