"""Subscriptions outlive a connection, and even the server."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from danqing.core.errors import StorageAway
from danqing.core.types import Job
from danqing.dialects.live import connection
from danqing.dialects.live.clients import MAX_ENDED
from danqing.dialects.live.conversation import NOT_ALL
from danqing.dialects.live.routes import MAX_CLIENT_ID_CHARS
from tests.dialects.house import House
from tests.dialects.live.running import PATIENCE_S, a_house, create_job, running, until
from tests.dialects.sides import IS_SCALED

knows_who_was_told = pytest.mark.skipif(
    IS_SCALED, reason="the next connection may be to another process, which tells an end once too"
)


async def paint(house: House, job_id: str) -> None:
    await house.painter.start(job_id)
    await house.painter.finish(job_id)


async def test_a_running_job_goes_on_being_told_after_a_reconnect(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.ask(create_job(request_id="r1"))
            await client.ask(create_job(request_id="r2"))
        (job,) = await house.store.unfinished()
        await house.painter.start(job.id)

        async with server.talk("anna") as client:
            # Then it is told by itself, under the ids it was asked for with
            assert [(m["status"], m["request_id"]) for m in (await client.hear(), await client.hear())] == [
                ("processing", "r1"),
                ("processing", "r2"),
            ]
            house.painter.step(job.id, 1, 3)
            assert (await client.hear())["progress"]["current_step"] == 1
            await house.painter.finish(job.id)
            assert (await client.hear_until("completed"))[-1]["request_id"] == "r1"


async def test_a_missed_end_is_told_once(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.ask(create_job("done", "r1"))
            await client.ask(create_job("cancelled", "r2"))
        done, cancelled = await house.store.unfinished()
        await paint(house, done.id)
        await house.studio.cancel(cancelled.id)

        async with server.talk("ben") as other:
            assert await other.is_silent()
        async with server.talk("anna") as client:
            first, second = await client.hear(), await client.hear()
            assert await client.is_silent()
        assert (first["status"], first["request_id"], "result" in first) == ("completed", "r1", True)
        assert (second["status"], second["request_id"]) == ("cancelled", "r2")

        async with server.talk("anna") as client:
            assert await client.is_silent()
            # Then the list has them for ever
            jobs = (await client.ask({"type": "get_client_jobs"}))["jobs"]
            assert [job["status"] for job in jobs] == ["cancelled", "completed"]


@knows_who_was_told
async def test_a_job_under_way_is_followed_and_listed_however_many_newer_ones_ended(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            first = await client.ask(create_job("the first", "r1"))
            (job,) = await house.store.unfinished()
            for number in range(MAX_ENDED + 1):
                newer = await client.ask(create_job(f"pizza {number}"))
                await client.say({"type": "cancel_job", "job_id": newer["job_id"]})
                await client.hear_until("cancelled")
                await client.hear_until("cancelled")

        async with server.talk("anna") as client:
            assert await client.hear() == first
            jobs = (await client.ask({"type": "get_client_jobs"}))["jobs"]
            await paint(house, job.id)
            assert (await client.hear_until("completed"))[-1]["request_id"] == "r1"

    # Then it comes after the newest of the others
    assert [each["status"] for each in jobs] == ["cancelled"] * MAX_ENDED + ["pending"]


async def test_of_more_jobs_than_can_be_followed_the_oldest_are_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            for number in range(5):
                await client.ask(create_job(f"pizza {number}", str(number)))
        oldest = (await house.store.unfinished())[0]

        monkeypatch.setattr(connection, "MAX_FOLLOWED", 3)
        async with server.talk("anna") as client:
            heard = [await client.hear() for _ in range(4)]
            assert [m["request_id"] for m in heard] == ["0", "1", "2", None]
            assert heard[-1] == {"type": "error", "message": NOT_ALL, "request_id": None}
            await paint(house, oldest.id)
            assert (await client.hear_until("completed"))[-1]["request_id"] == "0"

            # Then a list makes use of the room that one left
            listed = await client.ask({"type": "get_client_jobs"})
            assert [job["status"] for job in listed["jobs"]] == ["pending"] * 4 + ["completed"]
            assert [(await client.hear())["request_id"] for _ in range(2)] == ["3", None]


async def test_a_list_follows_what_could_not_be_followed_on_connecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.ask(create_job(request_id="r1"))
        (job,) = await house.store.unfinished()

        async def away(*_: object, **__: object) -> Sequence[Job]:
            monkeypatch.undo()
            raise StorageAway

        # Given a client that came back while the store was away
        monkeypatch.setattr(house.services.subscriptions, "jobs", away)
        async with server.talk("anna") as client:
            assert (await client.hear())["message"] == "The server cannot reach its storage; try again in a moment."

            listed = await client.ask({"type": "get_client_jobs"})
            assert [each["status"] for each in listed["jobs"]] == ["pending"]
            told = await client.hear()
            assert (told["status"], told["request_id"]) == ("pending", "r1")
            await paint(house, job.id)
            assert (await client.hear_until("completed"))[-1]["request_id"] == "r1"

            # Then it is not followed twice
            assert (await client.ask({"type": "get_client_jobs"}))["jobs"][0]["status"] == "completed"
            assert await client.is_silent()


async def test_an_end_that_was_sent_into_a_broken_connection_is_told_again(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.ask(create_job())
            (job,) = await house.store.unfinished()
            await paint(house, job.id)
            await client.hear_until("completed")
            # When the connection breaks without a goodbye: nobody knows what arrived
            client.socket.transport.abort()

        async with server.talk("anna") as client:
            assert (await client.hear())["status"] == "completed"


@knows_who_was_told
@pytest.mark.parametrize("code", [None, 1000, 1001])
async def test_a_client_that_said_goodbye_is_not_told_again(tmp_path: Path, code: int | None) -> None:
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.ask(create_job())
            (job,) = await house.store.unfinished()
            await paint(house, job.id)
            await client.hear_until("completed")
            # When it closes, with a code or, as JavaScript's close() does, without one
            await client.socket.close(code)  # pyright: ignore[reportArgumentType] - None is its protocol's for no code

        async with server.talk("anna") as client:
            assert await client.is_silent()


@pytest.mark.parametrize("request_id", ["r1", 7, 0, ""])
async def test_after_a_restart_of_the_server_ends_are_told_again(tmp_path: Path, request_id: str | int) -> None:
    house = a_house(tmp_path)
    async with running(house) as server, server.talk("anna") as client:
        await client.ask(create_job() | {"request_id": request_id})
        (job,) = await house.store.unfinished()
        await paint(house, job.id)
        await client.hear_until("completed")

    # Given a server that knows only what is stored
    restarted = a_house(tmp_path)
    restarted.store.__dict__.update(house.store.__dict__)
    restarted.services.subscriptions.__dict__.update(house.services.subscriptions.__dict__)
    async with running(restarted) as server:
        async with server.talk("anna") as client:
            told = await client.hear()
            assert await client.is_silent()
        async with server.talk("anna") as client:
            assert await client.is_silent()

    assert (told["status"], told["request_id"]) == ("completed", request_id)


async def test_two_connections_of_a_client_are_told_everything(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server, server.talk("anna") as one, server.talk("anna") as two:
        await one.ask(create_job(request_id="r1"))
        (job,) = await house.store.unfinished()
        await house.painter.start(job.id)
        house.painter.step(job.id, 1, 3)
        await house.painter.finish(job.id)

        told_one = await one.hear_until("completed")
        told_two = (await two.hear_until("completed"))[1:]

    assert told_one == told_two
    assert [m.get("status") for m in told_one] == ["processing", None, "generated", None, None, "completed"]


async def test_a_job_that_is_accepted_while_its_connection_breaks_is_not_lost(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    waits_for_storing = False
    slow, subscriptions = asyncio.Event(), house.services.subscriptions
    add = subscriptions.add

    async def slow_add(owner: str, client: str, job_id: str) -> None:
        nonlocal waits_for_storing
        waits_for_storing = True
        await slow.wait()
        await add(owner, client, job_id)

    subscriptions.add = slow_add  # type: ignore[method-assign]
    async with running(house) as server:
        async with server.talk("anna") as client:
            await client.say(create_job(request_id="r1"))
            await until(lambda: waits_for_storing)
            client.socket.transport.abort()
        async with server.talk("anna") as client:
            assert await client.is_silent()  # nothing is known yet
            slow.set()

            told = await client.hear()

    assert (told["status"], told["request_id"]) == ("pending", "r1")


async def test_a_stopping_server_says_goodbye_after_the_last_state(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server, server.talk() as busy, server.talk() as idle:
        await busy.ask(create_job())
        (job,) = await house.store.unfinished()
        await house.painter.start(job.id)
        server.stop.request()

        assert (await busy.hear())["status"] == "processing"
        for client in (busy, idle):
            with pytest.raises(ConnectionClosed) as closed:
                await client.hear()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012


async def test_a_client_id_is_bounded(tmp_path: Path) -> None:
    async with running(a_house(tmp_path)) as server:
        async with server.talk("x" * MAX_CLIENT_ID_CHARS) as client:
            assert await client.is_silent()
        async with server.talk("x" * (MAX_CLIENT_ID_CHARS + 1)) as client:
            assert (await client.hear())["type"] == "error"
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.timeout(PATIENCE_S):
                    await client.socket.recv()
            assert client.socket.close_code == 1008
