"""Finding, looking at, reusing and removing what was made."""

from playwright.sync_api import expect

from tests.browser.studio import Studio
from tests.e2e.servers import Server


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
        expect(studio.toast).to_contain_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert mark in copied and job["request"]["seed"] in copied
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


def test_only_what_is_near_the_window_is_in_the_document(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    for _ in range(130):
        server.submit("a plain one")
    studio.open("gallery")
    page = studio.page
    page.locator(".cell").first.wait_for()
    in_document = page.locator(".cell").count()
    assert in_document < 80
    # When it is scrolled to the end, more comes, and the document stays as small
    for _ in range(30):
        page.mouse.wheel(0, 2000)
        if page.get_by_text("That is everything.").count():
            break
        page.wait_for_timeout(50)
    expect(page.get_by_text("That is everything.")).to_be_visible()
    assert page.locator(".cell").count() < 80
    last = page.locator(".cell").last
    expect(last).to_have_attribute("data-place", "129")
