"""What of a model is compiled, and how, so that nobody who asks for a new size waits for a compiler."""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Size, Tensor

from danqing.engine import one_op_attention
from danqing.engine.families.rotary import in_real_numbers

# Of one function for different parts, batches and masks; at PyTorch's 8 a server that is asked for many kinds of
# pictures would go on uncompiled, and nobody would know.
MOST_VERSIONS = 64

# diffusers is not typed, nor is all of torch: networks are Any.


def compile_blocks(transformer: Any) -> None:  # noqa: ANN401
    """A transformer's repeated blocks, for any number of tokens; done when they are first called. Rotary embedding and
    attention, which make the same, are others in the whole process then.
    """
    _allow_versions()
    one_op_attention.register()
    in_real_numbers(transformer)
    transformer.compile_repeated_blocks(dynamic=True)


def compile_layers(layers: Iterable[Any]) -> None:
    """A text encoder's layers, for any number of tokens; done when they are first called."""
    _allow_versions()
    for layer in layers:
        layer.compile(dynamic=True)


def compile_for_one(network: Any, shape: Size) -> None:  # noqa: ANN401
    """A network of convolutions, for inputs of that shape only, in one piece; done when it is first called so. Others
    go through it as before.

    For any size it would take minutes, and the result be two thirds as quick (`bench/gpu_blocks.py`): Inductor changes
    the order of numbers, which is what pays, for sizes that it knows.
    """
    plain: Callable[..., Tensor] = network.forward
    options = {"force_layout_optimization": True}
    compiled: Callable[..., Tensor] = cast(Any, torch).compile(plain, dynamic=False, options=options)

    def forward(given: Tensor, *others: Any, **named: Any) -> Tensor:  # noqa: ANN401
        return (compiled if given.shape == shape else plain)(given, *others, **named)

    network.forward = forward


def _allow_versions() -> None:
    """In this thread."""
    config: Any = importlib.import_module("torch._dynamo.config")
    config.recompile_limit = max(config.recompile_limit, MOST_VERSIONS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 4 * MOST_VERSIONS)
