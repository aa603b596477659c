"""A client that does not read costs little and misses no state; one that never reads is given up."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Message, Scope, Send
from websockets.asyncio.client import connect

from danqing.dialects.live import session
from danqing.dialects.live.dialect import live
from danqing.dialects.live.outbox import OutboxLimits
from tests.dialects.house import House
from tests.dialects.live.running import PATIENCE_S, Served, Talker, a_house, create_job, running, until

STEPS = 20_000  # far more than any buffer between here and there holds


def stalled(server: Served, client_id: str) -> connect:
    """A connection whose client reads no more than it must."""
    return connect(f"{server.url.replace('http', 'ws')}/api/ws?client_id={client_id}", proxy=None, max_queue=1)


async def test_steps_are_dropped_and_states_are_not(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    async with running(house) as server, stalled(server, "slow") as socket, server.talk("slow") as quick:
        await socket.send(json.dumps(create_job()))
        assert (await quick.hear())["status"] == "pending"
        (job,) = await house.store.unfinished()
        await house.painter.start(job.id)
        assert (await quick.hear())["status"] == "processing"

        # When it reads nothing while steps come by the thousand
        for step in range(1, STEPS + 1):
            house.painter.step(job.id, step, STEPS)
            if step % 50 == 0:
                await asyncio.sleep(0)
        await house.painter.finish(job.id)
        await quick.hear_until("completed")

        # Then it gets every state, the newest steps, and far fewer than there were
        heard = await Talker(socket).hear_until("completed")
    states = [m["status"] for m in heard if m["type"] == "job_status"]
    steps = [m["progress"]["current_step"] for m in heard if m["type"] == "job_progress"]
    assert states == ["pending", "processing", "generated", "completed"]
    assert steps[-3:] == [STEPS, 1, 2]
    assert len(steps) < STEPS


class StuckSocket:
    """The server's end of a connection to a client that talks but takes nothing: sending waits for ever."""

    def __init__(self, house: House, *, limits: OutboxLimits, says: Iterator[str], send: Send | None = None) -> None:
        """send: what happens to messages of the server instead."""
        self._says = says
        self._sent = send
        self._accepted = asyncio.Event()
        self.taken = 0  # messages that the server has read
        self.task = asyncio.create_task(house.app(live(limits))(self._scope(), self._receive, self._send))

    @staticmethod
    def _scope() -> Scope:
        return {
            "type": "websocket",
            "path": "/api/ws",
            "query_string": b"client_id=stuck",
            "headers": [(b"host", b"danqing.test")],
            "client": ("127.0.0.1", 1),
        }

    async def _receive(self) -> Message:
        if not self._accepted.is_set():
            return {"type": "websocket.connect"}
        for text in self._says:
            self.taken += 1
            return {"type": "websocket.receive", "text": text}
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self._accepted.set()
        elif self._sent is not None:
            await self._sent(message)
        else:
            await asyncio.Event().wait()


async def test_a_client_that_never_reads_is_given_up_and_is_told_when_it_comes_back(tmp_path: Path) -> None:
    house = a_house(tmp_path)
    asked = (json.dumps(create_job(f"pizza {number}", str(number))) for number in range(20))
    # When more states pile up than are held
    stuck = StuckSocket(house, limits=OutboxLimits(letters=15), says=asked)
    async with asyncio.timeout(PATIENCE_S):
        await stuck.task

    # Then the server lets go of it, and it misses nothing of what it asked for
    async with running(house) as server:
        first, *others = reversed(await house.store.unfinished())
        await house.studio.cancel(first.id)
        async with server.talk("stuck") as client:
            told = [await client.hear() for _ in range(1 + len(others))]
    assert len(others) >= 15 - 1
    assert {m["job_id"] for m in told} == {job.fingerprint for job in (first, *others)}
    assert sorted(m["status"] for m in told) == ["cancelled", *["pending"] * len(others)]


async def test_a_client_that_takes_nothing_for_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SEND_TIMEOUT_S", 0.1)
    stuck = StuckSocket(a_house(tmp_path), limits=OutboxLimits(), says=iter(["one question"]))

    async with asyncio.timeout(PATIENCE_S):
        await stuck.task


async def test_a_client_whose_connection_the_server_has_closed_meanwhile_is_just_gone(tmp_path: Path) -> None:
    async def closed(message: Message) -> None:
        raise RuntimeError(f"Unexpected ASGI message '{message['type']}', after sending 'websocket.close'.")

    stuck = StuckSocket(a_house(tmp_path), limits=OutboxLimits(), says=iter(["one question"]), send=closed)

    async with asyncio.timeout(PATIENCE_S):
        await stuck.task  # it ends, and not with an exception


async def test_a_client_that_asks_and_does_not_read_is_not_listened_to(tmp_path: Path) -> None:
    questions = itertools.repeat(json.dumps({"type": "get_status", "job_id": "?"}))
    stuck = StuckSocket(a_house(tmp_path), limits=OutboxLimits(ease=100), says=questions)

    await until(lambda: stuck.taken > 100)
    await asyncio.sleep(0.5)

    # Then it has to wait until its answers are gone
    assert stuck.taken <= 100 + 2
    stuck.task.cancel()
    await asyncio.gather(stuck.task, return_exceptions=True)


async def test_a_client_that_asks_for_long_answers_and_does_not_read_is_not_listened_to_either(tmp_path: Path) -> None:
    # Given a client with as many jobs as may wait
    house = a_house(tmp_path)
    async with running(house) as server:
        async with server.talk("stuck") as client:
            for number in range(100):
                assert (await client.ask(create_job(f"pizza {number}")))["status"] == "pending"
            await client.say({"type": "get_client_jobs"})
            answer = await client.socket.recv()
        assert len(json.loads(answer)["jobs"]) == 100
        most = 1024 * 1024 // len(answer) + 3  # one that is being sent, one beyond, and a question
        # When it asks for all of them without end, and reads nothing
        questions = itertools.repeat(json.dumps({"type": "get_client_jobs"}))
        stuck = StuckSocket(house, limits=OutboxLimits(), says=questions)
        await until(lambda: stuck.taken >= most // 2)
        await asyncio.sleep(1)
        # Then about 1 MiB of answers waits, fewer than the letters that may
        assert most // 2 <= stuck.taken <= most < 500
        stuck.task.cancel()
        await asyncio.gather(stuck.task, return_exceptions=True)


async def test_a_client_that_leaves_many_bytes_of_news_unread_is_given_up(tmp_path: Path) -> None:
    asked = (json.dumps(create_job(f"pizza {number}", "r" * 256)) for number in range(20))
    stuck = StuckSocket(a_house(tmp_path), limits=OutboxLimits(letter_bytes=4096), says=asked)

    async with asyncio.timeout(PATIENCE_S):
        await stuck.task
