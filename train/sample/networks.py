"""The sample model's transformer and text encoder, and a batched forward pass for training them.

`ZImageTransformer2DModel.forward` takes lists of single pictures; training feeds it equal shapes, so `velocity` calls
the same modules on whole batches, in real arithmetic that `torch.compile` can fuse.
"""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3Model

TEXT_WIDTH = 256
PATCH = 2
CAPTION_MULTIPLE = 32


def build_transformer() -> ZImageTransformer2DModel:
    """About five million parameters; the last layer starts at zero."""
    model = ZImageTransformer2DModel(
        in_channels=16,
        dim=192,
        n_layers=6,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[16, 24, 24],
        axes_lens=[1024, 64, 64],
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for layer in (*model.layers, *model.noise_refiner):
        nn.init.zeros_(layer.adaLN_modulation[0].weight)
        nn.init.constant_(layer.adaLN_modulation[0].bias, 0.0)
        gates = layer.adaLN_modulation[0].bias.data.view(4, -1)  # scale_msa, gate_msa, scale_mlp, gate_mlp
        gates[1].fill_(0.3)
        gates[3].fill_(0.3)
    nn.init.normal_(model.cap_pad_token, std=0.02)
    nn.init.normal_(model.x_pad_token, std=0.02)
    final = model.all_final_layer[f"{PATCH}-1"]
    nn.init.zeros_(final.linear.weight)
    return model


def build_text_encoder(vocabulary: int) -> Qwen3Model:
    """Z-Image reads `hidden_states[-2]`, so the third layer exists only to be left out, as in the full model."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=768,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def build_scheduler(shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """Z-Image's scheduler; a small picture needs less shift towards noise than a megapixel one."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift, use_dynamic_shifting=False)


class PassThrough(nn.Module):
    """Stands for the text encoder's last layer while training: its output is not read."""

    def forward(self, hidden_states: Tensor, **_: object) -> Tensor:
        """hidden_states as they are."""
        return hidden_states


class RealRopeProcessor:
    """Z-Image attention with rotary embeddings as cosines and sines, (L, head_dim / 2) each."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        *,
        freqs_cis: tuple[Tensor, Tensor],
    ) -> Tensor:
        cos, sin = freqs_cis

        def rotated(x: Tensor) -> Tensor:
            even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, L, heads, head_dim / 2) each
            c, s = cos[None, :, None], sin[None, :, None]
            return torch.stack((even * c - odd * s, even * s + odd * c), -1).flatten(3).to(x.dtype)

        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1))  # (B, L, heads, head_dim)
        key = attn.to_k(hidden_states).unflatten(-1, (attn.heads, -1))
        value = attn.to_v(hidden_states).unflatten(-1, (attn.heads, -1))
        query, key = rotated(attn.norm_q(query)), rotated(attn.norm_k(key))
        query, key = query.to(value.dtype), key.to(value.dtype)
        # Plain products: torch's fused attention has a slow backward pass on CPUs, and the sequences are short.
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) * query.shape[-1] ** -0.5  # (B, heads, L, L)
        mixed = scores.float().softmax(-1).to(value.dtype) @ value.transpose(1, 2)  # (B, heads, L, head_dim)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))  # (B, L, dim)


def use_real_rope(model: ZImageTransformer2DModel) -> None:
    """Makes every block of the model take real rotary embeddings (training only)."""
    for layer in (*model.layers, *model.noise_refiner, *model.context_refiner):
        layer.attention.processor = RealRopeProcessor()


def rope(model: ZImageTransformer2DModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines for position ids (L, 3)."""
    angles = []
    for axis, width in enumerate(model.axes_dims):
        frequencies = 1.0 / (model.rope_theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width))
        angles.append(ids[:, axis, None].double() * frequencies)
    stacked = torch.cat(angles, -1)  # (L, head_dim / 2)
    return stacked.cos().float(), stacked.sin().float()


def positions(grid: tuple[int, int], caption_length: int) -> tuple[Tensor, Tensor]:
    """Position ids of the picture's tokens, padded to a multiple of 32, and of the caption's."""
    height, width = grid
    ids = torch.stack(
        torch.meshgrid(torch.tensor([caption_length + 1]), torch.arange(height), torch.arange(width), indexing="ij"), -1
    )
    ids = ids.reshape(-1, 3)
    ids = torch.cat([ids, torch.zeros((-len(ids)) % CAPTION_MULTIPLE, 3, dtype=ids.dtype)])
    caption = torch.zeros(caption_length, 3, dtype=ids.dtype)
    caption[:, 0] = torch.arange(1, caption_length + 1)
    return ids, caption


def patchify(x: Tensor) -> Tensor:
    """(B, channels, h, w) to tokens (B, h / 2 * w / 2, 4 * channels), in the pipeline's order."""
    batch, channels, h, w = x.shape
    return (
        x.view(batch, channels, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    )


def velocity(
    model: ZImageTransformer2DModel,
    tokens: Tensor,
    token_padding: Tensor,
    t: Tensor,
    caption: Tensor,
    caption_padding: Tensor,
    image_rope: tuple[Tensor, Tensor],
    caption_rope: tuple[Tensor, Tensor],
) -> Tensor:
    """What the pipeline gets from the model, as tokens: data minus noise.

    tokens: noisy patches (B, N, 64), N a multiple of 32. token_padding: bool (N,), True behind the last real one.
    t: (B,), 0 = noise, 1 = data. caption: (B, L, text width), L a multiple of 32. caption_padding: bool (B, L), True
    where the caption has ended. Returns (B, N, 64).
    """
    key = f"{PATCH}-1"
    count = tokens.shape[1]
    adaln = model.t_embedder(t * model.t_scale).to(tokens.dtype)  # (B, 192)
    tokens = model.all_x_embedder[key](tokens)  # (B, N, dim)
    tokens = torch.where(token_padding[None, :, None], model.x_pad_token.to(tokens.dtype), tokens)
    for layer in model.noise_refiner:
        tokens = layer(tokens, None, image_rope, adaln)
    words = model.cap_embedder(caption)  # (B, L, dim)
    words = torch.where(caption_padding[..., None], model.cap_pad_token.to(words.dtype), words)
    for layer in model.context_refiner:
        words = layer(words, None, caption_rope)
    both = torch.cat([tokens, words], 1)  # (B, N + L, dim)
    both_rope = torch.cat([image_rope[0], caption_rope[0]]), torch.cat([image_rope[1], caption_rope[1]])
    for layer in model.layers:
        both = layer(both, None, both_rope, adaln)
    return model.all_final_layer[key](both[:, :count], c=adaln)  # (B, N, 64)
