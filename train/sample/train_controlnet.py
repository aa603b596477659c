"""Trains the sample model's ControlNet on cached pairs (see `cache_edges.py`); everything else of the model is frozen.

The same flow matching as `train_text2img.py`. Resumes from `--out`, where it also keeps what it began with.
"""

import argparse
import copy
import json
import math
import pickle
import queue
import random
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cache_edges import CHUNK
from control_networks import build_controlnet, controlled_velocity, use_real_rope_in_control
from diffusers import ZImageTransformer2DModel
from flow_training import Optimizers, autocast, compiled, draw_sigma
from networks import PassThrough, patchify, positions, rope, use_real_rope
from scenes import BUCKETS, Scene, caption
from torch import Tensor, nn
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase, Qwen3Model

TOKENS = 64  # of every bucket's picture, padding included
SQUARE = 0.85  # share of batches at 128 x 128
UNCAPTIONED = 0.15
Batch = tuple[Tensor, Tensor, tuple[int, int], BatchEncoding]


class EdgePairs:
    """The cached chunks of every bucket; finds chunks that appear while training."""

    def __init__(self, folder: Path, shift: float, scale: float) -> None:
        self.folder, self.shift, self.scale = folder, shift, scale
        self.chunks: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray, list[Scene]]]] = {b: [] for b in BUCKETS}
        self.known: set[Path] = set()
        self.look()

    def look(self) -> None:
        """Loads chunks that were not there before."""
        for size in BUCKETS:
            for path in sorted((self.folder / f"{size[0]}x{size[1]}").glob("*.npz")):
                if path not in self.known:
                    self.known.add(path)
                    loaded = np.load(path)
                    self.chunks[size].append(
                        (loaded["latents"], loaded["edges"], pickle.loads(loaded["scenes"].tobytes()))
                    )

    def batch(self, rng: random.Random, count: int) -> tuple[Tensor, Tensor, tuple[int, int], list[Scene]]:
        """count pairs of one bucket: tokens of the scenes and of their edges (count, TOKENS, 64), grid, scenes."""
        size = BUCKETS[0] if rng.random() < SQUARE else rng.choice(BUCKETS[1:])
        if not self.chunks[size]:
            size = BUCKETS[0]
        picks = [(rng.choice(self.chunks[size]), rng.randrange(CHUNK)) for _ in range(count)]

        def tokens(which: int) -> Tensor:
            stacked = np.stack([chunk[which][i] for chunk, i in picks]).astype(np.float32)
            made = patchify((torch.from_numpy(stacked) - self.shift) * self.scale)
            return F.pad(made, (0, 0, 0, TOKENS - made.shape[1]))

        return tokens(0), tokens(1), (size[1] // 16, size[0] // 16), [chunk[2][i] for chunk, i in picks]


def prepare(
    data: EdgePairs, rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, ready: queue.Queue[Batch]
) -> None:
    """Puts batches into `ready` for ever (in a thread)."""
    while True:
        latents, edges, grid, scenes = data.batch(rng, count)
        said = ["" if rng.random() < UNCAPTIONED else caption(rng, s, rng.choice(("en", "zh"))) for s in scenes]
        texts = [tokenizer.apply_chat_template([{"role": "user", "content": c}], tokenize=False) for c in said]
        encoded = tokenizer(texts, padding="max_length", max_length=32, truncation=True, return_tensors="pt")
        ready.put((latents, edges, grid, encoded))


class Controlled(nn.Module):
    """The frozen model and the ControlNet that learns beside it."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        self.transformer = ZImageTransformer2DModel.from_pretrained(checkpoint / "transformer", dtype=torch.float32)
        self.text_encoder = Qwen3Model.from_pretrained(checkpoint / "text_encoder", dtype=torch.float32)
        self.control = build_controlnet(self.transformer)
        self.text_encoder.layers[-1] = PassThrough()
        self.transformer.requires_grad_(False)
        self.text_encoder.requires_grad_(False)
        use_real_rope(self.transformer)
        use_real_rope_in_control(self.control)

    def forward(
        self,
        tokens: Tensor,
        edges: Tensor,
        token_padding: Tensor,
        t: Tensor,
        ids: Tensor,
        padding: Tensor,
        image_rope: tuple[Tensor, Tensor],
        caption_rope: tuple[Tensor, Tensor],
    ) -> Tensor:
        """tokens, edges: (B, N, 64), token_padding: (N,), t: (B,), ids, padding: (B, L). Returns the velocity."""
        with torch.no_grad():
            words = self.text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
        return controlled_velocity(
            self.transformer, self.control, tokens, edges, token_padding, t, words, padding, image_rope, caption_rope
        )


def save(out: Path, model: Controlled, averaged: nn.Module, optimizer: Optimizers, samples: int) -> None:
    """Writes everything a later run needs to go on, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "training.pt.tmp"
    state = {"model": model.control.state_dict(), "ema": averaged.state_dict(), "optimizer": optimizer.state()}
    torch.save(state | {"samples": samples}, partial)
    partial.replace(out / "training.pt")


def main() -> None:
    """Trains, printing a line every half minute and saving every two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--final-lr", type=float, default=5e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint / "tokenizer")
    config = json.loads((args.checkpoint / "vae" / "config.json").read_text())
    data = EdgePairs(args.pairs, config["shift_factor"], config["scaling_factor"])
    model = Controlled(args.checkpoint)
    averaged = copy.deepcopy(model.control).requires_grad_(False)
    optimizer = Optimizers(model, args.lr)
    samples = 0
    if (args.out / "training.pt").exists():
        saved = torch.load(args.out / "training.pt", weights_only=True)
        model.control.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["ema"])
        optimizer.restore(saved["optimizer"])
        samples = saved["samples"]
        torch.manual_seed(args.seed + samples)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"{trained / 1e6:.2f} M parameters, resuming at {samples}", flush=True)
    run = model if args.no_compile else compiled(model)

    ready: queue.Queue[Batch] = queue.Queue(maxsize=4)
    feed = random.Random(args.seed + samples)
    threading.Thread(target=prepare, args=(data, feed, tokenizer, args.batch, ready), daemon=True).start()
    start = last_print = last_save = time.monotonic()
    first, smooth, step = samples, 0.0, 0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        lr = args.final_lr + (args.lr - args.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
        latents, edges, grid, encoded = ready.get()
        image_ids, caption_ids = positions(grid, encoded.input_ids.shape[1])
        token_padding = torch.arange(TOKENS) >= grid[0] * grid[1]
        ropes = rope(model.transformer, image_ids), rope(model.transformer, caption_ids)
        noise = torch.randn_like(latents)
        sigma = draw_sigma(len(latents))
        mixed = torch.lerp(latents, noise, sigma[:, None, None])
        padding = encoded.attention_mask == 0
        with autocast():
            out = run(mixed, edges, token_padding, 1 - sigma, encoded.input_ids, padding, *ropes)
            loss = (out.float() - (latents - noise))[:, ~token_padding].square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.control.parameters(), 1.0)
        step += 1
        optimizer.step(lr * min(1.0, step / 60))
        samples += len(latents)
        decay = min(0.995, (samples / args.batch + 1) / (samples / args.batch + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.control.parameters()), 1 - decay)
        smooth = loss.item() if smooth == 0 else 0.98 * smooth + 0.02 * loss.item()
        now = time.monotonic()
        if now - last_print > 30:
            last_print = now
            rate = (samples - first) / (now - start)
            print(f"{done:.3f} samples {samples} {rate:.1f}/s loss {smooth:.4f} lr {lr:.1e}", flush=True)
        if now - last_save > 120:
            last_save = now
            save(args.out, model, averaged, optimizer, samples)
            data.look()
    save(args.out, model, averaged, optimizer, samples)


if __name__ == "__main__":
    main()
