"""Finding, looking at, reusing and removing what was made."""

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Route, ViewportSize, expect

from tests.browser.axe import violations
from tests.browser.studio import Studio
from tests.e2e.servers import Server

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
UNDO_OVER_MS = 9_000
PHONE: ViewportSize = {"width": 390, "height": 844}


def made(studio: Studio, *prompts: str) -> None:
    for prompt in prompts:
        studio.make(prompt)
        expect(studio.tile("completed")).to_have_count(1)


def test_pictures_are_found_by_their_words(studio: Studio) -> None:
    made(studio, "a zebra by a lake", "a zebra on a hill")
    studio.page.get_by_role("link", name="Gallery", exact=True).click()
    search = studio.page.get_by_role("searchbox")
    search.fill("ZEBRA lake")
    expect(studio.page.locator(".cell")).to_have_count(1)
    expect(studio.page.get_by_role("button", name="Picture: a zebra by a lake")).to_be_visible()
    search.fill("no such words")
    expect(studio.page.get_by_role("heading", name="Nothing found")).to_be_visible()
    studio.page.get_by_role("button", name="Show everything").click()
    expect(search).to_have_value("")
    expect(studio.page.get_by_role("button", name="Picture: a zebra on a hill")).to_be_visible()
    studio.page.locator("select[name=filterMode]").select_option("edit")
    expect(studio.page.get_by_role("button", name="Picture: a zebra on a hill")).to_have_count(0)


def test_the_viewer_is_used_with_the_keyboard_and_its_address_is_kept(studio: Studio) -> None:
    made(studio, "the first", "the second")
    page = studio.page
    studio.open("gallery")
    page.get_by_role("button", name="Picture: the second").press("Enter")
    expect(studio.viewer.locator(".said")).to_have_text("the second")
    page.keyboard.press("ArrowRight")
    expect(studio.viewer.locator(".said")).to_have_text("the first")
    page.reload()
    expect(studio.viewer.locator(".said")).to_have_text("the first")
    page.keyboard.press("ArrowLeft")
    expect(studio.viewer.locator(".said")).to_have_text("the second")
    page.keyboard.press("Escape")
    expect(studio.viewer).to_have_count(0)


def test_a_picture_is_looked_at_alone(studio: Studio) -> None:
    made(studio, "a picture by itself")
    page = studio.page
    studio.tiles.get_by_role("button").click()
    side, stage = studio.viewer.locator(".viewer-side"), studio.viewer.locator(".viewer-stage")
    expect(side).to_be_visible()
    page.keyboard.press("f")
    expect(side).to_be_hidden()
    shown = stage.bounding_box()
    assert shown is not None
    assert shown["width"] == 1280
    studio.viewer.get_by_role("button", name="The picture alone").click()
    expect(side).to_be_visible()
    # And the last one is a key away, as the first is
    page.keyboard.press("Home")
    expect(studio.viewer.get_by_role("button", name="Previous picture")).to_be_disabled()
    page.keyboard.press("End")
    expect(studio.viewer.get_by_role("button", name="Next picture")).to_be_disabled()


def test_a_key_pressed_before_the_gallery_was_read_is_not_lost(studio: Studio) -> None:
    made(studio, "the earlier", "the later")
    page = studio.page
    studio.open("gallery")
    page.get_by_role("button", name="Picture: the earlier").press("Enter")
    held: list[Route] = []
    page.route(re.compile(r"/studio/batches(\?|$)"), lambda route: held.append(route))
    page.reload()
    expect(studio.viewer.locator(".said")).to_have_text("the earlier")
    studio.wait_until(lambda: bool(held))
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    expect(studio.viewer.locator(".said")).to_have_text("the earlier")
    page.unroute_all()  # and lets those go that are held
    expect(studio.viewer.locator(".said")).to_have_text("the later")


def test_settings_are_reused_and_copied_as_programs(studio: Studio) -> None:
    page = studio.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    made(studio, "it's a snail")
    job = studio.api("/studio/batches")["batches"][0]["jobs"][0]
    page.get_by_role("button", name="Picture: it's a snail").first.click()
    for name, mark in {
        "curl": f"curl -X POST {studio.url}/studio/batches",
        "Python": "requests.post",
        "JavaScript": "await fetch(",
    }.items():
        studio.viewer.get_by_role("button", name=name, exact=True).click()
        page.wait_for_function("mark => navigator.clipboard.readText().then((text) => text.includes(mark))", arg=mark)
        expect(studio.toast).to_contain_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert job["request"]["seed"] in copied
        if name == "Python":
            compile(copied, "copied", "exec")
    studio.viewer.get_by_role("button", name="Reuse settings").click()
    expect(studio.prompt).to_have_value("it's a snail")
    expect(page.locator("#seed")).to_have_value(job["request"]["seed"])


def test_a_picture_is_downloaded(studio: Studio) -> None:
    made(studio, "a snail to keep")
    studio.tiles.get_by_role("button").click()
    with studio.page.expect_download() as download:
        studio.viewer.get_by_role("button", name="Original").click()
    assert download.value.suggested_filename.startswith("a-snail-to-keep-")
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_deleted_picture_comes_back_when_that_is_undone_and_else_is_gone(studio: Studio) -> None:
    page = studio.page
    made(studio, "one to stay", "one to delete")
    job = studio.api("/studio/batches")["batches"][0]["jobs"][0]
    studio.open("gallery")
    tile = page.get_by_role("button", name="Picture: one to delete")
    for undone in (True, False):
        tile.click()
        studio.viewer.get_by_role("button", name="Delete").click()
        if studio.viewer.count():
            page.keyboard.press("Escape")
        expect(tile).to_have_count(0)
        if undone:
            page.get_by_role("button", name="Undo").click()
            expect(tile).to_have_count(1)
    # Then nothing was lost before, and a visit that ends before the time is up removes it at the next one
    assert studio.api(f"/studio/jobs/{job['id']}")["state"] == "completed"
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        page.reload()
    assert answer.value.status == 204
    expect(page.locator(".cell").first).to_be_visible()
    expect(tile).to_have_count(0)
    assert page.request.get(f"{studio.url}/studio/jobs/{job['id']}").status == 404


def test_an_answer_to_what_was_looked_for_before_does_not_come_in_between(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    made(studio, "a zebra", "a heron")
    studio.open("gallery")
    expect(page.locator(".cell")).to_have_count(2)
    # Given a look at the newest page that takes long
    held: list[Route] = []
    page.route(
        "**/studio/batches?*", lambda route: route.fallback() if "text=" in route.request.url else held.append(route)
    )
    page.get_by_role("link", name="Machine").click()
    page.get_by_role("link", name="Gallery", exact=True).click()
    studio.wait_until(lambda: bool(held))
    # When something is looked for before its answer comes
    page.get_by_role("searchbox").fill("heron")
    expect(page.locator(".cell")).to_have_count(1)
    for route in held:
        route.fallback()
    page.wait_for_timeout(500)
    # Then what was found stays
    expect(page.locator(".cell")).to_have_count(1)


def test_a_batch_shows_each_of_its_pictures_and_each_is_deleted_by_itself(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    page.clock.install()
    # Given a batch of three and another picture
    studio.make("three ducks", count=3)
    expect(studio.tile("completed")).to_have_count(3)
    studio.page.locator("#count").fill("1")
    studio.page.locator("#count").press("Tab")
    made(studio, "a goose")
    studio.open("gallery")
    # Then there is a tile for each, under the day
    expect(page.locator(".cell")).to_have_count(4)
    expect(page.locator(".day h2")).to_have_text(["Today"])
    second = page.get_by_role("button", name="Picture: three ducks, 2 of 3")
    job = second.get_attribute("data-job")
    # When two are deleted with the keyboard
    second.focus()
    page.keyboard.press("Delete")
    expect(page.locator(".cell")).to_have_count(3)
    expect(page.locator(".toast")).to_contain_text("Picture deleted")
    focused = page.locator(".picture:focus")
    expect(focused).to_have_attribute("aria-label", "Picture: three ducks, 3 of 3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    # Then one note undoes both, and each is where it was
    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator(".toast")).to_contain_text("2 pictures deleted")
    page.get_by_role("button", name="Undo").click()
    labels = page.locator(".picture").evaluate_all("tiles => tiles.map(tile => tile.ariaLabel)")
    assert labels == ["Picture: a goose", *(f"Picture: three ducks, {n} of 3" for n in (1, 2, 3))]
    # When one is deleted with the mouse and that is not undone
    page.locator(".cell").nth(2).hover()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        page.get_by_role("button", name="Delete: three ducks").nth(1).click()
        page.clock.fast_forward(UNDO_OVER_MS)
    # Then that one is gone, and no other
    assert answer.value.url.endswith(f"/studio/jobs/{job}")
    left = [job["index"] for batch in studio.api("/studio/batches")["batches"] for job in batch["jobs"]]
    assert left == [0, 0, 2]


def test_arrows_go_from_one_day_to_another(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    made(studio, *(f"picture {n}" for n in range(3)))
    # Given pictures of three days: today, yesterday, and one long ago

    def dated(route: Route) -> None:
        page_of = route.fetch().json()
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        for batch, day in zip(page_of["batches"], [None, yesterday, "2021-03-04T12:00:00Z"], strict=True):
            batch["created_at"] = day or batch["created_at"]
        route.fulfill(json=page_of)

    page.route("**/studio/batches?*", dated)
    page.goto(f"{studio.url}/?#/gallery")
    expect(page.locator(".day h2")).to_have_text(["Today", "Yesterday", "4 March 2021"])
    page.get_by_role("button", name="Picture: picture 2").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".picture:focus")).to_have_attribute("title", "picture 1")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".picture:focus")).to_have_attribute("title", "picture 0")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".picture:focus")).to_have_attribute("title", "picture 1")
    page.get_by_role("button", name="语言：中文").click()
    expect(page.locator(".day h2")).to_have_text(["今天", "昨天", "2021年3月4日"])


def test_only_what_is_near_the_window_is_in_the_document(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    for _ in range(130):
        server.submit("a plain one")
    studio.open("gallery")
    page = studio.page
    page.locator(".cell").first.wait_for()
    in_document = page.locator(".cell").count()
    assert in_document < 100
    # When it is scrolled to the end, more comes, and the document stays as small
    for _ in range(30):
        page.mouse.wheel(0, 2000)
        if page.get_by_text("That is everything.").count():
            break
        page.wait_for_timeout(50)
    expect(page.get_by_text("That is everything.")).to_be_visible()
    assert page.locator(".cell").count() < 100
    last = page.locator(".cell").last
    expect(last).to_have_attribute("data-place", "129")


def test_what_is_still_made_is_not_deleted_and_can_be_cancelled(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    studio.make("waits at the gate")
    expect(studio.tile("processing")).to_have_count(1)
    job = studio.tiles.first.get_attribute("data-job")
    page.goto(f"{studio.url}/#/gallery")
    tile = page.locator(f".picture[data-job='{job}']")
    expect(page.locator(".cell .remove")).to_have_count(0)
    # When it is deleted in the viewer, then a note says why it stays
    tile.click()
    page.keyboard.press("Delete")
    expect(studio.toast).to_contain_text("still being made")
    expect(studio.viewer).to_have_count(1)
    assert studio.api(f"/studio/jobs/{job}")["state"] == "processing"
    # And there it is cancelled
    cancel = studio.viewer.locator(".actions").get_by_role("button", name="Cancel")
    cancel.click()
    expect(cancel).to_have_count(0)
    assert studio.api(f"/studio/jobs/{job}")["state"] == "cancelled"


def test_a_picture_that_the_server_keeps_comes_back(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    page.clock.install()
    studio.expects_failures = True
    made(studio, "one to keep")
    problem = {"code": "job_not_removable", "message": "It is under way.", "parameter": None, "sentence": None}
    page.route(
        "**/studio/jobs/*",
        lambda route: (
            route.fulfill(status=409, json={"error": problem}) if route.request.method == "DELETE" else route.fallback()
        ),
    )
    page.goto(f"{studio.url}/#/gallery")
    tile = page.get_by_role("button", name="Picture: one to keep")
    tile.focus()
    page.keyboard.press("Delete")
    expect(tile).to_have_count(0)
    page.clock.fast_forward(UNDO_OVER_MS)
    expect(tile).to_have_count(1)
    expect(studio.toast).to_contain_text("could not be deleted: ")


def test_undoing_leaves_alone_what_the_server_was_already_asked_to_delete(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    page.clock.install()
    made(studio, "the first", "the second", "the third")
    held: list[Route] = []
    page.route(
        "**/studio/jobs/*",
        lambda route: held.append(route) if route.request.method == "DELETE" else route.fallback(),
    )
    page.goto(f"{studio.url}/#/gallery")
    first, second = (page.get_by_role("button", name=f"Picture: the {name}") for name in ("first", "second"))
    # Given one whose removal is on its way
    first.focus()
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.keyboard.press("Delete")
        page.clock.fast_forward(UNDO_OVER_MS)
    # When another is deleted and that is undone
    second.focus()
    page.keyboard.press("Delete")
    expect(second).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    # Then only that one comes back
    expect(second).to_have_count(1)
    expect(first).to_have_count(0)


def test_a_key_that_is_held_down_deletes_one_picture(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    made(studio, "the first", "the second", "the third")
    page.goto(f"{studio.url}/#/gallery")
    page.get_by_role("button", name="Picture: the third").focus()
    page.keyboard.down("Delete")
    expect(page.locator(".picture:focus")).to_have_attribute("title", "the second")
    page.keyboard.down("Delete")
    page.keyboard.up("Delete")
    expect(page.locator(".cell")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(studio.viewer.locator(".said")).to_have_text("the second")
    page.keyboard.down("Delete")
    expect(studio.viewer.locator(".said")).to_have_text("the first")
    page.keyboard.down("Delete")
    page.keyboard.up("Delete")
    expect(studio.viewer.locator(".said")).to_have_text("the first")


def test_a_key_pressed_right_after_opening_a_picture_is_the_viewers(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    made(studio, "the first", "the second", "the third")
    page.goto(f"{studio.url}/#/gallery")
    # When a key comes before the browser has drawn again
    page.get_by_role("button", name="Picture: the second").evaluate(
        """async (tile) => {
          tile.focus();
          tile.click();
          for (let turn = 0; turn < 20; turn += 1) await null;
          const press = new KeyboardEvent("keydown", { key: "Delete", bubbles: true, cancelable: true });
          document.activeElement.dispatchEvent(press);
        }"""
    )
    # Then the viewer, not the gallery behind it, deletes it and shows the next
    expect(studio.viewer.locator(".said")).to_have_text("the first")
    expect(page.locator(".cell")).to_have_count(2)


def test_a_note_is_seen_and_used_while_the_viewer_is_open(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    made(studio, "the first", "the second", "the third")
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        page.goto(f"{studio.url}/#/gallery")
        tile = page.get_by_role("button", name="Picture: the second")
        tile.click()
        # When a picture is deleted there, and the next one is shown
        page.keyboard.press("Delete")
        expect(studio.viewer.locator(".said")).to_have_text("the first")
        # Then it is brought back there, and the keys still turn the pages
        page.get_by_role("button", name="Undo").click()
        page.keyboard.press("ArrowLeft")
        expect(studio.viewer.locator(".said")).to_have_text("the second")
        assert violations(studio) == []
        page.keyboard.press("Escape")
        expect(tile).to_have_count(1)
    # And it is said there that the server is away, too
    studio.expects_failures = True
    tile.click()
    page.route("**/studio/**", lambda route: route.abort())
    page.evaluate("location.hash = '#/gallery/not-known'")
    expect(studio.viewer.locator(".connection")).to_contain_text("The server does not answer")
    expect(studio.viewer.get_by_role("button", name="Close")).to_be_visible()
    page.unroute("**/studio/**")
    expect(studio.viewer).to_contain_text("The picture is not there any more.")
    expect(studio.viewer.locator(".connection p")).to_have_count(0)


def test_a_page_of_the_gallery_that_cannot_be_read_waits_until_it_is_wanted_again(emptied_studio: Studio) -> None:
    studio, page = emptied_studio, emptied_studio.page
    studio.expects_failures = True
    made(studio, "a plain one")
    problem = {"code": "internal_error", "message": "It broke.", "parameter": None, "sentence": None}
    refused: list[str] = []

    def answer(route: Route) -> None:
        if "offset=0" in route.request.url:
            route.fulfill(json={**route.fetch().json(), "next_offset": 1})
        else:
            refused.append(route.request.url)
            route.fulfill(status=500, json={"error": problem})

    page.route("**/studio/batches?*", answer)
    page.goto(f"{studio.url}/?#/gallery")
    expect(page.get_by_role("alert")).to_contain_text("The gallery could not be read.")
    page.wait_for_timeout(1000)
    assert 0 < len(refused) < 4
    # When it is wanted again, and can be read
    page.unroute("**/studio/batches?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
