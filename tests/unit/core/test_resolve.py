"""What a client said becomes a complete request, or an error that names the parameter."""

from dataclasses import replace
from typing import Any

import pytest

from danqing.core.capabilities import ModelCard
from danqing.core.errors import InvalidRequest, MissingParameter, NotSupported, ParameterOutOfRange
from danqing.core.resolve import MAX_SEED, SEED_BITS, draw_seed, resolve
from danqing.core.types import GenerationRequest, Mode, RequestDraft
from tests.fakes.domain import a_card

CARD = a_card()
UNGUIDED = replace(CARD, capabilities=replace(CARD.capabilities, guidance=False, negative_prompt=False))


def test_what_was_not_said_is_filled_in() -> None:
    assert resolve(RequestDraft(prompt="pizza"), CARD, draw=lambda: 7) == GenerationRequest(
        model="tiny",
        mode=Mode.TEXT2IMG,
        prompt="pizza",
        negative_prompt="",
        width=1024,
        height=1024,
        num_inference_steps=9,
        guidance_scale=0.0,
        seed=7,
    )


def test_what_was_said_is_kept() -> None:
    draft = RequestDraft(
        prompt=" 披萨 ",
        negative_prompt="blurry",
        width=64,
        height=2048,
        num_inference_steps=50,
        guidance_scale=7,
        seed=0,
    )
    resolved = resolve(draft, CARD, draw=lambda: pytest.fail("a seed was given"))
    assert (resolved.prompt, resolved.negative_prompt) == (" 披萨 ", "blurry")
    assert (resolved.width, resolved.height, resolved.num_inference_steps) == (64, 2048, 50)
    assert (resolved.guidance_scale, resolved.seed) == (7.0, 0)
    assert isinstance(resolved.guidance_scale, float)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("prompt", "", MissingParameter),
        ("prompt", " \n\t　", MissingParameter),
        ("prompt", "x" * 101, ParameterOutOfRange),
        ("prompt", "half a pair \ud83d", InvalidRequest),
        ("negative_prompt", "x" * 101, ParameterOutOfRange),
        ("negative_prompt", "\udfff", InvalidRequest),
        ("width", 63, ParameterOutOfRange),
        ("width", 2049, ParameterOutOfRange),
        ("height", 0, ParameterOutOfRange),
        ("height", -64, ParameterOutOfRange),
        ("num_inference_steps", 0, ParameterOutOfRange),
        ("num_inference_steps", 51, ParameterOutOfRange),
        ("guidance_scale", -0.1, ParameterOutOfRange),
        ("guidance_scale", 100.1, ParameterOutOfRange),
        ("guidance_scale", float("nan"), ParameterOutOfRange),
        ("guidance_scale", float("inf"), ParameterOutOfRange),
        ("seed", -1, ParameterOutOfRange),
        ("seed", 2**63, ParameterOutOfRange),
    ],
    ids=repr,
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: object, error: type[InvalidRequest]) -> None:
    values: dict[str, Any] = {"prompt": "pizza", field: value}
    with pytest.raises(InvalidRequest) as caught:
        resolve(RequestDraft(**values), CARD)
    assert type(caught.value) is error
    assert caught.value.parameter == field
    assert field in caught.value.public_message


@pytest.mark.parametrize(
    ("field", "value"), [("width", 64), ("height", 2048), ("num_inference_steps", 1), ("seed", MAX_SEED)]
)
def test_the_ends_of_a_range_belong_to_it(field: str, value: int) -> None:
    values: dict[str, Any] = {"prompt": "x" * 100, field: value}
    assert getattr(resolve(RequestDraft(**values), CARD), field) == value


def test_a_negative_prompt_without_guidance_is_accepted_and_kept() -> None:
    resolved = resolve(RequestDraft(prompt="pizza", negative_prompt="blurry", guidance_scale=0), CARD)
    assert (resolved.negative_prompt, resolved.guidance_scale) == ("blurry", 0.0)


@pytest.mark.parametrize(("field", "value"), [("guidance_scale", 3.5), ("negative_prompt", "blurry")])
def test_a_model_without_guidance_refuses_it(field: str, value: object) -> None:
    values: dict[str, Any] = {"prompt": "pizza", field: value}
    with pytest.raises(NotSupported, match="tiny") as caught:
        resolve(RequestDraft(**values), UNGUIDED)
    assert caught.value.parameter == field


def test_a_model_without_guidance_takes_what_means_none() -> None:
    assert resolve(RequestDraft(prompt="pizza", guidance_scale=0.0, negative_prompt=""), UNGUIDED).guidance_scale == 0


def test_a_mode_that_the_model_lacks_is_refused() -> None:
    card: ModelCard = replace(CARD, capabilities=replace(CARD.capabilities, modes=frozenset()))
    with pytest.raises(NotSupported) as caught:
        resolve(RequestDraft(prompt="pizza"), card)
    assert caught.value.parameter == "mode"


def test_drawn_seeds_differ_and_fit_every_client() -> None:
    seeds = {draw_seed() for _ in range(100)}
    assert len(seeds) > 90
    assert all(0 <= seed < 2**SEED_BITS for seed in seeds)
