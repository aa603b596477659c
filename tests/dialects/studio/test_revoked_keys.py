"""A key that is revoked ends what its bearer has open, and nothing of anybody else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from danqing.core.types import JobState
from danqing.dialects.studio.dialect import studio
from danqing.http.keys import Keys
from danqing.http.standing import Standing
from tests.dialects.house import House
from tests.dialects.live.running import PATIENCE_S, Served, Talker, a_house, create_job, running
from tests.dialects.studio.asking import ADMIN, ANNE, BOB, KEYS


@dataclass
class Stream:
    """Of a job, as the studio page reads it."""

    lines: AsyncIterator[str]

    async def until(self, event: str) -> list[str]:
        """The names of the events up to the first of this kind; or to the end, which is told as an empty one."""
        names: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            async for line in self.lines:
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                    if names[-1] == event:
                        return names
        return [*names, ""]


class Visit:
    """Everything that one key's bearer can have open for long."""

    def __init__(self, server: Served, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}"}
        self._server = server
        self._http = httpx2.AsyncClient(base_url=server.url, headers=self._headers, timeout=PATIENCE_S)

    @asynccontextmanager
    async def talking(self, name: str) -> AsyncIterator[Talker]:
        async with self._server.talk(name, headers=self._headers) as talker:
            yield talker

    @asynccontextmanager
    async def reading(self, job_id: str) -> AsyncIterator[Stream]:
        async with self._http.stream("GET", f"/studio/events?job={job_id}") as answer:
            assert answer.status_code == 200
            yield Stream(answer.aiter_lines())

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's
        return await self._http.request(method, path, **options)

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return a_house(tmp_path, keys=KEYS)


@pytest.fixture
async def server(house: House) -> AsyncIterator[Served]:
    async with running(house, others=[studio()]) as server:
        yield server


async def end_of(talker: Talker) -> tuple[int, list[Any]]:
    """The close code, and what was told before."""
    told: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        try:
            while True:
                told.append(json.loads(await talker.socket.recv()))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code, told


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_its_sockets_and_streams_end_and_those_of_others_stay(
    house: House, server: Served, elsewhere: bool
) -> None:
    async with AsyncExitStack() as stack:
        admin = Visit(server, ADMIN)
        stack.push_async_callback(admin.close)
        # Given somebody with a key that was issued, who has a job made
        issued = [(await admin.ask("POST", "/studio/keys", json={"name": name})).json() for name in ("Carla", "Dora")]
        carla, dora, anne = (Visit(server, key) for key in (issued[0]["key"], issued[1]["key"], ANNE))
        for visit in (carla, dora, anne):
            stack.push_async_callback(visit.close)
        sockets = [await stack.enter_async_context(carla.talking(name)) for name in ("one", "other")]
        assert (await sockets[0].ask(create_job()))["status"] == "pending"
        (job,) = await house.store.unfinished()
        # And streams and sockets of his, the administrator's, and others'
        streams = [await stack.enter_async_context(visit.reading(job.id)) for visit in (carla, admin)]
        for stream in streams:
            assert (await stream.until("job"))[-1] == "job"
        theirs = [await stack.enter_async_context(visit.talking("one")) for visit in (admin, dora, anne)]
        # When the key is revoked, here or by another process
        if elsewhere:
            await house._sides.apis[0].issued_keys.remove(issued[0]["id"])
        else:
            assert (await admin.ask("DELETE", f"/studio/keys/{issued[0]['id']}")).status_code == 204
        await house.refresh_keys()
        # Then his are over, whatever he says
        assert await end_of(sockets[1]) == (1008, [])
        assert await end_of(sockets[0]) == (1008, [])
        assert (await streams[0].until("end"))[-1] == ""
        assert (await carla.ask("GET", f"/studio/events?job={job.id}")).status_code == 401
        # And all others go on
        assert [await talker.is_silent() for talker in theirs] == [True] * 3
        await house.painter.start(job.id)
        await house.painter.finish(job.id)
        assert (await streams[1].until("end"))[-2:] == ["job", "end"]
        # And what he asked for is made
        assert (await house.store.get(job.id)).state is JobState.COMPLETED


async def test_who_has_the_same_key_by_the_settings_stays(tmp_path: Path) -> None:
    # Given a key that was issued, and that the settings name too
    house = a_house(tmp_path, keys=KEYS)
    key, text = await house.services.key_ring.issue("Carla")
    ordinary = frozenset({ANNE, BOB, text})
    house = a_house(tmp_path / "restarted", keys=replace(KEYS, ordinary=ordinary))
    await house._sides.apis[0].issued_keys.add(key)
    await house.refresh_keys()
    async with running(house) as server, server.talk("c", headers={"X-Auth-Key": text}) as talker:
        # When it is revoked
        await house.services.key_ring.revoke(key.id)
        await house.refresh_keys()
        # Then it counts as before
        assert await talker.is_silent()


async def test_who_is_let_in_no_more_once_he_is_in_is_told_nothing(house: House) -> None:
    # Given somebody whose key is revoked between the handshake and its acceptance
    house.services = replace(house.services, standing=Standing(Keys(enabled=True, admin=ADMIN)))
    async with running(house, others=[studio()]) as server:
        async with server.talk("late", headers={"X-Auth-Key": ANNE}) as talker:
            assert await end_of(talker) == (1008, [])
        visit = Visit(server, ANNE)
        async with visit.reading("some-job") as stream:
            assert (await stream.until("end")) == [""]
        await visit.close()
