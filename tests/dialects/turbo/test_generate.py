"""`POST /api/generate`, field by field."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core.capabilities import ModelDefaults, Range
from danqing.core.types import Job, Mode, WorkerState
from danqing.dialects.turbo.dialect import turbo
from danqing.dialects.turbo.schemas import GenerateRequest
from tests.dialects.house import House
from tests.dialects.turbo.seed_document import example, section
from tests.fakes.domain import a_card

PROMPT = "prompt参数必填且不能为空"
OBJECT = "请求体必须是JSON对象"
BAD_JSON = "请求体不是有效的JSON"
SIDE = "{}参数必须在64到2048之间"
STEPS = "num_inference_steps参数必须在1到50之间"
SEED = "seed参数必须在0到9223372036854775807之间"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def post(house: House, body: object, **headers: str) -> Any:  # noqa: ANN401 - JSON
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with house.client(turbo(), alone=True) as client:
        answer = await client.post(
            "/api/generate", content=content, headers={"Content-Type": "application/json"} | headers
        )
    assert answer.status_code == answer.json()["code"]
    return answer.json()


async def accepted(house: House, body: dict[str, object]) -> Job:
    answer = await post(house, body)
    assert answer["message"] == "success", answer
    return await house.studio.get(answer["data"]["task_id"])


async def test_the_documented_request(house: House) -> None:
    # Given the document's example
    body = json.loads(section("### 2. 提交生成任务").split("**请求示例**:")[1].split("```json\n")[1].split("```")[0])

    job = await accepted(house, body)

    # Then nothing of it is lost
    request = job.request
    assert {
        "prompt": request.prompt,
        "height": request.height,
        "width": request.width,
        "num_inference_steps": request.num_inference_steps,
        "seed": request.seed,
    } == body


async def test_a_prompt_alone_gets_the_documented_defaults_and_a_random_seed(house: House) -> None:
    first = await accepted(house, {"prompt": "一只猫"})
    second = await accepted(house, {"prompt": "一只猫"})

    assert (first.request.height, first.request.width, first.request.num_inference_steps) == (1024, 1024, 9)
    assert first.request.seed != second.request.seed


async def test_the_documented_defaults_hold_for_every_model(tmp_path: Path) -> None:
    # Given a model with other defaults
    defaults = ModelDefaults(width=512, height=768, num_inference_steps=28, guidance_scale=3.5)
    house = House(tmp_path, card=a_card(defaults=defaults))

    for fields in ({}, {"height": None, "width": None, "num_inference_steps": None}):
        request = (await accepted(house, {"prompt": "p", **fields})).request

        assert (request.height, request.width, request.num_inference_steps) == (1024, 1024, 9)


async def test_queue_position_counts_up(house: House) -> None:
    positions = [(await post(house, {"prompt": "p"}))["data"]["queue_position"] for _ in range(3)]

    assert positions == [1, 2, 3]


async def test_the_documented_error(house: House) -> None:
    documented = example("**错误响应**")

    assert await post(house, {"prompt": ""}) == documented


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", None, PROMPT),
        ("prompt", "", PROMPT),
        ("prompt", " \n\t", PROMPT),
        ("prompt", 5, "prompt参数必须是字符串"),
        ("prompt", ["a"], "prompt参数必须是字符串"),
        ("prompt", "\ud800", "prompt参数包含无效字符"),
        ("prompt", "a\0b", "prompt参数包含无效字符"),
        ("prompt", "x" * 101, "prompt参数不能超过100个字符"),
        *[(side, value, f"{side}参数必须是整数") for side in ("height", "width") for value in ("512", 512.5, True)],
        *[(side, value, SIDE.format(side)) for side in ("height", "width") for value in (63, 2049, 0, -64, 10**30)],
        *[("num_inference_steps", value, "num_inference_steps参数必须是整数") for value in ("9", 9.5, False, {})],
        *[("num_inference_steps", value, STEPS) for value in (0, 51, -1)],
        *[("seed", value, "seed参数必须是整数") for value in ("42", 4.2, True, [])],
        *[("seed", value, SEED) for value in (-1, 2**63)],
    ],
)
async def test_refused(house: House, field: str, value: object, message: str) -> None:
    answer = await post(house, {"prompt": "p", field: value})

    assert answer == {"code": 400, "message": message, "data": {}}


async def test_what_the_model_allows_less_of_is_told_with_its_limits(tmp_path: Path) -> None:
    tiny = a_card()
    less = replace(tiny.capabilities, steps=Range(minimum=2, maximum=8), side=Range(minimum=64, maximum=512))
    house = House(tmp_path, card=replace(tiny, capabilities=less))

    for wanted, name, limits in (
        ({"num_inference_steps": 9, "width": 64, "height": 64}, "num_inference_steps", "2到8"),
        ({"num_inference_steps": 4, "width": 64, "height": 513}, "height", "64到512"),
    ):
        answer = await post(house, {"prompt": "p", **wanted})
        assert answer == {"code": 400, "message": f"{name}参数必须在{limits}之间", "data": {}}


async def test_a_model_that_only_edits(tmp_path: Path) -> None:
    tiny = a_card()
    house = House(tmp_path, card=replace(tiny, capabilities=replace(tiny.capabilities, modes=frozenset({Mode.EDIT}))))

    answer = await post(house, {"prompt": "p"})

    assert answer == {"code": 400, "message": "当前模型不支持文生图", "data": {}}


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_a_submit_key_that_is_none(house: House, key: str) -> None:
    answer = await post(house, {"prompt": "p"}, **{"Idempotency-Key": key})

    message = "请求头Idempotency-Key必须是1到255个可打印的ASCII字符"
    assert answer == {"code": 400, "message": message, "data": {}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 64),
        ("height", 2048),
        ("width", 64),
        ("width", 2048),
        ("width", 777),
        ("num_inference_steps", 1),
        ("num_inference_steps", 50),
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("prompt", "  空格保留 🍕 "),
    ],
)
async def test_honoured_at_the_ends_of_the_range(house: House, field: str, value: object) -> None:
    job = await accepted(house, {"prompt": "p", field: value})

    assert getattr(job.request, field) == value


async def test_a_whole_number_may_be_written_with_a_fraction_of_zero(house: House) -> None:
    # Given what JSON Schema calls integers
    job = await accepted(
        house, {"prompt": "p", "height": 512.0, "width": 64.0, "num_inference_steps": 9.0, "seed": 7.0}
    )

    request = job.request
    told = (request.height, request.width, request.num_inference_steps, request.seed)
    assert json.dumps(told) == "[512, 64, 9, 7]"


@pytest.mark.parametrize("field", [name for name in GenerateRequest.model_fields if name != "prompt"])
async def test_null_means_not_given(house: House, field: str) -> None:
    job = await accepted(house, {"prompt": "p", field: None})

    assert (job.request.height, job.request.width, job.request.num_inference_steps) == (1024, 1024, 9)


async def test_unknown_fields_are_ignored(house: House) -> None:
    job = await accepted(house, {"prompt": "p", "guidance_scale": 7, "negative_prompt": "n", "batch": 4})

    assert (job.request.guidance_scale, job.request.negative_prompt) == (0.0, "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", OBJECT),
        (b"null", OBJECT),
        (b"[]", OBJECT),
        (b'"prompt"', OBJECT),
        (b"5", OBJECT),
        (b"{", BAD_JSON),
        (b'{"prompt": "a",}', BAD_JSON),
        (b'{"prompt": "\xff"}', BAD_JSON),
        (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", BAD_JSON),
        (b"[" * 100_000, BAD_JSON),
        (b"{}", PROMPT),
        (b'{"prompt": "a", "height": NaN}', "height参数必须是整数"),
        (b'{"prompt": "a", "seed": 1e999}', "seed参数必须是整数"),
        (b'{"prompt": "a", "seed": 9223372036854775808.0}', SEED),
    ],
)
async def test_refused_bodies(house: House, body: bytes, message: str) -> None:
    assert await post(house, body) == {"code": 400, "message": message, "data": {}}


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_only_json_is_read(house: House, media_type: str) -> None:
    answer = await post(house, {"prompt": "p"}, **{"Content-Type": media_type})

    assert answer == {"code": 400, "message": "请求头Content-Type必须是application/json", "data": {}}


async def test_a_body_above_one_mebibyte_is_refused(house: House) -> None:
    answer = await post(house, {"prompt": "p", "padding": "x" * 1024 * 1024})

    assert answer == {"code": 400, "message": "请求体过大，不能超过1024KB", "data": {}}


async def test_a_full_queue(tmp_path: Path) -> None:
    # Given a queue of one, taken
    house = House(tmp_path, max_queue_size=1)
    await accepted(house, {"prompt": "p"})

    answer = await post(house, {"prompt": "p"})

    assert answer == {"code": 503, "message": "任务队列已满，请稍后重试", "data": {}}


@pytest.mark.parametrize("state", [WorkerState.STARTING, WorkerState.BROKEN])
async def test_no_model(tmp_path: Path, state: WorkerState) -> None:
    house = House(tmp_path, state=state)

    assert await post(house, {"prompt": "p"}) == {"code": 503, "message": "模型未加载，请稍后重试", "data": {}}


async def test_a_server_that_is_shutting_down(house: House) -> None:
    house.studio.stop_accepting()

    assert await post(house, {"prompt": "p"}) == {"code": 503, "message": "服务正在关闭，请稍后重试", "data": {}}
