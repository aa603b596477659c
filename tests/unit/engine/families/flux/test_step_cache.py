"""FLUX with a step cache; and with what else changes its transformer."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import diffusers
import numpy as np
import pytest
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import ModelCard
from danqing.core.sentences import says
from danqing.core.types import GenerationRequest, Lora, Mode
from danqing.engine.families.adapter import Order, Unwatched
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.input_pictures import Pixels
from tests.contracts.engine import request_for
from tests.contracts.engine_loras import WEIGHTS, pool_of, random_lora
from tests.contracts.engine_step_cache import EVERYTHING, SIZE, StepCacheContract, counted
from tests.unit.engine.families.flux.test_adapter import load, make, stripes, theirs

untyped = cast(Any, diffusers)


@pytest.fixture(scope="module")
def card(plain_card: ModelCard) -> ModelCard:
    return plain_card


@pytest.fixture(scope="module")
def adapter(card: ModelCard) -> PipelinedAdapter:
    return load(card)


class TestFluxStepCache(StepCacheContract):
    guidance_scale = 3.5
    runs_a_step = 1

    def theirs(self, card: ModelCard, request: GenerationRequest, config: FirstBlockCacheConfig) -> Pixels:
        pipeline = untyped.FluxPipeline.from_pretrained(card.source)
        pipeline.transformer.enable_cache(config)
        return np.asarray(theirs(pipeline, request))


@pytest.mark.parametrize("kind", ["img2img", "inpainting"])
def test_pictures_from_pictures_have_it_too(card: ModelCard, adapter: PipelinedAdapter, kind: str) -> None:
    request = request_for(card, strength=1.0, num_inference_steps=6, step_cache=EVERYTHING)
    with counted(adapter) as runs:
        make(adapter, request, start=stripes(mask=kind == "inpainting"))
    assert runs == [6, 1]


def test_weights_for_filling_have_it_and_not_the_models_own(filling_card: ModelCard) -> None:
    adapter = load(filling_card)
    request = request_for(filling_card, mode=Mode.FILL, strength=1.0, num_inference_steps=6, step_cache=EVERYTHING)
    with counted(adapter) as own:
        made = make(adapter, request, start=stripes(mask=True))
    assert own == [0, 0]
    assert made.adjustments == ("step cache: 5 of 6 runs of the transformer cut short",)


def test_loras_count_beside_it(flux_folder: Path, card: ModelCard, tmp_path: Path) -> None:
    layers = ["transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.proj_out"]
    save_file(random_lora(load_file(flux_folder / WEIGHTS), layers, seed=1), tmp_path / "one.safetensors")
    adapter = load(card, loras=pool_of(tmp_path))
    cautious = request_for(card, num_inference_steps=3, step_cache=1e-9)
    lora = dataclasses.replace(cautious, loras=(Lora(name="one"),))
    without_cache = dataclasses.replace(lora, step_cache=None)
    plain = make(adapter, cautious).rgb
    assert np.array_equal(make(adapter, lora).rgb, make(adapter, without_cache).rgb)
    assert not np.array_equal(make(adapter, lora).rgb, plain)
    assert np.array_equal(make(adapter, cautious).rgb, plain)


def test_a_model_whose_layers_come_one_by_one_goes_without_and_says_so(
    card: ModelCard, adapter: PipelinedAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danqing.engine.families import pipelined
    from danqing.engine.families.placement import Placement

    request = request_for(card, num_inference_steps=3)
    plain = make(adapter, request).rgb
    monkeypatch.setattr(pipelined, "placement_of", lambda *_: Placement.GROUPS)
    order = Order(request=dataclasses.replace(request, step_cache=EVERYTHING))
    (made,) = adapter.make([order], SIZE, watchers=[Unwatched()], spare_memory=False)
    assert made is not None
    assert made.adjustments == (says("no_step_cache"),)
    assert np.array_equal(made.decoded().rgb, plain)
