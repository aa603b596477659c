"""Takes the pictures of the studio page that the README shows: `make screenshots`, into docs/images/studio.

Each screen in English and light, and in Chinese and dark, on a desktop and on a phone; `--all` takes every combination.
"""

import argparse
import io
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import MISSING, browser_path, launched
from tests.browser.studio import Studio
from tests.e2e.servers import Server, a_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "studio"
QUALITY = 82
KEY = "a-key-for-pictures-only"
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
LANGUAGES = {"en": "en-GB", "zh": "zh-CN"}
USUAL = (("en", "light"), ("zh", "dark"))
PROMPTS = {
    "en": ("a red apple on a yellow background", "make the apple green"),
    "zh": ("黄色背景上的一个红苹果", "把苹果变成绿色"),
}
GALLERY = (
    ("a red apple on a yellow background", 4, (384, 384)),
    ("a blue car on a white background", 1, (480, 384)),
    ("a sunflower on a blue background", 1, (384, 480)),
    ("a pizza on a green background", 2, (384, 384)),
    ("a yellow star on a dark blue background", 1, (384, 384)),
    ("a green frog on a pink background", 1, (384, 384)),
    ("a penguin on a light blue background", 3, (384, 384)),
    ("a house on a hill", 1, (480, 288)),
    ("a strawberry on a white background", 1, (384, 384)),
    ("a cat face on an orange background", 6, (384, 384)),
    ("a rocket on a black background", 1, (384, 384)),
    ("a cactus on a yellow background", 1, (288, 480)),
    ("an umbrella on a grey background", 1, (384, 384)),
    ("a snowman on a blue background", 1, (384, 384)),
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the page is shown."""

    language: str
    theme: str
    size: str

    @property
    def name(self) -> str:
        return f"{self.size}-{self.language}-{self.theme}"


def main() -> None:
    """The server runs the bundled sample models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="both themes in both languages")
    parser.add_argument("--to", type=Path, default=FOLDER, help="where the pictures go")
    chosen = parser.parse_args()
    pairs = tuple(itertools.product(LANGUAGES, ("light", "dark"))) if chosen.all else USUAL
    looks = [Look(language=language, theme=theme, size=size) for size in SIZES for language, theme in pairs]
    chosen.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = browser_path(playwright)
        if path is None:
            raise SystemExit(MISSING)
        browser = launched(playwright, path)
        with a_server(Path(folder), command=("-m", "danqing", "serve")) as server:
            server.start_ready()
            take(browser, server, looks, chosen.to)
        with a_server(Path(folder), command=("-m", "danqing", "serve"), DANQING_ADMIN_KEY=KEY) as server:
            server.start()
            for look in looks:
                with_page(browser, server, look, chosen.to, ("sign-in",))


def take(browser: "Browser", server: Server, looks: Sequence[Look], folder: Path) -> None:
    """All of them; the empty ones before anything is made."""
    for look in looks:
        with_page(browser, server, look, folder, ("empty", "nothing"))
    fill_gallery(browser, server)
    for look in looks:
        with_page(
            browser,
            server,
            look,
            folder,
            ("gallery", "viewer", "settings", "make", "fill", "guide", "edit", "compare", "machine"),
        )


def fill_gallery(browser: "Browser", server: Server) -> None:
    """Something of everything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    studio = Studio(context.new_page(), server.url)
    studio.open()
    for prompt, count, (width, height) in GALLERY:
        studio.page.locator("#count").fill(str(count))
        studio.page.locator("input[name=width]").fill(str(width))
        studio.page.locator("input[name=height]").fill(str(height))
        studio.prompt.fill(prompt)
        studio.page.get_by_role("button", name="Make").first.press("Enter")
        expect(studio.page.locator(".stage-foot p")).to_have_text(prompt)
        expect(studio.tile("completed")).to_have_count(count, timeout=120_000)
    context.close()


def with_page(browser: "Browser", server: Server, look: Look, folder: Path, screens: Sequence[str]) -> None:
    """A fresh visit for each screen."""
    width, height = SIZES[look.size]
    for screen in screens:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=1 if look.size == "desktop" else 2,
            is_mobile=look.size == "phone",
            has_touch=look.size == "phone",
            locale=LANGUAGES[look.language],
            color_scheme="dark" if look.theme == "dark" else "light",
        )
        studio = Studio(context.new_page(), server.url)
        studio.open()
        show(studio, screen, look)
        studio.page.wait_for_timeout(400)  # transitions
        shot = Image.open(io.BytesIO(studio.page.screenshot()))
        shot.convert("RGB").save(folder / f"{screen}-{look.name}.webp", quality=QUALITY, method=6)
        context.close()


def show(studio: Studio, screen: str, look: Look) -> None:
    """Brings the page to the screen."""
    page, (prompt, change) = studio.page, PROMPTS[look.language]
    match screen:
        case "nothing":
            studio.open("gallery")
            page.locator(".nothing").wait_for()
        case "gallery":
            studio.open("gallery")
            page.locator(".cell img").first.wait_for()
        case "viewer":
            first_picture(studio)
        case "make":
            page.locator("#count").fill("4")
            page.locator("#count").press("Tab")
            studio.prompt.fill(prompt)
            studio.prompt.press("Control+Enter")
            page.locator(".stage img.forming").first.wait_for()
            page.locator(".stage").scroll_into_view_if_needed()
            expect(page.locator(".stage img.forming")).not_to_have_count(0)
        case "fill":
            use_first(studio)
            studio.choose("fill")
            studio.prompt.fill(prompt)
            stroke(studio)
        case "guide":
            use_first(studio)
            studio.choose("controlnet")
            studio.prompt.fill(prompt)
            page.locator(".inputs .thumb img").nth(1).wait_for()
        case "edit":
            use_first(studio)
            studio.choose("edit")
            studio.prompt.fill(change)
            studio.prompt.press("Control+Enter")
            expect(studio.tile("completed")).to_have_count(1, timeout=120_000)
            page.locator(".stage").scroll_into_view_if_needed()
        case "compare":
            page.locator(".stage .tile-picture").first.click()
            page.locator("dialog.viewer .action-grid button[aria-pressed]").click()
        case "machine":
            studio.open("machine")
            page.locator(".worker").wait_for()
            page.wait_for_timeout(8000)  # some samples
        case "sign-in":
            page.locator("input[name=key]").wait_for()
        case "settings":
            page.locator(".unfold").click()
            page.locator("input[name=steps]").scroll_into_view_if_needed()
        case _:
            page.locator(".empty").wait_for()


def first_picture(studio: Studio) -> None:
    """The oldest batch: apples."""
    studio.open("gallery")
    studio.page.locator(".cell .picture").last.click()
    studio.viewer.locator("dl").wait_for()


def use_first(studio: Studio) -> None:
    first_picture(studio)
    studio.viewer.locator(".action-grid button").first.click()
    studio.page.locator(".thumb img, .mask-picture img").first.wait_for()


def stroke(studio: Studio) -> None:
    """Over the middle."""
    box = studio.page.locator(".mask-picture canvas").bounding_box()
    assert box is not None
    mouse = studio.page.mouse
    mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    mouse.down()
    for x, y in ((0.5, 0.35), (0.7, 0.45), (0.6, 0.6)):
        mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=6)
    mouse.up()


if __name__ == "__main__":
    main()
