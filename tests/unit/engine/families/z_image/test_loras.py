"""LoRAs on Z-Image."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import ModelCard
from danqing.core.engine_port import Denoised, Outcome
from danqing.core.errors import LoraFailure
from danqing.core.types import Lora, RawPicture
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.z_image.model import z_image_adapter
from danqing.engine.loras import LoraPool
from danqing.engine.prompt_cache import PromptCache
from danqing.engine.spec import EngineSpec
from tests.contracts.engine import Album, Watcher, request_for
from tests.contracts.engine_loras import WEIGHTS, LoraContract, random_lora


class TestZImageLoras(LoraContract):
    layers = (
        "layers.0.attention.to_q",
        "layers.0.attention.to_out.0",
        "layers.1.feed_forward.w2",
        "noise_refiner.0.adaLN_modulation.0",
        "context_refiner.0.attention.to_v",
    )

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tiny_folder: Path) -> Path:
        return tiny_folder

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, tiny_folder: Path) -> ModelCard:
        return Catalogue(str(tiny_folder)).default()

    @classmethod
    def load(cls, card: ModelCard, loras: LoraPool | None = None) -> PipelinedAdapter:
        options = AdapterOptions(
            device=choose_device("cpu", "auto"),
            compile=False,
            cpu_offload=False,
            attention=None,
            prompts=PromptCache(max_bytes=1 << 20),
            loras=loras,
        )
        adapter = z_image_adapter(card, options)
        adapter.load()
        return adapter


def test_the_engine_has_them_from_its_folder(tiny_folder: Path, tmp_path: Path) -> None:
    # Given an engine with a folder in which one LoRA fits and one does not
    card = Catalogue(str(tiny_folder)).default()
    weights = load_file(tiny_folder / WEIGHTS)
    save_file(random_lora(weights, TestZImageLoras.layers, seed=1), tmp_path / "ink.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    engine = build_engine(EngineSpec(cards=(card,), device="cpu", cpu_threads=1, lora_folder=tmp_path))
    engine.load()

    # When pictures are asked for with the one, with the other, and with none before and after
    def outcome(*loras: Lora) -> RawPicture | Outcome:
        request = request_for(card, num_inference_steps=1, loras=loras)
        (made,) = engine.denoise([request], read_image=Album().read, observers=[Watcher()])
        return made.computed() if isinstance(made, Denoised) else made

    plain, inked, broken, after = outcome(), outcome(Lora(name="ink")), outcome(Lora(name="broken")), outcome()

    # Then only the broken one fails, and is named
    assert plain == after != inked
    assert isinstance(inked, RawPicture)
    assert isinstance(broken, LoraFailure)
    assert broken.public_message.startswith("LoRA broken: its file is damaged")
