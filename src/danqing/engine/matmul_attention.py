"""Attention by matrix products, for CPUs in half precision.

PyTorch's own kernel there is no quicker in half precision than in float32, while the products alone are several times
as quick on cores that have instructions for them (`bench/cpu_attention.py`). Scores are rounded to the number format
between the two products, as the weights' other products are.
"""

import math

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,  # pyright: ignore[reportPrivateUsage]
)
from torch import Tensor

# What diffusers calls PyTorch's kernel that computes attention so, but all of it at once, which takes longer than any.
NAME = AttentionBackendName("_native_math")
MOST_SCORES = 1 << 20  # computed at once, so that they stay in a cache
FEWEST_ROWS = 256  # of a product, below which it is not quick


def attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """query: (pictures, tokens, heads, head_size). key, value: so too, with other tokens. Returns the query's shape.

    attn_mask: what may be looked at (bool), or is added to the scores; (pictures, keys), or as PyTorch takes it. scale:
    of the scores; None is one by the root of the head's size.
    """
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))  # (pictures, heads, tokens, head_size)
    pictures, heads, rows, head_size = query.shape
    columns = key.shape[2]
    scaled = query * (1 / math.sqrt(head_size) if scale is None else scale)
    turned = key.transpose(-1, -2)  # (pictures, heads, head_size, columns)
    bias = _bias(attn_mask, scaled, columns)  # (pictures, heads, rows, columns)
    if pictures * heads * rows * columns <= MOST_SCORES:
        return _attended(scaled, turned, value, bias).transpose(1, 2)
    most_rows = min(rows, max(FEWEST_ROWS, MOST_SCORES // (pictures * columns)))
    most_heads = max(1, MOST_SCORES // (pictures * most_rows * columns))
    made = torch.empty_like(scaled)
    for first_head in range(0, heads, most_heads):
        of_heads = slice(first_head, first_head + most_heads)
        for first_row in range(0, rows, most_rows):
            part = slice(None), of_heads, slice(first_row, first_row + most_rows)
            made[part] = _attended(
                scaled[part], turned[:, of_heads], value[:, of_heads], None if bias is None else bias[part]
            )
    return made.transpose(1, 2)


def register() -> None:
    """Makes diffusers compute with it what it is told to compute with `NAME`; in the whole process."""
    _AttentionBackendRegistry.register(NAME)(attend)  # pyright: ignore[reportUnknownMemberType]


def _attended(scaled: Tensor, turned: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    scores = torch.matmul(scaled, turned)
    if bias is not None:
        scores += bias
    return torch.matmul(scores.softmax(-1), value)


def _bias(mask: Tensor | None, scaled: Tensor, columns: int) -> Tensor | None:
    """What is added to the scores; not in memory as often as it is used."""
    if mask is None:
        return None
    if mask.dtype is torch.bool:
        mask = torch.zeros(mask.shape, dtype=scaled.dtype).masked_fill_(~mask, float("-inf"))
    if mask.dim() == 2 and mask.shape == (scaled.shape[0], columns):
        mask = mask[:, None, None]
    return mask.expand(*scaled.shape[:3], columns)
