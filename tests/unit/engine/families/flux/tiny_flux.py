"""Writes FLUX checkpoints of random weights, small enough to run in milliseconds, in the ordinary layouts."""

from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

untyped = cast(Any, diffusers)  # its signatures name fewer and other types than it takes

CHANNELS = 16
MULTIPLE_OF = 8  # a 4x autoencoder times patches of 2
CLIP_TOKENS = 24
WIDTH, SUMMARY = 32, 16  # of T5's states, and of CLIP's
WORDS = ("a", "red", "apple", "on", "blue", "background", "pear", "cup", "green", "word")
NETWORK: dict[str, Any] = {
    "patch_size": 1,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": SUMMARY,
    "axes_dims_rope": [4, 6, 6],
}


def write_tiny_flux(folder: Path, *, guidance_embeds: bool = True) -> None:
    """Fills folder with a FluxPipeline; the same weights every time."""
    torch.manual_seed(21)
    untyped.FluxPipeline(
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=untyped.AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            latent_channels=CHANNELS,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.5,
            shift_factor=0.1,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(_clip_vocabulary()),
                hidden_size=SUMMARY,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=CLIP_TOKENS,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        tokenizer=CLIPTokenizer(vocab=_clip_vocabulary(), merges=[], model_max_length=CLIP_TOKENS),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(_t5_pieces()), d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
        ),
        tokenizer_2=T5Tokenizer(vocab=_t5_pieces(), extra_ids=0, model_max_length=512),
        transformer=_spread(
            untyped.FluxTransformer2DModel(in_channels=4 * CHANNELS, guidance_embeds=guidance_embeds, **NETWORK)
        ),
    ).save_pretrained(folder, safe_serialization=True)


def write_tiny_fill(folder: Path) -> None:
    """Fills folder with what is read of a FluxFillPipeline's: a transformer that sees a picture and a mask too."""
    torch.manual_seed(22)
    seen = 2 * 4 * CHANNELS + MULTIPLE_OF**2
    _spread(
        untyped.FluxTransformer2DModel(in_channels=seen, out_channels=4 * CHANNELS, guidance_embeds=True, **NETWORK)
    ).save_pretrained(folder / "transformer", safe_serialization=True)


def write_tiny_controlnet(folder: Path, **changes: object) -> None:
    """Fills folder with a FluxControlNetModel that has an effect; fresh ones have none."""
    torch.manual_seed(23)
    network = untyped.FluxControlNetModel(
        **{**NETWORK, "in_channels": 4 * CHANNELS, "num_single_layers": 0, "guidance_embeds": True, **changes}
    )
    _spread(network).save_pretrained(folder, safe_serialization=True)


def _spread(network: Any) -> Any:  # noqa: ANN401
    """Larger weights, so that inputs show in what comes out."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def _clip_vocabulary() -> dict[str, int]:
    """Every byte, inside and at the end of a word."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return {piece: number for number, piece in enumerate(pieces)}


def _t5_pieces() -> list[tuple[str, float]]:
    """Some words, and every letter."""
    letters = sorted({*"".join(WORDS), *"abcdefghijklmnopqrstuvwxyz"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in WORDS]
    return [*pieces, *((letter, -6.0) for letter in letters if letter not in WORDS)]
