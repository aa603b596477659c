"""The adapter against diffusers' own pipelines, in every mode, and batches against pictures that are made alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.qwenimage import (
    pipeline_qwenimage_edit,
    pipeline_qwenimage_edit_inpaint,
    pipeline_qwenimage_edit_plus,
    pipeline_qwenimage_img2img,
    pipeline_qwenimage_inpaint,
)
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit import QwenImageEditPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint import QwenImageEditInpaintPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_img2img import QwenImageImg2ImgPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_inpaint import QwenImageInpaintPipeline
from PIL import Image

from danqing.core.types import Mode
from danqing.engine.families.adapter import Order
from danqing.engine.families.qwen_image.latents import encode, packed
from danqing.engine.families.qwen_image.references import scaled_size
from danqing.engine.input_pictures import InputPicture
from danqing.engine.launched import levels
from tests.contracts.engine import request_for
from tests.unit.engine.asked import Asked
from tests.unit.engine.families.qwen_image.making import (
    SIZE,
    card_of,
    differ,
    diffusers_picture,
    edit_request,
    load,
    make,
    make_one,
    picture,
    showing_one_picture,
    start,
)
from tests.unit.engine.families.qwen_image.tiny_qwen import MULTIPLE_OF

GUIDANCE = pytest.mark.parametrize("guidance_scale", [1.0, 4.0])


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the latents of what diffusers' pipelines begin with."""
    for module in (pipeline_qwenimage_img2img, pipeline_qwenimage_inpaint, pipeline_qwenimage_edit_inpaint):
        monkeypatch.setattr(module, "retrieve_latents", lambda encoded, generator: encoded.latent_dist.mode())


@GUIDANCE
@pytest.mark.parametrize("negative_prompt", ["", "ugly, " * 8])
def test_pictures_equal_the_pipelines_own(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch, guidance_scale: float, negative_prompt: str
) -> None:
    # Given diffusers' picture of a request
    card = card_of(base_folder)
    request = request_for(card, guidance_scale=guidance_scale, negative_prompt=negative_prompt)
    width, height = SIZE
    expected = diffusers_picture(monkeypatch, QwenImagePipeline, base_folder, request, width=width, height=height)
    # When we make it, then it is the same, but for rounding
    ours = make_one(load(card), Order(request=request))
    assert ours.std() > 3  # a picture that could differ
    assert differ(ours, expected) <= 1


@pytest.mark.usefixtures("no_chance")
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("pipeline_class", [QwenImageImg2ImgPipeline, QwenImageInpaintPipeline])
def test_pictures_from_pictures_equal_the_pipelines_own(
    base_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    pipeline_class: Any,  # noqa: ANN401
    strength: float,
) -> None:
    card = card_of(base_folder)
    begin = start(mask=pipeline_class is QwenImageInpaintPipeline)
    request = request_for(card, guidance_scale=4.0, strength=strength, num_inference_steps=5)
    masked = {"mask_image": Image.fromarray(begin.mask)} if begin.mask is not None else {}
    width, height = SIZE
    expected = diffusers_picture(
        monkeypatch,
        pipeline_class,
        base_folder,
        request,
        image=Image.fromarray(begin.rgb),
        strength=strength,
        width=width,
        height=height,
        **masked,
    )
    ours = make_one(load(card), Order(request=request, start=begin))
    assert ours.std() > 3
    assert differ(ours, expected) <= 1


def test_no_step_of_an_inpainting_asks_the_device(base_folder: Path) -> None:
    # Given what is asked in one step, of the host's numbers
    card = card_of(base_folder)
    adapter, asked = load(card), list[list[str]]()
    for steps in (1, 1, 3):
        request = request_for(card, strength=1.0, num_inference_steps=steps, guidance_scale=4.0)
        with Asked("index") as watching:
            make_one(adapter, Order(request=request, start=start(mask=True)))
        asked.append(watching.names)
    # Then in more of them it is no more
    assert asked[1] == asked[2]


def test_whether_prompts_are_padded_is_known_without_the_device(base_folder: Path) -> None:
    card = card_of(base_folder)
    model: Any = load(card)._model
    orders = [Order(request=request_for(card, prompt=prompt)) for prompt in ("a", "a red apple")]
    for batch in (orders[:1], orders):
        given = model.encode(batch).arguments
        mask = given["prompt_embeds_mask"]
        assert mask.device.type == "cpu"
        # Given what was encoded is on a device that is none
        embeds = given["prompt_embeds"].to("meta")
        pipeline, _ = model.pipeline(batch)
        _, told = pipeline.encode_prompt(prompt_embeds=embeds, prompt_embeds_mask=mask)
        # Then the mask goes there, if it is needed
        assert told is None if len(batch) == 1 else told.device == embeds.device


@GUIDANCE
@pytest.mark.parametrize("count", [1, 3])
def test_edits_of_the_later_models_equal_the_pipelines_own(
    plus_folder: Path, monkeypatch: pytest.MonkeyPatch, guidance_scale: float, count: int
) -> None:
    # Given diffusers' edit of pictures of different shapes, with the checkpoint's sizes instead of its own
    card = card_of(plus_folder)
    scaling = card.capabilities.reference_scaling
    assert scaling is not None
    by_area = {scaling.latents.pixels: scaling.latents, scaling.prompt.pixels: scaling.prompt}
    module = pipeline_qwenimage_edit_plus
    monkeypatch.setattr(module, "VAE_IMAGE_SIZE", scaling.latents.pixels)
    monkeypatch.setattr(module, "CONDITION_IMAGE_SIZE", scaling.prompt.pixels)
    monkeypatch.setattr(
        module, "calculate_dimensions", lambda area, ratio: scaled_size((ratio, 1), by_area.get(area, scaling.latents))
    )
    references = (picture(1, (100, 80)), picture(2, (40, 90)), picture(3, (64, 64)))[:count]
    request = edit_request(card, guidance_scale=guidance_scale)
    width, height = SIZE
    expected = diffusers_picture(
        monkeypatch,
        QwenImageEditPlusPipeline,
        plus_folder,
        request,
        image=[Image.fromarray(reference) for reference in references],
        width=width,
        height=height,
    )
    # When we make it, then it is the same, but for rounding
    ours = make_one(load(card), Order(request=request, references=references))
    assert ours.std() > 3
    assert differ(ours, expected) <= 1


@GUIDANCE
def test_edits_of_the_first_model_equal_the_pipelines_own(
    edit_folder: Path, monkeypatch: pytest.MonkeyPatch, guidance_scale: float
) -> None:
    card = showing_one_picture(card_of(edit_folder), 64 * 64)
    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda area, ratio: (56, 72, None))
    reference = picture(1, (70, 90))
    request = edit_request(card, guidance_scale=guidance_scale)
    width, height = SIZE
    inputs = {"image": Image.fromarray(reference), "width": width, "height": height}
    expected = diffusers_picture(monkeypatch, QwenImageEditPipeline, edit_folder, request, **inputs)
    ours = make_one(load(card), Order(request=request, references=(reference,)))
    assert ours.std() > 3
    assert differ(ours, expected) <= 1


@pytest.mark.usefixtures("no_chance")
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_fills_of_the_first_edit_model_equal_the_pipelines_own(
    edit_folder: Path, monkeypatch: pytest.MonkeyPatch, strength: float
) -> None:
    # Given diffusers' pipeline, which makes about a megapixel whatever it is asked for, made to keep the size
    card = showing_one_picture(card_of(edit_folder), SIZE[0] * SIZE[1])
    monkeypatch.setattr(pipeline_qwenimage_edit_inpaint, "calculate_dimensions", lambda area, ratio: (*SIZE, None))
    begin = start(mask=True)
    assert begin.mask is not None
    request = edit_request(card, mode=Mode.FILL, strength=strength, num_inference_steps=5)
    inputs = {"image": Image.fromarray(begin.rgb), "mask_image": Image.fromarray(begin.mask), "strength": strength}
    expected = diffusers_picture(monkeypatch, QwenImageEditInpaintPipeline, edit_folder, request, **inputs)
    ours = make_one(load(card), Order(request=request, start=begin))
    assert ours.std() > 3
    assert differ(ours, expected) <= 1


@pytest.mark.parametrize("guidance_scale", [0.0, 4.0])
@pytest.mark.parametrize("kind", ["edits", "fills"])
def test_edits_of_a_batch_are_those_made_alone(plus_folder: Path, kind: str, guidance_scale: float) -> None:
    # Given orders whose prompts differ in length, as their pictures do in content
    card = card_of(plus_folder)
    request_of = partial(edit_request, card, guidance_scale=guidance_scale)
    prompts = ["", "make the background blue", "把背景变成蓝色 " * 6]
    negative = ["", "ugly, " * 9, "a"]
    if kind == "edits":
        orders = [
            Order(
                request=request_of(prompt=prompt, negative_prompt=negative[i], seed=i),
                references=(picture(i), picture(7 + i, (40, 90))),
            )
            for i, prompt in enumerate(prompts)
        ]
    else:
        orders = [
            Order(
                request=request_of(mode=Mode.FILL, strength=1.0, prompt=prompt, negative_prompt=negative[i], seed=i),
                start=InputPicture(rgb=picture(i), mask=start(mask=True).mask),
            )
            for i, prompt in enumerate(prompts)
        ]
    # When they are made in one call, then each is the picture that is made alone, to rounding
    adapter = load(card)
    together = make(adapter, orders)
    for order, made in zip(orders, together, strict=True):
        assert differ(made.rgb, make_one(adapter, order)) <= 2
    assert differ(together[0].rgb, together[1].rgb) > 10


def test_what_is_dark_in_a_mask_keeps_its_latents(plus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a fill of a picture, and the latents that it ends with
    card = card_of(plus_folder)
    adapter, begin = load(card), start(mask=True)
    model: Any = adapter._model
    ended: list[torch.Tensor] = []
    decoded = levels(torch.zeros(1, 3, 64, 96))
    monkeypatch.setattr(model, "decoding", lambda latents, size: ended.append(latents) or (lambda vae: decoded))
    make_one(adapter, Order(request=edit_request(card, mode=Mode.FILL, strength=1.0), start=begin))
    # Then they are the picture's own where the mask is dark, and others where it is white
    pixels = torch.tensor(begin.rgb).permute(2, 0, 1)[None] / 127.5 - 1  # (1, 3, H, W)
    with torch.inference_mode():
        own = packed(encode(model.parts.vae, pixels))
    changed = (ended[0] - own).abs().amax((0, 2)).reshape(64 // MULTIPLE_OF, 96 // MULTIPLE_OF) > 1e-4
    assert begin.mask is not None
    white = torch.tensor(begin.mask[::MULTIPLE_OF, ::MULTIPLE_OF] == 255)
    assert torch.equal(changed, white)


@pytest.mark.parametrize("kind", ["from words", "from a picture", "edit", "fill"])
def test_every_mode_runs_in_a_short_number_format(base_folder: Path, plus_folder: Path, kind: str) -> None:
    card = card_of(plus_folder if kind in ("edit", "fill") else base_folder)
    adapter = load(card, dtype="bfloat16")
    plain = edit_request(card, strength=None if kind in ("from words", "edit") else 0.8, num_inference_steps=3)
    begin = None if plain.strength is None else start(mask=kind == "fill")
    order = Order(request=plain, start=begin, references=(picture(1),) if kind == "edit" else ())
    assert make_one(adapter, order).std() > 3
