"""Edits of the sample's scenes: what is asked for, in English or Chinese, and the pictures before and after.

Pictures are named, not drawn, here: a `View` is one thing on a background (in the middle, or filling the left or right
half), two halves, nothing, or a scene with things anywhere. `edit_pool.py` has their latents. Knows nothing of
networks.
"""

import random
from dataclasses import dataclass, replace

from scenes import COLOUR_SYNONYMS, COLOURS, Item, Scene, article, held_out, sprites

OPERATIONS = ("background", "replace", "remove", "add", "add left", "add right", "move left", "move right")
SHARES = (30, 38, 8, 4, 6, 6, 4, 4)
MIDDLE, HALF = 0.73, 0.43  # extents, as in `scenes.py`
NO_THING = -1


@dataclass(frozen=True)
class View:
    """middle, left and right: sprites, or NO_THING. A thing in the middle stands alone. background: a colour's key.

    free: number of a scene of the pool with things anywhere, of which only the background is ever changed.
    """

    background: str
    middle: int = NO_THING
    left: int = NO_THING
    right: int = NO_THING
    free: int | None = None

    @property
    def things(self) -> tuple[int, ...]:
        """The sprites there are."""
        return tuple(s for s in (self.middle, self.left, self.right) if s != NO_THING)

    def scene(self, rgb: tuple[int, int, int] | None = None) -> Scene:
        """For `scenes.paint`."""
        places = ((self.middle, 0.5, MIDDLE), (self.left, 0.25, HALF), (self.right, 0.75, HALF))
        items = tuple(Item(s, (x, 0.5), extent) for s, x, extent in places if s != NO_THING)
        return Scene("free", items, self.background, rgb or COLOURS[self.background][1])


@dataclass(frozen=True)
class Edit:
    """One instruction's meaning. new: the thing that appears, or NO_THING. colour: the new background, or None."""

    operation: str
    before: View
    after: View
    new: int = NO_THING
    old: int = NO_THING
    colour: str | None = None


def allowed(view: View) -> bool:
    """False for what is kept out of training."""
    return not any(held_out(s, view.background) for s in view.things)


def draw_edit(rng: random.Random) -> Edit:
    """One training edit, never with a held-out pair of thing and background before or after."""
    while True:
        edit = _draw_any(rng)
        if allowed(edit.before) and allowed(edit.after):
            return edit


def _draw_any(rng: random.Random) -> Edit:
    operation = rng.choices(OPERATIONS, SHARES)[0]
    ground = rng.choice(list(COLOURS))
    first, second, third = rng.sample(range(len(sprites())), 3)
    alone = View(ground, middle=first)
    half = View(ground, left=first) if rng.random() < 0.5 else View(ground, right=first)
    both = View(ground, left=first, right=second)
    if operation == "background":
        before = rng.choices((alone, half, both), (75, 12, 13))[0]
        colour = rng.choice([c for c in COLOURS if c != ground])
        return Edit(operation, before, replace(before, background=colour), colour=colour)
    if operation == "replace":
        roll = rng.random()
        if roll < 0.78:
            return Edit(operation, alone, View(ground, middle=third), new=third, old=first)
        if roll < 0.88:
            after = replace(half, **{"left" if half.left != NO_THING else "right": third})
            return Edit(operation, half, after, new=third, old=first)
        old, side = rng.choice(((first, "left"), (second, "right")))
        return Edit(operation, both, replace(both, **{side: third}), new=third, old=old)
    if operation == "remove":
        if rng.random() < 0.5:
            before = rng.choice((alone, half))
            return Edit(operation, before, View(ground), old=first)
        old, side = rng.choice(((first, "left"), (second, "right")))
        return Edit(operation, both, replace(both, **{side: NO_THING}), old=old)
    if operation == "add":
        return Edit(operation, View(ground), alone, new=first)
    if operation in ("add left", "add right"):
        side, other = ("left", "right") if operation == "add left" else ("right", "left")
        before = View(ground, **{other: first}) if rng.random() < 0.7 else View(ground)
        return Edit(operation, before, replace(before, **{side: third}), new=third)
    side, other = ("left", "right") if operation == "move left" else ("right", "left")
    return Edit(operation, View(ground, **{other: first}), View(ground, **{side: first}), old=first)


_ENGLISH = {
    "background": (
        "make the background {c}",
        "make the background {c}",
        "change the background to {c}",
        "change the background color to {c}",
        "turn the background {c}",
        "set the background to {c}",
        "put it on {ac} background",
        "give it {ac} background",
        "{c} background",
    ),
    "replace": (
        "replace the {old} with {anew}",
        "replace the {old} with {anew}",
        "replace the {old} with the {new}",
        "change the {old} to {anew}",
        "change the {old} into {anew}",
        "turn the {old} into {anew}",
        "swap the {old} for {anew}",
        "make the {old} {anew}",
    ),
    "replace it": ("replace it with {anew}", "turn it into {anew}", "make it {anew}", "change it to {anew}"),
    "remove": ("remove the {old}", "delete the {old}", "erase the {old}", "take away the {old}", "remove the {old}"),
    "remove it": ("remove it", "delete it", "make it empty"),
    "add": ("add {anew}", "put {anew} in the middle", "draw {anew}", "add {anew} in the center"),
    "add left": ("add {anew} on the left", "put {anew} on the left", "add {anew} to the left", "{anew} on the left"),
    "add right": (
        "add {anew} on the right",
        "put {anew} on the right",
        "add {anew} to the right",
        "{anew} on the right",
    ),
    "move left": ("move the {old} to the left", "put the {old} on the left", "shift the {old} to the left"),
    "move left it": ("move it to the left", "put it on the left", "move left"),
    "move right": ("move the {old} to the right", "put the {old} on the right", "shift the {old} to the right"),
    "move right it": ("move it to the right", "put it on the right", "move right"),
}
_CHINESE = {
    "background": (
        "把背景改成{c}",
        "把背景换成{c}",
        "将背景改为{c}",
        "把背景变成{c}",
        "背景改成{c}",
        "换成{c}背景",
        "{c}背景",
    ),
    "replace": (
        "把{old}换成{new}",
        "把{old}换成{new}",
        "将{old}替换为{new}",
        "用{new}替换{old}",
        "把{old}变成{new}",
        "把{old}改成{new}",
    ),
    "replace it": ("把它换成{new}", "换成{new}", "把它变成{new}"),
    "remove": ("去掉{old}", "把{old}去掉", "删除{old}", "移除{old}", "把{old}删掉"),
    "remove it": ("去掉它", "把它删除", "移除它"),
    "add": ("加一个{new}", "在中间加一个{new}", "添加{new}", "画一个{new}"),
    "add left": ("在左边加一个{new}", "左边添加{new}", "在左边放一个{new}", "左边加上{new}"),
    "add right": ("在右边加一个{new}", "右边添加{new}", "在右边放一个{new}", "右边加上{new}"),
    "move left": ("把{old}移到左边", "将{old}移动到左边", "把{old}放到左边"),
    "move left it": ("把它移到左边", "移到左边"),
    "move right": ("把{old}移到右边", "将{old}移动到右边", "把{old}放到右边"),
    "move right it": ("把它移到右边", "移到右边"),
}


def instruction(rng: random.Random, edit: Edit, language: str) -> str:
    """One of many ways to ask for the edit, in `en` or `zh`."""
    forms = _ENGLISH if language == "en" else _CHINESE
    key = edit.operation
    if len(edit.before.things) == 1 and f"{key} it" in forms and rng.random() < 0.25:
        key += " it"

    def name(sprite: int) -> str:
        if sprite == NO_THING:
            return ""
        known = sprites()[sprite][language]
        return known[0] if rng.random() < 0.7 else rng.choice(known)

    old, new = name(edit.old), name(edit.new)
    colour = ""
    if edit.colour:
        colour = edit.colour if language == "en" else COLOURS[edit.colour][0]
        if edit.colour in COLOUR_SYNONYMS and rng.random() < 0.2:
            colour = COLOUR_SYNONYMS[edit.colour][language == "zh"]
    text = rng.choice(forms[key]).format(
        c=colour, ac=article(colour) if colour else "", old=old, new=new, anew=article(new) if new else ""
    )
    if language == "en":
        text = text[0].upper() + text[1:] if rng.random() < 0.3 else text
        text += "." if rng.random() < 0.1 else ""
    return text
