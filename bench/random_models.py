"""Models of random weights in the shapes that are published, made on the device: for timing where no weights are.

`write_configs` writes a checkpoint's small files, and `random_weights` has diffusers' `from_pretrained` make what only
those describe. Speed and memory are those of the real model, for kernels do not look at numbers; its pictures are not.
Tokenizers are the sample models', of which a prompt is more tokens than of the real ones.
"""

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.quantizers.torchao.torchao_quantizer import _resolve_fqn_to_config
from PIL import Image
from torch import nn
from transformers import (
    AutoConfig,
    BatchFeature,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    T5Tokenizer,
)

from danqing.engine.known_models import KnownModels

# diffusers and transformers are not typed: parts and configurations are Any.
Config = dict[str, Any]
Parts = Mapping[str, Config]

VAE_OF_FLUX: Config = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 16,
    "norm_num_groups": 32,
    "mid_block_add_attention": True,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
QWEN3_4B: Config = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "layer_types": ["full_attention"] * 36,
    "max_window_layers": 36,
    "max_position_embeddings": 40960,
}
QWEN25_VL_7B: Config = {
    "tie_word_embeddings": False,
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "layer_types": ["full_attention"] * 28,
        "max_position_embeddings": 128000,
        "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1000000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
FLUX_SCHEDULER: Config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "shift": 3.0}
# What the full models have otherwise than the bundled samples, by part.
FULL: Mapping[str, Parts] = {
    "z-image-turbo": {
        "scheduler": {"shift": 3.0},
        "text_encoder": QWEN3_4B,
        "transformer": {
            "dim": 3840,
            "n_layers": 30,
            "n_refiner_layers": 2,
            "n_heads": 30,
            "n_kv_heads": 30,
            "cap_feat_dim": 2560,
            "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
        },
        "vae": VAE_OF_FLUX,
    },
    "flux1-dev": {
        "text_encoder": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "projection_dim": 768,
            "vocab_size": 49408,
            "max_position_embeddings": 77,
        },
        "text_encoder_2": {
            "d_model": 4096,
            "d_ff": 10240,
            "d_kv": 64,
            "num_layers": 24,
            "num_heads": 64,
            "vocab_size": 32128,
            "feed_forward_proj": "gated-gelu",
        },
        "transformer": {
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "axes_dims_rope": [16, 56, 56],
        },
        "vae": VAE_OF_FLUX,
    },
    "qwen-image-edit-2511": {
        "scheduler": {
            "base_image_seq_len": 256,
            "max_image_seq_len": 8192,
            "max_shift": 0.9,
            "shift": 1.0,
            "shift_terminal": 0.02,
            "use_dynamic_shifting": True,
        },
        "text_encoder": QWEN25_VL_7B,
        "transformer": {
            "num_layers": 60,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 3584,
            "axes_dims_rope": [16, 56, 56],
            "zero_cond_t": True,
        },
        "vae": {"base_dim": 96, "num_res_blocks": 2, "temperal_downsample": [False, True, True]},
    },
}
SAMPLES = {"z-image-turbo": "sample", "qwen-image-edit-2511": "sample-edit"}
TINY_REFERENCES = {"reference_pixels": 64 * 64, "condition_pixels": 56 * 56}  # full models look at 1024² and 384²
# As small as the sample models; there is none of this family.
TINY_FLUX: Parts = {
    "scheduler": FLUX_SCHEDULER,
    "text_encoder": {
        "model_type": "clip_text_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 32,
        "vocab_size": 1024,
        "max_position_embeddings": 77,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    },
    "text_encoder_2": {
        "model_type": "t5",
        "d_model": 64,
        "d_ff": 128,
        "d_kv": 16,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 128,
    },
    "transformer": {
        "_class_name": "FluxTransformer2DModel",
        "patch_size": 1,
        "in_channels": 64,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
        "axes_dims_rope": [8, 12, 12],
    },
    "vae": VAE_OF_FLUX | {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4},
}
FLUX_INDEX: Config = {
    "_class_name": "FluxPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
CONFIG_NAMES = ("config.json", "scheduler_config.json")


def write_configs(name: str, folder: Path, *, tiny: bool) -> None:
    """Fills folder with the small files of one of `FULL`; tiny: in the sizes of the bundled samples instead."""
    if name in SAMPLES:
        source = Path(KnownModels().find(SAMPLES[name]).source)
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=_not_small)
    else:
        _write_flux(folder)
    if tiny and (folder / "processor").exists():
        (folder / "danqing.json").write_text(json.dumps(TINY_REFERENCES))
    for part, changes in ({} if tiny else FULL[name]).items():
        file = next(folder / part / each for each in CONFIG_NAMES if (folder / part / each).exists())
        file.write_text(json.dumps(_merged(json.loads(file.read_bytes()), changes)))
    if name not in SAMPLES:
        words = [json.loads((folder / part / CONFIG_NAMES[0]).read_bytes())["vocab_size"] for part in TEXT_ENCODERS]
        _write_tokenizers(folder, *words)


def _not_small(folder: str, names: list[str]) -> set[str]:
    """What `copytree` leaves out: weights, and what is true of the sample alone."""
    return {name for name in names if name.endswith(".safetensors") or name in ("preview_decoder", "danqing.json")}


def _merged(config: Config, changes: Config) -> Config:
    """Those within a part's part as well."""
    inner = {key: _merged(config[key], value) for key, value in changes.items() if isinstance(value, dict)}
    return config | changes | inner


def _write_flux(folder: Path) -> None:
    for part, config in TINY_FLUX.items():
        (folder / part).mkdir(parents=True)
        name = CONFIG_NAMES[1] if part == "scheduler" else CONFIG_NAMES[0]
        (folder / part / name).write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(FLUX_INDEX))


def _write_tokenizers(folder: Path, clip_words: int, t5_words: int) -> None:
    """FLUX's two, of so many words: the letters, and others that no prompt has."""
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [f"<{i}>" for i in range(clip_words - len(pieces))]
    clip = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=77)
    clip.save_pretrained(folder / "tokenizer")
    known = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((chr(i), -6.0) for i in range(97, 123))]
    known += [(f"<{i}>", -20.0) for i in range(t5_words - len(known))]
    T5Tokenizer(vocab=known, extra_ids=0, model_max_length=512).save_pretrained(folder / "tokenizer_2")


def build(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantise: Mapping[str, Any] | None = None,
    **instead: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """A pipeline of what the folder describes; the same weights every time on the same device.

    quantise: the configuration of each part that is. instead: parts that are given.
    """
    index = json.loads((folder / "model_index.json").read_bytes())
    pipeline_class = getattr(diffusers, index["_class_name"])
    torch.manual_seed(0)
    parts = dict(instead)
    for name, made_of in index.items():
        if name in parts or not isinstance(made_of, list):
            continue
        part_class = getattr(diffusers if made_of[0] == "diffusers" else transformers, made_of[1])
        if not issubclass(part_class, nn.Module):
            parts[name] = part_class.from_pretrained(folder / name)
            continue
        with _by_default(dtype), torch.device(device):
            network = _network(part_class, folder / name).eval().requires_grad_(False)
        parts[name] = _quantised(network, quantise[name]) if quantise and name in quantise else network
    return pipeline_class(**parts)


def _network(part_class: Any, folder: Path) -> Any:  # noqa: ANN401
    if part_class.__module__.startswith("diffusers."):
        return part_class.from_config(json.loads((folder / "config.json").read_bytes()))
    return part_class(AutoConfig.from_pretrained(folder))


def _quantised(network: Any, config: Any) -> Any:  # noqa: ANN401
    """As loading would. config: diffusers' or transformers'."""
    kind = getattr(config, "quant_type", None)
    if kind is None:
        from sdnq import sdnq_post_load_quant

        return sdnq_post_load_quant(network, quantization_config=config)
    from torchao.quantization import FqnToConfig, quantize_

    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Linear) or name == "lm_head":
            continue
        own = _resolve_fqn_to_config(kind, name, f"{name}.weight") if isinstance(kind, FqnToConfig) else kind
        if own is not None:
            quantize_(layer, own)
    return network


@contextmanager
def _by_default(dtype: torch.dtype) -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def random_weights(device: torch.device) -> Generator[None]:
    """Inside, pipelines of folders are made by `build`, whoever loads them."""

    def made(_: type, source: str, *, dtype: torch.dtype, quantization_config: Any = None, **others: Any) -> Any:  # noqa: ANN401
        instead = {name: part for name, part in others.items() if name not in OF_LOADING}
        quantise = quantization_config.quant_mapping if quantization_config is not None else None
        return build(Path(source), device=device, dtype=dtype, quantise=quantise, **instead)

    before: Callable[..., Any] = DiffusionPipeline.__dict__["from_pretrained"]
    DiffusionPipeline.from_pretrained = classmethod(made)
    try:
        yield
    finally:
        DiffusionPipeline.from_pretrained = before


OF_LOADING = ("revision", "local_files_only", "use_safetensors")
IMAGE_TOKEN = "<|image_pad|>"


class PictureProcessor:
    """Does for pictures what diffusers' edit pipelines need of a Qwen2VLProcessor, which asks for torchvision."""

    def __init__(self, folder: Path) -> None:
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor")
        self.tokenizer = Qwen2Tokenizer.from_pretrained(folder / "processor")

    def __call__(self, *, text: list[str], images: Any, padding: bool, return_tensors: str) -> BatchFeature:  # noqa: ANN401
        """Each mark of a picture becomes as many tokens as the picture has."""
        pictures: list[Image.Image] = images if isinstance(images, list) else [images]
        seen = dict(self.image_processor(images=pictures, return_tensors=return_tensors))
        counts = iter((seen["image_grid_thw"].prod(-1) // 4).tolist())
        lines: list[str] = []
        for line in text:
            first, *rest = line.split(IMAGE_TOKEN)
            lines.append(first + "".join(IMAGE_TOKEN * next(counts) + part for part in rest))
        return BatchFeature({**self.tokenizer(lines, padding=padding, return_tensors=return_tensors), **seen})
