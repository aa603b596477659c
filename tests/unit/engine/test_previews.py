"""What a watcher is shown of a preview, however large that is."""

import numpy as np
import pytest
from PIL import Image

from danqing.core.sizes import SizePlan
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.previews import MAX_SIDE, PreviewingWatcher
from tests.contracts.engine import Watcher, chart, opened

SCALES = (1 / 8, 1 / 2, 1, 2)  # pixels of a preview for each that the model makes


def cut(native: tuple[int, int], final: tuple[int, int]) -> SizePlan:
    return SizePlan(native=native, final=final, enlarge=False, crop_only=True)


def shown(rgb: Pixels, plan: SizePlan, start: InputPicture | None = None) -> Pixels:
    watcher = Watcher(previews=(1,))
    PreviewingWatcher(watcher, plan, start).preview_made(1, 9, rgb)
    with opened(watcher.shown[1]) as image:
        assert image.size == (watcher.shown[1].width, watcher.shown[1].height)
        return np.asarray(image.convert("RGB"), np.uint8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("side, size", [(128, (128, 80)), (800, (512, 320))], ids=str)
def test_a_preview_of_any_size_shows_the_same_part_as_large(scale: float, side: int, size: tuple[int, int]) -> None:
    # Given a plan that cuts a part out of the middle, and the whole at this scale
    plan = cut((side, side), (side, side * 5 // 8))
    scaled = round(side * scale)
    # When it is shown
    seen = shown(np.asarray(chart(scaled, scaled)), plan).astype(int)
    # Then that part is, no larger than is allowed, and no smaller however small the preview was
    assert seen.shape[1::-1] == size
    top, bottom = seen[0].mean(0)[1], seen[-1].mean(0)[1]
    assert (top, bottom) == pytest.approx((255 * 3 / 16, 255 * 13 / 16), abs=255 / scaled + 4)
    left, right = seen[:, 0].mean(0)[0], seen[:, -1].mean(0)[0]
    assert (left, right) == pytest.approx((0, 255), abs=255 / scaled + 4)


@pytest.mark.parametrize("scale", SCALES)
def test_what_a_mask_keeps_is_sharp_beside_a_preview_of_any_size(scale: float) -> None:
    # Given an input of fine stripes, of which the left half is kept
    plan = cut((64, 64), (64, 48))
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    side = round(64 * scale)
    # When a grey preview is shown
    seen = shown(np.full((side, side, 3), 128, np.uint8), plan, InputPicture(rgb=stripes, mask=mask)).astype(int)
    # Then the stripes are there to the pixel, but for JPEG, and beyond a soft edge nothing of them
    assert np.abs(seen[:, :32] - stripes[8:56, :32]).max() <= 24
    assert np.abs(seen[:, 40:] - 128).max() <= 8


def test_what_is_kept_shrinks_with_the_preview() -> None:
    # Given a picture larger than what is shown, with a mask that keeps its upper half
    plan = cut((1024, 512), (1024, 512))
    mask = np.zeros((512, 1024), np.uint8)
    mask[256:] = 255
    red = np.asarray(Image.new("RGB", (1024, 512), (200, 30, 30)))
    # When several previews are shown
    watcher = Watcher(previews=(1, 2))
    previewing = PreviewingWatcher(watcher, plan, InputPicture(rgb=red, mask=mask))
    for step, level in ((1, 60), (2, 180)):
        previewing.preview_made(step, 9, np.full((64, 128, 3), level, np.uint8))
        previewing.step_done(step, 9)
        # Then each is new below, and the input above
        with opened(watcher.shown[step]) as image:
            seen = np.asarray(image, int)
        assert seen.shape == (MAX_SIDE // 2, MAX_SIDE, 3)
        assert np.abs(seen[:120] - (200, 30, 30)).max() <= 6
        assert np.abs(seen[136:] - level).max() <= 6
