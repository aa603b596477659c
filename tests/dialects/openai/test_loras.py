"""`loras` of generations, and of edits, where it is JSON text in a form."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core import resolve
from danqing.core.types import GenerationRequest, Lora
from danqing.dialects.openai.schemas import MAX_LORA_SCALE, MAX_LORAS
from tests.dialects.house import House
from tests.dialects.openai.parts import editing_card, editing_house, files, png, talking

ASKED = (Lora(name="ink", scale=0.5), Lora(name="oil"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return editing_house(tmp_path, card=replace(editing_card(), loras=("ink", "oil")))


async def requests_of(house: House) -> list[GenerationRequest]:
    batches = await house.services.gallery.newest(limit=100)
    return [job.request for batch in batches for job in batch.jobs]


async def test_they_reach_the_request(house: House) -> None:
    entries = [{"name": "ink", "scale": 0.5}, {"name": "oil"}]
    async with talking(house) as client:
        made = await client.post("/v1/images/generations", json={"prompt": "p", "loras": entries})
        edited = await client.post(
            "/v1/images/edits",
            files=files(images=png()),
            data={"prompt": "p", "loras": '[{"name": "ink", "scale": 0.5}, {"name": "oil"}]'},
        )
    assert (made.status_code, edited.status_code) == (200, 200)
    assert "x-danqing-warning" not in made.headers | edited.headers
    assert [request.loras for request in await requests_of(house)] == [ASKED, ASKED]


@pytest.mark.parametrize(
    ("loras", "text", "message"),
    [
        ([{"name": "pen"}], '[{"name": "pen"}]', "Not supported: LoRA pen by model tiny; there is: ink, oil."),
        ([{"name": "ink"}] * 2, '[{"name": "ink"}, {"name": "ink"}]', "loras has ink more than once."),
        ([{"name": "ink", "scale": 5}], '[{"name": "ink", "scale": 5}]', "loras[0]: scale must be at most 4.0."),
        ([{"scale": 1}], '[{"scale": 1}]', "loras[0]: name is required."),
        ([{"name": "ink", "weight": 1}], '[{"name": "ink", "weight": 1}]', "loras[0]: weight is not known."),
        ([{"name": f"{n}"} for n in range(9)], None, "loras must have at most 8 entries."),
        ("ink", '"ink"', "loras must be a list."),
        (None, "ink", "loras must be JSON."),
    ],
)
async def test_what_is_wrong_with_them_is_told(house: House, loras: Any, text: str | None, message: str) -> None:  # noqa: ANN401
    async with talking(house) as client:
        if loras is not None:
            answer = await client.post("/v1/images/generations", json={"prompt": "p", "loras": loras})
            assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
            assert answer.json()["error"]["param"] == "loras"
        if text is not None:
            answer = await client.post(
                "/v1/images/edits", files=files(images=png()), data={"prompt": "p", "loras": text}
            )
            assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert await requests_of(house) == []


async def test_a_form_may_have_them_member_by_member(house: House) -> None:
    # As OpenAI's client writes a list of objects, as others do, and with each of their places said
    ways = [
        [("loras[][name]", "ink"), ("loras[][scale]", "0.5"), ("loras[][name]", "oil"), ("loras[][scale]", "1")],
        [("loras[][name]", "ink"), ("loras[][scale]", "0.5"), ("loras[][name]", "oil")],
        [("loras[1][name]", "oil"), ("loras[0][name]", "ink"), ("loras[0][scale]", "0.5"), ("loras[1][scale]", "1")],
    ]
    for fields in ways:
        sent = [*files(images=png()), *((name, (None, value)) for name, value in fields)]
        async with talking(house) as client:
            answer = await client.post("/v1/images/edits", files=sent, data={"prompt": "p"})
        assert (answer.status_code, answer.headers.get("x-danqing-warning")) == (200, None), answer.text
    assert [request.loras for request in await requests_of(house)] == [ASKED] * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("loras[][name]", "ink"), ("loras[][scale]", "much")], "loras[0]: scale must be a number."),
        ([("loras[][name]", "ink"), ("loras[][weight]", "1")], "loras[0]: weight is not known."),
        ([("loras[][scale]", "1")], "loras[0]: name is required."),
        ([("loras[][name]", "ink"), ("loras", "[]")], "loras is given in two ways."),
        ([("loras[0][name]", "ink"), ("loras[0][name]", "oil")], "loras[0][name] is given more than once."),
    ],
)
async def test_what_is_wrong_with_a_member_is_told(house: House, fields: list[tuple[str, str]], message: str) -> None:
    sent = [*files(images=png()), *((name, (None, value)) for name, value in fields)]
    async with talking(house) as client:
        answer = await client.post("/v1/images/edits", files=sent, data={"prompt": "p"})
    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_variations_know_none(house: House) -> None:
    async with talking(house) as client:
        answer = await client.post("/v1/images/variations", files=files(image=png()), data={"loras": "[]"})
    assert answer.headers["x-danqing-warning"] == "loras ignored: unknown parameter"


def test_the_limits_told_are_the_cores() -> None:
    assert (MAX_LORAS, MAX_LORA_SCALE) == (resolve.MAX_LORAS, resolve.MAX_LORA_SCALE)
