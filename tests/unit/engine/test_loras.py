"""Reading LoRAs as they are written in several ways, keeping those used lately, and applying them to any layer."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from danqing.core.capabilities import ModelCard
from danqing.core.errors import LoraFailure
from danqing.core.types import Lora
from danqing.engine.device import choose_device
from danqing.engine.lora_files import LoraFiles
from danqing.engine.loras import LoraPool
from tests.fakes.domain import a_card

Untyped = Any  # diffusers' pipelines, of which little is used here
WIDE, TALL, RANK = 6, 4, 2
LAYER_BYTES = (WIDE + TALL) * RANK * 4
DOWN = torch.arange(WIDE * RANK, dtype=torch.float32).reshape(RANK, WIDE) / 10
UP = torch.arange(TALL * RANK, dtype=torch.float32).reshape(TALL, RANK) / 10
GIVEN = torch.ones(1, WIDE)
ALPHA = torch.tensor(1.0)  # half of the rank


Z, MMDIT = "layers.0.attention.to_q", "transformer_blocks.0.attn.to_q"


def pair(layer: str, *, down: str = "lora_A", up: str = "lora_B") -> dict[str, Tensor]:
    """Both matrices of a layer."""
    return {f"{layer}.{down}.weight": DOWN, f"{layer}.{up}.weight": UP}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDE, TALL)

    def forward(self, given: Tensor) -> Tensor:
        return self.to_q(given)


class Block(nn.Module):
    """Named as the three families name the layers of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = self.attn = Attention()

    def forward(self, given: Tensor) -> Tensor:
        return self.attention(given)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = self.transformer_blocks = nn.ModuleList([Block()])

    def forward(self, given: Tensor) -> Tensor:
        return self.layers[0](given)


def pipeline_of(family: Untyped) -> Untyped:
    return SimpleNamespace(transformer=Network(), lora_state_dict=family.lora_state_dict)


@pytest.fixture
def pipeline() -> Untyped:
    return pipeline_of(ZImagePipeline)


@pytest.fixture
def card() -> ModelCard:
    return a_card()


def pool_of(folder: Path, max_bytes: int = 1 << 20) -> LoraPool:
    return LoraPool(LoraFiles(folder), choose_device("cpu", "auto"), max_bytes=max_bytes)


def put(
    folder: Path, name: str, tensors: Mapping[str, Tensor] | None = None, told: Mapping[str, object] | None = None
) -> None:
    """In diffusers' words if nothing else is given. told: peft's words about it, as diffusers writes them."""
    tensors = pair(f"transformer.{Z}") if tensors is None else tensors
    copies = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
    metadata = {"lora_adapter_metadata": json.dumps(told)} if told else None
    save_file(copies, folder / f"{name}.safetensors", metadata=metadata)


def added(pool: LoraPool, card: ModelCard, pipeline: Untyped, *loras: Lora) -> Tensor:
    """What the LoRAs add to the layer's result; checks that nothing stays."""
    with torch.inference_mode():
        before = pipeline.transformer(GIVEN)
        with pool.applied(loras, card, pipeline):
            result = pipeline.transformer(GIVEN)
        assert torch.equal(pipeline.transformer(GIVEN), before)
    return result - before


def expect(result: Tensor, scale: float) -> None:
    torch.testing.assert_close(result, scale * (GIVEN @ DOWN.T @ UP.T))


KOHYA = {"down": "lora_down", "up": "lora_up"}
FLAT = "lora_unet_layers_0_attention_to_q"
WAYS = {
    "z_image: diffusers": (ZImagePipeline, pair(f"transformer.{Z}"), 1),
    "z_image: bare": (ZImagePipeline, pair(Z), 1),
    "z_image: comfy": (ZImagePipeline, pair(f"diffusion_model.{Z}"), 1),
    "z_image: kohya": (ZImagePipeline, {**pair(FLAT, **KOHYA), f"{FLAT}.alpha": ALPHA}, 0.5),
    "qwen: diffusers": (QwenImagePipeline, pair(f"transformer.{MMDIT}"), 1),
    "qwen: alphas": (QwenImagePipeline, {**pair(MMDIT, **KOHYA), f"{MMDIT}.alpha": ALPHA}, 0.5),
    "flux: diffusers": (FluxPipeline, pair(f"transformer.{MMDIT}"), 1),
    "flux: alphas": (
        FluxPipeline,
        {**pair(f"transformer.{MMDIT}"), f"transformer.{MMDIT}.alpha": ALPHA},
        0.5,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_means_the_same(tmp_path: Path, card: ModelCard, way: str) -> None:
    family, tensors, scale = WAYS[way]
    put(tmp_path, "ink", tensors)
    expect(added(pool_of(tmp_path), card, pipeline_of(family), Lora(name="ink", scale=2)), 2 * scale)


@pytest.mark.parametrize(
    ("told", "scale"),
    [
        ({"r": RANK, "lora_alpha": 8}, 8 / RANK),
        ({"r": RANK, "lora_alpha": 8, "use_rslora": True}, 8 / RANK**0.5),
        ({"r": RANK, "lora_alpha": 8, "alpha_pattern": {"attention.to_q": 3}}, 3 / RANK),
        ({"r": RANK, "lora_alpha": 8, "megatron_config": {}, "megatron_core": "antigravity"}, 8 / RANK),
    ],
)
def test_strength_is_as_the_file_says(
    tmp_path: Path, card: ModelCard, pipeline: Untyped, told: dict[str, object], scale: float
) -> None:
    put(tmp_path, "ink", told={f"transformer.{name}": value for name, value in told.items()})
    expect(added(pool_of(tmp_path), card, pipeline, Lora(name="ink")), scale)


def test_several_add_up_each_with_its_scale(tmp_path: Path, card: ModelCard, pipeline: Untyped) -> None:
    put(tmp_path, "one")
    put(tmp_path, "two")
    pool = pool_of(tmp_path)
    expect(added(pool, card, pipeline, Lora(name="one", scale=0.75), Lora(name="two", scale=-0.25)), 0.5)
    expect(added(pool, card, pipeline, Lora(name="two", scale=4)), 4)


@pytest.mark.parametrize(
    ("tensors", "told", "message"),
    [
        ({f"{Z}.lora_A.weight": DOWN}, None, "damaged, or made for a model other than tiny"),
        (pair(f"transformer.{Z}") | {f"transformer.{Z}.lora_B.weight": UP.T}, None, "do not fit each other"),
        (pair(f"transformer.{Z}") | {f"transformer.{Z}.lora_B.weight": DOWN.T}, None, "does not fit model"),
        (pair("transformer.other"), None, "does not fit model"),
        (pair("transformer.layers"), None, "does not fit model"),
        ({f"transformer.{Z}.weight": DOWN}, None, "more than linear layers"),
        ({f"transformer.{Z}.lora_B.bias": DOWN[0]}, None, "more than linear layers"),
        (pair(Z) | {f"{Z}.dora_scale": DOWN}, None, "of another kind"),
        ({f"{Z}.lokr_w1": DOWN}, None, "of another kind"),
        (pair("text_encoder.q"), None, "nothing for this model"),
        ({}, None, "nothing for this model"),
        (None, {"transformer.use_dora": True}, "DoRA"),
        (None, {"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"to_.": 3}}, "is not understood"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, card: ModelCard, pipeline: Untyped, tensors: Untyped, told: Untyped, message: str
) -> None:
    put(tmp_path, "ink", tensors, told)
    with pytest.raises(LoraFailure, match=f"LoRA ink.*{message}"):
        added(pool_of(tmp_path), card, pipeline, Lora(name="ink"))


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x80\x04\x95cos\nsystem\n"])
def test_a_file_that_is_no_safetensors_is_never_read_as_something_else(
    tmp_path: Path, card: ModelCard, pipeline: Untyped, content: bytes
) -> None:
    (tmp_path / "ink.safetensors").write_bytes(content)
    with pytest.raises(LoraFailure, match="LoRA ink: its file is damaged"):
        added(pool_of(tmp_path), card, pipeline, Lora(name="ink"))


def test_a_part_for_the_text_encoder_is_left_out_and_told(tmp_path: Path, card: ModelCard, pipeline: Untyped) -> None:
    put(tmp_path, "ink", pair(f"transformer.{Z}") | pair("text_encoder.q"))
    put(tmp_path, "plain")
    with pool_of(tmp_path).applied((Lora(name="plain"), Lora(name="ink")), card, pipeline) as adjustments:
        assert adjustments == ("LoRA ink used without its part for the text encoder",)


def test_the_least_recently_used_leaves_when_there_is_no_room(
    tmp_path: Path, card: ModelCard, pipeline: Untyped, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given room for two, and a note of every reading
    for name in ("a", "b", "c"):
        put(tmp_path, name)
    pool, read = pool_of(tmp_path, 2 * LAYER_BYTES), list[str]()
    reading = pipeline.lora_state_dict

    def noted(file: str, **how: object) -> object:
        read.append(Path(file).stem)
        return reading(file, **how)

    monkeypatch.setattr(pipeline, "lora_state_dict", noted)

    # When they are used in this order
    for name in ("a", "b", "a", "c", "a", "b"):
        expect(added(pool, card, pipeline, Lora(name=name)), 1)

    # Then b had to leave for c, and was read again
    assert read == ["a", "b", "c", "b"]
    assert (len(pool), pool.held_bytes) == (2, 2 * LAYER_BYTES)
    pool.forget("another")
    assert len(pool) == 2
    pool.forget(card.id)
    assert pool.held_bytes == 0


def test_one_larger_than_the_pool_and_several_at_once_are_used_all_the_same(
    tmp_path: Path, card: ModelCard, pipeline: Untyped
) -> None:
    for name in ("a", "b"):
        put(tmp_path, name)
    for room in (LAYER_BYTES - 1, LAYER_BYTES):
        pool = pool_of(tmp_path, room)
        expect(added(pool, card, pipeline, Lora(name="a"), Lora(name="b")), 2)
        assert pool.held_bytes <= room


def test_a_file_that_changed_is_read_again(tmp_path: Path, card: ModelCard, pipeline: Untyped) -> None:
    put(tmp_path, "ink")
    pool = pool_of(tmp_path)
    expect(added(pool, card, pipeline, Lora(name="ink")), 1)
    put(tmp_path, "ink", told={"transformer.lora_alpha": 6})
    os.utime(tmp_path / "ink.safetensors", ns=(1, 1))
    expect(added(pool, card, pipeline, Lora(name="ink")), 3)


def test_one_that_came_later_is_found_and_one_that_went_is_named(
    tmp_path: Path, card: ModelCard, pipeline: Untyped
) -> None:
    pool = pool_of(tmp_path)
    put(tmp_path, "late")
    expect(added(pool, card, pipeline, Lora(name="late")), 1)
    (tmp_path / "late.safetensors").unlink()
    with pytest.raises(LoraFailure, match="LoRA late is not there any more"):
        added(pool, card, pipeline, Lora(name="late"))


def test_layers_in_another_number_format_have_them_too(tmp_path: Path, card: ModelCard, pipeline: Untyped) -> None:
    put(tmp_path, "ink")
    pipeline.transformer.to(torch.float64)
    with pool_of(tmp_path).applied((Lora(name="ink"),), card, pipeline):
        result = pipeline.transformer(GIVEN.double())
    expect((result - pipeline.transformer(GIVEN.double())).detach().float(), 1)


def test_compiled_layers_have_them_and_are_as_compiled_afterwards(
    tmp_path: Path, card: ModelCard, pipeline: Untyped
) -> None:
    # Given a compiled block that has run, and a note of every compilation
    put(tmp_path, "ink")
    compiled: list[object] = []

    def backend(graph: Untyped, _: object) -> Untyped:
        compiled.append(graph)
        return graph.forward

    pipeline.transformer.layers[0].compile(backend=backend)
    with torch.inference_mode():
        pipeline.transformer(GIVEN)
    assert len(compiled) == 1

    # When LoRAs come and go
    pool = pool_of(tmp_path)
    for scale in (1, 0.5):
        expect(added(pool, card, pipeline, Lora(name="ink", scale=scale)), scale)

    # Then nothing was compiled anew
    assert len(compiled) == 1
