"""Adapters of tiny checkpoints and orders for them, and diffusers' own pipelines beside them."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from danqing.core.capabilities import ModelCard, ReferenceScaling, Scaling
from danqing.core.types import GenerationRequest, Mode
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions, MadePicture, Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.qwen_image.model import qwen_image_adapter
from danqing.engine.input_pictures import InputPicture, Pixels
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.spec import Dtype
from tests.contracts.engine import request_for
from tests.unit.engine.families.qwen_image.tiny_qwen import MULTIPLE_OF, PictureProcessor

SIZE = (96, 64)
PROMPT = "make the background blue"


def card_of(folder: Path) -> ModelCard:
    return Catalogue(str(folder)).default()


def showing_one_picture(card: ModelCard, pixels: int) -> ModelCard:
    """As the first edit model does it: text encoder and transformer look at a picture at the same size."""
    scaling = Scaling(pixels=pixels, multiple_of=MULTIPLE_OF)
    both = ReferenceScaling(latents=scaling, prompt=scaling)
    return dataclasses.replace(card, capabilities=dataclasses.replace(card.capabilities, reference_scaling=both))


def load(card: ModelCard, *, dtype: Dtype = "auto") -> PipelinedAdapter:
    """Loaded once a run; it remembers no prompts."""
    adapter = _loaded(card, dtype)
    adapter._options.prompts.clear()
    return adapter


@cache
def _loaded(card: ModelCard, dtype: Dtype) -> PipelinedAdapter:
    options = AdapterOptions(
        device=choose_device("cpu", dtype),
        compile=False,
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
    )
    adapter = qwen_image_adapter(card, options)
    adapter.load()
    return adapter


def make(
    adapter: PipelinedAdapter, orders: Sequence[Order], *, size: tuple[int, int] = SIZE, spare_memory: bool = False
) -> list[MadePicture]:
    made = adapter.make(orders, size, watchers=[Unwatched()] * len(orders), spare_memory=spare_memory)
    assert all(picture is not None for picture in made)
    return cast(list[MadePicture], list(made))


def make_one(adapter: PipelinedAdapter, order: Order, **options: Any) -> Pixels:  # noqa: ANN401  of `make`
    (made,) = make(adapter, [order], **options)
    return made.rgb


def edit_request(card: ModelCard, **changes: object) -> GenerationRequest:
    changes = {"mode": Mode.EDIT, "prompt": PROMPT, "num_inference_steps": 2, "guidance_scale": 4.0, **changes}
    return request_for(card, **changes)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Pixels:
    """Coarse random colours."""
    cells = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return np.array(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))


def start(*, mask: bool) -> InputPicture:
    """The mask's edges lie between latents, where both ways of shrinking it agree."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    white = np.where((x >= 32) & (y < 48), 255, 0).astype(np.uint8)
    return InputPicture(rgb=picture(9), mask=white if mask else None)


def differ(one: Pixels, other: Pixels) -> int:
    """The largest difference of any two values."""
    return int(np.abs(one.astype(int) - other).max())


def diffusers_picture(
    monkeypatch: pytest.MonkeyPatch,
    pipeline_class: Any,  # noqa: ANN401  of several without a common base that has __call__
    folder: Path,
    request: GenerationRequest,
    **inputs: object,
) -> Pixels:
    """What diffusers' pipeline makes, with no chance in an input's latents and with the pictures' tokens told."""
    edits = (folder / "processor").exists()
    pipeline = pipeline_class.from_pretrained(folder, **({"processor": None} if edits else {}))
    if edits:
        pipeline.processor = PictureProcessor(folder)
    pipeline.set_progress_bar_config(disable=True)
    forward = cast(Callable[..., object], Qwen2_5_VLForConditionalGeneration.forward)

    def told(self: Any, *, input_ids: torch.Tensor, **others: object) -> object:  # noqa: ANN401
        places = (input_ids == self.config.image_token_id).int()
        return forward(self, input_ids=input_ids, mm_token_type_ids=places, **others)

    with monkeypatch.context() as patch:
        patch.setattr(Qwen2_5_VLForConditionalGeneration, "forward", told)
        shown = pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or " ",
            true_cfg_scale=request.guidance_scale,
            num_inference_steps=request.num_inference_steps,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            return_dict=False,
            **inputs,
        )[0][0]
    return np.asarray(shown)
