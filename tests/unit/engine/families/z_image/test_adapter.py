"""The Z-Image adapter against diffusers' own pipeline."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.z_image import pipeline_z_image_img2img, pipeline_z_image_inpaint
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image_img2img import ZImageImg2ImgPipeline
from diffusers.pipelines.z_image.pipeline_z_image_inpaint import ZImageInpaintPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen3Model

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.attention import NATIVE
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families import transformer_attention
from danqing.engine.families.adapter import AdapterOptions, MadePicture, Order, Unwatched
from danqing.engine.families.flow import foreseen, new_scheduler, steps_taken
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.z_image.capabilities import MAX_PROMPT_TOKENS
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.input_pictures import InputPicture
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import Watcher, request_for
from tests.unit.engine.asked import Asked
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


def load(card: ModelCard, **changes: object) -> PipelinedAdapter:
    adapter = z_image_adapter(card, options(**changes))
    adapter.load()
    return adapter


def make(adapter: PipelinedAdapter, request: GenerationRequest, start: InputPicture | None = None) -> MadePicture:
    orders = [Order(request=request, start=start)]
    (made,) = adapter.make(orders, SIZE, watchers=[Unwatched()], spare_memory=False)
    assert made is not None
    return made.decoded()


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


def test_a_prompt_is_encoded_without_asking_the_device(card: ModelCard) -> None:
    # Given a text that transformers is left to look for packed texts in, for which it asks the device
    adapter, text = load(card, prompts=PromptCache(max_bytes=0)), "a red apple on a blue background"
    model: Any = adapter._model
    encoder, tokens = model._encoder, [5, 9, 2, 7]
    given: list[torch.Tensor] = []
    hook = encoder._all_layers[-1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode(), Asked() as left_alone:
        model.parts.text_encoder(input_ids=torch.tensor([tokens]), use_cache=False)
    hook.remove()
    assert left_alone.names
    # When we encode it, then nothing is asked, and it is the same to the bit
    with torch.inference_mode(), Asked() as ours:
        states = encoder._states(tokens)
        model.encode([Order(request=request_for(card, prompt=text, negative_prompt="ugly", guidance_scale=2.0))])
    assert ours.names == []
    assert torch.equal(states, given[0][0])


def test_layers_that_look_back_only_so_far_have_their_masks_made(card: ModelCard) -> None:
    adapter = load(card)
    model: Any = adapter._model
    model.parts.text_encoder.config.layer_types = ["full_attention", "sliding_attention"]
    assert model._encoder._no_masks() is None


def test_a_picture_is_made_without_asking_the_device(card: ModelCard) -> None:
    # Given what a scheduler asks the host as it is made
    adapter = load(card, prompts=PromptCache(max_bytes=0))
    with torch.inference_mode(), Asked() as of_the_host:
        new_scheduler(cast(Any, adapter)._model.parts.scheduler)
    # When a picture is made
    with Asked() as ours:
        make(adapter, request_for(card))
    # Then that is all, but for whether it is one, once it is there
    assert ours.names == [*of_the_host.names, "is_nonzero"]


def test_timesteps_are_asked_for_only_where_they_end_guidance(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given how often a tensor's numbers are listed: twice as the scheduler and its levels are made
    tolist = cast(Callable[[torch.Tensor], object], torch.Tensor.tolist)
    listed: list[torch.Tensor] = []

    def watched(self: torch.Tensor) -> object:
        listed.append(self)
        return tolist(self)

    monkeypatch.setattr(torch.Tensor, "tolist", watched)
    adapter = load(card)
    pictures: list[bytes] = []
    for truncation in (None, 1.0, 0.999, 0.2):
        listed.clear()
        made = make(adapter, request_for(card, guidance_scale=3.5, negative_prompt="ugly", cfg_truncation=truncation))
        pictures.append(made.rgb.tobytes())
        assert len(listed) == (2 if truncation in (None, 1.0) else 3)
    assert pictures[0] == pictures[1] == pictures[2] != pictures[3]


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


def start(*, mask: bool) -> InputPicture:
    """Stripes; the mask's edges lie between latents, where both ways of shrinking it agree."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    rgb = np.stack([x * 2, y * 3, (x + y) % 32 * 8], -1).astype(np.uint8)
    white = np.where((x >= 32) & (y < 48), 255, 0).astype(np.uint8)
    return InputPicture(rgb=rgb, mask=white if mask else None)


@pytest.mark.parametrize("guidance_scale", [0.0, 3.5])
@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("pipeline_class", [ZImageImg2ImgPipeline, ZImageInpaintPipeline])
def test_pictures_from_pictures_equal_the_pipelines_own(
    tiny_folder: Path,
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
    pipeline_class: Any,  # noqa: ANN401  of two classes without a common base that has __call__
    strength: float,
    guidance_scale: float,
) -> None:
    # Given diffusers' pipeline for the mode, but that no chance goes into the input's latents
    for module in (pipeline_z_image_img2img, pipeline_z_image_inpaint):
        monkeypatch.setattr(module, "retrieve_latents", lambda encoded, generator: encoded.latent_dist.mode())
    fills = pipeline_class is ZImageInpaintPipeline
    begin = start(mask=fills)
    request = request_for(card, guidance_scale=guidance_scale, strength=strength, num_inference_steps=5)
    pipeline = pipeline_class.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    masked = {"mask_image": Image.fromarray(begin.mask)} if begin.mask is not None else {}
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt="",
        image=Image.fromarray(begin.rgb),
        **masked,
        strength=strength,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        return_dict=False,
    )[0][0]
    # When we make it
    ours = make(load(card), request, begin).rgb
    # Then it is the same, but for rounding
    difference = np.abs(ours.astype(int) - np.asarray(expected).astype(int))
    assert ours.std() > 5
    assert difference.max() <= 1


@given(st.integers(1, 50), st.floats(0, 1))
def test_steps_are_counted_as_the_pipelines_count_them(steps: int, strength: float) -> None:
    pipeline = SimpleNamespace(scheduler=SimpleNamespace(timesteps=list(range(steps)), order=1))
    _, taken = ZImageImg2ImgPipeline.get_timesteps(pipeline, steps, strength, None)  # type: ignore[arg-type]
    assert steps_taken(steps, strength) == taken


def test_a_preview_foresees_where_a_straight_way_ends() -> None:
    # Given latents on the line from noise to a picture, and a scheduler after its second step
    scheduler = SimpleNamespace(sigmas=torch.tensor([1.0, 0.75, 0.4, 0.0]), step_index=2)
    noise, picture = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    before, after = (sigma * noise + (1 - sigma) * picture for sigma in (0.75, 0.4))
    # Then the picture is foreseen
    torch.testing.assert_close(foreseen(before, after, scheduler), picture)


def test_a_request_may_cut_its_prompt_shorter(card: ModelCard, encoded: list[torch.Tensor]) -> None:
    # Given a prompt that the model reads whole
    adapter = load(card)
    whole = request_for(card, prompt="a red apple on a blue background")
    cut = dataclasses.replace(whole, max_sequence_length=3)
    encoded.clear()
    # When it is made whole and cut, then they are encoded apart, and the cut is told
    made = [make(adapter, request) for request in (whole, cut)]
    assert [ids.shape[1] for ids in encoded][1:] == [3]
    assert [each.adjustments for each in made] == [(), ("prompt cut to 3 tokens",)]
    assert not np.array_equal(made[0].rgb, made[1].rgb)
    # And each is remembered for itself
    assert np.array_equal(make(adapter, whole).rgb, made[0].rgb)
    assert len(encoded) == 2


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
    # Given an adapter told to use a kernel of its own choice, which takes no masks
    monkeypatch.setattr(transformer_attention, "TAKE_MASKS", (NATIVE,))
    adapter = load(card, attention=SimpleNamespace(kernel_for=lambda shape: "_native_math"))
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


@pytest.mark.parametrize("kind", ["from nothing", "from pictures", "filling"])
@pytest.mark.parametrize("guidance_scale", [0.0, 3.0])
def test_pictures_of_a_batch_are_those_made_alone(card: ModelCard, kind: str, guidance_scale: float) -> None:
    # Given three orders with prompts of different length, each with its own seed and, where there is one, its own start
    adapter = load(card)
    strength = None if kind == "from nothing" else 0.8
    orders: list[Order] = []
    for seed, prompt in enumerate(("a", "a red apple on a blue background " * 4, "蓝色背景上的苹果")):
        begin = None if strength is None else start(mask=kind == "filling")
        if begin is not None:
            begin = dataclasses.replace(begin, rgb=np.roll(begin.rgb, 9 * seed, axis=1))
        request = request_for(card, prompt=prompt, seed=seed, strength=strength, guidance_scale=guidance_scale)
        orders.append(Order(request=request, start=begin))
    # When they are made together
    together = adapter.make(orders, SIZE, watchers=[Unwatched()] * 3, spare_memory=False)
    # Then each is, to rounding, the one that is made alone
    for made, order in zip(together, orders, strict=True):
        assert made is not None
        alone = make(adapter, order.request, order.start)
        assert np.abs(made.decoded().rgb.astype(int) - alone.rgb).max() <= 1
    assert len({made.decoded().rgb.tobytes() for made in together if made}) == 3


def test_one_of_a_batch_that_is_stopped_leaves_the_others_alone(card: ModelCard) -> None:
    # Given two pictures made together, of which the first is stopped after its second step
    first, second = Watcher(), Watcher()
    first.is_stopped = lambda: len(first.steps) >= 2
    orders = [Order(request=request_for(card, seed=seed)) for seed in (1, 2)]
    adapter = load(card)
    watchers = [PlainWatcher(first), PlainWatcher(second)]
    # When they are made
    made = adapter.make(orders, SIZE, watchers=watchers, spare_memory=False)
    # Then it hears of no further step and gets no picture, and the other is whole
    assert made[0] is None
    assert made[1] is not None
    assert np.abs(made[1].decoded().rgb.astype(int) - make(adapter, orders[1].request).rgb).max() <= 1
    assert ([step for step, _ in first.steps], [step for step, _ in second.steps]) == ([1, 2], [1, 2, 3, 4])


class PlainWatcher(Unwatched):
    """Passes on what a `Watcher` notes, previews apart."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def step_done(self, step: int, total_steps: int) -> None:
        self._watcher.step_done(step, total_steps)

    def stopped(self) -> bool:
        return self._watcher.stopped()
