"""Scores a checkpoint on sprite × background pairs that training never saw: right sprite, right background.

Right background: the median colour of the picture's 3-pixel rim is nearest, in CIELAB, to the colour asked for, among
all twelve. Right sprite: the picture minus its rim colour, at 32 x 32, is nearest in squared difference to the artwork
asked for among *all* sprites, each tried at 3 sizes and 9 positions. Nine steps, guidance 0, one picture a pair.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImagePipeline
from numpy.typing import NDArray
from PIL import Image
from scenes import COLOURS, article, artwork, held_out, sprites

SIDE, SMALL = 128, 32
EXTENTS = (0.68, 0.73, 0.78)
SHIFTS = (-3, 0, 3)  # pixels of 128

Array = NDArray[np.float32]


def lab(rgb: Array) -> Array:
    """CIELAB (D65) of sRGB values 0–255; last axis 3."""
    linear = np.where(rgb <= 10.31475, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1).astype(
        np.float32
    )


def rim(picture: Array) -> Array:
    """Median colour of the outermost 3 pixels of (128, 128, 3)."""
    inner = np.ones((SIDE, SIDE), bool)
    inner[3:-3, 3:-3] = False
    return np.median(picture[inner], 0)


def templates() -> tuple[Array, Array, NDArray[np.int64]]:
    """Every sprite in every pose: premultiplied colour (n, 32*32, 3), alpha (n, 32*32, 1), sprite index (n,)."""
    colours, alphas, owners = [], [], []
    for sprite in range(len(sprites())):
        for extent in EXTENTS:
            side = round(extent * SIDE)
            drawn = artwork(sprite).resize((side, side), Image.Resampling.LANCZOS)
            for dx in SHIFTS:
                for dy in SHIFTS:
                    sheet = Image.new("RGBA", (SIDE, SIDE))
                    sheet.paste(drawn, ((SIDE - side) // 2 + dx, (SIDE - side) // 2 + dy))
                    small = np.asarray(sheet.convert("RGBa").resize((SMALL, SMALL), Image.Resampling.BOX), np.float32)
                    colours.append(small[..., :3].reshape(-1, 3))
                    alphas.append(small[..., 3:].reshape(-1, 1) / 255)
                    owners.append(sprite)
    return np.stack(colours), np.stack(alphas), np.array(owners)


class Judge:
    """Nearest-sprite and nearest-colour decisions."""

    def __init__(self) -> None:
        colour, alpha, self.owner = templates()
        # |colour - alpha * ground - seen|² multiplied out: a ranking is one product, not 29 million differences.
        self.colour = colour.reshape(len(colour), -1)  # (n, 32*32*3)
        self.alpha = alpha[..., 0]  # (n, 32*32)
        self.squares = np.square(self.colour).sum(1)
        self.alpha_squares = np.square(self.alpha).sum(1)
        self.tints = (colour * alpha).sum(1)  # (n, 3)
        self.palette = lab(np.array([rgb for _, rgb in COLOURS.values()], np.float32))

    def background(self, picture: Array) -> str:
        """Name of the nearest background colour."""
        distance = np.square(self.palette - lab(rim(picture))).sum(-1)
        return list(COLOURS)[int(distance.argmin())]

    def ranking(self, picture: Array) -> list[int]:
        """Sprite indices, nearest first."""
        ground = rim(picture)
        small = np.asarray(
            Image.fromarray(picture.astype(np.uint8)).resize((SMALL, SMALL), Image.Resampling.BOX), np.float32
        )
        seen = (small - ground).reshape(-1, 3)
        distance = (
            self.squares
            + self.alpha_squares * np.square(ground).sum()
            - 2 * (self.colour @ seen.ravel())
            - 2 * (self.tints @ ground)
            + 2 * (self.alpha @ (seen @ ground))
        )  # (n,), less the sum of what was seen squared, which is the same for all
        best = np.full(len(sprites()), np.inf)
        np.minimum.at(best, self.owner, distance)
        return [int(i) for i in best.argsort()]


def prompts(language: str, limit: int) -> list[tuple[int, str, str]]:
    """(sprite, background, prompt) of held-out pairs, spread over all sprites."""
    pairs = [(s, b) for b in COLOURS for s in range(len(sprites())) if held_out(s, b)]
    pairs = pairs[:: max(1, len(pairs) // limit)][:limit] if limit else pairs
    if language == "en":
        return [(s, b, f"{article(sprites()[s]['en'][0])} on {article(b)} background") for s, b in pairs]
    return [(s, b, f"{COLOURS[b][0]}背景上的{sprites()[s]['zh'][0]}") for s, b in pairs]


def main() -> None:
    """Prints the scores; writes them as JSON and the pictures as a sheet when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--limit", type=int, default=0, help="0: every held-out pair")
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--shift", type=float)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="wrong pictures, to look at")
    args = parser.parse_args()
    pipeline = ZImagePipeline.from_pretrained(args.checkpoint, dtype=torch.float32)
    if args.shift:
        pipeline.scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config, shift=args.shift)
    pipeline.set_progress_bar_config(disable=True)
    judge = Judge()
    scores: dict[str, dict[str, float]] = {}
    wrong: list[Image.Image] = []
    for language in ("en", "zh"):
        asked = prompts(language, args.limit)
        right = np.zeros(3)
        start = time.monotonic()
        for first in range(0, len(asked), 16):
            group = asked[first : first + 16]
            made = pipeline(
                [p for _, _, p in group], height=SIDE, width=SIDE, num_inference_steps=args.steps,
                guidance_scale=args.guidance, max_sequence_length=64,
                generator=[torch.Generator().manual_seed(first + i) for i in range(len(group))],
            ).images  # fmt: skip
            for (sprite, background, _), image in zip(group, made, strict=True):
                picture = np.asarray(image, np.float32)
                order = judge.ranking(picture)
                right += (order[0] == sprite, judge.background(picture) == background, sprite in order[:5])
                if order[0] != sprite:
                    wrong.append(image)
        share = right / len(asked)
        scores[language] = {
            "pairs": len(asked),
            "sprite": round(float(share[0]), 4),
            "background": round(float(share[1]), 4),
            "sprite_top5": round(float(share[2]), 4),
        }
        print(language, scores[language], f"{time.monotonic() - start:.0f} s", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "guidance": args.guidance, **scores}, indent=2) + "\n")
    if args.sheet and wrong:
        sheet = Image.new("RGB", (12 * 130, -(-len(wrong) // 12) * 130))
        for i, image in enumerate(wrong):
            sheet.paste(image, (i % 12 * 130, i // 12 * 130))
        sheet.save(args.sheet)


if __name__ == "__main__":
    main()
