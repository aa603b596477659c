"""The bundled model, loaded as a worker loads it, makes pictures from pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Engine
from danqing.core.types import ArtifactKind, GenerationRequest, Mode
from danqing.engine.build import build_engine
from danqing.engine.families.z_image.capabilities import SAMPLE
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import EVERY_STEP, Album, Pixels, Watcher, denoise, make, opened, pixels, starting

SIDE = 128  # the model's own


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if not (Path(SAMPLE.source) / "model_index.json").exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SAMPLE.source} has no model")
        pytest.skip("the sample checkpoint is not in this tree")
    engine = build_engine(EngineSpec(cards=(SAMPLE,), device="cpu"))
    engine.load()
    yield engine


def drawing(side: int = SIDE) -> Image.Image:
    """A yellow disc with two dark eyes on green."""
    image = Image.new("RGB", (side, side), (60, 160, 90))
    draw = ImageDraw.Draw(image)
    for colour, box in (
        ((250, 205, 60), (0.2, 0.2, 0.8, 0.8)),
        ((70, 50, 30), (0.36, 0.4, 0.44, 0.52)),
        ((70, 50, 30), (0.56, 0.4, 0.64, 0.52)),
    ):
        draw.ellipse([edge * side for edge in box], fill=colour)
    return image


def request(mode: Mode, album: Album, **changes: object) -> GenerationRequest:
    card: ModelCard = SAMPLE
    defaults = card.defaults
    settings: dict[str, object] = {
        "image": drawing(),
        "prompt": "a strawberry on a purple background",
        "width": SIDE,
        "height": SIDE,
        "num_inference_steps": defaults.num_inference_steps,
        "guidance_scale": defaults.guidance_scale,
        **changes,
    }
    return starting(card, album, mode, **settings)  # type: ignore[arg-type]


def distance(picture: Pixels, other: Pixels) -> float:
    """Mean difference of the levels, 0 to 255."""
    return float(np.abs(picture.astype(int) - other.astype(int)).mean())


def test_img2img_stays_near_the_drawing_as_far_as_its_strength_says(engine: Engine) -> None:
    album = Album()
    drawn = np.asarray(drawing())
    # When the drawing is made into something else, weakly and in full
    weak, full = (
        pixels(make(engine, request(Mode.IMG2IMG, album, strength=strength), album=album)) for strength in (0.3, 1.0)
    )
    # Then the weak one still shows it, and the full one nothing of it
    assert distance(weak, drawn) < 20
    assert distance(full, drawn) > 2 * distance(weak, drawn)
    blank = request(Mode.IMG2IMG, album, image=Image.new("RGB", (SIDE, SIDE)), strength=1.0)
    assert np.array_equal(full, pixels(make(engine, blank, album=album)))


@pytest.mark.parametrize("size", [(SIDE, SIDE), (300, 220)], ids=str)
def test_fill_keeps_the_black_part_to_the_pixel(engine: Engine, size: tuple[int, int]) -> None:
    # Given a mask that frees the lower right quarter
    album = Album()
    image = drawing().resize(size, Image.Resampling.LANCZOS)
    mask = Image.new("RGB", size, "black")
    left, top = size[0] // 2, size[1] // 2
    mask.paste((255, 255, 255), (left, top, *size))
    filled = pixels(
        make(
            engine,
            request(Mode.FILL, album, image=image, mask=mask, strength=1.0, width=size[0], height=size[1]),
            album=album,
        )
    )
    # Then everything else is as it was, and the quarter is not
    before = np.asarray(image)
    kept = np.ones((size[1], size[0]), bool)
    kept[top:, left:] = False
    assert np.array_equal(filled[kept], before[kept])
    assert distance(filled[~kept], before[~kept]) > 3


def test_an_edit_of_two_pictures_begins_with_both(engine: Engine) -> None:
    album = Album()
    second = Image.new("RGB", (SIDE, SIDE), (200, 40, 40))
    one = request(Mode.EDIT, album, strength=0.3)
    two = one.__class__(**{**one.__dict__, "input_images": (*one.input_images, album.add(second))})
    # When the second is all red, then the right half is much nearer to red than without it
    with_red, without = (pixels(make(engine, each, album=album))[:, SIDE // 2 + 8 :] for each in (two, one))
    red = np.full_like(without, 1) * np.array([200, 40, 40], np.uint8)
    assert distance(with_red, red) < distance(without, red) / 2


def test_previews_come_nearer_to_the_picture(engine: Engine) -> None:
    album = Album()
    watcher = Watcher(previews=EVERY_STEP)
    raw = denoise(engine, request(Mode.IMG2IMG, album, strength=1.0), album=album, watcher=watcher)
    final = pixels(raw)
    distances = [distance(np.asarray(opened(preview)), final) for preview in watcher.shown.values()]
    assert len(distances) == SAMPLE.defaults.num_inference_steps - 1
    assert distances[-1] < distances[0]
    assert distances[-1] < 12


def test_an_upscaled_copy_is_four_times_as_large_and_shows_the_same(engine: Engine) -> None:
    album = Album()
    wanted = request(Mode.IMG2IMG, album, strength=0.5, further=(ArtifactKind.UPSCALED,))
    picture = make(engine, wanted, album=album)
    large = engine.enlarge(picture, on_part=lambda part, parts: None)
    file = opened(engine.encode(large, wanted, ArtifactKind.UPSCALED))
    assert file.size == (4 * SIDE, 4 * SIDE)
    again = file.resize((SIDE, SIDE), Image.Resampling.BOX)
    assert distance(np.asarray(again), pixels(picture)) < 12
    assert "Postprocess upscale by: 4" in file.info["parameters"]
