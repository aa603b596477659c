"""Trains the sample model's transformer and text encoder together on cached latents (see `cache_latents.py`).

Flow matching: x = (1 - sigma) * data + sigma * noise, the network predicts data - noise, sigma = sigmoid(normal).
Resumes from `--out`. After `--minutes` it stops; `--distil W` instead fine-tunes the finished model so that its plain
prediction equals the guided one (guidance weight W), which makes nine steps without guidance sharp.
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
from flow_training import Optimizers, autocast, compiled, draw_sigma
from networks import (
    TEXT_WIDTH,
    PassThrough,
    build_text_encoder,
    build_transformer,
    patchify,
    positions,
    rope,
    use_real_rope,
    velocity,
)
from safetensors.torch import load_file
from scenes import BUCKET_WEIGHTS, BUCKETS, COLOURS, Scene, caption, sprites
from torch import Tensor, nn
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase

UNCONDITIONAL = 0.08
LONG_CAPTION = 0.04
LABEL_WEIGHT = 0.03
TOKENS = 64  # of every bucket's picture, padding included
FILLERS = (
    "highly detailed",
    "digital art",
    "high quality",
    "4k",
    "cute style",
    "soft light",
    "best quality",
    "centered",
    "emoji",
    "flat design",
)


class Latents:
    """The cached chunks of every bucket, normalised to unit variance; finds chunks that appear while training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks: dict[tuple[int, int], list[tuple[np.ndarray, list[Scene]]]] = {size: [] for size in BUCKETS}
        self.known: set[Path] = set()
        self.look()
        square = np.concatenate([latents for latents, _ in self.chunks[BUCKETS[0]][:4]]).astype(np.float32)
        self.shift, self.scale = float(square.mean()), float(1 / square.std())

    def look(self) -> None:
        """Loads chunks that were not there before."""
        for size in BUCKETS:
            for path in sorted((self.folder / f"{size[0]}x{size[1]}").glob("*.npz")):
                if path not in self.known:
                    self.known.add(path)
                    loaded = np.load(path)
                    self.chunks[size].append((loaded["latents"], pickle.loads(loaded["scenes"].tobytes())))

    def batch(self, rng: random.Random, count: int) -> tuple[Tensor, tuple[int, int], list[Scene]]:
        """count pictures of one bucket as tokens (count, TOKENS, 64), their grid (rows, columns), their scenes."""
        size = rng.choices(BUCKETS, BUCKET_WEIGHTS)[0]
        picks = [(rng.choice(self.chunks[size]), rng.randrange(1024)) for _ in range(count)]
        stacked = np.stack([latents[i] for (latents, _), i in picks]).astype(np.float32)
        tokens = patchify((torch.from_numpy(stacked) - self.shift) * self.scale)
        tokens = F.pad(tokens, (0, 0, 0, TOKENS - tokens.shape[1]))
        return tokens, (size[1] // 16, size[0] // 16), [scenes[i] for (_, scenes), i in picks]


KINDS = ("single", "sized", "placed", "row", "column")
LABEL_CLASSES = (len(sprites()), len(sprites()) + 1, len(COLOURS) + 1, len(KINDS))


def labels(scenes: list[Scene], texts: list[str]) -> Tensor:
    """What each caption says: first sprite, second sprite or none, background or none, kind; -100 if it is empty."""
    grounds = [*COLOURS, None]
    rows = [
        (
            scene.items[0].sprite,
            scene.items[1].sprite if len(scene.items) > 1 else len(sprites()),
            grounds.index(scene.background),
            KINDS.index(scene.kind),
        )
        if text
        else (-100,) * len(LABEL_CLASSES)
        for scene, text in zip(scenes, texts, strict=True)
    ]
    return torch.tensor(rows)  # (B, 4)


def captions(rng: random.Random, scenes: list[Scene], long: bool) -> list[str]:
    """A fresh caption for each scene; empty for some, so that guidance has an unconditional side."""
    texts = []
    for scene in scenes:
        text = caption(rng, scene, "en" if rng.random() < 0.58 else "zh")
        if long:
            text += ", " + ", ".join(rng.choices(FILLERS, k=8))
        texts.append("" if rng.random() < UNCONDITIONAL else text)
    return texts


Batch = tuple[Tensor, tuple[int, int], list[str], Tensor, BatchEncoding]


def prepare(
    data: Latents, rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, ready: queue.Queue[Batch]
) -> None:
    """Puts batches into `ready` for ever (in a thread, so that the networks never wait for them)."""
    while True:
        latents, grid, scenes = data.batch(rng, count)
        long = rng.random() < LONG_CAPTION
        said = captions(rng, scenes, long)
        texts = [tokenizer.apply_chat_template([{"role": "user", "content": c}], tokenize=False) for c in said]
        encoded = tokenizer(
            texts, padding="max_length", max_length=64 if long else 32, truncation=True, return_tensors="pt"
        )
        ready.put((latents, grid, said, labels(scenes, said), encoded))


class Trainee(nn.Module):
    """Both networks under one optimiser."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.transformer = build_transformer()
        self.text_encoder = build_text_encoder(vocabulary)
        self.text_encoder.layers[-1] = PassThrough()
        # Not shipped: they make the caption's last token name what the scene shows, in either language, which teaches
        # the text encoder far sooner than pictures alone would.
        self.heads = nn.ModuleList(nn.Linear(TEXT_WIDTH, classes) for classes in LABEL_CLASSES)

    def load_checkpoint(self, folder: Path) -> None:
        """Takes the weights of an exported checkpoint; the heads, which are not exported, stay as they are."""
        transformer = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
        self.transformer.load_state_dict({name: value.float() for name, value in transformer.items()})
        words = load_file(folder / "text_encoder" / "model.safetensors")
        kept = self.text_encoder.state_dict().keys()
        self.text_encoder.load_state_dict({name: value.float() for name, value in words.items() if name in kept})

    def forward(
        self,
        tokens: Tensor,
        token_padding: Tensor,
        t: Tensor,
        ids: Tensor,
        padding: Tensor,
        image_rope: tuple[Tensor, Tensor],
        caption_rope: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        """tokens: (B, N, 64), token_padding: (N,), t: (B,), ids and padding: (B, L).

        Returns the velocity (B, N, 64) and logits of every label, (B, classes) each.
        """
        # Padding stands to the right and attention is causal, so no mask is needed.
        words = self.text_encoder(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
        last = words[torch.arange(len(words)), (~padding).sum(1) - 1]  # (B, text width)
        made = velocity(self.transformer, tokens, token_padding, t, words, padding, image_rope, caption_rope)
        return made, [head(last) for head in self.heads]


def save(out: Path, trainee: Trainee, averaged: Trainee, optimizer: Optimizers, state: dict[str, float]) -> None:
    """Writes everything a later run needs to go on, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "training.pt.tmp"
    torch.save(
        {
            "model": trainee.state_dict(),
            "ema": averaged.state_dict(),
            "optimizer": optimizer.state(),
            "state": state,
        },
        partial,
    )
    partial.replace(out / "training.pt")
    (out / "state.json").write_text(json.dumps(state))


def main() -> None:
    """Trains, printing a line every half minute and saving every two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a checkpoint folder to begin with where --out holds none yet")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--final-lr", type=float, default=3e-5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--distil", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    data = Latents(args.latents)
    trainee = Trainee(len(tokenizer))
    use_real_rope(trainee.transformer)
    averaged = copy.deepcopy(trainee).requires_grad_(False)
    optimizer = Optimizers(trainee, args.lr, heads=trainee.heads)
    if args.start:
        config = json.loads((args.start / "vae" / "config.json").read_text())
        data.shift, data.scale = config["shift_factor"], config["scaling_factor"]
    state = {"samples": 0.0, "shift": data.shift, "scale": data.scale}
    if args.start:
        for model in (trainee, averaged):
            model.load_checkpoint(args.start)
    if (args.out / "training.pt").exists():
        saved = torch.load(args.out / "training.pt", weights_only=True)
        trainee.load_state_dict(saved["model"], strict=False)
        averaged.load_state_dict(saved["ema"], strict=False)
        if not args.distil:
            optimizer.restore(saved["optimizer"])
        state = saved["state"]
        data.shift, data.scale = state["shift"], state["scale"]
        rng.seed(int(state["samples"]))
        torch.manual_seed(int(state["samples"]))
    teacher = None
    if args.distil:
        trainee.load_state_dict(averaged.state_dict())
        teacher = copy.deepcopy(averaged)
    run = trainee if args.no_compile else compiled(trainee)
    run_teacher = teacher if args.no_compile or teacher is None else compiled(teacher)
    print(
        f"{sum(p.numel() for p in trainee.parameters()) / 1e6:.1f} M parameters, resuming at {state['samples']:.0f}",
        flush=True,
    )

    ready: queue.Queue[Batch] = queue.Queue(maxsize=4)
    threading.Thread(target=prepare, args=(data, rng, tokenizer, args.batch, ready), daemon=True).start()
    start = last_print = last_save = time.monotonic()
    first, smooth, naming, step = state["samples"], 0.0, 10.0, 0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        warm = min(1.0, (step + 1) / 300)
        lr = warm * (args.final_lr + (args.lr - args.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))
        latents, grid, said, answers, encoded = ready.get()
        length = encoded.input_ids.shape[1]
        image_ids, caption_ids = positions(grid, length)
        token_padding = torch.arange(TOKENS) >= grid[0] * grid[1]
        ropes = rope(trainee.transformer, image_ids), rope(trainee.transformer, caption_ids)
        noise = torch.randn_like(latents)
        sigma = draw_sigma(len(latents))
        mixed = torch.lerp(latents, noise, sigma[:, None, None])
        target = latents - noise
        padding = encoded.attention_mask == 0
        with autocast():
            if teacher is not None and run_teacher is not None:
                empty = tokenizer(
                    [tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)] * len(said),
                    padding="max_length", max_length=length, return_tensors="pt",
                )  # fmt: skip
                with torch.no_grad():
                    with_text, _ = run_teacher(mixed, token_padding, 1 - sigma, encoded.input_ids, padding, *ropes)
                    without, _ = run_teacher(
                        mixed, token_padding, 1 - sigma, empty.input_ids, empty.attention_mask == 0, *ropes
                    )
                    with_text, without = with_text.float(), without.float()
                    asked = torch.tensor([len(text) > 0 for text in said])[:, None, None]
                    target = torch.where(asked, with_text + args.distil * (with_text - without), with_text)
            out, logits = run(mixed, token_padding, 1 - sigma, encoded.input_ids, padding, *ropes)
            loss = (out.float() - target)[:, ~token_padding].square().mean()
        named = sum(F.cross_entropy(each.float(), answers[:, i]) for i, each in enumerate(logits))
        (loss + LABEL_WEIGHT * named).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step(lr)
        step += 1
        state["samples"] += len(latents)
        decay = min(
            0.999 if not args.distil else 0.998,
            (state["samples"] / args.batch + 1) / (state["samples"] / args.batch + 10),
        )
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(trainee.parameters()), 1 - decay)
        naming = naming * 0.99 + 0.01 * float(named)
        smooth = loss.item() if smooth == 0 else 0.99 * smooth + 0.01 * loss.item()
        now = time.monotonic()
        if now - last_print > 30:
            last_print = now
            rate = (state["samples"] - first) / (now - start)
            figures = f"loss {smooth:.4f} labels {naming:.3f} lr {lr:.1e}"
            print(f"{done:.3f} samples {state['samples']:.0f} {rate:.0f}/s {figures}", flush=True)
        if now - last_save > 120:
            last_save = now
            save(args.out, trainee, averaged, optimizer, state)
            data.look()
    save(args.out, trainee, averaged, optimizer, state)


if __name__ == "__main__":
    main()
