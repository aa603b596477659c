"""`POST /v1/images/edits` in both forms, and `/v1/images/variations`. The painter hands back what it begins with."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from danqing.core.open_picture import OpenPicture
from danqing.core.types import GenerationRequest, Job, Mode
from danqing.http.body_budget import BodyBudget
from tests.dialects.house import House
from tests.dialects.openai.parts import (
    GREEN,
    RED,
    colour_of,
    editing_card,
    editing_house,
    files,
    mask,
    opened,
    png,
    talking,
)


async def edited(
    client: httpx2.AsyncClient, sent: list[Any], path: str = "/v1/images/edits", **data: str
) -> httpx2.Response:
    if "edits" in path:
        data = {"prompt": "enhance colors", **data}
    answer = await client.post(path, files=sent, data=data)
    assert answer.status_code == 200, answer.text
    return answer


async def requests_of(house: House) -> list[GenerationRequest]:
    """Every job's request, in the order of acceptance."""
    batches = await house.services.gallery.newest(limit=100)
    return [job.request for batch in reversed(batches) for job in batch.jobs]


def staged_files(house: House) -> list[Path]:
    return [path for path in house.artifacts.staging().iterdir() if path.is_file()]


def red(image: tuple[int, ...]) -> bool:
    return abs(image[0] - RED[0]) < 12 and abs(image[1] - RED[1]) < 12


async def test_a_batch_edits_each_picture_on_its_own(tmp_path: Path) -> None:
    # Given two pictures in the vendor's form, two variants of each
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = (await edited(client, files(images=[png(RED), png(GREEN)]), n="2")).json()

    # Then there are four, picture by picture, in the documented size and number of steps
    assert [red(colour_of(opened(datum))) for datum in answer["data"]] == [True, True, False, False]
    assert {opened(datum).size for datum in answer["data"]} == {(1024, 1024)}
    assert (answer["usage"]["input_images"], answer["usage"]["generated_images"]) == (2, 4)
    requests = await requests_of(house)
    assert {(r.mode, r.num_inference_steps, len(r.input_images)) for r in requests} == {(Mode.EDIT, 50, 1)}
    assert staged_files(house) == []


async def test_openais_form_makes_one_picture_out_of_all(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = (await edited(client, files(image__=[png(GREEN), png(RED)]), n="2")).json()

    assert len(answer["data"]) == 2
    assert not red(colour_of(opened(answer["data"][0])))
    requests = await requests_of(house)
    assert [len(r.input_images) for r in requests] == [2, 2]
    assert {r.num_inference_steps for r in requests} == {9}
    assert answer["usage"]["input_images"] == 2


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
async def test_one_image_by_any_name(tmp_path: Path, name: str) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = (await edited(client, [(name, ("a.png", png(size=(192, 96)), "image/png"))])).json()

    # Its size is like the input's, of as many pixels as the model's default
    assert answer["size"] == "176x96"
    (request,) = await requests_of(house)
    assert (request.mode, request.mask) == (Mode.EDIT, None)


async def test_sixteen_images_and_one_too_many(tmp_path: Path) -> None:
    house = editing_house(tmp_path)
    pictures = [png((index * 10, 0, 0)) for index in range(17)]

    async with talking(house) as client:
        await edited(client, files(image__=pictures[:16]))
        refused = await client.post("/v1/images/edits", files=files(image__=pictures), data={"prompt": "p"})

    assert [len(request.input_images) for request in await requests_of(house)] == [16]
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "At most 16 images in one request."


async def test_a_mask_belongs_to_the_first_image(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        await edited(client, files(image__=[png(RED), png(GREEN)], mask=mask()), n="2")

    requests = await requests_of(house)
    assert [r.mask is not None and r.mask.has_alpha for r in requests] == [True, True]
    assert requests[0].mask == requests[1].mask


async def test_an_images_own_transparency_is_its_mask_for_dall_e_2_alone(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        await edited(client, files(image=mask()), model="dall-e-2")
        await edited(client, files(image=mask()), model="gpt-image-1")
        await edited(client, files(images=mask()), size="64x64")

    own, sticker, batch = await requests_of(house)
    assert own.mask == own.input_images[0]
    assert (sticker.mask, batch.mask) == (None, None)


async def test_a_batch_of_more_pictures_than_openai_takes(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = (await edited(client, files(images=[png()] * 40), size="64x64", num_inference_steps="1")).json()
        refused = await client.post("/v1/images/edits", files=files(images=[png()] * 101), data={"prompt": "p"})

    assert len(answer["data"]) == answer["usage"]["input_images"] == 40
    assert (refused.status_code, refused.json()["message"]) == (400, "At most 100 images in one request.")


async def test_few_of_many_pictures_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a store that knows how many pictures are open
    house = editing_house(tmp_path)
    is_open: set[OpenPicture] = set()
    most: list[int] = []
    open_picture = house.artifacts.open

    async def counted(name: str) -> OpenPicture:
        picture = await open_picture(name)
        is_open.add(picture)
        most.append(len(is_open))
        close = picture.close

        def closed() -> None:
            close()
            is_open.discard(picture)

        monkeypatch.setattr(picture, "close", closed)
        return picture

    monkeypatch.setattr(house.artifacts, "open", counted)
    # When an answer has forty of them
    async with talking(house) as client:
        answer = (await edited(client, files(images=[png()] * 40), size="64x64", num_inference_steps="1")).json()
    # Then each is in it, and no more than a few were open
    assert {opened(datum).size for datum in answer["data"]} == {(64, 64)}
    assert (len(most), is_open) == (40, set())
    assert max(most) <= 9


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (files(images=b"text"), "images is not a PNG, JPEG or WebP image."),
        (files(images=[png(), b"text"]), "images[1] is not a PNG, JPEG or WebP image."),
    ],
)
async def test_which_picture_of_a_batch_is_wrong(tmp_path: Path, sent: list[Any], message: str) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits", files=sent, data={"prompt": "p"})

    assert (answer.status_code, answer.json()) == (400, {"error": "INVALID_INPUT", "message": message})


async def test_more_files_than_a_form_may_have(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits", files=files(images=[png()] * 201), data={"prompt": "p"})

    assert answer.status_code == 400
    assert "too many files" in answer.json()["message"]


@pytest.mark.parametrize(
    ("sent", "param", "message"),
    [
        (files(image=png(), images=png()), "image", "Send either image or images, not both."),
        (files(image=png(), mask=png()), "mask", "The mask has no transparent part; what is transparent in it is what"),
        (files(image=png(), mask=mask((10, 10))), "mask", "The mask is 10x10 pixels, its image 96x64;"),
        (files(image=png(), mask=[mask(), mask()]), "mask", "mask is given more than once."),
        (files(images=[png(), png()], mask=mask()), "mask", "A mask goes with one image"),
        (files(image=b"GIF89a"), "image", None),
        (files(image=b""), "image", None),
        (files(image=png()[:60]), "image", None),
        (files(image=png(), markup=png()), "markup", "Not supported: markup; no model here reads markings"),
    ],
)
async def test_what_is_wrong_with_the_files(tmp_path: Path, sent: list[Any], param: str, message: str | None) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = await client.post(
            "/v1/images/edits", files=sent, data={"prompt": "p"}, headers={"X-Stainless-Lang": "python"}
        )

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["message"].startswith(message or "")
    # And nothing of it stays
    assert staged_files(house) == []
    assert await requests_of(house) == []


async def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = await client.post(
            "/v1/images/edits", files=files(images=png() + bytes(50 * 2**20)), data={"prompt": "p"}
        )

    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_INPUT")
    assert "50 MiB" in answer.json()["message"]
    assert staged_files(house) == []


async def test_an_image_that_is_text_is_none(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits", data={"prompt": "p", "image": "aGVsbG8="})

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "image must be a file.")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n", "two", "n must be an integer."),
        ("n", "1.5", "n must be an integer."),
        ("n", "0", "n must be at least 1."),
        ("strength", "1.5", "strength must be at most 1.0."),
        ("strength", "nan", None),
        ("guidance_scale", "a lot", "guidance_scale must be a number."),
        ("stream", "perhaps", "stream must be true or false."),
        ("prompt", "", "Prompt is required"),
        ("size", "5", "size must be auto or WIDTHxHEIGHT, 1024x1024 for example."),
        ("background", "transparent", "Not supported: background; no model here makes transparent pictures."),
        ("svg[model]", "m", "Not supported: svg[model]; pictures are made as png, jpeg or webp."),
        ("model", "midjourney", "No such model: midjourney."),
    ],
)
async def test_what_is_wrong_with_the_fields(tmp_path: Path, field: str, value: str, message: str | None) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = await client.post("/v1/images/edits", files=files(images=png()), data={"prompt": "p", field: value})

    assert answer.status_code == (404 if field == "model" else 400)
    assert answer.json()["error"] == "INVALID_INPUT"
    assert message is None or answer.json()["message"] == message
    assert staged_files(house) == []


async def test_a_field_given_twice_is_refused(tmp_path: Path) -> None:
    sent = [*files(images=png()), ("prompt", (None, b"a")), ("prompt", (None, b"b"))]

    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/edits", files=sent)

    assert answer.json() == {"error": "INVALID_INPUT", "message": "prompt is given more than once."}


async def test_fields_of_a_form(tmp_path: Path) -> None:
    # Given every extension, and empty fields as forms have them
    house = editing_house(tmp_path)
    data = {
        "size": "160x96",
        "num_inference_steps": "12",
        "guidance_scale": "3.5",
        "negative_prompt": "rain",
        "seed": "5",
        "strength": "0.4",
        "quality": "",
        "model": "gpt-image-1",
        "input_fidelity": "high",
    }

    async with talking(house) as client:
        answer = await edited(client, files(images=png()), **data)

    (request,) = await requests_of(house)
    assert (request.width, request.height, request.num_inference_steps) == (160, 96, 12)
    assert (request.guidance_scale, request.negative_prompt, request.seed) == (3.5, "rain", 5)
    assert (request.strength, request.model) == (0.4, "tiny")
    assert answer.headers["X-Danqing-Warning"] == "input_fidelity ignored: see strength"


async def test_the_documented_number_of_steps_is_no_more_than_the_model_takes(tmp_path: Path) -> None:
    card = editing_card()
    limited = editing_card(steps=type(card.capabilities.steps)(minimum=1, maximum=20))
    house = editing_house(tmp_path, card=limited)

    async with talking(house) as client:
        await edited(client, files(images=png()), size="64x64")

    assert [request.num_inference_steps for request in await requests_of(house)] == [20]


async def test_jpeg_and_webp_by_address(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await edited(
            client, files(image=png()), response_format="url", output_format="jpeg", output_compression="70"
        )
        picture = await client.get(answer.json()["data"][0]["url"])

    assert picture.headers["content-type"] == "image/jpeg"


async def test_what_the_model_does_instead_is_told(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        (datum,) = (await edited(client, files(image=png(size=(128, 128))))).json()["data"]

    assert datum["adjustments"] == [
        "edited by prompt-guided img2img, because the model does not understand instructions"
    ]


@pytest.mark.parametrize(
    "sent, data, model",
    [
        ({"image": png()}, {}, "instructed"),
        ({"images": png()}, {"model": "gpt-image-1"}, "instructed"),
        ({"image": png()}, {"model": "tiny"}, "tiny"),
        ({"image": png(), "mask": mask()}, {}, "tiny"),
        ({"image": png()}, {"strength": "0.5", "model": "gpt-image-1"}, "tiny"),
        ({"image": png((9, 9, 9, 0), mode="RGBA")}, {"model": "dall-e-2"}, "tiny"),
    ],
    ids=["no model", "alias", "named", "mask", "strength", "transparent"],
)
async def test_an_edit_goes_to_a_model_that_understands_it(
    tmp_path: Path, sent: dict[str, bytes], data: dict[str, str], model: str
) -> None:
    # Given a first model that does not follow instructions, and another that does, at most in 30 steps
    card = editing_card(instruction_edit=True)
    few = replace(card.capabilities, steps=replace(card.capabilities.steps, maximum=30))
    house = editing_house(tmp_path, others=[replace(card, id="instructed", capabilities=few)])

    async with talking(house) as client:
        await edited(client, files(**sent), size="64x64", **data)

    (request,) = await requests_of(house)
    assert request.model == model
    assert "images" not in sent or request.num_inference_steps == 30


async def test_what_the_usual_model_cannot_do_goes_to_one_that_can(tmp_path: Path) -> None:
    # Given a first model that only edits, and another that does everything
    card = editing_card()
    edits = replace(card, id="edits", capabilities=replace(card.capabilities, modes=frozenset({Mode.EDIT})))
    house = editing_house(tmp_path, card=edits, others=[card])
    asked = {"prompt": "p", "size": "64x64"}

    async with talking(house) as client:
        for model in ({}, {"model": "gpt-image-1"}):
            answer = await client.post("/v1/images/generations", json=asked | model)
            assert answer.status_code == 200, answer.text
            await edited(client, files(image=png()), "/v1/images/variations", size="64x64", **model)
        refused = await client.post("/v1/images/generations", json=asked | {"model": "edits"})

    assert {request.model for request in await requests_of(house)} == {"tiny"}
    assert refused.status_code == 400
    assert (refused.json()["error"]["message"], refused.json()["error"]["param"]) == (
        "Not supported: text2img by model edits.",
        "model",
    )


async def test_a_batch_may_have_more_pixels_than_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danqing.http.uploads.MAX_JOB_PIXELS", 2 * 96 * 64)
    house, pictures = editing_house(tmp_path), [png(), png(GREEN), png(size=(64, 96))]

    async with talking(house) as client:
        answer = await edited(client, files(images=pictures), size="64x64")
        refused = await client.post("/v1/images/edits", files=files(image__=pictures), data={"prompt": "p"})

    assert len(answer.json()["data"]) == 3
    assert refused.status_code == 400
    assert "megapixels" in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", ["mask", "mask[]"])
async def test_a_mask_by_any_name(tmp_path: Path, name: str) -> None:
    house = editing_house(tmp_path)
    sent = [*files(image=png()), (name, ("m.png", mask(), "image/png"))]

    async with talking(house) as client:
        answer = await edited(client, sent)

    (request,) = await requests_of(house)
    assert request.mask is not None
    assert "x-danqing-warning" not in answer.headers


async def test_files_and_fields_that_nobody_knows_are_told(tmp_path: Path) -> None:
    sent = [
        *files(image=png(), mask_image=mask()),
        ("tags[]", (None, "a")),
        ("tags[]", (None, "b")),
        ("seed[0]", (None, "1")),
    ]

    async with talking(editing_house(tmp_path)) as client:
        answer = await edited(client, sent)

    told = set(answer.headers["x-danqing-warning"].split("; "))
    assert told == {f"{name} ignored: unknown parameter" for name in ("mask_image", "tags[]", "seed[0]")}


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/images/variations"])
async def test_who_waits_for_his_picture_takes_no_room_from_those_who_send_theirs(tmp_path: Path, path: str) -> None:
    # Given room for three uploads at once
    house, waiting = editing_house(tmp_path, automatic=False), list[asyncio.Task[httpx2.Response]]()
    house.services = replace(house.services, bodies=BodyBudget(3 * 2**20, 3 * 2**20))
    sent = png() + os.urandom(300 * 1024)  # what stands behind a PNG's end is passed over

    def accepted() -> list[Job]:
        return house.store.matching(lambda _: True)

    def all_wait() -> bool:
        return len(accepted()) == len(waiting) and house.services.bodies.held_bytes == 0

    async with talking(house) as client, asyncio.TaskGroup() as group:
        # When six are accepted, and none of their pictures is made yet
        for number in range(6):
            data = {"seed": str(number)} | ({"prompt": "p"} if "edits" in path else {})
            asked = client.post(path, files=files(image=sent), data=data)
            waiting.append(group.create_task(asked))
            async with asyncio.timeout(60):
                while not (waiting[-1].done() or all_wait()):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
        for job in accepted():
            await house.painter.start(job.id)
            await house.painter.finish(job.id)

    # Then none was refused
    assert [task.result().status_code for task in waiting] == [200] * 6


async def test_an_edit_is_logged(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with talking(editing_house(tmp_path)) as client:
            await edited(client, files(images=[png(), png(GREEN)]), size="64x64")

    told = {line["event"]: line for line in lines}
    assert {k: told["image_edit_requested"].get(k) for k in ("prompt", "n", "images")} == {
        "prompt": None,
        "n": 1,
        "images": 2,
    }
    assert told["image_edit_completed"]["generated"] == 2


async def test_whom_it_is_for_is_told_again(tmp_path: Path) -> None:
    async with talking(editing_house(tmp_path)) as client:
        plain = await edited(client, files(images=png()), size="64x64")
        edit = await edited(client, files(image=png()), size="64x64", safety_identifier="a1", user="ann")
        variation = await edited(client, files(image=png()), "/v1/images/variations", size="64x64", user="ann")

    assert "safety_identifier" not in plain.json()  # the vendor's clients never see it
    assert edit.json()["safety_identifier"] == "a1"
    assert variation.json()["safety_identifier"] == "ann"


async def test_variations_begin_with_the_picture_and_no_prompt(tmp_path: Path) -> None:
    house = editing_house(tmp_path)

    async with talking(house) as client:
        answer = (await edited(client, files(image=png(RED)), "/v1/images/variations", n="2", size="256x256")).json()

    requests = await requests_of(house)
    assert {(r.mode, r.prompt, r.strength) for r in requests} == {(Mode.IMG2IMG, "", 0.6)}
    assert requests[0].seed != requests[1].seed
    assert [opened(datum).size for datum in answer["data"]] == [(256, 256)] * 2
    assert answer["output_format"] == "png"


@pytest.mark.parametrize(
    ("sent", "message"),
    [([], "Image is required"), (files(image__=[png(), png(GREEN)]), "Variations are made of one image.")],
)
async def test_what_is_wrong_with_a_variation(tmp_path: Path, sent: list[Any], message: str) -> None:
    async with talking(editing_house(tmp_path)) as client:
        answer = await client.post("/v1/images/variations", files=sent, data={"n": "1"})

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
