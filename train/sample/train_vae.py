"""Trains the sample model's `AutoencoderKL`: 8 times down, 16 latent channels, for 128 px scenes.

Two phases: `--phase whole` trains encoder and decoder; `--phase decoder` freezes the encoder (so latents that were
cached for the transformer stay valid) and polishes the decoder. Resumes from its own checkpoint.
"""

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from fast_group_norm import use_fast_group_norm
from scenes import draw_scene, paint
from torch import Tensor

CHANNELS = (16, 32, 64, 128)
LATENT_CHANNELS = 16
KL_WEIGHT = 1e-5


def build() -> AutoencoderKL:
    """An untrained autoencoder of the sample model's shape."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=128,
    )


def window(rng: random.Random, side: int) -> np.ndarray:
    """A side x side cut of a random scene, somewhere on one of its sprites: uint8 (side, side, 3)."""
    scene = draw_scene(rng)
    picture = paint(scene, (128, 128))
    if side == 128:
        return picture
    item = rng.choice(scene.items)
    reach = item.extent * 64
    left, top = (min(128 - side, max(0, round(c * 128 + rng.uniform(-reach, reach) - side / 2))) for c in item.centre)
    return picture[top : top + side, left : left + side]


def pictures(rng: random.Random, count: int, side: int) -> Tensor:
    """count scenes, or cuts of them: float in [-1, 1], (count, 3, side, side), channels last."""
    stacked = np.stack([window(rng, side) for _ in range(count)])
    tensor = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, H, W)
    return tensor.contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Trains for the minutes asked and keeps writing `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--phase", choices=("whole", "decoder"), default="whole")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--side", type=int, default=128, help="below 128: train on cuts, many more steps a minute")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    use_fast_group_norm()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    vae = AutoencoderKL.from_pretrained(args.out) if (args.out / "config.json").exists() else build()
    vae.to(memory_format=torch.channels_last).train()
    if args.phase == "decoder":
        vae.encoder.requires_grad_(False)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.lr, weight_decay=0.01, betas=(0.9, 0.98))
    start = time.monotonic()
    last_print, seen, error = start, 0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        lr = args.lr * min(1, (seen + args.batch) / 1600) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        x = pictures(rng, args.batch, args.side)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.encoder(x)
            mean, logvar = moments.float().chunk(2, dim=1)
            logvar = logvar.clamp(-20, 10)
            latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
            y = vae.decoder(latents)
        y = y.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean() / 3 / args.side**2
        squared = F.mse_loss(y, x)
        loss = F.l1_loss(y, x) + 0.3 * squared + KL_WEIGHT * 100 * kl
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += args.batch
        error = squared.item() if error == 0 else 0.98 * error + 0.02 * squared.item()
        if time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            psnr = 10 * math.log10(4 / error)
            rate = seen / (last_print - start)
            print(f"{done:.2f} seen {seen} {rate:.0f}/s psnr {psnr:.2f} dB kl {kl.item():.3f} lr {lr:.1e}", flush=True)
            vae.save_pretrained(args.out)
    vae.save_pretrained(args.out)


if __name__ == "__main__":
    main()
