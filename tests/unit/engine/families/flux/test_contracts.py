"""What every engine promises, on FLUX: with its own weights alone, and with a checkpoint for filling."""

from collections.abc import Generator

import pytest
import torch

from danqing.core.capabilities import ModelCard
from danqing.engine.build import build_engine
from danqing.engine.resident import ResidentEngine
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import EngineContract, denoise, request_for
from tests.contracts.engine_control import EngineControlContract
from tests.contracts.engine_inputs import EngineInputsContract, EnginePreviewsContract


def loaded(spec: EngineSpec) -> Generator[ResidentEngine]:
    engine = build_engine(spec)
    assert isinstance(engine, ResidentEngine)
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def card(plain_card: ModelCard) -> ModelCard:
    return plain_card


@pytest.fixture(scope="module")
def engine(card: ModelCard) -> Generator[ResidentEngine]:
    yield from loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))


class TestFlux(EngineContract, EngineInputsContract, EnginePreviewsContract, EngineControlContract):
    """With a ControlNet; it fills with its own weights."""

    implementation = ResidentEngine


class TestFilling(EngineInputsContract):
    """With weights for filling."""

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, filling_card: ModelCard) -> ModelCard:
        return filling_card

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, card: ModelCard) -> Generator[ResidentEngine]:
        yield from loaded(EngineSpec(cards=(card,), device="cpu", cpu_threads=1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnCuda(EngineContract, EngineInputsContract, EnginePreviewsContract, EngineControlContract):
    """The same on a GPU in bfloat16."""

    implementation = ResidentEngine

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, filling_card: ModelCard) -> ModelCard:
        return filling_card

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, card: ModelCard) -> Generator[ResidentEngine]:
        yield from loaded(EngineSpec(cards=(card,), device="cuda"))

    @pytest.mark.parametrize("compiled, offloaded", [(True, False), (False, True)])
    def test_options_keep_the_promises(self, card: ModelCard, compiled: bool, offloaded: bool) -> None:
        for engine in loaded(EngineSpec(cards=(card,), device="cuda", compile=compiled, cpu_offload=offloaded)):
            first = denoise(engine, request_for(card))
            denoise(engine, request_for(card, guidance_scale=2.0))
            assert denoise(engine, request_for(card)) == first
