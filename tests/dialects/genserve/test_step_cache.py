"""`step_cache`, which is ours: a number in JSON, its text in a form."""

from pathlib import Path

import pytest

from tests.dialects.genserve.asking import INVALID, post, post_form
from tests.dialects.genserve.parts import a_house, a_model
from tests.dialects.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path, card=a_model(step_cache=True))


async def test_it_reaches_the_request_either_way(house: House) -> None:
    for given, kept in ((0.125, 0.125), (0, None), (None, None)):
        for answer in (
            await post(house, {"prompt": "p", "step_cache": given}),
            await post_form(house, {"prompt": "p", "step_cache": "" if given is None else str(given)}),
        ):
            assert (await house.studio.get(answer["task_id"])).request.step_cache == kept


@pytest.mark.parametrize("given", [-0.1, 1.5, "much"])
async def test_what_is_no_share_is_refused_either_way(house: House, given: object) -> None:
    for answer in (
        await post(house, {"prompt": "p", "step_cache": given}, status=400),
        await post_form(house, {"prompt": "p", "step_cache": str(given)}, status=400),
    ):
        assert answer["error"].startswith(f"{INVALID}: step_cache must be ")


async def test_a_model_that_has_none_refuses_it(tmp_path: Path) -> None:
    answer = await post(a_house(tmp_path), {"prompt": "p", "step_cache": 0.1}, status=400)
    assert answer["error"] == f"{INVALID}: Not supported: step_cache by model tiny."
