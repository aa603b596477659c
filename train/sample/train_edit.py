"""Second stage of the edit model: its transformer, on edits put together from `edit_pool.py`'s latents.

Flow matching as in `train_text2img.py`; the words come from the text encoder of `train_edit_text.py`, which stays as it
is. Resumes from `--out`. Several processes of one thread each (`--processes`) share the work: each has batches of its
own, and their gradients are averaged.
"""

import argparse
import copy
import math
import queue
import random
import socket
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
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
UNCONDITIONAL, UNSAID = 0.06, " "  # share of edits whose instruction is kept back, and Qwen's negative prompt
NEARLY_NOISE = 0.45  # share of pictures above noise level 0.9, where all must come from source and words
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def prepare(pool: Pool, rng: random.Random, tokenizer: Qwen2Tokenizer, count: int, ready: queue.Queue[Batch]) -> None:
    """Puts batches into `ready` for ever (in a thread)."""
    while True:
        edits, before, after, small = pool.batch(rng, count)
        texts = [
            UNSAID if rng.random() < UNCONDITIONAL else instruction(rng, edit, rng.choice(("en", "zh")))
            for edit in edits
        ]
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


class Averaging:
    """The gradients of one model in several processes, averaged in place."""

    def __init__(self, model: nn.Module, processes: int) -> None:
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.processes = processes

    def __call__(self) -> None:
        """After `backward`; every process must call it."""
        if self.processes == 1:
            return
        gradients = [p.grad for p in self.trained if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        parts = flat.div_(self.processes).split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def agreed(self, done: float) -> float:
        """The first process's share of the time, so that all stop at one step."""
        if self.processes == 1:
            return done
        told = torch.tensor([done])
        dist.broadcast(told, 0)
        return told.item()


def arguments() -> argparse.Namespace:
    """What is asked for."""
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
    parser.add_argument("--processes", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Trains in as many processes as asked for, printing a line every half minute and saving every two."""
    args = arguments()
    if args.processes == 1:
        train(0, args)
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.spawn(train, (args, port), nprocs=args.processes)


def train(rank: int, args: argparse.Namespace, port: int = 0) -> None:
    """One process's share. rank: 0 prints and saves."""
    if args.processes > 1:
        torch.set_num_threads(1)
        meeting = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=args.processes)
    torch.manual_seed(args.seed)  # every process begins with the same weights
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
    torch.manual_seed(args.seed + samples + rank)
    ropes = edit_ropes(model.transformer, WORDS)
    average = Averaging(model, args.processes)
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, resuming at {samples}", flush=True)
    run = model if args.no_compile else compiled(model)

    ready: queue.Queue[Batch] = queue.Queue(maxsize=4)
    feed = random.Random(f"{args.seed + samples} {rank}")
    threading.Thread(target=prepare, args=(pool, feed, tokenizer, args.batch, ready), daemon=True).start()
    start = last_print = last_save = time.monotonic()
    first, step, smooth = samples, 0, torch.zeros(2)
    while (done := average.agreed((time.monotonic() - start) / (60 * args.minutes))) < 1:
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
        average()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step += 1
        optimizer.step(lr * min(1.0, step / 100))
        samples += len(latents) * args.processes
        steps = samples / (args.batch * args.processes)
        decay = min(0.998, (steps + 1) / (steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        nearly = sigma > 0.9
        now = torch.stack([each.mean(), each[nearly].mean() if nearly.any() else smooth[1]]).detach()
        smooth = now if step == 1 else 0.98 * smooth + 0.02 * now
        if rank == 0 and time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            rate = (samples - first) / (last_print - start)
            figures = f"loss {smooth[0]:.4f}, at almost pure noise {smooth[1]:.4f}, lr {lr:.1e}"
            print(f"{done:.3f} samples {samples} {rate:.1f}/s {figures}", flush=True)
        if rank == 0 and time.monotonic() - last_save > 120:
            last_save = time.monotonic()
            save(args.out, model, averaged, optimizer, samples)
    if rank == 0:
        save(args.out, model, averaged, optimizer, samples)
    if args.processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
