"""Making batches, and finding them again."""

import json
from pathlib import Path
from typing import Any

import pytest

from danqing.core.types import Mode
from tests.dialects.house import House
from tests.dialects.studio.asking import a_file, a_picture, all_modes, ask, paint, submit, submitted
from tests.fakes.pictures import pictures_in


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, card=all_modes())


async def test_a_batch_has_a_job_for_each_picture_with_seeds_in_a_row(house: House) -> None:
    jobs = await submitted(
        house, prompt="two cats", count=3, seed=41, upscale=True, loras=[{"name": "ink", "scale": 0.5}]
    )

    assert [job["request"]["seed"] for job in jobs] == ["41", "42", "43"]
    assert [job["index"] for job in jobs] == [0, 1, 2]
    assert len({job["batch_id"] for job in jobs}) == 1
    assert jobs[0]["request"] == {
        "prompt": "two cats",
        "negative_prompt": "",
        "mode": "text2img",
        "model": "tiny",
        "width": 96,
        "height": 64,
        "num_inference_steps": 2,
        "guidance_scale": 0.0,
        "seed": "41",
        "strength": None,
        "control_preprocess": None,
        "controlnet_conditioning_scale": None,
        "loras": [{"name": "ink", "scale": 0.5}],
        "step_cache": None,
        "upscale": True,
    }


async def test_a_batch_that_was_taken_says_where_its_first_job_is(house: House) -> None:
    answer = await submit(house, count=2, headers={"Idempotency-Key": "one"})

    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
    first, second = answer.json()["jobs"]
    assert answer.headers["location"] == f"/studio/jobs/{first['id']}" != f"/studio/jobs/{second['id']}"
    assert (await ask(house, "GET", answer.headers["location"])).json()["id"] == first["id"]
    # Sent again, it is the same; refused, there is none
    again = await submit(house, count=2, headers={"Idempotency-Key": "one"})
    assert again.headers["location"] == answer.headers["location"]
    assert "location" not in (await submit(house, width=4)).headers


async def test_notes_failures_and_refusals_say_what_they_mean_to_programs(house: House) -> None:
    (job,) = await submitted(house, negative_prompt="dark")
    assert [note["sentence"]["code"] for note in job["notes"]] == ["made_cut_scaled", "negative_not_used"]
    assert job["notes"][0]["sentence"]["values"]["final"] == "96x64"
    assert [note["text"] for note in job["notes"]] == job["adjustments"]
    refused = (await submit(house, width=4)).json()["error"]
    assert refused["sentence"] == {
        "code": "between",
        "values": {"parameter": "width", "least": "64", "most": "2048"},
    }
    unknown = (await submit(house, count=17)).json()["error"]
    assert unknown["sentence"] is None


async def test_a_seed_beyond_what_javascript_counts_goes_both_ways(house: House) -> None:
    seed = str(2**63 - 1)
    (job,) = await submitted(house, seed=seed)

    assert job["request"]["seed"] == seed


async def test_every_mode_takes_its_pictures_and_shows_them(house: House) -> None:
    picture, other = a_file("input_image"), a_file("input_image", a_picture(colour="blue"))
    wanted = {
        Mode.IMG2IMG: [picture],
        Mode.FILL: [picture, a_file("mask_image")],
        Mode.CONTROLNET: [picture, a_file("control_image")],
        Mode.EDIT: [picture, other],
    }
    for mode, files in wanted.items():
        (job,) = await submitted(house, mode=mode, files=files)

        assert job["request"]["mode"] == mode
        inputs = job["inputs"]
        shown = [*inputs["input_images"], *(inputs[name] for name in ("mask", "control_image") if inputs[name])]
        assert len(shown) == len(files)
        for one in shown:
            answer = await ask(house, "GET", one["url"])
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


async def test_a_picture_is_enlarged_and_found_by_the_words_it_came_with(house: House) -> None:
    sent = {"width": None, "height": None, "num_inference_steps": None}
    picture = a_file("input_image", a_picture(48, 32))
    (job,) = await submitted(house, mode="upscale", prompt="a red fox", files=[picture], **sent)

    request = job["request"]
    assert (request["model"], request["mode"]) == ("upscaler", "upscale")
    assert (request["width"], request["height"]) == (192, 128)
    await paint(house, job["id"])
    done = (await ask(house, "GET", f"/studio/jobs/{job['id']}")).json()
    assert (done["state"], set(done["pictures"])) == ("completed", {"original", "preview"})
    found = (await ask(house, "GET", "/studio/batches?text=fox&mode=upscale")).json()["batches"]
    assert [batch["id"] for batch in found] == [job["batch_id"]]


async def test_the_upscaler_is_named_for_its_own_mode_only(house: House) -> None:
    sent = {"width": None, "height": None, "num_inference_steps": None}
    (job,) = await submitted(house, mode="upscale", model="upscaler", files=[a_file("input_image")], **sent)
    assert job["request"]["model"] == "upscaler"

    answer = await submit(house, mode="text2img", model="upscaler")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_model")
    answer = await submit(house, mode="upscale", model="tiny", files=[a_file("input_image")], **sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_supported")


async def test_what_is_enlarged_needs_no_words_and_is_made_once(house: House) -> None:
    picture = a_file("input_image", a_picture(48, 32))

    async def sent(**wanted: Any) -> Any:  # noqa: ANN401 - JSON
        parts = [("request", (None, json.dumps(wanted).encode(), "application/json")), picture]
        answer = await ask(house, "POST", "/studio/batches", files=parts)
        return answer.status_code, answer.json()

    status, batch = await sent(mode="upscale")
    assert (status, batch["jobs"][0]["request"]["prompt"]) == (202, "")
    status, refused = await sent(mode="upscale", count=3)
    assert (status, refused["error"]["parameter"]) == (400, "count")
    assert refused["error"]["sentence"]["code"] == "means_nothing"
    # And other modes still say that words are missing
    status, refused = await sent(mode="edit")
    assert (status, refused["error"]["code"], refused["error"]["parameter"]) == (400, "missing_parameter", "prompt")


async def test_where_no_worker_can_enlarge_none_is_asked_to(house: House) -> None:
    house.painter.models = ("tiny",)
    answer = await submit(
        house, mode="upscale", width=None, height=None, num_inference_steps=None, files=[a_file("input_image")]
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_supported")
    assert answer.json()["error"]["sentence"]["code"] == "no_upscaler"


async def test_what_is_too_large_to_be_enlarged_is_refused(house: House) -> None:
    sent = {"width": None, "height": None, "num_inference_steps": None}
    picture = a_file("input_image", a_picture(2049, 2))
    answer = await submit(house, mode="upscale", prompt="", files=[picture], **sent)

    assert (answer.status_code, answer.json()["error"]["parameter"]) == (400, "input_image")


@pytest.mark.parametrize(
    ("fields", "status", "parameter"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"width": 4}, 400, "width"),
        ({"count": 17}, 422, "count"),
        ({"colour": "red"}, 422, "colour"),
        ({"mode": "img2img"}, 400, "input_image"),
        ({"model": "none such"}, 400, "model"),
        ({"loras": [{"name": "none such"}]}, 400, "loras"),
    ],
)
async def test_what_cannot_be_made_is_refused_by_name(
    house: House, fields: dict[str, Any], status: int, parameter: str
) -> None:
    answer = await submit(house, **fields)

    assert (answer.status_code, answer.json()["error"]["parameter"]) == (status, parameter)


async def test_a_form_without_its_request_or_with_a_text_for_a_picture_is_refused(house: House) -> None:
    no_form = await ask(house, "POST", "/studio/batches", json={"prompt": "a cat"})
    no_request = await ask(house, "POST", "/studio/batches", files=[a_file("input_image")])
    text = await submit(house, mode="img2img", files=[("input_image", (None, b"no file"))])  # type: ignore[list-item]

    assert [answer.status_code for answer in (no_form, no_request, text)] == [400, 400, 400]
    assert text.json()["error"]["message"] == "input_image must be a file."


async def test_a_submit_that_is_sent_again_with_its_key_makes_nothing_new(house: House) -> None:
    headers = {"Idempotency-Key": "this one"}
    first = await submit(house, count=2, headers=headers)
    again = await submit(house, count=2, headers=headers)
    other = await submit(house, count=3, headers=headers)

    assert again.json() == first.json()
    assert other.status_code == 422
    assert len(house.store.matching(lambda job: True)) == 2


async def test_batches_are_found_by_words_model_and_mode_a_page_at_a_time(house: House) -> None:
    for prompt in ("a red cat", "a blue cat", "a dog"):
        await submitted(house, prompt=prompt)
    await submitted(house, prompt="a cat on a sofa", mode="img2img", files=[a_file("input_image")])

    async def found(query: str) -> tuple[list[str], int | None]:
        page = (await ask(house, "GET", f"/studio/batches?{query}")).json()
        return [batch["jobs"][0]["request"]["prompt"] for batch in page["batches"]], page["next_offset"]

    assert await found("") == (["a cat on a sofa", "a dog", "a blue cat", "a red cat"], None)
    assert await found("text=cat+a&mode=text2img") == (["a blue cat", "a red cat"], None)
    assert await found("model=other") == ([], None)
    assert await found("limit=3") == (["a cat on a sofa", "a dog", "a blue cat"], 3)
    assert await found("limit=3&offset=3") == (["a red cat"], None)
    assert await found("text=%25") == ([], None)


async def test_batches_of_which_nothing_came_are_shown_where_they_are_asked_for(house: House) -> None:
    (job,) = await submitted(house)
    await ask(house, "POST", f"/studio/jobs/{job['id']}/cancel")

    promising = (await ask(house, "GET", "/studio/batches")).json()["batches"]
    everything = (await ask(house, "GET", "/studio/batches?failed=true")).json()["batches"]

    assert (promising, [batch["jobs"][0]["state"] for batch in everything]) == ([], ["cancelled"])


async def test_a_removed_job_is_gone_with_its_pictures_but_not_with_those_that_others_use(house: House) -> None:
    # Given two jobs of one input image, done
    first, second = [
        (await submitted(house, mode="img2img", seed=seed, files=[a_file("input_image")]))[0] for seed in (1, 2)
    ]
    for job in (first, second):
        await paint(house, job["id"])
    picture = (await ask(house, "GET", f"/studio/jobs/{first['id']}")).json()["pictures"]["original"]["url"]
    # When the first is removed
    answer = await ask(house, "DELETE", f"/studio/jobs/{first['id']}")
    # Then it is nowhere any more, and the second has all it had
    assert answer.status_code == 204
    assert (await ask(house, "GET", picture)).status_code == 404
    assert (await ask(house, "GET", f"/studio/jobs/{first['id']}")).status_code == 404
    left = (await ask(house, "GET", "/studio/batches")).json()["batches"]
    assert [job["id"] for batch in left for job in batch["jobs"]] == [second["id"]]
    source = left[0]["jobs"][0]["inputs"]["input_images"][0]["url"]
    assert (await ask(house, "GET", source)).status_code == 200
    # And when the second goes too, so does what both started from
    await ask(house, "DELETE", f"/studio/jobs/{second['id']}")
    assert pictures_in(house.artifacts) == {}
    assert not [path for path in house.artifacts.staging().parent.iterdir() if path.name.startswith("input-")]


async def test_a_job_that_is_under_way_is_not_removed(house: House) -> None:
    (job,) = await submitted(house)

    answer = await ask(house, "DELETE", f"/studio/jobs/{job['id']}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
