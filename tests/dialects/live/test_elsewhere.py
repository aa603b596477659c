"""A client that is connected to two API processes is told at both what it asks for at one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.dialects.house import House
from tests.dialects.live.running import Served, a_house, create_job, running


class Wire:
    """Between two processes: what one says, the other one hears."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    def end(self) -> "End":
        self.ends.append(End(self))
        return self.ends[-1]


class End:
    """One process's."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.heard: Callable[[str], None] = lambda words: None

    def say(self, topic: str, words: str) -> None:
        assert topic == "live"
        for end in self._wire.ends:
            if end is not self:
                end.heard(words)

    def hear(self, topic: str, heard: Callable[[str], None]) -> None:
        assert topic == "live"
        self.heard = heard


@asynccontextmanager
async def two_processes(house: House) -> AsyncIterator[tuple[Served, Served, Wire]]:
    """Two apps that know of each other only by the wire, over one studio."""
    wire, services = Wire(), house.services
    house.services = replace(services, neighbours=wire.end())
    async with running(house) as one:
        house.services = replace(services, neighbours=wire.end())
        async with running(house) as other:
            yield one, other, wire


@pytest.mark.parametrize("request_id", ["r-1", 1, "1"])
async def test_both_connections_of_a_client_are_told_to_the_end(tmp_path: Path, request_id: str | int) -> None:
    async with (
        two_processes(a_house(tmp_path, automatic=True)) as (one, other, _),
        one.talk("ann") as here,
        other.talk("ann") as there,
        other.talk("bob") as stranger,
    ):
        # When a client asks for a picture at one
        await here.say(create_job() | {"request_id": request_id})
        # Then it is told at both, under the id that it gave, and nobody else is
        (*_, first), (*_, second) = await here.hear_until("completed"), await there.hear_until("completed")
        assert first == second
        assert first["request_id"] == request_id
        assert await stranger.is_silent()


async def test_who_asks_again_is_told_again_at_both(tmp_path: Path) -> None:
    async with (
        two_processes(a_house(tmp_path, automatic=True)) as (one, other, _),
        one.talk("ann") as here,
        other.talk("ann") as there,
    ):
        await here.say(create_job(request_id="r-1", seed=5))
        for talker in (here, there):
            await talker.hear_until("completed")
        # When the same picture is asked for at the other
        await there.say(create_job(request_id="r-2", seed=5))
        # Then both are told of it once more
        for talker in (there, here):
            assert (await talker.hear_until("completed"))[-1]["request_id"] == "r-2"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "[]",
        '{"owner":"local","client":"ann"}',
        '{"owner":"local","client":"ann","job_id":"nobody","request_id":null,"previews":false}',
        '{"owner":"local","client":"nobody","job_id":"nobody","request_id":null,"previews":false}',
    ],
)
async def test_what_is_not_understood_or_concerns_nobody_is_nothing(tmp_path: Path, words: str) -> None:
    async with two_processes(a_house(tmp_path)) as (one, _, wire), one.talk("ann") as here:
        for end in wire.ends:
            end.heard(words)
        assert await here.is_silent()
