"""Qwen-Image with a step cache: with guidance each step runs the transformer twice, and in edits it sees references."""

from pathlib import Path

import pytest
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline

from danqing.core.capabilities import ModelCard
from danqing.core.types import GenerationRequest
from danqing.engine.families.adapter import Order
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.input_pictures import Pixels
from tests.contracts.engine_step_cache import EVERYTHING, SIZE, StepCacheContract, counted
from tests.unit.engine.families.qwen_image.making import (
    card_of,
    differ,
    diffusers_picture,
    edit_request,
    load,
    make_one,
    picture,
)


class Cached:
    """Stands for the pipeline's class: what it loads has a cache."""

    def __init__(self, config: FirstBlockCacheConfig) -> None:
        self._config = config

    def from_pretrained(self, folder: Path, **options: object) -> QwenImagePipeline:
        pipeline = QwenImagePipeline.from_pretrained(folder, **options)
        pipeline.transformer.enable_cache(self._config)
        return pipeline


class TestQwenStepCache(StepCacheContract):
    guidance_scale = 4.0
    runs_a_step = 2

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, base_folder: Path) -> ModelCard:
        return card_of(base_folder)

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls, card: ModelCard) -> PipelinedAdapter:
        return load(card)

    def theirs(self, card: ModelCard, request: GenerationRequest, config: FirstBlockCacheConfig) -> Pixels:
        with pytest.MonkeyPatch.context() as patch:
            return diffusers_picture(patch, Cached(config), Path(card.source), request, width=SIZE[0], height=SIZE[1])


def test_edits_have_it(plus_folder: Path) -> None:
    card = card_of(plus_folder)
    adapter = load(card)
    references = (picture(1), picture(2, (64, 96)))
    plain = edit_request(card, num_inference_steps=5)
    request = edit_request(card, num_inference_steps=5, step_cache=EVERYTHING)
    with counted(adapter) as runs:
        made = make_one(adapter, Order(request=request, references=references))
    assert runs == [10, 2]
    assert differ(made, make_one(adapter, Order(request=plain, references=references))) > 0
