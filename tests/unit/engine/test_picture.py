"""From the model's size to the size asked for."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danqing.core.capabilities import FreeSizes, SizeRules, TrainedSizes
from danqing.core.sizes import SizePlan, plan_size
from danqing.engine.picture import finish_picture

Picture = npt.NDArray[np.uint8]
RULES: list[SizeRules] = [
    FreeSizes(multiple_of=16, min_side=64, max_pixels=200 * 200),
    TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160))),
]


class Repeating:
    """An upscaler that repeats pixels, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def enlarge(self, rgb: Picture) -> Picture:
        self.calls += 1
        return rgb.repeat(4, 0).repeat(4, 1)


def chart(width: int, height: int) -> Picture:
    """Red grows to the right, green downwards, each from 0 to 255 at pixel centres."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x + 0.5) / width * 255, (y + 0.5) / height * 255, np.zeros_like(x)], -1).astype(np.uint8)


@given(st.sampled_from(RULES), st.integers(64, 700), st.integers(64, 700))
def test_every_size_is_met_exactly(rules: SizeRules, width: int, height: int) -> None:
    plan = plan_size(rules, width, height)
    upscaler = Repeating()
    final = finish_picture(chart(*plan.native), plan, upscaler)
    assert final.shape == (height, width, 3)
    assert final.flags.c_contiguous
    assert upscaler.calls == plan.enlarge


@pytest.mark.parametrize(
    "native, final", [((128, 128), (400, 400)), ((160, 96), (640, 200)), ((96, 160), (100, 90)), ((128, 128), (90, 70))]
)
def test_the_middle_stays_in_the_middle_and_nothing_is_stretched(
    native: tuple[int, int], final: tuple[int, int]
) -> None:
    # Given a picture whose colours tell where each pixel was
    scale = max(final[0] / native[0], final[1] / native[1])
    plan = SizePlan(native=native, final=final, enlarge=scale > 1, crop_only=False)
    # When it is brought to the final size
    rgb = finish_picture(chart(*native), plan, Repeating()).astype(float)
    # Then its middle is the middle, and one pixel is the same distance in both directions, wherever it came from
    height, width, _ = rgb.shape
    assert rgb[height // 2, width // 2, :2] == pytest.approx([127.5, 127.5], abs=4)
    for axis, side, length in ((0, native[0], width), (1, native[1], height)):
        line = rgb[height // 2, :, 0] if axis == 0 else rgb[:, width // 2, 1]
        per_pixel = (line[-8:].mean() - line[:8].mean()) / (length - 8)
        assert per_pixel == pytest.approx(255 / side / scale, rel=0.08)


def test_cropping_keeps_the_pixels() -> None:
    rgb = chart(96, 64)
    plan = SizePlan(native=(96, 64), final=(90, 61), enlarge=False, crop_only=True)
    assert np.array_equal(finish_picture(rgb, plan, Repeating()), rgb[1:62, 3:93])


def test_the_models_own_size_is_left_alone() -> None:
    rgb = chart(128, 128)
    plan = plan_size(RULES[1], 128, 128)
    assert np.array_equal(finish_picture(rgb, plan, Repeating()), rgb)
