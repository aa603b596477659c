"""PyTorch's attention as one operation, which a compiler does not look into.

Left alone, Inductor copies query, key and value into an order that the kernels do not ask for, and the result back: 3 %
of a compiled block's time on an H100 (`bench/gpu_blocks.py`).
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _AttentionBackendRegistry,  # pyright: ignore[reportPrivateUsage]
)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

# diffusers and torch are not typed here: what they register is Any.

_registry: Any = _AttentionBackendRegistry
NATIVE = AttentionBackendName("native")
CUDNN = AttentionBackendName("_native_cudnn")


@torch.library.custom_op("danqing::attention", mutates_args=())
def attended(query: Tensor, key: Tensor, value: Tensor, scale: float | None, by_cudnn: bool) -> Tensor:
    """query: (pictures, tokens, heads, head_size). key, value: so too, with other tokens. Returns the query's shape,
    contiguous. scale: of the scores; None is one by the root of the head's size.
    """
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    if by_cudnn:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            made = scaled_dot_product_attention(query, key, value, scale=scale)
    else:
        made = scaled_dot_product_attention(query, key, value, scale=scale)
    return made.transpose(1, 2).contiguous()


def _as_if(query: Tensor, key: Tensor, value: Tensor, scale: float | None, by_cudnn: bool) -> Tensor:
    """For compilers: of the shape and order that `attended` has."""
    return query.new_empty(query.shape)


cast(Any, attended).register_fake(_as_if)


def register() -> None:
    """Makes diffusers compute so what it is told to compute with PyTorch's kernels, but for what is masked or otherwise
    special; in the whole process.
    """
    for name in (NATIVE, CUDNN):
        known = _registry._backends[name]
        if not isinstance(known, _OneOp):
            _registry.register(name)(_OneOp(known, by_cudnn=name is CUDNN))


def forget() -> None:
    """diffusers computes with its own again."""
    for name in (NATIVE, CUDNN):
        known = _registry._backends[name]
        if isinstance(known, _OneOp):
            _registry.register(name)(known.instead_of)


class _OneOp:
    """In place of one of diffusers' functions. instead_of: that one."""

    def __init__(self, instead_of: Callable[..., Any], *, by_cudnn: bool) -> None:
        self.instead_of = instead_of
        self._by_cudnn = by_cudnn

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        return_lse: bool = False,
        _parallel_config: object = None,
    ) -> Any:  # noqa: ANN401
        special = attn_mask is not None or dropout_p or is_causal or enable_gqa or return_lse
        if special or _parallel_config is not None:
            return self.instead_of(
                query=query,
                key=key,
                value=value,
                attn_mask=attn_mask,
                dropout_p=dropout_p,
                is_causal=is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
                return_lse=return_lse,
                _parallel_config=_parallel_config,
            )
        return attended(query, key, value, scale, self._by_cudnn)
