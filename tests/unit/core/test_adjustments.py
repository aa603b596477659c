"""What a caller learns before a picture is made."""

from dataclasses import replace
from typing import Any

import pytest

from danqing.core.adjustments import foreseen_adjustments
from danqing.core.capabilities import ReferenceScaling, Scaling
from danqing.core.images import ImageRef
from danqing.core.types import Mode
from tests.fakes.domain import a_card, a_request

SIZE = "made at 128x128 and enlarged by Real-ESRGAN to 1024x1024"
UNUSED = "negative_prompt not used, because guidance_scale is 0"


@pytest.mark.parametrize(
    ("side", "negative_prompt", "guidance_scale", "adjustments"),
    [
        (128, "", 0.0, ()),
        (128, "", 3.5, ()),
        (128, "blurry", 3.5, ()),
        (128, "blurry", 0.0, (UNUSED,)),
        (1024, "", 0.0, (SIZE,)),
        (1024, "blurry", 0.0, (SIZE, UNUSED)),
    ],
)
def test_size_and_what_has_no_effect_are_told(
    side: int, negative_prompt: str, guidance_scale: float, adjustments: tuple[str, ...]
) -> None:
    request = a_request(width=side, height=side, negative_prompt=negative_prompt, guidance_scale=guidance_scale)

    assert foreseen_adjustments(request, a_card()) == adjustments


IMAGE = ImageRef(name="input-1.png", width=8, height=8)
INSTRUCTED = replace(a_card().capabilities, instruction_edit=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "edited by prompt-guided img2img, "),
        ({"input_images": (IMAGE, IMAGE)}, "edited by prompt-guided img2img, the input images laid side by side, "),
        ({"mask": IMAGE}, "edited by filling the mask, "),
    ],
)
def test_how_a_model_edits_that_takes_no_instructions_is_told(changes: dict[str, Any], told: str) -> None:
    plain = {"mode": Mode.EDIT, "input_images": (IMAGE,), "width": 128, "height": 128}
    request = a_request(**{**plain, **changes})
    (sentence,) = foreseen_adjustments(request, a_card())
    assert sentence == f"{told}because the model does not understand instructions"
    assert foreseen_adjustments(request, a_card(capabilities=INSTRUCTED)) == ()


def test_pictures_that_are_looked_at_as_one_are_told() -> None:
    scaling = Scaling(pixels=128 * 128, multiple_of=16)
    card = a_card(
        capabilities=replace(
            INSTRUCTED, reference_scaling=ReferenceScaling(latents=scaling, prompt=scaling, framed=True)
        )
    )
    request = a_request(mode=Mode.EDIT, input_images=(IMAGE,), width=128, height=128)
    assert foreseen_adjustments(request, card) == ()
    two = replace(request, input_images=(IMAGE, IMAGE))
    assert foreseen_adjustments(two, card) == ("the input images laid side by side",)
    assert foreseen_adjustments(replace(two, mask=IMAGE), card) == ()
