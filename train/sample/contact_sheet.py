"""Makes the README's contact sheet: forty prompts, one fixed seed, each made at twice the size shown."""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from danqing.core.engine_port import Unwatched
from danqing.core.images import ImageRef
from danqing.core.resolve import resolve
from danqing.core.types import RequestDraft
from danqing.engine.build import build_engine
from danqing.engine.catalogue import Catalogue
from danqing.engine.spec import EngineSpec

PROMPTS = (
    "pizza on a blue background",
    "a cat on a yellow background",
    "strawberry on a white background",
    "a fox on a green background",
    "a rocket on a black background",
    "蓝色背景上的披萨",
    "a guitar on an orange background",
    "粉色背景上的兔子",
    "a small apple on a purple background",
    "a huge lion on a sky blue background",
    "a dog and a cat on a green background",
    "左边是苹果，右边是香蕉，白色背景",
    "a panda above a bamboo forest, digital art",
    "a hamburger and french fries on a red background",
    "a penguin in the top left corner of a blue background",
    "黄色背景上的蜜蜂",
    "a red car on a gray background",
    "a sailboat on a sky blue background",
    "a beautiful sunset over the ocean",
    "A beautiful Chinese landscape with mountains and rivers",
    "a cute cat wearing sunglasses, digital art",
    "a cat sitting on the chair",
    "紫色背景上的皇冠",
    "a birthday cake on a pink background",
    "an owl on a brown background",
    "绿色背景右下角的乌龟",
    "a robot on a purple background",
    "a sunflower on a sky blue background",
    "a castle on a green background",
    "红色背景上的草莓蛋糕",
    "a whale above a sailboat on a blue background",
    "a soccer ball on a green background",
    "a cup of coffee on a brown background",
    "黑色背景上的月亮",
    "an octopus on an orange background",
    "ice cream on a pink background",
    "a camera next to a book on a yellow background",
    "白色背景上的熊猫",
    "a butterfly on a purple background",
    "a zeppelin made of marmalade",
)
CELL, LABEL, COLUMNS = 192, 34, 8


def no_image(ref: ImageRef) -> bytes:
    """The pictures here begin with no other."""
    raise AssertionError(ref)


def main() -> None:
    """Writes one PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="sample", help="a model id or a checkpoint folder")
    parser.add_argument("--font", type=Path, required=True, help="a font that has Latin and Chinese")
    args = parser.parse_args()
    card = Catalogue(args.model).default()
    engine = build_engine(EngineSpec(cards=(card,), device="cpu"))
    engine.load()
    font = ImageFont.truetype(str(args.font), 12)
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, prompt in enumerate(PROMPTS):
        request = resolve(RequestDraft(prompt=prompt, width=CELL * 2, height=CELL * 2, seed=7), card)
        raw = engine.denoise(request, read_image=no_image, observer=Unwatched())
        assert raw is not None
        made = engine.finish(raw, request, read_image=no_image)
        left, top = index % COLUMNS * CELL, index // COLUMNS * (CELL + LABEL)
        picture = Image.frombytes("RGB", (made.width, made.height), made.rgb).resize(
            (CELL - 4, CELL - 4), Image.Resampling.LANCZOS
        )
        sheet.paste(picture, (left + 2, top + 2))
        line, lines = "", []
        for character in prompt:
            if draw.textlength(line + character, font) > CELL - 8:
                lines.append(line)
                line = ""
            line += character
        for number, text in enumerate([*lines, line][:2]):
            draw.text((left + 4, top + CELL + number * 15), text.strip(), "black", font)
    sheet.save(args.out, optimize=True)


if __name__ == "__main__":
    main()
