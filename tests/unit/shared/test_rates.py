"""One bucket of an owner for all processes."""

import pytest

from danqing.core.errors import RateLimited
from danqing.redis_link import RedisLink
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
