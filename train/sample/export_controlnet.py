"""Writes the trained ControlNet in the diffusers layout, bf16."""

import argparse
from pathlib import Path

import torch
from control_networks import build_controlnet
from diffusers import ZImageTransformer2DModel


def main() -> None:
    """Reads `train_controlnet.py`'s folder, writes config.json and the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint")
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    transformer = ZImageTransformer2DModel.from_pretrained(args.checkpoint / "transformer", dtype=torch.float32)
    saved = torch.load(args.training / "training.pt", weights_only=True)
    control = build_controlnet(transformer)
    control.load_state_dict(saved["ema"])
    control.to(torch.bfloat16).save_pretrained(args.out)
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{total / 2**20:.2f} MiB after {saved['samples']} samples")


if __name__ == "__main__":
    main()
