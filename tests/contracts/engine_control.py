"""What every `Engine` promises of pictures that a control map shapes, for models that have a ControlNet."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine
from danqing.core.sizes import plan_size
from danqing.core.types import GenerationRequest, Mode, RawPicture
from danqing.engine.edges import canny
from tests.contracts.engine import (
    EVERY_STEP,
    Album,
    Watcher,
    chart,
    computed,
    denoise,
    make,
    original,
    pixels,
    request_for,
)


def drawing(width: int, height: int) -> Image.Image:
    """White lines on black: a circle and a cross."""
    lines = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(lines)
    draw.ellipse((width // 8, height // 8, width * 5 // 8, height * 7 // 8), outline="white")
    draw.line((0, 0, width, height), fill="white")
    draw.line((0, height // 3, width, height // 3), fill="white")
    return lines


def photo(width: int, height: int) -> Image.Image:
    """A red disc before green."""
    picture = Image.new("RGB", (width, height), (30, 140, 60))
    ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(220, 30, 20))
    return picture


def controlled(
    card: ModelCard,
    album: Album,
    *,
    control: Image.Image | None = None,
    image: Image.Image | None = None,
    **changes: object,
) -> GenerationRequest:
    """A request whose input does not show, as a client's that says no strength."""
    return request_for(
        card,
        **{
            "mode": Mode.CONTROLNET,
            "input_images": (album.add(image or chart(200, 120)),),
            "control_image": album.add(control or drawing(96, 64)),
            "strength": 1.0,
            **changes,
        },
    )


class EngineControlContract:
    """The suite. `engine` is loaded; it may be shared by all tests."""

    @pytest.fixture
    def album(self) -> Album:
        return Album()

    def test_the_model_has_the_mode_and_its_companion(self, card: ModelCard) -> None:
        assert Mode.CONTROLNET in card.capabilities.modes
        assert card.companion(Mode.CONTROLNET) is not None

    def test_a_controlled_picture_is_the_same_again_and_disturbs_no_other(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        plain, request = request_for(card), controlled(card, album)
        without = original(engine, plain)
        first = original(engine, request, album=album)
        assert original(engine, plain) == without
        assert original(engine, request, album=album) == first

    def test_the_map_shapes_the_picture(self, engine: Engine, card: ModelCard, album: Album) -> None:
        plain = denoise(engine, request_for(card))
        lines, nothing = (
            denoise(engine, controlled(card, album, control=control), album=album)
            for control in (drawing(96, 64), Image.new("RGB", (96, 64)))
        )
        assert len({plain.rgb, lines.rgb, nothing.rgb}) == 3

    def test_the_scale_says_how_strongly(self, engine: Engine, card: ModelCard, album: Album) -> None:
        # Given the picture that the prompt alone makes
        plain = pixels(denoise(engine, request_for(card))).astype(int)

        def distance(scale: float) -> float:
            request = controlled(card, album, controlnet_conditioning_scale=scale)
            return float(np.abs(pixels(denoise(engine, request, album=album)).astype(int) - plain).mean())

        # Then at 0 the map says nothing, to rounding, and it says more and more beyond
        assert distance(0.0) < 1 < distance(0.5) < distance(2.0)

    def test_a_map_of_another_size_is_brought_over_the_picture(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        # Given a map, and the same three times as large and wider than the picture
        small = photo(96, 64)
        large = Image.new("RGB", (96 * 3 + 60, 64 * 3), "white")
        large.paste(small.resize((96 * 3, 64 * 3), Image.Resampling.NEAREST), (30, 0))
        made = [
            pixels(denoise(engine, controlled(card, album, control=control), album=album)).astype(int)
            for control in (small, large, photo(64, 96))
        ]
        # Then they shape it nearly alike, and another one does not
        assert np.abs(made[0] - made[1]).mean() < 0.5 * np.abs(made[0] - made[2]).mean()

    @pytest.mark.parametrize("size", [(96, 64), (65, 131), (250, 70)], ids=str)
    def test_a_controlled_picture_has_the_size_asked_for(
        self, engine: Engine, card: ModelCard, album: Album, size: tuple[int, int]
    ) -> None:
        request = controlled(card, album, width=size[0], height=size[1], num_inference_steps=1)
        made = make(engine, request, album=album)
        assert (made.width, made.height) == size

    def test_of_a_photo_the_edges_are_the_map(self, engine: Engine, card: ModelCard, album: Album) -> None:
        # Given a photo of the size that the model makes, and its edges
        width, height = plan_size(card.capabilities.size_rules, 96, 64).native
        seen = photo(width, height)
        edges = Image.fromarray(canny(np.asarray(seen))).convert("RGB")
        size: dict[str, Any] = {"width": width, "height": height}
        from_edges = controlled(card, album, control=edges, **size)
        from_photo = controlled(card, album, control=seen, control_preprocess="canny", **size)
        # Then it makes no difference who finds them, but the photo itself is another map
        shaped = denoise(engine, from_edges, album=album)
        assert denoise(engine, from_photo, album=album) == shaped
        as_it_is = dataclasses.replace(from_photo, control_preprocess=None)
        assert denoise(engine, as_it_is, album=album).rgb != shaped.rgb

    def test_below_strength_1_a_controlled_picture_begins_with_the_input(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        def made(image: Image.Image, strength: float) -> RawPicture:
            return denoise(engine, controlled(card, album, image=image, strength=strength), album=album)

        # At 1 nothing of the input shows, below that something does
        black = Image.new("RGB", (96, 64))
        assert made(black, 1.0) == made(chart(96, 64), 1.0)
        assert made(black, 0.7).rgb != made(chart(96, 64), 0.7).rgb

    def test_a_controlled_picture_is_the_nearer_to_its_input_the_weaker(
        self, engine: Engine, card: ModelCard, album: Album
    ) -> None:
        def made(strength: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
            request = controlled(card, album, strength=strength, num_inference_steps=40)
            return pixels(denoise(engine, request, album=album)).astype(int)

        start = made(0.001)
        distances = [np.abs(made(strength) - start).mean() for strength in (0.025, 0.3, 1.0)]
        assert distances == sorted(distances)
        assert distances[0] < 0.8 * distances[-1]

    def test_at_strength_0_no_map_matters(self, engine: Engine, card: ModelCard, album: Album) -> None:
        request = controlled(card, album, image=photo(96, 64), strength=0.0)
        watcher = Watcher()
        denoise(engine, request, album=album, watcher=watcher)
        assert watcher.steps == []
        assert np.array_equal(pixels(make(engine, request, album=album)), np.asarray(photo(96, 64)))

    @pytest.mark.parametrize("strength, taken", [(1.0, 9), (0.5, 5), (0.01, 1)])
    def test_progress_counts_the_steps_of_a_controlled_picture(
        self, engine: Engine, card: ModelCard, album: Album, strength: float, taken: int
    ) -> None:
        watcher = Watcher()
        request = controlled(card, album, strength=strength, num_inference_steps=9)
        denoise(engine, request, album=album, watcher=watcher)
        assert watcher.steps == [(step, taken) for step in range(1, taken + 1)]

    @pytest.mark.parametrize("strength", [1.0, 0.8])
    def test_previews_of_a_controlled_picture_change_nothing(
        self, engine: Engine, card: ModelCard, album: Album, strength: float
    ) -> None:
        seeing = Watcher(previews=EVERY_STEP)
        request = controlled(card, album, strength=strength)
        assert denoise(engine, request, album=album, watcher=seeing) == denoise(engine, request, album=album)
        assert list(seeing.shown) == list(range(1, len(seeing.steps)))

    @pytest.mark.parametrize("strength", [1.0, 0.6])
    @pytest.mark.parametrize("guidance_scale", [0.0, 3.0])
    def test_controlled_pictures_made_together_are_those_made_alone(
        self, engine: Engine, card: ModelCard, album: Album, strength: float, guidance_scale: float
    ) -> None:
        if guidance_scale and not card.capabilities.guidance:
            pytest.skip("the model has no guidance")
        # Given three requests, each with a prompt, a seed, an input and a map of its own
        prompts = ("a", "a red apple on a blue background " * 3, "蓝色背景上的苹果")
        requests = [
            controlled(
                card,
                album,
                control=drawing(96, 64).rotate(90 * turn),
                image=photo(96, 64).rotate(90 * turn),
                prompt=prompt,
                seed=turn,
                strength=strength,
                guidance_scale=guidance_scale,
            )
            for turn, prompt in enumerate(prompts)
        ]
        # When they are made together
        together = engine.denoise(requests, read_image=album.read, observers=[Watcher(), Watcher(), Watcher()])
        # Then each is, to rounding, the one that is made alone
        for request, made in zip(requests, together, strict=True):
            alone = denoise(engine, request, album=album)
            assert np.abs(pixels(computed(made)).astype(int) - pixels(alone)).max() <= 2

    @pytest.mark.parametrize("after", [0, 1, 3])
    def test_a_controlled_picture_is_stopped_within_one_step(
        self, engine: Engine, card: ModelCard, album: Album, after: int
    ) -> None:
        undisturbed = denoise(engine, controlled(card, album, seed=99), album=album)
        watcher = Watcher(is_stopped=lambda: len(watcher.steps) >= after)
        dropped = engine.denoise([controlled(card, album)], read_image=album.read, observers=[watcher])
        assert list(dropped) == [None]
        assert [step for step, _ in watcher.steps] == list(range(1, after + 1))
        assert denoise(engine, controlled(card, album, seed=99), album=album) == undisturbed
