"""Encodes pairs of scene and edge map once, for `train_controlnet.py`.

Three scenes in five have their sprites anywhere (`draw_free_scene`), so that the edges say what no caption does.
Writes `--out/<bucket>/NNNN.npz` (latents and edges float16 (n, 16, h, w), scenes as pickled bytes); may run beside the
training.
"""

import argparse
import os
import pickle
import random
from pathlib import Path

import numpy as np
import torch
from cache_latents import BATCH, encode
from diffusers import AutoencoderKL
from flow_training import autocast
from scenes import BUCKETS, draw_free_scene, draw_scene, paint

from danqing.engine.edges import canny

CHUNK = 256
BUCKET_WEIGHTS = (84, 4, 4, 4, 4)
FREE = 0.6


def encode_edges(vae: AutoencoderKL, pictures: list[np.ndarray]) -> np.ndarray:
    """Posterior means of the pictures' edge maps, white on black: float16, (n, 16, height / 8, width / 8)."""
    found = []
    for i in range(0, len(pictures), BATCH):
        maps = torch.from_numpy(np.stack([canny(p) for p in pictures[i : i + BATCH]]))  # (B, H, W)
        x = (maps.float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)  # (B, 3, H, W)
        with torch.inference_mode(), autocast():
            found.append(vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean.half().numpy())
    return np.concatenate(found)


def main() -> None:
    """Fills the cache up to the total asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--total", type=int, default=16_384)
    parser.add_argument("--seed", type=int, default=21)
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.checkpoint / "vae", dtype=torch.float32)
    vae.to(memory_format=torch.channels_last).eval()
    for number in range(args.total // CHUNK):
        rng = random.Random(args.seed * 100_003 + number)
        size = BUCKETS[number] if number < len(BUCKETS) else rng.choices(BUCKETS, BUCKET_WEIGHTS)[0]
        target = args.out / f"{size[0]}x{size[1]}" / f"{number:04}.npz"
        if target.exists():
            continue
        scenes = [draw_free_scene(rng) if rng.random() < FREE else draw_scene(rng) for _ in range(CHUNK)]
        latents = encode(vae, scenes, size)
        edges = encode_edges(vae, [paint(s, size) for s in scenes])
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".tmp")
        with partial.open("wb") as file:
            np.savez(file, latents=latents, edges=edges, scenes=np.frombuffer(pickle.dumps(scenes), np.uint8))
        os.replace(partial, target)
        print(target.name, flush=True)


if __name__ == "__main__":
    main()
