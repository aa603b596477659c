"""LoRAs on FLUX, and on the transformer that fills for it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from danqing.core.capabilities import ModelCard
from danqing.core.errors import LoraFailure
from danqing.core.types import Lora, Mode
from danqing.engine.families.pipelined import PipelinedAdapter
from danqing.engine.loras import LoraPool
from tests.contracts.engine import request_for
from tests.contracts.engine_loras import WEIGHTS, LoraContract, pool_of, random_lora
from tests.unit.engine.families.flux.test_adapter import load, make, stripes

LAYERS = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.ff.net.2",
    "single_transformer_blocks.0.proj_out",
    "single_transformer_blocks.0.norm.linear",
)


class TestFluxLoras(LoraContract):
    layers = LAYERS

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, flux_folder: Path) -> Path:
        return flux_folder

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls, plain_card: ModelCard) -> ModelCard:
        return plain_card

    @classmethod
    def load(cls, card: ModelCard, loras: LoraPool | None = None) -> PipelinedAdapter:
        return load(card, loras=loras)


def test_a_fill_by_other_weights_has_them_where_they_fit(
    flux_folder: Path, filling_card: ModelCard, tmp_path: Path
) -> None:
    # Given one for layers that both transformers have alike, and one for the layer that takes the mask, too, in one
    weights = load_file(flux_folder / WEIGHTS)
    save_file(random_lora(weights, LAYERS, seed=1), tmp_path / "one.safetensors")
    save_file(random_lora(weights, ["x_embedder"], seed=1), tmp_path / "embedder.safetensors")
    adapter = load(filling_card, loras=pool_of(tmp_path))
    fill, plain = stripes(mask=True), {"num_inference_steps": 2}

    def filled(*loras: Lora) -> bytes:
        request = request_for(filling_card, mode=Mode.FILL, strength=1.0, loras=loras, **plain)
        return make(adapter, request, start=fill).rgb.tobytes()

    # Then the first changes a fill, and the second is refused, though it does for a picture from nothing
    before = filled()
    assert filled(Lora(name="one")) != before
    assert filled() == before
    with pytest.raises(LoraFailure, match="LoRA embedder does not fit"):
        filled(Lora(name="embedder"))
    make(adapter, request_for(filling_card, loras=(Lora(name="embedder"),), **plain))
