"""A start for the edit transformer that already leaves pictures as they are, so that training is about what changes.

Half of the first layer's heads find, for each token of the picture being made, the token of the source picture at the
same place (their queries and keys are constant; the rotary embedding does the rest) and write it beside the token's own
contents. The other heads look at the fixed words in front of the instruction, more at one or another the lower or the
further right a token is, which tells it where it is. The last layer begins with what would undo the noise if the source
were the answer. All of it is trained on.
"""

import math

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor, nn

CONTENT = 64  # a token's numbers; also where the source's are written, behind them
SHARP = 1.8  # gain of queries and of keys in the first layer
SURE = 4.0  # of a constant query or key, against what the contents add
UNDOING = 0.6


def _constant(angles: Tensor, strength: Tensor) -> Tensor:
    """Pairs of numbers of these strengths, turned by these angles, flat."""
    return torch.stack([strength * angles.cos(), strength * angles.sin()], -1).flatten()


@torch.no_grad()
def begin_by_copying(model: QwenImageTransformer2DModel) -> None:
    """Changes an untrained model's weights in place."""
    block, dim = model.transformer_blocks[0], model.inner_dim
    attn = block.attn
    heads, width = attn.heads, dim // attn.heads
    copying = heads // 2
    spans = [w // 2 for w in model.config.axes_dims_rope]  # pairs of numbers an axis: frame, down, across
    frequencies = torch.cat([1 / 10000 ** (torch.arange(0, 2 * n, 2) / (2 * n)) for n in spans])
    axis = torch.repeat_interleave(torch.arange(3), torch.tensor(spans))

    model.img_in.weight.zero_()
    model.img_in.weight[:CONTENT] = torch.eye(CONTENT)
    model.img_in.bias.zero_()
    for each in model.transformer_blocks[1:]:
        for layer in (each.attn.to_out[0], each.img_mlp.net[2]):
            layer.weight.mul_(0.3)
    block.img_mlp.net[2].weight.mul_(0.3)
    gate = block.img_mod[1].bias.view(6, dim)
    gate[2] = 1.0

    for projection in (attn.to_q, attn.to_k, attn.add_k_proj):
        projection.weight.mul_(0.3)
    for norm in (attn.norm_q, attn.norm_k, attn.norm_added_k):
        norm.weight.fill_(SHARP)
    quick = (frequencies > 0.02).float()  # slower ones say nothing over eight places
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        if head < copying:
            # A key one frame on, at the same place, is met in phase.
            turn = torch.where(axis == 0, frequencies, 0.0)
            strength = SURE * quick * torch.where(axis == 0, 1.6, 1.0)
            attn.to_q.bias[rows] = _constant(torch.zeros_like(turn), strength)
            attn.to_k.bias[rows] = _constant(-turn, strength)
            for projection in (attn.to_v, attn.to_out[0]):
                if projection is attn.to_v:
                    projection.weight[rows].zero_()
            first = head * (CONTENT // copying)
            count = CONTENT // copying
            attn.to_v.weight[head * width : head * width + count, first : first + count] = torch.eye(count)
        else:
            along = 1 + (head - copying) % 2
            strength = SURE * quick * (axis == along)
            # Words begin behind the picture's half: the sixth is at place 4 + 5, and there the middle row looks.
            turn = frequencies * 6.5
            attn.to_q.bias[rows] = _constant(torch.zeros_like(turn), strength)
            attn.add_k_proj.bias[rows] = _constant(-turn, strength)
    out = attn.to_out[0]
    out.weight.zero_()
    for head in range(copying):
        count = CONTENT // copying
        first = head * count
        out.weight[CONTENT + first : CONTENT + first + count, head * width : head * width + count] = torch.eye(count)
    rest = dim - 2 * CONTENT
    places = torch.randn(rest, (heads - copying) * width) / math.sqrt(width)
    out.weight[2 * CONTENT :, copying * width :] = places
    nn.init.zeros_(out.bias)
    model.proj_out.weight.zero_()
    model.proj_out.weight[:, :CONTENT] = UNDOING * torch.eye(CONTENT)
    model.proj_out.weight[:, CONTENT : 2 * CONTENT] = -UNDOING * torch.eye(CONTENT)
