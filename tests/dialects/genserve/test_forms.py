"""What is special to forms: texts, numbers written as text, files."""

from pathlib import Path
from typing import Any

import pytest

from danqing.core.types import Mode
from danqing.dialects.genserve.dialect import genserve
from tests.dialects.genserve.asking import INVALID, checked, post_form
from tests.dialects.genserve.parts import a_house, a_picture
from tests.dialects.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path)


# Fields of a form and what the answer says.
WRONG_FORM_FIELDS = [
    ({"prompt": ""}, "prompt is required."),
    ({"height": "512.5"}, "height must be an integer."),
    ({"height": "5 12"}, "height must be an integer."),
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
    ({"control_preprocess": "depth"}, "control_preprocess must be canny."),
    ({"controlnet_conditioning_scale": "much"}, "controlnet_conditioning_scale must be a number."),
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


async def test_so_is_one_whose_fields_cannot_be_read(house: House) -> None:
    fields = {"prompt": "p", "model_id": "tiny", "mode": "img2img", "input_image": "iVBORw0KGgo="}

    answer = await post_form(house, fields, status=400)

    assert (answer["model_id"], answer["mode"]) == ("tiny", "img2img")


@pytest.mark.parametrize(
    ("texts", "height", "seed", "cfg"),
    [
        ({"height": " 512", "seed": "+7\n", "cfg": ".5"}, 512, 7, 0.5),
        ({"height": "512.0", "seed": "007", "cfg": "2."}, 512, 7, 2.0),
    ],
)
async def test_numbers_as_python_reads_them(
    house: House, texts: dict[str, str], height: int, seed: int, cfg: float
) -> None:
    answer = await post_form(house, {"prompt": "p"} | texts)

    request = (await house.studio.get(answer["task_id"])).request
    assert (request.height, request.seed, request.guidance_scale) == (height, seed, cfg)


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
