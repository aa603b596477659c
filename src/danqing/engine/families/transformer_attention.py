"""A loaded transformer's attention: on which shape it is measured, and with which kernel it is computed."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from danqing.core.capabilities import ModelCard
from danqing.core.sizes import usual_size
from danqing.engine.attention import NATIVE, TAKE_MASKS, AttentionShape
from danqing.engine.families.adapter import AdapterOptions
from danqing.engine.families.working_memory import PATCH

# diffusers is not typed: a pipeline and its parts are Any.

# At every choice of a kernel it warns that it may change how one is chosen; which version there is, we know.
logging.getLogger("diffusers.models.modeling_utils").addFilter(
    lambda record: not record.getMessage().startswith("Attention backends are an experimental feature")
)


def kernel_of(parts: Any, card: ModelCard, options: AdapterOptions) -> str | None:  # noqa: ANN401
    """diffusers' name of the kernel for a pipeline's transformer; None: PyTorch's own, with nothing to be set.

    The first call for a shape measures. Raises ModelLoadFailure.
    """
    return None if options.attention is None else options.attention.kernel_for(_shape(parts, card))


def set_kernel(network: Any, parts: Any, card: ModelCard, options: AdapterOptions) -> None:  # noqa: ANN401
    """The kernel of the pipeline's transformer for a network of about its shape: that itself, or a companion."""
    if (kernel := kernel_of(parts, card, options)) is not None:
        network.set_attention_backend(kernel)


def set_for_masks(network: Any, parts: Any, card: ModelCard, options: AdapterOptions) -> None:  # noqa: ANN401
    """For a companion that is always given masks, brought in `with_masks`, for it may share the transformer's layers.

    Left alone it would have the kernel that diffusers was told of last, for whichever model.
    """
    if (kernel := kernel_of(parts, card, options)) is not None:
        network.set_attention_backend(kernel if kernel in TAKE_MASKS else NATIVE)


@contextmanager
def with_masks(parts: Any, card: ModelCard, options: AdapterOptions) -> Generator[None]:  # noqa: ANN401
    """Inside, the pipeline's transformer may be given masks, which flash kernels do not take."""
    kernel = kernel_of(parts, card, options)
    if kernel is None or kernel in TAKE_MASKS:
        yield
        return
    parts.transformer.set_attention_backend(NATIVE)
    try:
        yield
    finally:
        parts.transformer.set_attention_backend(kernel)


def _shape(parts: Any, card: ModelCard) -> AttentionShape:  # noqa: ANN401
    """Of one picture of the model's usual size; its prompt, which is short beside it, left out."""
    config, (width, height) = parts.transformer.config, usual_size(card)
    heads = config.n_heads if "n_heads" in config else config.num_attention_heads
    head_size = config.dim // heads if "dim" in config else config.attention_head_dim
    return AttentionShape(
        tokens=width * height // (parts.vae_scale_factor * PATCH) ** 2, heads=heads, head_size=head_size
    )
