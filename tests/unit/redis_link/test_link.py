"""Commands to a real Redis, and to one that is not there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from danqing.redis_link import NotARedisUrl, RedisAway, RedisLink
from danqing.redis_link.link import CONNECTIONS
from tests.services.redis import RedisServer, this_process_redis


@pytest.fixture
def redis_server() -> RedisServer:
    server = this_process_redis()
    server.flush()
    return server


@asynccontextmanager
async def a_link(url: str, *, timeout_s: float = 20.0, rest_s: float = 0.0) -> AsyncIterator[RedisLink]:
    link = RedisLink(url, timeout_s=timeout_s, rest_s=rest_s)
    try:
        yield link
    finally:
        await link.aclose()


async def test_commands_are_answered_in_order(redis_server: RedisServer) -> None:
    async with a_link(redis_server.url) as link:
        asked = link.ask(("SET", "a", b"\x00\xff"), ("GET", "a"), ("GET", "b"), ("INCRBY", "n", 2))
        assert await asked == [b"OK", b"\x00\xff", None, 2]


async def test_what_redis_refuses_is_no_answer_and_breaks_nothing(redis_server: RedisServer) -> None:
    async with a_link(redis_server.url) as link:
        await link.ask(("SET", "a", "x"))
        with pytest.raises(RedisAway):
            await link.ask(("GET", "a"), ("LPUSH", "a", "y"), ("SET", "b", "done"))
        assert not link.is_resting
        # What came with it was done, and the answers to what comes later are its own
        assert await link.ask(("GET", "b"), ("GET", "a")) == [b"done", b"x"]


async def test_many_at_once_share_few_connections(redis_server: RedisServer) -> None:
    async with a_link(redis_server.url) as link:
        answers = await asyncio.gather(*(link.ask(("ECHO", str(number))) for number in range(1000)))
        assert answers == [[str(number).encode()] for number in range(1000)]
        (clients,) = await link.ask(("CLIENT", "LIST"))
        assert len(clients.splitlines()) <= CONNECTIONS


async def test_who_stops_waiting_leaves_no_answer_to_others(redis_server: RedisServer) -> None:
    async with a_link(redis_server.url) as link:
        for number in range(50):
            # Given a question whose answer nobody waits for any more, at whichever moment
            asking = asyncio.create_task(link.ask(("ECHO", "old")))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            # Then the next one gets its own
            assert await link.ask(("ECHO", f"new {number}")) == [f"new {number}".encode()]


async def test_a_redis_that_comes_back_is_asked_again(
    redis_server: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    async with a_link(redis_server.url) as link:
        await link.ask(("PING",))
        redis_server.kill()
        try:
            for _ in range(5):
                with pytest.raises(RedisAway):
                    await link.ask(("PING",))
        finally:
            redis_server.start()
        assert await link.ask(("PING",)) == [b"PONG"]
    # Which is said once
    said = "".join(capfd.readouterr())
    assert (said.count("redis_away"), said.count("redis_back")) == (1, 1)


async def test_one_that_stands_still_costs_only_the_first_who_asks_a_while(redis_server: RedisServer) -> None:
    async with a_link(redis_server.url, timeout_s=1.0, rest_s=60.0) as link:
        await link.ask(("PING",))
        redis_server.pause()
        try:
            with pytest.raises(RedisAway):
                await link.ask(("PING",))
            # Then nobody asks for a while
            assert link.is_resting
            begun = asyncio.get_running_loop().time()
            for _ in range(100):
                with pytest.raises(RedisAway):
                    await link.ask(("PING",))
            assert asyncio.get_running_loop().time() - begun < 50  # each would take a second
        finally:
            redis_server.resume()


async def test_a_password_and_a_database_are_taken_from_the_url() -> None:
    guarded = RedisServer(password="pa:ss@wo/rd")
    guarded.start()
    try:
        base = f"127.0.0.1:{guarded.port}"
        for user in ("", "default"):
            async with a_link(f"redis://{user}:pa%3Ass%40wo%2Frd@{base}/3") as link:
                await link.ask(("SET", "a", user or "x"))
        async with a_link(f"redis://:pa%3Ass%40wo%2Frd@{base}/0") as other:
            assert await other.ask(("GET", "a"), ("SELECT", 3), ("GET", "a")) == [None, b"OK", b"default"]
        async with a_link(f"redis://:wrong@{base}/0") as stranger:
            with pytest.raises(RedisAway) as refused:
                await stranger.ask(("PING",))
            assert "wrong" not in str(refused.value)
    finally:
        guarded.kill()


@pytest.mark.parametrize(
    "url",
    ["http://:s3cret@x", "s3cret", "redis://:s3cret@x:port/0", "amqp://a:s3cret@mq//", "redis://:s3cret@x/a?db=y"],
)
def test_what_is_no_url_of_redis_is_not_repeated(url: str) -> None:
    with pytest.raises(NotARedisUrl) as refused:
        RedisLink(url)
    assert "s3cret" not in str(refused.value)


def test_a_url_may_ask_for_tls() -> None:
    connection = RedisLink("rediss://:s3cret@x:6380/2").connection()
    assert type(connection).__name__ == "SSLConnection"
