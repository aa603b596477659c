"""Z-Image from pictures: no step waits for what the device is at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danqing.core.capabilities import ModelCard
from danqing.engine.catalogue import Catalogue
from danqing.engine.families import denoising, flow
from danqing.engine.families.adapter import Order, Unwatched
from danqing.engine.families.z_image import pipelines
from danqing.engine.input_pictures import InputPicture
from tests.contracts.engine import request_for
from tests.unit.engine.asked import OnDevice, on_device
from tests.unit.engine.families.z_image.test_controlnet import SIZE, START, load

MASK = np.zeros(SIZE[::-1], np.uint8)
MASK[:, 32:] = 255
MASKED = InputPicture(rgb=START.rgb, mask=MASK)


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


@pytest.mark.parametrize("guidance_scale", [0.0, 3.5])
@pytest.mark.parametrize("start", [pytest.param(START, id="img2img"), pytest.param(MASKED, id="fill")])
def test_steps_are_given_without_asking_the_device(
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
    start: InputPicture,
    guidance_scale: float,
) -> None:
    # Given the picture of an engine
    request = request_for(
        card, num_inference_steps=5, strength=0.6, guidance_scale=guidance_scale, negative_prompt="ugly"
    )
    order, adapter = Order(request=request, start=start), load(card)

    def made() -> Any:  # noqa: ANN401
        (picture,) = adapter.make([order], SIZE, watchers=[Unwatched()], spare_memory=False)
        assert picture is not None
        return picture.decoded().rgb

    expected = made()
    # When all that is sent to its device is one of that's tensors
    for module in (denoising, flow, pipelines):
        monkeypatch.setattr(module, "sent", on_device)
    OnDevice.asked.clear()
    again = made()
    # Then none is asked for but the picture, and it is the same
    assert OnDevice.asked == ["__bool__", "numpy"]
    assert np.array_equal(again, expected)
