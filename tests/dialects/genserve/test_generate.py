"""`POST /generate` and `POST /generate/img2img`, field by field and mode by mode."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from danqing.core.errors import ArtifactNotFound, OutOfMemory
from danqing.core.states import JobState
from danqing.core.studio import Order
from danqing.core.types import DeviceStatus, Job, Mode, RequestDraft, WorkerState
from danqing.dialects.genserve.dialect import genserve
from danqing.http.keys import Keys
from tests.dialects.genserve.parts import MODES, RED, a_house, a_model, a_picture, painted, text_of
from tests.dialects.genserve.seed_document import example, table
from tests.dialects.house import House

RESULT = example("#### 响应格式")
JSON_WAY, FORM_WAY = "### 1. 生成图片 (JSON方式)", "### 2. 生成图片 (Form-data方式)"
INVALID = "参数验证失败"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path)


async def post(house: House, body: object, *, status: int = 200, **headers: str) -> dict[str, Any]:
    """The answer to a JSON body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate", content=content, headers={"Content-Type": "application/json"} | headers)
    assert answer.status_code == status, answer.text
    return checked(answer.json(), status)


async def post_form(house: House, fields: dict[str, Any], *, status: int = 200, **files: Any) -> dict[str, Any]:  # noqa: ANN401
    """The answer to a form. files: content, or (name, content), or a list of these."""
    parts = [
        (name, one if isinstance(one, tuple) else (f"{name}.png", one))
        for name, given in files.items()
        for one in (given if isinstance(given, list) else [given])
    ]
    # A field without a file name is no file, so that forms without files are multipart, too.
    texts = [
        (name, (None, one)) for name, text in fields.items() for one in (text if isinstance(text, list) else [text])
    ]
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate/img2img", files=[*texts, *parts])
    assert answer.status_code == status, answer.text
    return checked(answer.json(), status)


def checked(answer: dict[str, Any], status: int) -> dict[str, Any]:
    """Every answer has exactly the documented keys, in their order."""
    assert list(answer) == list(RESULT)
    uuid.UUID(answer["task_id"])
    assert answer["success"] == (status == 200)
    assert (answer["image_base64"] is None) == (status != 200)
    assert (answer["error"] is None) == (status == 200)
    if status != 200:
        assert (answer["elapsed_time"], answer["gpu_id"]) == (0.0, None)
    return answer


async def made(house: House, body: dict[str, Any]) -> Job:
    return await house.studio.get((await post(house, body))["task_id"])


def staged_files(house: House) -> list[Path]:
    return list(house.artifacts.staging().iterdir())


async def test_the_documented_request(house: House) -> None:
    body = example(JSON_WAY, "#### 请求示例") | {"input_image": text_of(a_picture())}

    answer = await post(house, body)

    # Then nothing of it is lost
    request = (await house.studio.get(answer["task_id"])).request
    assert (request.prompt, request.mode, request.strength) == (body["prompt"], Mode.IMG2IMG, 0.7)
    assert (request.height, request.width, request.num_inference_steps) == (1024, 1024, 50)
    assert (request.guidance_scale, request.seed, len(request.input_images)) == (3.5, 42, 1)
    assert painted(answer).size == (1024, 1024)


@pytest.mark.parametrize("way", [JSON_WAY, FORM_WAY])
async def test_the_documented_defaults(house: House, way: str) -> None:
    # Given every default of the document's table
    documented = {name: default for name, _, required, default, _ in table(way, "#### 请求参数") if required != "✅"}
    defaults = {name: json.loads(text) for name, text in documented.items()}
    assert set(defaults) | {"prompt"} == {row[0] for row in table(way, "#### 请求参数")}

    # When only a prompt is given
    answer = await (post if way == JSON_WAY else post_form)(house, {"prompt": "p"})

    # Then they are what is made
    job = await house.studio.get(answer["task_id"])
    request = job.request
    assert (answer["model_id"], answer["mode"]) == (defaults["model_id"], defaults["mode"])
    assert {
        "model_id": "flux1-dev",
        "mode": str(request.mode),
        "height": request.height,
        "width": request.width,
        "num_inference_steps": request.num_inference_steps,
        "cfg": request.guidance_scale,
        "seed": request.seed,
        "priority": job.priority,
        "strength": 0.8,
        "input_image": None,
        "mask_image": None,
        "control_image": None,
    } == defaults


async def test_the_default_strength_is_that_of_img2img(house: House) -> None:
    image, mask = text_of(a_picture()), text_of(a_picture(colour=(255, 255, 255)))

    begun = await made(house, {"prompt": "p", "mode": "img2img", "input_image": image})
    filled = await made(house, {"prompt": "p", "mode": "fill", "input_image": image, "mask_image": mask})

    assert (begun.request.strength, filled.request.strength) == (0.8, 1.0)


async def test_null_and_the_empty_picture_are_not_given(house: House) -> None:
    names = [name for name, *_ in table(JSON_WAY, "#### 请求参数") if name != "prompt"]

    job = await made(house, {"prompt": "p"} | dict.fromkeys(names))
    empty = await made(house, {"prompt": "p", "input_image": "", "mask_image": "", "control_image": ""})

    assert job.request == empty.request == (await made(house, {"prompt": "p"})).request


async def test_all_that_is_asked_for_is_made(house: House) -> None:
    job = await made(
        house,
        {
            "prompt": "一只猫 🐈",
            "model_id": "tiny",
            "height": 512,
            "width": 768,
            "num_inference_steps": 7,
            "cfg": 2,
            "seed": 2**63 - 1,
            "priority": -5,
        },
    )

    request = job.request
    assert (request.prompt, request.model, request.height, request.width) == ("一只猫 🐈", "tiny", 512, 768)
    assert (request.num_inference_steps, request.guidance_scale, request.seed) == (7, 2.0, 2**63 - 1)
    assert job.priority == -5


async def test_the_answer_names_the_model_as_the_client_did_and_the_device(tmp_path: Path) -> None:
    house = a_house(tmp_path, device=DeviceStatus(id="cuda:0", name="a GPU", kind="cuda"))

    first, second = await post(house, {"prompt": "p"}), await post(house, {"prompt": "p", "model_id": "tiny"})

    assert (first["model_id"], second["model_id"]) == ("flux1-dev", "tiny")
    assert first["gpu_id"] == "cuda:0"
    assert first["elapsed_time"] >= 0


async def test_a_server_that_does_not_know_the_default_model_uses_its_own(tmp_path: Path) -> None:
    house = a_house(tmp_path, aliases=None)

    assert (await made(house, {"prompt": "p"})).request.model == "tiny"
    refused = await post(house, {"prompt": "p", "model_id": "flux1-dev"}, status=400)
    assert "flux1-dev" in refused["error"]


async def test_a_model_without_guidance_takes_the_default_cfg_and_no_other(tmp_path: Path) -> None:
    house = a_house(tmp_path, card=a_model(guidance=False))

    for cfg in ({}, {"cfg": 3.5}, {"cfg": 0}):
        assert (await made(house, {"prompt": "p", **cfg})).request.guidance_scale == 0

    refused = await post(house, {"prompt": "p", "cfg": 7.5}, status=400)
    assert refused["error"] == f"{INVALID}: Not supported: cfg other than 0 by model tiny."


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("way", ["base64", "data URL", "form"])
async def test_img2img_begins_with_the_picture_at_the_output_size(house: House, way: str, file_format: str) -> None:
    # Given a picture of another size than is asked for
    picture = a_picture((60, 80), file_format=file_format)
    fields = {"prompt": "p", "mode": "img2img", "width": "256", "height": "192", "strength": "0.25"}
    numbers = {"width": 256, "height": 192, "strength": 0.25}

    if way == "form":
        answer = await post_form(house, fields, input_image=picture)
    else:
        prefix = f"data:image/{file_format.lower()};base64," if way == "data URL" else ""
        answer = await post(house, fields | numbers | {"input_image": prefix + text_of(picture)})

    image = painted(answer)
    assert image.size == (256, 192)
    assert all(abs(found - sent) < 8 for found, sent in zip(image.tobytes(), RED, strict=False))  # the first pixel
    assert (await house.studio.get(answer["task_id"])).request.strength == 0.25
    assert answer["mode"] == "img2img"
    assert staged_files(house) == []


async def test_fill_has_its_mask(house: House) -> None:
    answer = await post_form(
        house, {"prompt": "p", "mode": "fill"}, input_image=a_picture(), mask_image=a_picture(colour=(255, 255, 255))
    )

    request = (await house.studio.get(answer["task_id"])).request
    assert (request.mode, request.mask is not None) == (Mode.FILL, True)


async def test_controlnet_where_the_model_can(tmp_path: Path) -> None:
    house = a_house(tmp_path, card=a_model(MODES | {Mode.CONTROLNET}))

    answer = await post_form(
        house,
        {"prompt": "p", "mode": "controlnet"},
        input_image=a_picture(),
        control_image=a_picture((32, 32)),  # its size is free
    )

    request = (await house.studio.get(answer["task_id"])).request
    assert (request.mode, request.control_image is not None) == (Mode.CONTROLNET, True)


@pytest.mark.parametrize("files", [[], ["input_image"], ["input_image", "control_image"]])
async def test_controlnet_where_the_model_cannot(house: House, files: list[str]) -> None:
    sent = {name: a_picture() for name in files}

    answer = await post_form(house, {"prompt": "p", "mode": "controlnet"}, status=400, **sent)

    assert "Not supported: controlnet by model tiny." in answer["error"]
    assert answer["mode"] == "controlnet"
    assert staged_files(house) == []


# Mode, what is sent, what the answer says.
WRONG_PICTURES = [
    ("img2img", [], "input_image is required for mode img2img."),
    ("fill", ["input_image"], "mask_image is required for mode fill."),
    ("fill", ["mask_image"], "input_image is required for mode fill."),
    ("text2img", ["input_image"], "text2img takes no input image; choose another mode."),
    ("img2img", ["input_image", "mask_image"], "mask_image has no meaning for mode img2img."),
    ("fill", ["input_image", "mask_image", "control_image"], "control_image has no meaning for mode fill."),
]


@pytest.mark.parametrize(("mode", "names", "message"), WRONG_PICTURES)
@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_each_mode_has_the_pictures_that_it_needs_and_no_others(
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

    assert answer["error"] == f"{INVALID}: Content-Type must be application/json."


# Fields of a form and what the answer says.
WRONG_FORM_FIELDS = [
    ({"prompt": ""}, "prompt is required."),
    ({"height": "512.0"}, "height must be an integer."),
    ({"height": " 512"}, "height must be an integer."),
    ({"height": "0x200"}, "height must be an integer."),
    ({"width": "１２８"}, "width must be an integer."),
    ({"seed": "1_000"}, "seed must be an integer."),
    ({"seed": "9" * 5000}, "seed must be an integer."),
    ({"seed": str(2**63)}, "seed must be between 0 and 9223372036854775807."),
    ({"cfg": "nan"}, "cfg must be a number."),
    ({"cfg": "1e999"}, "cfg must be a finite number."),
    ({"strength": "high"}, "strength must be a number."),
    ({"strength": "2"}, "strength must be between 0 and 1."),
    ({"mode": "bogus"}, "mode must be one of text2img, img2img, fill, controlnet."),
    ({"prompt": ["a", "b"]}, "prompt is given more than once."),
    ({"input_image": "iVBORw0KGgo="}, "input_image must be an uploaded file; base64 goes to /generate."),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_FORM_FIELDS)
async def test_a_wrong_field_of_a_form_is_named(house: House, changes: dict[str, Any], message: str) -> None:
    answer = await post_form(house, {"prompt": "p", "model_id": "tiny"} | changes, status=400)

    assert answer["error"] == f"{INVALID}: {message}"


async def test_a_refused_form_is_told_its_model_and_mode(house: House) -> None:
    answer = await post_form(house, {"prompt": "p", "model_id": "mine", "mode": "bogus"}, status=400)

    assert (answer["model_id"], answer["mode"]) == ("mine", "bogus")


async def test_numbers_of_a_form_and_empty_fields(house: House) -> None:
    answer = await post_form(
        house,
        {
            "prompt": "p",
            "seed": "7",
            "cfg": "2.5e0",
            "width": "",
            "height": "",
            "mode": "",
            "model_id": "",
            "strength": "",
            "input_image": "",
        },
        mask_image=("", b""),
    )

    request = (await house.studio.get(answer["task_id"])).request
    assert (request.seed, request.guidance_scale, request.width, request.height) == (7, 2.5, 1024, 1024)
    assert request.mode is Mode.TEXT2IMG
    assert answer["model_id"] == "flux1-dev"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"prompt": b"a file"}, "prompt must be text, not a file."),
        ({"input_image": b""}, "input_image is an empty file."),
        ({"input_image": [a_picture(), a_picture()]}, "input_image is given more than once."),
        ({f"more_{number}": b"x" for number in range(4)}, "The form cannot be read. It may have 3 files and"),
    ],
)
async def test_files_that_are_out_of_place(house: House, files: dict[str, Any], message: str) -> None:
    fields = {} if "prompt" in files else {"prompt": "p"}

    answer = await post_form(house, fields | {"mode": "img2img"}, status=400, **files)

    assert answer["error"].startswith(f"{INVALID}: {message}")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", "application/json"),
        (b"no parts", "multipart/form-data"),
        (b"no parts", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"", ""),
    ],
)
async def test_a_form_that_is_none(house: House, content: bytes, kind: str) -> None:
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate/img2img", content=content, headers={"Content-Type": kind})

    assert answer.status_code == 400
    assert checked(answer.json(), 400)["error"].startswith(INVALID)


async def test_a_form_without_files_may_be_urlencoded(house: House) -> None:
    async with house.client(genserve(), alone=True) as client:
        answer = await client.post("/generate/img2img", data={"prompt": "一只猫", "seed": "3"})

    assert (await house.studio.get(answer.json()["task_id"])).request.prompt == "一只猫"


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
    def gone(*_: object) -> Path:
        raise ArtifactNotFound

    monkeypatch.setattr(house.artifacts, "path", gone)

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
