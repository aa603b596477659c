"""Enlarging pictures: what was made, what it was made from, and what comes from outside."""

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.studio import Studio, a_png

ENLARGE = "Enlarge this picture ×4"


def newest(studio: Studio) -> dict[str, object]:
    job: dict[str, object] = studio.api("/studio/batches")["batches"][0]["jobs"][0]
    return job


def enlarged(studio: Studio, before: dict[str, object]) -> dict[str, object]:
    """What came of it, once the stage shows it."""
    page = studio.page
    expect(page.locator(".stage .tile")).not_to_have_attribute("data-job", str(before["id"]))
    expect(studio.tile("completed")).to_have_count(1)
    return newest(studio)


def test_a_picture_that_was_made_is_enlarged_and_compared_with_what_it_was(studio: Studio) -> None:
    page = studio.page
    # Given a picture
    studio.make("a heron")
    expect(studio.tile("completed")).to_have_count(1)
    before = newest(studio)
    # When it is enlarged
    studio.tiles.get_by_role("button").click()
    studio.viewer.get_by_role("button", name="Enlarge ×4").click()
    job = enlarged(studio, before)
    # Then it is another one, four times as large, of that picture and under its words
    assert job["pictures"]["original"]["width"] == 256  # type: ignore[index]
    assert job["request"]["mode"] == "upscale"  # type: ignore[index]
    assert job["request"]["prompt"] == "a heron"  # type: ignore[index]
    sent, own = (
        page.request.get(studio.url + str(url)).body()
        for url in (job["inputs"]["input_images"][0]["url"], before["pictures"]["original"]["url"])  # type: ignore[index]
    )
    assert colours(sent) == colours(own)
    # And it can be compared with it, at its actual size too
    studio.tiles.get_by_role("button", name="Picture: a heron").click()
    studio.viewer.get_by_role("button", name="Compare").click()
    expect(studio.viewer.locator(".compare img")).to_have_count(2)
    page.keyboard.press("z")
    frame = studio.viewer.get_by_role("group", name="Actual size")
    expect(frame.locator(".compare")).to_have_css("width", "256px")
    studio.viewer.get_by_role("button", name="The whole picture").click()
    expect(frame).to_have_count(0)
    # And nothing is offered that has no meaning for it
    for name in ("Vary", "Reuse settings"):
        expect(studio.viewer.get_by_role("button", name=name)).to_have_count(0)


def colours(content: bytes) -> object:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return picture.convert("RGB").size, picture.convert("RGB").getcolors()


def test_a_picture_from_outside_is_enlarged_without_being_made_anew(studio: Studio) -> None:
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    before = newest(studio)
    studio.drop(a_png((10, 120, 200), (40, 30)))
    studio.page.locator(".thumb").get_by_role("button", name=ENLARGE).click()
    job = enlarged(studio, before)
    original = job["pictures"]["original"]  # type: ignore[index]
    assert (original["width"], original["height"]) == (160, 120)
    content = studio.page.request.get(studio.url + original["url"]).body()
    assert colours(content) == ((160, 120), [(160 * 120, (10, 120, 200))])
    # And so is what a picture was made from
    studio.tiles.get_by_role("button", name="Picture: An enlarged picture").click()
    studio.viewer.locator(".sources").get_by_role("button", name=ENLARGE).click()
    again = enlarged(studio, job)
    assert again["pictures"]["original"]["width"] == 160  # type: ignore[index]


def test_a_picture_that_is_too_large_says_so(studio: Studio) -> None:
    studio.drop(a_png(size=(2049, 3)))
    button = studio.page.locator(".thumb").get_by_role("button", name=ENLARGE)
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", "Pictures of at most 2048 pixels a side can be enlarged.")


def test_enlarged_pictures_are_a_kind_of_their_own_in_the_gallery(studio: Studio) -> None:
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    before = newest(studio)
    studio.drop(a_png((1, 2, 3), (20, 20)))
    studio.page.locator(".thumb").get_by_role("button", name=ENLARGE).click()
    enlarged(studio, before)
    studio.open("gallery")
    studio.page.locator("select[name=filterMode]").select_option("upscale")
    expect(studio.page.get_by_role("button", name="Picture: An enlarged picture").first).to_be_visible()
    expect(studio.page.get_by_role("button", name="Picture: a plain one")).to_have_count(0)


def test_one_who_leaves_while_a_picture_is_sent_is_not_called_back(studio: Studio) -> None:
    page = studio.page
    studio.make("a stork")
    expect(studio.tile("completed")).to_have_count(1)
    before = newest(studio)
    studio.tiles.get_by_role("button").click()
    held: list[Route] = []
    page.route("**/studio/batches", lambda route: held.append(route))
    # When the page is left for the gallery before the server answers
    with page.expect_request("**/studio/batches"):
        studio.viewer.get_by_role("button", name="Enlarge ×4").click()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Gallery", exact=True).click()
    page.unroute_all()
    # Then the gallery is still shown when the other one is there
    expect(page.get_by_role("button", name="Picture: a stork")).to_have_count(2)
    assert newest(studio)["id"] != before["id"]
    assert page.url.endswith("#/gallery")


def test_a_picture_that_the_server_does_not_take_leaves_the_page_where_it_was(studio: Studio) -> None:
    page = studio.page
    studio.expects_failures = True
    studio.make("a crane")
    expect(studio.tile("completed")).to_have_count(1)
    studio.tiles.get_by_role("button").click()
    page.route("**/pictures/**", lambda route: route.abort())
    studio.viewer.get_by_role("button", name="Enlarge ×4").click()
    expect(studio.toast).to_contain_text("The server cannot be reached")
    expect(studio.viewer.locator(".said")).to_have_text("a crane")


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node")
def test_the_copied_javascript_makes_the_picture_again(studio: Studio, tmp_path: Path) -> None:
    page = studio.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    # Given a picture that was made of another one
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    before = newest(studio)
    content = a_png((9, 8, 7), (16, 16))
    studio.drop(content)
    page.locator(".thumb").get_by_role("button", name=ENLARGE).click()
    job = enlarged(studio, before)
    studio.tiles.get_by_role("button").click()
    studio.viewer.get_by_role("button", name="JavaScript").click()
    expect(studio.toast).to_contain_text("Copied")
    # When what was copied is run beside that picture
    (tmp_path / "input-1.png").write_bytes(content)
    (tmp_path / "again.mjs").write_text(page.evaluate("navigator.clipboard.readText()"))
    subprocess.run(["node", "again.mjs"], cwd=tmp_path, check=True, timeout=60)
    # Then it has made another one like it
    assert newest(studio)["id"] != job["id"]
    assert colours((tmp_path / "picture.png").read_bytes()) == ((64, 64), [(64 * 64, (9, 8, 7))])
