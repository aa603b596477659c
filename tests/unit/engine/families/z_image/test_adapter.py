"""The Z-Image adapter against diffusers' own pipeline."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from transformers import Qwen3Model

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions, MadePicture
from danqing.engine.families.z_image.adapter import MAX_PROMPT_TOKENS, ZImageAdapter
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for
from tests.unit.engine.tiny_checkpoint import write_tiny_checkpoint

PROMPTS = ("", "a red apple on a blue background", "蓝色背景上的苹果 🍎")
SIZE = (96, 64)


def options(**changes: object) -> AdapterOptions:
    plain = AdapterOptions(
        device=choose_device("cpu", "auto"),
        compile=False,
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def load(card: ModelCard, **changes: object) -> ZImageAdapter:
    adapter = ZImageAdapter(card, options(**changes))
    adapter.load()
    return adapter


def make(adapter: ZImageAdapter, request: GenerationRequest) -> MadePicture:
    made = adapter.make(request, SIZE, spare_memory=False, on_step=lambda *_: None, stopped=lambda: False)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def card(tiny_folder: Path) -> ModelCard:
    return Catalogue(str(tiny_folder)).default()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Token ids (1, tokens) of every call of a text encoder from now on."""
    calls: list[torch.Tensor] = []
    forward = cast(Callable[..., object], Qwen3Model.forward)

    def watched(self: Qwen3Model, *args: object, **kwargs: object) -> object:
        calls.append(cast(torch.Tensor, kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Qwen3Model, "forward", watched)
    return calls


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_unpadded_embeddings_equal_the_pipelines_own(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding_side: str
) -> None:
    # Given a checkpoint whose tokenizer pads on this side, and what the transformer is given
    folder = tiny_folder
    if padding_side == "left":
        folder = tmp_path / "left"
        write_tiny_checkpoint(folder, padding_side=padding_side)
    card = Catalogue(str(folder)).default()
    adapter, pipeline = load(card), ZImagePipeline.from_pretrained(folder)
    given: list[list[torch.Tensor]] = []
    forward = cast(Callable[..., object], ZImageTransformer2DModel.forward)

    def watched(
        self: ZImageTransformer2DModel, x: object, t: object, captions: list[torch.Tensor], **kwargs: object
    ) -> object:
        given.append(captions)
        return forward(self, x, t, captions, **kwargs)

    monkeypatch.setattr(ZImageTransformer2DModel, "forward", watched)
    for prompt in PROMPTS:
        # When both encode a prompt
        make(adapter, request_for(card, prompt=prompt, num_inference_steps=1))
        with torch.inference_mode():
            expected, _ = pipeline.encode_prompt(prompt, device=torch.device("cpu"), do_classifier_free_guidance=False)
        # Then they agree, but for rounding
        (ours,) = given.pop()
        assert ours.shape == expected[0].shape
        torch.testing.assert_close(ours, expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [0.0, 3.5])
def test_pictures_equal_the_pipelines_own(tiny_folder: Path, card: ModelCard, guidance_scale: float) -> None:
    # Given diffusers' picture of a request
    request = request_for(card, guidance_scale=guidance_scale, negative_prompt="a blue cup, ugly, " * 8)
    pipeline = ZImagePipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=request.num_inference_steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        return_dict=False,
    )[0][0]
    # When we make it
    ours = make(load(card), request).rgb
    # Then it is the same, but for rounding
    difference = np.abs(ours.astype(int) - np.asarray(expected).astype(int))
    assert ours.std() > 5  # a picture that could differ
    assert difference.max() <= 1


def test_a_prompt_is_encoded_once(card: ModelCard, encoded: list[torch.Tensor]) -> None:
    # Given a picture made after its prompt was encoded
    adapter = load(card)
    request = request_for(card, guidance_scale=2.0, negative_prompt="ugly")
    first = make(adapter, request)
    after_first = len(encoded)
    # When it is made again, and with another seed
    again = make(adapter, request)
    make(adapter, dataclasses.replace(request, seed=1))
    # Then nothing is encoded any more, and the picture is the same
    assert len(encoded) == after_first
    assert np.array_equal(again.rgb, first.rgb)
    # And without a cache it is the same too
    uncached = load(card, prompts=PromptCache(max_bytes=0))
    assert np.array_equal(make(uncached, request).rgb, first.rgb)


def test_nothing_is_padded(card: ModelCard, encoded: list[torch.Tensor]) -> None:
    adapter = load(card)
    make(adapter, request_for(card, prompt="a"))
    assert encoded[-1].shape[1] < 8


def test_a_prompt_longer_than_the_model_reads_is_cut_and_said(card: ModelCard, encoded: list[torch.Tensor]) -> None:
    # Given prompts that just fit (with the chat template's two tokens), and ones that do not
    adapter = load(card)
    fits = "x" * (MAX_PROMPT_TOKENS - 2)
    cases = [
        (request_for(card, prompt=fits), ()),
        (request_for(card, prompt=fits + "x"), ("prompt cut to 512 tokens",)),
        (request_for(card, guidance_scale=1.0, negative_prompt=fits + "x"), ("negative_prompt cut to 512 tokens",)),
    ]
    for request, adjustments in cases:
        # When they are made, then only a cut is mentioned
        assert make(adapter, request).adjustments == adjustments
    assert max(ids.shape[1] for ids in encoded) == MAX_PROMPT_TOKENS
    # A cut prompt makes the picture of what is left of it, also when it comes from the cache
    whole, cut = (make(adapter, request_for(card, prompt=text)) for text in (fits, fits + "x"))
    assert not np.array_equal(whole.rgb, cut.rgb)  # the closing token of the template was cut off
    assert cut.adjustments


def test_attention_that_takes_no_mask_is_left_out_where_guidance_needs_one(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an adapter told to use a kernel of its own choice
    adapter = load(card, attention="_native_math")
    chosen: list[str] = []
    monkeypatch.setattr(ZImageTransformer2DModel, "set_attention_backend", lambda self, name: chosen.append(name))
    # When requests come without guidance, and with prompts of equal and of different length
    make(adapter, request_for(card))
    make(adapter, request_for(card, prompt="a red apple", negative_prompt="a red apple", guidance_scale=2.0))
    assert chosen == []
    make(adapter, request_for(card, prompt="a red apple", negative_prompt="ugly " * 40, guidance_scale=2.0))
    # Then PyTorch's own attention is used for the last, and for that one only
    assert chosen == ["native", "_native_math"]


def test_models_do_not_share_prompts(tiny_folder: Path, tmp_path: Path, encoded: list[torch.Tensor]) -> None:
    # Given two models in one engine with one cache
    shutil.copytree(tiny_folder, tmp_path / "twin")
    prompts = PromptCache(max_bytes=1 << 20)
    one, other = (Catalogue(str(folder)).default() for folder in (tiny_folder, tmp_path / "twin"))
    adapters = [load(one, prompts=prompts), load(other, prompts=prompts)]
    encoded.clear()
    # When both make a picture of one prompt, then each encodes it for itself
    for adapter, card in zip(adapters, (one, other), strict=True):
        make(adapter, request_for(card, prompt="a green pear"))
    assert len(encoded) == 2
