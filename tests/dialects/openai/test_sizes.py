import pytest

from danqing.core.capabilities import ModelDefaults, Range
from danqing.core.errors import InvalidRequest
from danqing.dialects.openai.sizes import parse_size, size_like
from tests.dialects.openai.parts import editing_card
from tests.fakes.domain import a_card

MEGAPIXEL = a_card(defaults=ModelDefaults(width=1024, height=1024, num_inference_steps=9, guidance_scale=0.0))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024x1024", (1024, 1024)), ("1536X864", (1536, 864)), (" 7 x 9 ", (7, 9)), ("auto", None), ("AUTO", None)],
)
def test_sizes_that_are_understood(text: str, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "1024", "x", "0x5", "-1x5", "1024x1024x3", "1e3x5", "١x٢", "999999x1", "1024 1024", "huge"]
)
def test_sizes_that_are_not(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_size(text)
    assert refused.value.parameter == "size"


@pytest.mark.parametrize(
    ("image", "size"),
    [((1024, 1024), (1024, 1024)), ((4000, 3000), (1184, 880)), ((10, 10), (1024, 1024)), ((30, 3000), (96, 2048))],
)
def test_auto_keeps_the_shape_at_the_models_number_of_pixels(image: tuple[int, int], size: tuple[int, int]) -> None:
    assert size_like(image, MEGAPIXEL) == size


def test_auto_stays_within_the_models_sides() -> None:
    card = editing_card(side=Range(minimum=100, maximum=150))

    assert size_like((1000, 10), card) == (150, 100)
