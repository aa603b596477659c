"""A Redis for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from danqing.redis_link import RedisLink
from tests.services.redis import RedisServer, this_process_redis


@pytest.fixture
def redis_server() -> RedisServer:
    """Running, and empty."""
    server = this_process_redis()
    server.flush()
    return server


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    """One process's way to it."""
    link = a_link(redis_server)
    yield link
    await link.aclose()


@pytest.fixture
async def other_link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    """Another process's way to it."""
    link = a_link(redis_server)
    yield link
    await link.aclose()


def a_link(redis_server: RedisServer) -> RedisLink:
    """Tries again at once."""
    return RedisLink(redis_server.url, timeout_s=20.0, rest_s=0.0)
