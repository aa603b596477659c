"""A server that asks for a key."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.browser.conftest import opened
from tests.browser.studio import Studio
from tests.e2e.servers import a_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEY = "a-key-for-tests-only"
ADMIN = "an-administrators-key"


@pytest.fixture
def locked(browser: "Browser", tmp_path: Path) -> Iterator[Studio]:
    with a_server(tmp_path, DANQING_API_KEY=KEY, DANQING_ADMIN_KEY=ADMIN) as server:
        server.start()
        yield from opened(browser, server.url, expects_failures=True)  # the console tells of each 401


def test_who_signs_in_makes_and_sees_pictures_until_he_signs_out(locked: Studio) -> None:
    page = locked.page
    field = page.get_by_label("Key")
    # Given a wrong key, which is refused
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
    assert violations(locked) == []
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


def sign_in(studio: Studio, key: str) -> None:
    studio.page.get_by_label("Key").fill(key)
    studio.page.get_by_role("button", name="Sign in").click()
    studio.prompt.wait_for()


def test_the_administrator_hands_out_a_key_and_takes_it_back(locked: Studio, browser: "Browser") -> None:
    page = locked.page
    # Given an ordinary caller, who sees nothing of keys
    sign_in(locked, KEY)
    locked.open("machine")
    page.locator(".worker").wait_for()
    expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    # When the administrator issues one
    page.get_by_label("Key").fill(ADMIN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("For whom").fill("Anne")
    page.get_by_role("button", name="Issue a key").click()
    issued = page.locator(".issued code").inner_text()
    assert violations(locked) == []
    # Then Anne makes pictures with it
    for anne in opened(browser, locked.url, expects_failures=True):
        sign_in(anne, issued)
        anne.make("a plain one")
        expect(anne.tile("completed")).to_have_count(1)
        # And once it is revoked, which is asked for twice, she is out
        revoke = page.get_by_role("button", name="Revoke: Anne")
        revoke.click()
        expect(revoke).to_have_text("Really revoke?")
        revoke.click()
        expect(revoke).to_have_count(0)
        anne.page.reload()
        expect(anne.page.get_by_role("alert")).to_have_text("This key is not valid.")
    # And what she made is there, for who sees everybody's
    locked.open("gallery")
    page.get_by_role("button", name="Picture: a plain one").click()
    expect(locked.viewer.locator("dl")).to_contain_text("Owner")
