"""Scores the edit model on held-out pairs: the picture after an edit shows a thing on a background that training never
showed together.

Background changed: the colour asked for is nearest at the rim *and* the thing is still the nearest of all 351.
Replaced: the new thing is nearest of all *and* the background is the old one. Added and moved: the thing is nearest,
looked at in its half, on the old background. Removed: nothing differs from the old background by more than a little.
One picture each, fixed seeds, through the diffusers pipeline with the sizes of `danqing.json`.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as sizes
from edit_processor import picture_processor
from edit_scenes import NO_THING, Edit, View, instruction
from evaluate import SIDE, Judge, prompts
from evaluate_controlnet import straightened
from PIL import Image
from scenes import COLOURS, paint, sprites
from torch import Tensor

ASKED = ("background", "replace")  # what the score is of; the others are told too
OPERATIONS = (*ASKED, "remove", "add left", "add right", "move left", "move right")
BARE = 24  # of 255: mean difference of the worst 8 x 8 block from the background


def held_out_edits(operation: str, limit: int) -> list[Edit]:
    """Edits whose picture after has a held-out pair (before, for "remove")."""
    rng = random.Random(operation)
    found = []
    for sprite, ground, _ in prompts("en", limit):
        other = rng.choice([s for s in range(len(sprites())) if s != sprite])
        elsewhere = rng.choice([c for c in COLOURS if c != ground])
        alone, empty = View(ground, middle=sprite), View(ground)
        if operation == "background":
            edit = Edit(operation, View(elsewhere, middle=sprite), alone, colour=ground)
        elif operation == "replace":
            edit = Edit(operation, View(ground, middle=other), alone, new=sprite, old=other)
        elif operation == "remove":
            edit = Edit(operation, alone, empty, old=sprite)
        else:
            verb, side = operation.split()
            across = "right" if side == "left" else "left"
            if verb == "add":
                before = View(ground, **{across: other})
                edit = Edit(operation, before, View(ground, **{across: other, side: sprite}), new=sprite)
            else:
                before = View(ground, **{across: sprite})
                edit = Edit(operation, before, View(ground, **{side: sprite}), old=sprite)
        found.append(edit)
    return found


def done(judge: Judge, edit: Edit, made: Image.Image) -> tuple[bool, bool]:
    """Whether the thing is right (or gone), and the background."""
    picture = np.asarray(made, np.float32)
    ground = judge.background(picture) == edit.after.background
    if edit.operation == "remove":
        rest = np.abs(picture - np.median(picture.reshape(-1, 3), 0)).mean(-1)
        return bool(rest.reshape(16, 8, 16, 8).mean((1, 3)).max() < BARE), ground
    wanted = edit.new if edit.new != NO_THING else edit.after.things[0]
    items = edit.after.scene().items
    item = next(i for i in items if i.sprite == wanted)
    if edit.after.middle == NO_THING:
        half = made.copy()
        colour = tuple(int(v) for v in np.median(picture[:3].reshape(-1, 3), 0))
        half.paste(colour, (SIDE // 2, 0, SIDE, SIDE) if item.centre[0] < 0.5 else (0, 0, SIDE // 2, SIDE))
        picture = np.asarray(straightened(half, item, colour), np.float32)  # type: ignore[arg-type]
    return judge.ranking(picture)[0] == wanted, ground


def load(checkpoint: Path) -> QwenImageEditPlusPipeline:
    """The pipeline, made to take pictures at the sizes it was trained with, and to say which tokens are pictures."""
    pipeline = QwenImageEditPlusPipeline.from_pretrained(
        checkpoint, dtype=torch.float32, processor=picture_processor(checkpoint / "processor")
    )
    about = json.loads((checkpoint / "danqing.json").read_text())
    sizes.VAE_IMAGE_SIZE = about["reference_pixels"]
    sizes.CONDITION_IMAGE_SIZE = about["condition_pixels"]
    pipeline.set_progress_bar_config(disable=True)
    encoder, read = pipeline.text_encoder, pipeline.text_encoder.forward

    def told(input_ids: Tensor, **others: object) -> object:
        # diffusers 0.42 leaves this out, with transformers 5 (diffusers#14194); Danqing's engine does not.
        return read(input_ids=input_ids, mm_token_type_ids=(input_ids == encoder.config.image_token_id).int(), **others)

    encoder.forward = told
    return pipeline


def main() -> None:
    """Prints the scores; writes them as JSON and some pictures (before above after) as a sheet when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--limit", type=int, default=60, help="edits of an operation and language")
    parser.add_argument("--operations", nargs="+", default=list(OPERATIONS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    pipeline = load(args.checkpoint)
    judge = Judge()
    scores: dict[str, dict[str, float]] = {}
    columns: list[Image.Image] = []
    for operation in args.operations:
        for language in ("en", "zh"):
            rng = random.Random(language)
            right = np.zeros(3)
            edits = held_out_edits(operation, args.limit)
            for index, edit in enumerate(edits):
                before = Image.fromarray(paint(edit.before.scene(), (SIDE, SIDE)))
                made = pipeline(
                    image=before, prompt=instruction(rng, edit, language), height=SIDE, width=SIDE,
                    true_cfg_scale=1.0, num_inference_steps=args.steps,
                    generator=torch.Generator().manual_seed(index),
                ).images[0]  # fmt: skip
                thing, ground = done(judge, edit, made)
                right += (thing and ground, thing, ground)
                if index < 12:
                    column = Image.new("RGB", (SIDE, 2 * SIDE))
                    column.paste(before, (0, 0))
                    column.paste(made, (0, SIDE))
                    columns.append(column)
            share = right / len(edits)
            names = ("done", "thing", "background")
            scores[f"{operation}, {language}"] = {
                "edits": len(edits),
                **{n: round(float(v), 4) for n, v in zip(names, share, strict=True)},
            }
            print(operation, language, scores[f"{operation}, {language}"], flush=True)
    both = [score["done"] for key, score in scores.items() if key.split(",")[0] in ASKED]
    total = {"score": round(sum(both) / len(both), 4) if both else None, "steps": args.steps, **scores}
    print("background and replace together:", total["score"])
    if args.json:
        args.json.write_text(json.dumps(total, indent=2) + "\n")
    if args.sheet:
        sheet = Image.new("RGB", (12 * SIDE, len(columns) // 12 * 2 * SIDE))
        for i, column in enumerate(columns):
            sheet.paste(column, (i % 12 * SIDE, i // 12 * 2 * SIDE))
        sheet.save(args.sheet)


if __name__ == "__main__":
    main()
