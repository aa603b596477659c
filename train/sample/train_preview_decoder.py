"""Trains the sample model's `preview_decoder/`: three convolutions that show what its autoencoder would, at half size.

It learns from scenes, and from the autoencoder's own pictures of scenes blended into each other with some noise and of
what the model foresees after each step, which is blurred at first. Writes the folder and prints how near it comes.
"""

import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ZImagePipeline
from safetensors.torch import save_file
from scenes import caption, draw_scene, paint
from torch import Tensor

from danqing.engine.families.autoencoder_kl import encode
from danqing.engine.families.flow import foreseen
from danqing.engine.families.preview_decoder import (
    CONFIG,
    FOLDER,
    WEIGHTS,
    PreviewDecoder,
    PreviewDecoderConfig,
)

SIDE, BATCH, STEPS = 128, 16, 9
SHAPE = PreviewDecoderConfig(latent_channels=16, width=32, scale=4)
TEST_SEED = 900  # of scenes and captions that are only measured with


def scene_latents(vae: AutoencoderKL, rng: random.Random, count: int) -> tuple[Tensor, Tensor]:
    """Of random scenes: latents (count, 16, h, w), as the transformer takes them, and the scenes at half size."""
    latents, pictures = [], []
    for start in range(0, count, BATCH):
        drawn = np.stack([paint(draw_scene(rng), (SIDE, SIDE)) for _ in range(min(BATCH, count - start))])
        pixels = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append(encode(vae, pixels))
        pictures.append(F.avg_pool2d(pixels, 8 // SHAPE.scale))
    return torch.cat(latents), torch.cat(pictures)


def blended(latents: Tensor) -> Tensor:
    """Each with another one, in random shares, and with noise that is weak for most."""
    share = torch.rand(len(latents), 1, 1, 1)
    noise = 0.3 * torch.rand(len(latents), 1, 1, 1).square() * torch.randn_like(latents)
    return share * latents + (1 - share) * latents[torch.randperm(len(latents))] + noise


def foreseen_latents(pipeline: ZImagePipeline, rng: random.Random, count: int) -> Tensor:
    """What the model foresees after each step but the last, of random captions: (STEPS - 1, count, 16, h, w)."""
    by_step: list[list[Tensor]] = [[] for _ in range(STEPS)]
    for start in range(0, count, BATCH):
        prompts = [caption(rng, draw_scene(rng), rng.choice(("en", "zh"))) for _ in range(min(BATCH, count - start))]
        before = [torch.randn(len(prompts), SHAPE.latent_channels, SIDE // 8, SIDE // 8)]

        def note(_: object, index: int, timestep: object, tensors: dict[str, Tensor], before: list = before) -> dict:
            by_step[index].append(foreseen(before[0], tensors["latents"], pipeline.scheduler))
            before[0] = tensors["latents"]
            return tensors

        pipeline(
            prompts,
            width=SIDE,
            height=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=0,
            latents=before[0],
            output_type="latent",
            callback_on_step_end=note,
        )
    return torch.stack([torch.cat(latents) for latents in by_step[:-1]])


def shown(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """What a decoder is to show, (N, 3, 64, 64): the autoencoder's pictures at half size, within -1 to 1."""
    found = []
    for part in latents.split(BATCH):
        made = vae.decode(part / vae.config.scaling_factor + vae.config.shift_factor).sample
        found.append(F.avg_pool2d(made.clamp(-1, 1), 8 // SHAPE.scale))
    return torch.cat(found)


def train(decoder: PreviewDecoder, latents: Tensor, targets: Tensor, steps: int) -> None:
    """By absolute and squared error, with a rate that falls to nothing."""
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=0, betas=(0.9, 0.98), weight_decay=0.0)
    error = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randint(len(latents), (24,))
        made, wanted = decoder(latents[chosen]), targets[chosen]
        squared = F.mse_loss(made, wanted)
        (squared + 0.2 * F.l1_loss(made, wanted)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        error = squared.item() if error == 0 else 0.98 * error + 0.02 * squared.item()
        if step % 200 == 199:
            print(f"{step + 1} of {steps}: psnr {10 * math.log10(4 / error):.2f} dB", flush=True)


def psnr(decoder: PreviewDecoder, latents: Tensor, targets: Tensor) -> float:
    """Decibels, of pictures of 0 to 1."""
    with torch.inference_mode():
        return 10 * math.log10(4 / F.mse_loss(decoder(latents).clamp(-1, 1), targets).item())


def main() -> None:
    """Trains, writes, measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="the folder that gets its preview_decoder/")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--scenes", type=int, default=640)
    parser.add_argument("--blends", type=int, default=160)
    parser.add_argument("--pictures", type=int, default=32, help="that the model makes, for what it foresees")
    parser.add_argument("--test", type=int, default=8, help="pictures, and four times as many scenes")
    parser.add_argument("--seed", type=int, default=31)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pipeline = ZImagePipeline.from_pretrained(args.checkpoint, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    vae: AutoencoderKL = pipeline.vae.requires_grad_(False)
    rng, test_rng = random.Random(args.seed), random.Random(TEST_SEED)
    with torch.no_grad():
        scenes, drawn = scene_latents(vae, rng, args.scenes)
        others = torch.cat(
            [blended(scenes)[: args.blends], foreseen_latents(pipeline, rng, args.pictures).flatten(0, 1)]
        )
        latents, targets = torch.cat([scenes, others]), torch.cat([drawn, shown(vae, others)])
    print(f"{len(latents)} to learn from", flush=True)
    decoder = PreviewDecoder(SHAPE)
    train(decoder, latents, targets, args.steps)
    decoder.to(torch.bfloat16)
    folder = args.checkpoint / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(SHAPE.model_dump_json(indent=2) + "\n")
    save_file({name: each.contiguous() for name, each in decoder.state_dict().items()}, folder / WEIGHTS)
    decoder.float()  # as it is shipped
    with torch.no_grad():
        test_scenes, _ = scene_latents(vae, test_rng, 4 * args.test)
        test_foreseen = foreseen_latents(pipeline, test_rng, args.test)
        parts = {"scenes": test_scenes} | {f"step {i + 1} of {STEPS}": each for i, each in enumerate(test_foreseen)}
        tests = {name: (each, shown(vae, each)) for name, each in parts.items()}
    print(json.dumps({name: round(psnr(decoder, *test), 2) for name, test in tests.items()}, indent=2))


if __name__ == "__main__":
    main()
