"""What is asked for is made, field by field and mode by mode."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from danqing.core.capabilities import Companion
from danqing.core.images import ref_of
from danqing.core.types import DeviceStatus, Mode
from danqing.dialects.genserve.dialect import genserve
from danqing.engine.input_pictures import shown_input
from tests.dialects.genserve.asking import INVALID, made, post, post_form, staged_files
from tests.dialects.genserve.parts import MODES, RED, a_house, a_model, a_picture, painted, text_of
from tests.dialects.genserve.seed_document import example, table
from tests.dialects.house import House

JSON_WAY, FORM_WAY = "### 1. 生成图片 (JSON方式)", "### 2. 生成图片 (Form-data方式)"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path)


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


# Mode, what is sent, what of it is not used.
UNUSED_PICTURES = [
    (None, ["input_image"], ["input_image"]),
    ("img2img", ["input_image", "mask_image"], ["mask_image"]),
    ("fill", ["input_image", "mask_image", "control_image"], ["control_image"]),
]


@pytest.mark.parametrize(("mode", "names", "unused"), UNUSED_PICTURES)
@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_a_picture_that_the_mode_does_not_use_is_ignored_with_a_warning(
    house: House, mode: str | None, names: list[str], unused: list[str], way: str
) -> None:
    fields = {"prompt": "p"} | ({"mode": mode} if mode else {})
    async with house.client(genserve(), alone=True) as client:
        if way == "JSON":
            pictures = {name: text_of(a_picture()) for name in names}
            answer = await client.post("/generate", json=fields | pictures)
        else:
            files = {name: a_picture() for name in names}
            answer = await client.post("/generate/img2img", data=fields, files=files)

    request = (await house.studio.get(answer.json()["task_id"])).request
    used = (request.input_images, request.mask, request.control_image)
    assert (answer.status_code, answer.json()["mode"]) == (200, mode or "text2img")
    assert sum(1 for picture in used if picture) == len(names) - len(unused)
    for name in names:
        assert (f"{name} ignored" in answer.headers.get("X-Danqing-Warning", "")) == (name in unused)
    assert staged_files(house) == []


async def test_whole_numbers_of_json(house: House) -> None:
    request = (await made(house, {"prompt": "p", "height": 512.0, "seed": 7.0})).request

    assert (request.height, request.seed) == (512, 7)


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


async def test_an_empty_text_is_not_given_either(house: House) -> None:
    empty = await made(house, {"prompt": "p", "model_id": "", "mode": "", "control_preprocess": ""})

    assert empty.request == (await made(house, {"prompt": "p"})).request


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


def strokes(mode: str) -> Image.Image:
    """A canvas that is transparent but for white strokes over its left half."""
    canvas = Image.new("LA", (64, 48), (255, 0))
    canvas.paste((255, 255), (0, 0, 32, 48))
    return canvas.convert(mode)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "tRNS"])
@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_white_of_a_mask_is_filled_and_what_is_transparent_stays(house: House, way: str, kind: str) -> None:
    # Given white strokes on a transparent canvas; or, with a colour for transparent, on black
    file = io.BytesIO()
    if kind == "tRNS":
        canvas = Image.new("L", (64, 48), 0)
        canvas.paste(255, (0, 0, 32, 48))
        canvas.save(file, "PNG", transparency=0)
    else:
        strokes(kind).save(file, "PNG")
    fields, numbers = {"prompt": "p", "mode": "fill"}, {"width": 128, "height": 96}
    pictures: dict[str, Any] = {"input_image": a_picture(), "mask_image": file.getvalue()}

    if way == "JSON":
        answer = await post(house, fields | numbers | {name: text_of(content) for name, content in pictures.items()})
    else:
        answer = await post_form(house, fields | {name: str(side) for name, side in numbers.items()}, **pictures)

    # Then the strokes are what is made anew
    request = (await house.studio.get(answer["task_id"])).request
    shown = shown_input(request, (64, 48), read_image=lambda ref: house.artifacts.read(ref.name))
    assert shown is not None and shown.mask is not None
    assert (shown.mask[:, :32] == 255).all() and (shown.mask[:, 32:] == 0).all()


async def test_a_file_that_means_another_mask_elsewhere_is_another_request(house: House) -> None:
    # Given a picture of which OpenAI's API makes anew what is transparent
    file = io.BytesIO()
    strokes("RGBA").save(file, "PNG")
    by_alpha = await house.services.intake.stage(file.getvalue(), parameter="mask")

    job = await made(
        house,
        {"prompt": "p", "mode": "fill", "input_image": text_of(a_picture()), "mask_image": text_of(file.getvalue())},
    )

    assert by_alpha.has_alpha and job.request.mask is not None
    assert job.request.mask.name != ref_of(by_alpha).name


async def test_weights_of_a_mode_have_their_own_guidance_unless_the_client_says_one(tmp_path: Path) -> None:
    fill = Companion(mode=Mode.FILL, source="somewhere", guidance_scale=30.0)
    house = a_house(tmp_path, card=replace(a_model(), companions=(fill,)))
    asked = {"prompt": "p", "mode": "fill", "input_image": text_of(a_picture()), "mask_image": text_of(a_picture())}

    for said, guidance in (({}, 30.0), ({"cfg": None}, 30.0), ({"cfg": 3.5}, 3.5)):
        assert (await made(house, {**asked, **said})).request.guidance_scale == guidance
    assert (await made(house, {"prompt": "p"})).request.guidance_scale == 3.5


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
    # And without a word of it, nothing of the input shows, the map is used as it is, and the model says how strongly
    assert (request.strength, request.control_preprocess, request.controlnet_conditioning_scale) == (1.0, None, None)


@pytest.mark.parametrize("way", ["JSON", "form"])
async def test_a_photo_to_be_controlled_by_and_how_strongly(tmp_path: Path, way: str) -> None:
    house = a_house(tmp_path, card=a_model(MODES | {Mode.CONTROLNET}))
    fields = {"prompt": "p", "mode": "controlnet", "control_preprocess": "canny"}
    numbers = {"strength": 0.6, "controlnet_conditioning_scale": 1.25}
    pictures: dict[str, Any] = {name: a_picture() for name in ("input_image", "control_image")}

    if way == "form":
        answer = await post_form(house, fields | {name: str(number) for name, number in numbers.items()}, **pictures)
    else:
        texts = {name: text_of(picture) for name, picture in pictures.items()}
        answer = await post(house, fields | numbers | texts)

    request = (await house.studio.get(answer["task_id"])).request
    assert (request.strength, request.control_preprocess, request.controlnet_conditioning_scale) == (0.6, "canny", 1.25)


@pytest.mark.parametrize("missing", ["prompt", "input_image", "control_image"])
async def test_controlnet_needs_all_that_the_document_says(tmp_path: Path, missing: str) -> None:
    house = a_house(tmp_path, card=a_model(MODES | {Mode.CONTROLNET}))
    sent = {name: a_picture() for name in ("input_image", "control_image") if name != missing}

    fields = {"mode": "controlnet"} | ({} if missing == "prompt" else {"prompt": "p"})
    answer = await post_form(house, fields, status=400, **sent)

    assert answer["error"].startswith(f"{INVALID}: {missing} is required")
    assert staged_files(house) == []


@pytest.mark.parametrize("files", [[], ["input_image"], ["input_image", "control_image"]])
async def test_controlnet_where_the_model_cannot(house: House, files: list[str]) -> None:
    sent = {name: a_picture() for name in files}

    answer = await post_form(house, {"prompt": "p", "mode": "controlnet"}, status=400, **sent)

    assert "Not supported: controlnet by model tiny." in answer["error"]
    assert answer["mode"] == "controlnet"
    assert staged_files(house) == []
