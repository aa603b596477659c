"""The real engine with the base model of Qwen-Image, on tiny random weights, through the ordinary loading path."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from danqing.core.capabilities import ModelCard
from danqing.core.types import LatentPicture
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import Album, EngineContract, Watcher, computed, make, request_for
from tests.contracts.engine_inputs import EngineInputsContract, EnginePreviewsContract


@pytest.fixture(scope="module")
def card(base_folder: Path) -> ModelCard:
    return Catalogue(str(base_folder)).default()


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Generator[ResidentEngine]:
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))
    assert isinstance(engine, ResidentEngine)
    engine.load()
    yield engine
    engine.unload()


def test_decoding_beside_the_next_batch_makes_the_same_picture(engine: ResidentEngine, card: ModelCard) -> None:
    # Given two pictures that are denoised before the first of them is decoded
    request = request_for(card, num_inference_steps=2)
    waiting = [
        engine.denoise([replace(request, seed=seed)], read_image=Album().read, observers=[Watcher()])[0]
        for seed in (1, 2)
    ]
    assert all(isinstance(raw, LatentPicture) for raw in waiting)
    # Then each is the one that is made alone
    for seed, raw in zip((1, 2), waiting, strict=True):
        assert computed(raw) == make(engine, replace(request, seed=seed))


class TestQwenImage(EngineContract, EngineInputsContract, EnginePreviewsContract):
    implementation = ResidentEngine
