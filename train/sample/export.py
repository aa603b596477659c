"""Writes the trained parts as one ordinary diffusers checkpoint (`ZImagePipeline`, bf16 safetensors)."""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ZImagePipeline
from networks import build_scheduler, build_text_encoder, build_transformer
from scenes import BUCKETS
from train_vae import build as build_vae
from transformers import AutoTokenizer

LAST_TEXT_LAYER = 2


def main() -> None:
    """Reads the training folder, writes the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--training", type=Path, required=True, help="folder with training.pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shift", type=float, default=1.0, help="the scheduler's shift towards noise")
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    saved = torch.load(args.training / "training.pt", weights_only=True)
    transformer, text_encoder = build_transformer(), build_text_encoder(len(tokenizer))
    for name, module in (("transformer", transformer), ("text_encoder", text_encoder)):
        trained = {k.removeprefix(f"{name}."): v for k, v in saved["ema"].items() if k.startswith(f"{name}.")}
        left_out = set(module.state_dict()) - set(trained)
        if any(not key.startswith(f"layers.{LAST_TEXT_LAYER}.") for key in left_out):
            raise SystemExit(f"{name} lacks {sorted(left_out)}")
        # The last layer's output is never read; zeros say so.
        module.load_state_dict(trained | {key: torch.zeros_like(module.state_dict()[key]) for key in left_out})
    vae = build_vae()
    vae.load_state_dict(AutoencoderKL.from_pretrained(args.vae).state_dict())
    vae.register_to_config(scaling_factor=saved["state"]["scale"], shift_factor=saved["state"]["shift"])
    pipeline = ZImagePipeline(
        scheduler=build_scheduler(args.shift),
        vae=vae.to(torch.bfloat16),
        text_encoder=text_encoder.to(torch.bfloat16),
        tokenizer=tokenizer,
        transformer=transformer.to(torch.bfloat16),
    )
    pipeline.save_pretrained(args.out)
    about = {
        "title": "Danqing sample model (emoji)",
        "trained_sizes": [list(size) for size in BUCKETS],
    }
    (args.out / "danqing.json").write_text(json.dumps(about, indent=2) + "\n")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{total / 2**20:.1f} MiB after {saved['state']['samples']:.0f} samples")


if __name__ == "__main__":
    main()
