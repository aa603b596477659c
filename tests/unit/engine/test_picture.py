"""From the model's size to the size asked for."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from danqing.core.capabilities import FreeSizes, SizeRules, TrainedSizes
from danqing.core.sizes import SizePlan, plan_size
from danqing.engine.picture import finish_picture
from danqing.engine.upscale.upscaler import OnPart, UpscalerTraits

Picture = npt.NDArray[np.uint8]
RULES: list[SizeRules] = [
    FreeSizes(multiple_of=16, min_side=64, max_pixels=200 * 200),
    TrainedSizes(sizes=((128, 128), (144, 112), (112, 144), (160, 96), (96, 160))),
]

CONTEXT = 18  # pixels that the real upscaler's results depend on to each side


class Repeating:
    """An upscaler that repeats pixels, and counts how often it is asked."""

    traits = UpscalerTraits(name="repeating", margin=CONTEXT)

    def __init__(self) -> None:
        self.calls = 0

    def enlarge(self, rgb: Picture, *, on_part: OnPart = lambda part, parts: None) -> Picture:
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


class Mixing(Repeating):
    """Each pixel it makes depends on all pixels within the distance that Real-ESRGAN's depend on, mirrored outside."""

    def enlarge(self, rgb: Picture, *, on_part: OnPart = lambda part, parts: None) -> Picture:
        self.pixels = rgb.shape[:2]
        framed = np.pad(rgb.astype(np.int64), ((CONTEXT, CONTEXT), (CONTEXT, CONTEXT), (0, 0)), mode="symmetric")
        for axis in (0, 1):
            framed = np.lib.stride_tricks.sliding_window_view(framed, 2 * CONTEXT + 1, axis).sum(-1)
        return super().enlarge((framed // 7 % 256).astype(np.uint8))


@pytest.mark.parametrize(
    "size, enlarged", [((2048, 64), (160, 48)), ((64, 2048), (48, 160)), ((1024, 768), (144, 112)), ((333, 200), None)]
)
def test_only_what_shows_is_enlarged_and_the_result_is_that_of_enlarging_all(
    size: tuple[int, int], enlarged: tuple[int, int] | None
) -> None:
    # Given noise, and an upscaler that looks as far as the real one
    plan = plan_size(RULES[1], *size)
    rgb = np.random.default_rng(0).integers(0, 256, (*reversed(plan.native), 3), np.uint8)
    upscaler = Mixing()
    final = finish_picture(rgb, plan, upscaler)
    # Then it gives to the byte what a crop of the whole enlarged picture gives
    whole = Image.fromarray(Mixing().enlarge(rgb))
    width, height = (4 * side / plan.scale for side in plan.final)
    left, top = (whole.width - width) / 2, (whole.height - height) / 2
    box = (left, top, left + width, top + height)
    assert np.array_equal(final, np.array(whole.resize(plan.final, Image.Resampling.LANCZOS, box=box)))
    # And no more was enlarged than that takes
    if enlarged:
        assert upscaler.pixels == (enlarged[1], enlarged[0])


def test_cropping_keeps_the_pixels() -> None:
    rgb = chart(96, 64)
    plan = SizePlan(native=(96, 64), final=(90, 61), enlarge=False, crop_only=True)
    assert np.array_equal(finish_picture(rgb, plan, Repeating()), rgb[1:62, 3:93])


def test_the_models_own_size_is_left_alone() -> None:
    rgb = chart(128, 128)
    plan = plan_size(RULES[1], 128, 128)
    assert np.array_equal(finish_picture(rgb, plan, Repeating()), rgb)
