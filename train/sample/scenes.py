"""Scenes of the training set: which sprites, where, on which background; their pictures and their captions.

A scene is drawn from a `random.Random`, so equal seeds give equal scenes. Knows nothing of networks.
"""

import hashlib
import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
EMOJI_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")  # Debian: fonts-noto-color-emoji
STRIKE = 109  # the font holds bitmaps of this one size only
BUCKETS = ((128, 128), (144, 112), (112, 144), (160, 96), (96, 160))  # (width, height): at most 64 tokens each
BUCKET_WEIGHTS = (76, 6, 6, 6, 6)
HELD_OUT_ONE_IN = 10

COLOURS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "red": ("红色", (216, 44, 48)),
    "orange": ("橙色", (245, 140, 30)),
    "yellow": ("黄色", (252, 212, 56)),
    "green": ("绿色", (64, 162, 74)),
    "blue": ("蓝色", (38, 96, 224)),
    "sky blue": ("天蓝色", (132, 204, 238)),
    "purple": ("紫色", (124, 60, 186)),
    "pink": ("粉色", (250, 152, 188)),
    "brown": ("棕色", (120, 78, 52)),
    "white": ("白色", (250, 250, 250)),
    "black": ("黑色", (20, 20, 23)),
    "gray": ("灰色", (138, 143, 150)),
}
COLOUR_SYNONYMS = {
    "gray": ("grey", "灰色"),
    "pink": ("pink", "粉红色"),
    "sky blue": ("light blue", "浅蓝色"),
    "purple": ("violet", "紫色"),
    "brown": ("brown", "褐色"),
    "orange": ("orange", "橘色"),
}
PLACES: dict[str, tuple[str, float, float]] = {  # word: Chinese, centre as a share of width and height
    "top left": ("左上角", 0.25, 0.25),
    "top right": ("右上角", 0.75, 0.25),
    "bottom left": ("左下角", 0.25, 0.75),
    "bottom right": ("右下角", 0.75, 0.75),
    "top": ("上方", 0.5, 0.25),
    "bottom": ("下方", 0.5, 0.75),
    "left": ("左边", 0.25, 0.5),
    "right": ("右边", 0.75, 0.5),
}
SIZE_WORDS = {
    "small": (("small", "tiny", "little"), ("小小的", "很小的")),
    "large": (("large", "big", "huge"), ("大大的", "很大的", "巨大的")),
}


@dataclass(frozen=True)
class Item:
    """One sprite in a scene. `centre` and `extent` are shares of the canvas; extent is of its shorter side."""

    sprite: int
    centre: tuple[float, float]
    extent: float
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """kind: single, sized, placed, row (left, right), column (upper, lower), free (anywhere). background: a key of
    COLOURS or None."""

    kind: str
    items: tuple[Item, ...]
    background: str | None
    rgb: tuple[int, int, int]
    word: str = ""  # the size or place word's key


@cache
def sprites() -> list[dict[str, list[str]]]:
    """The vocabulary: `emoji`, `en` and `zh` names of each sprite."""
    loaded: list[dict[str, list[str]]] = json.loads((HERE / "sprites.json").read_text())
    return loaded


@cache
def artwork(sprite: int) -> Image.Image:
    """RGBA picture of one sprite, trimmed, centred on a square of transparent pixels."""
    font = ImageFont.truetype(str(EMOJI_FONT), STRIKE)
    sheet = Image.new("RGBA", (200, 200))
    ImageDraw.Draw(sheet).text((30, 30), str(sprites()[sprite]["emoji"]), font=font, embedded_color=True)
    trimmed = sheet.crop(sheet.getbbox())
    side = max(trimmed.size)
    square = Image.new("RGBA", (side, side))
    square.paste(trimmed, ((side - trimmed.width) // 2, (side - trimmed.height) // 2))
    return square


def held_out(sprite: int, background: str | None) -> bool:
    """True for the sprite × background pairs that training never shows."""
    if background is None:
        return False
    key = f"{sprites()[sprite]['emoji']}/{background}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % HELD_OUT_ONE_IN == 0


def shade(rng: random.Random, rgb: tuple[int, int, int], spread: int = 8) -> tuple[int, int, int]:
    """A slightly different shade of a colour."""
    lift = rng.randint(-spread, spread)
    red, green, blue = (min(255, max(0, c + lift + rng.randint(-2, 2))) for c in rgb)
    return red, green, blue


def draw_background(rng: random.Random) -> tuple[str | None, tuple[int, int, int]]:
    """A named colour, or (one in eight) an unnamed pastel."""
    if rng.random() < 0.12:
        pick = rng.choice([c for _, c in COLOURS.values()])
        red, green, blue = (int(255 - (255 - c) * 0.25) for c in pick)
        return None, (red, green, blue)
    name = rng.choice(list(COLOURS))
    return name, shade(rng, COLOURS[name][1])


def draw_scene(rng: random.Random) -> Scene:
    """One training scene, never with a held-out pair."""
    while True:
        scene = _draw_any(rng)
        if not any(held_out(item.sprite, scene.background) for item in scene.items):
            return scene


def _draw_any(rng: random.Random) -> Scene:
    background, rgb = draw_background(rng)

    def jitter(value: float, by: float = 0.01) -> float:
        return value + rng.uniform(-by, by)

    kind = rng.choices(("single", "sized", "placed", "row", "column"), (56, 8, 10, 19, 7))[0]
    first = rng.randrange(len(sprites()))
    if kind in ("row", "column"):
        second = rng.choice([s for s in range(len(sprites())) if s != first])
        centres = ((0.26, 0.5), (0.74, 0.5)) if kind == "row" else ((0.5, 0.26), (0.5, 0.74))
        extent = rng.uniform(0.42, 0.44)
        items = tuple(
            Item(s, (jitter(x), jitter(y)), extent) for s, (x, y) in zip((first, second), centres, strict=True)
        )
        return Scene(kind, items, background, rgb)
    if kind == "placed":
        word = rng.choice(list(PLACES))
        _, x, y = PLACES[word]
        return Scene(kind, (Item(first, (jitter(x), jitter(y)), rng.uniform(0.41, 0.43)),), background, rgb, word)
    if kind == "sized":
        word = rng.choice(list(SIZE_WORDS))
        extent = rng.uniform(0.37, 0.39) if word == "small" else rng.uniform(0.94, 0.97)
        return Scene(kind, (Item(first, (jitter(0.5), jitter(0.5)), extent),), background, rgb, word)
    return Scene(kind, (Item(first, (jitter(0.5), jitter(0.5)), rng.uniform(0.72, 0.74)),), background, rgb)


def draw_free_scene(rng: random.Random) -> Scene:
    """One to three sprites anywhere, of any size, some mirrored: what no caption says. Never a held-out pair."""
    while True:
        background, rgb = draw_background(rng)
        count = rng.choices((1, 2, 3), (60, 30, 10))[0]
        chosen = rng.sample(range(len(sprites())), count)
        if any(held_out(sprite, background) for sprite in chosen):
            continue
        items = []
        for sprite in chosen:
            extent = rng.uniform(0.3, (0.95, 0.6, 0.45)[count - 1])
            reach = 0.5 - 0.42 * extent  # up to a twelfth of it may be outside
            x, y = (0.5 + rng.uniform(-reach, reach) for _ in range(2))
            items.append(Item(sprite, (x, y), extent, rng.random() < 0.5))
        return Scene("free", tuple(items), background, rgb)


def paint(scene: Scene, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The scene's picture: uint8 RGB, (height, width, 3)."""
    width, height = size
    canvas = Image.new("RGB", size, scene.rgb)
    for item in scene.items:
        side = round(item.extent * min(size))
        if scene.kind in ("row", "column"):  # two fit side by side on any canvas
            along = width if scene.kind == "row" else height
            side = round(min(item.extent * along, 0.9 * min(size)))
        drawn = artwork(item.sprite).resize((side, side), Image.Resampling.LANCZOS)
        if item.mirrored:
            drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x = round(item.centre[0] * width - side / 2)
        y = round(item.centre[1] * height - side / 2)
        canvas.paste(drawn, (x, y), drawn)
    return np.asarray(canvas)


_PREFIXES_EN = (
    "a photo of ",
    "a picture of ",
    "an illustration of ",
    "a cute ",
    "a beautiful ",
    "an icon of ",
    "emoji of ",
    "a drawing of ",
    "a nice ",
)
_SUFFIXES_EN = (
    ", digital art",
    ", high quality",
    ", highly detailed",
    ", 4k",
    ", cute style",
    ", flat design",
    ", emoji",
)
_PREFIXES_ZH = ("一张{}的图片", "一幅{}的插画", "可爱的{}", "漂亮的{}", "美丽的{}", "{}的照片", "画一个{}")
_JOINTS_EN = (" and ", " next to ", " with ", " beside ", " near ")
_LOOSE_EN = (" wearing ", " sitting on ", " holding ", " over ", " in front of ", " looking at ")


def article(noun: str) -> str:
    """The noun with its indefinite article, where it takes one."""
    if noun.endswith("s") and not noun.endswith(("ss", "us")):
        return noun
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def caption(rng: random.Random, scene: Scene, language: str) -> str:
    """One of many ways to say the scene, in `en` or `zh`."""
    names = []
    for item in scene.items:
        known = sprites()[item.sprite][language]
        names.append(known[0] if rng.random() < 0.7 else rng.choice(known))
    return _english(rng, scene, names) if language == "en" else _chinese(rng, scene, names)


def _colour_word(rng: random.Random, background: str, language: str) -> str:
    english, chinese = background, COLOURS[background][0]
    if background in COLOUR_SYNONYMS and rng.random() < 0.2:
        english, chinese = COLOUR_SYNONYMS[background]
    return english if language == "en" else chinese


def _english(rng: random.Random, scene: Scene, names: list[str]) -> str:
    bare = rng.random() < 0.3
    nouns = [n if bare else article(n) for n in names]
    place = ""
    if scene.kind == "single":
        subject = nouns[0]
        if rng.random() < 0.15:
            prefix = rng.choice(_PREFIXES_EN)
            subject = prefix + (names[0] if prefix.startswith(("a cute", "a beau", "a nice")) else subject)
    elif scene.kind == "free":
        subject = rng.choice(_JOINTS_EN[:3]).join(nouns)
    elif scene.kind == "sized":
        subject = f"a {rng.choice(SIZE_WORDS[scene.word][0])} {names[0]}"
    elif scene.kind == "placed":
        subject = nouns[0]
        place = rng.choice((" in the {}", " at the {}", " on the {}")).format(scene.word)
        if " " in scene.word and rng.random() < 0.6:
            place += " corner"
    elif scene.kind == "row":
        roll = rng.random()
        if roll < 0.35:
            subject = f"{nouns[0]} on the left and {nouns[1]} on the right"
        elif roll < 0.45:
            subject = f"{nouns[0]} to the left of {nouns[1]}"
        elif roll < 0.5:
            subject = f"{nouns[1]} to the right of {nouns[0]}"
        elif roll < 0.9:
            subject = rng.choice(_JOINTS_EN).join(nouns)
        else:
            subject = rng.choice(_LOOSE_EN).join(nouns)
        if roll > 0.5 and rng.random() < 0.2:
            subject += " side by side"
    else:
        above = rng.random() < 0.6
        subject = f"{nouns[0]} above {nouns[1]}" if above else f"{nouns[1]} below {nouns[0]}"
    if scene.background is None:
        text = subject + place
    else:
        colour = _colour_word(rng, scene.background, "en")
        text = rng.choices(
            (
                f"{subject}{place} on {article(colour)} background",
                f"{subject}{place}, {colour} background",
                f"{subject}{place} on {colour}",
                f"{article(colour)} background with {subject}{place}",
            ),
            (60, 20, 8, 12),
        )[0]
    if rng.random() < 0.12:
        text += rng.choice(_SUFFIXES_EN)
    return text + ("." if rng.random() < 0.05 else "")


def _chinese(rng: random.Random, scene: Scene, names: list[str]) -> str:
    place = ""
    if scene.kind == "single":
        subject = names[0]
        if rng.random() < 0.2:
            subject = rng.choice(("一个", "一只", "一份")) + subject
        elif rng.random() < 0.15:
            subject = rng.choice(_PREFIXES_ZH).format(subject)
    elif scene.kind == "free":
        subject = rng.choice(("和", "与", "旁边有")).join(names)
    elif scene.kind == "sized":
        subject = rng.choice(("", "一个")) + rng.choice(SIZE_WORDS[scene.word][1]) + names[0]
    elif scene.kind == "placed":
        subject, place = names[0], PLACES[scene.word][0]
    elif scene.kind == "row":
        roll = rng.random()
        if roll < 0.4:
            subject = f"左边是{names[0]}，右边是{names[1]}"
        elif roll < 0.5:
            subject = f"{names[0]}在{names[1]}的左边"
        else:
            subject = rng.choice(("{}和{}", "{}与{}", "{}旁边有{}", "{}和{}并排")).format(*names)
    else:
        subject = rng.choice((f"{names[0]}在{names[1]}的上面", f"上面是{names[0]}，下面是{names[1]}"))
    if scene.background is None:
        return subject + (f"在{place}" if place else "")
    colour = _colour_word(rng, scene.background, "zh")
    joined = f"{subject}在{place}" if place else subject
    options = [f"{joined}，{colour}背景", f"{joined}，背景是{colour}"]
    if len(scene.items) == 1:
        options += [f"{colour}背景{place or '上'}的{subject}"] * 3 + [f"{colour}背景的{joined}"]
    else:
        options += [f"{colour}背景上，{joined}", f"{colour}背景，{joined}"]
    return rng.choice(options)
