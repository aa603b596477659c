"""Making pictures."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.conftest import opened
from tests.browser.studio import Studio
from tests.e2e.servers import Server, a_server


def test_a_picture_is_made_and_seen(studio: Studio) -> None:
    # When a prompt is written and sent with the keyboard
    studio.make("a plain one", count=3)
    # Then its pictures are there, each of its own seed, really shown
    expect(studio.tile("completed")).to_have_count(3)
    shown = studio.page.locator(".stage img")
    expect(shown).to_have_count(3)
    assert [image.evaluate("image => image.decode().then(() => image.naturalWidth)") for image in shown.all()] == [
        64
    ] * 3
    assert len({image.get_attribute("src") for image in shown.all()}) == 3


def test_a_preview_is_seen_before_the_end_with_steps_and_then_the_picture(
    studio: Studio, shared_server: Server
) -> None:
    studio.make("waits for a watcher, then at the gate")
    # Then, while it is still being made, it is seen as it forms
    expect(studio.page.locator(".stage img.forming")).to_be_visible()
    expect(studio.tile("processing")).to_contain_text("Step 2 of 4")
    expect(studio.page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "2")
    # And when it goes on, it is the picture
    shared_server.zoo.open_gate("gate")
    expect(studio.tile("completed")).to_have_count(1)
    expect(studio.page.locator(".stage img.forming")).to_have_count(0)


def test_a_running_job_is_cancelled_and_one_that_waits_knows_its_place(studio: Studio) -> None:
    # Given one that is being made, and one behind it
    studio.make("waits at the gate")
    expect(studio.tile("processing")).to_have_count(1)
    studio.make("hardly a wait at the gate")
    expect(studio.tile("pending")).to_contain_text("Place 1 in the queue")
    # When the first is cancelled
    studio.page.locator(".recent .batch").nth(1).click()
    studio.tile("processing").get_by_role("button", name="Cancel").click()
    # Then it says so, and offers to try again
    expect(studio.tile("cancelled")).to_contain_text("Cancelled")
    expect(studio.tile("cancelled").get_by_role("button", name="Try again")).to_be_visible()
    # And the other one is made
    studio.page.locator(".recent .batch").first.click()
    expect(studio.tile("completed")).to_have_count(1)


def test_a_failure_says_what_to_do(studio: Studio) -> None:
    studio.make("out of memory")

    expect(studio.tile("failed")).to_contain_text("Choose a smaller size")


def test_a_full_queue_says_so_and_keeps_what_was_typed(studio: Studio, shared_server: Server) -> None:
    studio.expects_failures = True
    studio.make("waits at the gate")
    for _ in range(2):
        studio.write("a plain one")
        studio.page.locator("#count").fill("16")
        studio.page.locator("#count").press("Tab")
        studio.prompt.press("Control+Enter")
        expect(studio.page.get_by_role("button", name="Make 16")).to_be_enabled()  # once it was sent
    expect(studio.toast).to_contain_text("The queue is full")
    expect(studio.prompt).to_have_value("a plain one")
    shared_server.zoo.open_gate("gate")
    expect(studio.tile("completed")).to_have_count(16)


def test_a_reload_in_mid_job_finds_it_again(studio: Studio, shared_server: Server) -> None:
    # Given a job that is being made, and half a prompt
    studio.make("waits for a watcher, then at the gate")
    expect(studio.tile("processing")).to_have_count(1)
    studio.prompt.fill("the next one, half typed")
    # When the page is loaded again
    studio.page.reload()
    # Then both are there, and the picture comes
    expect(studio.tile("processing")).to_have_count(1)
    expect(studio.prompt).to_have_value("the next one, half typed")
    shared_server.zoo.open_gate("gate")
    expect(studio.tile("completed")).to_have_count(1)


def test_the_form_offers_what_the_model_honours_and_no_more(studio: Studio) -> None:
    page = studio.page
    page.get_by_role("button", name="More settings").click()
    expect(page.locator("input[name=steps]")).to_have_value("9")
    # Given the edit model, whose edits follow the prompt
    studio.choose("edit")
    expect(page.locator("select[name=model]")).to_have_value("sample-edit")
    # Then there is no strength, and other defaults
    expect(page.locator("input[name=strength]")).to_have_count(0)
    expect(page.locator("input[name=steps]")).to_have_value("8")
    # And a model that begins with the picture has one
    page.locator("select[name=model]").select_option("sample")
    expect(page.locator("input[name=strength]")).to_have_count(1)
    # And one mode's model list has only those that have the mode
    studio.choose("img2img")
    expect(page.locator("select[name=model] option")).to_have_count(1)


def test_a_seed_is_drawn_kept_and_let_go(studio: Studio) -> None:
    page = studio.page
    seed = page.locator("#seed")
    page.get_by_role("button", name="Draw a seed").click()
    kept = seed.input_value()
    assert kept.isdecimal()
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    newest = studio.api("/studio/batches")["batches"][0]["jobs"][0]
    assert newest["request"]["seed"] == kept
    # And a seed that JavaScript cannot count to is sent as it was typed, the largest one at most
    seed.fill("99999999999999999999")
    expect(seed).to_have_value(str(2**63 - 1))
    page.get_by_role("button", name="Keep the seed").click()
    expect(seed).to_have_value("")


def test_a_lora_is_chosen_with_its_strength(browser: Browser, tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    loras.mkdir()
    (loras / "ink.safetensors").touch()
    with a_server(tmp_path, DANQING_LORA_DIR=str(loras)) as server:
        server.start_ready()
        for studio in opened(browser, server.url):
            page = studio.page
            page.get_by_role("button", name="More settings").click()
            page.get_by_role("checkbox", name="ink").check()
            page.locator("input[name=lora-ink]").fill("0.5")
            studio.make("a plain one")
            expect(studio.tile("completed")).to_have_count(1)
            (job,) = studio.api("/studio/batches")["batches"][0]["jobs"]
            assert job["request"]["loras"] == [{"name": "ink", "scale": 0.5}]
