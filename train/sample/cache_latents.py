"""Encodes random scenes once and keeps their latents, so that training the transformer never runs the VAE.

Writes chunk files `--out/<bucket>/NNNN.npz` (latents float16 (n, 16, h, w), scenes as pickled bytes) until `--total`
scenes are there; may run beside the training, which looks for new chunks as it goes.
"""

import argparse
import os
import pickle
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from flow_training import autocast
from scenes import BUCKET_WEIGHTS, BUCKETS, Scene, draw_scene, paint

CHUNK = 1024
BATCH = 32


def encode(vae: AutoencoderKL, scenes: list[Scene], size: tuple[int, int]) -> np.ndarray:
    """Posterior means of the scenes' pictures: float16, (n, 16, height / 8, width / 8)."""
    found = []
    for i in range(0, len(scenes), BATCH):
        stacked = np.stack([paint(s, size) for s in scenes[i : i + BATCH]])
        x = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, H, W)
        with torch.inference_mode(), autocast():
            found.append(vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean.half().numpy())
    return np.concatenate(found)


def main() -> None:
    """Fills the cache up to the total asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--total", type=int, default=80_000)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.vae).to(memory_format=torch.channels_last).eval()
    for number in range(args.total // CHUNK):
        rng = random.Random(args.seed * 100_003 + number)
        width, height = (
            BUCKETS[number % len(BUCKETS)] if number < len(BUCKETS) else rng.choices(BUCKETS, BUCKET_WEIGHTS)[0]
        )
        target = args.out / f"{width}x{height}" / f"{number:04}.npz"
        if target.exists():
            continue
        scenes = [draw_scene(rng) for _ in range(CHUNK)]
        latents = encode(vae, scenes, (width, height))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".tmp")
        with partial.open("wb") as file:
            np.savez(file, latents=latents, scenes=np.frombuffer(pickle.dumps(scenes), np.uint8))
        os.replace(partial, target)
        print(target.name, flush=True)


if __name__ == "__main__":
    main()
