"""Rotary embedding in real numbers, beside diffusers' in complex ones."""

from typing import Any, cast

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.transformers import transformer_qwenimage, transformer_z_image

from danqing.engine.families.rotary import RealRotary, complex_of_qwen, in_real_numbers

z_image, qwen_image = cast(Any, transformer_z_image), cast(Any, transformer_qwenimage)
WIDTH, HEADS, TOKENS = 64, 4, 19


@pytest.fixture(autouse=True)
def in_complex_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As diffusers is, whatever this process compiled before; and afterwards as it was."""
    monkeypatch.setattr(qwen_image, "apply_rotary_emb_qwen", complex_of_qwen)


def turns(*shape: int) -> torch.Tensor:
    return torch.polar(torch.ones(shape), 6 * torch.rand(shape))


@pytest.mark.parametrize("masked", [False, True])
def test_a_block_of_z_image_makes_the_same(masked: bool) -> None:
    # Given what a block makes of two pictures, one of them padded
    torch.manual_seed(3)
    block = z_image.ZImageTransformerBlock(0, WIDTH, HEADS, HEADS, 1e-5, True).eval()
    block.attention.processor._attention_backend = AttentionBackendName("native")
    states, angles, step = torch.randn(2, TOKENS, WIDTH), turns(2, TOKENS, WIDTH // HEADS // 2), torch.randn(2, WIDTH)
    mask = torch.arange(TOKENS) < torch.tensor([[TOKENS], [TOKENS - 4]]) if masked else None
    with torch.inference_mode():
        before = block(states, mask, angles, step)
        # When it computes in real numbers
        in_real_numbers(block)
        # Then it makes the same, with the kernel that it had
        assert isinstance(block.attention.processor, RealRotary)
        assert block.attention.processor._attention_backend is AttentionBackendName("native")
        torch.testing.assert_close(block(states, mask, angles, step), before)


def test_those_of_qwen_image_are_the_same() -> None:
    theirs = complex_of_qwen
    torch.manual_seed(4)
    states, angles = torch.randn(2, TOKENS, HEADS, 16), turns(TOKENS, 8)
    parts = tuple(torch.view_as_real(angles).repeat_interleave(2, 1).unbind(-1))
    in_real_numbers(torch.nn.Module())
    ours = qwen_image.apply_rotary_emb_qwen
    assert ours is not theirs
    torch.testing.assert_close(ours(states, angles, use_real=False), theirs(states, angles, use_real=False))
    half = states.bfloat16()
    torch.testing.assert_close(ours(half, angles, use_real=False), theirs(half, angles, use_real=False))
    by_heads = states.transpose(1, 2)
    torch.testing.assert_close(ours(by_heads, parts), theirs(by_heads, parts))
