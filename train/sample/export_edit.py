"""Writes the trained parts as one ordinary diffusers checkpoint (`QwenImageEditPlusPipeline`, bf16 safetensors)."""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from edit_networks import CONDITION_SIDE
from train_edit import EditTransformer
from train_edit_text import TextTrainee
from transformers import Qwen2Tokenizer

SHIFT = 2.0
SIDE = 128
STEPS = 8


def main() -> None:
    """Reads the training folders, writes the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, help="`make_edit_tokenizer.py`'s folder")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint, whose latents it shares")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.out.exists():
        shutil.rmtree(args.out)
    for part in ("tokenizer", "processor"):
        shutil.copytree(args.tokenizer / part, args.out / part)
    shutil.copytree(args.checkpoint / "preview_decoder", args.out / "preview_decoder")
    text = TextTrainee(Qwen2Tokenizer.from_pretrained(args.tokenizer / "tokenizer"))
    text.load_state_dict(torch.load(args.text / "training.pt", weights_only=True)["model"])
    text.encoder.to(torch.bfloat16).save_pretrained(args.out / "text_encoder")
    saved = torch.load(args.training / "training.pt", weights_only=True)
    model = EditTransformer()
    model.load_state_dict(saved["ema"])
    model.transformer.to(torch.bfloat16).save_pretrained(args.out / "transformer")
    AutoencoderKLQwenImage.from_pretrained(args.vae, dtype=torch.bfloat16).save_pretrained(args.out / "vae")
    config = args.out / "vae" / "config.json"
    kept = {name: value for name, value in json.loads(config.read_text()).items() if name != "_name_or_path"}
    config.write_text(json.dumps(kept, indent=2) + "\n")
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT, use_dynamic_shifting=False)
    scheduler.save_pretrained(args.out / "scheduler")
    index = {
        "_class_name": "QwenImageEditPlusPipeline",
        "_diffusers_version": diffusers.__version__,
        "processor": ["transformers", "Qwen2VLProcessor"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
    (args.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    about = {
        "title": "Danqing sample edit model (emoji)",
        "trained_sizes": [[SIDE, SIDE]],
        "reference_pixels": SIDE**2,
        "condition_pixels": CONDITION_SIDE**2,
        "references_framed": True,
        "num_inference_steps": STEPS,
        "guidance_scale": 1.0,
    }
    (args.out / "danqing.json").write_text(json.dumps(about, indent=2) + "\n")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{total / 2**20:.1f} MiB after {saved['samples']} samples")


if __name__ == "__main__":
    main()
