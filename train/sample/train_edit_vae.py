"""Teaches the edit model's autoencoder the sample model's latents, on cuts of the pool's pictures (`edit_pool.py`).

The encoder learns to give the cached latents, the decoder to draw the picture from them (and from what the encoder
gives). Near a cut's edge neither can know what the whole picture would tell it, so there nothing is asked. Resumes.
"""

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLQwenImage
from edit_pool import SIDE, Pool, scenes
from edit_vae import begin_with, build_edit_vae, use_flat_convolutions
from flow_training import autocast
from scenes import paint
from torch import Tensor

MARGIN = 1  # latent cells


class Cuts:
    """Cuts of the pool's pictures and of their latents."""

    def __init__(self, pool: Pool) -> None:
        *_, drawn = scenes(random.Random(41))  # as the pool was drawn
        self.pool, self.drawn = pool, drawn

    def batch(self, rng: random.Random, count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (count, 3, side, side) in [-1, 1]; latents of unit variance (count, 16, side / 8, side / 8).

        Third, where to ask, (count, 1, side / 8, side / 8): 0 at a cut's edges, 1 elsewhere and at the whole picture's.
        """
        pictures, latents = [], []
        cells = side // 8
        asked = torch.zeros(count, 1, cells, cells)
        for index in range(count):
            row = rng.randrange(len(self.drawn))
            item = rng.choice(self.drawn[row].items) if self.drawn[row].items else None
            middle, reach = (item.centre, item.extent * 0.4) if item else ((0.5, 0.5), 0.4)
            x, y = (min(16 - cells, max(0, round((m + rng.uniform(-reach, reach)) * 16 - cells / 2))) for m in middle)
            picture = paint(self.drawn[row], (SIDE, SIDE))
            pictures.append(picture[8 * y : 8 * y + side, 8 * x : 8 * x + side])
            latents.append(self.pool.latents[row][:, y : y + cells, x : x + cells])
            spans = [
                slice(0 if at == 0 else MARGIN, cells if at + cells == SIDE // 8 else cells - MARGIN) for at in (y, x)
            ]
            asked[index, 0, spans[0], spans[1]] = 1
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return stacked.contiguous(memory_format=torch.channels_last), self.pool.normalised(np.stack(latents)), asked


def main() -> None:
    """Trains for the minutes asked and keeps writing `--out`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--decoder-share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=43)
    args = parser.parse_args()
    use_flat_convolutions()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    pool = Pool(args.pool)
    cuts = Cuts(pool)
    if (args.out / "config.json").exists():
        vae = AutoencoderKLQwenImage.from_pretrained(args.out, dtype=torch.float32)
        frozen = build_edit_vae(pool.shift, pool.scale)
        for mine, like in zip(vae.parameters(), frozen.parameters(), strict=True):
            mine.requires_grad_(like.requires_grad)
    else:
        vae = build_edit_vae(pool.shift, pool.scale)
        begin_with(vae, AutoencoderKL.from_pretrained(args.checkpoint / "vae", dtype=torch.float32))
    vae.train()
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.lr, weight_decay=0.0, betas=(0.9, 0.98))
    print(f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M numbers", flush=True)
    start = last_print = time.monotonic()
    seen, drawn_error, latent_error = 0, 0.0, 0.0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        lr = (
            args.lr
            * min(1, (seen + args.batch) / (60 * args.batch))
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        pictures, latents, asked = cuts.batch(rng, args.batch, args.side)
        with autocast():
            found = vae.quant_conv(vae.encoder(pictures.unsqueeze(2)))[:, :16, 0].float()
            found = (found - pool.shift) * pool.scale
            given = torch.where(torch.rand(len(found), 1, 1, 1) < 0.5, found.detach(), latents)
            given = given + 0.05 * torch.randn_like(given)
            raw = given / pool.scale + pool.shift
            made = vae.decoder(vae.post_quant_conv(raw.unsqueeze(2)))[:, :, 0].float()
        share = asked / asked.mean()
        missed = ((found - latents).square() * share).mean()
        shown = F.interpolate(share, scale_factor=8)
        squared = ((made - pictures).square() * shown).mean()
        far = ((made - pictures).abs() * shown).mean()
        (missed + args.decoder_share * (far + 0.3 * squared)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += args.batch
        kept = 0.0 if seen == args.batch else 0.98
        drawn_error = kept * drawn_error + (1 - kept) * squared.item()
        latent_error = kept * latent_error + (1 - kept) * missed.item()
        if time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            psnr = 10 * math.log10(4 / drawn_error)
            rate = seen / (last_print - start)
            print(f"{done:.2f} seen {seen} {rate:.0f}/s psnr {psnr:.2f} dB latents {latent_error:.4f}", flush=True)
            vae.save_pretrained(args.out)
    vae.save_pretrained(args.out)


if __name__ == "__main__":
    main()
