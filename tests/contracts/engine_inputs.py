"""What every `Engine` promises of requests that start from pictures, and of previews."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine
from danqing.core.errors import ArtifactNotFound
from danqing.core.types import Mode
from tests.contracts.engine import (
    EVERY_STEP,
    Album,
    Pixels,
    Watcher,
    chart,
    denoise,
    half_mask,
    make,
    opened,
    pixels,
    request_for,
    starting,
)


class EngineInputsContract:
    """The suite. `engine` is loaded; it may be shared by all tests."""

    @pytest.fixture
    def album(self) -> Album:
        return Album()

    @pytest.mark.parametrize("size", [(96, 64), (150, 110)], ids=str)
    def test_at_strength_0_the_input_comes_back_at_the_size_asked_for(
        self, engine: Engine, card: ModelCard, album: Album, size: tuple[int, int]
    ) -> None:
        # Given an input of another size and shape
        request = starting(card, album, Mode.IMG2IMG, strength=0.0, width=size[0], height=size[1])
        # Then what comes is its middle, not stretched and not computed
        shown = pixels(make(engine, request, album=album)).astype(int)
        scale = max(size[0] / 200, size[1] / 120)
        half_width, half_height = size[0] / scale / 2, size[1] / scale / 2
        box = (100 - half_width, 60 - half_height, 100 + half_width, 60 + half_height)
        expected = np.asarray(chart(200, 120).resize(size, Image.Resampling.BICUBIC, box=box)).astype(int)
        assert np.abs(shown - expected).max() <= 4

    def test_at_strength_1_nothing_of_the_input_is_left(self, engine: Engine, card: ModelCard, album: Album) -> None:
        same = {"strength": 1.0, "seed": 7, "prompt": "a red apple", "num_inference_steps": 4}
        from_chart = denoise(engine, starting(card, album, Mode.IMG2IMG, **same), album=album)
        assert from_chart.rgb == denoise(engine, request_for(card)).rgb

    def test_the_weaker_the_nearer_to_the_input(self, engine: Engine, card: ModelCard, album: Album) -> None:
        # Given what the model's own way of keeping pictures makes of the input, at hardly any strength
        def made(strength: float) -> Pixels:
            request = starting(card, album, Mode.IMG2IMG, strength=strength, num_inference_steps=40)
            return pixels(denoise(engine, request, album=album)).astype(int)

        start = made(0.001)
        # Then the farther one goes, the less is left of it
        distances = [np.abs(made(strength) - start).mean() for strength in (0.025, 0.3, 1.0)]
        assert distances == sorted(distances)
        assert distances[0] < 0.8 * distances[-1]

    def test_an_edit_is_img2img_or_with_a_mask_fill(self, engine: Engine, card: ModelCard, album: Album) -> None:
        if card.capabilities.instruction_edit:
            pytest.skip("the model edits in its own way")
        img2img, fill = (starting(card, album, mode) for mode in (Mode.IMG2IMG, Mode.FILL))
        for request in (img2img, fill):
            edit = dataclasses.replace(request, mode=Mode.EDIT)
            assert make(engine, edit, album=album) == make(engine, request, album=album)

    def test_several_images_stand_side_by_side(self, engine: Engine, card: ModelCard, album: Album) -> None:
        # Given three flat pictures, one with transparent parts, and a strength at which they come back
        colours = [(200, 0, 0), (0, 180, 0), (0, 0, 220)]
        refs = [album.add(Image.new("RGB", (50, 80), colour)) for colour in colours]
        refs.append(album.add(Image.new("RGBA", (30, 30), (9, 9, 9, 0))))
        request = request_for(
            card, mode=Mode.EDIT, input_images=tuple(refs), strength=0.0, width=128, height=128, prompt="all together"
        )
        # Then each fills its part, and what was transparent is white
        shown = pixels(make(engine, request, album=album))
        corners = [shown[row, column].tolist() for row in (10, -10) for column in (10, -10)]
        assert corners == [*(list(colour) for colour in colours), [255, 255, 255]]

    @pytest.mark.parametrize("size", [(96, 64), (90, 61), (250, 170)], ids=str)
    @pytest.mark.parametrize("transparent", [False, True])
    def test_what_a_mask_keeps_is_kept_to_the_pixel(
        self, engine: Engine, card: ModelCard, album: Album, size: tuple[int, int], transparent: bool
    ) -> None:
        # Given a mask that is white, or transparent, on the right half, for a picture of the size that is made
        mask = half_mask(*size)
        if transparent:
            mask.putalpha(Image.eval(mask.getchannel("R"), lambda level: 255 - level))
        image = chart(*size)
        request = starting(card, album, Mode.FILL, image=image, mask=mask, strength=1.0, width=size[0], height=size[1])
        # When it is filled
        shown, before = pixels(make(engine, request, album=album)), np.asarray(image)
        # Then the black half is untouched, and the other is made anew up to its edge
        middle = size[0] // 2
        assert np.array_equal(shown[:, :middle], before[:, :middle])
        changed = np.abs(shown[:, middle:].astype(int) - before[:, middle:]).max(axis=(0, 2))
        assert changed.min() > 0

    def test_what_fills_a_mask_depends_on_what_is_around_it(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        def right_half(image: Image.Image) -> Pixels:
            request = starting(card, album, Mode.FILL, image=image, mask=half_mask(96, 64), strength=1.0)
            return pixels(denoise(engine, request, album=album))[:, 64:]

        assert not np.array_equal(right_half(chart(96, 64)), right_half(Image.new("RGB", (96, 64), "black")))

    def test_grey_in_a_mask_is_something_of_both(self, engine: Engine, card: ModelCard, album: Album) -> None:
        def filled(level: int) -> Pixels:
            mask = Image.new("RGB", (96, 64), (level,) * 3)
            request = starting(card, album, Mode.FILL, image=chart(96, 64), mask=mask, strength=1.0)
            return pixels(make(engine, request, album=album)).astype(int)

        kept, some, more, anew = (
            np.abs(filled(level) - np.asarray(chart(96, 64))).mean() for level in (0, 60, 160, 255)
        )
        assert kept == 0 < some < more < anew

    def test_only_the_first_of_several_images_has_room_beside_a_mask(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        one = starting(card, album, Mode.EDIT, mask=half_mask(200, 120))
        two = dataclasses.replace(one, input_images=(*one.input_images, album.add(Image.new("RGB", (9, 9)))))
        assert denoise(engine, two, album=album).rgb == denoise(engine, one, album=album).rgb
        assert denoise(engine, one, album=album).adjustments == ()
        (said,) = make(engine, two, album=album).adjustments
        assert said == "only the first of 2 input images used, because its mask is filled"

    def test_an_input_that_is_gone_is_an_error_of_the_store(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        with pytest.raises(ArtifactNotFound):
            denoise(engine, starting(card, album, Mode.IMG2IMG), album=Album())


class EnginePreviewsContract:
    """The suite. `engine` is loaded; it may be shared by all tests."""

    @pytest.fixture
    def album(self) -> Album:
        return Album()

    def test_previews_change_nothing_but_what_the_watcher_sees(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        for request in (request_for(card), starting(card, album, Mode.IMG2IMG), starting(card, album, Mode.FILL)):
            blind, seeing = Watcher(), Watcher(previews=EVERY_STEP)
            without = denoise(engine, request, album=album, watcher=blind)
            # When every step is shown, then the picture and the steps are the same
            assert denoise(engine, request, album=album, watcher=seeing) == without
            assert seeing.steps == blind.steps
            # And a preview was asked for and made after each step but the last
            assert seeing.asked == blind.asked == list(range(1, len(blind.steps)))
            assert list(seeing.shown) == seeing.asked
            assert blind.shown == {}

    def test_only_the_previews_that_are_wanted_are_made(self, engine: Engine, card: ModelCard) -> None:
        watcher = Watcher(previews=(2,))
        denoise(engine, request_for(card), watcher=watcher)
        assert list(watcher.shown) == [2]

    @pytest.mark.parametrize("size", [(96, 64), (90, 61), (64, 400)], ids=str)
    def test_a_preview_is_a_small_jpeg_of_what_will_be_shown(
        self, engine: Engine, card: ModelCard, size: tuple[int, int]
    ) -> None:
        watcher = Watcher(previews=EVERY_STEP)
        request = request_for(card, width=size[0], height=size[1], num_inference_steps=3)
        denoise(engine, request, watcher=watcher)
        for preview in watcher.shown.values():
            with opened(preview) as image:
                assert (image.format, image.size) == ("JPEG", (preview.width, preview.height))
            assert preview.media_type == "image/jpeg"
            assert max(preview.width, preview.height) <= 512
            assert preview.width / preview.height == pytest.approx(size[0] / size[1], rel=0.05)

    def test_a_preview_of_a_fill_keeps_what_the_mask_keeps(self, engine: Engine, card: ModelCard, album: Album) -> None:
        watcher = Watcher(previews=EVERY_STEP)
        image = Image.new("RGB", (96, 64), (30, 160, 90))
        request = starting(card, album, Mode.FILL, image=image, mask=half_mask(96, 64), strength=1.0)
        denoise(engine, request, album=album, watcher=watcher)
        for preview in watcher.shown.values():
            with opened(preview) as shown:
                left = np.asarray(shown, int)[:, : preview.width // 2 - 16]
            assert np.abs(left - (30, 160, 90)).max() <= 6  # but for JPEG
