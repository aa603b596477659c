"""What API processes tell each other, over a real Redis."""

from collections.abc import AsyncIterator

import pytest

from danqing.redis_link import RedisLink
from danqing.shared.neighbours import CHANNEL, MOST_UNSENT, SharedNeighbours
from tests.services.redis import RedisServer
from tests.zoo.house import until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, everybody listens before the test goes on."""
    monkeypatch.setattr("danqing.shared.neighbours.JOIN_WAIT_S", 30.0)


@pytest.fixture
async def one(link: RedisLink) -> AsyncIterator[SharedNeighbours]:
    neighbours = SharedNeighbours(link)
    async with neighbours.at_work():
        yield neighbours


@pytest.fixture
async def other(other_link: RedisLink) -> AsyncIterator[SharedNeighbours]:
    neighbours = SharedNeighbours(other_link)
    async with neighbours.at_work():
        yield neighbours


async def test_others_hear_what_is_said_of_their_topics(one: SharedNeighbours, other: SharedNeighbours) -> None:
    here, there, twice = list[str](), list[str](), list[str]()
    one.hear("live", here.append)
    other.hear("live", there.append)
    other.hear("live", twice.append)
    other.hear("quiet", there.append)
    # When one speaks, of what the other hears of and of what it does not
    for topic, words in (("live", "a"), ("loud", "b"), ("live", "披萨")):
        one.say(topic, words)
    # Then the other hears it in order, and nobody hears himself
    await until(lambda: there == twice == ["a", "披萨"], "heard")
    other.say("live", "back")
    await until(lambda: here == ["back"], "answered")
    assert there == ["a", "披萨"]


async def test_what_is_not_understood_is_nothing(
    one: SharedNeighbours, other: SharedNeighbours, redis_server: RedisServer
) -> None:
    heard: list[str] = []
    one.hear("live", heard.append)
    for message in ("", "{}", "[1]", '{"origin":"x","topic":"live"}', '{"origin":1,"topic":"live","words":"a"}'):
        redis_server.run("PUBLISH", CHANNEL, message)
    redis_server.run("PUBLISH", CHANNEL, '{"origin":"x","topic":"live","words":"a","later":1}')
    await until(lambda: heard == ["a"], "heard")


async def test_while_redis_is_away_nothing_piles_up(
    one: SharedNeighbours, other: SharedNeighbours, redis_server: RedisServer
) -> None:
    heard: list[str] = []
    other.hear("live", heard.append)
    redis_server.kill()
    try:
        for number in range(3 * MOST_UNSENT):
            one.say("live", str(number))
        assert len(one._unsent) <= MOST_UNSENT
        await until(lambda: not one._unsent, "given up")
    finally:
        redis_server.start()
    await until(lambda: b":2\r\n" in redis_server.run("PUBSUB", "NUMSUB", CHANNEL), "both listen again")
    one.say("live", "again")
    await until(lambda: heard[-1:] == ["again"], "heard")
