"""Attention by matrix products, beside PyTorch's own."""

import pytest
import torch
from diffusers.models.attention_dispatch import (
    dispatch_attention_fn,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from danqing.engine import matmul_attention
from danqing.engine.matmul_attention import NAME, attend, register

SHAPES = [
    # pictures, heads, rows, columns, head_size
    (1, 1, 1, 1, 8),
    (2, 3, 37, 37, 8),
    (3, 5, 64, 19, 16),
    (1, 7, 130, 130, 8),
]


def given(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """As diffusers gives them: (pictures, tokens, heads, head_size)."""
    pictures, heads, rows, columns, head_size = shape
    random = torch.Generator().manual_seed(sum(shape))
    query, key, value = (
        torch.randn((pictures, tokens, heads, head_size), generator=random).to(dtype)
        for tokens in (rows, columns, columns)
    )
    return query, key, value


def theirs(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    turned = (each.transpose(1, 2) for each in (query, key, value))
    return scaled_dot_product_attention(*turned, attn_mask=mask, scale=scale).transpose(1, 2)


@pytest.fixture(params=[1, 300, 4000, 1 << 20], ids=lambda most: f"{most} scores at once")
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul_attention, "MOST_SCORES", request.param)
    monkeypatch.setattr(matmul_attention, "FEWEST_ROWS", 4)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_it_is_what_pytorch_makes(shape: tuple[int, ...], scale: float | None) -> None:
    query, key, value = given(shape)
    made = attend(query, key, value, scale=scale)
    assert made.shape == query.shape
    assert torch.allclose(made, theirs(query, key, value, scale=scale), atol=1e-5)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["keys", "keys of each head", "pairs", "added"])
def test_what_is_masked_is_not_looked_at(shape: tuple[int, ...], kind: str) -> None:
    pictures, heads, rows, columns, _ = shape
    query, key, value = given(shape)
    seen = torch.arange(columns).expand(pictures, columns) < torch.arange(1, pictures + 1)[:, None] * columns // 4 + 1
    before = seen.clone()
    masks = {
        "keys": (seen, seen[:, None, None]),
        "keys of each head": (seen[:, None, None].expand(pictures, heads, 1, columns),) * 2,
        "pairs": (seen[:, None, None].expand(pictures, 1, rows, columns),) * 2,
        "added": (torch.randn((pictures, 1, rows, columns), generator=torch.Generator().manual_seed(1)),) * 2,
    }
    ours, pytorchs = masks[kind]
    assert torch.allclose(attend(query, key, value, ours), theirs(query, key, value, pytorchs), atol=1e-5)
    assert torch.equal(seen, before)


def test_in_half_precision_it_is_as_near_to_the_truth_as_pytorchs() -> None:
    query, key, value = given((2, 3, 288, 288, 64), torch.bfloat16)
    truth = theirs(query.double(), key.double(), value.double())

    def error(made: Tensor) -> float:
        return (made.double() - truth).abs().mean().item()

    made = attend(query, key, value)
    assert made.dtype is torch.bfloat16
    assert error(made) < 3 * error(theirs(query, key, value))
    assert error(made) < 0.01 * truth.abs().mean().item()


def test_diffusers_computes_with_it_what_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    query, key, value = given(SHAPES[1])
    made = dispatch_attention_fn(query, key, value, backend=NAME)
    assert torch.equal(made, attend(query, key, value))
