"""What a caller learns before a picture is made."""

import pytest

from danqing.core.adjustments import foreseen_adjustments
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
