"""What cannot be made is refused with the reason, in the documented body."""

from pathlib import Path
from typing import Any

import pytest

from danqing.core.errors import ArtifactNotFound, OutOfMemory
from danqing.core.orders import Order
from danqing.core.states import JobState
from danqing.core.types import RequestDraft, WorkerState
from danqing.dialects.genserve.dialect import genserve
from danqing.http.keys import Keys
from tests.dialects.genserve.asking import INVALID, checked, post, post_form, staged_files
from tests.dialects.genserve.parts import a_house, a_picture, text_of
from tests.dialects.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path)


# Mode, what is sent, what the answer says.
WRONG_PICTURES = [
    ("img2img", [], "input_image is required for mode img2img."),
    ("fill", ["input_image"], "mask_image is required for mode fill."),
    ("fill", ["mask_image"], "input_image is required for mode fill."),
]


@pytest.mark.parametrize(("mode", "names", "message"), WRONG_PICTURES)
@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_each_mode_has_the_pictures_that_it_needs(
    house: House, mode: str, names: list[str], message: str, way: str
) -> None:
    fields = {"prompt": "p", "mode": mode, "model_id": "tiny"}
    if way == "JSON":
        answer = await post(house, fields | {name: text_of(a_picture()) for name in names}, status=400)
    else:
        answer = await post_form(house, fields, status=400, **{name: a_picture() for name in names})

    assert answer["error"] == f"{INVALID}: {message}"
    assert (answer["model_id"], answer["mode"]) == ("tiny", mode)
    assert staged_files(house) == []


async def test_a_mask_of_another_size_than_its_image_is_refused(house: House) -> None:
    answer = await post_form(
        house,
        {"prompt": "p", "mode": "fill"},
        status=400,
        input_image=a_picture((64, 48)),
        mask_image=a_picture((48, 64)),
    )

    assert "48x64" in answer["error"]
    assert "64x48" in answer["error"]
    assert staged_files(house) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not base64!", "input_image is not valid base64."),
        ("data:image/png,abc", "input_image is a data URL that is not base64."),
        (text_of(b"GIF89a" + bytes(40)), "input_image is not a PNG, JPEG or WebP image."),
        (text_of(a_picture()[:-30]), "input_image is not a PNG, JPEG or WebP image."),
    ],
)
async def test_what_is_no_picture_is_refused(house: House, text: str, message: str) -> None:
    answer = await post(house, {"prompt": "p", "mode": "img2img", "input_image": text}, status=400)

    assert answer["error"] == f"{INVALID}: {message}"
    assert staged_files(house) == []


async def test_the_second_picture_being_none_leaves_nothing_of_the_first(house: House) -> None:
    await post_form(
        house, {"prompt": "p", "mode": "fill"}, status=400, input_image=a_picture(), mask_image=b"nothing at all"
    )

    assert staged_files(house) == []


# What is changed in a good body, and what the answer says.
WRONG_FIELDS = [
    ({"prompt": None}, "prompt is required."),
    ({"prompt": ""}, "prompt is required and must not be empty."),
    ({"prompt": " \n"}, "prompt is required and must not be empty."),
    ({"prompt": 5}, "prompt must be a string."),
    ({"prompt": "\ud83d"}, "prompt is not valid Unicode text."),
    ({"prompt": "x" * 101}, "prompt must have at most 100 characters."),
    ({"mode": "edit"}, "mode must be one of text2img, img2img, fill, controlnet."),
    ({"mode": 1}, "mode must be one of text2img, img2img, fill, controlnet."),
    ({"model_id": "no-such-model"}, "No such model: no-such-model."),
    ({"model_id": 7}, "model_id must be a string."),
    ({"height": "512"}, "height must be an integer."),
    ({"height": 512.5}, "height must be an integer."),
    ({"width": True}, "width must be an integer."),
    ({"height": 63}, "height must be between 64 and 2048."),
    ({"width": 2049}, "width must be between 64 and 2048."),
    ({"num_inference_steps": 0}, "num_inference_steps must be between 1 and 50."),
    ({"num_inference_steps": 51}, "num_inference_steps must be between 1 and 50."),
    ({"cfg": -0.5}, "cfg must be between 0 and 100."),
    ({"cfg": 100.5}, "cfg must be between 0 and 100."),
    ({"cfg": "high"}, "cfg must be a number."),
    ({"seed": -1}, "seed must be between 0 and 9223372036854775807."),
    ({"seed": 2**63}, "seed must be between 0 and 9223372036854775807."),
    ({"priority": 2**31}, "priority must be between -2147483648 and 2147483647."),
    ({"priority": -(2**31) - 1}, "priority must be between -2147483648 and 2147483647."),
    ({"strength": 1.1}, "strength must be between 0 and 1."),
    ({"strength": -0.1}, "strength must be between 0 and 1."),
    ({"input_image": 12}, "input_image must be a string."),
    ({"control_preprocess": "depth"}, "control_preprocess must be canny."),
    ({"control_preprocess": "canny"}, "control_preprocess has no meaning for mode text2img."),
    ({"controlnet_conditioning_scale": 2.1}, "controlnet_conditioning_scale must be between 0 and 2."),
    ({"controlnet_conditioning_scale": -0.1}, "controlnet_conditioning_scale must be between 0 and 2."),
    ({"controlnet_conditioning_scale": 1}, "controlnet_conditioning_scale has no meaning for mode text2img."),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_FIELDS)
async def test_a_wrong_field_is_named(house: House, changes: dict[str, Any], message: str) -> None:
    answer = await post(house, {"prompt": "p"} | changes, status=400)

    assert answer["error"] == f"{INVALID}: {message}"
    assert (await house.studio.queue_status()).total == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not valid JSON."),
        (b'{"prompt": "\xff"}', "the body is not valid JSON."),
        (b"[]", "the body must be a JSON object."),
        (b'"prompt"', "the body must be a JSON object."),
        (b"{}", "prompt is required."),
        (b"", "the body must be a JSON object."),
        (b'{"prompt": "p", "cfg": NaN}', "cfg must be a finite number."),
        (b'{"prompt": "p", "seed": ' + b"9" * 5000 + b"}", "the body is not valid JSON."),
        (b"[" * 100_000, "the body is not valid JSON."),
    ],
)
async def test_a_wrong_body_is_explained(house: House, body: bytes, message: str) -> None:
    assert (await post(house, body, status=400))["error"] == f"{INVALID}: {message}"


async def test_a_body_that_does_not_say_that_it_is_json(house: House) -> None:
    answer = await post(house, b'{"prompt": "p"}', status=400, **{"Content-Type": "text/plain"})

    assert answer["error"] == f"{INVALID}: Content-Type must be application/json; forms go to /generate/img2img."


async def test_a_form_for_the_other_address_is_told_so(house: House) -> None:
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate", data={"prompt": "p"}, files={"input_image": a_picture()})

    assert answer.status_code == 400
    assert answer.json()["error"] == f"{INVALID}: Content-Type must be application/json; forms go to /generate/img2img."


@pytest.mark.parametrize("origin", [None, "http://danqing.test", "https://elsewhere.example", "null"])
async def test_json_of_which_no_type_is_said_is_read_unless_a_strange_page_sends_it(
    house: House, origin: str | None
) -> None:
    async with house.client(genserve(), alone=True) as client:
        headers = {"Origin": origin} if origin else {}
        answer = await client.post("/generate", content=b'{"prompt": "p"}', headers=headers)

    assert "content-type" not in answer.request.headers
    assert answer.status_code == (200 if origin in (None, "http://danqing.test") else 403)


async def test_a_job_that_fails_says_why(house: House) -> None:
    house.painter.failure = OutOfMemory("secret of a library")

    answer = await post(house, {"prompt": "p"}, status=500)

    assert answer["error"].startswith("内部服务器错误: GPU memory is not enough")
    job = await house.studio.get(answer["task_id"])
    assert job.state is JobState.FAILED


async def test_a_server_that_is_not_ready_takes_nothing(tmp_path: Path) -> None:
    house = a_house(tmp_path, state=WorkerState.STARTING)

    async with house.client(genserve(), alone=True) as client:
        answer = await client.post(
            "/generate/img2img", data={"prompt": "p", "mode": "img2img"}, files={"input_image": a_picture()}
        )

    assert answer.status_code == 503
    assert checked(answer.json(), 503)["error"].startswith("服务未就绪: ")
    assert int(answer.headers["Retry-After"]) > 0
    assert staged_files(house) == []


async def test_a_full_queue_takes_nothing(tmp_path: Path) -> None:
    house = a_house(tmp_path, automatic=False, max_queue_size=1)
    await house.studio.submit(Order(draft=RequestDraft(prompt="p")))

    assert "full" in (await post(house, {"prompt": "p"}, status=503))["error"]


async def test_a_picture_that_is_gone_is_404(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> Path:
        raise ArtifactNotFound

    monkeypatch.setattr(house.artifacts, "open", gone)

    assert (await post(house, {"prompt": "p"}, status=404))["error"].startswith("资源不存在")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/generate", 405),
        ("GET", "/generate/txt2img", 404),
        ("POST", "/status", 405),
        ("DELETE", "/models", 405),
        ("GET", "/models/flux1-dev", 404),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
async def test_other_paths_and_methods(house: House, method: str, path: str, status: int, alone: bool) -> None:
    async with house.client(genserve(), alone=alone) as client:
        answer = await client.request(method, path)

    assert answer.status_code == status
    checked(answer.json(), status)


async def test_a_key_is_needed_where_keys_are_on(tmp_path: Path) -> None:
    house = a_house(tmp_path, keys=Keys(enabled=True, ordinary=frozenset({"sesame"}), admin=None))

    async with house.client(genserve()) as client:
        for path in ("/status", "/models"):
            assert checked((await client.get(path)).json(), 401)["error"].startswith("未授权")
        assert (await client.post("/generate", json={"prompt": "p"})).status_code == 401
        answer = await client.post("/generate", json={"prompt": "p"}, headers={"Authorization": "Bearer sesame"})

    assert answer.status_code == 200
    assert (await house.studio.get(answer.json()["task_id"])).owner != "local"


async def test_status_and_models_over_http(house: House) -> None:
    async with house.client(genserve()) as client:
        status, models = (await client.get("/status")).json(), (await client.get("/models")).json()

    assert status["concurrent_manager"]["alive_processes"] == 1
    assert [entry["model_id"] for entry in models] == ["flux1-dev", "tiny"]
