"""The bundled edit model, beside the sample model that draws what there is to edit and what should come of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danqing.core.engine_port import Engine
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.build import build_engine
from danqing.engine.families.qwen_image.capabilities import SAMPLE_EDIT
from danqing.engine.families.z_image.capabilities import SAMPLE
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import (
    EVERY_STEP,
    Album,
    Pixels,
    Watcher,
    denoise,
    make,
    opened,
    pixels,
    request_for,
    starting,
)

SIDE = 128  # the models' own
STEPS = SAMPLE.defaults.num_inference_steps


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = build_engine(EngineSpec(cards=(SAMPLE, SAMPLE_EDIT), device="cpu"))
    engine.load()
    yield engine


def drawn(engine: Engine, prompt: str) -> Pixels:
    return pixels(
        make(engine, request_for(SAMPLE, prompt=prompt, width=SIDE, height=SIDE, seed=1, num_inference_steps=STEPS))
    )


def editing(album: Album, picture: Pixels, instruction: str, size: tuple[int, int] = (SIDE, SIDE)) -> GenerationRequest:
    return starting(
        SAMPLE_EDIT,
        album,
        Mode.EDIT,
        image=Image.fromarray(picture),
        prompt=instruction,
        num_inference_steps=SAMPLE_EDIT.defaults.num_inference_steps,
        guidance_scale=SAMPLE_EDIT.defaults.guidance_scale,
        width=size[0],
        height=size[1],
        strength=None,
    )


def edited(engine: Engine, picture: Pixels, instruction: str, size: tuple[int, int] = (SIDE, SIDE)) -> Pixels:
    album = Album()
    return pixels(make(engine, editing(album, picture, instruction, size), album=album))


def distance(picture: Pixels, other: Pixels) -> float:
    """Mean difference of the levels, 0 to 255, where nothing but the ground and the rough shapes count."""
    small = (Image.fromarray(each).resize((32, 32), Image.Resampling.BOX) for each in (picture, other))
    first, second = (np.asarray(each).astype(int) for each in small)
    return float(np.abs(first - second).mean())


@pytest.mark.parametrize(
    "instruction, meant",
    [
        ("make the background blue", "a dog on a blue background"),
        ("把背景改成蓝色", "a dog on a blue background"),
        ("replace the dog with a pizza", "a pizza on a yellow background"),
        ("把狗换成披萨", "a pizza on a yellow background"),
    ],
)
def test_an_instruction_is_done_in_both_languages(engine: Engine, instruction: str, meant: str) -> None:
    before = drawn(engine, "a dog on a yellow background")
    after = edited(engine, before, instruction)
    wanted, others = drawn(engine, meant), [before, drawn(engine, "a pizza on a blue background")]
    assert all(distance(after, wanted) < 0.6 * distance(after, other) for other in others)


def test_places_stay_where_they_are_in_another_shape(engine: Engine) -> None:
    # Given a picture twice as wide as high, whose thing is in the middle
    ground = drawn(engine, "a dog on a yellow background")
    wide = np.pad(ground, ((0, 0), (SIDE // 2, SIDE // 2), (0, 0)), mode="edge")
    after = edited(engine, wide, "make the background blue", (2 * SIDE, SIDE))
    # Then it is the same with another ground
    wanted = np.pad(drawn(engine, "a dog on a blue background"), ((0, 0), (SIDE // 2, SIDE // 2), (0, 0)), mode="edge")
    assert after.shape == wide.shape
    assert distance(after, wanted) < 0.5 * distance(after, wide)


def test_the_card_names_its_licence() -> None:
    assert "Apache-2.0" in (Path(SAMPLE_EDIT.source) / "README.md").read_text()


def test_previews_come_nearer_to_the_picture(engine: Engine) -> None:
    album, watcher = Album(), Watcher(previews=EVERY_STEP)
    before = drawn(engine, "a dog on a yellow background")
    request = editing(album, before, "make the background blue")
    final = pixels(denoise(engine, request, album=album, watcher=watcher))
    distances = [distance(np.asarray(opened(preview)), final) for preview in watcher.shown.values()]
    assert distances[-1] < distances[0]
    assert distances[-1] < 12
