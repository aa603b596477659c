"""Enlarging a picture as a request of its own: what it may say, and what it becomes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from danqing.core.errors import InvalidRequest, MissingParameter, NotSupported, ParameterOutOfRange
from danqing.core.fingerprint import fingerprint
from danqing.core.images import StagedImage, ref_of
from danqing.core.resolve import resolve
from danqing.core.types import ArtifactKind, GenerationRequest, Lora, Mode, RequestDraft
from danqing.core.upscaling import CARD, FACTOR, MAX_INPUT_SIDE
from tests.fakes.domain import a_card

PICTURE = StagedImage(path=Path("x"), sha256="a" * 64, width=300, height=200)
DRAFT = RequestDraft(prompt="", mode=Mode.UPSCALE, input_images=(PICTURE,))


def test_it_is_found_by_a_prompt_as_long_as_a_pictures_may_be() -> None:
    assert resolve(replace(DRAFT, prompt="x" * 32_000), CARD).prompt == "x" * 32_000
    with pytest.raises(ParameterOutOfRange, match="prompt must have at most 32000 characters"):
        resolve(replace(DRAFT, prompt="x" * 32_001), CARD)


def test_the_picture_is_all_that_need_be_said() -> None:
    assert resolve(DRAFT, CARD, draw=lambda: pytest.fail("nothing is drawn")) == GenerationRequest(
        model="upscaler",
        mode=Mode.UPSCALE,
        prompt="",
        negative_prompt="",
        width=1200,
        height=800,
        num_inference_steps=1,
        guidance_scale=0.0,
        seed=0,
        input_images=(ref_of(PICTURE),),
    )


def test_the_same_picture_is_the_same_request() -> None:
    first, second = (resolve(draft, CARD) for draft in (DRAFT, replace(DRAFT, width=1200, height=800)))
    assert fingerprint(first) == fingerprint(second)


def test_a_prompt_and_a_preview_may_be_said_too() -> None:
    resolved = resolve(replace(DRAFT, prompt="a fox", further=(ArtifactKind.PREVIEW,)), CARD)
    assert (resolved.prompt, resolved.further) == ("a fox", (ArtifactKind.PREVIEW,))


@pytest.mark.parametrize(
    ("changes", "error", "parameter"),
    [
        ({"input_images": ()}, MissingParameter, "input_image"),
        ({"input_images": (PICTURE, PICTURE)}, ParameterOutOfRange, "input_image"),
        ({"input_images": (replace(PICTURE, width=MAX_INPUT_SIDE + 1),)}, ParameterOutOfRange, "input_image"),
        ({"input_images": (replace(PICTURE, height=MAX_INPUT_SIDE + 1),)}, ParameterOutOfRange, "input_image"),
        ({"width": 300}, ParameterOutOfRange, "width"),
        ({"height": 801}, ParameterOutOfRange, "height"),
        ({"seed": 0}, InvalidRequest, "seed"),
        ({"strength": 0.0}, InvalidRequest, "strength"),
        ({"num_inference_steps": 4}, InvalidRequest, "num_inference_steps"),
        ({"guidance_scale": 1.0}, InvalidRequest, "guidance_scale"),
        ({"negative_prompt": "dark"}, InvalidRequest, "negative_prompt"),
        ({"mask": PICTURE}, InvalidRequest, "mask_image"),
        ({"control_image": PICTURE}, InvalidRequest, "control_image"),
        ({"loras": (Lora(name="ink"),)}, InvalidRequest, "loras"),
        ({"step_cache": 0.1}, InvalidRequest, "step_cache"),
        ({"further": (ArtifactKind.UPSCALED,)}, InvalidRequest, "upscale"),
        ({"prompt": "\0"}, InvalidRequest, "prompt"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_means_nothing_here_is_refused(
    changes: dict[str, Any], error: type[InvalidRequest], parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(replace(DRAFT, **changes), CARD)
    assert (type(caught.value), caught.value.parameter) == (error, parameter)


def test_the_largest_picture_is_as_large_as_the_card_says() -> None:
    largest = replace(PICTURE, width=MAX_INPUT_SIDE, height=1)
    resolved = resolve(replace(DRAFT, input_images=(largest,)), CARD)
    assert resolved.width == CARD.capabilities.side.maximum == FACTOR * MAX_INPUT_SIDE


def test_a_model_enlarges_nothing_and_the_upscaler_draws_nothing() -> None:
    with pytest.raises(NotSupported):
        resolve(DRAFT, a_card())
    with pytest.raises(NotSupported):
        resolve(RequestDraft(prompt="a fox"), CARD)
