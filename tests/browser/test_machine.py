"""What the page shows of the machine: what the server remembers, and each host by itself."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.browser.conftest import opened
from tests.browser.studio import Studio
from tests.e2e.servers import Server, a_server

PAGE_LOOKS_AGAIN_AFTER_MS = 2_000


@pytest.fixture(scope="module")
def shared_server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that does not take a quarter of a minute to have three samples."""
    folder = tmp_path_factory.mktemp("watchful")
    with a_server(folder, command=("-m", "tests.browser.watchful_server", str(folder))) as server:
        server.start_ready()
        yield server


def points(studio: Studio, chart: str) -> int:
    """Of the chart's line."""
    line = studio.page.locator(".figure", has_text=chart).locator("polyline").first
    return len((line.get_attribute("points") or "").split())


def test_the_charts_begin_with_what_the_server_remembers(studio: Studio) -> None:
    # Given a server that has been watching itself for a while
    known = 0
    for _ in range(160):
        known = len(studio.api("/studio/machine")["samples"])
        if known >= 3:
            break
        studio.page.wait_for_timeout(250)
    assert known >= 3
    # When the machine is looked at
    asked: list[str] = []
    studio.page.on("request", lambda request: asked.append(request.url) if "/studio/machine" in request.url else None)
    studio.open("machine")
    studio.page.locator(".figure").first.wait_for()
    # Then the lines are there at once
    assert points(studio, "Processor") >= known
    assert points(studio, "Queue") >= known
    # And from then on only what is new is asked for
    studio.wait_until(lambda: len(asked) >= 2)
    assert "since=" not in asked[0]
    assert all("since=" in url for url in asked[1:])


def test_several_hosts_behind_one_address_are_each_shown_by_themselves(studio: Studio) -> None:
    studio.page.clock.install()
    template = studio.api("/studio/machine")
    sent: list[str | None] = []

    def balanced(route: Route) -> None:
        """One after the other answers."""
        turn = len(sent)
        since = route.request.url.partition("since=")[2] or None
        sent.append(since)
        route.fulfill(status=200, content_type="application/json", body=json.dumps(told(template, turn % 2, since)))

    studio.page.route("**/studio/machine*", balanced)
    studio.open("machine")
    look_until(studio, lambda: len(sent) > 2 and sent[-1] is not None)
    expect(studio.page.locator("section.hosts")).to_have_count(2)
    for name, percent, samples in (("host-0", "10%", 40), ("host-1", "90%", 50)):
        section = studio.page.get_by_role("region", name=f"Host: {name}")
        expect(section.get_by_role("heading", name=name)).to_be_visible()
        expect(section.locator(".figure", has_text="Processor").locator(".value")).to_have_text(percent)
        # All that the host remembers, and nothing of the other's
        line = section.locator(".figure", has_text="Processor").locator("polyline")
        expect(line).to_have_count(1)
        expect(line).to_have_attribute("points", re.compile(rf"^(\S+ ){{{samples - 1}}}\S+$"))
        heights = {point.split(",")[1] for point in (line.get_attribute("points") or "").split()}
        assert len(heights) == 1
    # The second one was not known when it first answered: all was asked for again, and since then only what is new
    asked_for_all = [since is None for since in sent]
    assert asked_for_all[:5] == [True, False, True, True, False]
    assert not any(asked_for_all[5:])


def look_until(studio: Studio, come: Callable[[], bool]) -> None:
    """Lets the page look at the machine again and again, without the time in between."""

    def has_come() -> bool:
        studio.page.clock.fast_forward(PAGE_LOOKS_AGAIN_AFTER_MS)
        return come()

    studio.wait_until(has_come)


def told(template: dict[str, Any], host: int, since: str | None) -> dict[str, Any]:
    """What a host says that has as many samples as it is busy."""
    load: dict[str, Any] = {"cpu_percent": 10.0 + 80 * host, "memory_used_bytes": 1 + host}
    rest: dict[str, Any] = {"pending": 0, "processing": 0, "completed": 0, "worker_memory_bytes": {}}
    # A sample every half minute, so that the line is not broken.
    moments = [f"2026-11-26T08:{place // 2:02}:{30 * (place % 2):02}Z" for place in range(40 + 10 * host)]
    known = "" if since is None else since.replace("%3A", ":")
    samples = [{**load, **rest, "at": moment} for moment in moments if moment > known]
    view = {"id": f"id-{host}", "name": f"host-{host}", "memory_total_bytes": 10, "since": moments[0], **load}
    return {**template, "host": view, "samples": samples}


def test_an_older_server_that_remembers_nothing_is_asked_again(studio: Studio) -> None:
    asked: list[str] = []

    def older(route: Route) -> None:
        asked.append(route.request.url)
        answer = route.fetch().json()
        del answer["samples"]
        route.fulfill(json=answer)

    studio.page.route("**/studio/machine*", older)
    studio.open("machine")
    expect(studio.page.locator(".worker").first).to_be_visible()
    studio.wait_until(lambda: len(asked) >= 2)


def test_the_day_on_which_a_key_was_used_is_the_servers(browser: Browser, shared_server: Server) -> None:
    """On the other side of the world, where the day is another one already."""
    key = {
        "id": "1",
        "name": "Anne",
        "owner": "anne",
        "created_at": "2020-01-05T10:00:00Z",
        "last_used_on": "2020-01-06",
    }

    def administrator(route: Route) -> None:
        answer = route.fetch().json()
        answer["caller"]["manages_keys"] = True
        route.fulfill(json=answer)

    for studio in opened(browser, shared_server.url, timezone_id="Pacific/Auckland"):
        studio.page.route("**/studio/models", administrator)
        studio.page.route("**/studio/keys", lambda route: route.fulfill(json={"keys": [key]}))
        studio.page.reload()
        studio.open("machine")
        expect(studio.page.locator(".key-ring li")).to_contain_text("6 January 2020")
