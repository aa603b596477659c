"""Which layers of Qwen-Image are multiplied in fewer bits, and which only kept in them."""

import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch

from danqing.core.capabilities import Precision
from danqing.engine import quantisation
from danqing.engine.catalogue import Catalogue
from danqing.engine.device import Device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.prompt_cache import PromptCache

untyped = cast(Any, diffusers)
TEXT = ("txt_mlp.net.0.proj", "txt_mlp.net.2", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out")
PICTURE = ("img_mlp.net.0.proj", "img_mlp.net.2")
BOTH = ("attn.to_q", "attn.to_out.0")


@pytest.fixture(autouse=True)
def package() -> None:
    """An extra, which a developer may lack."""
    if importlib.util.find_spec("torchao") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI tests with torchao")
        pytest.skip("torchao is not installed")


@pytest.mark.parametrize(
    ("precision", "kept", "multiplied"),
    [
        ("torchao-fp8", PICTURE, (*TEXT, *BOTH)),  # in which pictures came out black
        ("torchao-int8", TEXT, (*PICTURE, *BOTH)),  # which does not multiply as few tokens as a text may have
    ],
)
def test_layers_that_do_not_stand_it_have_their_weights_alone_in_fewer_bits(
    edit_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    kept: tuple[str, ...],
    multiplied: tuple[str, ...],
) -> None:
    # Given a CPU that is taken for a GPU with fp8
    monkeypatch.setattr(quantisation, "_check_fp8", lambda *_: None)
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda *_: None)
    card = dataclasses.replace(Catalogue(str(edit_folder)).default(), precision=precision)
    device = Device(torch_device=torch.device("cpu"), dtype=torch.bfloat16, name="a GPU")
    options = AdapterOptions(
        device=device, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=0), compile=True
    )
    # When its transformer is loaded for a server that compiles
    made = quantisation.quantised_pipeline(untyped.QwenImageEditPipeline, card, options)
    transformer = untyped.QwenImageTransformer2DModel.from_pretrained(
        edit_folder / "transformer",
        quantization_config=made["quantization_config"].quant_mapping["transformer"],
        torch_dtype=torch.bfloat16,
    )
    # Then those layers are kept as int8, and their activations left alone
    block = transformer.transformer_blocks[1]
    for name in kept:
        weight = block.get_submodule(name).weight
        assert (type(weight).__name__, weight.act_quant_kwargs) == ("Int8Tensor", None), name
    for name in multiplied:
        assert block.get_submodule(name).weight.act_quant_kwargs is not None, name
