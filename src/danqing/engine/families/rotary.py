"""Rotary position embedding in real numbers, for blocks that are compiled: Inductor writes no code for complex ones.

The same arithmetic as diffusers has it in complex numbers, for Z-Image and Qwen-Image: `(a + bi) * (c + si)` for each
pair (a, b) of neighbours.
"""

from typing import Any, cast

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn  # pyright: ignore[reportUnknownVariableType]
from diffusers.models.transformers import transformer_qwenimage
from diffusers.models.transformers.transformer_z_image import ZSingleStreamAttnProcessor
from torch import Tensor

# diffusers is not typed: attention modules are Any.


def turned(states: Tensor, turns: Tensor) -> Tensor:
    """states: (N, tokens, heads, head_size). turns: complex64 (N or 1, tokens, head_size / 2). Returns the states'
    shape and number format.
    """
    parts = torch.view_as_real(turns).unsqueeze(2)  # (…, tokens, 1, head_size / 2, 2)
    pairs = cast(Any, states.float()).unflatten(-1, (-1, 2))
    sign = 2 * torch.arange(2, device=states.device) - 1  # of a pair's: (-b, a)
    made: Tensor = pairs * parts[..., :1] + pairs.flip(-1) * (parts[..., 1:] * sign)
    return made.flatten(3).type_as(states)


class RealRotary(ZSingleStreamAttnProcessor):
    """As diffusers' processor of Z-Image's blocks, in real numbers."""

    def __call__(
        self,
        attn: Any,  # noqa: ANN401
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        """hidden_states: (N, tokens, width). attention_mask: bool (N, tokens). freqs_cis: see `turned`."""
        projections = (attn.to_q, attn.to_k, attn.to_v)
        query, key, value = (each(hidden_states).unflatten(-1, (attn.heads, -1)) for each in projections)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        if freqs_cis is not None:
            query, key = turned(query, freqs_cis), turned(key, freqs_cis)
        if attention_mask is not None and attention_mask.ndim == 2:
            attention_mask = attention_mask[:, None, None, :]
        attended: Tensor = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=attention_mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        made: Tensor = attn.to_out[0](attended.flatten(2, 3))
        return made


def in_real_numbers(transformer: Any) -> None:  # noqa: ANN401
    """For a transformer that is to be compiled. Those of Qwen-Image change in the whole process."""
    for module in transformer.modules():
        if isinstance(getattr(module, "processor", None), ZSingleStreamAttnProcessor):
            processor: Any = RealRotary()
            processor._attention_backend = module.processor._attention_backend
            module.processor = processor
    transformer_qwenimage.apply_rotary_emb_qwen = _of_qwen


def _of_qwen(x: Tensor, freqs_cis: Tensor, use_real: bool = True, use_real_unbind_dim: int = -1) -> Tensor:
    if use_real:
        return complex_of_qwen(x, freqs_cis, use_real, use_real_unbind_dim)
    return turned(x, freqs_cis.unsqueeze(0))


complex_of_qwen: Any = transformer_qwenimage.apply_rotary_emb_qwen  # diffusers' own
