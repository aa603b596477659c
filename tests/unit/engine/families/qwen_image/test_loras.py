"""LoRAs on Qwen-Image, and on its edits, whose transformer looks at further pictures."""

import dataclasses
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import ModelCard
from danqing.core.types import Lora
from danqing.engine.device import choose_device
from danqing.engine.families.adapter import AdapterOptions, Order
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.families.qwen_image.model import qwen_image_adapter
from danqing.engine.loras import LoraPool
from danqing.engine.prompt_cache import PromptCache
from tests.contracts.engine_loras import WEIGHTS, LoraContract, pool_of, random_lora
from tests.unit.engine.families.qwen_image.making import card_of, edit_request, make_one, picture

LAYERS = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.attn.add_k_proj",
    "transformer_blocks.1.img_mlp.net.2",
    "transformer_blocks.1.img_mod.1",
)


def load(card: ModelCard, loras: LoraPool | None = None) -> PipelinedAdapter:
    options = AdapterOptions(
        device=choose_device("cpu", "auto"),
        compile=False,
        cpu_offload=False,
        attention=None,
        prompts=PromptCache(max_bytes=1 << 20),
        loras=loras,
    )
    adapter = qwen_image_adapter(card, options)
    adapter.load()
    return adapter


class TestQwenImageLoras(LoraContract):
    layers = LAYERS

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, base_folder: Path) -> Path:
        return base_folder

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, base_folder: Path) -> ModelCard:
        return card_of(base_folder)

    @classmethod
    def load(cls, card: ModelCard, loras: LoraPool | None = None) -> PipelinedAdapter:
        return load(card, loras)


def test_an_edit_has_them_too(plus_folder: Path, tmp_path: Path) -> None:
    card = card_of(plus_folder)
    save_file(random_lora(load_file(plus_folder / WEIGHTS), LAYERS, seed=1), tmp_path / "one.safetensors")
    adapter = load(card, pool_of(tmp_path))
    plain = Order(request=edit_request(card), references=(picture(1),))
    changed = dataclasses.replace(plain, request=edit_request(card, loras=(Lora(name="one"),)))
    made = [make_one(adapter, order).tobytes() for order in (plain, changed, plain)]
    assert made[0] == made[2] != made[1]
