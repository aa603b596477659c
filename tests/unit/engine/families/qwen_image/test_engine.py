"""The real engine with the base model of Qwen-Image, on tiny random weights, through the ordinary loading path."""

from collections.abc import Generator
from pathlib import Path

import pytest

from danqing.core.capabilities import ModelCard
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import EngineContract
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


class TestQwenImage(EngineContract, EngineInputsContract, EnginePreviewsContract):
    implementation = ResidentEngine
