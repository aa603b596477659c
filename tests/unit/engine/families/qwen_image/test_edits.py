"""Edits by instruction through the real engine: references, prompts, stops, memory."""

import gc
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from danqing.core.capabilities import ModelCard
from danqing.core.errors import EngineFailure
from danqing.core.types import Mode
from danqing.engine.build import build_engine
from danqing.engine.families.adapter import Order
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.qwen_image.capabilities import EDIT_PLUS, REFERENCE_SCALING
from danqing.engine.families.qwen_image.references import References
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import EVERY_STEP, Album, Watcher, denoise, half_mask, make, original, pixels
from tests.unit.engine.families.qwen_image import making
from tests.unit.engine.families.qwen_image.making import card_of, differ, edit_request, load, make_one, picture, start

LONG = "x" * 1100  # so many tokens


@pytest.fixture(scope="module")
def card(plus_folder: Path) -> ModelCard:
    return card_of(plus_folder)


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Generator[ResidentEngine]:
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    assert isinstance(engine, ResidentEngine)
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture
def adapter(card: ModelCard) -> PipelinedAdapter:
    return load(card)


@pytest.fixture
def album() -> Album:
    return Album()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the text encoder is called with from now on."""
    calls: list[dict[str, Any]] = []
    forward = cast(Callable[..., object], Qwen2_5_VLForConditionalGeneration.forward)

    def watched(self: Qwen2_5_VLForConditionalGeneration, **inputs: object) -> object:
        calls.append(inputs)
        return forward(self, **inputs)

    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "forward", watched)
    return calls


@pytest.mark.parametrize("count", [1, 3])
def test_each_reference_and_its_place_count(engine: ResidentEngine, card: ModelCard, album: Album, count: int) -> None:
    # Given an edit of so many pictures of different shapes
    refs = [album.add(Image.fromarray(picture(i, size))) for i, size in enumerate([(100, 80), (40, 90), (64, 64)])]
    request = edit_request(card, input_images=tuple(refs[:count]))
    shown = pixels(make(engine, request, album=album))
    # Then it is of the size asked for, the same again, and another one as soon as any of them is another
    assert shown.shape == (64, 96, 3)
    assert original(engine, request, album=album) == original(engine, request, album=album)
    for place in range(count):
        others = list(request.input_images)
        others[place] = album.add(Image.fromarray(picture(7 + place, others[place].size)))
        assert differ(shown, pixels(make(engine, replace(request, input_images=tuple(others)), album=album))) > 0
    if count > 1:
        turned = replace(request, input_images=request.input_images[::-1])
        assert differ(shown, pixels(make(engine, turned, album=album))) > 0


def test_an_edit_with_a_mask_keeps_what_it_keeps_and_looks_at_the_first_picture(
    engine: ResidentEngine, card: ModelCard, album: Album
) -> None:
    before = picture(1)
    first, second = album.add(Image.fromarray(before)), album.add(Image.fromarray(picture(2)))
    request = edit_request(card, input_images=(first, second), mask=album.add(half_mask(96, 64)), strength=1.0)
    made = make(engine, request, album=album)
    shown = pixels(made)
    assert np.array_equal(shown[:, :48], before[:, :48])
    assert np.abs(shown[:, 52:].astype(int) - before[:, 52:]).mean() > 10
    assert made.adjustments == ("only the first of 2 input images used, because its mask is filled",)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_stop_is_seen_within_one_step_and_leaves_no_trace(
    engine: ResidentEngine, card: ModelCard, album: Album, after: int
) -> None:
    request = edit_request(card, input_images=(album.add(Image.fromarray(picture(1))),), num_inference_steps=3)
    undisturbed = denoise(engine, request, album=album)
    watcher = Watcher(is_stopped=lambda: len(watcher.steps) >= after)
    dropped = engine.denoise([request], read_image=album.read, observers=[watcher])
    assert list(dropped) == [None]
    assert [step for step, _ in watcher.steps] == list(range(1, after + 1))
    assert denoise(engine, request, album=album) == undisturbed


def test_previews_of_an_edit_change_nothing(engine: ResidentEngine, card: ModelCard, album: Album) -> None:
    request = edit_request(card, input_images=(album.add(Image.fromarray(picture(1))),), num_inference_steps=3)
    watcher = Watcher(previews=EVERY_STEP)
    assert denoise(engine, request, album=album, watcher=watcher) == denoise(engine, request, album=album)
    assert list(watcher.shown) == [1, 2]


def test_the_text_encoder_is_told_which_tokens_are_pictures(
    adapter: PipelinedAdapter, card: ModelCard, told: list[dict[str, Any]]
) -> None:
    # Given a prompt that writes what stands for a picture
    order = Order(
        request=edit_request(card, prompt="<|image_pad|> blue <|vision_start|>", guidance_scale=1.0),
        references=(picture(1, (64, 64)), picture(2, (40, 90))),
    )
    # When it is made
    make_one(adapter, order)
    # Then the pictures' own tokens are told, as many as their patches make, and no others are there
    (inputs,) = told
    token = adapter._model.parts.text_encoder.config.image_token_id  # type: ignore[union-attr]
    assert torch.equal(inputs["mm_token_type_ids"].bool(), inputs["input_ids"] == token)
    assert int(inputs["mm_token_type_ids"].sum()) == int(inputs["image_grid_thw"].prod(-1).sum()) // 4
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4], [1, 6, 2]]  # 56 x 56 and 28 x 84 pixels


def test_pictures_are_prepared_by_pillow(adapter: PipelinedAdapter) -> None:
    encoder = adapter._model._encoder  # type: ignore[union-attr]
    assert type(encoder._image_processor) is Qwen2VLImageProcessorPil


def test_a_prompt_is_encoded_once_with_each_picture(
    adapter: PipelinedAdapter, card: ModelCard, told: list[dict[str, Any]]
) -> None:
    # Given an edit that was made
    request = edit_request(card)
    order = Order(request=request, references=(picture(1),))
    first = make_one(adapter, order)
    told.clear()
    # When it is made again, and with another seed, then nothing is encoded
    assert differ(make_one(adapter, order), first) == 0
    make_one(adapter, replace(order, request=replace(request, seed=1)))
    assert told == []
    # But both prompts are for another picture
    make_one(adapter, replace(order, references=(picture(2),)))
    assert len(told) == 2


def test_without_a_negative_prompt_a_space_is_taken(adapter: PipelinedAdapter, card: ModelCard) -> None:
    references = (picture(1),)
    without, space, other = (
        make_one(adapter, Order(request=edit_request(card, negative_prompt=text), references=references))
        for text in ("", " ", "ugly")
    )
    assert differ(without, space) == 0
    assert differ(without, other) > 0


def test_a_negative_prompt_that_is_not_used_is_said(adapter: PipelinedAdapter, card: ModelCard) -> None:
    references = (picture(1),)
    request = edit_request(card, negative_prompt="ugly", guidance_scale=1.0)
    (made,) = making.make(adapter, [Order(request=request, references=references)])
    assert made.adjustments == ("negative_prompt not used, because guidance_scale is not above 1",)
    plain = replace(request, negative_prompt="", guidance_scale=0.0)
    assert differ(made.rgb, make_one(adapter, Order(request=plain, references=references))) == 0


def test_an_instruction_that_is_too_long_is_cut_and_said_and_its_pictures_are_not(
    adapter: PipelinedAdapter, card: ModelCard, told: list[dict[str, Any]]
) -> None:
    references = (picture(1), picture(2))
    cases = [({"prompt": LONG}, 1024), ({"max_sequence_length": 2}, 2), ({"prompt": "blue"}, None)]
    lengths: list[int] = []
    for changes, limit in cases:
        request = edit_request(card, guidance_scale=1.0, **changes)
        (made,) = making.make(adapter, [Order(request=request, references=references)])
        assert made.adjustments == (() if limit is None else (f"prompt cut to {limit} tokens",))
        ids = told[-1]["input_ids"][0]
        last_of_pictures = int((ids == told[-1]["input_ids"].new_tensor(5)).nonzero()[-1])
        lengths.append(len(ids) - last_of_pictures - 2)  # behind the token that ends a picture
    assert lengths[:2] == [1024, 2]


def test_a_picture_too_narrow_for_the_text_encoder_is_refused(card: ModelCard) -> None:
    order = Order(request=edit_request(card), references=(picture(1, (4000, 3)),))
    with pytest.raises(EngineFailure, match="too long and narrow"):
        References(REFERENCE_SCALING[EDIT_PLUS]).for_prompt(order)


def test_what_is_made_in_tiles_is_said(adapter: PipelinedAdapter, card: ModelCard) -> None:
    size = (272, 64)  # more than one tile of 256
    begin = replace(start(mask=True), rgb=picture(1, size), mask=np.full((64, 272), 255, np.uint8))
    request = edit_request(card, mode=Mode.FILL, strength=1.0, num_inference_steps=1)
    order = Order(request=request, start=begin)
    (whole,) = making.make(adapter, [order], size=size)
    (tiled,) = making.make(adapter, [order], size=size, spare_memory=True)
    assert whole.adjustments == ()
    assert tiled.adjustments == (
        "input images encoded in tiles for lack of memory",
        "decoded in tiles for lack of memory",
    )
    (small,) = making.make(adapter, [Order(request=edit_request(card), references=(picture(1),))], spare_memory=True)
    assert small.adjustments == ()


def test_memory_is_given_back(card: ModelCard, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine that made an edit, and the transformer that made it
    networks: list[weakref.ref[torch.nn.Module]] = []
    forward = cast(Callable[..., object], QwenImageTransformer2DModel.forward)

    def watched(self: QwenImageTransformer2DModel, *args: object, **kwargs: object) -> object:
        networks.append(weakref.ref(self))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(QwenImageTransformer2DModel, "forward", watched)
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    assert isinstance(engine, ResidentEngine)
    engine.load()
    request = edit_request(card, input_images=(album.add(Image.fromarray(picture(1))),))
    denoise(engine, request, album=album)
    assert networks[0]() is not None
    # When it is unloaded, then the network is gone, and no request is taken
    engine.unload()
    gc.collect()
    assert networks[0]() is None
    with pytest.raises(EngineFailure):
        denoise(engine, request, album=album)
