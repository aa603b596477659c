"""A real Chromium, real servers, and a page that must neither complain nor look elsewhere.

Without a browser these tests are skipped; where CI=true they fail instead.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser.studio import PATIENCE_MS, Studio
from tests.e2e.servers import Server, a_server
from tests.services.ports import free_port

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ENDED = ("completed", "failed", "cancelled")
MISSING = "no browser: install Chromium (on Debian: apt install chromium), or run: playwright install chromium"

expect.set_options(timeout=PATIENCE_MS)


def browser_path(playwright: Playwright) -> str | None:
    """Chromium of the system, else Playwright's own download."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


def launched(playwright: Playwright, path: str) -> Browser:
    """Headless. Chromium's sandbox does not start for root."""
    sandbox = () if os.geteuid() else ("--no-sandbox",)
    return playwright.chromium.launch(executable_path=path, args=[*QUIET, *sandbox])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module: while Playwright runs, no other event loop may run in its thread."""
    with sync_playwright() as playwright:
        path = browser_path(playwright)
        if path is None:
            if os.environ.get("CI") == "true":
                pytest.fail(MISSING)
            pytest.skip(MISSING)
        browser = launched(playwright, path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shared_server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A zoo, for the tests of one module."""
    folder = tmp_path_factory.mktemp("studio")
    with a_server(folder, DANQING_MAX_QUEUE_SIZE="20") as server:
        server.start_ready()
        yield server


@pytest.fixture
def server(browser: Browser, tmp_path: Path) -> Iterator[Server]:
    """A zoo of the test's own, on a port that stays the same."""
    with a_server(tmp_path, DANQING_PORT=str(free_port()), DANQING_MAX_QUEUE_SIZE="200") as server:
        server.start_ready()
        yield server


@pytest.fixture
def studio(browser: Browser, shared_server: Server) -> Iterator[Studio]:
    """The page of the shared server."""
    shared_server.zoo.close_gate("gate")
    yield from opened(browser, shared_server.url)


@pytest.fixture
def emptied_studio(browser: Browser, shared_server: Server) -> Iterator[Studio]:
    """The page of the shared server, once that has forgotten all that was made before."""
    shared_server.zoo.close_gate("gate")
    with requests.Session() as session:
        empty(session, shared_server.url)
    yield from opened(browser, shared_server.url)


def empty(session: requests.Session, url: str) -> None:
    """Cancels and deletes all jobs of a server."""
    while batches := session.get(f"{url}/studio/batches?failed=true", timeout=10).json()["batches"]:
        for job in (job for batch in batches for job in batch["jobs"]):
            if job["state"] not in ENDED:
                session.post(f"{url}/studio/jobs/{job['id']}/cancel", timeout=10)  # 409 if it has ended by now
            session.delete(f"{url}/studio/jobs/{job['id']}", timeout=10)


@pytest.fixture
def own_studio(browser: Browser, server: Server) -> Iterator[Studio]:
    """The page of the test's own server."""
    yield from opened(browser, server.url)


def opened(browser: Browser, url: str, *, expects_failures: bool = False, **options: object) -> Iterator[Studio]:
    """The page; afterwards it must not have complained, nor have asked another machine."""
    wanted: dict[str, object] = {
        "viewport": {"width": 1280, "height": 800},
        "locale": "en-GB",
        "reduced_motion": "reduce",
        **options,
    }
    context = browser.new_context(**wanted)  # type: ignore[arg-type]
    studio = Studio(context.new_page(), url)
    studio.expects_failures = expects_failures
    try:
        studio.open()
        yield studio
        assert studio.complaints == []
        assert studio.strangers == []
    finally:
        studio.page.unroute_all(behavior="ignoreErrors")  # a route that is just being answered is lost
        context.close()
