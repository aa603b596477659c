"""The edit model's text encoder and transformer (Qwen-Image-Edit's architecture), and batched forward passes of both.

`words_of` gives what `QwenImageEditPlusPipeline.encode_prompt` gives, for whole batches; `edit_velocity` what its loop
gets from the transformer.
"""

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

CONDITION_SIDE = 56  # pixels: 4 x 4 patches of 14, merged to 4 tokens
PICTURE_TOKENS = 4
TEXT_WIDTH = 192
GRID = 8  # tokens a side, at 128 px
PREFIX = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects,"
    " background), then explain how the user's text instruction should alter or modify the image. Generate a new image"
    " that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n"
)
PREFIX_TOKENS = 64
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
SUFFIX_TOKENS = 5
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # Qwen2VLImageProcessor's


def picture_prompt() -> str:
    """What the pipeline puts before the instruction for one picture, after the processor."""
    return f"Picture 1: <|vision_start|>{'<|image_pad|>' * PICTURE_TOKENS}<|vision_end|>"


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """About 1.5 million parameters, vision tower included."""
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 576,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": TEXT_WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def patches(pictures: Tensor) -> Tensor:
    """uint8 (B, 56, 56, 3) to the processor's `pixel_values`, (B * 16, 1176)."""
    x = (pictures.permute(0, 3, 1, 2).float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(
        1, 3, 1, 1
    )
    x = x.view(len(x), 3, 2, 2, 14, 2, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, gh, gw, mh, mw, 3, 14, 14)
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)  # the two equal frames of a still picture
    return x.reshape(len(x) * 16, -1)


def words_of(encoder: Qwen2_5_VLForConditionalGeneration, prefix: Tensor, ids: Tensor, pictures: Tensor) -> Tensor:
    """prefix: (64,). ids: (B, L), what follows it, padded on the right. pictures: uint8 (B, 56, 56, 3).

    Returns the last hidden states of what follows the prefix, (B, L, TEXT_WIDTH); what stands on padding means nothing.
    """
    model = encoder.model
    cache = DynamicCache(config=model.language_model.config)
    model.language_model(input_ids=prefix[None], past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(ids))
    embedded = model.language_model.embed_tokens(ids)  # (B, L, width)
    grid = torch.tensor([[1, 4, 4]]).expand(len(ids), 3)
    seen = model.visual(patches(pictures), grid_thw=grid).pooler_output  # (B * 4, width)
    whole = torch.cat([prefix.expand(len(ids), -1), ids], 1)
    places, _ = model.get_rope_index(
        whole, mm_token_type_ids=(whole == model.config.image_token_id).int(), image_grid_thw=grid
    )
    here = (ids == model.config.image_token_id)[..., None].expand_as(embedded)
    embedded = embedded.masked_scatter(here, seen.to(embedded.dtype))
    return model.language_model(
        inputs_embeds=embedded, position_ids=places[..., len(prefix) :], past_key_values=cache, use_cache=True
    ).last_hidden_state


def build_edit_transformer(layers: int = 4) -> QwenImageTransformer2DModel:
    """About four million parameters; the gates open a little (see also `edit_start.py`)."""
    model = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=40,
        num_attention_heads=4,
        joint_attention_dim=TEXT_WIDTH,
        axes_dims_rope=(8, 16, 16),
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
            if "_mod." in name:
                nn.init.zeros_(module.weight)
                parts = module.bias.data.view(6, -1)  # shift, scale, gate; twice
                parts[2].fill_(0.4)
                parts[5].fill_(0.4)
    nn.init.zeros_(model.norm_out.linear.weight)
    nn.init.zeros_(model.proj_out.weight)
    return model


Rope = tuple[Tensor, Tensor]


def edit_ropes(model: QwenImageTransformer2DModel, words: int, grid: tuple[int, int] = (GRID, GRID)) -> Rope:
    """Cosines and sines of target, source and words, in this order: (L, head_dim / 2) each."""
    picture, text = model.pos_embed([[(1, *grid), (1, *grid)]], max_txt_seq_len=words, device=torch.device("cpu"))
    both = torch.cat([picture, text])
    return both.real.contiguous(), both.imag.contiguous()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, L, heads, head_dim / 2)
    c, s = cos[None, :, None], sin[None, :, None]
    return torch.stack((even * c - odd * s, even * s + odd * c), -1).flatten(3).to(x.dtype)


def edit_velocity(
    model: QwenImageTransformer2DModel, target: Tensor, source: Tensor, sigma: Tensor, words: Tensor, mask: Tensor,
    rope: Rope,
) -> Tensor:  # fmt: skip
    """target: noisy packed latents (B, N, 64). source: clean ones (B, N, 64). sigma: (B,), 1 = noise.

    words: (B, L, TEXT_WIDTH). mask: bool (B, L), True where there is a word. Returns noise minus data, (B, N, 64).
    What the last layer would do to source and words is left out: nothing reads it.
    """
    count = target.shape[1]
    picture = model.img_in(torch.cat([target, source], 1))  # (B, 2N, dim)
    text = model.txt_in(model.txt_norm(words))  # (B, L, dim)
    seen = picture.shape[1]
    time = model.time_text_embed(sigma, picture)  # (B, dim)
    everywhere = torch.cat([torch.ones(len(mask), seen, dtype=torch.bool), mask], 1)  # (B, 2N + L)
    bias = torch.zeros(everywhere.shape).masked_fill(~everywhere, -1e4)[:, None, None]  # (B, 1, 1, 2N + L)
    for index, block in enumerate(model.transformer_blocks):
        last = index == len(model.transformer_blocks) - 1
        attn = block.attn
        of_picture = block.img_mod(time)[:, None].chunk(6, -1)  # shift, scale, gate; twice
        of_text = block.txt_mod(time)[:, None].chunk(6, -1)

        x = block.img_norm1(picture) * (1 + of_picture[1]) + of_picture[0]
        y = block.txt_norm1(text) * (1 + of_text[1]) + of_text[0]

        def heads(flat: Tensor, attn: nn.Module = attn) -> Tensor:
            return flat.unflatten(-1, (attn.heads, -1))  # (B, L, heads, head_dim)

        key = torch.cat([attn.norm_k(heads(attn.to_k(x))), attn.norm_added_k(heads(attn.add_k_proj(y)))], 1)
        value = heads(torch.cat([attn.to_v(x), attn.add_v_proj(y)], 1))
        if last:
            picture = picture[:, :count]
            query = _rotated(attn.norm_q(heads(attn.to_q(x[:, :count]))), rope[0][:count], rope[1][:count])
        else:
            query = torch.cat([attn.norm_q(heads(attn.to_q(x))), attn.norm_added_q(heads(attn.add_q_proj(y)))], 1)
            query = _rotated(query, *rope)
        key = _rotated(key, *rope)
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) * query.shape[-1] ** -0.5  # (B, heads, Lq, L)
        mixed = ((scores.float() + bias).softmax(-1).to(value.dtype) @ value.transpose(1, 2)).transpose(1, 2).flatten(2)
        picture = picture + of_picture[2] * attn.to_out[0](mixed[:, : picture.shape[1]])
        x = block.img_norm2(picture) * (1 + of_picture[4]) + of_picture[3]
        picture = picture + of_picture[5] * block.img_mlp(x)
        if not last:
            text = text + of_text[2] * attn.to_add_out(mixed[:, seen:])
            y = block.txt_norm2(text) * (1 + of_text[4]) + of_text[3]
            text = text + of_text[5] * block.txt_mlp(y)
    return model.proj_out(model.norm_out(picture, time))  # (B, N, 64)
