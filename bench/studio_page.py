"""What the studio page costs a browser: bytes, requests, time to first paint, memory and frames over 10,000 pictures.

    python bench/studio_page.py [--pictures 10000]

Needs Chromium and the developer's tools (`make install`, `make browser`). The history is written straight into a new
data directory, with one small picture under many names.
"""

import argparse
import asyncio
import io
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' servers

from danqing.core.types import Artifact, ArtifactKind
from danqing.store.sqlite import SqliteStores
from danqing.wiring.stores import DATABASE_NAME
from tests.browser.conftest import MISSING, browser_path, launched
from tests.e2e.servers import a_server
from tests.fakes.domain import a_job, a_request

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

VISITS = 5
AT_ONCE = 500


def measure(quick: bool) -> dict[str, str]:
    """Of a history of 10,000 pictures."""
    return measured(500 if quick else 10_000)


def main() -> None:
    """Prints one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    for name, figure in measured(parser.parse_args().pictures).items():
        print(f"{name}: {figure}")


def measured(pictures: int) -> dict[str, str]:
    """Figures for people."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing a history of {pictures} pictures", flush=True)
        asyncio.run(write_history(Path(folder) / "data", pictures))
        with a_server(Path(folder)) as server, sync_playwright() as playwright:
            path = browser_path(playwright)
            if path is None:
                raise SystemExit(MISSING)
            server.start_ready()
            browser = launched(playwright, path)
            found = first_paint(browser, server.url) | long_gallery(browser, server.url, pictures)
            browser.close()
            return found


async def write_history(data: Path, pictures: int) -> None:
    """Completed jobs, each of a batch of its own."""
    outputs = data / "outputs"
    outputs.mkdir(parents=True)
    stores = await asyncio.to_thread(SqliteStores.open, data / DATABASE_NAME)
    files = {kind: small_picture(kind) for kind in ("png", "webp")}
    seeds = {kind: outputs / f"seed.{kind}" for kind in files}
    for kind, content in files.items():
        seeds[kind].write_bytes(content)
    now = datetime.now(UTC)
    for start in range(0, pictures, AT_ONCE):
        numbers = range(start, min(pictures, start + AT_ONCE))
        jobs = [
            a_job(request=a_request(prompt=f"picture {n}", model="sample", seed=n), created_at=now) for n in numbers
        ]
        await asyncio.gather(*(stores.jobs.add(job, pictures) for job in jobs))
        await asyncio.gather(*(stores.jobs.claim(job.id, "bench", now) for job in jobs))
        for job in jobs:
            for kind, seed in seeds.items():
                os.link(seed, outputs / f"{job.id}.{kind}")
        kinds = {"png": ArtifactKind.ORIGINAL, "webp": ArtifactKind.PREVIEW}
        await asyncio.gather(
            *(
                stores.jobs.complete(
                    job.id,
                    1,
                    [
                        Artifact(
                            kind=kinds[kind],
                            name=f"{job.id}.{kind}",
                            media_type=f"image/{kind}",
                            width=256,
                            height=256,
                            size_bytes=len(files[kind]),
                        )
                        for kind in files
                    ],
                    (),
                    now,
                )
                for job in jobs
            )
        )
    await stores.close()


def small_picture(kind: str) -> bytes:
    """A gradient."""
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, kind.upper())
    return file.getvalue()


def first_paint(browser: "Browser", url: str) -> dict[str, str]:
    """Visits without a cache."""
    times: list[dict[str, float]] = []
    for _ in range(VISITS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        sizes: list[int] = []
        page.on("response", lambda answer, sizes=sizes: note_size(answer, sizes))
        page.goto(url)
        page.locator("textarea[name=prompt]").wait_for()
        page.locator(".recent").wait_for()
        times.append(
            page.evaluate(
                "({paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,"
                " loaded: performance.getEntriesByType('navigation')[0].loadEventEnd})"
            )
        )
        context.close()
    return {
        "first contentful paint": f"{median(t['paint'] for t in times):.0f} ms (median of {VISITS} visits, no cache)",
        "everything loaded": f"{median(t['loaded'] for t in times):.0f} ms",
        "page and its files": f"{sum(sizes) / 1000:.1f} kB compressed, {len(sizes)} requests",
    }


def note_size(answer: object, sizes: list[int]) -> None:
    """Of the page and its own files."""
    path = getattr(answer, "url", "").split("/", 3)[-1]
    if path == "" or path.startswith("web/"):
        sizes.append(int(getattr(answer, "headers", {}).get("content-length", 0)))


def long_gallery(browser: "Browser", url: str, pictures: int) -> dict[str, str]:
    """Scrolled from the first to the last."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    page.goto(f"{url}/#/gallery")
    page.locator(".cell img").first.wait_for()
    found = {"memory at the first pictures": f"{heap_mb(devtools):.1f} MB of JavaScript, {nodes(devtools)} nodes"}
    page.evaluate(
        """() => {
            window.frames_ms = [];
            let before = performance.now();
            const frame = (now) => { window.frames_ms.push(now - before); before = now; requestAnimationFrame(frame); };
            requestAnimationFrame(frame);
        }"""
    )
    scroll_to_end(page, pictures)
    frames = sorted(page.evaluate("window.frames_ms"))
    late = sum(frame > 50 for frame in frames) / len(frames)
    found |= {
        f"memory after {pictures} pictures": f"{heap_mb(devtools):.1f} MB of JavaScript, {nodes(devtools)} nodes",
        "cells in the document": str(page.locator(".cell").count()),
        "frames while scrolling": (
            f"median {median(frames):.1f} ms, 95% under {frames[int(len(frames) * 0.95)]:.1f} ms, "
            f"{late:.1%} over 50 ms ({len(frames)} frames)"
        ),
    }
    page.close()
    return found


def scroll_to_end(page: "Page", pictures: int) -> None:
    """As a wheel does, until the last one is there."""
    page.mouse.move(600, 500)
    while not page.get_by_text("That is everything.").count():
        page.mouse.wheel(0, 1200)
        page.wait_for_timeout(30)
    places = page.locator(".cell").evaluate_all("cells => cells.map(cell => Number(cell.dataset.place))")
    assert max(places) + 1 == pictures, max(places)


def heap_mb(devtools: "CDPSession") -> float:
    """After a collection."""
    devtools.send("HeapProfiler.collectGarbage")
    return metric(devtools, "JSHeapUsedSize") / 1e6


def nodes(devtools: "CDPSession") -> int:
    """Of the document."""
    return int(metric(devtools, "Nodes"))


def metric(devtools: "CDPSession", name: str) -> float:
    found = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in found if one["name"] == name))


if __name__ == "__main__":
    main()
