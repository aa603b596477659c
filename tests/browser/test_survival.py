"""The server goes and comes back; nothing that was typed or made is lost."""

import os
import signal

from playwright.sync_api import Route, expect

from tests.browser.studio import Studio
from tests.e2e.servers import Server


def test_a_server_that_is_killed_and_restarted_in_mid_job(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    # Given a job that is being made, and half a prompt
    studio.make("waits for a watcher, then at the gate")
    expect(studio.page.locator(".stage img.forming")).to_be_visible()
    studio.prompt.fill("the next one, half typed")
    # When the server is killed with all below it
    studio.expects_failures = True
    server.kill_everything()
    # Then the page says so
    expect(studio.page.locator(".connection")).to_contain_text("The server does not answer")
    # And when it is back, the page finds it and the job by itself
    server.zoo.open_gate("gate")
    server.start_ready()
    expect(studio.tile("completed")).to_have_count(1)
    expect(studio.page.locator(".connection p")).to_have_count(0)
    expect(studio.prompt).to_have_value("the next one, half typed")


def test_what_is_sent_while_the_server_is_down_is_made_once_when_it_is_back(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    studio.expects_failures = True
    studio.write("a plain one")
    server.kill_everything()
    studio.prompt.press("Control+Enter")
    expect(studio.page.locator(".connection")).to_contain_text("The server does not answer")
    expect(studio.page.locator("#submit-hint")).to_have_text("Sending")
    server.start_ready()
    expect(studio.tile("completed")).to_have_count(1)
    assert len(studio.api("/studio/batches")["batches"]) == 1


def test_a_page_that_is_opened_before_the_server_is_ready_waits_for_it(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    studio.expects_failures = True
    server.terminate()
    server.start()
    studio.page.reload()
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)


def test_a_page_that_could_not_read_anything_reads_it_once_the_server_can_be_reached(emptied_studio: Studio) -> None:
    studio = emptied_studio
    studio.expects_failures = True
    studio.make("a plain one")
    expect(studio.tile("completed")).to_have_count(1)
    studio.page.route("**/studio/**", lambda route: route.abort())
    studio.page.reload()
    expect(studio.page.locator(".connection")).to_contain_text("The server does not answer")

    studio.page.unroute("**/studio/**")

    expect(studio.page.locator(".connection p")).to_have_count(0)
    expect(studio.tile("completed")).to_have_count(1)


def test_a_cancel_that_does_not_reach_the_server_is_told(emptied_studio: Studio) -> None:
    studio = emptied_studio
    studio.expects_failures = True
    studio.make("waits for a watcher, then at the gate")
    expect(studio.tile("processing")).to_have_count(1)
    studio.page.route("**/cancel", lambda route: route.abort())

    studio.tiles.get_by_role("button", name="Cancel").click()

    expect(studio.toast).to_contain_text("The server cannot be reached")
    studio.page.unroute("**/cancel")
    studio.tiles.get_by_role("button", name="Cancel").click()
    expect(studio.tile("cancelled")).to_have_count(1)


def test_a_page_that_follows_nothing_finds_the_server_again_too(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    studio.expects_failures = True
    server.kill_everything()
    studio.page.get_by_role("link", name="Gallery", exact=True).click()
    expect(studio.page.locator(".connection")).to_contain_text("The server does not answer")

    with studio.page.expect_response("**/studio/models"):  # they may be others than before
        server.start_ready()

    expect(studio.page.locator(".connection p")).to_have_count(0)


def test_a_connection_that_breaks_without_a_word_is_noticed(own_studio: Studio, server: Server) -> None:
    studio = own_studio
    studio.expects_failures = True
    studio.page.clock.install()
    studio.make("waits for a watcher, then at the gate")
    expect(studio.page.locator(".stage img.forming")).to_be_visible()
    # Given a server that says nothing more, and closes nothing
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        studio.page.clock.fast_forward(41_000)
        expect(studio.page.locator(".connection")).to_contain_text("The server does not answer")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    # When it goes on, then so does the page
    server.zoo.open_gate("gate")
    expect(studio.tile("completed")).to_have_count(1)
    expect(studio.page.locator(".connection p")).to_have_count(0)


def test_a_model_that_was_still_loading_is_looked_at_again(studio: Studio) -> None:
    page = studio.page
    page.clock.install()

    def loading(route: Route) -> None:
        told = route.fetch().json()
        told["models"] = [{**model, "loaded": False} for model in told["models"]]
        route.fulfill(json=told)

    page.route("**/studio/models", loading)
    page.reload()
    model = page.locator("select[name=model] option").first
    expect(model).to_contain_text("(loading)")
    page.unroute("**/studio/models")
    page.clock.fast_forward(6_000)
    expect(model).not_to_contain_text("(loading)")


def test_the_view_of_the_machine_is_there_once_the_server_is_back(studio: Studio) -> None:
    page = studio.page
    studio.expects_failures = True
    # Given a page that could not fetch the view beforehand, and cannot now
    page.route("**/views/machine/*", lambda route: route.abort())
    page.reload()
    studio.prompt.wait_for()
    page.get_by_role("link", name="Machine").click()
    expect(page.locator(".connection")).to_contain_text("The server does not answer")

    page.unroute("**/views/machine/*")

    expect(page.locator(".worker").first).to_be_visible()
    expect(page.locator(".connection p")).to_have_count(0)
