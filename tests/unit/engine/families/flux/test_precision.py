"""Which layers of FLUX are multiplied in fewer bits, and which only kept in them."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch

from danqing.core.capabilities import ModelCard
from danqing.engine import quantisation
from danqing.engine.device import Device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.prompt_cache import PromptCache

untyped = cast(Any, diffusers)
TEXT = ("ff_context.net.0.proj", "ff_context.net.2", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out")
PICTURE = ("ff.net.0.proj", "ff.net.2", "attn.to_q", "attn.to_out.0")


def test_the_layers_of_a_text_which_may_be_too_short_for_int8_have_their_weights_alone_in_it(
    flux_folder: Path, plain_card: ModelCard
) -> None:
    if importlib.util.find_spec("torchao") is None:  # an extra, which a developer may lack
        if os.environ.get("CI") == "true":
            pytest.fail("CI tests with torchao")
        pytest.skip("torchao is not installed")
    # Given a model in int8, on a server that compiles
    device = Device(torch_device=torch.device("cpu"), dtype=torch.bfloat16, name="a GPU")
    options = AdapterOptions(
        device=device, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=0), compile=True
    )
    card = replace(plain_card, precision="torchao-int8")
    # When its transformer is loaded
    made = quantisation.quantised_pipeline(untyped.FluxPipeline, card, options)
    transformer = untyped.FluxTransformer2DModel.from_pretrained(
        flux_folder / "transformer",
        quantization_config=made["quantization_config"].quant_mapping["transformer"],
        torch_dtype=torch.bfloat16,
    )
    # Then activations of the text's own layers are left alone
    block = transformer.transformer_blocks[0]
    for name in TEXT:
        weight = block.get_submodule(name).weight
        assert (type(weight).__name__, weight.act_quant_kwargs) == ("Int8Tensor", None), name
    for name in PICTURE:
        assert block.get_submodule(name).weight.act_quant_kwargs is not None, name
