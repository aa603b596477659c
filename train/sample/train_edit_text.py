"""First stage of the edit model: its text encoder learns what instructions say and how the things they name look.

From the words alone, the first token behind an instruction names operation, thing and colour, and each of the four
after it says how a quarter of the new thing looks (as numbers: principal components of its latents); so the
transformer, which is trained next on these words as they are, finds appearances and does not have to learn 351 of them
by their names. From the picture, its four tokens name the background and a thing. The heads for all this are not
shipped. Resumes.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from edit_networks import PREFIX, SUFFIX, SUFFIX_TOKENS, TEXT_WIDTH, build_text_encoder, picture_prompt, words_of
from edit_pool import Pool, pack
from edit_scenes import NO_THING, OPERATIONS, Edit, instruction
from flow_training import Optimizers, autocast
from scenes import COLOURS, sprites
from torch import Tensor, nn
from transformers import Qwen2Tokenizer

BANDS = SUFFIX_TOKENS - 1
CODE = 128
GROUND = "gray"
LABELS = (len(OPERATIONS), len(sprites()) + 1, len(sprites()) + 1, len(COLOURS) + 1)
SEEN_LABELS = (len(COLOURS), len(sprites()))
WITHOUT_NEW = 0.2
PICTURE_AT = slice(6, 10)  # where the picture's tokens stand


def appearance_codes(pool: Pool) -> Tensor:
    """Each sprite's latents in four bands, less the bare background's, CODE numbers each: (sprites, BANDS, CODE)."""
    rows = [pool.row.get((s, GROUND, "middle")) for s in range(len(sprites()))]
    others = [
        next(r for (s, _, where), r in pool.row.items() if s == i and where == "middle") for i in range(len(rows))
    ]
    grounds = {r: ground for (s, ground, where), r in pool.row.items() if where == "middle"}
    codes = []
    for index, row in enumerate(rows):
        at = others[index] if row is None else row
        ground = grounds[at]
        blank = pool.row[NO_THING, ground, str(pool.shade_of[index, ground])]
        codes.append(pool.normalised(pool.latents[at : at + 1]) - pool.normalised(pool.latents[blank : blank + 1]))
    bands = pack(torch.cat(codes)).unflatten(1, (BANDS, -1)).flatten(2)  # (sprites, BANDS, 1024)
    found = []
    for band in bands.unbind(1):
        centred = band - band.mean(0)
        u, s, _ = torch.linalg.svd(centred, full_matrices=False)
        found.append(u[:, :CODE] * s[:CODE])
    made = torch.stack(found, 1)
    return made / made.square().mean().sqrt()


class TextTrainee(nn.Module):
    """The encoder and the heads it is taught through."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__()
        self.encoder = build_text_encoder(tokenizer)
        self.heads = nn.ModuleDict(
            {
                "labels": nn.ModuleList(nn.Linear(TEXT_WIDTH, n) for n in LABELS),
                "seen": nn.ModuleList(nn.Linear(TEXT_WIDTH, n) for n in SEEN_LABELS),
                "looks": nn.ModuleList(nn.Linear(TEXT_WIDTH, CODE) for _ in range(BANDS)),
            }
        )


def labels(edits: list[Edit], texts: list[str]) -> Tensor:
    """Operation, new thing, old thing if it is named, colour: (B, 4)."""
    grounds, none = list(COLOURS), len(sprites())
    rows = []
    for edit, text in zip(edits, texts, strict=True):
        named = edit.old != NO_THING and any(
            n in text for language in ("en", "zh") for n in sprites()[edit.old][language]
        )
        rows.append(
            (
                OPERATIONS.index(edit.operation),
                none if edit.new == NO_THING else edit.new,
                edit.old if named else none,
                len(grounds) if edit.colour is None else grounds.index(edit.colour),
            )
        )
    return torch.tensor(rows)


def encode_texts(tokenizer: Qwen2Tokenizer, texts: list[str], multiple: int = 8) -> tuple[Tensor, Tensor]:
    """Ids of what follows the prefix, (B, L), padded on the right to a multiple, and how many are real, (B,)."""
    encoded = [tokenizer(picture_prompt() + text + SUFFIX).input_ids for text in texts]
    length = -(-max(map(len, encoded)) // multiple) * multiple
    ids = torch.full((len(texts), length), tokenizer.pad_token_id)
    for row, found in zip(ids, encoded, strict=True):
        row[: len(found)] = torch.tensor(found)
    return ids, torch.tensor([len(e) for e in encoded])


def draw(pool: Pool, rng: random.Random) -> Edit:
    """A training edit, mostly one with a new thing: names are what takes long to learn."""
    while True:
        edit = pool.draw(rng)
        if edit.new != NO_THING or rng.random() < WITHOUT_NEW:
            return edit


def main() -> None:
    """Trains, printing a line every half minute and saving every two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    pool = Pool(args.pool)
    tokenizer = Qwen2Tokenizer.from_pretrained(args.tokenizer)
    codes = appearance_codes(pool)
    trainee = TextTrainee(tokenizer)
    samples = 0
    optimizer = Optimizers(trainee, args.lr, heads=trainee.heads)
    file = args.out / "training.pt"
    if file.exists():
        saved = torch.load(file, weights_only=True)
        trainee.load_state_dict(saved["model"])
        optimizer.restore(saved["optimizer"])
        samples = saved["samples"]
        rng.seed(args.seed + samples)
    args.out.mkdir(parents=True, exist_ok=True)
    prefix = torch.tensor(tokenizer(PREFIX).input_ids)
    print(f"{sum(p.numel() for p in trainee.encoder.parameters()) / 1e6:.2f} M parameters", flush=True)
    start = last_print = last_save = time.monotonic()
    first, step, smooth = samples, 0, np.zeros(7)
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        lr = args.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        edits = [draw(pool, rng) for _ in range(args.batch)]
        small = torch.from_numpy(np.stack([pool.picture(e.before, e)[1] for e in edits]))
        texts = [instruction(rng, e, rng.choice(("en", "zh"))) for e in edits]
        ids, lengths = encode_texts(tokenizer, texts)
        answers = labels(edits, texts)
        with autocast():
            words = words_of(trainee.encoder, prefix, ids, small).float()  # (B, L, width)
        here = torch.arange(len(words))[:, None], lengths[:, None] - SUFFIX_TOKENS + torch.arange(SUFFIX_TOKENS)
        ends = words[here]  # (B, SUFFIX_TOKENS, width)
        named = [F.cross_entropy(h(ends[:, 0]), answers[:, i]) for i, h in enumerate(trainee.heads["labels"])]
        fresh = torch.tensor([e.new for e in edits])
        made = torch.stack([h(ends[:, 1 + i]) for i, h in enumerate(trainee.heads["looks"])], 1)
        wanted = torch.where(fresh[:, None, None] >= 0, codes[fresh.clamp(min=0)], 0.0)
        looks = (made - wanted).square().mean() / (fresh >= 0).float().mean().clamp(min=0.1)
        shown = words[:, PICTURE_AT].mean(1)
        truth = torch.tensor(
            [(list(COLOURS).index(e.before.background), e.before.things[0] if e.before.things else -100) for e in edits]
        )
        seen = [F.cross_entropy(h(shown), truth[:, i]) for i, h in enumerate(trainee.heads["seen"])]
        (0.3 * sum(named) + 2 * looks + 0.1 * sum(seen)).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 2.0)
        optimizer.step(lr)
        step += 1
        samples += len(edits)
        now = torch.stack([*named, looks, *seen]).detach().numpy()
        smooth = now if step == 1 else 0.97 * smooth + 0.03 * now
        if time.monotonic() - last_print > 30:
            last_print = time.monotonic()
            rate = (samples - first) / (last_print - start)
            print(f"{done:.2f} samples {samples} {rate:.0f}/s {np.array2string(smooth, precision=3)}", flush=True)
        if time.monotonic() - last_save > 120:
            last_save = time.monotonic()
            save(file, trainee, optimizer, samples)
    save(file, trainee, optimizer, samples)
    (args.out / "state.json").write_text(json.dumps({"samples": samples}))


def save(file: Path, trainee: TextTrainee, optimizer: Optimizers, samples: int) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(".tmp")
    torch.save({"model": trainee.state_dict(), "optimizer": optimizer.state(), "samples": samples}, partial)
    partial.replace(file)


if __name__ == "__main__":
    main()
