"""Second stage of the edit model: its transformer, on edits put together from `edit_pool.py`'s latents.

Flow matching as in `train_text2img.py`; the words come from the text encoder of `train_edit_text.py`, which stays as it
is. Resumes from `--out`.
"""

import argparse
import copy
import math
import queue
import random
import threading
import time
from pathlib import Path

import torch
from edit_networks import PREFIX, build_edit_transformer, edit_ropes, edit_velocity, words_of
from edit_pool import Pool, pack
from edit_scenes import instruction
from edit_start import begin_by_copying
from flow_training import Optimizers, autocast, compiled, draw_sigma
from torch import Tensor, nn
from train_edit_text import TextTrainee, encode_texts
from transformers import Qwen2Tokenizer

WORDS = 32  # every instruction is padded to this
SOURCE_NOISE = 0.05
NEARLY_NOISE = 0.45  # share of pictures above noise level 0.9, where all must come from source and words
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def prepare(pool: Pool, rng: random.Random, tokenizer: Qwen2Tokenizer, count: int, ready: queue.Queue[Batch]) -> None:
    """Puts batches into `ready` for ever (in a thread)."""
    while True:
        edits, before, after, small = pool.batch(rng, count)
        texts = [instruction(rng, edit, rng.choice(("en", "zh"))) for edit in edits]
        ids, lengths = encode_texts(tokenizer, texts, WORDS)
        ready.put((pack(before), pack(after), small, ids, lengths))


class EditTransformer(nn.Module):
    """So that the forward pass can be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = build_edit_transformer()
        begin_by_copying(self.transformer)

    def forward(
        self, target: Tensor, source: Tensor, sigma: Tensor, words: Tensor, mask: Tensor, cos: Tensor, sin: Tensor
    ) -> Tensor:
        """See `edit_velocity`."""
        return edit_velocity(self.transformer, target, source, sigma, words, mask, (cos, sin))


def save(out: Path, model: nn.Module, averaged: nn.Module, optimizer: Optimizers, samples: int) -> None:
    """Writes everything a later run needs to go on, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "training.pt.tmp"
    state = {"model": model.state_dict(), "ema": averaged.state_dict(), "optimizer": optimizer.state()}
    torch.save(state | {"samples": samples}, partial)
    partial.replace(out / "training.pt")


def main() -> None:
    """Trains, printing a line every half minute and saving every two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="folder with the first stage's training.pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--final-lr", type=float, default=5e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=44)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    pool = Pool(args.pool)
    tokenizer = Qwen2Tokenizer.from_pretrained(args.tokenizer)
    text = TextTrainee(tokenizer)
    text.load_state_dict(torch.load(args.text / "training.pt", weights_only=True)["model"])
    encoder = text.encoder.requires_grad_(False).eval()
    prefix = torch.tensor(tokenizer(PREFIX).input_ids)
    model = EditTransformer()
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimizer = Optimizers(model, args.lr)
    samples = 0
    if (args.out / "training.pt").exists():
        saved = torch.load(args.out / "training.pt", weights_only=True)
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["ema"])
        optimizer.restore(saved["optimizer"])
        samples = saved["samples"]
        torch.manual_seed(args.seed + samples)
    ropes = edit_ropes(model.transformer, WORDS)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, resuming at {samples}", flush=True)
    run = model if args.no_compile else compiled(model)

    ready: queue.Queue[Batch] = queue.Queue(maxsize=4)
    feed = random.Random(args.seed + samples)
    threading.Thread(target=prepare, args=(pool, feed, tokenizer, args.batch, ready), daemon=True).start()
    start = last_print = last_save = time.monotonic()
    first, step, smooth = samples, 0, torch.zeros(2)
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        lr = args.final_lr + (args.lr - args.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
        source, latents, small, ids, lengths = ready.get()
        mask = torch.arange(WORDS)[None] < lengths[:, None]  # (B, L)
        source = source + SOURCE_NOISE * torch.randn_like(source)
        noise = torch.randn_like(latents)
        sigma = draw_sigma(len(latents), NEARLY_NOISE)
        mixed = torch.lerp(latents, noise, sigma[:, None, None])
        with autocast():
            with torch.no_grad():
                words = words_of(encoder, prefix, ids, small).float() * mask[..., None]
            out = run(mixed, source, sigma, words, mask, *ropes)
        each = (out.float() - (noise - latents)).square().mean((1, 2))  # (B,)
        each.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step += 1
        optimizer.step(lr * min(1.0, step / 100))
        samples += len(latents)
        decay = min(0.998, (samples / args.batch + 1) / (samples / args.batch + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        nearly = sigma > 0.9
        now = torch.stack([each.mean(), each[nearly].mean() if nearly.any() else smooth[1]]).detach()
        smooth = now if step == 1 else 0.98 * smooth + 0.02 * now
        if time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            rate = (samples - first) / (last_print - start)
            figures = f"loss {smooth[0]:.4f}, at almost pure noise {smooth[1]:.4f}, lr {lr:.1e}"
            print(f"{done:.3f} samples {samples} {rate:.1f}/s {figures}", flush=True)
        if time.monotonic() - last_save > 120:
            last_save = time.monotonic()
            save(args.out, model, averaged, optimizer, samples)
    save(args.out, model, averaged, optimizer, samples)


if __name__ == "__main__":
    main()
