"""Tickets that are issued at one process and open a WebSocket at another."""

import runpy
import time

import pytest

from danqing.core.errors import Unavailable
from danqing.core.tickets import LIFETIME_S
from danqing.redis_link import RedisLink
from danqing.shared import tickets as shared_tickets
from danqing.shared.tickets import CALLERS_KEY, SharedTickets
from tests.contracts.tickets import ANN, Clock, TicketsContract
from tests.services.redis import RedisServer


class TestSharedTickets(TicketsContract):
    implementation = SharedTickets
    most = 20

    @pytest.fixture
    def tickets(self, link: RedisLink, clock: Clock) -> SharedTickets:
        return SharedTickets(link, lifetime_s=LIFETIME_S, most=self.most, now=clock)


async def test_of_two_processes_one_redeems_what_the_other_issued(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    one, other = (SharedTickets(way, lifetime_s=60, most=9) for way in (link, other_link))
    ticket = await one.issue(ANN)
    # Who reads Redis does not find it
    assert ticket.encode() not in redis_server.run("HGETALL", CALLERS_KEY)
    assert await other.redeem(ticket) == ANN
    assert await one.redeem(ticket) is None
    # And nothing stays for ever
    await one.issue(ANN)
    assert redis_server.run("TTL", CALLERS_KEY) not in (b":-1\r\n", b":-2\r\n")


async def test_a_machines_clock_does_not_matter(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process on a machine that is a minute ahead
    here = SharedTickets(link, lifetime_s=60, most=9)
    with monkeypatch.context() as there:
        ahead = time.time() + 61
        there.setattr("time.time", lambda: ahead)
        other = runpy.run_path(shared_tickets.__file__)["SharedTickets"](link, lifetime_s=60, most=9)
    # When it issues one, then those that others issued stay good, at each of them
    tickets = [await here.issue(ANN), await here.issue(ANN)]
    tickets.append(await other.issue(ANN))
    redeemed = [await process.redeem(one) for process, one in zip((here, other, here), tickets, strict=True)]
    assert redeemed == [ANN, ANN, ANN]


async def test_while_redis_is_away_none_is_issued_or_called_bad(link: RedisLink, redis_server: RedisServer) -> None:
    tickets = SharedTickets(link, lifetime_s=60, most=9)
    ticket = await tickets.issue(ANN)
    redis_server.kill()
    try:
        with pytest.raises(Unavailable):
            await tickets.issue(ANN)
        with pytest.raises(Unavailable):
            await tickets.redeem(ticket)
    finally:
        redis_server.start()
