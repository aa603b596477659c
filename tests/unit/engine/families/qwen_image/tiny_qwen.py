"""Writes Qwen-Image checkpoints of random weights, small enough to run in milliseconds, in the ordinary layout."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BatchFeature,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from danqing.engine.families.qwen_image.capabilities import BASE, EDIT, EDIT_PLUS

untyped = cast(Any, diffusers)  # its signatures name fewer and other types than it takes

MULTIPLE_OF = 8  # a 4x autoencoder times patches of 2
REFERENCE_PIXELS, CONDITION_PIXELS = 64 * 64, 56 * 56
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
IMAGE_TOKEN = "<|image_pad|>"
PARTS = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")


def write_tiny_qwen(folder: Path, pipeline_class: str, **own: object) -> None:
    """Fills folder; the same weights every time. pipeline_class: of the three. own: what danqing.json says."""
    torch.manual_seed(21)
    tokenizer = _tokenizer()
    getattr(untyped, pipeline_class)(
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(  # as of Qwen-Image
            base_image_seq_len=256,
            base_shift=0.5,
            max_image_seq_len=8192,
            max_shift=0.9,
            shift_terminal=0.02,
            use_dynamic_shifting=True,
        ),
        vae=untyped.AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 0.6, 0.7, 0.8],
        ),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        transformer=untyped.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 6, 6),
            zero_cond_t=pipeline_class == EDIT_PLUS,  # as of 2511
        ),
        **({} if pipeline_class == BASE else {"processor": None}),
    ).save_pretrained(folder, safe_serialization=True)
    if pipeline_class != BASE:
        _add_processor(folder, tokenizer)
        own = {"reference_pixels": REFERENCE_PIXELS, "condition_pixels": CONDITION_PIXELS, **own}
    if own:
        (folder / "danqing.json").write_text(json.dumps(own))


def _add_processor(folder: Path, tokenizer: Qwen2Tokenizer) -> None:
    """The files of a Qwen2VLProcessor, without making one: it asks for a video processor, and that for torchvision."""
    image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1280})
    image_processor.save_pretrained(folder / "processor")
    tokenizer.save_pretrained(folder / "processor")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        file = folder / "processor" / name
        about = json.loads(file.read_text()) if file.exists() else {"video_processor_type": "Qwen2VLVideoProcessor"}
        file.write_text(json.dumps(about | {"processor_class": "Qwen2VLProcessor"}))
    index = json.loads((folder / "model_index.json").read_text())
    index["processor"] = ["transformers", "Qwen2VLProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    token = cast(Any, tokenizer).convert_tokens_to_ids
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "max_position_embeddings": 2048,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
                "bos_token_id": token("<|endoftext|>"),
                "eos_token_id": token("<|im_end|>"),
                "pad_token_id": token("<|endoftext|>"),
            },
            vision_config={
                "depth": 1,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [0],
            },
            image_token_id=token(IMAGE_TOKEN),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
        )
    )


def _tokenizer() -> Qwen2Tokenizer:
    """Every word of what stands before a prompt is one token, so the pipelines leave out as much as of Qwen's own."""
    templates = [
        getattr(untyped, name)(**dict.fromkeys(parts)).prompt_template_encode
        for name, parts in ((BASE, PARTS), (EDIT, (*PARTS, "processor")))
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(special.replace("|", r"\|") for special in SPECIAL)), "removed"),
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.train_from_iterator(
        ["make the background blue", "把背景变成蓝色", *(templates * 9)],
        trainers.BpeTrainer(
            vocab_size=800,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    learned = json.loads(tokenizer.to_str())["model"]
    return cast(Any, Qwen2Tokenizer)(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=SPECIAL[1:2] + SPECIAL[3:],
        model_max_length=4096,
    )


class PictureProcessor:
    """Does for pictures what diffusers' edit pipelines need of a Qwen2VLProcessor, as that does it."""

    def __init__(self, folder: Path) -> None:
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor")
        self.tokenizer = Qwen2Tokenizer.from_pretrained(folder / "processor")

    def __call__(self, *, text: list[str], images: Any, padding: bool, return_tensors: str) -> BatchFeature:  # noqa: ANN401
        pictures: list[Image.Image] = images if isinstance(images, list) else [images]
        seen = dict(self.image_processor(images=pictures, return_tensors=return_tensors))
        counts: Iterator[int] = iter((seen["image_grid_thw"].prod(-1) // 4).tolist())
        expanded: list[str] = []
        for line in text:
            first, *rest = line.split(IMAGE_TOKEN)
            expanded.append(first + "".join(IMAGE_TOKEN * next(counts) + part for part in rest))
        tokens = self.tokenizer(expanded, padding=padding, return_tensors=return_tensors)
        return BatchFeature({**tokens, **seen})


__all__ = ["BASE", "EDIT", "EDIT_PLUS", "PictureProcessor", "write_tiny_qwen"]
