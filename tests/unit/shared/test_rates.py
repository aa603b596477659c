"""One bucket of an owner for all processes."""

import runpy
import time
from contextlib import suppress

import pytest

from danqing.core.errors import RateLimited
from danqing.redis_link import RedisLink
from danqing.shared import rates as shared_rates
from danqing.shared.rates import SharedRates, bucket_key
from tests.contracts.rates import RULE, Clock, RatesContract
from tests.services.redis import RedisServer


class TestSharedRates(RatesContract):
    implementation = SharedRates

    @pytest.fixture
    def rates(self, link: RedisLink, clock: Clock) -> SharedRates:
        return SharedRates(link, RULE, now=clock)


async def test_two_processes_take_from_one_bucket(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    clock = Clock()
    one, other = SharedRates(link, RULE, now=clock), SharedRates(other_link, RULE, now=clock)
    await one.take("ann", 6)
    with pytest.raises(RateLimited) as caught:
        await other.take("ann", 6)
    assert caught.value.retry_after_s == 2
    await one.give_back("ann", 6)
    await other.take("ann", 6)
    # What is held of an owner goes once his bucket is full
    left_s = int(redis_server.run("TTL", bucket_key("ann"))[1:])
    assert left_s != -1  # never; -2: it has gone already
    assert left_s <= 6


async def test_clocks_that_differ_give_nobody_more(link: RedisLink, other_link: RedisLink) -> None:
    # Given two processes that are half a second apart, if they go by their machines' clocks
    clock, taken = Clock(), 0.0
    ahead = SharedRates(other_link, RULE, now=lambda: clock.s + 0.5)
    rates = [SharedRates(link, RULE, now=clock), ahead]
    # When an owner asks the one and the other for more than he may, for a minute
    for number in range(600):
        with suppress(RateLimited):
            await rates[number % 2].take("ann", 0.5)
            taken += 0.5
        clock.s += 0.1
    # Then he gets a full bucket, and what fills it
    assert taken <= RULE.burst + RULE.per_minute


async def test_a_machines_clock_does_not_matter(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an owner who has had enough
    await SharedRates(link, RULE).take("ann", 10)
    # When he asks a machine that is a minute ahead
    with monkeypatch.context() as there:
        ahead = time.time() + 60
        there.setattr("time.time", lambda: ahead)
        rates = runpy.run_path(shared_rates.__file__)["SharedRates"](link, RULE)
    # Then he has had enough there too
    with pytest.raises(RateLimited):
        await rates.take("ann", 9)


async def test_while_redis_is_away_each_process_has_its_own(link: RedisLink, redis_server: RedisServer) -> None:
    rates = SharedRates(link, RULE)
    redis_server.kill()
    try:
        await rates.take("ann", 10)
        with pytest.raises(RateLimited):
            await rates.take("ann", 9)
        await rates.give_back("ann", 10)
        await rates.take("ann", 9)
    finally:
        redis_server.start()
    # And once it is back they share one again
    await rates.take("ann", 10)
    with pytest.raises(RateLimited):
        await rates.take("ann", 9)
