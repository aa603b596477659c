"""A server that asks for a key."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.browser.conftest import opened
from tests.browser.studio import Studio, a_png
from tests.e2e.servers import Server, a_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

KEY = "a-key-for-tests-only"
ADMIN = "an-administrators-key"
BROKEN = {"code": "internal_error", "message": "It broke.", "parameter": None, "sentence": None}


@pytest.fixture(scope="module")
def locked_server(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For all tests here but one. What they make and whom they name, no other does."""
    with a_server(tmp_path_factory.mktemp("locked"), DANQING_API_KEY=KEY, DANQING_ADMIN_KEY=ADMIN) as server:
        server.start_ready()
        yield server


@pytest.fixture
def locked(browser: "Browser", locked_server: Server) -> Iterator[Studio]:
    yield from opened(browser, locked_server.url, expects_failures=True)  # the console tells of each 401


def test_who_signs_in_makes_and_sees_pictures_until_he_signs_out(locked: Studio) -> None:
    page = locked.page
    field = page.get_by_label("Key")
    # Given a wrong key, which is refused
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This key is not valid.")
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
    expect(page.get_by_label("Key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Key")).to_be_visible()


def is_get(route: "Route") -> bool:
    return route.request.method == "GET"


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
        anne.make("a snail of Anne's")
        expect(anne.tile("completed")).to_have_count(1)
        # And once it is revoked, which is asked for twice, she is out
        revoke = page.get_by_role("button", name="Revoke: Anne")
        revoke.click()
        expect(revoke).to_have_text("Really revoke?")
        revoke.click()
        expect(revoke).to_have_count(0)
        anne.page.reload()
        expect(anne.page.get_by_role("alert")).to_contain_text("This key is not valid.")
    # And what she made is there, for who sees everybody's
    locked.open("gallery")
    page.get_by_role("button", name="Picture: a snail of Anne's").click()
    expect(locked.viewer.locator("dl")).to_contain_text("Owner")


def test_a_key_that_was_issued_is_shown_though_the_list_of_keys_cannot_be_read(locked: Studio) -> None:
    page = locked.page
    sign_in(locked, ADMIN)
    locked.open("machine")
    page.get_by_label("For whom").fill("Bert")
    page.route(
        "**/studio/keys",
        lambda route: route.fulfill(status=500, json={"error": BROKEN}) if is_get(route) else route.fallback(),
    )
    page.get_by_role("button", name="Issue a key").click()
    expect(page.locator(".issued code")).not_to_be_empty()


def test_who_signs_out_leaves_nothing_behind(locked: Studio) -> None:
    page = locked.page
    sign_in(locked, KEY)
    locked.choose("img2img")
    locked.add_picture(a_png())
    locked.make("nobody else is to read this")
    expect(locked.tile("completed")).to_have_count(1)
    locked.tiles.get_by_role("button").click()
    locked.page.keyboard.press("Escape")
    page.get_by_role("button", name="Sign out").click()
    # When another signs in there
    sign_in(locked, ADMIN)
    expect(locked.prompt).to_have_value("")
    locked.choose("img2img")
    page.locator(".picker").wait_for()
    expect(page.locator(".thumb")).to_have_count(0)
    assert "nobody else" not in page.evaluate("JSON.stringify(localStorage)")


def test_who_is_signed_out_in_mid_work_goes_on_where_he_was(locked: Studio, locked_server: Server) -> None:
    page = locked.page
    refused = {"code": "unauthorized", "message": "No.", "parameter": None, "sentence": None}
    sign_in(locked, KEY)
    # When a submit is refused for the key
    page.route("**/studio/batches", lambda route: route.fulfill(status=401, json={"error": refused}), times=1)
    locked.write("waits at the gate")
    locked.prompt.press("Control+Enter")
    # Then the key is asked for, and what was typed stays
    sign_in(locked, KEY)
    expect(locked.prompt).to_have_value("waits at the gate")
    # When the events of a job are
    page.route("**/studio/events*", lambda route: route.fulfill(status=401, json={"error": refused}), times=1)
    locked.prompt.press("Control+Enter")
    page.get_by_label("Key").wait_for()
    sign_in(locked, KEY)
    # Then it is followed again
    expect(locked.tile("processing")).to_have_count(1)
    locked_server.zoo.open_gate("gate")
    expect(locked.tile("completed")).to_have_count(1)


def test_who_signs_in_while_the_server_is_away_is_let_in_when_it_is_back(browser: "Browser", tmp_path: Path) -> None:
    with a_server(tmp_path, DANQING_API_KEY=KEY) as server:
        server.start()
        server.settings["DANQING_PORT"] = server.url.rpartition(":")[2]
        for studio in opened(browser, server.url, expects_failures=True):
            page = studio.page
            page.get_by_role("button", name="语言：中文").click()
            page.get_by_role("button", name="Language: English").click()
            page.get_by_label("Key").wait_for()  # before that it does not know that one is needed
            server.kill_everything()
            page.get_by_label("Key").fill(KEY)
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator(".connection")).to_contain_text("The server does not answer")
            expect(page.get_by_role("button", name="Sign in")).to_be_disabled()
            assert violations(studio) == []
            server.start()
            studio.prompt.wait_for()
            expect(page.locator(".connection p")).to_have_count(0)
