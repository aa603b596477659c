"""Which layers of a transformer that is kept in fewer bits are multiplied in them, too."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from danqing.core.capabilities import ModelCard
from danqing.engine import quantisation
from danqing.engine.device import Device
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.prompt_cache import PromptCache

# diffusers is not typed: its classes and what they make are Any.


def needs_torchao() -> None:
    """An extra, which a developer may lack."""
    if importlib.util.find_spec("torchao") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI tests with torchao")
        pytest.skip("torchao is not installed")


def compiled_transformer(card: ModelCard, pipeline_class: Any, transformer_class: Any, folder: Path) -> Any:  # noqa: ANN401
    """That of the folder in the card's precision, as a server loads it that compiles."""
    device = Device(torch_device=torch.device("cpu"), dtype=torch.bfloat16, name="a GPU")
    options = AdapterOptions(
        device=device, cpu_offload=False, attention=None, prompts=PromptCache(max_bytes=0), compile=True
    )
    made = quantisation.quantised_pipeline(pipeline_class, card, options)
    return transformer_class.from_pretrained(
        folder / "transformer",
        quantization_config=made["quantization_config"].quant_mapping["transformer"],
        torch_dtype=torch.bfloat16,
    )


def assert_weights_alone(block: Any, kept: tuple[str, ...], multiplied: tuple[str, ...]) -> None:  # noqa: ANN401
    """Those layers are kept as int8, and their activations left alone; these are not."""
    for name in kept:
        weight = block.get_submodule(name).weight
        assert (type(weight).__name__, weight.act_quant_kwargs) == ("Int8Tensor", None), name
    for name in multiplied:
        assert block.get_submodule(name).weight.act_quant_kwargs is not None, name
