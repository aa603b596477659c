"""Languages, themes, small windows, keyboards, and people who cannot see the page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.browser.conftest import opened
from tests.browser.studio import Studio, a_png
from tests.e2e.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PHONE = {"width": 390, "height": 844}
SCREENS = ("make", "settings", "fill", "gallery", "viewer", "machine", "nothing")


def show(studio: Studio, screen: str) -> None:
    page = studio.page
    match screen:
        case "settings":
            page.locator(".unfold").click()
        case "fill":
            studio.choose("fill")
            studio.add_picture(a_png())
            page.locator(".mask-picture canvas").wait_for()
        case "gallery":
            studio.open("gallery")
            page.locator(".cell").first.wait_for()
        case "viewer":
            studio.tiles.first.get_by_role("button").click()
            studio.viewer.locator("dl").wait_for()
        case "machine":
            studio.open("machine")
            page.locator(".worker").wait_for()
        case "nothing":
            studio.open("gallery")
            page.get_by_role("searchbox").fill("no such words at all")
            page.locator(".nothing").wait_for()
        case _:
            pass


@pytest.fixture(params=["light", "dark"])
def themed(browser: "Browser", shared_server: Server, request: pytest.FixtureRequest) -> Iterator[Studio]:
    yield from opened(browser, shared_server.url, color_scheme=request.param, reduced_motion="reduce")


@pytest.fixture
def chinese(browser: "Browser", shared_server: Server) -> Iterator[Studio]:
    yield from opened(browser, shared_server.url, locale="zh-CN")


@pytest.fixture
def phone(browser: "Browser", shared_server: Server) -> Iterator[Studio]:
    yield from opened(browser, shared_server.url, viewport=PHONE, has_touch=True, is_mobile=True)


def test_axe_finds_nothing_on_any_screen(themed: Studio) -> None:
    themed.make("a plain one", count=2)
    expect(themed.tile("completed")).to_have_count(2)
    assert violations(themed) == []
    for screen in SCREENS[1:]:
        themed.open()
        themed.page.reload()
        themed.tiles.first.wait_for()
        show(themed, screen)
        assert violations(themed) == [], screen


def test_what_the_server_says_is_said_in_the_persons_language(chinese: Studio) -> None:
    # When a picture cannot be made
    chinese.make("out of memory")
    # Then what happened, and what to do, is said in Chinese
    expect(chinese.tile("failed")).to_contain_text("显存不足。请减小尺寸或张数。")
    # When one is made at another size than the model's own
    chinese.make("a plain one")
    expect(chinese.tile("completed")).to_have_count(1)
    chinese.tiles.first.get_by_role("button").click()
    # Then that is said in Chinese too; what the page has no words for stays as the server says it
    notes = chinese.viewer.locator(".adjusted p")
    expect(notes.filter(has_text="生成")).not_to_have_count(0)
    expect(notes.filter(has_text="made in a zoo")).to_have_attribute("lang", "en")
    # When a request is refused
    chinese.page.keyboard.press("Escape")
    refusal = {
        "code": "parameter_out_of_range",
        "message": "width must be between 64 and 2048.",
        "parameter": "width",
        "sentence": {"code": "between", "values": {"parameter": "width", "least": "64", "most": "2048"}},
    }
    chinese.page.route("**/studio/batches", lambda route: route.fulfill(status=400, json={"error": refusal}))
    chinese.expects_failures = True
    chinese.prompt.fill("一只猫")
    chinese.prompt.press("Control+Enter")
    expect(chinese.toast).to_contain_text("宽必须在 64 到 2048 之间。")


def test_the_browsers_language_is_spoken_and_can_be_switched(chinese: Studio) -> None:
    page = chinese.page
    expect(page.get_by_role("link", name="画廊")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    chinese.make("一只猫")
    expect(chinese.tile("completed")).to_have_count(1)
    page.get_by_role("button", name="Language: English").click()
    expect(page.get_by_role("link", name="Gallery", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Gallery", exact=True)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_chosen_theme_stays(studio: Studio) -> None:
    page = studio.page
    page.get_by_role("button", name="Theme: like the system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(19, 20, 21)"


def test_a_phone_shows_everything_without_scrolling_sideways(phone: Studio) -> None:
    phone.make("a plain one")
    expect(phone.tile("completed")).to_have_count(1)
    for screen in SCREENS:
        phone.open()
        phone.page.reload()
        phone.tiles.first.wait_for()
        show(phone, screen)
        wide = phone.page.locator("html").evaluate("html => [html.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], screen
    assert violations(phone) == []


def test_a_picture_is_made_with_the_keyboard_alone(studio: Studio) -> None:
    page = studio.page
    page.locator("select[name=model]").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".mode input[value=text2img]")).to_be_focused()
    page.keyboard.press("Tab")
    expect(studio.prompt).to_be_focused()
    page.keyboard.type("a plain one")
    page.keyboard.press("Control+Enter")
    expect(studio.tile("completed")).to_have_count(1)


def test_nothing_of_a_prompt_is_taken_for_markup(studio: Studio) -> None:
    studio.make("<img src=x onerror=alert(1)> & <b>bold</b>")
    expect(studio.tile("completed")).to_have_count(1)
    expect(studio.page.locator(".stage-foot p")).to_have_text("<img src=x onerror=alert(1)> & <b>bold</b>")


def test_what_becomes_of_the_pictures_is_told_to_those_who_do_not_see_it(studio: Studio) -> None:
    told = studio.page.locator(".stage [role=status]")
    # When a picture fails, it is told why
    studio.make("out of memory")
    expect(told).to_contain_text("Failed: ")
    expect(told).to_contain_text("Choose a smaller size")
    # When pictures are made, it is told how many are done
    studio.make("a plain one", count=2)
    expect(told).to_have_text("2 of 2 done")
    # And what was over before the page was opened is no news
    studio.page.reload()
    expect(studio.tile("completed")).to_have_count(2)
    expect(told).to_have_text("")


def test_whoever_cancels_with_the_keyboard_stays_where_they_were(studio: Studio) -> None:
    page = studio.page
    studio.make("waits at the gate")
    studio.tile("processing").get_by_role("button", name="Cancel").press("Enter")
    expect(studio.tile("cancelled")).to_be_focused()
    expect(page.locator(".stage [role=status]")).to_have_text("1 cancelled")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Try again")).to_be_focused()
    # And so does who cancels a whole batch
    studio.make("waits at the gate", count=2)
    page.get_by_role("button", name="Cancel all").press("Enter")
    expect(studio.tile("cancelled")).to_have_count(2)
    expect(page.locator("section.stage")).to_be_focused()
    assert violations(studio) == []


def test_one_of_something_is_not_called_many(studio: Studio) -> None:
    page = studio.page
    studio.expects_failures = True
    studio.make("a plain one")
    expect(page.get_by_role("region", name="1 picture", exact=True)).to_be_visible()
    refusal = {"code": "queue_full", "message": "The queue is full."}
    page.route(
        "**/studio/batches",
        lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": refusal}),
    )
    studio.prompt.press("Control+Enter")
    expect(studio.toast).to_contain_text("Try again in 1 second.")


def test_an_empty_gallery_says_what_it_was_that_nothing_fits(studio: Studio) -> None:
    page = studio.page
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    studio.open("gallery")
    page.locator("select[name=filterMode]").select_option("controlnet")
    expect(page.locator(".nothing")).to_contain_text("No picture is like what is chosen above.")
    page.locator("select[name=filterMode]").select_option("")
    page.get_by_role("searchbox").fill("no such words at all")
    expect(page.locator(".nothing")).to_contain_text("No prompt has these words.")


def test_the_pictures_of_a_batch_are_known_as_such_and_lead_to_one_another(studio: Studio) -> None:
    page = studio.page
    studio.make("three owls", count=3)
    expect(studio.tile("completed")).to_have_count(3)
    studio.open("gallery")
    tile = page.get_by_role("button", name="Picture: three owls, 2 of 3")
    expect(tile.locator(".badge")).to_have_text("2/3")
    tile.click()
    strip = studio.viewer.get_by_role("navigation", name="Made together")
    expect(strip.get_by_role("button")).to_have_count(3)
    expect(strip.locator("[aria-current]")).to_have_attribute("aria-label", "2 of 3")
    strip.get_by_role("button", name="3 of 3").click()
    expect(strip.locator("[aria-current]")).to_have_attribute("aria-label", "3 of 3")
    assert page.url.endswith(studio.api("/studio/batches")["batches"][0]["jobs"][2]["id"])
    assert violations(studio) == []


WITHOUT_CLIPBOARD = """() => {
    window.board = navigator.clipboard;
    Object.defineProperty(navigator, "clipboard", {value: undefined});
}"""


def test_a_page_that_came_over_plain_http_copies_too_or_shows_what_there_is_to_copy(studio: Studio) -> None:
    page = studio.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    # Given a page without the browser's clipboard
    page.evaluate(WITHOUT_CLIPBOARD)
    studio.tiles.get_by_role("button").click()
    button = studio.viewer.get_by_role("button", name="curl", exact=True)
    button.press("Enter")
    expect(studio.toast).to_contain_text("Copied")
    expect(button).to_be_focused()
    copied = page.evaluate("board.readText()")
    assert copied.startswith("curl -X POST")
    # When not even a selection can be copied
    page.evaluate("() => { document.execCommand = () => false; }")
    button.click()
    # Then it is shown, selected
    shown = page.get_by_role("dialog", name="Copy")
    expect(shown.get_by_role("textbox")).to_have_value(copied)
    assert page.evaluate("getSelection().toString()") == copied
    assert violations(studio) == []
    page.keyboard.press("Escape")
    expect(shown).to_have_count(0)
    expect(studio.viewer).to_be_visible()
