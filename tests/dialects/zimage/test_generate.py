"""`POST /v1/images/generate`, field by field."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from danqing.core.batches import MAX_BATCH_JOBS
from danqing.core.capabilities import ModelDefaults
from danqing.core.states import JobState
from danqing.core.types import ArtifactKind, GenerationRequest, Job, Mode, WorkerState
from danqing.dialects.zimage.metadata import MAX_METADATA_BYTES
from danqing.dialects.zimage.schemas import GenerateImageRequest
from tests.dialects.house import House
from tests.dialects.zimage.asking import ask, job_id
from tests.dialects.zimage.seed_document import example
from tests.fakes.domain import NO_LIMIT, a_card, a_job

PATH = "/v1/images/generate"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def post(house: House, body: object) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await ask(house, "POST", PATH, content=content, headers={"Content-Type": "application/json"})


async def accepted(house: House, body: object) -> Job:
    answer = await post(house, body)
    assert answer.status_code == 200, answer.text
    return await house.studio.get(job_id(answer.json()["task_id"]))


async def refusal(house: House, body: object) -> Any:  # noqa: ANN401 - JSON
    """`detail` of a 422."""
    answer = await post(house, body)
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


async def test_the_documented_request(house: House) -> None:
    # Given the document's example, which shows every field
    body = example("3.1")
    assert set(body) == set(GenerateImageRequest.model_fields)

    job = await accepted(house, body)

    # Then nothing of it is lost
    assert job.request == GenerationRequest(
        model="tiny",
        mode=Mode.TEXT2IMG,
        prompt="a cat sitting on the chair",
        negative_prompt="",
        width=1024,
        height=1024,
        num_inference_steps=9,
        guidance_scale=0.0,
        seed=42,
        further=(ArtifactKind.PREVIEW,),
    )
    assert (job.batch_id, job.batch_index, job.metadata) == ("uuid-string-of-batch", 0, body["metadata"])
    assert (await house.services.gallery.get("uuid-string-of-batch")).size == 4


async def test_a_prompt_alone_gets_the_documented_defaults_and_a_random_seed(house: House) -> None:
    first = await accepted(house, {"prompt": "一只猫"})
    second = await accepted(house, {"prompt": "一只猫", "seed": None})

    documented = example("3.1")
    for name in ("height", "width", "num_inference_steps", "guidance_scale", "negative_prompt"):
        assert getattr(first.request, name) == documented[name]
    assert first.request.seed != second.request.seed
    assert (first.batch_id, first.batch_index, first.metadata) == (first.id, 0, {})


async def test_the_documented_defaults_hold_for_every_model(tmp_path: Path) -> None:
    # Given a model with other defaults
    defaults = ModelDefaults(width=512, height=768, num_inference_steps=28, guidance_scale=3.5)
    house = House(tmp_path, card=a_card(defaults=defaults))

    request = (await accepted(house, {"prompt": "p"})).request

    assert (request.height, request.width, request.num_inference_steps, request.guidance_scale) == (1024, 1024, 9, 0.0)


@pytest.mark.parametrize(
    ("name", "given", "reached"),
    [
        ("height", 512, 512),
        ("height", 512.0, 512),
        ("seed", 7.0, 7),
        ("width", 768, 768),
        ("num_inference_steps", 1, 1),
        ("guidance_scale", 5, 5.0),
        ("guidance_scale", 3.5, 3.5),
        ("seed", 0, 0),
        ("seed", 2**63 - 1, 2**63 - 1),
        ("negative_prompt", "blurry", "blurry"),
        ("negative_prompt", None, ""),
        ("cfg_normalization", True, 1.0),
        ("cfg_normalization", False, 0.0),
        ("cfg_normalization", 0.5, 0.5),
        ("cfg_normalization", 2, 2.0),
        ("cfg_truncation", 0.25, 0.25),
        ("cfg_truncation", 1, 1.0),
        ("max_sequence_length", 256, 256),
    ],
)
async def test_every_field_reaches_the_request(house: House, name: str, given: object, reached: object) -> None:
    request = (await accepted(house, {"prompt": "p", name: given})).request

    assert getattr(request, name) == reached


async def test_unknown_fields_are_ignored(house: House) -> None:
    assert (await accepted(house, {"prompt": "p", "strength": 7, "model": "x"})).request.prompt == "p"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("prompt", "", "string_too_short"),
        ("prompt", "  ", "missing_parameter"),
        ("prompt", None, "string_type"),
        ("prompt", "x" * 101, "parameter_out_of_range"),
        ("prompt", "\ud800", "string_unicode"),
        ("height", None, "int_type"),
        ("height", "1024", "int_type"),
        ("height", 512.5, None),
        ("height", True, "int_type"),
        ("height", 0, "greater_than_equal"),
        ("height", 63, "parameter_out_of_range"),
        ("width", 2049, "parameter_out_of_range"),
        ("width", 10**30, "parameter_out_of_range"),
        ("num_inference_steps", 51, "parameter_out_of_range"),
        ("guidance_scale", -0.1, "greater_than_equal"),
        ("guidance_scale", 101, "parameter_out_of_range"),
        ("guidance_scale", "high", "float_type"),
        ("seed", -1, "greater_than_equal"),
        ("seed", 2**63, "less_than"),
        ("negative_prompt", "x" * 101, "parameter_out_of_range"),
        ("cfg_truncation", 1.5, "less_than_equal"),
        ("max_sequence_length", 0, "greater_than_equal"),
        ("max_sequence_length", 513, "parameter_out_of_range"),
        ("metadata", [], None),
    ],
)
async def test_refused_values_are_named(house: House, name: str, value: object, kind: str | None) -> None:
    # When a field is wrong
    (wrong,) = await refusal(house, {"prompt": "p", name: value})

    # Then it is told where and how, as FastAPI tells it
    assert list(wrong) == ["type", "loc", "msg"]
    assert wrong["loc"] == ["body", name]
    assert kind is None or wrong["type"] == kind
    assert wrong["msg"]


async def test_a_number_that_is_none_is_refused(house: House) -> None:
    for number in (b"NaN", b"Infinity", b"1e999"):
        (wrong,) = await refusal(house, b'{"prompt": "p", "guidance_scale": %s}' % number)
        assert wrong["type"] == "finite_number"


async def test_cfg_normalization_is_told_as_a_choice(house: House) -> None:
    wrongs = await refusal(house, {"prompt": "p", "cfg_normalization": "yes"})

    assert {tuple(wrong["loc"][:2]) for wrong in wrongs} == {("body", "cfg_normalization")}


async def test_what_the_model_cannot_do_is_refused(tmp_path: Path) -> None:
    capabilities = a_card().capabilities
    card = a_card(capabilities=type(capabilities)(**{**capabilities.__dict__, "guidance": False}))

    (wrong,) = await refusal(House(tmp_path, card=card), {"prompt": "p", "guidance_scale": 4})

    assert (wrong["type"], wrong["loc"]) == ("not_supported", ["body", "guidance_scale"])


@pytest.mark.parametrize(
    ("body", "status", "kinds"),
    [
        (b"", 422, ["missing"]),
        (b"null", 422, ["model_attributes_type"]),
        (b"[]", 422, ["model_attributes_type"]),
        (b'"prompt"', 422, ["model_attributes_type"]),
        (b"{}", 422, ["missing"]),
        (b"{", 422, ["json_invalid"]),
        (b'{"prompt": "a",}', 422, ["json_invalid"]),
        (b'{"prompt": "\xff"}', 400, None),
        (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", 400, None),
        (b"[" * 100_000, 400, None),
    ],
)
async def test_refused_bodies(house: House, body: bytes, status: int, kinds: list[str] | None) -> None:
    answer = await post(house, body)

    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert [wrong["type"] for wrong in detail] == kinds if kinds else detail == "There was an error parsing the body"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_only_json_is_read(house: House, media_type: str) -> None:
    answer = await ask(house, "POST", PATH, content=b'{"prompt": "p"}', headers={"Content-Type": media_type})

    assert (answer.status_code, answer.json()) == (
        422,
        {"detail": [{"type": "content_type", "loc": ["header", "content-type"], "msg": "Should be application/json"}]},
    )


async def test_a_body_above_one_mebibyte_is_refused(house: House) -> None:
    answer = await post(house, {"prompt": "p", "padding": "x" * 1024 * 1024})

    assert (answer.status_code, answer.json()) == (413, {"detail": "The body is larger than 1024 KiB"})


async def test_metadata_is_kept_as_it_came(house: House) -> None:
    # Given a JSON object with whatever names and values there are
    metadata = {
        "batch_index": None,
        "客户": {"list": [1, 2.5, None, True, "é"], "nothing": {}},
        "model_config": {"__class__": 1},
        "_private": [],
        "": 0,
    }

    job = await accepted(house, {"prompt": "p", "metadata": metadata})

    assert job.metadata == metadata
    assert job.batch_id == job.id


async def test_null_metadata_is_none(house: House) -> None:
    assert (await accepted(house, {"prompt": "p", "metadata": None})).metadata == {}


async def test_a_batch_id_alone_is_the_first_of_one(house: House) -> None:
    job = await accepted(house, {"prompt": "p", "metadata": {"batch_id": "b"}})

    batch = await house.services.gallery.get("b")
    assert ((job.batch_index, batch.size), [each.id for each in batch.jobs]) == ((0, 1), [job.id])


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"batch_id": 7}, ("7", 0, 1)),
        ({"batch_id": 7.0}, ("7", 0, 1)),
        ({"batch_id": -7}, ("-7", 0, 1)),
        ({"batch_id": "b", "batch_index": "3", "batch_size": "04"}, ("b", 3, 4)),
        ({"batch_id": "b", "batch_index": 3.0, "batch_size": 4}, ("b", 3, 4)),
        ({"batch_id": "b", "batch_index": 9999, "batch_size": "1000"}, ("b", 9999, 1000)),
    ],
)
async def test_a_place_in_a_batch_may_be_written_otherwise(
    house: House, metadata: dict[str, object], place: tuple[str, int, int]
) -> None:
    job = await accepted(house, {"prompt": "p", "metadata": metadata})

    assert (job.batch_id, job.batch_index, (await house.services.gallery.get(place[0])).size) == place
    assert json.dumps(job.metadata) == json.dumps(metadata)  # to the letter: 3.0 is no 3


async def test_an_empty_batch_id_is_none(house: House) -> None:
    job = await accepted(house, {"prompt": "p", "metadata": {"batch_id": "", "batch_size": "4"}})

    assert (job.batch_id, job.metadata) == (job.id, {"batch_id": "", "batch_size": "4"})


async def test_a_batch_has_an_end(tmp_path: Path) -> None:
    house = House(tmp_path, max_queue_size=NO_LIMIT)
    # Given a batch of as many images as one may have
    for _ in range(MAX_BATCH_JOBS // 100):
        jobs = [a_job(owner="local", batch_id="b") for _ in range(100)]
        await house.store.add_all(jobs, NO_LIMIT, batch_sizes=[1] * 100)

    # Then one more is refused, and told where
    (wrong,) = await refusal(house, {"prompt": "p", "metadata": {"batch_id": "b"}})
    assert (wrong["loc"], wrong["type"]) == (["body", "metadata", "batch_id"], "batch_full")
    assert wrong["msg"] == "A batch has at most 1,000 images; begin another one."
    assert (await accepted(house, {"prompt": "p", "metadata": {"batch_id": "c"}})).batch_id == "c"


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("metadata", "place", "kind"),
    [
        ({"batch_id": "x" * 129}, ["batch_id"], "string_too_long"),
        ({"batch_id": "a\nb"}, ["batch_id"], "string_pattern_mismatch"),
        ({"batch_id": True}, ["batch_id"], "string_type"),
        ({"batch_id": 7.5}, ["batch_id"], "string_type"),
        ({"batch_id": ["b"]}, ["batch_id"], "string_type"),
        ({"batch_id": 10**128}, ["batch_id"], "string_too_long"),
        ({"batch_id": "."}, ["batch_id"], "batch_id_not_addressable"),
        ({"batch_id": ".."}, ["batch_id"], "batch_id_not_addressable"),
        ({"batch_id": "../x"}, ["batch_id"], "batch_id_not_addressable"),
        ({"batch_id": "a/./b"}, ["batch_id"], "batch_id_not_addressable"),
        ({"batch_id": "a\\.."}, ["batch_id"], "batch_id_not_addressable"),
        ({"batch_index": -1}, ["batch_index"], "greater_than_equal"),
        ({"batch_index": 10_000}, ["batch_index"], "less_than"),
        ({"batch_index": "10000"}, ["batch_index"], "less_than"),
        ({"batch_index": "first"}, ["batch_index"], "int_type"),
        ({"batch_index": "-1"}, ["batch_index"], "int_type"),
        ({"batch_index": "４"}, ["batch_index"], "int_type"),
        ({"batch_index": "0000000001"}, ["batch_index"], "int_type"),
        ({"batch_index": True}, ["batch_index"], "int_type"),
        ({"batch_size": 0}, ["batch_size"], "greater_than_equal"),
        ({"batch_size": "0"}, ["batch_size"], "greater_than_equal"),
        ({"batch_size": ""}, ["batch_size"], "int_type"),
        ({"batch_size": 1001}, ["batch_size"], "less_than_equal"),
        (nested(17), [], "metadata_too_deep"),
        ({"a": "x" * MAX_METADATA_BYTES}, [], "metadata_too_large"),
        ({"a": "\ud800"}, [], "metadata_invalid"),
        ({"a": float("nan")}, [], "metadata_invalid"),
        ({"a": [float("inf")]}, [], "metadata_invalid"),
    ],
)
async def test_refused_metadata(house: House, metadata: object, place: list[str], kind: str) -> None:
    (wrong,) = await refusal(house, {"prompt": "p", "metadata": metadata})

    assert (wrong["loc"], wrong["type"]) == (["body", "metadata", *place], kind)
    assert len(wrong["msg"]) < 200


@pytest.mark.parametrize("metadata", [nested(16), {"a": "x" * (MAX_METADATA_BYTES - len('{"a": ""}'))}])
async def test_metadata_at_its_limits_is_taken(house: House, metadata: object) -> None:
    assert (await accepted(house, {"prompt": "p", "metadata": metadata})).metadata == metadata


async def test_a_full_queue(tmp_path: Path) -> None:
    # Given a queue of one, taken
    house = House(tmp_path, max_queue_size=1)
    await accepted(house, {"prompt": "p"})

    answer = await post(house, {"prompt": "p"})

    assert (answer.status_code, answer.json()) == (503, {"detail": "The queue is full; try again later"})
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_task_may_come_before_the_model_is_loaded(tmp_path: Path) -> None:
    house = House(tmp_path, state=WorkerState.STARTING)

    answer = await post(house, {"prompt": "p"})

    assert answer.status_code == 200
    assert (await house.store.get(job_id(answer.json()["task_id"]))).state is JobState.PENDING


async def test_no_model(tmp_path: Path) -> None:
    answer = await post(House(tmp_path, state=WorkerState.BROKEN), {"prompt": "p"})

    assert (answer.status_code, answer.json()) == (
        503,
        {"detail": "The model is not loaded yet; try again in a moment"},
    )


async def test_a_server_that_is_shutting_down(house: House) -> None:
    house.studio.stop_accepting()

    answer = await post(house, {"prompt": "p"})

    assert (answer.status_code, answer.json()) == (503, {"detail": "The server is shutting down; try again later"})
