"""What API processes ask of nodes, over a real Redis."""

import pytest

from danqing.redis_link import RedisLink
from danqing.shared.control import CHANNEL, WISHES_KEY, ControlHearing, ControlSending
from tests.fakes.studio_parts import StillPool
from tests.services.redis import RedisServer
from tests.zoo.house import until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a node listens before the test goes on."""
    monkeypatch.setattr("danqing.shared.control.JOIN_WAIT_S", 30.0)


async def test_every_node_hears_what_is_asked(link: RedisLink, other_link: RedisLink) -> None:
    # Given two nodes
    one, other = StillPool(), StillPool()
    async with ControlHearing(link, one).at_work(), ControlHearing(other_link, other).at_work():
        # When an API process asks for something
        sending = ControlSending(other_link)
        await sending.send_previews("a")
        await sending.stop_job("b")
        # Then both hear of it: the one that has the job knows
        await until(lambda: one.stopped == other.stopped == ["b"], "told to stop")
        assert set(one.previewed) == set(other.previewed) == {"a"}  # being told twice changes nothing


async def test_a_node_that_comes_later_knows_which_previews_are_wanted(link: RedisLink, other_link: RedisLink) -> None:
    # Given wishes, one of which is not one any more
    sending = ControlSending(other_link)
    for job_id in "abc":
        await sending.send_previews(job_id)
    await sending.stop_job("b")
    # When a node starts
    pool = StillPool()
    async with ControlHearing(link, pool).at_work():
        # Then it knows those that are
        await until(lambda: set(pool.previewed) == {"a", "c"}, "told of the wishes")
    assert pool.stopped == []


async def test_wishes_are_bounded_and_not_for_ever(
    link: RedisLink, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danqing.shared.control.MOST_WISHES", 3)
    sending = ControlSending(link)
    for number in range(5):
        await sending.send_previews(f"job-{number}")
    assert (await link.ask(("ZRANGE", WISHES_KEY, 0, -1))) == [[b"job-2", b"job-3", b"job-4"]]
    assert redis_server.run("TTL", WISHES_KEY) not in (b":-1\r\n", b":-2\r\n")


async def test_a_node_hears_again_after_redis_was_killed(
    link: RedisLink, other_link: RedisLink, redis_server: RedisServer
) -> None:
    pool, sending = StillPool(), ControlSending(other_link)
    async with ControlHearing(link, pool).at_work():
        redis_server.kill()
        try:
            # Given what nobody can hear, which troubles nobody
            await sending.stop_job("lost")
            await sending.send_previews("lost")
        finally:
            redis_server.start()
        # When Redis is back, then a wish of meanwhile is learned of at the latest when the node listens again
        await sending.send_previews("a")
        await until(lambda: set(pool.previewed) == {"a"}, "told of the wish")
        # And what is said is heard
        await until(lambda: b":1\r\n" in redis_server.run("PUBSUB", "NUMSUB", CHANNEL), "it listens")
        await sending.stop_job("b")
        await until(lambda: pool.stopped == ["b"], "told to stop")


async def test_what_is_not_understood_is_nothing(link: RedisLink, redis_server: RedisServer) -> None:
    pool = StillPool()
    async with ControlHearing(link, pool).at_work():
        for words in ("", "{}", "[]", '{"do":"dance","job":"a"}', '{"do":1,"job":"a"}', '{"do":"stop"}', "\xff"):
            redis_server.run("PUBLISH", CHANNEL, words)
        await ControlSending(link).stop_job("b")
        await until(lambda: pool.stopped == ["b"], "told to stop")
        assert pool.previewed == []
