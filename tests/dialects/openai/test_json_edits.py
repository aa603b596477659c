"""`POST /v1/images/edits` as OpenAI's JSON: pictures as data URLs, of which one picture is made."""

import base64
from pathlib import Path
from typing import Any

import pytest

from danqing.core.types import GenerationRequest, Lora, Mode
from danqing.http import json_pictures
from tests.dialects.house import House
from tests.dialects.openai.parts import GREEN, colour_of, editing_house, mask, opened, png, talking


def url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def referred(*contents: bytes) -> list[dict[str, str]]:
    return [{"image_url": url(content)} for content in contents]


async def post(house: House, body: object) -> Any:  # noqa: ANN401 - JSON
    async with talking(house) as client:
        answer = await client.post("/v1/images/edits", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def requests_of(house: House) -> list[GenerationRequest]:
    batches = await house.services.gallery.newest(limit=100)
    return [job.request for batch in reversed(batches) for job in batch.jobs]


def staged_files(house: House) -> list[Path]:
    return [path for path in house.artifacts.staging().iterdir() if path.is_file()]


async def test_one_picture_is_made_out_of_all(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    answer = await post(house, {"prompt": "p", "images": referred(png(GREEN), png()), "n": 2, "seed": 5})

    assert [colour_of(opened(datum))[1] > 120 for datum in answer["data"]] == [True, True]
    assert answer["usage"]["input_images"] == 2
    requests = await requests_of(house)
    assert [(r.mode, r.seed, len(r.input_images), r.num_inference_steps) for r in requests] == [
        (Mode.EDIT, 5, 2, 9),
        (Mode.EDIT, 6, 2, 9),
    ]
    assert staged_files(house) == []


async def test_a_mask_belongs_to_the_first(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    await post(house, {"mask": {"image_url": url(mask())}, "images": referred(png(), png(GREEN)), "prompt": "p"})
    (request,) = await requests_of(house)
    assert request.mask is not None


async def test_the_parameters_are_those_of_a_form(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    async with talking(house) as client:
        answer = await client.post(
            "/v1/images/edits",
            json={"prompt": "p", "images": referred(png()), "strength": 0.5, "image": "x", "tags": ["a"], "loras": []},
        )
    assert answer.status_code == 200, answer.text
    assert set(answer.headers["x-danqing-warning"].split("; ")) == {
        "image ignored: unknown parameter",
        "tags ignored: unknown parameter",
    }
    (request,) = await requests_of(house)
    assert (request.strength, request.loras) == (0.5, ())


async def test_a_repetition_with_its_key_is_answered_with_the_same_jobs(tmp_path: Path) -> None:
    house, body = (
        editing_house(tmp_path),
        {"prompt": "p", "images": referred(png()), "mask": {"image_url": url(mask())}},
    )
    async with talking(house) as client:
        keyed = {"Idempotency-Key": "once"}
        answers = [await client.post("/v1/images/edits", json=body, headers=keyed) for _ in range(2)]
        other = body | {"images": referred(png(GREEN))}
        refused = await client.post("/v1/images/edits", json=other, headers=keyed)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["data"] == answers[1].json()["data"]
    assert refused.status_code == 422
    assert len(await requests_of(house)) == 1


@pytest.mark.parametrize(
    "more", [{"metadata": {"image_url": "https://a.example/a.png"}}, {"shown": [{"image_url": url(png(GREEN))}]}]
)
async def test_an_address_elsewhere_in_the_body_makes_no_other_request_of_it(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    house, body = editing_house(tmp_path), {"prompt": "p", "images": referred(png())} | more
    async with talking(house) as client:
        keyed = {"Idempotency-Key": "once"}
        answers = [await client.post("/v1/images/edits", json=body, headers=keyed) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    assert len(await requests_of(house)) == 1


async def test_loras_are_a_list(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    async with talking(house) as client:
        body = {"prompt": "p", "images": referred(png()), "loras": [{"name": "ink", "scale": 0.5}]}
        answer = await client.post("/v1/images/edits", json=body)
    assert "LoRA ink" in answer.json()["error"]["message"]
    assert Lora(name="ink", scale=0.5) not in [lora for r in await requests_of(house) for lora in r.loras]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"images": []}, "images", "Image is required"),
        ({"images": "x"}, "images", "images must be a list."),
        ({"images": [{}]}, "images[0].image_url", "images[0].image_url is required."),
        ({"images": [{"image_url": ""}]}, "images[0].image_url", "images[0].image_url is required."),
        ({"images": [{"image_url": 5}]}, "images", "images[0]: image_url must be a string."),
        ({"images": [{"url": "x"}]}, "images", "images[0]: url is not known."),
        (
            {"images": [{"image_url": "https://example.com/cat.png"}]},
            "images[0].image_url",
            "images[0].image_url must be a data URL with base64; pictures are not fetched from elsewhere.",
        ),
        (
            {"images": [{"image_url": url(png())}, {"image_url": "data:image/png;base64,****"}]},
            "images[1].image_url",
            "images[1].image_url is not valid base64.",
        ),
        (
            {"images": [{"file_id": "file-1"}]},
            "images[0].file_id",
            "Not supported: images[0].file_id; no files are kept here, send a data URL in image_url.",
        ),
        ({"images": [{"image_url": url(png())}] * 17}, "images", "images must have at most 16 entries."),
        ({"images": [{"image_url": url(png())}] * 35}, None, "the body has more than 34 pictures."),
        ({"images": [{"image_url": url(png())}], "mask": {}}, "mask.image_url", "mask.image_url is required."),
        ({"images": [{"image_url": url(png())}], "mask": {"image_url": url(png())}}, "mask", None),
        ({"images": [{"image_url": url(png())}], "n": 11}, "n", "n must be at most 10."),
        ({"images": [{"image_url": url(png())}], "prompt": " "}, "prompt", "Prompt is required"),
        ({"images": [{"image_url": url(png())}], "background": "transparent"}, "background", None),
    ],
)
async def test_what_is_wrong_is_told(
    tmp_path: Path, body: dict[str, Any], param: str | None, message: str | None
) -> None:
    house = editing_house(tmp_path)
    async with talking(house) as client:
        answer = await client.post("/v1/images/edits", json={"prompt": "p", **body})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert message is None or error["message"] == message
    assert await requests_of(house) == []
    assert staged_files(house) == []


async def test_a_picture_that_was_not_one_is_told(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        body = {"prompt": "p", "images": referred(png(), b"no picture at all")}
        answer = await client.post("/v1/images/edits", json=body)
    assert answer.json()["error"]["param"] == "images[1].image_url"


async def test_pictures_are_never_in_the_text_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pictures, "MAX_REST_CHARS", 2048)
    noisy = png(size=(96, 64)) + bytes(range(256)) * 64  # behind the picture's end, which decoders pass over
    answer = await post(editing_house(tmp_path), {"prompt": "p", "images": referred(noisy), "size": "64x64"})
    assert len(answer["data"]) == 1
