"""`loras`, which is ours: a list in JSON, its text in a form."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core import resolve
from danqing.core.errors import LoraFailure
from danqing.core.states import JobState
from danqing.core.types import JobFailure, Lora
from danqing.dialects.genserve.errors import job_error
from danqing.dialects.genserve.schemas import MAX_LORA_SCALE, MAX_LORAS
from tests.dialects.genserve.asking import INVALID, post, post_form
from tests.dialects.genserve.parts import a_house, a_model
from tests.dialects.house import House
from tests.fakes.domain import a_job, a_request


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path, card=replace(a_model(), loras=("ink", "oil")))


async def test_they_reach_the_request_either_way(house: House) -> None:
    entries = [{"name": "ink", "scale": 0.5}, {"name": "oil"}]
    for answer in (
        await post(house, {"prompt": "p", "loras": entries}),
        await post_form(house, {"prompt": "p", "loras": json.dumps(entries)}),
    ):
        request = (await house.studio.get(answer["task_id"])).request
        assert request.loras == (Lora(name="ink", scale=0.5), Lora(name="oil"))


async def test_not_given_are_none(house: House) -> None:
    for answer in (
        await post(house, {"prompt": "p", "loras": None}),
        await post_form(house, {"prompt": "p", "loras": ""}),
    ):
        assert (await house.studio.get(answer["task_id"])).request.loras == ()


@pytest.mark.parametrize(
    ("loras", "message"),
    [
        ([{"name": "pen"}], "Not supported: LoRA pen by model tiny; there is: ink, oil."),
        ([{"name": "ink", "scale": -5}], "scale must be between -4 and 4."),
        ([{"name": "ink", "scale": "1"}], "scale must be a number."),
        ([{}], "name is required."),
        ([{"name": "ink", "weight": 1}], "loras has a field that is not known."),
        (["ink"], "loras is not valid."),
        ([{"name": f"{n}"} for n in range(9)], "loras must have at most 8 entries."),
        ({"name": "ink"}, "loras must be a list."),
    ],
)
async def test_what_is_wrong_with_them_is_told_either_way(house: House, loras: Any, message: str) -> None:  # noqa: ANN401
    fields = {"prompt": "p", "model_id": "tiny"}
    for answer in (
        await post(house, fields | {"loras": loras}, status=400),
        await post_form(house, fields | {"loras": json.dumps(loras)}, status=400),
    ):
        assert answer["error"] == f"{INVALID}: {message}"


async def test_a_form_has_them_as_json(house: House) -> None:
    answer = await post_form(house, {"prompt": "p", "loras": "ink:0.5"}, status=400)
    assert answer["error"] == f"{INVALID}: loras must be JSON."


def test_those_that_may_be_to_blame_are_named() -> None:
    failed = a_job(
        request=a_request(loras=(Lora(name="ink"), Lora(name="oil"))),
        state=JobState.FAILED,
        failure=JobFailure(code=LoraFailure.code, message="LoRA ink does not fit model tiny."),
    )
    assert job_error(failed) == (500, "内部服务器错误: a LoRA cannot be used with this model: ink, oil.")


def test_the_limits_told_are_the_cores() -> None:
    assert (MAX_LORAS, MAX_LORA_SCALE) == (resolve.MAX_LORAS, resolve.MAX_LORA_SCALE)
