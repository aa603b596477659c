"""Writes a Z-Image checkpoint of random weights, small enough to run in milliseconds, in the ordinary layout."""

import json
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

untyped = cast(Any, diffusers)  # its signatures name fewer and other types than it takes

MULTIPLE_OF = 8  # a 4x autoencoder times patches of 2
TRAINED_SIZES = ((64, 64), (96, 64), (64, 96))
CHAT = "{%- for m in messages -%}<|start|>{{ m['content'] }}{%- endfor -%}<|end|>"


def write_tiny_checkpoint(
    folder: Path, *, padding_side: str = "right", trained_sizes: tuple[tuple[int, int], ...] | None = None
) -> None:
    """Fills folder; the same weights every time."""
    torch.manual_seed(20)
    tokenizer = _tokenizer(padding_side)
    transformer = untyped.ZImageTransformer2DModel(
        in_channels=4,
        dim=64,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[8, 12, 12],
        axes_lens=[1024, 64, 64],
    )
    for name, parameter in transformer.named_parameters():
        if name.endswith("pad_token"):
            torch.nn.init.normal_(parameter, std=0.02)  # created uninitialised
    untyped.ZImagePipeline(
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=untyped.AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.5,
            shift_factor=0.1,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                max_position_embeddings=1024,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)
    write_tiny_controlnet(folder / "controlnet")
    own: dict[str, object] = {"controlnet": "controlnet"}
    if trained_sizes is not None:
        own |= {"title": "Tiny", "trained_sizes": trained_sizes}
    (folder / "danqing.json").write_text(json.dumps(own))


def write_tiny_controlnet(folder: Path, *, seed: int = 21, dim: int = 64, n_heads: int = 2) -> None:
    """A ControlNet for the tiny checkpoint; unlike one that is still to be trained, it says something."""
    torch.manual_seed(seed)
    controlnet = untyped.ZImageControlNetModel(
        control_layers_places=[0, 1], control_in_dim=4, dim=dim, n_refiner_layers=1, n_heads=n_heads, n_kv_heads=n_heads
    )
    for name, parameter in controlnet.named_parameters():
        if name.split(".")[-2] in ("before_proj", "after_proj"):
            torch.nn.init.normal_(parameter, std=0.2)
    controlnet.save_pretrained(folder, safe_serialization=True)


def _tokenizer(padding_side: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["a red apple on a blue background", "蓝色背景上的苹果"],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        padding_side=padding_side,
        model_max_length=512,
        chat_template=CHAT,
    )
