"""The studio page as a person uses it."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PATIENCE_MS = 30_000


class Studio:
    """complaints: errors on the console. expects_failures: of answers that are no success, which the browser tells by
    itself, none is noted. strangers: requests that left the server's address.
    """

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.expects_failures = False
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._look(request.url))

    def open(self, view: str = "make") -> None:
        """From nothing, as at a visit."""
        self.page.goto(f"{self.url}/#/{view}")
        self.page.locator("main").wait_for()

    @property
    def prompt(self) -> "Locator":
        return self.page.locator("textarea[name=prompt]")

    @property
    def tiles(self) -> "Locator":
        """The pictures on the stage."""
        return self.page.locator(".stage .tile")

    def tile(self, state: str) -> "Locator":
        """Those in this state."""
        return self.page.locator(f".stage .tile[data-state={state}]")

    @property
    def viewer(self) -> "Locator":
        return self.page.locator("dialog.viewer")

    @property
    def toast(self) -> "Locator":
        return self.page.locator(".toast").last

    def make(self, prompt: str, *, count: int = 1) -> None:
        """Types the prompt and makes it; returns when the stage shows it. The size is small."""
        self.write(prompt)
        if count > 1:
            self.page.locator("#count").fill(str(count))
            self.page.locator("#count").press("Tab")
        self.page.locator(".stage[data-batch], .stage.empty").first.wait_for()  # the history has been read
        before = self.page.locator(".stage[data-batch]").first
        known = before.get_attribute("data-batch") if before.count() else None
        self.prompt.press("Control+Enter")
        self.page.locator(f".stage[data-batch]:not([data-batch='{known}'])").wait_for()

    def write(self, prompt: str) -> None:
        """The prompt, and a size that is quick to make."""
        self.prompt.fill(prompt)
        for name in ("width", "height"):
            field = self.page.locator(f"input[name={name}]")
            while field.input_value() != "64":  # or the page was drawn anew in between
                field.fill("64")
                field.press("Tab")

    def choose(self, mode: str) -> None:
        """A mode, by its name in the API."""
        self.page.locator(f".mode input[value={mode}]").check(force=True)

    def add_picture(self, *pictures: bytes) -> None:
        """With the file dialog."""
        files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": content} for n, content in enumerate(pictures)]
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(".picker").first.click()
        chooser.value.set_files(files)  # type: ignore[arg-type]

    def drop(self, content: bytes, *, on: str = "main", media_type: str = "image/png") -> None:
        """A file from outside the browser, once the page has drawn its form."""
        self.page.locator("select[name=model]").wait_for()
        self.page.locator(on).first.evaluate(
            """(target, {bytes, type}) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type}));
                const event = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: transfer});
                target.dispatchEvent(event);
            }""",
            {"bytes": list(content), "type": media_type},
        )

    def wait_until(self, come: Callable[[], bool]) -> None:
        """Looks again and again, while the page goes on."""
        for _ in range(PATIENCE_MS // 100):
            if come():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError("it never came")

    def api(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What the server itself tells."""
        return self.page.request.get(f"{self.url}{path}").json()

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" and not (self.expects_failures and "Failed to load resource" in text):
            self.complaints.append(text)

    def _look(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.strangers.append(url)


def a_png(colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (64, 64)) -> bytes:
    """One colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()
