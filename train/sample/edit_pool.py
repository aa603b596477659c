"""The pictures that edits are put together from, as latents of the sample model's own autoencoder, encoded once.

Per thing and background: alone in the middle, and filling the left half; the right half is the left one moved by four
tokens, and two things side by side are two halves. So a few thousand pictures give every edit there is. Scenes with
things anywhere, of any size, are there on several backgrounds each, for what a background is when it is changed.
`python edit_pool.py` writes the pool.
"""

import argparse
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cache_latents import BATCH
from diffusers import AutoencoderKL
from edit_networks import CONDITION_SIDE
from edit_scenes import NO_THING, Edit, View, allowed, draw_edit
from flow_training import autocast
from PIL import Image
from scenes import COLOURS, Scene, draw_free_scene, held_out, paint, shade, sprites
from torch import Tensor

SHADES = 3  # of each background; the first is the named colour itself
SIDE = 128
FREE_SCENES, FREE_GROUNDS = 2400, 3
FREE_SHARE = 0.13  # of training edits
Latents = np.ndarray  # float16 (16, 16, 16)


def _key(sprite: int, ground: str, where: str) -> tuple[int, str, str]:
    return sprite, ground, where


class Pool:
    """shade_of: which shade of its background a thing was drawn on. Blank pictures are there in every shade."""

    def __init__(self, file: Path) -> None:
        stored = np.load(file)
        about = pickle.loads(stored["about"].tobytes())
        self.latents: np.ndarray = stored["latents"]
        self.small: np.ndarray = stored["small"]
        self.row: dict[tuple[int, str, str], int] = about["row"]
        self.shade_of: dict[tuple[int, str], int] = about["shade_of"]
        self.free: list[dict[str, int]] = about["free"]  # rows of each scene, by background
        self.shift, self.scale = about["shift"], about["scale"]

    def draw(self, rng: random.Random) -> Edit:
        """A training edit all of whose things were drawn on the same shade, before and after."""
        if rng.random() < FREE_SHARE:
            number = rng.randrange(len(self.free))
            before, after = rng.sample(sorted(self.free[number]), 2)
            return Edit("background", View(before, free=number), View(after, free=number), colour=after)
        while True:
            edit = draw_edit(rng)
            if all(
                len({self.shade_of[s, view.background] for s in view.things}) <= 1 for view in (edit.before, edit.after)
            ) and (edit.operation == "background" or self._shade(edit.before, edit) == self._shade(edit.after, edit)):
                return edit

    def _shade(self, view: View, edit: Edit) -> int:
        things = view.things or edit.before.things or edit.after.things
        return self.shade_of[things[0], view.background]

    def picture(self, view: View, edit: Edit) -> tuple[Latents, np.ndarray]:
        """Latents (16, 16, 16) and the small picture, uint8 (56, 56, 3)."""
        if view.free is not None:
            row = self.free[view.free][view.background]
            return self.latents[row], self.small[row]
        shade_index = 0 if edit.operation == "background" and not view.things else self._shade(view, edit)
        blank = self.row[_key(NO_THING, view.background, str(shade_index))]
        if view.middle != NO_THING:
            row = self.row[_key(view.middle, view.background, "middle")]
            return self.latents[row], self.small[row]
        latents, small = self.latents[blank].copy(), self.small[blank].copy()
        half = CONDITION_SIDE // 2
        for sprite, at in ((view.left, 0), (view.right, 1)):
            if sprite != NO_THING:
                row = self.row[_key(sprite, view.background, "left")]
                latents[:, :, 8 * at : 8 * at + 8] = self.latents[row][:, :, :8]
                small[:, half * at : half * at + half] = self.small[row][:, :half]
        return latents, small

    def batch(self, rng: random.Random, count: int) -> tuple[list[Edit], Tensor, Tensor, Tensor]:
        """Edits; latents before and after (count, 16, 16, 16), of unit variance; small pictures before."""
        edits = [self.draw(rng) for _ in range(count)]
        before = [self.picture(edit.before, edit) for edit in edits]
        after = [self.picture(edit.after, edit)[0] for edit in edits]
        return (
            edits,
            self.normalised(np.stack([latents for latents, _ in before])),
            self.normalised(np.stack(after)),
            torch.from_numpy(np.stack([small for _, small in before])),
        )

    def normalised(self, latents: np.ndarray) -> Tensor:
        """Mean 0 and variance 1, roughly: float (n, 16, 16, 16)."""
        return (torch.from_numpy(latents.astype(np.float32)) - self.shift) * self.scale


def pack(x: Tensor) -> Tensor:
    """(B, 16, h, w) to tokens (B, h / 2 * w / 2, 64), as the edit pipeline packs them."""
    batch, channels, h, w = x.shape
    return x.view(batch, channels, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


Rows = dict[tuple[int, str, str], int]
Contents = tuple[Rows, dict[tuple[int, str], int], list[dict[str, int]], list[Scene]]


def scenes(rng: random.Random) -> Contents:
    """Everything the pool holds: row of each, shade of each, rows of free scenes, and the scenes to draw."""
    shades = {
        (ground, index): rgb if index == 0 else shade(rng, rgb, 10)
        for ground, (_, rgb) in COLOURS.items()
        for index in range(SHADES)
    }
    rows: Rows = {}
    shade_of: dict[tuple[int, str], int] = {}
    drawn: list[Scene] = []
    for (ground, index), rgb in shades.items():
        rows[_key(NO_THING, ground, str(index))] = len(drawn)
        drawn.append(View(ground).scene(rgb))
    for ground in COLOURS:
        for sprite in range(len(sprites())):
            if not allowed(View(ground, middle=sprite)):
                continue
            index = shade_of[sprite, ground] = rng.choices(range(SHADES), (60, 20, 20))[0]
            for where in ("middle", "left"):
                rows[_key(sprite, ground, where)] = len(drawn)
                drawn.append(View(ground, **{where: sprite}).scene(shades[ground, index]))
    free: list[dict[str, int]] = []
    while len(free) < FREE_SCENES:
        scene = draw_free_scene(rng)
        grounds = [g for g in COLOURS if not any(held_out(item.sprite, g) for item in scene.items)]
        if len(grounds) >= 2:
            chosen = rng.sample(grounds, min(FREE_GROUNDS, len(grounds)))
            free.append({ground: len(drawn) + i for i, ground in enumerate(chosen)})
            drawn += [replace(scene, background=g, rgb=shades[g, rng.randrange(SHADES)]) for g in chosen]
    return rows, shade_of, free, drawn


def main() -> None:
    """Draws and encodes everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="the sample checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="an .npz file")
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.checkpoint / "vae", dtype=torch.float32)
    vae.to(memory_format=torch.channels_last).eval()
    rows, shade_of, free, drawn = scenes(random.Random(41))
    latents = np.zeros((len(drawn), 16, SIDE // 8, SIDE // 8), np.float16)
    small = np.zeros((len(drawn), CONDITION_SIDE, CONDITION_SIDE, 3), np.uint8)
    for i in range(0, len(drawn), BATCH):
        pictures = [paint(scene, (SIDE, SIDE)) for scene in drawn[i : i + BATCH]]
        for j, picture in enumerate(pictures):
            small[i + j] = Image.fromarray(picture).resize((CONDITION_SIDE, CONDITION_SIDE), Image.Resampling.BICUBIC)
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode(), autocast():
            found = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        latents[i : i + BATCH] = found.half().numpy()
        if i % (BATCH * 20) == 0:
            print(i, len(drawn), flush=True)
    about = {
        "row": rows,
        "shade_of": shade_of,
        "free": free,
        "shift": vae.config.shift_factor,
        "scale": vae.config.scaling_factor,
    }
    np.savez(args.out, latents=latents, small=small, about=np.frombuffer(pickle.dumps(about), np.uint8))


if __name__ == "__main__":
    main()
