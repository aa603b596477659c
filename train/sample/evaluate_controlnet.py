"""Scores the sample model's ControlNet: do its pictures have the edges that were asked for, and still the right thing?

On held-out pairs of thing and background, once where training always had the thing and once anywhere, at any size,
perhaps mirrored (`draw_free_scene`'s ranges). Edge overlap: F1 of the picture's canny edges against the control map, a
pixel counting as found within 2 pixels; with the ControlNet and, same prompt and seed, without. Right sprite: as in
`evaluate.py` in the middle; anywhere, the picture is cut and resized to where the thing was asked for first. Nine
steps, guidance 0.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImageControlNetModel, ZImageControlNetPipeline, ZImagePipeline
from evaluate import SIDE, Judge, prompts
from numpy.typing import NDArray
from PIL import Image
from scenes import COLOURS, Item, Scene, paint

from danqing.engine.edges import canny

NEAR = 2
BATCH = 16
MIDDLE = 0.73


def grown(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True within NEAR pixels (in both directions) of an edge."""
    framed = np.pad(edges, NEAR)
    height, width = edges.shape
    shifts = range(2 * NEAR + 1)
    return np.any([framed[y : y + height, x : x + width] for y in shifts for x in shifts], axis=0)


def overlap(made: NDArray[np.uint8], asked: NDArray[np.uint8]) -> float:
    """F1 of two edge maps."""
    one, other = made > 0, asked > 0
    if not one.any() or not other.any():
        return 0.0
    precision, recall = (one & grown(other)).sum() / one.sum(), (other & grown(one)).sum() / other.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def straightened(picture: Image.Image, item: Item, background: tuple[int, int, int]) -> Image.Image:
    """The thing moved to the middle at its usual size, unmirrored, so that `Judge` can look at it."""
    reach = item.extent / MIDDLE * SIDE / 2
    x, y = item.centre[0] * SIDE, item.centre[1] * SIDE
    sheet = Image.new("RGB", (3 * SIDE, 3 * SIDE), background)
    sheet.paste(picture, (SIDE, SIDE))
    box = (SIDE + x - reach, SIDE + y - reach, SIDE + x + reach, SIDE + y + reach)
    cut = sheet.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if item.mirrored else cut


def scenes_of(asked: list[tuple[int, str, str]], anywhere: bool) -> list[Scene]:
    """One scene a prompt."""
    rng = random.Random(77)
    found = []
    for sprite, background, _ in asked:
        item = Item(sprite, (0.5, 0.5), MIDDLE)
        if anywhere:
            extent = rng.uniform(0.35, 0.8)
            reach = 0.5 - 0.45 * extent
            x, y = (0.5 + rng.uniform(-reach, reach) for _ in range(2))
            item = Item(sprite, (x, y), extent, rng.random() < 0.5)
        found.append(Scene("free", (item,), background, COLOURS[background][1]))
    return found


def main() -> None:
    """Prints the scores; writes them as JSON and the first pictures as a sheet when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="the sample checkpoint")
    parser.add_argument("controlnet", type=Path)
    parser.add_argument("--limit", type=int, default=128, help="scenes a language")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"])
    parser.add_argument("--scale", type=float, default=1.0, help="controlnet_conditioning_scale")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="edge map, without, with: a column each")
    args = parser.parse_args()
    plain = ZImagePipeline.from_pretrained(args.checkpoint, dtype=torch.float32)
    control = ZImageControlNetModel.from_pretrained(args.controlnet, dtype=torch.float32)
    controlled = ZImageControlNetPipeline(**plain.components, controlnet=control)
    for pipeline in (plain, controlled):
        pipeline.set_progress_bar_config(disable=True)
    judge = Judge()
    scores: dict[str, dict[str, float]] = {}
    columns: list[Image.Image] = []
    for where in ("middle", "anywhere"):
        total, count = np.zeros(5), 0
        for language in args.languages:
            asked = prompts(language, args.limit)
            drawn = scenes_of(asked, where == "anywhere")
            for first in range(0, len(asked), BATCH):
                group, scenes = asked[first : first + BATCH], drawn[first : first + BATCH]
                maps = [canny(paint(scene, (SIDE, SIDE))) for scene in scenes]

                def call(
                    pipeline: ZImagePipeline,
                    first: int = first,
                    said: tuple[str, ...] = tuple(p for _, _, p in group),
                    **more: object,
                ) -> list[Image.Image]:
                    return pipeline(
                        height=SIDE, width=SIDE, num_inference_steps=args.steps, guidance_scale=0.0,
                        max_sequence_length=64, prompt=list(said),
                        generator=[torch.Generator().manual_seed(first + i) for i in range(len(said))], **more,
                    ).images  # fmt: skip

                without = call(plain)
                # One control picture a prompt must be a tensor, which the pipeline takes as it is: -1 to 1.
                stacked = torch.from_numpy(np.stack(maps)).float()[:, None].expand(-1, 3, -1, -1) / 127.5 - 1
                with_it = call(controlled, control_image=stacked, controlnet_conditioning_scale=args.scale)
                for (sprite, background, _), scene, edges, one, other in zip(
                    group, scenes, maps, without, with_it, strict=True
                ):
                    f1 = [overlap(canny(np.asarray(p)), edges) for p in (one, other)]
                    looked = straightened(other, scene.items[0], COLOURS[background][1])
                    ranking = judge.ranking(np.asarray(looked, np.float32))
                    alone = judge.ranking(np.asarray(one, np.float32))
                    kept = judge.background(np.asarray(other, np.float32)) == background
                    total += (*f1, ranking[0] == sprite, alone[0] == sprite, kept)
                    count += 1
                    if len(columns) < 16 or (where == "anywhere" and len(columns) < 32):
                        column = Image.new("RGB", (SIDE, 3 * SIDE))
                        for row, p in enumerate((Image.fromarray(edges), one, other)):
                            column.paste(p, (0, row * SIDE))
                        columns.append(column)
        mean = total / count
        names = ("edges_without", "edges_with", "sprite_with", "sprite_without", "background_with")
        scores[where] = {"scenes": count, **{n: round(float(v), 4) for n, v in zip(names, mean, strict=True)}}
        print(where, scores[where], flush=True)
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "scale": args.scale, **scores}, indent=2) + "\n")
    if args.sheet:
        sheet = Image.new("RGB", (16 * SIDE, -(-len(columns) // 16) * 3 * SIDE))
        for i, column in enumerate(columns):
            sheet.paste(column, (i % 16 * SIDE, i // 16 * 3 * SIDE))
        sheet.save(args.sheet)


if __name__ == "__main__":
    main()
