"""A server that asks for a key."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import opened
from tests.browser.studio import Studio
from tests.e2e.servers import a_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEY = "a-key-for-tests-only"


@pytest.fixture
def locked(browser: "Browser", tmp_path: Path) -> Iterator[Studio]:
    with a_server(tmp_path, DANQING_API_KEY=KEY) as server:
        server.start()
        for studio in opened(browser, server.url):
            studio.expects_failures = True  # the console tells of each 401
            yield studio


def test_who_signs_in_makes_and_sees_pictures_until_he_signs_out(locked: Studio) -> None:
    page = locked.page
    field = page.get_by_label("Key")
    # Given a wrong key, which is refused
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
    # When the right one is given
    field.fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    # Then pictures are made, and shown though an <img> carries no key
    locked.make("a plain one")
    expect(locked.tile("completed")).to_have_count(1)
    image = page.locator(".stage img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    # And the tab remembers it, until it is told to forget
    page.reload()
    expect(locked.tile("completed")).to_have_count(1)
    page.get_by_role("button", name="Sign out").click()
    page.reload()
    expect(page.get_by_label("Key")).to_be_visible()
