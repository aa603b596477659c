"""Which requests are made together, and how many."""

from dataclasses import replace

import pytest

from danqing.core.batching import BatchRule, batch_key
from danqing.core.capabilities import FreeSizes
from danqing.core.images import ImageRef
from danqing.core.types import ArtifactKind, Lora, Mode
from tests.fakes.domain import a_card, a_request

IMAGE = ImageRef(name="input-a.png", width=64, height=48)
STARTING = replace(a_request(), mode=Mode.FILL, input_images=(IMAGE,), mask=IMAGE, strength=0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "other", "negative_prompt": "ugly", "seed": 9},
        {"further": (ArtifactKind.UPSCALED,)},
        {"input_images": (replace(IMAGE, name="input-b.png"),)},
        {"mask": replace(IMAGE, name="input-b.png")},
    ],
)
def test_what_pictures_show_may_differ(changes: dict[str, object]) -> None:
    assert batch_key(replace(STARTING, **changes)) == batch_key(STARTING)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"mode": Mode.EDIT},
        {"width": 80},
        {"num_inference_steps": 3},
        {"guidance_scale": 2.0},
        {"strength": 0.6},
        {"cfg_truncation": 0.5},
        {"loras": (Lora(name="ink"),)},
        {"step_cache": 0.1},
        {"mask": None},
        {"control_image": IMAGE},
        {"input_images": (IMAGE, IMAGE)},
        {"input_images": (replace(IMAGE, width=65),)},
    ],
)
def test_how_they_are_made_may_not(changes: dict[str, object]) -> None:
    assert batch_key(replace(STARTING, **changes)) != batch_key(STARTING)  # type: ignore[arg-type]


def test_equal_loras_go_together_and_others_never_do() -> None:
    ink = replace(STARTING, loras=(Lora(name="ink", scale=0.5),))
    assert batch_key(ink) == batch_key(replace(ink, loras=(Lora(name="ink", scale=0.5),), seed=9))
    for others in ((Lora(name="ink"),), (Lora(name="oil", scale=0.5),), (*ink.loras, Lora(name="oil"))):
        assert batch_key(ink) != batch_key(replace(ink, loras=others))


def test_a_batch_is_bounded_by_pictures_and_by_pixels() -> None:
    card = a_card()
    free = replace(
        card,
        capabilities=replace(card.capabilities, size_rules=FreeSizes(multiple_of=16, min_side=64, max_pixels=1 << 22)),
    )
    rule = BatchRule(pixels=512 * 512, pictures=12, cards=(free,))
    request = replace(a_request(), model=free.id)
    sizes = {128: 12, 256: 4, 257: 3, 512: 1, 2048: 1}
    assert {side: rule.largest(replace(request, width=side, height=side)) for side in sizes} == sizes
    assert rule.largest(replace(request, model="nobody's")) == 1
    assert rule.largest(replace(request, width=128, height=128, step_cache=0.1)) == 1
