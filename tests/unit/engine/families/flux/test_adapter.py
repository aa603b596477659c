"""The FLUX adapter against diffusers' own pipelines."""

import dataclasses
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux import (
    pipeline_flux_controlnet,
    pipeline_flux_controlnet_image_to_image,
    pipeline_flux_fill,
    pipeline_flux_img2img,
    pipeline_flux_inpaint,
)
from PIL import Image
from transformers import T5EncoderModel

from danqing.core.capabilities import Companion, ModelCard
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.attention import AttentionShape
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions, MadePicture, Order, Unwatched
from danqing.engine.families.flux import pipelines
from danqing.engine.families.flux.model import flux_adapter
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine import request_for
from tests.unit.engine.asked import Asked
from tests.unit.engine.families.flux.conftest import TOKENS
from tests.unit.engine.families.flux.tiny_flux import CLIP_TOKENS

SIZE = (96, 64)
NETWORKS = ("transformer", "controlnet")
untyped = cast(Any, diffusers)


def load(card: ModelCard, **changes: object) -> PipelinedAdapter:
    plain = AdapterOptions(
        device=choose_device("cpu", "auto"),
        compile=False,
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
    )
    adapter = flux_adapter(card, dataclasses.replace(plain, **changes))  # type: ignore[arg-type]
    adapter.load()
    return adapter


@pytest.fixture(scope="module")
def plain(plain_card: ModelCard) -> PipelinedAdapter:
    return load(plain_card)


@pytest.fixture(scope="module")
def filling(filling_card: ModelCard) -> PipelinedAdapter:
    return load(filling_card)


def make_all(adapter: PipelinedAdapter, orders: list[Order]) -> list[MadePicture]:
    made = adapter.make(orders, SIZE, watchers=[Unwatched()] * len(orders), spare_memory=False)
    return [each.decoded() for each in made if each is not None]


def make(adapter: PipelinedAdapter, request: GenerationRequest, **given: Any) -> MadePicture:  # noqa: ANN401
    (made,) = make_all(adapter, [Order(request=request, **given)])
    return made


def stripes(*, mask: bool, turn: int = 0) -> InputPicture:
    """The mask's edges lie between latents, where both ways of shrinking it agree."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    rgb = np.stack([x * 2, y * 3, (x + y) % 32 * 8], -1).astype(np.uint8)
    white = np.where((x >= 32) & (y < 48), 255, 0).astype(np.uint8)
    return InputPicture(rgb=np.roll(rgb, 9 * turn, axis=1), mask=white if mask else None)


def lines(turn: int = 0) -> Pixels:
    drawn = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    drawn[10 + 9 * turn, :] = drawn[:, 30 + 9 * turn] = 255
    return drawn


@pytest.fixture
def without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' pipelines, but that no chance goes into the latents of pictures."""
    for module in (
        pipeline_flux_controlnet,
        pipeline_flux_controlnet_image_to_image,
        pipeline_flux_fill,
        pipeline_flux_img2img,
        pipeline_flux_inpaint,
    ):
        monkeypatch.setattr(module, "retrieve_latents", lambda encoded, generator: encoded.latent_dist.mode())


def assert_equals(ours: MadePicture, expected: object) -> None:
    """But for rounding."""
    difference = np.abs(ours.rgb.astype(int) - np.asarray(expected).astype(int))
    assert ours.rgb.std() > 5  # a picture that could differ
    assert difference.max() <= 1


def theirs(pipeline: Any, request: GenerationRequest, **inputs: object) -> object:  # noqa: ANN401
    """The picture that diffusers makes of the request."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt=request.prompt,
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        max_sequence_length=TOKENS,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        return_dict=False,
        **inputs,
    )[0][0]


@pytest.mark.parametrize("prompt", ["", "a red apple on a blue background", "a zebra, 蓝色 " * 9])
def test_pictures_equal_the_pipelines_own(
    flux_folder: Path, plain_card: ModelCard, plain: PipelinedAdapter, prompt: str
) -> None:
    request = request_for(plain_card, guidance_scale=3.5, prompt=prompt)
    expected = theirs(untyped.FluxPipeline.from_pretrained(flux_folder), request)
    assert_equals(make(plain, request), expected)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("kind", ["img2img", "inpaint", "fill"])
@pytest.mark.usefixtures("without_chance")
def test_pictures_from_pictures_equal_the_pipelines_own(
    flux_folder: Path,
    fill_folder: Path,
    plain_card: ModelCard,
    plain: PipelinedAdapter,
    filling: PipelinedAdapter,
    kind: str,
    strength: float,
) -> None:
    # Given diffusers' pipeline for the mode
    loaded = untyped.FluxPipeline.from_pretrained(flux_folder)
    parts = {
        name: part for name, part in loaded.components.items() if name not in ("image_encoder", "feature_extractor")
    }
    match kind:
        case "img2img":
            pipeline = untyped.FluxImg2ImgPipeline(**parts)
        case "inpaint":
            pipeline = untyped.FluxInpaintPipeline(**parts)
        case _:
            transformer = untyped.FluxTransformer2DModel.from_pretrained(fill_folder, subfolder="transformer")
            pipeline = untyped.FluxFillPipeline(**parts | {"transformer": transformer})
    adapter = filling if kind == "fill" else plain
    begin = stripes(mask=kind != "img2img")
    request = request_for(plain_card, guidance_scale=3.5, strength=strength, num_inference_steps=4)
    masked = {"mask_image": Image.fromarray(begin.mask)} if begin.mask is not None else {}
    expected = theirs(pipeline, request, image=Image.fromarray(begin.rgb), strength=strength, **masked)
    # When we make it, then it is the same
    assert_equals(make(adapter, request, start=begin), expected)


def test_no_step_of_an_inpainting_asks_the_device(plain_card: ModelCard, plain: PipelinedAdapter) -> None:
    # Given what is asked in one step, of the host's numbers
    asked: list[list[str]] = []
    for steps in (1, 1, 3):
        request = request_for(plain_card, strength=1.0, num_inference_steps=steps)
        with Asked("index") as watching:
            make(plain, request, start=stripes(mask=True))
        asked.append(watching.names)
    # Then in more of them it is no more
    assert asked[1] == asked[2]


def test_where_tokens_are_is_not_waited_for(plain: PipelinedAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipeline, and a device that is none
    pipeline, _ = pipelines.pipeline_for(
        cast(Any, plain)._model.parts, [Order(request=request_for(cast(Any, plain)._card))]
    )
    states = torch.zeros(1, 5, 8, dtype=torch.bfloat16, device="meta")
    places_of_pictures = pipeline._prepare_latent_image_ids(1, 4, 6, torch.device("cpu"), torch.bfloat16)
    on_their_way: list[tuple[torch.Tensor, torch.device]] = []

    def noted(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        on_their_way.append((tensor, device))
        return tensor

    monkeypatch.setattr(pipelines, "sent", noted)
    # When it is told where the tokens of text and picture are
    with Asked("_to_copy") as asked:
        *_, of_text = pipeline.encode_prompt(
            prompt=None, prompt_embeds=states, pooled_prompt_embeds=states[:, 0], device=states.device
        )
    height, width = (2 * pipeline.vae_scale_factor * rows for rows in (4, 6))
    pipeline.prepare_latents(1, 16, height, width, torch.bfloat16, states.device, None, states)
    # Then the former is made there, and the latter sent
    assert (of_text.shape, of_text.device, of_text.dtype) == ((5, 3), states.device, pipeline.text_encoder.dtype)
    assert asked.names == []
    ((places, device),) = on_their_way
    assert torch.equal(places, places_of_pictures)
    assert device == states.device


@pytest.mark.parametrize("strength", [None, 0.6])
@pytest.mark.usefixtures("without_chance")
def test_controlled_pictures_equal_the_pipelines_own(
    flux_folder: Path,
    controlnet_folder: Path,
    plain_card: ModelCard,
    plain: PipelinedAdapter,
    strength: float | None,
) -> None:
    # Given diffusers' pipeline with the ControlNet
    network = untyped.FluxControlNetModel.from_pretrained(controlnet_folder)
    loaded = untyped.FluxPipeline.from_pretrained(flux_folder)
    parts = {
        name: part for name, part in loaded.components.items() if name not in ("image_encoder", "feature_extractor")
    }
    begin = None if strength is None else stripes(mask=False)
    request = request_for(
        plain_card,
        guidance_scale=3.5,
        strength=strength,
        num_inference_steps=4,
        controlnet_conditioning_scale=0.6,
    )
    inputs: dict[str, object] = {"control_image": Image.fromarray(lines()), "controlnet_conditioning_scale": 0.6}
    if begin is None:
        pipeline = untyped.FluxControlNetPipeline(**parts, controlnet=network)
    else:
        pipeline = untyped.FluxControlNetImg2ImgPipeline(**parts, controlnet=network)
        inputs |= {"image": Image.fromarray(begin.rgb), "strength": strength}
    expected = theirs(pipeline, request, **inputs)
    # When we make it, then it is the same
    assert_equals(make(plain, request, start=begin, control=lines()), expected)


def test_a_companion_says_how_strongly_its_maps_are_followed(plain_card: ModelCard, plain: PipelinedAdapter) -> None:
    # Given a model with a ControlNet that has a scale of its own
    companion = plain_card.companion(Mode.CONTROLNET)
    assert companion is not None
    scaled = dataclasses.replace(plain_card, companions=(dataclasses.replace(companion, conditioning_scale=0.3),))
    # Then that counts where the request says none
    adapter = load(scaled)

    def made(adapter: PipelinedAdapter, scale: float | None) -> Pixels:
        request = request_for(plain_card, controlnet_conditioning_scale=scale)
        return make(adapter, request, control=lines()).rgb

    assert np.array_equal(made(adapter, None), made(plain, 0.3))
    assert not np.array_equal(made(adapter, None), made(plain, None))
    assert np.array_equal(made(adapter, 1.0), made(plain, None))


@pytest.mark.parametrize("kind", ["from nothing", "from pictures", "inpainting", "filling", "controlled"])
def test_pictures_of_a_batch_are_those_made_alone(
    plain_card: ModelCard, plain: PipelinedAdapter, filling: PipelinedAdapter, kind: str
) -> None:
    # Given three orders, each with a prompt, a seed and pictures of its own
    adapter = filling if kind == "filling" else plain
    strength = None if kind == "from nothing" else 0.8
    prompts = ("a", "a red apple on a blue background " * 9, "a green pear")
    orders = [
        Order(
            request=request_for(plain_card, prompt=prompt, seed=turn, strength=strength, guidance_scale=3.0),
            start=None if strength is None else stripes(mask=kind.endswith("ing"), turn=turn),
            control=lines(turn) if kind == "controlled" else None,
        )
        for turn, prompt in enumerate(prompts)
    ]
    # When they are made together, then each is, to rounding, the one that is made alone
    together = make_all(adapter, orders)
    for made, order in zip(together, orders, strict=True):
        (alone,) = make_all(adapter, [order])
        assert np.abs(made.rgb.astype(int) - alone.rgb).max() <= 1
        assert made.adjustments == alone.adjustments
    assert len({made.rgb.tobytes() for made in together}) == 3


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the transformers of the denoising see from now on: channels, one entry a step."""
    calls: list[int] = []
    forward = cast(Callable[..., object], FluxTransformer2DModel.forward)

    def watched(self: FluxTransformer2DModel, *args: object, **kwargs: object) -> object:
        calls.append(cast(torch.Tensor, kwargs["hidden_states"]).shape[-1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(FluxTransformer2DModel, "forward", watched)
    return calls


def test_weights_for_filling_fill_and_nothing_else(
    filling_card: ModelCard, filling: PipelinedAdapter, transformers: list[int]
) -> None:
    # Given a model with weights for filling
    adapter = filling
    transformers.clear()
    request = request_for(filling_card, strength=1.0, num_inference_steps=1)
    first = make(adapter, request_for(filling_card, num_inference_steps=1))
    # When pictures are filled, and made in the other ways, in turns
    make(adapter, request, start=stripes(mask=True))
    make(adapter, request, start=stripes(mask=False))
    make(adapter, request, control=lines())
    make(adapter, request, start=stripes(mask=True))
    again = make(adapter, request_for(filling_card, num_inference_steps=1))
    # Then only the fillings see more than the latents, and the others are as before
    assert transformers == [64, 192, 64, 64, 192, 64]
    assert np.array_equal(first.rgb, again.rgb)


def test_companions_are_loaded_when_first_needed_and_kept(
    filling_card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danqing.engine.families.flux import companions

    # Given an adapter just loaded
    loaded: list[Mode] = []
    load_component = companions.load_component

    def watched(kind: object, companion: Companion, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401
        loaded.append(companion.mode)
        return load_component(kind, companion, *args, **kwargs)

    monkeypatch.setattr(companions, "load_component", watched)
    adapter = load(filling_card)
    request = request_for(filling_card, strength=1.0, num_inference_steps=1)
    assert loaded == []
    # When both are needed twice, then each is loaded once
    for _ in range(2):
        make(adapter, request, start=stripes(mask=True))
        make(adapter, request, control=lines())
    assert loaded == [Mode.FILL, Mode.CONTROLNET]


@pytest.fixture
def attention_as_before() -> Iterator[None]:
    """diffusers remembers for the whole process which kernel a network was told of last."""
    before, _ = _AttentionBackendRegistry.get_active_backend()
    yield
    _AttentionBackendRegistry.set_active_backend(before)


@pytest.mark.usefixtures("attention_as_before")
def test_companions_have_the_kernel_of_the_model(filling_card: ModelCard) -> None:
    # Given a model for whose shape a kernel was chosen
    shapes: list[AttentionShape] = []

    def kernel_for(shape: AttentionShape) -> str:
        shapes.append(shape)
        return "_native_math"

    adapter = load(filling_card, attention=SimpleNamespace(kernel_for=kernel_for))
    request = request_for(filling_card, strength=1.0, num_inference_steps=1)
    make(adapter, request, start=stripes(mask=True))
    make(adapter, request, control=lines())
    # Then every attention of its networks is computed with that
    model = cast(Any, adapter)._model
    networks = [part for each in model.pipelines for name, part in each.components.items() if name in NETWORKS]
    kernels = {
        module.processor._attention_backend
        for network in networks
        for module in network.modules()
        if hasattr(module, "processor")
    }
    assert len({id(network) for network in networks}) == 3
    assert kernels == {"_native_math"}
    # and it was asked for the model's own: 1024 x 1024 pixels, in tokens of 8 x 8
    assert set(shapes) == {AttentionShape(tokens=128 * 128, heads=2, head_size=16)}


def test_memory_comes_back_after_unload(filling_card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given all networks of a model, in use
    alive: list[weakref.ref[torch.nn.Module]] = []
    to = torch.nn.Module.to

    def watched(self: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:  # noqa: ANN401
        alive.append(weakref.ref(self))
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "to", watched)
    prompts = PromptCache(max_bytes=1 << 20)
    adapter = load(filling_card, prompts=prompts)
    request = request_for(filling_card, strength=1.0, num_inference_steps=1)
    make(adapter, request, start=stripes(mask=True))
    make(adapter, request, control=lines())
    assert {type(each()).__name__ for each in alive} >= {"FluxTransformer2DModel", "FluxControlNetModel"}
    # When it is unloaded, then nothing of them is left
    adapter.unload()
    gc.collect()
    assert [each() for each in alive if each() is not None] == []
    assert prompts.held_bytes == 0


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Token ids (1, tokens) of every call of a T5 encoder from now on."""
    calls: list[torch.Tensor] = []
    forward = cast(Callable[..., object], T5EncoderModel.forward)

    def watched(self: T5EncoderModel, ids: torch.Tensor, **kwargs: object) -> object:
        calls.append(ids)
        return forward(self, ids, **kwargs)

    monkeypatch.setattr(T5EncoderModel, "forward", watched)
    return calls


def test_a_prompt_is_encoded_once(plain_card: ModelCard, encoded: list[torch.Tensor]) -> None:
    # Given a picture made after its prompt was encoded
    adapter = load(plain_card)
    request = request_for(plain_card, prompt="a green pear")
    encoded.clear()
    first = make(adapter, request)
    # When it is made again, with another seed, and with another guidance
    again = make(adapter, request)
    make(adapter, dataclasses.replace(request, seed=1))
    make(adapter, dataclasses.replace(request, guidance_scale=2.0))
    # Then nothing is encoded any more, and the picture is the same
    assert len(encoded) == 1
    assert np.array_equal(again.rgb, first.rgb)
    # But a request that cuts its prompt elsewhere reads another one
    make(adapter, dataclasses.replace(request, max_sequence_length=3))
    assert [ids.shape[1] for ids in encoded] == [TOKENS, 3]


def test_what_a_prompt_loses_is_said(plain_card: ModelCard, plain: PipelinedAdapter) -> None:
    of_clip = f"prompt cut to {CLIP_TOKENS} tokens for CLIP, which sums it up"
    of_t5 = f"prompt cut to {TOKENS} tokens"
    # Given prompts that both encoders read whole, T5 only, and neither; a word is a token of T5's, its end one more
    for words, adjustments in ((4, ()), (TOKENS - 1, (of_clip,)), (TOKENS, (of_t5, of_clip))):
        request = request_for(plain_card, prompt="word " * words, num_inference_steps=1)
        # Then what is lost is said, also when it comes from the cache
        assert make(plain, request).adjustments == adjustments
        assert make(plain, request).adjustments == adjustments
    # And a request may ask for it
    request = request_for(plain_card, prompt="a red apple", num_inference_steps=1, max_sequence_length=2)
    assert make(plain, request).adjustments == ("prompt cut to 2 tokens",)
